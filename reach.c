/* SPDX-License-Identifier: MIT
 *
 * The marking of reach.h.
 */
#include "reach.h"

#include <errno.h>
#include <string.h>

#include "blockmap.h"
#include "interior.h"
#include "kernel.h"
#include "leakdetect.h"
#include "mapped.h"
#include "ours.h"
#include "pages.h"
#include "platform.h"

/* What is known of a block, in the upper bits of its address. */
enum {
    REACHABLE = 1,
    POSSIBLE = 2, /* led to by an interior pointer, or from such a block */
    QUEUED = 4,   /* possible, and looked into by pass 2 */
    SEEN = 8,     /* looked into by pass 3 */
    NOTED = 16,   /* by pass 3 */
    DONE = 32,    /* looked into by pass 4 */
    CANDIDATE = 64,
    KEPT = 128,   /* not lost, but not looked into for that */
    STRICT = 256, /* what looks dead leads to it */
    LEADER = 512, /* definitely lost, and not counted by pass 5 */
};

enum {
    WORD = sizeof(uintptr_t),
    STATE_SHIFT = REACH_SHIFT,
    GAP = 1 << 20,    /* bytes without a block that end a run */
    SPARSE = 1 << 18, /* a block, or static data, of so many may have pages that were never touched */
    DIGIT_BITS = 6,
    DIGITS = 1 << DIGIT_BITS,
    FEW = 24, /* blocks that are sorted by insertion */
};

/* jemalloc has in the storage of each thread the addresses of what it has looked up lately, rounded down to
 * this. They are no pointers. */
#define HEAP_KEY ((uintptr_t)1 << 30)

#define ADDRESS_MASK ((UINT64_C(1) << STATE_SHIFT) - 1)

struct node {
    uint64_t word; /* address, and state above it */
    uint64_t size;
};

struct run {
    uintptr_t start, end;
    uint32_t *index; /* of the parts: the first block that begins in it or after it */
    size_t parts;
    unsigned shift; /* bytes of a part, as a power of two */
};

enum pass { PASS_KEPT, PASS_REACHABLE, PASS_STRICT, PASS_POSSIBLE, PASS_NOTE, PASS_LEAD, PASS_MAPPED };

struct marking {
    struct reach_job *job;
    struct maps maps;
    struct node *nodes;
    size_t count, capacity;
    struct run *runs;
    size_t run_count, run_capacity;
    uint32_t *index;
    size_t index_capacity;
    uint32_t *work;
    size_t work_count;
    uintptr_t low, high; /* of all pointers to blocks: an end may be one, too */
    size_t leaders;
    const struct run *last_run;
    const struct mapping *last_mapping;
    enum pass pass;
    bool has_heap_keys; /* what is being looked at */
};

static inline uintptr_t address_of(const struct node *node)
{
    return (uintptr_t)(node->word & ADDRESS_MASK);
}

static inline bool is(const struct node *node, unsigned states)
{
    return (node->word >> STATE_SHIFT & states) != 0;
}

static inline void set(struct node *node, unsigned states)
{
    node->word |= (uint64_t)states << STATE_SHIFT;
}

static inline void clear(struct node *node, unsigned states)
{
    node->word &= ~((uint64_t)states << STATE_SHIFT);
}

/* --- Blocks in order ------------------------------------------------------------------------------------ */

static enum blockmap_step count_block(const struct block *block, void *marking)
{
    (void)block;
    ((struct marking *)marking)->capacity++;
    return BLOCKMAP_NEXT;
}

static enum blockmap_step add_block(const struct block *block, void *ctx)
{
    struct marking *marking = ctx;
    struct node *node = &marking->nodes[marking->count];

    if (marking->count == marking->capacity)
        return BLOCKMAP_STOP;
    marking->count++;
    node->word = (uint64_t)(uintptr_t)block->address;
    node->size = block->size;
    /* Pass 1 begins with those that are reachable already. */
    if ((block->flags & marking->job->ignored) != 0)
        set(node, REACHABLE);
    return BLOCKMAP_NEXT;
}

static inline size_t digit_of(const struct node *node, unsigned shift)
{
    return (size_t)(node->word >> shift) % DIGITS;
}

static void sort_few(struct node *nodes, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct node node = nodes[i];
        size_t at = i;

        for (; at > 0 && address_of(&nodes[at - 1]) > address_of(&node); at--)
            nodes[at] = nodes[at - 1];
        nodes[at] = node;
    }
}

/* In place: each block goes to the part of its digit, in exchange for the one that is there.  As deep as an
 * address has digits. */
