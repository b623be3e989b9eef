/* SPDX-License-Identifier: MIT
 *
 * What a report is: blocks that a walk hands over, grouped by call site, less those that a suppression
 * takes, without wrappers, in order, in one of the forms of report_format.h.
 *
 * Every total in the report was counted in that walk, so the report agrees with itself even while other
 * threads allocate.  What the walk does not see, because it was never recorded, comes from ld_get_stats and
 * is always printed.
 *
 * A report is often the last thing that a dying process does, so it takes little for granted: nothing
 * here calls malloc or stdio (but for C++ names: demangle.h), no lock is held, the first call sites fit on
 * the stack, and when no pages can be mapped for the others they are summed up instead of listed.
 */
#define _POSIX_C_SOURCE 200809L
#include "report.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "names.h"
#include "platform.h"
#include "report_format.h"
#include "sites.h"
#include "skip.h"
#include "suppress.h"
#include "text.h"

/* --- Leaving out -------------------------------------------------------------------------------------- */

struct leaving_out {
    const struct ld_report_options *options;
    struct suppress suppress;
    struct names names; /* with what is judged of each, once */
    bool with_wrappers; /* the built-in ones */
    bool has_shortened; /* some stack */
};

/* A name_judge_fn. */
static void judge(const struct name *name, struct name_verdict *verdict, void *ctx)
{
    const struct leaving_out *rules = ctx;
    *verdict = (struct name_verdict){0};
    verdict->is_skipped = skip_matches(name_plain(name), rules->options->skip, rules->with_wrappers);
    suppress_judge(&rules->suppress, name, verdict);
}

/* A sites_keep_fn. */
static bool is_reported(struct site *site, void *ctx)
{
    struct leaving_out *rules = ctx;
    return !suppress_takes(&rules->suppress, site, &rules->names);
}

/* Whether all functions of a frame are wrappers, what was inlined and what has the code. */
static bool is_wrapper(const struct name *name)
{
    while (name != NULL && name->verdict.is_skipped)
        name = name->outer;
    return name == NULL;
}

/* A sites_keep_fn: takes the wrappers off the inner end of the stack.  Where inner frames are unknown, what
 * stands there is no wrapper of the call. */
static bool shorten(struct site *site, void *ctx)
{
    struct leaving_out *rules = ctx;
    struct ld_leak *leak = &site->leak;
    size_t wrappers = 0;
    if ((leak->flags & LD_LEAK_STACK_CUT) != 0)
        return true;
    while (wrappers < leak->frame_count && is_wrapper(names_get(&rules->names, leak, wrappers)))
        wrappers++;
    if (wrappers == 0 || wrappers == leak->frame_count)
        return true;
    leak->frames += wrappers;
    leak->modules += wrappers;
    leak->frame_count -= wrappers;
    rules->has_shortened = true;
    return true;
}

/* Suppressions see the whole stack, and who leads whom, so they come first. */
static void leave_out(struct site_table *sites, struct leaving_out *rules)
{
    if (rules->suppress.with_kept || rules->suppress.rule_count > 0)
        sites_keep(sites, is_reported, rules);
    if (rules->with_wrappers || rules->options->skip != NULL)
        sites_keep(sites, shorten, rules);
    if (rules->has_shortened || sites->leader != NULL)
        sites_merge(sites);
}

/* --- Writing ------------------------------------------------------------------------------------------ */

static report_put_fn *find_form(enum ld_report_format format)
{
    switch (format) {
    case LD_REPORT_TEXT:
        return report_put_text;
    case LD_REPORT_JSON:
        return report_put_json;
    case LD_REPORT_FOLDED:
        return report_put_folded;
    }
    return NULL;
}

/* 0 or an errno value. */
static int write_report(int fd, const struct report *report)
{
    struct text text;
    text_init(&text, fd);
    find_form(report->options->format)(&text, report);
    text_flush(&text);
    return text.error;
}

/* From a walk that has ended to a report that is written. */
static int report_sites(int fd, const struct ld_report_options *options, const char *kind,
                        struct site_table *sites, struct report_found *found)
{
    struct leaving_out rules = {
        .options = options,
        .with_wrappers = !options->no_default_skip && options->format != LD_REPORT_FOLDED,
    };
    char path[1024];

    suppress_init(&rules.suppress, options->suppressions, !options->no_default_suppressions, &sites->scratch);
    names_init(&rules.names, judge, &rules);
    sites_pack(sites);
    leave_out(sites, &rules);
    sites_sort(sites);

    struct report report = {
        .kind = kind,
        .options = options,
        .program = platform_program_path(path, sizeof(path)),
        .process = (size_t)getpid(),
        .sites = sites,
        .total = sites_total(sites),
        .names = &rules.names,
        .suppress = &rules.suppress,
    };
    ld_get_stats(&report.stats);
    found->sites = sites->site_count;
    found->blocks = report.total.blocks;
    found->bytes = report.total.bytes;
    found->suppressed = rules.suppress.total.blocks;
    found->definite_sites = 0;
    for (size_t i = 0; i < sites->site_count; i++)
        found->definite_sites += sites->slots[i]->leak.reach == LD_DEFINITELY_LOST;

    int error = write_report(fd, &report);
    names_release(&rules.names);
    return error == 0 && (sites->lost.blocks > 0 || rules.suppress.is_short) ? ENOMEM : error;
}

int report_walk(int fd, const struct ld_report_options *options, const char *kind, report_source_fn *walk,
                void *ctx, struct report_found *found)
{
    static const struct ld_report_options defaults = {0};
    struct report_found unused;
    struct site_table sites;
    int saved_errno = errno;

    if (options == NULL)
        options = &defaults;
    if (find_form(options->format) == NULL)
        return EINVAL;
    sites_init(&sites);
    int error = walk(ctx, sites_add, &sites);
    if (error == 0)
        error = report_sites(fd, options, kind, &sites, found == NULL ? &unused : found);
    sites_release(&sites);
    errno = saved_errno;
    return error;
}

/* The report_source_fn of what is alive; ctx is the options. */
static int walk_live(void *ctx, ld_leak_fn *callback, void *callback_ctx)
{
    const struct ld_report_options *options = ctx;
    ld_leaks_since(options->since, callback, callback_ctx);
    return 0;
}

int report_live(int fd, const struct ld_report_options *options, struct report_found *found)
{
    struct ld_report_options copy = {0};
    if (options != NULL)
        copy = *options;
    return report_walk(fd, &copy, "live", walk_live, &copy, found);
}

/* Whoever cancels the thread does so when all that was mapped for the report is gone again. */
ENTRY_POINT int ld_report(int fd, const struct ld_report_options *options)
{
    int cancel_state, error;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    error = report_live(fd, options, NULL);
    pthread_setcancelstate(cancel_state, NULL);
    pthread_testcancel();
    return error;
}
