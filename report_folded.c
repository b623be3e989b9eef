/* SPDX-License-Identifier: MIT
 *
 * The report for flame graphs: a line for each call site, its functions from the outermost to the innermost,
 * then its bytes.
 *
 *     main;parse;strdup 4096
 *
 * Readers cut a line at its last space, and a stack at each semicolon, and some take a number before the last
 * one for a second column: so names have neither spaces nor semicolons.  What has no place in such a line is
 * a frame in brackets: what is known to be missing of a stack, and, as a line of its own, what is not listed.
 */
#include "report_format.h"

#include <string.h>

static void put_name(struct text *text, const char *name)
{
    while (*name != 0) {
        size_t plain = strcspn(name, " ;");
        text_put_name_part(text, name, plain);
        name += plain;
        for (; *name == ' ' || *name == ';'; name++)
            text_put(text, *name == ' ' ? "_" : ":");
    }
}

/* "function", "libx.so+0xoffset" or "0xaddress"; what was inlined comes after what it was inlined into. */
static void put_frame(struct text *text, const void *pc, const struct name *name)
{
    if (name->outer != NULL) {
        put_frame(text, pc, name->outer);
        text_put(text, ";");
    }
    if (name->function != NULL) {
        put_name(text, name->function);
    } else if (name->module != NULL) {
        const char *slash = strrchr(name->module, '/');
        put_name(text, slash == NULL ? name->module : slash + 1);
        text_put(text, "+");
        text_put_hex(text, name->offset);
    } else {
        text_put_hex(text, (uintptr_t)pc);
    }
}

static void put_bytes(struct text *text, size_t bytes)
{
    text_put(text, " ");
    text_put_id(text, bytes);
    text_put(text, "\n");
}

/* The outermost frames are what a flame graph stands on, so where only some frames are asked for, it is the
 * innermost that stay, as in the other forms, on something that says so. */
static void put_site(struct text *text, const struct report *report, const struct site *site)
{
    const struct ld_leak *leak = &site->leak;
    size_t frames = report_frames(report, site);
    const char *separator = "";
    if (leak->reach != LD_LIVE) {
        text_put(text, report_kind(leak->reach));
        separator = ";";
    }
    if (site->is_deep || frames < leak->frame_count) {
        text_put(text, separator);
        text_put(text, "[outer]");
        separator = ";";
    }
    for (size_t i = frames; i-- > 0 && text->error == 0;) {
        text_put(text, separator);
        put_frame(text, leak->frames[i], report_name(report, site, i));
        separator = ";";
    }
    if ((leak->flags & LD_LEAK_STACK_CUT) != 0 || frames == 0) {
        text_put(text, separator);
        text_put(text, "[unknown]");
    }
    put_bytes(text, site->tally.bytes);
}

void report_put_folded(struct text *text, const struct report *report)
{
    struct report_list list = {0};
    const struct site *site;
    while (text->error == 0 && (site = report_next(report, &list)) != NULL)
        put_site(text, report, site);
    if (list.left_out.blocks > 0) {
        text_put(text, "[unlisted]");
        put_bytes(text, list.left_out.bytes);
    }
    if (report->sites->lost.blocks > 0) {
        text_put(text, "[unplaced]");
        put_bytes(text, report->sites->lost.bytes);
    }
}
