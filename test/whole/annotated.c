/* SPDX-License-Identifier: MIT
 *
 * For test_annotated.sh: a program, in C and in C++, that says in its source what is not to be reported, by
 * this library's names and by LeakSanitizer's.  Its words:
 *
 *     lose       loses a block of 1337 bytes
 *     known      loses a block of 666 bytes, which OURS or THEIRS say is no news
 *     hide       makes one of 2001 bytes that nothing leads to, while leaks do not count in this thread
 *     ignore     makes the same, and says that it is to be ignored, by a pointer into it
 *     region     makes the same, held by memory that the program has mapped and registered
 *     forget     says that this memory is none any more
 *     look       looks for leaks, and prints the answer
 *     check      the same, by the call that may end the program
 *     together   four threads do that at the same time, and the program ends meanwhile
 *     forked     the words that follow are those of a child, whose status is the program's
 *     stale      as `lose`, with the block's address all over the part of the stack that calls will use next
 *     off        from now on, no leak is to be looked for (with OFF, which may be is_off)
 *     interrupt  from now on nobody can write to stderr, a pipe; a second later a handler ends the program
 *     print      prints a line that is not flushed
 *     handler    has a handler of atexit, which prints
 *
 * PRELOADED: the names are weak, as in a program that may run without the library.  HEADER: they come from
 * the header that compilers have.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef HEADER
#include <sanitizer/lsan_interface.h>
#endif

#define NOINLINE __attribute__((noinline))

/* Where this is C++, with the names of C: a static program may have nothing to read others with. */
#ifdef __cplusplus
extern "C" {
#endif

#ifndef HEADER
void __lsan_disable(void);
void __lsan_enable(void);
void __lsan_ignore_object(const void *block);
void __lsan_register_root_region(const void *start, size_t size);
void __lsan_unregister_root_region(const void *start, size_t size);
void __lsan_do_leak_check(void);
int __lsan_do_recoverable_leak_check(void);
#endif

#ifdef PRELOADED
#pragma weak __lsan_disable
#pragma weak __lsan_enable
#pragma weak __lsan_ignore_object
#pragma weak __lsan_register_root_region
#pragma weak __lsan_unregister_root_region
#pragma weak __lsan_do_leak_check
#pragma weak __lsan_do_recoverable_leak_check
#endif

#ifdef OURS
/* As a function may make it that has no text to return: what comes back does not last. */
const char *ld_default_suppressions(void);
const char *ld_default_suppressions(void)
{
    static char text[64];

    strcpy(text, OURS);
    return text;
}

static __attribute__((destructor)) void overwrite(void)
{
    strcpy((char *)ld_default_suppressions(), "leak:*");
}
#endif

#ifdef THEIRS
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return THEIRS;
}
#endif

#ifdef OFF
static volatile int is_off;

int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return OFF;
}
#endif

#ifdef OPTIONS
const char *__lsan_default_options(void);
const char *__lsan_default_options(void)
{
    return OPTIONS;
}
#endif

NOINLINE int lose(void);
NOINLINE int lose(void)
{
    void *volatile block = malloc(1337);

    block = NULL;
    return block != NULL;
}

NOINLINE int known(void);
NOINLINE int known(void)
{
    void *volatile block = malloc(666);

    block = NULL;
    return block != NULL;
}

#ifdef __cplusplus
}
#endif

static NOINLINE void wipe_stack(void)
{
    volatile char dead[16384];

    for (size_t i = 0; i < sizeof(dead); i++)
        dead[i] = 0;
}

static NOINLINE void hide(void)
{
#if defined(HEADER) && defined(__cplusplus)
    __lsan::ScopedDisabler disabler;
#else
    __lsan_disable();
#endif
    __lsan_disable();
    __lsan_enable();
    void *volatile block = malloc(2001);

    block = NULL;
    (void)block;
#if !(defined(HEADER) && defined(__cplusplus))
    __lsan_enable();
#endif
}

static NOINLINE void ignore(void)
{
    char *volatile block = (char *)malloc(2001);

    __lsan_ignore_object(block + 8);
    block = NULL;
    (void)block;
}

enum { REGION = 65536 };
static void *region_is_at;

static NOINLINE void make_region(void)
{
    void **volatile region =
        (void **)mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    region[100] = malloc(2001);
    __lsan_register_root_region(region, REGION);
    region_is_at = (void *)region;
    region = NULL;
}

static NOINLINE void fill_stack_with(void *block)
{
    void *volatile dead[2048];

    for (size_t i = 0; i < sizeof(dead) / sizeof(dead[0]); i++)
        dead[i] = block;
}

static NOINLINE void lose_stale(void)
{
    void *volatile block = malloc(1337);

    fill_stack_with(block);
    block = NULL;
}

static void *check(void *unused)
{
    __lsan_do_leak_check();
    return unused;
}

static void end_with_5(int unused)
{
    (void)unused;
    exit(5);
}

static void fill_stderr(void)
{
    int flags = fcntl(STDERR_FILENO, F_GETFL);

    fcntl(STDERR_FILENO, F_SETFL, flags | O_NONBLOCK);
    while (write(STDERR_FILENO, "\n", 1) > 0)
        continue;
    fcntl(STDERR_FILENO, F_SETFL, flags);
}

static void print_at_end(void)
{
    puts("handler");
}

static void obey(int count, char **words)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(words[i], "lose") == 0)
            lose();
        if (strcmp(words[i], "known") == 0)
            known();
        if (strcmp(words[i], "hide") == 0)
            hide();
        if (strcmp(words[i], "ignore") == 0)
            ignore();
        if (strcmp(words[i], "region") == 0)
            make_region();
        if (strcmp(words[i], "forget") == 0)
            __lsan_unregister_root_region(region_is_at, REGION);
        if (strcmp(words[i], "interrupt") == 0) {
            fill_stderr();
            signal(SIGALRM, end_with_5);
            alarm(1);
        }
#ifdef OFF
        if (strcmp(words[i], "off") == 0)
            is_off = 1;
#endif
        if (strcmp(words[i], "print") == 0)
            fputs("printed\n", stdout);
        if (strcmp(words[i], "handler") == 0)
            atexit(print_at_end);
        if (strcmp(words[i], "forked") == 0) {
            pid_t child = fork();
            int status = 0;

            if (child != 0) {
                waitpid(child, &status, 0);
                _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
            }
        }
        if (i == 0 || strcmp(words[i - 1], "stale") != 0)
            wipe_stack();
        if (strcmp(words[i], "stale") == 0)
            lose_stale();
        if (strcmp(words[i], "look") == 0)
            printf("%d\n", __lsan_do_recoverable_leak_check());
        if (strcmp(words[i], "check") == 0)
            __lsan_do_leak_check();
        if (strcmp(words[i], "together") == 0) {
            pthread_t thread;

            for (int k = 0; k < 4; k++)
                pthread_create(&thread, NULL, check, NULL);
        }
    }
}

int main(int count, char **words)
{
    obey(count - 1, words + 1);
    return 0;
}
