/* SPDX-License-Identifier: MIT
 *
 * Names of frames: in libraries and programs that are built here in every way there is, loaded and unloaded,
 * and on every kind of bad day.
 *
 * Each test runs in a child of its own, for what was symbolized once is remembered, and what is found without
 * that memory is what must be tested.  The compiler is run with -g and -O as the test says, not with the
 * flavour's flags.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "libraries.h"

#include <dirent.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>

enum {
    ODD_SIZE = 1337,
    OTHER_ODD_SIZE = 666,
    LONG_NAME = 100000,
};

/* --- Frames ------------------------------------------------------------------------------------------- */

/* Allocates in the library, and returns the record. */
static struct snapshot allocate_in(void *library, size_t size)
{
    void *symbol = dlsym(library, "fixture_allocate");
    void *(*call)(void *allocate(size_t size), size_t size);
    struct snapshot found;

    REQUIRE(symbol != NULL);
    memcpy(&call, &symbol, sizeof(call));
    REQUIRE(find_block(call(ld_malloc, size), &found));
    return found;
}

/* As a walk handed it over. */
static struct ld_leak leak_of(const struct snapshot *record)
{
    return (struct ld_leak){
        .address = record->address,
        .size = record->size,
        .frames = record->frames,
        .frame_count = record->frame_count,
        .modules = record->modules,
    };
}

/* Names a frame of a record that was copied. */
static bool symbolize_record(const struct snapshot *record, size_t index, struct ld_symbol *out)
{
    struct ld_leak leak = leak_of(record);

    return ld_symbolize_frame(&leak, index, out);
}

static bool inlined_in_record(const struct snapshot *record, size_t index, unsigned level,
                              struct ld_symbol *out)
{
    struct ld_leak leak = leak_of(record);

    return ld_symbolize_inlined(&leak, index, level, out);
}

static void require_function(const struct ld_symbol *symbol, const char *function)
{
    if (symbol->function == NULL || strcmp(symbol->function, function) != 0) {
        dprintf(STDERR_FILENO, "function %s, and not %s\n", symbol->function ? symbol->function : "unknown",
                function);
        abort();
    }
}

static void require_line(const struct ld_symbol *symbol, const char *file, unsigned line)
{
    if (!ends_with(symbol->file, file) || symbol->line != line) {
        dprintf(STDERR_FILENO, "%s:%u, and not %s:%u\n", symbol->file ? symbol->file : "unknown",
                symbol->line, file, line);
        abort();
    }
}

static void require_no_source(const struct ld_symbol *symbol)
{
    REQUIRE(symbol->file == NULL && symbol->line == 0);
}

static void require_in_library(struct site site, const char *function)
{
    struct ld_symbol symbol;

    REQUIRE(ld_symbolize(site.frame, &symbol));
    require_function(&symbol, function);
    require_line(&symbol, "library.c", site.line);
}

static unsigned count_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    unsigned count = 0;

    REQUIRE(directory != NULL);
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

/* What addr2line says: "FUNCTION at FILE:LINE". */
static void require_addr2line(const char *module, uintptr_t offset, const char *function, const char *source)
{
    char command[2 * PATH_ROOM], answer[PATH_ROOM] = "";
    FILE *pipe;

    snprintf(command, sizeof(command), "addr2line -pfs -e %s 0x%lx", module, (unsigned long)offset);
    pipe = popen(command, "r");
    REQUIRE(pipe != NULL);
    REQUIRE(fgets(answer, sizeof(answer), pipe) != NULL);
    REQUIRE(pclose(pipe) == 0);
    if (strncmp(answer, function, strlen(function)) != 0 || strstr(answer, source) == NULL) {
        dprintf(STDERR_FILENO, "%s: %s, and not %s in %s\n", command, answer, function, source);
        abort();
    }
}

static SITE const void *here(void)
{
    __asm__ volatile("");
    return __builtin_return_address(0);
}

/* --- Libraries that are loaded ------------------------------------------------------------------------ */

/* Names function, file and line of a call in a library without optimisation. */
TEST(names_function_file_and_line_at_O0)
{
    build_library("O0.so", "-g -O0");
    require_in_library(site_of(open_library("O0.so"), "fixture_exported"), "fixture_exported");
}

/* Names function, file and line of a call in an optimised library. */
TEST(names_function_file_and_line_at_O2)
{
    build_library("O2.so", "-g -O2");
    require_in_library(site_of(open_library("O2.so"), "fixture_exported"), "fixture_exported");
}

/* Names a function that no other file can see. */
TEST(names_static_functions)
{
    build_library("static.so", "-g -O1");
    require_in_library(site_of(open_library("static.so"), "fixture_call_static"), "fixture_static");
}

/* The return address of a call that never returns lies in the next function or line, and is not named after
 * that. */
TEST(trap_9_names_the_call_and_not_what_follows)
{
    build_library("noreturn.so", "-g -O2");
    require_in_library(site_of(open_library("noreturn.so"), "fixture_call_never_returns"),
                       "fixture_never_returns");
}

/* Names the module by its full path, and the offset as addr2line takes it. */
TEST(module_and_offset_are_what_addr2line_takes)
{
    struct ld_symbol symbol;
    struct site site;
    char source[64];

    build_library("offset.so", "-g -O1");
    site = site_of(open_library("offset.so"), "fixture_exported");
    REQUIRE(ld_symbolize(site.frame, &symbol));
    REQUIRE(strcmp(symbol.module, path_of("offset.so")) == 0);
    snprintf(source, sizeof(source), "library.c:%u", site.line);
    require_addr2line(symbol.module, symbol.offset, "fixture_exported", source);
}

/* Without debug information the function still has its name. */
TEST(names_functions_without_debug_information)
{
    struct ld_symbol symbol;

    build_library("nodebug.so", "-O1");
    REQUIRE(ld_symbolize(site_of(open_library("nodebug.so"), "fixture_call_static").frame, &symbol));
    require_function(&symbol, "fixture_static");
    require_no_source(&symbol);
}

