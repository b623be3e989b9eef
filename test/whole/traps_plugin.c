/* SPDX-License-Identifier: MIT
 *
 * A library that allocates while it is loaded, has data of each thread that the loader allocates, and frees
 * all of it when it is unloaded.
 */
#include <stdlib.h>
#include <string.h>

int plugin_use(int number);

static void *kept[20];
static __thread char of_this_thread[5000];

__attribute__((constructor)) static void begin(void)
{
    for (int i = 0; i < 20; i++)
        kept[i] = malloc(1337);
    free(kept[0]);
    kept[0] = calloc(1, 1337);
}

__attribute__((destructor)) static void end(void)
{
    for (int i = 0; i < 20; i++)
        free(kept[i]);
}

int plugin_use(int number)
{
    char *copy = strdup("some text of a library");
    int sum = copy[number % 5] + of_this_thread[number % 5000];

    of_this_thread[number % 5000] = 0;
    free(copy);
    return sum;
}
