/* SPDX-License-Identifier: MIT
 *
 * The trail of a thread: the last stack that it walked, outermost frame first, with the node that each frame
 * has in the tree, and with where it all lies in memory, so that the next walk can stop where it meets it.
 *
 *     frame i of `count`, counted from the outermost:
 *       sp          the stack pointer in it: its return address was read from the word below
 *       bp          the frame pointer register in it, which matters only if needs_bp
 *       id          its node, good in `epoch`; the first `known` frames have one
 *       words_end   words[0 ... words_end) are those that a walk from frame i outwards reads, the
 *                   last of them first, with what they were
 *
 * If a walk comes to frame i with the same pc, sp and, where it matters, bp, and all words that it would read
 * from there on are unchanged, it would go the same way: each word determines where the next one lies.  So
 * what two stacks of a thread have in common is the beginning of its trail, and the next stack is a truncate
 * and a few pushes away.
 *
 * A trail belongs to one thread.  Whoever changes it keeps it true at each instant, since a signal handler
 * may leave for good at any of them: first `count` and `known` go down, then frames are written, then they go
 * up.
 */
#ifndef TRAIL_H
#define TRAIL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "module.h"
#include "platform.h"
#include "rules.h"
#include "stackmap.h"

#if LD_UNWIND_RULES

enum {
    /* Frames that are walked before a stack counts as deeper than is worth knowing, and frames of one that is
     * known as a whole: more than are shown, so that a recursion may come back a while, or go on, before
     * everything has to be walked again.  In small builds nodes are dearer than time. */
    TRAIL_WALK_MAX = LD_MAX_FRAMES >= 32 ? LD_MAX_FRAMES * 5 / 2 : LD_MAX_FRAMES,
    TRAIL_FRAMES_MAX = STACKMAP_DEPTH_MAX,
    TRAIL_WORDS_MAX = 3, /* from one frame to the next: its pc, its BP, and where they are */
};

/* What a walk knows of the frame that it is at. */
struct trail_registers {
    uintptr_t pc, sp, bp;
};

/* The frame pointer where it did not matter, so that nothing tells what it is.  No address, and far from all
 * of them, so that no step out of a frame can be made with it; and no number that a program has in the
 * register, lest its stacks are left to libunwind. */
#define TRAIL_UNKNOWN_BP ((uintptr_t)UINT64_C(0xb3e18f5a6c94d217))

struct trail_word {
    uintptr_t at;
    uintptr_t value;
};

struct trail_frame {
    struct trail_registers at;
    stack_id id;
    uint32_t words_end;
    uint32_t rule; /* its flags and its module: its lower half */
    bool needs_bp;
};

static inline module_id trail_module(const struct trail_frame *frame)
{
    return rule_module(frame->rule);
}

/* The module, without notice; and where there is none, one may be loaded. */
static inline bool trail_can_unload(const struct trail_frame *frame)
{
    return (frame->rule & RULE_CAN_UNLOAD) != 0;
}

/* What comes further out may be no frames. */
static inline bool trail_is_guessed(const struct trail_frame *frame)
{
    return (frame->rule & (RULE_GUESSED | RULE_UNSURE)) != 0;
}

/* One frame that a walk has passed. */
struct trail_step {
    struct trail_registers at;
    uintptr_t bp_at; /* the word that at.bp was read from on the way into this frame; 0: it was left alone */
    rule rule;       /* by which the walk went on */
};

struct trail {
    uint32_t count;
    uint32_t known;
    uint32_t firm; /* so many first frames are known, and in modules that stay in this generation */
    uint32_t epoch;
    uint32_t generation; /* of modules (module.h), for which all holds that this thread remembers */
    bool is_floating;    /* the outermost frame is not where the stack begins: it was too deep to walk */
    struct trail_frame frames[TRAIL_FRAMES_MAX];
    struct trail_word words[TRAIL_WORDS_MAX * TRAIL_FRAMES_MAX];
    struct trail_step steps[TRAIL_WALK_MAX]; /* scratch of a walk, innermost frame first */
};

/* The word at an address on the stack. */
static inline uintptr_t trail_load(uintptr_t address)
{
    return *(const uintptr_t *)address;
}

static inline bool trail_word_holds(const struct trail_word *word)
{
    return LIKELY(trail_load(word->at) == word->value);
}

/* Whether all of these words are unchanged.  From the last of them to the first, and not beyond one that is
 * changed, so that nothing is read that a walk would not read.  Budget: two loads for each. */
static inline bool trail_words_hold(const struct trail_word *words, size_t count)
{
    const struct trail_word *word = words + count;

    for (; count >= 4; count -= 4, word -= 4)
        if (!trail_word_holds(word - 1) || !trail_word_holds(word - 2) || !trail_word_holds(word - 3) ||
            !trail_word_holds(word - 4))
            return false;
    while (word != words)
        if (!trail_word_holds(--word))
            return false;
    return true;
}

/* How many of the first `count` frames are further out than the innermost one that has changed, or whose
 * module has; all, if none has.  From the inside outwards: it is the frame further in that says that the code
 * of the next one is on the stack still, and so stays loaded while its module is looked at; and it is that
 * module that says where the frame beyond lies. */
uint32_t trail_unchanged(const struct trail *trail, uint32_t count);

static inline void trail_truncate(struct trail *trail, uint32_t count)
{
    if (trail->firm > count)
        trail->firm = count;
    if (trail->known > count)
        trail->known = count;
    trail->count = count;
    atomic_signal_fence(memory_order_seq_cst);
}

/* Gives every frame its node.  False if there was no room in the tree for the frames from `known` on. */
bool trail_intern(struct trail *trail, struct stackmap_supply *supply, uint32_t epoch);

#endif
#endif
