/* SPDX-License-Identifier: MIT
 *
 * The snapshot is what fork makes, without what the C library does around it (snapshot.h).  The copy has all
 * signals blocked but one, cannot outlive the thread that waits for it, sends no SIGCHLD, and is seen by no
 * wait() of the program's.  While the program goes on it has no descriptors, which would keep open what the
 * program closes, hold its locks, and put off the end of what others read: it is born into the program's
 * table of them, and leaves that for an empty one.  Where the copy would be the first process of a pid
 * namespace, none is made: with its end the namespace would be closed for good.
 */
#define _GNU_SOURCE
#include "snapshot.h"

#include <errno.h>
#include <signal.h>
#include <sys/ucontext.h>
#include <sys/wait.h>

#include "kernel.h"
#include "pages.h"
#include "platform.h"

#if defined(__x86_64__)
static void refuse(int signal, void *info, void *context)
{
    ucontext_t *interrupted = context;

    (void)signal;
    (void)info;
    interrupted->uc_mcontext.gregs[REG_RAX] = -ENOSYS;
}

/* A filter may have the program's handler make system calls in its stead, which here could wait for a thread
 * that is not in the copy. */
static void refuse_calls(void)
{
    const struct kernel_action action = {.handler = refuse, .flags = SA_SIGINFO};

    kernel_set_action(SIGSYS, &action, NULL);
}
#else
static void refuse_calls(void)
{
}
#endif

/* In the copy. */
static _Noreturn void run(snapshot_fn *work, void *ctx, struct withheld *withheld, pid_t parent)
{
    int error = 0;
    bool has_own_descriptors;

    kernel_die_with_parent(parent);
    if (platform_is_filtered())
        refuse_calls();
    if (withheld != NULL)
        error = withheld_fill(withheld);
    has_own_descriptors = kernel_leave_descriptors();
    if (withheld != NULL)
        withheld_have_all(withheld);
    if (error != 0)
        kernel_exit(error);
    /* In the program's table nothing is opened, which would see it. */
    if (has_own_descriptors) {
        if (!platform_is_filtered())
            kernel_give_way();
        pages_open();
    }
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
    copy = kernel_has_children_elsewhere() ? -EPERM : kernel_copy_process(withheld == NULL);
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
