/* SPDX-License-Identifier: MIT
 *
 * As with_malloc.c: what operators of C++ give is from the program's malloc, and goes back there.
 */
#include <cstddef>
#include <cstdio>
#include <cstring>

alignas(16) static char pool[1 << 20];
static std::size_t used, freed;

extern "C" void *malloc(std::size_t size) noexcept
{
    char *block = pool + used;

    used += (size + 15) & ~std::size_t(15);
    return block;
}

extern "C" void free(void *block) noexcept
{
    freed += block != nullptr;
}

extern "C" void *calloc(std::size_t count, std::size_t size) noexcept
{
    return std::memset(malloc(count * size), 0, count * size);
}

extern "C" void *realloc(void *, std::size_t size) noexcept
{
    return malloc(size);
}

static char *volatile one, *volatile many;

int main()
{
    std::size_t before = freed;

    one = new char;
    many = new char[100];
    if (one < pool || one >= pool + sizeof(pool) || many < pool || many >= pool + sizeof(pool))
        return 1;
    delete one;
    delete[] many;
    if (freed != before + 2)
        return 2;
    std::puts("it works");
    return 0;
}
