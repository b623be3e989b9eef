/* SPDX-License-Identifier: MIT
 *
 * System calls that a signal of this library's has interrupted.  Some the kernel never restarts, whatever
 * SA_RESTART says (signal(7)): poll, select, epoll_wait, nanosleep and their like, and what waits for System
 * V queues and semaphores.  There are programs that do not expect that they fail with EINTR: Varnish's child
 * ends, fio loses a thread, and perl's select is over too early.
 *
 * To begin such a call anew would lose signals of the program's: one that comes before the call has begun
 * interrupts nothing.  So the handler returns to a call like it that takes a mask of signals, with all of
 * them blocked until it waits (restart.c).
 */
#ifndef RESTART_H
#define RESTART_H

#include <stdint.h>

#include "kernel.h"

/* Called once, before the program gives itself a filter of system calls. */
void restart_init(void);

/* Called last in a handler that blocks all signals but glibc's own, with its ucontext_t and its siginfo_t,
 * which is used up.
 *
 * A call that the kernel restarts fails with EINTR if a signal of the program's came meanwhile whose handler
 * does not ask for a restart, as it would have without ours.  One that the kernel does not restart goes on if
 * it then waits as long as it would have; it fails if there is none like it, or if the program has handlers
 * and the call's own mask lets in what is blocked otherwise.  x86-64; elsewhere the kernel alone decides. */
void restart_call(void *info, void *context);

/* The stack pointer of a thread that was stopped with these registers, a ucontext_t's, while it is in a
 * system call: its own, if the call is one that goes on. */
uintptr_t restart_stack_pointer(const void *registers);

/* One more handler that is not the program's. */
void restart_know_handler(kernel_handler_fn *handler);

#endif
