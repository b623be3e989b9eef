/* SPDX-License-Identifier: MIT
 *
 * How long it takes to name 10,000 distinct frames: once from the start, when files have to be read first,
 * and once more when that has been done.
 *
 *     symbols rounds
 *
 * The functions are generated (functions.sh): each allocates a block of its own size, which says what the
 * name must be. Each round is a forked child, so that each begins with nothing read.  Build it with debug
 * information, without, or strip it, and see the difference.
 */
#define _POSIX_C_SOURCE 200809L
#include "leakdetect.h"
#include "measure.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* functions[i]() returns a block of i + 1 bytes and is called function_i. */
extern void *(*const functions[])(void);
extern const size_t function_count;

struct pass {
    size_t frames, names, lines;
    uint64_t ns;
};

static bool name_frame(const struct ld_leak *leak, void *ctx)
{
    struct pass *pass = ctx;
    struct ld_symbol symbol;
    char expected[32];

    if (!ld_symbolize_frame(leak, 0, &symbol))
        measure_fail("not even the module of a frame is known");
    snprintf(expected, sizeof expected, "function_%zu", leak->size - 1);
    if (symbol.function != NULL && strcmp(symbol.function, expected) != 0)
        measure_fail("a frame has the name of another function");
    pass->frames++;
    pass->names += symbol.function != NULL;
    pass->lines += symbol.line != 0;
    return true;
}

static struct pass name_all(void)
{
    struct pass pass = {0};
    uint64_t started = measure_cpu_ns();

    ld_now_leaks(name_frame, &pass);
    pass.ns = measure_cpu_ns() - started;
    if (pass.frames != function_count)
        measure_fail("a walk did not find what is alive");
    return pass;
}

/* Both passes in a child, which sends them back through a pipe. */
static void run_round(struct pass passes[2])
{
    int ends[2];

    if (pipe(ends) != 0)
        measure_fail("pipe");
    pid_t child = fork();
    if (child < 0)
        measure_fail("fork");
    if (child == 0) {
        struct pass results[2];

        results[0] = name_all();
        results[1] = name_all();
        _exit(write(ends[1], results, sizeof results) == (ssize_t)sizeof results ? EXIT_SUCCESS
                                                                                 : EXIT_FAILURE);
    }
    close(ends[1]);
    if (read(ends[0], passes, 2 * sizeof passes[0]) != (ssize_t)(2 * sizeof passes[0]))
        measure_fail("a child named nothing");
    close(ends[0]);
    waitpid(child, NULL, 0);
}

int main(int argc, char **argv)
{
    struct measure_sample first = {0}, again = {0};
    struct pass passes[2];

    if (argc != 2)
        measure_fail("usage: symbols rounds");
    ld_init();
    for (size_t i = 0; i < function_count; i++) {
        if (functions[i]() == NULL)
            measure_fail("out of memory");
    }
    for (size_t rounds = measure_number(argv[1], 1, MEASURE_ROUNDS_MAX); rounds > 0; rounds--) {
        run_round(passes);
        measure_add(&first, (double)passes[0].ns / 1e6);
        measure_add(&again, (double)passes[1].ns / 1e6);
    }
    struct measure_summary summary = measure_summarize(&first);
    printf("%zu\t%zu\t%zu\t%.1f\t%.1f\t%.1f\t%.1f\n", passes[0].frames, passes[0].names, passes[0].lines,
           summary.median, summary.min, summary.max, measure_summarize(&again).median);
    return EXIT_SUCCESS;
}
