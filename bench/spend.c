/* SPDX-License-Identifier: MIT
 *
 * Runs a command and prints what it spent: user seconds, system seconds, seconds that passed, peak memory in
 * KiB.
 *
 *     spend [NAME=VALUE]... COMMAND [ARGUMENT]...
 *
 * Variables are set for the command alone, so that what is preloaded there is not measured here.  Its output
 * is thrown away; its standard error is kept.  Exits with the command's own status.
 */
#define _DEFAULT_SOURCE
#include "measure.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static _Noreturn void run(char **arguments)
{
    int fd = open("/dev/null", O_WRONLY);

    if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0)
        measure_fail("/dev/null");
    while (*arguments != NULL && strchr(*arguments, '=') != NULL)
        putenv(*arguments++);
    if (*arguments == NULL)
        measure_fail("no command");
    execvp(*arguments, arguments);
    measure_fail(*arguments);
}

int main(int argc, char **argv)
{
    struct rusage usage;
    int status;

    if (argc < 2)
        measure_fail("usage: spend [NAME=VALUE]... command [argument]...");
    uint64_t started = measure_wall_ns();
    pid_t child = fork();
    if (child < 0)
        measure_fail("fork");
    if (child == 0)
        run(argv + 1);
    if (wait4(child, &status, 0, &usage) != child)
        measure_fail("wait4");
    double passed = (double)(measure_wall_ns() - started) / 1e9;

    printf("%.3f\t%.3f\t%.3f\t%ld\n", seconds(usage.ru_utime), seconds(usage.ru_stime), passed,
           usage.ru_maxrss);
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
}
