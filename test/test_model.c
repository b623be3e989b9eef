/* SPDX-License-Identifier: MIT
 *
 * Millions of random operations in eight threads, against a reference: whenever all threads rest, a walk must
 * find exactly the blocks that the reference knows, each with its address, its size, its epoch, and the stack
 * that its site has.  Any thread frees and reallocates any other thread's blocks.
 *
 * With a small table (test_model_small.c) blocks go unrecorded: then what is on record must be right, and
 * together with what was counted as dropped it must be everything.
 */
#include "test_support.h"

enum { THREADS = 8, CELLS = 16384, ROUNDS = 40, SITES = 16, PATHS = 8, PATH_BITS = 3, SIZE_MAX_SMALL = 4096 };

/* In all threads and rounds. */
#ifndef OPERATIONS
#define OPERATIONS 21000000
#endif
#define OPERATIONS_IN_A_ROUND scaled(OPERATIONS / (THREADS * ROUNDS))

/* --- Sites ---------------------------------------------------------------------------------------------- */

/* What a site works on: the last four reallocate old, which may be NULL. */
struct job {
    void *old;
    size_t size;
    void *block;
};

/* A text that takes so many bytes. */
static const char *text_of(size_t size)
{
    static char text[SIZE_MAX_SMALL + 1];

    if (text[0] == '\0')
        memset(text, 'x', SIZE_MAX_SMALL);
    return text + SIZE_MAX_SMALL + 1 - size;
}

static void *block_of(int error, void *const *block)
{
    return error == 0 ? *block : NULL;
}

#define DEFINE_SITE(number, call)                   \
    static SITE void site_##number(struct job *job) \
    {                                               \
        job->block = call;                          \
        __asm__ volatile("" ::: "memory");          \
    }

DEFINE_SITE(0, ld_malloc(job->size))
DEFINE_SITE(1, ld_calloc(1, job->size))
DEFINE_SITE(2, ld_calloc(job->size, 1))
DEFINE_SITE(3, ld_aligned_alloc(16, job->size))
DEFINE_SITE(4, ld_aligned_alloc(256, job->size))
DEFINE_SITE(5, ld_memalign(4096, job->size))
DEFINE_SITE(6, ld_memalign(24, job->size))
DEFINE_SITE(7, block_of(ld_posix_memalign(&job->block, 64, job->size), &job->block))
DEFINE_SITE(8, ld_realloc(NULL, job->size))
DEFINE_SITE(9, ld_reallocarray(NULL, job->size, 1))
DEFINE_SITE(10, ld_strdup(text_of(job->size)))
DEFINE_SITE(11, ld_strndup(text_of(job->size + 1), job->size - 1))
DEFINE_SITE(12, ld_realloc(job->old, job->size))
DEFINE_SITE(13, ld_reallocarray(job->old, job->size, 1))
DEFINE_SITE(14, ld_realloc(job->old, job->size))
DEFINE_SITE(15, ld_reallocarray(job->old, 1, job->size))

enum { FIRST_REALLOC = 12 };

static void (*const sites[SITES])(struct job *job) = {
    site_0, site_1, site_2,  site_3,  site_4,  site_5,  site_6,  site_7,
    site_8, site_9, site_10, site_11, site_12, site_13, site_14, site_15,
};

/* Different ways to the same site. */
static SITE void go_left(unsigned site, unsigned path, unsigned hops, struct job *job);
static SITE void go_right(unsigned site, unsigned path, unsigned hops, struct job *job);

static void go(unsigned site, unsigned path, unsigned hops, struct job *job)
{
    if (hops == 0)
        sites[site](job);
    else if (path % 2 == 0)
        go_left(site, path / 2, hops - 1, job);
    else
        go_right(site, path / 2, hops - 1, job);
    __asm__ volatile("" ::: "memory");
}

static SITE void go_left(unsigned site, unsigned path, unsigned hops, struct job *job)
{
    go(site, path, hops, job);
}

static SITE void go_right(unsigned site, unsigned path, unsigned hops, struct job *job)
{
    go(site, path, hops, job);
}

/* --- Reference ------------------------------------------------------------------------------------------ */

/* A place for one block, with which whoever has locked it does as they like. */
struct cell {
    atomic_flag lock;
    unsigned char *address; /* NULL: none */
    size_t size;
    unsigned site, path;
    uint32_t mark;
    bool is_seen;
};

static struct cell cells[CELLS];
static struct cell *by_address[CELLS];
static size_t live_count, live_bytes;
static uint32_t mark_now;

/* What each site leaves on record on each way to it: learnt in the first round, while one thread works
 * alone. */
static struct snapshot lessons[SITES][PATHS];

static struct cell *lock_any_cell(size_t first)
{
    for (size_t i = first;; i++)
        if (!atomic_flag_test_and_set_explicit(&cells[i % CELLS].lock, memory_order_acquire))
            return &cells[i % CELLS];
}

