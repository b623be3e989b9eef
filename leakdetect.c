/* SPDX-License-Identifier: MIT
 *
 * The entry points, the order of events in each, and the life of the library.
 *
 *     ld_malloc:  allocate -> capture the stack -> put on record
 *     ld_free:    take off record -> free
 *     ld_realloc: hold the record -> reallocate -> settle it: as it was, as it is now, or deleted
 *
 * The order is what makes it right: the moment jemalloc has a block back another thread may own its address,
 * and then the record of that address is that thread's.
 */
#define _POSIX_C_SOURCE 200809L
#include "leakdetect.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "backing.h"
#include "blockmap.h"
#include "check.h"
#include "config.h"
#include "forking.h"
#include "gaps.h"
#include "given.h"
#include "loaded.h"
#include "loader_lock.h"
#include "module.h"
#include "operators.h"
#include "platform.h"
#include "sampling.h"
#include "stackmap.h"
#include "stop.h"
#include "symbolize.h"
#include "thread.h"
#include "unwind.h"
#include "walk.h"

/* From PAUSED on there are records, and blocks that are freed leave them; a SAMPLING library records some
 * blocks, a RECORDING one all. */
enum { OFF, STARTING, PAUSED, SAMPLING, RECORDING };

static struct {
    atomic_int state;
    /* Bits of an address that no recorded block has: all of them, before there are records. */
    _Atomic uintptr_t foreign_bits;
    _Atomic uint32_t mark;
    bool is_programs_malloc; /* see operators_trust_malloc */

    ALIGNED(CACHE_LINE) atomic_size_t dropped_blocks;
    atomic_size_t dropped_bytes, nested_blocks, nested_bytes, missed_blocks, missed_bytes, cut_stacks;
} library = {.foreign_bits = UINTPTR_MAX};

static inline int state(void)
{
    /* Acquire: what ld_init has set up. */
    return atomic_load_explicit(&library.state, memory_order_acquire);
}

static inline bool is_recording(void)
{
    return state() == RECORDING;
}

static inline bool has_records(void)
{
    return state() >= PAUSED;
}

static inline uint32_t current_mark(void)
{
    /* Acquire: the store has heard of it. */
    return atomic_load_explicit(&library.mark, memory_order_acquire);
}

/* --- Records ------------------------------------------------------------------------------------------ */

/* In the place of a stack: a block of a thread that was disabled.  It is on record because of what it may
 * point to, which is not lost, and shows nowhere. */
#define HIDDEN ((stack_id)(UINT32_C(1) << BLOCKMAP_STACK_BITS) - 1)

_Static_assert(LD_MAX_STACKS < HIDDEN, "no stack has this id");

/* First what is in flight: whatever leaves there while we look is on record by then. */
static void each_root(stackmap_mark_fn *mark)
{
    thread_each_in_flight(mark);
    blockmap_each_stack(mark);
}

