/* SPDX-License-Identifier: MIT
 *
 * The little that is read of ELF files without libbacktrace: the build id, which tells whether two files are
 * the same program, of a file on disk or of a module in memory; and the function at an address, from a file's
 * symbol tables.  Nothing that a file says is believed: any file may be given.
 *
 * Files are read by pread into the caller's stack, not mapped: a file that somebody cuts short meanwhile
 * gives less, and not a SIGBUS.  Nothing is allocated, and errno is left alone.
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

/* The build id of a module that is loaded from `start` to `end` with the load bias `base`, and in *at the
 * address of its bytes.  False if there is none, or if the first thing mapped is not the ELF header.  The
 * first page must be readable, and the module stay loaded meanwhile. */
bool elf_memory_build_id(uintptr_t start, uintptr_t end, uintptr_t base, struct elf_build_id *out,
                         uintptr_t *at);

/* Writes it in hexadecimal, cut to size bytes with its final 0; size is not 0. */
void elf_build_id_text(const struct elf_build_id *build_id, char *text, size_t size);

/* A descriptor for the functions below, to be closed by elf_file_close, or a negative errno value. */
int elf_file_open(const char *path);
void elf_file_close(int fd);

/* False for a file that is just being copied, or was cut short: a part of it that is not there must not be
 * mapped and touched. */
bool elf_file_is_whole(int fd);

/* Which file it is: device and inode; and another version each time that it was changed. */
struct elf_file_identity {
    uint64_t device, inode, version;
};
bool elf_file_identify(int fd, struct elf_file_identity *out);

/* False also for a file that is not whole. */
bool elf_file_build_id(int fd, struct elf_build_id *out);

/* Writes the name of the function that covers `address`, counted as the file's symbol tables do, into name,
 * cut to size bytes with its final 0.  Time: linear in the number of symbols. */
bool elf_file_function(int fd, uintptr_t address, char *name, size_t size);

#endif
