/* SPDX-License-Identifier: MIT
 *
 * sigprocmask, in whole programs.  libunwind blocks all signals while it holds a lock, and then restores the
 * mask.  But of the two signals that glibc keeps for itself its sigfillset and sigprocmask know nothing: they
 * are unblocked, and stay that.  There are threads that need them blocked, and allocate: that of timers with
 * SIGEV_THREAD waits for signal 32 by sigwaitinfo, and otherwise is killed by it.  So what libunwind blocks
 * is blocked besides, and what it restores goes to the kernel as it is; while all are blocked anyway, it is
 * told yes.  All others get the C library's.
 */
#define _POSIX_C_SOURCE 200809L
#include "config.h"
#include "leakdetect.h"

#if LD_OVERRIDE

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "kernel.h"
#include "platform.h"
#include "thread.h"

ENTRY_POINT int ld_sigprocmask(int how, const sigset_t *set, sigset_t *old);

static bool is_full(const sigset_t *set)
{
    sigset_t full;

    sigfillset(&full);
    return set != NULL && memcmp(set, &full, sizeof(uint64_t)) == 0;
}

/* A handler of the program's that has interrupted libunwind may be the caller, too. */
ENTRY_POINT int ld_sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
    int error;

    if (LIKELY(thread_self.has_blocked_signals))
        return 0;
    if (LIKELY(!thread_is_unwinding()))
        error = -pthread_sigmask(how, set, old);
    else
        error = kernel_change_mask(how == SIG_SETMASK && is_full(set) ? SIG_BLOCK : how, set, old);
    if (error == 0)
        return 0;
    errno = -error;
    return -1;
}

#endif
