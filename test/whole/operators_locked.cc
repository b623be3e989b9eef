/* SPDX-License-Identifier: MIT
 *
 * For test_override.sh: a module that has the C++ library in it, and whose constructor waits for a thread
 * that uses every form of new, while the loader's lock is held.
 */
#include <cstdio>
#include <new>
#include <pthread.h>

static void *use_all(void *)
{
    const std::align_val_t align{64};
    static void *volatile made[8];

    made[0] = ::operator new(10);
    made[1] = ::operator new[](10);
    made[2] = ::operator new(10, align);
    made[3] = ::operator new[](10, align);
    made[4] = ::operator new(10, std::nothrow);
    made[5] = ::operator new[](10, std::nothrow);
    made[6] = ::operator new(10, align, std::nothrow);
    made[7] = ::operator new[](10, align, std::nothrow);
    for (void *volatile &block : made)
        ::operator delete(block);
    return nullptr;
}

__attribute__((constructor)) static void start()
{
    pthread_t thread;

    if (pthread_create(&thread, nullptr, use_all, nullptr) == 0)
        pthread_join(thread, nullptr);
}

extern "C" int run()
{
    std::puts("it works");
    return 0;
}
