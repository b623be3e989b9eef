/* SPDX-License-Identifier: MIT
 *
 * Gaps in the record: see gaps.h.
 */
#include "gaps.h"

#include <stdatomic.h>
#include <stdint.h>

#include "platform.h"

#define FOR_GOOD   (UINT64_C(1) << 63)
#define OF_PROGRAM (UINT64_C(1) << 62)
#define COUNT_MASK (OF_PROGRAM - 1)

static _Atomic uint64_t gaps;

COLD void gaps_open(bool of_program)
{
    uint64_t now = atomic_load_explicit(&gaps, memory_order_relaxed);

    while (!atomic_compare_exchange_weak_explicit(&gaps, &now, (now + 1) | (of_program ? OF_PROGRAM : 0),
                                                  memory_order_relaxed, memory_order_relaxed))
        continue;
}

COLD void gaps_close(void)
{
    uint64_t now = atomic_load_explicit(&gaps, memory_order_relaxed), then;

    do {
        /* Whoever frees what was never allocated finds nothing to close. */
        if ((now & COUNT_MASK) == 0)
            return;
        then = now - 1;
        if ((then & COUNT_MASK) == 0)
            then &= ~OF_PROGRAM;
    } while (!atomic_compare_exchange_weak_explicit(&gaps, &now, then, memory_order_relaxed,
                                                    memory_order_relaxed));
}

void gaps_stay(void)
{
    atomic_fetch_or_explicit(&gaps, FOR_GOOD, memory_order_relaxed);
}

bool gaps_exist(void)
{
    return (atomic_load_explicit(&gaps, memory_order_relaxed) & (FOR_GOOD | OF_PROGRAM)) != 0;
}
