/* SPDX-License-Identifier: MIT
 *
 * The memory map of this process, as /proc has it, less guards: sorted by address, in memory of its own, read
 * with system calls alone.
 */
#ifndef MAPS_H
#define MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mapping {
    uintptr_t start, end;
    bool is_readable, is_writable, is_executable, is_private, is_of_file;
    bool is_continued; /* what the entry before it has is part of the same mapping */
    bool is_guard;
};

struct maps {
    struct mapping *entries;
    size_t count, capacity;
    bool are_of_copy; /* of a process that is no program any more: see maps_open */
};

/* 0 or an errno value.  A mapping with guards (pages.h) has several entries, and theirs are not readable. */
int maps_read(struct maps *maps);
void maps_release(struct maps *maps);

/* One mapping after the other, of the process that has opened this file; takes no memory.  False: that was
 * the last one, or there is an error.  What is /proc/self when the first thread has ended has no memory. */
#define MAPS_FILE "/proc/thread-self/maps"
struct maps_file {
    uint64_t device, inode; /* as stat has them, but for file systems that have devices of their own there */
};
struct maps_reader {
    int fd;
    int error;             /* errno value */
    struct maps_file file; /* of the last one; inode 0: it has none */
    size_t at, end;
    char bytes[4096];
};
bool maps_next(struct maps_reader *reader, struct mapping *out);

/* The file that is mapped at this address; inode 0: none, or it cannot be told. */
struct maps_file maps_file_at(uintptr_t address);

/* The mapping that this address lies in, or NULL. */
const struct mapping *maps_find(const struct maps *maps, uintptr_t address);

/* Where the mapping of this entry begins. */
uintptr_t maps_beginning(const struct maps *maps, const struct mapping *mapping);

/* Whether so many bytes from there on, in one mapping, may be read. */
bool maps_can_read(const struct maps *maps, uintptr_t start, size_t size);

/* Whether one of these mappings may be read.  In a copy it is made so, if the program has protected it. */
bool maps_open(const struct maps *maps, const struct mapping *mapping);

/* The first one that ends above this address: index into entries, or count. */
size_t maps_first_above(const struct maps *maps, uintptr_t address);

#endif
