/* SPDX-License-Identifier: MIT
 *
 * Reads /proc/thread-self/maps (maps.h): one line for each mapping, "start-end rwxp offset dev inode path".
 */
#include "maps.h"

#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "kernel.h"
#include "pages.h"
#include "platform.h"

enum { FIRST_CAPACITY = 4096, DECIMAL = 10, HEXADECIMAL = 16 };

static int next_byte(struct maps_reader *reader)
{
    if (reader->at == reader->end) {
        long count = kernel_read(reader->fd, reader->bytes, sizeof(reader->bytes));

        if (count <= 0) {
            reader->error = (int)-count;
            return -1;
        }
        reader->at = 0;
        reader->end = (size_t)count;
    }
    return (unsigned char)reader->bytes[reader->at++];
}

static unsigned digit_of(int byte)
{
    return (unsigned)(byte <= '9' ? byte - '0' : byte - 'a' + 10);
}

/* A number to this base, and the byte that ends it. */
static uint64_t read_number(struct maps_reader *reader, unsigned base, int *end)
{
    uint64_t number = 0;

    for (*end = next_byte(reader); (*end >= '0' && *end <= '9') || (*end >= 'a' && *end <= 'f');
         *end = next_byte(reader))
        number = number * base + digit_of(*end);
    return number;
}

bool maps_next(struct maps_reader *reader, struct mapping *out)
{
    uint64_t major, minor;
    int byte;

    *out = (struct mapping){.start = (uintptr_t)read_number(reader, HEXADECIMAL, &byte)};
    if (byte != '-')
        return false;
    out->end = (uintptr_t)read_number(reader, HEXADECIMAL, &byte);
    out->is_readable = next_byte(reader) == 'r';
    out->is_writable = next_byte(reader) == 'w';
    out->is_executable = next_byte(reader) == 'x';
    out->is_private = next_byte(reader) == 'p';
    next_byte(reader);
    read_number(reader, HEXADECIMAL, &byte); /* offset */
    major = read_number(reader, HEXADECIMAL, &byte);
    minor = read_number(reader, HEXADECIMAL, &byte);
    reader->file = (struct maps_file){.device = makedev((unsigned)major, (unsigned)minor),
                                      .inode = read_number(reader, DECIMAL, &byte)};
    out->is_of_file = reader->file.inode != 0;
    while (byte != '\n' && byte >= 0)
        byte = next_byte(reader);
    return true;
}

struct maps_file maps_file_at(uintptr_t address)
{
    struct maps_reader reader = {.fd = kernel_open(MAPS_FILE)};
    struct maps_file file = {0};
    struct mapping mapping;

    if (reader.fd < 0)
        return file;
    while (file.inode == 0 && maps_next(&reader, &mapping) && mapping.start <= address)
        if (address < mapping.end)
            file = reader.file;
    kernel_close(reader.fd);
    return file;
}

static int append(struct maps *maps, const struct mapping *mapping)
{
    if (maps->count == maps->capacity) {
        struct maps more = {.count = maps->count,
                            .capacity = maps->capacity == 0 ? FIRST_CAPACITY : 2 * maps->capacity};

        more.entries = kernel_map(more.capacity * sizeof(more.entries[0]));
        if (more.entries == NULL)
            return ENOMEM;
        if (maps->count != 0)
            memcpy(more.entries, maps->entries, maps->count * sizeof(more.entries[0]));
        maps_release(maps);
        *maps = more;
    }
    maps->entries[maps->count++] = *mapping;
    return 0;
}

struct cutting {
    struct maps *maps;
    struct mapping rest;
    int error;
};

static void cut(struct cutting *cutting, uintptr_t end, bool is_guard)
{
    struct mapping part = cutting->rest;

    if (cutting->error != 0 || part.start == end)
        return;
    part.end = end;
    part.is_guard = is_guard;
    part.is_readable = part.is_readable && !is_guard;
    cutting->error = append(cutting->maps, &part);
    cutting->rest.start = end;
    cutting->rest.is_continued = true;
}

static void cut_guard(uintptr_t start, uintptr_t end, void *cutting)
{
    cut(cutting, start, false);
    cut(cutting, end, true);
}

static int append_parts(struct maps *maps, const struct mapping *mapping)
{
    struct cutting cutting = {.maps = maps, .rest = *mapping};

    if (mapping->is_readable)
        pages_each_guard(mapping->start, mapping->end, cut_guard, &cutting);
    cut(&cutting, mapping->end, false);
    return cutting.error;
}

/* Memory of the program's own that mlock, madvise or mprotect have cut in pieces, as a stack with a locked
 * buffer on it. */
static bool is_one(const struct mapping *mapping, const struct mapping *next)
{
    return next->start == mapping->end && mapping->is_private && next->is_private && !mapping->is_of_file &&
           !next->is_of_file && mapping->is_readable == next->is_readable &&
           mapping->is_writable == next->is_writable;
}

int maps_read(struct maps *maps)
{
    struct maps_reader reader = {.fd = kernel_open(MAPS_FILE)};
    struct mapping mapping = {0}, next;
    int error = 0;

    *maps = (struct maps){0};
    if (reader.fd < 0)
        return -reader.fd;
    while (error == 0 && maps_next(&reader, &next)) {
        if (is_one(&mapping, &next)) {
            mapping.end = next.end;
            mapping.is_executable = mapping.is_executable || next.is_executable;
            continue;
        }
        error = append_parts(maps, &mapping);
        mapping = next;
    }
    if (error == 0)
        error = append_parts(maps, &mapping);
    kernel_close(reader.fd);
    if (error == 0)
        error = reader.error;
    if (error != 0)
        maps_release(maps);
    return error;
}

void maps_release(struct maps *maps)
{
    if (maps->entries != NULL)
        kernel_unmap(maps->entries, maps->capacity * sizeof(maps->entries[0]));
    *maps = (struct maps){0};
}

size_t maps_first_above(const struct maps *maps, uintptr_t address)
{
    size_t low = 0, high = maps->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (maps->entries[middle].end > address)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

const struct mapping *maps_find(const struct maps *maps, uintptr_t address)
{
    size_t i = maps_first_above(maps, address);

    return i < maps->count && maps->entries[i].start <= address ? &maps->entries[i] : NULL;
}

uintptr_t maps_beginning(const struct maps *maps, const struct mapping *mapping)
{
    while (mapping > maps->entries && mapping->is_continued)
        mapping--;
    return mapping->start;
}

bool maps_open(const struct maps *maps, const struct mapping *mapping)
{
    struct mapping *entry = &maps->entries[mapping - maps->entries];

    if (LIKELY(entry->is_readable))
        return true;
    if (!maps->are_of_copy || entry->is_guard || !entry->is_private || platform_is_filtered() ||
        kernel_make_readable(entry->start, entry->end - entry->start) != 0)
        return false;
    entry->is_readable = true;
    return true;
}

bool maps_can_read(const struct maps *maps, uintptr_t start, size_t size)
{
    const struct mapping *mapping = maps_find(maps, start);

    return mapping != NULL && maps_open(maps, mapping) && size <= mapping->end - start;
}
