/* SPDX-License-Identifier: MIT
 *
 * The allocator below: the only spelling of jemalloc's names.  As jemalloc wants it, sizes are at least 1,
 * and alignments are powers of two, or 0 for the usual one.  backing_libc.h is the same over
 * the C library's malloc, for sanitizers, which must see every block, and backing_private.h over a jemalloc
 * that does not answer to its own names.
 */
#ifndef BACKING_H
#define BACKING_H

#include "config.h"

#if LD_BACKING_LIBC
#include "backing_libc.h"
#elif LD_OVERRIDE
#include "backing_private.h"
#else

#include <errno.h>
#include <jemalloc/jemalloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "platform.h"

#define BACKING_IS_FOUND_OUT /* backing.c is needed */

/* Whether malloc and free are jemalloc's in this process, too, as they are where jemalloc is linked and
 * nothing comes before it.  They do the same as mallocx and dallocx, in a third of the instructions. */
extern atomic_bool backing_has_malloc;

/* Finds that out.  Called once, before there are other callers. */
void backing_init(void);

static inline bool backing_is_malloc(void)
{
    return LIKELY(atomic_load_explicit(&backing_has_malloc, memory_order_relaxed));
}

void *backing_alloc_extended(size_t size, size_t alignment, bool zeroed);

/* NULL when memory is out, and then errno is ENOMEM. */
static inline void *backing_alloc(size_t size, size_t alignment, bool zeroed)
{
    return alignment == 0 && !zeroed && backing_is_malloc() ? malloc(size)
                                                            : backing_alloc_extended(size, alignment, zeroed);
}

/* NULL when memory is out, and then the block is as it was. */
static inline void *backing_realloc(void *block, size_t size)
{
    return rallocx(block, size, 0);
}

/* Leaves errno alone. */
static inline void backing_free(void *block)
{
    int saved = errno;

    if (backing_is_malloc())
        free(block);
    else
        dallocx(block, 0);
    errno = saved;
}

static inline size_t backing_usable_size(const void *block)
{
    return sallocx(block, 0);
}

#endif
#endif
