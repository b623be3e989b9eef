/* SPDX-License-Identifier: MIT
 *
 * What libbacktrace knows of a module that is or was loaded: functions, files and lines.  That is a view.
 *
 * A view can never be given back, and costs some hundred KiB for a library that has no debug information, and
 * 20 MiB and 80 ms for one with much of it, such as the C library's.  So there is one for each file that a
 * name was asked from, however often it is loaded by the same name.
 *
 * All of this is for one thread at a time.
 */
#ifndef VIEWS_H
#define VIEWS_H

#include <stdbool.h>
#include <stddef.h>

#include "leakdetect.h"
#include "locate.h"
#include "maps.h"

/* Of the functions that are inlined at a place, from 0, innermost first; or the one that has the code. */
enum { THE_CODE = -1 };

/* Whether there is a view of the module that is loaded at this place.  False also if it has no build id and
 * something was unloaded since: another file may have been loaded in its place; and if the view lacks what
 * memory ran short for, and there is more by now. */
bool views_know(const struct place *place);

/* Makes one, if there is none of this file, which is the module's, and open as `fd`.  False: it cannot be
 * had, for which *is_partial says whether there may be another time. */
bool views_make(const struct place *place, int fd, bool *is_partial);

/* Whether the view that there is is of the file that is mapped at the place, as far as that can be told.  If
 * not it is given up. */
bool views_keep(const struct place *place, const struct maps_file *mapped);

/* Function, file and line of a place whose module there is a view of, as far as it knows them.  is_partial of
 * `out` is whether they are not known because something ran short that there may be enough of another time.
 */
void views_ask(const struct place *place, int level, struct ld_symbol *out);

/* Begins with none.  Those that there are stay as they are, for whoever has names from them. */
void views_forget(void);

/* Bytes of the static tables. */
size_t views_own_bytes(void);

#endif
