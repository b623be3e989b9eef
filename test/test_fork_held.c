/* SPDX-License-Identifier: MIT
 *
 * fork while what it waits for is held by another thread for longer than it waits: it goes on, and both sides
 * work.  The thread holds it as a fork would, whose functions are those of the library's inside.  And who
 * waits for a fork.
 *
 * build: sources
 */
#define _GNU_SOURCE
#include "test_support.h"

#include <link.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "kernel.h"
#include "loader.h"
#include "roots.h"
#include "stackmap.h"
#include "symbolize.h"
#include "tasks.h"
#include "thread.h"

enum { CHILD_SECONDS = 60 };

static void (*take)(void);
static void (*give_back)(bool in_child);
static atomic_bool is_taken, is_over;

static void *hold(void *unused)
{
    take();
    atomic_store(&is_taken, true);
    while (!atomic_load(&is_over))
        usleep(100);
    give_back(false);
    return unused;
}

static void await(pid_t child)
{
    int status = 0;

    REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Forks while a thread holds it, and has the child, and in the end the parent, do this. */
static void fork_while_held(void take_it(void), void give_it_back(bool in_child), void use(void))
{
    pthread_t holder;
    pid_t child;

    take = take_it;
    give_back = give_it_back;
    atomic_store(&is_taken, false);
    atomic_store(&is_over, false);
    REQUIRE(pthread_create(&holder, NULL, hold, NULL) == 0);
    while (!atomic_load(&is_taken))
        usleep(100);
    child = fork();
    if (child == 0) {
        alarm(CHILD_SECONDS);
        use();
        child = fork();
        if (child != 0)
            await(child);
        /* Not _exit, in which ThreadSanitizer calls threads leaked that the parent has yet to join. */
        kernel_exit(0);
    }
    await(child);
    atomic_store(&is_over, true);
    REQUIRE(pthread_join(holder, NULL) == 0);
    use();
}

/* --- Names -------------------------------------------------------------------------------------------- */

static SITE const void *here(void)
{
    const void *address = __builtin_return_address(0);

    RETURN_FROM_SITE(address);
}

static void name_this_function(void)
{
    struct ld_symbol symbol;

    REQUIRE(ld_symbolize(here(), &symbol) && !symbol.is_partial);
    REQUIRE(symbol.function != NULL && strcmp(symbol.function, "name_this_function") == 0);
    REQUIRE(symbol.file != NULL && symbol.line != 0);
}

/* A handler that was registered before the library's own, and so runs after it. */
static atomic_bool handler_is_on;
static struct ld_symbol handlers_symbol;

static pthread_mutex_t programs_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool handler_locks, handler_waits;

static void before_fork(void)
{
    if (atomic_exchange(&handler_is_on, false))
        REQUIRE(ld_symbolize(here(), &handlers_symbol));
    if (atomic_load(&handler_locks)) {
        atomic_store(&handler_waits, true);
        pthread_mutex_lock(&programs_lock);
    }
}

static void after_fork(void)
{
    if (atomic_load(&handler_locks))
        pthread_mutex_unlock(&programs_lock);
}

/* What handlers of such a fork can have is the module, and where in it. */
static void trap_20_another_thread_symbolizes_for_ever(void **state)
{
    (void)state;
    name_this_function();
    atomic_store(&handler_is_on, true);
    fork_while_held(symbolize_before_fork, symbolize_after_fork, name_this_function);
    assert_true(handlers_symbol.is_partial);
    assert_non_null(handlers_symbol.module);
    assert_null(handlers_symbol.function);
}

/* --- Stacks ------------------------------------------------------------------------------------------- */

static void allocate_and_free(void)
{
    struct snapshot record;
    void *block = ld_malloc(1337);

    REQUIRE(find_block(block, &record) && record.frame_count > 2 && record.flags == 0);
    ld_free(block);
    REQUIRE(!stackmap_is_collecting());
}

static void trap_20_another_thread_collects_for_ever(void **state)
{
    (void)state;
    fork_while_held(stackmap_before_fork, stackmap_after_fork, allocate_and_free);
}

/* --- The gate ------------------------------------------------------------------------------------------- */

static atomic_size_t yields;

int sched_yield(void)
{
    atomic_fetch_add(&yields, 1);
    return (int)syscall(SYS_sched_yield);
}

static atomic_bool is_ready, is_closed, is_inside;

static void *go_in(void *unused)
{
    uint32_t inside;

    ld_free(ld_malloc(1337));
    atomic_store(&is_ready, true);
    while (!atomic_load(&is_closed))
        usleep(100);
    REQUIRE(thread_unwind_enter(thread_self.share, 0, &inside));
    atomic_store(&is_inside, true);
    thread_unwind_leave(thread_self.share, 0);
    return unused;
}

/* A thread of real-time priority that yields all the time keeps the fork from its processor. */
static void who_waits_for_a_fork_sleeps(void **state)
{
    pthread_t thread;

    (void)state;
    REQUIRE(pthread_create(&thread, NULL, go_in, NULL) == 0);
    while (!atomic_load(&is_ready))
        usleep(100);
    thread_before_fork();
    atomic_store(&yields, 0);
    atomic_store(&is_closed, true);
    usleep(100000);
    REQUIRE(!atomic_load(&is_inside));
    REQUIRE(atomic_load(&yields) < 1000);
    thread_after_fork(false);
    REQUIRE(pthread_join(thread, NULL) == 0);
}

/* --- A handler of the program's ---------------------------------------------------------------------------
 */

static SITE void *allocate_here(void)
{
    void *block = ld_malloc(1337);

    RETURN_FROM_SITE(block);
}

/* Allocates and asks for names while a fork waits for its lock. */
static void *work_with_lock(void *unused)
{
    struct snapshot record;
    struct ld_symbol symbol;
    void *block;

    ld_free(ld_malloc(1));
    pthread_mutex_lock(&programs_lock);
    atomic_store(&is_taken, true);
    while (!atomic_load(&handler_waits))
        usleep(100);
    for (int i = 0; i < 3; i++) {
        block = allocate_here();
        REQUIRE(find_block(block, &record) && record.frame_count >= 1);
        REQUIRE(ld_symbolize(record.frames[0], &symbol) && symbol.module != NULL);
        ld_free(block);
    }
    pthread_mutex_unlock(&programs_lock);
    return unused;
}

/* As pthread_atfork is meant: the handler has the lock when the process is copied.  Whoever has it before may
 * need what the library holds back meanwhile. */
static void trap_20_a_handler_of_fork_waits_for_who_allocates(void **state)
{
    pthread_t thread;
    pid_t child;

    (void)state;
    atomic_store(&is_taken, false);
    REQUIRE(pthread_create(&thread, NULL, work_with_lock, NULL) == 0);
    while (!atomic_load(&is_taken))
        usleep(100);
    atomic_store(&handler_locks, true);
    child = fork();
    atomic_store(&handler_locks, false);
    if (child == 0) {
        alarm(CHILD_SECONDS);
        allocate_and_free();
        name_this_function();
        kernel_exit(0);
    }
    await(child);
    REQUIRE(pthread_join(thread, NULL) == 0);
    allocate_and_free();
    name_this_function();
}

/* --- The loader ----------------------------------------------------------------------------------------- */

enum { HOLD_US = 100000 };

static _Atomic pid_t asker;
static atomic_bool has_asked;

/* Has the loader's lock meanwhile. */
static int stay(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)info;
    (void)size;
    (void)unused;
    atomic_store(&is_taken, true);
    while (!atomic_load(&is_over))
        usleep(100);
    usleep(HOLD_US);
    return 1;
}

