/* SPDX-License-Identifier: MIT
 *
 * What one whole stack costs, by whom: this library's ld_malloc and ld_free, putting the stack on record and
 * taking it off included and jemalloc's own pair subtracted; libunwind's unw_backtrace; the C library's
 * backtrace; and a walk along frame pointers, which sees only code that has them: this file is compiled with.
 *
 *     unwinders ROUNDS CAPTURES        so many captures at a time, from the same path, warm
 *
 * Columns: nanoseconds of processor time for each, and the frames that each has seen.
 */
#define _POSIX_C_SOURCE 200809L
#define UNW_LOCAL_ONLY
#include "leakdetect.h"
#include "measure.h"

#include <dlfcn.h>
#include <jemalloc/jemalloc.h>
#include <libunwind.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))

enum { FRAMES = 64, SIZE = 64 };
enum { LEAKDETECT, JEMALLOC, UNW_BACKTRACE, BACKTRACE, FRAME_POINTERS, WAYS };

static const void *outermost; /* frame of the function that begins the descent */

/* The C library's own: libunwind has a function of this name, too. */
static int (*libc_backtrace)(void **frames, int size);

static void find_backtrace(void)
{
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    void *found = libc == NULL ? NULL : dlsym(libc, "backtrace");

    if (found == NULL)
        measure_fail("there is no backtrace in the C library");
    memcpy(&libc_backtrace, &found, sizeof(found));
}

/* As far as main: its caller may have no frame pointer. */
static NOINLINE size_t walk_frame_pointers(void **frames)
{
    void *const *frame = __builtin_frame_address(0);
    size_t count = 0;

    while (count < FRAMES) {
        frames[count++] = frame[1];
        if ((const void *)frame >= outermost)
            break;
        frame = *frame;
    }
    return count;
}

static bool note_depth(const struct ld_leak *leak, void *depth)
{
    *(size_t *)depth = leak->frame_count;
    return false;
}

/* The frames that were seen the last time. */
static NOINLINE size_t capture(int way, size_t captures)
{
    void *frames[FRAMES];
    size_t seen = 0;

    for (size_t i = 0; i < captures; i++) {
        switch (way) {
        case LEAKDETECT:
            ld_free(ld_malloc(SIZE));
            break;
        case JEMALLOC:
            dallocx(mallocx(SIZE, 0), 0);
            break;
        case UNW_BACKTRACE:
            seen = (size_t)unw_backtrace(frames, FRAMES);
            break;
        case BACKTRACE:
            seen = (size_t)libc_backtrace(frames, FRAMES);
            break;
        default:
            seen = walk_frame_pointers(frames);
            break;
        }
        __asm__ volatile("" : : "r"(frames) : "memory");
    }
    if (way == LEAKDETECT) {
        void *block = ld_malloc(SIZE);

        ld_now_leaks(note_depth, &seen);
        ld_free(block);
    }
    return seen;
}

struct work {
    int way;
    size_t captures;
    double ns;
    size_t seen;
};

static NOINLINE void descend(size_t depth, struct work *work)
{
    if (depth > 0) {
        descend(depth - 1, work);
    } else {
        uint64_t before;

        capture(work->way, 100);
        before = measure_cpu_ns();
        work->seen = capture(work->way, work->captures);
        work->ns = (double)(measure_cpu_ns() - before) / (double)work->captures;
    }
    /* No jump instead of a call. */
    __asm__ volatile("" : : "r"(work) : "memory");
}

static void measure_depth(size_t depth, size_t rounds, size_t captures)
{
    static struct measure_sample samples[WAYS];
    size_t seen[WAYS];

    memset(samples, 0, sizeof(samples));
    for (size_t round = 0; round < rounds; round++)
        for (int way = 0; way < WAYS; way++) {
            struct work work = {.way = way, .captures = captures};

            descend(depth, &work);
            measure_add(&samples[way], work.ns);
            seen[way] = work.seen;
        }
    /* unw_backtrace begins with its caller, as this library does with ld_malloc's; backtrace just so. */
    if (seen[UNW_BACKTRACE] != seen[LEAKDETECT] || seen[BACKTRACE] != seen[LEAKDETECT] ||
        seen[FRAME_POINTERS] < depth)
        measure_fail("the unwinders do not see the same stack");
    printf("%zu", seen[LEAKDETECT]);
    double own =
        measure_summarize(&samples[LEAKDETECT]).median - measure_summarize(&samples[JEMALLOC]).median;
    printf("\t%.1f", own);
    for (int way = UNW_BACKTRACE; way < WAYS; way++)
        printf("\t%.1f", measure_summarize(&samples[way]).median);
    printf("\n");
}

int main(int argc, char **argv)
{
    static const size_t depths[] = {1, 6, 16, 36, 50};

    if (argc != 3)
        measure_fail("usage: unwinders ROUNDS CAPTURES");
    size_t rounds = measure_number(argv[1], 1, MEASURE_ROUNDS_MAX);
    size_t captures = measure_number(argv[2], 1, 100000000);

    outermost = __builtin_frame_address(0);
    find_backtrace();
    ld_init();
    printf("depth\tleakdetect, on and off the record\tunw_backtrace\tbacktrace\tframe pointers\n");
    for (size_t i = 0; i < sizeof(depths) / sizeof(depths[0]); i++)
        measure_depth(depths[i], rounds, captures);
    return 0;
}
