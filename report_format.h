/* SPDX-License-Identifier: MIT
 *
 * A report that is ready to be written, and the forms that it can take: one file each, report_*.c.  By then
 * all that could fail has been done, except writing.
 */
#ifndef REPORT_FORMAT_H
#define REPORT_FORMAT_H

#include <stddef.h>

#include "leakdetect.h"
#include "names.h"
#include "sites.h"
#include "suppress.h"
#include "text.h"

struct report {
    const char *kind; /* a word for all of it: "live", "lost" */
    const struct ld_report_options *options;
    const char *program; /* its path; NULL: not known */
    size_t process;
    struct ld_stats stats;
    const struct site_table *sites; /* in order */
    struct tally total;             /* of sites, and of what is in none for want of memory */
    struct names *names;
    const struct suppress *suppress; /* what it has taken is in no site */
};

/* Goes through the sites that the options ask for, and adds up the others. */
struct report_list {
    size_t next;   /* of all sites */
    size_t listed; /* so far */
    struct tally left_out;
};

/* The next one, or NULL.  A list begins zero-initialised. */
static inline const struct site *report_next(const struct report *report, struct report_list *list)
{
    const struct ld_report_options *options = report->options;
    while (list->next < report->sites->site_count) {
        const struct site *site = report->sites->slots[list->next++];
        if (site->tally.bytes >= options->min_bytes &&
            (options->max_sites == 0 || list->listed < options->max_sites)) {
            list->listed++;
            return site;
        }
        tally_add(&list->left_out, &site->tally);
    }
    return NULL;
}

/* How many are not listed, when report_next has come to the end. */
static inline size_t report_unlisted(const struct report *report, const struct report_list *list)
{
    return report->sites->site_count - list->listed;
}

/* How many of its frames the options ask for. */
static inline size_t report_frames(const struct report *report, const struct site *site)
{
    size_t most = report->options->max_frames;
    return most > 0 && most < site->leak.frame_count ? most : site->leak.frame_count;
}

/* The innermost function of a frame that is shown.  Wrappers that were inlined into the first frame are left
 * out, as those are that were called; the outer names follow. */
static inline const struct name *report_name(const struct report *report, const struct site *site,
                                             size_t index)
{
    const struct name *all = names_get(report->names, &site->leak, index), *name = all;
    if (index > 0 || (site->leak.flags & LD_LEAK_STACK_CUT) != 0)
        return all;
    while (name->outer != NULL && name->verdict.is_skipped)
        name = name->outer;
    return name->verdict.is_skipped ? all : name;
}

/* The kind of a site in one word, for programs. */
static inline const char *report_kind(enum ld_reach reach)
{
    switch (reach) {
    case LD_REACHABLE:
        return "reachable";
    case LD_POSSIBLY_LOST:
        return "possible";
    case LD_INDIRECTLY_LOST:
        return "indirect";
    case LD_DEFINITELY_LOST:
        return "definite";
    case LD_LIVE:
        break;
    }
    return "live";
}

/* See enum ld_report_format. */
typedef void report_put_fn(struct text *text, const struct report *report);
report_put_fn report_put_text, report_put_json, report_put_folded;

#endif
