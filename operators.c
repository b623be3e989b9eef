/* SPDX-License-Identifier: MIT
 *
 * C++'s operators new and delete, in the library that is preloaded only.  Those of the C++ library would do,
 * since they call malloc and free.  But these save a call and a frame of each stack, and come first where a
 * program was linked with another malloc that brings operators along, whose blocks would not be seen.
 *
 * A program may replace some of them, and then the others are to call those (C++17, [new.delete]): so they go
 * through the symbol.  What is rare is left to the C++ library, whose operators do the same.
 *
 *     new(size)                     as malloc: ld_operator_new (leakdetect.c), named in operators.ld
 *     other forms of new            the C++ library's, and new(size) as well when memory is out
 *     delete(block), also aligned   free, as the program may have replaced it
 *     other forms of delete         one of these
 */
#define _GNU_SOURCE
#include "operators.h"

#include "config.h"

#if LD_OVERRIDE

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>

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

/* What the C++ library has under this symbol.  It is asked by its name first: the next one in the order of
 * search may belong to another malloc, and an interpreter has its modules' where that order does not lead. It
 * stays loaded. */
static void *find(const char *symbol)
{
    static const char *const libraries[] = {"libstdc++.so.6", "libc++.so.1", "libc++abi.so.1"};
    void *found = NULL;

    for (size_t i = 0; found == NULL && i < sizeof(libraries) / sizeof(libraries[0]); i++) {
        void *library = dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD);

        if (library != NULL)
            found = dlsym(library, symbol);
    }
    if (found == NULL)
        found = dlsym(RTLD_NEXT, symbol);
    if (found == NULL)
        abort();
    return found;
}

/* Defines the operator with this symbol as the C++ library's. */
#define FROM_LIBRARY(name, symbol, parameters, arguments)                              \
    void *name parameters                                                              \
    {                                                                                  \
        static _Atomic(void *) known;                                                  \
        void *found = atomic_load_explicit(&known, memory_order_relaxed);              \
        __typeof__(name) *function;                                                    \
                                                                                       \
        if (found == NULL)                                                             \
            atomic_store_explicit(&known, found = find(symbol), memory_order_relaxed); \
        *(void **)&function = found;                                                   \
        return function arguments;                                                     \
    }
#define NEW_FROM_LIBRARY(name, symbol, parameters, arguments) \
    ENTRY_POINT void *name parameters __asm__(symbol);        \
    FROM_LIBRARY(name, symbol, parameters, arguments)

FROM_LIBRARY(operators_new, NEW, (size_t size), (size))
NEW_FROM_LIBRARY(new_array, NEW_ARRAY, (size_t size), (size))
NEW_FROM_LIBRARY(new_aligned, NEW ALIGN, (size_t size, size_t align), (size, align))
NEW_FROM_LIBRARY(new_array_aligned, NEW_ARRAY ALIGN, (size_t size, size_t align), (size, align))
NEW_FROM_LIBRARY(new_nothrow, NEW NOTHROW, (size_t size, const void *tag), (size, tag))
NEW_FROM_LIBRARY(new_array_nothrow, NEW_ARRAY NOTHROW, (size_t size, const void *tag), (size, tag))
NEW_FROM_LIBRARY(new_aligned_nothrow, NEW ALIGN NOTHROW, (size_t size, size_t align, const void *tag),
                 (size, align, tag))
NEW_FROM_LIBRARY(new_array_aligned_nothrow, NEW_ARRAY ALIGN NOTHROW,
                 (size_t size, size_t align, const void *tag), (size, align, tag))

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
