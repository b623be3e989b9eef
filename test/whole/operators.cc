/* SPDX-License-Identifier: MIT
 *
 * For test_override.sh: operators new and delete that a program has replaced, or some of them (REPLACED), and
 * what the others do when memory is out.  One block of 1,337 bytes is left.
 */
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>

namespace
{

std::size_t handled, made, unmade;

void handler()
{
    if (++handled % 3 == 0)
        std::set_new_handler(nullptr);
}

void *opaque(void *block)
{
    __asm__ volatile("" : "+r"(block)::"memory");
    return block;
}

template <typename Make> bool throws(Make make)
{
    std::set_new_handler(handler);
    handled = 0;
    try {
        opaque(make());
    } catch (const std::bad_alloc &) {
        return handled == 3;
    }
    return false;
}

template <typename Make> bool is_null(Make make)
{
    std::set_new_handler(handler);
    handled = 0;
    return opaque(make()) == nullptr && handled == 3;
}

bool gives_up_when_memory_is_out()
{
    const std::size_t much = static_cast<std::size_t>(PTRDIFF_MAX) - 4096;
    const std::align_val_t align{64};

    return throws([=] { return ::operator new(much); }) && throws([=] { return ::operator new[](much); }) &&
           throws([=] { return ::operator new(much, align); }) &&
           throws([=] { return ::operator new[](much, align); }) &&
           is_null([=] { return ::operator new(much, std::nothrow); }) &&
           is_null([=] { return ::operator new[](much, std::nothrow); }) &&
           is_null([=] { return ::operator new(much, align, std::nothrow); }) &&
           is_null([=] { return ::operator new[](much, align, std::nothrow); });
}

/* Each form once; where one is replaced, so are those that call it. */
bool calls_what_was_replaced()
{
    const std::align_val_t align{64};
    void *block;

    made = unmade = 0;
    ::operator delete(opaque(::operator new(10)), static_cast<std::size_t>(10));
    ::operator delete(opaque(::operator new(10, std::nothrow)), std::nothrow);
    ::operator delete[](opaque(::operator new[](10)));
    ::operator delete[](opaque(::operator new[](10)), static_cast<std::size_t>(10));
    ::operator delete[](opaque(::operator new[](10, std::nothrow)), std::nothrow);
    ::operator delete[](opaque(::operator new[](10, align)), align);
    ::operator delete[](opaque(::operator new[](10, align)), static_cast<std::size_t>(10), align);
    ::operator delete(opaque(::operator new(10, align, std::nothrow)), align, std::nothrow);
    block = std::malloc(1337);
    opaque(block);
#ifdef REPLACED
    return made == 8 && unmade == 8;
#else
    return made == 0 && unmade == 0;
#endif
}

} // namespace

#ifdef REPLACED
/* What they give is not malloc's. */
static char pool[64 * 64];

void *operator new(std::size_t size)
{
    if (size > 64)
        throw std::bad_alloc();
    return &pool[64 * made++];
}

void *operator new(std::size_t size, std::align_val_t)
{
    return ::operator new(size);
}

void operator delete(void *) noexcept
{
    unmade++;
}

void operator delete(void *, std::align_val_t) noexcept
{
    unmade++;
}
#endif

extern "C" int run()
{
#ifndef REPLACED
    if (!gives_up_when_memory_is_out())
        return 1;
#endif
    if (!calls_what_was_replaced())
        return 2;
    std::puts("it works");
    return 0;
}

int main()
{
    return run();
}
