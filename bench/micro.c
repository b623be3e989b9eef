/* SPDX-License-Identifier: MIT
 *
 * What one ld_malloc and ld_free pair costs over jemalloc's own, at a given depth of the call stack and with
 * a given number of threads.
 *
 *     micro rounds pairs                      everything, as a table; so many pairs in each thread at a time
 *     micro count heap path depth pairs       so many pairs, and no output: valgrind counts instructions
 *
 * Threads reach the depth by real calls through a set of functions, each with a return address of its own, so
 * that the stack looks like a program's.  Where it goes on from there is the `path`:
 *
 *     repeat    every pair comes from the same call path
 *     vary      the innermost 5 frames all differ from the last pair's; there are 1,024 such paths
 *     fresh     the same, with a million paths: hardly one comes twice
 *
 * The depth is that of the recorded stack, as a walk hands it over, from the function that calls ld_malloc up
 * to the thread's first.  Plain jemalloc runs through the very same calls, in turn with the library, and is
 * subtracted.
 *
 * Columns: nanoseconds of processor time for each pair, and the speed-up of several threads over one: by the
 * clock on the wall, which says nothing when other processes keep the processors busy, and by processor
 * time, which says how much the threads are in each other's way.
 */
#define _POSIX_C_SOURCE 200809L
#include "leakdetect.h"
#include "measure.h"

#include <jemalloc/jemalloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

enum { INNER_FRAMES = 5, DEPTH_MAX = 64, THREADS_MAX = 8, RING = 64, STEPS = 16 };

/* --- Heaps -------------------------------------------------------------------------------------------- */

struct heap {
    const char *name;
    void *(*allocate)(size_t size);
    void (*release)(void *block);
};

static void *extended_allocate(size_t size)
{
    return mallocx(size, 0);
}

static void extended_release(void *block)
{
    dallocx(block, 0);
}

/* In this program malloc is jemalloc's. */
enum { HEAP_MALLOC, HEAP_MALLOCX, HEAP_LEAKDETECT, HEAPS };
static const struct heap heaps[HEAPS] = {
    [HEAP_MALLOC] = {"malloc", malloc, free},
    [HEAP_MALLOCX] = {"mallocx", extended_allocate, extended_release},
    [HEAP_LEAKDETECT] = {"leakdetect", ld_malloc, ld_free},
};

/* --- Work at a depth ---------------------------------------------------------------------------------- */

enum path { PATH_REPEAT, PATH_VARY, PATH_FRESH, PATHS };
static const char *const path_names[PATHS] = {"repeat", "vary", "fresh"};

/* What a thread has to do, and what it needs meanwhile. */
struct work {
    const struct heap *heap;
    enum path path;
    size_t descent; /* calls between the thread's first function and the one that runs the pairs */
    size_t pairs;
    uint32_t random;
    unsigned char steps[DEPTH_MAX]; /* which function each call of the descent goes to */
    unsigned char inner[INNER_FRAMES];
    void *ring[RING]; /* the last blocks: a pair frees the oldest and allocates another */
    size_t oldest;
};

static uint32_t random_next(struct work *work)
{
    work->random ^= work->random << 13;
    work->random ^= work->random >> 17;
    work->random ^= work->random << 5;
    return work->random;
}

/* One pair, in the frame of the caller. */
static inline void run_pair(struct work *work)
{
    void **place = &work->ring[work->oldest % RING];

    work->heap->release(*place);
    *place = work->heap->allocate(16 + work->oldest % 16 * 16);
    work->oldest++;
}

/* Sixteen functions that differ in their return addresses and in the size of their frames.  Each calls the
 * one that `steps` says, and after the last one runs what there is to run.  Nothing is a tail call: the sum
 * is needed. */
typedef size_t step_fn(struct work *work, const unsigned char *steps, size_t left);
static step_fn step_0, step_1, step_2, step_3, step_4, step_5, step_6, step_7;
static step_fn step_8, step_9, step_10, step_11, step_12, step_13, step_14, step_15;
static step_fn *const step_functions[STEPS] = {step_0,  step_1,  step_2,  step_3, step_4,  step_5,
                                               step_6,  step_7,  step_8,  step_9, step_10, step_11,
                                               step_12, step_13, step_14, step_15};

