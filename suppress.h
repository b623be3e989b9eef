/* SPDX-License-Identifier: MIT
 *
 * Suppressions: rules by which blocks are left out of a report, and how many each has taken.  Those that are
 * given come in the syntax of LeakSanitizer; those that are built in are kept.h's.
 */
#ifndef SUPPRESS_H
#define SUPPRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "kept.h"
#include "names.h"
#include "pattern.h"
#include "scratch.h"
#include "sites.h"

struct suppress_rule {
    struct pattern pattern; /* a part of the text that was given */
    struct tally taken;
};

struct suppress {
    struct suppress_rule *rules; /* rule n is at n - 1 */
    size_t rule_count;
    size_t bad_count, first_bad; /* lines that are no rule, and which is the first of them, from 1 */
    bool is_short;               /* there was no memory for the rules, so that none is used */
    bool with_kept;
    struct tally kept[KEPT_RULES_MAX];
    struct tally total; /* taken by all of them */
    size_t used;        /* how many have taken something */
};

/* text may be NULL; otherwise it must stay. */
void suppress_init(struct suppress *suppress, const char *text, bool with_kept, struct scratch *scratch);

/* What the rules say about one frame; of several the first counts. */
void suppress_judge(const struct suppress *suppress, const struct name *name, struct name_verdict *verdict);

/* Whether a site is left out, by itself or with the one that leads its blocks; it is counted then.
 *
 * A built-in rule takes no more than what the run-time library has allocated.  What that leads to, such as
 * the value of a thread's key, was given to it by the program: nothing of the program leads there, so that
 * each block of it becomes definitely lost. */
bool suppress_takes(struct suppress *suppress, struct site *site, struct names *names);

/* All rules, those that were given first; index counts from 0. */
struct suppress_hits {
    struct pattern name; /* of a built-in one, or the pattern */
    bool is_builtin;
    struct tally taken;
};

size_t suppress_count(const struct suppress *suppress);
void suppress_get(const struct suppress *suppress, size_t index, struct suppress_hits *hits);

/* One line of a file of suppressions.  Returns false if it is neither a rule nor empty nor a comment.  For a
 * rule the pattern is not empty. */
bool suppress_parse(struct pattern line, struct pattern *pattern);

#endif
