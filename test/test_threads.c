/* SPDX-License-Identifier: MIT
 *
 * Blocks in all the places of a thread's and a program's life where allocation is easily forgotten: other
 * threads' blocks, destructors of thread-specific data, constructors before main, handlers at exit.
 *
 * build: with test/frames_cxx.cc
 */
#define _GNU_SOURCE
#include "test_support.h"

#include <limits.h>
#include <sys/wait.h>
#include <threads.h>

#include "frames_cxx.h"

static int is_silent(void **state)
{
    (void)state;
    return ld_now_leaks(NULL, NULL) == 0 && stats_now().live_blocks == 0 && stats_now().live_bytes == 0 ? 0
                                                                                                        : -1;
}

/* --- Before main -------------------------------------------------------------------------------------- */

static void *made_in_constructor, *made_before_init;

__attribute__((constructor)) static void allocate_before_main(void)
{
    made_before_init = ld_malloc(666);
    ld_init();
    made_in_constructor = ld_malloc(1337);
    ld_free(ld_malloc(1338));
}

static void trap_18_constructors_before_main_are_recorded(void **state)
{
    (void)state;
    struct snapshot record;

    assert_true(find_block(made_in_constructor, &record));
    assert_int_equal(record.size, 1337);
    assert_false(is_on_record(made_before_init));
    assert_int_equal(ld_now_leaks(NULL, NULL), 1);
    ld_free(made_in_constructor);
    ld_free(made_before_init);
}

/* --- Blocks of other threads -------------------------------------------------------------------------- */

enum { RING = 1024, PASSED = 200000 };
static _Atomic(void *) ring[RING];

/* Even threads make blocks, odd ones free them. */
static void make_or_free(unsigned index, void *ctx)
{
    size_t count = scaled(PASSED);

    (void)ctx;
    for (size_t i = index / 2; i < count; i += 2) {
        void *block = index % 2 == 0 ? ld_malloc(i % 3000) : NULL, *expected = NULL;

        if (index % 2 == 0)
            while (!atomic_compare_exchange_weak(&ring[i % RING], &expected, block)) {
                expected = NULL;
                thrd_yield();
            }
        else
            while ((block = atomic_exchange(&ring[i % RING], NULL)) == NULL)
                thrd_yield();
        if (index % 2 != 0)
            ld_free(block);
    }
}

static void blocks_freed_by_other_threads_leave_the_record(void **state)
{
    (void)state;

    in_threads(4, make_or_free, NULL);
}

static void *leave_blocks(void *out)
{
    void **blocks = out;

    for (size_t i = 0; i < 100; i++)
        blocks[i] = ld_malloc(1337);
    return NULL;
}

