/* SPDX-License-Identifier: MIT
 *
 * Capture by cached rules, x86-64.  A walk goes from the entry point's caller outwards, one rule and one or
 * two loads for each frame, until it meets this thread's last stack: a frame with the same pc and stack
 * pointer, from which every word that the walk would go on to read is unchanged (trail.h).  What lies beyond
 * is known, and so is its place in the tree; only the inner frames are new.  When nothing has changed nothing
 * is walked at all.
 *
 * What rules cannot express (signal frames, realigned stacks, code without unwind information) is left to
 * libunwind, for that capture.
 */
#include "unwind.h"

#if LD_UNWIND_RULES

#include "platform.h"
#include "rules.h"

enum {
    /* A frame larger than this is not believed. */
    FRAME_SIZE_MAX = 1 << 26,
    /* Below this there is no code: as libunwind has it. */
    LOWEST_PC = 0x4000,
};

/* Frames walked before the stack counts as deeper than is worth knowing: some more than are shown, so that
 * a recursion may come back a while before it has to be walked again. */
#define WALK_FRAMES_MAX (LD_MAX_FRAMES + (PATH_MAX_FRAMES - LD_MAX_FRAMES) / 2)

struct registers {
    uintptr_t pc, sp, bp;
};

enum outcome {
    MET,      /* the last stack: what is new are the steps */
    ROOTED,   /* the beginning of the stack */
    FLOATING, /* neither, for WALK_FRAMES_MAX frames */
    UNKNOWN,  /* what no rule can express */
};

struct walk {
    uint32_t met; /* frames of the last stack that are still there */
    uint32_t steps;
};

static inline uintptr_t word_at(uintptr_t address)
{
    return *(const uintptr_t *)address;
}

/* --- Meeting the last stack ------------------------------------------------------------------------------
 */

/* The first `count` frames of the last stack are unchanged in memory: all of them, or those outside of the
 * first that is not. From the inside outwards, so that nothing is read that a walk would not read. */
static inline uint32_t unchanged(const struct trail *trail, uint32_t count)
{
    uint32_t i = count == 0 ? 0 : trail->check_end[count - 1];

    while (i > 0) {
        const struct check *check = &trail->checks[i - 1];

        if (UNLIKELY(word_at(check->at) != check->value))
            break;
        i--;
    }
    if (LIKELY(i == 0))
        return count;
    while (count > 0 && trail->check_end[count - 1] >= i)
        count--;
    return count;
}

/* If the walk is at a frame of the last stack, and all is unchanged from there on, the number of frames up to
 * that one; otherwise 0.  *limit is the number of frames that may still be met. */
static inline uint32_t meet(const struct path *last, const struct trail *trail, const struct registers *at,
                            uint32_t *limit)
{
    uint32_t i = *limit, same;

    while (i > 0 && trail->sp[i - 1] < at->sp)
        i--;
    *limit = i;
    if (i == 0 || trail->sp[i - 1] != at->sp || (uintptr_t)last->frames[i - 1] != at->pc ||
        (trail->needs_bp[i - 1] && trail->bp[i - 1] != at->bp))
        return 0;
    same = unchanged(trail, i - 1);
    if (LIKELY(same == i - 1))
        return i;
    *limit = same;
    return 0;
}

/* --- Walking -------------------------------------------------------------------------------------------- */

static COLD rule learn(struct thread *thread, const struct registers *at)
{
    rule r;

    thread_unwind_enter(thread, 0);
    r = rules_learn(at->pc, at->sp, at->bp);
    thread_unwind_leave(thread, 0);
    return r;
}

static enum outcome walk_stack(struct thread *thread, struct registers at, struct walk *walk)
{
    const struct path *last = &thread->last[0];
    struct trail *trail = &thread->trail;
    uint32_t limit = trail->is_void ? 0 : last->count;
    uintptr_t bp_at = 0;

