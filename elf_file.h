/* SPDX-License-Identifier: MIT
 *
 * The little that is read of ELF files without libbacktrace: the build id, which tells whether two files are the same
 * program, of a file on disk or of a module in memory; and the function at an address, from a file's symbol
 * tables.  Nothing is believed of what is read: any file and any memory that may be read is safe to give.
 *
 * Files are read by pread into the caller's stack, not mapped: a file that somebody cuts short meanwhile gives less,
 * and not a SIGBUS.  Nothing is allocated, errno is left alone.
 */
#ifndef ELF_FILE_H
#define ELF_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ELF_BUILD_ID_MAX 20 /* a SHA-1; longer ones are cut */

struct elf_build_id {
    uint8_t size; /* 0: there is none */
    uint8_t bytes[ELF_BUILD_ID_MAX];
};

bool elf_build_ids_are_equal(const struct elf_build_id *a, const struct elf_build_id *b);

/* The build id of what is mapped from `start` to `end`, of which at least the first page must be readable, and in
 * *at the address of its bytes.  False if there is none, or if the mapping does not begin with its ELF header. */
bool elf_memory_build_id(uintptr_t start, uintptr_t end, struct elf_build_id *out, uintptr_t *at);

/* A descriptor for the functions below, to be closed by elf_file_close, or -1. */
int elf_file_open(const char *path);
void elf_file_close(int fd);

bool elf_file_build_id(int fd, struct elf_build_id *out);

/* Writes the name of the function that covers `address`, counted as the file's symbol table does, into name, cut to
 * size bytes with its final 0.  Time: linear in the number of symbols. */
bool elf_file_function(int fd, uintptr_t address, char *name, size_t size);

#endif
