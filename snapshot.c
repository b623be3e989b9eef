/* SPDX-License-Identifier: MIT
 *
 * The snapshot is what fork makes, without what the C library does around it (snapshot.h).  The copy has all
 * signals blocked, closes the descriptors it was born with before the program goes on, whose ends of pipes
 * and locks of files it would keep, cannot outlive the thread that waits for it, sends no SIGCHLD, and is
 * seen by no wait() of the program's.  Where the copy would be the first process of a pid namespace, none is
 * made: with its end the namespace would be closed for good.
 */
#include "snapshot.h"

#include <errno.h>
#include <sys/wait.h>

#include "kernel.h"
#include "pages.h"
#include "platform.h"

/* A copy that is killed wakes nobody. */
enum { LOOK_AGAIN_NS = 10000000 };

/* In the copy. */
static _Noreturn void run(snapshot_fn *work, void *ctx, struct snapshot_start *start, pid_t parent)
{
    int error = 0;

    kernel_die_with_parent(parent);
    if (start->has_withheld)
        error = withheld_fill(&start->withheld);
    kernel_close_all();
    atomic_store_explicit(&start->is_apart, true, memory_order_release);
    kernel_wake_original(&start->is_apart);
    if (error != 0)
        kernel_exit(error);
    if (!platform_is_filtered())
        kernel_give_way();
    pages_open();
    kernel_dump_nothing();
    work(ctx);
    kernel_exit(0);
}

static void wait_until_apart(struct snapshot_start *start, pid_t copy)
{
    while (!atomic_load_explicit(&start->is_apart, memory_order_acquire)) {
        kernel_wait_for_copy(&start->is_apart, false, LOOK_AGAIN_NS);
        if (!atomic_load_explicit(&start->is_apart, memory_order_acquire) && kernel_has_ended(copy))
            return;
    }
}

int snapshot_run(snapshot_fn *work, snapshot_fn *go_on, void *ctx, struct snapshot_start *start,
                 bool *was_in_place)
{
    pid_t self = kernel_process(), copy;
    int status = 0;

    atomic_store_explicit(&start->is_apart, false, memory_order_relaxed);
    if (start->has_withheld)
        withheld_open(&start->withheld);
    copy = kernel_has_children_elsewhere() ? -EPERM : kernel_copy_process();
    if (copy == 0)
        run(work, ctx, start, self);
    if (copy > 0)
        wait_until_apart(start, copy);
    if (start->has_withheld)
        withheld_close(&start->withheld);
    *was_in_place = copy < 0;
    if (copy < 0) {
        pages_open();
        work(ctx);
        pages_close();
    }
    go_on(ctx);
    if (copy < 0 || kernel_wait(copy, &status) != copy || status == 0)
        return 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EFAULT;
}
