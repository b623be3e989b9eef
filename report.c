/* SPDX-License-Identifier: MIT
 *
 * The report: live blocks grouped by call site, the largest first, as text for people.
 *
 * One walk over the live records fills a hash table of call sites; the table is then sorted where it lies
 * and printed.  Every total in the report was counted in that walk, so the report agrees with itself even
 * while other threads allocate.  What the walk does not see, because it was never recorded, comes from
 * ld_get_stats and is always printed.
 *
 * A report is often the last thing that a dying process does, so it takes little for granted: nothing
 * here calls malloc or stdio, no lock is held, the first call sites fit on the stack, and when no pages can
 * be mapped for the others they are summed up instead of listed.  Uses leakdetect.h alone, as any program
 * could.
 */
#define _POSIX_C_SOURCE 200809L

#include "config.h"
#include "leakdetect.h"
#include "platform.h"

#include <errno.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

/* --- Text ---------------------------------------------------------------------------------------------- */

/* Text on its way to a file descriptor.  The first error stays, and everything after it is discarded. */
struct text {
    int fd;
    int error;
    size_t used;
    char bytes[4096];
};

static void text_flush(struct text *text)
{
    if (text->error == 0)
        text->error = platform_write(text->fd, text->bytes, text->used);
    text->used = 0;
}

static void put_bytes(struct text *text, const char *bytes, size_t size)
{
    while (size > 0) {
        if (text->used == sizeof(text->bytes))
            text_flush(text);
        size_t room = sizeof(text->bytes) - text->used;
        size_t part = size < room ? size : room;
        memcpy(text->bytes + text->used, bytes, part);
        text->used += part;
        bytes += part;
        size -= part;
    }
}

static void put(struct text *text, const char *string)
{
    put_bytes(text, string, strlen(string));
}

static void put_spaces(struct text *text, size_t count)
{
    while (count-- > 0)
        put(text, " ");
}

/* Decimal; grouped: with a comma before every third digit from the right. */
static void put_decimal(struct text *text, size_t number, bool grouped)
{
    char digits[sizeof(number) * 4];
    size_t at = sizeof(digits);
    size_t count = 0;
    do {
        if (grouped && count > 0 && count % 3 == 0)
            digits[--at] = ',';
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
        count++;
    } while (number > 0);
    put_bytes(text, digits + at, sizeof(digits) - at);
}

/* A number that names something: a process, a line. */
static void put_id(struct text *text, size_t number)
{
    put_decimal(text, number, false);
}

/* "0x" and as few digits as will do.  Returns the length. */
static size_t put_hex(struct text *text, uintptr_t number)
{
    char digits[2 + sizeof(number) * 2];
    size_t at = sizeof(digits);
    do {
        digits[--at] = "0123456789abcdef"[number % 16];
        number /= 16;
    } while (number > 0);
    digits[--at] = 'x';
    digits[--at] = '0';
    put_bytes(text, digits + at, sizeof(digits) - at);
    return sizeof(digits) - at;
}

/* "1 block", "1,337 blocks". */
static void put_count(struct text *text, size_t count, const char *noun)
{
    put_decimal(text, count, true);
    put(text, " ");
    put(text, noun);
    if (count != 1)
        put(text, "s");
}

/* Bytes of the UTF-8 character that begins here, if it is well-formed and no control character; else 0.
 * Overlong forms and surrogates pass: they are ugly, but do nothing to a terminal. */
