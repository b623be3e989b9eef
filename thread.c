/* SPDX-License-Identifier: MIT
 *
 * The shares of threads (thread.h).  A share is never unmapped: whoever reads the list may be late.  Each
 * thread counts in its own, and moves its balance into the common totals when that has grown; so counting
 * costs no shared cache line, and the totals are exact whenever nobody is counting.
 *
 * A thread that has run its destructors may still allocate, in another library's.  It then takes a share for
 * each call alone, because nobody would tell us of its end; so do all threads if the program had used up the
 * keys of thread-specific data before the library was started.
 */
#include "thread.h"

#include <errno.h>
#include <pthread.h>

#include "bounded_wait.h"
#include "kernel.h"
#include "stop.h"

enum {
    SHARES_A_MAPPING = 4,
    PAGE = 4096, /* the smallest */
};

/* thread.fork: is there one, and has anybody waited for it in vain? */
enum { NO_FORK, FORK_COMES, FORK_IS_LATE };

THREAD_LOCAL struct thread_self thread_self;
ALIGNED(CACHE_LINE) struct thread_common thread_common;

static struct {
    _Atomic(struct thread *) list;
    atomic_size_t own_bytes;
    pthread_key_t exit_key; /* whose destructor is release_share */
    bool has_exit_key;
    bool blocks_signals;
    _Atomic uint32_t fork; /* those wait on it that a fork keeps out of the unwinder */
} all;

/* --- Shares ------------------------------------------------------------------------------------------- */

static bool try_take(struct thread *share)
{
    bool expected = false;

    return !atomic_load_explicit(&share->taken, memory_order_relaxed) &&
           /* Acquire: what its last owner left behind. */
           atomic_compare_exchange_strong_explicit(&share->taken, &expected, true, memory_order_acquire,
                                                   memory_order_relaxed);
}

static struct thread *take_mapped(void)
{
    struct thread *share = atomic_load_explicit(&all.list, memory_order_acquire);

    while (share != NULL && !try_take(share))
        share = share->next;
    return share;
}

static struct thread *map_more(void)
{
    /* Not on the first page: where it begins the heap may end, and whatever has that address, libunwind, too,
     * which remembers pages, would point to the end of a block, which a look heeds. */
    struct mapping {
        ALIGNED(CACHE_LINE) char before[PAGE];
        struct thread shares[SHARES_A_MAPPING];
    } *mapping = kernel_map(sizeof(struct mapping));
    struct thread *shares, *first;

    if (mapping == NULL)
        return NULL;
    shares = mapping->shares;
    for (size_t i = 0; i + 1 < SHARES_A_MAPPING; i++)
        shares[i].next = &shares[i + 1];
    atomic_store_explicit(&shares[0].taken, true, memory_order_relaxed);
    first = atomic_load_explicit(&all.list, memory_order_relaxed);
    do
        shares[SHARES_A_MAPPING - 1].next = first;
    /* Release: partner of the loads of the list. */
    while (!atomic_compare_exchange_weak_explicit(&all.list, &first, shares, memory_order_release,
                                                  memory_order_relaxed));
    atomic_fetch_add_explicit(&all.own_bytes, sizeof(struct mapping), memory_order_relaxed);
    return shares;
}

static void balance(struct thread *share);

static void give_back(struct thread *share)
{
    balance(share);
    for (unsigned i = 0; i < THREAD_NESTING; i++) {
        /* Release: partner of the load in thread_each_in_flight. */
        atomic_store_explicit(&share->in_flight[i], 0, memory_order_release);
        path_forget(&share->last[i]);
    }
    atomic_store_explicit(&share->unwinding, 0, memory_order_relaxed);
#if LD_UNWIND_RULES
    /* What is remembered of what a guess led to stays no longer than this thread's stack. */
    if (share->stack.of != 0) {
        trail_truncate(&share->trail, 0);
        shortcuts_forget(&share->shortcuts);
        share->stack.of = 0;
    }
#endif
    /* Release: partner of try_take. */
    atomic_store_explicit(&share->taken, false, memory_order_release);
}

static void release_share(void *share)
{
    thread_self.share = NULL;
    thread_self.has_exited = true;
    /* One that was left in it for good will not come back. */
    stackmap_abandon();
    give_back(share);
}

