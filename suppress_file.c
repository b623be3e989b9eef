/* SPDX-License-Identifier: MIT
 *
 * Reading a file of suppressions, see suppress_file.h.
 */
#define _GNU_SOURCE /* strerrordesc_np, which translates nothing and so allocates nothing */
#include "suppress_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernel.h"
#include "pattern.h"
#include "suppress.h"

enum {
    LINE_BYTES = 512,    /* of what is said; longer lines are cut */
    LINES_COMPLAINED = 5 /* of a file; the others are counted */
};

typedef void say_fn(const char *line);

/* --- Complaints --------------------------------------------------------------------------------------- */

static void complain(say_fn *say, const char *path, const char *what)
{
    char line[LINE_BYTES];

    if (say == NULL)
        return;
    snprintf(line, sizeof(line), "leakdetect: suppressions %s: %s", path, what);
    say(line);
}

static void complain_of_line(say_fn *say, const char *path, size_t number)
{
    char line[LINE_BYTES];

    if (say == NULL)
        return;
    snprintf(line, sizeof(line), "leakdetect: %s:%zu: no suppression: expected leak:PATTERN, or a # comment",
             path, number);
    say(line);
}

static void check_lines(const char *text, const char *path, say_fn *say)
{
    struct pattern line, pattern;
    size_t number = 0, bad = 0;
    char rest[64];

    while (pattern_next(&text, "\n", &line)) {
        number++;
        if (!suppress_parse(line, &pattern) && ++bad <= LINES_COMPLAINED)
            complain_of_line(say, path, number);
    }
    if (bad > LINES_COMPLAINED) {
        snprintf(rest, sizeof(rest), "%zu more lines are no suppressions", bad - LINES_COMPLAINED);
        complain(say, path, rest);
    }
}

/* --- Reading ------------------------------------------------------------------------------------------ */

/* How many bytes were read, or a negative errno value. */
static ssize_t read_all(int fd, char *out, size_t size)
{
    size_t used = 0;

    while (used < size) {
        ssize_t got = read(fd, out + used, size - used);

        if (got == 0)
            break;
        if (got > 0)
            used += (size_t)got;
        else if (errno != EINTR)
            return -errno;
    }
    return (ssize_t)used;
}

/* Passes over what some editors say with that a file is UTF-8. */
static off_t skip_mark(int fd)
{
    static const char mark[] = {'\xef', '\xbb', '\xbf'};
    char start[sizeof(mark)];

    if (pread(fd, start, sizeof(start), 0) != sizeof(start) || memcmp(start, mark, sizeof(mark)) != 0)
        return 0;
    return lseek(fd, sizeof(mark), SEEK_SET);
}

/* A file that grows meanwhile is read as far as it was, and one that shrinks to its end.  The length of the
 * text tells the size of its mapping. */
static const char *read_file(int fd, const char **problem)
{
    struct stat status;
    ssize_t length;
    size_t size;
    char *text;

    if (fd < 0 || fstat(fd, &status) != 0) {
        *problem = strerrordesc_np(errno);
        return NULL;
    }
    if (!S_ISREG(status.st_mode)) {
        *problem = "not a regular file";
        return NULL;
    }
    if (status.st_size > SUPPRESS_FILE_MAX) {
        *problem = "larger than 1 MiB";
        return NULL;
    }
    size = (size_t)(status.st_size - skip_mark(fd));
    text = kernel_map(size + 1);
    if (text == NULL) {
        *problem = strerrordesc_np(ENOMEM);
        return NULL;
    }
    length = read_all(fd, text, size);
    if (length >= 0 && memchr(text, 0, (size_t)length) == NULL)
        return text;
    *problem = length < 0 ? strerrordesc_np((int)-length) : "not a text: it has a zero byte";
    kernel_unmap(text, size + 1);
    return NULL;
}

const char *suppress_file_load(const char *path, void (*say)(const char *line))
{
    int saved = errno;
    /* What is there may be a pipe or a terminal, which must not do anything to us. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    const char *problem = NULL, *text = read_file(fd, &problem);

    if (fd >= 0)
        close(fd);
    if (text == NULL)
        complain(say, path, problem);
    else
        check_lines(text, path, say);
    errno = saved;
    return text;
}

/* --- Compiled in -------------------------------------------------------------------------------------- */

const char *suppress_file_add(const char *before, const char *text, const char *origin,
                              void (*say)(const char *line))
{
    size_t above = before == NULL ? 0 : strlen(before), length = strnlen(text, SUPPRESS_FILE_MAX + 1);
    int saved = errno;
    char *both = length > SUPPRESS_FILE_MAX ? NULL : kernel_map(above + length + 2);

    if (both == NULL) {
        complain(say, origin, length > SUPPRESS_FILE_MAX ? "larger than 1 MiB" : strerrordesc_np(ENOMEM));
        errno = saved;
        return before;
    }
    if (before != NULL) {
        memcpy(both, before, above + 1);
        both[above++] = '\n';
        kernel_unmap((void *)(uintptr_t)before, above);
    }
    memcpy(both + above, text, length + 1);
    check_lines(both + above, origin, say);
    errno = saved;
    return both;
}
