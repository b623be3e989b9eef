/* SPDX-License-Identifier: MIT
 *
 * A program that shuts itself in: from then on whoever calls mincore is killed, and in a child that it forks
 * whoever calls anything but what memory, open files, a signal stack and an end need, as in the sandbox of
 * OpenSSH's server.  Both go on to allocate in functions that have not done so before, and take a signal
 * stack; the child loses a block.  Status 77: there is no such sandbox.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SITE __attribute__((noinline))

static void *volatile block;

static SITE void from_here(size_t size)
{
    block = malloc(size);
    free(block);
}

static SITE void from_there(size_t size)
{
    char *volatile frame = __builtin_alloca(size);

    frame[0] = 1;
    from_here(size);
    block = calloc(size, frame[0]);
    free(block);
}

static void shut_in(struct sock_filter *program, size_t length)
{
    const struct sock_fprog filter = {.len = (unsigned short)length, .filter = program};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        exit(77);
}

static void go_on(void)
{
    static char bytes[65536];
    const stack_t stack = {.ss_sp = bytes, .ss_size = sizeof(bytes)}, none = {.ss_flags = SS_DISABLE};

    if (sigaltstack(&stack, NULL) != 0 || sigaltstack(&stack, NULL) != 0 || sigaltstack(&none, NULL) != 0)
        abort();
    from_here(100);
    for (size_t size = 10; size < 5000; size += 500)
        from_there(size);
}

#define NUMBER            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))
#define IF_NOT(number, n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, (n))
#define KILL              BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL)
#define ALLOW             BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define ALLOW_IF(number)  IF_NOT(number, 1), ALLOW

int main(void)
{
    struct sock_filter without_mincore[] = {NUMBER, IF_NOT(SYS_mincore, 1), KILL, ALLOW};
    struct sock_filter bare[] = {
        NUMBER,
        ALLOW_IF(SYS_read),
        ALLOW_IF(SYS_write),
        ALLOW_IF(SYS_rt_sigprocmask),
        ALLOW_IF(SYS_sigaltstack),
        ALLOW_IF(SYS_mmap),
        ALLOW_IF(SYS_munmap),
        ALLOW_IF(SYS_madvise),
        ALLOW_IF(SYS_brk),
        ALLOW_IF(SYS_futex),
        ALLOW_IF(SYS_getrandom),
        ALLOW_IF(SYS_exit_group),
        KILL,
    };
    int status = 0;
    pid_t child;

    block = malloc(100);
    free(block);
    child = fork();
    if (child == 0) {
        shut_in(bare, sizeof(bare) / sizeof(bare[0]));
        go_on();
        block = malloc(1337);
        block = NULL;
        exit(0);
    }
    if (waitpid(child, &status, 0) != child || status != 0)
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    shut_in(without_mincore, sizeof(without_mincore) / sizeof(without_mincore[0]));
    go_on();
    return 0;
}
