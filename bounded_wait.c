/* SPDX-License-Identifier: MIT
 *
 * Waiting that must end: see bounded_wait.h.  By the kernel's clock, for the program's may stand still, or
 * allocate.
 */
#include "bounded_wait.h"

#include "kernel.h"
#include "platform.h"

enum {
    LIMIT_NS = 500000000,  /* a processor may be taken from a whole machine for a tenth of a second */
    STEP_NS = 10000000,    /* more than a turn of a busy processor takes */
    LIMIT_YIELDS = 100000, /* more than there is time for */
};

bool bounded_wait(struct bounded_wait *wait)
{
    uint64_t now = kernel_now_ns();

    if (wait->yields++ != 0) {
        uint64_t step = now - wait->last_ns;

        wait->waited_ns += step < STEP_NS ? step : STEP_NS;
    }
    wait->last_ns = now;
    if (wait->waited_ns >= LIMIT_NS || wait->yields >= LIMIT_YIELDS)
        return false;
    platform_yield(wait->yields);
    return true;
}

/* Not from the first yield on, which takes no time at all. */
void bounded_wait_anew(struct bounded_wait *wait)
{
    wait->waited_ns = 0;
    if (wait->yields > PLATFORM_BUSY_YIELDS)
        wait->yields = PLATFORM_BUSY_YIELDS;
}
