/* SPDX-License-Identifier: MIT
 *
 * Capture by cached rules, x86-64.  A walk goes from the entry point's caller outwards, one rule and one or
 * two loads for each frame, until it meets this thread's trail (trail.h): a frame with the same pc and stack
 * pointer, from which every word that the walk would go on to read is unchanged.  What lies beyond is known,
 * and so is its place in the tree; only the inner frames are new.  Stacks that have been walked before leave
 * shortcuts (shortcuts.h), so that most captures walk nothing at all.
 *
 * What rules cannot express (signal frames) is left to libunwind, for that capture.  What may be no frame, as
 * at the beginning of a stack that was made by hand, is looked at before it is followed, and what may go away
 * before the stack does is walked each time, carefully, and not remembered.
 */
#include "unwind.h"

#if LD_UNWIND_RULES

#include "kernel.h"
#include "platform.h"
#include "rules.h"
#include "shortcuts.h"
#include "tcb.h"
#include "trail.h"

enum {
    /* A frame larger than this is not believed. */
    FRAME_SIZE_MAX = 1 << 26,
    /* Below this there is no code: as libunwind has it. */
    LOWEST_PC = 0x4000,
    PAGE = 4096, /* the smallest */
};

enum outcome {
    MET,      /* the trail: what is new are the steps */
    ROOTED,   /* the beginning of the stack */
    FLOATING, /* neither, for TRAIL_WALK_MAX frames */
    UNKNOWN,  /* what no rule can express */
    ASTRAY,   /* it may go on, but not on the thread's own stack */
    ONWARDS,  /* none of these so far */
};

struct walked {
    uint32_t met;    /* frames of the trail that are still there */
    uintptr_t bp_at; /* as in struct trail_step, of the frame where the trail was met */
    /* The return address that ends the stack, as nothing can return to it, and the other word that has a part
     * in that; at 0: there is none, a rule ends it. */
    struct trail_word end, end_too;
    uint32_t steps;
    bool is_careful;  /* what is not on the thread's own stack may be followed, if it can be read */
    bool has_guessed; /* and gone on */
    uintptr_t page;   /* the last one of which that is known */
};

/* --- Walking -------------------------------------------------------------------------------------------- */

/* Around a question to libunwind, with all signals blocked.  False: it cannot be asked now, and there is no
 * end_asking. */
static bool begin_asking(struct thread *thread, uint64_t *blocked)
{
    uint32_t inside;

    if (!thread_unwind_enter(thread, 0, &inside))
        return false;
    if (UNLIKELY(!unwind_can_ask())) {
        thread_unwind_leave(thread, 0);
        return false;
    }
    *blocked = thread_block_signals();
    return true;
}

static void end_asking(struct thread *thread, uint64_t blocked)
{
    thread_unblock_signals(blocked);
    thread_unwind_leave(thread, 0);
}

static COLD rule learn(struct thread *thread, struct trail_registers at, bool is_doubtful)
{
    uint64_t blocked;
    rule r;

    if (!begin_asking(thread, &blocked))
        return RULE_ASK;
    r = rules_learn(at.pc, at.sp, at.bp, is_doubtful, thread->scratch);
    end_asking(thread, blocked);
    return r;
}

/* Whether the module that a rule was learnt in has been replaced by another.  *checked is the last one that
 * was found to be there still in this walk. */
static inline bool is_stale(rule r, uintptr_t pc, module_id *checked)
{
    if (LIKELY((r & RULE_CAN_UNLOAD) == 0) || (rule_module(r) == *checked && *checked != 0))
        return false;
    if (!module_is_current(rule_module(r), (const void *)pc))
        return true;
    *checked = rule_module(r);
    return false;
}

/* From a frame with this CFA to its caller, and in *bp_at where the caller's frame pointer was read from, if
 * it was. */
static inline void leave_frame(struct trail_registers *at, rule r, uintptr_t cfa, uintptr_t *bp_at)
{
    at->pc = trail_load(cfa - sizeof(uintptr_t));
    *bp_at = 0;
    if ((r & RULE_RESTORES_BP) != 0) {
        *bp_at = cfa + (uintptr_t)rule_bp(r);
        at->bp = trail_load(*bp_at);
    }
    at->sp = cfa;
}