    for (walk->steps = 0; walk->steps < WALK_FRAMES_MAX; walk->steps++) {
        uintptr_t cfa;
        rule r;

        walk->met = meet(last, trail, &at, &limit);
        if (walk->met != 0)
            return MET;
        r = rules_find(at.pc);
        if (UNLIKELY(r == 0))
            r = learn(thread, &at);
        if (UNLIKELY((r & RULE_ASK) != 0))
            return UNKNOWN;
        trail->steps[walk->steps] = (struct step){at.pc, at.sp, at.bp, bp_at, r};
        if (UNLIKELY((r & RULE_ENDS) != 0)) {
            walk->steps++;
            return ROOTED;
        }
        cfa = ((r & RULE_FROM_BP) != 0 ? at.bp : at.sp) + (uintptr_t)rule_cfa(r);
        if (UNLIKELY(cfa <= at.sp || cfa - at.sp > FRAME_SIZE_MAX || cfa % sizeof(uintptr_t) != 0))
            return UNKNOWN;
        at.pc = word_at(cfa - sizeof(uintptr_t));
        bp_at = 0;
        if ((r & RULE_RESTORES_BP) != 0) {
            bp_at = cfa + (uintptr_t)rule_bp(r);
            at.bp = word_at(bp_at);
        }
        at.sp = cfa;
        if (UNLIKELY(at.pc < LOWEST_PC))
            return UNKNOWN;
    }
    return FLOATING;
}

/* Adds the frame that a step was at, further in than all others. */
static void push(struct path *path, struct trail *trail, const struct step *step)
{
    uint32_t i = path->count, end = i == 0 ? 0 : trail->check_end[i - 1];

    /* Known to follow; gcc, which cannot see it, warns where LD_MAX_FRAMES is 1. */
    ASSUME(i < PATH_MAX_FRAMES);
    trail->sp[i] = step->sp;
    trail->bp[i] = step->bp;
    trail->needs_bp[i] = i > 0 && ((step->rule & RULE_FROM_BP) != 0 ||
                                   ((step->rule & RULE_RESTORES_BP) == 0 && trail->needs_bp[i - 1]));
    if (step->bp_at != 0 && trail->needs_bp[i])
        trail->checks[end++] = (struct check){step->bp_at, step->bp};
    trail->checks[end++] = (struct check){step->sp - sizeof(uintptr_t), step->pc};
    trail->check_end[i] = end;
    path_push(path, (const void *)step->pc);
}

/* Brings the last stack up to date.  False: libunwind has to be asked. */
static bool follow(struct thread *thread, const struct registers *start)
{
    struct path *path = &thread->last[0];
    struct trail *trail = &thread->trail;
    struct walk walk;
    enum outcome outcome = walk_stack(thread, *start, &walk);

    if (outcome == MET) {
        uint32_t total = walk.met + walk.steps;

        if (UNLIKELY(path_current(path, walk.met) != walk.met || total > PATH_MAX_FRAMES ||
                     (trail->is_floating && total < LD_MAX_FRAMES))) {
            path_forget(path);
            outcome = walk_stack(thread, *start, &walk);
        }
    }
    if (UNLIKELY(outcome == UNKNOWN))
        return false;
    if (outcome != MET) {
        walk.met = 0;
        path_forget(path);
        trail->is_void = false;
        trail->is_floating = outcome == FLOATING;
    }
    if (walk.met != path->count)
        path_truncate(path, walk.met);
    while (walk.steps > 0)
        push(path, trail, &trail->steps[--walk.steps]);
    return true;
}

/* --- Capture -------------------------------------------------------------------------------------------- */

/* Budget, when the path repeats: no lock, no write but the id in flight; two loads of this thread's and one
 * of its stack for each frame, one more where a frame pointer matters. */
struct unwind_stack unwind_capture(struct thread *thread, unsigned level, struct unwind_caller caller,
                                   stackmap_roots_fn *each_root)
{
    /* The entry point has a frame pointer, because it asked for its frame address: the caller's BP lies
     * there, the return address above it, and then comes the caller's frame. */
    uintptr_t frame = (uintptr_t)caller.frame;
    struct registers start = {
        .pc = (uintptr_t)caller.pc,
        .sp = frame + 2 * sizeof(uintptr_t),
        .bp = word_at(frame),
    };

    if (UNLIKELY(level != 0))
        return unwind_ask(thread, level, caller.pc, each_root);
    if (UNLIKELY(!follow(thread, &start))) {
        thread->trail.is_void = true;
        return unwind_ask(thread, level, caller.pc, each_root);
    }
    return unwind_publish(thread, level, each_root);
}

size_t unwind_own_bytes(void)
{
    return rules_own_bytes();
}

#endif
