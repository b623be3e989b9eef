/* SPDX-License-Identifier: MIT
 *
 * Pointers into the middle of a block that are as good as one to its beginning, because a compiler or a
 * library makes them and keeps no other: valgrind's heuristics.
 */
#ifndef INTERIOR_H
#define INTERIOR_H

#include <stdbool.h>
#include <stdint.h>

#include "maps.h"

/* Whether this is such a pointer into the block from start to end, which need not be readable.  One past the
 * end is one of them for an array of no elements. */
bool interior_is_as_good(const struct maps *maps, uintptr_t start, uintptr_t end, uintptr_t pointer);

#endif