/* The CFA, or what leads to it, by a rule with RULE_LOADED. */
static inline uintptr_t cfa_by(const struct trail_registers *at, rule r)
{
    return ((r & RULE_FROM_BP) != 0 ? at->bp : at->sp) + (uintptr_t)rule_cfa(r);
}

/* SP is where it was left; BP may be anything. */
static inline bool is_believable(const struct trail_registers *at, rule r)
{
    uintptr_t cfa = cfa_by(at, r);

    return (r & RULE_FROM_BP) == 0 ||
           LIKELY(cfa > at->sp && cfa - at->sp <= FRAME_SIZE_MAX && cfa % sizeof(uintptr_t) == 0);
}

/* As leave_frame.  False if the rule leads nowhere that can be believed. */
static inline bool step_out(struct trail_registers *at, rule r, uintptr_t *bp_at)
{
    if (!is_believable(at, r))
        return false;
    leave_frame(at, r, cfa_by(at, r), bp_at);
    return true;
}

/* As step_out, by a rule with RULE_LOADED. */
static bool step_out_loaded(struct trail_registers *at, rule r, uintptr_t *bp_at)
{
    uintptr_t cfa_at = at->bp + (uintptr_t)rule_cfa(r), cfa;

    if (at->bp < at->sp || at->bp - at->sp > FRAME_SIZE_MAX || at->bp % sizeof(uintptr_t) != 0 ||
        cfa_at < at->sp)
        return false;
    cfa = trail_load(cfa_at);
    if (cfa <= at->bp || cfa - at->sp > FRAME_SIZE_MAX || cfa % sizeof(uintptr_t) != 0)
        return false;
    *bp_at = at->bp + (uintptr_t)rule_bp(r);
    *at = (struct trail_registers){
        .pc = trail_load(cfa - sizeof(uintptr_t)), .sp = cfa, .bp = trail_load(*bp_at)};
    return true;
}

/* Where the stack ends that the C library has given to this thread, if sp is on it, and otherwise 0. */
static COLD uintptr_t own_stack_end(struct thread *thread, uintptr_t sp)
{
    uintptr_t self = (uintptr_t)platform_thread_pointer();

    if (thread->stack.of != self)
        thread->stack = tcb_own_stack();
    return sp - thread->stack.start < thread->stack.end - thread->stack.start ? thread->stack.end : 0;
}

/* Beyond what may be no frame there may be none any more, and it may lead anywhere.  What is read there for
 * the trail is read again whenever it may be met, so it must stay as long as that frame does: it is further
 * out on the thread's own stack, or on one where it was there.  Elsewhere a careful walk looks, each time. */
#define ELSEWHERE UINTPTR_MAX
static bool is_there(struct walked *walk, const struct trail_registers *at, uintptr_t address, uintptr_t end)
{
    if (address % sizeof(uintptr_t) != 0 || address < PAGE)
        return false;
    if (end != ELSEWHERE)
        return address >= at->sp && address < end;
    if (address / PAGE == walk->page)
        return true;
    if (!kernel_can_read(address))
        return false;
    walk->page = address / PAGE;
    return true;
}

/* Whether what the rule would have read is there. */
static bool can_step_out(struct walked *walk, const struct trail_registers *at, rule r, uintptr_t end)
{
    uintptr_t cfa = cfa_by(at, r), base = cfa;

    if ((r & RULE_LOADED) != 0) {
        if (!is_there(walk, at, cfa, end))
            return false;
        cfa = trail_load(cfa);
        base = at->bp;
    }
    return is_there(walk, at, cfa - sizeof(uintptr_t), end) &&
           ((r & RULE_RESTORES_BP) == 0 || is_there(walk, at, base + (uintptr_t)rule_bp(r), end));
}

/* Code that nothing describes, as that which is made at run time, may keep a frame pointer.  libunwind takes
 * BP for one if it points into the stack, not far beyond SP, and the stack to end here otherwise (Gstep.c of
 * its x86_64). */
static enum outcome judge_guess(const struct trail_registers *at)
{
    enum { DISTANCE_MAX = 0x4000 };

    if (at->bp == TRAIL_UNKNOWN_BP)
        return UNKNOWN;
    return at->bp < at->sp || at->bp - at->sp > DISTANCE_MAX ? ROOTED : ONWARDS;
}

