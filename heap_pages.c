/* SPDX-License-Identifier: MIT
 *
 * What the jemalloc inside a whole program's library calls for pages, in the place of the C library's
 * functions (Makefile): the same, but noted, so that its memory can be told from what the program has mapped
 * itself (ours.h).  They leave errno alone, so that free need not: jemalloc looks at what they return.
 */
#define _GNU_SOURCE
#include "ours.h"

#include "config.h"

#if LD_OVERRIDE

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

void *ldheap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
int ldheap_munmap(void *address, size_t size);
int ldheap_madvise(void *address, size_t size, int advice);
void *ldheap_sbrk(intptr_t increment);

void *ldheap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    int saved = errno;
    void *mapped = mmap(address, size, protection, flags, fd, offset);

    errno = saved;
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
    int saved = errno, result;

    ours_remove(address, size);
    result = munmap(address, size);
    if (result != 0)
        ours_add(address, size);
    errno = saved;
    return result;
}

int ldheap_madvise(void *address, size_t size, int advice)
{
    int saved = errno, result = madvise(address, size, advice);

    errno = saved;
    return result;
}

void *ldheap_sbrk(intptr_t increment)
{
    int saved = errno;
    void *end = sbrk(increment);

    errno = saved;
    if (increment > 0 && end != (void *)-1)
        ours_add(end, (size_t)increment);
    return end;
}

#endif
