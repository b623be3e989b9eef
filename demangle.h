/* SPDX-License-Identifier: MIT
 *
 * The last step from a frame to its name: what a C++ function is called in its source.
 */
#ifndef DEMANGLE_H
#define DEMANGLE_H

#include <stdbool.h>

#include "leakdetect.h"

/* Whether this is how a C++ function is called in its object file; NULL is not. */
bool demangle_is_mangled(const char *name);

/* Replaces the function's name, by one in out->text, if the program has the C++ run-time library and that can
 * tell it.  Calls the program's malloc: no lock is to be held. */
void demangle_symbol(struct ld_symbol *out);

#endif
