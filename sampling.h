/* SPDX-License-Identifier: MIT
 *
 * Recording a sample: on average one allocation in so many bytes allocated, the period.
 *
 * Each byte that a thread allocates is hit with the same small chance, 1 / period, as by a Poisson process,
 * and an allocation is recorded if one of its bytes is.  So the distance in bytes from one hit to the next
 * has an exponential distribution, and it is counted down: an allocation that is not recorded costs a
 * subtraction.  A block of `size` bytes is recorded with the chance 1 - exp(-size / period), and stands for
 * the inverse of that number of blocks: estimates of blocks and bytes are unbiased, for each call site alone
 * as well.
 *
 * Blocks that are recorded begin at a multiple of SAMPLING_ALIGNMENT, as hardly any other does, so that
 * nearly all others are known by their address alone when they are freed.
 *
 * A record says which period it was made with, by a number: a process may use a few of them.
 */
#ifndef SAMPLING_H
#define SAMPLING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "platform.h"
#include "thread.h"

enum {
    SAMPLING_ALIGNMENT = 4096,
    SAMPLING_PERIODS = 4, /* the first one, 0, stands for recording everything */
    /* In the flags of a record, next to LD_LEAK_STACK_CUT: the number of the period, two bits. */
    SAMPLING_FLAG_SHIFT = 1,
};

#define SAMPLING_PERIOD_MAX 40 /* the logarithm of the longest, in bytes */

extern struct sampling {
    _Atomic uint64_t periods[SAMPLING_PERIODS];
    atomic_uint now; /* number of the one that is in use */
} sampling;

/* Chooses the period, in bytes.  0, EINVAL if it is too long, or ENOSPC if the process has used too many. Any
 * thread, not from a signal handler. */
int sampling_set_period(size_t period);

static inline unsigned sampling_now(void)
{
    return atomic_load_explicit(&sampling.now, memory_order_relaxed);
}

unsigned sampling_draw(size_t size);

/* True if a block of this size, which is not 0, is not hit, and then it was counted; otherwise sampling_draw
 * has to be asked.  Budget: one line of this thread's and one that all read. */
static inline bool sampling_passes(size_t size)
{
    struct thread_self *self = &thread_self;
    /* Read once: a signal handler may draw meanwhile. */
    uint64_t left = *(volatile uint64_t *)&self->sample_left;

    if (UNLIKELY(self->sample_number != sampling_now() || left <= size))
        return false;
    self->sample_left = left - size;
    return true;
}

/* The number of the period, if a block of this size is to be recorded; otherwise 0. */
static inline unsigned sampling_takes(size_t size)
{
    return LIKELY(sampling_passes(size)) ? 0 : sampling_draw(size);
}

/* How many blocks a recorded one stands for; of the number only its two bits count. */
double sampling_weight(unsigned number, size_t size);

#endif
