/* SPDX-License-Identifier: MIT
 *
 * The allocator below: the only spelling of jemalloc's names.  Size 0 and alignments are jemalloc's: sizes
 * here are at least 1, alignments are powers of two, or 0 for the usual one.  backing_libc.h is the same over
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

#include <jemalloc/jemalloc.h>
#include <stdbool.h>
#include <stddef.h>

static inline int backing_flags(size_t alignment, bool zeroed)
{
    return (alignment == 0 ? 0 : MALLOCX_LG_ALIGN(__builtin_ctzll(alignment))) | (zeroed ? MALLOCX_ZERO : 0);
}

/* NULL when memory is out. */
static inline void *backing_alloc(size_t size, size_t alignment, bool zeroed)
{
    return mallocx(size, backing_flags(alignment, zeroed));
}

/* NULL when memory is out, and then the block is as it was. */
static inline void *backing_realloc(void *block, size_t size)
{
    return rallocx(block, size, 0);
}

static inline void backing_free(void *block)
{
    dallocx(block, 0);
}

static inline size_t backing_usable_size(const void *block)
{
    return sallocx(block, 0);
}

#endif
#endif
