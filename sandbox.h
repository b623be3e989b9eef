/* SPDX-License-Identifier: MIT
 *
 * Programs that shut themselves in (seccomp): what this library and libunwind call then must not cost them
 * their lives.
 */
#ifndef SANDBOX_H
#define SANDBOX_H

#include <stdbool.h>

/* Whether this process, or one that it was forked from, has given itself a filter of system calls by
 * prctl(2). */
bool sandbox_is_filtered(void);

#endif
