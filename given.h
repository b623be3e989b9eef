/* SPDX-License-Identifier: MIT
 *
 * The options that a whole program was given: compiled in, and in its environment, which counts more.
 */
#ifndef GIVEN_H
#define GIVEN_H

#include "config.h"
#include "options.h"

#if LD_OVERRIDE

/* Calls ld_default_options, if the program has one.  Allocates nothing itself. */
void given_options(struct options *out, options_complain_fn *complain);

/* The one that is needed before the first block is recorded, which is before any constructor: `sample`. */
size_t given_sample(void);

#else

static inline size_t given_sample(void)
{
    return 0;
}

#endif
#endif
