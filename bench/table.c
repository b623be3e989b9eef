/* SPDX-License-Identifier: MIT
 *
 * The table of live blocks alone, on the address streams of real programs: nanoseconds for each insert and
 * remove pair, beyond what the replay itself costs with a store that does nothing.
 *
 *     table rounds name.stream...
 *
 * Every insert must find room and every remove its block, or the program fails: a table that loses blocks
 * would be fast for nothing.
 */
#define _POSIX_C_SOURCE 200809L
#include "blockmap.h"
#include "measure.h"
#include "stream.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define STREAMS_MAX 16

struct stream {
    const char *name;
    const struct stream_event *events;
    size_t count, inserts, peak;
    struct measure_sample empty_ns, pair_ns; /* for each insert */
};

/* --- Streams ------------------------------------------------------------------------------------------ */

static void stream_count(struct stream *stream)
{
    size_t live = 0;

    for (size_t i = 0; i < stream->count; i++) {
        if (stream->events[i].kind == STREAM_INSERT) {
            stream->inserts++;
            live++;
        } else {
            live--;
        }
        if (live > stream->peak)
            stream->peak = live;
    }
}

static void stream_open(struct stream *stream, const char *path)
{
    struct stat status;
    int fd = open(path, O_RDONLY);

    if (fd < 0 || fstat(fd, &status) != 0)
        measure_fail(path);
    stream->name = strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path;
    stream->count = (size_t)status.st_size / sizeof(struct stream_event);
    void *mapped = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (mapped == MAP_FAILED)
        measure_fail(path);
    stream->events = mapped;
    close(fd);
    stream_count(stream);
    if (stream->inserts == 0)
        measure_fail(path);
}

/* --- Stores ------------------------------------------------------------------------------------------- */

/* Called through pointers, so that the empty store costs what the real one's calls do. */
struct store {
    bool (*insert)(const struct block *block);
    bool (*remove)(const void *address);
};

static bool empty_insert(const struct block *block)
{
    (void)block;
    return true;
}

static bool empty_remove(const void *address)
{
    (void)address;
    return true;
}

static bool blockmap_remove_any(const void *address)
{
    return blockmap_was_there(blockmap_remove(address));
}

static const struct store empty_store = {empty_insert, empty_remove};
static const struct store blockmap = {blockmap_insert, blockmap_remove_any};

/* Returns the nanoseconds that all the events took. */
static uint64_t replay(const struct store *chosen, const struct stream *stream)
{
    /* Volatile, or the compiler sees through the pointers, and nothing is left of the empty calls. */
    const struct store *volatile hidden = chosen;
    const struct store *store = hidden;
    uint64_t started = measure_cpu_ns();

    for (size_t i = 0; i < stream->count; i++) {
        const struct stream_event *event = &stream->events[i];
        struct block block = {.address = (const void *)(uintptr_t)event->address, .size = event->size};
        bool is_done = event->kind == STREAM_INSERT ? store->insert(&block) : store->remove(block.address);

        if (!is_done)
            measure_fail("the table lost a block");
    }
    return measure_cpu_ns() - started;
}

static enum blockmap_step remove_visited(const struct block *block, void *ctx)
{
    (void)ctx;
    if (!blockmap_was_there(blockmap_remove(block->address)))
        measure_fail("a block that a walk found could not be removed");
    return BLOCKMAP_NEXT;
}

static void run_round(struct stream *stream)
{
    double inserts = (double)stream->inserts;
    double empty_ns = (double)replay(&empty_store, stream) / inserts;
    double ns = (double)replay(&blockmap, stream) / inserts;

    measure_add(&stream->empty_ns, empty_ns);
    measure_add(&stream->pair_ns, ns - empty_ns);
    blockmap_each(remove_visited, NULL);
}

static void print_row(struct stream *stream)
{
    struct measure_summary pair = measure_summarize(&stream->pair_ns);
    struct measure_summary empty = measure_summarize(&stream->empty_ns);

    printf("%.*s\t%zu\t%zu\t%.1f\t%.1f\t%.1f\t%.1f\n", (int)strcspn(stream->name, "."), stream->name,
           stream->inserts, stream->peak, pair.median, pair.min, pair.max, empty.median);
}

int main(int argc, char **argv)
{
    static struct stream streams[STREAMS_MAX];

    if (argc < 3 || argc - 2 > STREAMS_MAX)
        measure_fail("usage: table rounds name.stream...");
    size_t rounds = measure_number(argv[1], 1, MEASURE_ROUNDS_MAX - 1);
    size_t count = (size_t)argc - 2;
    for (size_t i = 0; i < count; i++)
        stream_open(&streams[i], argv[i + 2]);

    /* The first round touches every page; it is thrown away. */
    for (size_t round = 0; round <= rounds; round++) {
        for (size_t i = 0; i < count; i++) {
            if (round == 1)
                streams[i].empty_ns.count = streams[i].pair_ns.count = 0;
            run_round(&streams[i]);
        }
    }

    printf("stream\tpairs\tpeak live\tns per pair\tmin\tmax\tempty pair\n");
    for (size_t i = 0; i < count; i++)
        print_row(&streams[i]);
    return EXIT_SUCCESS;
}
