/* SPDX-License-Identifier: MIT
 *
 * What the jemalloc inside a whole program's library calls for pages, in the place of the C library's
 * functions (Makefile): the same, but noted, so that its memory can be told from what the program has mapped
 * itself (ours.h).  They leave errno alone, so that free need not: jemalloc looks at what they return.  And
 * what has to do with time, of which programs may have functions of their own that allocate (libfaketime).
 */
#define _GNU_SOURCE
#include "ours.h"

#include "config.h"

#if LD_OVERRIDE

#include <dlfcn.h>
#include <errno.h>
#include <features.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "kernel.h"
#include "platform.h"

#ifdef __GLIBC__
#include <gnu/libc-version.h>
#endif

#define NS_PER_S UINT64_C(1000000000)

void *ldheap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
int ldheap_munmap(void *address, size_t size);
int ldheap_madvise(void *address, size_t size, int advice);
void *ldheap_sbrk(intptr_t increment);
int ldheap_clock_gettime(clockid_t clock, struct timespec *time);
int ldheap_pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes);

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

/* Whether the program has a clock_gettime of its own. */
#ifdef DLFO_STRUCT_HAS_EH_DBASE /* glibc 2.35 has _dl_find_object */

static bool has_own_clock(void)
{
    enum { UNKNOWN, NO, YES };
    static _Atomic int known;
    int own = atomic_load_explicit(&known, memory_order_relaxed);
    struct dl_find_object clocks, librarys;

    if (LIKELY(own != UNKNOWN))
        return own == YES;
    own = _dl_find_object((void *)(uintptr_t)clock_gettime, &clocks) == 0 &&
                  _dl_find_object((void *)(uintptr_t)gnu_get_libc_version, &librarys) == 0 &&
                  clocks.dlfo_link_map != librarys.dlfo_link_map
              ? YES
              : NO;
    atomic_store_explicit(&known, own, memory_order_relaxed);
    return own == YES;
}

#else

static bool has_own_clock(void)
{
    return false;
}

#endif

int ldheap_clock_gettime(clockid_t clock, struct timespec *time)
{
    uint64_t ns;

    if (LIKELY(!has_own_clock()))
        return clock_gettime(clock, time);
    ns = kernel_clock_ns(clock);
    *time = (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
    return 0;
}

/* jemalloc has no attributes for it. */
int ldheap_pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes)
{
    (void)attributes;
    *condition = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    return 0;
}

#endif
