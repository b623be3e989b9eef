/* SPDX-License-Identifier: MIT
 *
 * The recorded stack is the exact stack: its first frame is the call of ld_* in the caller, the others are
 * what backtrace(3), another unwinder, finds in that same caller.  So no frame is missing, and none is the
 * library's.
 *
 * build: with test/frames_cxx.cc
 * build: plugin test/plugin_one.c
 */
#define _GNU_SOURCE
#include "test_support.h"

#include <alloca.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <ucontext.h>

#include "frames_cxx.h"

enum { WALK_MAX = 512 };

/* A block, and the stack of the function that allocated it: walk[0] is somewhere in that function. */
struct sample {
    void *block;
    size_t depth;
    void *walk[WALK_MAX];
};

/* Takes the stack of the function in which it stands. */
#define SAMPLE_WALK(sample) ((sample)->depth = WALK_HERE((sample)->walk, WALK_MAX))

static atomic_size_t samples; /* checked so far */

/* True if the instruction before this return address calls the function; where we cannot tell, always. */
static bool is_call_of(const void *frame, uintptr_t function)
{
#if defined(__x86_64__)
    const unsigned char *code = (const unsigned char *)frame - 5;
    int32_t distance;

    memcpy(&distance, code + 1, sizeof(distance));
    return code[0] == 0xe8 && (uintptr_t)frame + (uintptr_t)(intptr_t)distance == function;
#else
    return frame != NULL && function != 0;
#endif
}

/* What makes the first frame right: it calls the entry point, from the function that the walk began in. */
static bool is_call_site(const void *frame, const void *inside, uintptr_t entry)
{
    ptrdiff_t distance = (const char *)inside - (const char *)frame;

    return is_call_of(frame, entry) && distance > -512 && distance < 512;
}

static void check_stack(const struct snapshot *record, const struct sample *sample, uintptr_t entry)
{
    size_t depth = sample->depth < LD_MAX_FRAMES ? sample->depth : LD_MAX_FRAMES;

    REQUIRE(record->frame_count == depth);
    REQUIRE(is_call_site(record->frames[0], sample->walk[0], entry));
    for (size_t i = 1; i < depth; i++)
        REQUIRE(record->frames[i] == sample->walk[i]);
    samples++;
}

/* Checks the record of the sample's block, and frees it. */
static void check_sample(struct sample *sample, uintptr_t entry)
{
    struct snapshot record;

    REQUIRE(find_block(sample->block, &record));
    REQUIRE(record.flags == 0);
    check_stack(&record, sample, entry);
    ld_free(sample->block);
}

/* --- Every entry point -------------------------------------------------------------------------------- */

#define DEFINE_SITE(name, call)                           \
    static SITE int site_of_##name(struct sample *sample) \
    {                                                     \
        sample->block = call;                             \
        SAMPLE_WALK(sample);                              \
        return (int)sample->depth + 1;                    \
    }

static void *to_realloc; /* a block for the sites that reallocate */

DEFINE_SITE(malloc, ld_malloc(1337))
DEFINE_SITE(calloc, ld_calloc(1, 1337))
DEFINE_SITE(realloc, ld_realloc(to_realloc, 100000))
DEFINE_SITE(realloc_in_place, ld_realloc(to_realloc, 1001))
DEFINE_SITE(realloc_null, ld_realloc(NULL, 1337))
DEFINE_SITE(reallocarray, ld_reallocarray(to_realloc, 1000, 100))
DEFINE_SITE(aligned_alloc, ld_aligned_alloc(64, 1337))
DEFINE_SITE(memalign, ld_memalign(64, 1337))
DEFINE_SITE(posix_memalign, ld_posix_memalign(&sample->block, 64, 1337) == 0 ? sample->block : NULL)
DEFINE_SITE(strdup, ld_strdup("text"))
DEFINE_SITE(strndup, ld_strndup("text", 3))

