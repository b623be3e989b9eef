/* SPDX-License-Identifier: MIT
 *
 * A recorded stream (stream.h) made small enough to be committed: test/streams.sample holds several,
 * bench/sample.c writes it, and test/test_streams.c replays it.  Both keep the same lists, so that most
 * events are one byte.
 *
 *     file      streams, one after the other
 *     stream    name, ended by a 0; number of events; events
 *     event     a number: value * 4 + kind
 *     kind      FRESH    insert; value: zigzag of (address - last inserted address) / 8
 *               AGAIN    insert of an address that was removed; value: how many were removed since
 *               REMOVE   value: how many of the blocks that are still there were inserted since
 *     number    7 bits a byte, the lowest first; the top bit says that there are more
 */
#ifndef SAMPLE_H
#define SAMPLE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum sample_kind { SAMPLE_FRESH, SAMPLE_AGAIN, SAMPLE_REMOVE };

/* The most blocks that may be alive, and the most removed addresses that are remembered. */
enum { SAMPLE_LIVE_MAX = 32768, SAMPLE_REMOVED_MAX = 1024 };

/* Addresses, the latest last.  When it is full it forgets the oldest. */
struct sample_list {
    size_t count, capacity;
    uint64_t addresses[SAMPLE_LIVE_MAX];
};

static inline void sample_list_push(struct sample_list *list, uint64_t address)
{
    if (list->count == list->capacity) {
        list->count--;
        memmove(list->addresses, list->addresses + 1, list->count * sizeof list->addresses[0]);
    }
    list->addresses[list->count++] = address;
}

/* How many addresses came after this one; the list's count if it is not there. */
static inline size_t sample_list_find(const struct sample_list *list, uint64_t address)
{
    size_t since = 0;

    while (since < list->count && list->addresses[list->count - 1 - since] != address)
        since++;
    return since;
}

/* Takes out, and returns, the address that so many came after. */
static inline uint64_t sample_list_take(struct sample_list *list, size_t since)
{
    uint64_t *place = &list->addresses[list->count - 1 - since];
    uint64_t address = *place;

    memmove(place, place + 1, since * sizeof *place);
    list->count--;
    return address;
}

#endif
