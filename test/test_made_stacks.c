/* SPDX-License-Identifier: MIT
 *
 * Stacks that programs make themselves, as libraries of coroutines do.  One may begin with the address of a
 * function that must not be returned to (libcoro, libco), or with what was there before (greenlet); BP may
 * point anywhere; a stack may go on on another one (Rust's psm).  Nothing is read there that is not to be
 * read, no frame is made up, and libunwind, which takes a thousand times as long, is not asked.
 */
#define _GNU_SOURCE
#include "test_support.h"

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#if defined(__x86_64__)

enum { PAGE = 4096, STACK = 256 * 1024, WALK_MAX = 512, TIMES = 100 };

/* run_on(sp, function, bp): jumps to the function with SP and BP there; leave() comes back from it. */
void run_on(uintptr_t *sp, void (*function)(void), uintptr_t bp);
_Noreturn void leave(void);

/* Addresses after a call that does not return, at the end of a function whose CFA is counted from SP, or from
 * BP.  That of neither function is ever called. */
void after_call(void);
void after_call_with_bp(void);

/* Calls the function, with BP anywhere, although it is by BP that its own frame is found. */
void call_with_bp(void (*function)(void), uintptr_t bp);

/* Calls the function on the stack that ends there. */
void call_on(void *stack_end, void (*function)(void *), void *argument);

#define FUNCTION(name) ".globl " name "\n.type " name ", %function\n" name ":\n.cfi_startproc\n"
#define END(name)      ".cfi_endproc\n.size " name ", . - " name "\n"
#define WITH_BP                                                                  \
    "push %rbp\n.cfi_def_cfa_offset 16\n.cfi_offset %rbp, -16\nmov %rsp, %rbp\n" \
    ".cfi_def_cfa_register %rbp\n"

/* clang-format off */
__asm__(".bss\nsaved: .quad 0\n.text\n"
        FUNCTION("run_on")
        "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\nmov %rsp, saved(%rip)\n"
        "mov %rdi, %rsp\nmov %rdx, %rbp\njmp *%rsi\n"
        END("run_on")
        FUNCTION("leave")
        "mov saved(%rip), %rsp\npop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n"
        END("leave")
        FUNCTION("before_it")
        "sub $24, %rsp\n.cfi_adjust_cfa_offset 24\ncall abort@PLT\n"
        END("before_it")
        FUNCTION("after_call")
        "ud2\n"
        END("after_call")
        FUNCTION("before_it_with_bp")
        WITH_BP "call abort@PLT\n"
        END("before_it_with_bp")
        FUNCTION("after_call_with_bp")
        "ud2\n"
        END("after_call_with_bp")
        FUNCTION("call_with_bp")
        WITH_BP "push %rbx\n.cfi_offset %rbx, -24\nmov %rsp, %rbx\nsub $8, %rsp\nmov %rsi, %rbp\ncall *%rdi\n"
        "mov %rbx, %rsp\npop %rbx\npop %rbp\n.cfi_def_cfa %rsp, 8\nret\n"
        END("call_with_bp")
        FUNCTION("call_on")
        WITH_BP "mov %rdi, %rsp\nmov %rdx, %rdi\ncall *%rsi\nmov %rbp, %rsp\npop %rbp\n.cfi_def_cfa %rsp, 8\nret\n"
        END("call_on"));
/* clang-format on */

/* Sanitizers want to know of each stack; and libunwind reads without a look, where it is asked. */
enum { IS_LEFT_OUT = HAS_SANITIZER || !LD_UNWIND_RULES, IS_COMPARED = IS_LEFT_OUT || LD_CHECK_UNWIND };

/* --- Stacks that end ------------------------------------------------------------------------------------ */

static struct snapshot record;

static SITE void take(void)
{
    void *block = ld_malloc(1337);

    REQUIRE(find_block(block, &record));
    ld_free(block);
}

/* A stack of one function, which was not called. */
static void take_and_leave(void)
{
    take();
    leave();
}

/* The record is of take, of the function that has called it, and of that address, if any. */
static void require_stack(uintptr_t last)
{
    REQUIRE(record.frame_count == (last == 0 ? 2 : 3));
    REQUIRE(last == 0 || (uintptr_t)record.frames[2] == last);
}

