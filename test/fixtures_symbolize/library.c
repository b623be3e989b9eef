/* SPDX-License-Identifier: MIT
 *
 * Call sites of every kind, for a library that test_symbolize.c builds in many ways.  With -DNAME=x there is
 * a function of that name, so that libraries of the same layout can be told apart.
 */
#include <setjmp.h>
#include <stddef.h>

#define SITE __attribute__((noinline, noclone))
#ifndef NAME
#define NAME fixture_named
#endif

struct site {
    const void *frame;
    unsigned line;
};

#ifdef __clang__
#undef SITE
#define SITE __attribute__((noinline))
#endif

static SITE const void *return_address(void)
{
    __asm__ volatile("");
    return __builtin_return_address(0);
}

int fixture_data = 1;

SITE struct site fixture_exported(void)
{
    struct site site = {.line = __LINE__, .frame = return_address()};

    __asm__ volatile("");
    return site;
}

static SITE struct site fixture_static(void)
{
    struct site site = {.line = __LINE__, .frame = return_address()};

    __asm__ volatile("");
    return site;
}

struct site fixture_call_static(void)
{
    return fixture_static();
}

/* The calling function ends with the call of this one. */
static SITE _Noreturn void leave(struct site *out, jmp_buf *where)
{
    out->frame = __builtin_return_address(0);
    longjmp(*where, 1);
}

SITE void fixture_never_returns(struct site *out, jmp_buf *where)
{
    out->line = __LINE__ + 1;
    leave(out, where);
}

struct site fixture_call_never_returns(void)
{
    static struct site site; /* what longjmp would leave undefined on the stack */
    jmp_buf where;

    if (setjmp(where) == 0)
        fixture_never_returns(&site, &where);
    return site;
}

SITE void *NAME(void *allocate(size_t size), size_t size)
{
    void *block = allocate(size);

    __asm__ volatile("");
    return block;
}

void *fixture_allocate(void *allocate(size_t size), size_t size)
{
    return NAME(allocate, size);
}
