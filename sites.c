/* SPDX-License-Identifier: MIT
 *
 * Call sites, see sites.h.
 */
#include "sites.h"

#include <string.h>

#include "config.h"
#include "kernel.h"

void tally_add(struct tally *tally, const struct tally *more)
{
    tally->blocks += more->blocks;
    tally->bytes += more->bytes;
}

/* --- The table ---------------------------------------------------------------------------------------- */

static uint64_t stack_hash(const struct ld_leak *leak)
{
    uint64_t hash = leak->flags ^ (uint64_t)leak->reach << 32;
    for (size_t i = 0; i < leak->frame_count; i++) {
        hash = (hash ^ (uintptr_t)leak->frames[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 32;
    }
    return hash;
}

/* Below, at or above 0 as a stands before, with or after b: by kind, worst first, then by stack, in an order
 * that is fixed while the process lives. */
static int site_compare(const struct ld_leak *a, const struct ld_leak *b)
{
    if (a->reach != b->reach)
        return a->reach > b->reach ? -1 : 1;
    size_t common = a->frame_count < b->frame_count ? a->frame_count : b->frame_count;
    for (size_t i = 0; i < common; i++) {
        if (a->frames[i] != b->frames[i])
            return (uintptr_t)a->frames[i] < (uintptr_t)b->frames[i] ? -1 : 1;
        if (a->modules[i] != b->modules[i])
            return a->modules[i] < b->modules[i] ? -1 : 1;
    }
    if (a->frame_count != b->frame_count)
        return a->frame_count < b->frame_count ? -1 : 1;
    return (a->flags > b->flags) - (a->flags < b->flags);
}

void sites_init(struct site_table *sites)
{
    sites->slots = sites->first;
    sites->slot_count = SITES_SLOTS_FIRST;
    sites->site_count = sites->blocks_seen = 0;
    sites->leader = NULL;
    sites->is_estimate = false;
    sites->lost = (struct tally){0};
    sites->lost_blocks = sites->lost_bytes = 0;
    memset(sites->first, 0, sizeof(sites->first));
    scratch_init(&sites->scratch, sites->first_scratch, sizeof(sites->first_scratch));
}

static void slots_release(struct site_table *sites)
{
    if (sites->slots != sites->first)
        kernel_unmap(sites->slots, sites->slot_count * sizeof(struct site *));
}

void sites_release(struct site_table *sites)
{
    slots_release(sites);
    scratch_release(&sites->scratch);
}

/* The slot of this block's site, or the empty one where it belongs. */
static struct site **find_slot(const struct site_table *sites, const struct ld_leak *leak,
                               const struct site *leader, uint64_t hash)
{
    size_t mask = sites->slot_count - 1;
    size_t i = (size_t)hash & mask;
    while (sites->slots[i] != NULL && (sites->slots[i]->hash != hash || sites->slots[i]->leader != leader ||
                                       site_compare(&sites->slots[i]->leak, leak) != 0))
        i = (i + 1) & mask;
    return &sites->slots[i];
}

/* Twice as many slots.  False when memory is out; the table is then as it was. */
static bool grow(struct site_table *sites)
{
    struct site **slots = kernel_map(sites->slot_count * 2 * sizeof(struct site *));
    if (slots == NULL)
        return false;
    size_t mask = sites->slot_count * 2 - 1;
    for (size_t i = 0; i < sites->slot_count; i++) {
        if (sites->slots[i] == NULL)
            continue;
        size_t to = (size_t)sites->slots[i]->hash & mask;
        while (slots[to] != NULL)
            to = (to + 1) & mask;
        slots[to] = sites->slots[i];
    }
    slots_release(sites);
    sites->slots = slots;
    sites->slot_count = mask + 1;
    return true;
}

/* A new site with a copy of the block's stack, and no block yet.  NULL when memory is out. */
static struct site *site_new(struct scratch *scratch, const struct ld_leak *leak, uint64_t hash)
{
    size_t frames_size = leak->frame_count * sizeof(leak->frames[0]);
    size_t modules_size = leak->frame_count * sizeof(leak->modules[0]);
    struct site *site = scratch_take(scratch, sizeof(*site) + frames_size + modules_size);
    if (site == NULL)
        return NULL;
    const void **frames = (const void **)(site + 1);
    uint16_t *modules = (uint16_t *)(frames + leak->frame_count);
    if (leak->frame_count > 0) {
        memcpy(frames, leak->frames, frames_size);
        memcpy(modules, leak->modules, modules_size);
    }
    *site = (struct site){.leak = *leak, .hash = hash, .is_deep = leak->frame_count == LD_MAX_FRAMES};
    site->leak.frames = frames;
    site->leak.modules = modules;
    return site;
}

/* The site of this block, made if it is new.  NULL when memory is out. */
static struct site *intern(struct site_table *sites, const struct ld_leak *leak, const struct site *leader)
{
    uint64_t hash = stack_hash(leak) + (leader == NULL ? 0 : leader->hash * 3);
    struct site **slot = find_slot(sites, leak, leader, hash);
    if (*slot != NULL)
        return *slot;
    if ((sites->site_count + 1) * 2 > sites->slot_count) {
        if (!grow(sites))
            return NULL;
        slot = find_slot(sites, leak, leader, hash);
    }
    *slot = site_new(&sites->scratch, leak, hash);
    if (*slot == NULL)
        return NULL;
    (*slot)->leader = leader;
    sites->site_count++;
    return *slot;
}

bool sites_add(const struct ld_leak *leak, void *ctx)
{
    struct site_table *sites = ctx;
    const struct tally block = {.blocks = 1, .bytes = leak->size};
    const bool is_led = leak->reach == LD_INDIRECTLY_LOST && (leak->flags & LD_LEAK_UNLED) == 0;
    struct ld_leak of_site = *leak;
    struct site *site;

    /* Who leads is told by the site's leader. */
    of_site.flags &= ~LD_LEAK_UNLED;
    site = intern(sites, &of_site, is_led ? sites->leader : NULL);
    if (leak->reach == LD_DEFINITELY_LOST)
        sites->leader = site;
    tally_add(site == NULL ? &sites->lost : &site->tally, &block);
    *(site == NULL ? &sites->lost_blocks : &site->blocks) += leak->weight;
    *(site == NULL ? &sites->lost_bytes : &site->bytes) += leak->weight * (double)leak->size;
    sites->blocks_seen++;
    sites->is_estimate = sites->is_estimate || leak->weight != 1.0;
    return true;
}

/* --- The array ---------------------------------------------------------------------------------------- */

static size_t round_up_from_half(double number)
{
    return number >= (double)SIZE_MAX ? SIZE_MAX : (size_t)(number + 0.5);
}

static struct tally round_estimate(double blocks, double bytes)
{
    return (struct tally){.blocks = round_up_from_half(blocks), .bytes = round_up_from_half(bytes)};
}

void sites_pack(struct site_table *sites)
{
    size_t count = 0;
    for (size_t i = 0; i < sites->slot_count; i++)
        if (sites->slots[i] != NULL)
            sites->slots[count++] = sites->slots[i];

    if (!sites->is_estimate)
        return;
    for (size_t i = 0; i < count; i++)
        sites->slots[i]->tally = round_estimate(sites->slots[i]->blocks, sites->slots[i]->bytes);
    sites->lost = round_estimate(sites->lost_blocks, sites->lost_bytes);
}

typedef bool is_before_fn(const struct site *a, const struct site *b);

/* Lets the site at `root` sink until no child comes after it: the heap has the last of the order on top. */
static void heap_sink(struct site **heap, size_t root, size_t count, is_before_fn *is_before)
{
    struct site *sinking = heap[root];
    for (size_t child; (child = root * 2 + 1) < count; root = child) {
        if (child + 1 < count && is_before(heap[child], heap[child + 1]))
            child++;
        if (!is_before(sinking, heap[child]))
            break;
        heap[root] = heap[child];
    }
    heap[root] = sinking;
}

/* Heapsort, because the C library's qsort takes memory from malloc. */
static void sort(struct site_table *sites, is_before_fn *is_before)
{
    struct site **sorted = sites->slots;
    for (size_t root = sites->site_count / 2; root-- > 0;)
        heap_sink(sorted, root, sites->site_count, is_before);
    for (size_t last = sites->site_count; last-- > 1;) {
        struct site *swap = sorted[0];
        sorted[0] = sorted[last];
        sorted[last] = swap;
        heap_sink(sorted, 0, last, is_before);
    }
}

static bool stack_is_before(const struct site *a, const struct site *b)
{
    return site_compare(&a->leak, &b->leak) < 0;
}

static bool report_is_before(const struct site *a, const struct site *b)
{
    if (a->leak.reach != b->leak.reach)
        return a->leak.reach > b->leak.reach;
    if (a->tally.bytes != b->tally.bytes)
        return a->tally.bytes > b->tally.bytes;
    if (a->tally.blocks != b->tally.blocks)
        return a->tally.blocks > b->tally.blocks;
    return stack_is_before(a, b);
}

void sites_sort(struct site_table *sites)
{
    sort(sites, report_is_before);
}

void sites_merge(struct site_table *sites)
{
    size_t count = 0;
    sort(sites, stack_is_before);
    for (size_t i = 0; i < sites->site_count; i++) {
        struct site *site = sites->slots[i];
        struct site *last = count > 0 ? sites->slots[count - 1] : NULL;
        if (last != NULL && site_compare(&last->leak, &site->leak) == 0) {
            tally_add(&last->tally, &site->tally);
            last->is_deep = last->is_deep || site->is_deep;
        } else {
            sites->slots[count++] = site;
        }
    }
    sites->site_count = count;
}

void sites_keep(struct site_table *sites, sites_keep_fn *keep, void *ctx)
{
    size_t count = 0;
    for (size_t i = 0; i < sites->site_count; i++)
        if (keep(sites->slots[i], ctx))
            sites->slots[count++] = sites->slots[i];
    sites->site_count = count;
}

struct tally sites_total(const struct site_table *sites)
{
    struct tally total = sites->lost;
    for (size_t i = 0; i < sites->site_count; i++)
        tally_add(&total, &sites->slots[i]->tally);
    return total;
}
