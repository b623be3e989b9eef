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

enum { ENTRY_BP = UINT32_MAX };

/* A whole stack: what RBP is at its inner end, and its words, from `first` on. */
struct image {
    uintptr_t bp;
    uint32_t first;
    uint32_t frame_count;
    struct {
        const struct puppet *kind; /* NULL: the outermost frame */
        uint32_t at;               /* the word with its return address */
        uint32_t bp_from;          /* the word that RBP comes from if the frame counts from it, or ENTRY_BP */
    } frames[FRAMES_MAX];
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

static void set_bp(struct image *image, uint32_t from, uintptr_t bp)
{
    *(from == ENTRY_BP ? &image->bp : &image->words[from]) = bp;
}

/* How far it is laid out. */
struct end {
    uint32_t word;    /* the next return address */
    uint32_t bp_from; /* where RBP comes from in the next frame */
    int is_free;      /* no frame has counted from it yet, so it may be anything */
};

/* Adds a frame at the outer end.  Its BP points `up` words higher than it must. */
static void add(struct image *image, struct end *end, const struct puppet *kind, uint32_t up)
{
    uint32_t word = end->word, cfa;

    image->frames[image->frame_count].kind = kind;
    image->frames[image->frame_count].at = word;
    image->frames[image->frame_count].bp_from = end->bp_from;
    image->frame_count++;
    if (kind == NULL) {
        image->words[word] = (uintptr_t)puppet_end;
        return;
    }
    image->words[word] = (uintptr_t)kind->pc;
    if (kind->is_loaded) {
        cfa = word + 4 + up;
        set_bp(image, end->bp_from, address_of(word + 2 + up));
        image->words[word + 1 + up] = address_of(cfa);
        end->is_free = 0;
    } else if (kind->from_bp) {
        /* So high that the saved BP, below the CFA, is in this frame. */
        cfa = word + 1 + up + kind->size / 8;
        set_bp(image, end->bp_from, address_of(word + 1 + up));
        end->is_free = 0;
    } else {
        cfa = word + 1 + kind->size / 8;
    }
    if (kind->saved_bp != 0) {
        end->bp_from = cfa - kind->saved_bp / 8;
        end->is_free = 1;
        set_bp(image, end->bp_from, any_bp());
    }
    end->word = cfa - 1;
}

/* Adds frames until there are `wanted` of them. */
static void lay_out(struct image *image, struct end *end, uint32_t wanted)
{
    while (image->frame_count + 1 < wanted && end->word + 200 < WORDS) {
        const struct puppet *kind = &puppet_kinds[random_below((uint32_t)puppet_kind_count)];

        if ((kind->from_bp || kind->is_loaded) && !end->is_free)
            continue;
        /* Rules cannot express it. */
        if (kind->is_loaded && random_below(50) != 0)
            continue;
        add(image, end, kind, random_below(4) == 0 ? random_below(30) : random_below(3));
    }
    add(image, end, NULL, 0);
}

/* Moves all to the very end of the stack. */
static void move_to_edge(struct image *image)
{
    uint32_t by = WORDS - 1 - image->frames[image->frame_count - 1].at;
    uintptr_t low = address_of(0), high = address_of(WORDS);

    memmove(&image->words[image->first + by], &image->words[image->first],
            (WORDS - by - image->first) * sizeof(image->words[0]));
    image->first += by;
    for (uint32_t i = image->first; i < WORDS; i++)
        if (image->words[i] >= low && image->words[i] < high)
            image->words[i] += by * sizeof(uintptr_t);
    if (image->bp >= low && image->bp < high)
        image->bp += by * sizeof(uintptr_t);
    for (uint32_t i = 0; i < image->frame_count; i++) {
        image->frames[i].at += by;
        if (image->frames[i].bp_from != ENTRY_BP)
            image->frames[i].bp_from += by;
    }
}

/* New frames, from the inner end on, which lies where that of other images does: 16-byte aligned, as a call
 * wants it. */
static void renew(struct image *image, int is_at_edge)
{
    do {
        struct end end = {.word = FREE_WORDS + 2 * random_below(4), .bp_from = ENTRY_BP, .is_free = 1};

        memset(image->words, 0, sizeof(image->words));
        image->first = end.word;
        image->frame_count = 0;
        image->bp = any_bp();
        lay_out(image, &end, 1 + random_below(random_below(8) == 0 ? FRAMES_MAX - 1 : 30));
        if (is_at_edge)
            move_to_edge(image);
    } while (image->first % 2 != 0);
}

static int has_same_layout(const struct puppet *a, const struct puppet *b)
{
    return a->from_bp == b->from_bp && a->size == b->size && a->saved_bp == b->saved_bp &&
           a->is_loaded == b->is_loaded;
}

/* One return address becomes that of a frame just like it. */
static void change_return(struct image *image)
{
    uint32_t i = random_below(image->frame_count);
    const struct puppet *old = image->frames[i].kind, *kind = old;

    if (old == NULL)
        return;
    do
        kind = &puppet_kinds[random_below((uint32_t)puppet_kind_count)];
    while (!has_same_layout(kind, old));
    image->frames[i].kind = kind;
    image->words[image->frames[i].at] = (uintptr_t)kind->pc;
}

/* Makes `other` differ from the image in one BP, that of the register or a saved one, by which a frame's
 * caller is another, further up, where nothing was so far. */
static void change_bp(struct image *image, struct image *other)
{
    uint32_t i = random_below(image->frame_count), top = image->frames[image->frame_count - 1].at;
    const struct puppet *kind = image->frames[i].kind;
    struct end end = {.word = image->frames[i].at, .bp_from = image->frames[i].bp_from, .is_free = 1};
    uintptr_t bp;

    if (kind == NULL || !kind->from_bp || top + 500 > WORDS)
        return;
    bp = end.bp_from == ENTRY_BP ? image->bp : image->words[end.bp_from];
    *other = *image;
    other->frame_count = i;
    add(other, &end, kind, top - end.word + random_below(3));
    lay_out(other, &end, i + 2 + random_below(20));
    memcpy(image->words, other->words, sizeof(image->words));
    set_bp(image, image->frames[i].bp_from, bp);
}

static void try_out(const struct image *image)
{
    memcpy(&stack[image->first], &image->words[image->first], (WORDS - image->first) * sizeof(stack[0]));
    puppet_enter(&stack[image->first], (const void *)image->bp, probe);
}

static void try_images(int count, int is_at_edge)
{
    stack = (uintptr_t *)(void *)guarded_pages(SIZE);
    for (int i = 0; i < IMAGES; i++)
        renew(&images[i], is_at_edge);
    for (int i = 0; i < count; i++) {
        struct image *image = &images[random_below(IMAGES)], *other = &images[random_below(IMAGES)];

        switch (random_below(8)) {
        case 0:
            if (random_below(4) == 0)
                renew(image, is_at_edge);
            break;
        case 1:
            if (random_below(4) == 0)
                *other = *image;
            break;
        case 2:
            if (image != other)
                change_bp(image, other);
            try_out(other);
            break;
        case 3:
        case 4:
            change_return(image);
            break;
        case 5:
            probe();
            break;
        default:
            break;
        }
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
