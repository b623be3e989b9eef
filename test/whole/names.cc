/* SPDX-License-Identifier: MIT
 *
 * As names.c, for all standard forms of new and delete, and for containers.
 */
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

namespace
{

struct alignas(64) wide {
    char bytes[64];
};

struct with_destructor {
    char bytes[101];
    ~with_destructor()
    {
        bytes[0] = 0;
    }
};

void *opaque(void *block)
{
    __asm__ volatile("" : "+r"(block)::"memory");
    return block;
}

/* libstdc++ rounds up what it gives to aligned_alloc; the operators that are preloaded do not. */
std::size_t aligned_size(std::size_t size, std::size_t align)
{
    return std::getenv("LD_PRELOAD") != nullptr ? size : (size + align - 1) / align * align;
}

} // namespace

#define SITE __attribute__((noinline))

#define TRY(name, recorded, make, unmake)                                               \
    SITE void left_by_##name()                                                          \
    {                                                                                   \
        opaque(make);                                                                   \
    }                                                                                   \
    SITE void freed_by_##name()                                                         \
    {                                                                                   \
        auto block = make;                                                              \
        opaque(block);                                                                  \
        unmake;                                                                         \
    }                                                                                   \
    struct try_##name {                                                                 \
        try_##name()                                                                    \
        {                                                                               \
            std::printf("%zu left_by_%s\n", static_cast<std::size_t>(recorded), #name); \
            left_by_##name();                                                           \
            freed_by_##name();                                                          \
        }                                                                               \
    };

using array_of_3001 = char[3001];

TRY(new_object, sizeof(with_destructor), new with_destructor, delete block)
TRY(new_array, 3001, new array_of_3001, delete[] block)
TRY(new_counted_array, 8 + 7 * sizeof(with_destructor), new with_destructor[7], delete[] block)
TRY(new_nothrow, 3003, ::operator new(3003, std::nothrow), ::operator delete(block, std::nothrow))
TRY(new_array_nothrow, 3005, ::operator new[](3005, std::nothrow), ::operator delete[](block, std::nothrow))
TRY(new_sized, 3007, ::operator new(3007), ::operator delete(block, static_cast<std::size_t>(3007)))
TRY(new_array_sized, 3009, ::operator new[](3009), ::operator delete[](block, static_cast<std::size_t>(3009)))
TRY(new_aligned, 64, new wide, delete block)
TRY(new_aligned_array, 192, new wide[3], delete[] block)
TRY(new_aligned_nothrow, aligned_size(3011, 128), ::operator new(3011, std::align_val_t(128), std::nothrow),
    ::operator delete(block, std::align_val_t(128), std::nothrow))
TRY(new_aligned_sized, aligned_size(3521, 128), ::operator new(3521, std::align_val_t(128)),
    ::operator delete(block, static_cast<std::size_t>(3521), std::align_val_t(128)))
TRY(string, 3014, new (opaque(std::malloc(3014))) char, std::free(block))

int main()
{
    static char buffer[8192];

    std::setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
    try_new_object();
    try_new_array();
    try_new_counted_array();
    try_new_nothrow();
    try_new_array_nothrow();
    try_new_sized();
    try_new_array_sized();
    try_new_aligned();
    try_new_aligned_array();
    try_new_aligned_nothrow();
    try_new_aligned_sized();
    try_string();

    /* And all that containers take and give back. */
    std::vector<std::shared_ptr<std::string>> many;
    for (int i = 0; i < 1000; i++)
        many.push_back(std::make_shared<std::string>(static_cast<std::size_t>(i), 'x'));
    return 0;
}