/* Whether stacks begin in that code, as those of the C library's contexts do. */
static bool begins_stacks(struct thread *thread, const struct trail_registers *at)
{
    module_id checked = 0;
    rule r;

    if (module_at((const void *)at->pc) == 0)
        return false;
    r = rules_find(&thread->rules, at->pc);
    if (r == 0 || is_stale(r, at->pc, &checked))
        r = learn(thread, *at, true);
    return (r & RULE_GUESSED) != 0 || (r & (RULE_ENDS | RULE_UNSURE)) == RULE_ENDS;
}

/* Whether this word can be read as long as that frame is there, whose pc was read from the one below SP. */
static bool stays(struct thread *thread, const struct trail_registers *at, uintptr_t address)
{
    return address / PAGE == (at->sp - sizeof(address)) / PAGE ||
           (address >= at->sp && address < own_stack_end(thread, at->sp));
}

/* Of what may be no frame: ONWARDS, there is a caller, and otherwise it is the outermost one.  libunwind
 * would go on wherever that leads. */
static enum outcome judge_suspect(struct thread *thread, struct walked *walk,
                                  const struct trail_registers *at, rule r)
{
    struct trail_registers caller = *at;
    uintptr_t bp_at;

    if ((r & RULE_FROM_BP) != 0 && at->bp == TRAIL_UNKNOWN_BP)
        return UNKNOWN;
    /* What cannot be read does not change, but the CFA may, if that is read. */
    if (!can_step_out(walk, at, r, ELSEWHERE))
        return (r & RULE_LOADED) == 0 ? ROOTED : ASTRAY;
    if ((r & RULE_LOADED) == 0)
        leave_frame(&caller, r, cfa_by(at, r), &bp_at);
    else if (!step_out_loaded(&caller, r, &bp_at))
        return UNKNOWN;
    if (rules_is_return(caller.pc) || begins_stacks(thread, &caller))
        return ONWARDS;
    walk->end = (struct trail_word){caller.sp - sizeof(uintptr_t), caller.pc};
    if ((r & RULE_LOADED) != 0)
        walk->end_too = (struct trail_word){cfa_by(at, r), caller.sp};
    return stays(thread, at, walk->end.at) ? ROOTED : ASTRAY;
}

/* As step_out, where that will not do: by a rule that is RULE_UNUSUAL, or that leads nowhere that can be
 * believed, or by any beyond what may be no frame, where *end is not 0 (see is_there).  ONWARDS: the step was
 * taken. */
static NOINLINE enum outcome step_out_doubtfully(struct thread *thread, struct trail_registers *at, rule r,
                                                 struct walked *walk, uintptr_t *end)
{
    bool is_usual = (r & RULE_UNUSUAL) == 0;
    uintptr_t cfa = cfa_by(at, r);

    if ((r & (RULE_ENDS | RULE_ASK)) != 0)
        return (r & RULE_ENDS) != 0 ? ROOTED : UNKNOWN;
    if ((r & (RULE_GUESSED | RULE_UNSURE)) != 0 || (is_usual && !is_believable(at, r))) {
        enum outcome outcome = (r & RULE_GUESSED) != 0 ? judge_guess(at) : judge_suspect(thread, walk, at, r);

        if (outcome != ONWARDS)
            return outcome;
        walk->has_guessed |= (r & RULE_GUESSED) != 0;
        *end = walk->is_careful ? ELSEWHERE : own_stack_end(thread, at->sp);
        /* So near it is the same stack, whose it may be. */
        if (*end == 0 && (r & (RULE_GUESSED | RULE_LOADED)) == 0 && cfa - at->sp <= PAGE)
            *end = ELSEWHERE;
        if (*end == 0)
            return ASTRAY;
    }
    if (*end != 0 && !can_step_out(walk, at, r, *end))
        return ASTRAY;
    if ((r & RULE_LOADED) == 0)
        leave_frame(at, r, cfa, &walk->bp_at);
    else if (!step_out_loaded(at, r, &walk->bp_at))
        return UNKNOWN;
    return ONWARDS;
}

/* If the walk is at a frame of the trail, and all is unchanged from there on, the number of frames up to that
 * one; otherwise 0.  *limit is the number of frames that may still be met. */
