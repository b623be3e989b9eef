/* SPDX-License-Identifier: MIT
 *
 * Brings all other threads of the process to a halt, with their registers saved where they can be read, for
 * the milliseconds that it takes to make a snapshot.  No ptrace: each thread is sent a signal, and its
 * handler waits until the threads may go on.
 *
 * The signal is 33, which glibc keeps for itself (setuid must reach every thread) and which no program can
 * block by way of the C library: even a thread that blocks all signals takes it.  Ours carry a value; any
 * other is passed on to glibc's handler, and one of ours that comes late is ignored by glibc's.
 *
 * What cannot be stopped does not hang the program: a thread that blocks even this signal (it does so while
 * it is created and while it ends), or that sits in the kernel and cannot be interrupted (vfork, a dead file
 * server), is given up after some milliseconds and goes on running.  Then all that is known of it is where
 * its stack is.
 *
 * While threads are stopped they may hold any lock: whoever has stopped them calls nothing that might wait
 * for one, and has all its own signals blocked.
 */
#ifndef STOP_H
#define STOP_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "kernel.h"
#include "platform.h"
#include "tasks.h"

enum { STOP_SIGNAL = 33 };

/* What may be blocked for a while without being in the way of a look, as the kernel's set. */
#define STOP_OTHER_SIGNALS (~KERNEL_SIGNAL(STOP_SIGNAL))

enum stop_state {
    STOP_STOPPED, /* it waits in the handler; registers and stack pointer are exact */
    STOP_RUNNING, /* could not be stopped */
    STOP_GONE,    /* has ended meanwhile */
};

struct stop_thread {
    enum stop_state state;
    pid_t id;
    uintptr_t stack_pointer;  /* 0: not known */
    uintptr_t thread_pointer; /* 0: not known */
    /* Where the registers were saved: in the signal frame, or here. */
    uintptr_t registers, registers_end;
    uintptr_t vectors, vectors_end;
    /* The alternate signal stack that it has, which only the kernel may know; 0: none. */
    uintptr_t alternate_stack;
    uintptr_t signal_stack_end;          /* of the one that it is on; 0: it is not */
    uintptr_t arguments[TASK_ARGUMENTS]; /* of the system call that a running thread is in */
};

struct stop {
    const struct stop_thread *threads; /* without the calling one; until the next stop */
    size_t count;
    size_t running;   /* of them, those that could not be stopped */
    uint64_t blocked; /* signals that the calling thread had blocked */
    uint64_t slice;   /* that it had */
};

/* Stops all other threads.  0, or an errno value: then none is stopped.  One caller at a time. */
int stop_begin(struct stop *stop);

/* Lets them go on; the calling thread is as it was after stop_unblock, with its signals and its slice. */
void stop_end(void);
void stop_unblock(const struct stop *stop);

/* From now on threads are stopped on the stack that they are on: some of them share a signal stack, or have a
 * small one. */
void stop_avoid_signal_stacks(void);

/* In the child of a fork, where whoever had stopped the threads does not exist. */
void stop_after_fork(void);

/* From defer to allow a request to stop is put off, because what the thread has in hand is where nobody would
 * find it (ld_realloc), or because the others wait for it (fork).  Nothing in between may block for long; if
 * it waits for a thread that is stopped already, all are let go and stopped anew.  Signal handlers may nest
 * these.
 *
 * Cost: two stores and two loads of the thread's own. */
struct stop_self {
    const void *deferred; /* frame of the innermost that is on, or STOP_WHEREVER; NULL: none */
    uintptr_t request;    /* that came meanwhile; 0: none */
};
extern THREAD_LOCAL struct stop_self stop_self;
const void *stop_outer(const void *frame);
void stop_answer_late(void);

/* Returns what stop_allow is to be given: the frame of the one that this one has interrupted, if there is one
 * that was not left by longjmp. */
static ALWAYS_INLINE const void *stop_defer_from(const void *frame)
{
    const void *outer = NULL;

    if (UNLIKELY(stop_self.deferred != NULL))
        outer = stop_outer(FRAME_ADDRESS());
    stop_self.deferred = frame;
    atomic_signal_fence(memory_order_seq_cst);
    return outer;
}

static ALWAYS_INLINE const void *stop_defer(void)
{
    return stop_defer_from(FRAME_ADDRESS());
}

/* For what ends in another call than it began in, and is never left by longjmp. */
#define STOP_WHEREVER ((const void *)UINTPTR_MAX)

static inline const void *stop_defer_wherever(void)
{
    return stop_defer_from(STOP_WHEREVER);
}

static inline void stop_allow(const void *outer)
{
    atomic_signal_fence(memory_order_seq_cst);
    stop_self.deferred = outer;
    atomic_signal_fence(memory_order_seq_cst);
    if (UNLIKELY(stop_self.request != 0))
        stop_answer_late();
}

#endif
