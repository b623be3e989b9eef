/* SPDX-License-Identifier: MIT
 *
 * The command: `leakdetect run [options] -- program arguments...` finds the library to be preloaded, checks
 * what would otherwise fail silently, and becomes the program.  Nothing stands between the program and
 * whoever started it then, so its exit status, its signals and its process id are its own.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "options.h"

/* As env, nohup and timeout have it. */
enum { STATUS_USAGE = 125, STATUS_CANNOT_RUN = 126, STATUS_NOT_FOUND = 127 };

enum { INTERPRETERS_MAX = 5 }; /* scripts whose interpreter is a script */

__attribute__((format(printf, 2, 3))) static _Noreturn void fail(int status, const char *format, ...)
{
    va_list arguments;

    fputs("leakdetect: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(status);
}

/* --- Help --------------------------------------------------------------------------------------------- */

/* The help of an option, folded into lines. */
static void print_folded(const char *text, size_t indent, size_t width)
{
    size_t column = 0;

    while (*text != '\0') {
        size_t word = strcspn(text, " ");

        if (column != 0 && column + 1 + word > width) {
            putchar('\n');
            column = 0;
        }
        if (column == 0) {
            printf("%*s", (int)indent, "");
        } else {
            putchar(' ');
            column++;
        }
        /* In a terminal quotes of the other kind are usual. */
        for (size_t i = 0; i < word; i++)
            putchar(text[i] == '`' ? '\'' : text[i]);
        column += word;
        text += word + strspn(text + word, " ");
    }
    putchar('\n');
}

static void print_option(const struct option *option)
{
    printf("  --%s=", option->name);
    for (const char *c = option->values; *c != '\0'; c++)
        putchar(option->kind == OPTION_CHOICE && *c == ' ' ? '|' : *c);
    putchar('\n');
    print_folded(option->help, 6, 72);
}

static _Noreturn void print_usage(FILE *out, int status)
{
    fputs("usage: leakdetect run [--OPTION=VALUE]... [--] PROGRAM [ARGUMENT]...\n"
          "       leakdetect --help | --version | --library\n",
          out);
    exit(status);
}

static _Noreturn void print_help(void)
{
    puts("usage: leakdetect run [--OPTION=VALUE]... [--] PROGRAM [ARGUMENT]...\n"
         "\n"
         "Runs PROGRAM, which needs no rebuilding, with every block that it allocates on record, and\n"
         "reports when it ends which of them it has lost: no pointer leads to them any more. The exit\n"
         "status is the program's, or 23 if a block is definitely lost (--exitcode); 125 if leakdetect\n"
         "itself fails, 126 if the program cannot be run, and 127 if it is not found.\n"
         "\n"
         "Options, which may also be set in the environment, LEAKDETECT_OPTIONS=\"name=value:name=value\".\n"
         "Numbers may end in k, m or g.\n");
    for (size_t i = 0; i < options_count; i++)
        print_option(&options_table[i]);
    puts("\n'leakdetect --version' prints the version, 'leakdetect --library' the path of the library to be\n"
         "preloaded. More is in the manual page, leakdetect(1).");
    exit(0);
}

/* --- The library -------------------------------------------------------------------------------------- */

/* Beside the command, however both were installed: ../lib/leakdetect. */
static const char *find_library(void)
{
    static char path[PATH_MAX];
    static const char below[] = "/lib/leakdetect/libleakdetect_malloc.so";
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - sizeof(below));

    if (length < 0)
        fail(STATUS_USAGE, "cannot find its own place: /proc/self/exe: %s", strerror(errno));
    path[length] = '\0';
    /* Two levels up, or one from a command that lies in the root folder. */
    for (int i = 0; i < 2; i++) {
        char *slash = strrchr(path, '/');

        if (slash != NULL)
            *slash = '\0';
    }
    memcpy(path + strlen(path), below, sizeof(below));
    if (access(path, R_OK) != 0)
        fail(STATUS_USAGE, "%s: %s; was leakdetect installed by `make install`?", path, strerror(errno));
    if (strpbrk(path, ": ") != NULL)
        fail(STATUS_USAGE, "%s: the dynamic loader cannot preload a path with a space or a colon in it",
             path);
    return path;
}

