/* SPDX-License-Identifier: MIT
 *
 * Code that is made at run time, as that of JavaScript is: no module has it, nothing describes it, and
 * whether it keeps a frame pointer can only be guessed.  libunwind guesses so: if BP points into the stack,
 * at SP or not far beyond, it is a frame pointer; otherwise the stack ends.
 *
 * build: plugin test/unload_small.c
 */
#define _GNU_SOURCE
#include "test_support.h"

#include <sys/mman.h>

#include "unload_library.h"

#if defined(__x86_64__)

enum { PAGE = 4096, FRAME = 32, CALL_END = 14, TIMES = 1000 };

/* Puts code on a page of its own. */
static void put(void *start, const unsigned char *code, size_t size)
{
    void *page = (char *)start - (uintptr_t)start % PAGE;

    REQUIRE(mmap(page, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
                 0) == page);
    memcpy(start, code, size);
    REQUIRE(mprotect(page, PAGE, PROT_READ | PROT_EXEC) == 0);
}

/* Calls call(), with BP so many bytes above where the caller's BP was saved. */
typedef void code_fn(unload_call_fn *call, uintptr_t off);

/* The code, with a frame of this size, so that its call ends at `end`. */
static code_fn *make_code(uintptr_t end, uint32_t frame)
{
    unsigned char code[] = {
        0x55,                                  /* push %rbp */
        0x48, 0x8d, 0x2c, 0x34,                /* lea (%rsp,%rsi), %rbp */
        0x48, 0x81, 0xec, 0,    0, 0, 0,       /* sub $frame, %rsp */
        0xff, 0xd7,                            /* call *%rdi */
        0x48, 0x81, 0xc4, 0,    0, 0, 0, 0x5d, /* add $frame, %rsp; pop %rbp */
        0xc3,                                  /* ret */
    };
    void *start = (unsigned char *)end - CALL_END;
    code_fn *made;

    memcpy(code + 8, &frame, sizeof(frame));
    memcpy(code + CALL_END + 3, &frame, sizeof(frame));
    put(start, code, sizeof(code));
    memcpy(&made, &start, sizeof(made));
    return made;
}

static void unmake_code(uintptr_t end)
{
    REQUIRE(munmap((void *)(end - end % PAGE), PAGE) == 0);
}

static uintptr_t any_place(void)
{
    void *page = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    REQUIRE(page != MAP_FAILED && munmap(page, PAGE) == 0);
    return (uintptr_t)page + 100;
}

static struct {
    void *block;
    size_t outer_depth;
    void *outer[LD_MAX_FRAMES];
} sample;

static SITE void allocate(void)
{
    sample.block = ld_malloc(1337);
}

/* Beyond the code everything is described, so that backtrace(3) knows it. */
static SITE void go_through(code_fn *code, uintptr_t off)
{
    sample.outer_depth = WALK_HERE(sample.outer, LD_MAX_FRAMES);
    code(allocate, off);
    __asm__ volatile("" ::: "memory");
}

static void check_whole(uintptr_t end)
{
    struct snapshot record;

    REQUIRE(find_block(sample.block, &record));
    REQUIRE(record.frame_count == sample.outer_depth + 2);
    REQUIRE(record.frames[1] == (const void *)end);
    for (size_t i = 1; i < sample.outer_depth; i++)
        REQUIRE(record.frames[i + 2] == sample.outer[i]);
    ld_free(sample.block);
}

static void check_ended(uintptr_t end)
{
    struct snapshot record;

    REQUIRE(find_block(sample.block, &record));
    REQUIRE(record.frame_count == 2);
    REQUIRE(record.frames[1] == (const void *)end);
    ld_free(sample.block);
}

static SITE void go_deeper(code_fn *code, uintptr_t off, int depth)
{
    if (depth == 0)
        go_through(code, off);
    else
        go_deeper(code, off, depth - 1);
    __asm__ volatile("" ::: "memory");
}

static void who_keeps_a_frame_pointer_is_walked_through(void **state)
{
    uintptr_t end = any_place();
    code_fn *code = make_code(end, FRAME);
    size_t asked_before;

    (void)state;
    go_through(code, 0);
    check_whole(end);
    asked_before = stats_now().asked_stacks;
    for (int i = 0; i < TIMES; i++) {
        go_deeper(code, 0, i % 10);
        check_whole(end);
    }
    assert_int_equal(stats_now().asked_stacks, asked_before);
    unmake_code(end);
}

static void where_it_points_elsewhere_the_stack_ends(void **state)
{
    static const uintptr_t offs[] = {-(uintptr_t)PAGE, 0x4000, (uintptr_t)1 << 20, (uintptr_t)1 << 62};
    uintptr_t end = any_place();
    code_fn *code = make_code(end, FRAME);

    (void)state;
    for (int i = 0; i < TIMES; i++) {
        go_through(code, offs[(size_t)i % (sizeof(offs) / sizeof(offs[0]))]);
        check_ended(end);
        go_through(code, 0);
        check_whole(end);
    }
    unmake_code(end);
}

