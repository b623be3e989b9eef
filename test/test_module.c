/* SPDX-License-Identifier: MIT
 *
 * The registry of modules, with a table so small that it can be filled.  Each test starts with what the
 * program's start has registered and no more, in a child of its own.
 *
 * build: sources
 * build: flags -DLD_MAX_MODULES=16
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "libraries.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include "loaded.h"
#include "module.h"

/* Elsewhere the loader has no list that says what the process started with. */
#if defined(DLFO_STRUCT_HAS_EH_DBASE) && (!defined(LD_HAVE_DL_FIND_OBJECT) || LD_HAVE_DL_FIND_OBJECT)
#define KNOWS_STARTUP 1
#else
#define KNOWS_STARTUP 0
#endif

static const void *code_of(void *library, const char *function)
{
    const void *code = dlsym(library, function);

    REQUIRE(code != NULL);
    return code;
}

static module_id module_in(void *library)
{
    return module_at(code_of(library, "fixture_exported"));
}

/* --- What the process starts with --------------------------------------------------------------------- */

/* The program is named after its file, by its full path, and cannot be unloaded. */
TEST(knows_the_program)
{
    const void *pc = (const void *)(uintptr_t)knows_the_program;
    char path[PATH_ROOM] = "";
    module_id id = module_at(pc);
    const struct module *module = module_get(id);

    REQUIRE(readlink("/proc/self/exe", path, sizeof(path) - 1) > 0);
    REQUIRE(module != NULL);
    REQUIRE(strcmp(module->name, path) == 0);
    REQUIRE(!module->can_unload && module->is_program);
    REQUIRE(module->start <= (uintptr_t)pc && (uintptr_t)pc < module->end);
    REQUIRE(module_is_current(id, pc));
    REQUIRE(module_last_at(pc) == id);
}

/* The C library came with the program and cannot be unloaded. */
TEST(knows_libraries_of_the_program)
{
    module_id id = module_at(dlsym(RTLD_DEFAULT, "gnu_get_libc_version"));
    const struct module *module = module_get(id);

    REQUIRE(module != NULL);
    REQUIRE(strstr(module->name, "/libc.so") != NULL || strstr(module->name, "/libc-") != NULL);
    REQUIRE(module->can_unload == !KNOWS_STARTUP && !module->is_program);
    REQUIRE(module->build_id.size != 0);
}

static const char preloaded_argument[] = "--preloaded";

/* Run with LD_PRELOAD: what was loaded by it cannot be unloaded, and what is loaded afterwards can. */
static int preloaded_main(const char *path)
{
    void *preloaded = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    void *later;

    strcpy(folder, path);
    *strrchr(folder, '/') = 0;
    later = open_library("later.so");
    loaded_init();
    REQUIRE(preloaded != NULL);
    REQUIRE(module_get(module_in(preloaded))->can_unload == !KNOWS_STARTUP);
    REQUIRE(module_get(module_in(later))->can_unload);
    return 0;
}

/* Which libraries came with the program is known even if others were loaded before anybody asked. */
TEST(tells_preloaded_libraries_from_later_ones)
{
    if (HAS_SANITIZER)
        return; /* which want to be preloaded first */
    build_library("preload.so", "-O1");
    build_library("later.so", "-O1 -DNAME=other");
    shell("LD_PRELOAD=%s /proc/%d/exe %s %s", path_of("preload.so"), (int)getpid(), preloaded_argument,
          path_of("preload.so"));
}

/* --- Loading and unloading ---------------------------------------------------------------------------- */

