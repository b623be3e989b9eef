/* SPDX-License-Identifier: MIT
 *
 * Work on the memory of this process as it is at one moment, while the program goes on.
 */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "withheld.h"

typedef void snapshot_fn(void *ctx);

/* In shared memory. */
struct snapshot_start {
    bool has_withheld; /* the copy is to have what the program keeps out of copies of itself */
    struct withheld withheld;
    _Atomic uint32_t is_apart; /* the copy: it needs the original no more, nor keeps anything open */
};

/* Runs work(ctx) in a copy of this process, and go_on(ctx) here as soon as the copy is made.  Where no copy
 * can be made, work runs here, before go_on.  ctx lies in shared memory: that is how the answer comes back.
 * Called with all other threads stopped and all signals blocked; work must touch no lock, no heap, no
 * descriptor, and nothing of the C library's that might be in the midst of a change.
 *
 * Returns 0 when work has run to its end, or an errno value: the copy has died (EFAULT), or could not be
 * given what is kept out of it. */
int snapshot_run(snapshot_fn *work, snapshot_fn *go_on, void *ctx, struct snapshot_start *start,
                 bool *was_in_place);

#endif
