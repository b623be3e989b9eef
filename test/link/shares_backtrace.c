/* SPDX-License-Identifier: MIT
 *
 * A program that has libbacktrace in common with this library's sources, and uses it itself, before and after
 * the library: status 0 if both name its functions and their lines.
 */
#include <backtrace.h>
#include <leakdetect.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECT(condition) \
    ((condition) ? (void)0 : (printf("shares_backtrace.c: not so: " #condition "\n"), exit(1)))

static int on_frame(void *seen, uintptr_t pc, const char *file, int line, const char *function)
{
    (void)pc;
    if (function != NULL && strcmp(function, "named_by_its_own") == 0 && file != NULL && line > 0)
        *(int *)seen = 1;
    return 0;
}

static void on_error(void *seen, const char *message, int error)
{
    (void)seen;
    printf("%s (%d)\n", message, error);
}

/* A state of its own each time, which reads the program's file anew. */
static __attribute__((noinline)) int named_by_its_own(void)
{
    struct backtrace_state *state = backtrace_create_state(NULL, 1, on_error, NULL);
    int seen = 0;

    EXPECT(state != NULL);
    backtrace_full(state, 0, on_frame, on_error, &seen);
    return seen;
}

static bool named_by_ours(const struct ld_leak *leak, void *seen)
{
    struct ld_symbol symbol;

    for (size_t i = 0; i < leak->frame_count; i++)
        if (ld_symbolize_frame(leak, i, &symbol) && symbol.function != NULL &&
            strcmp(symbol.function, "main") == 0 && symbol.file != NULL)
            *(int *)seen = 1;
    return true;
}

int main(void)
{
    int seen = 0;

    EXPECT(ld_init() > 0);
    EXPECT(named_by_its_own());
    EXPECT(ld_malloc(1337) != NULL);
    ld_now_leaks(named_by_ours, &seen);
    EXPECT(seen);
    EXPECT(named_by_its_own());
    return 0;
}