static COLD struct thread *take(void)
{
    int saved = errno;
    struct thread *share;

    /* A signal handler may have taken one meanwhile, and the C library may allocate for the key. */
    thread_self.muted++;
    atomic_signal_fence(memory_order_seq_cst);
    share = thread_self.share;
    if (share == NULL)
        share = take_mapped();
    if (share == NULL)
        share = map_more();
    if (share != NULL && share != thread_self.share && all.has_exit_key && !thread_self.has_exited &&
        pthread_setspecific(all.exit_key, share) == 0)
        thread_self.share = share;
    atomic_signal_fence(memory_order_seq_cst);
    thread_self.muted--;
    errno = saved;
    return share;
}

/* --- Guard -------------------------------------------------------------------------------------------- */

static void unwinding_was_left(struct thread *share)
{
    uint32_t inside = atomic_load_explicit(&share->unwinding, memory_order_relaxed);

    if (inside != 0)
        pthread_setcancelstate(share->cancel_states[__builtin_ctz(inside)], NULL);
    atomic_store_explicit(&share->unwinding, 0, memory_order_relaxed);
}

/* Whether the thread has gone from its own stack to this frame's, as on a signal stack with SS_AUTODISARM, of
 * which the kernel does not tell that it is in use. */
static bool is_elsewhere(const void *frame)
{
    const struct tcb_stack own = tcb_own_stack();
    const uintptr_t size = own.end - own.start;

    return (uintptr_t)thread_self.outermost - own.start < size && (uintptr_t)frame - own.start >= size;
}

/* An entry point that was interrupted by a signal handler and then left by longjmp never ended.  Its frame is
 * gone if the stack, which grows downwards, now ends above it, or this very call stands in its place; on an
 * alternate signal stack that means nothing. */
static COLD bool was_left(const void *frame)
{
    if ((uintptr_t)frame < (uintptr_t)thread_self.outermost || platform_on_signal_stack() ||
        is_elsewhere(frame))
        return false;
    stackmap_abandon();
    thread_self.nested = 0;
    thread_self.muted &= ~(THREAD_DISABLED - 1);
    thread_self.has_blocked_signals = false;
    if (thread_self.share != NULL)
        unwinding_was_left(thread_self.share);
    return true;
}

static void leave(unsigned level)
{
    atomic_signal_fence(memory_order_seq_cst);
    if (level == 0)
        thread_self.outermost = NULL;
    else
        thread_self.nested = level - 1;
}

COLD struct thread_entry thread_enter_slow(const void *frame)
{
    struct thread_entry entry = {.share = thread_self.share, .level = 0};

    if (UNLIKELY(thread_self.outermost != NULL) && was_left(frame))
        thread_self.outermost = NULL;
    if (UNLIKELY(thread_self.muted != 0))
        return (struct thread_entry){.share = NULL};
    if (thread_self.outermost == NULL) {
        thread_self.outermost = frame;
    } else if (thread_self.nested + 1 == THREAD_NESTING) {
        /* Each level has one stack in flight. */
        return (struct thread_entry){.share = NULL};
    } else {
        entry.level = ++thread_self.nested;
    }
    atomic_signal_fence(memory_order_seq_cst);
    if (entry.share == NULL) {
        entry.share = take();
        if (entry.share == NULL)
            leave(entry.level);
    }
    return entry;
}

COLD void thread_leave_slow(struct thread_entry entry)
{
    if (entry.share != thread_self.share)
        give_back(entry.share);
    leave(entry.level);
}

void thread_foreign_enter(void)
{
    thread_self.muted++;
    atomic_signal_fence(memory_order_seq_cst);
}

void thread_foreign_leave(void)
{
    atomic_signal_fence(memory_order_seq_cst);
    thread_self.muted--;
}

bool thread_is_foreign(void)
{
    return thread_self.muted % THREAD_DISABLED != 0;
}

void thread_disable(void)
{
    thread_self.muted += THREAD_DISABLED;
}

void thread_enable(void)
{
    if (thread_is_disabled())
        thread_self.muted -= THREAD_DISABLED;
}

bool thread_is_disabled(void)
{
    return thread_self.muted >= THREAD_DISABLED;
}

/* --- Totals ------------------------------------------------------------------------------------------- */

static void raise_to(_Atomic int64_t *peak, int64_t value)
{
    int64_t old = atomic_load_explicit(peak, memory_order_relaxed);

    while (value > old && !atomic_compare_exchange_weak_explicit(peak, &old, value, memory_order_relaxed,
                                                                 memory_order_relaxed))
        continue;
}

