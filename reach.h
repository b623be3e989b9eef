/* SPDX-License-Identifier: MIT
 *
 * Marking: which of the live blocks the roots of a snapshot lead to.
 *
 *     blocks    sorted by address, 16 bytes each: address and state, size
 *     index     for each run of blocks without a large gap, evenly divided, the first block of each part
 *     work      numbers of blocks that are marked but were not looked into yet
 *
 * 24 bytes for each live block in all, and 8 more for each that is lost.  Four passes, each of which looks
 * into a block at most once (and one more after the first, which notes what leads from roots that look dead),
 * and a fifth for a figure:
 *
 *     1  from the roots by pointers to the beginning of blocks: reachable
 *     2  from what an interior pointer leads to: possibly lost
 *     3  from each block that is left, in ascending order: notes those that no earlier one led to
 *     4  from those, in descending order: whatever nothing has led to by then is definitely lost, and
 *        leads the others that it leads to, which are indirectly lost
 *     5  if anything is: over memory that the program has mapped and that is no root, for what it points to
 *
 * Pass 4 is right because each group of blocks that lead to each other, and that no block outside leads to,
 * has exactly one member noted by pass 3; and a noted block that an other noted one leads to comes after it
 * in descending order.
 *
 * Touches no lock, no heap and no state but its own and the table of live blocks, so that it can run in a
 * copy of a process whose threads were stopped anywhere.
 */
#ifndef REACH_H
#define REACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "roots.h"

/* A lost block: its address, and how it is lost.  Those that a definitely lost block leads come after it. */
typedef uint64_t reach_found;
#define REACH_SHIFT         48
#define REACH_ADDRESS(it)   ((uintptr_t)((it) & ((UINT64_C(1) << REACH_SHIFT) - 1)))
#define REACH_HOW(it)       ((unsigned)((it) >> REACH_SHIFT) & 7) /* enum ld_reach */
#define REACH_STRICT        (UINT64_C(8) << REACH_SHIFT)
#define REACH_IS_STRICT(it) (((it)&REACH_STRICT) != 0) /* what looks dead leads to it */

struct reach_job {
    struct roots_snapshot snapshot; /* its maps are filled in */
    bool are_unaligned;             /* pointers may be at any address */
    bool is_in_copy;                /* or in the program itself */
    bool knows_mapped;              /* what the program has mapped can be told */
    uint32_t ignored;               /* flags of blocks that count as roots */
    const reach_found *candidates;  /* if not NULL, no others can be lost */
    size_t candidate_count;
    reach_found *found; /* room for lost blocks */
    size_t room;

    int error; /* errno value; ENOSPC: there is no room for all */
    size_t found_count;
    bool is_complete;    /* the answer, or why there is none: what comes then is for mapped_count alone */
    size_t mapped_count; /* definitely lost blocks that memory which was not to count points to (mapped.h) */
};

void reach_find(struct reach_job *job);

#endif