/* In a stripped library a function that it exports still has its name. */
TEST(stripped_code_has_dynamic_symbols)
{
    struct ld_symbol symbol;

    build_library("stripped.so", "-O1 -s");
    REQUIRE(ld_symbolize(site_of(open_library("stripped.so"), "fixture_exported").frame, &symbol));
    require_function(&symbol, "fixture_exported");
    require_no_source(&symbol);
}

/* What has no symbol at all has module and offset, which addr2line understands if somebody has the
 * symbols. */
TEST(stripped_static_functions_have_an_offset)
{
    struct ld_symbol symbol;
    struct site site;
    char name[PATH_ROOM], expected[PATH_ROOM], source[64];

    build_library("full.so", "-g -O1");
    shell("strip -o %s %s", path_of("bare.so"), path_of("full.so"));
    site = site_of(open_library("bare.so"), "fixture_call_static");
    REQUIRE(ld_symbolize(site.frame, &symbol));
    REQUIRE(symbol.function == NULL);
    require_no_source(&symbol);
    snprintf(source, sizeof(source), "library.c:%u", site.line);
    require_addr2line(path_of("full.so"), symbol.offset, "fixture_static", source);

    snprintf(expected, sizeof(expected), "%s+0x%lx", path_of("bare.so"), (unsigned long)symbol.offset);
    REQUIRE(ld_symbol_name(site.frame, name, sizeof(name)) == strlen(expected));
    REQUIRE(strcmp(name, expected) == 0);
}

/* The address of a variable is in a module, but in no function. */
TEST(data_is_in_no_function)
{
    struct ld_symbol symbol;

    build_library("data.so", "-g -O1");
    REQUIRE(ld_symbolize(dlsym(open_library("data.so"), "fixture_data"), &symbol));
    REQUIRE(symbol.function == NULL);
    REQUIRE(strcmp(symbol.module, path_of("data.so")) == 0);
}

/* The library was loaded when all that was loaded had been looked at already. */
TEST(names_libraries_opened_later)
{
    struct ld_symbol symbol;

    build_library("early.so", "-g -O1");
    build_library("later.so", "-g -O1 -DNAME=other");
    require_in_library(site_of(open_library("early.so"), "fixture_exported"), "fixture_exported");
    REQUIRE(ld_symbolize(here(), &symbol));
    require_in_library(site_of(open_library("later.so"), "fixture_exported"), "fixture_exported");
    require_in_library(site_of(open_library("early.so"), "fixture_call_static"), "fixture_static");
}

/* A library that was opened by a relative path is named by its whole path, also when the current folder has
 * changed. */
TEST(relative_paths_become_absolute)
{
    struct ld_symbol symbol;
    struct snapshot record;
    void *library;

    build_library("relative.so", "-g -O1");
    REQUIRE(chdir(folder) == 0);
    library = dlopen("./relative.so", RTLD_NOW);
    REQUIRE(library != NULL);
    record = allocate_in(library, ODD_SIZE);
    REQUIRE(chdir("/") == 0);
    REQUIRE(symbolize_record(&record, 0, &symbol));
    REQUIRE(strcmp(symbol.module, path_of("relative.so")) == 0);
    REQUIRE(dlclose(library) == 0);
    REQUIRE(symbolize_record(&record, 0, &symbol));
    require_function(&symbol, "fixture_named");
}

/* However many libraries were looked at before. */
TEST(names_lines_of_any_number_of_libraries)
{
    enum { LIBRARIES = 40 };

    build_library("original.so", "-g -O1");
    for (int i = 0; i < LIBRARIES; i++) {
        struct ld_symbol symbol;
        char name[32];

        snprintf(name, sizeof(name), "copy%d.so", i);
        shell("cp %s %s", path_of("original.so"), path_of(name));
        REQUIRE(ld_symbolize(site_of(open_library(name), "fixture_call_static").frame, &symbol));
        require_function(&symbol, "fixture_static");
        REQUIRE(strcmp(symbol.module, path_of(name)) == 0);
        REQUIRE(ends_with(symbol.file, "library.c") && symbol.line != 0);
    }
}

