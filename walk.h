/* SPDX-License-Identifier: MIT
 *
 * Handing blocks over to a callback, with their frames.
 */
#ifndef WALK_H
#define WALK_H

#include <stddef.h>
#include <stdint.h>

#include "blockmap.h"
#include "config.h"
#include "leakdetect.h"
#include "stackmap.h"

struct walk {
    ld_leak_fn *callback; /* NULL: only count */
    void *ctx;
    uint32_t since;               /* the caller's */
    uint32_t sweep;               /* of the stacks, before the block was looked up */
    uint32_t flags;               /* of the block, beyond LD_LEAK_STACK_CUT, the caller's */
    size_t led_blocks, led_bytes; /* by the block, the caller's: see struct ld_leak */
    size_t count;
    stack_id stack; /* whose frames these are, while sweep lasts */
    size_t frame_count;
    const void *frames[LD_MAX_FRAMES];
    uint16_t modules[LD_MAX_FRAMES];
};

/* Called before the first block is looked up. */
void walk_init(struct walk *walk, ld_leak_fn *callback, void *ctx);

/* Calls the callback.  BLOCKMAP_AGAIN: it was not called, and the block must be looked up again, because its
 * stack may have been given back meanwhile. */
enum blockmap_step walk_hand_over(struct walk *walk, const struct block *block, enum ld_reach reach);

#endif