static inline uint32_t meet(const struct trail *trail, const struct trail_registers *at, uint32_t *limit)
{
    const struct trail_frame *frame;
    uint32_t i = *limit, same;

    while (i > 0 && trail->frames[i - 1].at.sp < at->sp)
        i--;
    *limit = i;
    if (i == 0)
        return 0;
    frame = &trail->frames[i - 1];
    if (frame->at.sp != at->sp || frame->at.pc != at->pc || (frame->needs_bp && frame->at.bp != at->bp))
        return 0;
    if (LIKELY(i <= trail->firm) && trail_words_hold(trail->words, frame->words_end))
        return i;
    same = trail_unchanged(trail, i);
    *limit = same;
    return same == i ? i : 0;
}

/* Whether a pc without a rule is where libunwind ends, too: there is no code, nor does BP lead on. */
static bool is_nowhere(const struct trail_registers *at)
{
    enum { ADDRESS_BITS = 47 };

    return judge_guess(at) == ROOTED && ((uint64_t)at->pc >> ADDRESS_BITS != 0 || !kernel_can_read(at->pc));
}

/* The walk has come to what is no frame, by this rule. */
static enum outcome end_walk(struct walked *walk, const struct trail_registers *at, uintptr_t bp_at, rule r)
{
    walk->end = (struct trail_word){at->sp - sizeof(uintptr_t), at->pc};
    if (at->pc >= LOWEST_PC)
        walk->end_too = (struct trail_word){bp_at, at->bp};
    return (r & RULE_LOADED) == 0 ? ROOTED : UNKNOWN;
}

static enum outcome walk_stack(struct thread *thread, const struct trail_registers *start,
                               struct walked *walk)
{
    struct trail *trail = &thread->trail;
    struct trail_step *step = trail->steps;
    uint32_t limit = trail->count;
    enum outcome outcome = ONWARDS;
    module_id checked = 0;
    struct trail_registers at = *start;
    uintptr_t bp_at = 0, end = 0; /* beyond what may be no frame: of what can be read */

    walk->met = 0;
    walk->end = walk->end_too = (struct trail_word){0, 0};
    while (outcome == ONWARDS && step < trail->steps + TRAIL_WALK_MAX) {
        rule r;

        walk->met = meet(trail, &at, &limit);
        if (walk->met != 0) {
            outcome = MET;
            break;
        }
        r = rules_find(&thread->rules, at.pc);
        if (UNLIKELY(r == 0) || UNLIKELY(is_stale(r, at.pc, &checked))) {
            /* libunwind would read wherever it points. */
            if (at.bp == TRAIL_UNKNOWN_BP) {
                outcome = UNKNOWN;
                break;
            }
            if (r == 0 && step != trail->steps && is_nowhere(&at)) {
                outcome = end_walk(walk, &at, bp_at, step[-1].rule);
                break;
            }
            r = learn(thread, at, end != 0);
        }
        *step++ = (struct trail_step){at, bp_at, r};
        if (UNLIKELY((r & RULE_UNUSUAL) != 0) || UNLIKELY(end != 0) || UNLIKELY(!step_out(&at, r, &bp_at))) {
            /* Copies, lest what is passed on here has to be in memory everywhere. */
            struct trail_registers doubtful = at;

            outcome = step_out_doubtfully(thread, &doubtful, r, walk, &end);
            at = doubtful;
            bp_at = walk->bp_at;
        }
        if (LIKELY(outcome == ONWARDS) && UNLIKELY(at.pc < LOWEST_PC))
            outcome = end_walk(walk, &at, bp_at, r);
    }
    walk->bp_at = bp_at;
    walk->steps = (uint32_t)(step - trail->steps);
    return outcome == ONWARDS ? FLOATING : outcome;
}

/* Adds the frames that `count` steps were at, further in than all others, the last step first.  bp_at is that
 * of the step before it. */
