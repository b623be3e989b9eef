/* SPDX-License-Identifier: MIT
 *
 * The last step from a frame to its name: what a function of C++ or Rust is called in its source.
 */
#ifndef LD_DEMANGLE_H /* libiberty has the other one */
#define LD_DEMANGLE_H

#include <stdbool.h>

#include "leakdetect.h"

/* Whether this looks like such a function's name in its object file; NULL does not. */
bool demangle_is_mangled(const char *name);

/* Replaces the function's name, by one in out->text, if that can be told.  May call malloc: no lock is to be
 * held, and signals are to be blocked, or what their handlers allocate would not be recorded either. */
void demangle_symbol(struct ld_symbol *out);

#endif
