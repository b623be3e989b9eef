/* Takes blocks in every way and gives them all back.  Exits with 0 if each could be written to its end, and
 * the record is empty. */
#include "leakdetect.h"

#include <stdlib.h>
#include <string.h>

static void fill(char *block, size_t size)
{
    if (block == NULL)
        exit(2);
    memset(block, 0x5a, size);
}

int main(void)
{
    struct ld_stats stats;

    fill(ld_malloc(1337), 1337); /* before the start: not on record */
    ld_init();
    for (size_t size = 1; size < 100000; size = size * 3 / 2 + 1) {
        char *plain = ld_malloc(size), *zeroed = ld_calloc(1, size), *aligned = ld_aligned_alloc(256, size);

        fill(plain, size);
        fill(zeroed, size);
        fill(aligned, size);
        plain = ld_realloc(plain, 2 * size);
        aligned = ld_realloc(aligned, size / 2 + 1);
        zeroed = ld_realloc(zeroed, size + 100000);
        fill(plain, 2 * size);
        fill(aligned, size / 2 + 1);
        fill(zeroed, size + 100000);
        ld_free(aligned);
        ld_free(plain);
        ld_free(zeroed);
    }
    ld_get_stats(&stats);
    return stats.live_blocks != 0;
}
