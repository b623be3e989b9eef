/* SPDX-License-Identifier: MIT
 *
 * Memory that is missing in a copy (withheld.h): what the memory map of the original has, and the copy's has
 * not.
 */
#include "withheld.h"

#include <errno.h>

#include "kernel.h"
#include "maps.h"
#include "pages.h"
#include "platform.h"

/* That there is no way to read memory matters only if some is missing. */
void withheld_open(struct withheld *withheld)
{
    withheld->maps = kernel_open(MAPS_FILE);
    withheld->memory = kernel_open("/proc/thread-self/mem");
    if (!pages_open() && withheld->memory >= 0) {
        kernel_close(withheld->memory);
        withheld->memory = -ENOTSUP;
    }
}

/* A page that cannot be read is passed over: here it is zero. */
static void read_run(uintptr_t start, uintptr_t end, void *ctx)
{
    const int *memory = ctx;

    while (start < end) {
        long count = -EIO;

        if (kernel_seek(*memory, start))
            count = kernel_read(*memory, (void *)start, end - start);
        start += count > 0 ? (uintptr_t)count : platform_page_size();
    }
}

static int fill_hole(int memory, uintptr_t start, uintptr_t end)
{
    if (memory < 0)
        return -memory;
    if (!kernel_map_at((void *)start, end - start))
        return ENOMEM;
    pages_each(start, end, true, read_run, &memory);
    return 0;
}

/* Walks both memory maps side by side.  Anything that took memory meanwhile might be given a hole. */
static int fill_holes(int memory, struct maps_reader *their_maps, struct maps_reader *our_maps)
{
    struct mapping theirs, ours = {0};
    bool has_ours = true;
    int error = 0;

    while (error == 0 && maps_next(their_maps, &theirs)) {
        uintptr_t at = theirs.start;
        bool is_wanted = theirs.is_readable && theirs.is_writable && theirs.is_private;

        while (error == 0 && is_wanted && at < theirs.end) {
            uintptr_t end = theirs.end;

            while (has_ours && ours.end <= at)
                has_ours = maps_next(our_maps, &ours);
            if (has_ours && ours.start < end)
                end = ours.start;
            if (end > at)
                error = fill_hole(memory, at, end);
            at = has_ours && ours.start < theirs.end ? ours.end : theirs.end;
        }
    }
    if (error == 0)
        error = their_maps->error != 0 ? their_maps->error : our_maps->error;
    return error;
}

int withheld_fill(const struct withheld *withheld)
{
    struct maps_reader theirs = {.fd = withheld->maps}, ours = {.fd = kernel_open(MAPS_FILE)};
    int error;

    if (theirs.fd < 0)
        return -theirs.fd;
    if (ours.fd < 0)
        return -ours.fd;
    error = fill_holes(withheld->memory, &theirs, &ours);
    kernel_close(ours.fd);
    return error;
}

void withheld_close(const struct withheld *withheld)
{
    if (withheld->maps >= 0)
        kernel_close(withheld->maps);
    if (withheld->memory >= 0)
        kernel_close(withheld->memory);
    pages_close();
}
