/* SPDX-License-Identifier: MIT
 *
 * Capturing the calling thread's exact call stack, as one stack id.  Two files do it, one of which config.h
 * chooses: unwind.c walks by cached rules, unwind_generic.c calls unw_backtrace each time.  What they share
 * is in unwind_common.c.  And, in unwind_exit.c, finding out who has called exit.
 */
#ifndef UNWIND_H
#define UNWIND_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "platform.h"
#include "stackmap.h"
#include "thread.h"

struct unwind_stack {
    stack_id id;
    bool is_cut; /* there was no room for the inner frames, or, with id 0, for any */
};

/* Lets the unwinder set itself up while nobody waits for it. */
void unwind_init(void);

/* Where an entry point was called from.  Its frame is read, and so it must still be there when a stack is
 * captured: an entry point does not end by a jump, and what it calls with this at its end is a part of it
 * (ALWAYS_INLINE). */
struct unwind_caller {
    const void *pc;    /* its return address */
    const void *frame; /* its frame address */
};
#define UNWIND_CALLER() ((struct unwind_caller){RETURN_ADDRESS(), FRAME_ADDRESS()})

/* The stack that begins with caller.pc.  At least the innermost LD_MAX_FRAMES frames are exact.  The id is in
 * flight (thread.h) until this thread's next capture on the same level.  `each_root` is for a collection of
 * stacks, should one be due. */
struct unwind_stack unwind_capture(struct thread *thread, unsigned level, struct unwind_caller caller,
                                   stackmap_roots_fn *each_root);

/* A function that waits for one that it has called: where it goes on, where its stack begins then, and the
 * registers that a call keeps, as it will find them: BX, BP, R12 to R15. */
struct unwind_frame {
    uintptr_t pc, sp;
    uintptr_t kept[6];
};

/* From the function by which exit calls its handlers to the one that has called exit, the last time if that
 * was more than once.  False: it cannot be found out, and *frame is as it was; always where processors are
 * not x86-64. */
bool unwind_leave_exit(struct unwind_frame *frame);

/* How many stacks were left to unwind_ask. */
size_t unwind_asked(void);

/* Bytes of static tables. */
size_t unwind_own_bytes(void);

#if LD_CHECK_UNWIND
/* Compares a stack that has just been captured with what libunwind says; aborts if they differ.  Very
 * slow. */
void unwind_check(struct thread *thread, unsigned level, struct unwind_caller caller,
                  struct unwind_stack stack);
#else
static inline void unwind_check(struct thread *thread, unsigned level, struct unwind_caller caller,
                                struct unwind_stack stack)
{
    (void)thread;
    (void)level;
    (void)caller;
    (void)stack;
}
#endif

/* --- Shared by the two ways --------------------------------------------------------------------------- */

#define UNWIND_OWN_FRAMES    16 /* at most, from unw_backtrace's caller to the entry point */
#define UNWIND_BUFFER_FRAMES (LD_MAX_FRAMES + UNWIND_OWN_FRAMES)

/* The stack as libunwind sees it, from the return address `caller` on, innermost frame first, at most
 * LD_MAX_FRAMES of them and at least that one, somewhere in `buffer`, which has room for
 * UNWIND_BUFFER_FRAMES. */
const void **unwind_backtrace(struct thread *thread, unsigned level, const void *caller, const void **buffer,
                              size_t *count);

/* Whether libunwind can be asked: it has its pipe, and would not wait for a thread that may have the loader's
 * lock for ever.  Between thread_unwind_enter and thread_unwind_leave. */
bool unwind_can_ask(void);

/* Has libunwind find this thread's stack, and puts that in the tree. */
struct unwind_stack unwind_ask(struct thread *thread, unsigned level, const void *caller,
                               stackmap_roots_fn *each_root);

/* Puts a stack in the tree, innermost frame first. */
struct unwind_stack unwind_keep(struct thread *thread, unsigned level, const void *const *frames,
                                size_t count, stackmap_roots_fn *each_root);

/* Collections that may overtake a capture before it is given up. */
#define UNWIND_TRIES_MAX 1000

/* True if it is worth trying again to get nodes, after an attempt in `epoch` and `tries` before that. */
bool unwind_make_room(unsigned level, uint32_t epoch, int tries, stackmap_roots_fn *each_root);

/* Puts a stack that was built in `epoch` in flight.  False if a collection that has begun since may have
 * missed it: build it again. */
static inline bool unwind_publish(struct thread *thread, unsigned level, stack_id id, uint32_t epoch)
{
    /* Release: partner of thread_each_in_flight. */
    atomic_store_explicit(&thread->in_flight[level], id, memory_order_release);
    platform_light_fence();
    /* One that begins now will not miss it. */
    return LIKELY(stackmap_epoch() == epoch);
}

#endif
