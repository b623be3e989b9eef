/* SPDX-License-Identifier: MIT
 *
 * sigaltstack, in whole programs: the kernel's, but it is noticed when two threads have the same signal
 * stack, as those of varnishd do, which need it for nothing but to die on, and when one is too small.  One
 * thread at a time may be on it, and to look for lost blocks all are stopped at once, in a handler (stop.h).
 *
 * No other system call is made than the program's own: a sandbox might kill it for that.  So a thread is
 * known by an address of its own, and what it has is forgotten when its data are destroyed.  One that ends
 * without that, or is left behind by a fork, counts as alive: then threads may be stopped elsewhere in vain.
 */
#define _GNU_SOURCE /* SS_DISABLE */
#include "config.h"
#include "leakdetect.h"

#if LD_OVERRIDE

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/auxv.h>

#include "kernel.h"
#include "platform.h"
#include "stop.h"

/* Where stacks are watched, and how many places there are for one of them; of more nothing is known. */
enum { PLACES = 1024, PLACES_OF_ONE = 8, PAGE_SHIFT = 12 };

/* Bytes for the handler in which threads are stopped, besides what the kernel puts on the stack. */
enum { HANDLER_ROOM = 2048 };

/* What that is, at most, where the kernel does not tell (before Linux 5.14): with AVX-512. */
enum { LEAST_UNTOLD = 3584 };

static struct {
    /* Inverted, lest they are taken for pointers; 0: none. */
    _Atomic uintptr_t stack;
    _Atomic uintptr_t thread; /* that has it: the address of its `own` */
} owners[PLACES];

static THREAD_LOCAL unsigned own; /* place of this thread's, and 1 */

static pthread_key_t at_end; /* of a thread that has a place */
static bool has_at_end;

static void forget(void)
{
    uintptr_t thread = ~(uintptr_t)&own;

    if (own != 0)
        atomic_compare_exchange_strong_explicit(&owners[own - 1].thread, &thread, 0, memory_order_relaxed,
                                                memory_order_relaxed);
    own = 0;
}

static void forget_at_end(void *unused)
{
    (void)unused;
    forget();
}

__attribute__((constructor)) static void make_key(void)
{
    has_at_end = pthread_key_create(&at_end, forget_at_end) == 0;
}

static void note(uintptr_t stack)
{
    uintptr_t thread = ~(uintptr_t)&own, before;
    unsigned place = 0;

    for (unsigned i = 0; i < PLACES_OF_ONE; i++) {
        unsigned at = (unsigned)((stack >> PAGE_SHIFT) + i) % PLACES;

        if (atomic_load_explicit(&owners[at].stack, memory_order_relaxed) == ~stack) {
            place = at + 1;
            break;
        }
        if (place == 0 && atomic_load_explicit(&owners[at].thread, memory_order_relaxed) == 0)
            place = at + 1;
    }
    if (place == 0)
        return;
    atomic_store_explicit(&owners[place - 1].stack, ~stack, memory_order_relaxed);
    before = atomic_exchange_explicit(&owners[place - 1].thread, thread, memory_order_relaxed);
    if (before != 0 && before != thread)
        stop_avoid_signal_stacks();
    own = place;
    if (has_at_end)
        pthread_setspecific(at_end, &own);
}

/* The least size that the kernel takes may be less than the registers need: with AVX-512 it kills a thread
 * that is to take a signal there. */
static bool is_small(const stack_t *stack)
{
    unsigned long least = getauxval(AT_MINSIGSTKSZ);

    return stack->ss_size < (least != 0 ? least : LEAST_UNTOLD) + HANDLER_ROOM;
}

ENTRY_POINT int ld_sigaltstack(const stack_t *stack, stack_t *old);

ENTRY_POINT int ld_sigaltstack(const stack_t *stack, stack_t *old)
{
    int error = kernel_set_signal_stack(stack, old);
    stack_t now = {.ss_flags = SS_DISABLE};

    if (error != 0) {
        errno = -error;
        return -1;
    }
    if (stack == NULL)
        return 0;
    forget();
    /* As the kernel has it: *old, which has been written, may be *stack. */
    kernel_set_signal_stack(NULL, &now);
    if ((now.ss_flags & SS_DISABLE) != 0)
        return 0;
    if (is_small(&now))
        stop_avoid_signal_stacks();
    note((uintptr_t)now.ss_sp);
    return 0;
}

#endif
