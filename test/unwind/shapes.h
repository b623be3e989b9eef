/* SPDX-License-Identifier: MIT
 *
 * Shapes of code and of stacks that are hard to unwind, for `make check-unwind`.  Each allocates in all the
 * places that it can think of; the checking build of the library (LD_CHECK_UNWIND) compares the stacks and
 * aborts if one is wrong.  The same sources are compiled with each compiler, at each level of optimisation,
 * with and without frame pointers.
 */
#ifndef SHAPES_H
#define SHAPES_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "leakdetect.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Every shape, by the function shape_NAME(void). */
#define SHAPES(X)               \
    X(alloca_and_vla)           \
    X(realigned_frames)         \
    X(large_frames)             \
    X(stack_arguments)          \
    X(tail_calls)               \
    X(callbacks_of_libc)        \
    X(general_rbp)              \
    X(deep_recursion)           \
    X(up_and_down)              \
    X(same_depth_other_way)     \
    X(longjmp_out)              \
    X(throw_and_catch)          \
    X(signal_handlers)          \
    X(signal_stacks)            \
    X(signal_to_elsewhere)      \
    X(coroutines)               \
    X(coroutines_in_handlers)   \
    X(stacks_at_the_edge)       \
    X(stacks_remapped)          \
    X(threads_come_and_go)      \
    X(smallest_threads)         \
    X(forks)                    \
    X(cloned_stacks)            \
    X(puppets)                  \
    X(puppets_at_the_edge)      \
    X(code_without_information) \
    X(code_made_at_run_time)    \
    X(other_library_same_place)

#define SITE __attribute__((noinline))

/* What must hold, in any thread or child. */
#define REQUIRE(condition) ((condition) ? (void)0 : shape_failed(__FILE__, __LINE__, #condition))
__attribute__((noreturn)) void shape_failed(const char *file, int line, const char *condition);

/* One block comes and goes. */
int probe(void);

/* Keeps a call from becoming a jump, and a value from being known. */
static inline int opaque(int value)
{
    __asm__ volatile("" : "+r"(value) : : "memory");
    return value;
}

/* xorshift; one sequence for each process. */
uint32_t random_number(void);
static inline uint32_t random_below(uint32_t limit)
{
    return random_number() % limit;
}

/* How often to do what was meant to be done so often: SHAPES_SCALE, in per cent. */
int scaled(int count);

/* Pages between two that must not be touched. */
char *guarded_pages(size_t size);
void give_back_guarded(char *pages, size_t size);

/* Where the test's program and libraries are. */
const char *beside_program(const char *name);

/* --- asm.S ---------------------------------------------------------------------------------------------- */

typedef int function_fn(void);

/* Call function with `value` in RBP, which no frame pointer is. */
int through_general_rbp(function_fn *function, uintptr_t value);

/* The same without unwind information: a frame with RBP untouched, one with a frame pointer, and one with
 * `value` in RBP. */
int through_nothing(function_fn *function);
int through_nothing_with_frame_pointer(function_fn *function);
int through_nothing_with_rbp(function_fn *function, uintptr_t value);

/* Saves the registers that a callee must keep and goes on where `to` was left. */
void switch_stacks(void **from, void *to);
/* What a new stack begins with: calls the function in R12.  The return address of the first is unknown, that
 * of the second is the word at its stack pointer. */
extern const char bottom_ends[], bottom_returns[];

/* Calls function on a stack that was made up: its innermost return address is at sp. */
int puppet_enter(const void *sp, const void *bp, function_fn *function);

/* The kinds of frame that such a stack is made of. */
struct puppet {
    const void *pc;
    uint32_t from_bp;   /* CFA = BP + size rather than SP + size */
    uint32_t size;      /* bytes; with from_bp, too */
    uint32_t saved_bp;  /* bytes from there up to the CFA; 0: BP is left alone */
    uint32_t is_loaded; /* CFA is the word at BP - 8 */
};
extern const struct puppet puppet_kinds[];
extern const uint64_t puppet_kind_count;
extern const char puppet_end[];

#ifdef __cplusplus
}
#endif

#endif
