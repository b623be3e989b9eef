/* SPDX-License-Identifier: MIT
 *
 * The one place that fills a struct ld_leak (walk.h).  Stacks may be given back while their frames are
 * copied: the number of the sweep tells.  A stack is copied once for all the blocks with it that follow each
 * other.
 */
#include "walk.h"

#include "platform.h"
#include "sampling.h"

void walk_init(struct walk *walk, ld_leak_fn *callback, void *ctx)
{
    walk->callback = callback;
    walk->ctx = ctx;
    walk->since = 0;
    walk->flags = 0;
    walk->led_blocks = 0;
    walk->led_bytes = 0;
    walk->sweep = stackmap_sweep();
    walk->count = 0;
    walk->stack = 0;
    walk->frame_count = 0;
}

/* The frames of a stack; false if it may have been given back while they were copied. */
static bool copy_frames(struct walk *walk, stack_id stack)
{
    uint32_t sweep;

    if (stack != walk->stack) {
        walk->stack = 0;
        walk->frame_count = stackmap_frames(stack, walk->frames, walk->modules, LD_MAX_FRAMES);
    }
    sweep = stackmap_sweep();
    if (LIKELY(sweep == walk->sweep)) {
        walk->stack = stack;
        return true;
    }
    walk->sweep = sweep;
    walk->stack = 0;
    walk->frame_count = 0;
    return false;
}

enum blockmap_step walk_hand_over(struct walk *walk, const struct block *block, enum ld_reach reach)
{
    struct ld_leak leak;

    if (walk->callback == NULL) {
        walk->count++;
        return BLOCKMAP_NEXT;
    }
    if (UNLIKELY(!copy_frames(walk, block->stack)))
        return BLOCKMAP_AGAIN;
    leak = (struct ld_leak){
        .address = block->address,
        .size = block->size,
        .frames = walk->frames,
        .frame_count = walk->frame_count,
        .mark = block->mark,
        .flags = (block->flags & LD_LEAK_STACK_CUT) | walk->flags,
        .modules = walk->modules,
        .reach = reach,
        .weight = sampling_weight(block->flags >> SAMPLING_FLAG_SHIFT, block->size),
        .led_blocks = walk->led_blocks,
        .led_bytes = walk->led_bytes,
    };
    walk->count++;
    return walk->callback(&leak, walk->ctx) ? BLOCKMAP_NEXT : BLOCKMAP_STOP;
}