/* Each time at another place, since the last one is taken. */
TEST(names_lines_of_a_library_however_often_it_is_loaded)
{
    enum { TIMES = 40 };
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

    build_library("often.so", "-g -O1");
    for (int i = 0; i < TIMES; i++) {
        struct ld_symbol symbol;
        void *library = open_library("often.so");
        struct snapshot record = allocate_in(library, ODD_SIZE);
        void *place = (void *)((uintptr_t)record.frames[0] & ~(page - 1));

        if (i % 2 == 0)
            close_library(library, "often.so");
        REQUIRE(symbolize_record(&record, 0, &symbol));
        require_function(&symbol, "fixture_named");
        REQUIRE(ends_with(symbol.file, "library.c") && symbol.line != 0);
        if (i % 2 != 0)
            close_library(library, "often.so");
        /* There, or something is there already, as what was mapped for the names. */
        REQUIRE(mmap(place, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    }
}

/* --- Libraries that are gone -------------------------------------------------------------------------- */

/* What has been named once keeps function, file and line when its library is closed. */
TEST(trap_11_names_survive_dlclose)
{
    struct ld_symbol symbol;
    struct site site;
    void *library;

    build_library("gone.so", "-g -O1");
    library = open_library("gone.so");
    site = site_of(library, "fixture_exported");
    require_in_library(site, "fixture_exported");
    close_library(library, "gone.so");
    require_in_library(site, "fixture_exported");
    REQUIRE(ld_symbolize(site.frame, &symbol));
    REQUIRE(strcmp(symbol.module, path_of("gone.so")) == 0);
}

/* So does what is asked for only after its library was closed. */
TEST(trap_11_names_are_found_after_dlclose)
{
    struct ld_symbol symbol;
    struct snapshot record;
    void *library;

    build_library("record.so", "-g -O1");
    library = open_library("record.so");
    record = allocate_in(library, ODD_SIZE);
    close_library(library, "record.so");
    for (int i = 0; i < 2; i++) {
        REQUIRE(symbolize_record(&record, 0, &symbol));
        require_function(&symbol, "fixture_named");
        REQUIRE(ends_with(symbol.file, "library.c") && symbol.line != 0);
        REQUIRE(ld_symbolize(record.frames[0], &symbol));
        require_function(&symbol, "fixture_named");
    }
    REQUIRE(symbolize_record(&record, 2, &symbol));
    require_function(&symbol, "allocate_in");
}

/* A closed library whose file was removed has module and offset. */
TEST(trap_11_removed_files_leave_module_and_offset)
{
    struct ld_symbol symbol;
    struct snapshot record;
    void *library;

    build_library("removed.so", "-g -O1");
    library = open_library("removed.so");
    record = allocate_in(library, ODD_SIZE);
    close_library(library, "removed.so");
    REQUIRE(unlink(path_of("removed.so")) == 0);
    REQUIRE(symbolize_record(&record, 0, &symbol));
    REQUIRE(symbol.function == NULL && symbol.offset != 0);
    require_no_source(&symbol);
    REQUIRE(strcmp(symbol.module, path_of("removed.so")) == 0);
}

/* Another library in the file of the one that was closed is not taken for it, nor is one half written. */
TEST(trap_11_changed_files_are_not_believed)
{
    struct ld_symbol symbol;
    struct snapshot record;
    void *library;

    build_library("changed.so", "-g -O1");
    build_library("new.so", "-g -O0 -DNAME=other");
    library = open_library("changed.so");
    record = allocate_in(library, ODD_SIZE);
    REQUIRE(symbolize_record(&record, 0, &symbol));
    require_function(&symbol, "fixture_named");
    close_library(library, "changed.so");

    /* In place: what was mapped of the old one is gone. */
    REQUIRE(truncate(path_of("changed.so"), 1000) == 0);
    REQUIRE(symbolize_record(&record, 0, &symbol));
    REQUIRE(symbol.module != NULL);
    shell("cat %s >%s", path_of("new.so"), path_of("changed.so"));
    REQUIRE(symbolize_record(&record, 0, &symbol));
    REQUIRE(symbol.function == NULL);
    REQUIRE(strcmp(symbol.module, path_of("changed.so")) == 0);
}

/* A file without its end, in which all that is loaded is there: that would be mapped, and touched. */
TEST(files_that_were_cut_short_leave_the_names_of_others)
{
    struct ld_symbol symbol;
    struct stat status;
    struct site cut, whole;

    build_library("cut.so", "-g -O1");
    build_library("whole.so", "-g -O1");
    REQUIRE(stat(path_of("cut.so"), &status) == 0);
    REQUIRE(truncate(path_of("cut.so"), status.st_size - 100) == 0);
    cut = site_of(open_library("cut.so"), "fixture_exported");
    whole = site_of(open_library("whole.so"), "fixture_exported");
    require_in_library(whole, "fixture_exported");
    REQUIRE(ld_symbolize(cut.frame, &symbol));
    require_no_source(&symbol);
    REQUIRE(strcmp(symbol.module, path_of("cut.so")) == 0);
}

/* A library that is replaced on disk while it is loaded, as an upgrade does, is not named after the new
 * one. */
TEST(upgraded_files_are_not_believed)
{
    struct ld_symbol symbol;
    struct site site;

    build_library("running.so", "-g -O1");
    build_library("upgrade.so", "-g -O0 -DNAME=other");
    site = site_of(open_library("running.so"), "fixture_exported");
    REQUIRE(rename(path_of("upgrade.so"), path_of("running.so")) == 0);
    REQUIRE(ld_symbolize(site.frame, &symbol));
    REQUIRE(symbol.function == NULL);
    require_no_source(&symbol);
}

/* Without a build id nobody knows whether a file is still the same, and nothing of it is believed. */
TEST(trap_11_files_without_build_id_are_not_believed)
{
    struct ld_symbol symbol;
    struct snapshot record;
    void *library;

    build_library("nameless.so", "-g -O1 -Wl,--build-id=none");
    library = open_library("nameless.so");
    record = allocate_in(library, ODD_SIZE);
    REQUIRE(symbolize_record(&record, 0, &symbol));
    require_function(&symbol, "fixture_named");
    close_library(library, "nameless.so");
    REQUIRE(symbolize_record(&record, 0, &symbol));
    REQUIRE(symbol.function == NULL);
    REQUIRE(strcmp(symbol.module, path_of("nameless.so")) == 0);
}

/* While it is loaded its file is believed: the one that is there, whatever was there before, and also when
 * the loader knows it by a relative path. */
TEST(files_without_build_id_may_change_between_two_loads)
{
    const void *frame = NULL;

    build_library("again.so", "-g -O1 -Wl,--build-id=none -DNAME=fixture_alpha");
    build_library("later.so", "-g -O1 -Wl,--build-id=none -DNAME=fixture_gamma");
    REQUIRE(chdir(folder) == 0);
    for (int i = 0; i < 2; i++) {
        struct ld_symbol symbol;
        struct snapshot record;
        void *library = dlopen("./again.so", RTLD_NOW);

        REQUIRE(library != NULL);
        record = allocate_in(library, ODD_SIZE);
        REQUIRE(frame == NULL || frame == record.frames[0]); /* the loader did put it there */
        frame = record.frames[0];
        REQUIRE(symbolize_record(&record, 0, &symbol));
        require_function(&symbol, i == 0 ? "fixture_alpha" : "fixture_gamma");
        REQUIRE(ends_with(symbol.file, "library.c") && symbol.line != 0);
        close_library(library, "again.so");
        REQUIRE(i != 0 || rename("later.so", "again.so") == 0);
    }
}

/* What is mapped counts, and not what has its name by now. */
TEST(names_of_a_loaded_library_stay_when_its_file_is_replaced)
{
    void *library, *other;
    struct snapshot record;

    build_library("stays.so", "-g -O1 -Wl,--build-id=none -DNAME=fixture_alpha");
    build_library("newer.so", "-g -O1 -Wl,--build-id=none -DNAME=fixture_gamma");
    build_library("passing.so", "-g -O1");
    library = open_library("stays.so");
    record = allocate_in(library, ODD_SIZE);
    for (int i = 0; i < 3; i++) {
        struct ld_symbol symbol;

        REQUIRE(symbolize_record(&record, 0, &symbol));
        require_function(&symbol, "fixture_alpha");
        REQUIRE(ends_with(symbol.file, "library.c") && symbol.line != 0);
        if (i == 0)
            REQUIRE(rename(path_of("newer.so"), path_of("stays.so")) == 0);
        other = open_library("passing.so");
        close_library(other, "passing.so");
    }
    close_library(library, "stays.so");
}

/* Two libraries one after the other at the same addresses are told apart by what the records know. */
TEST(trap_11_libraries_at_the_same_place_are_told_apart)
{
    struct snapshot first, second;
    struct ld_symbol symbol;
    void *library;

    build_library("alpha.so", "-g -O1 -DNAME=fixture_alpha");
    build_library("gamma.so", "-g -O1 -DNAME=fixture_gamma");
    library = open_library("alpha.so");
    first = allocate_in(library, ODD_SIZE);
    close_library(library, "alpha.so");
    library = open_library("gamma.so");
    second = allocate_in(library, OTHER_ODD_SIZE);
    REQUIRE(first.frames[0] == second.frames[0]); /* the loader did put it there */
    REQUIRE(first.modules[0] != second.modules[0]);

    for (int i = 0; i < 2; i++) {
        REQUIRE(symbolize_record(&first, 0, &symbol));
        require_function(&symbol, "fixture_alpha");
        REQUIRE(strcmp(symbol.module, path_of("alpha.so")) == 0);
        REQUIRE(symbolize_record(&second, 0, &symbol));
        require_function(&symbol, "fixture_gamma");
        REQUIRE(strcmp(symbol.module, path_of("gamma.so")) == 0);
        REQUIRE(ld_symbolize(first.frames[0], &symbol));
        require_function(&symbol, "fixture_gamma");
    }
}

/* --- Programs ----------------------------------------------------------------------------------------- */

struct answer {
    char function[64], file[PATH_ROOM], module[PATH_ROOM];
    unsigned line, expected_line;
    unsigned long offset;
};

/* Builds program.c with the library, runs what `then`, a shell command, leaves of it, and reads what it
 * says. */
static void run_program(const char *name, const char *flags, const char *then, struct answer answers[2])
{
    char command[PATH_ROOM];
    FILE *pipe;

    shell("%s %s -I. -o %s %sprogram.c -L%s -lleakdetect", variable("CC", "cc"), flags, path_of(name),
          FIXTURES, variable("BUILD", "build/default"));
    snprintf(command, sizeof(command), "cd %s && %s && cd / && %s/%s", folder, then, folder, name);
    pipe = popen(command, "r");
    REQUIRE(pipe != NULL);
    for (int i = 0; i < 2; i++) {
        struct answer *answer = &answers[i];

        REQUIRE(fscanf(pipe, "%63s %4095s %u %4095s %lx %u", answer->function, answer->file, &answer->line,
                       answer->module, &answer->offset, &answer->expected_line) == 6);
        REQUIRE(strcmp(answer->module, path_of(name)) == 0);
    }
    REQUIRE(pclose(pipe) == 0);
}

static void require_program_is_named(const char *name, const char *flags)
{
    static const char *const functions[] = {"fixture_exported", "fixture_static"};
    struct answer answers[2];
    char source[64];

    if (HAS_SANITIZER)
        return; /* it would have to be linked with the sanitizer, which is not the point */
    run_program(name, flags, "true", answers);
    for (int i = 0; i < 2; i++) {
        REQUIRE(strcmp(answers[i].function, functions[i]) == 0);
        REQUIRE(ends_with(answers[i].file, "program.c"));
        REQUIRE(answers[i].line == answers[i].expected_line);
        snprintf(source, sizeof(source), "program.c:%u", answers[i].line);
        require_addr2line(path_of(name), answers[i].offset, functions[i], source);
    }
}

/* Names the functions of a position-independent program. */
TEST(names_functions_of_a_pie)
{
    require_program_is_named("pie", "-g -O2 -fPIE -pie");
}

/* Names the functions of a program that is linked to its place. */
TEST(names_functions_of_a_program_without_pie)
{
    require_program_is_named("nopie", "-g -O0 -fno-pie -no-pie");
}

/* Names the functions of a static program. */
TEST(trap_29_names_functions_of_a_static_program)
{
    require_program_is_named("static", "-g -O2 -static");
}

/* A stripped program has no symbols of its own functions, and addr2line has, of the one that is not
 * stripped. */
TEST(stripped_programs_have_offsets)
{
    struct answer answers[2];
    char source[64];

    if (HAS_SANITIZER)
        return;
    run_program("bare", "-g -O1", "cp bare bare.full && strip bare", answers);
    REQUIRE(strcmp(answers[1].function, "?") == 0);
    snprintf(source, sizeof(source), "program.c:%u", answers[1].expected_line);
    require_addr2line(path_of("bare.full"), answers[1].offset, "fixture_static", source);
}

/* The program's file may be replaced while it runs. */
TEST(deleted_programs_are_still_named)
{
    struct ld_symbol symbol;
    char command[PATH_ROOM];

    if (HAS_SANITIZER)
        return;
    shell("%s -g -I. -o %s %sprogram.c -L%s -lleakdetect", variable("CC", "cc"), path_of("deleted"), FIXTURES,
          variable("BUILD", "build/default"));
    (void)symbol;
    snprintf(command, sizeof(command),
             "cd %s && cp deleted once && (exec 3<once; rm once; exec /proc/self/fd/3) | grep -q "
             "'^fixture_exported .*program.c'",
             folder);
    shell("%s", command);
}

/* --- Signals ------------------------------------------------------------------------------------------ */

/* A function whose first instruction makes a signal, so that what was interrupted is not what came before. */
void fixture_trap(void);
#if defined(__x86_64__)
enum { TRAP_SIZE = 2 };
#define TRAP      "ud2\n"
#define TRAP_NEXT uc_mcontext.gregs[REG_RIP]
#else
enum { TRAP_SIZE = 4 };
#define TRAP      ".inst 0\n"
#define TRAP_NEXT uc_mcontext.pc
#endif
__asm__(".text\n"
        ".globl fixture_trap\n"
        ".type fixture_trap, %function\n"
        "fixture_trap:\n"
        ".cfi_startproc\n" TRAP "ret\n"
        ".cfi_endproc\n"
        ".size fixture_trap, . - fixture_trap\n");

static void *signal_block;

static void on_trap(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    signal_block = ld_malloc(ODD_SIZE);
    ((ucontext_t *)context)->TRAP_NEXT += TRAP_SIZE;
}

static void require_interrupted(void)
{
    struct snapshot record;
    struct ld_symbol symbol;
    size_t trap = 0;

    fixture_trap();
    REQUIRE(find_block(signal_block, &record));
    while (trap < record.frame_count && record.frames[trap] != (const void *)(uintptr_t)fixture_trap)
        trap++;
    REQUIRE(trap < record.frame_count && trap >= 2);
    REQUIRE(symbolize_record(&record, trap, &symbol));
    require_function(&symbol, "fixture_trap");
    REQUIRE(symbolize_record(&record, trap - 1, &symbol));
    require_function(&symbol, "<signal handler called>");
    REQUIRE(ld_symbolize(record.frames[trap - 1], &symbol));
    require_function(&symbol, "<signal handler called>");
    REQUIRE(symbolize_record(&record, 0, &symbol));
    require_function(&symbol, "on_trap");
    REQUIRE(symbolize_record(&record, trap + 1, &symbol));
    require_function(&symbol, "require_interrupted");
}

/* Signal handlers show as such, and what they interrupted is looked up where it was interrupted. */
TEST(trap_9_interrupted_instructions_are_not_calls)
{
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};

    if (HAS_SANITIZER)
        return; /* ThreadSanitizer wants no allocation in signal handlers */
    REQUIRE(sigaction(SIGILL, &action, NULL) == 0);
    require_interrupted();
}

#if defined(__x86_64__)
/* As programs write it that make their own system calls.  By its bytes it is none for libunwind, which has
 * what the kernel has saved (ucontext_t) from the unwind information: CFA, return address and BP. */
void fixture_trampoline(void);
__asm__(".text\n"
        ".globl fixture_trampoline\n"
        ".type fixture_trampoline, @function\n"
        ".cfi_startproc\n"
        ".cfi_signal_frame\n"
        ".cfi_escape 0x0f, 4, 0x77, 0xa0, 1, 6\n"
        ".cfi_escape 0x10, 16, 3, 0x77, 0xa8, 1\n"
        ".cfi_escape 0x10, 6, 3, 0x77, 0xf8, 0\n"
        "nop\n"
        "fixture_trampoline:\n"
        "mov $15, %eax\n"
        "syscall\n"
        ".cfi_endproc\n"
        ".size fixture_trampoline, . - fixture_trampoline\n");

TEST(trap_9_trampolines_of_programs_are_known)
{
    enum { RESTORER = 0x04000000, SET_SIZE = 8 };
    struct {
        void (*handler)(int, siginfo_t *, void *);
        unsigned long flags;
        void (*restorer)(void);
        uint64_t mask;
    } action = {on_trap, SA_SIGINFO | RESTORER, fixture_trampoline, 0};

    if (HAS_SANITIZER)
        return;
    REQUIRE(syscall(SYS_rt_sigaction, SIGILL, &action, NULL, SET_SIZE) == 0);
    require_interrupted();
}
#endif

/* --- Text --------------------------------------------------------------------------------------------- */

/* A buffer of any size gets what fits and its final 0, and the length of all of it is returned. */
TEST(buffers_of_any_size_work_as_with_snprintf)
{
    char whole[1024], expected[256], part[1024];
    struct site site;
    size_t length;

    build_library("text.so", "-g -O1");
    site = site_of(open_library("text.so"), "fixture_exported");
    snprintf(expected, sizeof(expected), "fixture_exported (%slibrary.c:%u)", FIXTURES, site.line);
    length = ld_symbol_name(site.frame, whole, sizeof(whole));
    REQUIRE(length == strlen(whole) && ends_with(whole, ")"));
    REQUIRE(strncmp(whole, "fixture_exported (", 18) == 0 && ends_with(whole, strrchr(expected, '/')));
    REQUIRE(ld_symbol_name(site.frame, NULL, 0) == length);
    for (size_t size = 1; size < length + 2; size++) {
        memset(part, 'x', sizeof(part));
        REQUIRE(ld_symbol_name(site.frame, part, size) == length);
        REQUIRE(strncmp(part, whole, size - 1) == 0);
        REQUIRE(part[size <= length ? size - 1 : length] == 0);
        REQUIRE(part[size] == 'x');
    }
    REQUIRE(ld_symbol_name(site.frame, whole, SIZE_MAX) == length);
}

/* A frame that is no code is named by its address. */
TEST(unknown_frames_are_named_by_address)
{
    char name[64];

    REQUIRE(ld_symbol_name((const void *)0x1234, name, sizeof(name)) == 6);
    REQUIRE(strcmp(name, "0x1234") == 0);
    REQUIRE(ld_symbol_name(NULL, name, sizeof(name)) == 3);
    REQUIRE(strcmp(name, "0x0") == 0);
}

/* Names of 100 KB, in debug information and out of it, neither overflow nor crash anything. */
TEST(trap_13_very_long_names_are_cut)
{
    static char long_name[LONG_NAME + 1], buffer[LONG_NAME + PATH_ROOM];
    static const char *const flags[] = {"-g -O1", "-O1", "-O1 -s"};
    FILE *file = fopen(path_of("long.flags"), "w");

    memset(long_name, 'n', LONG_NAME);
    memcpy(long_name, "_ZN", 3); /* such a name must not reach the demangler */
    REQUIRE(file != NULL && fprintf(file, "-DNAME=%s\n", long_name) > 0 && fclose(file) == 0);
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        char name[32], all_flags[PATH_ROOM];
        struct ld_symbol symbol;
        struct snapshot record;
        void *library;

        snprintf(name, sizeof(name), "long%zu.so", i);
        snprintf(all_flags, sizeof(all_flags), "%s @%s", flags[i], path_of("long.flags"));
        build_library(name, all_flags);
        library = open_library(name);
        record = allocate_in(library, ODD_SIZE);
        REQUIRE(symbolize_record(&record, 0, &symbol));
        REQUIRE(symbol.function != NULL && strncmp(symbol.function, long_name, 1000) == 0);
        REQUIRE(ld_symbol_name(record.frames[0], buffer, 10) > 10);
        REQUIRE(strlen(buffer) == 9);
        REQUIRE(ld_symbol_name(record.frames[0], buffer, sizeof(buffer)) == strlen(buffer));
        close_library(library, name);
        REQUIRE(symbolize_record(&record, 0, &symbol));
        REQUIRE(symbol.function != NULL && strncmp(symbol.function, long_name, 1000) == 0);
    }
}