static void sort(struct node *nodes, size_t count, unsigned shift)
{
    uint32_t next[DIGITS], end[DIGITS];
    uint32_t sum = 0;

    if (count <= FEW) {
        sort_few(nodes, count);
        return;
    }
    memset(end, 0, sizeof(end));
    for (size_t i = 0; i < count; i++)
        end[digit_of(&nodes[i], shift)]++;
    for (size_t digit = 0; digit < DIGITS; digit++) {
        next[digit] = sum;
        sum += end[digit];
        end[digit] = sum;
    }
    for (size_t digit = 0; digit < DIGITS; digit++)
        while (next[digit] < end[digit]) {
            struct node *node = &nodes[next[digit]];
            size_t where = digit_of(node, shift);

            if (where == digit) {
                next[digit]++;
            } else {
                struct node other = nodes[next[where]];

                nodes[next[where]++] = *node;
                *node = other;
            }
        }
    for (size_t digit = 0, start = 0; digit < DIGITS && shift >= DIGIT_BITS; start = end[digit], digit++)
        if (end[digit] - start > 1)
            sort(nodes + start, end[digit] - start, shift - DIGIT_BITS);
}

/* A block that is being reallocated by a thread that could not be stopped may be there twice. */
static void drop_doubles(struct marking *marking)
{
    size_t kept = 0;

    for (size_t i = 0; i < marking->count; i++) {
        struct node *last = &marking->nodes[kept == 0 ? 0 : kept - 1];

        if (kept != 0 && address_of(last) == address_of(&marking->nodes[i])) {
            last->size = marking->nodes[i].size > last->size ? marking->nodes[i].size : last->size;
            last->word |= marking->nodes[i].word;
        } else {
            marking->nodes[kept++] = marking->nodes[i];
        }
    }
    marking->count = kept;
}

static uintptr_t end_of(const struct node *node)
{
    return address_of(node) + (node->size == 0 ? 1 : (uintptr_t)node->size);
}

static size_t end_of_run(const struct marking *marking, size_t first)
{
    size_t next = first + 1;

    while (next < marking->count &&
           address_of(&marking->nodes[next]) - address_of(&marking->nodes[next - 1]) <
               GAP + marking->nodes[next - 1].size)
        next++;
    return next;
}

/* Parts as large as they must be so that there are no more of them than blocks. */
static void fill_run(struct marking *marking, struct run *run, size_t first, size_t next, uint32_t *index)
{
    size_t i = first;

    *run = (struct run){
        .start = address_of(&marking->nodes[first]),
        .end = end_of(&marking->nodes[next - 1]),
        .index = index,
    };
    while ((run->end - run->start) >> run->shift >= next - first)
        run->shift++;
    run->parts = ((run->end - run->start) >> run->shift) + 1;
    for (size_t part = 0; part < run->parts; part++) {
        uintptr_t start = run->start + ((uintptr_t)part << run->shift);

        while (i < next && address_of(&marking->nodes[i]) < start)
            i++;
        index[part] = (uint32_t)i;
    }
    index[run->parts] = (uint32_t)next;
}

static bool make_index(struct marking *marking)
{
    uint32_t *index;

    for (size_t first = 0; first < marking->count; first = end_of_run(marking, first))
        marking->run_capacity++;
    marking->index_capacity = marking->count + 2 * marking->run_capacity;
    marking->runs = kernel_map(marking->run_capacity * sizeof(marking->runs[0]));
    marking->index = kernel_map(marking->index_capacity * sizeof(marking->index[0]));
    marking->work = kernel_map(marking->count * sizeof(marking->work[0]));
    if (marking->runs == NULL || marking->index == NULL || marking->work == NULL)
        return false;
    index = marking->index;
    for (size_t first = 0, next; first < marking->count; first = next) {
        struct run *run = &marking->runs[marking->run_count++];

        next = end_of_run(marking, first);
        fill_run(marking, run, first, next, index);
        index += run->parts + 1;
    }
    marking->last_run = &marking->runs[0];
    marking->low = marking->runs[0].start;
    marking->high = marking->runs[marking->run_count - 1].end + 1;
    return true;
}

/* The last run that begins at or below the address; low <= address. */
static const struct run *find_run(struct marking *marking, uintptr_t address)
{
    size_t low = 0, high = marking->run_count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (marking->runs[middle].start <= address)
            low = middle;
        else
            high = middle;
    }
    marking->last_run = &marking->runs[low];
    return marking->last_run;
}

