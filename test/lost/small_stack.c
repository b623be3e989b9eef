/* SPDX-License-Identifier: MIT
 *
 * A thread whose alternate signal stack is as small as the kernel takes one, at the end of what may be
 * written: it is no place to be stopped on.
 */
#define _GNU_SOURCE
#include "leakdetect.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, STEP = 64, LEAST = 1024 };

static atomic_bool is_ready, is_over;

/* A page that cannot be written to lies below. */
static void *work(void *page)
{
    stack_t stack = {.ss_sp = page, .ss_size = LEAST};

    while (sigaltstack(&stack, NULL) != 0)
        stack.ss_size += STEP;
    printf("a signal stack of %zu bytes\n", stack.ss_size);
    atomic_store(&is_ready, true);
    while (!atomic_load(&is_over))
        usleep(1000);
    return NULL;
}

int main(void)
{
    char *pages = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_t thread;

    if (pages == MAP_FAILED || mprotect(pages, PAGE, PROT_NONE) != 0 ||
        pthread_create(&thread, NULL, work, pages + PAGE) != 0)
        abort();
    while (!atomic_load(&is_ready))
        usleep(1000);
    fflush(stdout);
    ld_lost_leaks(NULL, NULL);
    atomic_store(&is_over, true);
    return pthread_join(thread, NULL);
}
