/* SPDX-License-Identifier: MIT
 *
 * Linked with app.c and -lbacktrace: a program that uses libbacktrace for itself, beside the copy in the
 * library.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern void *backtrace_create_state(const char *file, int threaded,
                                    void (*on_error)(void *, const char *, int), void *data);
extern int backtrace_pcinfo(void *state, uintptr_t pc,
                            int (*visit)(void *, uintptr_t, const char *, int, const char *),
                            void (*on_error)(void *, const char *, int), void *data);

static void on_error(void *data, const char *message, int number)
{
    (void)data;
    printf("libbacktrace: %s, %d\n", message, number);
}

static int visit(void *data, uintptr_t pc, const char *file, int line, const char *function)
{
    (void)pc;
    (void)file;
    (void)line;
    if (function != NULL && strcmp(function, "use_it") == 0)
        *(int *)data = 1;
    return 0;
}

static __attribute__((constructor)) void use_it(void)
{
    void *state = backtrace_create_state(NULL, 0, on_error, NULL);
    int seen = 0;

    backtrace_pcinfo(state, (uintptr_t)use_it, visit, on_error, &seen);
    if (!seen) {
        puts("own_backtrace.c: its libbacktrace does not work");
        exit(1);
    }
}