/* Moves a balance into its common total. */
static void balance_one(_Atomic int64_t *own, _Atomic int64_t *own_peak, _Atomic int64_t *common,
                        _Atomic int64_t *common_peak)
{
    int64_t amount = atomic_exchange_explicit(own, 0, memory_order_relaxed);
    int64_t peak = atomic_exchange_explicit(own_peak, 0, memory_order_relaxed);
    int64_t before = atomic_fetch_add_explicit(common, amount, memory_order_relaxed);

    raise_to(common_peak, before + peak);
}

static void balance(struct thread *share)
{
    balance_one(&share->blocks, &share->peak_blocks, &thread_common.blocks, &thread_common.peak_blocks);
    balance_one(&share->bytes, &share->peak_bytes, &thread_common.bytes, &thread_common.peak_bytes);
}

COLD void thread_count_slow(struct thread *share, int64_t blocks, int64_t bytes)
{
    if (share != NULL) {
        balance(share);
        return;
    }
    raise_to(&thread_common.peak_blocks,
             atomic_fetch_add_explicit(&thread_common.blocks, blocks, memory_order_relaxed) + blocks);
    raise_to(&thread_common.peak_bytes,
             atomic_fetch_add_explicit(&thread_common.bytes, bytes, memory_order_relaxed) + bytes);
}

COLD bool thread_is_full_slow(void)
{
    int64_t sum = atomic_load_explicit(&thread_common.blocks, memory_order_relaxed);

    for (struct thread *t = atomic_load_explicit(&all.list, memory_order_acquire); t != NULL; t = t->next)
        sum += atomic_load_explicit(&t->blocks, memory_order_relaxed);
    return sum >= LD_MAX_BLOCKS;
}

/* A total, and its peak: what a thread has had beyond its present balance may have been the most ever. */
static void total(int64_t sum, int64_t common, int64_t most_own, int64_t common_peak, size_t *now,
                  size_t *peak)
{
    int64_t most = common + most_own > common_peak ? common + most_own : common_peak;

    *now = sum > 0 ? (size_t)sum : 0;
    *peak = most > sum ? (size_t)most : *now;
}

void thread_get_totals(struct thread_totals *out)
{
    int64_t common_blocks = atomic_load_explicit(&thread_common.blocks, memory_order_relaxed);
    int64_t common_bytes = atomic_load_explicit(&thread_common.bytes, memory_order_relaxed);
    int64_t blocks = common_blocks, bytes = common_bytes, most_blocks = 0, most_bytes = 0;

    for (struct thread *t = atomic_load_explicit(&all.list, memory_order_acquire); t != NULL; t = t->next) {
        int64_t peak_blocks = atomic_load_explicit(&t->peak_blocks, memory_order_relaxed);
        int64_t peak_bytes = atomic_load_explicit(&t->peak_bytes, memory_order_relaxed);

        blocks += atomic_load_explicit(&t->blocks, memory_order_relaxed);
        bytes += atomic_load_explicit(&t->bytes, memory_order_relaxed);
        most_blocks = peak_blocks > most_blocks ? peak_blocks : most_blocks;
        most_bytes = peak_bytes > most_bytes ? peak_bytes : most_bytes;
    }
    total(blocks, common_blocks, most_blocks,
          atomic_load_explicit(&thread_common.peak_blocks, memory_order_relaxed), &out->blocks,
          &out->peak_blocks);
    total(bytes, common_bytes, most_bytes,
          atomic_load_explicit(&thread_common.peak_bytes, memory_order_relaxed), &out->bytes,
          &out->peak_bytes);
}

void thread_correct_totals(size_t blocks, size_t bytes)
{
    int64_t off_blocks = (int64_t)blocks, off_bytes = (int64_t)bytes;
    struct thread_totals totals;

    thread_get_totals(&totals);
    off_blocks -= (int64_t)totals.blocks;
    off_bytes -= (int64_t)totals.bytes;
    atomic_fetch_add_explicit(&thread_common.blocks, off_blocks, memory_order_relaxed);
    atomic_fetch_add_explicit(&thread_common.bytes, off_bytes, memory_order_relaxed);
}

/* --- In flight, fork ---------------------------------------------------------------------------------- */

