/* SPDX-License-Identifier: MIT
 *
 * C++'s operators new and delete, in the library that is preloaded only.  Those of the C++ library would do,
 * since they call malloc and free.  But these save a call and a frame of each stack, and come first where a
 * program was linked with another malloc that brings operators along, whose blocks would not be seen.
 *
 * A program may replace some of them, and then the others are to call those (C++17, [new.delete]): so they go
 * through the symbol.  What only C++ can do, to call a new-handler, to throw, to catch what a replaced one
 * throws, is left to the C++ library, which takes the loader's lock to be found, and may not be there at all:
 * hence only when memory is out, or where one of the throwing operators is replaced.
 *
 *     new(size)                     as malloc: ld_operator_new (leakdetect.c), named in operators.ld
 *     new[](size)                   new(size)
 *     new(size, align)              aligned_alloc
 *     new[](size, align)            new(size, align)
 *     other forms of new            as those that they are to call
 *     delete(block), also aligned   free, as the program may have replaced it
 *     other forms of delete         one of these
 */
#define _GNU_SOURCE
#include "operators.h"

#include "config.h"

#if LD_OVERRIDE

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "leakdetect.h"
#include "platform.h"

/* Their symbols in the C++ ABI of 64-bit processors. */
#define NEW          "_Znwm"
#define NEW_ARRAY    "_Znam"
#define DELETE       "_ZdlPv"
#define DELETE_ARRAY "_ZdaPv"
#define SIZED        "m"
#define ALIGN        "St11align_val_t"
#define NOTHROW      "RKSt9nothrow_t"

/* --- New ------------------------------------------------------------------------------------------------ */

/* What the C++ library has under this symbol; NULL: there is none.  It is asked by its name first: the next
 * one in the order of search may belong to another malloc, and an interpreter has its modules' where that
 * order does not lead.  It stays loaded. */
static void *find(const char *symbol)
{
    static const char *const libraries[] = {"libstdc++.so.6", "libc++.so.1", "libc++abi.so.1"};
    void *found = NULL;

    for (size_t i = 0; found == NULL && i < sizeof(libraries) / sizeof(libraries[0]); i++) {
        void *library = dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD);

        if (library != NULL)
            found = dlsym(library, symbol);
    }
    return found != NULL ? found : dlsym(RTLD_NEXT, symbol);
}

/* The C++ library rounds a size up to a multiple of the alignment, even one that no memory has. */
static size_t without_wrap(size_t size)
{
    return size > PTRDIFF_MAX ? PTRDIFF_MAX : size;
}

/* Defines a function that jumps to the C++ library's operator with this symbol; where that says so, or there
 * is none, it returns `otherwise`.  The names are those that reports skip, should it be called all the same.
 */
#define FROM_LIBRARY(name, symbol, parameters, arguments, otherwise)                   \
    static void *name parameters                                                       \
    {                                                                                  \
        static _Atomic(void *) known;                                                  \
        void *found = atomic_load_explicit(&known, memory_order_relaxed);              \
        __typeof__(name) *function;                                                    \
                                                                                       \
        if (found == NULL)                                                             \
            atomic_store_explicit(&known, found = find(symbol), memory_order_relaxed); \
        if (found == NULL)                                                             \
            return (otherwise);                                                        \
        *(void **)&function = found;                                                   \
        return function arguments;                                                     \
    }

FROM_LIBRARY(ld_operator_new_by_library, NEW, (size_t size), (size), (abort(), NULL))
FROM_LIBRARY(ld_operator_new_aligned_by_library, NEW ALIGN, (size_t size, size_t align),
             (without_wrap(size), align), (abort(), NULL))
FROM_LIBRARY(ld_operator_new_nothrow_by_library, NEW NOTHROW, (size_t size, const void *tag), (size, tag),
             NULL)
FROM_LIBRARY(ld_operator_new_array_nothrow_by_library, NEW_ARRAY NOTHROW, (size_t size, const void *tag),
             (size, tag), NULL)
FROM_LIBRARY(ld_operator_new_aligned_nothrow_by_library, NEW ALIGN NOTHROW,
             (size_t size, size_t align, const void *tag), (without_wrap(size), align, tag), NULL)
FROM_LIBRARY(ld_operator_new_array_aligned_nothrow_by_library, NEW_ARRAY ALIGN NOTHROW,
             (size_t size, size_t align, const void *tag), (without_wrap(size), align, tag), NULL)

void *operators_new(size_t size)
{
    return ld_operator_new_by_library(size);
}

#define DECLARE_NEW(name, symbol, parameters) ENTRY_POINT void *name parameters __asm__(symbol);

extern void *new_one(size_t size) __asm__(NEW);
DECLARE_NEW(new_array, NEW_ARRAY, (size_t size))
DECLARE_NEW(new_aligned, NEW ALIGN, (size_t size, size_t align))
DECLARE_NEW(new_array_aligned, NEW_ARRAY ALIGN, (size_t size, size_t align))
DECLARE_NEW(new_nothrow, NEW NOTHROW, (size_t size, const void *tag))
DECLARE_NEW(new_array_nothrow, NEW_ARRAY NOTHROW, (size_t size, const void *tag))
DECLARE_NEW(new_aligned_nothrow, NEW ALIGN NOTHROW, (size_t size, size_t align, const void *tag))
DECLARE_NEW(new_array_aligned_nothrow, NEW_ARRAY ALIGN NOTHROW, (size_t size, size_t align, const void *tag))

