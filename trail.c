/* SPDX-License-Identifier: MIT
 *
 * Trails: see trail.h.
 */
#include "trail.h"

#if LD_UNWIND_RULES

/* How many of these words are further out than the innermost one that has changed, or all. */
static uint32_t words_unchanged(const struct word *words, uint32_t count)
{
    for (uint32_t i = count; i > 0; i--)
        if (!word_holds(&words[i - 1]))
            return i - 1;
    return count;
}

uint32_t trail_unchanged(const struct trail *trail, uint32_t count)
{
    module_id checked = 0;
    uint32_t i, end = 0, same;

    for (i = count; i > trail->firm; i--) {
        const struct frame *frame = &trail->frames[i - 1];
        uint32_t outer = i > 1 ? frame[-1].words_end : 0;

        if (frame->can_unload && (frame->module == 0 || frame->module != checked)) {
            if (!module_is_current(frame->module, (const void *)frame->at.pc))
                return i - 1;
            checked = frame->module;
        }
        if (!words_hold(trail->words + outer, frame->words_end - outer))
            return i - 1;
    }
    if (i > 0)
        end = trail->frames[i - 1].words_end;
    same = words_unchanged(trail->words, end);
    if (same == end)
        return count;
    while (i > 0 && trail->frames[i - 1].words_end > same)
        i--;
    return i;
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
