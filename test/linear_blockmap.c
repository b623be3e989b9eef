/* SPDX-License-Identifier: MIT
 *
 * The simplest store there can be: an array that is searched from its beginning, and one lock, which is not
 * held while a visitor runs.  It shows what blockmap.h asks for, and that the library does not depend on
 * more.  Unlike blockmap.c it must not be used in signal handlers or around fork.
 */
#include "blockmap.h"

#include <stdatomic.h>

#include "platform.h"

enum state { FREE, LIVE, HELD };

static struct {
    struct block block;
    enum state state;
} records[LD_MAX_BLOCKS];

static atomic_flag lock = ATOMIC_FLAG_INIT;

static void take_lock(void)
{
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire))
        platform_yield(0);
}

static void drop_lock(void)
{
    atomic_flag_clear_explicit(&lock, memory_order_release);
}

/* The place of the live record of this address, or, with NULL, a free place; LD_MAX_BLOCKS: there is none. */
static size_t search(const void *address)
{
    size_t i = 0;

    while (i < LD_MAX_BLOCKS &&
           (address == NULL ? records[i].state != FREE
                            : records[i].state != LIVE || records[i].block.address != address))
        i++;
    return i;
}

/* Moves the record of this address on to another state, copying it first. */
static bool change(const void *address, enum state state, struct blockmap_hold *hold)
{
    take_lock();
    hold->slot = search(address);
    bool found = address != NULL && hold->slot < LD_MAX_BLOCKS;
    if (found) {
        hold->block = records[hold->slot].block;
        records[hold->slot].state = state;
    }
    drop_lock();
    return found;
}

struct slot *blockmap_expect(const void *address)
{
    (void)address;
    return NULL;
}

bool blockmap_insert_at(struct slot *expected, const struct block *block)
{
    (void)expected;
    take_lock();
    size_t i = search(NULL);
    bool has_room = block->address != NULL && i < LD_MAX_BLOCKS;
    if (has_room) {
        records[i].block = *block;
        records[i].state = LIVE;
    }
    drop_lock();
    return has_room;
}

struct blockmap_removed blockmap_remove(const void *address)
{
    struct blockmap_hold hold;

    if (!change(address, FREE, &hold))
        return (struct blockmap_removed){.tag = UINT32_MAX};
    return (struct blockmap_removed){.size = hold.block.size,
                                     .tag = hold.block.flags << BLOCKMAP_STACK_BITS | hold.block.stack};
}

bool blockmap_find(const void *address, struct block *out)
{
    struct blockmap_hold hold;
    bool found = change(address, LIVE, &hold);

    if (found)
        *out = hold.block;
    return found;
}

bool blockmap_hold(const void *address, struct blockmap_hold *hold)
{
    return change(address, HELD, hold);
}

void blockmap_settle(const struct blockmap_hold *hold, const struct block *block)
{
    take_lock();
    records[hold->slot].state = block != NULL ? LIVE : FREE;
    if (block != NULL)
        records[hold->slot].block = *block;
    drop_lock();
}

void blockmap_each(blockmap_visit_fn *visit, void *ctx)
{
    enum blockmap_step step = BLOCKMAP_NEXT;

    for (size_t i = 0; i < LD_MAX_BLOCKS && step != BLOCKMAP_STOP; i += step == BLOCKMAP_NEXT) {
        take_lock();
        struct block block = records[i].block;
        bool is_used = records[i].state != FREE;
        drop_lock();
        step = is_used ? visit(&block, ctx) : BLOCKMAP_NEXT;
    }
}

void blockmap_each_stack(blockmap_stack_fn *visit)
{
    for (size_t i = 0; i < LD_MAX_BLOCKS; i++) {
        take_lock();
        uint32_t stack = records[i].block.stack;
        bool is_used = records[i].state != FREE;
        drop_lock();
        if (is_used)
            visit(stack);
    }
}

void blockmap_start_epoch(uint32_t epoch)
{
    (void)epoch; /* marks are kept whole */
}

void blockmap_get_stats(struct blockmap_stats *out)
{
    *out = (struct blockmap_stats){0};
    take_lock();
    for (size_t i = 0; i < LD_MAX_BLOCKS; i++)
        out->records += records[i].state != FREE;
    drop_lock();
}

size_t blockmap_own_bytes(void)
{
    return sizeof(records);
}

const void *blockmap_table(void)
{
    return records;
}

bool blockmap_is_valid(void)
{
    return true;
}
