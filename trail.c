/* SPDX-License-Identifier: MIT
 *
 * Trails: see trail.h.
 */
#include "trail.h"

#if LD_UNWIND_RULES

uint32_t words_unchanged(const struct word *words, uint32_t count)
{
    for (uint32_t i = count; i > 0; i--)
        if (!word_holds(&words[i - 1]))
            return i - 1;
    return count;
}

uint32_t trail_current_slow(const struct trail *trail, uint32_t count)
{
    module_id checked = 0;

    for (uint32_t i = trail->firm; i < count && i < trail->known; i++) {
        const struct frame *frame = &trail->frames[i];

        if (!frame->can_unload)
            continue;
        if (frame->module != checked && !module_is_current(frame->module, (const void *)frame->at.pc))
            return i;
        checked = frame->module;
    }
    return count;
}

bool trail_intern(struct trail *trail, struct stackmap_supply *supply, uint32_t epoch)
{
    stack_id id;

    if (UNLIKELY(trail->epoch != epoch)) {
        trail->known = trail->firm = 0;
        atomic_signal_fence(memory_order_seq_cst);
        trail->epoch = epoch;
    }
    id = trail->known == 0 ? 0 : trail->frames[trail->known - 1].id;
    while (trail->known < trail->count) {
        struct frame *frame = &trail->frames[trail->known];

        id = stackmap_child(supply, epoch, id, (const void *)frame->at.pc, frame->module);
        if (UNLIKELY(id == 0))
            return false;
        frame->id = id;
        atomic_signal_fence(memory_order_seq_cst);
        if (trail->firm == trail->known && !frame->can_unload)
            trail->firm++;
        trail->known++;
    }
    return true;
}

#endif
