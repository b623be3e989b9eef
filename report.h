/* SPDX-License-Identifier: MIT
 *
 * The entry behind ld_report, for those that have found blocks in another way than by walking over all that
 * are alive: whatever calls an ld_leak_fn can be reported.
 */
#ifndef REPORT_H
#define REPORT_H

#include <stddef.h>

#include "leakdetect.h"

/* Calls callback(leak, callback_ctx) for each block to be reported; ctx is report_walk's.  0, or an errno
 * value: then there is no report. */
typedef int report_source_fn(void *ctx, ld_leak_fn *callback, void *callback_ctx);

/* What a report has said. */
struct report_found {
    size_t sites, blocks, bytes; /* those that no rule suppressed, listed or not */
    size_t definite_sites;       /* of them, those of definitely lost blocks */
    size_t suppressed;           /* blocks */
};

/* Writes to fd a report of the blocks that `walk` hands over, grouped by kind (leak->reach) and call site.
 * `kind` is a word for all of them: "live", "lost".  options may be NULL; options->since is left to walk.
 * found may be NULL. 0 or an errno value, as ld_report, or the one that walk returned. */
int report_walk(int fd, const struct ld_report_options *options, const char *kind, report_source_fn *walk,
                void *ctx, struct report_found *found);

/* ld_report that says what it has found. */
int report_live(int fd, const struct ld_report_options *options, struct report_found *found);

#endif
