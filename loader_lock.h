/* SPDX-License-Identifier: MIT
 *
 * The lock that dl_iterate_phdr takes, and by it libunwind and the questions to the loader (loader.h).  glibc
 * leaves it as it was in the child of a fork: if another thread had it, which the child has not, whoever asks
 * there waits for ever.
 *
 * Nothing in the loader's interface leads to that lock (_dl_load_write_lock), but it tells itself: it is the
 * recursive mutex in the loader's data that a thread has once more while dl_iterate_phdr calls back than it
 * has afterwards.  With a C library whose loader has no such mutex there is none to be known, and nothing is
 * done.
 */
#ifndef LOADER_LOCK_H
#define LOADER_LOCK_H

#include <stdint.h>

struct r_debug;

/* Called once, before anything else here. */
void loader_lock_find(void);

/* What the loader tells debuggers; NULL: nothing, as in static programs. */
const struct r_debug *loader_debugger(void);

/* In a child of fork, made by the thread that has this id in its parent: the lock is free, or the calling
 * thread's, if it was that thread's. */
void loader_lock_renew(uint32_t parents_thread);

/* The other thread that has it now; 0: none, as far as is known. */
uint32_t loader_lock_owner(void);

#endif
