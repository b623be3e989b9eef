// SPDX-License-Identifier: MIT
//
// What C++ makes of pointers: blocks that only a pointer into their middle leads to, and that are in use all
// the same.  Each is held, when it must not be called lost in any way, and then dropped, when it must be
// definitely so.  Linked with the library as malloc of the whole program (test/test_lost_programs.sh).
//
//     idioms       prints a line for each that fails; status 0: none
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <unistd.h>

#include "leakdetect.h"

#define SITE __attribute__((noinline))

static int failures;

struct wanted {
    std::size_t size;
    enum ld_reach reach;
};

static bool look_for(const struct ld_leak *leak, void *ctx)
{
    wanted *it = static_cast<wanted *>(ctx);

    if (leak->size == it->size)
        it->reach = leak->reach;
    return true;
}

static SITE void wipe_stack()
{
    volatile char dead[16384];

    for (char volatile &byte : dead)
        byte = 0;
}

static SITE void expect_below(const char *what, std::size_t size, enum ld_reach reach)
{
    wanted it = {size, LD_REACHABLE};

    ld_lost_leaks(look_for, &it);
    if (it.reach == reach)
        return;
    std::printf("FAILED %s: the block of %zu bytes has reach %d, and should have %d\n", what, size, it.reach,
                reach);
    failures++;
}

// Frames have holes, in which calls that came before have left pointers.
#define expect(what, size, reach) (wipe_stack(), expect_below(what, size, reach))

// The only pointer to a block, as the program has it; taken away by overwriting it.
static void *volatile held;

template <void *(*make)()> static SITE void check(const char *what, std::size_t size)
{
    held = make();
    expect(what, size, LD_REACHABLE);
    held = nullptr;
    expect(what, size, LD_DEFINITELY_LOST);
}

// --- Strings -------------------------------------------------------------------------------------------

// An object of class String has a pointer as its first word: to the text, wherever that is in its block.
template <class String> static SITE void *text()
{
    alignas(String) static unsigned char object[sizeof(String)];
    String *string = new (object) String(100, 'x');
    void *pointer;

    string->reserve(500);
    std::memcpy(&pointer, static_cast<void *>(object), sizeof(pointer));
    std::memset(object, 0, sizeof(object));
    return pointer;
}

#if _GLIBCXX_USE_CXX11_ABI
enum { STRING_HEAD = 0 };
#else
enum { STRING_HEAD = 24 }; // length, capacity, references
#endif

// --- Arrays --------------------------------------------------------------------------------------------

template <std::size_t alignment, std::size_t size> struct alignas(alignment) element {
    ~element()
    {
        held = nullptr;
    }
    unsigned char bytes[size];
};

template <class Element, std::size_t count> static SITE void *elements()
{
    return new Element[count];
}

using plain = element<8, 24>;
using aligned = element<16, 48>;
using overaligned = element<64, 192>;
using page_aligned = element<4096, 4096>;

// Arrays of nothing with blocks right behind them, to which their pointers lead as well.
static void *volatile empty[64], *volatile behind[64];

static SITE void fill_row()
{
    for (int i = 0; i < 64; i++) {
        empty[i] = elements<plain, 0>();
        behind[i] = std::calloc(1, 8);
    }
}

static SITE void release_row()
{
    for (int i = 0; i < 64; i++) {
        delete[] static_cast<plain *>(empty[i]);
        std::free(behind[i]);
        empty[i] = behind[i] = nullptr;
    }
}

// --- Bases ---------------------------------------------------------------------------------------------

struct first {
    virtual ~first() = default;
    long a[5];
};

struct second {
    virtual ~second() = default;
    virtual void f()
    {
    }
    long b[7];
};

struct abstract {
    virtual void g() = 0;
    virtual ~abstract() = default;
    long c[11];
};

struct both : first, second {
    long d[13];
};

struct all : first, second, abstract {
    void g() override
    {
    }
    long d[17];
};

struct all_too : all {
    long e;
};

struct joined : virtual first, virtual second {
    long d[19];
};

template <class Object, class Base> static SITE void *base()
{
    Object *object = new Object;
    Base *pointer = object;

    return static_cast<void *>(pointer) == static_cast<void *>(object) ? nullptr
                                                                       : static_cast<void *>(pointer);
}

// --- A look-alike --------------------------------------------------------------------------------------

// Eight bytes into a block that has no number of elements there.
static SITE void *middle()
{
    unsigned char *block = static_cast<unsigned char *>(std::malloc(4321));

    std::memset(block, 7, 4321);
    return block + 8;
}

// Before main blocks have come and gone, and their addresses were left in places that live as long as main
// does. These blocks take them.
static void *volatile decoys[32][16];

static SITE void take_stale_addresses()
{
    std::size_t size = 7; // one less than a class of sizes, so that none is looked for

    for (auto &row : decoys) {
        for (void *volatile &decoy : row)
            decoy = std::calloc(1, size);
        size += size < 1000 ? 40 : 1024;
    }
}

int main()
{
    // Not in a buffer of the library's, which would be a block of its own.
    std::setvbuf(stdout, nullptr, _IONBF, 0);
    alarm(120);
    take_stale_addresses();
    check<text<std::string>>("std::string", 501 + STRING_HEAD);
    check<text<std::wstring>>("std::wstring", 4 * 501 + STRING_HEAD);
    check<text<std::u16string>>("std::u16string", 2 * 501 + STRING_HEAD);
    check<elements<plain, 5>>("new[]", 8 + 5 * 24);
    fill_row();
    expect("new[0] in a row", 8, LD_REACHABLE);
    release_row();
    check<elements<plain, 0>>("new[0]", 8);
    check<elements<aligned, 9>>("new[] of what is aligned to 16", 16 + 9 * 48);
    check<elements<overaligned, 3>>("new[] of what is aligned to 64", 64 + 3 * 192);
    check<elements<page_aligned, 3>>("new[] of what is aligned to 4096", 4096 + 3 * 4096);
    check<base<both, second>>("the second of two bases", sizeof(both));
    check<base<all, second>>("the second of three bases", sizeof(all));
    check<base<all_too, abstract>>("the third of three bases", sizeof(all_too));
    check<base<joined, second>>("a virtual base", sizeof(joined));
    held = middle();
    expect("a pointer to the middle", 4321, LD_POSSIBLY_LOST);
    held = nullptr;
    expect("a pointer to the middle", 4321, LD_DEFINITELY_LOST);
    std::printf("%d failures\n", failures);
    return failures != 0;
}
