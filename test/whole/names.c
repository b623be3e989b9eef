/* SPDX-License-Identifier: MIT
 *
 * For test_override.sh: calls every name of the malloc family, and functions of the C library that allocate
 * on its behalf, once for a block that is left and once for one that is freed.  It knows nothing of the
 * library.  The odd size of a block that is left, and the name of the function that left it, are printed for
 * comparison with the report.
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#define SITE __attribute__((noinline))

/* Too new for some C libraries. */
void free_sized(void *block, size_t size) __attribute__((weak));
void free_aligned_sized(void *block, size_t alignment, size_t size) __attribute__((weak));

static char text[5000];

/* So that compilers do not know what they could leave out. */
static void *opaque(void *block)
{
    __asm__ volatile("" : "+r"(block)::"memory");
    return block;
}

/* A function of its own for each block that is left; `left_` is what the test looks for. */
#define LEAVE(name, recorded, expression)            \
    static SITE void *left_by_##name(size_t size)    \
    {                                                \
        void *block = NULL;                          \
                                                     \
        (void)size;                                  \
        block = opaque(expression);                  \
        return block;                                \
    }                                                \
    static SITE void freed_by_##name(size_t size)    \
    {                                                \
        void *block = NULL;                          \
                                                     \
        (void)size;                                  \
        block = opaque(expression);                  \
        free(block);                                 \
    }                                                \
    static void try_##name(size_t size)              \
    {                                                \
        printf("%zu left_by_%s\n", recorded, #name); \
        left_by_##name(size);                        \
        freed_by_##name(size);                       \
    }

static char *first_of(const char *string, size_t length)
{
    memset(text, string[0], length);
    text[length] = 0;
    return text;
}

static void *posix(size_t size)
{
    void *block = NULL;

    return posix_memalign(&block, 256, size) == 0 ? block : NULL;
}

static void *printed(size_t size)
{
    char *string = NULL;

    return asprintf(&string, "%*s", (int)(size - 1), "x") < 0 ? NULL : string;
}

LEAVE(malloc, size, malloc(size))
LEAVE(calloc, size, calloc(size, 1))
LEAVE(realloc, size, realloc(opaque(NULL), size))
LEAVE(growth, size, realloc(malloc(17), size))
LEAVE(shrinkage, size, realloc(malloc(size * 3), size))
LEAVE(reallocarray, size, reallocarray(opaque(NULL), 1, size))
LEAVE(aligned_alloc, size, aligned_alloc(64, size))
LEAVE(memalign, size, memalign(32, size))
LEAVE(posix_memalign, size, posix(size))
LEAVE(valloc, size, valloc(size))
LEAVE(pvalloc, size / 4096 * 4096 + 4096, pvalloc(size))
LEAVE(strdup, size, strdup(first_of("d", size - 1)))
LEAVE(strndup, size, strndup(first_of("n", size + 5), size - 1))
LEAVE(wcsdup, 14 * sizeof(wchar_t), wcsdup(L"thirteen long"))
LEAVE(asprintf, size, printed(size))

/* The block that is left is in the midst of others, and of a size that the program sees. */
static void check_sizes(void)
{
    for (size_t size = 0; size < 10000; size += 1 + size / 7) {
        char *block = malloc(size);

        if (block == NULL || malloc_usable_size(block) < size || ((uintptr_t)block % 16 != 0 && size >= 16))
            abort();
        memset(block, 1, malloc_usable_size(block));
        free(block);
    }
}

static void free_by_size(void)
{
    if (free_sized != NULL)
        free_sized(malloc(2001), 2001);
    if (free_aligned_sized != NULL)
        free_aligned_sized(aligned_alloc(128, 2003), 128, 2003);
}

int main(void)
{
    static char buffer[8192];

    setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
    check_sizes();
    free_by_size();
    try_malloc(1001);
    try_calloc(1003);
    try_realloc(1005);
    try_growth(1007);
    try_shrinkage(1009);
    try_reallocarray(1011);
    try_aligned_alloc(1013);
    try_memalign(1015);
    try_posix_memalign(1017);
    try_valloc(1019);
    try_pvalloc(5021);
    try_strdup(1023);
    try_strndup(1025);
    try_wcsdup(0);
    try_asprintf(1029);
    return 0;
}
