/* SPDX-License-Identifier: MIT
 *
 * What the loader has at an address, as it says at the moment: without a lock where the C library can do that
 * (glibc since 2.35), under the loader's elsewhere.
 */
#ifndef LOADED_H
#define LOADED_H

#include <stdbool.h>
#include <stdint.h>

/* An executable or a library. */
struct loaded {
    uintptr_t start, end, base, dynamic;
    const char *name;           /* as long as it is loaded; empty for the program itself */
    const struct link_map *map; /* NULL: not known */
};

/* Called once: finds out what the process was started with.  Takes the loader's lock for a moment. */
void loaded_init(void);

/* False: nothing is loaded there. */
bool loaded_find(const void *pc, struct loaded *out);

/* Whether this may be unloaded before the process ends; true where it is not known what the process was
 * started with, but for what is known to be the program. */
bool loaded_can_be_unloaded(const struct loaded *now);

/* Whether nothing is loaded but what the process was started with; false: not known. */
bool loaded_is_as_started(void);

/* How many modules have ever been unloaded.  Takes the loader's lock for a moment. */
uint64_t loaded_unloads(void);

#endif
