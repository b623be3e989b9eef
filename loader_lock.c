/* SPDX-License-Identifier: MIT
 *
 * Finding and renewing the lock of dl_iterate_phdr: see loader_lock.h.
 */
#define _GNU_SOURCE
#include "loader_lock.h"

#include <link.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "kernel.h"

static const struct r_debug *debugger; /* which is in the loader's data; NULL: none */

/* The first module is the program. */
static int find_debugger(struct dl_phdr_info *info, size_t size, void *ctx)
{
    (void)size;
    (void)ctx;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Dyn) *entry = (const ElfW(Dyn) *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);

        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
            for (; entry->d_tag != DT_NULL; entry++)
                if (entry->d_tag == DT_DEBUG)
                    debugger = (const struct r_debug *)entry->d_un.d_ptr;
    }
    return 1;
}

const struct r_debug *loader_debugger(void)
{
    return debugger;
}

#if defined(__GLIBC__)

/* NULL: not known. */
static struct __pthread_mutex_s *lock;

static int word_of(const volatile int *word)
{
    return *word;
}

static bool is_of(const struct __pthread_mutex_s *mutex, uint32_t thread)
{
    return word_of(&mutex->__lock) != 0 && word_of(&mutex->__owner) == (int)thread;
}

/* The recursive mutexes in the loader's data that this thread has while dl_iterate_phdr calls back: its lock,
 * and those of a dlopen or dlsym, and even an outer dl_iterate_phdr, that the thread is in, whose allocation
 * may be the first of all. */
struct owned {
    struct {
        struct __pthread_mutex_s *mutex;
        unsigned times;
    } of[8];
    size_t count;
};

static void find_owned(uintptr_t start, uintptr_t end, struct owned *owned)
{
    const uint32_t self = (uint32_t)kernel_thread();

    for (; start + sizeof(struct __pthread_mutex_s) <= end; start += sizeof(uintptr_t)) {
        struct __pthread_mutex_s *mutex = (struct __pthread_mutex_s *)start;

        if (!is_of(mutex, self) || mutex->__count == 0 || mutex->__kind != PTHREAD_MUTEX_RECURSIVE)
            continue;
        owned->of[owned->count].mutex = mutex;
        owned->of[owned->count].times = mutex->__count;
        if (++owned->count == sizeof(owned->of) / sizeof(owned->of[0]))
            return;
    }
}

static int search_module(struct dl_phdr_info *info, size_t size, void *ctx)
{
    (void)size;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + segment->p_vaddr;

        /* What is not 0 at first is in the file. */
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_W) != 0 &&
            (debugger == NULL || (uintptr_t)debugger - start < segment->p_memsz)) {
            find_owned((start + sizeof(uintptr_t) - 1) & ~(sizeof(uintptr_t) - 1), start + segment->p_filesz,
                       ctx);
            return 1;
        }
    }
    return 0;
}

void loader_lock_find(void)
{
    const uint32_t self = (uint32_t)kernel_thread();
    struct owned owned = {.count = 0};

    dl_iterate_phdr(find_debugger, NULL);
    dl_iterate_phdr(search_module, &owned);
    /* The lock is the one that was given back since, once. */
    for (size_t i = 0; i < owned.count; i++) {
        struct __pthread_mutex_s *mutex = owned.of[i].mutex;

        if (!is_of(mutex, self) || mutex->__count < owned.of[i].times)
            lock = mutex;
    }
}

void loader_lock_renew(uint32_t parents_thread)
{
    if (lock == NULL || word_of(&lock->__lock) == 0)
        return;
    if (is_of(lock, parents_thread)) {
        lock->__owner = kernel_thread();
        return;
    }
    lock->__lock = 0;
    lock->__count = 0;
    lock->__owner = 0;
    lock->__nusers = 0;
}

uint32_t loader_lock_owner(void)
{
    uint32_t owner = lock == NULL ? 0 : (uint32_t)word_of(&lock->__owner);

    return owner == 0 || owner == (uint32_t)kernel_thread() ? 0 : owner;
}

#else

void loader_lock_find(void)
{
    dl_iterate_phdr(find_debugger, NULL);
}

void loader_lock_renew(uint32_t parents_thread)
{
    (void)parents_thread;
}

uint32_t loader_lock_owner(void)
{
    return 0;
}

#endif
