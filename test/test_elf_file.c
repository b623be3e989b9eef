/* SPDX-License-Identifier: MIT
 *
 * Reading ELF files that are what they should be, and thousands that are not.
 *
 * build: sources
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "libraries.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "elf_file.h"

enum { NAME_ROOM = 256 };

static const char wanted[] = "0123456789abcdef0123456789abcdef01234567"; /* as hexadecimal digits */

static void build_known(const char *name, const char *more)
{
    char flags[PATH_ROOM];

    snprintf(flags, sizeof(flags), "-O1 -Wl,--build-id=0x%s %s", wanted, more);
    build_library(name, flags);
}

static void require_wanted(const struct elf_build_id *build_id)
{
    REQUIRE(build_id->size == ELF_BUILD_ID_MAX);
    for (size_t i = 0; i < ELF_BUILD_ID_MAX; i++) {
        char digits[3];

        snprintf(digits, sizeof(digits), "%02x", build_id->bytes[i]);
        REQUIRE(strncmp(digits, wanted + 2 * i, 2) == 0);
    }
}

/* The value of a symbol, as nm has it. */
static uintptr_t value_of(const char *library, const char *symbol)
{
    char command[2 * PATH_ROOM], answer[64];
    FILE *pipe;

    snprintf(command, sizeof(command), "nm %s | grep ' %s$'", path_of(library), symbol);
    pipe = popen(command, "r");
    REQUIRE(pipe != NULL && fgets(answer, sizeof(answer), pipe) != NULL);
    pclose(pipe);
    return strtoull(answer, NULL, 16);
}

/* The build id is found, in any linker's file. */
TEST(finds_the_build_id_of_a_file)
{
    static const char *const flags[] = {
        "", "-s", "-g", "-fuse-ld=gold", "-fuse-ld=lld", "-Wl,-z,noseparate-code"};

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        struct elf_build_id build_id;
        int fd;

        build_known("id.so", flags[i]);
        fd = elf_file_open(path_of("id.so"));
        REQUIRE(fd >= 0);
        REQUIRE(elf_file_build_id(fd, &build_id));
        require_wanted(&build_id);
        elf_file_close(fd);
    }
}

/* A file without build id has none. */
TEST(finds_no_build_id_where_there_is_none)
{
    struct elf_build_id build_id;
    int fd;

    build_library("none.so", "-O1 -Wl,--build-id=none");
    fd = elf_file_open(path_of("none.so"));
    REQUIRE(!elf_file_build_id(fd, &build_id) && build_id.size == 0);
    elf_file_close(fd);
}

