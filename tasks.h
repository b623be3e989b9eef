/* SPDX-License-Identifier: MIT
 *
 * The threads of this process as the kernel shows them, in /proc/self/task (proc(5)).  By system calls alone:
 * every function may be called while threads are stopped, and in signal handlers.
 */
#ifndef TASKS_H
#define TASKS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Calls `each` for every thread, until it returns false.  They come in the same order each time.  0, or an
 * errno value. */
int tasks_each(bool (*each)(void *ctx, pid_t id), void *ctx);

enum task_state {
    TASK_READY, /* or there is no way to know */
    TASK_DEAF,  /* it cannot take this signal now: it blocks it, or sits in the kernel */
    TASK_GONE,  /* it has ended but for its entry, or is the kernel's own and never runs the program's code */
};
enum task_state tasks_state(pid_t id, int signal);

/* Where the stack pointer of a thread is that is in a system call, and the arguments of that call.  0: the
 * kernel does not tell, and nothing is written. */
enum { TASK_ARGUMENTS = 6 };
uintptr_t tasks_stack_pointer(pid_t id, uintptr_t arguments[TASK_ARGUMENTS]);

/* Called once, at the start of the program. */
void tasks_init(void);

/* Notes (platform.h) if the calling thread has more filters of system calls than the program was started
 * with, which the kernel tells since Linux 5.9.  True if it has any: those of containers refuse what they do
 * not know, but that of a service may end it. */
bool tasks_note_filters(void);

/* Signals that wait for this thread and for no other, as the kernel's set. */
uint64_t tasks_pending(pid_t id);

/* A number of a thread's stat, by the place that proc(5) gives it, which is beyond the name.  0 if it cannot
 * be read. */
unsigned long tasks_stat(pid_t id, int field);

#endif
