/* SPDX-License-Identifier: MIT
 *
 * A program that shuts itself in by seccomp(2), not prctl(2), where it needs poll and usleep alone to wait:
 * whoever calls ppoll or ioctl is killed.  A thread waits while the program asks itself for a look, by
 * SIGUSR2, which finds the block that it has lost.  Status 77: there is no such sandbox.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int ends[2];
static void *volatile block;

static void *wait_in_poll(void *unused)
{
    struct pollfd end = {.fd = ends[0], .events = POLLIN};
    while (poll(&end, 1, -1) != 1)
        continue;
    return unused;
}

int main(void)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ppoll, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog filter = {.len = sizeof(program) / sizeof(program[0]), .filter = program};
    pthread_t thread;

    block = malloc(1337);
    block = NULL;
    if (pipe(ends) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) != 0)
        return 77;
    if (pthread_create(&thread, NULL, wait_in_poll, NULL) != 0)
        return 1;
    for (int i = 0; i < 5; i++) {
        usleep(50000);
        if (pthread_kill(thread, SIGUSR2) != 0)
            return 1;
    }
    usleep(300000);
    if (write(ends[1], "", 1) != 1 || pthread_join(thread, NULL) != 0)
        return 1;
    return 0;
}