static void *keep_the_loader(void *unused)
{
    dl_iterate_phdr(stay, unused);
    return unused;
}

static void *gather(void *unused)
{
    struct roots roots;

    atomic_store(&asker, kernel_thread());
    REQUIRE(roots_gather(&roots, NULL, 0) == 0);
    roots_release(&roots);
    atomic_store(&has_asked, true);
    return unused;
}

static int visit(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)info;
    (void)size;
    (void)unused;
    return 1;
}

static void ask_the_loader(void)
{
    REQUIRE(dl_iterate_phdr(visit, NULL) == 1);
}

static void who_asks_the_loader_is_waited_for(void **state)
{
    pthread_t holder, thread;
    pid_t child;

    (void)state;
    atomic_store(&is_taken, false);
    atomic_store(&is_over, false);
    REQUIRE(pthread_create(&holder, NULL, keep_the_loader, NULL) == 0);
    while (!atomic_load(&is_taken))
        usleep(100);
    REQUIRE(pthread_create(&thread, NULL, gather, NULL) == 0);
    /* It waits for half a second, not more: to look whether it does takes too long on a busy machine. */
    while (atomic_load(&asker) == 0)
        usleep(1000);
    usleep(HOLD_US);
    atomic_store(&is_over, true);
    child = fork();
    if (child == 0) {
        alarm(CHILD_SECONDS);
        ask_the_loader();
        kernel_exit(0);
    }
    await(child);
    REQUIRE(pthread_join(thread, NULL) == 0);
    REQUIRE(pthread_join(holder, NULL) == 0);
}