static inline void push(struct trail *trail, size_t count, uintptr_t bp_at)
{
    struct trail_frame *frame = &trail->frames[trail->count];
    struct trail_word *word = &trail->words[frame[-1].words_end];
    bool needs_bp = frame[-1].needs_bp;

    for (const struct trail_step *step = trail->steps + count; step-- != trail->steps; frame++) {
        const struct trail_registers *outer = &frame[-1].at;

        *word++ = (struct trail_word){outer->sp - sizeof(uintptr_t), outer->pc};
        if (bp_at != 0) {
            if (needs_bp)
                *word++ = (struct trail_word){bp_at, outer->bp};
            if (UNLIKELY((step->rule & RULE_LOADED) != 0))
                *word++ = (struct trail_word){step->at.bp + (uintptr_t)rule_cfa(step->rule), outer->sp};
        }
        needs_bp = (step->rule & RULE_FROM_BP) != 0 || ((step->rule & RULE_RESTORES_BP) == 0 && needs_bp);
        /* Word by word, as they were stored just now: two that are read as one would have to wait. */
        frame->at = (struct trail_registers){step->at.pc, step->at.sp, step->at.bp};
        frame->rule = (uint32_t)step->rule;
        frame->words_end = (uint32_t)(word - trail->words);
        frame->needs_bp = needs_bp;
        bp_at = step->bp_at;
    }
    atomic_signal_fence(memory_order_seq_cst);
    trail->count += (uint32_t)count;
}

/* Adds the outermost frame. */
static void push_first(struct trail *trail, const struct trail_step *step, const struct walked *walk)
{
    struct trail_frame *frame = &trail->frames[0];

    frame->at = step->at;
    frame->rule = (uint32_t)step->rule;
    trail->words[0] = walk->end;
    trail->words[1] = walk->end_too;
    frame->words_end = walk->end.at == 0 ? 0 : walk->end_too.at == 0 ? 1 : 2;
    frame->needs_bp = (step->rule & (RULE_GUESSED | RULE_FROM_BP)) != 0 ||
                      (walk->end.value >= LOWEST_PC && walk->end_too.at == 0);
    atomic_signal_fence(memory_order_seq_cst);
    trail->count = 1;
}

/* Brings the trail up to date, so that it ends at this frame; or does not, and is UNKNOWN or ASTRAY. */
static enum outcome follow(struct thread *thread, const struct trail_registers *start)
{
    struct trail *trail = &thread->trail;
    struct walked walk = {.is_careful = false};
    enum outcome outcome = walk_stack(thread, start, &walk);

    if (outcome == MET) {
        uint32_t total = walk.met + walk.steps;

        stackmap_expect(trail->frames[walk.met - 1].id);
        if (UNLIKELY(total > TRAIL_FRAMES_MAX || (trail->is_floating && total < LD_MAX_FRAMES))) {
            trail_truncate(trail, 0);
            outcome = walk_stack(thread, start, &walk);
        }
    }
    if (UNLIKELY(outcome == UNKNOWN || outcome == ASTRAY))
        return outcome;
    if (outcome != MET) {
        const struct trail_step *first = &trail->steps[--walk.steps];

        trail_truncate(trail, 0);
        trail->is_floating = outcome == FLOATING;
        push_first(trail, first, &walk);
        walk.bp_at = first->bp_at;
    } else if (walk.met != trail->count) {
        trail_truncate(trail, walk.met);
    }
    push(trail, walk.steps, walk.bp_at);
    return outcome;
}

/* --- Capture -------------------------------------------------------------------------------------------- */

/* What this thread remembers was true of modules some of which are gone. */
static COLD void forget(struct thread *thread, uint32_t generation)
{
    trail_truncate(&thread->trail, 0);
    rules_forget(&thread->rules);
    shortcuts_forget(&thread->shortcuts);
    atomic_signal_fence(memory_order_seq_cst);
    thread->trail.generation = generation;
}

/* For the choice of a shortcut: what the pcs are in the two frames that called this one, as far as rules say
 * it at once. */
static inline uintptr_t callers_of(struct thread *thread, const struct trail_registers *start)
{
    struct trail_registers at = *start;
    uintptr_t bp_at, callers = 0;

    for (int i = 0; i < 2; i++) {
        rule r = rules_find(&thread->rules, at.pc);

        if (UNLIKELY(r == 0 || (r & (RULE_UNUSUAL | RULE_CAN_UNLOAD)) != 0) || !step_out(&at, r, &bp_at))
            break;
        callers = (callers << 9) + at.pc;
    }
    return callers;
}

/* Whether a shortcut, should it hold, leads to the trail, as far as the tree can tell. */
static inline bool leads_to_trail(const struct shortcut *shortcut, const struct trail *trail)
{
    uint32_t to = shortcut->depth - 1u;

    return to < trail->known && trail->frames[to].id == shortcut->to_id && trail->epoch == shortcut->epoch;
}

