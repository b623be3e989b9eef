/* SPDX-License-Identifier: MIT
 *
 * The table of ours.h.
 */
#include "ours.h"

#include <sched.h>
#include <stdatomic.h>

#include "config.h"

enum { ENTRIES = LD_OVERRIDE ? 8192 : 1, FREE = 0, BUSY = 1, WAITS_MAX = 100000 /* some 100 ms */ };

static struct {
    struct {
        _Atomic uintptr_t start; /* or FREE, or BUSY */
        _Atomic uintptr_t end;
    } entries[ENTRIES];
    atomic_size_t used;   /* none beyond */
    atomic_size_t splits; /* how often the upper part of a range has gone to another entry */
    atomic_bool has_heap;
    atomic_bool is_incomplete; /* something is missing, or may be in here that was to be removed */
} ours;

static bool swap_start(size_t i, uintptr_t from, uintptr_t to)
{
    /* Acquire, release: whoever finds a start finds the end that belongs to it. */
    return atomic_compare_exchange_strong_explicit(&ours.entries[i].start, &from, to, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

static uintptr_t start_of(size_t i)
{
    return atomic_load_explicit(&ours.entries[i].start, memory_order_acquire);
}

static void raise_used(size_t to)
{
    size_t used = atomic_load_explicit(&ours.used, memory_order_relaxed);

    while (used < to && !atomic_compare_exchange_weak_explicit(&ours.used, &used, to, memory_order_release,
                                                               memory_order_relaxed))
        continue;
}

static void add(uintptr_t start, uintptr_t end)
{
    size_t used = atomic_load_explicit(&ours.used, memory_order_acquire);

    /* The kernel puts one mapping below the other. */
    for (size_t i = 0; i < used; i++)
        if (start_of(i) == end && swap_start(i, end, start))
            return;
    for (size_t i = 0; i < ENTRIES; i++)
        if (start_of(i) == FREE && swap_start(i, FREE, BUSY)) {
            atomic_store_explicit(&ours.entries[i].end, end, memory_order_relaxed);
            atomic_store_explicit(&ours.entries[i].start, start, memory_order_release);
            raise_used(i + 1);
            return;
        }
    atomic_store_explicit(&ours.is_incomplete, true, memory_order_relaxed);
}

void ours_add(const void *start, size_t size)
{
    if (LD_OVERRIDE)
        add((uintptr_t)start, (uintptr_t)start + size);
}

/* Takes the range out of an entry that is now BUSY, and began at `from`. */
static void cut(size_t i, uintptr_t from, uintptr_t start, uintptr_t end)
{
    uintptr_t to = atomic_load_explicit(&ours.entries[i].end, memory_order_relaxed);
    uintptr_t left = start < to ? start : to;

    if (end < to) {
        add(end, to);
        atomic_fetch_add_explicit(&ours.splits, 1, memory_order_relaxed);
    }
    /* Release: whoever finds this end, or the start below, finds that there was a split. */
    atomic_store_explicit(&ours.entries[i].end, left, memory_order_release);
    atomic_store_explicit(&ours.entries[i].start, from < left ? from : FREE, memory_order_release);
}

/* False: some entry was busy, and may have had a part of the range; or one was split, and a part of the range
 * may have gone to an entry that had been looked at. */
static bool remove_what_is_there(uintptr_t start, uintptr_t end)
{
    size_t splits = atomic_load_explicit(&ours.splits, memory_order_acquire);
    size_t used = atomic_load_explicit(&ours.used, memory_order_acquire);
    bool saw_all = true;

    for (size_t i = 0; i < used; i++) {
        uintptr_t from = start_of(i);

        if (from == BUSY)
            saw_all = false;
        if (from <= BUSY || from >= end ||
            atomic_load_explicit(&ours.entries[i].end, memory_order_acquire) <= start)
            continue;
        if (swap_start(i, from, BUSY))
            cut(i, from, start, end);
        else
            saw_all = false;
    }
    return saw_all && splits == atomic_load_explicit(&ours.splits, memory_order_relaxed);
}

void ours_remove(const void *start, size_t size)
{
    for (int waits = 0; waits < WAITS_MAX; waits++) {
        if (remove_what_is_there((uintptr_t)start, (uintptr_t)start + size))
            return;
        sched_yield();
    }
    /* Who is busy may be the very thread that this signal handler has interrupted. */
    atomic_store_explicit(&ours.is_incomplete, true, memory_order_relaxed);
}

void ours_after_fork(void)
{
    size_t used = atomic_load_explicit(&ours.used, memory_order_acquire);

    for (size_t i = 0; i < used; i++)
        if (start_of(i) == BUSY) {
            atomic_store_explicit(&ours.is_incomplete, true, memory_order_relaxed);
            atomic_store_explicit(&ours.entries[i].start, FREE, memory_order_release);
        }
}

void ours_have_heap(void)
{
    atomic_store_explicit(&ours.has_heap, true, memory_order_relaxed);
}

bool ours_are_known(void)
{
    return atomic_load_explicit(&ours.has_heap, memory_order_relaxed) &&
           !atomic_load_explicit(&ours.is_incomplete, memory_order_relaxed);
}

size_t ours_copy(struct ours_range *out)
{
    size_t used = atomic_load_explicit(&ours.used, memory_order_acquire), count = 0;

    for (size_t i = 0; i < used; i++) {
        uintptr_t start = start_of(i);

        if (start > BUSY)
            out[count++] =
                (struct ours_range){start, atomic_load_explicit(&ours.entries[i].end, memory_order_relaxed)};
    }
    return count;
}

uintptr_t ours_next(uintptr_t address)
{
    size_t used = atomic_load_explicit(&ours.used, memory_order_acquire);
    uintptr_t next = UINTPTR_MAX;

    for (size_t i = 0; i < used; i++) {
        uintptr_t start = start_of(i);

        if (start > address && start < next)
            next = start;
    }
    return next;
}

size_t ours_capacity(void)
{
    return ENTRIES;
}

size_t ours_own_bytes(void)
{
    return sizeof(ours);
}

const void *ours_table(void)
{
    return &ours;
}
