/* SPDX-License-Identifier: MIT
 *
 * For test_embedded.sh: prints what ld_init and ld_get_stats say of the sizes, and exits with 0 if blocks are
 * recorded until the table is full, and again when there is room.
 */
#include <leakdetect.h>
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    size_t own = ld_init();
    struct ld_stats stats;
    void **blocks;
    size_t capacity;

    ld_get_stats(&stats);
    capacity = stats.capacity_blocks;
    printf("%zu %zu %zu\n", own, capacity, stats.stack_capacity);
    blocks = malloc(2 * capacity * sizeof(*blocks));
    if (blocks == NULL)
        return 1;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 2 * capacity; i++)
            blocks[i] = ld_malloc(i);
        ld_get_stats(&stats);
        if (stats.live_blocks < capacity * 4 / 5 || stats.live_blocks + stats.dropped_blocks < 2 * capacity)
            return 2;
        for (size_t i = 0; i < 2 * capacity; i++)
            ld_free(blocks[i]);
        ld_get_stats(&stats);
        if (stats.live_blocks != 0 || stats.live_bytes != 0)
            return 3;
    }
    free(blocks);
    return 0;
}
