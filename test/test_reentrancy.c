/* SPDX-License-Identifier: MIT
 *
 * A program whose malloc is ld_malloc: what its own code and the C library allocate is recorded; what the
 * library makes others allocate, loader, unwinder, demangler, is not, and never comes back to it without end.
 *
 * build: sources
 * build: with test/own_backing.c test/frames_cxx.cc
 * build: flags -include test/own_backing.h
 * build: plugin test/plugin_one.c
 */
#define _GNU_SOURCE
#include "test_support.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <sys/wait.h>

#include "frames_cxx.h"

/* --- The program's malloc ----------------------------------------------------------------------------- */

static atomic_uint deepest; /* most calls of malloc in each other */

#if !HAS_SANITIZER

static _Thread_local unsigned depth; /* of this thread now */

static void enter(void)
{
    depth++;
    if (depth > atomic_load_explicit(&deepest, memory_order_relaxed))
        atomic_store_explicit(&deepest, depth, memory_order_relaxed);
}

/* clang-format off */
#define FORWARD(type, name, parameters, call)                                                                \
    SITE type name parameters { enter(); type result = call; depth--; return result; }
/* clang-format on */

FORWARD(void *, malloc, (size_t size), ld_malloc(size))
FORWARD(void *, calloc, (size_t count, size_t size), ld_calloc(count, size))
FORWARD(void *, realloc, (void *block, size_t size), ld_realloc(block, size))
FORWARD(void *, aligned_alloc, (size_t alignment, size_t size), ld_aligned_alloc(alignment, size))
FORWARD(void *, memalign, (size_t alignment, size_t size), ld_memalign(alignment, size))
FORWARD(int, posix_memalign, (void **out, size_t alignment, size_t size),
        ld_posix_memalign(out, alignment, size))
FORWARD(size_t, malloc_usable_size, (void *block), ld_usable_size(block))

void free(void *block)
{
    ld_free(block);
}

#endif

/* --- What must not be on record ----------------------------------------------------------------------- */

static bool begins_with(const char *text, const char *beginning)
{
    return text != NULL && strncmp(text, beginning, strlen(beginning)) == 0;
}

/* Nothing on record was made by the unwinder, or for this library. */
static bool check_not_ours(const struct ld_leak *leak, void *ctx)
{
    struct ld_symbol symbol;

    (void)ctx;
    for (size_t i = 0; i < leak->frame_count; i++) {
        if (!ld_symbolize_frame(leak, i, &symbol))
            continue;
        REQUIRE(symbol.module == NULL || strstr(symbol.module, "libunwind") == NULL);
        REQUIRE(!begins_with(symbol.function, "unwind_") && !begins_with(symbol.function, "module_"));
        REQUIRE(!begins_with(symbol.function, "ld_symbol") && !begins_with(symbol.function, "ld_report"));
        REQUIRE(!begins_with(symbol.function, "thread_") && !begins_with(symbol.function, "blockmap_"));
    }
    return true;
}

static int begin(void **state)
{
    (void)state;
    atomic_store(&deepest, 0);
    return 0;
}

static int is_clean(void **state)
{
    (void)state;
    ld_now_leaks(check_not_ours, NULL);
    REQUIRE(atomic_load(&deepest) <= 4);
    return 0;
}

/* --- Tests -------------------------------------------------------------------------------------------- */

static void the_program_and_the_c_library_are_recorded(void **state)
{
    (void)state;
    char *text = NULL, *copy;
    struct snapshot record;

    assert_int_equal(asprintf(&text, "%*d", 1336, 1), 1336);
    assert_true(find_block(text, &record));
    copy = strdup(text);
    assert_true(find_block(copy, &record));
    assert_int_equal(record.size, 1337);
    free(text);
    free(opaque_pointer(copy));
    assert_false(is_on_record(copy));
}

static void trap_04_getline_of_the_c_library_is_recorded(void **state)
{
    (void)state;
    FILE *file = fopen("/proc/self/maps", "r");
    char *line = NULL;
    size_t size = 0;

    assert_non_null(file);
    assert_true(getline(&line, &size, file) > 0);
    assert_true(is_on_record(line));
    free(opaque_pointer(line));
    fclose(file);
    assert_false(is_on_record(line));
}

