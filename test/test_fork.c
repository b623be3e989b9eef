/* SPDX-License-Identifier: MIT
 *
 * fork from a program whose threads allocate and free as fast as they can: neither side ever hangs, and the
 * child goes on with the records that it inherited.
 */
#define _GNU_SOURCE
#include "test_support.h"

#include <signal.h>
#include <spawn.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

enum { BUSY_MAX = 32, INHERITED = 10, CHILD_SECONDS = 60 };

extern char **environ;

static atomic_bool is_over;
static char *inherited[INHERITED];

/* --- Busy threads ------------------------------------------------------------------------------------- */

static SITE int allocate_at_depth(void **block, size_t size, unsigned depth)
{
    if (depth == 0) {
        *block = ld_realloc(*block, size);
        return 1;
    }
    return allocate_at_depth(block, size, depth - 1) + 1;
}

static void *be_busy(void *seed_of_thread)
{
    uint64_t seed = *(uint64_t *)seed_of_thread;
    void *blocks[32] = {NULL};

    while (!atomic_load_explicit(&is_over, memory_order_relaxed)) {
        size_t i = random_below(&seed, 32);

        if (random_below(&seed, 2) == 0) {
            ld_free(blocks[i]);
            blocks[i] = NULL;
        }
        allocate_at_depth(&blocks[i], 1 + random_below(&seed, 2000), (unsigned)random_below(&seed, 30));
    }
    for (size_t i = 0; i < 32; i++)
        ld_free(blocks[i]);
    return NULL;
}

/* What so many times may take: there are machines where one fork from 32 threads takes 140 ms. */
enum { BUSY_SECONDS = 15 };

/* Runs `what` a number of times while so many threads are busy, or as often as the time allows, once at
 * least; alone with a sanitizer, whose own locks fork leaves taken in the child. */
static void while_busy(unsigned threads, size_t times, void (*what)(size_t time))
{
    pthread_t busy[BUSY_MAX];
    uint64_t seeds[BUSY_MAX];
    time_t end = time(NULL) + BUSY_SECONDS;

    if (HAS_SANITIZER)
        threads = 0;
    atomic_store(&is_over, false);
    for (unsigned i = 0; i < threads; i++) {
        seeds[i] = test_seed() + i;
        REQUIRE(pthread_create(&busy[i], NULL, be_busy, &seeds[i]) == 0);
    }
    for (size_t i = 0; i < times && (i == 0 || time(NULL) < end); i++)
        what(i);
    atomic_store(&is_over, true);
    for (unsigned i = 0; i < threads; i++)
        REQUIRE(pthread_join(busy[i], NULL) == 0);
}

static int inherit(void **state)
{
    (void)state;
    for (size_t i = 0; i < INHERITED; i++)
        inherited[i] = ld_malloc(100000 + i);
    return 0;
}

static int disinherit(void **state)
{
    (void)state;
    for (size_t i = 0; i < INHERITED; i++)
        ld_free(inherited[i]);
    return ld_now_leaks(NULL, NULL) == 0 && stats_now().live_blocks == 0 && stats_now().live_bytes == 0 ? 0
                                                                                                        : -1;
}

/* --- Children ----------------------------------------------------------------------------------------- */

static void await(pid_t child)
{
    int status = 0;

    REQUIRE(child > 0);
    while (waitpid(child, &status, 0) < 0)
        REQUIRE(errno == EINTR);
    if (WIFSIGNALED(status))
        dprintf(STDERR_FILENO, "child was killed by signal %d\n", WTERMSIG(status));
    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Each inherited block is on record as it was; it can be freed, and new ones made. */
static void use_the_inheritance(void)
{
    struct snapshot record;

    for (size_t i = 0; i < INHERITED; i++) {
        REQUIRE(count_of_size(100000 + i, &record) == 1);
        REQUIRE(record.address == inherited[i]);
        REQUIRE(record.frame_count > 2);
    }
    for (size_t i = 0; i < INHERITED / 2; i++) {
        ld_free(inherited[i]);
        inherited[i] = ld_realloc(inherited[INHERITED - 1 - i], 200000 + i);
        REQUIRE(count_of_size(100000 + i, NULL) == 0);
        REQUIRE(count_of_size(200000 + i, &record) == 1);
        REQUIRE(record.address == inherited[i]);
    }
    for (size_t i = 0; i < INHERITED / 2; i++)
        ld_free(inherited[i]);
}

static void use_a_thread(unsigned index, void *ctx)
{
    struct snapshot record;
    void *block = ld_malloc(300000 + index);

    (void)ctx;
    REQUIRE(count_of_size(300000 + index, &record) == 1);
    REQUIRE(record.address == block);
    ld_free(block);
    REQUIRE(count_of_size(300000 + index, NULL) == 0);
}

static void check_totals(void)
{
    struct ld_stats before = stats_now(), after;
    void *block = ld_malloc(1337);

    after = stats_now();
    REQUIRE(before.live_blocks == ld_now_leaks(NULL, NULL) - 1);
    REQUIRE(after.live_blocks == before.live_blocks + 1);
    REQUIRE(after.live_bytes == before.live_bytes + 1337);
    ld_free(block);
}

static void fork_and_use(size_t time)
{
    pid_t child = fork();

    if (child == 0) {
        alarm(CHILD_SECONDS);
        use_the_inheritance();
        check_totals();
        if (time % 4 == 0 && !HAS_THREAD_SANITIZER)
            in_threads(2, use_a_thread, NULL);
        _exit(0);
    }
    await(child);
}

static void fork_twice(size_t time)
{
    pid_t child = fork();

    if (child == 0) {
        alarm(CHILD_SECONDS);
        ld_free(ld_malloc(1337));
        fork_and_use(time);
        use_the_inheritance();
        _exit(0);
    }
    await(child);
}

static void fork_and_report(size_t time)
{
    pid_t child = fork();

    (void)time;
    if (child == 0) {
        FILE *nowhere = fopen("/dev/null", "w");

        alarm(CHILD_SECONDS);
        REQUIRE(nowhere != NULL);
        REQUIRE(ld_report(fileno(nowhere), NULL) == 0);
        _exit(0);
    }
    await(child);
}

static void vfork_and_exec(size_t time)
{
    pid_t child = vfork();

    (void)time;
    if (child == 0) {
        execl("/bin/true", "true", (char *)NULL);
        _exit(127);
    }
    await(child);
}

static void spawn(size_t time)
{
    char *arguments[] = {(char[]){"true"}, NULL};
    pid_t child;

    (void)time;
    REQUIRE(posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environ) == 0);
    await(child);
}

