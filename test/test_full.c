/* SPDX-License-Identifier: MIT
 *
 * A table that is full, or a thread that has no room for its own part: the newest blocks go unrecorded, are
 * counted to the byte, and recording goes on by itself when there is room again.
 *
 * build: sources
 * build: flags -DLD_MAX_BLOCKS=256
 */
#include "test_support.h"

#include <sys/resource.h>

enum { SURPLUS = 44, ALL = LD_MAX_BLOCKS + SURPLUS };

static void *blocks[ALL];

static int fill(void **state)
{
    (void)state;
    for (size_t i = 0; i < ALL; i++)
        blocks[i] = ld_malloc(1000 + i);
    return 0;
}

static int drain(void **state)
{
    (void)state;
    for (size_t i = 0; i < ALL; i++) {
        ld_free(blocks[i]);
        blocks[i] = NULL;
    }
    return ld_now_leaks(NULL, NULL) == 0 && stats_now().live_blocks == 0 && stats_now().live_bytes == 0 ? 0
                                                                                                        : -1;
}

static void the_silent_twin_drops_nothing(void **state)
{
    (void)state;
    size_t before = stats_now().dropped_blocks;

    for (size_t i = 0; i < LD_MAX_BLOCKS; i++)
        blocks[i] = ld_malloc(1000 + i);
    assert_int_equal(ld_now_leaks(NULL, NULL), LD_MAX_BLOCKS);
    assert_int_equal(stats_now().dropped_blocks, before);
    assert_int_equal(drain(NULL), 0);
}

static void trap_14_the_newest_go_unrecorded(void **state)
{
    (void)state;

    assert_int_equal(stats_now().capacity_blocks, LD_MAX_BLOCKS);
    assert_int_equal(ld_now_leaks(NULL, NULL), LD_MAX_BLOCKS);
    assert_int_equal(stats_now().live_blocks, LD_MAX_BLOCKS);
    for (size_t i = 0; i < ALL; i++)
        assert_int_equal(is_on_record(blocks[i]), i < LD_MAX_BLOCKS);
}

static void trap_14_dropped_is_counted_to_the_byte(void **state)
{
    (void)state;
    struct ld_stats before = stats_now(), after;
    void *extra[10];
    size_t bytes = 0;

    for (size_t i = 0; i < 10; i++) {
        extra[i] = ld_malloc(5000 + i * i);
        bytes += 5000 + i * i;
    }
    extra[0] = ld_realloc(extra[0], 1000000);
    bytes += 1000000;
    after = stats_now();
    assert_int_equal(after.dropped_blocks - before.dropped_blocks, 11);
    assert_int_equal(after.dropped_bytes - before.dropped_bytes, bytes);
    assert_int_equal(after.live_blocks, before.live_blocks);
    assert_int_equal(after.live_bytes, before.live_bytes);
    /* Freeing what was never recorded takes nothing back. */
    for (size_t i = 0; i < 10; i++)
        ld_free(extra[i]);
    assert_int_equal(stats_now().dropped_blocks, after.dropped_blocks);
    assert_int_equal(stats_now().live_blocks, after.live_blocks);
}

static void trap_14_recording_resumes_as_blocks_are_freed(void **state)
{
    (void)state;
    size_t dropped = stats_now().dropped_blocks;

    for (size_t i = 0; i < 100; i++) {
        ld_free(blocks[i]);
        blocks[i] = ld_malloc(2000 + i);
        assert_true(is_on_record(blocks[i]));
    }
    assert_int_equal(stats_now().dropped_blocks, dropped);
    assert_int_equal(ld_now_leaks(NULL, NULL), LD_MAX_BLOCKS);
}

static void a_recorded_block_stays_on_record_when_it_is_reallocated(void **state)
{
    (void)state;
    size_t dropped = stats_now().dropped_blocks;
    struct snapshot record;

    for (size_t i = 0; i < LD_MAX_BLOCKS; i++) {
        blocks[i] = ld_realloc(blocks[i], i % 2 == 0 ? 500 : 500000);
        assert_true(find_block(blocks[i], &record));
        assert_int_equal(record.size, i % 2 == 0 ? 500 : 500000);
    }
    assert_int_equal(stats_now().dropped_blocks, dropped);
}

static void an_unrecorded_block_gets_a_record_when_it_is_reallocated_later(void **state)
{
    (void)state;

    ld_free(blocks[0]);
    blocks[0] = NULL;
    blocks[ALL - 1] = ld_realloc(blocks[ALL - 1], 4000);
    assert_true(is_on_record(blocks[ALL - 1]));
}

static void trap_14_a_million_cycles_later_it_holds_as_much(void **state)
{
    uint64_t seed = test_seed();

    for (size_t i = 0; i < scaled(1000000); i++) {
        size_t k = random_below(&seed, ALL);

        ld_free(blocks[k]);
        blocks[k] = ld_malloc(random_below(&seed, 2000));
    }
    assert_int_equal(drain(state), 0);
    the_silent_twin_drops_nothing(state);
}

