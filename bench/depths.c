/* SPDX-License-Identifier: MIT
 *
 * Loses one block from each depth of its stack, 1 to 60 calls below main, so that one sees in the report of a
 * tool how much of each stack it has kept.  Compiled as programs are, without frame pointers.
 */
#include <stdlib.h>

enum { DEEPEST = 60 };

static void *volatile place;

__attribute__((noinline)) static int descend(int left)
{
    if (left > 1)
        return descend(left - 1) + (place != NULL);
    place = malloc(1337);
    place = NULL;
    return 1;
}

int main(void)
{
    int sum = 0;

    for (int depth = 1; depth <= DEEPEST; depth++)
        sum += descend(depth);
    return sum == 0;
}
