/* SPDX-License-Identifier: MIT
 *
 * Looking for lost blocks in programs that do not stand still: threads that come and go, reallocate, load
 * libraries, change their user, wait for children; sandboxes; and what a look must leave as it was.
 * build: plugin test/plugin_one.c
 */
#define _GNU_SOURCE
#include "test_support.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { BUSY = 8, LOOKS = 60 };

static atomic_bool is_over;
static void *volatile global;

static SITE void wipe_stack(void)
{
    volatile char dead[16384];

    for (size_t i = 0; i < sizeof(dead); i++)
        dead[i] = 0;
}

static bool print_lost(const struct ld_leak *leak, void *ctx)
{
    char name[256];

    (void)ctx;
    ld_symbol_name(leak->frame_count > 0 ? leak->frames[0] : NULL, name, sizeof(name));
    dprintf(STDERR_FILENO, "lost (%d): %zu bytes of %s\n", (int)leak->reach, leak->size, name);
    return true;
}

static SITE void require_nothing_lost(void)
{
    errno = 0;
    REQUIRE(ld_lost_leaks(print_lost, NULL) == 0);
    REQUIRE(errno == 0);
}

/* --- What the threads do -------------------------------------------------------------------------------- */

struct node {
    struct node *next;
    char rest[100];
};

/* Moves what it holds through lists, arrays that grow, and its stack. */
static void *work_on_lists(void *seed_of_thread)
{
    uint64_t seed = *(uint64_t *)seed_of_thread;
    struct node *head = NULL;
    struct node **array = NULL;
    size_t count = 0;

    while (!atomic_load_explicit(&is_over, memory_order_relaxed)) {
        for (size_t i = 0; i < 100; i++) {
            struct node *node = ld_malloc(sizeof(*node));

            node->next = head;
            head = node;
        }
        while (head != NULL) {
            struct node *node = head;

            head = node->next;
            node->next = NULL;
            array = ld_realloc(array, (count + 1) * sizeof(*array));
            array[count++] = node;
        }
        if (random_below(&seed, 2) == 0)
            sched_yield();
        while (count > 0)
            ld_free(array[--count]);
        ld_free(array);
        array = NULL;
    }
    return NULL;
}

static _Thread_local void *of_thread;

static void *live_shortly(void *argument)
{
    of_thread = argument;
    sched_yield();
    ld_free(of_thread);
    of_thread = NULL;
    return ld_malloc(10);
}

/* Makes threads that get a block and give one back. */
static void *make_threads(void *unused)
{
    (void)unused;
    while (!atomic_load_explicit(&is_over, memory_order_relaxed)) {
        pthread_t thread;
        void *result;

        REQUIRE(pthread_create(&thread, NULL, live_shortly, ld_malloc(20)) == 0);
        sched_yield();
        REQUIRE(pthread_join(thread, &result) == 0);
        ld_free(result);
    }
    return NULL;
}

static void *load_libraries(void *unused)
{
    (void)unused;
    while (!atomic_load_explicit(&is_over, memory_order_relaxed)) {
        char path[4096];
        ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 32);
        void *library;

        REQUIRE(length > 0);
        path[length] = 0;
        strcpy(strrchr(path, '/') + 1, "plugin_one.so");
        library = dlopen(path, RTLD_NOW);
        REQUIRE(library != NULL);
        dlclose(library);
        usleep(20000);
    }
    return NULL;
}

/* glibc tells all threads, by the same signal that stops them. */
static void *change_user(void *unused)
{
    (void)unused;
    while (!atomic_load_explicit(&is_over, memory_order_relaxed)) {
        REQUIRE(setresuid((uid_t)-1, geteuid(), (uid_t)-1) == 0);
        usleep(500);
    }
    return NULL;
}