/* A build id longer than is kept is cut, and equal to itself. */
TEST(long_build_ids_are_cut)
{
    struct elf_build_id first, second;
    int fd;

    build_library("long.so",
                  "-O1 -Wl,--build-id=0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    fd = elf_file_open(path_of("long.so"));
    REQUIRE(elf_file_build_id(fd, &first) && first.size == ELF_BUILD_ID_MAX);
    REQUIRE(elf_file_build_id(fd, &second) && elf_build_ids_are_equal(&first, &second));
    second.bytes[19]++;
    REQUIRE(!elf_build_ids_are_equal(&first, &second));
    elf_file_close(fd);
}

/* What covers an address is found, static or not, in stripped files what is left of it. */
TEST(finds_functions)
{
    char name[NAME_ROOM];
    uintptr_t exported, hidden;
    int fd;

    build_library("functions.so", "-O1");
    exported = value_of("functions.so", "fixture_exported");
    hidden = value_of("functions.so", "fixture_static");
    for (int is_stripped = 0; is_stripped < 2; is_stripped++) {
        fd = elf_file_open(path_of("functions.so"));
        REQUIRE(elf_file_function(fd, exported, name, sizeof(name)));
        REQUIRE(strcmp(name, "fixture_exported") == 0);
        REQUIRE(elf_file_function(fd, exported + 3, name, sizeof(name)));
        REQUIRE(strcmp(name, "fixture_exported") == 0);
        REQUIRE(elf_file_function(fd, hidden, name, sizeof(name)) == !is_stripped);
        REQUIRE(is_stripped || strcmp(name, "fixture_static") == 0);
        REQUIRE(!elf_file_function(fd, 0, name, sizeof(name)));
        REQUIRE(!elf_file_function(fd, UINTPTR_MAX, name, sizeof(name)));
        elf_file_close(fd);
        shell("strip %s", path_of("functions.so"));
    }
}

/* Names are cut to the room that there is. */
TEST(names_are_cut)
{
    char name[NAME_ROOM];
    uintptr_t address;
    int fd;

    build_library("cut.so", "-O1");
    address = value_of("cut.so", "fixture_exported");
    fd = elf_file_open(path_of("cut.so"));
    for (size_t size = 2; size < 20; size++) {
        memset(name, 'x', sizeof(name));
        REQUIRE(elf_file_function(fd, address, name, size));
        REQUIRE(strncmp(name, "fixture_exported", size - 1) == 0);
        REQUIRE(strlen(name) == (size < 17 ? size - 1 : 16) && name[size] == 'x');
    }
    REQUIRE(!elf_file_function(fd, address, name, 1));
    REQUIRE(!elf_file_function(fd, address, name, 0));
    elf_file_close(fd);
}

/* Folders, devices, pipes that nobody writes to, and files that are not there are no ELF files, and nothing
 * waits. */
TEST(other_files_are_nothing)
{
    static const char *const paths[] = {"/", "/dev/null", "/dev/zero", "/proc/self/maps", "/etc/passwd"};
    struct elf_build_id build_id;
    char name[NAME_ROOM];

    REQUIRE(elf_file_open("/nowhere/at/all") == -ENOENT);
    REQUIRE(elf_file_open("") == -ENOENT);
    REQUIRE(mkfifo(path_of("pipe"), 0600) == 0);
    for (size_t i = 0; i <= sizeof(paths) / sizeof(paths[0]); i++) {
        int fd = elf_file_open(i < sizeof(paths) / sizeof(paths[0]) ? paths[i] : path_of("pipe"));

        REQUIRE(fd >= 0);
        REQUIRE(!elf_file_build_id(fd, &build_id) && build_id.size == 0);
        REQUIRE(!elf_file_function(fd, 4096, name, sizeof(name)));
        elf_file_close(fd);
    }
}

/* A file that was cut short anywhere has no build id, and no symbols that are not there. */
TEST(cut_files_are_not_whole)
{
    struct elf_build_id build_id;
    struct stat status;
    char name[NAME_ROOM];
    int fd;

    build_known("whole.so", "-g");
    fd = open(path_of("whole.so"), O_RDWR);
    REQUIRE(fd >= 0 && fstat(fd, &status) == 0);
    for (off_t size = status.st_size - 1; size >= 0; size -= size > 4096 ? 97 : 1) {
        REQUIRE(ftruncate(fd, size) == 0);
        REQUIRE(!elf_file_build_id(fd, &build_id));
        elf_file_function(fd, 0x1100, name, sizeof(name));
    }
    close(fd);
}

/* Files and headers in memory that say anything at all harm nobody. */
TEST(random_changes_harm_nobody)
{
    uint64_t seed = test_seed();
    struct stat status;
    unsigned char *whole;
    int fd, original;

    build_known("original.so", "");
    original = open(path_of("original.so"), O_RDONLY);
    fd = memfd_create("changed", 0);
    REQUIRE(original >= 0 && fd >= 0 && fstat(original, &status) == 0);
    whole = malloc((size_t)status.st_size);
    REQUIRE(whole != NULL && pread(original, whole, (size_t)status.st_size, 0) == status.st_size);
    for (size_t i = 0; i < scaled(20000); i++) {
        size_t headers = (size_t)status.st_size - 4096;
        struct elf_build_id build_id;
        char name[NAME_ROOM];

        REQUIRE(pwrite(fd, whole, (size_t)status.st_size, 0) == status.st_size);
        for (int changes = 0; changes < 8; changes++) {
            uint64_t value = random_next(&seed) >> random_below(&seed, 64);
            size_t at = random_below(&seed, 2048);

            /* Headers and notes come first, sections last. */
            REQUIRE(pwrite(fd, &value, 1 + random_below(&seed, 8),
                           (off_t)(changes % 2 ? at : headers + 2 * at)) > 0);
        }
        elf_file_build_id(fd, &build_id);
        elf_file_function(fd, 0x1100 + random_below(&seed, 256), name, sizeof(name));
    }
    free(whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_build_id_of_a_file),
        cmocka_unit_test(finds_no_build_id_where_there_is_none),
        cmocka_unit_test(long_build_ids_are_cut),
        cmocka_unit_test(finds_functions),
        cmocka_unit_test(names_are_cut),
        cmocka_unit_test(other_files_are_nothing),
        cmocka_unit_test(cut_files_are_not_whole),
        cmocka_unit_test(random_changes_harm_nobody),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