/* Whether it leads there in memory, too, and the trail is as it was, from its beginning to that frame. */
static inline bool trail_holds(const struct shortcut *shortcut, const struct trail *trail)
{
    const struct trail_frame *to = &trail->frames[shortcut->depth - 1];

    return LIKELY(to->at.sp == shortcut_to_sp(shortcut)) &&
           LIKELY(!to->needs_bp || to->at.bp == shortcut_to_bp(shortcut)) &&
           (LIKELY(shortcut->depth <= trail->firm)
                ? trail_words_hold(trail->words, to->words_end)
                : trail_unchanged(trail, shortcut->depth) == shortcut->depth);
}

/* The shortcut that holds and leads to the trail as it was; NULL: there is none, and *elsewhere says whether
 * one that holds may lead elsewhere. */
static inline struct shortcut *find_shortcut(struct thread *thread, uint64_t hash,
                                             const struct trail_registers *start, uint32_t epoch,
                                             bool *elsewhere)
{
    uint64_t ways = shortcuts_candidates(&thread->shortcuts, hash);
    struct shortcut *shortcut;

    *elsewhere = false;
    while ((shortcut = shortcuts_next(&thread->shortcuts, hash, &ways)) != NULL) {
        /* In this order: of those that begin here most lead elsewhere. */
        if (leads_to_trail(shortcut, &thread->trail) && LIKELY(shortcut_begins(shortcut, start, epoch))) {
            if (!shortcut_holds(shortcut))
                continue;
            if (LIKELY(trail_holds(shortcut, &thread->trail)))
                return shortcut;
        }
        *elsewhere = true;
    }
    return NULL;
}

/* Puts the stack of a shortcut in flight.  False: a collection has begun meanwhile. */
static inline bool take(struct thread *thread, struct shortcut *shortcut, uint32_t epoch)
{
    if (UNLIKELY(!shortcut->is_spared))
        shortcut->is_spared = true;
    return unwind_publish(thread, 0, shortcut->id, epoch);
}

/* One that holds, wherever it leads to. */
static const struct shortcut *find_other_shortcut(struct thread *thread, uint64_t hash,
                                                  const struct trail_registers *start, uint32_t epoch)
{
    uint64_t ways = shortcuts_candidates(&thread->shortcuts, hash);
    const struct shortcut *shortcut;

    do
        shortcut = shortcuts_next(&thread->shortcuts, hash, &ways);
    while (shortcut != NULL && !(shortcut_begins(shortcut, start, epoch) && shortcut_holds(shortcut)));
    return shortcut;
}

/* --- Careful walks -------------------------------------------------------------------------------------- */

/* From the frame by which a handler returns, at whose SP the registers lie of what was interrupted.  ONWARDS:
 * libunwind would be misled there, and the step is taken without it. */
static enum outcome step_out_misled(struct thread *thread, struct trail_registers *at, uintptr_t *interrupted)
{
    struct rules_caller caller;
    uint64_t blocked;
    bool is_misled;

    if (!begin_asking(thread, &blocked))
        return UNKNOWN;
    is_misled =
        rules_are_wrong_of((const void *)at->sp, &caller) && kernel_can_read(caller.sp - sizeof(uintptr_t));
    end_asking(thread, blocked);
    if (!is_misled)
        return UNKNOWN;
    *interrupted = caller.interrupted;
    *at = (struct trail_registers){
        .pc = trail_load(caller.sp - sizeof(uintptr_t)), .sp = caller.sp, .bp = caller.bp};
    return ONWARDS;
}

/* Walks without the trail, and looks whether what it reads is there beyond what may be no frame, and beyond a
 * frame of which libunwind knows what is wrong.  is_astray: the trail could not follow.  *is_for_libunwind:
 * it may know more, and can be asked. */
