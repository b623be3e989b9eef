/* SPDX-License-Identifier: MIT
 *
 * Memory that the program keeps out of copies of itself (MADV_DONTFORK): node does so with the heap of its
 * language.  A copy can read it in the original all the same, through files of /proc/self that were opened
 * there, without the right to trace it; as it was at the moment of the copy, if the original stands still.
 */
#ifndef WITHHELD_H
#define WITHHELD_H

struct withheld {
    int maps, memory; /* descriptors of files about the original */
    int ready[2];     /* a pipe from the copy to it */
};

/* Before the copy is made.  0 or an errno value. */
int withheld_open(struct withheld *withheld);

/* In the copy: gives it what is missing, at the same addresses, and lets the original go on.  0 or an errno
 * value.  Takes about a millisecond for each MiB. */
int withheld_fill(const struct withheld *withheld);

/* In the original: waits until the copy is filled, or dead, and closes what was opened. */
void withheld_await(struct withheld *withheld);

/* In the original, where no copy was made. */
void withheld_close(struct withheld *withheld);

#endif
