/* SPDX-License-Identifier: MIT
 *
 * How long a program stands still when it is asked for lost blocks, and how long the answer takes.
 *
 *     pause BLOCKS MIB THREADS ROUNDS    prints: blocks MiB threads pause_ms least total_ms least lost
 *
 * The pause is what the program itself would notice: the largest gap that a thread sees that does nothing but
 * read the clock.  Medians over the rounds, and the least: on a busy machine gaps have other reasons too.
 * Blocks form one tree, and one in a thousand is lost.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "leakdetect.h"

static atomic_bool is_over;
static _Atomic uint64_t largest_gap;
static void **root;

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void *spin(void *unused)
{
    uint64_t before = now_ns();

    while (!atomic_load_explicit(&is_over, memory_order_relaxed)) {
        uint64_t now = now_ns();

        if (now - before > atomic_load_explicit(&largest_gap, memory_order_relaxed))
            atomic_store_explicit(&largest_gap, now - before, memory_order_relaxed);
        before = now;
    }
    return unused;
}

static void *sleep_long(void *unused)
{
    while (!atomic_load_explicit(&is_over, memory_order_relaxed))
        usleep(100000);
    return unused;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

int main(int count, char **words)
{
    size_t blocks, bytes, threads, rounds, size, lost = 0;
    double *pauses, *totals;
    pthread_t thread;

    if (count != 5) {
        fprintf(stderr, "usage: pause BLOCKS MIB THREADS ROUNDS\n");
        return 2;
    }
    blocks = strtoull(words[1], NULL, 0);
    bytes = strtoull(words[2], NULL, 0) << 20;
    threads = strtoull(words[3], NULL, 0);
    rounds = strtoull(words[4], NULL, 0);
    size = bytes / blocks < 16 ? 16 : bytes / blocks;
    pauses = malloc(rounds * sizeof(*pauses));
    totals = malloc(rounds * sizeof(*totals));
    ld_init();
    root = ld_malloc(blocks * sizeof(*root));
    for (size_t i = 0; i < blocks; i++) {
        root[i] = ld_malloc(size);
        memset(root[i], (int)(i & 0xff), size);
        if (i % 1000 == 0)
            root[i] = NULL;
    }
    pthread_create(&thread, NULL, spin, NULL);
    for (size_t i = 0; i < threads; i++) {
        pthread_t other;

        pthread_create(&other, NULL, sleep_long, NULL);
    }
    usleep(100000);
    for (size_t i = 0; i < rounds; i++) {
        uint64_t begun = now_ns();

        atomic_store(&largest_gap, 0);
        lost = ld_lost_leaks(NULL, NULL);
        totals[i] = (double)(now_ns() - begun) / 1e6;
        pauses[i] = (double)atomic_load(&largest_gap) / 1e6;
        /* One may be hidden by a number that looks like its address. */
        if (lost > (blocks + 999) / 1000 || lost + 1 < (blocks + 999) / 1000) {
            fprintf(stderr, "pause: %zu blocks were found lost, of %zu that are\n", lost,
                    (blocks + 999) / 1000);
            return 1;
        }
        usleep(20000);
    }
    atomic_store(&is_over, true);
    pthread_join(thread, NULL);
    qsort(pauses, rounds, sizeof(*pauses), compare);
    qsort(totals, rounds, sizeof(*totals), compare);
    printf("%zu\t%zu\t%zu\t%.2f\t%.2f\t%.1f\t%.1f\t%zu\n", blocks, bytes >> 20, threads, pauses[rounds / 2],
           pauses[0], totals[rounds / 2], totals[0], lost);
    return 0;
}
