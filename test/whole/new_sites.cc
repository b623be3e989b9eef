/* SPDX-License-Identifier: MIT
 *
 * Functions that call new, in a program that takes the address of malloc: unless it is position-independent,
 * that is one in the program.
 */
#include <cstdlib>
#include <new>
#include <sys/resource.h>

void *(*volatile program_malloc)(std::size_t) = std::malloc;
void *volatile kept[6];

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

/* Memory is out the first time. */
static void limit_memory(rlim_t bytes)
{
    struct rlimit limit;

    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_AS, &limit);
}

static void find_memory()
{
    limit_memory(RLIM_INFINITY);
}

enum : std::size_t { MUCH = std::size_t{256} << 20 };

SITE static void make_at_second_try()
{
    limit_memory(MUCH);
    kept[4] = ::operator new(MUCH);
}

SITE static void make_aligned_at_second_try()
{
    limit_memory(MUCH);
    kept[5] = ::operator new(MUCH, std::align_val_t(64));
}

int main()
{
    std::free(program_malloc(100));
    make_one();
    make_array();
    make_aligned();
    make_quietly();
    std::set_new_handler(find_memory);
    make_at_second_try();
    make_aligned_at_second_try();
    return 0;
}
