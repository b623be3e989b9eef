/* SPDX-License-Identifier: MIT
 *
 * Drawing the distance to the next hit, and what a hit stands for.
 */
#define _POSIX_C_SOURCE 200809L
#include "sampling.h"

#include <errno.h>
#include <math.h>

#include "kernel.h"

struct sampling sampling;

int sampling_set_period(size_t period)
{
    if (period != 0 && (uint64_t)(period - 1) >> SAMPLING_PERIOD_MAX != 0)
        return EINVAL;
    for (unsigned i = 0; i < SAMPLING_PERIODS; i++) {
        uint64_t there = 0;

        /* The first entry is 0 and stays it; the others are given out one by one. */
        if (i > 0)
            atomic_compare_exchange_strong_explicit(&sampling.periods[i], &there, period,
                                                    memory_order_relaxed, memory_order_relaxed);
        if (there == period || (i > 0 && there == 0)) {
            /* Release: partner of period_of. */
            atomic_store_explicit(&sampling.now, i, memory_order_release);
            return 0;
        }
    }
    return ENOSPC;
}

/* Random bits: xorshift64*, whose state is never 0. */
static uint64_t draw_bits(void)
{
    uint64_t bits = thread_self.sample_random;

    if (bits == 0)
        bits = (kernel_now_ns() << 32 ^ (uintptr_t)&thread_self) | 1;
    bits ^= bits >> 12;
    bits ^= bits << 25;
    bits ^= bits >> 27;
    thread_self.sample_random = bits;
    return bits * UINT64_C(0x2545f4914f6cdd1d);
}

static uint64_t period_of(unsigned number)
{
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&sampling.periods[number], memory_order_relaxed);
}

/* Bytes up to and with the next one that is hit: exponential, with the period as its mean. */
static uint64_t draw_distance(uint64_t period)
{
    double uniform = (double)((draw_bits() >> 11) + 1) * 0x1p-53;

    return 1 + (uint64_t)(-log(uniform) * (double)period);
}

COLD unsigned sampling_draw(size_t size)
{
    unsigned number = sampling_now();
    uint64_t period = period_of(number);

    if (thread_self.sample_number != number) {
        /* Another period, or the thread's first allocation: what was left means nothing. */
        thread_self.sample_number = number;
        thread_self.sample_left = draw_distance(period);
    }
    if (sampling_passes(size))
        return 0;
    /* The process has no memory: from the end of a block that was hit the distance is drawn afresh. */
    thread_self.sample_left = draw_distance(period);
    return number;
}

double sampling_weight(unsigned number, size_t size)
{
    uint64_t period = period_of(number % SAMPLING_PERIODS);

    if (period == 0)
        return 1.0;
    return -1.0 / expm1(-(double)(size > 0 ? size : 1) / (double)period);
}
