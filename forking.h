/* SPDX-License-Identifier: MIT
 *
 * Forking: a child has all that was on record, and none of the locks of threads that it does not have.
 */
#ifndef FORKING_H
#define FORKING_H

#include <stdbool.h>

/* Called once, at the start. */
void forking_init(void);

/* True once in a child that was forked from a process with other threads: its totals may be off by one for
 * each (thread_after_fork), and the caller is to count anew. */
bool forking_has_spoilt_totals(void);

#endif
