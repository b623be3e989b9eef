/* SPDX-License-Identifier: MIT
 *
 * Libraries that go while their frames are remembered, or while other threads remember them.  What was
 * remembered of a frame is used only when the frame is seen to be on the stack still: until then its library
 * may be gone, and another may be in its place, whose frames lie otherwise.
 *
 * build: plugin test/unload_small.c test/unload_large.c test/unload_same.c
 */
#define _GNU_SOURCE
#include "test_support.h"

#include <execinfo.h>
#include <pthread.h>
#include <sys/mman.h>

#include "unload_library.h"

#if defined(__x86_64__)

enum { WALK_MAX = 128, LARGER = 524288 };

/* The program's own, whose stacks begin as those of the libraries do. */
extern unload_through_fn through_own;
UNLOAD_THROUGH("through_own", "72", "40");

static struct {
    void *block;
    size_t depth;
    void *walk[WALK_MAX];
} sample;

static SITE void allocate(void)
{
    sample.block = ld_malloc(1337);
    sample.depth = WALK_HERE(sample.walk, WALK_MAX);
}

/* From so much further in on the stack. */
static SITE void go_through(unload_through_fn *through, unload_call_fn *call, size_t lines)
{
    char room[64 * (lines + 1)];

    __asm__ volatile("" ::"r"(room) : "memory");
    through(call);
    __asm__ volatile("" ::"r"(room) : "memory");
}

/* The block that was allocated last has the stack that backtrace(3) has seen, another unwinder. */
static void check_sample(void)
{
    struct snapshot record;

    REQUIRE(find_block(sample.block, &record));
    REQUIRE(record.frame_count == (sample.depth < LD_MAX_FRAMES ? sample.depth : LD_MAX_FRAMES));
    for (size_t i = 1; i < record.frame_count; i++)
        REQUIRE(record.frames[i] == sample.walk[i]);
    ld_free(sample.block);
}

static SITE void allocate_through(const char *name)
{
    unload_through_fn *through;
    void *library = open_unloadable(name, &through);

    /* What a thread remembers of the code, and what of the stack. */
    for (size_t i = 0; i < 8; i++) {
        go_through(through, allocate, i / 2);
        check_sample();
    }
    REQUIRE(dlclose(library) == 0);
}

/* Both frames of the second library are learnt anew, not the first one alone. */
static void trap_11_all_frames_of_a_library_in_the_place_of_another_are_its_own(void **state)
{
    (void)state;
    volatile char room[2 * LARGER];

    room[0] = room[sizeof(room) - 1] = 0;
    for (int i = 0; i < 4; i++)
        allocate_through(i % 2 == 0 ? "unload_large.so" : "unload_small.so");
}

static bool check_module(const struct ld_leak *leak, void *name)
{
    struct ld_symbol symbol;

    if (leak->address != sample.block)
        return true;
    REQUIRE(leak->frame_count > 1 && ld_symbolize_frame(leak, 1, &symbol));
    REQUIRE(symbol.module != NULL && strcmp(strrchr(symbol.module, '/') + 1, name) == 0);
    return false;
}

/* All that could be compared on these stacks is the same, in memory; but another library has been there. */
static void trap_11_a_library_of_the_same_layout_is_another_one(void **state)
{
    static char names[][16] = {"unload_small.so", "unload_same.so"};
    enum { DEPTHS = 1500, TIMES = 3 };
    unload_through_fn *first = NULL;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        char *name = names[i % 2];
        unload_through_fn *through;
        void *library = open_unloadable(name, &through);

        /* The loader does put it there; a sanitizer's memory may be in the way. */
        REQUIRE(first == NULL || through == first || HAS_SANITIZER);
        first = through;
        for (size_t k = 0; k < DEPTHS * TIMES; k++) {
            go_through(through, allocate, k / TIMES);
            ld_now_leaks(check_module, name);
            ld_free(sample.block);
        }
        REQUIRE(dlclose(library) == 0);
    }
}

static void *thread_through(void *name)
{
    allocate_through(name);
    return NULL;
}

static void run_on(void *stack, size_t size, const char *name)
{
    pthread_attr_t attributes;
    pthread_t thread;

    pthread_attr_init(&attributes);
    assert_int_equal(pthread_attr_setstack(&attributes, stack, size), 0);
    assert_int_equal(pthread_create(&thread, &attributes, thread_through, (void *)(uintptr_t)name), 0);
    pthread_attr_destroy(&attributes);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* Two threads, one after the other, whose inner frames lie at the same addresses.  Where the first one's
 * outer frames lay there is no memory any more. */
static void trap_11_nothing_is_read_where_frames_of_another_library_were(void **state)
{
    (void)state;
    enum { SMALL = 1 << 20 };
    char *stack = mmap(NULL, SMALL + LARGER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(stack != MAP_FAILED);
    run_on(stack, SMALL + LARGER, "unload_large.so");
    assert_int_equal(mprotect(stack + SMALL, LARGER, PROT_NONE), 0);
    run_on(stack, SMALL, "unload_small.so");
    assert_int_equal(munmap(stack, SMALL + LARGER), 0);
}

/* --- While another thread unloads --------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unload_through_fn *loaded; /* with the lock; NULL: it is not */
static atomic_bool is_over;

enum { PASSING = 107 }; /* bytes */

static SITE void allocate_and_free(void)
{
    ld_free(ld_malloc(PASSING));
}

static bool count_passing(const struct ld_leak *leak, void *count)
{
    *(size_t *)count += leak->size == PASSING;
    return true;
}

static void load(unload_through_fn *through)
{
    pthread_mutex_lock(&lock);
    loaded = through;
    pthread_mutex_unlock(&lock);
}

static void load_or_go(unsigned index, void *ctx)
{
    (void)ctx;
    for (size_t i = 0; index == 0 && i < scaled(6000); i++) {
        unload_through_fn *through;
        void *library = open_unloadable("unload_small.so", &through);

        load(through);
        for (volatile int pause = 0; pause < 3000; pause++)
            continue;
        load(NULL);
        REQUIRE(dlclose(library) == 0);
    }
    if (index == 0)
        atomic_store(&is_over, true);
    while (!atomic_load(&is_over)) {
        pthread_mutex_lock(&lock);
        for (int i = 0; loaded != NULL && i < 20; i++)
            go_through(loaded, allocate_and_free, 0);
        pthread_mutex_unlock(&lock);
        for (int i = 0; i < 200; i++)
            go_through(through_own, allocate_and_free, 0);
    }
}

/* One thread goes through a library's functions, or through the program's own, so that stacks begin alike. */
static void trap_05_a_library_goes_while_another_thread_remembers_it(void **state)
{
    (void)state;
    size_t left = 0;

    in_threads(2, load_or_go, NULL);
    ld_now_leaks(count_passing, &left);
    assert_int_equal(left, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trap_11_all_frames_of_a_library_in_the_place_of_another_are_its_own),
        cmocka_unit_test(trap_11_a_library_of_the_same_layout_is_another_one),
        cmocka_unit_test(trap_11_nothing_is_read_where_frames_of_another_library_were),
        cmocka_unit_test(trap_05_a_library_goes_while_another_thread_remembers_it),
    };

    test_deadline(280);
    ld_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    return 0;
}

#endif
