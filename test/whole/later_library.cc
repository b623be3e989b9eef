// SPDX-License-Identifier: MIT
//
// A library that is opened late by a program without C++ (later.c).
#include <cstddef>
#include <cstring>
#include <new>

namespace
{
// As much as the loader has room for beside what the program was started with: see the test.
__attribute__((tls_model("initial-exec"))) thread_local void *volatile held[7500];

void *make(std::size_t size)
{
    return std::memset(::operator new(size), 0, size);
}
} // namespace

namespace later
{
struct Deep {
    __attribute__((noinline)) void lose(int size)
    {
        static_cast<volatile char *>(make(static_cast<std::size_t>(size)))[0] = 1;
    }
};
} // namespace later

extern "C" __attribute__((visibility("default"))) void work()
{
    held[0] = make(666);
    held[7499] = make(667);
    later::Deep().lose(1337);
}