/* The first block that begins above the address; low <= address < high. */
static size_t first_above(struct marking *marking, uintptr_t address)
{
    const struct run *run = marking->last_run;
    size_t part, low, high;

    if (address - run->start >= run->end - run->start)
        run = find_run(marking, address);
    part = (address - run->start) >> run->shift;
    if (part >= run->parts)
        return run->index[run->parts];
    low = run->index[part];
    high = run->index[part + 1];
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (address_of(&marking->nodes[middle]) > address)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* --- Marking ------------------------------------------------------------------------------------------ */

static bool is_as_good(const struct marking *marking, const struct node *node, uintptr_t pointer)
{
    return interior_is_as_good(&marking->maps, address_of(node), end_of(node), pointer);
}

static void note_found(struct marking *marking, const struct node *node, enum ld_reach how)
{
    struct reach_job *job = marking->job;

    if (job->candidates != NULL && !is(node, CANDIDATE))
        return;
    if (job->found_count < job->room)
        job->found[job->found_count] =
            address_of(node) | (uint64_t)how << REACH_SHIFT | (is(node, STRICT) ? REACH_STRICT : 0);
    else
        job->error = ENOSPC;
    job->found_count++;
}

static void push(struct marking *marking, struct node *node, unsigned states)
{
    set(node, states);
    marking->work[marking->work_count++] = (uint32_t)(node - marking->nodes);
}

/* A word leads to a block. */
static void follow(struct marking *marking, struct node *node, uintptr_t pointer)
{
    switch (marking->pass) {
    case PASS_KEPT:
        if (pointer == address_of(node))
            set(node, KEPT);
        break;
    case PASS_REACHABLE:
        if (is(node, REACHABLE))
            break;
        if (pointer == address_of(node) || is_as_good(marking, node, pointer))
            push(marking, node, REACHABLE);
        else
            set(node, POSSIBLE);
        break;
    case PASS_STRICT:
        if (!is(node, REACHABLE | STRICT))
            push(marking, node, STRICT);
        break;
    case PASS_POSSIBLE:
        if (!is(node, REACHABLE | KEPT | QUEUED))
            push(marking, node, POSSIBLE | QUEUED);
        break;
    case PASS_NOTE:
        if (!is(node, REACHABLE | POSSIBLE | KEPT | SEEN))
            push(marking, node, SEEN);
        break;
    case PASS_LEAD:
        if (!is(node, REACHABLE | POSSIBLE | KEPT | DONE)) {
            note_found(marking, node, LD_INDIRECTLY_LOST);
            push(marking, node, DONE);
        }
        break;
    case PASS_MAPPED:
        if (pointer == address_of(node) && is(node, LEADER)) {
            clear(node, LEADER);
            marking->job->mapped_count++;
        }
        break;
    }
}

/* `new T[0]`, which has nothing but the word that says so, and its pointer leads to the block behind it, too.
 * Of one whose T is aligned to more that cannot be told: too much else ends like it. */
static inline bool is_empty_array(const struct marking *marking, const struct node *node, uintptr_t pointer)
{
    return node->size == WORD && end_of(node) == pointer && marking->pass == PASS_REACHABLE &&
           !is(node, REACHABLE) && is_as_good(marking, node, pointer);
}

static inline void look_at(struct marking *marking, uintptr_t pointer)
{
    struct node *node;
    size_t above;

    if (LIKELY(pointer - marking->low >= marking->high - marking->low))
        return;
    above = first_above(marking, pointer);
    if (above == 0)
        return;
    node = &marking->nodes[above - 1];
    if (marking->has_heap_keys && pointer % HEAP_KEY == 0 && pointer != address_of(node))
        return;
    if (pointer == address_of(node) && above > 1 && UNLIKELY(is_empty_array(marking, node - 1, pointer)))
        follow(marking, node - 1, pointer);
    if (pointer - address_of(node) < node->size || pointer == address_of(node) ||
        (pointer == end_of(node) && marking->pass == PASS_REACHABLE && is_as_good(marking, node, pointer)))
        follow(marking, node, pointer);
}

static READS_FRAMES void scan_unaligned(struct marking *marking, uintptr_t start, uintptr_t end)
{
    for (uintptr_t at = start; end - at >= WORD; at++) {
        uintptr_t word;

        memcpy(&word, (const void *)at, sizeof(word));
        look_at(marking, word);
    }
}

/* Nearly all words are no pointers to blocks: four at a time are put aside by one branch. */
static READS_FRAMES void scan_words(struct marking *marking, const uintptr_t *word, const uintptr_t *end)
{
    const uintptr_t low = marking->low, span = marking->high - low;

    for (; end - word >= 4; word += 4)
        if (UNLIKELY((int)(word[0] - low < span) | (int)(word[1] - low < span) | (int)(word[2] - low < span) |
                     (int)(word[3] - low < span)))
            for (size_t i = 0; i < 4; i++)
                look_at(marking, word[i]);
    for (; word < end; word++)
        look_at(marking, *word);
}

static void scan(struct marking *marking, uintptr_t start, uintptr_t end)
{
    if (marking->job->are_unaligned)
        scan_unaligned(marking, start, end);
    else
        scan_words(marking, (const uintptr_t *)start, (const uintptr_t *)start + (end - start) / WORD);
}

static void scan_run(uintptr_t start, uintptr_t end, void *marking)
{
    scan(marking, start, end);
}

/* Part of this mapping.  The page map tells nothing of shared memory that a copy has not touched. */
static void scan_in(struct marking *marking, const struct mapping *mapping, uintptr_t start, uintptr_t end)
{
    if (!maps_open(&marking->maps, mapping))
        return;
    if (UNLIKELY(end - start >= SPARSE) && mapping->is_private)
        pages_each(start, end, true, scan_run, marking);
    else
        scan(marking, start, end);
}

static void scan_block(struct marking *marking, const struct node *node)
{
    uintptr_t start = address_of(node), end = start + (uintptr_t)node->size;
    const struct mapping *mapping = marking->last_mapping;

    if (mapping != NULL && start >= mapping->start && end <= mapping->end) {
        scan_in(marking, mapping, start, end);
        return;
    }
    for (size_t i = maps_first_above(&marking->maps, start);
         i < marking->maps.count && marking->maps.entries[i].start < end; i++) {
        mapping = &marking->maps.entries[i];
        scan_in(marking, mapping, start > mapping->start ? start : mapping->start,
                end < mapping->end ? end : mapping->end);
        marking->last_mapping = mapping;
    }
}

static void drain(struct marking *marking)
{
    while (marking->work_count != 0)
        scan_block(marking, &marking->nodes[marking->work[--marking->work_count]]);
}

static void visit_root(enum roots_kind kind, uintptr_t start, uintptr_t end, void *ctx)
{
    struct marking *marking = ctx;
    bool is_stack = kind == ROOTS_STACK || kind == ROOTS_DEAD_STACK;
    bool is_whatever = kind == ROOTS_MAPPED || kind == ROOTS_REGISTERED;
    const struct mapping *mapping = maps_find(&marking->maps, start);
    bool is_private = mapping != NULL && mapping->is_private;

    if (ROOTS_LOOKS_DEAD(kind) != (marking->pass == PASS_STRICT))
        return;
    if (marking->pass != PASS_STRICT && marking->pass != PASS_MAPPED)
        marking->pass = kind == ROOTS_KEPT ? PASS_KEPT : PASS_REACHABLE;
    /* Stacks have copies of them, and the first thread's storage is in a mapping. */
    marking->has_heap_keys = kind == ROOTS_TLS || kind == ROOTS_STACK || kind == ROOTS_MAPPED;
    if (is_whatever || (is_private && (is_stack || end - start >= SPARSE)))
        pages_each(start, end, is_private, scan_run, marking);
    else
        scan(marking, start, end);
    marking->has_heap_keys = false;
    drain(marking);
}

/* In a block, its end; else the next block, or the heap, whose own records come before its first block. */
static uintptr_t bound(uintptr_t address, void *ctx)
{
    struct marking *marking = ctx;
    uintptr_t next = ours_next(address);
    size_t above = 0;

    if (marking->count != 0 && address >= marking->low)
        above = address < marking->high ? first_above(marking, address) : marking->count;
    if (above != 0 && address < end_of(&marking->nodes[above - 1]))
        return end_of(&marking->nodes[above - 1]);
    if (above < marking->count && address_of(&marking->nodes[above]) < next)
        next = address_of(&marking->nodes[above]);
    return next;
}

static void mark_reachable(struct marking *marking)
{
    marking->job->snapshot.maps = &marking->maps;
    marking->pass = PASS_REACHABLE;
    for (size_t i = 0; i < marking->count; i++)
        if (is(&marking->nodes[i], REACHABLE))
            push(marking, &marking->nodes[i], REACHABLE);
    drain(marking);
    roots_each(&marking->job->snapshot, visit_root, bound, marking);
    if (marking->job->snapshot.options.mapped)
        marking->job->error = mapped_each(&marking->job->snapshot, visit_root, marking);
}

/* When all that is reachable is known: what else leads from where it looks dead. */
static void mark_strict(struct marking *marking)
{
    marking->pass = PASS_STRICT;
    roots_each(&marking->job->snapshot, visit_root, bound, marking);
}

static void mark_possible(struct marking *marking)
{
    marking->pass = PASS_POSSIBLE;
    for (size_t i = 0; i < marking->count; i++) {
        struct node *node = &marking->nodes[i];

        if (is(node, POSSIBLE) && !is(node, REACHABLE | KEPT | QUEUED)) {
            push(marking, node, QUEUED);
            drain(marking);
        }
    }
    for (size_t i = 0; i < marking->count; i++)
        if (is(&marking->nodes[i], POSSIBLE) && !is(&marking->nodes[i], REACHABLE | KEPT))
            note_found(marking, &marking->nodes[i], LD_POSSIBLY_LOST);
}

static void lead_lost(struct marking *marking)
{
    marking->pass = PASS_NOTE;
    for (size_t i = 0; i < marking->count; i++) {
        struct node *node = &marking->nodes[i];

        if (!is(node, REACHABLE | POSSIBLE | KEPT | SEEN)) {
            push(marking, node, SEEN | NOTED);
            drain(marking);
        }
    }
    marking->pass = PASS_LEAD;
    for (size_t i = marking->count; i-- > 0;) {
        struct node *node = &marking->nodes[i];

        if (is(node, NOTED) && !is(node, DONE)) {
            note_found(marking, node, LD_DEFINITELY_LOST);
            marking->leaders++;
            push(marking, node, DONE | LEADER);
            drain(marking);
        }
    }
}

/* How many definitely lost blocks memory that does not count points to.  What that memory is, nobody here
 * knows: should reading it be the end of this copy, the answer is there already. */
static void count_mapped(struct marking *marking)
{
    marking->pass = PASS_MAPPED;
    mapped_each(&marking->job->snapshot, visit_root, marking);
}

static void note_candidates(struct marking *marking)
{
    for (size_t i = 0; marking->job->candidates != NULL && i < marking->job->candidate_count; i++) {
        uintptr_t address = REACH_ADDRESS(marking->job->candidates[i]);
        size_t above = address < marking->low || address >= marking->high ? 0 : first_above(marking, address);

        if (above != 0 && address_of(&marking->nodes[above - 1]) == address)
            set(&marking->nodes[above - 1], CANDIDATE);
    }
}

static bool make_heap(struct marking *marking)
{
    blockmap_each(count_block, marking);
    if (marking->capacity == 0)
        return true;
    marking->nodes = kernel_map(marking->capacity * sizeof(marking->nodes[0]));
    if (marking->nodes == NULL)
        return false;
    blockmap_each(add_block, marking);
    sort(marking->nodes, marking->count, REACH_SHIFT - DIGIT_BITS);
    drop_doubles(marking);
    return marking->count == 0 || make_index(marking);
}

static void release(struct marking *marking)
{
    maps_release(&marking->maps);
    if (marking->nodes != NULL)
        kernel_unmap(marking->nodes, marking->capacity * sizeof(marking->nodes[0]));
    if (marking->runs != NULL)
        kernel_unmap(marking->runs, marking->run_capacity * sizeof(marking->runs[0]));
    if (marking->index != NULL)
        kernel_unmap(marking->index, marking->index_capacity * sizeof(marking->index[0]));
    if (marking->work != NULL)
        kernel_unmap(marking->work, marking->count * sizeof(marking->work[0]));
}

void reach_find(struct reach_job *job)
{
    struct marking marking = {.job = job};

    job->error = maps_read(&marking.maps);
    marking.maps.are_of_copy = job->is_in_copy;
    job->found_count = 0;
    job->is_complete = false;
    job->mapped_count = 0;
    if (job->error == 0 && !make_heap(&marking))
        job->error = ENOMEM;
    if (job->error == 0 && marking.count != 0) {
        note_candidates(&marking);
        mark_reachable(&marking);
        if (job->snapshot.options.strict)
            mark_strict(&marking);
        mark_possible(&marking);
        lead_lost(&marking);
    }
    job->is_complete = true;
    if (job->error == 0 && job->knows_mapped && job->is_in_copy && !job->snapshot.options.mapped &&
        marking.leaders != 0)
        count_mapped(&marking);
    release(&marking);
}
