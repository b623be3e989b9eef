/* SPDX-License-Identifier: MIT
 *
 * Records the address stream of a program: LD_PRELOAD this over jemalloc, name a file in LEAKDETECT_STREAM,
 * and every allocation and release of the program lands there in the format that bench/stream.h describes.
 *
 *     LEAKDETECT_STREAM=perl.stream LD_PRELOAD=build/bench/record.so /usr/bin/perl graph.pl
 *
 * The C names below are the whole trick: the program's malloc is this file's, and the memory is jemalloc's,
 * so the addresses are those that the library will see.  Nothing here allocates; events gather in a static
 * buffer that is written when full, and once more when the process exits.  A forked child records nothing.
 * The process aborts when the file cannot be written: half a stream would pass for a whole one.
 */
#define _GNU_SOURCE
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <jemalloc/jemalloc.h>

#define BUFFERED_EVENTS 65536

static struct {
    atomic_flag lock;    /* guards all below but `enabled` */
    atomic_bool enabled; /* from the first constructor to the last destructor, in the parent only */
    int fd;
    size_t count;
    struct stream_event events[BUFFERED_EVENTS];
} recorder = {.lock = ATOMIC_FLAG_INIT};

static void flush_locked(void)
{
    const char *data = (const char *)recorder.events;
    size_t left = recorder.count * sizeof recorder.events[0];

    while (left > 0) {
        ssize_t written = write(recorder.fd, data, left);
        if (written > 0) {
            data += written;
            left -= (size_t)written;
        } else if (written < 0 && errno != EINTR) {
            abort();
        }
    }
    recorder.count = 0;
}

static void record(enum stream_kind kind, const void *address, size_t size)
{
    if (address == NULL || !atomic_load_explicit(&recorder.enabled, memory_order_relaxed))
        return;

    int saved_errno = errno;
    while (atomic_flag_test_and_set_explicit(&recorder.lock, memory_order_acquire))
        ;
    if (recorder.count == BUFFERED_EVENTS)
        flush_locked();
    recorder.events[recorder.count++] = (struct stream_event){
        .address = (uintptr_t)address,
        .size = size < UINT32_MAX ? (uint32_t)size : UINT32_MAX,
        .kind = kind,
    };
    atomic_flag_clear_explicit(&recorder.lock, memory_order_release);
    errno = saved_errno;
}

static void stop_in_child(void)
{
    atomic_store(&recorder.enabled, false);
}

/* A block that some other constructor allocated before this one shows as a remove without an insert; readers
 * pass over those. */
__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("LEAKDETECT_STREAM");
    if (path == NULL)
        return;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    /* Programs like to close, or to take over, the low descriptors. */
    recorder.fd = fcntl(fd, F_DUPFD_CLOEXEC, 500);
    if (recorder.fd < 0 || close(fd) != 0 || pthread_atfork(NULL, NULL, stop_in_child) != 0)
        abort();
    atomic_store(&recorder.enabled, true);
}

__attribute__((destructor)) static void finish(void)
{
    if (!atomic_exchange(&recorder.enabled, false))
        return;
    while (atomic_flag_test_and_set_explicit(&recorder.lock, memory_order_acquire))
        ;
    flush_locked();
    atomic_flag_clear_explicit(&recorder.lock, memory_order_release);
}

/* mallocx refuses a size of 0, malloc does not. */
static void *allocate(size_t size, int flags)
{
    void *block = mallocx(size > 0 ? size : 1, flags);
    if (block == NULL)
        errno = ENOMEM;
    record(STREAM_INSERT, block, size);
    return block;
}

void *malloc(size_t size)
{
    return allocate(size, 0);
}

void *calloc(size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    return allocate(total, MALLOCX_ZERO);
}

void free(void *block)
{
    if (block == NULL)
        return;
    record(STREAM_REMOVE, block, 0);
    dallocx(block, 0);
}

void *realloc(void *block, size_t size)
{
    if (block == NULL)
        return malloc(size);
    if (size == 0) {
        free(block);
        return NULL;
    }
    size_t old_size = sallocx(block, 0);
    record(STREAM_REMOVE, block, 0);
    void *moved = rallocx(block, size, 0);
    if (moved == NULL) {
        record(STREAM_INSERT, block, old_size);
        errno = ENOMEM;
        return NULL;
    }
    record(STREAM_INSERT, moved, size);
    return moved;
}

void *memalign(size_t alignment, size_t size)
{
    return allocate(size, MALLOCX_ALIGN(alignment));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    int saved_errno = errno;
    void *block = memalign(alignment, size);
    errno = saved_errno;
    if (block == NULL)
        return ENOMEM;
    *out = block;
    return 0;
}

size_t malloc_usable_size(void *block)
{
    return block == NULL ? 0 : sallocx(block, 0);
}