/* Both sides fork at the same time as others do. */
static void fork_in_thread(unsigned index, void *ctx)
{
    (void)ctx;
    for (size_t i = 0; i < scaled(30); i++)
        fork_and_use(i + index);
}

static void fork_from_threads(size_t time)
{
    (void)time;
    in_threads(HAS_SANITIZER ? 1 : 4, fork_in_thread, NULL);
}

/* --- Handlers of fork --------------------------------------------------------------------------------- */

/* Handlers that were registered before the library's own run while it holds everything back for the fork. */
static bool handlers_are_on;
static void *handlers_blocks[3];

static SITE void handle_before(void)
{
    struct ld_symbol symbol;

    handlers_blocks[0] = ld_malloc(400000);
    REQUIRE(ld_symbolize(__builtin_return_address(0), &symbol));
    REQUIRE(ld_now_leaks(NULL, NULL) > 0);
}

static SITE void handle_in_parent(void)
{
    handlers_blocks[1] = ld_malloc(400001);
}

static SITE void handle_in_child(void)
{
    struct ld_symbol symbol;

    handlers_blocks[2] = ld_calloc(1, 400002);
    REQUIRE(ld_symbolize(__builtin_return_address(0), &symbol));
}

/* One of them forks itself, the first time that it is called. */
static bool fork_is_wanted;
static pid_t inner_child;

static void fork_once(void)
{
    struct ld_symbol symbol;

    if (!fork_is_wanted)
        return;
    fork_is_wanted = false;
    inner_child = fork();
    REQUIRE(inner_child >= 0);
    ld_free(ld_malloc(1337));
    /* Whatever the inner fork has done, this one still holds what it has taken. */
    REQUIRE(ld_symbolize(__builtin_return_address(0), &symbol) && !symbol.is_partial);
}

static void before_fork(void)
{
    if (handlers_are_on)
        handle_before();
    fork_once();
}

static void after_fork_in_parent(void)
{
    if (handlers_are_on)
        handle_in_parent();
}

static void after_fork_in_child(void)
{
    alarm(CHILD_SECONDS);
    if (handlers_are_on)
        handle_in_child();
}

static void check_handlers_block(size_t size, void *block)
{
    struct snapshot record;

    REQUIRE(count_of_size(size, &record) == 1);
    REQUIRE(record.address == block && record.frame_count > 2);
    ld_free(block);
}

static void fork_with_handlers(size_t time)
{
    pid_t child;

    (void)time;
    handlers_are_on = true;
    child = fork();
    handlers_are_on = false;
    check_handlers_block(400000, handlers_blocks[0]);
    if (child == 0) {
        check_handlers_block(400002, handlers_blocks[2]);
        use_the_inheritance();
        _exit(0);
    }
    check_handlers_block(400001, handlers_blocks[1]);
    await(child);
}

static sigset_t mask_now(void)
{
    sigset_t mask;

    REQUIRE(pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0);
    return mask;
}

static void check_mask(const sigset_t *wanted)
{
    sigset_t mask = mask_now();

    for (int number = 1; number <= SIGRTMAX; number++)
        REQUIRE(sigismember(&mask, number) == sigismember(wanted, number));
}

