/* SPDX-License-Identifier: MIT
 *
 * A recorded stream: what a real program did with its heap, as a file.  bench/record.c writes it;
 * bench/table.c and test/test_streams.c replay it.
 *
 * STREAM_FORMAT: nothing but events, 16 bytes each in the byte order of the machine, in the order in which
 * they took effect: an insert is written after the allocator has returned, a remove before the block is given
 * back, so that an address is never inserted twice without a remove between.  A realloc is a remove of the
 * old block and an insert of the new one, even in place.  What is alive at the end has no remove.
 */
#ifndef STREAM_H
#define STREAM_H

#include <stdint.h>

enum stream_kind { STREAM_INSERT = 1, STREAM_REMOVE = 2 };

struct stream_event {
    uint64_t address;
    uint32_t size; /* bytes asked for, at most UINT32_MAX; 0 in a remove */
    uint32_t kind; /* enum stream_kind */
};

_Static_assert(sizeof(struct stream_event) == 16, "an event is 16 bytes in the file");

#endif
