/* SPDX-License-Identifier: MIT
 *
 * glibc's struct pthread, the control block of a thread: all that is assumed of its layout on x86-64, which
 * gdb's libthread_db knows too (but that the thread's id is somewhere in it: helper.c).  Its address is the
 * thread pointer:
 *
 *     thread pointer         itself, dtv, ..., links of a list, the kernel's id,
 *                            ..., an array of keys, pointers to all arrays of keys, ..., the result
 *     end of that page       where the stack ends that glibc has made, with this block in it
 *
 * A block is known by the two words in which it points to itself.  Reads only what the memory map says can be
 * read, and takes nothing that it reads for granted.
 */
#ifndef TCB_H
#define TCB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "maps.h"

/* Whether one seems to be there. */
bool tcb_is_at(const struct maps *maps, uintptr_t address);

/* The first one from there on, in the same mapping; 0: there is none. */
uintptr_t tcb_find(const struct maps *maps, uintptr_t address);

/* Where it ends, or somewhat beyond, in its mapping. */
uintptr_t tcb_end(const struct maps *maps, uintptr_t tcb);

/* Of one that is there.  The id is the kernel's; 0: the thread has ended; -1: and was joined. */
int32_t tcb_id(uintptr_t tcb);
bool tcb_is_detached(const struct maps *maps, uintptr_t tcb);

/* The stack that the C library has given to the calling thread, which its control block tells without a map,
 * as far as functions may have frames there, and which stays as long as the thread; of the first one that is
 * at most what must be free for it.  Empty: not known. */
struct tcb_stack {
    uintptr_t of; /* the thread's pointer */
    uintptr_t start, end;
};
struct tcb_stack tcb_own_stack(void);

/* Where the stack begins that the thread with this control block was given, which lies at its end; 0: not
 * known, as of the first one. */
uintptr_t tcb_stack_start(const struct maps *maps, uintptr_t tcb);

/* The loader's list of the blocks of thread-local storage of one thread, by number of the module; false:
 * there is none. */
struct tcb_dtv {
    uintptr_t start, end; /* of the block that it is in */
    size_t count;
};
bool tcb_get_dtv(const struct maps *maps, uintptr_t tcb, struct tcb_dtv *out);
uintptr_t tcb_storage(const struct tcb_dtv *dtv, size_t module); /* 0: none yet */

/* The arrays of pthread keys, of which 0 are none; NULL: not found.  The first is in the control block. */
enum { TCB_KEY_ARRAYS = 32, TCB_KEY_BYTES = 512 };
const uintptr_t *tcb_key_arrays(const struct maps *maps, uintptr_t tcb);

/* Calls visit for each control block that is found from this one: those of threads that are alive, those of
 * threads that have ended, and those that are kept for threads to come.  Some may come twice. */
typedef void tcb_visit_fn(uintptr_t tcb, void *ctx);
void tcb_each(const struct maps *maps, uintptr_t tcb, tcb_visit_fn *visit, void *ctx);

#endif
