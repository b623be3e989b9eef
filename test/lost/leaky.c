/* SPDX-License-Identifier: MIT
 *
 * A program that knows nothing of the library, and loses blocks as its words say:
 *
 *     lose       a block of 1337 bytes that holds the only pointer to one of 666
 *     drop       a block of 1337 bytes that holds nothing
 *     first      a block of 8 bytes that nothing points to; first word
 *     ring       400,000 nodes of 16 bytes, each of which points to the next one, and the last to the first
 *     local      a block of 3001 bytes, which leads one of 444, in a local variable of main's; first word
 *     lend       a thread is in a system call that alone has the address of a block of 4003 bytes
 *     exit       the program ends in the midst of main
 *     keep       a block of 2003 bytes, in a global
 *     middle     a block of 5003 bytes, to whose middle alone a global points
 *     thread     with another thread that sleeps when the program ends
 *     forked     the words that follow are those of a child that a thread has forked
 *     blind      the process can open nothing more
 *     barred     a filter of system calls lets it open nothing more
 *     tiny       no file may grow
 *     wait       does not end before its standard input does
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void *kept;
static char *middle;

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

static __attribute__((noinline)) void lose_first(void)
{
    volatile char *block = malloc(8);

    block[0] = 1;
}

struct node {
    struct node *next;
    void *nothing;
};

/* Alone, it has a heap that ends with it. */
static __attribute__((noinline)) void lose_ring(void)
{
    struct node *first = malloc(sizeof(*first)), *last = first;

    first->nothing = NULL;
    for (int i = 1; i < 400000; i++) {
        last->next = malloc(sizeof(*last));
        last = last->next;
        last->nothing = NULL;
    }
    last->next = first;
}

static __attribute__((noinline)) void wipe_stack(void)
{
    volatile char dead[16384];

    for (size_t i = 0; i < sizeof(dead); i++)
        dead[i] = 0;
}

static int never[2];

/* By the bare system call: what waits in read may be cancelled, and has the address on its stack
 * meanwhile. */
static void *lend(void *id)
{
    *(volatile pid_t *)id = (pid_t)syscall(SYS_gettid);
    wipe_stack();
    syscall(SYS_read, never[0], malloc(4003), (size_t)4003);
    return NULL;
}

/* Until the thread is in that call, as the kernel says; if it does not say, for a second. */
static void wait_for_call(const volatile pid_t *id)
{
    char path[64], call[16] = "";

    for (int i = 0; i < 50 && strncmp(call, "0 ", 2) != 0; i++) {
        int file;

        usleep(20000);
        snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", (int)*id);
        file = open(path, O_RDONLY);
        if (file < 0)
            continue;
        if (read(file, call, sizeof(call)) < 2)
            call[0] = '\0';
        close(file);
    }
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

static void bar(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog filter = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        exit(2);
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
        if (strcmp(words[i], "first") == 0)
            lose_first();
        if (strcmp(words[i], "ring") == 0)
            lose_ring();
        if (strcmp(words[i], "keep") == 0)
            kept = malloc(2003);
        if (strcmp(words[i], "middle") == 0)
            middle = (char *)calloc(1, 5003) + 1000;
        if (strcmp(words[i], "thread") == 0) {
            pthread_t thread;

            pthread_create(&thread, NULL, sleep_on, NULL);
        }
        if (strcmp(words[i], "lend") == 0) {
            static volatile pid_t id;
            pthread_t thread;

            if (pipe(never) != 0)
                abort();
            pthread_create(&thread, NULL, lend, (void *)&id);
            wait_for_call(&id);
        }
        if (strcmp(words[i], "forked") == 0) {
            pthread_t thread;

            words_of_child = words + i + 1;
            pthread_create(&thread, NULL, fork_here, NULL);
            pthread_join(thread, NULL);
        }
        if (strcmp(words[i], "blind") == 0)
            limit(RLIMIT_NOFILE);
        if (strcmp(words[i], "barred") == 0)
            bar();
        if (strcmp(words[i], "tiny") == 0)
            limit(RLIMIT_FSIZE);
        wipe_stack();
        if (strcmp(words[i], "exit") == 0)
            exit(0);
        if (strcmp(words[i], "wait") == 0) {
            puts("ready");
            fflush(stdout);
            while (read(0, &byte, 1) > 0)
                continue;
        }
    }
}

static __attribute__((noinline)) void *make_local(void)
{
    void **block = calloc(1, 3001);

    block[0] = malloc(444);
    return block;
}

int main(int count, char **words)
{
    void *volatile local = NULL;

    if (count > 1 && strcmp(words[1], "local") == 0)
        local = make_local();
    obey(count - 1, words + 1);
    return kept != NULL && middle != NULL && count < 2 && local != NULL;
}
