/* SPDX-License-Identifier: MIT
 *
 * Headers lead to notes and to symbols.  What a file says about offsets and sizes is checked by the read that
 * uses it: pread of what is not there fails, and a table that claims to be larger than its file ends where
 * the file does.
 */
#define _GNU_SOURCE 1
#include "elf_file.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FIRST_PAGE = 4096, /* bytes that any mapping has at least */
    NOTES_MAX =
        1024, /* bytes of a segment of notes that are looked at: linkers put the build id first or second */
    SYMBOLS_AT_ONCE = 128,
};

typedef ElfW(Ehdr) elf_header;
typedef ElfW(Phdr) elf_segment;
typedef ElfW(Shdr) elf_section;
typedef ElfW(Nhdr) elf_note;
typedef ElfW(Sym) elf_symbol;

/* --- Headers and notes -------------------------------------------------------------------------------- */

static bool is_native_header(const elf_header *header)
{
    const int native_class = sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32;

    return memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 && header->e_ident[EI_CLASS] == native_class &&
           header->e_phentsize == sizeof(elf_segment);
}

static size_t round_up(size_t size, size_t alignment)
{
    return (size + alignment - 1) & ~(alignment - 1);
}

/* Finds the build id among notes: the offset of its bytes, or 0. */
static size_t find_build_id(const unsigned char *notes, size_t size, size_t alignment,
                            struct elf_build_id *out)
{
    static const char owner[] = "GNU";
    size_t at = 0;

    /* Notes are aligned to 4, also in 64-bit files, unless their segment says otherwise. */
    alignment = alignment == 8 ? 8 : 4;
    while (at < size && size - at >= sizeof(elf_note)) {
        size_t name_at = at + sizeof(elf_note), bytes_at;
        elf_note note;

        memcpy(&note, notes + at, sizeof(note));
        if (note.n_namesz > size || note.n_descsz > size)
            return 0;
        bytes_at = round_up(name_at + note.n_namesz, alignment);
        if (bytes_at > size || note.n_descsz > size - bytes_at)
            return 0;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_descsz != 0 && note.n_namesz == sizeof(owner) &&
            memcmp(notes + name_at, owner, sizeof(owner)) == 0) {
            out->size = (uint8_t)(note.n_descsz < ELF_BUILD_ID_MAX ? note.n_descsz : ELF_BUILD_ID_MAX);
            memcpy(out->bytes, notes + bytes_at, out->size);
            return bytes_at;
        }
        at = round_up(bytes_at + note.n_descsz, alignment);
    }
    return 0;
}

bool elf_build_ids_are_equal(const struct elf_build_id *a, const struct elf_build_id *b)
{
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

void elf_build_id_text(const struct elf_build_id *build_id, char *text, size_t size)
{
    size_t used = 0;

    for (size_t i = 0; i < build_id->size && used + 2 < size; i++) {
        text[used++] = "0123456789abcdef"[build_id->bytes[i] / 16];
        text[used++] = "0123456789abcdef"[build_id->bytes[i] % 16];
    }
    text[used] = 0;
}

/* --- In memory ---------------------------------------------------------------------------------------- */

/* Whether a readable segment of the module holds what this one, a segment of notes, says it holds. */
static bool is_readable(const elf_segment *notes, const elf_segment *segments, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const elf_segment *segment = &segments[i];

        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_R) != 0 &&
            notes->p_vaddr >= segment->p_vaddr && notes->p_filesz <= segment->p_filesz &&
            notes->p_vaddr - segment->p_vaddr <= segment->p_filesz - notes->p_filesz)
            return true;
    }
    return false;
}

bool elf_memory_build_id(uintptr_t start, uintptr_t end, uintptr_t base, struct elf_build_id *out,
                         uintptr_t *at)
{
    const elf_header *header = (const elf_header *)start;
    const elf_segment *segments;

    out->size = 0;
    if (end - start < FIRST_PAGE || !is_native_header(header) ||
        header->e_phoff % _Alignof(elf_segment) != 0 || header->e_phoff > FIRST_PAGE ||
        header->e_phnum > (FIRST_PAGE - header->e_phoff) / sizeof(elf_segment))
        return false;
    segments = (const elf_segment *)(start + header->e_phoff);
    for (size_t i = 0; i < header->e_phnum; i++) {
        const elf_segment *notes = &segments[i];
        size_t offset;

        if (notes->p_type != PT_NOTE || !is_readable(notes, segments, header->e_phnum))
            continue;
        *at = base + notes->p_vaddr;
        offset = find_build_id((const unsigned char *)*at, notes->p_filesz, notes->p_align, out);
        *at += offset;
        if (offset != 0)
            return true;
    }
    return false;
}

/* --- On disk ------------------------------------------------------------------------------------------ */

/* How many bytes there were at this offset, at most size. */
static size_t read_some(int fd, void *out, size_t size, uint64_t offset)
{
    int saved = errno;
    ssize_t got;

    do
        got = offset <= INT64_MAX ? pread(fd, out, size, (off_t)offset) : 0;
    while (got < 0 && errno == EINTR);
    errno = saved;
    return got > 0 ? (size_t)got : 0;
}

static bool read_at(int fd, void *out, size_t size, uint64_t offset)
{
    return read_some(fd, out, size, offset) == size;
}

static bool read_header(int fd, elf_header *out)
{
    return read_at(fd, out, sizeof(*out), 0) && is_native_header(out);
}

