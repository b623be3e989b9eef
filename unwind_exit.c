/* SPDX-License-Identifier: MIT
 *
 * Who has called exit.  The C library calls the handlers of exit from exit itself or from one function of its
 * own, which nothing else calls: so exit is one step away or none, and no frame of the program's can lie in
 * between.  Each step is taken by what is written of the code, or not at all: where that is missing libunwind
 * would guess.
 *
 * exit is known by its address.  In a program that has an exit of its own, or that is not
 * position-independent and takes the address itself, that is another one: then nothing is found.
 */
#define _GNU_SOURCE /* REG_RIP */
#define UNW_LOCAL_ONLY
#include "unwind.h"

#include "platform.h"
#include "thread.h"

#if defined(__x86_64__)

#include <libunwind.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 2 };

static const struct {
    int number; /* in a context */
    unw_regnum_t name;
} registers[] = {
    {REG_RBX, UNW_X86_64_RBX}, {REG_RBP, UNW_X86_64_RBP}, {REG_R12, UNW_X86_64_R12},
    {REG_R13, UNW_X86_64_R13}, {REG_R14, UNW_X86_64_R14}, {REG_R15, UNW_X86_64_R15},
};

enum { KEPT = sizeof(registers) / sizeof(registers[0]) };

static bool read_frame(unw_cursor_t *cursor, struct unwind_frame *frame)
{
    unw_word_t word;

    if (unw_get_reg(cursor, UNW_REG_IP, &word) != 0)
        return false;
    frame->pc = (uintptr_t)word;
    if (unw_get_reg(cursor, UNW_REG_SP, &word) != 0)
        return false;
    frame->sp = (uintptr_t)word;
    for (size_t i = 0; i < KEPT; i++) {
        if (unw_get_reg(cursor, registers[i].name, &word) != 0)
            return false;
        frame->kept[i] = (uintptr_t)word;
    }
    return true;
}

static bool climb(const struct unwind_frame *from, struct unwind_frame *to)
{
    unw_context_t context;
    unw_cursor_t cursor;
    bool has_left = false;

    memset(&context, 0, sizeof(context));
    context.uc_mcontext.gregs[REG_RIP] = (greg_t)from->pc;
    context.uc_mcontext.gregs[REG_RSP] = (greg_t)from->sp;
    for (size_t i = 0; i < KEPT; i++)
        context.uc_mcontext.gregs[registers[i].number] = (greg_t)from->kept[i];
    if (unw_init_local(&cursor, &context) != 0)
        return false;
    for (int i = 0; i < STEPS && !has_left; i++) {
        unw_proc_info_t info;

        /* Of what is not known it is said that it is one byte long. */
        if (unw_get_proc_info(&cursor, &info) != 0 || info.end_ip - info.start_ip <= 1)
            return false;
        has_left = info.start_ip == (unw_word_t)(uintptr_t)exit;
        if (unw_step(&cursor) <= 0)
            return false;
    }
    return has_left && read_frame(&cursor, to) && to->sp > from->sp;
}

bool unwind_leave_exit(struct unwind_frame *frame)
{
    struct thread_entry entry = thread_enter(FRAME_ADDRESS());
    struct unwind_frame found = {0};
    uint32_t inside;
    bool has_left = false;

    if (entry.share == NULL)
        return false;
    /* Not if a signal handler has interrupted libunwind, and then ended the program. */
    if (thread_unwind_enter(entry.share, entry.level, &inside)) {
        has_left = inside == 0 && unwind_can_ask() && climb(frame, &found);
        thread_unwind_leave(entry.share, entry.level);
    }
    thread_leave(entry);
    if (has_left)
        *frame = found;
    return has_left;
}

#else

bool unwind_leave_exit(struct unwind_frame *frame)
{
    (void)frame;
    return false;
}

#endif
