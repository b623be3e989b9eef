/* SPDX-License-Identifier: MIT
 *
 * Recording switched off and on, for the process and for a thread, and what was missed before the start.
 */
#include "test_support.h"

#include <sys/wait.h>
#include <unistd.h>

/* The size on record; SIZE_MAX: the block is not. */
static size_t recorded_size(const void *block)
{
    struct snapshot record;

    return find_block(block, &record) ? record.size : SIZE_MAX;
}

static bool is_recorded(const void *block)
{
    return recorded_size(block) != SIZE_MAX;
}

/* Two ways to switch off, and on again. */
struct way {
    void (*off)(void);
    void (*on)(void);
};

static void stop(void)
{
    ld_set_recording(false);
}

static void resume(void)
{
    ld_set_recording(true);
}

static const struct way process = {stop, resume}, thread = {ld_disable, ld_enable};

static void blocks_made_meanwhile_are_not_recorded(const struct way *way)
{
    struct ld_stats before = stats_now(), after;
    void *kept = ld_malloc(1337), *block, *zeroed, *aligned;

    way->off();
    block = ld_malloc(666);
    zeroed = ld_calloc(6, 111);
    aligned = ld_memalign(64, 666);
    way->on();
    assert_true(is_recorded(kept));
    assert_false(is_recorded(block));
    assert_false(is_recorded(zeroed));
    assert_false(is_recorded(aligned));
    after = stats_now();
    assert_int_equal(after.live_blocks, before.live_blocks + 1);
    assert_int_equal(after.nested_blocks, before.nested_blocks);
    assert_int_equal(after.dropped_blocks, before.dropped_blocks);
    assert_int_equal(after.missed_blocks, before.missed_blocks);
    ld_free(block);
    ld_free(zeroed);
    ld_free(aligned);
    ld_free(kept);
    assert_int_equal(stats_now().live_blocks, before.live_blocks);
    assert_int_equal(stats_now().live_bytes, before.live_bytes);
}

static void blocks_freed_meanwhile_leave_the_record(const struct way *way)
{
    struct ld_stats before = stats_now();
    void *block = ld_malloc(1337), *other;

    way->off();
    ld_free(block);
    assert_int_equal(stats_now().live_blocks, before.live_blocks);
    assert_int_equal(stats_now().live_bytes, before.live_bytes);
    other = ld_malloc(1337);
    assert_false(is_recorded(other));
    way->on();
    ld_free(other);
}

static void blocks_reallocated_meanwhile_leave_the_record(const struct way *way)
{
    static const size_t sizes[] = {1336, 13, 1000000};
    struct ld_stats before = stats_now();

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        void *block = ld_malloc(1337), *moved;

        way->off();
        moved = ld_realloc(block, sizes[i]);
        way->on();
        assert_false(is_recorded(moved));
        assert_int_equal(stats_now().live_blocks, before.live_blocks);
        assert_int_equal(stats_now().live_bytes, before.live_bytes);
        /* And come back with the next one. */
        moved = ld_realloc(moved, 666);
        assert_int_equal(recorded_size(moved), 666);
        ld_free(moved);
    }
    assert_int_equal(stats_now().live_bytes, before.live_bytes);
}

static void a_failed_realloc_meanwhile_keeps_the_record(const struct way *way)
{
    void *block = ld_malloc(1337);

    way->off();
    assert_null(ld_realloc(block, opaque_size(SIZE_MAX / 4)));
    way->on();
    assert_int_equal(recorded_size(block), 1337);
    ld_free(block);
}

#define FOR_EACH_WAY(test)                   \
    static void test##_process(void **state) \
    {                                        \
        (void)state;                         \
        test(&process);                      \
    }                                        \
    static void test##_thread(void **state)  \
    {                                        \
        (void)state;                         \
        test(&thread);                       \
    }

FOR_EACH_WAY(blocks_made_meanwhile_are_not_recorded)
FOR_EACH_WAY(blocks_freed_meanwhile_leave_the_record)
FOR_EACH_WAY(blocks_reallocated_meanwhile_leave_the_record)
FOR_EACH_WAY(a_failed_realloc_meanwhile_keeps_the_record)

static void require_nesting(int depth)
{
    void *block;

    for (int i = 0; i < depth; i++)
        ld_disable();
    block = ld_malloc(666);
    assert_false(is_recorded(block));
    ld_free(block);
    for (int i = 0; i < depth - 1; i++)
        ld_enable();
    block = ld_malloc(666);
    assert_false(is_recorded(block));
    ld_enable();
    ld_free(block);
    block = ld_malloc(1337);
    assert_true(is_recorded(block));
    ld_free(block);
}

static void disable_nests(void **state)
{
    (void)state;
    require_nesting(1);
    require_nesting(100);
}

/* As often as a program may that forgets to enable. */
static void disable_nests_without_end(void **state)
{
    (void)state;
    for (int shift = 16; shift <= 21; shift++)
        require_nesting(1 << shift);
}

