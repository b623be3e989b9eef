/* SPDX-License-Identifier: MIT
 *
 * Threads that have one alternate signal stack among them, as some programs do who use it only to die on.
 * When they are all stopped, they cannot all be on it.
 */
#include "leakdetect.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { THREADS = 20, LOOKS = 30, STACK_SIZE = 64 * 1024 };

static char stack[STACK_SIZE];
static atomic_int started;
static atomic_bool is_over;

static void *work(void *unused)
{
    const stack_t shared = {.ss_sp = stack, .ss_size = sizeof(stack)};

    (void)unused;
    if (sigaltstack(&shared, NULL) != 0)
        abort();
    atomic_fetch_add(&started, 1);
    while (!atomic_load(&is_over)) {
        free(malloc(10));
        usleep(100);
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    size_t lost = 0;

    ld_init();
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, NULL) != 0)
            abort();
    while (atomic_load(&started) < THREADS)
        usleep(1000);
    for (int i = 0; i < LOOKS; i++)
        lost += ld_lost_leaks(NULL, NULL);
    atomic_store(&is_over, true);
    for (int i = 0; i < THREADS; i++)
        if (pthread_join(threads[i], NULL) != 0)
            abort();
    printf("%zu blocks were called lost\n", lost);
    return lost != 0;
}
