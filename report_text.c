/* SPDX-License-Identifier: MIT
 *
 * The report as people read it: a header with the totals and all that is not in the list, then the call sites
 * with their stacks, then the totals once more.
 */
#include "report_format.h"

#include <string.h>

#include "config.h"

#define LABEL_WIDTH   14 /* of a line of the header, from its beginning to the figures */
#define ADDRESS_WIDTH 14 /* "0x" and the 12 digits of a 48-bit address */

static void put_label(struct text *text, const char *label)
{
    size_t length = strlen(label) + 3;
    text_put(text, "  ");
    text_put(text, label);
    text_put(text, ":");
    text_put_spaces(text, length < LABEL_WIDTH ? LABEL_WIDTH - length : 1);
}

static void put_tally(struct text *text, const struct tally *tally)
{
    text_put_count(text, tally->blocks, "block");
    text_put(text, ", ");
    text_put_count(text, tally->bytes, "byte");
}

/* --- The header --------------------------------------------------------------------------------------- */

static void put_title(struct text *text, const struct report *report)
{
    text_put(text, "leakdetect report: process ");
    text_put_id(text, report->process);
    if (report->program != NULL) {
        text_put(text, ", ");
        text_put_name(text, report->program);
    }
    text_put(text, "\n");
}

/* What no list of call sites can show, because it was never recorded, and why it was not. */
static void put_unrecorded(struct text *text, const struct ld_stats *stats)
{
    const struct tally dropped = {.blocks = stats->dropped_blocks, .bytes = stats->dropped_bytes};
    const struct tally nested = {.blocks = stats->nested_blocks, .bytes = stats->nested_bytes};
    const struct tally missed = {.blocks = stats->missed_blocks, .bytes = stats->missed_bytes};
    put_label(text, "dropped");
    put_tally(text, &dropped);
    text_put(text, " (no room on record for more than ");
    text_put_count(text, stats->capacity_blocks, "block");
    text_put(text, ")\n");
    put_label(text, "nested");
    put_tally(text, &nested);
    text_put(text, " (made while the library was in foreign code)\n");
    if (missed.blocks > 0) {
        put_label(text, "missed");
        put_tally(text, &missed);
        text_put(text, " (made before recording began)\n");
    }
    put_label(text, "cut stacks");
    text_put_count(text, stats->cut_stacks, "block");
    text_put(text, " (no room for more than ");
    text_put_count(text, stats->stack_capacity, "call-path node");
    text_put(text, ")\n");
}

/* "17 blocks, 1,337 bytes, at 3 call sites" */
static void put_total(struct text *text, const struct report *report)
{
    put_tally(text, &report->total);
    text_put(text, report->sites->lost.blocks > 0 ? ", at more than " : ", at ");
    text_put_count(text, report->sites->site_count, "call site");
}

static void put_total_line(struct text *text, const struct report *report)
{
    put_label(text, report->kind);
    put_total(text, report);
    if (report->options->since > 0) {
        text_put(text, ", made since mark ");
        text_put_id(text, report->options->since);
    }
    if (report->sites->is_estimate) {
        text_put(text, ", estimated from a sample of ");
        text_put_count(text, report->sites->blocks_seen, "block");
    }
    text_put(text, "\n");
}

static const char *kind_words(enum ld_reach reach)
{
    switch (reach) {
    case LD_REACHABLE:
        return "still reachable";
    case LD_POSSIBLY_LOST:
        return "possibly lost";
    case LD_INDIRECTLY_LOST:
        return "indirectly lost";
    case LD_DEFINITELY_LOST:
        return "definitely lost";
    case LD_LIVE:
        break;
    }
    return "";
}

/* How much of each kind, if there are kinds. */
static void put_kinds(struct text *text, const struct site_table *sites)
{
    struct tally kinds[LD_DEFINITELY_LOST + 1] = {{0}};
    for (size_t i = 0; i < sites->site_count; i++)
        tally_add(&kinds[sites->slots[i]->leak.reach], &sites->slots[i]->tally);
    for (enum ld_reach reach = LD_DEFINITELY_LOST; reach > LD_LIVE; reach--) {
        if (kinds[reach].blocks == 0)
            continue;
        text_put(text, "    ");
        text_put(text, kind_words(reach));
        text_put(text, ": ");
        put_tally(text, &kinds[reach]);
        text_put(text, "\n");
    }
}

/* "suppressed: 1 block, 72,704 bytes by 1 rule", if any. */
static void put_suppressed_line(struct text *text, const struct suppress *suppress)
{
    if (suppress->total.blocks == 0)
        return;
    put_label(text, "suppressed");
    put_tally(text, &suppress->total);
    text_put(text, " by ");
    text_put_count(text, suppress->used, "rule");
    text_put(text, "\n");
}

static void put_header(struct text *text, const struct report *report)
{
    const struct tally peak = {.blocks = report->stats.peak_blocks, .bytes = report->stats.peak_bytes};
    put_title(text, report);
    put_total_line(text, report);
    put_kinds(text, report->sites);
    put_suppressed_line(text, report->suppress);
    put_label(text, "peak");
    put_tally(text, &peak);
    text_put(text, "\n");
    put_unrecorded(text, &report->stats);
    put_label(text, "own memory");
    text_put_count(text, report->stats.own_bytes, "byte");
    text_put(text, " of tables, whose untouched pages take no memory\n");
    if (report->sites->lost.blocks > 0) {
        put_label(text, "no memory");
        put_tally(text, &report->sites->lost);
        text_put(text, ", at further call sites, which there was no room to tell apart\n");
    }
}

