/* SPDX-License-Identifier: MIT
 *
 * A program for which a thread of the kernel's looks for work in a ring (io_uring(7), SQPOLL).  It is among
 * the program's, takes no signals, and has no stack: nothing is unknown because of it.
 */
#define _GNU_SOURCE
#include "leakdetect.h"

#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
    struct io_uring_params parameters = {.flags = IORING_SETUP_SQPOLL, .sq_thread_idle = 10000};
    char report[4096];
    int ring = (int)syscall(SYS_io_uring_setup, 8, &parameters), pipes[2];
    ssize_t length;

    if (ring < 0) {
        puts("the kernel has no such rings");
        return 0;
    }
    if (pipe(pipes) != 0 || ld_check(pipes[1], NULL, NULL) != 0)
        abort();
    length = read(pipes[0], report, sizeof(report) - 1);
    if (length <= 0)
        abort();
    report[length] = '\0';
    fputs(report, stdout);
    return strstr(report, "could not be stopped") != NULL;
}