static void *block_signals(void *unused)
{
    sigset_t set;

    sigfillset(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    while (!atomic_load_explicit(&is_over, memory_order_relaxed))
        usleep(1000);
    return unused;
}

static void *look(void *unused)
{
    (void)unused;
    while (!atomic_load_explicit(&is_over, memory_order_relaxed))
        require_nothing_lost();
    return NULL;
}

static void while_busy(void *(*const work[])(void *), size_t threads, size_t looks)
{
    pthread_t busy[BUSY];
    uint64_t seeds[BUSY];

    atomic_store(&is_over, false);
    for (size_t i = 0; i < threads; i++) {
        seeds[i] = test_seed() + i;
        assert_int_equal(pthread_create(&busy[i], NULL, work[i], &seeds[i]), 0);
    }
    for (size_t i = 0; i < looks; i++)
        require_nothing_lost();
    atomic_store(&is_over, true);
    for (size_t i = 0; i < threads; i++)
        pthread_join(busy[i], NULL);
}

static void blocks_on_the_move_are_not_lost(void **state)
{
    (void)state;
    while_busy((void *(*const[])(void *)){work_on_lists, work_on_lists, work_on_lists}, 3, scaled(LOOKS));
}

static void blocks_of_threads_that_come_and_go_are_not_lost(void **state)
{
    (void)state;
    while_busy((void *(*const[])(void *)){make_threads, make_threads, work_on_lists}, 3, scaled(LOOKS));
}

static void libraries_may_come_and_go(void **state)
{
    (void)state;
    while_busy((void *(*const[])(void *)){load_libraries, work_on_lists}, 2, scaled(LOOKS) / 4 + 1);
}

static void the_signal_of_glibc_still_works(void **state)
{
    (void)state;
    while_busy((void *(*const[])(void *)){change_user, change_user, block_signals, work_on_lists}, 4,
               scaled(LOOKS));
}

static void several_threads_may_look_at_once(void **state)
{
    (void)state;
    while_busy((void *(*const[])(void *)){look, look, work_on_lists}, 3, scaled(LOOKS) / 4 + 1);
}

/* --- What is left as it was ----------------------------------------------------------------------------- */

static atomic_int children_ended;

static void on_child(int signal)
{
    (void)signal;
    atomic_fetch_add(&children_ended, 1);
}

static size_t count_entries(const char *path)
{
    DIR *directory = opendir(path);
    size_t count = 0;

    assert_non_null(directory);
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

static size_t count_mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    size_t count = 0;

    assert_non_null(maps);
    for (int c = getc(maps); c != EOF; c = getc(maps))
        count += c == '\n';
    fclose(maps);
    return count;
}

static void no_child_is_seen(void **state)
{
    struct sigaction action = {.sa_handler = on_child}, before;

    (void)state;
    sigaction(SIGCHLD, &action, &before);
    for (int i = 0; i < 10; i++)
        require_nothing_lost();
    assert_int_equal(waitpid(-1, NULL, 0), -1);
    assert_int_equal(errno, ECHILD);
    assert_int_equal(atomic_load(&children_ended), 0);
    sigaction(SIGCHLD, &before, NULL);
}

static void *wait_for_any(void *unused)
{
    pid_t pid = fork();

    (void)unused;
    if (pid == 0) {
        usleep(200000);
        _exit(7);
    }
    return (void *)(uintptr_t)(waitpid(-1, NULL, 0) == pid);
}

static void a_wait_gets_the_child_of_the_program(void **state)
{
    pthread_t thread;
    void *is_right;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, wait_for_any, NULL), 0);
    for (int i = 0; i < 10; i++) {
        require_nothing_lost();
        usleep(10000);
    }
    pthread_join(thread, &is_right);
    assert_non_null(is_right);
}

static void nothing_is_left_behind(void **state)
{
    size_t files, mappings;
    sigset_t blocked;

    (void)state;
    require_nothing_lost();
    files = count_entries("/proc/self/fd");
    mappings = count_mappings();
    for (int i = 0; i < 50; i++)
        require_nothing_lost();
    assert_int_equal(count_entries("/proc/self/fd"), files);
    assert_in_range(count_mappings(), mappings - 2, mappings + 2);
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    assert_false(sigismember(&blocked, SIGUSR1));
}

/* --- Forks -------------------------------------------------------------------------------------------- */

static SITE void lose_one(void)
{
    global = ld_malloc(1337);
    wipe_stack();
    require_nothing_lost();
    global = NULL;
    wipe_stack();
    REQUIRE(ld_lost_leaks(NULL, NULL) == 1);
}

static void *look_once(void *unused)
{
    (void)unused;
    require_nothing_lost();
    return NULL;
}

/* Waits until this thread, which blocks the signal that stops threads, is to be stopped. */
static void wait_for_look(uint64_t signal)
{
    uint64_t pending = 0;

    for (int i = 0; (pending & signal) == 0; i++) {
        REQUIRE(i < 30000);
        usleep(100);
        REQUIRE(syscall(SYS_rt_sigpending, &pending, sizeof(pending)) == 0);
    }
}

/* As _Fork, without handlers of fork: nobody says in the child that no thread looks any more.  The signals of
 * who looks are blocked, so that no alarm would end it. */
