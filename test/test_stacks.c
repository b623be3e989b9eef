/* SPDX-License-Identifier: MIT
 *
 * The table of call paths, from outside: programs that recurse without end saturate nothing, only live blocks
 * can use it up, and a frame keeps its name when its library has gone.
 *
 * build: sources
 * build: flags -DLD_MAX_STACKS=2048
 * build: plugin test/plugin_one.c test/plugin_two.c
 */
#define _GNU_SOURCE
#include "test_support.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <sys/wait.h>

enum { DEPTH = 40, LONG_LIVED = 6, THREADS = 4 };

/* A block, and the stack that it must have: from the second frame on, as backtrace(3) has seen it. */
struct sample {
    void *block;
    size_t depth;
    void *walk[LD_MAX_FRAMES + 2];
};

/* Walks at random, and allocates at the end of the way. */
static SITE int wander(uint64_t *seed, unsigned depth, struct sample *sample);

#define DEFINE_WAY(name)                                                              \
    static SITE int way_##name(uint64_t *seed, unsigned depth, struct sample *sample) \
    {                                                                                 \
        return wander(seed, depth, sample) + 1;                                       \
    }

DEFINE_WAY(a)
DEFINE_WAY(b)
DEFINE_WAY(c)
DEFINE_WAY(d)

static SITE int wander(uint64_t *seed, unsigned depth, struct sample *sample)
{
    static int (*const ways[])(uint64_t * seed, unsigned depth, struct sample *sample) = {way_a, way_b, way_c,
                                                                                          way_d};

    if (depth > 0)
        return ways[random_below(seed, 4)](seed, depth - 1, sample) + 1;
    sample->block = ld_malloc(1337);
    sample->depth = WALK_HERE(sample->walk, LD_MAX_FRAMES + 2);
    return 1;
}

/* The record has all frames, or, where it may be cut, the outer ones. */
static bool check_record(const struct sample *sample, bool may_be_cut)
{
    size_t depth = sample->depth < LD_MAX_FRAMES ? sample->depth : LD_MAX_FRAMES;
    struct snapshot record;
    size_t missing;

    REQUIRE(find_block(sample->block, &record));
    REQUIRE(record.size == 1337);
    REQUIRE(record.frame_count <= depth);
    missing = depth - record.frame_count;
    REQUIRE((missing != 0) == ((record.flags & LD_LEAK_STACK_CUT) != 0));
    REQUIRE(may_be_cut || missing == 0);
    for (size_t i = missing == 0 ? 1 : 0; i < record.frame_count; i++)
        REQUIRE(record.frames[i] == sample->walk[missing + i]);
    return missing != 0;
}

/* --- Recursion without end ---------------------------------------------------------------------------- */

/* Every short-lived block goes a way of some forty frames of its own, which makes about as many nodes. */
static void recurse_for_long(unsigned index, void *ctx)
{
    struct sample lasting[LONG_LIVED] = {{0}}, passing;
    uint64_t seed = test_seed() + index;

    (void)ctx;
    for (size_t i = 0; i < scaled(40000); i++) {
        struct sample *renewed = &lasting[random_below(&seed, LONG_LIVED)];

        wander(&seed, DEPTH / 2, &passing);
        if (i % 100 == 0) {
            check_record(&passing, false);
            ld_free(renewed->block);
            wander(&seed, (unsigned)random_below(&seed, DEPTH / 2), renewed);
            for (size_t k = 0; k < LONG_LIVED; k++)
                if (lasting[k].block != NULL)
                    check_record(&lasting[k], false);
        }
        ld_free(passing.block);
    }
    for (size_t k = 0; k < LONG_LIVED; k++)
        ld_free(lasting[k].block);
}

static void trap_14_recursion_without_end_loses_no_stack_of_a_live_block(void **state)
{
    (void)state;
    struct ld_stats before = stats_now(), after;

    recurse_for_long(0, NULL);
    after = stats_now();
    assert_int_equal(after.cut_stacks, before.cut_stacks);
    /* It went through the table hundreds of times: each collection frees half of it, and more. */
    assert_true(after.stack_collections - before.stack_collections >
                scaled(40000) * DEPTH / 4 / LD_MAX_STACKS);
    assert_int_equal(after.stack_capacity, LD_MAX_STACKS);
    assert_true(after.stack_nodes <= LD_MAX_STACKS);
    assert_int_equal(ld_now_leaks(NULL, NULL), 0);
}

static void trap_14_threads_that_recurse_lose_none_either(void **state)
{
    (void)state;
    struct ld_stats before = stats_now();

    in_threads(THREADS, recurse_for_long, NULL);
    assert_int_equal(stats_now().cut_stacks, before.cut_stacks);
    assert_int_equal(ld_now_leaks(NULL, NULL), 0);
}

