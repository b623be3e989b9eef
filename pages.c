/* SPDX-License-Identifier: MIT
 *
 * Pages that are worth reading: see pages.h.  The format of the page map is in Linux'
 * Documentation/admin-guide/mm/pagemap.rst.
 */
#include "pages.h"

#include <errno.h>
#include <stddef.h>
#include <sys/ioctl.h>

#include "kernel.h"
#include "platform.h"

enum {
    AT_ONCE = 128, /* pages */
    RUNS_AT_ONCE = 32,
};

#define PRESENT   (UINT64_C(1) << 63)
#define ELSEWHERE (UINT64_C(1) << 62) /* on a swap device, or there is a mark in its place, as of a guard */
#define OF_FILE   (UINT64_C(1) << 61) /* or of memory that is shared */
#define EXCLUSIVE (UINT64_C(1) << 56) /* no other process has it; not the page of zeroes either */

/* PAGEMAP_SCAN, which headers of the kernel have since 6.7, and IS_GUARD since 6.15. */
struct run {
    uint64_t start, end, categories;
};
struct scan {
    uint64_t size, flags, start, end, walk_end, runs, run_count, max_pages;
    uint64_t inverted, required, any_of, told; /* categories */
};
#define SCAN       _IOWR('f', 16, struct scan)
#define IS_PRESENT (UINT64_C(1) << 3)
#define IS_GUARD   (UINT64_C(1) << 8)

static int pagemap = -1;

bool pages_open(void)
{
    pagemap = kernel_open("/proc/thread-self/pagemap");
    return pagemap >= 0;
}

void pages_close(void)
{
    int fd = pagemap;

    /* First, so that what is forked in between closes nothing: by then it may be a descriptor of another's.
     */
    pagemap = -1;
    if (fd >= 0)
        kernel_close(fd);
}

static void look_up(uint64_t *entries, uintptr_t first, size_t count, bool are_private)
{
    long size = (long)(count * sizeof(entries[0]));

    if (are_private && pagemap >= 0 && kernel_seek(pagemap, first * sizeof(entries[0])) &&
        kernel_read(pagemap, entries, (size_t)size) == size)
        return;
    for (size_t i = 0; i < count; i++)
        entries[i] = ELSEWHERE;
}

static bool is_worth_reading(uint64_t entry, uintptr_t page)
{
    return (entry & PRESENT) != 0 || ((entry & ELSEWHERE) != 0 && kernel_can_read(page));
}

void pages_each(uintptr_t start, uintptr_t end, bool are_private, pages_visit_fn *visit, void *ctx)
{
    const uintptr_t size = platform_page_size(), pages_end = (end + size - 1) / size;
    uintptr_t from = start;
    size_t count;

    for (uintptr_t first = start / size; first < pages_end; first += count) {
        uint64_t entries[AT_ONCE];

        count = pages_end - first < AT_ONCE ? pages_end - first : AT_ONCE;
        look_up(entries, first, count, are_private);
        for (size_t i = 0; i < count; i++) {
            uintptr_t page = (first + i) * size;

            if (LIKELY(is_worth_reading(entries[i], page)))
                continue;
            if (page > from)
                visit(from, page, ctx);
            from = page + size;
        }
    }
    if (from < end)
        visit(from, end, ctx);
}

size_t pages_own(uintptr_t start, uintptr_t end)
{
    const uintptr_t size = platform_page_size();
    size_t count, own = 0;

    for (uintptr_t first = start / size; first < end / size; first += count) {
        uint64_t entries[AT_ONCE];

        count = end / size - first < AT_ONCE ? end / size - first : AT_ONCE;
        look_up(entries, first, count, true);
        for (size_t i = 0; i < count; i++) {
            uint64_t kind = entries[i] & (PRESENT | ELSEWHERE | OF_FILE | EXCLUSIVE);

            if (kind != 0 && kind != (PRESENT | EXCLUSIVE))
                return 0;
            own += kind != 0;
        }
    }
    return own;
}

/* How many runs it has found, or an errno value with a minus sign; nor is it asked if a filter of system
 * calls may not know of this one. */
static long scan_for(struct scan *scan)
{
    return pagemap < 0 || platform_is_filtered() ? -ENOSYS : kernel_control(pagemap, SCAN, scan);
}

uintptr_t pages_first_present(uintptr_t start, uintptr_t end)
{
    struct run run = {.start = end};
    struct scan scan = {.size = sizeof(scan),
                        .start = start,
                        .end = end,
                        .runs = (uint64_t)(uintptr_t)&run,
                        .run_count = 1,
                        .max_pages = 1,
                        .required = IS_PRESENT,
                        .told = IS_PRESENT};
    long count = scan_for(&scan);

    return count < 0 ? start : (uintptr_t)run.start;
}

void pages_each_guard(uintptr_t start, uintptr_t end, pages_visit_fn *visit, void *ctx)
{
    struct run runs[RUNS_AT_ONCE];
    struct scan scan = {.size = sizeof(scan),
                        .start = start,
                        .end = end,
                        .runs = (uint64_t)(uintptr_t)runs,
                        .run_count = RUNS_AT_ONCE,
                        .required = IS_GUARD,
                        .told = IS_GUARD};

    while (scan.start < end) {
        long count = scan_for(&scan);

        if (count < 0)
            return;
        for (long i = 0; i < count; i++)
            visit((uintptr_t)runs[i].start, (uintptr_t)runs[i].end, ctx);
        scan.start = scan.walk_end;
    }
}