static bool read_section(int fd, const elf_header *header, size_t index, elf_section *out)
{
    return header->e_shentsize == sizeof(*out) &&
           read_at(fd, out, sizeof(*out), header->e_shoff + index * sizeof(*out));
}

/* False also for what is no file, but a pipe, say. */
static bool get_status(int fd, struct stat *out)
{
    int saved = errno;
    bool is_file = fstat(fd, out) == 0 && S_ISREG(out->st_mode);

    errno = saved;
    return is_file;
}

/* 0: no file either. */
static uint64_t size_of_file(int fd)
{
    struct stat status;

    return get_status(fd, &status) && status.st_size > 0 ? (uint64_t)status.st_size : 0;
}

bool elf_file_identify(int fd, struct elf_file_identity *out)
{
    const uint64_t factor = UINT64_C(0x9e3779b97f4a7c15);
    struct stat status;

    if (!get_status(fd, &status))
        return false;
    *out = (struct elf_file_identity){.device = status.st_dev, .inode = status.st_ino};
    const int64_t parts[] = {status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec,
                             status.st_ctim.tv_sec, status.st_ctim.tv_nsec};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        out->version = (out->version ^ (uint64_t)parts[i]) * factor;
    return true;
}

bool elf_file_is_whole(int fd)
{
    const uint64_t size = size_of_file(fd);
    elf_section section;
    elf_header header;
    size_t count;

    if (size == 0 || !read_header(fd, &header))
        return false;
    count = header.e_shnum;
    /* More than the header has room for. */
    if (count == 0 && header.e_shoff != 0)
        count = read_section(fd, &header, 0, &section) ? section.sh_size : 1;
    for (size_t i = 0; i < count; i++)
        if (!read_section(fd, &header, i, &section) ||
            (section.sh_type != SHT_NOBITS && section.sh_type != SHT_NULL &&
             (section.sh_offset > size || section.sh_size > size - section.sh_offset)))
            return false;
    return true;
}

int elf_file_open(const char *path)
{
    int saved = errno;
    /* What is there need not be a file any more: a pipe or a terminal must not do anything to us. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0)
        fd = -errno;
    errno = saved;
    return fd;
}

void elf_file_close(int fd)
{
    int saved = errno;

    close(fd);
    errno = saved;
}

bool elf_file_build_id(int fd, struct elf_build_id *out)
{
    elf_header header;

    out->size = 0;
    if (!elf_file_is_whole(fd) || !read_header(fd, &header))
        return false;
    for (size_t i = 0; i < header.e_phnum; i++) {
        unsigned char notes[NOTES_MAX];
        elf_segment segment;
        size_t size;

        if (!read_at(fd, &segment, sizeof(segment), header.e_phoff + i * sizeof(segment)))
            return false;
        if (segment.p_type != PT_NOTE)
            continue;
        size = segment.p_filesz < sizeof(notes) ? (size_t)segment.p_filesz : sizeof(notes);
        size = read_some(fd, notes, size, segment.p_offset);
        if (find_build_id(notes, size, segment.p_align, out) != 0)
            return true;
    }
    return false;
}

static bool covers(const elf_symbol *symbol, uintptr_t address)
{
    const unsigned type = symbol->st_info & 0xf;

    return (type == STT_FUNC || type == STT_GNU_IFUNC) && symbol->st_shndx != SHN_UNDEF &&
           address >= symbol->st_value && address - symbol->st_value < symbol->st_size;
}

static bool read_name(int fd, const elf_section *strings, size_t at, char *name, size_t size)
{
    if (size == 0 || at >= strings->sh_size)
        return false;
    if (size - 1 > strings->sh_size - at)
        size = (size_t)(strings->sh_size - at) + 1;
    name[read_some(fd, name, size - 1, strings->sh_offset + at)] = 0;
    return name[0] != 0;
}

static bool find_function(int fd, const elf_section *table, const elf_section *strings, uintptr_t address,
                          char *name, size_t size)
{
    elf_symbol symbols[SYMBOLS_AT_ONCE];
    uint64_t left = table->sh_size / sizeof(elf_symbol), at = table->sh_offset;

    while (left != 0) {
        size_t wanted = left < SYMBOLS_AT_ONCE ? (size_t)left : SYMBOLS_AT_ONCE;
        size_t count = read_some(fd, symbols, wanted * sizeof(elf_symbol), at) / sizeof(elf_symbol);

        if (count == 0)
            return false;
        for (size_t i = 0; i < count; i++)
            if (covers(&symbols[i], address) && read_name(fd, strings, symbols[i].st_name, name, size))
                return true;
        left -= count;
        at += count * sizeof(elf_symbol);
    }
    return false;
}

static bool find_function_in(int fd, const elf_header *header, unsigned table_type, uintptr_t address,
                             char *name, size_t size)
{
    for (size_t i = 0; i < header->e_shnum; i++) {
        elf_section table, strings;

        if (!read_section(fd, header, i, &table))
            return false;
        if (table.sh_type == table_type && table.sh_entsize == sizeof(elf_symbol) &&
            read_section(fd, header, table.sh_link, &strings) &&
            find_function(fd, &table, &strings, address, name, size))
            return true;
    }
    return false;
}

bool elf_file_function(int fd, uintptr_t address, char *name, size_t size)
{
    elf_header header;

    /* What strip leaves is the dynamic table, without the static functions. */
    return read_header(fd, &header) && (find_function_in(fd, &header, SHT_SYMTAB, address, name, size) ||
                                        find_function_in(fd, &header, SHT_DYNSYM, address, name, size));
}
