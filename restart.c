/* SPDX-License-Identifier: MIT
 *
 * Restarting system calls: see restart.h.
 */
#define _GNU_SOURCE /* REG_RIP */
#include "restart.h"

#if defined(__x86_64__)

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>

#include "platform.h"
#include "tasks.h"

enum { SIGNALS = 64, SYSCALL = 2, NS_PER_US = 1000 };

/* The number of the call that was interrupted; -1: none was, or it cannot be told.  By what the C library's
 * functions look like there (glibc's, up to 2.40): mov $number, %eax; syscall, and perhaps a register is
 * fetched from the stack in between, mov displacement(%rsp), %edi. */
static READS_FRAMES int interrupted_call(const greg_t *registers)
{
    enum { FETCH = 4, NUMBER = 5 };
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

/* Whether calls that wait for a time, and are interrupted, write how much of it is left where they have read
 * it. */
static bool tells_what_is_left;

void restart_init(void)
{
    char text[32];

    tells_what_is_left = kernel_read_file("/proc/self/personality", text, sizeof(text)) > 0 &&
                         (strtoul(text, NULL, 16) & STICKY_TIMEOUTS) == 0;
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
    const uint64_t errors = KERNEL_SIGNAL(SIGSEGV) | KERNEL_SIGNAL(SIGBUS) | KERNEL_SIGNAL(SIGILL) |
                            KERNEL_SIGNAL(SIGFPE) | KERNEL_SIGNAL(SIGTRAP) | KERNEL_SIGNAL(SIGABRT) |
                            KERNEL_SIGNAL(SIGSYS);
    kernel_handler_fn *own = atomic_load_explicit(&own_handler, memory_order_relaxed);

    for (int number = 1; number <= SIGNALS; number++) {
        struct kernel_action action;

        if (((errors | KERNEL_GLIBCS) & KERNEL_SIGNAL(number)) != 0 ||
            kernel_set_action(number, NULL, &action) != 0)
            continue;
        if (action.handler != NULL && (uintptr_t)action.handler != (uintptr_t)SIG_IGN &&
            action.handler != own)
            return true;
    }
    return false;
}

/* --- The call that goes on ------------------------------------------------------------------------------ */

/* What it needs, below what the thread has on its stack. */
struct wait {
    uint64_t stack_pointer, next; /* where the program goes on */
    uint64_t rdi, rsi, rdx, r10, r8, r9;
    uint64_t mask;
    int64_t result; /* before: the number of the call */
    struct timespec left;
    struct timeval *select_left; /* where select says it; NULL: nowhere */
    struct {
        const uint64_t *mask;
        size_t size;
    } pselect;
};

/* It takes the place of the siginfo_t. */
_Static_assert(sizeof(struct wait) <= sizeof(siginfo_t), "a wait lies in the frame of a signal");

/* Where it has what the code below uses. */
_Static_assert(offsetof(struct wait, stack_pointer) == 0 && offsetof(struct wait, next) == 8 &&
                   offsetof(struct wait, rdi) == 16 && offsetof(struct wait, rsi) == 24 &&
                   offsetof(struct wait, rdx) == 32 && offsetof(struct wait, r10) == 40 &&
                   offsetof(struct wait, r8) == 48 && offsetof(struct wait, r9) == 56 &&
                   offsetof(struct wait, mask) == 64 && offsetof(struct wait, result) == 72 &&
                   offsetof(struct wait, left) == 80 && offsetof(struct wait, select_left) == 96,
               "a wait is laid out as restart_go_on has it");
_Static_assert(SYS_rt_sigprocmask == 14 && SIG_SETMASK == 2 && NS_PER_US == 1000, "as are its numbers");

/* Our handler returns here, with all signals blocked, the stack pointer at a struct wait, and the arguments
 * in place.  The call unblocks what the program has not blocked for just as long as it waits: a signal that
 * has come before interrupts it at once.  After it all are blocked again, so that one of ours finds the
 * thread right behind the call only if no other has been handled since.  In the end all is as the program's
 * own call would have left it.
 *
 * How to unwind, for threads that are cancelled here and for stacks: the frame's address is the word at rsp,
 * and the return address the one after it. */
__asm__(".pushsection .text\n"
        ".globl restart_go_on, restart_is_going_on\n"
        ".hidden restart_go_on, restart_is_going_on\n"
        ".type restart_go_on, @function\n"
        "restart_go_on:\n\t"
        ".cfi_startproc\n\t"
        ".cfi_escape 0x0f, 3, 0x77, 0, 6\n\t"
        ".cfi_escape 0x10, 16, 2, 0x77, 8\n\t"
        "syscall\n"
        "restart_is_going_on:\n\t"
        "mov %rax, 72(%rsp)\n\t"
        "mov 96(%rsp), %rcx\n\t" /* what is left, for select */
        "test %rcx, %rcx\n\t"
        "jz 1f\n\t"
        "mov 80(%rsp), %rax\n\t"
        "mov %rax, (%rcx)\n\t"
        "mov 88(%rsp), %rax\n\t"
        "xor %edx, %edx\n\t"
        "mov $1000, %esi\n\t"
        "div %rsi\n\t"
        "mov %rax, 8(%rcx)\n"
        "1:\n\t"
        "mov $2, %edi\n\t" /* rt_sigprocmask(SIG_SETMASK, &mask, NULL, 8) */
        "lea 64(%rsp), %rsi\n\t"
        "xor %edx, %edx\n\t"
        "mov $8, %r10d\n\t"
        "mov $14, %eax\n\t"
        "syscall\n\t"
        "mov 72(%rsp), %rax\n\t"
        "mov 16(%rsp), %rdi\n\t"
        "mov 24(%rsp), %rsi\n\t"
        "mov 32(%rsp), %rdx\n\t"
        "mov 40(%rsp), %r10\n\t"
        "mov 48(%rsp), %r8\n\t"
        "mov 56(%rsp), %r9\n\t"
        "mov 8(%rsp), %rcx\n\t"
        "mov (%rsp), %rsp\n\t"
        ".cfi_def_cfa 7, 0\n\t"
        ".cfi_register 16, 2\n\t"
        "jmp *%rcx\n\t"
        ".cfi_endproc\n"
        ".size restart_go_on, . - restart_go_on\n"
        ".popsection");

extern const char restart_go_on[] __attribute__((visibility("hidden")));
extern const char restart_is_going_on[] __attribute__((visibility("hidden")));

/* Whether the call there is what was interrupted. */
static bool is_going_on(const greg_t *registers)
{
    uintptr_t pc = (uintptr_t)registers[REG_RIP];

    return pc == (uintptr_t)restart_go_on || pc == (uintptr_t)restart_is_going_on;
}

static greg_t word(const void *pointer)
{
    return (greg_t)(uintptr_t)pointer;
}

/* Whether the kernel has written there for how long the call had still to wait, and will do so again. */
static bool is_left(greg_t time)
{
    return tells_what_is_left && kernel_can_write((uintptr_t)time);
}

/* The mask that the program has given the call; NULL: none. */
static READS_FRAMES const uint64_t *own_mask(int call, const greg_t *registers)
{
    switch (call) {
    case SYS_epoll_pwait:
        return (const uint64_t *)registers[REG_R8];
    case SYS_pselect6:
        return registers[REG_R9] == 0 ? NULL : *(const uint64_t *const *)registers[REG_R9];
    case SYS_ppoll:
        return (const uint64_t *)registers[REG_R10];
    case SYS_rt_sigsuspend:
        return (const uint64_t *)registers[REG_RDI];
    default:
        return NULL;
    }
}

/* Whether the program counts on signals of its own to interrupt just this call, because only its mask lets
 * them in.  One whose handler was returning when ours came has interrupted it as well, which cannot be seen.
 * (Without such a mask nobody can count on it: it may come before the call.) */
static READS_FRAMES bool waits_for_signals(int call, const greg_t *registers, uint64_t mask)
{
    const uint64_t *own = own_mask(call, registers);

    return own != NULL && (mask & ~*own) != 0 && has_program_handlers();
}

/* Makes the arguments those of the call that goes on, with the mask if the program has given it none.
 * Returns its number; -1: there is none that waits as long. */
static READS_FRAMES int like_it(int call, greg_t *registers, struct wait *wait)
{
    greg_t mask = word(&wait->mask), left;

    switch (call) {
    case SYS_poll:
        if ((int)registers[REG_RDX] >= 0)
            return -1;
        registers[REG_RDX] = 0;
        registers[REG_R10] = mask;
        registers[REG_R8] = sizeof(wait->mask);
        return SYS_ppoll;
    case SYS_ppoll:
        if (registers[REG_RDX] != 0 && !is_left(registers[REG_RDX]))
            return -1;
        if (registers[REG_R10] == 0)
            registers[REG_R10] = mask;
        registers[REG_R8] = sizeof(wait->mask);
        return SYS_ppoll;
    case SYS_epoll_wait:
    case SYS_epoll_pwait:
        if ((int)registers[REG_R10] >= 0)
            return -1;
        if (call == SYS_epoll_wait || registers[REG_R8] == 0)
            registers[REG_R8] = mask;
        registers[REG_R9] = sizeof(wait->mask);
        return SYS_epoll_pwait;
    case SYS_select:
    case SYS_pselect6:
        if (registers[REG_R8] != 0 && !is_left(registers[REG_R8]))
            return -1;
        if (call == SYS_select && registers[REG_R8] != 0) {
            wait->select_left = (struct timeval *)registers[REG_R8];
            wait->left.tv_sec = wait->select_left->tv_sec;
            wait->left.tv_nsec = wait->select_left->tv_usec * NS_PER_US;
            registers[REG_R8] = word(&wait->left);
        }
        if (own_mask(call, registers) == NULL)
            registers[REG_R9] = word(&wait->pselect);
        return SYS_pselect6;
    case SYS_pause:
        registers[REG_RDI] = mask;
        registers[REG_RSI] = sizeof(wait->mask);
        return SYS_rt_sigsuspend;
    case SYS_rt_sigsuspend:
        return call;
    case SYS_nanosleep:
    case SYS_clock_nanosleep:
        left = registers[call == SYS_nanosleep ? REG_RSI : REG_R10];
        if (call == SYS_clock_nanosleep &&
            (registers[REG_RSI] != 0 ||
             (registers[REG_RDI] != CLOCK_REALTIME && registers[REG_RDI] != CLOCK_MONOTONIC)))
            return -1;
        if (left == 0 || !is_left(left))
            return -1;
        registers[REG_RDI] = registers[REG_RSI] = 0;
        registers[REG_RDX] = left;
        registers[REG_R10] = mask;
        registers[REG_R8] = sizeof(wait->mask);
        return SYS_ppoll;
    default:
        return -1;
    }
}

/* In the frame of the signal, so that the wait is above it; but if that is on a signal stack, which handlers
 * of the program's may need or must not use, where the call was made.  NULL: there is no room, or the call
 * was made on a signal stack, which may have none for a frame that stays. */
static struct wait *place_of_wait(void *info, const ucontext_t *context)
{
    enum { RED_ZONE = 128, ALIGNMENT = 16, KERNELS_CONTEXT = 304 };
    uintptr_t top = (uintptr_t)context->uc_mcontext.gregs[REG_RSP], place;

    /* Whoever hands a signal on to our handler may have copied it. */
    if (kernel_is_on_stack(&context->uc_stack, top) ||
        (uintptr_t)info - (uintptr_t)context != KERNELS_CONTEXT)
        return NULL;
    if (!kernel_is_on_stack(&context->uc_stack, (uintptr_t)info))
        return info;
    place = (top - RED_ZONE - sizeof(struct wait)) & ~(uintptr_t)(ALIGNMENT - 1);
    return kernel_can_write(place) ? (struct wait *)place : NULL;
}

static READS_FRAMES bool let_go_on(int call, void *info, ucontext_t *context)
{
    const uint64_t all = ~UINT64_C(0);
    greg_t *registers = context->uc_mcontext.gregs;
    struct wait *wait = place_of_wait(info, context);
    uint64_t mask;
    int like;

    memcpy(&mask, &context->uc_sigmask, sizeof(mask)); /* the kernel's is no longer */
    if (wait == NULL || waits_for_signals(call, registers, mask))
        return false;
    *wait = (struct wait){
        .stack_pointer = (uint64_t)registers[REG_RSP],
        .next = (uint64_t)registers[REG_RIP],
        .rdi = (uint64_t)registers[REG_RDI],
        .rsi = (uint64_t)registers[REG_RSI],
        .rdx = (uint64_t)registers[REG_RDX],
        .r10 = (uint64_t)registers[REG_R10],
        .r8 = (uint64_t)registers[REG_R8],
        .r9 = (uint64_t)registers[REG_R9],
        .mask = mask,
        .pselect = {.mask = &wait->mask, .size = sizeof(wait->mask)},
    };
    like = like_it(call, registers, wait);
    if (like < 0)
        return false;
    wait->result = like;
    registers[REG_RAX] = like;
    registers[REG_RIP] = (greg_t)(uintptr_t)restart_go_on;
    registers[REG_RSP] = word(wait);
    memcpy(&context->uc_sigmask, &all, sizeof(all));
    return true;
}

/* --- The call itself once more -------------------------------------------------------------------------- */

/* Calls that there is none like with a mask: whether this one, with these arguments, waits as long as it
 * would have when it begins anew. */
static bool waits_as_long(int call, const greg_t *registers)
{
    switch (call) {
    case SYS_rt_sigtimedwait:
        return registers[REG_RDX] == 0;
    case SYS_semtimedop:
        return registers[REG_R10] == 0;
    case SYS_clock_nanosleep:
        return (registers[REG_RSI] & TIMER_ABSTIME) != 0;
    case SYS_futex: /* without a timeout the kernel restarts it */
        return (registers[REG_RSI] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET; /* until a moment */
    case SYS_semop:
    case SYS_msgsnd:
    case SYS_msgrcv:
        return true;
    default:
        return false;
    }
}

/* --- Calls that the kernel restarts --------------------------------------------------------------------- */

/* Whether the kernel was told to begin a call anew that signals interrupt, and has it do so when our handler
 * returns.  RCX is left from where it began before. */
static READS_FRAMES bool begins_anew(const greg_t *registers)
{
    uintptr_t pc = (uintptr_t)registers[REG_RIP];
    const volatile uint8_t *code = (const volatile uint8_t *)pc;
    int command;

    if ((uintptr_t)registers[REG_RCX] != pc + SYSCALL || code[0] != 0x0f || code[1] != 0x05)
        return false;
    switch (registers[REG_RAX]) {
    case SYS_read:
    case SYS_readv:
    case SYS_write:
    case SYS_writev:
    case SYS_ioctl:
    case SYS_open:
    case SYS_openat:
    case SYS_wait4:
    case SYS_waitid:
    case SYS_accept:
    case SYS_accept4:
    case SYS_connect:
    case SYS_recvfrom:
    case SYS_recvmsg:
    case SYS_recvmmsg:
    case SYS_sendto:
    case SYS_sendmsg:
    case SYS_sendmmsg:
    case SYS_flock:
    case SYS_mq_timedsend:
    case SYS_mq_timedreceive:
        return true;
    case SYS_fcntl:
        command = (int)registers[REG_RSI];
        return command == F_SETLKW || command == F_OFD_SETLKW;
    case SYS_futex:
        command = (int)registers[REG_RSI] & FUTEX_CMD_MASK;
        return command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET;
    default:
        return false;
    }
}

/* Whether a signal of the program's has come while all were blocked, which without ours would have had the
 * call fail.  Those of the process go to its main thread. */
static bool was_interrupted(const ucontext_t *context)
{
    uint64_t mask, come;

    memcpy(&mask, &context->uc_sigmask, sizeof(mask));
    come = kernel_pending() & ~mask;
    if (come != 0 && kernel_thread() != kernel_process())
        come &= tasks_pending(kernel_thread());
    for (int number = 1; number <= SIGNALS; number++) {
        struct kernel_action action;

        if ((come & KERNEL_SIGNAL(number)) != 0 && kernel_set_action(number, NULL, &action) == 0 &&
            action.handler != NULL && (uintptr_t)action.handler != (uintptr_t)SIG_IGN &&
            (action.flags & SA_RESTART) == 0)
            return true;
    }
    return false;
}

READS_FRAMES void restart_call(void *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    bool is_restarted;
    int call;

    if (platform_is_filtered())
        return;
    if (is_going_on(registers) && registers[REG_RAX] == -EINTR) {
        registers[REG_RIP] = (greg_t)(uintptr_t)restart_go_on;
        registers[REG_RAX] = ((const struct wait *)registers[REG_RSP])->result;
        return;
    }
    call = interrupted_call(registers);
    is_restarted = begins_anew(registers);
    if (call < 0 && !is_restarted)
        return;
    /* Until the end of the handler: nobody is to be cancelled between two changes of the context. */
    kernel_block(~UINT64_C(0), NULL);
    tasks_note_filters();
    if (platform_is_filtered())
        return;
    if (is_restarted) {
        if (was_interrupted(context)) {
            registers[REG_RIP] += SYSCALL;
            registers[REG_RAX] = -EINTR;
        }
        return;
    }
    if (let_go_on(call, info, context))
        return;
    if (waits_as_long(call, registers) && !has_program_handlers()) {
        registers[REG_RIP] -= SYSCALL;
        registers[REG_RAX] = call;
    }
}

READS_FRAMES uintptr_t restart_stack_pointer(const void *registers)
{
    const greg_t *of_thread = registers;
    uintptr_t pointer = (uintptr_t)of_thread[REG_RSP];

    return is_going_on(of_thread) ? ((const struct wait *)pointer)->stack_pointer : pointer;
}

#else

void restart_init(void)
{
}

void restart_call(void *info, void *context)
{
    (void)info;
    (void)context;
}

uintptr_t restart_stack_pointer(const void *registers)
{
    (void)registers;
    return 0;
}

void restart_know_handler(kernel_handler_fn *handler)
{
    (void)handler;
}

#endif
