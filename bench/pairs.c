/* SPDX-License-Identifier: MIT
 *
 * A program that knows nothing of any tool: malloc and free pairs from a call stack of so many frames, in so
 * many threads.  It is run under one tool after the other.
 *
 *     pairs FRAMES THREADS PAIRS     prints nanoseconds of processor time for each pair
 */
#define _POSIX_C_SOURCE 200809L
#include "measure.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define NOINLINE __attribute__((noinline))

enum { THREADS_MAX = 64, KINDS = 4, WARM_PAIRS = 300 };

static size_t pairs;
static size_t frames;
static _Thread_local size_t now; /* pairs to run */

static NOINLINE size_t run(void)
{
    size_t sum = 0;

    for (size_t i = 0; i < now; i++) {
        char *volatile block = malloc(16 + i % 16 * 16);

        if (block == NULL)
            measure_fail("malloc");
        sum += (size_t)block % 2;
        free(block);
    }
    return sum;
}

/* Four functions that call each other, so that the stack has more than one return address. */
typedef size_t step_fn(size_t left);
static step_fn step_0, step_1, step_2, step_3;
static step_fn *const steps[KINDS] = {step_0, step_1, step_2, step_3};

#define STEP(number)                                                                 \
    static NOINLINE size_t step_##number(size_t left)                                \
    {                                                                                \
        return (left == 0 ? run() : steps[(left + (number)) % KINDS](left - 1)) + 1; \
    }                                                                                \
    _Static_assert((number) < KINDS, "it has a place in steps")

STEP(0);
STEP(1);
STEP(2);
STEP(3);

struct worker {
    pthread_t thread;
    uint64_t cpu_ns;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    uint64_t started;
    size_t sum;

    now = WARM_PAIRS;
    sum = step_0(frames);
    now = pairs;
    started = measure_cpu_ns();
    sum += step_0(frames);
    worker->cpu_ns = measure_cpu_ns() - started;
    return sum > 0 ? worker : NULL;
}

int main(int argc, char **argv)
{
    static struct worker workers[THREADS_MAX];

    if (argc != 4)
        measure_fail("usage: pairs FRAMES THREADS PAIRS");
    /* A thread's stack begins with two frames of the C library's, then work, step_0 and run. */
    size_t depth = measure_number(argv[1], 5, 1000), threads = measure_number(argv[2], 1, THREADS_MAX);
    uint64_t sum = 0;

    frames = depth - 5;
    pairs = measure_number(argv[3], 1, SIZE_MAX);
    for (size_t i = 0; i < threads; i++)
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            measure_fail("pthread_create");
    for (size_t i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        sum += workers[i].cpu_ns;
    }
    printf("%.1f\n", (double)sum / (double)(pairs * threads));
    return EXIT_SUCCESS;
}
