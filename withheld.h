/* SPDX-License-Identifier: MIT
 *
 * Memory that the program keeps out of copies of itself (MADV_DONTFORK): node does so with the heap of its
 * language.  A copy can read it in the original all the same, through files of /proc that were opened there,
 * without the right to trace it; as it was at the moment of the copy, if the original stands still.
 */
#ifndef WITHHELD_H
#define WITHHELD_H

#include <stdatomic.h>
#include <sys/types.h>

/* In memory that the copy shares. */
struct withheld {
    int maps, memory; /* descriptors of files about the original, or errno values with a minus sign */
    atomic_bool is_filled;
};

/* Before the copy is made, but after the other threads were stopped: one that forked in between would pass
 * the descriptors on. */
void withheld_open(struct withheld *withheld);

/* In the copy: gives it what is missing, at the same addresses.  0 or an errno value.  Takes some 1.3 ms for
 * each MiB. */
int withheld_fill(const struct withheld *withheld);

/* In the copy, which needs the original, and what it was born with, no more. */
void withheld_have_all(struct withheld *withheld);

/* In the original: waits until the copy has all, or is dead, and closes what was opened.  A copy that is
 * negative is none. */
void withheld_close(struct withheld *withheld, pid_t copy);

#endif
