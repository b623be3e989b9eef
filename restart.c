/* SPDX-License-Identifier: MIT
 *
 * Restarting system calls: see restart.h.
 */
#define _GNU_SOURCE /* REG_RIP */
#include "restart.h"

#if defined(__x86_64__)

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>

#include "kernel.h"
#include "platform.h"

/* The number of the call that was interrupted; -1: none was, or it cannot be told.  By what the C library's
 * functions look like there: mov $number, %eax; syscall. */
static READS_FRAMES int interrupted_call(const greg_t *registers)
{
    enum { LENGTH = 7 };
    uintptr_t pc = (uintptr_t)registers[REG_RIP];
    const volatile uint8_t *code = (const volatile uint8_t *)(pc - LENGTH);
    unsigned number = 0;

    if (registers[REG_RAX] != -EINTR || pc % platform_page_size() < LENGTH)
        return -1;
    if (code[0] != 0xb8 || code[5] != 0x0f || code[6] != 0x05)
        return -1;
    for (int i = 4; i > 0; i--)
        number = number << 8 | code[i];
    return (int)number;
}

/* What is left of a time is where the kernel was asked to write it. */
static bool go_on_with(greg_t *time, greg_t left)
{
    if (left == 0)
        return false;
    *time = left;
    return true;
}

/* Whether this call, with these arguments, waits as long as it would have when it begins anew. */
static bool waits_as_long(int call, greg_t *registers)
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
    case SYS_clock_nanosleep:
        return (registers[REG_RSI] & TIMER_ABSTIME) != 0 ||
               go_on_with(&registers[REG_RDX], registers[REG_R10]);
    case SYS_nanosleep:
        return go_on_with(&registers[REG_RDI], registers[REG_RSI]);
    case SYS_select: /* these three have what is left in their own argument */
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

void restart_call(void *context)
{
    enum { SYSCALL_LENGTH = 2 };
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    int call = interrupted_call(registers);
    uint64_t blocked;

    if (call < 0 || platform_is_filtered())
        return;
    memcpy(&blocked, &((ucontext_t *)context)->uc_sigmask, sizeof(blocked));
    if ((kernel_pending() & ~blocked) != 0 || !waits_as_long(call, registers))
        return;
    registers[REG_RIP] -= SYSCALL_LENGTH;
    registers[REG_RAX] = call;
}

#else

void restart_call(void *context)
{
    (void)context;
}

#endif
