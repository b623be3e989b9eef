/* SPDX-License-Identifier: MIT
 *
 * Waiting that must end: for what another thread has, which may itself wait for what this one has.
 */
#ifndef BOUNDED_WAIT_H
#define BOUNDED_WAIT_H

#include <stdbool.h>
#include <stdint.h>

struct bounded_wait {
    uint64_t last_ns, waited_ns;
    unsigned yields;
}; /* 0 to begin with */

/* Gives the processor away once more.  False when half a second is over, or after a hundred thousand times,
 * should the clock stand still.  Of the time between two calls 10 ms count at most: while a process is
 * stopped, or its machine, the others get no further either.  Leaves errno alone; any thread, also from a
 * signal handler. */
bool bounded_wait(struct bounded_wait *wait);

/* What is waited for gets on: from now on it may take as long as at first. */
void bounded_wait_anew(struct bounded_wait *wait);

#endif
