/* SPDX-License-Identifier: MIT
 *
 * How to step from a frame to its caller, per return address: a cache of rules, learnt one by one from
 * libunwind, shared by all threads.
 *
 *     rule    63......40 39........24 23...8 7...0
 *            | cfa / 8  | bp - cfa / 8| module| flags |
 *
 *     CFA = (SP or, with RULE_FROM_BP, BP) + cfa;   the return address lies at CFA - 8
 *     the caller's SP = CFA;  its BP is the same or, with RULE_RESTORES_BP, lies at CFA + bp
 *
 * A set of four rules is one cache line.  Lock-free: a slot is claimed by its writer, and a reader that sees
 * it change looks for nothing more.
 */
#ifndef RULES_H
#define RULES_H

#include <stddef.h>
#include <stdint.h>

typedef uint64_t rule;

#define RULE_FROM_BP     1u
#define RULE_RESTORES_BP 2u
#define RULE_ENDS        4u /* the outermost frame */
#define RULE_ASK         8u /* what there is to say cannot be said in a rule: libunwind has to walk */
#define RULE_CAN_UNLOAD  16u

/* Multiples of 8, with their sign. */
static inline intptr_t rule_cfa(rule r)
{
    return (intptr_t)((int64_t)r >> 40) * 8;
}

static inline intptr_t rule_bp(rule r)
{
    return (intptr_t)((int64_t)(r << 24) >> 48) * 8;
}

/* The rule for the return address pc; 0: not known.  Budget: one cache line. */
rule rules_find(uintptr_t pc);

/* Learns the rule for the innermost frame of a stack that can be read from sp on, and keeps it.  Slow: it
 * asks libunwind. */
rule rules_learn(uintptr_t pc, uintptr_t sp, uintptr_t bp);

/* Bytes of static tables. */
size_t rules_own_bytes(void);

#endif
