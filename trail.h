/* SPDX-License-Identifier: MIT
 *
 * Where the frames of a path (path.h) lie in memory, so that the next walk can stop where it meets them.
 *
 *     frame i of the path, counted from the outermost:
 *       sp[i]      the stack pointer in it: its return address was read from the word below
 *       bp[i]      the frame pointer register in it, which matters only if needs_bp[i]
 *       checks     the words that a walk from frame i outwards reads, and what they were: those
 *                  of the frames 0 ... i are checks[0 ... check_end[i])
 *
 * If a walk comes to frame i with the same pc, sp and, where it matters, bp, and all words that it would read
 * from there on are unchanged, it would go the same way: each word determines where the next one lies.
 */
#ifndef TRAIL_H
#define TRAIL_H

#include <stdbool.h>
#include <stdint.h>

#include "path.h"

struct check {
    uintptr_t at;
    uintptr_t value;
};

/* One frame that a walk has passed, innermost first. */
struct step {
    uintptr_t pc, sp, bp;
    uintptr_t bp_at; /* the word that bp was read from on the way into this frame; 0: bp was left alone */
    uint64_t rule;   /* by which the walk went on */
};

struct trail {
    char nothing; /* for builds without walks */
#if LD_UNWIND_RULES
    bool is_void;     /* the path did not come from a walk: nothing here goes with it */
    bool is_floating; /* the outermost frame of the path is not where the stack begins */
    bool needs_bp[PATH_MAX_FRAMES];
    uint32_t check_end[PATH_MAX_FRAMES];
    uintptr_t sp[PATH_MAX_FRAMES];
    uintptr_t bp[PATH_MAX_FRAMES];
    struct check checks[2 * PATH_MAX_FRAMES];
    struct step steps[PATH_MAX_FRAMES]; /* scratch of a walk */
#endif
};

#endif
