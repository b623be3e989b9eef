/* SPDX-License-Identifier: MIT
 *
 * How to step from a frame to its caller, per return address: rules, learnt one by one from libunwind, in a
 * cache that all threads share; and in each thread copies of those that it needs most.
 *
 *     rule    63......40 39........24 23...8 7...0
 *            | cfa / 8  | bp - cfa / 8| module| flags |
 *
 *     CFA = (SP or, with RULE_FROM_BP, BP) + cfa;   the return address lies at CFA - 8
 *     the caller's SP = CFA;  its BP is the same or, with RULE_RESTORES_BP, lies at CFA + bp
 *     with RULE_LOADED, of a function that has realigned the stack, the CFA itself lies at BP + cfa, and the
 *     caller's BP at BP + bp
 *
 * A set of four rules is one cache line.  Lock-free: a slot is claimed by its writer, and a reader that sees
 * it change looks for nothing more.
 */
#ifndef RULES_H
#define RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "platform.h"

#if LD_UNWIND_RULES

typedef uint64_t rule;

#define RULE_FROM_BP     1u
#define RULE_RESTORES_BP 2u
#define RULE_ENDS        4u  /* the outermost frame */
#define RULE_ASK         8u  /* what there is to say cannot be said in a rule: libunwind has to walk */
#define RULE_CAN_UNLOAD  16u /* without notice */
#define RULE_GUESSED     32u /* nothing describes the code, and BP may not be what the rule takes it for */
#define RULE_LOADED      64u /* goes with RULE_FROM_BP and RULE_RESTORES_BP */
/* The code ends there: a call does not return, or there was none, and it is the address of what comes next,
 * at the beginning of a stack that was made by hand.  Or BP was not what the rule takes it for when it was
 * learnt. */
#define RULE_UNSURE 128u
/* Not just to be applied. */
#define RULE_UNUSUAL (RULE_ENDS | RULE_ASK | RULE_GUESSED | RULE_LOADED | RULE_UNSURE)

/* Of return addresses that can have a rule. */
#define RULE_PC_BITS 48

/* Multiples of 8, with their sign. */
static inline intptr_t rule_cfa(rule r)
{
    return (intptr_t)((int64_t)r >> 40) * 8;
}

static inline intptr_t rule_bp(rule r)
{
    return (intptr_t)((int64_t)(r << 24) >> 48) * 8;
}

/* The module (module.h) that the code is in; 0: none, as code that was made at run time. */
static inline uint16_t rule_module(rule r)
{
    return (uint16_t)(r >> 8);
}

enum {
    RULE_WAYS = 4,
    /* One for each 64 nodes of the tree: a program has 50 to 500 paths for each place that it calls from. */
    RULE_SETS = LD_MAX_STACKS / 64 / RULE_WAYS < 16     ? 16
                : LD_MAX_STACKS / 64 / RULE_WAYS > 4096 ? 4096
                                                        : LD_MAX_STACKS / 64 / RULE_WAYS,
};

/* A thread's own copies of rules that are good as long as the generation of modules (module.h) is the same:
 * those of code that is never unloaded, or not without notice (module_watch_by).  One goes by its pc to the
 * one place where it may be. */
enum { OWN_RULES = RULE_SETS / 8 };

struct own_rules {
    struct {
        uintptr_t pc; /* 0, and a rule that is 0: nothing here */
        rule rule;
    } entries[OWN_RULES];
};

static inline size_t own_rule_place(uintptr_t pc)
{
    return (pc ^ pc >> 9) % OWN_RULES;
}

/* Finds in the cache that all threads share what this one has no copy of, and copies what it may keep. */
rule rules_find_shared(struct own_rules *own, uintptr_t pc);

/* There are no copies any more. */
void rules_forget(struct own_rules *own);

/* The rule for the return address pc; 0: not known.  One with RULE_CAN_UNLOAD holds only if its module is
 * still the one that is loaded there.  Budget on a hit: one cache line, of this thread's. */
static inline rule rules_find(struct own_rules *own, uintptr_t pc)
{
    size_t i = own_rule_place(pc);

    return LIKELY(own->entries[i].pc == pc) ? own->entries[i].rule : rules_find_shared(own, pc);
}

/* Learns the rule for the innermost frame of a stack that can be read from sp on, and keeps it; but
 * RULE_ASK is not kept if is_doubtful: there may be no such frame.  Slow: it asks libunwind.  The scratch,
 * RULES_SCRATCH bytes, is for a copy of the frame, for which the stack may have no room; larger frames are
 * not copied. */
enum { RULES_SCRATCH = 4096 }; /* bytes */
rule rules_learn(uintptr_t pc, uintptr_t sp, uintptr_t bp, bool is_doubtful, uintptr_t *scratch);

/* Whether it is there that a signal handler returns to, for the kernel to go on with what was interrupted. */
bool rules_is_signal_return(uintptr_t pc);

/* Whether something may return there: the instruction before it is a call, or it is where a signal handler
 * returns to. */
bool rules_is_return(uintptr_t pc);

/* What a signal has interrupted, and its caller. */
struct rules_caller {
    uintptr_t interrupted; /* a pc */
    uintptr_t sp, bp;      /* in the caller */
};

/* Whether the unwind information of the code that was interrupted says of BP what is not true any more, so
 * that libunwind would read wherever that leads: gcc's does where a function that has realigned its stack has
 * restored BP, which it says lies where BP points.  `context` is the kernel's, a ucontext_t. */
bool rules_are_wrong_of(const void *context, struct rules_caller *out);

/* Bytes of static tables. */
size_t rules_own_bytes(void);

#endif
#endif
