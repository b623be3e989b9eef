/* SPDX-License-Identifier: MIT
 *
 * System calls behind the names of kernel.h, by way of syscall(2), which is no cancellation point and takes
 * no lock; mmap, which has six arguments, by way of the C library's, which is no more than the call.
 */
#define _GNU_SOURCE
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ours.h"
#include "platform.h"

#define NS_PER_S UINT64_C(1000000000)

static long call(long number, long a, long b, long c, long d)
{
    int saved = errno;
    long result = syscall(number, a, b, c, d, 0L, 0L);

    if (result == -1)
        result = -errno;
    errno = saved;
    return result;
}

static long word(const volatile void *pointer)
{
    return (long)(uintptr_t)pointer;
}

/* --- Files -------------------------------------------------------------------------------------------- */

int kernel_open(const char *path)
{
    return (int)call(SYS_openat, AT_FDCWD, word(path), O_RDONLY | O_CLOEXEC, 0);
}

long kernel_read(int fd, void *buffer, size_t size)
{
    long count;

    do
        count = call(SYS_read, fd, word(buffer), (long)size, 0);
    while (count == -EINTR);
    return count;
}

bool kernel_seek(int fd, uint64_t offset)
{
    return (uint64_t)call(SYS_lseek, fd, (long)offset, SEEK_SET, 0) == offset;
}

long kernel_control(int fd, unsigned long request, void *argument)
{
    return call(SYS_ioctl, fd, (long)request, word(argument), 0);
}

long kernel_list(int fd, void *entries, size_t size)
{
    return call(SYS_getdents64, fd, word(entries), (long)size, 0);
}

void kernel_close(int fd)
{
    call(SYS_close, fd, 0, 0, 0);
}

void kernel_close_all(void)
{
    enum { FEW = 1024 };

#ifdef SYS_close_range
    if (call(SYS_close_range, 0, (long)UINT32_MAX, 0, 0) == 0)
        return;
#endif
    for (int fd = 0; fd < FEW; fd++)
        kernel_close(fd);
}

long kernel_read_file(const char *path, char *buffer, size_t size)
{
    int fd = kernel_open(path);
    long length = 0, count;

    buffer[0] = 0;
    if (fd < 0)
        return fd;
    do {
        count = kernel_read(fd, buffer + length, size - 1 - (size_t)length);
        if (count > 0)
            length += count;
    } while (count > 0 && (size_t)length < size - 1);
    buffer[length] = 0;
    kernel_close(fd);
    return count < 0 ? count : length;
}

/* --- Memory ------------------------------------------------------------------------------------------- */

static void *map(void *address, size_t size, int flags)
{
    int saved = errno;
    void *mapped = mmap(address, size, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);

    errno = saved;
    return mapped == MAP_FAILED ? NULL : mapped;
}

void *kernel_map(size_t size)
{
    void *address = map(NULL, size, MAP_PRIVATE);

    if (address != NULL)
        ours_add(address, size);
    return address;
}

void *kernel_map_shared(size_t size)
{
    return map(NULL, size, MAP_SHARED);
}

void kernel_unmap(void *address, size_t size)
{
    ours_remove(address, size);
    call(SYS_munmap, word(address), (long)size, 0, 0);
}

/* Kernels that do not know MAP_FIXED_NOREPLACE take the address for a wish. */
bool kernel_map_at(void *address, size_t size)
{
    return map(address, size, MAP_PRIVATE | MAP_FIXED_NOREPLACE) == address;
}

/* The kernel copies the set of signals before it finds that it does not know what to do with it. */
bool kernel_can_read(uintptr_t address)
{
    enum { NO_SUCH_CHANGE = -1 };

    /* At 0 it takes none to be given. */
    return address != 0 &&
           call(SYS_rt_sigprocmask, NO_SUCH_CHANGE, (long)address, 0, sizeof(uint64_t)) != -EFAULT;
}

/* The kernel writes what is blocked. */
READS_FRAMES bool kernel_can_write(uintptr_t address)
{
    volatile uint64_t *at = (volatile uint64_t *)address;
    uint64_t saved;

    if (!kernel_can_read(address))
        return false;
    saved = *at;
    if (call(SYS_rt_sigprocmask, SIG_BLOCK, 0, (long)address, sizeof(*at)) != 0)
        return false;
    *at = saved;
    return true;
}

int kernel_mincore(void *start, size_t size, unsigned char *pages)
{
    return (int)call(SYS_mincore, (long)start, (long)size, (long)pages, 0);
}

int kernel_make_readable(uintptr_t start, size_t size)
{
    return (int)call(SYS_mprotect, (long)start, (long)size, PROT_READ, 0);
}

