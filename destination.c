/* SPDX-License-Identifier: MIT
 *
 * Files are opened so that nobody can make a program overwrite what is not its user's: not through a symbolic
 * link, not another user's file, not one that has a second name, not a device.  What counts as the program's
 * user is the effective one.
 */
#define _GNU_SOURCE /* program_invocation_name, strerrordesc_np */
#include "destination.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "platform.h"

static struct {
    const char *log_path;
    char folder[PATH_MAX]; /* in which the program was started; empty: not known */
    char program[64];      /* its name; it may write over its arguments */
    int copy;              /* of stderr; -1: none */
    bool had_stderr;       /* when the program started */
    struct stat at_start;  /* what that was */
} destination = {.copy = -1};

/* --- stderr ------------------------------------------------------------------------------------------- */

static bool is_stderr(int fd)
{
    struct stat now;

    return fd >= 0 && destination.had_stderr && fstat(fd, &now) == 0 &&
           now.st_dev == destination.at_start.st_dev && now.st_ino == destination.at_start.st_ino;
}

/* A child that has redirected its stderr wants to see there what is written to it; but it may as well have
 * closed it, and opened a file or a socket for its data in that place. */
static bool is_like_a_log(int fd)
{
    struct stat now;
    int flags = fcntl(fd, F_GETFL);

    if (flags == -1 || fstat(fd, &now) != 0 || (flags & O_ACCMODE) == O_RDONLY)
        return false;
    if (S_ISREG(now.st_mode))
        return (flags & O_APPEND) != 0 || now.st_size == 0;
    return S_ISFIFO(now.st_mode) || S_ISCHR(now.st_mode);
}

static int open_stderr(void)
{
    if (is_stderr(STDERR_FILENO))
        return STDERR_FILENO;
    if (is_stderr(destination.copy))
        return destination.copy;
    return destination.had_stderr && is_like_a_log(STDERR_FILENO) ? STDERR_FILENO : -1;
}

void destination_say(const char *line)
{
    char text[PATH_MAX + 128]; /* the longest names a file */
    int fd = open_stderr();
    size_t length = strnlen(line, sizeof(text) - 1);

    if (fd < 0)
        return;
    /* In one piece, so that lines of several processes do not mix. */
    memcpy(text, line, length);
    text[length] = '\n';
    platform_write(fd, text, length + 1);
}

/* --- Files -------------------------------------------------------------------------------------------- */

static void note_program(void)
{
    const char *name = program_invocation_name == NULL ? "" : program_invocation_name;
    const char *slash = strrchr(name, '/');

    snprintf(destination.program, sizeof(destination.program), "%s", slash == NULL ? name : slash + 1);
    if (getcwd(destination.folder, sizeof(destination.folder)) == NULL)
        destination.folder[0] = '\0';
}

/* log_path, from the folder where the program was started, with %p, %e and %% replaced; false: it is too
 * long. */
static bool expand(char *out, size_t size)
{
    bool is_relative = destination.log_path[0] != '/' && destination.folder[0] != '\0';
    int length = snprintf(out, size, "%s%s", is_relative ? destination.folder : "", is_relative ? "/" : "");
    size_t used = 0;

    for (const char *in = destination.log_path;; in++) {
        if (length < 0 || (size_t)length >= size - used)
            return false;
        used += (size_t)length;
        if (*in == '\0')
            return true;
        if (in[0] != '%' || (in[1] != 'p' && in[1] != 'e' && in[1] != '%')) {
            length = snprintf(out + used, size - used, "%c", *in);
            continue;
        }
        in++;
        if (*in == 'p')
            length = snprintf(out + used, size - used, "%ld", (long)getpid());
        else
            length = snprintf(out + used, size - used, "%s", *in == 'e' ? destination.program : "%");
    }
}

static const char not_regular[] = "it is not a regular file";

/* NULL if the report may go there, or why not. */
static const char *forbids(int fd)
{
    struct stat file;

    if (fstat(fd, &file) != 0)
        return strerrordesc_np(errno);
    if (!S_ISREG(file.st_mode))
        return not_regular;
    if (file.st_uid != geteuid())
        return "it is another user's";
    if (file.st_nlink != 1)
        return "it has another name too";
    return NULL;
}

static int refuse(const char *path, const char *why)
{
    char line[PATH_MAX + 100];

    snprintf(line, sizeof(line), "leakdetect: cannot write the report to %s: %s", path, why);
    destination_say(line);
    return -1;
}

/* A file from before begins anew; one that has reports of this process, or of what it was forked from,
 * already, gets one more. */
static int open_log(void)
{
    static char begun[PATH_MAX];
    char path[PATH_MAX];
    const char *why;
    int fd;

    if (!expand(path, sizeof(path)))
        return refuse(destination.log_path, "the path is too long");
    /* Not to wait for the reader of a pipe. */
    fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
    if (fd < 0)
        return refuse(path, errno == ELOOP   ? "it is a symbolic link"
                            : errno == ENXIO ? not_regular /* a pipe without a reader, a socket */
                                             : strerrordesc_np(errno));
    why = forbids(fd);
    if (why == NULL && (strcmp(path, begun) == 0 ? lseek(fd, 0, SEEK_END) : ftruncate(fd, 0)) < 0)
        why = strerrordesc_np(errno);
    if (why == NULL) {
        memcpy(begun, path, strlen(path) + 1);
        return fd;
    }
    close(fd);
    return refuse(path, why);
}

/* --- Interface ---------------------------------------------------------------------------------------- */

void destination_init(void)
{
    note_program();
    destination.had_stderr = fstat(STDERR_FILENO, &destination.at_start) == 0;
}

void destination_choose(const char *log_path)
{
    destination.log_path = log_path;
    if (log_path == NULL && destination.had_stderr)
        destination.copy = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, platform_first_descriptor());
}

int destination_open(void)
{
    return destination.log_path == NULL ? open_stderr() : open_log();
}

void destination_close(int fd)
{
    if (fd != STDERR_FILENO && fd != destination.copy)
        close(fd);
}

void destination_after_fork_in_child(void)
{
    /* Unless the program has closed it, and has the number for something else. */
    if (is_stderr(destination.copy))
        close(destination.copy);
    destination.copy = -1;
}