static void a_child_does_not_wait_for_its_parents_look(void **state)
{
    const uint64_t signal = UINT64_C(1) << 32;
    pthread_t thread;
    int status = -1, ended = 0;
    pid_t child;

    (void)state;
    assert_int_equal(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &signal, NULL, sizeof(signal)), 0);
    assert_int_equal(pthread_create(&thread, NULL, look_once, NULL), 0);
    wait_for_look(signal);
    child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0) {
        lose_one();
        _exit(0);
    }
    assert_true(child > 0);
    assert_int_equal(syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &signal, NULL, sizeof(signal)), 0);
    pthread_join(thread, NULL);
    for (int i = 0; ended == 0 && i < 3000; i++) {
        usleep(10000);
        ended = waitpid(child, &status, WNOHANG);
    }
    if (ended == 0) {
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
    }
    assert_int_equal(status, 0);
}

/* --- Ends ----------------------------------------------------------------------------------------------- */

static void *report_to_nowhere(void *nowhere)
{
    pthread_cancel(pthread_self());
    ld_report(*(int *)nowhere, NULL);
    return NULL;
}

static void *check_to_nowhere(void *nowhere)
{
    pthread_cancel(pthread_self());
    ld_check(*(int *)nowhere, NULL, NULL);
    return NULL;
}

/* AddressSanitizer does not see the frames go of a thread that is cancelled. */
static void who_is_cancelled_leaves_no_mapping_behind(void **state)
{
    enum { TIMES = 20 };
    size_t before = 0;
    int nowhere;

    (void)state;
    if (HAS_SANITIZER)
        skip();
    nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    for (int i = 0; i <= TIMES; i++) {
        void *(*const run[])(void *) = {report_to_nowhere, check_to_nowhere};

        for (size_t k = 0; k < 2; k++) {
            pthread_t thread;
            void *result;

            assert_int_equal(pthread_create(&thread, NULL, run[k], &nowhere), 0);
            assert_int_equal(pthread_join(thread, &result), 0);
            assert_ptr_equal(result, PTHREAD_CANCELED);
        }
        if (i == 0)
            before = count_mappings();
    }
    assert_true(count_mappings() < before + TIMES);
    close(nowhere);
}

/* --- Sandboxes ---------------------------------------------------------------------------------------- */

/* From now on the system call fails with EPERM. */
static void refuse(int number)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    REQUIRE(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void look_where_refused(int number)
{
    pthread_t thread;
    int status = -1;
    pid_t child = fork();

    if (child == 0) {
        alarm(60);
        atomic_store(&is_over, false);
        REQUIRE(pthread_create(&thread, NULL, block_signals, NULL) == 0);
        refuse(number);
        lose_one();
        _exit(0);
    }
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
}

static void works_where_ptrace_is_refused(void **state)
{
    (void)state;
    look_where_refused(SYS_ptrace);
}

static void works_in_place_where_a_copy_is_refused(void **state)
{
    (void)state;
    look_where_refused(SYS_clone);
}

/* AddressSanitizer ends the program if it cannot take its own signal stack away. */
static void works_where_no_signal_stack_is_told(void **state)
{
    (void)state;
    if (HAS_SANITIZER)
        skip();
    look_where_refused(SYS_sigaltstack);
}

/* The copy ends all the same.  The child itself has no other end than this. */
static void works_where_the_end_is_refused(void **state)
{
    int status = -1;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        refuse(SYS_exit_group);
        lose_one();
        raise(SIGKILL);
    }
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void works_where_threads_cannot_be_signalled(void **state)
{
    (void)state;
    look_where_refused(SYS_rt_tgsigqueueinfo);
}

/* Processes that are forked from now on are another pid namespace's, while /proc stays.  False: that is not
 * allowed. */
static bool unshare_pids(void)
{
    return unshare(CLONE_NEWPID) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWPID) == 0;
}

static _Noreturn void wait_and_exit(pid_t child)
{
    int status = -1;

    waitpid(child, &status, 0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

enum { IS_REFUSED = 77 };

static void *hold_one(void *is_held)
{
    void *volatile held = ld_malloc(666);

    atomic_store((atomic_bool *)is_held, true);
    while (!atomic_load_explicit(&is_over, memory_order_relaxed))
        usleep(1000);
    ld_free(held);
    return NULL;
}

/* What a child may not do here is skipped. */
static void ends_well(pid_t child)
{
    int status = -1;

    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == IS_REFUSED)
        skip();
    assert_int_equal(status, 0);
}

/* Without others the numbers of threads do not matter. */
static void fails_where_threads_have_other_numbers(void **state)
{
    pthread_t thread;
    atomic_bool is_held = false;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        if (!unshare_pids())
            _exit(IS_REFUSED);
        /* The first one there takes no deadly signal of its own. */
        for (int i = 0; i < 2; i++) {
            pid_t next = fork();

            if (next != 0)
                wait_and_exit(next);
        }
        REQUIRE(getpid() == 2);
        alarm(60);
        lose_one();
        atomic_store(&is_over, false);
        REQUIRE(pthread_create(&thread, NULL, hold_one, &is_held) == 0);
        while (!atomic_load(&is_held))
            usleep(1000);
        errno = 0;
        REQUIRE(ld_lost_leaks(print_lost, NULL) == 0);
        REQUIRE(errno == ESRCH);
        _exit(0);
    }
    ends_well(child);
}

