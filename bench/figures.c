/* SPDX-License-Identifier: MIT
 *
 * Preloaded after the library: with LEAKDETECT_BENCH_FIGURES naming a file, a line of ld_get_stats is
 * appended to it at exit, so that the bench can see that everything was recorded.  Only for
 * bench/programs.sh.
 */
#define _GNU_SOURCE
#include "leakdetect.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct depths {
    size_t blocks, frames;
};

static bool add_depth(const struct ld_leak *leak, void *ctx)
{
    struct depths *depths = ctx;

    depths->blocks++;
    depths->frames += leak->frame_count;
    return true;
}

/* At exit some blocks are still alive, and their stacks tell how deep they are on the average. */
__attribute__((destructor)) static void write_figures(void)
{
    const char *path = getenv("LEAKDETECT_BENCH_FIGURES");
    struct depths depths = {0, 0};
    struct ld_stats stats;
    char line[256];

    if (path == NULL)
        return;
    ld_now_leaks(add_depth, &depths);
    ld_get_stats(&stats);
    int length = snprintf(line, sizeof line, "%zu\t%zu\t%zu\t%zu\t%zu\t%zu\t%zu\t%.1f\n", stats.peak_blocks,
                          stats.peak_bytes, stats.dropped_blocks, stats.nested_blocks + stats.missed_blocks,
                          stats.cut_stacks, stats.stack_nodes, stats.stack_collections,
                          depths.blocks > 0 ? (double)depths.frames / (double)depths.blocks : 0.0);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, line, (size_t)length) != length)
        abort();
    close(fd);
}