void thread_each_in_flight(stackmap_mark_fn *mark)
{
    for (struct thread *t = atomic_load_explicit(&all.list, memory_order_acquire); t != NULL; t = t->next)
        for (unsigned i = 0; i < THREAD_NESTING; i++)
            /* Acquire: if the thread has moved on from a stack, its block is seen to be on record. */
            mark(atomic_load_explicit(&t->in_flight[i], memory_order_acquire));
}

/* False if that takes too long: the fork may wait for what this thread has, in a handler of the program's. */
static COLD bool await_fork(void)
{
    struct bounded_wait wait = {0};
    uint32_t state;

    while ((state = atomic_load_explicit(&all.fork, memory_order_acquire)) == FORK_COMES) {
        if (bounded_wait(&wait))
            continue;
        atomic_compare_exchange_strong_explicit(&all.fork, &state, FORK_IS_LATE, memory_order_relaxed,
                                                memory_order_relaxed);
        return false;
    }
    return state == NO_FORK;
}

bool thread_unwind_enter(struct thread *share, unsigned level, uint32_t *inside)
{
    *inside = atomic_load_explicit(&share->unwinding, memory_order_relaxed);

    /* A fork waits for whoever is inside, so that one must not wait for the fork. */
    for (;;) {
        atomic_store_explicit(&share->unwinding, *inside | 1u << level, memory_order_relaxed);
        platform_light_fence();
        if (LIKELY(*inside != 0 || atomic_load_explicit(&all.fork, memory_order_acquire) == NO_FORK) ||
            thread_self.is_forking)
            break;
        atomic_store_explicit(&share->unwinding, *inside, memory_order_release);
        if (!await_fork())
            return false;
    }
    if (LIKELY((*inside & 1u << level) == 0))
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &share->cancel_states[level]);
    return true;
}

void thread_unwind_leave(struct thread *share, unsigned level)
{
    uint32_t inside = atomic_load_explicit(&share->unwinding, memory_order_relaxed);

    pthread_setcancelstate(share->cancel_states[level], NULL);
    /* Release: partner of the load in thread_before_fork. */
    atomic_store_explicit(&share->unwinding, inside & ~(1u << level), memory_order_release);
}

uint64_t thread_block_signals(void)
{
    uint64_t before = 0;

    if (all.blocks_signals) {
        kernel_block(STOP_OTHER_SIGNALS, &before);
        thread_self.has_blocked_signals = true;
    }
    return before;
}

void thread_unblock_signals(uint64_t before)
{
    if (all.blocks_signals) {
        thread_self.has_blocked_signals = false;
        kernel_set_blocked(before);
    }
}

bool thread_is_unwinding(void)
{
    const struct thread *share = thread_self.share;

    return share != NULL && atomic_load_explicit(&share->unwinding, memory_order_relaxed) != 0;
}

void thread_before_fork(void)
{
    thread_self.is_forking = true;
    atomic_store_explicit(&all.fork, FORK_COMES, memory_order_seq_cst);
    platform_heavy_fence();
    for (struct thread *t = atomic_load_explicit(&all.list, memory_order_acquire); t != NULL; t = t->next) {
        struct bounded_wait wait = {0};

        /* Bounded: a signal handler may wait in there for something that only this thread can do. */
        while (t != thread_self.share && atomic_load_explicit(&t->unwinding, memory_order_acquire) != 0 &&
               bounded_wait(&wait))
            continue;
    }
}

bool thread_after_fork(bool in_child)
{
    struct thread *t = atomic_load_explicit(&all.list, memory_order_acquire);
    bool had_others = false;

    for (; in_child && t != NULL; t = t->next)
        if (t != thread_self.share && atomic_load_explicit(&t->taken, memory_order_relaxed)) {
            give_back(t);
            had_others = true;
        }
    atomic_store_explicit(&all.fork, NO_FORK, memory_order_release);
    thread_self.is_forking = false;
    return had_others;
}

bool thread_is_forking(void)
{
    return thread_self.is_forking;
}

void thread_init(bool blocks_signals)
{
    all.blocks_signals = blocks_signals;
    all.has_exit_key = pthread_key_create(&all.exit_key, release_share) == 0;
}

size_t thread_own_bytes(void)
{
    return sizeof(all) + sizeof(thread_common) + atomic_load_explicit(&all.own_bytes, memory_order_relaxed);
}
