/* SPDX-License-Identifier: MIT
 *
 * As app.c, from C++: names are demangled, operator new is the same heap, and the unwinder that comes along
 * takes nothing from the language's own: exceptions are caught, and destructors run when a thread ends
 * itself.
 */
#include <leakdetect.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <stdexcept>
#include <string>

#define EXPECT(condition) \
    ((condition) ? (void)0 : (std::printf("app.cc: not so: " #condition "\n"), std::exit(1)))

extern "C" int in_c(int n);

namespace shop
{

int destroyed;

struct guard {
    ~guard()
    {
        destroyed++;
    }
};

bool look(const struct ld_leak *leak, void *ctx)
{
    static struct ld_symbol symbol;

    if (leak->address != ctx)
        return true;
    EXPECT(leak->frame_count >= 3);
    EXPECT(ld_symbolize(leak->frames[0], &symbol));
    std::printf("%s %s:%u\n", symbol.function, symbol.file, symbol.line);
    EXPECT(symbol.function != nullptr && std::strcmp(symbol.function, "shop::basket::fill(int)") == 0);
    EXPECT(symbol.file != nullptr && std::strstr(symbol.file, "app.cc") != nullptr && symbol.line > 0);
    return true;
}

struct basket {
    __attribute__((noinline)) int fill(int n)
    {
        guard on_the_way;
        void *block = ld_malloc(666);
        size_t count = ld_now_leaks(look, block);

        ld_free(block);
        if (count != 1)
            return n;
        throw std::runtime_error("basket full " + std::to_string(n));
    }
};

void *end_thread(void *)
{
    guard on_the_way;

    pthread_exit(nullptr);
}

void *wait_forever(void *)
{
    guard on_the_way;

    for (;;)
        pthread_testcancel();
}

} // namespace shop

int main()
{
    pthread_t thread;

    EXPECT(ld_init() > 0);
    try {
        shop::basket().fill(7);
        EXPECT(!"thrown");
    } catch (const std::exception &error) {
        EXPECT(std::string(error.what()) == "basket full 7");
    }
    EXPECT(shop::destroyed == 1);

    EXPECT(pthread_create(&thread, nullptr, shop::end_thread, nullptr) == 0);
    EXPECT(pthread_join(thread, nullptr) == 0);
    EXPECT(shop::destroyed == 2);
    EXPECT(pthread_create(&thread, nullptr, shop::wait_forever, nullptr) == 0);
    EXPECT(pthread_cancel(thread) == 0);
    EXPECT(pthread_join(thread, nullptr) == 0);
    EXPECT(shop::destroyed == 3);

    std::string *text = new std::string(1000, 'x');
    EXPECT(ld_usable_size(text->data()) >= 1001);
    delete text;
    EXPECT(in_c(1) == 2);
    EXPECT(ld_now_leaks(nullptr, nullptr) == 0);
    std::puts("OK");
    return 0;
}
