/* SPDX-License-Identifier: MIT
 *
 * Shortcuts: how stacks of a thread began, from the allocation on, until they came to a frame of the trail
 * (trail.h).  A thread goes back and forth between some hundreds of them, on a trail that stays the same.
 *
 *     the stack, innermost frame first   | f0  f1  f2  f3 | f4  f5  ...  main  _start |
 *                                          `words`        ^ `to`, frame depth - 1 of the trail
 *
 * A shortcut says: a walk that comes to f0 with this pc, stack pointer and, where it matters, frame pointer,
 * reads these words next, from the last of them to the first; when they were as listed it came to `to`; and
 * if the node of that frame was to_id, the id of the stack was `id`.  So when the words are the same again,
 * and the trail is the same from that frame on, in the tree and in memory, the id is known without a walk.
 *
 * Sets of shortcuts are found by the hash of pc and stack pointer in f0 and of the pcs in f1 and f2: often
 * many ways lead to one call of malloc.  One shortcut is two cache lines: a word is kept in eight bytes, its
 * value, which is an address, above its distance from the stack pointer.  A stack with other values gets no
 * shortcut.
 *
 * Before that, a guess: where a program allocates in a loop, stacks that begin at one f0 have the same
 * shortcut again and again.
 *
 * The cache belongs to one thread.  A shortcut that is being written is invalid meanwhile, since a signal
 * handler may leave for good at any instant.
 */
#ifndef SHORTCUTS_H
#define SHORTCUTS_H

#include "trail.h"

#if LD_UNWIND_RULES

enum {
    SHORTCUT_WORDS = 9,
    SHORTCUT_WAYS = 8,
    SHORTCUT_SETS = LD_MAX_STACKS / 512 < 4     ? 4
                    : LD_MAX_STACKS / 512 > 192 ? 192
                                                : LD_MAX_STACKS / 512,
    SHORTCUTS = SHORTCUT_SETS * SHORTCUT_WAYS,
    /* Bits, and how many of them may be set: few enough that hardly a stack is taken for another one. */
    SHORTCUT_SEEN = LD_MAX_STACKS < 32768 ? (LD_MAX_STACKS + 63) / 64 * 64 : 32768,
    SHORTCUT_SEEN_MAX = SHORTCUT_SEEN / 8,
    SHORTCUT_AT_BITS = 16,
    SHORTCUT_GUESSES = SHORTCUTS < 1024 ? SHORTCUTS : 1024,
    SHORTCUT_GUESS_BITS = 11,
    SHORTCUT_GUESS_SURE = 3, /* so often in a row */
};

#define SHORTCUT_ANY_BP UINT32_MAX /* the frame pointer does not matter */

struct shortcut {
    uintptr_t pc; /* in f0; 0: nothing here */
    uintptr_t sp;
    uintptr_t to_pc;
    uint32_t bp, to_bp; /* in words from sp, or SHORTCUT_ANY_BP */
    uint32_t to_sp;     /* in words from sp */
    uint32_t epoch;     /* in which both ids are good */
    stack_id id, to_id;
    uint16_t depth;
    module_id module;     /* that has some of these frames and can be unloaded without notice; 0: none */
    uint8_t count;        /* of words, of which the innermost one, the last, is repeated to fill the places */
    uint8_t in_module;    /* the word whose value is a pc in that module; count: f0's pc is */
    bool is_spared;       /* the next time that it is its turn to be replaced */
    bool is_beyond_guess; /* `to`: it may be no frame */
    uint64_t words[SHORTCUT_WORDS];
};

struct shortcuts {
    uint64_t tags[SHORTCUT_SETS]; /* a byte for each way */
    uint8_t turn[SHORTCUT_SETS];  /* which one of a set may be replaced next */
    uint32_t seen_count;
    uint16_t guesses[SHORTCUT_GUESSES]; /* which one was of use last, and how often in a row before that */
    uint64_t seen[SHORTCUT_SEEN / 64];  /* stacks that were walked once, a bit for each, by their ids */
    ALIGNED(CACHE_LINE) struct shortcut entries[SHORTCUTS]; /* set by set */
};

_Static_assert(SHORTCUTS <= 1 << SHORTCUT_GUESS_BITS, "each has a number");
_Static_assert(SHORTCUT_WORDS == 9, "shortcut_holds compares so many");
_Static_assert(sizeof(struct shortcut) == 2 * CACHE_LINE, "a shortcut is two cache lines");

static inline uint64_t shortcuts_hash(const struct trail_registers *start, uintptr_t callers)
{
    uint64_t hash = ((uint64_t)start->pc ^ (uint64_t)start->sp << 19 ^ (uint64_t)callers << 7) *
                    UINT64_C(0x9e3779b97f4a7c15);

    return hash ^ hash >> 32;
}

static inline size_t shortcuts_set(uint64_t hash)
{
    return (size_t)((hash & UINT32_MAX) * SHORTCUT_SETS >> 32);
}

/* Never 0, which says that there is nothing. */
static inline uint64_t shortcuts_tag(uint64_t hash)
{
    return hash >> 56 | 0x80;
}

/* The ways whose tag this may be, as the highest bit of each byte: all of them and, rarely, one that has
 * another tag. */
static inline uint64_t shortcuts_ways(uint64_t tags, uint64_t tag)
{
    const uint64_t ones = UINT64_MAX / UINT8_MAX;
    uint64_t differences = tags ^ tag * ones;

    return (differences - ones) & ~differences & ones << 7;
}

static inline uintptr_t shortcut_word_value(uint64_t word)
{
    return (uintptr_t)(word >> SHORTCUT_AT_BITS);
}

