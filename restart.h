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

/* A call that the kernel does restart fails with EINTR where it would have without ours: a signal of the
 * program's has come meanwhile, whose handler does not ask for a restart.
 *
 * At the end of a handler that all signals wait for, but for glibc's own, with its ucontext_t, and its
 * siginfo_t, which is used up.  Lets the call that it interrupted go on, if it then waits as long as it would
 * have: to no end, until a moment, or for as long as the kernel has said is left.  But if the program has
 * handlers, calls whose own mask lets in what is blocked otherwise fail with EINTR, and those that there is
 * none like; and so do all others.  x86-64 only; elsewhere every call fails. */
void restart_call(void *info, void *context);

/* The stack pointer of a thread that was stopped with these registers, a ucontext_t's, while it is in a
 * system call: its own, if the call is one that goes on. */
uintptr_t restart_stack_pointer(const void *registers);

/* One more handler that is not the program's. */
void restart_know_handler(kernel_handler_fn *handler);

#endif