static void frames_are_believed_up_to_16_KiB(void **state)
{
    static const uint32_t frames[] = {PAGE - 16, PAGE, 0x4000, 0x4000 + 16, 1 << 17};

    (void)state;
    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        uintptr_t end = any_place();
        code_fn *code = make_code(end, frames[i]);

        for (int times = 0; times < 3; times++) {
            go_through(code, 0);
            (frames[i] <= 0x4000 ? check_whole : check_ended)(end);
        }
        unmake_code(end);
    }
}

/* The stack is what libunwind says, which the checking build compares; and nothing is read that is not there.
 */
static void it_may_point_to_anything(void **state)
{
    uintptr_t end = any_place();
    code_fn *code = make_code(end, FRAME);
    volatile uintptr_t words[] = {0,
                                  1,
                                  UINTPTR_MAX,
                                  (uintptr_t)words,
                                  end,
                                  (uintptr_t)&sample,
                                  1,
                                  0x5000,
                                  (uintptr_t)1 << 47,
                                  0,
                                  ~((uintptr_t)1 << 47),
                                  0};

    (void)state;
    if (HAS_SANITIZER) {
        print_message("skipped: a sanitizer calls what a wrong frame pointer leads to poisoned\n");
        unmake_code(end);
        skip();
    }
    for (uintptr_t off = 0; off < PAGE; off++)
        for (int times = 0; times < 3; times++) {
            words[1] = off;
            go_deeper(code, off, times);
            ld_free(sample.block);
        }
    unmake_code(end);
}

/* Runs the code on a stack of its own, of which there is so much above the code's frame. */
static SITE void run_on(char *stack, code_fn *code, unload_call_fn *call, uintptr_t off)
{
    __asm__ volatile("mov %%rsp, %%rbx\n\t"
                     "mov %0, %%rsp\n\t"
                     "call *%1\n\t"
                     "mov %%rbx, %%rsp"
                     : "+r"(stack), "+r"(code), "+D"(call), "+S"(off)
                     :
                     : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "memory", "cc");
}

/* Where BP points to its last word, or beyond it. */
static void beyond_the_end_of_the_stack_nothing_is_read(void **state)
{
    enum { PAGES = 64, ABOVE = 64, SAVED_AT = ABOVE + 16 };
    uintptr_t end = any_place();
    code_fn *code = make_code(end, FRAME);
    char *stack = mmap(NULL, (PAGES + 1) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)state;
    assert_true(stack != MAP_FAILED);
    assert_int_equal(mprotect(stack + PAGES * PAGE, PAGE, PROT_NONE), 0);
    for (uintptr_t off = SAVED_AT - 8; off < SAVED_AT + PAGE; off += 8) {
        run_on(stack + PAGES * PAGE - ABOVE, code, allocate, off);
        check_ended(end);
    }
    assert_int_equal(munmap(stack, (PAGES + 1) * PAGE), 0);
    unmake_code(end);
}

/* unw_backtrace, with which the checking build compares, does not survive this. */
#if !LD_CHECK_UNWIND

static char *page_above;

static SITE void allocate_often(void)
{
    for (int i = 0; i < 20; i++) {
        if (i == 10)
            REQUIRE(munmap(page_above, PAGE) == 0);
        ld_free(ld_malloc(1337));
    }
}

/* What BP points to, above the stack, is data that the code has no need of any more. */
static void what_a_guess_led_to_may_be_unmapped(void **state)
{
    enum { PAGES = 64, ABOVE = 64 };
    uintptr_t end = any_place();
    code_fn *code = make_code(end, FRAME);
    char *stack = mmap(NULL, (PAGES + 1) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)state;
    assert_true(stack != MAP_FAILED);
    page_above = stack + PAGES * PAGE;
    run_on(page_above - ABOVE, code, allocate_often, PAGE / 2);
    assert_int_equal(munmap(stack, PAGES * PAGE), 0);
    unmake_code(end);
}

#endif

/* --- Wrong guesses ------------------------------------------------------------------------------------- */

/* Calls call() on another stack, from its first word down, with BP pointing to that word, too. */
typedef void switch_fn(unload_call_fn *call, void *stack);

static switch_fn *make_switch(uintptr_t at)
{
    static const unsigned char code[] = {
        0x53, 0x55,       /* push %rbx; push %rbp */
        0x48, 0x89, 0xe3, /* mov %rsp, %rbx */
        0x48, 0x89, 0xf4, /* mov %rsi, %rsp */
        0x48, 0x89, 0xf5, /* mov %rsi, %rbp */
        0xff, 0xd7,       /* call *%rdi */
        0x48, 0x89, 0xdc, /* mov %rbx, %rsp */
        0x5d, 0x5b, 0xc3, /* pop %rbp; pop %rbx; ret */
    };
    void *start = (void *)at;
    switch_fn *made;

    put(start, code, sizeof(code));
    memcpy(&made, &start, sizeof(made));
    return made;
}

