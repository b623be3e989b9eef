/* SPDX-License-Identifier: MIT
 *
 * The shares of threads (thread.h).  A share is never unmapped: whoever reads the list may be late.  Each
 * thread counts in its own, and moves its balance into the common totals when that has grown; so counting
 * costs no shared cache line, and the totals are exact whenever nobody is counting.
 *
 * A thread that has run its destructors may still allocate, in another library's.  It then takes a share for
 * each call alone, because nobody would tell us of its end.
 */
#include "thread.h"

#include <errno.h>
#include <pthread.h>

enum {
    /* A balance beyond these goes into the common totals.  What so many threads as 64 have not balanced yet
     * is less than the eighth of the table from which on thread_is_full looks closely. */
    BALANCE_BLOCKS = LD_MAX_BLOCKS >= 64 * 8 * 64 ? 64 : LD_MAX_BLOCKS / (8 * 64) + 1,
    BALANCE_BYTES = 65536,
    SHARES_A_MAPPING = 16,
    FORK_WAIT_YIELDS = 100000, /* some 100 ms */
    DISABLED = 1 << 12,
};

/* All that a thread has before it has a share. */
static THREAD_LOCAL struct {
    struct thread *share;
    /* Frame address of the outermost entry point that this thread is in, NULL: it is in none.  One word says
     * both, so that a signal handler never sees the one without the other. */
    const void *outermost;
    uint32_t nested; /* entry points beyond that one */
    /* Reasons not to record, of two kinds in one word, so that one test will do: how deep the thread is in
     * foreign code, and, in units of DISABLED, how often it was disabled. */
    uint32_t muted;
    bool has_exited;
    bool is_forking;
} self;

static struct {
    _Atomic(struct thread *) list;
    atomic_size_t own_bytes;
    pthread_key_t exit_key;
    atomic_bool is_forking;

    ALIGNED(CACHE_LINE) _Atomic int64_t blocks, bytes; /* without the balances of threads */
    _Atomic int64_t peak_blocks, peak_bytes;
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
    size_t size = SHARES_A_MAPPING * sizeof(struct thread);
    struct thread *shares = platform_map(size), *first;

    if (shares == NULL)
        return NULL;
    for (size_t i = 0; i + 1 < SHARES_A_MAPPING; i++)
        shares[i].next = &shares[i + 1];
    atomic_store_explicit(&shares[0].taken, true, memory_order_relaxed);
    first = atomic_load_explicit(&all.list, memory_order_relaxed);
    do
        shares[SHARES_A_MAPPING - 1].next = first;
    /* Release: partner of the loads of the list. */
    while (!atomic_compare_exchange_weak_explicit(&all.list, &first, shares, memory_order_release,
                                                  memory_order_relaxed));
    atomic_fetch_add_explicit(&all.own_bytes, size, memory_order_relaxed);
    return shares;
}

static void balance(struct thread *share);

static void give_back(struct thread *share)
{
    balance(share);
    for (unsigned i = 0; i < THREAD_NESTING; i++) {
        atomic_store_explicit(&share->in_flight[i], 0, memory_order_relaxed);
        path_forget(&share->last[i]);
    }
    atomic_store_explicit(&share->unwinding, 0, memory_order_relaxed);
    /* Release: partner of try_take. */
    atomic_store_explicit(&share->taken, false, memory_order_release);
}

static void on_exit(void *share)
{
    self.share = NULL;
    self.has_exited = true;
    give_back(share);
}

static COLD struct thread *take(void)
{
    int saved = errno;
    struct thread *share = take_mapped();

    if (share == NULL)
        share = map_more();
    if (share != NULL && !self.has_exited) {
        /* The C library may allocate for this. */
        self.muted++;
        if (pthread_setspecific(all.exit_key, share) == 0)
            self.share = share;
        self.muted--;
    }
    errno = saved;
    return share;
}

/* --- Guard -------------------------------------------------------------------------------------------- */

/* An entry point that was interrupted by a signal handler and then left by longjmp never ended.  Its frame is
 * gone if the stack, which grows downwards, now ends above it, or this very call stands in its place; on an
 * alternate signal stack that means nothing. */
static COLD bool was_left(const void *frame)
{
    if ((uintptr_t)frame < (uintptr_t)self.outermost || platform_on_signal_stack())
        return false;
    stackmap_abandon();
    self.nested = 0;
    self.muted &= ~(uint32_t)(DISABLED - 1);
    if (self.share != NULL)
        atomic_store_explicit(&self.share->unwinding, 0, memory_order_relaxed);
    return true;
}