/* Four processes: a handler of the first fork forks, and the fork goes on in both. */
static void fork_within_fork(size_t time)
{
    sigset_t mask = mask_now();
    pid_t child;

    (void)time;
    fork_is_wanted = true;
    child = fork();
    check_mask(&mask);
    if (child == 0) {
        use_the_inheritance();
        check_totals();
        _exit(0);
    }
    await(child);
    if (inner_child == 0) {
        fork_and_use(1);
        use_the_inheritance();
        check_totals();
        _exit(0);
    }
    await(inner_child);
    fork_and_use(1);
}

/* A signal's handler, which may come while the same thread forks, or have begun to. */
static volatile sig_atomic_t forks_of_handler;

static void on_signal_fork(int number)
{
    pid_t child = fork();

    (void)number;
    if (child == 0) {
        alarm(CHILD_SECONDS);
        use_the_inheritance();
        check_totals();
        _exit(0);
    }
    await(child);
    forks_of_handler++;
}

/* Microseconds of processor time for one fork. */
static long fork_cost(void)
{
    clock_t before = clock();

    for (size_t i = 0; i < 10; i++) {
        pid_t child = fork();

        if (child == 0)
            _exit(0);
        await(child);
    }
    return (long)(clock() - before) * 1000000 / CLOCKS_PER_SEC / 10;
}

/* The kernel begins a fork anew that a signal has interrupted: it has to come to its end in between. */
static void fork_under_a_timer(void)
{
    long cost = fork_cost();
    struct timeval interval = {.tv_usec = cost < 300 ? 1500 : cost < 100000 ? 5 * cost : 500000};
    struct itimerval timer = {.it_interval = interval, .it_value = interval}, none = {0};
    time_t end = time(NULL) + BUSY_SECONDS;
    sigset_t mask = mask_now();

    REQUIRE(setitimer(ITIMER_PROF, &timer, NULL) == 0);
    for (size_t i = 0; (i < scaled(1000) && time(NULL) < end) || forks_of_handler == 0; i++) {
        pid_t child = fork();

        check_mask(&mask);
        if (child == 0)
            _exit(0);
        await(child);
    }
    REQUIRE(setitimer(ITIMER_PROF, &none, NULL) == 0);
}

/* --- Tests -------------------------------------------------------------------------------------------- */

static void trap_20_fork_alone(void **state)
{
    (void)state;
    for (size_t i = 0; i < 10; i++)
        fork_and_use(i);
    fork_twice(0);
}

static void trap_20_fork_from_8_busy_threads(void **state)
{
    (void)state;
    while_busy(8, scaled(150), fork_and_use);
}

static void trap_20_fork_from_32_busy_threads(void **state)
{
    (void)state;
    while_busy(BUSY_MAX, scaled(20), fork_and_use);
}

static void trap_20_fork_in_a_child(void **state)
{
    (void)state;
    while_busy(8, scaled(40), fork_twice);
}

static void trap_20_fork_from_several_threads(void **state)
{
    (void)state;
    while_busy(4, 1, fork_from_threads);
}

static void trap_20_report_in_a_child(void **state)
{
    (void)state;
    while_busy(8, scaled(6), fork_and_report);
}

static void trap_20_handlers_of_fork_allocate_and_symbolize(void **state)
{
    (void)state;
    fork_with_handlers(0);
    while_busy(8, scaled(20), fork_with_handlers);
}

static void trap_20_a_handler_of_fork_forks(void **state)
{
    (void)state;
    fork_within_fork(0);
    while_busy(8, scaled(20), fork_within_fork);
}

/* With no other threads, now or before: the C library has a lock for its list of handlers, which it takes
 * from the first thread on. */
static void trap_21_a_signal_handler_forks_during_a_fork(void **state)
{
    struct sigaction action = {.sa_handler = on_signal_fork, .sa_flags = SA_RESTART}, before;

    (void)state;
    sigemptyset(&action.sa_mask);
    REQUIRE(sigaction(SIGPROF, &action, &before) == 0);
    fork_under_a_timer();
    REQUIRE(sigaction(SIGPROF, &before, NULL) == 0);
}

static void trap_18_vfork_and_spawn(void **state)
{
    (void)state;
    while_busy(8, scaled(50), vfork_and_exec);
    while_busy(8, scaled(50), spawn);
}

#define INHERITING(test) cmocka_unit_test_setup_teardown(test, inherit, disinherit)

int main(void)
{
    const struct CMUnitTest tests[] = {
        INHERITING(trap_21_a_signal_handler_forks_during_a_fork),
        INHERITING(trap_20_fork_alone),
        INHERITING(trap_20_fork_from_8_busy_threads),
        INHERITING(trap_20_fork_from_32_busy_threads),
        INHERITING(trap_20_fork_in_a_child),
        INHERITING(trap_20_fork_from_several_threads),
        INHERITING(trap_20_report_in_a_child),
        INHERITING(trap_20_handlers_of_fork_allocate_and_symbolize),
        INHERITING(trap_20_a_handler_of_fork_forks),
        INHERITING(trap_18_vfork_and_spawn),
    };

    test_deadline(280);
    REQUIRE(pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0);
    ld_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
