/* SPDX-License-Identifier: MIT
 *
 * Call stacks, each distinct path kept once: a tree in a fixed array of nodes.
 *
 *     node    parent    return address      a stack is the id of its innermost node;
 *     1       0         _start+37           its frames are read by following the parents
 *     2       1         main+99
 *     3       2         parse+12   <------- stack 3: parse, main, _start
 *     4       2         print+40   <------- stack 4: print, main, _start
 *
 *     node[id]    8 bytes  pc and the module that it was in when it was first seen
 *                 4 bytes  parent, 0 for an outermost frame
 *                 4 bytes  stamp, see below
 *     index       5 bytes  an entry: the id of a node, and a tag of its hash
 *
 * Entries are in buckets of twelve, one cache line, of which there is one for each eight nodes: a node's is
 * in the bucket of its parent and the parent's neighbours, or where the hash of both says.
 *
 * Programs that recurse go through millions of paths, and live blocks need few of them, so nodes are taken
 * back by marking.  Time is divided into epochs.  A node is stamped with the epoch in which it was last known
 * to be needed:
 *
 *     stamp = 0        never used                     stamp = e    last needed in epoch e
 *
 *     (1) sweep <= epoch, and sweep = epoch unless a collection is going on or was abandoned
 *     (2) every node of the stack of a live block, and of one in flight, has stamp >= sweep
 *     (3) only nodes with stamp < sweep are given back
 *
 * stackmap_collect begins an epoch, has all the stacks that are needed marked, which stamps them with it, and
 * then raises sweep.  Nodes are given back lazily: each thread that needs some takes a run of the array and
 * uses what it finds dead in it.  The array is used up to `limit` only, about twice what the last collection
 * found alive, so that memory follows the live blocks and not the paths ever seen.
 *
 * The index only saves memory: a node that it has lost is as good as before, its path is merely entered once
 * more.
 *
 * Cost of stackmap_child on a hit: two cache lines, no write.  Nothing here takes a lock, but for
 * collections, of which there is one at a time.  Every function may be called from a signal handler that
 * interrupted any of them; stackmap_collect does nothing if it interrupted itself.
 */
#ifndef STACKMAP_H
#define STACKMAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"

typedef uint32_t stack_id; /* 0: no frame */

/* A thread's own supply of nodes to look through: zero-initialise it. */
struct stackmap_supply {
    uint32_t next, end;
};

/* The epoch, to be read before the first call of stackmap_child of a stack.  Whoever has built a stack in
 * epoch e must publish its id where a collection looks (thread.h: in flight), and then find the epoch still
 * to be e; otherwise the id is worthless and the stack must be built again. */
extern _Atomic uint32_t stackmap_current_epoch;
static inline uint32_t stackmap_epoch(void)
{
    return atomic_load_explicit(&stackmap_current_epoch, memory_order_acquire);
}

/* Frames of the longest path that is entered. */
enum { STACKMAP_DEPTH_MAX = LD_MAX_FRAMES >= 32 ? LD_MAX_FRAMES * 4 : LD_MAX_FRAMES };

/* The node of the frame that was called from `parent` (0: outermost) and has this return address, in the
 * module that is loaded there now (module.h; 0: none), found or made; parent must be good in `epoch`, and the
 * result is.  0: there is no free node, try stackmap_collect. */
stack_id stackmap_child(struct stackmap_supply *supply, uint32_t epoch, stack_id parent, const void *pc,
                        uint16_t module);

/* The children of this node will be asked for soon: has the cache line of the index brought here
 * meanwhile. */
void stackmap_expect(stack_id parent);

/* Copies at most `capacity` frames of a stack, innermost first, and returns how many.  A stack of a live
 * block is intact as long as stackmap_sweep() is what it was before the block was looked up; otherwise what
 * was copied may be anything, but nothing else happens. */
size_t stackmap_frames(stack_id stack, const void **frames, uint16_t *modules, size_t capacity);
uint32_t stackmap_sweep(void);

/* Takes back the nodes that nobody needs.  `each_root` is to call `mark` for the ids in flight first, and
 * then for those of all live blocks; ids that have become worthless do no harm.  Nothing is done while
 * another collection is going on (busy), or if it would not pay (full): no more nodes were asked for since
 * the last one than a 64th of those that may be in use, or than one path may need. */
enum stackmap_outcome { STACKMAP_COLLECTED, STACKMAP_BUSY, STACKMAP_FULL };
typedef void stackmap_mark_fn(stack_id stack);
typedef void stackmap_roots_fn(stackmap_mark_fn *mark);
enum stackmap_outcome stackmap_collect(stackmap_roots_fn *each_root);

/* Ends the collection that the calling thread was in when a signal handler left it for good, by longjmp; if
 * there is none, nothing happens. */
void stackmap_abandon(void);

/* True while some thread is in stackmap_collect. */
bool stackmap_is_collecting(void);

/* Around fork: keeps collections out, waiting (milliseconds) for one that is going on. */
void stackmap_before_fork(void);
void stackmap_after_fork(bool in_child);

struct stackmap_stats {
    size_t nodes;       /* that may be needed: stamp >= sweep */
    size_t collections; /* since the start */
};
void stackmap_get_stats(struct stackmap_stats *out);

/* Bytes of static storage, and where they begin. */
size_t stackmap_own_bytes(void);
const void *stackmap_table(void);

/* Checks (1), and that parents of nodes with stamp >= sweep have it too; only while nothing else uses the
 * table. */
bool stackmap_is_valid(void);

#endif
