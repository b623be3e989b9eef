/* SPDX-License-Identifier: MIT
 *
 * Asking the dynamic loader what is loaded, seen by others to wait for it.  Whoever asks has its lock, which
 * the child of a fork that came meanwhile would find locked for ever.
 */
#ifndef LOADER_H
#define LOADER_H

#include <stdbool.h>
#include <stddef.h>

struct dl_phdr_info;
typedef int loader_visit_fn(struct dl_phdr_info *info, size_t size, void *ctx);

/* dl_iterate_phdr, during which no other thread forks, if it does not take long; for any thread at any time.
 * False: another thread has had the loader's lock for half a second, and may never give it back; nothing was
 * visited. */
bool loader_visit(loader_visit_fn *visit, void *ctx);

/* False: another thread keeps the loader's lock, and has for half a second.  To be asked before libunwind is,
 * which waits for that lock without end. */
bool loader_is_free_soon(void);

/* Around a fork, which waits for those that are in loader_visit, and they for it; neither without end, since
 * the one may have what the other waits for. */
void loader_before_fork(void);
void loader_after_fork(bool in_child);

/* loader_visit without the gate for forks: for who holds a lock that a fork takes first (symbolize.c). */
void loader_ask(loader_visit_fn *visit, void *ctx);

/* Whether the thread that asks waits for the loader's lock still, as far as another one can tell. */
bool loader_is_awaited(void);

/* In a child of fork, where there is no such thread. */
void loader_forget(void);

#endif
