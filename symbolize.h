/* SPDX-License-Identifier: MIT
 *
 * What symbolize.c, whose functions are public (leakdetect.h), needs from the life of the library.
 */
#ifndef SYMBOLIZE_H
#define SYMBOLIZE_H

#include <stdbool.h>
#include <stddef.h>

/* Around fork: waits until no thread is symbolizing, so that the child finds nothing half done.  Not for
 * ever, and not for one that waits for the loader: then the child reads all files anew. */
void symbolize_before_fork(void);
void symbolize_after_fork(bool in_child);

/* Bytes of the static tables. */
size_t symbolize_own_bytes(void);

#endif
