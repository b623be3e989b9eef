/* SPDX-License-Identifier: MIT
 *
 * The report for programs: one JSON object, as enum ld_report_format describes it.  A line for each call
 * site, so that grep and diff work on it too.
 */
#include "report_format.h"

#include <string.h>

/* --- JSON --------------------------------------------------------------------------------------------- */

struct json {
    struct text *text;
    bool needs_comma; /* something stands before the next member */
};

/* One character of a string; returns the bytes that it has taken. */
static size_t put_character(struct text *text, const char *at)
{
    unsigned char byte = (unsigned char)*at;
    size_t length = text_utf8_length(at);
    if (byte == '"' || byte == '\\') {
        const char escape[] = {'\\', *at};
        text_put_bytes(text, escape, sizeof(escape));
    } else if (byte < ' ' || byte == 0x7f) {
        const char escape[] = {'\\', 'u', '0', '0', "01234567"[byte / 16], "0123456789abcdef"[byte % 16]};
        text_put_bytes(text, escape, sizeof(escape));
    } else if (length > 0) {
        text_put_bytes(text, at, length);
    } else {
        text_put(text, "\\ufffd");
    }
    return length > 0 ? length : 1;
}

/* What is to stand before a value: the comma, and for a member of an object (key is not NULL) its key. */
static void put_key(struct json *json, const char *key)
{
    if (json->needs_comma)
        text_put(json->text, ",");
    json->needs_comma = true;
    if (key != NULL) {
        text_put(json->text, "\"");
        text_put(json->text, key);
        text_put(json->text, "\":");
    }
}

static void put_open(struct json *json, const char *key, const char *bracket)
{
    put_key(json, key);
    text_put(json->text, bracket);
    json->needs_comma = false;
}

static void put_close(struct json *json, const char *bracket)
{
    text_put(json->text, bracket);
    json->needs_comma = true;
}

static void put_number(struct json *json, const char *key, size_t number)
{
    put_key(json, key);
    text_put_id(json->text, number);
}

static void put_bool(struct json *json, const char *key, bool value)
{
    put_key(json, key);
    text_put(json->text, value ? "true" : "false");
}

static void put_hex(struct json *json, const char *key, uintptr_t number)
{
    put_key(json, key);
    text_put(json->text, "\"");
    text_put_hex(json->text, number);
    text_put(json->text, "\"");
}

static void put_string_part(struct json *json, const char *key, const char *string, size_t size)
{
    const char *end = string + size;
    put_key(json, key);
    text_put(json->text, "\"");
    while (string < end)
        string += put_character(json->text, string);
    text_put(json->text, "\"");
}

/* NULL is the empty string. */
static void put_string(struct json *json, const char *key, const char *string)
{
    if (string == NULL)
        string = "";
    put_string_part(json, key, string, strlen(string));
}

static void put_tally(struct json *json, const struct tally *tally)
{
    put_number(json, "blocks", tally->blocks);
    put_number(json, "bytes", tally->bytes);
}

/* --- The report --------------------------------------------------------------------------------------- */

static void put_head(struct json *json, const struct report *report)
{
    const struct ld_stats *stats = &report->stats;
    put_number(json, "version", 1);
    put_string(json, "tool", "leakdetect");
    put_number(json, "pid", report->process);
    put_string(json, "program", report->program);
    put_string(json, "kind", report->kind);
    put_tally(json, &report->total);
    put_number(json, "dropped_blocks", stats->dropped_blocks);
    put_number(json, "dropped_bytes", stats->dropped_bytes);
    put_number(json, "own_bytes", stats->own_bytes);
    put_number(json, "nested_blocks", stats->nested_blocks);
    put_number(json, "nested_bytes", stats->nested_bytes);
    put_number(json, "missed_blocks", stats->missed_blocks);
    put_number(json, "missed_bytes", stats->missed_bytes);
    put_number(json, "cut_stacks", stats->cut_stacks);
    put_number(json, "peak_blocks", stats->peak_blocks);
    put_number(json, "peak_bytes", stats->peak_bytes);
    put_number(json, "capacity_blocks", stats->capacity_blocks);
    put_number(json, "since", report->options->since);
    put_bool(json, "estimate", report->sites->is_estimate);
    put_number(json, "sampled_blocks", report->sites->blocks_seen);
}

static void put_name(struct json *json, const void *pc, const struct name *name)
{
    put_open(json, NULL, "{");
    put_hex(json, "pc", (uintptr_t)pc);
    put_string(json, "module", name->module);
    put_string(json, "build_id", name->build_id);
    put_hex(json, "offset", name->offset);
    put_string(json, "function", name->function);
    put_string(json, "file", name->file);
    put_number(json, "line", name->line);
    if (name->outer != NULL)
        put_bool(json, "inlined", true);
    put_close(json, "}");
}

static void put_frame(struct json *json, const struct report *report, const struct site *site, size_t index)
{
    for (const struct name *name = report_name(report, site, index); name != NULL; name = name->outer)
        put_name(json, site->leak.frames[index], name);
}

static void put_site(struct json *json, const struct report *report, const struct site *site)
{
    size_t frames = report_frames(report, site);
    put_key(json, NULL);
    text_put(json->text, "\n");
    json->needs_comma = false;
    put_open(json, NULL, "{");
    put_tally(json, &site->tally);
    put_string(json, "kind", report_kind(site->leak.reach));
    put_bool(json, "stack_cut", (site->leak.flags & LD_LEAK_STACK_CUT) != 0);
    put_bool(json, "stack_deep", site->is_deep);
    if ((site->leak.flags & LD_LEAK_STRICT) != 0)
        put_bool(json, "strict", true);
    put_open(json, "frames", "[");
    for (size_t i = 0; i < frames && json->text->error == 0; i++)
        put_frame(json, report, site, i);
    put_close(json, "]}");
}

static void put_sites(struct json *json, const struct report *report)
{
    struct report_list list = {0};
    const struct site *site;
    put_open(json, "sites", "[");
    while (json->text->error == 0 && (site = report_next(report, &list)) != NULL)
        put_site(json, report, site);
    put_close(json, "]");
    text_put(json->text, "\n");
    put_open(json, "unlisted", "{");
    put_number(json, "sites", report_unlisted(report, &list));
    put_tally(json, &list.left_out);
    put_close(json, "}");
    put_open(json, "unplaced", "{");
    put_tally(json, &report->sites->lost);
    put_close(json, "}");
}

/* All rules that were given, and those of the built-in ones that have taken something. */
static void put_suppressed(struct json *json, const struct suppress *suppress)
{
    put_open(json, "suppressed", "{");
    put_tally(json, &suppress->total);
    put_number(json, "bad_lines", suppress->bad_count);
    put_bool(json, "no_memory", suppress->is_short);
    put_open(json, "rules", "[");
    for (size_t i = 0; i < suppress_count(suppress) && json->text->error == 0; i++) {
        struct suppress_hits hits;
        suppress_get(suppress, i, &hits);
        if (hits.is_builtin && hits.taken.blocks == 0)
            continue;
        put_open(json, NULL, "{");
        put_string_part(json, "rule", hits.name.text, hits.name.length);
        put_bool(json, "builtin", hits.is_builtin);
        put_tally(json, &hits.taken);
        put_close(json, "}");
    }
    put_close(json, "]}");
}

void report_put_json(struct text *text, const struct report *report)
{
    struct json json = {.text = text};
    put_open(&json, NULL, "{");
    put_head(&json, report);
    put_sites(&json, report);
    put_suppressed(&json, report->suppress);
    put_bool(&json, "partial_names", report->names->is_partial);
    put_close(&json, "}\n");
}
