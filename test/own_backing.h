/* SPDX-License-Identifier: MIT
 *
 * backing.h over own_backing.c, an allocator without locks: for tests that interrupt the library at any
 * instruction, or put it below malloc itself.  To be included ahead of everything else (-include), in the
 * place of backing.h.
 */
#ifndef BACKING_H
#define BACKING_H

#include <stdbool.h>
#include <stddef.h>

static inline void backing_init(void)
{
}

void *backing_alloc(size_t size, size_t alignment, bool zeroed);
void *backing_realloc(void *block, size_t size);
void backing_free(void *block);
size_t backing_usable_size(const void *block);

/* Called, unless NULL, with each block that has just been freed, and is free to be had. */
extern void (*own_backing_freed)(void *block);

#endif
