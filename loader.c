/* SPDX-License-Identifier: MIT
 *
 * Asking the loader: see loader.h.
 */
#define _GNU_SOURCE 1
#include "loader.h"

#include <link.h>
#include <stdatomic.h>

static atomic_bool is_awaited;

bool loader_is_awaited(void)
{
    return atomic_load_explicit(&is_awaited, memory_order_relaxed);
}

void loader_forget(void)
{
    atomic_store_explicit(&is_awaited, false, memory_order_relaxed);
}

struct question {
    module_visitor *visit;
    void *ctx;
};

static int visit_module(struct dl_phdr_info *info, size_t size, void *ctx)
{
    struct question *question = ctx;

    loader_forget();
    return question->visit(info, size, question->ctx);
}

void loader_ask(module_visitor *visit, void *ctx)
{
    struct question question = {visit, ctx};

    atomic_store_explicit(&is_awaited, true, memory_order_relaxed);
    dl_iterate_phdr(visit_module, &question);
    loader_forget();
}
