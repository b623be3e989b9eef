/* SPDX-License-Identifier: MIT
 *
 * Scratch memory, see scratch.h.
 */
#include "scratch.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernel.h"

/* Mapped pages, of which this is the beginning. */
struct scratch_chunk {
    alignas(max_align_t) struct scratch_chunk *next; /* as the first piece behind it */
    size_t size;
};

void scratch_init(struct scratch *scratch, void *first, size_t size)
{
    static unsigned char nothing[1];
    scratch->chunks = NULL;
    scratch->next = first == NULL ? nothing : first;
    scratch->end = scratch->next + size;
}

/* Each chunk is twice as large as the one before, and more if a piece needs it; where address space is short,
 * less is better than nothing. */
static bool map_chunk(struct scratch *scratch, size_t piece)
{
    size_t least = sizeof(struct scratch_chunk) + piece;
    size_t size = scratch->chunks == NULL ? SCRATCH_CHUNK : scratch->chunks->size * 2;
    if (size < least)
        size = least;
    struct scratch_chunk *chunk = kernel_map(size);
    while (chunk == NULL && size / 2 >= least && size / 2 >= SCRATCH_CHUNK) {
        size /= 2;
        chunk = kernel_map(size);
    }
    if (chunk == NULL)
        return false;
    *chunk = (struct scratch_chunk){.next = scratch->chunks, .size = size};
    scratch->chunks = chunk;
    scratch->next = (unsigned char *)(chunk + 1);
    scratch->end = (unsigned char *)chunk + size;
    return true;
}

void *scratch_take(struct scratch *scratch, size_t size)
{
    const size_t alignment = alignof(max_align_t);
    if (size > PTRDIFF_MAX)
        return NULL;
    size = (size + alignment - 1) & ~(alignment - 1);
    if ((size_t)(scratch->end - scratch->next) < size && !map_chunk(scratch, size))
        return NULL;
    void *piece = scratch->next;
    scratch->next += size;
    return piece;
}

void scratch_release(struct scratch *scratch)
{
    while (scratch->chunks != NULL) {
        struct scratch_chunk *chunk = scratch->chunks;
        scratch->chunks = chunk->next;
        kernel_unmap(chunk, chunk->size);
    }
}
