/* SPDX-License-Identifier: MIT
 *
 * System calls that a signal of this library's has interrupted.  Some the kernel never restarts, whatever
 * SA_RESTART says (signal(7)): poll, select, epoll_wait, nanosleep and their like, and what waits for System
 * V queues and semaphores.  There are programs without signal handlers that do not expect that they fail with
 * EINTR: Varnish ends its child, for one.
 */
#ifndef RESTART_H
#define RESTART_H

#include "kernel.h"

/* At the end of a handler that all signals wait for, with its ucontext_t.  Lets the call that it interrupted
 * begin anew, if the program has no signal handlers that may have interrupted it, too, and if it then waits
 * as long as it would have: to no end, until a moment, or for as long as the kernel has said is left.
 * Otherwise it fails with EINTR.  x86-64 only; elsewhere it always does. */
void restart_call(void *context);

/* One more handler that is not the program's. */
void restart_know_handler(kernel_handler_fn *handler);

#endif
