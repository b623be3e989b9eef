/* SPDX-License-Identifier: MIT
 *
 * What a report is: blocks that a walk hands over, grouped by call site, in order, in one of the forms of
 * report_format.h.
 *
 * Every total in the report was counted in that walk, so the report agrees with itself even while other
 * threads allocate.  What the walk does not see, because it was never recorded, comes from ld_get_stats and
 * is always printed.
 *
 * A report is often the last thing that a dying process does, so it takes little for granted: nothing
 * here calls malloc or stdio, no lock is held, the first call sites fit on the stack, and when no pages can
 * be mapped for the others they are summed up instead of listed.  Stands on leakdetect.h alone, as any
 * program could.
 */
#define _POSIX_C_SOURCE 200809L
#include "report.h"

#include <errno.h>
#include <unistd.h>

#include "platform.h"
#include "report_format.h"
#include "sites.h"
#include "text.h"

/* The path of the program, as the kernel has it, or NULL. */
static const char *find_program(char *path, size_t size)
{
    ssize_t length = readlink("/proc/self/exe", path, size - 1);
    if (length <= 0)
        return NULL;
    path[length] = 0;
    return path;
}

/* 0 or an errno value. */
static int write_report(int fd, const struct report *report)
{
    struct text text;
    text_init(&text, fd);
    report_put_text(&text, report);
    text_flush(&text);
    return text.error;
}

static int report_sites(int fd, struct report *report, struct site_table *sites, struct report_found *found)
{
    char path[1024];
    report->program = find_program(path, sizeof(path));
    report->process = (size_t)getpid();
    ld_get_stats(&report->stats);

    sites_pack(sites);
    sites_sort(sites);
    report->sites = sites;
    report->total = sites_total(sites);
    *found = (struct report_found){
        .sites = sites->site_count, .blocks = report->total.blocks, .bytes = report->total.bytes};

    int error = write_report(fd, report);
    return error == 0 && sites->lost.blocks > 0 ? ENOMEM : error;
}

int report_walk(int fd, const struct ld_report_options *options, const char *kind, report_source_fn *walk,
                void *ctx, struct report_found *found)
{
    static const struct ld_report_options defaults = {0};
    struct report report = {.kind = kind, .options = options == NULL ? &defaults : options};
    struct report_found unused;
    struct site_table sites;
    int saved_errno = errno;

    sites_init(&sites);
    int error = walk(ctx, sites_add, &sites);
    if (error == 0)
        error = report_sites(fd, &report, &sites, found == NULL ? &unused : found);
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

ENTRY_POINT int ld_report(int fd, const struct ld_report_options *options)
{
    return report_live(fd, options, NULL);
}