static const struct {
    int (*site)(struct sample *sample);
    uintptr_t entry;
    bool reallocates;
} sites[] = {
    {site_of_malloc, (uintptr_t)ld_malloc, false},
    {site_of_calloc, (uintptr_t)ld_calloc, false},
    {site_of_realloc, (uintptr_t)ld_realloc, true},
    {site_of_realloc_in_place, (uintptr_t)ld_realloc, true},
    {site_of_realloc_null, (uintptr_t)ld_realloc, false},
    {site_of_reallocarray, (uintptr_t)ld_reallocarray, true},
    {site_of_aligned_alloc, (uintptr_t)ld_aligned_alloc, false},
    {site_of_memalign, (uintptr_t)ld_memalign, false},
    {site_of_posix_memalign, (uintptr_t)ld_posix_memalign, false},
    {site_of_strdup, (uintptr_t)ld_strdup, false},
    {site_of_strndup, (uintptr_t)ld_strndup, false},
};

enum { SITES = sizeof(sites) / sizeof(sites[0]) };

static SITE int call_from_depth(size_t site, struct sample *sample, unsigned depth)
{
    if (depth == 0)
        return sites[site].site(sample) + 1;
    return call_from_depth(site, sample, depth - 1) + 1;
}

/* Allocates at this site, so many frames further in, and checks the record. */
static void check_site(size_t site, unsigned depth)
{
    struct sample sample = {0};

    to_realloc = sites[site].reallocates ? ld_malloc(1000) : NULL;
    call_from_depth(site, &sample, depth);
    check_sample(&sample, sites[site].entry);
}

static void trap_12_frame_0_is_the_call_in_the_caller_for_every_entry_point(void **state)
{
    (void)state;

    for (size_t site = 0; site < SITES; site++)
        for (unsigned depth = 0; depth < 20; depth++)
            check_site(site, depth);
}

static void trap_24_recursion_beyond_the_limit_keeps_the_innermost_frames(void **state)
{
    (void)state;

    for (unsigned depth = LD_MAX_FRAMES - 20; depth < LD_MAX_FRAMES + 20; depth++)
        check_site(0, depth);
    for (unsigned depth = 100; depth < WALK_MAX - 40; depth += 50)
        check_site(0, depth);
}

/* --- Realigned stacks --------------------------------------------------------------------------------- */

#if defined(__x86_64__)

/* Its callers need not keep the stack aligned, which gcc takes for an order to say in memory where the frame
 * is: the same code as in a main that has vectors. */
__attribute__((force_align_arg_pointer)) static SITE int realign(struct sample *sample, unsigned depth)
{
    __attribute__((aligned(64))) volatile char vector[64 + 8];

    vector[0] = 1;
    return (depth > 0 ? realign(sample, depth - 1) : site_of_malloc(sample)) + vector[0];
}

static void realigned_stacks_have_rules(void **state)
{
    size_t asked_before = 0;

    (void)state;
    for (unsigned i = 0; i < scaled(2000); i++) {
        struct sample sample = {0};

        /* After all of them have been learnt. */
        if (i == 10)
            asked_before = stats_now().asked_stacks;
        realign(&sample, i % 10);
        check_sample(&sample, (uintptr_t)ld_malloc);
    }
    if (LD_UNWIND_RULES && !HAS_SANITIZER)
        assert_int_equal(stats_now().asked_stacks, asked_before);
}

#endif

/* --- Stacks that look alike --------------------------------------------------------------------------- */

/* Ways to the same site with frames of the same and of different sizes: what is remembered of one stack must
 * not be taken for another. */
static SITE int wander(uint64_t *seed, unsigned depth);

#define DEFINE_WAY(name, frame_size)                           \
    static SITE int way_##name(uint64_t *seed, unsigned depth) \
    {                                                          \
        volatile char *frame = alloca(frame_size);             \
                                                               \
        frame[0] = (char)depth;                                \
        return wander(seed, depth) + frame[0];                 \
    }

DEFINE_WAY(a, 16)
DEFINE_WAY(b, 16)
DEFINE_WAY(c, 48)
DEFINE_WAY(d, 1024)
DEFINE_WAY(e, 16 + random_below(seed, 8) * 32)
DEFINE_WAY(f, 16)