/* Whether the program is in C or not: there are plugins. */
TEST(names_are_as_in_the_source_of_cxx_and_rust)
{
    static const struct {
        const char *mangled, *name;
    } names[] = {
        {"_ZN5later4Deep4loseEi", "later::Deep::lose(int)"},
        {"_ZNSt6vectorIiSaIiEE9push_backERKi",
         "std::vector<int, std::allocator<int> >::push_back(int const&)"},
        {"_ZN5alloc3vec12Vec$LT$T$GT$4push17h0123456789abcdefE", "alloc::vec::Vec<T>::push"},
        {"_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"},
        {"_RNvCs1234_7mycrateu7vyk_bma", "mycrate::v\u00e9yk"},
        {"_ZN5wrong", "_ZN5wrong"},
        {"_RESET", "_RESET"},
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char file[32], flags[PATH_ROOM];
        struct snapshot record;
        struct ld_symbol symbol;
        FILE *arguments = fopen(path_of("names.flags"), "w");
        size_t live;

        REQUIRE(arguments != NULL && fprintf(arguments, "-DNAME=%s\n", names[i].mangled) > 0 &&
                fclose(arguments) == 0);
        snprintf(file, sizeof(file), "names%zu.so", i);
        snprintf(flags, sizeof(flags), "-g0 -O1 @%s", path_of("names.flags"));
        build_library(file, flags);
        record = allocate_in(open_library(file), ODD_SIZE);
        live = ld_now_leaks(NULL, NULL);
        REQUIRE(symbolize_record(&record, 0, &symbol));
        require_function(&symbol, names[i].name);
        REQUIRE(ld_now_leaks(NULL, NULL) == live);
    }
}

