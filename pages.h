/* SPDX-License-Identifier: MIT
 *
 * Which pages are worth reading: those that somebody has touched, and that can be read.
 * A large range may be nearly empty, and reading a page that was never touched gives it a place in a page
 * table; and pages that MADV_GUARD_INSTALL has put there look in the memory map like all others.
 */
#ifndef PAGES_H
#define PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Opens /proc/thread-self/pagemap, which goes on to tell of this process in a copy of it, too; false if it
 * cannot, as where a process keeps others from looking into it.  Then pages_each asks for each page whether
 * it can be read. */
bool pages_open(void);
void pages_close(void);

/* Calls visit for the runs of such pages, as far as they are in the range.  Memory that is not private may
 * have been touched by another process: there all pages are visited that can be read, so none beyond the end
 * of its file. */
typedef void pages_visit_fn(uintptr_t start, uintptr_t end, void *ctx);
void pages_each(uintptr_t start, uintptr_t end, bool are_private, pages_visit_fn *visit, void *ctx);

/* How many of these pages are in memory, hold what this process has written, and are shared with no other; 0
 * if one of them is neither such a page nor untouched: of a file, on a swap device, a guard. */
size_t pages_own(uintptr_t start, uintptr_t end);

/* The first page in the range that is in memory, or its end; its start where the kernel cannot say it (before
 * Linux 6.7). */
uintptr_t pages_first_present(uintptr_t start, uintptr_t end);

/* Calls visit for the runs of pages that MADV_GUARD_INSTALL has put there, in ascending order: for none where
 * the page map cannot be opened, or does not tell them (before Linux 6.15). */
void pages_each_guard(uintptr_t start, uintptr_t end, pages_visit_fn *visit, void *ctx);

#endif
