/* SPDX-License-Identifier: MIT
 *
 * The snapshot is what fork makes, without what the C library does around it (snapshot.h).  The copy has all
 * signals blocked, closes the descriptors it was born with before anybody can miss them, cannot outlive the
 * thread that waits for it, sends no SIGCHLD, and is seen by no wait() of the program's.  Where the copy
 * would be the first process of a pid namespace, none is made: with its end the namespace would be closed for
 * good.
 */
#include "snapshot.h"

#include <errno.h>
#include <sys/wait.h>

#include "kernel.h"
#include "pages.h"

/* In the copy. */
static _Noreturn void run(snapshot_fn *work, void *ctx, struct withheld *withheld, pid_t parent)
{
    int error = 0;

    kernel_die_with_parent(parent);
    if (withheld != NULL)
        error = withheld_fill(withheld);
    kernel_close_all();
    if (error != 0)
        kernel_exit(error);
    pages_open();
    kernel_dump_nothing();
    work(ctx);
    kernel_exit(0);
}

int snapshot_run(snapshot_fn *work, snapshot_fn *go_on, void *ctx, struct withheld *withheld,
                 bool *was_in_place)
{
    pid_t self = kernel_process(), copy;
    int status = 0;

    if (withheld != NULL)
        withheld_open(withheld);
    copy = kernel_has_children_elsewhere() ? -EPERM : kernel_copy_process();
    if (copy == 0)
        run(work, ctx, withheld, self);
    if (withheld != NULL)
        withheld_close(withheld, copy);
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
