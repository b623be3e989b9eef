/* SPDX-License-Identifier: MIT
 *
 * The table of what the library and its heap have mapped, against an array of bytes, one for each page;
 * alone, with threads that each have pages of their own, and full.
 *
 * build: with ours.c
 * build: flags -DLD_OVERRIDE=1
 */
#include "test_support.h"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ours.h"

enum { PAGE = 4096, PAGES = 512, THREADS = 8 };

/* Where the pages of this test lie: nowhere. */
#define FIRST_PAGE ((uintptr_t)UINT64_C(0x7f1230000000))

enum { ROOM = 10000 };
static struct ours_range ranges[ROOM];

/* Which of the pages are in the table; none is twice, and no range is empty. */
static void look(unsigned char *is_ours, size_t pages)
{
    size_t count = ours_copy(ranges);

    memset(is_ours, 0, pages);
    for (size_t i = 0; i < count; i++) {
        REQUIRE(ranges[i].start < ranges[i].end);
        if (ranges[i].start < FIRST_PAGE)
            continue;
        for (uintptr_t at = ranges[i].start; at < ranges[i].end; at += PAGE) {
            size_t page = (at - FIRST_PAGE) / PAGE;

            REQUIRE(page < pages && !is_ours[page]);
            is_ours[page] = 1;
        }
    }
}

static const void *page_at(size_t page)
{
    return (const void *)(FIRST_PAGE + page * PAGE);
}

static bool are_all(const unsigned char *pages, size_t first, size_t count, unsigned char what)
{
    for (size_t i = 0; i < count; i++)
        if (pages[first + i] != what)
            return false;
    return true;
}

static int remove_everything(void **state)
{
    unsigned char is_ours[PAGES * THREADS];

    (void)state;
    ours_remove(page_at(0), (size_t)PAGES * THREADS * PAGE);
    look(is_ours, sizeof(is_ours));
    return are_all(is_ours, 0, sizeof(is_ours), 0) ? 0 : -1;
}

/* Adds what is free and removes anything, as it comes, and says what is to be there. */
static void change(unsigned char *want, size_t first, size_t pages, uint64_t *random)
{
    size_t start = random_below(random, pages);
    size_t count = 1 + random_below(random, 20);

    count = count < pages - start ? count : pages - start;
    if (random_below(random, 2) == 0) {
        ours_remove(page_at(first + start), count * PAGE);
        memset(want + start, 0, count);
    } else if (are_all(want, start, count, 0)) {
        ours_add(page_at(first + start), count * PAGE);
        memset(want + start, 1, count);
    }
}

static void it_knows_what_was_added_and_not_removed(void **state)
{
    unsigned char want[PAGES] = {0}, have[PAGES];
    uint64_t random = test_seed();

    (void)state;
    for (size_t i = 0; i < scaled(20000); i++) {
        change(want, 0, PAGES, &random);
        look(have, PAGES);
        assert_memory_equal(have, want, PAGES);
    }
}

static void a_part_leaves_what_is_before_and_behind_it(void **state)
{
    unsigned char have[PAGES];

    (void)state;
    ours_add(page_at(0), (size_t)9 * PAGE);
    ours_remove(page_at(3), (size_t)3 * PAGE);
    look(have, PAGES);
    assert_true(are_all(have, 0, 3, 1) && are_all(have, 3, 3, 0) && are_all(have, 6, 3, 1));
}

static void neighbours_are_one_range(void **state)
{
    size_t before = ours_copy(ranges);

    (void)state;
    for (size_t page = PAGES; page-- > 0;)
        ours_add(page_at(page), PAGE);
    assert_int_equal(ours_copy(ranges), before + 1);
}

static unsigned char wanted[THREADS][PAGES];

static void *change_own(void *number)
{
    size_t thread = (size_t)(uintptr_t)number;
    uint64_t random = test_seed() + thread;

    for (size_t i = 0; i < scaled(50000); i++)
        change(wanted[thread], thread * PAGES, PAGES, &random);
    return NULL;
}

static void threads_change_what_is_theirs(void **state)
{
    static unsigned char have[THREADS * PAGES];
    pthread_t threads[THREADS];

    (void)state;
    memset(wanted, 0, sizeof(wanted));
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, change_own, (void *)i), 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    look(have, sizeof(have));
    assert_memory_equal(have, wanted, sizeof(have));
}

static void a_child_has_what_was_not_in_the_midst_of_a_change(void **state)
{
    pthread_t threads[THREADS];

    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, change_own, (void *)i), 0);
    for (int times = 0; times < 20; times++) {
        pid_t child = fork();
        int status;

        assert_true(child >= 0);
        if (child == 0) {
            ours_after_fork();
            syscall(SYS_exit_group, remove_everything(state)); /* no _exit: see test_fork_held.c */
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* The last test: the table does not forget that it was full. */
static void a_full_table_says_so(void **state)
{
    (void)state;
    ours_have_heap();
    assert_true(ours_capacity() <= ROOM);
    assert_true(ours_are_known());
    for (size_t i = 0; i <= ours_capacity(); i++)
        ours_add((const void *)(PAGE + i * 2 * PAGE), PAGE);
    assert_false(ours_are_known());
    assert_int_equal(ours_copy(ranges), ours_capacity());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(it_knows_what_was_added_and_not_removed, remove_everything),
        cmocka_unit_test_setup(a_part_leaves_what_is_before_and_behind_it, remove_everything),
        cmocka_unit_test_setup(neighbours_are_one_range, remove_everything),
        cmocka_unit_test_setup(threads_change_what_is_theirs, remove_everything),
        cmocka_unit_test_setup(a_child_has_what_was_not_in_the_midst_of_a_change, remove_everything),
        cmocka_unit_test_setup(a_full_table_says_so, remove_everything),
    };

    test_deadline(120);
    return cmocka_run_group_tests_name("ours", tests, NULL, NULL);
}