static inline bool shortcut_word_holds(uint64_t word, const uintptr_t *sp)
{
    return LIKELY(sp[(uint16_t)word] == shortcut_word_value(word));
}

static inline bool shortcut_words_hold(const uint64_t *three, const uintptr_t *sp)
{
    return shortcut_word_holds(three[2], sp) && shortcut_word_holds(three[1], sp) &&
           shortcut_word_holds(three[0], sp);
}

/* Whether what was read between the allocation and `to` is unchanged.  From the inside outwards, so that
 * nothing is read that a walk would not read. */
static ALWAYS_INLINE bool shortcut_way_holds(const struct shortcut *shortcut)
{
    const uintptr_t *sp = (const uintptr_t *)shortcut->sp;

    return shortcut_words_hold(&shortcut->words[6], sp) && shortcut_words_hold(&shortcut->words[3], sp) &&
           shortcut_words_hold(&shortcut->words[0], sp);
}

/* The same, and whether the library that was loaded there still is: that is asked when the words before have
 * shown that its code is on the stack still, and so stays loaded, and before the words that are where that
 * code says. */
static inline bool shortcut_holds(const struct shortcut *shortcut)
{
    const uintptr_t *sp = (const uintptr_t *)shortcut->sp;
    size_t i = shortcut->count, in_module = shortcut->in_module;
    uintptr_t pc = in_module == i ? shortcut->pc : shortcut_word_value(shortcut->words[in_module]);

    if (LIKELY(shortcut->module == 0))
        return shortcut_way_holds(shortcut);
    for (; i > in_module; i--)
        if (!shortcut_word_holds(shortcut->words[i - 1], sp))
            return false;
    if (!module_is_current(shortcut->module, (const void *)pc))
        return false;
    for (; i > 0; i--)
        if (!shortcut_word_holds(shortcut->words[i - 1], sp))
            return false;
    return true;
}

/* The ways in which a shortcut with this hash may be, for shortcuts_next. */
static inline uint64_t shortcuts_candidates(const struct shortcuts *shortcuts, uint64_t hash)
{
    return shortcuts_ways(shortcuts->tags[shortcuts_set(hash)], shortcuts_tag(hash));
}

/* Whether a shortcut begins at this frame. */
static inline bool shortcut_begins(const struct shortcut *shortcut, const struct trail_registers *start,
                                   uint32_t epoch)
{
    return shortcut->pc == start->pc && shortcut->sp == start->sp && shortcut->epoch == epoch &&
           (shortcut->bp == SHORTCUT_ANY_BP ||
            start->bp == shortcut->sp + (uintptr_t)shortcut->bp * sizeof(uintptr_t));
}

/* The next of these ways; NULL: there is no other. */
static inline struct shortcut *shortcuts_next(struct shortcuts *shortcuts, uint64_t hash, uint64_t *ways)
{
    struct shortcut *set = &shortcuts->entries[shortcuts_set(hash) * SHORTCUT_WAYS], *shortcut;

    if (*ways == 0)
        return NULL;
    shortcut = &set[(size_t)__builtin_ctzll(*ways) / 8];
    *ways &= *ways - 1;
    return shortcut;
}

static inline uint16_t *shortcuts_guess_at(struct shortcuts *shortcuts, const struct trail_registers *start)
{
    return &shortcuts->guesses[(start->pc ^ start->sp >> 4 ^ start->sp >> 14) % SHORTCUT_GUESSES];
}

/* The shortcut that all of the last stacks had that begin at this frame; NULL: they did not have the same. */
static inline struct shortcut *shortcuts_guess(struct shortcuts *shortcuts,
                                               const struct trail_registers *start)
{
    unsigned guess = *shortcuts_guess_at(shortcuts, start);

    return guess >> SHORTCUT_GUESS_BITS >= SHORTCUT_GUESS_SURE
               ? &shortcuts->entries[guess % (1u << SHORTCUT_GUESS_BITS)]
               : NULL;
}

/* There was no guess, or a wrong one, and this shortcut was of use; NULL: none was. */
static inline void shortcuts_note(struct shortcuts *shortcuts, const struct trail_registers *start,
                                  const struct shortcut *shortcut)
{
    uint16_t *guess = shortcuts_guess_at(shortcuts, start);
    unsigned last = *guess % (1u << SHORTCUT_GUESS_BITS);
    unsigned number = shortcut == NULL ? last : (unsigned)(shortcut - shortcuts->entries);

    *guess = (uint16_t)(shortcut != NULL && number == last ? *guess + (1u << SHORTCUT_GUESS_BITS) : number);
}

/* Where a shortcut leads to, if it holds. */
static inline uintptr_t shortcut_to_sp(const struct shortcut *shortcut)
{
    return shortcut->sp + (uintptr_t)shortcut->to_sp * sizeof(uintptr_t);
}

static inline uintptr_t shortcut_to_bp(const struct shortcut *shortcut)
{
    return shortcut->to_bp == SHORTCUT_ANY_BP ? TRAIL_UNKNOWN_BP
                                              : shortcut->sp + (uintptr_t)shortcut->to_bp * sizeof(uintptr_t);
}

/* Whether a stack that had to be walked deserves a shortcut: the second time, because most of the stacks of a
 * program that recurses through its data never come again. */
bool shortcuts_wanted(struct shortcuts *shortcuts, stack_id stack);

/* Keeps the way of the innermost frames of this trail, all of which have their nodes; or does not, if those
 * that it would have to replace were of use lately. */
void shortcuts_add(struct shortcuts *shortcuts, uint64_t hash, const struct trail *trail);

/* There are none any more. */
void shortcuts_forget(struct shortcuts *shortcuts);

#endif
#endif