static void records_outlive_the_thread_that_made_them(void **state)
{
    (void)state;
    pthread_t thread;
    void *blocks[100];

    assert_int_equal(pthread_create(&thread, NULL, leave_blocks, blocks), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(count_of_size(1337, NULL), 100);
    assert_int_equal(stats_now().live_blocks, 100);
    for (size_t i = 0; i < 100; i++)
        ld_free(blocks[i]);
}

/* --- The end of a thread ------------------------------------------------------------------------------ */

enum { KEYS = 8 };
static pthread_key_t keys[KEYS];
static atomic_size_t destroyed;

/* A block that says which key it hangs from. */
static unsigned char *datum_make(size_t size, size_t key)
{
    unsigned char *datum = ld_malloc(size);

    datum[0] = (unsigned char)key;
    REQUIRE(pthread_setspecific(keys[key], datum) == 0);
    return datum;
}

/* Frees its datum and makes another, in each of the rounds that there are: the last one's is all that
 * remains. */
static void destroy(void *datum)
{
    size_t key = *(unsigned char *)datum;

    atomic_fetch_add(&destroyed, 1);
    REQUIRE(is_on_record(datum));
    ld_free(datum);
    ld_free(ld_malloc(1337));
    REQUIRE(is_on_record(datum_make(666, key)));
}

static void *use_keys(void *block)
{
    for (size_t i = 0; i < KEYS; i++)
        datum_make(665, i);
    ld_free(block);
    return NULL;
}

static bool free_it(const struct ld_leak *leak, void *ctx)
{
    (void)ctx;
    ld_free((void *)(uintptr_t)leak->address);
    return true;
}

static void trap_18_destructors_of_thread_data_are_recorded_to_the_last_round(void **state)
{
    (void)state;

    /* It ends a thread before the last destructors do. */
    if (HAS_THREAD_SANITIZER)
        skip();
    /* Some keys that are destroyed before the library's own, some after it. */
    for (size_t i = 0; i < KEYS; i++)
        assert_int_equal(pthread_key_create(&keys[i], destroy), 0);
    for (size_t i = 0; i < scaled(200); i++) {
        pthread_t thread;

        atomic_store(&destroyed, 0);
        assert_int_equal(pthread_create(&thread, NULL, use_keys, ld_malloc(1337)), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(atomic_load(&destroyed), KEYS * PTHREAD_DESTRUCTOR_ITERATIONS);
        assert_int_equal(count_of_size(665, NULL), 0);
        assert_int_equal(count_of_size(1337, NULL), 0);
        assert_int_equal(count_of_size(666, NULL), KEYS);
        assert_int_equal(ld_now_leaks(free_it, NULL), KEYS);
    }
    for (size_t i = 0; i < KEYS; i++)
        assert_int_equal(pthread_key_delete(keys[i]), 0);
}

static void use_cxx_thread_local(unsigned index, void *ctx)
{
    (void)index;
    (void)ctx;
    cxx_use_thread_local();
    REQUIRE(count_of_size(666, NULL) >= 1);
}

static void trap_18_cxx_thread_local_destructors_are_recorded(void **state)
{
    (void)state;

    for (size_t i = 0; i < scaled(100); i++)
        in_threads(4, use_cxx_thread_local, NULL);
}

static void end_by_pthread_exit(unsigned index, void *ctx)
{
    (void)ctx;
    ld_free(ld_malloc(index));
    pthread_exit(NULL);
}

static void threads_may_end_by_pthread_exit(void **state)
{
    (void)state;

    for (int i = 0; i < 50; i++)
        in_threads(8, end_by_pthread_exit, NULL);
}

static void live_shortly(unsigned index, void *ctx)
{
    void *block = ld_malloc(index);

    (void)ctx;
    block = ld_realloc(block, 5000);
    ld_free(block);
}

/* What a thread needs is used again by the next one. */
static void trap_15_ten_thousand_threads_cost_no_more_than_ten(void **state)
{
    (void)state;
    size_t after_some;

    for (int i = 0; i < 3; i++)
        in_threads(10, live_shortly, NULL);
    after_some = stats_now().own_bytes;
    for (size_t i = 0; i < scaled(1000); i++)
        in_threads(10, live_shortly, NULL);
    assert_true(stats_now().own_bytes <= after_some + after_some / 10);
    assert_int_equal(stats_now().nested_blocks, 0);
}

/* --- The end of the program --------------------------------------------------------------------------- */

static void *made_at_exit[4];

static void at_exit_last(void)
{
    struct snapshot record;

    REQUIRE(find_block(made_at_exit[0], &record) && record.size == 1337);
    ld_free(made_at_exit[0]);
    made_at_exit[1] = ld_malloc(666);
    REQUIRE(count_of_size(666, NULL) == 1);
    REQUIRE(count_of_size(1337, NULL) == 0);
    _exit(77);
}

static void at_exit_first(void)
{
    made_at_exit[0] = ld_malloc(1337);
    REQUIRE(atexit(at_exit_last) == 0);
}

/* In a child, because it ends. */
static void trap_19_handlers_at_exit_are_recorded(void **state)
{
    (void)state;
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        if (atexit(at_exit_first) == 0)
            exit(1);
        _exit(2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 77);
}

/* --- Cancellation ------------------------------------------------------------------------------------- */

static atomic_size_t allocated_when_cancelled;

/* Code that nothing has run before, so that libunwind has to be asked about it. */
static SITE int compare(const void *a, const void *b)
{
    ld_free(ld_malloc(100));
    atomic_fetch_add(&allocated_when_cancelled, 1);
    return *(const int *)a - *(const int *)b;
}

static void *allocate_when_cancelled(void *mutex)
{
    int numbers[] = {3, 1, 2};

    REQUIRE(pthread_mutex_lock(mutex) == 0);
    REQUIRE(pthread_cancel(pthread_self()) == 0);
    qsort(numbers, sizeof(numbers) / sizeof(numbers[0]), sizeof(numbers[0]), compare);
    REQUIRE(pthread_mutex_unlock(mutex) == 0);
    pthread_testcancel();
    return NULL;
}

/* malloc is no cancellation point, though what it may have to ask libunwind reads and writes a pipe. */
static void allocation_is_no_cancellation_point(void **state)
{
    (void)state;
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_t thread;
    void *result;

    assert_int_equal(pthread_create(&thread, NULL, allocate_when_cancelled, &mutex), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, PTHREAD_CANCELED);
    assert_true(atomic_load(&allocated_when_cancelled) >= 2);
    assert_int_equal(pthread_mutex_trylock(&mutex), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(trap_18_constructors_before_main_are_recorded, is_silent),
        cmocka_unit_test_teardown(blocks_freed_by_other_threads_leave_the_record, is_silent),
        cmocka_unit_test_teardown(records_outlive_the_thread_that_made_them, is_silent),
        cmocka_unit_test_teardown(trap_18_destructors_of_thread_data_are_recorded_to_the_last_round,
                                  is_silent),
        cmocka_unit_test_teardown(trap_18_cxx_thread_local_destructors_are_recorded, is_silent),
        cmocka_unit_test_teardown(threads_may_end_by_pthread_exit, is_silent),
        cmocka_unit_test_teardown(trap_15_ten_thousand_threads_cost_no_more_than_ten, is_silent),
        cmocka_unit_test_teardown(allocation_is_no_cancellation_point, is_silent),
        cmocka_unit_test_teardown(trap_19_handlers_at_exit_are_recorded, is_silent),
    };

    test_deadline(200);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
