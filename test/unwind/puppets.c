/* SPDX-License-Identifier: MIT
 *
 * Stacks that were made up, frame by frame, so that any two of them can differ in just one word: a return
 * address in the middle or at the outer end, or a saved RBP that decides how the stack goes on.  Whatever is
 * remembered of one of them is wrong for the next.  No frame of them is ever returned to.
 */
#include "shapes.h"

#include <string.h>

enum {
    WORDS = 16384,
    FREE_WORDS = 8192, /* for those who really run on it */
    FRAMES_MAX = 100,
    IMAGES = 6,
    SIZE = WORDS * (int)sizeof(uintptr_t),
};

/* A whole stack: what RBP is at its inner end, and its words, from `first` on. */
struct image {
    uintptr_t bp;
    uint32_t first;
    uint32_t frame_count;
    uint32_t at[FRAMES_MAX];               /* where the return address of each frame lies */
    const struct puppet *kind[FRAMES_MAX]; /* NULL: the outermost frame */
    uintptr_t words[WORDS];
};

static struct image images[IMAGES];
static uintptr_t *stack; /* where they are tried out */

static uintptr_t address_of(uint32_t word)
{
    return (uintptr_t)&stack[word];
}

/* What RBP may be where it does not matter. */
static uintptr_t any_bp(void)
{
    switch (random_below(4)) {
    case 0:
        return 0;
    case 1:
        return random_number();
    case 2:
        return address_of(random_below(WORDS));
    default:
        return (uintptr_t)puppet_end;
    }
}

/* Lays out frames from number `from` on, outwards, until there are `wanted` of them; `is_tight` puts the last
 * return address into the last word of all.  BP is kept track of by where it came from last: *source is the
 * word to write when a frame wants to count from it. */
static void lay_out(struct image *image, uint32_t wanted, int is_tight)
{
    uint32_t word = image->first;
    uintptr_t *source = &image->bp;
    int is_free = 1; /* no frame has counted from the BP in *source yet */

    image->frame_count = 0;
    *source = any_bp();
    for (;;) {
        const struct puppet *kind = &puppet_kinds[random_below((uint32_t)puppet_kind_count)];
        uint32_t slack = random_below(4) == 0 ? random_below(30) : random_below(3), cfa;

        image->at[image->frame_count] = word;
        if (image->frame_count + 1 == wanted || word + 200 > WORDS) {
            image->words[word] = (uintptr_t)puppet_end;
            image->kind[image->frame_count++] = NULL;
            break;
        }
        if ((kind->from_bp || kind->is_loaded) && !is_free)
            continue;
        if (kind->from_bp) {
            /* BP points at least so high that the saved BP, below the CFA, is in this frame. */
            *source = address_of(word + 1 + slack);
            cfa = word + 1 + slack + kind->size / 8;
            is_free = 0;
        } else if (kind->is_loaded) {
            *source = address_of(word + 2 + slack);
            cfa = word + 4 + slack + random_below(10);
            image->words[word + 1 + slack] = address_of(cfa);
            is_free = 0;
        } else {
            cfa = word + 1 + kind->size / 8;
        }
        if (kind->saved_bp != 0) {
            source = &image->words[cfa - kind->saved_bp / 8];
            *source = any_bp();
            is_free = 1;
        }
        image->words[word] = (uintptr_t)kind->pc;
        image->kind[image->frame_count++] = kind;
        word = cfa - 1;
    }
    if (is_tight && word < WORDS - 1) {
        /* Moved as a whole: the same frames, elsewhere. */
        uint32_t by = WORDS - 1 - word;

        memmove(&image->words[image->first + by], &image->words[image->first],
                (word + 1 - image->first) * sizeof(image->words[0]));
        image->first += by;
        for (uint32_t i = image->first; i < WORDS; i++)
            if (image->words[i] >= address_of(0) && image->words[i] < address_of(WORDS))
                image->words[i] += by * sizeof(uintptr_t);
        if (image->bp >= address_of(0) && image->bp < address_of(WORDS))
            image->bp += by * sizeof(uintptr_t);
        for (uint32_t i = 0; i < image->frame_count; i++)
            image->at[i] += by;
    }
}

static int has_same_layout(const struct puppet *a, const struct puppet *b)
{
    return a->from_bp == b->from_bp && a->size == b->size && a->saved_bp == b->saved_bp &&
           a->is_loaded == b->is_loaded;
}

/* One return address becomes that of a frame just like it. */
static void change_one(struct image *image)
{
    uint32_t i = random_below(image->frame_count);
    const struct puppet *kind = &puppet_kinds[random_below((uint32_t)puppet_kind_count)];

    if (image->kind[i] == NULL)
        return;
    while (!has_same_layout(kind, image->kind[i]))
        kind = &puppet_kinds[random_below((uint32_t)puppet_kind_count)];
    image->kind[i] = kind;
    image->words[image->at[i]] = (uintptr_t)kind->pc;
}

static void try_out(const struct image *image)
{
    memcpy(&stack[image->first], &image->words[image->first], (WORDS - image->first) * sizeof(stack[0]));
    puppet_enter(&stack[image->first], (const void *)image->bp, probe);
}

/* New frames from the inner end on, at a place that other images have, too: 16-byte aligned, as a call wants
 * it. */
static void renew(struct image *image, int is_tight)
{
    memset(image->words, 0, sizeof(image->words));
    image->first = FREE_WORDS + 2 * random_below(8);
    lay_out(image, 1 + random_below(random_below(8) == 0 ? FRAMES_MAX - 1 : 30), is_tight);
    if (image->first % 2 != 0)
        renew(image, is_tight);
}

static void try_images(int count, int is_tight)
{
    stack = (uintptr_t *)(void *)guarded_pages(SIZE);
    for (int i = 0; i < IMAGES; i++)
        renew(&images[i], is_tight);
    for (int i = 0; i < count; i++) {
        struct image *image = &images[random_below(IMAGES)];

        switch (random_below(16)) {
        case 0:
            renew(image, is_tight);
            break;
        case 1:
            *image = images[random_below(IMAGES)];
            break;
        case 2:
            probe();
            break;
        case 3:
        case 4:
        case 5:
        case 6:
            change_one(image);
            break;
        default:
            break;
        }
        try_out(image);
        if (random_below(4) == 0)
            try_out(image);
    }
    give_back_guarded((char *)stack, SIZE);
}

void shape_puppets(void)
{
    try_images(scaled(30000), 0);
}

void shape_puppets_at_the_edge(void)
{
    try_images(scaled(30000), 1);
}
