/* SPDX-License-Identifier: MIT
 *
 * What a whole program may ask for itself, with the options that it was given (lsan.c).
 */
#ifndef WHOLE_H
#define WHOLE_H

#include <stdbool.h>

#include "check.h"

/* Reports what is lost, if something definitely is, and says whether.  False, too, if it is not known, or not
 * to be looked for. */
bool whole_check(const struct check_caller *caller);

/* The report of the program's end, now.  Does not return if that sets the exit status; there is no other one
 * at the end, and nothing happens when it is asked for again.  With report_at_exit=none it is that of what is
 * lost. */
void whole_check_and_end(const struct check_caller *caller);

#endif
