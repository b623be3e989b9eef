/* SPDX-License-Identifier: MIT
 *
 * Blocks that are not on record, and what that means for lost blocks: what a disabled thread has made still
 * leads to others, and where nobody can know what leads where, nothing is called lost.  Every test is a
 * process of its own.
 */
#define _GNU_SOURCE
#include "leakdetect.h"
#include "test_support.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

static void in_child(void (*test)(void))
{
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        test();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* A root, but for what is in it now and then. */
static void **kept;

/* What calls have left on the stack must not lead anywhere. */
static NOINLINE void clear_stack(void)
{
    volatile char room[8192];

    for (size_t i = 0; i < sizeof(room); i++)
        room[i] = 0;
}

static NOINLINE void make(bool is_hidden)
{
    if (is_hidden)
        ld_disable();
    kept = ld_malloc(sizeof(void *));
    if (is_hidden)
        ld_enable();
    *kept = ld_malloc(1337);
    clear_stack();
}

static NOINLINE void hide(void)
{
    kept = (void **)~(uintptr_t)kept;
    clear_stack();
}

static NOINLINE void free_kept(void)
{
    *kept = NULL;
    ld_free(kept);
    kept = NULL;
    clear_stack();
}

static void disabled(void)
{
    struct ld_stats stats;

    ld_init();
    make(true);
    ld_get_stats(&stats);
    REQUIRE(stats.live_blocks == 1 && ld_now_leaks(NULL, NULL) == 1);
    /* Nothing leads to the hidden block, which is none of anybody's business, and so is what it leads to. */
    hide();
    REQUIRE(ld_lost_leaks(NULL, NULL) == 0);
    hide();
    free_kept();
    REQUIRE(ld_lost_leaks(NULL, NULL) == 1);
}

static void a_block_of_a_disabled_thread_keeps_what_it_leads_to(void **state)
{
    (void)state;
    in_child(disabled);
}

static void enabled(void)
{
    ld_init();
    make(false);
    REQUIRE(ld_lost_leaks(NULL, NULL) == 0);
    hide();
    REQUIRE(ld_lost_leaks(NULL, NULL) == 2);
}

static void a_block_of_any_other_thread_does_not_once_it_is_lost(void **state)
{
    (void)state;
    in_child(enabled);
}

static void reallocated(void)
{
    struct ld_stats stats;

    ld_init();
    make(true);
    /* By a thread that is not disabled: it is on record from now on, in its place or in another. */
    kept = ld_realloc(kept, 24);
    ld_get_stats(&stats);
    REQUIRE(stats.live_blocks == 2 && stats.live_bytes == 1337 + 24 && ld_now_leaks(NULL, NULL) == 2);
    ld_free(*kept);
    free_kept();
    ld_get_stats(&stats);
    REQUIRE(stats.live_blocks == 0 && stats.live_bytes == 0);
}

static void a_hidden_block_that_is_reallocated_shows(void **state)
{
    (void)state;
    in_child(reallocated);
}

/* --- Nobody knows --------------------------------------------------------------------------------------- */

static void require_unknown(void)
{
    size_t lost = 1;

    errno = 0;
    REQUIRE(ld_lost_leaks(NULL, NULL) == 0 && errno == ENODATA);
    REQUIRE(ld_check(STDERR_FILENO, NULL, &lost) == ENODATA && lost == 0);
}

static void sampled(void)
{
    REQUIRE(ld_set_sampling(1024) == 0);
    ld_init();
    make(false);
    hide();
    require_unknown();
}

static void of_a_sample_nobody_knows_what_is_lost(void **state)
{
    (void)state;
    in_child(sampled);
}

static void paused(void)
{
    ld_init();
    make(false);
    hide();
    REQUIRE(ld_lost_leaks(NULL, NULL) == 2);
    ld_set_recording(false);
    ld_set_recording(true);
    require_unknown();
}

static void after_a_pause_nobody_knows_what_is_lost(void **state)
{
    (void)state;
    in_child(paused);
}

/* TSan has a thread of its own, in which no instrumented code may run, and so no handler of a signal. */
static void a_check_stops_the_sanitizers_thread_too(void **state)
{
    (void)state;
    skip();
}

int main(void)
{
    const struct CMUnitTest none[] = {cmocka_unit_test(a_check_stops_the_sanitizers_thread_too)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_of_a_disabled_thread_keeps_what_it_leads_to),
        cmocka_unit_test(a_block_of_any_other_thread_does_not_once_it_is_lost),
        cmocka_unit_test(a_hidden_block_that_is_reallocated_shows),
        cmocka_unit_test(of_a_sample_nobody_knows_what_is_lost),
        cmocka_unit_test(after_a_pause_nobody_knows_what_is_lost),
    };

    return HAS_THREAD_SANITIZER ? cmocka_run_group_tests(none, NULL, NULL)
                                : cmocka_run_group_tests(tests, NULL, NULL);
}