/* A stack between two pages that cannot be accessed, or, if its end is open, below one that is all this. */
static char *map_stack(bool is_open, uintptr_t beyond)
{
    char *start = mmap(NULL, STACK + 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *end = start + PAGE + STACK;

    REQUIRE(start != MAP_FAILED && mprotect(start, PAGE, PROT_NONE) == 0);
    for (size_t i = 0; i < PAGE / sizeof(beyond); i++)
        ((uintptr_t *)end)[i] = beyond;
    REQUIRE(is_open || mprotect(end, PAGE, PROT_NONE) == 0);
    return end;
}

static void unmap_stack(char *end)
{
    REQUIRE(munmap(end - STACK - PAGE, STACK + 2 * PAGE) == 0);
}

/* Takes stacks that begin with this address. */
static void begin_with(uintptr_t first, uintptr_t last, uintptr_t bp, bool is_open, uintptr_t beyond)
{
    char *end = map_stack(is_open, beyond);
    uintptr_t *sp = (uintptr_t *)end - 1;

    *sp = first;
    run_on(sp, take_and_leave, bp);
    require_stack(last);
    unmap_stack(end);
}

static const uintptr_t nothing[] = {
    0, 8, 0x123, 0x10008, UINT64_C(0x77d642047eb80b00), UINTPTR_MAX, UINTPTR_MAX - 7};

enum { NOTHING = sizeof(nothing) / sizeof(nothing[0]) };

static void one_may_begin_with_a_function_that_is_not_returned_to(void **state)
{
    size_t asked = stats_now().asked_stacks;
    char *far = map_stack(true, 0);

    (void)state;
    if (IS_COMPARED)
        return;
    for (size_t i = 0; i < TIMES; i++) {
        bool is_open = i % 3 != 1;
        uintptr_t beyond = i % 7 == 0 ? (uintptr_t)far : nothing[i % NOTHING];

        begin_with((uintptr_t)after_call, (uintptr_t)after_call, beyond, is_open, beyond);
        begin_with((uintptr_t)after_call_with_bp, (uintptr_t)after_call_with_bp, beyond, is_open, beyond);
    }
    unmap_stack(far);
    REQUIRE(stats_now().asked_stacks == asked);
}

/* BP still points to the stack of whoever has made this one, which is gone. */
static void what_bp_leads_to_may_be_gone(void **state)
{
    size_t asked = stats_now().asked_stacks;

    (void)state;
    if (IS_COMPARED)
        return;
    for (size_t i = 0; i < TIMES; i++) {
        char *higher = map_stack(true, (uintptr_t)abort + 8), *lower = map_stack(true, 0);

        if (i % 2 != 0)
            unmap_stack(higher);
        else
            REQUIRE(mprotect(higher - STACK, STACK, PROT_NONE) == 0);
        *((uintptr_t *)lower - 1) = (uintptr_t)after_call_with_bp;
        run_on((uintptr_t *)lower - 1, take_and_leave, (uintptr_t)higher - 64);
        require_stack((uintptr_t)after_call_with_bp);
        unmap_stack(lower);
        if (i % 2 == 0)
            unmap_stack(higher);
    }
    REQUIRE(stats_now().asked_stacks == asked);
}

static uintptr_t unreadable_bp;

static void take_with_unreadable_bp(void)
{
    call_with_bp(take, unreadable_bp);
    leave();
}

/* Nearby, where a frame could be; the first time, too, that the function is met. */
static void what_bp_points_to_may_be_unreadable(void **state)
{
    (void)state;
    if (IS_COMPARED)
        return;
    for (size_t i = 0; i < TIMES; i++) {
        char *higher = map_stack(false, 0), *lower = map_stack(true, 0);

        unreadable_bp = (uintptr_t)(i % 2 == 0 ? higher : higher - STACK - PAGE) + 64;
        run_on((uintptr_t *)lower - 1, take_with_unreadable_bp, 0);
        REQUIRE(record.frame_count == 2);
        unmap_stack(lower);
        unmap_stack(higher);
    }
}

/* What looked like the beginning of a stack has a caller the next time, at the same place. */
static void another_stack_may_lie_in_its_place(void **state)
{
    char *end = map_stack(false, 0);
    uintptr_t *sp = (uintptr_t *)end - 65;
    const void *call;

    (void)state;
    if (IS_COMPARED)
        return;
    call_with_bp(take, 0);
    call = record.frames[1];
    for (size_t i = 0; i < TIMES; i++) {
        bool has_caller = i % 3 == 2;

        memset(sp, 0, 64 * sizeof(*sp));
        sp[0] = (uintptr_t)after_call;
        sp[4] = has_caller ? (uintptr_t)call : nothing[i % NOTHING];
        run_on(sp, take_and_leave, 0);
        REQUIRE(record.frame_count == (has_caller ? 4 : 3));
        REQUIRE((uintptr_t)record.frames[2] == (uintptr_t)after_call);
        REQUIRE(!has_caller || record.frames[3] == call);
    }
    unmap_stack(end);
}

static void one_may_begin_with_anything(void **state)
{
    size_t asked = stats_now().asked_stacks;

    (void)state;
    if (IS_COMPARED)
        return;
    for (size_t i = 0; i < TIMES; i++)
        begin_with(nothing[i % NOTHING], 0, nothing[i / NOTHING % NOTHING], i % 2 != 0, nothing[i % 5]);
    REQUIRE(stats_now().asked_stacks == asked);
}

static void bp_may_be_anything(void **state)
{
    size_t asked = stats_now().asked_stacks;
    uintptr_t *block = ld_calloc(1, PAGE);

    (void)state;
    if (IS_COMPARED)
        return;
    for (size_t i = 0; i < TIMES; i++) {
        char here;

        call_with_bp(take, i % 4 == 0   ? (uintptr_t)block
                           : i % 4 == 1 ? (uintptr_t)&here - (uintptr_t)&here % 8 - 65536
                                        : nothing[i % NOTHING]);
        REQUIRE(record.frame_count == 2);
    }
    ld_free(block);
    REQUIRE(stats_now().asked_stacks == asked);
}

/* --- Stacks that go on ---------------------------------------------------------------------------------- */

struct sample {
    void *block;
    size_t depth;
    void *walk[WALK_MAX];
};

/* The record has the frames that another unwinder finds. */
static SITE void compare(void *unused)
{
    struct sample sample = {.block = ld_malloc(1337)};

    (void)unused;
    sample.depth = WALK_HERE(sample.walk, WALK_MAX);
    REQUIRE(find_block(sample.block, &record));
    REQUIRE(record.frame_count == sample.depth);
    for (size_t i = 1; i < sample.depth; i++)
        REQUIRE(record.frames[i] == sample.walk[i]);
    ld_free(sample.block);
}

static void call_on_next(void *stack_end)
{
    call_on(stack_end, compare, NULL);
}

/* From the program's stack to one that lies lower, or higher, and to another from there. */
static void one_may_go_on_on_another(void **state)
{
    char *stacks[] = {map_stack(false, 0), map_stack(false, 0)};
    size_t asked = 0;

    (void)state;
    if (IS_LEFT_OUT)
        return;
    for (size_t i = 0; i < TIMES; i++) {
        if (i == 10)
            asked = stats_now().asked_stacks;
        call_on(stacks[i % 2], compare, NULL);
        call_on(stacks[i % 2], call_on_next, stacks[1 - i % 2]);
    }
    REQUIRE(stats_now().asked_stacks == asked);
    unmap_stack(stacks[0]);
    unmap_stack(stacks[1]);
}

static jmp_buf end_of_loop;

/* A call that does not return, and so may be the last instruction of the caller. */
static SITE _Noreturn void loop(void)
{
    for (size_t i = 0; i < TIMES; i++)
        compare(NULL);
    longjmp(end_of_loop, 1);
}

static SITE void begin_loop(void)
{
    compare(NULL);
    loop();
}

static ucontext_t of_test, of_loop;

static void loop_in_context(void)
{
    if (setjmp(end_of_loop) == 0)
        begin_loop();
    swapcontext(&of_loop, &of_test);
}

static void a_call_may_be_the_last_instruction(void **state)
{
    size_t asked = stats_now().asked_stacks;
    char *end = map_stack(false, 0);

    (void)state;
    if (IS_LEFT_OUT)
        return;
    if (setjmp(end_of_loop) == 0)
        begin_loop();
    REQUIRE(getcontext(&of_loop) == 0);
    of_loop.uc_stack = (stack_t){.ss_sp = end - STACK, .ss_size = STACK};
    makecontext(&of_loop, loop_in_context, 0);
    REQUIRE(swapcontext(&of_test, &of_loop) == 0);
    REQUIRE(stats_now().asked_stacks == asked);
    unmap_stack(end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_bp_points_to_may_be_unreadable),
        cmocka_unit_test(one_may_go_on_on_another),
        cmocka_unit_test(a_call_may_be_the_last_instruction),
        cmocka_unit_test(one_may_begin_with_a_function_that_is_not_returned_to),
        cmocka_unit_test(what_bp_leads_to_may_be_gone),
        cmocka_unit_test(another_stack_may_lie_in_its_place),
        cmocka_unit_test(one_may_begin_with_anything),
        cmocka_unit_test(bp_may_be_anything),
    };

    test_deadline(120);
    ld_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    return 0;
}

#endif
