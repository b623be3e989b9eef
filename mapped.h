/* SPDX-License-Identifier: MIT
 *
 * Memory that the program has mapped itself: arenas of allocators of its own, heaps of a language, stacks of
 * coroutines, images of such a heap.  What of the writable, private mappings is not
 *
 *     this library's or its heap's (ours.h), or would hold every block that was ever freed
 *     the data of a module, which is a root of another kind
 *     a thread's stack, where the inaccessible pages below it show where that begins
 */
#ifndef MAPPED_H
#define MAPPED_H

#include "roots.h"

/* In the snapshot, as roots_each, with ROOTS_MAPPED.  0 or an errno value. */
int mapped_each(const struct roots_snapshot *snapshot, roots_visit_fn *visit, void *ctx);

#endif