int kernel_collapse(uintptr_t start, size_t size)
{
    enum { COLLAPSE = 25 }; /* MADV_COLLAPSE, which headers of the C library have since 2.37 */

    return (int)call(SYS_madvise, (long)start, (long)size, COLLAPSE, 0);
}

/* --- Processes and threads ------------------------------------------------------------------------------ */

pid_t kernel_process(void)
{
    return (pid_t)call(SYS_getpid, 0, 0, 0, 0);
}

pid_t kernel_thread(void)
{
    return (pid_t)call(SYS_gettid, 0, 0, 0, 0);
}

/* As these calls have it: on 32-bit processors the C library's may be larger. */
struct time {
    long s, ns;
};

static struct time time_of(uint64_t ns)
{
    return (struct time){.s = (long)(ns / NS_PER_S), .ns = (long)(ns % NS_PER_S)};
}

uint64_t kernel_clock_ns(int clock)
{
    struct time now = {0, 0};

    call(SYS_clock_gettime, clock, word(&now), 0, 0);
    return (uint64_t)now.s * NS_PER_S + (uint64_t)now.ns;
}

uint64_t kernel_now_ns(void)
{
    return kernel_clock_ns(CLOCK_MONOTONIC);
}

void kernel_pause_ns(uint64_t ns)
{
    struct time time = time_of(ns);

    call(SYS_nanosleep, word(&time), 0, 0, 0);
}

/* A namespace has no name before its first process, and in kernels before 4.12 there is no such link. */
bool kernel_has_children_elsewhere(void)
{
    static const char own[] = "/proc/thread-self/ns/pid";
    static const char of_children[] = "/proc/thread-self/ns/pid_for_children";
    char here[64] = "", there[sizeof(here)] = "";
    long length = call(SYS_readlinkat, AT_FDCWD, word(own), word(here), sizeof(here));
    long other = call(SYS_readlinkat, AT_FDCWD, word(of_children), word(there), sizeof(there));

    if (length < 0)
        return false;
    if (other < 0) {
        int link = (int)call(SYS_openat, AT_FDCWD, word(of_children), O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);

        if (link >= 0)
            kernel_close(link);
        return link != -ENOENT;
    }
    return other != length || memcmp(here, there, (size_t)length) != 0;
}

pid_t kernel_copy_process(void)
{
    /* No flags, and no signal at its end. */
    return (pid_t)call(SYS_clone, 0, 0, 0, 0);
}

long kernel_wait(pid_t pid, int *status)
{
    long result;

    do
        result = call(SYS_wait4, pid, word(status), __WALL, 0);
    while (result == -EINTR);
    return result;
}

bool kernel_has_ended(pid_t pid)
{
    siginfo_t info;

    info.si_pid = 0;
    return call(SYS_waitid, P_PID, pid, word(&info), WEXITED | WNOHANG | WNOWAIT | __WALL) != 0 ||
           info.si_pid != 0;
}

/* A filter of system calls may refuse the first, and a copy has one thread. */
_Noreturn void kernel_exit(int status)
{
    for (;;) {
        call(SYS_exit_group, status, 0, 0, 0);
        call(SYS_exit, status, 0, 0, 0);
    }
}

_Noreturn void kernel_exit_thread(int status)
{
    for (;;)
        call(SYS_exit, status, 0, 0, 0);
}

void kernel_die_with_parent(pid_t parent)
{
    call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0);
    if ((pid_t)call(SYS_getppid, 0, 0, 0, 0) != parent)
        kernel_exit(1);
}

void kernel_dump_nothing(void)
{
    call(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0);
}

/* struct sched_attr of sched_setattr(2), which few C libraries have. */
struct scheduling {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period; /* of ordinary threads the first is the slice; 0: the common one */
};

/* How the calling thread is scheduled; the slice is 0 where it has none. */
static struct scheduling scheduling_now(void)
{
    struct scheduling now = {.size = sizeof(now)};

    if (call(SYS_sched_getattr, 0, word(&now), sizeof(now), 0) != 0 ||
        (now.policy != SCHED_OTHER && now.policy != SCHED_BATCH))
        now.runtime = 0;
    return now;
}

static void set_slice(struct scheduling *scheduling, uint64_t slice)
{
    scheduling->runtime = slice;
    call(SYS_sched_setattr, 0, word(scheduling), 0, 0);
}

#define COMMON_SLICE UINT64_C(0)
#define SHORT_SLICE  UINT64_C(100000) /* ns: there is none that is shorter */