/* --- Bad frames, bad days ----------------------------------------------------------------------------- */

static void require_unknown(const void *frame)
{
    static struct ld_symbol symbol;

    memset(&symbol, 'x', sizeof(symbol));
    if (ld_symbolize(frame, &symbol)) {
        dprintf(STDERR_FILENO, "%p is said to be in %s\n", frame, symbol.module);
        abort();
    }
    REQUIRE(symbol.function == NULL && symbol.file == NULL && symbol.module == NULL);
    REQUIRE(symbol.line == 0 && symbol.offset == 0);
}

/* Any value may be given as a frame; what is no code is not known. */
TEST(nonsense_frames_are_unknown)
{
    void *heap = malloc(ODD_SIZE);
    void *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int on_stack;

    REQUIRE(heap != NULL && page != MAP_FAILED);
    require_unknown(NULL);
    require_unknown((const void *)1);
    require_unknown((const void *)UINTPTR_MAX);
    require_unknown((const void *)(UINTPTR_MAX / 2 + 1));
    require_unknown((const void *)0xffffffffff600400);
    require_unknown(heap);
    require_unknown(page);
    require_unknown(&on_stack);
    free(heap);
}

/* Random values neither crash it, nor do all the addresses around and inside of a library. */
TEST(random_frames_never_crash)
{
    uint64_t seed = test_seed();
    struct ld_symbol symbol;
    uintptr_t place;

    build_library("random.so", "-g -O1");
    place = (uintptr_t)site_of(open_library("random.so"), "fixture_exported").frame;
    for (size_t i = 0; i < scaled(20000); i++) {
        ld_symbolize((const void *)(uintptr_t)random_next(&seed), &symbol);
        ld_symbolize((const void *)(uintptr_t)(random_next(&seed) >> 17), &symbol);
        ld_symbolize((const void *)(place - 0x10000 + random_below(&seed, 0x20000)), &symbol);
    }
}