static COLD void count_unrecorded(atomic_size_t *blocks, atomic_size_t *bytes, size_t size)
{
    atomic_fetch_add_explicit(blocks, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(bytes, size, memory_order_relaxed);
}

/* What is to go on record for a block that was allocated by the entry point that was called from there. */
static inline struct block describe(struct thread_entry entry, const void *address, size_t size,
                                    unsigned period, struct unwind_caller caller)
{
    struct unwind_stack stack = unwind_capture(entry.share, entry.level, caller, each_root);

    unwind_check(entry.share, entry.level, caller, stack);
    if (UNLIKELY(stack.is_cut))
        atomic_fetch_add_explicit(&library.cut_stacks, 1, memory_order_relaxed);
    return (struct block){
        .address = address,
        .size = blockmap_kept_size(size),
        .stack = stack.id,
        .mark = current_mark(),
        .flags = (stack.is_cut ? LD_LEAK_STACK_CUT : 0) | period << SAMPLING_FLAG_SHIFT,
    };
}

static COLD void record_hidden(const void *address, size_t size)
{
    const struct block block = {
        .address = address,
        .size = blockmap_kept_size(size),
        .stack = HIDDEN,
        .mark = current_mark(),
        .flags = CHECK_IGNORED,
    };

    if (!blockmap_insert(&block))
        gaps_open(true);
}

static COLD void count_dropped(size_t size)
{
    count_unrecorded(&library.dropped_blocks, &library.dropped_bytes, size);
    gaps_open(true);
}

static COLD void count_nested(size_t size)
{
    count_unrecorded(&library.nested_blocks, &library.nested_bytes, size);
    gaps_open(false);
}

/* A block of a thread that is muted, or that there is no memory for. */
static COLD void record_otherwise(const void *address, size_t size)
{
    if (thread_is_foreign())
        count_nested(size);
    else if (thread_is_disabled())
        record_hidden(address, size);
    else
        count_dropped(size);
}

/* Budget: no lock, no system call, no allocation; the lines of the block's slot and of this thread's
 * share. */
static NOINLINE NOT_READ(1) void record(const void *address, size_t size, unsigned period,
                                        struct unwind_caller caller)
{
    struct thread_entry entry = thread_enter(caller.frame);

    if (UNLIKELY(entry.share == NULL)) {
        record_otherwise(address, size);
        return;
    }
    if (UNLIKELY(thread_is_full())) {
        count_dropped(size);
    } else {
        struct slot *slot = blockmap_expect(address);
        struct block block = describe(entry, address, size, period, caller);

        thread_count(1, (int64_t)block.size);
        if (UNLIKELY(!blockmap_insert_at(slot, &block))) {
            thread_count(-1, -(int64_t)block.size);
            count_dropped(size);
        }
    }
    thread_leave(entry);
}

/* The record of a block that is freed, if there was one, was not like most. */
static COLD void forget_otherwise(const void *address, struct blockmap_removed removed)
{
    if (!blockmap_was_there(removed)) {
        if (LD_OVERRIDE)
            gaps_close();
    } else if (blockmap_removed_stack(removed) != HIDDEN) {
        module_freed(address);
        thread_count(-1, -(int64_t)removed.size);
    }
}

static inline void forget(const void *address)
{
    struct blockmap_removed removed = blockmap_remove(address);

    if (LIKELY((blockmap_removed_flags(removed) & CHECK_IGNORED) == 0))
        thread_count(-1, -(int64_t)removed.size);
    else
        forget_otherwise(address, removed);
}

/* A block was reallocated without moving. */
static NOINLINE void record_again(const struct blockmap_hold *hold, size_t size, struct unwind_caller caller)
{
    struct thread_entry entry = thread_enter(caller.frame);
    struct block block = hold->block;

    /* Where nothing may be recorded the block keeps the stack that it has. */
    if (LIKELY(entry.share != NULL))
        block = describe(entry, hold->block.address, size, 0, caller);
    block.size = blockmap_kept_size(size);
    block.flags |= hold->block.flags & CHECK_IGNORED;
    blockmap_settle(hold, &block);
    thread_count(0, (int64_t)block.size - (int64_t)hold->block.size);
    if (LIKELY(entry.share != NULL))
        thread_leave(entry);
}

/* --- Allocating --------------------------------------------------------------------------------------- */

static COLD void *out_of_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

/* A block was allocated while nothing is recorded.  Where this library is the program's malloc that may be
 * the first block of all, and is reason to begin: true if it is to be recorded after all. */
static COLD bool begins_with(size_t size)
{
    if (LD_OVERRIDE && state() == OFF && platform_is_set_up() && !thread_is_foreign()) {
        thread_foreign_enter();
        ld_set_sampling(given_sample());
        thread_foreign_leave();
        ld_init();
    }
    if (has_records())
        return is_recording();
    gaps_open(false);
    if (!thread_is_foreign())
        count_unrecorded(&library.missed_blocks, &library.missed_bytes, size);
    return false;
}

static inline void *allocate_only(size_t size, size_t alignment, bool zeroed)
{
    if (UNLIKELY(size > PTRDIFF_MAX || alignment > PTRDIFF_MAX - size))
        return out_of_memory();
    return backing_alloc(size + (size == 0), alignment, zeroed);
}

/* A block that is in the sample, or one while nothing is recorded, as far as that has not just changed. */
static COLD void *allocate_otherwise(size_t size, size_t alignment, bool zeroed, struct unwind_caller caller)
{
    int now = state();
    unsigned period = now == SAMPLING && size <= PTRDIFF_MAX ? sampling_takes(size + (size == 0)) : 0;
    bool is_aligned = period == 0 || alignment >= SAMPLING_ALIGNMENT;
    int saved = errno;
    void *block = allocate_only(size, is_aligned ? alignment : SAMPLING_ALIGNMENT, zeroed);

    /* There may be room still for one that begins elsewhere: then it is not in the sample. */
    if (UNLIKELY(block == NULL && !is_aligned)) {
        errno = saved;
        period = 0;
        block = allocate_only(size, alignment, zeroed);
    }
    if (block != NULL && (now == RECORDING || period != 0 || (now < PAUSED && begins_with(size))))
        record(block, size, period, caller);
    return block;
}

/* What all entry points that make a block do.  Always inlined: the caller to be recorded is theirs, and were
 * it called, that might be by a jump, and their frame, which the walk begins from, be gone. */
static ALWAYS_INLINE void *allocate(size_t size, size_t alignment, bool zeroed)
{
    int now = state();
    void *block;

    if (LIKELY(now == RECORDING)) {
        block = allocate_only(size, alignment, zeroed);
        if (LIKELY(block != NULL))
            record(block, size, 0, UNWIND_CALLER());
        return block;
    }
    if (LIKELY(now == SAMPLING && sampling_passes(size + (size == 0))))
        return allocate_only(size, alignment, zeroed);
    block = allocate_otherwise(size, alignment, zeroed, UNWIND_CALLER());
    NOT_BY_A_JUMP(block);
    return block;
}

static bool has_product(size_t count, size_t size, size_t *product)
{
    return !__builtin_mul_overflow(count, size, product);
}

static bool is_power_of_two(size_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

ENTRY_POINT void *ld_malloc(size_t size)
{
    return allocate(size, 0, false);
}

#if LD_OVERRIDE
extern void *malloc_of_program(size_t size) __asm__("malloc") __attribute__((weak));

/* The loader's record of a library: that it is ignored changes nothing else, for it is never lost. */
static bool notice_free(const void *block)
{
    struct block record;

    if (!blockmap_find(block, &record) || record.stack == HIDDEN)
        return false;
    ld_ignore(block);
    return true;
}

void operators_trust_malloc(void)
{
    library.is_programs_malloc = true;
    module_watch_by(notice_free);
}

/* C++'s operator new, in the library that is preloaded (operators.c). */
ENTRY_POINT void *ld_operator_new(size_t size)
{
    void *(*program_malloc)(size_t) = malloc_of_program;
    void *block;

    /* Or the compiler thinks that two functions of different names are not one. */
    KEEP_POINTER(program_malloc);
    if (LIKELY(program_malloc == ld_malloc || library.is_programs_malloc))
        block = allocate(size, 0, false);
    else
        block = program_malloc(size);
    return LIKELY(block != NULL) ? block : operators_new(size);
}
#endif

ENTRY_POINT void *ld_calloc(size_t count, size_t size)
{
    size_t product;

    if (!has_product(count, size, &product))
        return out_of_memory();
    return allocate(product, 0, true);
}

ENTRY_POINT void *ld_aligned_alloc(size_t alignment, size_t size)
{
    if (!is_power_of_two(alignment)) {
        errno = EINVAL;
        return NULL;
    }
    return allocate(size, alignment, false);
}

ENTRY_POINT void *ld_memalign(size_t alignment, size_t size)
{
    size_t power = 1;

    if (alignment > SIZE_MAX / 2 + 1) {
        errno = EINVAL;
        return NULL;
    }
    while (power < alignment)
        power *= 2;
    return allocate(size, power, false);
}

ENTRY_POINT int ld_posix_memalign(void **out, size_t alignment, size_t size)
{
    int saved = errno;
    void *block;

    if (!is_power_of_two(alignment) || alignment % sizeof(void *) != 0)
        return EINVAL;
    block = allocate(size, alignment, false);
    errno = saved;
    if (block == NULL)
        return ENOMEM;
    *out = block;
    return 0;
}

ENTRY_POINT void *ld_valloc(size_t size)
{
    return allocate(size, platform_page_size(), false);
}

ENTRY_POINT void *ld_pvalloc(size_t size)
{
    size_t page = platform_page_size();

    if (size > PTRDIFF_MAX)
        return out_of_memory();
    return allocate((size + page - 1) & ~(page - 1), page, false);
}

ENTRY_POINT char *ld_strndup(const char *text, size_t size)
{
    size_t length = strnlen(text, size);
    char *copy = allocate(length + 1, 0, false);

    if (copy != NULL) {
        memcpy(copy, text, length);
        copy[length] = '\0';
    }
    return copy;
}

ENTRY_POINT char *ld_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = allocate(size, 0, false);

    return copy == NULL ? NULL : memcpy(copy, text, size);
}

/* --- Freeing and reallocating --------------------------------------------------------------------------- */

static inline uintptr_t foreign_bits(void)
{
    /* Acquire: what ld_init has set up. */
    return atomic_load_explicit(&library.foreign_bits, memory_order_acquire);
}

/* Whether this block may be on record; NULL may, too. */
static inline bool may_have_record(const void *block)
{
    return LIKELY(((uintptr_t)block & foreign_bits()) == 0);
}

/* Before there are records each block that is made is a gap in them. */
static inline bool is_early(void)
{
    return LD_OVERRIDE && UNLIKELY(foreign_bits() == UINTPTR_MAX);
}

static inline void release(void *block)
{
    if (LIKELY(may_have_record(block))) {
        if (block == NULL)
            return;
        forget(block);
    } else if (is_early()) {
        gaps_close();
    }
    backing_free(block);
}

ENTRY_POINT void ld_free(void *block)
{
    release(block);
}

ENTRY_POINT void ld_free_sized(void *block, size_t size)
{
    (void)size;
    release(block);
}

ENTRY_POINT void ld_free_aligned_sized(void *block, size_t alignment, size_t size)
{
    (void)alignment;
    (void)size;
    release(block);
}

/* Programs that ask use all of it, and a look for lost blocks reads no further than the record says; but a
 * record may say less than the size of a block that is very large. */
ENTRY_POINT size_t ld_usable_size(const void *block)
{
    struct block record;
    size_t usable;

    if (block == NULL)
        return 0;
    usable = backing_usable_size(block);
    if (!may_have_record(block) || !blockmap_find(block, &record) || record.size >= usable ||
        record.size == blockmap_kept_size(SIZE_MAX))
        return usable;
    return record.size + (record.size == 0);
}

/* What is held is no block's record any more. */
static inline void drop(const struct blockmap_hold *hold)
{
    blockmap_settle(hold, NULL);
    if (LIKELY(hold->block.stack != HIDDEN))
        thread_count(-1, -(int64_t)hold->block.size);
}

/* A block that is ignored stays so when it moves. */
static inline void inherit(const struct block *old, const void *moved)
{
    if (UNLIKELY((old->flags & CHECK_IGNORED) != 0 && old->stack != HIDDEN))
        ld_ignore(moved);
}

/* A block that is to be recorded has to begin where one may: it is made anew.  NULL when there is no room for
 * both, and then nothing has happened. */
static COLD void *move_and_record(void *block, size_t size, unsigned period, struct unwind_caller caller)
{
    size_t usable = backing_usable_size(block);
    int saved = errno;
    void *moved = backing_alloc(size, SAMPLING_ALIGNMENT, false);
    struct block old;
    bool was_there;

    if (moved == NULL) {
        errno = saved;
        return NULL;
    }
    memcpy(moved, block, usable < size ? usable : size);
    was_there = may_have_record(block) && blockmap_find(block, &old);
    release(block);
    record(moved, size, period, caller);
    if (was_there)
        inherit(&old, moved);
    return moved;
}

/* Gives a block another size.  From jemalloc's return until the new block is on record, what it holds is
 * where nobody would look for it: see stop.h. */
static void *resize(void *block, size_t size, struct unwind_caller caller)
{
    struct blockmap_hold hold;
    int now = state();
    unsigned period = UNLIKELY(now == SAMPLING) ? sampling_takes(size) : 0;
    bool may_be_held = may_have_record(block), is_held;
    void *moved = UNLIKELY(period != 0) ? move_and_record(block, size, period, caller) : NULL;

    if (UNLIKELY(moved != NULL))
        return moved;
    is_held = may_be_held && blockmap_hold(block, &hold);
    moved = backing_realloc(block, size);

    if (UNLIKELY(moved == NULL)) {
        if (is_held)
            blockmap_settle(&hold, &hold.block);
        return out_of_memory();
    }
    if (is_held && moved == block && now == RECORDING && !thread_is_disabled() &&
        hold.block.stack != HIDDEN) {
        record_again(&hold, size, caller);
        return moved;
    }
    if (is_held)
        drop(&hold);
    else if (LD_OVERRIDE && (may_be_held || is_early()))
        gaps_close();
    if (LIKELY(now == RECORDING) || (now < PAUSED && begins_with(size)))
        record(moved, size, 0, caller);
    if (is_held)
        inherit(&hold.block, moved);
    return moved;
}

static ALWAYS_INLINE void *reallocate(void *block, size_t size)
{
    const void *outer;

    if (block == NULL)
        return allocate(size, 0, false);
    if (size == 0) {
        release(block);
        return NULL;
    }
    if (UNLIKELY(size > PTRDIFF_MAX))
        return out_of_memory();

    outer = stop_defer();
    block = resize(block, size, UNWIND_CALLER());
    stop_allow(outer);
    return block;
}

ENTRY_POINT void *ld_realloc(void *block, size_t size)
{
    return reallocate(block, size);
}

ENTRY_POINT void *ld_reallocarray(void *block, size_t count, size_t size)
{
    size_t product;

    if (!has_product(count, size, &product))
        return out_of_memory();
    return reallocate(block, product);
}

/* --- Looking ------------------------------------------------------------------------------------------ */

static enum blockmap_step hand_over(const struct block *block, void *ctx)
{
    struct walk *walk = ctx;

    if (block->mark < walk->since || block->stack == HIDDEN)
        return BLOCKMAP_NEXT;
    return walk_hand_over(walk, block, LD_LIVE);
}

ENTRY_POINT size_t ld_leaks_since(uint32_t mark, ld_leak_fn *callback, void *ctx)
{
    struct walk walk;

    walk_init(&walk, callback, ctx);
    walk.since = mark;
    blockmap_each(hand_over, &walk);
    return walk.count;
}

ENTRY_POINT size_t ld_now_leaks(ld_leak_fn *callback, void *ctx)
{
    return ld_leaks_since(0, callback, ctx);
}

ENTRY_POINT uint32_t ld_mark(void)
{
    uint32_t mark = atomic_load_explicit(&library.mark, memory_order_relaxed);

    /* The store first: a record must never carry an epoch that the store has not heard of. */
    do
        blockmap_start_epoch(mark + 1);
    while (!atomic_compare_exchange_weak_explicit(&library.mark, &mark, mark + 1, memory_order_release,
                                                  memory_order_relaxed));
    return mark + 1;
}

/* --- Figures ------------------------------------------------------------------------------------------ */

static size_t static_bytes(void)
{
    return sizeof(library) + blockmap_own_bytes() + stackmap_own_bytes() + module_own_bytes() +
           unwind_own_bytes() + symbolize_own_bytes() + check_own_bytes();
}

static enum blockmap_step add_up(const struct block *block, void *totals)
{
    if (block->stack != HIDDEN) {
        ((struct thread_totals *)totals)->blocks++;
        ((struct thread_totals *)totals)->bytes += block->size;
    }
    return BLOCKMAP_NEXT;
}

ENTRY_POINT void ld_get_stats(struct ld_stats *out)
{
    struct thread_totals totals = {0};
    struct stackmap_stats stacks;

    if (forking_has_spoilt_totals()) {
        blockmap_each(add_up, &totals);
        thread_correct_totals(totals.blocks, totals.bytes);
    }
    thread_get_totals(&totals);
    stackmap_get_stats(&stacks);
    *out = (struct ld_stats){
        .live_blocks = totals.blocks,
        .live_bytes = totals.bytes,
        .peak_blocks = totals.peak_blocks,
        .peak_bytes = totals.peak_bytes,
        .capacity_blocks = LD_MAX_BLOCKS,
        .dropped_blocks = atomic_load_explicit(&library.dropped_blocks, memory_order_relaxed),
        .dropped_bytes = atomic_load_explicit(&library.dropped_bytes, memory_order_relaxed),
        .nested_blocks = atomic_load_explicit(&library.nested_blocks, memory_order_relaxed),
        .nested_bytes = atomic_load_explicit(&library.nested_bytes, memory_order_relaxed),
        .missed_blocks = atomic_load_explicit(&library.missed_blocks, memory_order_relaxed),
        .missed_bytes = atomic_load_explicit(&library.missed_bytes, memory_order_relaxed),
        .stack_nodes = stacks.nodes,
        .stack_capacity = LD_MAX_STACKS,
        .stack_collections = stacks.collections,
        .asked_stacks = unwind_asked(),
        .cut_stacks = atomic_load_explicit(&library.cut_stacks, memory_order_relaxed),
        .own_bytes = static_bytes() + thread_own_bytes(),
    };
}

/* --- Life --------------------------------------------------------------------------------------------- */

static COLD void start(void)
{
    platform_init();
    backing_init();
    thread_init(LD_OVERRIDE);
    loader_lock_find();
    loaded_init();
    unwind_init();
    check_init();
    forking_init();
}

/* What a library that was started and is not paused does. */
static int active_state(void)
{
    return sampling_now() == 0 ? RECORDING : SAMPLING;
}

/* Release: for whoever sees this state first. */
static void change_state(bool was_active, int to)
{
    int from = state();

    while ((was_active ? from > PAUSED : from == PAUSED) &&
           !atomic_compare_exchange_weak_explicit(&library.state, &from, to, memory_order_release,
                                                  memory_order_relaxed))
        continue;
}

/* Brings the state in line with the sampling period.  Once all blocks were recorded, one of them may be
 * anywhere: whoever records the first such block has seen the state, hence the bits, and so has whoever it
 * was handed to. */
static void apply_period(void)
{
    int wanted;

    do {
        wanted = active_state();
        if (wanted == RECORDING)
            atomic_store_explicit(&library.foreign_bits, 0, memory_order_relaxed);
        change_state(true, wanted);
    } while (active_state() != wanted);
}

ENTRY_POINT size_t ld_init(void)
{
    int saved = errno, off = OFF;

    if (atomic_compare_exchange_strong_explicit(&library.state, &off, STARTING, memory_order_relaxed,
                                                memory_order_relaxed)) {
        thread_foreign_enter();
        start();
        thread_foreign_leave();
        int wanted = active_state();

        /* Release: for whoever sees it before the state. */
        atomic_store_explicit(&library.foreign_bits, wanted == SAMPLING ? SAMPLING_ALIGNMENT - 1 : 0,
                              memory_order_release);
        /* At once what it is to be: other threads that wait for the start go on now. */
        atomic_store_explicit(&library.state, wanted, memory_order_release);
        apply_period();
    }
    /* What is allocated on behalf of the start, in this very thread, cannot wait for it. */
    for (unsigned times = 0; !has_records() && !thread_is_foreign(); times++)
        platform_yield(times);
    errno = saved;
    return static_bytes();
}

/* Before the start there is nothing to change. */
ENTRY_POINT void ld_set_recording(bool on)
{
    if (!on && has_records())
        gaps_stay();
    change_state(!on, on ? active_state() : PAUSED);
    if (on)
        apply_period();
}

ENTRY_POINT int ld_set_sampling(size_t period)
{
    int error = sampling_set_period(period);

    if (error == 0 && period != 0)
        gaps_stay();
    if (error == 0)
        apply_period();
    return error;
}

ENTRY_POINT void ld_disable(void)
{
    thread_disable();
}

ENTRY_POINT void ld_enable(void)
{
    thread_enable();
}
