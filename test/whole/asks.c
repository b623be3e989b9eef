/* SPDX-License-Identifier: MIT
 *
 * For test_override.sh: a program that calls the library if it is there, as docs/whole-program.md has it.  It
 * sees what malloc made, and the two families are one.
 */
#include <leakdetect.h>
#include <stdio.h>
#include <stdlib.h>

#pragma weak ld_init
#pragma weak ld_malloc
#pragma weak ld_free
#pragma weak ld_now_leaks
#pragma weak ld_disable
#pragma weak ld_enable

#define EXPECT(condition) ((condition) ? (void)0 : (printf("asks.c: not so: " #condition "\n"), exit(1)))

static bool find(const struct ld_leak *leak, void *ctx)
{
    const void **wanted = ctx;

    if (leak->address == *wanted && leak->size == 1337)
        *wanted = NULL;
    return true;
}

static bool is_recorded(const void *block)
{
    ld_now_leaks(find, &block);
    return block == NULL;
}

int main(void)
{
    void *volatile of_malloc = malloc(1337), *of_ld_malloc, *hidden;

    if (ld_init == NULL) {
        puts("there is no library");
        return 0;
    }
    EXPECT(ld_init() > 0);
    EXPECT(is_recorded(of_malloc));
    of_ld_malloc = ld_malloc(1337);
    EXPECT(is_recorded(of_ld_malloc));
    ld_free(of_malloc);
    EXPECT(!is_recorded(of_malloc));
    free(of_ld_malloc);
    EXPECT(!is_recorded(of_ld_malloc));
    ld_disable();
    hidden = malloc(1337);
    ld_enable();
    EXPECT(!is_recorded(hidden));
    of_malloc = malloc(1337);
    puts("it works");
    return 0;
}
