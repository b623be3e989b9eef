/* SPDX-License-Identifier: MIT
 *
 * The address ranges that this library has mapped, and in a whole program its heap, too: of all anonymous
 * memory, what the program has not mapped itself.  Without its heap that is not known, and nothing is noted.
 * The kernel cannot be asked, since it makes neighbours one.
 *
 * A fixed table without locks.  An entry is changed by one CAS of its start, or by whoever has put BUSY
 * there.  May be read at any instant, as by a copy of the process: what is in the midst of a change is not
 * in the table, and so counts as the program's.
 */
#ifndef OURS_H
#define OURS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ours_range {
    uintptr_t start, end;
};

/* After it was mapped. */
void ours_add(const void *start, size_t size);

/* Before it is unmapped, since then it may be the program's at once.  It may be a part of what was added, or
 * of several. */
void ours_remove(const void *start, size_t size);

/* The heap's ranges are in the table, too.  Called once it is known. */
void ours_have_heap(void);

/* In the child: entries that threads were changing which are not there any more are given up. */
void ours_after_fork(void);

/* Whether the heap's ranges are in the table, all of them and no others. */
bool ours_are_known(void);

/* Copies the ranges, in no order, and returns how many: at most ours_capacity(). */
size_t ours_copy(struct ours_range *out);
size_t ours_capacity(void);

/* Where the first range above the address begins; UINTPTR_MAX: there is none. */
uintptr_t ours_next(uintptr_t address);

/* Bytes of static storage, and where they begin: what looks like a pointer in there is none. */
size_t ours_own_bytes(void);
const void *ours_table(void);

#endif
