/* SPDX-License-Identifier: MIT
 *
 * For test_override.sh: blocks from before main, of the first functions that a program can have called, of a
 * thread and of a child that it has by then.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void *volatile left;

static __attribute__((noinline)) void left_by_preinit(void)
{
    left = malloc(901);
}

static void preinit(int argc, char **argv, char **environment)
{
    (void)argc;
    (void)argv;
    (void)environment;
    left_by_preinit();
}

__attribute__((section(".preinit_array"), used)) static void (*const first)(int, char **, char **) = preinit;

__attribute__((constructor(101))) static void left_by_constructor(void)
{
    left = malloc(903);
}

static void *left_by_thread(void *unused)
{
    left = malloc(905);
    return unused;
}

__attribute__((constructor)) static void start(void)
{
    pthread_t thread;
    pid_t child;

    pthread_create(&thread, NULL, left_by_thread, NULL);
    pthread_join(thread, NULL);
    child = fork();
    if (child == 0)
        _exit(0);
    waitpid(child, NULL, 0);
}

int main(void)
{
    static char buffer[256];

    setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
    puts("901 left_by_preinit\n903 left_by_constructor\n905 left_by_thread");
    return 0;
}
