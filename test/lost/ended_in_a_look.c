/* SPDX-License-Identifier: MIT
 *
 * A signal handler ends the program while its thread looks for lost blocks: the look at exit is not to wait
 * for that one.  Status 5.
 */
#include "leakdetect.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>

static void *blocks[20000];

static void end(int number)
{
    (void)number;
    exit(5);
}

int main(void)
{
    const struct itimerval soon = {.it_value = {.tv_usec = 50000}};

    for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
        blocks[i] = malloc(100);
    if (signal(SIGALRM, end) == SIG_ERR || setitimer(ITIMER_REAL, &soon, NULL) != 0)
        return 1;
    for (;;)
        ld_check(-1, NULL, NULL);
}
