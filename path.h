/* SPDX-License-Identifier: MIT
 *
 * A call stack with the node that each of its frames has in the tree (stackmap.h), outermost frame first, so
 * that what two stacks of a thread have in common is their beginning: the next stack is a truncate and a few
 * pushes away.
 *
 *     frames  | _start | main | parse | expr | ...        count frames, the first `known`
 *     ids     |   1    |  2   |   3   |                   of which have an id, good in `epoch`
 *
 * A path belongs to one thread.  Whoever changes it keeps it true at each instant, since a signal handler may
 * leave for good at any of them: first `count` and `known` go down, then frames are written, then `count`
 * goes up.
 */
#ifndef PATH_H
#define PATH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "stackmap.h"

struct path {
    uint32_t count;
    uint32_t known;
    uint32_t firm; /* of the known ones, so many first ones are in modules that are never unloaded */
    uint32_t epoch;
    const void *frames[LD_MAX_FRAMES];
    stack_id ids[LD_MAX_FRAMES];
    uint16_t modules[LD_MAX_FRAMES]; /* of the known ones */
};

static inline void path_truncate(struct path *path, uint32_t count)
{
    if (path->known > count)
        path->known = count;
    if (path->firm > count)
        path->firm = count;
    path->count = count;
    atomic_signal_fence(memory_order_seq_cst);
}

static inline void path_forget(struct path *path)
{
    path_truncate(path, 0);
}

/* There must be room. */
static inline void path_push(struct path *path, const void *pc)
{
    path->frames[path->count] = pc;
    atomic_signal_fence(memory_order_seq_cst);
    path->count++;
}

/* Gives every frame an id.  False if there was no room in the tree for the frames from `known` on. */
bool path_intern(struct path *path, struct stackmap_supply *supply, uint32_t epoch);

/* How many of the first `count` frames, at most all known ones, are still in the module that they were in. */
uint32_t path_current(const struct path *path, uint32_t count);

#endif
