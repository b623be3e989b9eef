/* SPDX-License-Identifier: MIT
 *
 * How long a walk over all live blocks takes, without symbols: for a thousand blocks up to a million.
 *
 *     walk rounds
 *
 * The blocks have sizes from 16 to 256 bytes and come from 4,096 call paths, each some twenty frames deep, so
 * that the frames which the callback is handed have to be looked up all over the table of stacks.  A walk
 * that does not find exactly the blocks that are alive fails the program.
 */
#include "leakdetect.h"
#include "measure.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define NOINLINE   __attribute__((noinline))
#define BLOCKS_MAX 1000000

enum { FORKS = 12 };

static void *blocks[BLOCKS_MAX];

/* Written after each call, so that no call is a jump. */
static volatile size_t returns;

/* Each calls one of the two, as the next bit of `path` says; where none is left, the block is allocated. */
typedef void fork_fn(void **out, size_t size, size_t path, size_t left);
static fork_fn fork_left, fork_right;
static fork_fn *const forks[] = {fork_left, fork_right};

static NOINLINE void fork_left(void **out, size_t size, size_t path, size_t left)
{
    if (left == 0)
        *out = ld_malloc(size);
    else
        forks[path % 2](out, size, path / 2, left - 1);
    returns = 1;
}

static NOINLINE void fork_right(void **out, size_t size, size_t path, size_t left)
{
    if (left == 0)
        *out = ld_malloc(size);
    else
        forks[path % 2](out, size, path / 2, left - 1);
    returns = 2;
}

struct totals {
    size_t blocks, bytes, frames;
};

static bool add(const struct ld_leak *leak, void *ctx)
{
    struct totals *totals = ctx;

    totals->blocks++;
    totals->bytes += leak->size;
    totals->frames += leak->frame_count;
    return true;
}

static void measure_walk(size_t count, size_t rounds)
{
    struct measure_sample visiting = {0}, counting = {0};
    struct totals totals = {0};

    for (size_t round = 0; round < rounds; round++) {
        totals = (struct totals){0};
        uint64_t started = measure_cpu_ns();
        size_t visited = ld_now_leaks(add, &totals);
        uint64_t between = measure_cpu_ns();
        size_t counted = ld_now_leaks(NULL, NULL);
        uint64_t ended = measure_cpu_ns();

        if (visited != count || totals.blocks != count || counted != count)
            measure_fail("a walk did not find what is alive");
        measure_add(&visiting, (double)(between - started) / 1e6);
        measure_add(&counting, (double)(ended - between) / 1e6);
    }
    struct measure_summary visit = measure_summarize(&visiting);
    printf("%zu\t%.1f\t%.3f\t%.3f\t%.3f\t%.3f\n", count, (double)totals.frames / (double)count, visit.median,
           visit.min, visit.max, measure_summarize(&counting).median);
}

static void expect_paths(size_t count)
{
    struct ld_stats stats;

    ld_get_stats(&stats);
    if (stats.stack_nodes < count || stats.dropped_blocks != 0 || stats.cut_stacks != 0)
        measure_fail("the blocks do not come from as many call paths as they should");
}

int main(int argc, char **argv)
{
    if (argc != 2)
        measure_fail("usage: walk rounds");
    size_t rounds = measure_number(argv[1], 1, MEASURE_ROUNDS_MAX);

    ld_init();
    printf("live blocks\tmean depth\twalk ms\tmin\tmax\tcount only ms\n");
    for (size_t count = 0, next = 1000; next <= BLOCKS_MAX; next *= 10) {
        for (; count < next; count++)
            fork_left(&blocks[count], 16 + count % 16 * 16, count * 2654435761u >> 4, FORKS);
        measure_walk(count, rounds);
    }
    expect_paths((size_t)1 << FORKS);
    for (size_t i = 0; i < BLOCKS_MAX; i++)
        ld_free(blocks[i]);
    return ld_now_leaks(NULL, NULL) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