uint64_t kernel_shorten_slice(void)
{
    struct scheduling now = scheduling_now();
    uint64_t slice = now.runtime;

    if (slice == 0)
        return KERNEL_NO_SLICE;
    /* Lest a thread that had the common one has one of its own from now on. */
    set_slice(&now, COMMON_SLICE);
    if (scheduling_now().runtime == slice)
        slice = COMMON_SLICE;
    set_slice(&now, SHORT_SLICE);
    return slice;
}

void kernel_restore_slice(uint64_t slice)
{
    struct scheduling now;

    if (slice == KERNEL_NO_SLICE)
        return;
    now = scheduling_now();
    if (now.runtime != 0)
        set_slice(&now, slice);
}

void kernel_give_way(void)
{
    static const char first[] = "1000";
    const struct sched_param none = {0};
    long fd = call(SYS_openat, AT_FDCWD, word("/proc/thread-self/oom_score_adj"), O_WRONLY | O_CLOEXEC, 0);
    long policy = call(SYS_sched_getscheduler, 0, 0, 0, 0);

    if (fd >= 0) {
        call(SYS_write, fd, word(first), sizeof(first) - 1, 0);
        kernel_close((int)fd);
    }
    if (policy == SCHED_FIFO || policy == SCHED_RR)
        call(SYS_sched_setscheduler, 0, SCHED_OTHER, word(&none), 0);
}

void kernel_wait_while(_Atomic uint32_t *at, uint32_t value, uint64_t limit_ns)
{
    struct time limit = time_of(limit_ns);

    call(SYS_futex, word(at), FUTEX_WAIT_PRIVATE, (long)value, limit_ns == 0 ? 0 : word(&limit));
}

void kernel_wait_for_copy(_Atomic uint32_t *at, uint32_t value, uint64_t limit_ns)
{
    struct time limit = time_of(limit_ns);

    call(SYS_futex, word(at), FUTEX_WAIT, (long)value, word(&limit));
}

void kernel_wake_original(_Atomic uint32_t *at)
{
    call(SYS_futex, word(at), FUTEX_WAKE, INT32_MAX, 0);
}

void kernel_wake_all(_Atomic uint32_t *at)
{
    call(SYS_futex, word(at), FUTEX_WAKE_PRIVATE, INT32_MAX, 0);
}

/* --- Signals ------------------------------------------------------------------------------------------ */

#if defined(__x86_64__)

/* Here a handler returns to code of the program's, which the C library has for itself. */
#define RESTORER_FLAG 0x04000000ul

__attribute__((naked, noinline)) static void restore(void)
{
    __asm__("mov %0, %%rax\n\tsyscall" : : "i"(SYS_rt_sigreturn));
}

static void add_restorer(struct kernel_action *action)
{
    if ((action->flags & RESTORER_FLAG) != 0)
        return;
    action->flags |= RESTORER_FLAG;
    action->restorer = restore;
}

#else

static void add_restorer(struct kernel_action *action)
{
    (void)action;
}

#endif

int kernel_set_action(int signal, const struct kernel_action *action, struct kernel_action *old)
{
    struct kernel_action copy = {0};

    if (action != NULL) {
        copy = *action;
        add_restorer(&copy);
    }
    return (int)call(SYS_rt_sigaction, signal, action == NULL ? 0 : word(&copy), word(old), sizeof(uint64_t));
}

void kernel_block(uint64_t set, uint64_t *old)
{
    call(SYS_rt_sigprocmask, SIG_BLOCK, word(&set), word(old), sizeof(set));
}

void kernel_set_blocked(uint64_t set)
{
    call(SYS_rt_sigprocmask, SIG_SETMASK, word(&set), 0, sizeof(set));
}

uint64_t kernel_pending(void)
{
    uint64_t set = 0;

    call(SYS_rt_sigpending, word(&set), sizeof(set), 0, 0);
    return set;
}

bool kernel_is_on_stack(const void *stack, uintptr_t address)
{
    return address - (uintptr_t)((const stack_t *)stack)->ss_sp < ((const stack_t *)stack)->ss_size;
}

int kernel_set_signal_stack(const void *stack, void *old)
{
    return (int)call(SYS_sigaltstack, word(stack), word(old), 0, 0);
}

int kernel_change_mask(int how, const void *set, void *old)
{
    return (int)call(SYS_rt_sigprocmask, how, word(set), word(old), sizeof(uint64_t));
}

int kernel_send(pid_t process, pid_t thread, int signal, void *value)
{
    siginfo_t info;

    memset(&info, 0, sizeof(info));
    info.si_signo = signal;
    info.si_code = SI_QUEUE;
    info.si_pid = process;
    info.si_uid = (uid_t)call(SYS_getuid, 0, 0, 0, 0);
    info.si_value.sival_ptr = value;
    return (int)call(SYS_rt_tgsigqueueinfo, process, thread, signal, word(&info));
}
