/* SPDX-License-Identifier: MIT
 *
 * Memory that the program keeps out of copies of itself (MADV_DONTFORK): node does so with the heap of its
 * language.  A copy can read it in the original all the same, through files of /proc that were opened there,
 * without the right to trace it; as it was at the moment of the copy, if the original stands still.
 */
#ifndef WITHHELD_H
#define WITHHELD_H

/* In memory that the copy shares. */
struct withheld {
    int maps, memory; /* descriptors of files about the original, or errno values with a minus sign */
};

/* Before the copy is made, but after the other threads were stopped: one that forked in between would pass
 * the descriptors on. */
void withheld_open(struct withheld *withheld);

/* In the copy: gives it what is missing, at the same addresses.  0 or an errno value.  Takes some 1.3 ms for
 * each MiB. */
int withheld_fill(const struct withheld *withheld);

/* In the original, when the copy has all, or is dead: closes what was opened. */
void withheld_close(const struct withheld *withheld);

#endif
