/* SPDX-License-Identifier: MIT
 *
 * The clocks and medians of measure.h.
 */
#define _POSIX_C_SOURCE 200809L
#include "measure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t read_clock(clockid_t clock)
{
    struct timespec now;

    if (clock_gettime(clock, &now) != 0)
        measure_fail("clock_gettime");
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t measure_cpu_ns(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t measure_wall_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

void measure_add(struct measure_sample *sample, double value)
{
    if (sample->count == MEASURE_ROUNDS_MAX)
        measure_fail("more rounds than a sample holds");
    sample->values[sample->count++] = value;
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;

    return (a > b) - (a < b);
}

struct measure_summary measure_summarize(struct measure_sample *sample)
{
    size_t count = sample->count;

    if (count == 0)
        measure_fail("nothing was measured");
    qsort(sample->values, count, sizeof sample->values[0], compare);
    return (struct measure_summary){
        .median = (sample->values[(count - 1) / 2] + sample->values[count / 2]) / 2,
        .min = sample->values[0],
        .max = sample->values[count - 1],
    };
}

_Noreturn void measure_fail(const char *what)
{
    fprintf(stderr, "bench: %s\n", what);
    exit(EXIT_FAILURE);
}

size_t measure_number(const char *argument, size_t min, size_t max)
{
    char *end;

    errno = 0;
    unsigned long long number = strtoull(argument, &end, 10);
    if (errno != 0 || end == argument || *end != '\0' || number < min || number > max)
        measure_fail("an argument is no number, or out of range");
    return (size_t)number;
}
