/* SPDX-License-Identifier: MIT
 *
 * The snapshot is what fork makes, without what the C library does around it (snapshot.h).  The copy has all
 * signals blocked, closes the descriptors it was born with before anybody can miss them, cannot outlive the
 * thread that waits for it, sends no SIGCHLD, and is seen by no wait() of the program's.
 */
#include "snapshot.h"

#include <errno.h>

#include "kernel.h"
#include "pages.h"

int snapshot_run(snapshot_fn *work, snapshot_fn *go_on, void *ctx, bool *was_in_place)
{
    pid_t self = kernel_process(), copy = kernel_copy_process();
    int status = 0;

    if (copy == 0) {
        kernel_die_with_parent(self);
        kernel_close_all();
        pages_open();
        kernel_dump_nothing();
        work(ctx);
        kernel_exit(0);
    }
    *was_in_place = copy < 0;
    if (copy < 0)
        work(ctx);
    go_on(ctx);
    if (copy > 0 && kernel_wait(copy, &status) == copy && status != 0)
        return EFAULT;
    return 0;
}
