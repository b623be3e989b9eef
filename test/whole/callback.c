/* SPDX-License-Identifier: MIT
 *
 * A callback of dl_iterate_phdr that allocates, from a call site of its own each time, while another thread
 * does: the loader's lock is held where the library has to learn how to walk a stack.
 */
#define _GNU_SOURCE
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

/* 256 places that allocate. */
#define SITE(n)                           \
    static void site_##n(void)            \
    {                                     \
        void *volatile block = malloc(n); \
        free(block);                      \
    }
#define FOUR(each, n)       each(n##0) each(n##1) each(n##2) each(n##3)
#define SIXTEEN(each, n)    FOUR(each, n##0) FOUR(each, n##1) FOUR(each, n##2) FOUR(each, n##3)
#define SIXTY_FOUR(each, n) SIXTEEN(each, n##0) SIXTEEN(each, n##1) SIXTEEN(each, n##2) SIXTEEN(each, n##3)
#define ALL(each)           SIXTY_FOUR(each, 10) SIXTY_FOUR(each, 11) SIXTY_FOUR(each, 12) SIXTY_FOUR(each, 13)
#define NAME(n)             site_##n,

ALL(SITE)
static void (*const sites[])(void) = {ALL(NAME)};
enum { SITES = sizeof(sites) / sizeof(sites[0]) };

static atomic_bool is_held;

static void *allocate_meanwhile(void *unused)
{
    while (!atomic_load(&is_held))
        continue;
    for (size_t i = 0; i < SITES; i += 2)
        sites[i]();
    return unused;
}

static int allocate_with_the_lock(struct dl_phdr_info *info, size_t size, void *ctx)
{
    (void)info, (void)size, (void)ctx;
    atomic_store(&is_held, true);
    usleep(100000); /* until the thread has learnt, or waits for this lock */
    for (size_t i = 1; i < SITES; i += 2)
        sites[i]();
    return 7;
}

int main(void)
{
    pthread_t thread;
    int result;

    if (pthread_create(&thread, NULL, allocate_meanwhile, NULL) != 0)
        return 1;
    result = dl_iterate_phdr(allocate_with_the_lock, NULL);
    pthread_join(thread, NULL);
    return result == 7 ? 0 : 1;
}
