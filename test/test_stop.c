/* SPDX-License-Identifier: MIT
 *
 * Threads that are not to be stopped just now (stop.h), and the signal handlers that interrupt them, on their
 * own stack and on others, which may lie above it or below.
 *
 * build: sources
 */
#define _GNU_SOURCE
#include "test_support.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel.h"
#include "leakdetect.h"
#include "stop.h"
#include "tasks.h"

enum { STACK_SIZE = 256 * 1024, WAITS = 3000 };

/* Two stacks, the lower of which is the thread's or that of its handlers. */
static char *lower, *upper;
static bool is_own_lower;

static atomic_bool is_ready, is_over, has_allowed;
static sigjmp_buf left;
static stack_t before; /* a sanitizer's, which unmaps what it finds when the thread ends */

static void wait_for(const atomic_bool *what)
{
    for (int i = 0; !atomic_load(what); i++) {
        REQUIRE(i < WAITS);
        usleep(1000);
    }
}

static void interrupt(void (*handler)(int))
{
    const stack_t stack = {.ss_sp = is_own_lower ? upper : lower, .ss_size = STACK_SIZE};
    const struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};

    REQUIRE(sigaltstack(&stack, &before) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
    raise(SIGUSR1);
}

/* What it has in hand itself does not end what it has interrupted. */
static void wait_for_request(int number)
{
    (void)number;
    stop_allow(stop_defer());
    atomic_store(&is_ready, true);
    for (int i = 0; stop_self.request == 0; i++) {
        REQUIRE(i < WAITS);
        usleep(1000);
    }
}

static void *is_interrupted(void *unused)
{
    const void *outer = stop_defer();

    (void)unused;
    interrupt(wait_for_request);
    atomic_store(&has_allowed, true);
    stop_allow(outer);
    wait_for(&is_over);
    REQUIRE(sigaltstack(&before, NULL) == 0);
    return NULL;
}

static void leave(int number)
{
    (void)number;
    stop_defer();
    siglongjmp(left, 1);
}

static void *is_left(void *unused)
{
    (void)unused;
    if (sigsetjmp(left, 1) == 0)
        interrupt(leave);
    atomic_store(&has_allowed, true);
    atomic_store(&is_ready, true);
    wait_for(&is_over);
    REQUIRE(sigaltstack(&before, NULL) == 0);
    return NULL;
}

static void stop_one(bool own_is_lower, void *(*run)(void *))
{
    pthread_attr_t attributes;
    pthread_t thread;
    struct stop stop;
    const struct stop_thread *found = NULL;
    uintptr_t own;

    is_own_lower = own_is_lower;
    own = (uintptr_t)(is_own_lower ? lower : upper);
    atomic_store(&is_ready, false);
    atomic_store(&is_over, false);
    atomic_store(&has_allowed, false);
    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setstack(&attributes, (void *)own, STACK_SIZE), 0);
    assert_int_equal(pthread_create(&thread, &attributes, run, NULL), 0);
    wait_for(&is_ready);

    assert_int_equal(stop_begin(&stop), 0);
    for (size_t i = 0; i < stop.count; i++)
        if (stop.threads[i].state == STOP_STOPPED && stop.threads[i].stack_pointer - own < STACK_SIZE)
            found = &stop.threads[i];
    stop_end();
    stop_unblock(&stop);

    atomic_store(&is_over, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_non_null(found);
    assert_true(atomic_load(&has_allowed));
}

static void a_handler_on_a_stack_of_its_own_does_not_end_what_it_interrupts(void **state)
{
    (void)state;
    stop_one(true, is_interrupted);
    stop_one(false, is_interrupted);
}

static void what_was_left_by_a_jump_keeps_nobody_from_being_stopped(void **state)
{
    (void)state;
    stop_one(true, is_left);
    stop_one(false, is_left);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool is_wanted;

/* It goes on when it was stopped, and let go. */
static void *has_lock(void *unused)
{
    pthread_mutex_lock(&lock);
    atomic_store(&is_ready, true);
    wait_for(&is_wanted);
    usleep(200000);
    pthread_mutex_unlock(&lock);
    wait_for(&is_over);
    return unused;
}

static void *waits_for_lock(void *unused)
{
    const void *outer;

    wait_for(&is_ready);
    outer = stop_defer();
    atomic_store(&is_wanted, true);
    pthread_mutex_lock(&lock);
    pthread_mutex_unlock(&lock);
    stop_allow(outer);
    wait_for(&is_over);
    return unused;
}

static void who_waits_for_one_that_is_stopped_does_not_have_all_wait(void **state)
{
    pthread_t threads[2];
    struct stop stop;

    (void)state;
    atomic_store(&is_ready, false);
    atomic_store(&is_over, false);
    assert_int_equal(pthread_create(&threads[0], NULL, has_lock, NULL), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, waits_for_lock, NULL), 0);
    wait_for(&is_wanted);

    assert_int_equal(stop_begin(&stop), 0);
    stop_end();
    stop_unblock(&stop);

    atomic_store(&is_over, true);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(stop.count, 2);
    assert_int_equal(stop.running, 0);
}

/* --- Signals of the program's that come while a thread is stopped ----------------------------------------
 */

static int line[2];
static _Atomic pid_t reader;
static int result_of_read;

static void do_nothing(int number)
{
    (void)number;
}

static void *reads(void *unused)
{
    char byte;

    atomic_store(&reader, kernel_thread());
    result_of_read = read(line[0], &byte, 1) == 1 ? 0 : errno;
    atomic_store(&is_over, true);
    return unused;
}

