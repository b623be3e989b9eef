/* SPDX-License-Identifier: MIT
 *
 * Reads /proc/self/maps (maps.h): one line for each mapping, "start-end rwxp offset dev inode path".
 */
#include "maps.h"

#include <errno.h>
#include <string.h>

#include "kernel.h"

enum {
    FIRST_CAPACITY = 4096,
};

/* What is read of a file, piece by piece. */
struct source {
    int fd;
    int error;
    size_t at, end;
    char bytes[8192];
};

static int next_byte(struct source *source)
{
    if (source->at == source->end) {
        long count = kernel_read(source->fd, source->bytes, sizeof(source->bytes));

        if (count <= 0) {
            source->error = (int)-count;
            return -1;
        }
        source->at = 0;
        source->end = (size_t)count;
    }
    return (unsigned char)source->bytes[source->at++];
}

static uintptr_t digit_of(int byte)
{
    return (uintptr_t)(byte <= '9' ? byte - '0' : byte - 'a' + 10);
}

/* A number, in hexadecimal, and the byte that ends it. */
static uintptr_t read_number(struct source *source, int *end)
{
    uintptr_t number = 0;

    for (*end = next_byte(source); (*end >= '0' && *end <= '9') || (*end >= 'a' && *end <= 'f');
         *end = next_byte(source))
        number = number << 4 | digit_of(*end);
    return number;
}

static bool read_mapping(struct source *source, struct mapping *out)
{
    int byte;

    *out = (struct mapping){.start = read_number(source, &byte)};
    if (byte != '-')
        return false;
    out->end = read_number(source, &byte);
    out->is_readable = next_byte(source) == 'r';
    out->is_writable = next_byte(source) == 'w';
    out->is_executable = next_byte(source) == 'x';
    out->is_private = next_byte(source) == 'p';
    next_byte(source);
    read_number(source, &byte); /* offset */
    read_number(source, &byte); /* device, major */
    read_number(source, &byte); /* and minor */
    out->is_of_file = read_number(source, &byte) != 0;
    while (byte != '\n' && byte >= 0)
        byte = next_byte(source);
    return true;
}

static int append(struct maps *maps, const struct mapping *mapping)
{
    if (maps->count == maps->capacity) {
        struct maps more = {.count = maps->count,
                            .capacity = maps->capacity == 0 ? FIRST_CAPACITY : 2 * maps->capacity};

        more.entries = kernel_map(more.capacity * sizeof(more.entries[0]), false);
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

int maps_read(struct maps *maps)
{
    struct source source = {.fd = kernel_open("/proc/self/maps")};
    struct mapping mapping;
    int error = 0;

    *maps = (struct maps){0};
    if (source.fd < 0)
        return -source.fd;
    while (error == 0 && read_mapping(&source, &mapping))
        error = append(maps, &mapping);
    kernel_close(source.fd);
    if (error == 0)
        error = source.error;
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

bool maps_can_read(const struct maps *maps, uintptr_t start, size_t size)
{
    const struct mapping *mapping = maps_find(maps, start);

    return mapping != NULL && mapping->is_readable && size <= mapping->end - start;
}
