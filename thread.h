/* SPDX-License-Identifier: MIT
 *
 * What the library keeps for each thread: the re-entrancy guard, the stacks that are in flight, its share of
 * the totals, and its last stack.  Shares live in memory of the library's own, which a thread takes over from
 * one that has exited, and are all on one list, so that totals can be summed and collections of stacks can
 * find what is in flight.
 *
 * An entry point works between thread_enter and thread_leave.  What comes in between those two in the same
 * thread is a signal handler, which is recorded like anything else.  Between thread_foreign_enter and
 * thread_foreign_leave all is taken for an allocation of the library's own servants (libunwind, the loader),
 * which is not recorded.
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
#include "rules.h"
#include "shortcuts.h"
#include "stackmap.h"
#include "tcb.h"
#include "trail.h"

/* Entry points of a thread, each of which a signal handler has interrupted to call the next one, that are
 * recorded. */
#define THREAD_NESTING 4

struct thread {
    /* Written by the owner only, read by others too. */
    _Atomic stack_id in_flight[THREAD_NESTING]; /* published before it is on record, until the next one is */
    _Atomic uint32_t unwinding;                 /* a bit for each level that is in the unwinder */
    int cancel_states[THREAD_NESTING];       /* what pthread_setcancelstate is to be given when it leaves */
    _Atomic int64_t blocks, bytes;           /* recorded less removed, not yet in the common totals */
    _Atomic int64_t peak_blocks, peak_bytes; /* the most that blocks and bytes have been meanwhile */

    struct stackmap_supply supply;
    struct path last[THREAD_NESTING]; /* this thread's last stack on each level */
#if LD_UNWIND_RULES
    ALIGNED(16) uintptr_t scratch[RULES_SCRATCH / sizeof(uintptr_t)];
    struct own_rules rules;
    struct trail trail;
    struct shortcuts shortcuts;
    struct tcb_stack stack; /* asked for by unwind.c; of 0: not yet */
#endif

    struct thread *next; /* never changes once it is on the list */
    atomic_bool taken;   /* by a thread, until it has exited */
};

_Static_assert(LD_MAX_FRAMES > 64 || sizeof(struct thread) <= 256 * 1024,
               "leakdetect.h says what a thread costs");

/* Called once, before anything else here.  `blocks_signals`: libunwind's sigprocmask is that of sigmask.c. */
void thread_init(bool blocks_signals);

/* All that a thread has before it has a share. */
struct thread_self {
    struct thread *share;
    /* Frame address of the outermost entry point that this thread is in, NULL: it is in none.  One word says
     * both, so that a signal handler never sees the one without the other. */
    const void *outermost;
    /* Reasons not to record, of two kinds in one word, so that one test will do: how deep the thread is in
     * foreign code, and, in units of THREAD_DISABLED, how often it was disabled, which never overflows. */
    uint64_t muted;
    uint32_t nested; /* entry points beyond the outermost one */
    bool has_exited;
    bool is_forking;
    bool has_blocked_signals;

    /* See sampling.h. */
    uint64_t sample_left;   /* bytes up to and with the next hit */
    uint64_t sample_random; /* 0 before the first */
    uint32_t sample_number;
};
#define THREAD_DISABLED (UINT64_C(1) << 12)
extern THREAD_LOCAL struct thread_self thread_self;

/* An entry point that the calling thread is in. */
struct thread_entry {
    struct thread *share; /* NULL: nothing may be recorded now, and thread_leave must not be called */
    unsigned level;       /* how many entry points of this thread it interrupts */
};

struct thread_entry thread_enter_slow(const void *frame);
void thread_leave_slow(struct thread_entry entry);

/* Begins an entry point with this frame address.  Budget: one cache line, no call. */
static inline struct thread_entry thread_enter(const void *frame)
{
    struct thread_self *self = &thread_self;
    struct thread *share = self->share;

    if (UNLIKELY(self->outermost != NULL || share == NULL || self->muted != 0))
        return thread_enter_slow(frame);
    self->outermost = frame;
    atomic_signal_fence(memory_order_seq_cst);
    return (struct thread_entry){.share = share, .level = 0};
}

static inline void thread_leave(struct thread_entry entry)
{
    if (UNLIKELY(entry.level != 0 || entry.share != thread_self.share)) {
        thread_leave_slow(entry);
        return;
    }
    atomic_signal_fence(memory_order_seq_cst);
    thread_self.outermost = NULL;
}

/* Around calls of code that may allocate on the library's behalf; they nest. */
void thread_foreign_enter(void);
void thread_foreign_leave(void);
bool thread_is_foreign(void);

