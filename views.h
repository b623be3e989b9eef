/* SPDX-License-Identifier: MIT
 *
 * What libbacktrace knows of the modules that are or were loaded: functions, files and lines.
 *
 * It knows all modules that were loaded when it was first asked, and never looks again: that is a view.  For
 * a library that was loaded later there is a new view, of all that is loaded by then.  For one that was not
 * in any view when it was unloaded there is one in which it stands in the place of the program.
 *
 * A view can never be given back.  For a program of 20 libraries without debug information it costs 12 ms and
 * 3 MiB; one library with much of it, such as the C library's, adds 80 ms and 20 MiB.  When there are
 * VIEWS_MAX, modules in none of them have functions without file and line.
 *
 * All of this is for one thread at a time.
 */
#ifndef VIEWS_H
#define VIEWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "leakdetect.h"
#include "locate.h"

enum { VIEWS_MAX = 8 };

/* Of the functions that are inlined at a place, from 0, innermost first; or the one that has the code. */
enum { THE_CODE = -1 };

/* The view that was found for this module before; 0: none. */
uint8_t views_known(module_id id);

/* The view that knows this place's module, from now on: one that there is, or a new one; 0: there is none,
 * for which *is_partial says whether there may be another time.  fd is any open descriptor. */
uint8_t views_find(const struct place *place, int fd, bool *is_partial);

/* Function, file and line of a place in the view, as far as it knows them. */
void views_ask(uint8_t view, const struct place *place, int level, struct ld_symbol *out);

/* Begins with none.  Those that there are stay as they are, for whoever has names from them. */
void views_forget(void);

/* Bytes of the static tables. */
size_t views_own_bytes(void);

#endif
