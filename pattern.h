/* SPDX-License-Identifier: MIT
 *
 * Patterns of names, as LeakSanitizer has them in its suppressions: a pattern matches a name that contains
 * it; * stands for any characters, ^ at the beginning for the beginning of the name, and $ at the end for its
 * end.  Anywhere else ^ and $ are themselves.
 *
 * Time is linear in the length of the name: what stands between two stars is looked for once, at the first
 * place where it can be.
 */
#ifndef PATTERN_H
#define PATTERN_H

#include <stdbool.h>
#include <stddef.h>

/* A part of a text that somebody else keeps. */
struct pattern {
    const char *text;
    size_t length;
};

struct pattern pattern_of(const char *text);

/* The pattern without blanks around it. */
struct pattern pattern_trim(struct pattern pattern);

/* False for a name that is NULL or empty, and for a pattern that is empty. */
bool pattern_matches(struct pattern pattern, const char *name);

/* Cuts the next piece, without blanks around it, from *list, which is moved behind it; pieces are separated
 * by any of the characters in `separators`.  False at the end.  A piece may be empty. */
bool pattern_next(const char **list, const char *separators, struct pattern *piece);

#endif
