/* SPDX-License-Identifier: MIT
 *
 * Whether malloc is jemalloc's (backing.h).  Names do not tell, since another library may have put its own
 * malloc in front.  What tells is what a malloc and a free do to jemalloc's own counts for this thread: they
 * grow by as many bytes as were asked for.  A malloc that passes on to jemalloc, but keeps something in front
 * of each block, asks for more.  One that comes back to this library is found by being here again.
 */
#define _POSIX_C_SOURCE 200809L /* for backing_libc.h */
#include "backing.h"

#ifdef BACKING_IS_FOUND_OUT

#include <stdint.h>

enum { PROBE = 4096 }; /* a size that jemalloc has blocks of */

atomic_bool backing_has_malloc;
static THREAD_LOCAL bool is_probing, was_called;

void *backing_alloc_extended(size_t size, size_t alignment, bool zeroed)
{
    int flags =
        (alignment == 0 ? 0 : MALLOCX_LG_ALIGN(__builtin_ctzll(alignment))) | (zeroed ? MALLOCX_ZERO : 0);
    void *block;

    if (is_probing)
        was_called = true;
    block = mallocx(size, flags);
    if (UNLIKELY(block == NULL))
        errno = ENOMEM;
    return block;
}

/* 0: it is not counted. */
static uint64_t count(const char *name)
{
    uint64_t bytes = 0;
    size_t size = sizeof(bytes);

    return mallctl(name, &bytes, &size, NULL, 0) == 0 ? bytes : 0;
}

void backing_init(void)
{
    uint64_t taken = count("thread.allocated"), given = count("thread.deallocated");
    void *volatile block;

    is_probing = true;
    block = malloc(PROBE);
    taken = count("thread.allocated") - taken;
    free(block);
    given = count("thread.deallocated") - given;
    is_probing = false;
    atomic_store_explicit(&backing_has_malloc, !was_called && taken == PROBE && given == PROBE,
                          memory_order_relaxed);
}

#endif
