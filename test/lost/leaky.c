/* SPDX-License-Identifier: MIT
 *
 * A program that knows nothing of the library, and loses blocks as its words say:
 *
 *     lose       a block of 1337 bytes that holds the only pointer to one of 666
 *     keep       a block of 2003 bytes, in a global
 *     thread     with another thread that sleeps when the program ends
 *     wait       does not end before its standard input does
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *kept;

static __attribute__((noinline)) void lose(void)
{
    void **block = malloc(1337);

    block[0] = malloc(666);
    __asm__ volatile("" : : "r"(block) : "memory");
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

int main(int count, char **words)
{
    char byte;

    for (int i = 1; i < count; i++) {
        if (strcmp(words[i], "lose") == 0)
            lose();
        if (strcmp(words[i], "keep") == 0)
            kept = malloc(2003);
        if (strcmp(words[i], "thread") == 0) {
            pthread_t thread;

            pthread_create(&thread, NULL, sleep_on, NULL);
        }
        wipe_stack();
        if (strcmp(words[i], "wait") == 0) {
            puts("ready");
            fflush(stdout);
            while (read(0, &byte, 1) > 0)
                continue;
        }
    }
    return kept != NULL && count < 2;
}
