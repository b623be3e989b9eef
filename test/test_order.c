/* SPDX-License-Identifier: MIT
 *
 * The order of events: whoever gets an address the very moment the allocator has it back, in the midst of
 * ld_free or ld_realloc, keeps the record of it.
 *
 * build: sources
 * build: with test/own_backing.c
 * build: flags -include test/own_backing.h
 */
#include "test_support.h"

static void *successor;    /* the block that was made in the place of the freed one */
static bool was_on_record; /* the freed one, when it was free already */
static size_t successor_size;

/* Another thread could do this at this very moment; nobody's luck is needed here. */
static void take_its_place(void *block)
{
    own_backing_freed = NULL;
    was_on_record = is_on_record(block);
    successor = ld_malloc(successor_size);
    REQUIRE(successor == block);
}

static void expect_successor(size_t size)
{
    successor_size = size;
    successor = NULL;
    own_backing_freed = take_its_place;
}

static void check_successor(void)
{
    struct snapshot record;

    assert_non_null(successor);
    assert_true(find_block(successor, &record));
    assert_int_equal(record.size, successor_size);
    ld_free(successor);
    assert_false(is_on_record(successor));
}

static int is_silent(void **state)
{
    (void)state;
    return ld_now_leaks(NULL, NULL) == 0 && stats_now().live_blocks == 0 && stats_now().live_bytes == 0 ? 0
                                                                                                        : -1;
}

static void trap_03_free_removes_the_record_before_the_memory_goes_back(void **state)
{
    (void)state;
    void *block = ld_malloc(1337);

    expect_successor(1338);
    ld_free(block);
    assert_false(was_on_record);
    check_successor();
}

static void trap_03_realloc_to_0_removes_the_record_first(void **state)
{
    (void)state;
    void *block = ld_malloc(1337);

    expect_successor(1338);
    assert_null(ld_realloc(opaque_pointer(block), 0));
    assert_false(was_on_record);
    check_successor();
}

static void trap_01_realloc_leaves_the_record_of_the_old_address_to_its_new_owner(void **state)
{
    (void)state;
    void *block = ld_malloc(1337), *moved;
    struct snapshot record;

    expect_successor(1338);
    moved = ld_realloc(block, 50000);
    assert_ptr_equal(opaque_pointer(block), successor);
    assert_true(find_block(moved, &record));
    assert_int_equal(record.size, 50000);
    check_successor();
    assert_true(is_on_record(moved));
    ld_free(moved);
}

/* The successor comes and goes before realloc has returned. */
static void come_and_go(void *block)
{
    own_backing_freed = NULL;
    successor = ld_malloc(1338);
    REQUIRE(successor == block);
    ld_free(successor);
}

static void trap_01_realloc_does_not_mind_if_the_new_owner_has_gone(void **state)
{
    (void)state;
    void *block = ld_malloc(1337), *moved;

    own_backing_freed = come_and_go;
    successor = NULL;
    moved = ld_realloc(block, 50000);
    assert_non_null(successor);
    assert_false(is_on_record(successor));
    assert_true(is_on_record(moved));
    assert_int_equal(ld_now_leaks(NULL, NULL), 1);
    ld_free(moved);
}

/* More than the arena has: fails for want of memory, not for its size. */
static void trap_02_realloc_that_finds_no_memory_changes_nothing(void **state)
{
    (void)state;
    struct snapshot before, after;
    void *block = ld_malloc(1337);

    assert_true(find_block(block, &before));
    ld_mark();
    errno = 0;
    assert_null(ld_realloc(block, (size_t)1 << 30));
    assert_int_equal(errno, ENOMEM);
    assert_true(find_block(block, &after));
    assert_true(snapshots_are_equal(&before, &after));
    ld_free(block);
    assert_false(is_on_record(block));
}

static void allocation_that_finds_no_memory_records_nothing(void **state)
{
    (void)state;
    void *untouched = &successor;
    struct ld_stats before = stats_now(), after;

    errno = 0;
    assert_null(ld_malloc((size_t)1 << 30));
    assert_null(ld_calloc(1, (size_t)1 << 30));
    assert_null(ld_realloc(NULL, (size_t)1 << 30));
    assert_null(ld_aligned_alloc(64, (size_t)1 << 30));
    assert_int_equal(errno, ENOMEM);
    assert_int_equal(ld_posix_memalign(&untouched, 64, (size_t)1 << 30), ENOMEM);
    assert_ptr_equal(untouched, &successor);
    after = stats_now();
    assert_int_equal(after.dropped_blocks, before.dropped_blocks);
    assert_int_equal(after.peak_bytes, before.peak_bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(trap_03_free_removes_the_record_before_the_memory_goes_back, is_silent),
        cmocka_unit_test_teardown(trap_03_realloc_to_0_removes_the_record_first, is_silent),
        cmocka_unit_test_teardown(trap_01_realloc_leaves_the_record_of_the_old_address_to_its_new_owner,
                                  is_silent),
        cmocka_unit_test_teardown(trap_01_realloc_does_not_mind_if_the_new_owner_has_gone, is_silent),
        cmocka_unit_test_teardown(trap_02_realloc_that_finds_no_memory_changes_nothing, is_silent),
        cmocka_unit_test_teardown(allocation_that_finds_no_memory_records_nothing, is_silent),
    };

    test_deadline(60);
    ld_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
