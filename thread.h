/* SPDX-License-Identifier: MIT
 *
 * What the library keeps for each thread: the re-entrancy guard, the stacks that are in flight, its share of
 * the totals, and its last stack.  Shares live in memory of the library's own, which a thread takes over from
 * one that has exited, and are all on one list, so that totals can be summed and collections of stacks can
 * find what is in flight.
 *
 * An entry point works between thread_enter and thread_leave.  What comes in between those two in the same
 * thread is either a signal handler, which is recorded like anything else, or, between thread_foreign_enter
 * and thread_foreign_leave, an allocation of the library's own servants (loader, demangler), which must not
 * be.
 */
#ifndef THREAD_H
#define THREAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "path.h"
#include "platform.h"
#include "stackmap.h"
#include "trail.h"

/* Signal handlers that may interrupt each other, each in the midst of an entry point, and still be recorded.
 */
#define THREAD_NESTING 4

struct thread {
    /* Written by the owner only, read by others too. */
    _Atomic stack_id in_flight[THREAD_NESTING]; /* published before it is on record, until the next one is */
    _Atomic uint32_t unwinding;                 /* a bit for each level that is in the unwinder */
    _Atomic int64_t blocks, bytes;              /* recorded less removed, not yet in the common totals */
    _Atomic int64_t peak_blocks, peak_bytes;    /* the most that blocks and bytes have been meanwhile */

    struct stackmap_supply supply;
    struct path last[THREAD_NESTING]; /* this thread's last stack on each level */
    struct trail trail;               /* where the one on level 0 lies in memory */

    struct thread *next; /* never changes once it is on the list */
    atomic_bool taken;   /* by a thread, until it has exited */
};

/* Called once, before anything else here. */
void thread_init(void);

/* Begins an entry point: the caller's share, and in *level how many entry points of this thread it
 * interrupts, to be handed back.  NULL: nothing may be recorded now, and thread_leave must not be called. */
struct thread *thread_enter(unsigned *level);
void thread_leave(struct thread *thread, unsigned level);

/* Around calls of code that may allocate on the library's behalf; they nest. */
void thread_foreign_enter(void);
void thread_foreign_leave(void);
bool thread_is_foreign(void);

/* Between these, which nest too, the program does not want the calling thread's blocks recorded.  Enabling
 * what is not disabled changes nothing. */
void thread_disable(void);
void thread_enable(void);
bool thread_is_disabled(void);

/* Adds to the totals, before a block is put on record or after it was taken out.  thread may be NULL, level
 * is what thread_enter said. */
void thread_count(struct thread *thread, unsigned level, int64_t blocks, int64_t bytes);

/* True if LD_MAX_BLOCKS are on record. */
bool thread_is_full(const struct thread *thread);

struct thread_totals {
    size_t blocks, bytes, peak_blocks, peak_bytes;
};
void thread_get_totals(struct thread_totals *out);

/* Makes the totals what was counted otherwise. */
void thread_correct_totals(size_t blocks, size_t bytes);

/* Calls mark for each stack in flight; partner of the fence and the look at the epoch in unwind.c. */
void thread_each_in_flight(stackmap_mark_fn *mark);

/* The unwinder takes locks that fork would leave locked in the child, so fork waits until no thread is in
 * there: thread_unwind_enter waits while a fork is about to happen.  It returns the levels that were in there
 * already, as bits: those below were interrupted there, and this one's own says that the unwinder called us,
 * or was left by longjmp. */
uint32_t thread_unwind_enter(struct thread *thread, unsigned level);
void thread_unwind_leave(struct thread *thread, unsigned level);

void thread_before_fork(void);

/* The calling thread is about to fork, or has just forked: another library's handler of fork, or a signal's,
 * runs.  It must not wait for what is held back until the fork is over. */
bool thread_is_forking(void);

/* True if the calling process was forked from one with other threads, some of which may have been in the
 * midst of an entry point, so that totals may be off by one for each. */
bool thread_after_fork(bool in_child);

/* Bytes mapped for shares. */
size_t thread_own_bytes(void);

#endif