/* A copy would be the first process there, and nothing could be forked when it has ended. */
static void works_in_place_where_a_copy_would_found_a_namespace(void **state)
{
    pid_t child = fork(), first;

    (void)state;
    if (child == 0) {
        alarm(60);
        if (!unshare_pids())
            _exit(IS_REFUSED);
        lose_one();
        first = fork();
        if (first == 0)
            _exit(getpid() == 1 ? 0 : 1);
        REQUIRE(first > 0);
        wait_and_exit(first);
    }
    ends_well(child);
}

static void fails_where_threads_cannot_be_listed(void **state)
{
    int status = -1;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        refuse(SYS_openat);
        errno = 0;
        global = ld_malloc(1337);
        global = NULL;
        REQUIRE(ld_lost_leaks(NULL, NULL) == 0);
        REQUIRE(errno == EPERM);
        _exit(0);
    }
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
}

/* --- The report --------------------------------------------------------------------------------------- */

static SITE uintptr_t make_hidden(size_t size)
{
    RETURN_FROM_SITE(~(uintptr_t)ld_malloc(size));
}

static void a_check_reports_what_is_lost(void **state)
{
    static char text[16384];
    int pipe_ends[2];
    size_t lost = 99;
    ssize_t length;

    (void)state;
    assert_int_equal(pipe(pipe_ends), 0);
    wipe_stack();
    assert_int_equal(ld_check(pipe_ends[1], NULL, &lost), 0);
    assert_int_equal(lost, 0);
    uintptr_t hidden = make_hidden(1337);

    wipe_stack();
    assert_int_equal(ld_check(pipe_ends[1], NULL, &lost), 0);
    assert_int_equal(lost, 1);
    close(pipe_ends[1]);
    length = read(pipe_ends[0], text, sizeof(text) - 1);
    assert_true(length > 0);
    text[length] = 0;
    assert_non_null(strstr(text, "definitely"));
    assert_non_null(strstr(text, "1,337 bytes"));
    close(pipe_ends[0]);
    ld_free((void *)~hidden);
}

static SITE uintptr_t make_follower(void)
{
    RETURN_FROM_SITE(~(uintptr_t)ld_malloc(50));
}

/* Only this one has the beginning of the other, and nothing leads to it. */
static SITE uintptr_t make_leader(uintptr_t hidden_follower)
{
    void **leader = ld_malloc(100);

    memset(leader, 0, 100);
    leader[1] = (void *)~hidden_follower;
    RETURN_FROM_SITE(~(uintptr_t)leader);
}

/* Addresses are computed where nothing of them is left. */
static SITE void drop(uintptr_t hidden)
{
    ld_free((void *)~hidden);
    wipe_stack();
}

static SITE void ignore_at(uintptr_t hidden, size_t offset)
{
    ld_ignore((const char *)~hidden + offset);
    wipe_stack();
}

static void what_a_suppressed_block_leads_is_suppressed_with_it(void **state)
{
    const struct ld_report_options of_leader = {.suppressions = "leak:^make_leader$"},
                                   of_follower = {.suppressions = "leak:^make_follower$"};
    int nowhere = open("/dev/null", O_WRONLY);
    uintptr_t follower = make_follower(), leader = make_leader(follower);
    size_t lost = 99;

    (void)state;
    wipe_stack();
    assert_int_equal(ld_check(nowhere, &of_follower, &lost), 0);
    assert_int_equal(lost, 1);
    wipe_stack();
    assert_int_equal(ld_check(nowhere, NULL, &lost), 0);
    assert_int_equal(lost, 2);
    wipe_stack();
    assert_int_equal(ld_check(nowhere, &of_leader, &lost), 0);
    assert_int_equal(lost, 0);
    close(nowhere);
    drop(follower);
    drop(leader);
}