static NOINLINE size_t run_pairs(struct work *work);

#define STEP(number)                                                                                 \
    static NOINLINE size_t step_##number(struct work *work, const unsigned char *steps, size_t left) \
    {                                                                                                \
        volatile char frame[8 + 16 * (number)];                                                      \
                                                                                                     \
        frame[0] = (char)left;                                                                       \
        if (left > 0)                                                                                \
            return step_functions[steps[0]](work, steps + 1, left - 1) + (size_t)frame[0];           \
        if (steps != &work->inner[INNER_FRAMES])                                                     \
            return run_pairs(work) + (size_t)frame[0];                                               \
        run_pair(work);                                                                              \
        return (size_t)frame[0];                                                                     \
    }                                                                                                \
    _Static_assert((number) < STEPS, "it has a place in step_functions")

STEP(0);
STEP(1);
STEP(2);
STEP(3);
STEP(4);
STEP(5);
STEP(6);
STEP(7);
STEP(8);
STEP(9);
STEP(10);
STEP(11);
STEP(12);
STEP(13);
STEP(14);
STEP(15);

/* Chooses other functions than the last time for all of the inner frames. */
static void choose_inner(struct work *work)
{
    unsigned choices = work->path == PATH_VARY ? 4 : STEPS;
    uint32_t random = random_next(work);

    for (size_t i = 0; i < INNER_FRAMES; i++, random >>= 5)
        work->inner[i] = (unsigned char)((work->inner[i] + 1 + (random & 31) % (choices - 1)) % choices);
}

static NOINLINE size_t run_pairs(struct work *work)
{
    size_t sum = 0;

    for (size_t i = 0; i < work->pairs; i++) {
        if (work->path == PATH_REPEAT) {
            run_pair(work);
        } else {
            choose_inner(work);
            sum += step_functions[work->inner[0]](work, &work->inner[1], INNER_FRAMES - 1);
        }
    }
    return sum + 1;
}

static NOINLINE size_t descend(struct work *work)
{
    if (work->descent == 0)
        return run_pairs(work) + 1;
    return step_functions[work->steps[0]](work, &work->steps[1], work->descent - 1) + 1;
}

static void work_init(struct work *work, const struct heap *heap, enum path path, size_t descent,
                      size_t pairs)
{
    *work = (struct work){.heap = heap, .path = path, .descent = descent, .pairs = pairs, .random = 1337};
    for (size_t i = 0; i < DEPTH_MAX; i++)
        work->steps[i] = (unsigned char)(i * 7 % STEPS);
    for (size_t i = 0; i < RING; i++)
        work->ring[i] = heap->allocate(16);
}

static void work_done(struct work *work)
{
    for (size_t i = 0; i < RING; i++)
        work->heap->release(work->ring[i]);
}

/* --- Threads ------------------------------------------------------------------------------------------ */

/* Threads are kept apart by whole cache lines: what is measured is the heap. */
struct worker {
    _Alignas(128) struct work work;
    pthread_barrier_t *barrier;
    pthread_t thread;
    uint64_t cpu_ns, started_ns, ended_ns;
};

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    size_t pairs = worker->work.pairs;

    /* Warm: caches of this thread fill, code is faulted in. */
    worker->work.pairs = 2000;
    size_t sum = descend(&worker->work);
    worker->work.pairs = pairs;
    pthread_barrier_wait(worker->barrier);
    worker->started_ns = measure_wall_ns();
    uint64_t cpu_ns = measure_cpu_ns();
    sum += descend(&worker->work);
    worker->cpu_ns = measure_cpu_ns() - cpu_ns;
    worker->ended_ns = measure_wall_ns();
    return sum > 0 ? worker : NULL;
}

struct timing {
    double cpu_ns;  /* of processor time for each pair */
    double wall_ns; /* that passed for each pair, all threads together */
};

