/* SPDX-License-Identifier: MIT
 *
 * Frames of odd sizes and layouts, and the ways in which the same frames come again in other company.
 */
#define _GNU_SOURCE
#include "shapes.h"

#include <alloca.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

/* --- Sizes ---------------------------------------------------------------------------------------------- */

static SITE int in_alloca(size_t size, int depth)
{
    char *text = alloca(size);

    memset(text, depth, size);
    probe();
    if (depth > 0)
        probe();
    return (depth > 0 ? in_alloca(1 + random_below(3000), depth - 1) : probe()) + opaque(text[0]);
}

static SITE int in_array(size_t size, int depth)
{
    int sum = 0;

    for (size_t i = 1; i <= size; i *= 3) {
        volatile char array[i];

        array[0] = array[i - 1] = 1;
        sum += probe() + array[0];
    }
    return (depth > 0 ? in_alloca(size, 0) + in_array(1 + random_below(3000), depth - 1) : probe()) + sum;
}

void shape_alloca_and_vla(void)
{
    for (int i = 0; i < scaled(1500); i++)
        in_alloca(1 + random_below(100), 6) + in_array(1 + random_below(100), 6);
}

/* Compilers reach such a frame's caller by a pointer that they keep in it. */
static SITE int aligned_to_64(int depth, int unused)
{
    __attribute__((aligned(64))) volatile char here[64 + 8];

    here[0] = (char)unused;
    REQUIRE((uintptr_t)here % 64 == 0);
    probe();
    return depth > 0 ? aligned_to_64(depth - 1, unused) + probe() : probe();
}

static SITE int aligned_to_4096(size_t size, int depth)
{
    __attribute__((aligned(4096))) volatile char here[64];
    char *there = alloca(size);

    here[0] = there[0] = 1;
    REQUIRE((uintptr_t)here % 4096 == 0);
    probe();
    return (depth > 0 ? aligned_to_64(depth - 1, 1) : probe()) + opaque(there[0]);
}

__attribute__((force_align_arg_pointer)) SITE int realigns_itself(int depth)
{
    probe();
    return depth > 0 ? realigns_itself(depth - 1) + aligned_to_4096(random_below(500) + 1, 3) : probe();
}

typedef float eight __attribute__((vector_size(32)));

__attribute__((target("avx"))) SITE int with_vectors(int depth, float value)
{
    volatile eight vectors[4];

    for (int i = 0; i < 4; i++)
        vectors[i] = (eight){value, value, value, value};
    probe();
    return (depth > 0 ? with_vectors(depth - 1, value) + realigns_itself(1) : probe()) + (int)vectors[3][0];
}

void shape_realigned_frames(void)
{
    for (int i = 0; i < scaled(1000); i++) {
        realigns_itself(3);
        aligned_to_64(3, i);
        if (__builtin_cpu_supports("avx"))
            with_vectors(4, 1);
    }
}

static void *on_large_stack(void *function)
{
    ((void (*)(void))(uintptr_t)function)();
    return NULL;
}

