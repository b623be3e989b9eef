/* SPDX-License-Identifier: MIT
 *
 * What each room has to do before and after a fork (forking.h), in the order of their locks.
 */
#define _POSIX_C_SOURCE 200809L
#include "forking.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "kernel.h"
#include "loader.h"
#include "ours.h"
#include "platform.h"
#include "stackmap.h"
#include "stop.h"
#include "symbolize.h"
#include "thread.h"
#include "unwind_pipe.h"

static atomic_bool totals_are_off;

/* The forks that this thread is in, from before_fork to after_fork_in_*.  There may be more than one: a
 * handler of fork may fork, and so may that of a signal which is not held back.  The outermost one takes
 * what is to be held for it, and gives it back. */
static THREAD_LOCAL struct {
    uint64_t signals;  /* that are held back for it */
    const void *outer; /* see stop_defer */
    unsigned depth;
} forks;

/* A handler that forked while jemalloc is held for a fork, or that left for good, would leave all standing.
 * What the thread's own instructions raise comes nevertheless: held back, it would end the process. */
static void hold_signals(void)
{
    static const int raised[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
    uint64_t held = ~KERNEL_GLIBCS, before;

    for (size_t i = 0; i < sizeof(raised) / sizeof(raised[0]); i++)
        held &= ~KERNEL_SIGNAL(raised[i]);
    kernel_block(held, &before);
    forks.signals = held & ~before;
}

/* Other handlers of fork may have changed the mask, too. */
static void let_signals_come(void)
{
    kernel_change_mask(SIG_UNBLOCK, &forks.signals, NULL);
}

/* Locks are taken in this order, and nothing of ours is held while a foreign one is waited for. */
static void take_all(void)
{
    symbolize_before_fork();
    stackmap_before_fork();
    thread_before_fork();
    loader_before_fork();
}

/* A thread that is stopped with jemalloc's locks and ours would make all others wait. */
static void before_fork(void)
{
    if (forks.depth == 0) {
        hold_signals();
        forks.outer = stop_defer_wherever();
    }
    if (forks.depth++ == 0)
        take_all();
}

static void after_fork_in_parent(void)
{
    if (--forks.depth != 0)
        return;
    loader_after_fork(false);
    thread_after_fork(false);
    stackmap_after_fork(false);
    symbolize_after_fork(false);
    stop_allow(forks.outer);
    let_signals_come();
}

static void after_fork_in_child(void)
{
    platform_init();
    ours_after_fork();
    loader_after_fork(true);
    if (thread_after_fork(true))
        atomic_store_explicit(&totals_are_off, true, memory_order_relaxed);
    stackmap_after_fork(true);
    symbolize_after_fork(true);
    unwind_pipe_after_fork();
    check_after_fork();
    /* Here, too, the fork around this one is still to come to its end. */
    if (--forks.depth != 0) {
        take_all();
        return;
    }
    stop_allow(forks.outer);
    let_signals_come();
}

void forking_init(void)
{
    CHECK(pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0);
}

bool forking_has_spoilt_totals(void)
{
    return atomic_exchange_explicit(&totals_are_off, false, memory_order_relaxed);
}