/* A name for what is here under this symbol, which nobody can replace. */
#define NAME_OWN(name, symbol) \
    extern __typeof__(name) own_##name __attribute__((alias(symbol), visibility("hidden")));

NAME_OWN(new_array, NEW_ARRAY)
NAME_OWN(new_aligned, NEW ALIGN)
NAME_OWN(new_array_aligned, NEW_ARRAY ALIGN)

typedef void function(void);

static bool is_same(function *one, function *other)
{
    /* Or the compiler thinks that two functions of different names are not one. */
    KEEP_POINTER(one);
    KEEP_POINTER(other);
    return one == other;
}
#define IS_OWN(name, own) is_same((function *)(name), (function *)(own))

/* NULL: memory is out, or the alignment is none.  Its name is one that reports skip.  An aligned_alloc of the
 * program's may want a multiple of the alignment. */
static void *ld_operator_new_aligned(size_t size, size_t align)
{
    size_t rounded = IS_OWN(aligned_alloc, ld_aligned_alloc) ? size : (size + align - 1) & ~(align - 1);

    return rounded >= size ? aligned_alloc(align, rounded) : NULL;
}

void *new_array(size_t size)
{
    return new_one(size);
}

void *new_aligned(size_t size, size_t align)
{
    void *block = ld_operator_new_aligned(size, align);

    return block != NULL ? block : ld_operator_new_aligned_by_library(size, align);
}

void *new_array_aligned(size_t size, size_t align)
{
    return new_aligned(size, align);
}

void *new_nothrow(size_t size, const void *tag)
{
    void *block = IS_OWN(new_one, ld_operator_new) ? malloc(size) : NULL;

    return block != NULL ? block : ld_operator_new_nothrow_by_library(size, tag);
}

void *new_array_nothrow(size_t size, const void *tag)
{
    bool are_own = IS_OWN(new_one, ld_operator_new) && IS_OWN(new_array, own_new_array);
    void *block = are_own ? malloc(size) : NULL;

    return block != NULL ? block : ld_operator_new_array_nothrow_by_library(size, tag);
}

void *new_aligned_nothrow(size_t size, size_t align, const void *tag)
{
    void *block = IS_OWN(new_aligned, own_new_aligned) ? ld_operator_new_aligned(size, align) : NULL;

    return block != NULL ? block : ld_operator_new_aligned_nothrow_by_library(size, align, tag);
}

void *new_array_aligned_nothrow(size_t size, size_t align, const void *tag)
{
    bool are_own = IS_OWN(new_aligned, own_new_aligned) && IS_OWN(new_array_aligned, own_new_array_aligned);
    void *block = are_own ? ld_operator_new_aligned(size, align) : NULL;

    return block != NULL ? block : ld_operator_new_array_aligned_nothrow_by_library(size, align, tag);
}

/* --- Delete --------------------------------------------------------------------------------------------- */

/* Defines the operator with this symbol as a call. */
#define DELETE_BY(name, symbol, parameters, call, arguments) \
    ENTRY_POINT void name parameters __asm__(symbol);        \
    void name parameters                                     \
    {                                                        \
        call arguments;                                      \
    }

/* Of their further parameters these do not know. */
DELETE_BY(delete_one, DELETE, (void *block), free, (block))
DELETE_BY(delete_sized, DELETE SIZED, (void *block), delete_one, (block))
DELETE_BY(delete_nothrow, DELETE NOTHROW, (void *block), delete_one, (block))
DELETE_BY(delete_array, DELETE_ARRAY, (void *block), delete_one, (block))
DELETE_BY(delete_array_sized, DELETE_ARRAY SIZED, (void *block), delete_array, (block))
DELETE_BY(delete_array_nothrow, DELETE_ARRAY NOTHROW, (void *block), delete_array, (block))

DELETE_BY(delete_aligned, DELETE ALIGN, (void *block, size_t align), free, (((void)align, block)))
DELETE_BY(delete_sized_aligned, DELETE SIZED ALIGN, (void *block, size_t size, size_t align), delete_aligned,
          (((void)size, block), align))
DELETE_BY(delete_aligned_nothrow, DELETE ALIGN NOTHROW, (void *block, size_t align), delete_aligned,
          (block, align))
DELETE_BY(delete_array_aligned, DELETE_ARRAY ALIGN, (void *block, size_t align), delete_aligned,
          (block, align))
DELETE_BY(delete_array_sized_aligned, DELETE_ARRAY SIZED ALIGN, (void *block, size_t size, size_t align),
          delete_array_aligned, (((void)size, block), align))
DELETE_BY(delete_array_aligned_nothrow, DELETE_ARRAY ALIGN NOTHROW, (void *block, size_t align),
          delete_array_aligned, (block, align))

#endif