static void unlock(struct cell *cell)
{
    atomic_flag_clear_explicit(&cell->lock, memory_order_release);
}

/* A block's first and last byte belong to its cell alone. */
static unsigned char stamp_of(const struct cell *cell)
{
    return (unsigned char)((cell - cells) % 251);
}

static void check_contents(const struct cell *cell)
{
    REQUIRE(cell->address[0] == stamp_of(cell));
    REQUIRE(cell->address[cell->size - 1] == stamp_of(cell));
}

/* --- Steps -------------------------------------------------------------------------------------------- */

struct choice {
    struct cell *cell;
    size_t size;
    unsigned site, path;
    unsigned what;
    bool is_lesson;
};

/* The steps of one thread in one round. */
struct plan {
    uint64_t seed;
    size_t done, count;
    bool are_lessons;
};

static SITE bool choose(struct plan *plan, struct choice *choice)
{
    size_t step = plan->done++;

    if (step == plan->count)
        return false;
    *choice = (struct choice){
        .size = 1 + random_below(&plan->seed, random_below(&plan->seed, 16) == 0 ? SIZE_MAX_SMALL : 200),
        .site = (unsigned)random_below(&plan->seed, SITES),
        .path = (unsigned)random_below(&plan->seed, PATHS),
        .what = (unsigned)random_below(&plan->seed, 16),
    };
    if (plan->are_lessons) {
        choice->site = (unsigned)(step / PATHS);
        choice->path = (unsigned)(step % PATHS);
        choice->is_lesson = true;
    }
    choice->cell = lock_any_cell(random_below(&plan->seed, CELLS));
    return true;
}

static void fail_to_reallocate(struct cell *cell)
{
    /* Now and then it is the allocator that has to say no; sanitizers are loud about that. */
    size_t absurd = opaque_size((size_t)PTRDIFF_MAX + (cell->size % 64 != 0));

    REQUIRE(ld_realloc(cell->address, absurd) == NULL);
    REQUIRE(ld_reallocarray(cell->address, absurd, 4) == NULL);
    REQUIRE(ld_aligned_alloc(64, absurd) == NULL);
    check_contents(cell);
}

static void free_block(struct cell *cell, unsigned what)
{
    check_contents(cell);
    if (what % 3 == 0)
        ld_free(cell->address);
    else if (what % 3 == 1)
        ld_free_sized(cell->address, cell->size);
    else
        REQUIRE(ld_realloc(opaque_pointer(cell->address), 0) == NULL);
    cell->address = NULL;
}

static void make_block(struct cell *cell, const struct choice *choice)
{
    struct job job = {.size = choice->size};

    if (choice->site >= FIRST_REALLOC) {
        job.old = cell->address;
        /* Often a size for which it need not move. */
        if (cell->address != NULL && choice->what % 2 == 0)
            job.size = cell->size > 1 ? cell->size - 1 : 2;
    } else if (cell->address != NULL) {
        free_block(cell, choice->what);
    }
    go(choice->site, choice->path, PATH_BITS, &job);
    REQUIRE(job.block != NULL);
    cell->address = job.block;
    cell->size = job.size;
    cell->site = choice->site;
    cell->path = choice->path;
    cell->mark = mark_now;
    cell->address[0] = cell->address[cell->size - 1] = stamp_of(cell);
}

static SITE void step(const struct choice *choice)
{
    struct cell *cell = choice->cell;

    if (cell->address == NULL || choice->is_lesson || choice->what >= 8)
        make_block(cell, choice);
    else if (choice->what == 7)
        fail_to_reallocate(cell);
    else
        free_block(cell, choice->what);
    if (choice->is_lesson)
        REQUIRE(find_block(cell->address, &lessons[choice->site][choice->path]));
    unlock(cell);
}

/* --- Quiet points ------------------------------------------------------------------------------------- */

static int compare_addresses(const void *a, const void *b)
{
    uintptr_t left = (uintptr_t)(*(struct cell *const *)a)->address;
    uintptr_t right = (uintptr_t)(*(struct cell *const *)b)->address;

    return left < right ? -1 : left > right;
}

static void sort_cells(void)
{
    live_count = 0;
    live_bytes = 0;
    for (size_t i = 0; i < CELLS; i++) {
        cells[i].is_seen = false;
        if (cells[i].address == NULL)
            continue;
        check_contents(&cells[i]);
        by_address[live_count++] = &cells[i];
        live_bytes += cells[i].size;
    }
    qsort(by_address, live_count, sizeof(by_address[0]), compare_addresses);
}

