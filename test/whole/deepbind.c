/* SPDX-License-Identifier: MIT
 *
 * A program that opens a library with RTLD_DEEPBIND, which it finds by its own RUNPATH alone, and gives it a
 * block to free; and that library (PLUGIN).  One block of 1337 bytes is not freed.
 */
#include <stdlib.h>
#include <string.h>

typedef void *exchange_fn(void *block, size_t size);

#if defined(PLUGIN)

exchange_fn exchange;

void *exchange(void *block, size_t size)
{
    free(block);
    return malloc(size);
}

#else

#include <dlfcn.h>
#include <stdio.h>

static void *volatile kept;

static int fail(const char *what)
{
    const char *error = dlerror();

    printf("%s: %s\n", what, error != NULL ? error : "?");
    return EXIT_FAILURE;
}

int main(void)
{
    void *library = dlopen("libdeepbind.so", RTLD_NOW | RTLD_DEEPBIND);
    exchange_fn *exchange;
    const char *error;

    if (library == NULL)
        return fail("dlopen");
    *(void **)&exchange = dlsym(library, "exchange");
    if (exchange == NULL)
        return fail("dlsym");
    for (size_t size = 1; size < 100000; size *= 3)
        free(exchange(strdup("a block of the program's"), size));
    kept = exchange(NULL, 1337);
    if (dlopen("libno_such.so", RTLD_NOW | RTLD_DEEPBIND) != NULL)
        return fail("dlopen has opened what is not there");
    error = dlerror();
    if (error == NULL || strstr(error, "libno_such.so") == NULL)
        return fail("dlerror");
    puts("end");
    return EXIT_SUCCESS;
}

#endif