static struct timing run_threads(const struct heap *heap, enum path path, size_t descent, size_t threads,
                                 size_t pairs)
{
    static struct worker workers[THREADS_MAX];
    pthread_barrier_t barrier;
    uint64_t started_ns = UINT64_MAX, ended_ns = 0;
    double cpu_ns = 0;

    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    for (size_t i = 0; i < threads; i++) {
        work_init(&workers[i].work, heap, path, descent, pairs);
        workers[i].barrier = &barrier;
        if (pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]) != 0)
            measure_fail("pthread_create");
    }
    for (size_t i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        work_done(&workers[i].work);
        cpu_ns += (double)workers[i].cpu_ns;
        if (workers[i].started_ns < started_ns)
            started_ns = workers[i].started_ns;
        if (workers[i].ended_ns > ended_ns)
            ended_ns = workers[i].ended_ns;
    }
    pthread_barrier_destroy(&barrier);
    double all_pairs = (double)(pairs * threads);
    return (struct timing){.cpu_ns = cpu_ns / all_pairs,
                           .wall_ns = (double)(ended_ns - started_ns) / all_pairs};
}

/* --- Depth -------------------------------------------------------------------------------------------- */

/* Finds the depth of the deepest stack on record. */
static bool note_depth(const struct ld_leak *leak, void *ctx)
{
    size_t *deepest = ctx;

    if (leak->frame_count > *deepest)
        *deepest = leak->frame_count;
    return true;
}

static void *measure_depth(void *argument)
{
    struct work *work = argument;
    size_t deepest = 0;
    uint32_t mark = ld_mark();
    if (descend(work) == 0)
        return NULL;
    ld_leaks_since(mark, note_depth, &deepest);
    work_done(work);
    work->pairs = deepest;
    return NULL;
}

/* How many frames are on record when work of this kind runs in a thread with this descent. */
static size_t recorded_depth(enum path path, size_t descent)
{
    struct work work;
    pthread_t thread;

    work_init(&work, &heaps[HEAP_LEAKDETECT], path, descent, 1);
    if (pthread_create(&thread, NULL, measure_depth, &work) != 0)
        measure_fail("pthread_create");
    pthread_join(thread, NULL);
    return work.pairs;
}

/* The descent that makes the recorded stack this deep; false if even none at all is deeper. */
static bool descent_for(enum path path, size_t depth, size_t *descent)
{
    size_t least = recorded_depth(path, 0);

    if (depth < least)
        return false;
    *descent = depth - least;
    if (recorded_depth(path, *descent) != depth)
        measure_fail(
            "the recorded stacks do not have the depth that was called to; is LD_MAX_FRAMES below 64?");
    return true;
}

/* --- The table ---------------------------------------------------------------------------------------- */

enum { PLANS = 10, THREAD_COUNTS = 3 };
static const size_t thread_counts[THREAD_COUNTS] = {1, 2, 8};

/* A path at a depth, and up to how many threads it is run with. */
static const struct plan {
    enum path path;
    size_t depth, threads_max;
} plans[PLANS] = {
    {PATH_REPEAT, 5, 8}, {PATH_REPEAT, 10, 8}, {PATH_REPEAT, 20, 8}, {PATH_REPEAT, 40, 8},
    {PATH_VARY, 10, 2},  {PATH_VARY, 20, 8},   {PATH_VARY, 40, 2},   {PATH_FRESH, 10, 1},
    {PATH_FRESH, 20, 2}, {PATH_FRESH, 40, 1},
};

struct row {
    const struct plan *plan;
    size_t descent, threads;
    struct row *one_thread; /* the same with a single thread */
    struct measure_sample cpu_ns[HEAPS], wall_ns[HEAPS];
    /* In the same round: over one_thread, and what the library takes more than each heap. */
    struct measure_sample speed_up[HEAPS], more_ns[HEAPS];
};

static struct row rows[PLANS * THREAD_COUNTS];
static size_t row_count;

static void add_rows(const struct plan *plan)
{
    struct row *one_thread = &rows[row_count];
    size_t descent;

    if (!descent_for(plan->path, plan->depth, &descent))
        measure_fail("the stack of a thread is deeper than wanted to begin with");
    for (size_t i = 0; i < THREAD_COUNTS && thread_counts[i] <= plan->threads_max; i++)
        rows[row_count++] = (struct row){
            .plan = plan, .descent = descent, .threads = thread_counts[i], .one_thread = one_thread};
}

static double last(const struct measure_sample *sample)
{
    return sample->values[sample->count - 1];
}