static COLD size_t walk_carefully(struct thread *thread, const struct trail_registers *start, bool is_astray,
                                  const void **frames, bool *is_for_libunwind)
{
    struct walked walk = {.is_careful = true};
    struct trail_registers at = *start;
    enum outcome outcome = ONWARDS;
    module_id checked = 0;
    uintptr_t end = 0;
    size_t count = 0;
    bool is_misled = false;

    while (outcome == ONWARDS && at.pc >= LOWEST_PC && count < LD_MAX_FRAMES) {
        rule r = rules_find(&thread->rules, at.pc);

        if (r == 0 || is_stale(r, at.pc, &checked)) {
            if (at.bp == TRAIL_UNKNOWN_BP || (r == 0 && count != 0 && is_nowhere(&at)))
                break;
            r = learn(thread, at, end != 0);
        }
        frames[count++] = (const void *)at.pc;
        if ((r & RULE_ASK) != 0 && count < LD_MAX_FRAMES && rules_is_signal_return(at.pc)) {
            uintptr_t interrupted;

            outcome = step_out_misled(thread, &at, &interrupted);
            if (outcome == ONWARDS) {
                frames[count++] = (const void *)interrupted;
                is_misled = true;
                end = ELSEWHERE;
            }
        } else if ((r & RULE_UNUSUAL) != 0 || end != 0 || !step_out(&at, r, &walk.bp_at)) {
            outcome = step_out_doubtfully(thread, &at, r, &walk, &end);
        }
    }
    *is_for_libunwind = outcome == UNKNOWN && !is_misled && !(is_astray && walk.has_guessed);
    return count;
}

/* Apart, since its frames and those of libunwind's answer would take twice the room on the stack. */
static COLD bool keep_carefully(struct thread *thread, const struct trail_registers *start, bool is_astray,
                                stackmap_roots_fn *each_root, struct unwind_stack *out)
{
    const void *frames[LD_MAX_FRAMES];
    bool is_for_libunwind;
    size_t count = walk_carefully(thread, start, is_astray, frames, &is_for_libunwind);

    if (!is_for_libunwind)
        *out = unwind_keep(thread, 0, frames, count, each_root);
    return !is_for_libunwind;
}

/* A stack that cannot be remembered, as far as it can be followed.  What no rule can express is left to
 * libunwind; but where a guess leads astray that would go the same way, and believes of memory that it has
 * read once that it can be read for ever, and it reads without a look beyond an interrupted frame of which it
 * knows what is wrong. */
static COLD struct unwind_stack capture_carefully(struct thread *thread, const struct trail_registers *start,
                                                  bool is_astray, stackmap_roots_fn *each_root)
{
    struct unwind_stack stack;

    return keep_carefully(thread, start, is_astray, each_root, &stack)
               ? stack
               : unwind_ask(thread, 0, (const void *)start->pc, each_root);
}

static struct unwind_stack follow_all(struct thread *thread, uint64_t hash,
                                      const struct trail_registers *start, stackmap_roots_fn *each_root)
{
    struct trail *trail = &thread->trail;

    for (int tries = 0; tries < UNWIND_TRIES_MAX; tries++) {
        uint32_t epoch = stackmap_epoch();
        enum outcome outcome;
        struct unwind_stack stack;

        outcome = follow(thread, start);
        if (UNLIKELY(outcome == ASTRAY || outcome == UNKNOWN))
            return capture_carefully(thread, start, outcome == ASTRAY, each_root);
        stack.is_cut = !trail_intern(trail, &thread->supply, epoch);
        stack.id = trail->known == 0 ? 0 : trail->frames[trail->known - 1].id;
        if (UNLIKELY(stack.is_cut) && unwind_make_room(0, epoch, tries, each_root))
            continue;
        if (UNLIKELY(!unwind_publish(thread, 0, stack.id, epoch)))
            continue;
        if (!stack.is_cut && shortcuts_wanted(&thread->shortcuts, stack.id))
            shortcuts_add(&thread->shortcuts, hash, trail);
        return stack;
    }
    return (struct unwind_stack){.id = 0, .is_cut = true};
}

/* A stack that no shortcut leads to the trail from.  If there is one that leads `elsewhere`, it is from there
 * that the trail may have to be made anew. */