/* Returns what a thread has of `read` when such a signal comes: 0 if it goes on until there is something. */
static int read_when_a_signal_comes(int flags)
{
    const struct sigaction action = {.sa_handler = do_nothing, .sa_flags = flags};
    struct timespec moment = {.tv_nsec = 200000000};
    pthread_t thread;
    struct stop stop;
    uintptr_t arguments[TASK_ARGUMENTS];

    atomic_store(&is_over, false);
    atomic_store(&reader, 0);
    assert_int_equal(pipe(line), 0);
    assert_int_equal(sigaction(SIGUSR2, &action, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, reads, NULL), 0);
    for (int i = 0; atomic_load(&reader) == 0 || tasks_stack_pointer(atomic_load(&reader), arguments) == 0 ||
                    arguments[0] != (uintptr_t)line[0];
         i++) {
        REQUIRE(i < WAITS);
        usleep(1000);
    }

    assert_int_equal(stop_begin(&stop), 0);
    syscall(SYS_tgkill, kernel_process(), atomic_load(&reader), SIGUSR2);
    stop_end();
    stop_unblock(&stop);

    for (int i = 0; i < 10 && !atomic_load(&is_over); i++)
        nanosleep(&moment, NULL);
    assert_int_equal(write(line[1], "x", 1), 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
    close(line[0]);
    close(line[1]);
    return result_of_read;
}

/* A program whose loop waits and looks at a flag that its handler sets would wait for ever. */
static void a_signal_that_comes_meanwhile_interrupts_a_call(void **state)
{
    (void)state;
#if !defined(__x86_64__)
    skip();
#endif
    assert_int_equal(read_when_a_signal_comes(0), EINTR);
    assert_int_equal(read_when_a_signal_comes(SA_RESTART), 0);
}

static _Atomic pid_t deaf;

/* Whoever may not have other groups has those that it has. */
static void *is_deaf(void *unused)
{
    enum { GROUPS = 3000, FIRST_GROUP = 100000 };
    static gid_t groups[GROUPS];
    uint64_t mask;

    for (gid_t i = 0; i < GROUPS; i++)
        groups[i] = FIRST_GROUP + i;
    syscall(SYS_setgroups, (size_t)GROUPS, groups);
    kernel_block(~UINT64_C(0), &mask);
    atomic_store(&deaf, kernel_thread());
    wait_for(&is_over);
    kernel_set_blocked(mask);
    return unused;
}

/* They come before nearly all else that the kernel tells of a thread. */
static void threads_of_many_groups_are_known(void **state)
{
    pthread_t thread;

    (void)state;
    atomic_store(&is_over, false);
    assert_int_equal(pthread_create(&thread, NULL, is_deaf, NULL), 0);
    for (int i = 0; atomic_load(&deaf) == 0; i++) {
        REQUIRE(i < WAITS);
        usleep(1000);
    }
    assert_int_equal(tasks_state(atomic_load(&deaf), STOP_SIGNAL), TASK_DEAF);
    assert_int_equal(tasks_state(kernel_thread(), STOP_SIGNAL), TASK_READY);
    atomic_store(&is_over, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* One that has ended is told from one that there is no descriptor to ask about with. */
static void threads_are_not_gone_when_descriptors_are_out(void **state)
{
    struct rlimit limit, none;
    enum task_state itself, ended;
    pid_t child = fork();

    (void)state;
    if (child == 0)
        _exit(0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    ended = tasks_state(child, STOP_SIGNAL);
    none = (struct rlimit){.rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    itself = tasks_state(kernel_thread(), STOP_SIGNAL);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(ended, TASK_GONE);
    assert_int_equal(itself, TASK_READY);
}

/* As jemalloc's own: the library's come before it, and after it. */
static unsigned deferred_handlers;

static void handle_fork(void)
{
    deferred_handlers += stop_self.deferred != NULL;
}

static void who_forks_is_not_stopped_with_the_locks_of_the_heap(void **state)
{
    pid_t child;
    int status;

    (void)state;
    assert_int_equal(pthread_atfork(handle_fork, handle_fork, handle_fork), 0);
    ld_init();
    child = fork();
    if (child == 0)
        _exit(deferred_handlers == 2 && stop_self.deferred == NULL ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(deferred_handlers, 2);
    assert_null(stop_self.deferred);
}

static int make_stacks(void **state)
{
    (void)state;
    lower = mmap(NULL, 2 * STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    upper = lower + STACK_SIZE;
    return lower == MAP_FAILED ? -1 : 0;
}

/* TSan has a thread of its own, in which no instrumented code may run, and so no handler of a signal. */
static void threads_beside_the_sanitizers_are_stopped(void **state)
{
    (void)state;
    skip();
}

int main(void)
{
    const struct CMUnitTest none[] = {cmocka_unit_test(threads_beside_the_sanitizers_are_stopped)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handler_on_a_stack_of_its_own_does_not_end_what_it_interrupts),
        cmocka_unit_test(what_was_left_by_a_jump_keeps_nobody_from_being_stopped),
        cmocka_unit_test(who_waits_for_one_that_is_stopped_does_not_have_all_wait),
        cmocka_unit_test(a_signal_that_comes_meanwhile_interrupts_a_call),
        cmocka_unit_test(threads_of_many_groups_are_known),
        cmocka_unit_test(threads_are_not_gone_when_descriptors_are_out),
        cmocka_unit_test(who_forks_is_not_stopped_with_the_locks_of_the_heap),
    };

    return HAS_THREAD_SANITIZER ? cmocka_run_group_tests(none, NULL, NULL)
                                : cmocka_run_group_tests(tests, make_stacks, NULL);
}