static void remove_commas(char *text)
{
    char *kept = text;

    for (; *text != '\0'; text++)
        if (*text != ',')
            *kept++ = *text;
    *kept = '\0';
}

static void trap_14_every_report_says_what_was_dropped(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    struct ld_stats stats = stats_now();
    char text[8192], wanted[80];

    assert_non_null(file);
    assert_int_equal(ld_report(fileno(file), NULL), 0);
    rewind(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    remove_commas(text);
    snprintf(wanted, sizeof(wanted), " %zu blocks %zu bytes", stats.dropped_blocks, stats.dropped_bytes);
    assert_non_null(strstr(text, "dropped:"));
    assert_non_null(strstr(strstr(text, "dropped:"), wanted));
}

enum { SHARERS = 40 };

/* A thread that ends makes known what it has: none does before all have theirs. */
static void fill_a_share(unsigned index, void *all_have_theirs)
{
    for (size_t i = index; i < ALL; i += SHARERS)
        blocks[i] = ld_malloc(1000 + i);
    pthread_barrier_wait(all_have_theirs);
}

/* No thread has many of them, so that none knows by itself that there are many. */
static void trap_14_threads_fill_it_together_and_no_further(void **state)
{
    struct ld_stats before = stats_now(), after;
    pthread_barrier_t all_have_theirs;
    size_t live;

    assert_int_equal(pthread_barrier_init(&all_have_theirs, NULL, SHARERS), 0);
    in_threads(SHARERS, fill_a_share, &all_have_theirs);
    assert_int_equal(pthread_barrier_destroy(&all_have_theirs), 0);
    after = stats_now();
    live = ld_now_leaks(NULL, NULL);
    /* Each may have looked before the others had their last block on record. */
    assert_in_range(live, LD_MAX_BLOCKS, LD_MAX_BLOCKS + SHARERS - 1);
    assert_int_equal(after.live_blocks, live);
    assert_int_equal(after.dropped_blocks - before.dropped_blocks, ALL - live);
    assert_int_equal(drain(state), 0);
}

enum { LATECOMERS = 16 };

static void allow_memory(rlim_t bytes)
{
    struct rlimit limit;

    REQUIRE(getrlimit(RLIMIT_AS, &limit) == 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
}

/* The allocator has what it needs for the thread, the library does not.  None ends before all have tried. */
static void come_late(unsigned index, void *together)
{
    void *volatile warm = malloc(10);

    free(warm);
    pthread_barrier_wait(together);
    if (index == 0)
        allow_memory(1);
    pthread_barrier_wait(together);
    blocks[index] = ld_malloc(10);
    pthread_barrier_wait(together);
}

/* For a few there is room still in what was mapped for others. */
static void blocks_of_threads_that_there_is_no_memory_for_are_dropped(void **state)
{
    struct ld_stats before = stats_now(), after;
    pthread_barrier_t together;
    size_t live;

    if (HAS_SANITIZER)
        skip(); /* whose shadow is larger than any limit */
    assert_int_equal(pthread_barrier_init(&together, NULL, LATECOMERS), 0);
    in_threads(LATECOMERS, come_late, &together);
    allow_memory(RLIM_INFINITY);
    assert_int_equal(pthread_barrier_destroy(&together), 0);
    after = stats_now();
    live = ld_now_leaks(NULL, NULL);
    for (size_t i = 0; i < LATECOMERS; i++)
        assert_non_null(blocks[i]);
    assert_true(live < LATECOMERS);
    assert_int_equal(after.nested_blocks, before.nested_blocks);
    assert_int_equal(after.dropped_blocks - before.dropped_blocks, LATECOMERS - live);
    assert_int_equal(after.dropped_bytes - before.dropped_bytes, 10 * (LATECOMERS - live));
    assert_int_equal(drain(state), 0);
}

#define ON_A_FULL_TABLE(test) cmocka_unit_test_setup_teardown(test, fill, drain)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_silent_twin_drops_nothing),
        cmocka_unit_test(blocks_of_threads_that_there_is_no_memory_for_are_dropped),
        ON_A_FULL_TABLE(trap_14_the_newest_go_unrecorded),
        ON_A_FULL_TABLE(trap_14_dropped_is_counted_to_the_byte),
        ON_A_FULL_TABLE(trap_14_recording_resumes_as_blocks_are_freed),
        ON_A_FULL_TABLE(a_recorded_block_stays_on_record_when_it_is_reallocated),
        ON_A_FULL_TABLE(an_unrecorded_block_gets_a_record_when_it_is_reallocated_later),
        ON_A_FULL_TABLE(trap_14_a_million_cycles_later_it_holds_as_much),
        ON_A_FULL_TABLE(trap_14_every_report_says_what_was_dropped),
        cmocka_unit_test(trap_14_threads_fill_it_together_and_no_further),
    };

    test_deadline(120);
    ld_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
