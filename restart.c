/* SPDX-License-Identifier: MIT
 *
 * Restarting system calls: see restart.h.
 */
#define _GNU_SOURCE /* REG_RIP */
#include "restart.h"

#if defined(__x86_64__)

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>

#include "platform.h"

enum { SIGNALS = 64 };
#define C_LIBRARYS (bit(32) | bit(33)) /* and this library's */

static inline uint64_t bit(int number)
{
    return UINT64_C(1) << (number - 1);
}

/* The number of the call that was interrupted; -1: none was, or it cannot be told.  By what the C library's
 * functions look like there (glibc's, up to 2.40): mov $number, %eax; syscall, and perhaps a register is
 * fetched from the stack in between, mov displacement(%rsp), %edi. */
static READS_FRAMES int interrupted_call(const greg_t *registers)
{
    enum { SYSCALL = 2, FETCH = 4, NUMBER = 5 };
    uintptr_t pc = (uintptr_t)registers[REG_RIP];
    const volatile uint8_t *code = (const volatile uint8_t *)pc - SYSCALL;
    unsigned number = 0;

    if (registers[REG_RAX] != -EINTR || pc % platform_page_size() < SYSCALL + FETCH + NUMBER)
        return -1;
    if (code[0] != 0x0f || code[1] != 0x05)
        return -1;
    if (code[-FETCH] == 0x8b && code[1 - FETCH] == 0x7c && code[2 - FETCH] == 0x24)
        code -= FETCH;
    if (code[-NUMBER] != 0xb8)
        return -1;
    for (int i = 1; i < NUMBER; i++)
        number = number << 8 | code[-i];
    return (int)number;
}

/* Whether this call, with these arguments, waits as long as it would have when it begins anew. */
static bool waits_as_long(int call, const greg_t *registers)
{
    switch (call) {
    case SYS_poll:
        return (int)registers[REG_RDX] < 0;
    case SYS_epoll_wait:
    case SYS_epoll_pwait:
        return (int)registers[REG_R10] < 0;
    case SYS_rt_sigtimedwait:
        return registers[REG_RDX] == 0;
    case SYS_semtimedop:
        return registers[REG_R10] == 0;
    case SYS_clock_nanosleep: /* until a moment, or what is left is written where it is read from */
        return (registers[REG_RSI] & TIMER_ABSTIME) != 0 || registers[REG_RDX] == registers[REG_R10];
    case SYS_nanosleep:
        return registers[REG_RDI] == registers[REG_RSI];
    case SYS_select: /* what is left is written where it is read from */
    case SYS_pselect6:
    case SYS_ppoll:
    case SYS_pause:
    case SYS_rt_sigsuspend:
    case SYS_semop:
    case SYS_msgsnd:
    case SYS_msgrcv:
        return true;
    default:
        return false;
    }
}

static kernel_handler_fn *_Atomic own_handler;

void restart_know_handler(kernel_handler_fn *handler)
{
    atomic_store_explicit(&own_handler, handler, memory_order_relaxed);
}

/* Whether a handler of the program's may have interrupted the call as well, which cannot be seen when it has
 * returned: then the call has to fail.  Those of errors are none that return to a call. */
static bool has_program_handlers(void)
{
    const uint64_t errors =
        bit(SIGSEGV) | bit(SIGBUS) | bit(SIGILL) | bit(SIGFPE) | bit(SIGTRAP) | bit(SIGABRT) | bit(SIGSYS);
    kernel_handler_fn *own = atomic_load_explicit(&own_handler, memory_order_relaxed);

    for (int number = 1; number <= SIGNALS; number++) {
        struct kernel_action action;

        if (((errors | C_LIBRARYS) & bit(number)) != 0 || kernel_set_action(number, NULL, &action) != 0)
            continue;
        if (action.handler != NULL && (uintptr_t)action.handler != (uintptr_t)SIG_IGN &&
            action.handler != own)
            return true;
    }
    return false;
}

void restart_call(void *context)
{
    enum { SYSCALL = 2 };
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    int call = interrupted_call(registers);

    if (call < 0 || !waits_as_long(call, registers) || platform_is_filtered() || has_program_handlers())
        return;
    registers[REG_RIP] -= SYSCALL;
    registers[REG_RAX] = call;
}

#else

void restart_call(void *context)
{
    (void)context;
}

void restart_know_handler(kernel_handler_fn *handler)
{
    (void)handler;
}

#endif
