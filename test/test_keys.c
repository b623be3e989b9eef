/* SPDX-License-Identifier: MIT
 *
 * A program that has taken all keys of thread-specific data before it starts the library, which then hears of
 * no thread's end.
 */
#define _GNU_SOURCE
#include "test_support.h"

#include <limits.h>

enum { BUSY_THREADS = 8, KEPT = 20, ODD_SIZE = 1337, THREAD_BYTES = 256 * 1024 };

static SITE void *allocate(size_t size)
{
    void *block = ld_malloc(size);

    RETURN_FROM_SITE(block);
}

static void use(unsigned index, void *ctx)
{
    struct snapshot record;
    void *kept[KEPT];

    (void)ctx;
    for (size_t i = 0; i < KEPT; i++) {
        kept[i] = allocate(ODD_SIZE + index);
        kept[i] = ld_realloc(kept[i], 2 * ODD_SIZE + index);
        ld_free(allocate(666));
    }
    for (size_t i = 0; i < KEPT; i++) {
        REQUIRE(find_block(kept[i], &record));
        REQUIRE(record.size == 2 * ODD_SIZE + index && record.frame_count > 2 && record.flags == 0);
        ld_free(kept[i]);
    }
}

/* Every block is on record with its stack, whichever thread makes it. */
static void blocks_are_recorded_without_a_key(void **state)
{
    (void)state;
    use(0, NULL);
    in_threads(BUSY_THREADS, use, NULL);
    assert_int_equal(ld_now_leaks(NULL, NULL), 0);
    assert_int_equal(stats_now().live_blocks, 0);
    assert_int_equal(stats_now().live_bytes, 0);
    assert_int_equal(stats_now().nested_blocks, 0);
}

static void allocate_and_free(unsigned index, void *ctx)
{
    (void)ctx;
    for (size_t i = 0; i < 10; i++)
        ld_free(allocate(ODD_SIZE + index));
}

/* Threads that end leave nothing behind: there are never more parts than threads at once. */
static void threads_come_and_go_without_a_key(void **state)
{
    size_t before = stats_now().own_bytes;

    (void)state;
    for (size_t i = 0; i < scaled(50); i++)
        in_threads(BUSY_THREADS, allocate_and_free, NULL);
    assert_in_range(stats_now().own_bytes, before, before + (size_t)2 * BUSY_THREADS * THREAD_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_recorded_without_a_key),
        cmocka_unit_test(threads_come_and_go_without_a_key),
    };
    pthread_key_t key;
    int count = 0;

    test_deadline(120);
    /* jemalloc has its own from the first block on. */
    ld_free(ld_malloc(1));
    while (pthread_key_create(&key, NULL) == 0)
        count++;
    REQUIRE(count > 0 && count < PTHREAD_KEYS_MAX);
    ld_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
