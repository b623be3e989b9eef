/* SPDX-License-Identifier: MIT
 *
 * A program with a dl_iterate_phdr of its own, which passes everything on: it sees all modules, and so does
 * whoever looks for what it has lost.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>

typedef int visitor(struct dl_phdr_info *info, size_t size, void *data);
typedef int iterate_fn(visitor *visit, void *data);

static volatile unsigned passed_on;
static void *kept;

int dl_iterate_phdr(visitor *visit, void *data)
{
    static iterate_fn *next;
    int result;

    if (next == NULL)
        *(void **)&next = dlsym(RTLD_NEXT, "dl_iterate_phdr");
    result = next(visit, data);
    passed_on++;
    return result;
}

static int count(struct dl_phdr_info *info, size_t size, void *data)
{
    static unsigned own;

    (void)info, (void)size;
    ++*(data == NULL ? &own : (unsigned *)data);
    return 0;
}

int main(void)
{
    unsigned modules = 0;

    kept = malloc(1337);
    dl_iterate_phdr(count, &modules);
    dl_iterate_phdr(count, NULL);
    printf("%s\n", modules >= 3 ? "all" : "not all");
    return kept == NULL;
}
