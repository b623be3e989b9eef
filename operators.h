/* SPDX-License-Identifier: MIT
 *
 * C++'s operators new and delete (operators.c).
 */
#ifndef OPERATORS_H
#define OPERATORS_H

#include <stddef.h>

/* operator new(size), by another name. */
void *ld_operator_new(size_t size);

/* Says that the program's malloc is this library's.  Where the program is not position-independent, and takes
 * its address, that cannot be seen from the address. */
void operators_trust_malloc(void);

/* The C++ library's: asks malloc, and where that has nothing the program's new-handler, or throws bad_alloc.
 * Only in the library that is preloaded. */
void *operators_new(size_t size) __attribute__((weak));

#endif
