/* SPDX-License-Identifier: MIT
 *
 * The C++ half of tests, frames_cxx.cc, as C sees it.
 */
#ifndef FRAMES_CXX_H
#define FRAMES_CXX_H

#ifdef __cplusplus
extern "C" {
#else
#include <stdbool.h>
#endif

typedef int probe_fn(void *ctx);

/* Calls probe from a destructor while an exception passes through its frame, from the handler that catches
 * it, and after that, eight times each; returns the sum of what the last two returned. */
int cxx_probe_around_a_throw(probe_fn *probe, void *ctx);

/* Calls function with a function that throws, and returns whether the exception arrived. */
bool cxx_leave_by_exception(void (*function)(void (*thrower)(void)));

/* Makes this thread have a thread_local object, which holds a block of 666 bytes, and whose destructor frees
 * it, and allocates. */
void cxx_use_thread_local(void);

#ifdef __cplusplus
}
#endif

#endif
