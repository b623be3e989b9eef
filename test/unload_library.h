/* SPDX-License-Identifier: MIT
 *
 * Libraries to be unloaded, which are built next to the test (its `build: plugin`).
 */
#ifndef UNLOAD_LIBRARY_H
#define UNLOAD_LIBRARY_H

#include "test_support.h"

#include <dlfcn.h>

#include "unload_frames.h"

static inline void *open_unloadable(const char *name, unload_through_fn **through)
{
    char path[4096] = {0};
    void *library;

    REQUIRE(readlink("/proc/self/exe", path, sizeof(path) - 64) > 0);
    strcpy(strrchr(path, '/') + 1, name);
    library = dlopen(path, RTLD_NOW);
    REQUIRE(library != NULL);
    *(void **)through = dlsym(library, "through");
    REQUIRE(*through != NULL);
    return library;
}

#endif
