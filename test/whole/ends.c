/* SPDX-License-Identifier: MIT
 *
 * For test_exit.sh: ways to end, one for each word on the command line, in order.  Each block that is left
 * when the report is due is 1,337 bytes; what the program's own end frees is 666.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *volatile freed_at_exit, *volatile freed_by_destructor, *volatile left;

static __attribute__((noinline)) void leave(void)
{
    left = malloc(1337);
}

static void at_exit(void)
{
    free(freed_at_exit);
}

__attribute__((destructor)) static void destroy(void)
{
    free(freed_by_destructor);
}

/* Half a second, in which nothing was at work any more: where all is slow, a report takes longer. */
static void wait_for_the_report(void)
{
    enum { TIMES = 40 };
    const clock_t at_once = CLOCKS_PER_SEC / 500;
    clock_t before;

    for (int i = 0; i < TIMES; i++) {
        before = clock();
        usleep(500000);
        if (clock() - before < at_once)
            return;
    }
}

static void *churn(void *ready)
{
    for (;;) {
        void *volatile block = malloc(100);

        free(block);
        atomic_store((atomic_bool *)ready, 1);
    }
}

static void start_thread(void)
{
    static atomic_bool ready;
    pthread_t thread;

    pthread_create(&thread, NULL, churn, &ready);
    while (!atomic_load(&ready))
        continue;
}

/* The child goes on with the words that follow; the parent waits, and ends. */
static void fork_child(void)
{
    pid_t child = fork();
    int status;

    if (child == 0)
        return;
    waitpid(child, &status, 0);
    exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
}

/* Each child has what its parent was asked for at that moment, and was asked for nothing. */
static void fork_while_asked(void)
{
    for (int i = 0; i < 20; i++) {
        pid_t child;

        raise(SIGUSR2);
        child = fork();
        if (child == 0) {
            usleep(20000);
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
}

static void redirect(int fd, const char *path, int flags)
{
    int file = open(path, flags | O_WRONLY | O_CREAT, 0600);

    dup2(file, fd);
    close(file);
}

static void *end_thread(void *unused)
{
    usleep(100000);
    return unused;
}

int main(int argc, char **argv)
{
    freed_at_exit = malloc(666);
    freed_by_destructor = malloc(666);
    atexit(at_exit);
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];

        if (strcmp(word, "leave") == 0)
            leave();
        else if (strcmp(word, "print") == 0)
            printf("a line without an end");
        else if (strcmp(word, "thread") == 0)
            start_thread();
        else if (strcmp(word, "fork") == 0)
            fork_child();
        else if (strcmp(word, "close") == 0)
            close(1), close(2);
        else if (strcmp(word, "reuse") == 0) /* stderr's place is taken by data */
            close(2), dprintf(open(argv[++i], O_WRONLY | O_CREAT | O_TRUNC, 0600), "data");
        else if (strcmp(word, "reuse-late") == 0) /* by what is written at the end */
            close(2), fputs("data", fopen(argv[++i], "w"));
        else if (strcmp(word, "redirect") == 0)
            redirect(2, argv[++i], O_APPEND);
        else if (strcmp(word, "close-all") == 0)
            for (int fd = 0; fd < 1024; fd++)
                close(fd);
        else if (strcmp(word, "quit") == 0)
            _exit(7);
        else if (strcmp(word, "abort") == 0)
            signal(SIGABRT, SIG_DFL), abort();
        else if (strcmp(word, "kill") == 0)
            raise(SIGKILL);
        else if (strcmp(word, "exit") == 0)
            exit(3);
        else if (strcmp(word, "exec") == 0)
            execv(argv[i + 1], argv + i + 1);
        else if (strcmp(word, "pthread_exit") == 0) {
            pthread_t thread;

            pthread_create(&thread, NULL, end_thread, NULL);
            pthread_exit(NULL);
        } else if (strcmp(word, "fork-asked") == 0) {
            fork_while_asked();
        } else if (strcmp(word, "usr2") == 0) {
            kill(getpid(), SIGUSR2);
            wait_for_the_report();
        } else {
            return 98;
        }
    }
    return 0;
}
