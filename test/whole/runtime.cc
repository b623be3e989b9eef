// SPDX-License-Identifier: MIT
//
// Has the C library and the C++ run time allocate what they keep for ever, and leaves nothing of its own:
// except, with an argument, from inside the very functions that are known to keep things, blocks of 1337
// bytes that are the program's.
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>

#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

static bool leaves;

__attribute__((noinline)) static void leave()
{
    if (leaves)
        static_cast<char *volatile *>(std::malloc(1337))[0] = nullptr;
}

static void at_exit()
{
}

// Called by the C library, in the midst of its own.
static int compare(const void *, const void *)
{
    static bool called;
    if (!called)
        leave();
    called = true;
    return 0;
}

static ssize_t write_cookie(void *, const char *, size_t size)
{
    leave();
    return static_cast<ssize_t>(size);
}

int main(int count, char **)
{
    leaves = count > 1;
    std::setlocale(LC_ALL, "C.UTF-8");
    std::time_t now = std::time(nullptr);
    if (std::localtime(&now) == nullptr || setenv("LEAKDETECT_TEST_VARIABLE", "value", 1) != 0)
        return 1;
    std::cout << "to a stream\n";
    std::printf("to another\n");

    // Streams of the program's own, which it closes.
    cookie_io_functions_t functions = {};
    functions.write = write_cookie;
    std::FILE *file = fopencookie(nullptr, "w", functions);
    std::fputs("through a buffer", file);
    std::fclose(file);

    int numbers[2] = {2, 1};
    std::qsort(numbers, 2, sizeof(numbers[0]), compare);
    for (int i = 0; i < 40; i++)
        std::atexit(at_exit);
    for (int i = 0; i < 3; i++)
        std::thread([] { leave(); }).join();
    pthread_key_t keys[64];
    for (pthread_key_t &key : keys)
        if (pthread_key_create(&key, nullptr) != 0 || pthread_setspecific(key, &key) != 0)
            return 1;
#ifndef STATIC
    if (dlopen("libleakdetect-test-nowhere.so", RTLD_NOW) != nullptr || dlerror() == nullptr)
        return 1;
    void *library = dlopen("libm.so.6", RTLD_NOW);
    if (library == nullptr || dlsym(library, "cos") == nullptr)
        return 1;
#endif
    try {
        throw std::runtime_error("an exception");
    } catch (const std::exception &) {
    }
    return 0;
}