/* --- Call sites --------------------------------------------------------------------------------------- */

/* As ld_symbol_name: "function (file:line)", "function (module+0xoffset)", "module+0xoffset".  The address
 * stands before it already, so nothing known is "??". */
static void put_symbol(struct text *text, const struct name *name)
{
    if (name->function != NULL) {
        text_put_name(text, name->function);
        text_put(text, " (");
    }
    if (name->function != NULL && name->file != NULL) {
        text_put_name(text, name->file);
        if (name->line != 0) {
            text_put(text, ":");
            text_put_id(text, name->line);
        }
    } else if (name->module != NULL) {
        text_put_name(text, name->module);
        text_put(text, "+");
        text_put_hex(text, name->offset);
    } else {
        text_put(text, "??");
    }
    if (name->function != NULL)
        text_put(text, ")");
}

/* "    #0  0x55d0c0de1234  parse_line (wordcount.c:42)", and, if that was inlined, as one more line,
 * "        inlined into    parse_text (wordcount.c:99)". */
static void put_frame(struct text *text, const struct report *report, const struct site *site, size_t index)
{
    const struct name *name = report_name(report, site, index);
    text_put(text, index < 10 ? "    #" : "   #");
    text_put_id(text, index);
    text_put(text, "  ");
    size_t width = text_put_hex(text, (uintptr_t)site->leak.frames[index]);
    text_put_spaces(text, width < ADDRESS_WIDTH ? ADDRESS_WIDTH - width + 2 : 2);
    put_symbol(text, name);
    text_put(text, "\n");
    while ((name = name->outer) != NULL) {
        text_put(text, "        inlined into    ");
        put_symbol(text, name);
        text_put(text, "\n");
    }
}

static void put_site(struct text *text, const struct report *report, const struct site *site, size_t number)
{
    const struct ld_leak *leak = &site->leak;
    text_put(text, "\nsite ");
    text_put_id(text, number);
    text_put(text, ": ");
    if (leak->reach != LD_LIVE) {
        text_put(text, kind_words(leak->reach));
        if ((leak->flags & LD_LEAK_STRICT) != 0)
            text_put(text, " but for what looks dead");
        text_put(text, ": ");
    }
    put_tally(text, &site->tally);
    text_put(text, "\n");
    if ((leak->flags & LD_LEAK_STACK_CUT) != 0)
        text_put(text, "    ... inner frames unknown: the table of call paths was full\n");

    size_t count = report_frames(report, site);
    for (size_t i = 0; i < count && text->error == 0; i++)
        put_frame(text, report, site, i);
    if (count < leak->frame_count) {
        text_put(text, "    ... ");
        text_put_count(text, leak->frame_count - count, "more frame");
        text_put(text, "\n");
    } else if (site->is_deep) {
        text_put(text, "    ... at most ");
        text_put_id(text, LD_MAX_FRAMES);
        text_put(text, " frames are kept: LD_MAX_FRAMES\n");
    }
}

static void put_sites(struct text *text, const struct report *report)
{
    struct report_list list = {0};
    const struct site *site;
    while (text->error == 0 && (site = report_next(report, &list)) != NULL)
        put_site(text, report, site, list.listed);
    if (text->error == 0 && report_unlisted(report, &list) > 0) {
        text_put(text, "\nnot listed, as asked: ");
        put_tally(text, &list.left_out);
        text_put(text, ", at ");
        text_put_count(text, report_unlisted(report, &list), "call site");
        text_put(text, "\n");
    }
}

/* --- The end ------------------------------------------------------------------------------------------ */

/* Each rule that has taken something: "    1 block, 72,704 bytes: leak:pattern". */
static void put_suppressed(struct text *text, const struct suppress *suppress)
{
    if (suppress->total.blocks > 0)
        text_put(text, "\nsuppressed:\n");
    for (size_t i = 0; i < suppress_count(suppress) && text->error == 0; i++) {
        struct suppress_hits hits;
        suppress_get(suppress, i, &hits);
        if (hits.taken.blocks == 0)
            continue;
        text_put(text, "    ");
        put_tally(text, &hits.taken);
        text_put(text, hits.is_builtin ? ": " : ": leak:");
        text_put_name_part(text, hits.name.text, hits.name.length);
        text_put(text, hits.is_builtin ? " (built in)\n" : "\n");
    }
}

/* What the report could not do. */
static void put_troubles(struct text *text, const struct report *report)
{
    if (report->suppress->bad_count > 0) {
        text_put(text, "\nnot understood of the suppressions: ");
        text_put_count(text, report->suppress->bad_count, "line");
        text_put(text, ", the first is line ");
        text_put_id(text, report->suppress->first_bad);
        text_put(text, "\n");
    }
    if (report->suppress->is_short)
        text_put(text, "\nno suppression was used: no memory for them\n");
    if (report->names->is_partial)
        text_put(text,
                 "\nsome names are missing, and were missing to patterns: no descriptors or memory left\n");
}

/* The totals once more are for a terminal, which has scrolled the header away, and they show that the report
 * is complete. */
void report_put_text(struct text *text, const struct report *report)
{
    put_header(text, report);
    put_sites(text, report);
    put_suppressed(text, report->suppress);
    put_troubles(text, report);
    text_put(text, "\ntotal: ");
    put_total(text, report);
    text_put(text, "\n");
}
