// SPDX-License-Identifier: MIT
//
// Names of C++ functions, in a program that has the C++ run-time library.

#include <cerrno>
#include <csetjmp>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

extern "C" {
#include <cmocka.h>
}

#include "leakdetect.h"

#define SITE __attribute__((noinline))

namespace
{
SITE const void *return_address()
{
    __asm__ volatile("");
    return __builtin_return_address(0);
}

SITE const void *local_site(int)
{
    const void *frame = return_address();

    __asm__ volatile("");
    return frame;
}
} // namespace

namespace shop
{
template <typename T> struct shelf {
    template <typename U> SITE const void *site(const T &, U);
};

template <typename T> template <typename U> SITE const void *shelf<T>::site(const T &, U)
{
    const void *frame = return_address();

    __asm__ volatile("");
    return frame;
}

// A name that doubles with each level.
template <typename A, typename B> struct twice {
};
template <int Depth> struct grow {
    using type = twice<typename grow<Depth - 1>::type, typename grow<Depth - 1>::type>;
};
template <> struct grow<0> {
    using type = int;
};

template <typename T> SITE const void *long_site(T *)
{
    const void *frame = return_address();

    __asm__ volatile("");
    return frame;
}
} // namespace shop

static std::string function_at(const void *frame)
{
    static ld_symbol symbol;

    assert_true(ld_symbolize(frame, &symbol));
    assert_non_null(symbol.function);
    assert_true(std::string(symbol.file).find("test_symbolize_cxx.cc") != std::string::npos);
    assert_true(symbol.line != 0);
    return symbol.function;
}

// Members of templates are shown as they are written.
static void demangles(void **)
{
    std::string name = function_at(shop::shelf<int>().site(1, 2.0));

    assert_string_equal(name.c_str(), "void const* shop::shelf<int>::site<double>(int const&, double)");
}

// A function that no other file can see is demangled as well, from the symbol table.
static void demangles_local_functions(void **)
{
    std::string name = function_at(local_site(1));

    assert_true(name.find("(anonymous namespace)::local_site(int)") != std::string::npos);
}

// The name of a C function is not taken for that of a type, which "i" mangled would be.
extern "C" SITE const void *i(void)
{
    const void *frame = return_address();

    __asm__ volatile("");
    return frame;
}

static void leaves_c_names_alone(void **)
{
    assert_string_equal(function_at(i()).c_str(), "i");
}

// A name that is longer than its place, demangled, is cut; its mangled form may be short.
static void trap_13_long_demangled_names_are_cut(void **)
{
    static ld_symbol symbol;
    static char buffer[2 * LD_SYMBOL_TEXT];
    const void *frame = shop::long_site(static_cast<shop::grow<10>::type *>(nullptr));

    assert_true(ld_symbolize(frame, &symbol));
    assert_true(std::strlen(symbol.function) == LD_SYMBOL_TEXT - 1);
    assert_true(std::strncmp(symbol.function, "void const* shop::long_site<shop::twice<", 40) == 0);
    assert_true(ld_symbol_name(frame, buffer, sizeof(buffer)) == std::strlen(buffer));
}

// What the demangler allocates is not recorded, whatever the program's malloc is.
static void demangling_is_not_recorded(void **)
{
    ld_stats before, after;
    static ld_symbol symbol;

    ld_get_stats(&before);
    for (int i = 0; i < 100; i++)
        assert_true(ld_symbolize(shop::shelf<long>().site(1, 2.0f), &symbol));
    ld_get_stats(&after);
    assert_true(before.live_blocks == after.live_blocks);
}

int main()
{
    const CMUnitTest tests[] = {
        cmocka_unit_test(demangles),
        cmocka_unit_test(demangles_local_functions),
        cmocka_unit_test(leaves_c_names_alone),
        cmocka_unit_test(trap_13_long_demangled_names_are_cut),
        cmocka_unit_test(demangling_is_not_recorded),
    };

    ld_init();
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