static inline void leave(unsigned level)
{
    atomic_signal_fence(memory_order_seq_cst);
    if (LIKELY(level == 0))
        self.outermost = NULL;
    else
        self.nested = level - 1;
}

struct thread *thread_enter(unsigned *level)
{
    const void *frame = FRAME_ADDRESS();
    struct thread *share = self.share;

    if (UNLIKELY(self.outermost != NULL) && was_left(frame))
        self.outermost = NULL;
    if (UNLIKELY(self.muted != 0))
        return NULL;
    if (LIKELY(self.outermost == NULL)) {
        *level = 0;
        self.outermost = frame;
    } else {
        *level = self.nested + 1 < THREAD_NESTING ? self.nested + 1 : THREAD_NESTING - 1;
        self.nested = *level;
    }
    atomic_signal_fence(memory_order_seq_cst);
    if (UNLIKELY(share == NULL)) {
        share = take();
        if (share == NULL)
            leave(*level);
    }
    return share;
}

void thread_leave(struct thread *share, unsigned level)
{
    if (UNLIKELY(share != self.share))
        give_back(share);
    leave(level);
}

void thread_foreign_enter(void)
{
    self.muted++;
    atomic_signal_fence(memory_order_seq_cst);
}

void thread_foreign_leave(void)
{
    atomic_signal_fence(memory_order_seq_cst);
    self.muted--;
}

bool thread_is_foreign(void)
{
    return self.muted % DISABLED != 0;
}

void thread_disable(void)
{
    self.muted += DISABLED;
}

void thread_enable(void)
{
    if (thread_is_disabled())
        self.muted -= DISABLED;
}