/* An index beyond the last frame is refused. */
TEST(frames_out_of_range_are_refused)
{
    struct snapshot record;
    struct ld_symbol symbol;

    REQUIRE(find_block(ld_malloc(ODD_SIZE), &record));
    REQUIRE(symbolize_record(&record, 0, &symbol));
    REQUIRE(!symbolize_record(&record, record.frame_count, &symbol));
    REQUIRE(symbol.module == NULL && symbol.function == NULL);
    REQUIRE(!symbolize_record(&record, SIZE_MAX, &symbol));
}

/* errno is what it was, whatever could be found. */
TEST(errno_is_left_alone)
{
    struct ld_symbol symbol;
    char name[64];

    errno = E2BIG;
    REQUIRE(ld_symbolize(here(), &symbol));
    REQUIRE(!ld_symbolize(NULL, &symbol));
    ld_symbol_name(here(), name, sizeof(name));
    REQUIRE(errno == E2BIG);
}

/* No descriptor stays open. */
TEST(descriptors_are_closed)
{
    struct ld_symbol symbol;
    struct snapshot record;
    unsigned before = count_descriptors();
    void *library;

    build_library("closed.so", "-g -O1");
    library = open_library("closed.so");
    record = allocate_in(library, ODD_SIZE);
    REQUIRE(ld_symbolize(here(), &symbol));
    REQUIRE(symbolize_record(&record, 0, &symbol));
    close_library(library, "closed.so");
    REQUIRE(symbolize_record(&record, 0, &symbol));
    REQUIRE(count_descriptors() == before);
}

/* With no descriptor left there is the module and the offset, and when there are some again, everything. */
TEST(trap_25_works_without_descriptors_and_recovers)
{
    struct rlimit old, none;
    struct ld_symbol symbol;
    const void *frame = here();

    REQUIRE(getrlimit(RLIMIT_NOFILE, &old) == 0);
    /* From none that is free to one less than it takes to look at everything. */
    for (rlim_t left = 0; left < 4; left++) {
        none = (struct rlimit){.rlim_cur = (rlim_t)dup(0) + left, .rlim_max = old.rlim_max};
        close((int)(none.rlim_cur - left));
        REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
        for (int i = 0; i < 100; i++)
            REQUIRE(ld_symbolize(frame, &symbol));
        REQUIRE(ends_with(symbol.module, "/test_symbolize"));
        REQUIRE(symbol.offset != 0 && symbol.file == NULL);
        REQUIRE(setrlimit(RLIMIT_NOFILE, &old) == 0);
    }
    REQUIRE(ld_symbolize(frame, &symbol));
    require_function(&symbol, "trap_25_works_without_descriptors_and_recovers_body");
    REQUIRE(ends_with(symbol.file, "test_symbolize.c"));
}

