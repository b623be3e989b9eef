/* SPDX-License-Identifier: MIT
 *
 * Functions that only allocate for others, and are therefore never what a report calls the site.
 */
#ifndef SKIP_H
#define SKIP_H

#include <stdbool.h>

/* Whether the function is one of them: by the patterns of `list` (commas or newlines between them; NULL:
 * none), or, if with_defaults, by the built-in list. */
bool skip_matches(const char *function, const char *list, bool with_defaults);

#endif
