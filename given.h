/* SPDX-License-Identifier: MIT
 *
 * The options that a whole program was given: compiled in, and in its environment, which counts more; and
 * what else it has compiled in for this library.
 */
#ifndef GIVEN_H
#define GIVEN_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "options.h"

#if LD_OVERRIDE

/* Calls ld_default_options, if the program has one, the first time.  Allocates nothing itself. */
void given_options(struct options *out, options_complain_fn *complain);

/* The suppressions that are compiled into the program.  Calls the functions that it has for it, and returns
 * how many there are; a text may be NULL. */
enum { GIVEN_TEXTS_MAX = 2 };
struct given_text {
    const char *text, *origin;
};
size_t given_suppressions(struct given_text out[GIVEN_TEXTS_MAX]);

/* Whether the program wants no leak to be looked for, by LeakSanitizer's name for that.  It is asked each
 * time: the answer should be a constant, but some programs' is not. */
bool given_is_turned_off(void);

/* Whether the program has options for LeakSanitizer, which do not count here. */
bool given_unread_options(void);

/* The one that is needed before the first block is recorded, which is before any constructor: `sample`. */
size_t given_sample(void);

#else

static inline size_t given_sample(void)
{
    return 0;
}

#endif
#endif