/* A library is current until it is closed, and keeps its number and its name. */
TEST(remembers_what_was_closed)
{
    const struct module *module;
    const void *pc;
    void *library;
    module_id id;

    build_library("closed.so", "-O1");
    library = open_library("closed.so");
    pc = code_of(library, "fixture_exported");
    id = module_at(pc);
    module = module_get(id);
    REQUIRE(module != NULL && module->can_unload);
    REQUIRE(module_is_current(id, pc) && module_at(pc) == id);
    close_library(library, "closed.so");
    REQUIRE(!module_is_current(id, pc));
    REQUIRE(module_at(pc) == 0);
    REQUIRE(module_last_at(pc) == id);
    REQUIRE(strcmp(module->name, path_of("closed.so")) == 0);
}

/* The same file at the same place is the same module again. */
TEST(the_same_file_is_the_same_module)
{
    for (int with_build_id = 0; with_build_id < 2; with_build_id++) {
        const void *pc;
        void *library;
        module_id id;

        build_library("again.so", with_build_id ? "-O1" : "-O1 -Wl,--build-id=none");
        library = open_library("again.so");
        pc = code_of(library, "fixture_exported");
        id = module_at(pc);
        REQUIRE((module_get(id)->build_id.size != 0) == with_build_id);
        close_library(library, "again.so");
        library = open_library("again.so");
        REQUIRE(code_of(library, "fixture_exported") == pc);
        REQUIRE(module_is_current(id, pc));
        REQUIRE(module_at(pc) == id);
        close_library(library, "again.so");
    }
}

static void require_told_apart(const char *flags_of_first, const char *flags_of_second)
{
    const void *pc;
    void *library;
    module_id first, second;

    build_library("first.so", flags_of_first);
    build_library("second.so", flags_of_second);
    library = open_library("first.so");
    pc = code_of(library, "fixture_exported");
    first = module_at(pc);
    close_library(library, "first.so");
    library = open_library("second.so");
    REQUIRE(code_of(library, "fixture_exported") == pc); /* the loader did put it there */
    REQUIRE(!module_is_current(first, pc));
    second = module_at(pc);
    REQUIRE(second != 0 && second != first);
    REQUIRE(module_last_at(pc) == second);
    REQUIRE(strcmp(module_get(first)->name, path_of("first.so")) == 0);
    REQUIRE(strcmp(module_get(second)->name, path_of("second.so")) == 0);
}

/* Another library at the same place is another module. */
TEST(another_build_id_is_another_module)
{
    require_told_apart("-O1 -DNAME=alpha", "-O1 -DNAME=omega");
}

/* Without a build id the name decides. */
TEST(without_build_id_another_name_is_another_module)
{
    require_told_apart("-O1 -Wl,--build-id=none", "-O1 -Wl,--build-id=none");
}

/* Build ids shorter than usual count as well. */
TEST(short_build_ids_tell_modules_apart)
{
    require_told_apart("-O1 -DNAME=alpha -Wl,--build-id=0x31323334",
                       "-O1 -DNAME=omega -Wl,--build-id=0x31323335");
}

/* A library that was opened by a relative path is remembered by its whole path. */
TEST(relative_paths_become_absolute)
{
    void *library;

    build_library("relative.so", "-O1");
    REQUIRE(chdir(folder) == 0);
    library = dlopen("./relative.so", RTLD_NOW);
    REQUIRE(library != NULL);
    REQUIRE(strcmp(module_get(module_in(library))->name, path_of("relative.so")) == 0);
    REQUIRE(module_is_current(module_in(library), code_of(library, "fixture_exported")));
}

/* --- No module ---------------------------------------------------------------------------------------- */

/* Code that a program made itself is in no module. */
TEST(code_without_file_has_no_module)
{
    void *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    REQUIRE(code != MAP_FAILED);
    for (int i = 0; i < 2; i++)
        REQUIRE(module_at(code) == 0);
    REQUIRE(module_last_at(code) == 0);
}

/* A library that is loaded where there was none before is found, whatever was said of the address. */
TEST(no_module_is_never_remembered)
{
    const void *pc;
    void *library;

    build_library("soon.so", "-O1");
    library = open_library("soon.so");
    pc = code_of(library, "fixture_exported");
    close_library(library, "soon.so");
    REQUIRE(module_at(pc) == 0);
    library = open_library("soon.so");
    REQUIRE(code_of(library, "fixture_exported") == pc);
    REQUIRE(module_at(pc) != 0);
}

