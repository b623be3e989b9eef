/* SPDX-License-Identifier: MIT
 *
 * A program that names its own call sites, one a line: function, file, line, module, offset, and where it
 * should be.
 */
#include <stdio.h>

#include "leakdetect.h"

#define SITE __attribute__((noinline))

struct site {
    const void *frame;
    unsigned line;
};

static SITE const void *return_address(void)
{
    __asm__ volatile("");
    return __builtin_return_address(0);
}

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

static void print(struct site site)
{
    static struct ld_symbol symbol;

    if (!ld_symbolize(site.frame, &symbol))
        return;
    printf("%s %s %u %s 0x%lx %u\n", symbol.function != NULL ? symbol.function : "?",
           symbol.file != NULL ? symbol.file : "?", symbol.line, symbol.module, (unsigned long)symbol.offset,
           site.line);
}

int main(void)
{
    ld_init();
    print(fixture_exported());
    print(fixture_static());
    return 0;
}
