/* SPDX-License-Identifier: MIT
 *
 * What every program of the bench needs: clocks, medians, and a stop on any error.  Results are rows of
 * tab-separated values on the standard output, under one line of column names; bench/run.sh makes the tables
 * of the document.
 *
 * The machine is never quiet, so what is compared runs in turn, round after round; the median stands, and
 * next to it the least and the greatest, so that a reader sees how much it means.
 */
#ifndef MEASURE_H
#define MEASURE_H

#include <stddef.h>
#include <stdint.h>

/* Nanoseconds of processor time that the calling thread has used: other processes hardly disturb it. */
uint64_t measure_cpu_ns(void);

/* Nanoseconds that have passed. */
uint64_t measure_wall_ns(void);

/* One number, measured several times. */
#define MEASURE_ROUNDS_MAX 64

struct measure_sample {
    size_t count;
    double values[MEASURE_ROUNDS_MAX];
};

void measure_add(struct measure_sample *sample, double value);

struct measure_summary {
    double median, min, max;
};

/* Sorts the sample, which must not be empty. */
struct measure_summary measure_summarize(struct measure_sample *sample);

/* Ends the program, with a line on stderr that says what failed. */
_Noreturn void measure_fail(const char *what);

/* The whole argument as a number; fails if it is none, or is outside of the range. */
size_t measure_number(const char *argument, size_t min, size_t max);

#endif