/* --- The program -------------------------------------------------------------------------------------- */

/* As execvp finds it. */
static const char *find_program(const char *name)
{
    static char path[PATH_MAX];
    const char *list = getenv("PATH");
    int error = ENOENT;

    if (strchr(name, '/') != NULL) {
        if (access(name, F_OK) != 0)
            fail(STATUS_NOT_FOUND, "%s: %s", name, strerror(errno));
        return name;
    }
    for (const char *folder = list == NULL ? "/bin:/usr/bin" : list; folder != NULL;) {
        size_t length = strcspn(folder, ":");
        struct stat file;

        if (snprintf(path, sizeof(path), "%.*s%s%s", (int)length, folder, length == 0 ? "" : "/", name) <
                (int)sizeof(path) &&
            stat(path, &file) == 0 && S_ISREG(file.st_mode)) {
            if (access(path, X_OK) == 0)
                return path;
            error = EACCES;
        }
        folder = folder[length] == ':' ? folder + length + 1 : NULL;
    }
    if (error == EACCES)
        fail(STATUS_CANNOT_RUN, "%s: found, but may not be executed", name);
    fail(STATUS_NOT_FOUND, "%s: not found; PATH is searched unless the name has a slash in it", name);
}

static void check_file(const char *program, int fd)
{
    struct stat file;

    if (fstat(fd, &file) != 0 || S_ISDIR(file.st_mode))
        fail(STATUS_CANNOT_RUN, "%s: is not a program", program);
    if (access(program, X_OK) != 0)
        fail(STATUS_CANNOT_RUN, "%s: may not be executed: %s", program, strerror(errno));
}

