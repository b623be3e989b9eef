/* SPDX-License-Identifier: MIT
 *
 * A program whose threads are in dl_iterate_phdr, as where exceptions are thrown, while others fork, allocate
 * and look for lost blocks: nobody may wait for ever.  Prints what the look says, and how many children hung.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 2, CHILDREN = 40, CHILD_SECONDS = 30 };

struct ld_report_options;
extern int ld_check(int fd, const struct ld_report_options *options, size_t *lost) __attribute__((weak));
extern int optional(void);

static atomic_bool is_inside, may_leave;

static int stay(struct dl_phdr_info *info, size_t size, void *ctx)
{
    (void)info, (void)size, (void)ctx;
    atomic_store(&is_inside, true);
    while (!atomic_load(&may_leave))
        usleep(1000);
    return 1;
}

static void *hold_lock(void *unused)
{
    dl_iterate_phdr(stay, NULL);
    return unused;
}

static int pass(struct dl_phdr_info *info, size_t size, void *ctx)
{
    (void)info, (void)size, (void)ctx;
    return 0;
}

static void *visit_again_and_again(void *unused)
{
    while (!atomic_load(&may_leave))
        dl_iterate_phdr(pass, NULL);
    return unused;
}

/* What a child allocates has a stack that was not seen before: a call site of each child's own. */
static bool ends(size_t size)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        alarm(CHILD_SECONDS);
        free(malloc(size));
        _exit(0);
    }
    return waitpid(child, &status, 0) == child && status == 0;
}

int main(void)
{
    pthread_t holder, visitors[THREADS];
    size_t lost;
    int hung = 0;

    free(malloc(1));
    if (optional() != 0 || pthread_create(&holder, NULL, hold_lock, NULL) != 0)
        return 1;
    while (!atomic_load(&is_inside))
        sched_yield();
    printf("%s\n",
           ld_check == NULL ? "nobody to ask" : strerrorname_np(ld_check(STDOUT_FILENO, NULL, &lost)));
    atomic_store(&may_leave, true);
    pthread_join(holder, NULL);

    atomic_store(&may_leave, false);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&visitors[i], NULL, visit_again_and_again, NULL) != 0)
            return 1;
    for (size_t i = 0; i < CHILDREN && hung == 0; i++)
        hung += !ends(100 + i);
    atomic_store(&may_leave, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(visitors[i], NULL);
    printf("%d hung\n", hung);
    return 0;
}