static SITE int wander(uint64_t *seed, unsigned depth)
{
    static int (*const ways[])(uint64_t * seed, unsigned depth) = {way_a, way_b, way_c, way_d, way_e, way_f};

    if (depth == 0) {
        check_site(random_below(seed, SITES), 0);
        return 1;
    }
    /* Sometimes the same frame allocates again, after what was below it has gone. */
    if (random_below(seed, 4) == 0)
        check_site(0, 0);
    return ways[random_below(seed, 6)](seed, depth - 1) + 1;
}

static void stacks_that_look_alike_are_told_apart(void **state)
{
    (void)state;
    uint64_t seed = test_seed();

    for (size_t i = 0; i < scaled(5000); i++)
        wander(&seed, (unsigned)random_below(&seed, 12));
}

static void wander_in_thread(unsigned index, void *ctx)
{
    uint64_t seed = test_seed() + index;

    (void)ctx;
    for (size_t i = 0; i < scaled(2000); i++) {
        struct sample sample = {0};

        sites[0].site(&sample);
        check_sample(&sample, sites[0].entry);
        ld_free(ld_malloc(random_below(&seed, 100)));
    }
}

static void stacks_of_threads_are_exact(void **state)
{
    (void)state;

    in_threads(4, wander_in_thread, NULL);
}

/* --- Through other people's code ---------------------------------------------------------------------- */

static struct sample inner; /* of the callback, handler or coroutine of the test at hand */

static int compare_and_allocate(const void *a, const void *b)
{
    site_of_malloc(&inner);
    check_sample(&inner, (uintptr_t)ld_malloc);
    return *(const int *)a - *(const int *)b;
}

static void trap_08_through_libc_code_without_frame_pointers(void **state)
{
    (void)state;
    int numbers[] = {5, 3, 1, 4, 2};
    size_t before = samples;

    qsort(numbers, 5, sizeof(numbers[0]), compare_and_allocate);
    assert_int_equal(numbers[0], 1);
    assert_true(samples - before >= 4);
}

static int probe(void *ctx)
{
    int result = site_of_malloc(ctx);

    check_sample(ctx, (uintptr_t)ld_malloc);
    return result > 0;
}

static void trap_18_around_a_cxx_throw(void **state)
{
    (void)state;
    size_t before = samples;

    assert_int_equal(cxx_probe_around_a_throw(probe, &inner), 16);
    assert_int_equal(samples - before, 24);
}

static void allocate_in_handler(int signal)
{
    (void)signal;
    site_of_malloc(&inner);
    check_sample(&inner, (uintptr_t)ld_malloc);
}

static void handle_on(int flags)
{
    struct sigaction action = {.sa_handler = allocate_in_handler, .sa_flags = flags};
    size_t before = samples;

    sigemptyset(&action.sa_mask);
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    for (int i = 0; i < 3; i++)
        raise(SIGUSR1);
    assert_int_equal(samples - before, 3);
}

static void trap_09_in_a_signal_handler(void **state)
{
    (void)state;

    handle_on(0);
}

static void what_no_rule_can_express_is_counted(void **state)
{
    (void)state;
    size_t before = stats_now().asked_stacks;

    handle_on(0);
    assert_true(stats_now().asked_stacks > before);
}

static void trap_18_on_an_alternate_signal_stack(void **state)
{
    (void)state;
    static _Alignas(16) char memory[256 * 1024];
    stack_t stack = {.ss_sp = memory, .ss_size = sizeof(memory)}, old;

    assert_int_equal(sigaltstack(&stack, &old), 0);
    handle_on(SA_ONSTACK);
    assert_int_equal(sigaltstack(&old, NULL), 0);
}

/* The stack that leakdetect.h says is enough, and what jemalloc may need beside. */
enum { STACK_ENOUGH = 10 * 1024 + 8 * LD_MAX_FRAMES, PAINT = 0xa5 };

static const char *handler_frame;

static SITE void allocate_on_small_stack(int number)
{
    (void)number;
    handler_frame = __builtin_frame_address(0);
    ld_free(ld_malloc(1337));
}