static void with_large_stack(void (*function)(void))
{
    size_t size = (size_t)1 << 30;
    void *stack =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    pthread_attr_t attributes;
    pthread_t thread;

    REQUIRE(stack != MAP_FAILED);
    REQUIRE(pthread_attr_init(&attributes) == 0 && pthread_attr_setstack(&attributes, stack, size) == 0);
    REQUIRE(pthread_create(&thread, &attributes, on_large_stack, (void *)(uintptr_t)function) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    munmap(stack, size);
}

#define DEFINE_LARGE(size)                                                 \
    static SITE int large_##size(int depth)                                \
    {                                                                      \
        volatile char array[size];                                         \
                                                                           \
        array[0] = array[size - 1] = (char)depth;                          \
        probe();                                                           \
        return (depth > 0 ? large_##size(depth - 1) : probe()) + array[0]; \
    }

DEFINE_LARGE(3000)
DEFINE_LARGE(4090)
DEFINE_LARGE(5000)
DEFINE_LARGE(100000)
DEFINE_LARGE(1000000)
DEFINE_LARGE(80000000)

static void large_frames(void)
{
    for (int i = 0; i < scaled(2000); i++) {
        large_3000(3) + large_4090(2) + large_5000(2);
        large_100000(2) + large_1000000(3) + large_80000000(2);
    }
}

void shape_large_frames(void)
{
    with_large_stack(large_frames);
}

/* --- Calls ---------------------------------------------------------------------------------------------- */

struct parcel {
    int words[40];
};

static SITE struct parcel pass_parcel(struct parcel parcel, int depth)
{
    parcel.words[depth] += probe();
    return depth > 0 ? pass_parcel(parcel, depth - 1) : parcel;
}

static SITE int nine(int a, int b, int c, int d, int e, int f, int g, int h, int i)
{
    return a + b + c + d + e + f + g + h + i + probe();
}

static SITE int any_number(int count, ...)
{
    va_list list;
    int sum = 0;

    va_start(list, count);
    while (count-- > 0)
        sum += va_arg(list, int) + probe();
    va_end(list);
    return sum;
}

void shape_stack_arguments(void)
{
    for (int i = 0; i < scaled(2000); i++) {
        struct parcel parcel = {{0}};

        parcel = pass_parcel(parcel, 10);
        REQUIRE(parcel.words[3] == 1);
        /* Allocations while other arguments are already on the stack. */
        opaque(nine(1, 2, 3, 4, 5, 6, 7, probe(), nine(1, 2, 3, 4, 5, 6, probe(), 8, probe())));
        opaque(any_number(9, 1, 2, 3, probe(), 5, 6, 7, 8, nine(1, 2, 3, 4, 5, 6, 7, probe(), probe())));
    }
}

/* Who calls by a jump is not on the stack: from the same place in `tail`, the stack pointer the same, come
 * stacks that differ in nothing but one return address further out. */
typedef int tail_fn(function_fn *function);

static SITE int tail(function_fn *function)
{
    return function();
}

static SITE int tail_of_tail(function_fn *function)
{
    return tail(function);
}

#define DEFINE_TWIN(name)                                           \
    static SITE int twin_##name(tail_fn *by, function_fn *function) \
    {                                                               \
        return by(function) + opaque(1);                            \
    }

DEFINE_TWIN(a)
DEFINE_TWIN(b)
DEFINE_TWIN(c)

static SITE int twice(tail_fn *by, function_fn *function)
{
    return twin_a(by, function) + twin_b(by, function) + twin_c(by, function);
}

void shape_tail_calls(void)
{
    static int (*const twins[])(tail_fn * by, function_fn * function) = {twin_a, twin_b, twin_c, twice};

    for (int i = 0; i < scaled(50000); i++)
        twins[random_below(4)](random_below(2) ? tail : tail_of_tail, probe);
}

static int compare(const void *a, const void *b)
{
    probe();
    return *(const int *)a - *(const int *)b;
}

void shape_callbacks_of_libc(void)
{
    for (int i = 0; i < scaled(300); i++) {
        int numbers[100];

        for (int k = 0; k < 100; k++)
            numbers[k] = (int)random_below(1000);
        qsort(numbers, 100, sizeof(numbers[0]), compare);
        bsearch(&numbers[50], numbers, 100, sizeof(numbers[0]), compare);
    }
}

static int nested_rbp(void)
{
    return probe() + through_general_rbp(probe, random_number()) + through_general_rbp(probe, 0) + probe();
}

void shape_general_rbp(void)
{
    static char far_away[64];
    char *trap = guarded_pages(4096);

    for (int i = 0; i < scaled(10000); i++) {
        through_general_rbp(probe, 0);
        through_general_rbp(probe, (uintptr_t)far_away);
        through_general_rbp(probe, (uintptr_t)&trap);
        through_general_rbp(probe, (uintptr_t)trap - 16);
        through_general_rbp(probe, UINTPTR_MAX);
        through_general_rbp(probe, (uintptr_t)&trap - random_below(4000));
        through_general_rbp(nested_rbp, random_number());
    }
    give_back_guarded(trap, 4096);
}

/* --- Depth ---------------------------------------------------------------------------------------------- */

static SITE int descend(int depth)
{
    int sum = probe();

    if (depth > 0)
        sum += descend(depth - 1);
    return sum + probe();
}

static void descend_far(void)
{
    for (int i = 0; i < scaled(3); i++)
        REQUIRE(descend(100000) == 200002);
}

void shape_deep_recursion(void)
{
    with_large_stack(descend_far);
}

static SITE int wander_a(int depth);

static SITE int wander_b(int depth)
{
    int sum = 0;

    for (int i = (int)random_below(4); i > 0; i--)
        sum += depth > 0 ? wander_a(depth - 1) : probe();
    return sum + probe();
}

static SITE int wander_a(int depth)
{
    int sum = probe();

    if (depth > 0 && random_below(10) != 0)
        sum += random_below(2) ? wander_b(depth - 1) : through_general_rbp(probe, (uintptr_t)depth);
    for (int i = (int)random_below(3); i > 0; i--)
        sum += depth > 0 ? wander_b(depth - 1) + probe() : probe();
    return sum;
}

void shape_up_and_down(void)
{
    for (int i = 0; i < scaled(300); i++)
        wander_a(25);
}

/* Two ways of the same size to the same place: which one it was stands nowhere but in between. */
static SITE int fork_in_the_road(int depth, uint32_t ways)
{
    int sum;

    if (depth == 0)
        return probe();
    if (ways & 1)
        sum = fork_in_the_road(depth - 1, ways >> 1);
    else
        sum = fork_in_the_road(depth - 1, ways >> 1) + opaque(1);
    return sum + opaque(1);
}

void shape_same_depth_other_way(void)
{
    uint32_t ways = random_number();

    for (int i = 0; i < scaled(100000); i++) {
        if (random_below(20) == 0)
            ways = random_number();
        else
            ways ^= UINT32_C(1) << random_below(32);
        fork_in_the_road(16 + (int)random_below(4) * 8, ways);
    }
}

/* --- Leaving ------------------------------------------------------------------------------------------- */

static jmp_buf out;

static SITE int descend_and_jump(int depth)
{
    probe();
    if (depth == 0)
        longjmp(out, 1);
    return (random_below(2) ? descend_and_jump(depth - 1)
                            : twin_a(tail, probe) + descend_and_jump(depth - 1)) +
           probe();
}

void shape_longjmp_out(void)
{
    for (volatile int i = 0; i < scaled(20000); i++) {
        if (setjmp(out) == 0)
            descend_and_jump((int)random_below(30));
        probe();
    }
}
