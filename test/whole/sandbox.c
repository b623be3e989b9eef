/* SPDX-License-Identifier: MIT
 *
 * A program that shuts itself in: from then on whoever calls mincore is killed, as in the sandbox of
 * OpenSSH's server. It goes on to allocate in functions that have not done so before.  Status 77: there is no
 * such sandbox.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

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

int main(void)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mincore, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog filter = {.len = sizeof(program) / sizeof(program[0]), .filter = program};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        return 77;
    from_here(100);
    for (size_t size = 10; size < 5000; size += 500)
        from_there(size);
    return 0;
}