/* A report of what is newer than that block: what it leads is not led by another one. */
static void what_an_older_block_leads_is_not_suppressed_with_others(void **state)
{
    struct ld_report_options of_other = {.suppressions = "leak:^make_hidden$"};
    int nowhere = open("/dev/null", O_WRONLY);
    uintptr_t leader = make_leader(0), other, follower;
    size_t lost = 99;

    (void)state;
    of_other.since = ld_mark();
    other = make_hidden(5000);
    follower = make_follower();
    ((void **)~leader)[1] = (void *)~follower;
    wipe_stack();
    assert_int_equal(ld_check(nowhere, &of_other, &lost), 0);
    assert_int_equal(lost, 1);
    close(nowhere);
    drop(follower);
    drop(other);
    drop(leader);
}

/* As the elements of new[], behind their number. */
static void a_pointer_into_a_block_has_it_ignored(void **state)
{
    uintptr_t hidden = make_hidden(8000);

    (void)state;
    ignore_at(hidden, 5000); /* too far in */
    ignore_at(hidden, 8000); /* beyond */
    wipe_stack();
    assert_int_equal(ld_lost_leaks(NULL, NULL), 1);
    ignore_at(hidden, 8);
    wipe_stack();
    assert_int_equal(ld_lost_leaks(NULL, NULL), 0);
    drop(hidden);
}

static void a_registered_region_may_end_beyond_its_file(void **state)
{
    enum { SIZE = 65536 };
    static const int kinds[] = {MAP_SHARED, MAP_PRIVATE};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        int file = memfd_create("short", 0);
        uintptr_t held = make_hidden(666), hidden = make_hidden(1337);
        void **region;

        assert_int_equal(ftruncate(file, 4096), 0);
        region = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, kinds[i], file, 0);
        assert_ptr_not_equal(region, MAP_FAILED);
        assert_int_equal(ld_register_root(region, SIZE), 0);
        region[1] = (void *)~held;
        wipe_stack();
        errno = 0;
        assert_int_equal(ld_lost_leaks(NULL, NULL), 1);
        assert_int_equal(errno, 0);
        assert_int_equal(ld_unregister_root(region, SIZE), 0);
        munmap(region, SIZE);
        close(file);
        drop(held);
        drop(hidden);
    }
}

/* Rounded up its beginning is 0, and so it would be all that there is. */
static void no_region_begins_where_addresses_end(void **state)
{
    const uintptr_t end = 0;
    uintptr_t hidden = make_hidden(1337);

    (void)state;
    assert_int_equal(ld_register_root((const void *)(end - 7), 3), EINVAL);
    assert_int_equal(ld_register_root((const void *)(end - 8192), 8192), EINVAL);
    assert_int_equal(ld_register_root((const void *)(end - 8192), SIZE_MAX), EINVAL);
    wipe_stack();
    assert_int_equal(ld_lost_leaks(NULL, NULL), 1);
    assert_int_equal(ld_register_root((const void *)(end - 8192), 4096), 0);
    assert_int_equal(ld_unregister_root((const void *)(end - 8192), 4096), 0);
    drop(hidden);
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
        cmocka_unit_test(a_check_reports_what_is_lost),
        cmocka_unit_test(what_a_suppressed_block_leads_is_suppressed_with_it),
        cmocka_unit_test(what_an_older_block_leads_is_not_suppressed_with_others),
        cmocka_unit_test(a_pointer_into_a_block_has_it_ignored),
        cmocka_unit_test(a_registered_region_may_end_beyond_its_file),
        cmocka_unit_test(no_region_begins_where_addresses_end),
        cmocka_unit_test(blocks_on_the_move_are_not_lost),
        cmocka_unit_test(blocks_of_threads_that_come_and_go_are_not_lost),
        cmocka_unit_test(libraries_may_come_and_go),
        cmocka_unit_test(the_signal_of_glibc_still_works),
        cmocka_unit_test(several_threads_may_look_at_once),
        cmocka_unit_test(no_child_is_seen),
        cmocka_unit_test(a_wait_gets_the_child_of_the_program),
        cmocka_unit_test(nothing_is_left_behind),
        cmocka_unit_test(a_child_does_not_wait_for_its_parents_look),
        cmocka_unit_test(works_where_ptrace_is_refused),
        cmocka_unit_test(works_in_place_where_a_copy_is_refused),
        cmocka_unit_test(works_where_no_signal_stack_is_told),
        cmocka_unit_test(works_where_the_end_is_refused),
        cmocka_unit_test(works_where_threads_cannot_be_signalled),
        cmocka_unit_test(who_is_cancelled_leaves_no_mapping_behind),
        cmocka_unit_test(works_in_place_where_a_copy_would_found_a_namespace),
        cmocka_unit_test(fails_where_threads_cannot_be_listed),
        cmocka_unit_test(fails_where_threads_have_other_numbers),
    };

    test_deadline(300);
    ld_init();
    if (HAS_THREAD_SANITIZER)
        return cmocka_run_group_tests(none, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