static void one_enable_too_many_does_nothing(void **state)
{
    void *block;

    (void)state;
    ld_enable();
    ld_disable();
    block = ld_malloc(666);
    assert_false(is_recorded(block));
    ld_enable();
    ld_free(block);
}

static void *allocate(void *unused)
{
    (void)unused;
    return ld_malloc(1337);
}

static void other_threads_go_on(void **state)
{
    pthread_t other;
    void *block;

    (void)state;
    ld_disable();
    assert_int_equal(pthread_create(&other, NULL, allocate, NULL), 0);
    assert_int_equal(pthread_join(other, &block), 0);
    ld_enable();
    assert_true(is_recorded(block));
    ld_free(block);
}

static void looking_still_works(void **state)
{
    char name[200];
    void *block = ld_malloc(1337);

    (void)state;
    ld_disable();
    ld_set_recording(false);
    assert_true(is_recorded(block));
    assert_true(ld_symbol_name(__builtin_return_address(0), name, sizeof(name)) > 0);
    assert_true(ld_init() > 0);
    assert_false(is_recorded(allocate(NULL)));
    ld_set_recording(true);
    ld_enable();
    ld_free(block);
}

static jmp_buf place;

/* What leaves an entry point by longjmp does not switch recording on. */
static void disabled_survives_longjmp(void **state)
{
    void *block;

    (void)state;
    ld_disable();
    if (setjmp(place) == 0)
        longjmp(place, 1);
    block = ld_malloc(666);
    assert_false(is_recorded(block));
    ld_enable();
    ld_free(block);
}

static void flip(unsigned index, void *ctx)
{
    atomic_bool *is_over = ctx;

    while (index == 0 && !atomic_load(is_over)) {
        ld_set_recording(false);
        ld_set_recording(true);
    }
    if (index == 0)
        return;
    for (size_t i = 0; i < scaled(100000); i++) {
        void *block = ld_malloc(i % 1000);

        block = ld_realloc(block, 1 + i % 3000);
        ld_free(block);
    }
    if (index == 1)
        atomic_store(is_over, true);
}

static void switching_under_load_leaves_nothing(void **state)
{
    struct ld_stats before = stats_now(), after;
    atomic_bool is_over = false;

    (void)state;
    in_threads(3, flip, &is_over);
    ld_set_recording(true);
    after = stats_now();
    assert_int_equal(after.live_blocks, before.live_blocks);
    assert_int_equal(after.live_bytes, before.live_bytes);
}

static atomic_size_t made;
static atomic_bool has_started;

static void start_or_allocate(unsigned index, void *unused)
{
    (void)unused;
    if (index == 0) {
        while (atomic_load(&made) < 100)
            continue;
        ld_init();
        atomic_store(&has_started, true);
    }
    for (int i = 0; index != 0 && i < 3000000 && !atomic_load(&has_started); i++) {
        REQUIRE(ld_malloc(16) != NULL);
        atomic_fetch_add(&made, 1);
    }
}

/* A block that is made while the library starts is on record, or counted as missed, and not both.  In
 * children, since there is but one start. */
static void require_that_starts_lose_no_block(void)
{
    for (size_t i = 0; i < scaled(100); i++) {
        pid_t child = fork();
        int status;

        if (child == 0) {
            struct ld_stats stats;

            in_threads(4, start_or_allocate, NULL);
            stats = stats_now();
            _exit(stats.live_blocks + stats.missed_blocks + stats.nested_blocks == atomic_load(&made) ? 0
                                                                                                      : 1);
        }
        REQUIRE(waitpid(child, &status, 0) == child && status == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_made_meanwhile_are_not_recorded_process),
        cmocka_unit_test(blocks_made_meanwhile_are_not_recorded_thread),
        cmocka_unit_test(blocks_freed_meanwhile_leave_the_record_process),
        cmocka_unit_test(blocks_freed_meanwhile_leave_the_record_thread),
        cmocka_unit_test(blocks_reallocated_meanwhile_leave_the_record_process),
        cmocka_unit_test(blocks_reallocated_meanwhile_leave_the_record_thread),
        cmocka_unit_test(a_failed_realloc_meanwhile_keeps_the_record_process),
        cmocka_unit_test(a_failed_realloc_meanwhile_keeps_the_record_thread),
        cmocka_unit_test(disable_nests),
        cmocka_unit_test(disable_nests_without_end),
        cmocka_unit_test(one_enable_too_many_does_nothing),
        cmocka_unit_test(other_threads_go_on),
        cmocka_unit_test(looking_still_works),
        cmocka_unit_test(disabled_survives_longjmp),
        cmocka_unit_test(switching_under_load_leaves_nothing),
    };
    void *early;

    test_deadline(120);
    require_that_starts_lose_no_block();
    /* Before the start: these do nothing, and what is made is counted. */
    ld_set_recording(false);
    ld_set_recording(true);
    early = ld_malloc(4242);
    REQUIRE(stats_now().missed_blocks == 1 && stats_now().missed_bytes == 4242);
    ld_init();
    ld_free(early);
    REQUIRE(stats_now().live_blocks == 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
