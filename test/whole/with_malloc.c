/* SPDX-License-Identifier: MIT
 *
 * For test_override.sh: a program that has a malloc of its own, and sees to it that this is what it gets.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Alignas(16) char pool[1 << 20];
static size_t used;

void *malloc(size_t size)
{
    void *block = pool + used;

    used += (size + 31) & ~(size_t)15;
    *(size_t *)block = size;
    return (char *)block + 16;
}

void free(void *block)
{
    (void)block;
}

void *calloc(size_t count, size_t size)
{
    return malloc(count * size);
}

void *realloc(void *block, size_t size)
{
    void *moved = malloc(size);

    if (block != NULL)
        memcpy(moved, block, ((size_t *)block)[-2] < size ? ((size_t *)block)[-2] : size);
    return moved;
}

int main(void)
{
    char *volatile copy = strdup("it works");

    puts(copy);
    return copy < pool || copy >= pool + sizeof(pool);
}
