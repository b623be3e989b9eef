/* SPDX-License-Identifier: MIT
 *
 * Scratch memory: pieces that are cut from mapped pages, never from the heap that is watched, and all given
 * back together.  The first pieces may come from memory that the owner has already, so that small work needs
 * no page.
 */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <stddef.h>

#define SCRATCH_CHUNK 65536 /* the least number of bytes that is mapped at a time */

struct scratch_chunk;

/* The bytes from `next` up to `end` are free. */
struct scratch {
    struct scratch_chunk *chunks;
    unsigned char *next, *end;
};

/* `first` may be NULL if size is 0; otherwise it is aligned as max_align_t is, and lives as long. */
void scratch_init(struct scratch *scratch, void *first, size_t size);

/* Room for anything, not zeroed.  NULL when memory is out. */
void *scratch_take(struct scratch *scratch, size_t size);

void scratch_release(struct scratch *scratch);

#endif
