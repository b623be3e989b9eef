/* SPDX-License-Identifier: MIT
 *
 * Collapsing (collapse.h) as the kernel has the word: Documentation/admin-guide/mm/transhuge.rst, and
 * madvise(2) for the errors.  The page map is open for no longer than it takes to read of a few huge pages,
 * since a program may close all descriptors that it does not know.
 */
#include "collapse.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "maps.h"
#include "pages.h"
#include "platform.h"

/* Of x86-64.  Where it is more, the kernel finds nothing to collapse. */
#define HUGE_PAGE ((uintptr_t)2 << 20)

enum {
    AT_ONCE = 16,  /* huge pages */
    WORTH_IT = 16, /* huge pages: a copy of less takes a millisecond or so */
    HOLES = 8,     /* one small page in so many may be untouched; it takes memory afterwards */
};

/* The time it may take: about what marking takes. */
#define NS_PER_HUGE_PAGE UINT64_C(600000)
#define LEAST_NS         UINT64_C(300000000)

static uint64_t limit_ns(size_t huge_pages)
{
    uint64_t limit = huge_pages * NS_PER_HUGE_PAGE;

    return limit < LEAST_NS ? LEAST_NS : limit;
}

/* What of this process is in memory. */
static size_t count_huge_pages(void)
{
    char words[256]; /* in pages: size resident ... */
    char *resident;

    if (kernel_read_file("/proc/thread-self/statm", words, sizeof(words)) <= 0)
        return 0;
    resident = strchr(words, ' ');
    return resident == NULL ? 0 : strtoul(resident, NULL, 10) * platform_page_size() / HUGE_PAGE;
}

static bool says(const char *path, const char *word)
{
    char words[256];

    return kernel_read_file(path, words, sizeof(words)) > 0 && strstr(words, word) != NULL;
}

/* The mode in brackets is always, madvise (those who ask for it, as is done here) or never.  The kernel waits
 * for work of its own on other processors, without end where real-time threads may keep one for themselves.
 */
static bool is_allowed(void)
{
    static const char modes[] = "/sys/kernel/mm/transparent_hugepage/enabled";

    return !platform_is_filtered() && says(modes, "[") && !says(modes, "[never]") &&
           !says("/proc/sys/kernel/sched_rt_runtime_us", "-1");
}

/* A few huge pages, or what is to become one. */
struct stretch {
    uintptr_t start;
    size_t count;
    uint64_t full; /* bit i: the small pages of the i-th are in use, and by this process alone */
};

static bool is_full(uintptr_t start)
{
    const size_t small_pages = HUGE_PAGE / platform_page_size();

    return pages_own(start, start + HUGE_PAGE) >= small_pages - small_pages / HOLES;
}

/* The first ones in the range of which anything is in use; `count` is 0 if there are none. */
static struct stretch find_stretch(uintptr_t start, uintptr_t end)
{
    struct stretch stretch = {0};

    if (!pages_open())
        return stretch;
    stretch.start = pages_first_present(start, end) & ~(HUGE_PAGE - 1);
    stretch.count = (end - stretch.start) / HUGE_PAGE;
    if (stretch.count > AT_ONCE)
        stretch.count = AT_ONCE;
    for (size_t i = 0; i < stretch.count; i++) {
        uintptr_t at = stretch.start + i * HUGE_PAGE;

        stretch.full |= (uint64_t)is_full(at) << i;
    }
    pages_close();
    return stretch;
}

/* False if there is no sense in going on: there is no huge page to be had, or it would be more than the
 * process may have.  A range that cannot be moved just now is left as it is. */
static bool collapse(uintptr_t start, uintptr_t end)
{
    int error = -kernel_collapse(start, end - start);

    return error == 0 || error == EAGAIN || error == EINVAL;
}

static bool collapse_stretch(const struct stretch *stretch)
{
    size_t from = 0;

    for (size_t i = 0; i <= stretch->count; i++) {
        if (i < stretch->count && (stretch->full >> i & 1) != 0)
            continue;
        if (i > from && !collapse(stretch->start + from * HUGE_PAGE, stretch->start + i * HUGE_PAGE))
            return false;
        from = i + 1;
    }
    return true;
}

static bool collapse_mapping(const struct mapping *mapping, uint64_t until)
{
    uintptr_t start = (mapping->start + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);

    while (start < mapping->end) {
        const struct stretch stretch = find_stretch(start, mapping->end);

        if (stretch.count == 0)
            break;
        if (!collapse_stretch(&stretch) || kernel_now_ns() >= until)
            return false;
        start = stretch.start + stretch.count * HUGE_PAGE;
    }
    return true;
}

void collapse_pages(void)
{
    const size_t huge_pages = count_huge_pages();
    const uint64_t until = kernel_now_ns() + limit_ns(huge_pages);
    struct maps maps;
    bool goes_on = true;

    if (huge_pages < WORTH_IT || !is_allowed() || maps_read(&maps) != 0)
        return;
    for (size_t i = 0; i < maps.count && goes_on; i++) {
        const struct mapping *mapping = &maps.entries[i];

        if (mapping->is_private && mapping->is_writable && !mapping->is_of_file)
            goes_on = collapse_mapping(mapping, until);
    }
    maps_release(&maps);
}
