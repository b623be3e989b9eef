/* SPDX-License-Identifier: MIT
 *
 * Trails: see trail.h.
 */
#include "trail.h"

#if LD_UNWIND_RULES

/* How many frames are further out than the innermost of these words that has changed. */
static COLD uint32_t frames_beyond_change(const struct trail *trail, uint32_t count, uint32_t words)
{
    while (words > 0 && trail_word_holds(&trail->words[words - 1]))
        words--;
    while (count > 0 && trail->frames[count - 1].words_end >= words)
        count--;
    return count;
}

uint32_t trail_unchanged(const struct trail *trail, uint32_t count)
{
    uint32_t words = count == 0 ? 0 : trail->frames[count - 1].words_end; /* that are to be compared still */
    module_id checked = 0;

    for (uint32_t i = count; i > trail->firm; i--) {
        const struct trail_frame *frame = &trail->frames[i - 1];

        if (LIKELY(!trail_can_unload(frame)) || (trail_module(frame) != 0 && trail_module(frame) == checked))
            continue;
        if (!trail_words_hold(trail->words + frame->words_end, words - frame->words_end))
            return frames_beyond_change(trail, count, words);
        words = frame->words_end;
        if (!module_is_current(trail_module(frame), (const void *)frame->at.pc))
            return i - 1;
        checked = trail_module(frame);
    }
    return trail_words_hold(trail->words, words) ? count : frames_beyond_change(trail, count, words);
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
        struct trail_frame *frame = &trail->frames[trail->known];

        id = stackmap_child(supply, epoch, id, (const void *)frame->at.pc, trail_module(frame));
        if (UNLIKELY(id == 0))
            return false;
        frame->id = id;
        atomic_signal_fence(memory_order_seq_cst);
        if (trail->firm == trail->known && !trail_can_unload(frame))
            trail->firm++;
        trail->known++;
    }
    return true;
}

#endif
