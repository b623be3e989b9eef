/* SPDX-License-Identifier: MIT
 *
 * Capturing the calling thread's exact call stack, as one stack id.  unwind.c does it with libunwind's
 * unw_backtrace; it is the only file that names libunwind.
 */
#ifndef UNWIND_H
#define UNWIND_H

#include <stdbool.h>

#include "stackmap.h"
#include "thread.h"

struct unwind_stack {
    stack_id id;
    bool is_cut; /* there was no room for the inner frames, or, with id 0, for any */
};

/* Lets the unwinder set itself up while nobody waits for it. */
void unwind_init(void);

/* The stack that begins with the return address `caller`, LD_MAX_FRAMES deep at most, outer frames being lost
 * first. The id is in flight (thread.h) until this thread's next capture on the same level.  `each_root` is
 * for a collection of stacks, should one be due. */
struct unwind_stack unwind_capture(struct thread *thread, unsigned level, const void *caller,
                                   stackmap_roots_fn *each_root);

#endif