/* What the dynamic loader does not preload anything into, and says nothing of. */
static void check_rights(const char *program, int fd)
{
    struct stat file;

    if (fstat(fd, &file) != 0)
        return;
    if (((file.st_mode & S_ISUID) != 0 && file.st_uid != getuid()) ||
        ((file.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && file.st_gid != getgid()) ||
        (getuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0))
        fail(STATUS_CANNOT_RUN,
             "%s: gets rights that its user does not have, so nothing is preloaded into it; run it as the "
             "user whose rights it gets, or a copy of it without them",
             program);
}

static void check_elf(const char *program, int fd, const unsigned char *start, size_t size)
{
    Elf64_Ehdr header;
    Elf64_Phdr segment;

    if (size < sizeof(header) || start[EI_CLASS] != ELFCLASS64)
        fail(STATUS_CANNOT_RUN, "%s: is not a 64-bit program, as this library is", program);
    memcpy(&header, start, sizeof(header));
    for (unsigned i = 0; i < header.e_phnum; i++) {
        off_t at = (off_t)(header.e_phoff + (Elf64_Off)i * header.e_phentsize);

        if (pread(fd, &segment, sizeof(segment), at) != (ssize_t)sizeof(segment))
            break;
        if (segment.p_type == PT_INTERP)
            return;
    }
    fail(STATUS_CANNOT_RUN,
         "%s: is a static executable, into which nothing can be preloaded; link it with -lleakdetect_malloc "
         "instead",
         program);
}

/* The interpreter of a script that begins with "#!". */
static bool get_interpreter(const char *start, char *out, size_t size)
{
    const char *at = start + 2 + strspn(start + 2, " \t");
    size_t length = strcspn(at, " \t\n");

    if (strncmp(start, "#!", 2) != 0 || length == 0 || length >= size)
        return false;
    memcpy(out, at, length);
    out[length] = '\0';
    return true;
}

static void check_program(const char *program)
{
    char start[256 + 1], interpreter[256];

    for (int i = 0; i < INTERPRETERS_MAX; i++) {
        int fd = open(program, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        ssize_t length;

        /* What may be executed but not read runs all the same, and what may not says so itself. */
        if (fd < 0)
            return;
        check_file(program, fd);
        length = read(fd, start, sizeof(start) - 1);
        start[length < 0 ? 0 : length] = '\0';
        if (length >= SELFMAG && memcmp(start, ELFMAG, SELFMAG) == 0) {
            check_rights(program, fd);
            check_elf(program, fd, (const unsigned char *)start, (size_t)length);
        }
        close(fd);
        if (length < 2 || !get_interpreter(start, interpreter, sizeof(interpreter)))
            return;
        program = interpreter;
    }
}

/* --- Setting up --------------------------------------------------------------------------------------- */

static bool has_complaints;

static void complain(const char *line)
{
    fprintf(stderr, "%s\n", line);
    has_complaints = true;
}

/* Before what the variable has already, with a separator. */
static void set_variable(const char *name, const char *first, const char *second, const char *separator)
{
    char *value;

    if (second == NULL || second[0] == '\0')
        second = separator = "";
    if (asprintf(&value, "%s%s%s", first, separator, second) < 0 || setenv(name, value, 1) != 0)
        fail(STATUS_USAGE, "%s", strerror(errno));
    free(value);
}

/* --an-option=value, or with underscores, as "an_option=value" added to the options, which are all read as
 * the program will: texts that are not too long one by one may be together. */
static void add_option(struct options *options, const char *argument)
{
    char *option = strdup(argument + 2);
    const char *set = getenv("LEAKDETECT_OPTIONS");

    if (option == NULL)
        fail(STATUS_USAGE, "%s", strerror(errno));
    for (char *c = option; *c != '\0' && *c != '='; c++)
        if (*c == '-')
            *c = '_';
    options_parse_argument(options, argument, option, complain);
    /* The last one counts. */
    if (set != NULL && set[0] != '\0')
        set_variable("LEAKDETECT_OPTIONS", set, option, ":");
    else
        set_variable("LEAKDETECT_OPTIONS", option, NULL, "");
    free(option);
}

static _Noreturn void run(char **arguments)
{
    static struct options options;
    const char *program, *set = getenv("LEAKDETECT_OPTIONS");

    options_init(&options);
    /* What is wrong there the program says itself. */
    if (set != NULL)
        options_parse(&options, "LEAKDETECT_OPTIONS", set, NULL);
    for (; *arguments != NULL && (*arguments)[0] == '-'; arguments++) {
        if (strcmp(*arguments, "--") == 0) {
            arguments++;
            break;
        }
        if (strcmp(*arguments, "--help") == 0 || strcmp(*arguments, "-h") == 0)
            print_help();
        if (strncmp(*arguments, "--", 2) != 0)
            fail(STATUS_USAGE, "%s: there is no such option; `leakdetect run --help` lists them all",
                 *arguments);
        add_option(&options, *arguments);
    }
    if (has_complaints)
        exit(STATUS_USAGE);
    if (*arguments == NULL)
        fail(STATUS_USAGE, "no program to run: leakdetect run [options] -- program arguments...");
    program = find_program(*arguments);
    check_program(program);
    set_variable("LD_PRELOAD", find_library(), getenv("LD_PRELOAD"), ":");
    execv(program, arguments);
    if (errno == ENOEXEC) {
        /* A script without "#!", as shells and execvp run it. */
        execvp(*arguments, arguments);
    }
    fail(STATUS_CANNOT_RUN, "%s: %s", program, strerror(errno));
}

int main(int argc, char **argv)
{
    if (argc < 2)
        print_usage(stderr, STATUS_USAGE);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        print_help();
    if (strcmp(argv[1], "--version") == 0) {
        puts("leakdetect " VERSION);
        return 0;
    }
    if (strcmp(argv[1], "--library") == 0) {
        puts(find_library());
        return 0;
    }
    if (strcmp(argv[1], "run") == 0)
        run(argv + 2);
    fprintf(stderr, "leakdetect: %s: there is no such command\n", argv[1]);
    print_usage(stderr, STATUS_USAGE);
}
