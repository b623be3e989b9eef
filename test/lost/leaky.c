/* SPDX-License-Identifier: MIT
 *
 * A program that knows nothing of the library, and loses blocks as its words say:
 *
 *     lose       a block of 1337 bytes that holds the only pointer to one of 666
 *     drop       a block of 1337 bytes that holds nothing
 *     keep       a block of 2003 bytes, in a global
 *     thread     with another thread that sleeps when the program ends
 *     forked     the words that follow are those of a child that a thread has forked
 *     blind      the process can open nothing more
 *     tiny       no file may grow
 *     wait       does not end before its standard input does
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void *kept;

static __attribute__((noinline)) void lose(void)
{
    void **block = malloc(1337);

    block[0] = malloc(666);
    __asm__ volatile("" : : "r"(block) : "memory");
}

static __attribute__((noinline)) void drop(void)
{
    void *volatile block = malloc(1337);

    block = NULL;
    (void)block;
}

static __attribute__((noinline)) void wipe_stack(void)
{
    volatile char dead[16384];

    for (size_t i = 0; i < sizeof(dead); i++)
        dead[i] = 0;
}

static void *sleep_on(void *unused)
{
    for (;;)
        pause();
    return unused;
}

static void limit(int resource)
{
    const struct rlimit none = {0};

    setrlimit(resource, &none);
}

static void obey(int count, char **words);

static char **words_of_child;

/* The child's status is the program's. */
static void *fork_here(void *unused)
{
    int status = 0, count = 0;
    pid_t child = fork();

    if (child == 0) {
        while (words_of_child[count] != NULL)
            count++;
        obey(count, words_of_child);
        exit(0);
    }
    waitpid(child, &status, 0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
    return unused;
}

static void obey(int count, char **words)
{
    char byte;

    for (int i = 0; i < count; i++) {
        if (strcmp(words[i], "lose") == 0)
            lose();
        if (strcmp(words[i], "drop") == 0)
            drop();
        if (strcmp(words[i], "keep") == 0)
            kept = malloc(2003);
        if (strcmp(words[i], "thread") == 0) {
            pthread_t thread;

            pthread_create(&thread, NULL, sleep_on, NULL);
        }
        if (strcmp(words[i], "forked") == 0) {
            pthread_t thread;

            words_of_child = words + i + 1;
            pthread_create(&thread, NULL, fork_here, NULL);
            pthread_join(thread, NULL);
        }
        if (strcmp(words[i], "blind") == 0)
            limit(RLIMIT_NOFILE);
        if (strcmp(words[i], "tiny") == 0)
            limit(RLIMIT_FSIZE);
        wipe_stack();
        if (strcmp(words[i], "wait") == 0) {
            puts("ready");
            fflush(stdout);
            while (read(0, &byte, 1) > 0)
                continue;
        }
    }
}

int main(int count, char **words)
{
    obey(count - 1, words + 1);
    return kept != NULL && count < 2;
}
