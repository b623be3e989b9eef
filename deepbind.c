/* SPDX-License-Identifier: MIT
 *
 * dlopen without RTLD_DEEPBIND, for the library that is preloaded.  With it a library's own dependencies come
 * before all others, so that its free is the C library's, which is given blocks of this malloc's, and aborts:
 * that is how PHP opens its extensions.
 */
#define _GNU_SOURCE 1
#include "config.h"
#include "leakdetect.h"

#if LD_OVERRIDE

#include <dlfcn.h>

#if defined(__x86_64__) && defined(__LP64__)

#include <stdint.h>

#include "jump.h"

typedef void *dlopen_fn(const char *file, int mode);

/* The dlopen that comes after this one. */
static dlopen_fn *next(const char *file, int mode, uintptr_t caller)
{
    dlopen_fn *function;

    (void)file, (void)mode, (void)caller;
    *(void **)&function = dlsym(RTLD_NEXT, "dlopen");
    return function;
}

__attribute__((used)) static dlopen_fn *(*const deepbind_next)(const char *, int, uintptr_t) = next;

/* Where dlopen looks first depends on who has called it. */
JUMP("dlopen", "deepbind_next", "and $~8, %esi");

_Static_assert(RTLD_DEEPBIND == 8, "that is the bit");

#else

/* Where dlopen looks first depends on who has called it: it is taken to be this library. */
__attribute__((visibility("default"))) void *dlopen(const char *file, int mode)
{
    void *(*behind)(const char *, int);

    *(void **)&behind = dlsym(RTLD_NEXT, "dlopen");
    return behind(file, mode & ~RTLD_DEEPBIND);
}

#endif
#endif