/* Who waits for another thread's collection waits for it to get on, not for the clock: SIGSTOP, a debugger,
 * the freezer of control groups and the pause of a virtual machine stop all of them, between any two
 * instructions. */
static void trap_14_a_process_that_is_stopped_for_a_while_loses_none_either(void **state)
{
    (void)state;
    enum { STOPS = 12 };
    pid_t child = fork();
    int status;

    assert_true(child >= 0);
    if (child == 0) {
        size_t before = stats_now().cut_stacks;

        alarm(120);
        in_threads(THREADS, recurse_for_long, NULL);
        _exit(stats_now().cut_stacks != before);
    }
    for (int i = 0; i < STOPS; i++) {
        usleep(20000);
        REQUIRE(kill(child, SIGSTOP) == 0);
        usleep(150000);
        REQUIRE(kill(child, SIGCONT) == 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* --- More live paths than there is room for ----------------------------------------------------------- */

static void trap_14_stacks_are_cut_only_when_live_blocks_need_more(void **state)
{
    (void)state;
    enum { LIVE = 300 };
    static struct sample live[LIVE];
    uint64_t seed = test_seed();
    size_t before = stats_now().cut_stacks, cut = 0, first_cut = 0;

    for (size_t i = 0; i < LIVE; i++) {
        wander(&seed, DEPTH / 2, &live[i]);
        cut += check_record(&live[i], true);
        if (cut == 0)
            first_cut = i;
    }
    assert_true(cut > 0);
    assert_int_equal(stats_now().cut_stacks - before, cut);
    /* Until then their distinct frames, at most so many each, had nearly filled the table. */
    assert_true(first_cut * (DEPTH + 10) >= LD_MAX_STACKS / 2);

    /* All that was recorded stays as it is; when it has gone there is room again. */
    cut = 0;
    for (size_t i = 0; i < LIVE; i++)
        cut += check_record(&live[i], true);
    assert_int_equal(stats_now().cut_stacks - before, cut);
    for (size_t i = 0; i < LIVE; i++)
        ld_free(live[i].block);
    /* It does not look for room at each block when it has found next to none the last time. */
    for (size_t i = 0; i <= LD_MAX_STACKS / 64 || i <= 4 * LD_MAX_FRAMES; i++) {
        wander(&seed, DEPTH / 2, &live[0]);
        check_record(&live[0], true);
        ld_free(live[0].block);
    }
    before = stats_now().cut_stacks;
    recurse_for_long(0, NULL);
    assert_int_equal(stats_now().cut_stacks, before);
}

/* --- Libraries that go -------------------------------------------------------------------------------- */

typedef void *plugin_allocate_fn(void *(*allocate)(size_t size), size_t size);

static void *plugin_open(const char *name, plugin_allocate_fn **allocate)
{
    char path[4096] = {0};
    void *plugin;

    assert_true(readlink("/proc/self/exe", path, sizeof(path) - 64) > 0);
    strcpy(strrchr(path, '/') + 1, name);
    plugin = dlopen(path, RTLD_NOW);
    assert_non_null(plugin);
    *(void **)allocate = dlsym(plugin, "plugin_allocate");
    assert_non_null(*allocate);
    return plugin;
}

static bool names_the_plugin(const struct ld_leak *leak, void *name)
{
    struct ld_symbol symbol;

    REQUIRE(ld_symbolize_frame(leak, 0, &symbol));
    if (leak->size != 1337)
        return true;
    REQUIRE(symbol.module != NULL && strstr(symbol.module, *(const char **)name) != NULL);
    REQUIRE(symbol.function != NULL && strcmp(symbol.function, "plugin_allocate") == 0);
    return true;
}

static void trap_11_frames_keep_their_module_after_dlclose(void **state)
{
    (void)state;
    plugin_allocate_fn *allocate;
    const char *name = "plugin_one.so";
    void *one = plugin_open("plugin_one.so", &allocate), *two;
    void *block = allocate(ld_malloc, 1337), *other;

    assert_int_equal(ld_now_leaks(names_the_plugin, &name), 1);
    assert_int_equal(dlclose(one), 0);
    assert_int_equal(ld_now_leaks(names_the_plugin, &name), 1);

    /* Now another library has its place, with the same addresses. */
    two = plugin_open("plugin_two.so", &allocate);
    other = allocate(ld_malloc, 666);
    assert_int_equal(ld_now_leaks(names_the_plugin, &name), 2);
    ld_free(block);
    ld_free(other);
    block = allocate(ld_malloc, 1337);
    name = "plugin_two.so";
    assert_int_equal(ld_now_leaks(names_the_plugin, &name), 1);
    ld_free(block);
    assert_int_equal(dlclose(two), 0);
}

/* The same path is not the same path when another library is in the place of the first one. */
static void trap_11_the_same_addresses_in_another_library_are_another_stack(void **state)
{
    (void)state;
    void *blocks[20];

    for (int i = 0; i < 20; i++) {
        const char *name = i % 2 == 0 ? "plugin_one.so" : "plugin_two.so";
        plugin_allocate_fn *allocate;
        void *plugin = plugin_open(name, &allocate);

        blocks[i] = allocate(ld_malloc, 1337);
        assert_int_equal(ld_now_leaks(names_the_plugin, &name), 1);
        ld_free(blocks[i]);
        assert_int_equal(dlclose(plugin), 0);
    }
}

static void wander_meanwhile(void *ctx, size_t times)
{
    struct sample sample;
    uint64_t *seed = ctx;

    for (size_t i = 0; i < times; i++) {
        wander(seed, DEPTH / 2, &sample);
        check_record(&sample, false);
        ld_free(sample.block);
    }
}

/* Others load and unload, and walk through frames that come and go. */
static void load_or_wander(unsigned index, void *ctx)
{
    uint64_t seed = test_seed() + index;

    (void)ctx;
    if (index == 0) {
        wander_meanwhile(&seed, scaled(5000));
        return;
    }
    for (size_t i = 0; i < scaled(300); i++) {
        plugin_allocate_fn *allocate;
        void *plugin = plugin_open(i % 2 == 0 ? "plugin_one.so" : "plugin_two.so", &allocate);

        ld_free(allocate(ld_malloc, 666));
        REQUIRE(dlclose(plugin) == 0);
    }
}

static void trap_05_libraries_come_and_go_while_stacks_are_taken(void **state)
{
    (void)state;

    in_threads(2, load_or_wander, NULL);
    assert_int_equal(ld_now_leaks(NULL, NULL), 0);
}

/* --- Fork --------------------------------------------------------------------------------------------- */

static bool wanders_in_fork;

/* Registered before the library's own handlers, and so called while they keep collections out. */
static void wander_in_fork(void)
{
    struct sample sample;
    uint64_t seed = test_seed();

    for (size_t i = 0; wanders_in_fork && i < 500; i++) {
        wander(&seed, DEPTH / 2, &sample);
        check_record(&sample, true);
        ld_free(sample.block);
    }
}

static void trap_20_a_handler_of_fork_finds_no_room_and_goes_on(void **state)
{
    (void)state;
    pid_t child;
    int status;

    wanders_in_fork = true;
    child = fork();
    wanders_in_fork = false;
    if (child == 0) {
        alarm(60);
        recurse_for_long(0, NULL);
        _exit(0);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    recurse_for_long(0, NULL);
    assert_int_equal(ld_now_leaks(NULL, NULL), 0);
}

/* --- More than there is room for, again ---------------------------------------------------------------- */

/* With room for some forty nodes, a stack that needs eighty finds none, however often it looks. */
static void trap_14_a_stack_that_does_not_fit_is_not_made_room_for_again_and_again(void **state)
{
    (void)state;
    enum { LIVE = 300, LONG = 24, TOO_LONG = 42, TIMES = 5 };
    static struct sample live[LIVE], passing;
    uint64_t seed = test_seed();
    size_t used = 0, collections = stats_now().stack_collections;

    for (bool is_cut = false; !is_cut && used < LIVE; used++) {
        wander(&seed, LONG, &live[used]);
        is_cut = check_record(&live[used], true);
    }
    ld_free(live[0].block);
    for (int i = 0; i < TIMES; i++) {
        wander(&seed, TOO_LONG, &passing);
        ld_free(passing.block);
    }
    assert_true(stats_now().stack_collections - collections <= used + TIMES);
    for (size_t i = 1; i < used; i++)
        ld_free(live[i].block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trap_14_recursion_without_end_loses_no_stack_of_a_live_block),
        cmocka_unit_test(trap_14_threads_that_recurse_lose_none_either),
        cmocka_unit_test(trap_14_a_process_that_is_stopped_for_a_while_loses_none_either),
        cmocka_unit_test(trap_14_stacks_are_cut_only_when_live_blocks_need_more),
        cmocka_unit_test(trap_11_frames_keep_their_module_after_dlclose),
        cmocka_unit_test(trap_11_the_same_addresses_in_another_library_are_another_stack),
        cmocka_unit_test(trap_05_libraries_come_and_go_while_stacks_are_taken),
        cmocka_unit_test(trap_20_a_handler_of_fork_finds_no_room_and_goes_on),
        cmocka_unit_test(trap_14_a_stack_that_does_not_fit_is_not_made_room_for_again_and_again),
    };

    test_deadline(280);
    REQUIRE(pthread_atfork(wander_in_fork, wander_in_fork, wander_in_fork) == 0);
    ld_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
