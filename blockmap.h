/* SPDX-License-Identifier: MIT
 *
 * The live blocks: address -> size, stack id, mark, flags; fixed size, static storage, lock-free.  A store
 * can be replaced as a whole: `make BLOCKMAP=my_blockmap.c` builds the library with another file that defines
 * the functions below.
 *
 * One record is one 16-byte slot, two words:
 *
 *     head  63........................19 18.........5   4   3...0
 *          | address >> 3, 45 bits      | mark, 14   |held| version |
 *     body  63........32 31..28 27........4 3...0
 *          | size code  | flags| stack id  | version |
 *
 * Eight slots that share two cache lines are a bucket.  Blocks that are neighbours in memory are neighbours
 * in the table: a 4 KiB page of addresses owns consecutive buckets, pages follow each other as they do in
 * memory, and the place inside the page chooses bucket and first slot, the home of the record.  There is one
 * for each 32 bytes: if it is taken, as by a neighbour of 8 or 16 bytes, an address has a second home, in one
 * of four other windows of buckets that the page has, somewhere in the table.  A bucket that is full passes
 * the record on to the page's next window, and counts that in overflow[bucket]; removing it counts back.  So
 * there are no tombstones, nothing ever moves, and a search ends at the first bucket that passed nothing on.
 *
 *     overflow[b] = number of records whose search path goes through b and ends further on
 *     head.address = 0           the slot is free; its version survives
 *     head.address = all ones    the slot was claimed by a thread that is about to fill it
 *     head.version = body.version, except while the owner of a held record is changing it
 *
 * Cost of insert, remove and find: one cache line, two for blocks of less than 32 bytes, and one
 * compare-and-swap while the bucket has room, whatever the history.  each: reads the table once, in order.
 *
 * Who may call: an address belongs to one caller at a time, as the allocator hands it out.  Callers for
 * different addresses never wait for each other.  All functions may be called from a signal handler that
 * interrupted any of them.  A call for an address that is not on record, or never could be, is answered with
 * false.
 */
#ifndef BLOCKMAP_H
#define BLOCKMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "platform.h"

/* Sizes below this are kept exactly, others in pages of so many bytes. */
#define BLOCKMAP_EXACT_SIZES (UINT32_C(1) << 31)
#define BLOCKMAP_SIZE_PAGE   4096u

#define BLOCKMAP_STACK_BITS 24
#define BLOCKMAP_FLAG_BITS  4
#define BLOCKMAP_MARK_BITS  14

struct block {
    const void *address; /* a multiple of 8, below 2^48 */
    size_t size;         /* exact below 2 GiB; then kept rounded up to 4 KiB, at most 8 TiB */
    uint32_t stack;      /* stack id */
    uint32_t mark;       /* epoch, exact for BLOCKMAP_EXACT_EPOCHS */
    uint32_t flags;      /* BLOCKMAP_FLAG_BITS of them, the caller's */
};

/* The size that a record tells for a block of this size.  Totals are of these, or what was added for a block
 * would not be what is taken off for it. */
static inline size_t blockmap_kept_size(size_t size)
{
    size_t pages;

    if (LIKELY(size < BLOCKMAP_EXACT_SIZES))
        return size;
    pages = size / BLOCKMAP_SIZE_PAGE + (size % BLOCKMAP_SIZE_PAGE != 0);
    return (pages < BLOCKMAP_EXACT_SIZES ? pages : BLOCKMAP_EXACT_SIZES - 1) * BLOCKMAP_SIZE_PAGE;
}

struct slot; /* the store's own */

/* Epochs for which a record's mark is exact; see blockmap_start_epoch. */
#define BLOCKMAP_EXACT_EPOCHS 8192u

/* A record that was taken hold of: see blockmap_hold. */
struct blockmap_hold {
    struct block block; /* as it was */
    size_t slot;        /* the store's own */
};

/* The block at this address will be inserted soon: has its cache line brought here meanwhile.  Where it is
 * expected to go. */
struct slot *blockmap_expect(const void *address);

/* Puts the block on record, of which blockmap_expect has said where it is expected to go.  False if there is
 * no room for it, or its address cannot be kept.  The address must not be on record. */
bool blockmap_insert_at(struct slot *expected, const struct block *block);

static inline bool blockmap_insert(const struct block *block)
{
    return blockmap_insert_at(blockmap_expect(block->address), block);
}

/* What a record said that was taken out. */
struct blockmap_removed {
    size_t size;
    uint32_t tag; /* flags << BLOCKMAP_STACK_BITS | stack id; all ones: there was none */
};

static inline bool blockmap_was_there(struct blockmap_removed removed)
{
    return removed.tag != UINT32_MAX;
}

static inline uint32_t blockmap_removed_stack(struct blockmap_removed removed)
{
    return removed.tag & ((UINT32_C(1) << BLOCKMAP_STACK_BITS) - 1);
}

/* Of a record that was not there, all of them. */
static inline uint32_t blockmap_removed_flags(struct blockmap_removed removed)
{
    return removed.tag >> BLOCKMAP_STACK_BITS;
}

/* Takes the record of this address out. */
struct blockmap_removed blockmap_remove(const void *address);

/* Copies the record of this address.  False: none, or it is held. */
bool blockmap_find(const void *address, struct block *out);

/* For realloc: from hold to settle the record stays in its place, where a walk sees it, but does not answer
 * to its address any more, which may by then be another block's.  False: not on record. */
bool blockmap_hold(const void *address, struct blockmap_hold *hold);

/* Ends a hold: the record becomes *block, which must have the address that it had; NULL deletes it. */
void blockmap_settle(const struct blockmap_hold *hold, const struct block *block);

/* Calls visit for each record, until it says BLOCKMAP_STOP; BLOCKMAP_AGAIN visits the same one again, as it
 * is then, if it is still there.  A record that stays through the whole walk is visited exactly once (but for
 * that), whatever other threads do; the visitor may call anything here. */
enum blockmap_step { BLOCKMAP_NEXT, BLOCKMAP_AGAIN, BLOCKMAP_STOP };
typedef enum blockmap_step blockmap_visit_fn(const struct block *block, void *ctx);
void blockmap_each(blockmap_visit_fn *visit, void *ctx);

/* Calls visit with the stack id of each record that stays through the whole walk, the one that it has or is
 * being given, and of some that do not.  Cheaper than the above. */
typedef void blockmap_stack_fn(uint32_t stack);
void blockmap_each_stack(blockmap_stack_fn *visit);

/* Tells the store, before anything is recorded with it, that `epoch` has begun; they rise one by one from 0,
 * where the store starts.  Records older than BLOCKMAP_EXACT_EPOCHS may from then on show a younger mark,
 * never one of the last BLOCKMAP_EXACT_EPOCHS. */
void blockmap_start_epoch(uint32_t epoch);

struct blockmap_stats {
    size_t records;   /* now */
    size_t displaced; /* of them, how many are not in the first bucket of their search */
};

/* Counts; reads the whole table. */
void blockmap_get_stats(struct blockmap_stats *out);

/* Bytes of static storage, and where they begin: what looks like a pointer in there is none. */
size_t blockmap_own_bytes(void);
const void *blockmap_table(void);

/* Checks the equations above; only while nothing else uses the table. */
bool blockmap_is_valid(void);

#endif
