/* SPDX-License-Identifier: MIT
 *
 * Looking for lost blocks: who may ask, what is asked of each room, and what becomes of the answer.
 * docs/design.md has the order of events.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "leakdetect.h"

/* The flag of a record whose block is not lost even if nothing points to it: it was given to ld_ignore, or
 * made by a thread that was disabled. */
#define CHECK_IGNORED 8u

struct check_options {
    bool no_globals, no_tls, no_registers, no_stacks; /* that are not roots */
    bool is_strict;                                   /* what looks dead holds nothing, but is noted */
    bool are_unaligned;                               /* pointers may be at any address */
    bool keeps_pages;                                 /* nothing is moved into huge ones (collapse.h) */
    bool counts_mapped; /* memory that the program has mapped itself is a root: where that is not known,
                          nothing is */
};

/* Called once, at the start of the program. */
void check_init(void);

/* For all later checks. */
void check_set_options(const struct check_options *options);

/* Where the caller of this library had its pointers: in the registers that a call keeps, and on the stack
 * above. Nothing else may be in this part of the stack, since what earlier calls have left in its place would
 * be taken for the caller's; so the entry points that look are not left to a compiler. */
struct check_caller {
    uintptr_t registers[6]; /* in the order of struct unwind_frame */
    uintptr_t zero; /* keeps the stack aligned at the call; cleared, since what lies there would count */
    uintptr_t pc;   /* where it goes on; its stack begins above */
};

#if defined(__x86_64__)
#define CHECK_CAN_LOOK    1
#define CHECK_FROM_CALLER __attribute__((naked, noinline))
#define CHECK_UNUSED      __attribute__((unused))
/* Calls the function with one more argument, in the register: a pointer to struct check_caller. */
#define CHECK_FROM_HERE(function, register)                                                                  \
    __asm__(                                                                                                 \
        "sub $56, %%rsp\n\t.cfi_adjust_cfa_offset 56\n\t"                                                    \
        "mov %%rbx, (%%rsp)\n\tmov %%rbp, 8(%%rsp)\n\tmov %%r12, 16(%%rsp)\n\t"                              \
        "mov %%r13, 24(%%rsp)\n\tmov %%r14, 32(%%rsp)\n\tmov %%r15, 40(%%rsp)\n\t"                           \
        "movq $0, 48(%%rsp)\n\tmov %%rsp, %%" register "\n\tcall %P0\n\t"                                    \
                                                       "add $56, %%rsp\n\t.cfi_adjust_cfa_offset -56\n\tret" \
        :                                                                                                    \
        : "i"(function))
#else
#define CHECK_CAN_LOOK 0 /* neither these registers nor thread-local storage are found */
#endif

/* As ld_check, but writes nothing unless a definitely lost block is to be reported, as *definite says.
 * is_ending: it is the end of the program, and nothing returns to the calling thread's functions any more. */
int check_report(int fd, const struct ld_report_options *options, const struct check_caller *caller,
                 bool is_ending, bool *definite);

void check_after_fork(void);

size_t check_own_bytes(void);

#endif