/* Numbers that were never given out, and addresses that are none, are nothing. */
TEST(nonsense_is_nothing)
{
    REQUIRE(module_get(0) == NULL);
    REQUIRE(module_get(LD_MAX_MODULES) == NULL);
    REQUIRE(module_get(UINT16_MAX) == NULL);
    REQUIRE(!module_is_current(UINT16_MAX, NULL));
    REQUIRE(module_at(NULL) == 0);
    REQUIRE(module_at((const void *)1) == 0);
    REQUIRE(module_at((const void *)UINTPTR_MAX) == 0);
    REQUIRE(module_last_at(NULL) == 0);
    REQUIRE(module_last_at((const void *)UINTPTR_MAX) == 0);
}

/* --- Watching ----------------------------------------------------------------------------------------- */

static struct {
    const void *block;
    int times;
    bool is_refused;
} noticed;

static bool notice(const void *block)
{
    noticed.block = block;
    noticed.times++;
    return !noticed.is_refused;
}

/* When the loader's record of a library is freed, a generation has passed; loaded again, it is watched again.
 */
TEST(what_is_watched_is_heard_of)
{
    uint32_t generation = module_generation();

    build_library("watched.so", "-O1");
    module_watch_by(notice);
    for (uint32_t i = 1; i <= 2; i++) {
        void *library = open_library("watched.so");
        const void *pc = code_of(library, "fixture_exported");
        module_id id = module_at(pc);

        noticed.times = 0;
        REQUIRE(module_is_watched(id, pc) == KNOWS_STARTUP && module_is_watched(id, pc) == KNOWS_STARTUP);
        REQUIRE(noticed.times == KNOWS_STARTUP);
        /* A handle is the loader's record, in glibc. */
        REQUIRE(!KNOWS_STARTUP || noticed.block == library);
        module_freed(pc);
        REQUIRE(module_generation() == generation + 2 * KNOWS_STARTUP * (i - 1));
        close_library(library, "watched.so");
        module_freed(library);
        REQUIRE(module_generation() == generation + 2 * KNOWS_STARTUP * i);
        REQUIRE(!module_is_watched(id, pc));
    }
}

/* Another library in the place of one that was watched is not watched under the old number. */
TEST(what_comes_later_is_watched_by_itself)
{
    const void *pc;
    void *library;
    module_id first;

    build_library("first.so", "-O1 -DNAME=alpha");
    build_library("second.so", "-O1 -DNAME=omega");
    module_watch_by(notice);
    library = open_library("first.so");
    pc = code_of(library, "fixture_exported");
    first = module_at(pc);
    REQUIRE(module_is_watched(first, pc) == KNOWS_STARTUP);
    close_library(library, "first.so");
    module_freed(library);
    library = open_library("second.so");
    REQUIRE(code_of(library, "fixture_exported") == pc);
    REQUIRE(!module_is_watched(first, pc));
    REQUIRE(module_is_watched(module_at(pc), pc) == KNOWS_STARTUP);
}

/* Nobody watches; or the record is no block that can be noticed, which is asked once. */
TEST(what_is_not_noticed_is_not_watched)
{
    const void *pc;
    module_id id;

    build_library("unwatched.so", "-O1");
    pc = code_of(open_library("unwatched.so"), "fixture_exported");
    id = module_at(pc);
    REQUIRE(!module_is_watched(id, pc));
    REQUIRE(!module_is_watched(0, pc));
    noticed.is_refused = true;
    module_watch_by(notice);
    for (int i = 0; i < 2; i++)
        REQUIRE(!module_is_watched(id, pc) && noticed.times == KNOWS_STARTUP);
}

