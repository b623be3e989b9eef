/* SPDX-License-Identifier: MIT
 *
 * The memory of mapped.h: mappings, less a sorted list of ranges that do not count.
 */
#include "mapped.h"

#include <errno.h>

#include "kernel.h"
#include "ours.h"

enum { WORD = sizeof(uintptr_t) };

struct exclusions {
    struct ours_range *ranges;
    size_t count, capacity;
};

static void exclude(struct exclusions *exclusions, uintptr_t start, uintptr_t end)
{
    if (start < end)
        exclusions->ranges[exclusions->count++] = (struct ours_range){start, end};
}

/* The stack that a thread was given, if it is on it: roots of another kind, as far as it is alive.  It begins
 * above pages that cannot be accessed, the first thread's where its mapping does. */
static void exclude_stack(struct exclusions *exclusions, const struct roots_snapshot *snapshot,
                          const struct stop_thread *thread)
{
    const struct maps *maps = snapshot->maps;
    const struct mapping *mapping = maps_find(maps, thread->stack_pointer);
    uintptr_t end = thread->thread_pointer;

    if (mapping == NULL || mapping == maps->entries)
        return;
    if (mapping == maps_find(maps, snapshot->main_stack))
        exclude(exclusions, mapping->start, mapping->end);
    else if (mapping[-1].end == mapping->start && !mapping[-1].is_readable && end > thread->stack_pointer &&
             end < mapping->end)
        exclude(exclusions, mapping->start, end);
}

/* Shell's: the child has no stack to waste, and no qsort that could not allocate. */
static void sort(struct ours_range *ranges, size_t count)
{
    size_t gap = 1;

    while (gap < count / 3)
        gap = 3 * gap + 1;
    for (; gap > 0; gap /= 3)
        for (size_t i = gap; i < count; i++) {
            struct ours_range range = ranges[i];
            size_t at = i;

            for (; at >= gap && ranges[at - gap].start > range.start; at -= gap)
                ranges[at] = ranges[at - gap];
            ranges[at] = range;
        }
}

static bool make_exclusions(struct exclusions *exclusions, const struct roots_snapshot *snapshot)
{
    const struct roots *roots = snapshot->roots;

    *exclusions = (struct exclusions){.capacity = ours_capacity() + roots->own_count + roots->module_count +
                                                  snapshot->thread_count + 1};
    exclusions->ranges = kernel_map(exclusions->capacity * sizeof(exclusions->ranges[0]));
    if (exclusions->ranges == NULL)
        return false;
    exclusions->count = ours_copy(exclusions->ranges);
    for (size_t i = 0; i < roots->own_count; i++)
        exclude(exclusions, roots->own[i].start, roots->own[i].end);
    for (size_t i = 0; i < roots->module_count; i++)
        exclude(exclusions, roots->modules[i].start, roots->modules[i].end);
    exclude_stack(exclusions, snapshot, &snapshot->caller);
    for (size_t i = 0; i < snapshot->thread_count; i++)
        exclude_stack(exclusions, snapshot, &snapshot->threads[i]);
    sort(exclusions->ranges, exclusions->count);
    return true;
}

static void visit_whole_words(uintptr_t start, uintptr_t end, roots_visit_fn *visit, void *ctx)
{
    start = (start + WORD - 1) & ~(uintptr_t)(WORD - 1);
    end &= ~(uintptr_t)(WORD - 1);
    if (start < end)
        visit(ROOTS_MAPPED, start, end, ctx);
}

int mapped_each(const struct roots_snapshot *snapshot, roots_visit_fn *visit, void *ctx)
{
    const struct maps *maps = snapshot->maps;
    struct exclusions exclusions;
    size_t next = 0;

    if (!make_exclusions(&exclusions, snapshot))
        return ENOMEM;
    for (size_t i = 0; i < maps->count; i++) {
        const struct mapping *mapping = &maps->entries[i];
        uintptr_t at = mapping->start;

        if (!mapping->is_readable || !mapping->is_writable || !mapping->is_private)
            continue;
        while (next < exclusions.count && exclusions.ranges[next].end <= at)
            next++;
        for (size_t j = next; j < exclusions.count && exclusions.ranges[j].start < mapping->end; j++) {
            if (exclusions.ranges[j].start > at)
                visit_whole_words(at, exclusions.ranges[j].start, visit, ctx);
            if (exclusions.ranges[j].end > at)
                at = exclusions.ranges[j].end;
        }
        if (at < mapping->end)
            visit_whole_words(at, mapping->end, visit, ctx);
    }
    kernel_unmap(exclusions.ranges, exclusions.capacity * sizeof(exclusions.ranges[0]));
    return 0;
}
