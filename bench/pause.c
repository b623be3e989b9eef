/* SPDX-License-Identifier: MIT
 *
 * How long a program stands still when it is asked for lost blocks, and how long the answer takes.
 *
 *     pause BLOCKS MIB THREADS ROUNDS    prints: tool blocks MiB threads pause_ms least first fork_ms
 * total_ms least first lost
 *
 * With -DLEAK_SANITIZER, and -fsanitize=leak, it is LeakSanitizer that is asked, and with -DMEMCHECK
 * valgrind's memcheck, in which it must run then.
 *
 * The pause is what the program itself would notice: the largest gap that a thread sees that does nothing but
 * read the clock.  Medians over the rounds, the least, since on a busy machine gaps have other reasons too,
 * and the first, which finds memory as the program has left it.  Blocks form one tree, and one in a thousand
 * is lost. fork is what the kernel takes to copy this process before anybody has looked.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(LEAK_SANITIZER)
#include <sanitizer/lsan_interface.h>

#define TOOL         "LeakSanitizer"
#define take(size)   malloc(size)
#define start_tool() (void)0

/* It says that there are some, and writes how many. */
static size_t count_lost(size_t expected)
{
    return __lsan_do_recoverable_leak_check() != 0 ? expected : 0;
}

#elif defined(MEMCHECK)
#include <valgrind/memcheck.h>

#define TOOL         "valgrind"
#define take(size)   malloc(size)
#define start_tool() (void)0

static size_t count_lost(size_t expected)
{
    unsigned long leaked = 0, dubious = 0, reachable = 0, suppressed = 0;

    (void)expected;
    VALGRIND_DO_LEAK_CHECK;
    VALGRIND_COUNT_LEAK_BLOCKS(leaked, dubious, reachable, suppressed);
    return leaked;
}

#else
#include "leakdetect.h"

#define TOOL         "leakdetect"
#define take(size)   ld_malloc(size)
#define start_tool() ld_init()

static size_t count_lost(size_t expected)
{
    (void)expected;
    return ld_lost_leaks(NULL, NULL);
}
#endif

static atomic_bool is_over;
static _Atomic uint64_t largest_gap;
static void **volatile root; /* nobody reads it, and it is to be there */

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

static double fork_ms(void)
{
    uint64_t begun = now_ns();
    pid_t child = fork();
    double taken = (double)(now_ns() - begun) / 1e6;

    if (child == 0)
        _exit(0);
    waitpid(child, NULL, 0);
    return taken;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

int main(int count, char **words)
{
    size_t blocks, bytes, threads, rounds, size, expected, lost = 0;
    double *pauses, *forks, *totals, first_pause, first_total;
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
    forks = malloc(rounds * sizeof(*forks));
    totals = malloc(rounds * sizeof(*totals));
    expected = (blocks + 999) / 1000;
    start_tool();
    root = take(blocks * sizeof(*root));
    for (size_t i = 0; i < blocks; i++) {
        root[i] = take(size);
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
        forks[i] = fork_ms();
        usleep(20000);
    }
    for (size_t i = 0; i < rounds; i++) {
        uint64_t begun = now_ns();

        atomic_store(&largest_gap, 0);
        lost = count_lost(expected);
        totals[i] = (double)(now_ns() - begun) / 1e6;
        /* The other thread has to see it, too. */
        usleep(2000);
        pauses[i] = (double)atomic_load(&largest_gap) / 1e6;
        /* One may be hidden by a number that looks like its address. */
        if (lost > expected || lost + 1 < expected) {
            fprintf(stderr, "pause: %zu blocks were found lost, of %zu that are\n", lost, expected);
            return 1;
        }
        usleep(20000);
    }
    atomic_store(&is_over, true);
    pthread_join(thread, NULL);
    first_pause = pauses[0];
    first_total = totals[0];
    qsort(pauses, rounds, sizeof(*pauses), compare);
    qsort(forks, rounds, sizeof(*forks), compare);
    qsort(totals, rounds, sizeof(*totals), compare);
    printf(TOOL "\t%zu\t%zu\t%zu\t%.2f\t%.2f\t%.2f\t%.2f\t%.1f\t%.1f\t%.1f\t%zu\n", blocks, bytes >> 20,
           threads, pauses[rounds / 2], pauses[0], first_pause, forks[rounds / 2], totals[rounds / 2],
           totals[0], first_total, lost);
    fflush(stdout);
    /* No tool has anything to add. */
    _exit(0);
}