static void trap_18_a_call_takes_no_more_stack_than_is_documented(void **state)
{
    (void)state;
    static _Alignas(16) char memory[256 * 1024];
    stack_t stack = {.ss_sp = memory, .ss_size = sizeof(memory)}, old;
    struct sigaction action = {.sa_handler = allocate_on_small_stack, .sa_flags = SA_ONSTACK}, old_action;
    const char *deepest = memory;

    if (HAS_SANITIZER)
        skip(); /* frames of its own making */
    memset(memory, PAINT, sizeof(memory));
    assert_int_equal(sigaltstack(&stack, &old), 0);
    assert_int_equal(sigaction(SIGUSR1, &action, &old_action), 0);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(sigaction(SIGUSR1, &old_action, NULL), 0);
    assert_int_equal(sigaltstack(&old, NULL), 0);

    while (*(const unsigned char *)deepest == PAINT)
        deepest++;
    assert_in_range(handler_frame - deepest, 1, STACK_ENOUGH);
}

static void trap_18_in_a_library_loaded_later(void **state)
{
    (void)state;
    struct sample sample = {0};
    struct snapshot record;
    char path[4096] = {0};
    Dl_info info;
    void *plugin;
    void *(*allocate)(void *(*)(size_t), size_t);

    assert_true(readlink("/proc/self/exe", path, sizeof(path) - 32) > 0);
    memcpy(strrchr(path, '/') + 1, "plugin_one.so", sizeof("plugin_one.so"));
    plugin = dlopen(path, RTLD_NOW);
    assert_non_null(plugin);
    *(void **)&allocate = dlsym(plugin, "plugin_allocate");
    assert_non_null(allocate);

    sample.block = allocate(ld_malloc, 1337);
    SAMPLE_WALK(&sample);
    assert_true(find_block(sample.block, &record));
    assert_int_equal(record.frame_count, sample.depth + 1);
    assert_int_not_equal(dladdr(record.frames[0], &info), 0);
    assert_non_null(strstr(info.dli_fname, "plugin_one.so"));
    for (size_t i = 1; i < sample.depth; i++)
        assert_ptr_equal(record.frames[i + 1], sample.walk[i]);
    ld_free(sample.block);
    dlclose(plugin);
}

/* Two coroutines that take turns, each in the midst of its own stack. */
static ucontext_t main_context, coroutines[2];

static void coroutine(int index)
{
    for (int i = 0; i < 100; i++) {
        struct sample sample = {0};

        site_of_malloc(&sample);
        check_sample(&sample, (uintptr_t)ld_malloc);
        swapcontext(&coroutines[index], &coroutines[1 - index]);
    }
}

static void coroutine_prepare(int index)
{
    static _Alignas(16) char stacks[2][256 * 1024];

    assert_int_equal(getcontext(&coroutines[index]), 0);
    coroutines[index].uc_stack.ss_sp = stacks[index];
    coroutines[index].uc_stack.ss_size = sizeof(stacks[index]);
    coroutines[index].uc_link = &main_context;
    makecontext(&coroutines[index], (void (*)(void))coroutine, 1, index);
}

static void trap_18_in_coroutines(void **state)
{
    (void)state;
    size_t before = samples;

    coroutine_prepare(0);
    coroutine_prepare(1);
    assert_int_equal(swapcontext(&main_context, &coroutines[0]), 0);
    assert_true(samples - before >= 199);
    check_site(0, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trap_12_frame_0_is_the_call_in_the_caller_for_every_entry_point),
        cmocka_unit_test(trap_24_recursion_beyond_the_limit_keeps_the_innermost_frames),
#if defined(__x86_64__)
        cmocka_unit_test(realigned_stacks_have_rules),
#endif
        cmocka_unit_test(stacks_that_look_alike_are_told_apart),
        cmocka_unit_test(stacks_of_threads_are_exact),
        cmocka_unit_test(trap_08_through_libc_code_without_frame_pointers),
        cmocka_unit_test(trap_18_around_a_cxx_throw),
        cmocka_unit_test(trap_09_in_a_signal_handler),
        cmocka_unit_test(what_no_rule_can_express_is_counted),
        cmocka_unit_test(trap_18_on_an_alternate_signal_stack),
        cmocka_unit_test(trap_18_a_call_takes_no_more_stack_than_is_documented),
        cmocka_unit_test(trap_18_in_a_library_loaded_later),
        cmocka_unit_test(trap_18_in_coroutines),
    };

    test_deadline(120);
    ld_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