/* Where there is no module one may come, which is seen as long as no other has come before. */
TEST(the_first_load_is_heard_of)
{
    void *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    REQUIRE(code != MAP_FAILED);
    build_library("first.so", "-O1");
    REQUIRE(!module_is_watched(0, (const void *)(uintptr_t)build_library));
    for (int i = 0; i < 2; i++) {
        uint32_t generation;
        void *library;

        REQUIRE(module_is_watched(0, code) == KNOWS_STARTUP);
        generation = module_generation();
        REQUIRE(module_generation() == generation);
        library = open_library("first.so");
        REQUIRE((module_generation() != generation) == KNOWS_STARTUP);
        generation = module_generation();
        REQUIRE(!module_is_watched(0, code));
        close_library(library, "first.so");
        REQUIRE(module_generation() == generation);
    }
}

/* In a namespace of its own a module is not on the list of those that the program started with. */
TEST(a_load_elsewhere_is_heard_of)
{
    void *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint32_t generation;

    REQUIRE(code != MAP_FAILED);
    build_library("elsewhere.so", "-O1");
    REQUIRE(module_is_watched(0, code) == KNOWS_STARTUP);
    generation = module_generation();
    REQUIRE(dlmopen(LM_ID_NEWLM, path_of("elsewhere.so"), RTLD_NOW) != NULL);
    REQUIRE((module_generation() != generation) == KNOWS_STARTUP);
    REQUIRE(!module_is_watched(0, code));
}

/* --- Limits ------------------------------------------------------------------------------------------- */

/* When the table is full, what is in it stays right and all else has no number. */
TEST(full_tables_stay_right)
{
    void *libraries[LD_MAX_MODULES + 2];
    module_id ids[LD_MAX_MODULES + 2];
    size_t numbered = 0;

    build_library("original.so", "-O1");
    for (size_t i = 0; i < LD_MAX_MODULES + 2; i++) {
        char name[32];

        snprintf(name, sizeof(name), "copy%zu.so", i);
        shell("cp %s %s", path_of("original.so"), path_of(name));
        libraries[i] = open_library(name);
        ids[i] = module_in(libraries[i]);
        numbered += ids[i] != 0;
    }
    REQUIRE(numbered > LD_MAX_MODULES / 2 && numbered <= LD_MAX_MODULES);
    for (size_t i = 0; i < LD_MAX_MODULES + 2; i++) {
        char name[32];

        snprintf(name, sizeof(name), "copy%zu.so", i);
        REQUIRE(module_in(libraries[i]) == ids[i]);
        REQUIRE(ids[i] != 0 ? strcmp(module_get(ids[i])->name, path_of(name)) == 0 : i >= numbered);
    }
}

/* Long paths are kept whole where there is room; the last of many lose their front and keep what tells them
 * apart. */
TEST(trap_13_long_paths_keep_their_end)
{
    enum { LENGTH = 200, LIBRARIES = 8 };
    size_t whole = 0, cut = 0;
    char deep[LENGTH + 1];

    memset(deep, 'd', LENGTH);
    deep[LENGTH] = 0;
    REQUIRE(mkdir(path_of(deep), 0700) == 0);
    build_library("original.so", "-O1");
    for (int i = 0; i < LIBRARIES; i++) {
        char name[LENGTH + 32];
        const struct module *module;

        snprintf(name, sizeof(name), "%s/copy%d.so", deep, i);
        shell("cp %s %s", path_of("original.so"), path_of(name));
        module = module_get(module_in(open_library(name)));
        REQUIRE(module != NULL);
        if (strcmp(module->name, path_of(name)) == 0) {
            whole++;
            continue;
        }
        cut++;
        REQUIRE(strncmp(module->name, "...", 3) == 0 && strlen(module->name) >= 31);
        REQUIRE(ends_with(path_of(name), module->name + 3));
    }
    REQUIRE(whole > 0 && cut > 0);
}