static void nobody_asks_the_loader_before_a_fork(void **state)
{
    pthread_t thread;

    (void)state;
    atomic_store(&has_asked, false);
    loader_before_fork();
    REQUIRE(pthread_create(&thread, NULL, gather, NULL) == 0);
    usleep(HOLD_US);
    REQUIRE(!atomic_load(&has_asked));
    loader_after_fork(false);
    REQUIRE(pthread_join(thread, NULL) == 0);
    REQUIRE(atomic_load(&has_asked));
}

static SITE void allocate_in_child(void)
{
    allocate_and_free();
}

/* In the child of such a fork libunwind asks the loader, whose lock nobody there would ever give back. */
static void trap_20_a_thread_that_has_the_loader_is_not_there_in_the_child(void **state)
{
    pthread_t thread;
    pid_t child;

    (void)state;
    atomic_store(&is_taken, false);
    atomic_store(&is_over, false);
    REQUIRE(pthread_create(&thread, NULL, keep_the_loader, NULL) == 0);
    while (!atomic_load(&is_taken))
        usleep(100);
    child = fork();
    if (child == 0) {
        alarm(CHILD_SECONDS);
        allocate_in_child();
        kernel_exit(0);
    }
    await(child);
    atomic_store(&is_over, true);
    REQUIRE(pthread_join(thread, NULL) == 0);
}

static int fork_in_here(struct dl_phdr_info *info, size_t size, void *unused)
{
    pid_t child = fork();

    (void)info, (void)size, (void)unused;
    if (child == 0)
        return 1;
    await(child);
    return 2;
}

static SITE void allocate_after_callback(void)
{
    allocate_and_free();
}

/* There the lock is that of a thread that has another id by now, and is given back by it. */
static void trap_20_a_fork_in_a_callback_of_the_loader(void **state)
{
    int in_child;

    (void)state;
    in_child = dl_iterate_phdr(fork_in_here, NULL) == 1;
    if (in_child)
        alarm(CHILD_SECONDS);
    allocate_after_callback();
    if (in_child) {
        pid_t child = fork();

        if (child != 0)
            await(child);
        kernel_exit(0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trap_20_another_thread_symbolizes_for_ever),
        cmocka_unit_test(trap_20_another_thread_collects_for_ever),
        cmocka_unit_test(who_waits_for_a_fork_sleeps),
        cmocka_unit_test(trap_20_a_handler_of_fork_waits_for_who_allocates),
        cmocka_unit_test(trap_20_a_thread_that_has_the_loader_is_not_there_in_the_child),
        cmocka_unit_test(trap_20_a_fork_in_a_callback_of_the_loader),
        cmocka_unit_test(who_asks_the_loader_is_waited_for),
        cmocka_unit_test(nobody_asks_the_loader_before_a_fork),
    };

    test_deadline(280);
    REQUIRE(pthread_atfork(before_fork, after_fork, after_fork) == 0);
    ld_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
