/* SPDX-License-Identifier: MIT
 *
 * Paths: see path.h.
 */
#include "path.h"

#include "module.h"
#include "platform.h"

bool path_intern(struct path *path, struct stackmap_supply *supply, uint32_t epoch)
{
    stack_id id;

    if (UNLIKELY(path->epoch != epoch)) {
        path->known = path->firm = 0;
        atomic_signal_fence(memory_order_seq_cst);
        path->epoch = epoch;
    }
    id = path->known == 0 ? 0 : path->ids[path->known - 1];
    while (path->known < path->count) {
        uint32_t next = path->known;

        path->modules[next] = module_at(path->frames[next]);
        id = stackmap_child(supply, epoch, id, path->frames[next], path->modules[next]);
        if (UNLIKELY(id == 0))
            return false;
        path->ids[next] = id;
        atomic_signal_fence(memory_order_seq_cst);
        path->known = next + 1;
        if (path->firm == next && !module_can_unload(path->modules[next]))
            path->firm = next + 1;
    }
    return true;
}

uint32_t path_current(const struct path *path, uint32_t count)
{
    module_id checked = 0;

    for (uint32_t i = path->firm; i < count && i < path->known; i++) {
        module_id module = path->modules[i];

        if (module != checked && module != 0 && !module_is_current(module, path->frames[i]))
            return i;
        checked = module;
    }
    return count;
}
