/* SPDX-License-Identifier: MIT
 *
 * System calls behind the names of platform.h.
 */
#define _GNU_SOURCE
#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

atomic_bool platform_has_membarrier;

enum {
    PAUSE_NS = 50000,       /* of a yield that is not one of the first */
    SETTLE_YIELDS = 10000,  /* milliseconds, where a store takes nanoseconds to be seen */
    HIGH_DESCRIPTORS = 256, /* those below are the program's, unless it may not have twice as many */
};

static long membarrier(int command)
{
    return syscall(SYS_membarrier, command, 0, 0);
}

void platform_init(void)
{
    int saved = errno;

    atomic_store_explicit(&platform_has_membarrier,
                          membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0, memory_order_relaxed);
    errno = saved;
}

void platform_heavy_fence(void)
{
    int saved = errno;

    atomic_thread_fence(memory_order_seq_cst);
    /* Once registered it cannot fail, unless a seccomp filter was set up since.  From now on light fences are
     * full ones; those that other threads have passed already are waited for. */
    if (atomic_load_explicit(&platform_has_membarrier, memory_order_relaxed) &&
        membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0) {
        atomic_store_explicit(&platform_has_membarrier, false, memory_order_seq_cst);
        for (int i = 0; i < SETTLE_YIELDS; i++)
            platform_yield(0);
    }
    errno = saved;
}

/* By syscall(2), which is no cancellation point. */
void platform_yield(unsigned times)
{
    /* The kernel's timespec: on 32-bit processors the C library's may be larger. */
    const long pause[2] = {0, PAUSE_NS};
    int saved = errno;

    sched_yield();
    if (times >= PLATFORM_BUSY_YIELDS)
        syscall(SYS_nanosleep, pause, NULL);
    errno = saved;
}

bool platform_on_signal_stack(void)
{
    int saved = errno;
    stack_t stack;
    bool is_on = sigaltstack(NULL, &stack) == 0 && (stack.ss_flags & SS_ONSTACK) != 0;

    errno = saved;
    return is_on;
}

bool platform_has_loader(void)
{
    /* The linker defines it in what has a dynamic section. */
    extern const char _DYNAMIC[] __attribute__((weak, visibility("hidden")));

    return _DYNAMIC != NULL;
}

bool platform_is_c_library(const void *code)
{
    extern void __libc_start_main(void);

    /* Archives are linked in the order in which they are needed, the C library behind all others; what calls
     * main is needed first, and so is its beginning. */
    return !platform_has_loader() && (uintptr_t)code > (uintptr_t)__libc_start_main;
}

bool platform_is_set_up(void)
{
    /* To note the program's name is the last thing that the C library of a static program does before it runs
     * constructors. */
    return platform_has_loader() || program_invocation_name[0] != '\0';
}

size_t platform_page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* Until a descriptor that does not block takes more, or fails. */
static void wait_to_write(int fd)
{
    struct pollfd wanted = {.fd = fd, .events = POLLOUT};

    poll(&wanted, 1, -1);
}

int platform_write(int fd, const void *data, size_t size)
{
    const char *rest = data;
    int saved = errno, error = 0;

    while (size != 0) {
        ssize_t written = write(fd, rest, size);

        if (written > 0) {
            rest += written;
            size -= (size_t)written;
        } else if (written == 0) {
            error = EIO;
            break;
        } else if (errno == EAGAIN) {
            wait_to_write(fd);
        } else if (errno != EINTR) {
            error = errno;
            break;
        }
    }
    errno = saved;
    return error;
}

static const char *program_argument(void)
{
    return (const char *)(uintptr_t)getauxval(AT_EXECFN);
}

/* A loader that was asked to run the program was itself loaded by none, and has the auxiliary vector speak of
 * the program otherwise; in a static program that is position-independent the path does as well.  The first
 * name is also what an emulator knows to answer for the program, as qemu's does. */
const char *platform_program_file(void)
{
    static const char of_process[] = "/proc/self/exe";
    char start;

    if (platform_has_loader() && getauxval(AT_BASE) == 0)
        return NULL;
    return readlink(of_process, &start, sizeof(start)) > 0 ? of_process : "/proc/thread-self/exe";
}

const char *platform_program_path(char *buffer, size_t size)
{
    const char *file = platform_program_file();
    ssize_t length = file == NULL ? 0 : readlink(file, buffer, size);

    if (length <= 0 || (size_t)length >= size)
        return program_argument();
    buffer[length] = 0;
    return buffer;
}

int platform_first_descriptor(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < (rlim_t)2 * HIGH_DESCRIPTORS)
        return (int)(limit.rlim_cur / 2);
    return HIGH_DESCRIPTORS;
}

void platform_with_high_descriptors(void (*function)(void))
{
    int saved = errno, first = platform_first_descriptor(), fd = eventfd(0, EFD_CLOEXEC);
    unsigned char taken[HIGH_DESCRIPTORS];
    size_t count = 0;

    while (fd >= 0 && fd < first) {
        taken[count++] = (unsigned char)fd;
        fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    }
    if (fd >= 0)
        close(fd);
    function();
    while (count > 0)
        close(taken[--count]);
    errno = saved;
}

int platform_prctl(int option, const unsigned long arguments[4])
{
    return (int)syscall(SYS_prctl, option, arguments[0], arguments[1], arguments[2], arguments[3]);
}

static atomic_bool is_filtered;

bool platform_is_filtered(void)
{
    return atomic_load_explicit(&is_filtered, memory_order_relaxed);
}

void platform_note_filter(void)
{
    atomic_store_explicit(&is_filtered, true, memory_order_relaxed);
}

#if defined(__x86_64__)
/* Whether the kernel has switched them on (Intel's manual, volume 1, section 13, OSPKE). */
static bool has_keys(void)
{
    enum { FEATURES = 7, OSPKE = 1 << 4 };
    unsigned a, b, c, d;

    return __get_cpuid_count(FEATURES, 0, &a, &b, &c, &d) != 0 && (c & OSPKE) != 0;
}

static void set_rights(uint32_t rights)
{
    /* wrpkru, by its bytes, as older assemblers do not know it. */
    __asm__ volatile(".byte 0x0f, 0x01, 0xef" ::"a"(rights), "c"(0), "d"(0) : "memory");
}

uint32_t platform_unlock_keys(void)
{
    uint32_t rights = 0, zero;

    if (!has_keys())
        return 0;
    /* rdpkru */
    __asm__ volatile(".byte 0x0f, 0x01, 0xee" : "=a"(rights), "=d"(zero) : "c"(0));
    if (rights != 0)
        set_rights(0);
    return rights;
}

void platform_lock_keys(uint32_t rights)
{
    if (rights != 0)
        set_rights(rights);
}
#else
uint32_t platform_unlock_keys(void)
{
    return 0;
}

void platform_lock_keys(uint32_t rights)
{
    (void)rights;
}
#endif

_Noreturn void platform_fatal(const char *what)
{
    static const char prefix[] = "leakdetect: ";

    platform_write(STDERR_FILENO, prefix, sizeof(prefix) - 1);
    platform_write(STDERR_FILENO, what, strlen(what));
    platform_write(STDERR_FILENO, "\n", 1);
    abort();
}