/* Between these, which nest too, the program does not want the calling thread's blocks recorded.  Enabling
 * what is not disabled changes nothing. */
void thread_disable(void);
void thread_enable(void);
bool thread_is_disabled(void);

/* The totals that are not in any thread's share, and the most that they have been. */
struct thread_common {
    _Atomic int64_t blocks, bytes;
    _Atomic int64_t peak_blocks, peak_bytes;
};
extern struct thread_common thread_common;

enum {
    /* A balance beyond these goes into the common totals.  What so many threads as 64 have not balanced yet
     * is less than the eighth of the table from which on thread_is_full looks closely. */
    THREAD_BALANCE_BLOCKS = LD_MAX_BLOCKS >= 64 * 8 * 64 ? 64 : LD_MAX_BLOCKS / (8 * 64) + 1,
    THREAD_BALANCE_BYTES = 65536,
};

void thread_count_slow(struct thread *thread, int64_t blocks, int64_t bytes);
bool thread_is_full_slow(void);

/* True if LD_MAX_BLOCKS are on record. */
static inline bool thread_is_full(void)
{
    /* Far from the limit nobody needs to know the exact number. */
    return UNLIKELY(atomic_load_explicit(&thread_common.blocks, memory_order_relaxed) >
                    (int64_t)LD_MAX_BLOCKS - LD_MAX_BLOCKS / 8) &&
           thread_is_full_slow();
}

/* Adds to the totals, before a block is put on record or after it was taken out.  A share is its owner's
 * alone, and platform_add cannot be interrupted half way by a signal handler that does the same.
 * Budget: one cache line of this thread's, no locked instruction but for one in THREAD_BALANCE_BLOCKS. */
static inline void thread_count(int64_t blocks, int64_t bytes)
{
    struct thread *share = thread_self.share;

    if (UNLIKELY(share == NULL)) {
        thread_count_slow(NULL, blocks, bytes);
        return;
    }
    int64_t own_blocks = platform_add(&share->blocks, blocks);
    int64_t own_bytes = platform_add(&share->bytes, bytes);

    if (blocks >= 0) {
        if (UNLIKELY(own_blocks > atomic_load_explicit(&share->peak_blocks, memory_order_relaxed)))
            atomic_store_explicit(&share->peak_blocks, own_blocks, memory_order_relaxed);
        if (UNLIKELY(own_bytes > atomic_load_explicit(&share->peak_bytes, memory_order_relaxed)))
            atomic_store_explicit(&share->peak_bytes, own_bytes, memory_order_relaxed);
    }
    if (UNLIKELY((uint64_t)(own_blocks + THREAD_BALANCE_BLOCKS) > 2 * THREAD_BALANCE_BLOCKS ||
                 (uint64_t)(own_bytes + THREAD_BALANCE_BYTES) > 2 * THREAD_BALANCE_BYTES))
        thread_count_slow(share, 0, 0);
}

struct thread_totals {
    size_t blocks, bytes, peak_blocks, peak_bytes;
};
void thread_get_totals(struct thread_totals *out);

/* Makes the totals what was counted otherwise. */
void thread_correct_totals(size_t blocks, size_t bytes);

/* Calls mark for each stack in flight; partner of the fence and the look at the epoch in
 * unwind_publish. */
void thread_each_in_flight(stackmap_mark_fn *mark);

/* Around calls of the unwinder.  It takes locks that a child of fork would find locked, so a fork waits until
 * nobody is in there, and enter waits for a fork that is coming; neither for ever, since each may have what
 * the other needs.  False: time is up; stay out, and do not call leave.  *inside: the levels that are in
 * there already, a bit each: lower ones were interrupted there; this one's own means that the unwinder has
 * called us, or was left by longjmp.
 *
 * No thread is cancelled in there: libunwind reads and writes a pipe, and malloc is no cancellation point.
 * One that has left by longjmp can be cancelled again from its next entry point on. */
bool thread_unwind_enter(struct thread *thread, unsigned level, uint32_t *inside);
void thread_unwind_leave(struct thread *thread, unsigned level);

/* Whether the calling thread is in there. */
bool thread_is_unwinding(void);

/* Around a question that makes libunwind take many locks: its signals are blocked once, and not whenever it
 * takes one; or, where its sigprocmask cannot be told so, they are left to it.  To be handed back: those that
 * were blocked. */
uint64_t thread_block_signals(void);
void thread_unblock_signals(uint64_t before);

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