enum { STACK_PAGES = 64 };

/* With nothing above it for a while.  Returns where it ends. */
static char *make_stack(void)
{
    char *stack =
        mmap(NULL, 2 * STACK_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    REQUIRE(stack != MAP_FAILED);
    stack += STACK_PAGES * PAGE;
    REQUIRE(mprotect(stack, STACK_PAGES * PAGE, PROT_NONE) == 0);
    return stack;
}

static void unmake_stack(char *end)
{
    REQUIRE(munmap(end - STACK_PAGES * PAGE, 2 * STACK_PAGES * PAGE) == 0);
}

static const void *a_return_address; /* as it is left over in memory */

static SITE void note(void)
{
    a_return_address = __builtin_return_address(0);
    __asm__ volatile("" ::: "memory");
}

static SITE void allocate_and_note(void)
{
    a_return_address = __builtin_return_address(0);
    ld_free(ld_malloc(1337));
}

static SITE void allocate_in_large_frame(void)
{
    volatile char room[100000];

    room[0] = 0;
    allocate_and_note();
    room[1] = room[0];
}

/* The caller of these counts from BP. */
static SITE void call_from_bp(size_t size, unload_call_fn *call)
{
    volatile char *room = __builtin_alloca(size);

    room[0] = 0;
    call();
    room[1] = room[0];
}

static void nothing_is_read_above_the_stack(void **state)
{
    uintptr_t at = any_place();
    switch_fn *through = make_switch(at);
    char *end = make_stack();
    uintptr_t *left_over = (uintptr_t *)(end - 64);

    (void)state;
    for (int i = 0; i < 5; i++) {
        struct snapshot record;

        through(allocate, end);
        REQUIRE(find_block(sample.block, &record) && record.frame_count == 2);
        ld_free(sample.block);
    }
    allocate_in_large_frame();
    left_over[1] = (uintptr_t)a_return_address;
    for (int i = 0; i < 5; i++) {
        through(allocate, left_over);
        ld_free(sample.block);
    }
    unmake_stack(end);
    unmake_code(at);
}

static void a_frame_that_was_made_up_teaches_nothing(void **state)
{
    uintptr_t at = any_place();
    switch_fn *through = make_switch(at);
    char *end = make_stack();
    uintptr_t *left_over = (uintptr_t *)(end - 1024);
    size_t asked_before;

    (void)state;
    call_from_bp(100, note);
    left_over[1] = (uintptr_t)a_return_address;
    through(allocate, left_over);
    ld_free(sample.block);
    asked_before = stats_now().asked_stacks;
    for (size_t i = 0; i < TIMES; i++)
        call_from_bp(100 + i % 7, allocate_and_note);
    assert_int_equal(stats_now().asked_stacks, asked_before);
    unmake_stack(end);
    unmake_code(at);
}

/* --- In the place of a library ------------------------------------------------------------------------- */

static SITE void go_through_library(unload_through_fn *through)
{
    sample.outer_depth = WALK_HERE(sample.outer, LD_MAX_FRAMES);
    through(allocate);
    __asm__ volatile("" ::: "memory");
}

/* The library has two frames of its own.  Returns where the inner one's call ends. */
static uintptr_t check_library(void)
{
    struct snapshot record;

    REQUIRE(find_block(sample.block, &record));
    REQUIRE(record.frame_count == sample.outer_depth + 3);
    for (size_t i = 1; i < sample.outer_depth; i++)
        REQUIRE(record.frames[i + 3] == sample.outer[i]);
    ld_free(sample.block);
    return (uintptr_t)record.frames[1];
}

static void what_takes_the_place_of_the_other_is_seen(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        unload_through_fn *through;
        void *library = open_unloadable("unload_small.so", &through);
        uintptr_t end;

        go_through_library(through);
        end = check_library();
        REQUIRE(dlclose(library) == 0);
        go_through(make_code(end, FRAME), 0);
        check_whole(end);
        unmake_code(end);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_keeps_a_frame_pointer_is_walked_through),
        cmocka_unit_test(where_it_points_elsewhere_the_stack_ends),
        cmocka_unit_test(frames_are_believed_up_to_16_KiB),
        cmocka_unit_test(it_may_point_to_anything),
        cmocka_unit_test(beyond_the_end_of_the_stack_nothing_is_read),
#if !LD_CHECK_UNWIND
        cmocka_unit_test(what_a_guess_led_to_may_be_unmapped),
#endif
        cmocka_unit_test(nothing_is_read_above_the_stack),
        cmocka_unit_test(a_frame_that_was_made_up_teaches_nothing),
        cmocka_unit_test(what_takes_the_place_of_the_other_is_seen),
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
