/* SPDX-License-Identifier: MIT
 *
 * Writes recorded streams in the compact form of sample.h, each up to where so many blocks are alive for the
 * first time, or to its end.
 *
 *     sample live-blocks name.stream... >test/streams.sample
 */
#include "measure.h"
#include "sample.h"
#include "stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    struct sample_list live, removed;
    uint64_t last;
} model;

static void model_reset(void)
{
    model.live.count = model.removed.count = 0;
    model.live.capacity = SAMPLE_LIVE_MAX;
    model.removed.capacity = SAMPLE_REMOVED_MAX;
    model.last = 0;
}

static void write_number(uint64_t number)
{
    for (; number >= 128; number /= 128)
        putchar((int)(number % 128 + 128));
    putchar((int)number);
}

static void write_event(enum sample_kind kind, uint64_t value)
{
    write_number(value * 4 + kind);
}

static void write_insert(uint64_t address)
{
    size_t since = sample_list_find(&model.removed, address);
    uint64_t distance = (address - model.last) / 8;

    if (since < model.removed.count) {
        sample_list_take(&model.removed, since);
        write_event(SAMPLE_AGAIN, since);
    } else {
        int64_t signed_distance =
            address >= model.last ? (int64_t)distance : -(int64_t)((model.last - address) / 8);
        write_event(SAMPLE_FRESH, (uint64_t)signed_distance << 1 ^ (uint64_t)(signed_distance >> 63));
    }
    model.last = address;
    sample_list_push(&model.live, address);
}

static void write_remove(uint64_t address)
{
    size_t since = sample_list_find(&model.live, address);

    if (since == model.live.count)
        measure_fail("a stream removes a block that it never inserted");
    sample_list_take(&model.live, since);
    sample_list_push(&model.removed, address);
    write_event(SAMPLE_REMOVE, since);
}

/* How many events there are until so many blocks are alive. */
static size_t events_until(FILE *file, size_t live_wanted)
{
    struct stream_event event;
    size_t events = 0, live = 0;

    while (live < live_wanted && fread(&event, sizeof event, 1, file) == 1) {
        live = event.kind == STREAM_INSERT ? live + 1 : live - 1;
        events++;
    }
    rewind(file);
    return events;
}

static void write_stream(const char *path, size_t live_wanted)
{
    const char *name = strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path;
    FILE *file = fopen(path, "rb");
    struct stream_event event;

    if (file == NULL)
        measure_fail(path);
    size_t events = events_until(file, live_wanted);
    fwrite(name, 1, strcspn(name, "."), stdout);
    putchar(0);
    write_number(events);
    model_reset();
    for (; events > 0 && fread(&event, sizeof event, 1, file) == 1; events--) {
        if (event.kind == STREAM_INSERT)
            write_insert(event.address);
        else
            write_remove(event.address);
    }
    fclose(file);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        measure_fail("usage: sample live-blocks name.stream...");
    for (int i = 2; i < argc; i++)
        write_stream(argv[i], measure_number(argv[1], 1, SAMPLE_LIVE_MAX));
    return fflush(stdout) == 0 && !ferror(stdout) ? EXIT_SUCCESS : EXIT_FAILURE;
}
