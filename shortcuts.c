/* SPDX-License-Identifier: MIT
 *
 * Making shortcuts: see shortcuts.h.
 */
#include "shortcuts.h"

#if LD_UNWIND_RULES

#include <string.h>

/* A place on the stack in words from sp; false if it cannot be kept. */
static inline bool encode(uintptr_t at, uintptr_t sp, uint32_t *out)
{
    uintptr_t distance = at - sp;

    *out = (uint32_t)(distance / sizeof(uintptr_t));
    return at >= sp && distance % sizeof(uintptr_t) == 0 && distance / sizeof(uintptr_t) < SHORTCUT_ANY_BP;
}

static inline bool encode_bp(const struct trail_frame *frame, uintptr_t sp, uint32_t *out)
{
    *out = SHORTCUT_ANY_BP;
    return !frame->needs_bp || encode(frame->at.bp, sp, out);
}

/* How far out from the innermost frame of this trail a shortcut may lead, and the one module that has to be
 * compared, with the word that led to a frame of it. */
static const struct trail_frame *reach(const struct trail *trail, struct shortcut *shortcut)
{
    const struct trail_frame *start = &trail->frames[trail->count - 1], *to = start, *in_module = start;

    shortcut->module = 0;
    shortcut->is_beyond_guess = false;
    for (uint32_t i = trail->count; i-- > 0;) {
        const struct trail_frame *frame = &trail->frames[i];

        if (start->words_end - frame->words_end > SHORTCUT_WORDS)
            break;
        if (UNLIKELY(i >= trail->firm) && trail_can_unload(frame) &&
            (trail_module(frame) == 0 || trail_module(frame) != shortcut->module)) {
            if (shortcut->module != 0 || trail_module(frame) == 0)
                break;
            shortcut->module = trail_module(frame);
            in_module = frame;
        }
        shortcut->is_beyond_guess = shortcut->is_beyond_guess || trail_is_guessed(to);
        to = frame;
    }
    shortcut->count = (uint8_t)(start->words_end - to->words_end);
    /* The pc of a frame is the first word beyond those that lead on from it. */
    shortcut->in_module =
        in_module == start ? shortcut->count : (uint8_t)(in_module->words_end - to->words_end);
    return to;
}

/* False: some cannot be kept, or there are none. */
static bool copy_words(struct shortcut *shortcut, const struct trail_word *words)
{
    for (size_t i = 0; i < shortcut->count; i++) {
        uint64_t distance = (words[i].at - shortcut->sp) / sizeof(uintptr_t);

        if (UNLIKELY(words[i].value >> (64 - SHORTCUT_AT_BITS) != 0 || distance >> SHORTCUT_AT_BITS != 0))
            return false;
        shortcut->words[i] = (uint64_t)words[i].value << SHORTCUT_AT_BITS | distance;
    }
    if (UNLIKELY(shortcut->count == 0))
        return false;
    for (size_t i = shortcut->count; i < SHORTCUT_WORDS; i++)
        shortcut->words[i] = shortcut->words[i - 1];
    return true;
}

bool shortcuts_wanted(struct shortcuts *shortcuts, stack_id stack)
{
    uint64_t *word = &shortcuts->seen[stack % SHORTCUT_SEEN / 64], bit = UINT64_C(1) << stack % 64;

    if ((*word & bit) != 0)
        return true;
    if (UNLIKELY(++shortcuts->seen_count > SHORTCUT_SEEN_MAX)) {
        shortcuts->seen_count = 1;
        memset(shortcuts->seen, 0, sizeof(shortcuts->seen));
    }
    *word |= bit;
    return false;
}

/* The one of a set that is to be replaced; NULL: none, this time.  They take turns, and one that was of use
 * since its last turn, or is new, is passed over: a program that goes round and round through more stacks
 * than there is room for would otherwise find none of them. */
static struct shortcut *next_to_replace(struct shortcuts *shortcuts, size_t set, uint32_t epoch)
{
    struct shortcut *shortcut =
        &shortcuts->entries[set * SHORTCUT_WAYS + shortcuts->turn[set]++ % SHORTCUT_WAYS];

    if (shortcut->pc == 0 || shortcut->epoch != epoch || !shortcut->is_spared)
        return shortcut;
    shortcut->is_spared = false;
    return NULL;
}

void shortcuts_add(struct shortcuts *shortcuts, uint64_t hash, const struct trail *trail)
{
    size_t set = shortcuts_set(hash);
    struct shortcut *shortcut = next_to_replace(shortcuts, set, trail->epoch);
    const struct trail_frame *start = &trail->frames[trail->count - 1], *to;
    unsigned tag_shift;

    if (shortcut == NULL)
        return;
    shortcut->pc = 0;
    atomic_signal_fence(memory_order_seq_cst);
    to = reach(trail, shortcut);
    tag_shift = 8 * (unsigned)(shortcut - &shortcuts->entries[set * SHORTCUT_WAYS]);
    shortcuts->tags[set] = (shortcuts->tags[set] & ~(UINT64_C(0xff) << tag_shift)) | shortcuts_tag(hash)
                                                                                         << tag_shift;
    shortcut->sp = start->at.sp;
    shortcut->to_pc = to->at.pc;
    shortcut->epoch = trail->epoch;
    shortcut->id = start->id;
    shortcut->to_id = to->id;
    shortcut->is_spared = true;
    shortcut->depth = (uint16_t)(to - trail->frames + 1);
    if (!encode_bp(start, start->at.sp, &shortcut->bp) || !encode_bp(to, start->at.sp, &shortcut->to_bp) ||
        !encode(to->at.sp, start->at.sp, &shortcut->to_sp) ||
        !copy_words(shortcut, &trail->words[to->words_end]))
        return;
    atomic_signal_fence(memory_order_seq_cst);
    shortcut->pc = start->at.pc;
}

void shortcuts_forget(struct shortcuts *shortcuts)
{
    for (size_t i = 0; i < SHORTCUTS; i++)
        /* Sets that were never used keep their memory untouched. */
        if (shortcuts->tags[i / SHORTCUT_WAYS] != 0)
            shortcuts->entries[i].pc = 0;
}

#endif