/* Plain heaps are so fast that they get ten times the work, or the threads would hardly run side by side. */
static void run_row(struct row *row, size_t pairs)
{
    for (size_t i = 0; i < HEAPS; i++) {
        size_t work = i == HEAP_LEAKDETECT || row->plan->path != PATH_REPEAT ? pairs : 10 * pairs;
        struct timing timing = run_threads(&heaps[i], row->plan->path, row->descent, row->threads, work);
        const struct measure_sample *alone = &row->one_thread->wall_ns[i];

        measure_add(&row->cpu_ns[i], timing.cpu_ns);
        measure_add(&row->wall_ns[i], timing.wall_ns);
        measure_add(&row->speed_up[i], last(alone) / timing.wall_ns);
    }
    for (size_t i = 0; i < HEAPS; i++)
        measure_add(&row->more_ns[i], last(&row->cpu_ns[HEAP_LEAKDETECT]) - last(&row->cpu_ns[i]));
}

static void print_row(struct row *row, size_t processors)
{
    struct measure_summary plain = measure_summarize(&row->cpu_ns[HEAP_MALLOC]);
    struct measure_summary extended = measure_summarize(&row->cpu_ns[HEAP_MALLOCX]);
    struct measure_summary ours = measure_summarize(&row->cpu_ns[HEAP_LEAKDETECT]);

    struct measure_sample *alone = &row->one_thread->cpu_ns[HEAP_LEAKDETECT];
    size_t at_once = row->threads < processors ? row->threads : processors;
    double by_cpu = (double)at_once * measure_summarize(alone).median / ours.median;

    printf("%s\t%zu\t%zu\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.2f\t%.2f\t%.2f\n",
           path_names[row->plan->path], row->plan->depth, row->threads, plain.median, extended.median,
           ours.median, ours.min, ours.max, measure_summarize(&row->more_ns[HEAP_MALLOC]).median,
           measure_summarize(&row->more_ns[HEAP_MALLOCX]).median,
           measure_summarize(&row->speed_up[HEAP_MALLOC]).median,
           measure_summarize(&row->speed_up[HEAP_LEAKDETECT]).median, by_cpu);
}

static void run_table(size_t rounds, size_t pairs)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);

    for (size_t i = 0; i < PLANS; i++)
        add_rows(&plans[i]);
    for (size_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < row_count; i++)
            run_row(&rows[i], pairs);
    }
    printf("path\tdepth\tthreads\tmalloc\tmallocx\tleakdetect\tmin\tmax\tover malloc\tover mallocx\t"
           "malloc speed-up\tspeed-up\tby processor time\n");
    for (size_t i = 0; i < row_count; i++)
        print_row(&rows[i], processors > 0 ? (size_t)processors : 1);
}

static void expect_all_recorded(void)
{
    struct ld_stats stats;

    ld_get_stats(&stats);
    if (stats.live_blocks != 0 || stats.dropped_blocks != 0 || stats.nested_blocks != 0 ||
        stats.cut_stacks != 0)
        measure_fail("not every block was recorded with its whole stack, or some were left");
}

/* --- Counting ----------------------------------------------------------------------------------------- */

static size_t named(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(name, names[i]) == 0)
            return i;
    }
    measure_fail("there is no heap or path of that name");
}

static void run_count(char **arguments)
{
    const char *heap_names[HEAPS];

    for (size_t i = 0; i < HEAPS; i++)
        heap_names[i] = heaps[i].name;
    const struct heap *heap = &heaps[named(arguments[0], heap_names, HEAPS)];
    enum path path = (enum path)named(arguments[1], path_names, PATHS);
    size_t descent;

    if (!descent_for(path, measure_number(arguments[2], 1, DEPTH_MAX), &descent))
        measure_fail("the stack is deeper than that to begin with");
    run_threads(heap, path, descent, 1, measure_number(arguments[3], 1, SIZE_MAX));
}

int main(int argc, char **argv)
{
    ld_init();
    if (argc == 3)
        run_table(measure_number(argv[1], 1, MEASURE_ROUNDS_MAX), measure_number(argv[2], 1, SIZE_MAX));
    else if (argc == 6 && strcmp(argv[1], "count") == 0)
        run_count(argv + 2);
    else
        measure_fail("usage: micro rounds pairs | micro count heap path depth pairs");
    expect_all_recorded();
    return EXIT_SUCCESS;
}