/* Returns the limit as it was. */
static struct rlimit forbid_memory(void)
{
    struct rlimit old, none;

    REQUIRE(getrlimit(RLIMIT_AS, &old) == 0);
    none = (struct rlimit){.rlim_cur = 1, .rlim_max = old.rlim_max};
    REQUIRE(setrlimit(RLIMIT_AS, &none) == 0);
    return old;
}

/* With no memory to be had there is the function, read without any, and when there is some again,
 * everything. */
TEST(trap_25_works_without_memory_and_recovers)
{
    struct rlimit old;
    struct ld_symbol symbol;
    const void *frame = here();

    if (HAS_SANITIZER)
        return; /* whose shadow is larger than any limit */
    old = forbid_memory();
    for (int i = 0; i < 100; i++) {
        REQUIRE(ld_symbolize(frame, &symbol));
        require_function(&symbol, "trap_25_works_without_memory_and_recovers_body");
        REQUIRE(symbol.file == NULL);
    }
    REQUIRE(setrlimit(RLIMIT_AS, &old) == 0);
    REQUIRE(ld_symbolize(frame, &symbol));
    require_function(&symbol, "trap_25_works_without_memory_and_recovers_body");
    REQUIRE(ends_with(symbol.file, "test_symbolize.c"));
}

/* So it is when a part of the module was read before. */
TEST(trap_25_lines_that_memory_ran_out_for_are_read_again)
{
    struct rlimit old;
    struct ld_symbol symbol;
    const void *frame = here();

    if (HAS_SANITIZER)
        return;
    REQUIRE(ld_symbolize((const char *)(uintptr_t)ld_malloc + 1, &symbol));
    REQUIRE(ends_with(symbol.file, ".c"));
    old = forbid_memory();
    for (int i = 0; i < 2; i++) {
        REQUIRE(ld_symbolize(frame, &symbol));
        require_function(&symbol, "trap_25_lines_that_memory_ran_out_for_are_read_again_body");
        REQUIRE(symbol.file == NULL && symbol.is_partial);
    }
    REQUIRE(setrlimit(RLIMIT_AS, &old) == 0);
    REQUIRE(ld_symbolize(frame, &symbol));
    REQUIRE(ends_with(symbol.file, "test_symbolize.c") && !symbol.is_partial);
}

/* --- Threads ------------------------------------------------------------------------------------------ */

static atomic_bool is_over;
static struct site common_site;

static void symbolize_often(unsigned index, void *ctx)
{
    (void)ctx;
    for (size_t i = 0; i < scaled(2000); i++) {
        struct ld_symbol symbol;

        REQUIRE(ld_symbolize(index % 2 == 0 ? common_site.frame : here(), &symbol));
        require_function(&symbol, index % 2 == 0 ? "fixture_exported" : "symbolize_often");
    }
}

/* Several threads symbolize at once, from the very first call on. */
TEST(eight_threads_symbolize_at_once)
{
    build_library("threads.so", "-g -O1");
    common_site = site_of(open_library("threads.so"), "fixture_exported");
    in_threads(8, symbolize_often, NULL);
}

static void *symbolize_until_over(void *argument)
{
    while (!atomic_load(&is_over)) {
        struct ld_symbol symbol;

        REQUIRE(ld_symbolize(here(), &symbol));
        pthread_testcancel();
    }
    return argument;
}

