/* SPDX-License-Identifier: MIT
 *
 * backing.h over the C library's malloc, chosen with -DLD_BACKING_LIBC=1: for builds with a sanitizer, which
 * interposes malloc and would not see a bug in a block that jemalloc made.
 */
#ifndef BACKING_LIBC_H
#define BACKING_LIBC_H

#include <errno.h>
#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static inline void backing_init(void)
{
}

static inline void *backing_alloc(size_t size, size_t alignment, bool zeroed)
{
    void *block = NULL;
    int error;

    if (alignment <= _Alignof(max_align_t))
        return zeroed ? calloc(1, size) : malloc(size);
    error = posix_memalign(&block, alignment, size);
    if (error != 0) {
        errno = error;
        return NULL;
    }
    if (zeroed)
        memset(block, 0, size);
    return block;
}

static inline void *backing_realloc(void *block, size_t size)
{
    return realloc(block, size);
}

static inline void backing_free(void *block)
{
    int saved = errno;

    free(block);
    errno = saved;
}

static inline size_t backing_usable_size(const void *block)
{
    return malloc_usable_size((void *)(size_t)block);
}

#endif