static bool name_frames(const struct ld_leak *leak, void *ctx)
{
    struct ld_symbol symbol;
    char text[300];

    (void)ctx;
    for (size_t i = 0; i < leak->frame_count; i++) {
        ld_symbolize_frame(leak, i, &symbol);
        ld_symbolize(leak->frames[i], &symbol);
        ld_symbol_name(leak->frames[i], text, sizeof(text));
    }
    return true;
}

static int leave_one(void *ctx)
{
    if (*(void **)ctx == NULL)
        *(void **)ctx = malloc(1337);
    return 1;
}

/* Names of C++ functions have to be demangled, which allocates. */
static void symbolizing_records_nothing(void **state)
{
    (void)state;
    void *block = NULL;
    size_t before;

    cxx_probe_around_a_throw(leave_one, &block);
    assert_true(is_on_record(block));
    before = ld_now_leaks(NULL, NULL);
    assert_int_equal(ld_now_leaks(name_frames, NULL), before);
    assert_int_equal(ld_now_leaks(NULL, NULL), before);
    free(block);
}

static void reporting_records_nothing(void **state)
{
    (void)state;
    int nowhere = open("/dev/null", O_WRONLY);
    size_t before = ld_now_leaks(NULL, NULL), bytes = stats_now().live_bytes;

    assert_int_equal(ld_report(nowhere, NULL), 0);
    assert_int_equal(ld_now_leaks(NULL, NULL), before);
    assert_int_equal(stats_now().live_bytes, bytes);
    close(nowhere);
}

static void allocate_in_thread(unsigned index, void *ctx)
{
    void *block = malloc(1000 + index);

    (void)ctx;
    REQUIRE(is_on_record(opaque_pointer(block)));
    free(block);
}

static void threads_record_what_they_make_from_their_first_block_on(void **state)
{
    (void)state;

    for (int i = 0; i < 20; i++)
        in_threads(8, allocate_in_thread, NULL);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(count_of_size(1000 + i, NULL), 0);
}

/* The loader allocates under its own lock, and its frames are walked for that. */
static void trap_05_the_loader_may_allocate(void **state)
{
    (void)state;
    char path[4096] = {0};
    void *(*allocate)(void *(*)(size_t), size_t);

    assert_true(readlink("/proc/self/exe", path, sizeof(path) - 64) > 0);
    strcpy(strrchr(path, '/') + 1, "plugin_one.so");
    for (int i = 0; i < 50; i++) {
        void *plugin = dlopen(path, RTLD_NOW), *block;

        assert_non_null(plugin);
        *(void **)&allocate = dlsym(plugin, "plugin_allocate");
        block = allocate(malloc, 1337);
        assert_true(is_on_record(block));
        free(block);
        assert_int_equal(dlclose(plugin), 0);
    }
}

static void load_or_allocate(unsigned index, void *ctx)
{
    for (size_t i = 0; i < scaled(20); i++)
        if (index == 0)
            trap_05_the_loader_may_allocate(ctx);
        else
            for (int k = 0; k < 1000; k++)
                free(malloc(1337));
}

static void trap_05_the_loader_may_allocate_while_others_are_walked(void **state)
{
    in_threads(3, load_or_allocate, state);
}

static void trap_20_a_child_allocates(void **state)
{
    (void)state;

    for (int i = 0; i < 20; i++) {
        int status = 0;
        pid_t child = fork();

        if (child == 0) {
            char *text = NULL;

            alarm(30);
            REQUIRE(asprintf(&text, "%d", i) > 0);
            REQUIRE(is_on_record(text));
            free(text);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
}

#define CLEAN(test) cmocka_unit_test_setup_teardown(test, begin, is_clean)

static void a_sanitizer_has_a_malloc_of_its_own(void **state)
{
    (void)state;
    skip();
}

int main(void)
{
    const struct CMUnitTest none[] = {cmocka_unit_test(a_sanitizer_has_a_malloc_of_its_own)};
    const struct CMUnitTest tests[] = {
        CLEAN(the_program_and_the_c_library_are_recorded),
        CLEAN(trap_04_getline_of_the_c_library_is_recorded),
        CLEAN(symbolizing_records_nothing),
        CLEAN(reporting_records_nothing),
        CLEAN(threads_record_what_they_make_from_their_first_block_on),
        CLEAN(trap_05_the_loader_may_allocate),
        CLEAN(trap_05_the_loader_may_allocate_while_others_are_walked),
        CLEAN(trap_20_a_child_allocates),
    };

    test_deadline(120);
    if (HAS_SANITIZER)
        return cmocka_run_group_tests(none, NULL, NULL);
    ld_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
