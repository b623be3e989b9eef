/* SPDX-License-Identifier: MIT
 *
 * backing.h over a jemalloc under names of its own, chosen with -DLD_OVERRIDE=1: the program's malloc is then
 * this library, and the program may have a jemalloc besides.  The Makefile makes the names, by putting
 * ldheap_ before every one that the archive has.  jemalloc's malloc is twice as fast as its mallocx; that one
 * is for alignments.
 */
#ifndef BACKING_PRIVATE_H
#define BACKING_PRIVATE_H

#include <errno.h>
#include <jemalloc/jemalloc.h> /* for the MALLOCX_ flags */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *ldheap_malloc(size_t size);
void *ldheap_calloc(size_t count, size_t size);
void *ldheap_realloc(void *block, size_t size);
void ldheap_free(void *block);
void *ldheap_mallocx(size_t size, int flags);
size_t ldheap_sallocx(const void *block, int flags);
int ldheap_mallctl(const char *name, void *old, size_t *old_size, void *new, size_t new_size);

static inline void backing_init(void)
{
}

static inline void *backing_alloc(size_t size, size_t alignment, bool zeroed)
{
    void *block;

    if (alignment == 0)
        return zeroed ? ldheap_calloc(1, size) : ldheap_malloc(size);
    block = ldheap_mallocx(size, MALLOCX_LG_ALIGN(__builtin_ctzll(alignment)) | (zeroed ? MALLOCX_ZERO : 0));
    if (block == NULL)
        errno = ENOMEM;
    return block;
}

static inline void *backing_realloc(void *block, size_t size)
{
    return ldheap_realloc(block, size);
}

/* The kernel's errors do not show: heap_pages.c. */
static inline void backing_free(void *block)
{
    ldheap_free(block);
}

static inline size_t backing_usable_size(const void *block)
{
    return ldheap_sallocx(block, 0);
}

/* Bytes that the calling thread has ever taken from this heap.  (To ask it whether a block is its own would
 * be simpler, but of other blocks it may not be asked.) */
static inline uint64_t backing_taken_by_thread(void)
{
    uint64_t taken = 0;
    size_t size = sizeof(taken);

    ldheap_mallctl("thread.allocated", &taken, &size, NULL, 0);
    return taken;
}

#endif
