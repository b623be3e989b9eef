/* SPDX-License-Identifier: MIT
 *
 * A library that looks for an optional function when it is loaded, as many do.  There is none: the loader's
 * message, which it allocates with its lock held, is the first block of all.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

int optional(void);

static int has_function;

__attribute__((constructor)) static void look_for_function(void)
{
    has_function = dlsym(RTLD_DEFAULT, "an_optional_function") != NULL;
}

int optional(void)
{
    return has_function;
}
