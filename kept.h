/* SPDX-License-Identifier: MIT
 *
 * What the C library, the dynamic loader and the C++ run time allocate and keep on purpose, as rules that
 * each name what they are about: the built-in suppressions.
 *
 * A rule fits a block if, going outwards along its stack, a function that the rule names comes up in the
 * module where it belongs, and nothing but run-time libraries before it.  So what a program's own code
 * allocates is never taken for it, however it was called: a constructor run by dlopen, a handler of the C
 * library.
 */
#ifndef KEPT_H
#define KEPT_H

#include <stddef.h>
#include <stdint.h>

#define KEPT_RULES_MAX 32 /* a bit for each fits into uint32_t */

/* How many there are, and what each is called; index counts from 0. */
size_t kept_count(void);
const char *kept_name(size_t index);

/* The first rule of the same name: several may be about the same thing. */
size_t kept_first(size_t index);

/* Rules come in sets, a bit for each.  Those that the innermost frame of a stack may fulfil. */
uint32_t kept_direct(void);

/* The rules that a frame in this function (NULL: not known) of the module of this path (NULL: not known)
 * fulfils, and in *within those that the frames further outwards may still fulfil. */
uint32_t kept_match(const void *frame, const char *function, const char *module, uint32_t *within);

#endif
