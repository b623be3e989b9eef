/* SPDX-License-Identifier: MIT
 *
 * The heuristics of interior.h.  In all of them `start` to `end` is a block, and `pointer` is inside.
 */
#include "interior.h"

#include <string.h>
#include <uchar.h>

#include "platform.h"

enum {
    WORD = sizeof(uintptr_t),
    LARGEST_COOKIE = 4096, /* a page, which elements may be aligned to */
};

static uintptr_t word_at(uintptr_t address)
{
    uintptr_t word;

    memcpy(&word, (const void *)address, sizeof(word));
    return word;
}

static bool is_code(const struct maps *maps, uintptr_t address)
{
    const struct mapping *mapping = maps_find(maps, address);

    return mapping != NULL && mapping->is_executable;
}

/* A table of virtual functions, of which the first is code. */
static bool is_vtable(const struct maps *maps, uintptr_t address)
{
    const struct mapping *mapping = maps_find(maps, address);

    return address % WORD == 0 && mapping != NULL && mapping->is_readable && mapping->is_of_file &&
           mapping->end - address >= WORD && is_code(maps, word_at(address));
}

/* An object of a class with several bases, pointed to as one of the others: it has a vtable there too. */
static bool is_other_base(const struct maps *maps, uintptr_t start, uintptr_t end, uintptr_t pointer)
{
    return pointer % WORD == 0 && end - pointer >= WORD && is_vtable(maps, word_at(start)) &&
           is_vtable(maps, word_at(pointer));
}

/* The elements of new[], behind their number, if they have a destructor; none: one past the end.  The number
 * takes as much room as the elements must be aligned to, and lies at the end of it. */
static bool is_new_array(uintptr_t start, uintptr_t end, uintptr_t pointer)
{
    uintptr_t cookie = pointer - start, bytes = end - pointer, count;

    if (cookie < WORD || cookie > LARGEST_COOKIE || (cookie & (cookie - 1)) != 0 || start % cookie != 0)
        return false;
    count = word_at(pointer - WORD);
    if (count == 0)
        return bytes == 0;
    return bytes != 0 && bytes % count == 0 && (cookie == WORD || bytes / count % cookie == 0);
}

/* What has its own length in front of it. */
static bool is_after_length(uintptr_t start, uintptr_t end, uintptr_t pointer)
{
    return pointer - start == WORD && pointer < end && word_at(start) == end - pointer;
}

/* The text of a std::string of the old kind, or of its wide brothers: length, capacity, count of references,
 * text, 0. */
static bool is_string(uintptr_t start, uintptr_t end, uintptr_t pointer)
{
    uintptr_t bytes = end - pointer, characters;

    if (pointer - start != (uintptr_t)3 * WORD || pointer >= end || word_at(start) > word_at(start + WORD))
        return false;
    characters = word_at(start + WORD) + 1;
    return bytes == characters || bytes == characters * sizeof(char16_t) ||
           bytes == characters * sizeof(char32_t);
}

COLD bool interior_is_as_good(const struct maps *maps, uintptr_t start, uintptr_t end, uintptr_t pointer)
{
    if (pointer - start < WORD || !maps_can_read(maps, start, end - start))
        return false;
    return is_new_array(start, end, pointer) || is_after_length(start, end, pointer) ||
           is_string(start, end, pointer) || is_other_base(maps, start, end, pointer);
}
