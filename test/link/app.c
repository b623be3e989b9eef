/* SPDX-License-Identifier: MIT
 *
 * What test_link.sh builds in every way a program can be linked.  It exits with 0 if a block is on record
 * with the stack that leads to it, by name, and if the process's own malloc is the same heap.
 */
#include <leakdetect.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Expanded: a build may call main by another name. */
#define TEXT(name)        #name
#define NAME(name)        TEXT(name)
#define EXPECT(condition) ((condition) ? (void)0 : (printf("app.c: not so: " #condition "\n"), exit(1)))

extern int mallctl(const char *name, void *old, size_t *old_size, void *new, size_t new_size);

static int found;

static bool look(const struct ld_leak *leak, void *ctx)
{
    static const char *const names[] = {"inner", "outer", NAME(main)};
    static struct ld_symbol symbol;

    if (leak->address != ctx)
        return true;
    EXPECT(leak->size == 1337);
    EXPECT(leak->frame_count >= 3);
    for (size_t i = 0; i < 3; i++) {
        EXPECT(ld_symbolize(leak->frames[i], &symbol));
        printf("%s %s:%u\n", symbol.function, symbol.file, symbol.line);
        EXPECT(symbol.function != NULL && strcmp(symbol.function, names[i]) == 0);
        EXPECT(symbol.file != NULL && strstr(symbol.file, "app.c") != NULL && symbol.line > 0);
    }
    found++;
    return true;
}

static __attribute__((noinline)) int inner(int n)
{
    void *block = ld_malloc(1337);
    int count = (int)ld_now_leaks(look, block);

    ld_free(block);
    return count + n;
}

static __attribute__((noinline)) int outer(int n)
{
    return inner(n) + 1;
}

int main(void)
{
    unsigned long before = 0, after = 0;
    size_t size = sizeof before;
    void *volatile own;
    void *block;

    EXPECT(ld_init() > 0);
    /* Volatile, lest a function is made for this very argument, with a name of its own. */
    volatile int one = 1;
    EXPECT(outer(one) == 3);
    EXPECT(found == 1);
    EXPECT(ld_now_leaks(NULL, NULL) == 0);

    EXPECT(mallctl("thread.allocated", &before, &size, NULL, 0) == 0);
    own = malloc(100000);
    EXPECT(mallctl("thread.allocated", &after, &size, NULL, 0) == 0);
    EXPECT(after - before >= 100000);
    EXPECT(malloc_usable_size(own) == ld_usable_size(own));
    ld_free(own);
    block = ld_malloc(10);
    free(block);
    puts("OK");
    return 0;
}
