/* SPDX-License-Identifier: MIT
 *
 * What a program, and its system, have of the copy in which lost blocks are looked for: it keeps none of the
 * program's descriptors, dies first when memory runs out, has no priority; and the thread that makes it has
 * the time that it had.
 */
#define _GNU_SOURCE
#include "test_support.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { BLOCKS = 100000, SIZE = 200, LOOKS = 40 };

static struct node {
    struct node *volatile next;
    char rest[SIZE - sizeof(void *)];
} * list;

static atomic_bool is_over;

/* For a copy to be at work for a while: it has so many blocks to mark, one after the other. */
static int make_list(void **state)
{
    (void)state;
    for (size_t i = 0; i < BLOCKS; i++) {
        struct node *node = ld_malloc(sizeof(*node));

        REQUIRE(node != NULL);
        node->next = list;
        list = node;
    }
    return 0;
}

static int free_list(void **state)
{
    (void)state;
    while (list != NULL) {
        struct node *next = list->next;

        ld_free(list);
        list = next;
    }
    return 0;
}

/* Looks until it is over, but not for ever. */
static void *look_again_and_again(void *ctx)
{
    (void)ctx;
    for (size_t i = 0; i < LOOKS && !atomic_load(&is_over); i++) {
        errno = 0;
        ld_lost_leaks(NULL, NULL);
        REQUIRE(errno == 0);
    }
    atomic_store(&is_over, true);
    return NULL;
}

static pthread_t start_looking(void)
{
    pthread_t looks;

    /* ThreadSanitizer bears no copy of a process. */
    if (HAS_THREAD_SANITIZER)
        skip();
    atomic_store(&is_over, false);
    REQUIRE(pthread_create(&looks, NULL, look_again_and_again, NULL) == 0);
    return looks;
}

static void a_pipe_ends_and_a_lock_is_given_back_while_a_copy_is_at_work(void **state)
{
    pthread_t looks = start_looking();
    int file = memfd_create("lock", MFD_CLOEXEC);
    char path[64], byte;

    (void)state;
    REQUIRE(file >= 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    while (!atomic_load(&is_over)) {
        int ends[2], holder = open(path, O_RDWR | O_CLOEXEC);

        REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
        REQUIRE(holder >= 0 && flock(holder, LOCK_EX | LOCK_NB) == 0);
        close(ends[1]);
        close(holder);
        REQUIRE(read(ends[0], &byte, 1) == 0);
        close(ends[0]);
    }
    pthread_join(looks, NULL);
    close(file);
}

/* --- The copy itself --------------------------------------------------------------------------------------
 */

/* A process that this one is the parent of; 0: there is none. */
static pid_t find_child(void)
{
    DIR *processes = opendir("/proc");
    const struct dirent *entry;
    pid_t found = 0;

    REQUIRE(processes != NULL);
    while (found == 0 && (entry = readdir(processes)) != NULL) {
        char path[300], text[512], *words;
        ssize_t length;
        int fd, parent;

        snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || (fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
            continue;
        length = read(fd, text, sizeof(text) - 1);
        close(fd);
        text[length > 0 ? length : 0] = '\0';
        words = strrchr(text, ')');
        if (words != NULL && sscanf(words, ") %*c %d", &parent) == 1 && parent == (int)getpid())
            found = (pid_t)atoi(entry->d_name);
    }
    closedir(processes);
    return found;
}

static int oom_score_adj(pid_t process)
{
    char path[64], text[16] = "";
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)process);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (read(fd, text, sizeof(text) - 1) < 0)
            text[0] = '\0';
        close(fd);
    }
    return atoi(text);
}

static void is_killed_first_and_has_no_priority(void **state)
{
    const struct sched_param least = {.sched_priority = 1}, none = {0};
    bool comes_first = false, is_like_others = false;
    /* The thread that looks begins with the priority of this one. */
    bool has_priority = sched_setscheduler(0, SCHED_RR, &least) == 0;
    pthread_t looks = start_looking();

    (void)state;
    if (!has_priority)
        fprintf(stderr, "this process may have no priority, so the copy has none to lose\n");
    REQUIRE(!has_priority || sched_setscheduler(0, SCHED_OTHER, &none) == 0);
    while (!atomic_load(&is_over)) {
        pid_t copy = find_child();

        if (copy != 0 && oom_score_adj(copy) == 1000) {
            comes_first = true;
            is_like_others = is_like_others || sched_getscheduler(copy) == SCHED_OTHER;
        }
        if (comes_first && is_like_others)
            atomic_store(&is_over, true);
    }
    pthread_join(looks, NULL);
    assert_true(comes_first);
    assert_true(is_like_others);
}

/* --- The thread that looks --------------------------------------------------------------------------------
 */

/* struct sched_attr, which the C library may not have. */
struct scheduling {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

static struct scheduling scheduling_now(void)
{
    struct scheduling now = {.size = sizeof(now)};

    REQUIRE(syscall(SYS_sched_getattr, 0, &now, sizeof(now), 0) == 0);
    return now;
}

static void keeps_the_slice_that_it_had(void **state)
{
    const struct scheduling before = scheduling_now();
    struct scheduling other = before, after;

    (void)state;
    if (HAS_THREAD_SANITIZER)
        skip();
    /* Where this kernel knows no slices, it says that this is as it was. */
    other.runtime = 7000000;
    REQUIRE(syscall(SYS_sched_setattr, 0, &other, 0) == 0);
    other = scheduling_now();
    ld_lost_leaks(NULL, NULL);
    after = scheduling_now();
    assert_memory_equal(&after, &other, sizeof(after));

    other.runtime = 0;
    REQUIRE(syscall(SYS_sched_setattr, 0, &other, 0) == 0);
    ld_lost_leaks(NULL, NULL);
    after = scheduling_now();
    assert_memory_equal(&after, &before, sizeof(after));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pipe_ends_and_a_lock_is_given_back_while_a_copy_is_at_work),
        cmocka_unit_test(is_killed_first_and_has_no_priority),
        cmocka_unit_test(keeps_the_slice_that_it_had),
    };

    test_deadline(120);
    ld_init();
    return cmocka_run_group_tests(tests, make_list, free_list);
}