/* A library with a name that was cut is still recognised by it. */
TEST(cut_names_still_tell_modules_apart)
{
    enum { LENGTH = 250 };
    char deep[LENGTH + 1], name[4 * LENGTH];
    const struct module *module;
    const void *pc;
    module_id id;
    void *library;

    memset(deep, 'd', LENGTH);
    deep[LENGTH] = 0;
    snprintf(name, sizeof(name), "%s/%s/%s", deep, deep, deep);
    shell("mkdir -p %s", path_of(name));
    snprintf(name, sizeof(name), "%s/%s/%s/cut.so", deep, deep, deep);
    build_library(name, "-O1 -Wl,--build-id=none");
    library = open_library(name);
    pc = code_of(library, "fixture_exported");
    id = module_at(pc);
    module = module_get(id);
    REQUIRE(module != NULL && strncmp(module->name, "...", 3) == 0);
    REQUIRE(module_at(pc) == id && module_is_current(id, pc));
}

/* --- Threads ------------------------------------------------------------------------------------------ */

enum { SHARED_LIBRARIES = 4 };

static void *shared_libraries[SHARED_LIBRARIES];

static void look_at_all(unsigned index, void *ctx)
{
    (void)ctx;
    for (size_t i = 0; i < scaled(20000); i++) {
        size_t which = (i + index) % SHARED_LIBRARIES;
        const struct module *module = module_get(module_in(shared_libraries[which]));
        char name[32];

        snprintf(name, sizeof(name), "/shared%zu.so", which);
        REQUIRE(module != NULL && ends_with(module->name, name));
    }
}

/* Several threads meet the same modules for the first time at once: each gets a whole entry. */
TEST(threads_meet_modules_at_once)
{
    build_library("original.so", "-O1");
    for (int i = 0; i < SHARED_LIBRARIES; i++) {
        char name[32];

        snprintf(name, sizeof(name), "shared%d.so", i);
        shell("cp %s %s", path_of("original.so"), path_of(name));
        shared_libraries[i] = open_library(name);
    }
    in_threads(8, look_at_all, NULL);
}

/* The table costs what config.h says for each module, and a few bytes. */
TEST(costs_what_config_says)
{
    REQUIRE(module_own_bytes() >= (64 + 64 + 32 + 8 + 1) * LD_MAX_MODULES);
    REQUIRE(module_own_bytes() <= (64 + 64 + 32 + 8 + 1) * LD_MAX_MODULES + 64);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_the_program),
        cmocka_unit_test(knows_libraries_of_the_program),
        cmocka_unit_test(tells_preloaded_libraries_from_later_ones),
        cmocka_unit_test(remembers_what_was_closed),
        cmocka_unit_test(the_same_file_is_the_same_module),
        cmocka_unit_test(another_build_id_is_another_module),
        cmocka_unit_test(without_build_id_another_name_is_another_module),
        cmocka_unit_test(short_build_ids_tell_modules_apart),
        cmocka_unit_test(relative_paths_become_absolute),
        cmocka_unit_test(code_without_file_has_no_module),
        cmocka_unit_test(no_module_is_never_remembered),
        cmocka_unit_test(nonsense_is_nothing),
        cmocka_unit_test(what_is_watched_is_heard_of),
        cmocka_unit_test(what_comes_later_is_watched_by_itself),
        cmocka_unit_test(what_is_not_noticed_is_not_watched),
        cmocka_unit_test(the_first_load_is_heard_of),
        cmocka_unit_test(a_load_elsewhere_is_heard_of),
        cmocka_unit_test(full_tables_stay_right),
        cmocka_unit_test(trap_13_long_paths_keep_their_end),
        cmocka_unit_test(cut_names_still_tell_modules_apart),
        cmocka_unit_test(threads_meet_modules_at_once),
        cmocka_unit_test(costs_what_config_says),
    };

    if (argc == 3 && strcmp(argv[1], preloaded_argument) == 0)
        return preloaded_main(argv[2]);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