static bool compare_with_cell(const struct ld_leak *leak, void *bytes)
{
    struct cell key = {.address = (unsigned char *)(uintptr_t)leak->address}, *wanted = &key;
    struct cell **found = bsearch(&wanted, by_address, live_count, sizeof(by_address[0]), compare_addresses);
    struct snapshot *lesson;

    REQUIRE(found != NULL && !(*found)->is_seen);
    (*found)->is_seen = true;
    lesson = &lessons[(*found)->site][(*found)->path];
    REQUIRE(leak->size == (*found)->size);
    REQUIRE(leak->mark == (*found)->mark);
    REQUIRE(leak->flags == 0);
    REQUIRE(leak->frame_count == lesson->frame_count);
    REQUIRE(memcmp(leak->frames, lesson->frames, leak->frame_count * sizeof(leak->frames[0])) == 0);
    *(size_t *)bytes += leak->size;
    return true;
}

static void check_walk(void)
{
    size_t bytes = 0, count;
    struct ld_stats stats;

    sort_cells();
    count = ld_now_leaks(compare_with_cell, &bytes);
    stats = stats_now();
    REQUIRE(stats.live_blocks == count);
    REQUIRE(stats.live_bytes == bytes);
    REQUIRE(stats.nested_blocks == 0);
    REQUIRE(count == live_count || (count < live_count && stats.dropped_blocks >= live_count - count));
    REQUIRE(stats.dropped_blocks != 0 || (count == live_count && bytes == live_bytes));
}

static pthread_barrier_t barrier;

static void work(unsigned index, void *ctx)
{
    struct plan plan = {.seed = test_seed() + index, .are_lessons = true};
    struct choice choice;

    (void)ctx;
    for (size_t round = 0; round <= ROUNDS; round++) {
        plan.done = 0;
        plan.count = round > 0 ? OPERATIONS_IN_A_ROUND : index == 0 ? SITES * PATHS : 0;
        while (choose(&plan, &choice))
            step(&choice);
        plan.are_lessons = false;
        pthread_barrier_wait(&barrier);
        if (index == 0) {
            check_walk();
            mark_now = ld_mark();
        }
        pthread_barrier_wait(&barrier);
    }
}

static void free_all(void)
{
    for (size_t i = 0; i < CELLS; i++)
        if (cells[i].address != NULL)
            free_block(&cells[i], (unsigned)i);
    assert_int_equal(ld_now_leaks(NULL, NULL), 0);
    assert_int_equal(stats_now().live_blocks, 0);
    assert_int_equal(stats_now().live_bytes, 0);
}

static void a_walk_equals_the_reference_at_every_quiet_point(void **state)
{
    (void)state;

    test_seed();
    text_of(1);
    in_threads(THREADS, work, NULL);
    assert_int_equal(stats_now().dropped_blocks > 0, CELLS > LD_MAX_BLOCKS);
    free_all();
}

/* --- Full and empty again ----------------------------------------------------------------------------- */

static void fill(unsigned index, void *ctx)
{
    uint64_t seed = test_seed() + index;

    (void)ctx;
    for (size_t i = index; i < CELLS; i += THREADS) {
        struct choice choice = {
            .size = 1 + random_below(&seed, 200),
            .site = (unsigned)random_below(&seed, FIRST_REALLOC),
            .path = (unsigned)random_below(&seed, PATHS),
        };

        make_block(&cells[i], &choice);
    }
}

static void drain(unsigned index, void *ctx)
{
    (void)ctx;
    /* Not what this thread has made. */
    for (size_t i = (index + 1) % THREADS; i < CELLS; i += THREADS)
        free_block(&cells[i], (unsigned)i);
}

static bool add_size(const struct ld_leak *leak, void *bytes)
{
    *(size_t *)bytes += leak->size;
    return true;
}

static void trap_14_recorded_and_dropped_is_everything(void **state)
{
    (void)state;

    for (size_t round = 0; round < scaled(50); round++) {
        struct ld_stats before = stats_now(), after;
        size_t recorded, recorded_bytes = 0;

        in_threads(THREADS, fill, NULL);
        sort_cells();
        recorded = ld_now_leaks(add_size, &recorded_bytes);
        after = stats_now();
        assert_int_equal(recorded + after.dropped_blocks - before.dropped_blocks, CELLS);
        assert_int_equal(recorded_bytes + after.dropped_bytes - before.dropped_bytes, live_bytes);
        assert_int_equal(after.live_blocks, recorded);
        assert_int_equal(after.live_bytes, recorded_bytes);
        assert_true(recorded >= (LD_MAX_BLOCKS < CELLS ? LD_MAX_BLOCKS : CELLS));
        in_threads(THREADS, drain, NULL);
        assert_int_equal(ld_now_leaks(NULL, NULL), 0);
        assert_int_equal(stats_now().live_blocks, 0);
        assert_int_equal(stats_now().live_bytes, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_walk_equals_the_reference_at_every_quiet_point),
        cmocka_unit_test(trap_14_recorded_and_dropped_is_everything),
    };

    test_deadline(280);
    ld_init();
    REQUIRE(pthread_barrier_init(&barrier, NULL, THREADS) == 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
