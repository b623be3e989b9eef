/* SPDX-License-Identifier: MIT
 *
 * A program of 64 MiB in small pages that is looked into, and says how many KiB are in huge ones then.
 */
#include "leakdetect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

enum { BLOCKS = 64, SIZE = 1 << 20 };

static void *blocks[BLOCKS];

int main(void)
{
    size_t sum = 0, value;
    char line[4096];
    FILE *map;

    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(SIZE);
        if (blocks[i] == NULL)
            abort();
        memset(blocks[i], 1, SIZE);
    }
    prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
    if (ld_lost_leaks(NULL, NULL) != 0)
        abort();
    map = fopen("/proc/self/smaps", "r");
    if (map == NULL)
        abort();
    while (fgets(line, sizeof(line), map) != NULL)
        if (sscanf(line, "AnonHugePages: %zu kB", &value) == 1)
            sum += value;
    fclose(map);
    printf("%zu\n", sum);
    return 0;
}
