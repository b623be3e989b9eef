/* SPDX-License-Identifier: MIT
 *
 * What the jemalloc inside a whole program's library calls for pages, in the place of the C library's
 * functions (Makefile): the same, but noted, so that its memory can be told from what the program has mapped
 * itself (ours.h).
 */
#define _GNU_SOURCE
#include "ours.h"

#include "config.h"

#if LD_OVERRIDE

#include <sys/mman.h>
#include <unistd.h>

void *ldheap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
int ldheap_munmap(void *address, size_t size);
void *ldheap_sbrk(intptr_t increment);

void *ldheap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    void *mapped = mmap(address, size, protection, flags, fd, offset);

    ours_have_heap();
    if (mapped == MAP_FAILED)
        return mapped;
    /* Instead of what may be there already. */
    if ((flags & MAP_FIXED) != 0)
        ours_remove(mapped, size);
    ours_add(mapped, size);
    return mapped;
}

int ldheap_munmap(void *address, size_t size)
{
    int result;

    ours_remove(address, size);
    result = munmap(address, size);
    if (result != 0)
        ours_add(address, size);
    return result;
}

void *ldheap_sbrk(intptr_t increment)
{
    void *end = sbrk(increment);

    if (increment > 0 && end != (void *)-1)
        ours_add(end, (size_t)increment);
    return end;
}

#endif
