/* SPDX-License-Identifier: MIT
 *
 * Asking the dynamic loader what is loaded, seen by others to wait for it.
 */
#ifndef LOADER_H
#define LOADER_H

#include <stdbool.h>
#include <stddef.h>

struct dl_phdr_info;
typedef int module_visitor(struct dl_phdr_info *info, size_t size, void *ctx);

/* dl_iterate_phdr, which calls `visit` with the loader's lock held; for one thread at a time. */
void loader_ask(module_visitor *visit, void *ctx);

/* Whether the thread that asks waits for the loader's lock still, as far as another one can tell. */
bool loader_is_awaited(void);

/* In a child of fork, where there is no such thread. */
void loader_forget(void);

#endif