static NOINLINE struct unwind_stack capture_walking(struct thread *thread, uint64_t hash,
                                                    struct trail_registers start, uint32_t epoch,
                                                    bool elsewhere, stackmap_roots_fn *each_root)
{
    const struct shortcut *shortcut = elsewhere ? find_other_shortcut(thread, hash, &start, epoch) : NULL;

    if (shortcut != NULL && !shortcut->is_beyond_guess) {
        struct trail_registers to = {
            .pc = shortcut->to_pc, .sp = shortcut_to_sp(shortcut), .bp = shortcut_to_bp(shortcut)};

        enum outcome outcome = follow(thread, &to);

        if (outcome != UNKNOWN && outcome != ASTRAY && trail_intern(&thread->trail, &thread->supply, epoch)) {
            struct shortcut *found = find_shortcut(thread, hash, &start, epoch, &elsewhere);

            if (found != NULL && take(thread, found, epoch))
                return (struct unwind_stack){.id = found->id, .is_cut = false};
        }
    }
    return follow_all(thread, hash, &start, each_root);
}

static inline struct trail_registers caller_registers(struct unwind_caller caller)
{
    /* The entry point has a frame pointer, because it asked for its frame address: the caller's BP lies
     * there, the return address above it, and then comes the caller's frame. */
    uintptr_t frame = (uintptr_t)caller.frame;

    return (struct trail_registers){
        .pc = (uintptr_t)caller.pc, .sp = frame + 2 * sizeof(uintptr_t), .bp = trail_load(frame)};
}

/* Budget, when the stack was seen before: as below, and one line of a set, and two of rules. */
static NOINLINE struct unwind_stack capture_unguessed(struct thread *thread, unsigned level,
                                                      struct unwind_caller caller,
                                                      stackmap_roots_fn *each_root)
{
    struct trail_registers start = caller_registers(caller);
    uint32_t epoch = stackmap_epoch(), generation = module_generation();
    struct shortcut *shortcut;
    uint64_t hash;
    bool elsewhere;

    if (UNLIKELY(level != 0))
        return unwind_ask(thread, level, caller.pc, each_root);
    if (UNLIKELY(thread->trail.generation != generation))
        forget(thread, generation);
    hash = shortcuts_hash(&start, callers_of(thread, &start));
    shortcut = find_shortcut(thread, hash, &start, epoch, &elsewhere);
    shortcuts_note(&thread->shortcuts, &start, shortcut);
    if (UNLIKELY(shortcut == NULL) || UNLIKELY(!take(thread, shortcut, epoch)))
        return capture_walking(thread, hash, start, epoch, elsewhere, each_root);
    return (struct unwind_stack){.id = shortcut->id, .is_cut = false};
}

/* A guess at a stack in which libraries that can be unloaded have a part. */
static NOINLINE struct unwind_stack capture_loaded(struct thread *thread, struct shortcut *guess,
                                                   struct unwind_caller caller, stackmap_roots_fn *each_root)
{
    if (LIKELY(shortcut_holds(guess)) && LIKELY(trail_holds(guess, &thread->trail)) &&
        LIKELY(take(thread, guess, guess->epoch)))
        return (struct unwind_stack){.id = guess->id, .is_cut = false};
    return capture_unguessed(thread, 0, caller, each_root);
}

/* Budget, when the stack is the one that was seen here the last times: no lock, no call, no write but the id
 * in flight; of this thread's memory one line of guesses, two of a shortcut, one frame and one word of the
 * trail for each frame beyond, and those words on the stack. */
struct unwind_stack unwind_capture(struct thread *thread, unsigned level, struct unwind_caller caller,
                                   stackmap_roots_fn *each_root)
{
    struct trail_registers start = caller_registers(caller);
    uint32_t epoch = stackmap_epoch();
    struct shortcut *guess = shortcuts_guess(&thread->shortcuts, &start);

    KEEP_POINTER(guess);
    if (LIKELY(level == 0 && guess != NULL && shortcut_begins(guess, &start, epoch)) &&
        LIKELY(thread->trail.generation == module_generation()) &&
        LIKELY(leads_to_trail(guess, &thread->trail))) {
        if (UNLIKELY(guess->module != 0 || guess->depth > thread->trail.firm))
            return capture_loaded(thread, guess, caller, each_root);
        if (LIKELY(shortcut_way_holds(guess)) && LIKELY(trail_holds(guess, &thread->trail)) &&
            LIKELY(take(thread, guess, epoch)))
            return (struct unwind_stack){.id = guess->id, .is_cut = false};
    }
    return capture_unguessed(thread, level, caller, each_root);
}

size_t unwind_own_bytes(void)
{
    return rules_own_bytes();
}

#endif
