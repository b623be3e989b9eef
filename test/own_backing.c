/* SPDX-License-Identifier: MIT
 *
 * An allocator that may be interrupted, and left for good, at any instruction: powers of two, cut from a
 * fixed arena, with a list of free blocks for each size.  Whoever leaves it loses at most the block at hand.
 */
#include "own_backing.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

enum { ARENA_SHIFT = 28, UNIT_SHIFT = 4, ORDERS = 25 }; /* blocks of 16 bytes to 16 MiB */

#define ARENA_SIZE ((size_t)1 << ARENA_SHIFT)
#define UNITS      (ARENA_SIZE >> UNIT_SHIFT)

/* A list is the number of its first unit, and a count of changes that tells it from itself at another
 * time. */
struct list {
    _Atomic uint64_t head; /* changes << 32 | unit; unit 0 is never given out */
};

static _Alignas(4096) unsigned char arena[ARENA_SIZE];
static _Atomic uint32_t next_of[UNITS]; /* of free blocks */
static _Atomic uint8_t order_of[UNITS];
static struct list lists[ORDERS];
static _Atomic size_t used = (size_t)1 << UNIT_SHIFT;

static size_t unit_of(const void *block)
{
    return (size_t)((const unsigned char *)block - arena) >> UNIT_SHIFT;
}

static void *block_at(size_t unit)
{
    return arena + (unit << UNIT_SHIFT);
}

static size_t pop(struct list *list)
{
    uint64_t head = atomic_load(&list->head);

    while ((uint32_t)head != 0) {
        uint64_t rest = (head >> 32) + 1;

        rest = rest << 32 | atomic_load(&next_of[(uint32_t)head]);
        if (atomic_compare_exchange_weak(&list->head, &head, rest))
            break;
    }
    return (uint32_t)head;
}

static void push(struct list *list, size_t unit)
{
    uint64_t head = atomic_load(&list->head);

    do
        atomic_store(&next_of[unit], (uint32_t)head);
    while (!atomic_compare_exchange_weak(&list->head, &head, ((head >> 32) + 1) << 32 | unit));
}

/* A new block from the end of the arena, aligned to its size, or 0. */
static size_t cut(size_t size)
{
    size_t end = atomic_load(&used), start;

    do {
        start = (end + size - 1) / size * size;
        if (start + size > ARENA_SIZE)
            return 0;
    } while (!atomic_compare_exchange_weak(&used, &end, start + size));
    return start >> UNIT_SHIFT;
}

void *backing_alloc(size_t size, size_t alignment, bool zeroed)
{
    uint8_t order = UNIT_SHIFT;
    size_t unit = 0;

    while (order < ORDERS && ((size_t)1 << order < size || (size_t)1 << order < alignment))
        order++;
    if (order < ORDERS)
        unit = pop(&lists[order]);
    if (unit == 0 && order < ORDERS)
        unit = cut((size_t)1 << order);
    if (unit == 0) {
        errno = ENOMEM;
        return NULL;
    }
    atomic_store(&order_of[unit], order);
    return zeroed ? memset(block_at(unit), 0, size) : block_at(unit);
}

void (*own_backing_freed)(void *block);

void backing_free(void *block)
{
    push(&lists[atomic_load(&order_of[unit_of(block)])], unit_of(block));
    if (own_backing_freed != NULL)
        own_backing_freed(block);
}

size_t backing_usable_size(const void *block)
{
    return (size_t)1 << atomic_load(&order_of[unit_of(block)]);
}

void *backing_realloc(void *block, size_t size)
{
    size_t old = backing_usable_size(block);
    void *moved;

    if (size <= old)
        return block;
    moved = backing_alloc(size, 0, false);
    if (moved != NULL) {
        memcpy(moved, block, old);
        backing_free(block);
    }
    return moved;
}
