/* SPDX-License-Identifier: MIT
 *
 * Asking the loader: see loader.h.
 */
#define _GNU_SOURCE 1
#include "loader.h"

#include <link.h>
#include <stdatomic.h>
#include <stdint.h>

#include "bounded_wait.h"
#include "kernel.h"
#include "loader_lock.h"
#include "platform.h"

/* --- Forks -------------------------------------------------------------------------------------------- */

static _Atomic unsigned visits; /* that threads are in */
static _Atomic unsigned forks;  /* that are about to happen */

/* What of it is the calling thread's: it must not wait for itself. */
static THREAD_LOCAL uint8_t own_visits; /* more than one in signal handlers */
static THREAD_LOCAL uint32_t forking;   /* the id that it has in the parent; 0: it does not fork */

static void enter(void)
{
    struct bounded_wait wait = {0};

    own_visits++;
    /* Sequentially consistent: partner of loader_before_fork. */
    atomic_fetch_add_explicit(&visits, 1, memory_order_seq_cst);
    while (UNLIKELY(atomic_load_explicit(&forks, memory_order_seq_cst) != 0) && own_visits == 1 &&
           forking == 0) {
        bool goes_on;

        atomic_fetch_sub_explicit(&visits, 1, memory_order_relaxed);
        goes_on = bounded_wait(&wait);
        atomic_fetch_add_explicit(&visits, 1, memory_order_seq_cst);
        if (!goes_on)
            return;
    }
}

static void leave(void)
{
    /* Release: the lock was given back. */
    atomic_fetch_sub_explicit(&visits, 1, memory_order_release);
    own_visits--;
}

/* Who was waited for in vain, and was not seen to have given it back since. */
static _Atomic uint32_t keeper;

bool loader_is_free_soon(void)
{
    struct bounded_wait wait = {0};
    uint32_t owner = loader_lock_owner();

    if (LIKELY(owner == 0)) {
        if (UNLIKELY(atomic_load_explicit(&keeper, memory_order_relaxed) != 0))
            atomic_store_explicit(&keeper, 0, memory_order_relaxed);
        return true;
    }
    if (atomic_load_explicit(&keeper, memory_order_relaxed) == owner)
        return false;
    /* Where it goes from one to the next, everybody's turn comes. */
    while (loader_lock_owner() == owner)
        if (!bounded_wait(&wait)) {
            atomic_store_explicit(&keeper, owner, memory_order_relaxed);
            return false;
        }
    return true;
}

bool loader_visit(loader_visit_fn *visit, void *ctx)
{
    bool is_free;

    enter();
    is_free = loader_is_free_soon();
    if (is_free)
        dl_iterate_phdr(visit, ctx);
    leave();
    return is_free;
}

void loader_before_fork(void)
{
    struct bounded_wait wait = {0};

    forking = (uint32_t)kernel_thread();
    atomic_fetch_add_explicit(&forks, 1, memory_order_seq_cst);
    while (atomic_load_explicit(&visits, memory_order_seq_cst) > own_visits && bounded_wait(&wait))
        continue;
}

void loader_after_fork(bool in_child)
{
    if (in_child)
        loader_lock_renew(forking);
    forking = 0;
    if (!in_child) {
        atomic_fetch_sub_explicit(&forks, 1, memory_order_relaxed);
        return;
    }
    atomic_store_explicit(&visits, own_visits, memory_order_relaxed);
    atomic_store_explicit(&forks, 0, memory_order_relaxed);
}

/* --- Names -------------------------------------------------------------------------------------------- */

static atomic_bool is_awaited;

bool loader_is_awaited(void)
{
    return atomic_load_explicit(&is_awaited, memory_order_relaxed);
}

void loader_forget(void)
{
    atomic_store_explicit(&is_awaited, false, memory_order_relaxed);
}

struct question {
    loader_visit_fn *visit;
    void *ctx;
};

static int visit_module(struct dl_phdr_info *info, size_t size, void *ctx)
{
    struct question *question = ctx;

    loader_forget();
    return question->visit(info, size, question->ctx);
}

void loader_ask(loader_visit_fn *visit, void *ctx)
{
    struct question question = {visit, ctx};

    atomic_store_explicit(&is_awaited, true, memory_order_relaxed);
    dl_iterate_phdr(visit_module, &question);
    loader_forget();
}