static size_t printable_length(const unsigned char *at)
{
    if (at[0] < 0x80)
        return at[0] >= ' ' && at[0] != 0x7f;
    size_t length = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (at[0] < 0xc2 || at[0] > 0xf4 || (at[0] == 0xc2 && at[1] < 0xa0))
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

/* A name that comes from a file, which may hold anything: what a terminal might obey becomes \xNN, and a
 * backslash is doubled so that the two can be told apart. */
static void put_name(struct text *text, const char *name)
{
    const unsigned char *at = (const unsigned char *)name;
    while (*at != 0) {
        size_t length = printable_length(at);
        if (*at == '\\') {
            put(text, "\\\\");
        } else if (length > 0) {
            put_bytes(text, (const char *)at, length);
        } else {
            const char escape[] = {'\\', 'x', "0123456789abcdef"[*at / 16], "0123456789abcdef"[*at % 16]};
            put_bytes(text, escape, sizeof(escape));
        }
        at += length > 0 ? length : 1;
    }
}

/* --- Scratch memory ------------------------------------------------------------------------------------ */

#define SCRATCH_FIRST 12288 /* bytes on the stack: some 60 call sites of 12 frames */
#define SCRATCH_CHUNK 65536 /* least bytes to map at a time */

/* Mapped pages, from which pieces are cut that are all given back together. */
struct chunk {
    struct chunk *next;
    size_t size;
};

/* The bytes from `next` up to `end` are free. */
struct scratch {
    struct chunk *chunks;
    unsigned char *next, *end;
    alignas(max_align_t) unsigned char first[SCRATCH_FIRST];
};

static void scratch_init(struct scratch *scratch)
{
    scratch->chunks = NULL;
    scratch->next = scratch->first;
    scratch->end = scratch->first + sizeof(scratch->first);
}

/* Each chunk is twice as large as the one before; where address space is short, less is better than nothing.
 */
static bool scratch_grow(struct scratch *scratch)
{
    size_t size = scratch->chunks == NULL ? SCRATCH_CHUNK : scratch->chunks->size * 2;
    struct chunk *chunk = platform_map(size);
    while (chunk == NULL && size > SCRATCH_CHUNK) {
        size /= 2;
        chunk = platform_map(size);
    }
    if (chunk == NULL)
        return false;
    *chunk = (struct chunk){.next = scratch->chunks, .size = size};
    scratch->chunks = chunk;
    scratch->next = (unsigned char *)(chunk + 1);
    scratch->end = (unsigned char *)chunk + size;
    return true;
}

/* NULL when memory is out. */
static void *scratch_take(struct scratch *scratch, size_t size)
{
    size = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    if ((size_t)(scratch->end - scratch->next) < size && !scratch_grow(scratch))
        return NULL;
    void *piece = scratch->next;
    scratch->next += size;
    return piece;
}

static void scratch_release(struct scratch *scratch)
{
    while (scratch->chunks != NULL) {
        struct chunk *chunk = scratch->chunks;
        scratch->chunks = chunk->next;
        platform_unmap(chunk, chunk->size);
    }
}

/* --- Call sites ---------------------------------------------------------------------------------------- */

struct tally {
    size_t blocks, bytes;
};

/* All live blocks with the same stack: the same frames in the same modules, cut or not.
 * The stack is copied, because what a walk hands over ends with the callback. */
struct site {
    struct ld_leak leak; /* of the first block that was seen here; its arrays are the copies */
    struct tally tally;
    uint64_t hash; /* of the stack */
};

_Static_assert(sizeof(struct chunk) + sizeof(struct site) + alignof(max_align_t) +
                       LD_MAX_FRAMES * (sizeof(void *) + sizeof(uint16_t)) <=
                   SCRATCH_CHUNK,
               "any one call site fits into the smallest chunk");

#define SLOTS_FIRST 256 /* on the stack; a power of two, as every slot count */

/* A hash table with linear probing, at most half full:
 *
 *     slots[hash & (slot_count - 1)], or the next free one -> site -> copy of its stack
 *
 * Sorting packs the sites to the front of the same array, which ends its life as a table. */
struct site_table {
    struct site **slots;
    size_t slot_count;
    size_t site_count;
    struct tally total; /* all blocks that were added */
    struct tally lost;  /* those of them that are in no site, because there was no memory for one */
    struct scratch scratch;
    struct site *first[SLOTS_FIRST];
};

static void tally_add(struct tally *tally, const struct tally *more)
{
    tally->blocks += more->blocks;
    tally->bytes += more->bytes;
}

static uint64_t stack_hash(const struct ld_leak *leak)
{
    uint64_t hash = leak->flags;
    for (size_t i = 0; i < leak->frame_count; i++) {
        hash = (hash ^ (uintptr_t)leak->frames[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 32;
    }
    return hash;
}

/* Below, at or above 0 as a's stack stands before, with or after b's: an order that is fixed while the
 * process lives. */
static int stack_compare(const struct ld_leak *a, const struct ld_leak *b)
{
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

static void sites_init(struct site_table *sites)
{
    sites->slots = sites->first;
    sites->slot_count = SLOTS_FIRST;
    sites->site_count = 0;
    sites->total = sites->lost = (struct tally){0};
    memset(sites->first, 0, sizeof(sites->first));
    scratch_init(&sites->scratch);
}

static void slots_release(struct site_table *sites)
{
    if (sites->slots != sites->first)
        platform_unmap(sites->slots, sites->slot_count * sizeof(struct site *));
}

static void sites_release(struct site_table *sites)
{
    slots_release(sites);
    scratch_release(&sites->scratch);
}

/* The slot of the site with this stack, or the empty one where it belongs. */
static struct site **sites_find(const struct site_table *sites, const struct ld_leak *leak, uint64_t hash)
{
    size_t mask = sites->slot_count - 1;
    size_t i = (size_t)hash & mask;
    while (sites->slots[i] != NULL &&
           (sites->slots[i]->hash != hash || stack_compare(&sites->slots[i]->leak, leak) != 0))
        i = (i + 1) & mask;
    return &sites->slots[i];
}

/* Twice as many slots.  False when memory is out; the table is then as it was. */
static bool sites_grow(struct site_table *sites)
{
    struct site **slots = platform_map(sites->slot_count * 2 * sizeof(struct site *));
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
    *site = (struct site){.leak = *leak, .hash = hash};
    site->leak.frames = frames;
    site->leak.modules = modules;
    return site;
}

/* The site of this block, made if it is new.  NULL when memory is out. */
static struct site *sites_intern(struct site_table *sites, const struct ld_leak *leak)
{
    uint64_t hash = stack_hash(leak);
    struct site **slot = sites_find(sites, leak, hash);
    if (*slot != NULL)
        return *slot;
    if ((sites->site_count + 1) * 2 > sites->slot_count) {
        if (!sites_grow(sites))
            return NULL;
        slot = sites_find(sites, leak, hash);
    }
    *slot = site_new(&sites->scratch, leak, hash);
    if (*slot != NULL)
        sites->site_count++;
    return *slot;
}

/* The ld_leak_fn of the walk. */
static bool sites_add(const struct ld_leak *leak, void *ctx)
{
    struct site_table *sites = ctx;
    const struct tally block = {.blocks = 1, .bytes = leak->size};
    struct site *site = sites_intern(sites, leak);
    tally_add(site == NULL ? &sites->lost : &site->tally, &block);
    tally_add(&sites->total, &block);
    return true;
}

/* --- Order --------------------------------------------------------------------------------------------- */

/* The order of the report: most bytes first, then most blocks, then by stack so that ties always
 * come out the same way. */
static bool site_is_before(const struct site *a, const struct site *b)
{
    if (a->tally.bytes != b->tally.bytes)
        return a->tally.bytes > b->tally.bytes;
    if (a->tally.blocks != b->tally.blocks)
        return a->tally.blocks > b->tally.blocks;
    return stack_compare(&a->leak, &b->leak) < 0;
}

/* Lets the site at `root` sink until no child comes after it: the heap has the last of the order on top. */
static void heap_sink(struct site **heap, size_t root, size_t count)
{
    struct site *sinking = heap[root];
    for (size_t child; (child = root * 2 + 1) < count; root = child) {
        if (child + 1 < count && site_is_before(heap[child], heap[child + 1]))
            child++;
        if (!site_is_before(sinking, heap[child]))
            break;
        heap[root] = heap[child];
    }
    heap[root] = sinking;
}

/* Packs the sites to the front of the slots and sorts them there.  Heapsort, because the C library's qsort
 * takes memory from malloc. */
static void sites_sort(struct site_table *sites)
{
    struct site **sorted = sites->slots;
    size_t count = 0;
    for (size_t i = 0; i < sites->slot_count; i++)
        if (sites->slots[i] != NULL)
            sorted[count++] = sites->slots[i];

    for (size_t root = count / 2; root-- > 0;)
        heap_sink(sorted, root, count);
    for (size_t last = count; last-- > 1;) {
        struct site *swap = sorted[0];
        sorted[0] = sorted[last];
        sorted[last] = swap;
        heap_sink(sorted, 0, last);
    }
}

/* --- Printing ------------------------------------------------------------------------------------------ */

static void put_tally(struct text *text, const struct tally *tally)
{
    put_count(text, tally->blocks, "block");
    put(text, ", ");
    put_count(text, tally->bytes, "byte");
}

static void put_title(struct text *text)
{
    put(text, "leakdetect report: process ");
    put_id(text, (size_t)getpid());
    char path[1024];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (length > 0) {
        path[length] = 0;
        put(text, ", ");
        put_name(text, path);
    }
    put(text, "\n");
}

/* What no list of call sites can show, because it was never recorded, and why it was not. */
static void put_unrecorded(struct text *text, const struct ld_stats *stats)
{
    const struct tally dropped = {.blocks = stats->dropped_blocks, .bytes = stats->dropped_bytes};
    const struct tally nested = {.blocks = stats->nested_blocks, .bytes = stats->nested_bytes};
    put(text, "  dropped:    ");
    put_tally(text, &dropped);
    put(text, " (no room on record for more than ");
    put_count(text, stats->capacity_blocks, "block");
    put(text, ")\n  nested:     ");
    put_tally(text, &nested);
    put(text, " (made while the library was in foreign code)\n  cut stacks: ");
    put_count(text, stats->cut_stacks, "block");
    put(text, " (no room for more than ");
    put_count(text, stats->stack_capacity, "call-path node");
    put(text, ")\n");
}

/* "17 blocks, 1,337 bytes, at 3 call sites" */
static void put_total(struct text *text, const struct site_table *sites)
{
    put_tally(text, &sites->total);
    put(text, sites->lost.blocks > 0 ? ", at more than " : ", at ");
    put_count(text, sites->site_count, "call site");
}

static void put_header(struct text *text, const struct site_table *sites, const struct ld_stats *stats,
                       const struct ld_report_options *options)
{
    const struct tally peak = {.blocks = stats->peak_blocks, .bytes = stats->peak_bytes};
    put_title(text);
    put(text, "  live:       ");
    put_total(text, sites);
    if (options->since > 0) {
        put(text, ", made since mark ");
        put_id(text, options->since);
    }
    put(text, "\n  peak:       ");
    put_tally(text, &peak);
    put(text, "\n");
    put_unrecorded(text, stats);
    put(text, "  own memory: ");
    put_count(text, stats->own_bytes, "byte");
    put(text, " of tables, whose untouched pages take no memory\n");
    if (sites->lost.blocks > 0) {
        put(text, "  no memory:  ");
        put_tally(text, &sites->lost);
        put(text, ", at further call sites, which there was no room to tell apart\n");
    }
}

/* As ld_symbol_name: "function (file:line)", "function (module+0xoffset)", "module+0xoffset".  The address
 * stands before it already, so nothing known is "??". */
static void put_symbol(struct text *text, const struct ld_symbol *symbol)
{
    if (symbol->function != NULL) {
        put_name(text, symbol->function);
        put(text, " (");
    }
    if (symbol->function != NULL && symbol->file != NULL) {
        put_name(text, symbol->file);
        put(text, ":");
        put_id(text, symbol->line);
    } else if (symbol->module != NULL) {
        put_name(text, symbol->module);
        put(text, "+");
        put_hex(text, symbol->offset);
    } else {
        put(text, "??");
    }
    if (symbol->function != NULL)
        put(text, ")");
}

#define ADDRESS_WIDTH 14 /* "0x" and the 12 digits of a 48-bit address */

/* "    #0  0x55d0c0de1234  parse_line (wordcount.c:42)" */
static void put_frame(struct text *text, const struct ld_leak *leak, size_t index)
{
    put(text, index < 10 ? "    #" : "   #");
    put_id(text, index);
    put(text, "  ");
    size_t width = put_hex(text, (uintptr_t)leak->frames[index]);
    put_spaces(text, width < ADDRESS_WIDTH ? ADDRESS_WIDTH - width + 2 : 2);

    struct ld_symbol symbol;
    if (!ld_symbolize_frame(leak, index, &symbol))
        symbol = (struct ld_symbol){0};
    put_symbol(text, &symbol);
    put(text, "\n");
}

static void put_site(struct text *text, const struct site *site, size_t number, size_t max_frames)
{
    const struct ld_leak *leak = &site->leak;
    put(text, "\nsite ");
    put_id(text, number);
    put(text, ": ");
    put_tally(text, &site->tally);
    put(text, "\n");
    if ((leak->flags & LD_LEAK_STACK_CUT) != 0)
        put(text, "    ... inner frames unknown: the table of call paths was full\n");

    size_t count = max_frames > 0 && max_frames < leak->frame_count ? max_frames : leak->frame_count;
    for (size_t i = 0; i < count && text->error == 0; i++)
        put_frame(text, leak, i);
    if (count < leak->frame_count) {
        put(text, "    ... ");
        put_count(text, leak->frame_count - count, "more frame");
        put(text, "\n");
    } else if (leak->frame_count == LD_MAX_FRAMES) {
        put(text, "    ... at most ");
        put_id(text, LD_MAX_FRAMES);
        put(text, " frames are kept: LD_MAX_FRAMES\n");
    }
}

/* Prints what the options ask for of the sorted sites, and sums up the others.  The totals once more at the
 * end are for a terminal, which has scrolled the header away, and they show that the report is complete. */
static void put_sites(struct text *text, const struct site_table *sites,
                      const struct ld_report_options *options)
{
    struct tally left_out = {0};
    size_t printed = 0;
    for (size_t i = 0; i < sites->site_count && text->error == 0; i++) {
        const struct site *site = sites->slots[i];
        if (site->tally.bytes < options->min_bytes || (options->max_sites > 0 && i >= options->max_sites))
            tally_add(&left_out, &site->tally);
        else
            put_site(text, site, ++printed, options->max_frames);
    }
    if (printed < sites->site_count) {
        put(text, "\nnot listed, as asked: ");
        put_tally(text, &left_out);
        put(text, ", at ");
        put_count(text, sites->site_count - printed, "call site");
        put(text, "\n");
    }
    put(text, "\ntotal: ");
    put_total(text, sites);
    put(text, "\n");
}

/* The walk, and all that is printed of it.  0 or an errno value. */
static int report_write(int fd, const struct ld_report_options *options)
{
    struct ld_stats stats;
    struct site_table sites;
    sites_init(&sites);
    ld_leaks_since(options->since, sites_add, &sites);
    ld_get_stats(&stats);
    sites_sort(&sites);

    struct text text = {.fd = fd};
    put_header(&text, &sites, &stats, options);
    put_sites(&text, &sites, options);
    text_flush(&text);

    int no_memory = sites.lost.blocks > 0 ? ENOMEM : 0;
    sites_release(&sites);
    return text.error != 0 ? text.error : no_memory;
}

ENTRY_POINT int ld_report(int fd, const struct ld_report_options *options)
{
    static const struct ld_report_options defaults = {0};
    int saved_errno = errno;
    int error = report_write(fd, options == NULL ? &defaults : options);
    errno = saved_errno;
    return error;
}