bool thread_is_disabled(void)
{
    return self.muted >= DISABLED;
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

static COLD void balance(struct thread *share)
{
    balance_one(&share->blocks, &share->peak_blocks, &all.blocks, &all.peak_blocks);
    balance_one(&share->bytes, &share->peak_bytes, &all.bytes, &all.peak_bytes);
}

/* Adds to a number that only this thread writes, and not while a signal handler of it does (see below). */
static inline int64_t add_own(_Atomic int64_t *number, int64_t amount)
{
    int64_t sum = atomic_load_explicit(number, memory_order_relaxed) + amount;

    atomic_store_explicit(number, sum, memory_order_relaxed);
    return sum;
}

static inline void raise_own(_Atomic int64_t *peak, int64_t value)
{
    if (value > atomic_load_explicit(peak, memory_order_relaxed))
        atomic_store_explicit(peak, value, memory_order_relaxed);
}

/* A signal handler may have interrupted add_own: it counts in the common totals at once. */
static COLD void count_common(int64_t blocks, int64_t bytes)
{
    raise_to(&all.peak_blocks, atomic_fetch_add_explicit(&all.blocks, blocks, memory_order_relaxed) + blocks);
    raise_to(&all.peak_bytes, atomic_fetch_add_explicit(&all.bytes, bytes, memory_order_relaxed) + bytes);
}

static int64_t sum_blocks(void)
{
    int64_t sum = atomic_load_explicit(&all.blocks, memory_order_relaxed);

    for (struct thread *t = atomic_load_explicit(&all.list, memory_order_acquire); t != NULL; t = t->next)
        sum += atomic_load_explicit(&t->blocks, memory_order_relaxed);
    return sum;
}

bool thread_is_full(const struct thread *share)
{
    int64_t about = atomic_load_explicit(&all.blocks, memory_order_relaxed) +
                    atomic_load_explicit(&share->blocks, memory_order_relaxed);

    /* Far from the limit nobody needs to know the exact number. */
    return UNLIKELY(about > (int64_t)LD_MAX_BLOCKS - LD_MAX_BLOCKS / 8) && sum_blocks() >= LD_MAX_BLOCKS;
}

/* Budget: one cache line of this thread's, no atomic read-modify-write but one in BALANCE_BLOCKS calls. */
void thread_count(struct thread *share, unsigned level, int64_t blocks, int64_t bytes)
{
    if (UNLIKELY(level != 0 || share == NULL)) {
        count_common(blocks, bytes);
        return;
    }
    blocks = add_own(&share->blocks, blocks);
    bytes = add_own(&share->bytes, bytes);
    raise_own(&share->peak_blocks, blocks);
    raise_own(&share->peak_bytes, bytes);
    if (UNLIKELY(blocks >= BALANCE_BLOCKS || blocks <= -BALANCE_BLOCKS || bytes >= BALANCE_BYTES ||
                 bytes <= -BALANCE_BYTES))
        balance(share);
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
    int64_t common_blocks = atomic_load_explicit(&all.blocks, memory_order_relaxed);
    int64_t common_bytes = atomic_load_explicit(&all.bytes, memory_order_relaxed);
    int64_t blocks = common_blocks, bytes = common_bytes, most_blocks = 0, most_bytes = 0;

    for (struct thread *t = atomic_load_explicit(&all.list, memory_order_acquire); t != NULL; t = t->next) {
        int64_t peak_blocks = atomic_load_explicit(&t->peak_blocks, memory_order_relaxed);
        int64_t peak_bytes = atomic_load_explicit(&t->peak_bytes, memory_order_relaxed);

        blocks += atomic_load_explicit(&t->blocks, memory_order_relaxed);
        bytes += atomic_load_explicit(&t->bytes, memory_order_relaxed);
        most_blocks = peak_blocks > most_blocks ? peak_blocks : most_blocks;
        most_bytes = peak_bytes > most_bytes ? peak_bytes : most_bytes;
    }
    total(blocks, common_blocks, most_blocks, atomic_load_explicit(&all.peak_blocks, memory_order_relaxed),
          &out->blocks, &out->peak_blocks);
    total(bytes, common_bytes, most_bytes, atomic_load_explicit(&all.peak_bytes, memory_order_relaxed),
          &out->bytes, &out->peak_bytes);
}

void thread_correct_totals(size_t blocks, size_t bytes)
{
    int64_t off_blocks = (int64_t)blocks, off_bytes = (int64_t)bytes;
    struct thread_totals totals;

    thread_get_totals(&totals);
    off_blocks -= (int64_t)totals.blocks;
    off_bytes -= (int64_t)totals.bytes;
    atomic_fetch_add_explicit(&all.blocks, off_blocks, memory_order_relaxed);
    atomic_fetch_add_explicit(&all.bytes, off_bytes, memory_order_relaxed);
}

/* --- In flight, fork ---------------------------------------------------------------------------------- */

void thread_each_in_flight(stackmap_mark_fn *mark)
{
    for (struct thread *t = atomic_load_explicit(&all.list, memory_order_acquire); t != NULL; t = t->next)
        for (unsigned i = 0; i < THREAD_NESTING; i++)
            /* Acquire: if the thread has moved on from a stack, its block is seen to be on record. */
            mark(atomic_load_explicit(&t->in_flight[i], memory_order_acquire));
}

uint32_t thread_unwind_enter(struct thread *share, unsigned level)
{
    uint32_t inside = atomic_load_explicit(&share->unwinding, memory_order_relaxed);

    /* A fork waits for whoever is inside, so that one must not wait for the fork. */
    for (;;) {
        atomic_store_explicit(&share->unwinding, inside | 1u << level, memory_order_relaxed);
        platform_light_fence();
        if (LIKELY(inside != 0 || !atomic_load_explicit(&all.is_forking, memory_order_acquire)) ||
            self.is_forking)
            return inside;
        atomic_store_explicit(&share->unwinding, inside, memory_order_release);
        platform_yield();
    }
}

void thread_unwind_leave(struct thread *share, unsigned level)
{
    uint32_t inside = atomic_load_explicit(&share->unwinding, memory_order_relaxed);

    /* Release: partner of the load in thread_before_fork. */
    atomic_store_explicit(&share->unwinding, inside & ~(1u << level), memory_order_release);
}

void thread_before_fork(void)
{
    self.is_forking = true;
    atomic_store_explicit(&all.is_forking, true, memory_order_seq_cst);
    platform_heavy_fence();
    for (struct thread *t = atomic_load_explicit(&all.list, memory_order_acquire); t != NULL; t = t->next)
        /* Bounded: a signal handler may wait in there for something that only this thread can do. */
        for (int i = 0; i < FORK_WAIT_YIELDS && t != self.share; i++) {
            if (atomic_load_explicit(&t->unwinding, memory_order_acquire) == 0)
                break;
            platform_yield();
        }
}

bool thread_after_fork(bool in_child)
{
    struct thread *t = atomic_load_explicit(&all.list, memory_order_acquire);
    bool had_others = false;

    for (; in_child && t != NULL; t = t->next)
        if (t != self.share && atomic_load_explicit(&t->taken, memory_order_relaxed)) {
            give_back(t);
            had_others = true;
        }
    atomic_store_explicit(&all.is_forking, false, memory_order_release);
    self.is_forking = false;
    return had_others;
}

bool thread_is_forking(void)
{
    return self.is_forking;
}

void thread_init(void)
{
    CHECK(pthread_key_create(&all.exit_key, on_exit) == 0);
}

size_t thread_own_bytes(void)
{
    return sizeof(all) + atomic_load_explicit(&all.own_bytes, memory_order_relaxed);
}
