/* SPDX-License-Identifier: MIT
 *
 * A thread leaves its alternate signal stack to another one when it ends.  Nobody shares it, so that this is
 * where the other one is stopped.
 */
#include "leakdetect.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STACK_SIZE = 64 * 1024 };

static char stack[STACK_SIZE], untouched[STACK_SIZE];
static atomic_bool is_left, is_taken, is_over;

static void take_stack(void)
{
    const stack_t own = {.ss_sp = stack, .ss_size = sizeof(stack)};

    if (sigaltstack(&own, NULL) != 0)
        abort();
}

static void wait_for(atomic_bool *what)
{
    while (!atomic_load(what))
        usleep(1000);
}

static void *leave_it(void *unused)
{
    take_stack();
    return unused;
}

static void *inherit_it(void *unused)
{
    wait_for(&is_left);
    take_stack();
    atomic_store(&is_taken, true);
    wait_for(&is_over);
    return unused;
}

int main(void)
{
    pthread_t first, second;

    /* Both have lived at once, lest the second is where the first one was. */
    if (pthread_create(&second, NULL, inherit_it, NULL) != 0 ||
        pthread_create(&first, NULL, leave_it, NULL) != 0 || pthread_join(first, NULL) != 0)
        abort();
    atomic_store(&is_left, true);
    wait_for(&is_taken);
    ld_lost_leaks(NULL, NULL);
    atomic_store(&is_over, true);
    if (pthread_join(second, NULL) != 0)
        abort();
    if (memcmp(stack, untouched, sizeof(stack)) != 0)
        return 0;
    puts("the thread was not stopped on its signal stack");
    return 1;
}
