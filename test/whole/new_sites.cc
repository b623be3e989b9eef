/* SPDX-License-Identifier: MIT
 *
 * Functions that call new, in a program that takes the address of malloc: unless it is position-independent,
 * that is one in the program.
 */
#include <cstdlib>
#include <new>

void *(*volatile program_malloc)(std::size_t) = std::malloc;
void *volatile kept[4];

#define SITE __attribute__((noinline))

SITE static void make_one()
{
    kept[0] = ::operator new(101);
}

SITE static void make_array()
{
    kept[1] = new int[102];
}

SITE static void make_aligned()
{
    kept[2] = ::operator new(103, std::align_val_t(64));
}

SITE static void make_quietly()
{
    kept[3] = ::operator new(104, std::nothrow);
}

int main()
{
    std::free(program_malloc(100));
    make_one();
    make_array();
    make_aligned();
    make_quietly();
    return 0;
}
