/* SPDX-License-Identifier: MIT
 *
 * Reading /proc/self/task: see tasks.h.
 */
#include "tasks.h"

#include <errno.h>
#include <string.h>

#include "kernel.h"
#include "platform.h"

#define TASKS "/proc/self/task"

struct entry {
    uint64_t inode;
    int64_t offset;
    uint16_t size;
    uint8_t type;
    char name[];
};

/* Reads the decimal digits from here on, and goes on behind them. */
static unsigned long decimal(const char **at)
{
    unsigned long number = 0;

    while (**at >= '0' && **at <= '9')
        number = number * 10 + (unsigned long)(*(*at)++ - '0');
    return number;
}

static uint64_t hexadecimal(const char **at)
{
    uint64_t number = 0;

    for (;; (*at)++) {
        if (**at >= '0' && **at <= '9')
            number = number << 4 | (uint64_t)(**at - '0');
        else if (**at >= 'a' && **at <= 'f')
            number = number << 4 | (uint64_t)(**at - 'a' + 10);
        else
            return number;
    }
}

enum { PATH = 64, STAT = 1024 };

/* TASKS/id/name */
static const char *path_of(pid_t id, const char *name, char path[PATH])
{
    char digits[24], *end = path + strlen(TASKS "/");
    size_t count = 0;

    memcpy(path, TASKS "/", sizeof(TASKS "/"));

    for (unsigned long rest = (unsigned long)id; count == 0 || rest != 0; rest /= 10)
        digits[count++] = (char)('0' + rest % 10);
    while (count != 0)
        *end++ = digits[--count];
    *end++ = '/';
    memcpy(end, name, strlen(name) + 1);
    return path;
}

/* Reads it as a string, cut to what fits.  Its length, or an errno value with a minus sign. */
static long read_text(pid_t id, const char *name, char *text, size_t size)
{
    char path[PATH];

    return kernel_read_file(path_of(id, name, path), text, size);
}

/* Whether a thread's status has a line that begins with this label, and the hexadecimal number behind it.
 * Before most of them come the groups that the process is in, which may be 65,536. */
static bool read_status(pid_t id, const char *label, uint64_t *number)
{
    char path[PATH], chunk[512], line[64];
    int fd = kernel_open(path_of(id, "status", path));
    size_t length = 0;
    bool is_found = false;

    for (long size; fd >= 0 && !is_found && (size = kernel_read(fd, chunk, sizeof(chunk))) > 0;)
        for (long i = 0; i < size && !is_found; i++) {
            if (chunk[i] != '\n') {
                if (length < sizeof(line) - 1)
                    line[length++] = chunk[i];
                continue;
            }
            line[length] = 0;
            length = 0;
            is_found = strncmp(line, label, strlen(label)) == 0;
        }
    if (fd >= 0)
        kernel_close(fd);
    if (is_found) {
        const char *at = line + strlen(label);

        *number = hexadecimal(&at);
    }
    return is_found;
}

int tasks_each(bool (*each)(void *ctx, pid_t id), void *ctx)
{
    char buffer[4096] __attribute__((aligned(8)));
    int fd = kernel_open(TASKS);
    bool goes_on = true;
    long size = fd;

    while (fd >= 0 && goes_on && (size = kernel_list(fd, buffer, sizeof(buffer))) > 0)
        for (long at = 0; goes_on && at < size;) {
            const struct entry *entry = (const void *)(buffer + at);
            const char *name = entry->name;
            pid_t id = (pid_t)decimal(&name);

            at += entry->size;
            goes_on = id == 0 || each(ctx, id);
        }
    if (fd >= 0)
        kernel_close(fd);
    return size < 0 ? (int)-size : 0;
}

/* Together they have at most 32,768 instructions. */
static uint16_t count_filters(void)
{
    uint64_t count = 0;

    read_status(kernel_thread(), "Seccomp_filters:\t", &count);
    return (uint16_t)count;
}

static uint16_t first_filters;

void tasks_init(void)
{
    first_filters = count_filters();
}

bool tasks_note_filters(void)
{
    uint16_t filters = count_filters();

    if (filters > first_filters)
        platform_note_filter();
    return filters > 0 || platform_is_filtered();
}

uint64_t tasks_pending(pid_t id)
{
    uint64_t pending = 0;

    read_status(id, "SigPnd:\t", &pending);
    return pending;
}

/* A field of a thread's stat, or NULL. */
static const char *find_field(const char *stat, int field)
{
    const char *at = strrchr(stat, ')');

    /* The name, which may be any text, is the second one. */
    for (int i = 2; i < field && at != NULL; i++)
        at = strchr(at + 1, ' ');
    return at == NULL ? NULL : at + 1;
}

static unsigned long number_of(const char *stat, int field)
{
    const char *at = find_field(stat, field);

    return at == NULL ? 0 : decimal(&at);
}

unsigned long tasks_stat(pid_t id, int field)
{
    char text[STAT];

    return read_text(id, "stat", text, sizeof(text)) > 0 ? number_of(text, field) : 0;
}

/* Whether it is one of the kernel's own, which work for io_uring: they have no memory but the program's, and
 * never run its code.  The flags are those of include/linux/sched.h. */
static bool is_of_kernel(const char *stat)
{
    enum { FLAGS = 9, IO_WORKER = 0x10, USER_WORKER = 0x4000, KERNEL_THREAD = 0x200000 };

    return (number_of(stat, FLAGS) & (IO_WORKER | USER_WORKER | KERNEL_THREAD)) != 0;
}

enum task_state tasks_state(pid_t id, int signal)
{
    enum { STATE = 3 };
    char text[STAT];
    long length = read_text(id, "stat", text, sizeof(text));
    const char *state = find_field(text, STATE);
    uint64_t blocked = 0;

    /* That there is no descriptor left to ask with says nothing of it. */
    if (length == -ENOENT || length == -ESRCH)
        return TASK_GONE;
    if (state == NULL)
        return TASK_READY;
    if (*state == 'Z' || *state == 'X' || is_of_kernel(text))
        return TASK_GONE;
    if (!read_status(id, "SigBlk:\t", &blocked))
        return TASK_READY;
    return *state == 'D' || (blocked & KERNEL_SIGNAL(signal)) != 0 ? TASK_DEAF : TASK_READY;
}

/* The kernel says "number arguments... sp pc", or "-1 sp pc" of a thread that is in none, or "running". */
uintptr_t tasks_stack_pointer(pid_t id, uintptr_t arguments[TASK_ARGUMENTS])
{
    uint64_t numbers[TASK_ARGUMENTS + 2];
    size_t count = 0;
    char text[512];
    const char *at = text;

    if (read_text(id, "syscall", text, sizeof(text)) <= 0 || strncmp(text, "running", 7) == 0)
        return 0;
    while (count < TASK_ARGUMENTS + 2 && (at = strstr(at, " 0x")) != NULL) {
        at += 3;
        numbers[count++] = hexadecimal(&at);
    }
    if (count < 2)
        return 0;
    for (size_t i = 0; i < count - 2; i++)
        arguments[i] = (uintptr_t)numbers[i];
    return (uintptr_t)numbers[count - 2];
}
