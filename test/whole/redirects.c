/* SPDX-License-Identifier: MIT
 *
 * A program that knows which descriptors are free, and is asked for reports meanwhile.  Prints "redirects" if
 * they were.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 200000, EVERY_US = 3000 };

static pid_t ask(pid_t whom, useconds_t first_us)
{
    pid_t asker = fork();

    if (asker != 0)
        return asker;
    for (usleep(first_us); kill(whom, SIGURG) == 0; usleep(EVERY_US))
        continue;
    _exit(0);
}

int main(void)
{
    pid_t asker;
    int wrong = 0;

    /* The first report finds out whether it may have descriptors of its own. */
    kill(getpid(), SIGURG);
    usleep(500000);
    asker = ask(getpid(), 0);
    for (int i = 0; i < ROUNDS; i++) {
        close(0);
        wrong += open("/dev/null", O_RDONLY) != 0;
        wrong += dup2(1, 7) != 7;
        wrong += close(7) != 0;
    }
    kill(asker, SIGKILL);
    waitpid(asker, NULL, 0);
    if (wrong != 0)
        printf("%d times a descriptor was not the program's\n", wrong);
    else
        puts("redirects");
    return 0;
}