/* A child that is forked while another thread symbolizes can symbolize. */
TEST(trap_20_children_of_a_symbolizing_process_symbolize)
{
    pthread_t thread;

    REQUIRE(pthread_create(&thread, NULL, symbolize_until_over, NULL) == 0);
    for (size_t i = 0; i < scaled(200); i++) {
        pid_t child = fork();
        int status;

        if (child == 0) {
            struct ld_symbol symbol;

            test_deadline(20);
            REQUIRE(ld_symbolize(here(), &symbol));
            _exit(0);
        }
        REQUIRE(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    }
    atomic_store(&is_over, true);
    REQUIRE(pthread_join(thread, NULL) == 0);
}

static int fork_in_callback(struct dl_phdr_info *info, size_t size, void *waits)
{
    pid_t child;
    int status;

    (void)info;
    (void)size;
    /* By then the other thread waits for the loader, with the lock of this library. */
    usleep(*(useconds_t *)waits);
    child = fork();
    if (child == 0)
        _exit(0);
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    return 1;
}

/* Whoever forks with the loader's lock does not wait for ever for one who waits for that. */
TEST(trap_20_forks_in_callbacks_of_the_loader_go_on)
{
    useconds_t waits = 20000;
    pthread_t thread;

    if (HAS_SANITIZER)
        return; /* which takes the loader's lock when it forks */
    REQUIRE(pthread_create(&thread, NULL, symbolize_until_over, NULL) == 0);
    for (size_t i = 0; i < 5; i++)
        dl_iterate_phdr(fork_in_callback, &waits);
    atomic_store(&is_over, true);
    REQUIRE(pthread_join(thread, NULL) == 0);
}

/* A thread that is cancelled while it symbolizes leaves no lock behind. */
TEST(cancelled_threads_leave_no_lock)
{
    if (HAS_SANITIZER)
        return; /* AddressSanitizer takes the stack that such a thread leaves for damaged */
    for (size_t i = 0; i < scaled(50); i++) {
        struct ld_symbol symbol;
        pthread_t thread;

        REQUIRE(pthread_create(&thread, NULL, symbolize_until_over, NULL) == 0);
        REQUIRE(pthread_cancel(thread) == 0);
        REQUIRE(pthread_join(thread, NULL) == 0);
        REQUIRE(ld_symbolize(here(), &symbol));
    }
}

static void open_and_close(unsigned index, void *ctx)
{
    char name[32];

    (void)ctx;
    snprintf(name, sizeof(name), "churn%u.so", index);
    for (size_t i = 0; i < scaled(300); i++) {
        void *library = dlopen(path_of(name), RTLD_NOW);
        struct ld_symbol symbol;
        struct site site;

        REQUIRE(library != NULL);
        site = site_of(library, "fixture_call_static");
        REQUIRE(ld_symbolize(site.frame, &symbol));
        require_function(&symbol, "fixture_static");
        REQUIRE(dlclose(library) == 0);
        ld_symbolize(site.frame, &symbol);
    }
}

/* Libraries come and go in several threads, while others look at what these have left. */
TEST(trap_5_libraries_come_and_go_meanwhile)
{
    if (HAS_SANITIZER)
        return; /* ThreadSanitizer does not see the loader's locks */
    for (int i = 0; i < 4; i++) {
        char name[32];

        snprintf(name, sizeof(name), "churn%d.so", i);
        build_library(name, "-g -O1");
    }
    in_threads(4, open_and_close, NULL);
}

/* --- All ---------------------------------------------------------------------------------------------- */

/* --- Inlined functions -------------------------------------------------------------------------------- */

static inline __attribute__((always_inline)) void *innermost(size_t size)
{
    return ld_malloc(size);
}

static inline __attribute__((always_inline)) void *middle(size_t size)
{
    return innermost(size + 1);
}

static SITE void *with_inlined(size_t size)
{
    void *block = middle(size + 1);

    RETURN_FROM_SITE(block);
}

TEST(inlined_functions_are_named_from_the_inside)
{
    struct snapshot record;
    struct ld_symbol symbol;
    void *block = with_inlined(10);
    unsigned line = 0;

    REQUIRE(find_block(block, &record));
    REQUIRE(inlined_in_record(&record, 0, 0, &symbol));
    require_function(&symbol, "innermost");
    REQUIRE(ends_with(symbol.file, "test_symbolize.c"));
    line = symbol.line;
    REQUIRE(inlined_in_record(&record, 0, 1, &symbol));
    require_function(&symbol, "middle");
    require_line(&symbol, "test_symbolize.c", line + 5);
    REQUIRE(!inlined_in_record(&record, 0, 2, &symbol));
    REQUIRE(!inlined_in_record(&record, 0, 1000, &symbol));
    REQUIRE(symbolize_record(&record, 0, &symbol));
    require_function(&symbol, "with_inlined");
    require_line(&symbol, "test_symbolize.c", line + 10);
    REQUIRE(!inlined_in_record(&record, record.frame_count, 0, &symbol));
    ld_free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_function_file_and_line_at_O0),
        cmocka_unit_test(names_function_file_and_line_at_O2),
        cmocka_unit_test(names_static_functions),
        cmocka_unit_test(trap_9_names_the_call_and_not_what_follows),
        cmocka_unit_test(module_and_offset_are_what_addr2line_takes),
        cmocka_unit_test(names_functions_without_debug_information),
        cmocka_unit_test(stripped_code_has_dynamic_symbols),
        cmocka_unit_test(stripped_static_functions_have_an_offset),
        cmocka_unit_test(data_is_in_no_function),
        cmocka_unit_test(names_libraries_opened_later),
        cmocka_unit_test(relative_paths_become_absolute),
        cmocka_unit_test(names_lines_of_any_number_of_libraries),
        cmocka_unit_test(names_lines_of_a_library_however_often_it_is_loaded),
        cmocka_unit_test(trap_11_names_survive_dlclose),
        cmocka_unit_test(trap_11_names_are_found_after_dlclose),
        cmocka_unit_test(trap_11_removed_files_leave_module_and_offset),
        cmocka_unit_test(trap_11_changed_files_are_not_believed),
        cmocka_unit_test(files_that_were_cut_short_leave_the_names_of_others),
        cmocka_unit_test(upgraded_files_are_not_believed),
        cmocka_unit_test(trap_11_files_without_build_id_are_not_believed),
        cmocka_unit_test(files_without_build_id_may_change_between_two_loads),
        cmocka_unit_test(names_of_a_loaded_library_stay_when_its_file_is_replaced),
        cmocka_unit_test(trap_11_libraries_at_the_same_place_are_told_apart),
        cmocka_unit_test(names_functions_of_a_pie),
        cmocka_unit_test(names_functions_of_a_program_without_pie),
        cmocka_unit_test(trap_29_names_functions_of_a_static_program),
        cmocka_unit_test(stripped_programs_have_offsets),
        cmocka_unit_test(deleted_programs_are_still_named),
        cmocka_unit_test(trap_9_interrupted_instructions_are_not_calls),
#if defined(__x86_64__)
        cmocka_unit_test(trap_9_trampolines_of_programs_are_known),
#endif
        cmocka_unit_test(buffers_of_any_size_work_as_with_snprintf),
        cmocka_unit_test(unknown_frames_are_named_by_address),
        cmocka_unit_test(trap_13_very_long_names_are_cut),
        cmocka_unit_test(names_are_as_in_the_source_of_cxx_and_rust),
        cmocka_unit_test(nonsense_frames_are_unknown),
        cmocka_unit_test(random_frames_never_crash),
        cmocka_unit_test(frames_out_of_range_are_refused),
        cmocka_unit_test(inlined_functions_are_named_from_the_inside),
        cmocka_unit_test(errno_is_left_alone),
        cmocka_unit_test(descriptors_are_closed),
        cmocka_unit_test(trap_25_works_without_descriptors_and_recovers),
        cmocka_unit_test(trap_25_works_without_memory_and_recovers),
        cmocka_unit_test(trap_25_lines_that_memory_ran_out_for_are_read_again),
        cmocka_unit_test(eight_threads_symbolize_at_once),
        cmocka_unit_test(trap_20_children_of_a_symbolizing_process_symbolize),
        cmocka_unit_test(trap_20_forks_in_callbacks_of_the_loader_go_on),
        cmocka_unit_test(cancelled_threads_leave_no_lock),
        cmocka_unit_test(trap_5_libraries_come_and_go_meanwhile),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
