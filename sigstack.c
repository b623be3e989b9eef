/* SPDX-License-Identifier: MIT
 *
 * sigaltstack, in whole programs: the kernel's, but it is noticed when two threads have the same signal
 * stack, as those of varnishd do, which need it for nothing but to die on.  One at a time may be on it, and
 * to look for lost blocks all threads are stopped at once, in a handler (stop.h).
 */
#define _GNU_SOURCE /* SS_DISABLE */
#include "config.h"
#include "leakdetect.h"

#if LD_OVERRIDE

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>

#include "kernel.h"
#include "platform.h"
#include "stop.h"

enum { STACKS = 1024 }; /* that are watched; of more nothing is known */

static struct {
    _Atomic uintptr_t stack; /* inverted, lest it is taken for a pointer; 0: none */
    _Atomic int thread;      /* that had it last; 0: none */
} owners[STACKS];

static void forget(pid_t thread)
{
    for (size_t i = 0; i < STACKS; i++) {
        int owner = thread;

        atomic_compare_exchange_strong_explicit(&owners[i].thread, &owner, 0, memory_order_relaxed,
                                                memory_order_relaxed);
    }
}

static void note(uintptr_t stack, pid_t thread)
{
    for (size_t i = 0; i < STACKS; i++) {
        uintptr_t there = 0;
        pid_t before;

        if (!atomic_compare_exchange_strong_explicit(&owners[i].stack, &there, stack, memory_order_relaxed,
                                                     memory_order_relaxed) &&
            there != stack)
            continue;
        before = atomic_exchange_explicit(&owners[i].thread, thread, memory_order_relaxed);
        if (before != 0 && before != thread && kernel_has_thread(before))
            stop_avoid_signal_stacks();
        return;
    }
}

ENTRY_POINT int ld_sigaltstack(const stack_t *stack, stack_t *old);

ENTRY_POINT int ld_sigaltstack(const stack_t *stack, stack_t *old)
{
    int error = kernel_set_signal_stack(stack, old);

    if (error != 0) {
        errno = error;
        return -1;
    }
    if (stack != NULL) {
        forget(kernel_thread());
        if ((stack->ss_flags & SS_DISABLE) == 0)
            note(~(uintptr_t)stack->ss_sp, kernel_thread());
    }
    return 0;
}

#endif
