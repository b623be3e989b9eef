/* SPDX-License-Identifier: MIT
 *
 * The table of live blocks on the address streams of real programs: CPython, Perl, SQLite and a C++ program,
 * recorded over jemalloc (bench/sample.h, bench/sample.sh).  Each ends when just below 80 % of the table is
 * taken, which is where a table that hashes badly would long have begun to lose blocks.  What it costs is
 * counted in records that are not in the first bucket of their search, so that a busy machine makes no
 * difference.
 *
 * build: sources
 * build: flags -DLD_MAX_BLOCKS=16384
 */
#include "test_support.h"

#include "bench/sample.h"
#include "blockmap.h"

enum { STREAMS = 4, EVENTS_MAX = 200000, CYCLES = 12 };

struct event {
    const void *address;
    bool is_insert;
};

struct stream {
    char name[32];
    size_t count, peak;
    struct event events[EVENTS_MAX];
};

static struct stream streams[STREAMS];

/* --- Reading the sample ------------------------------------------------------------------------------- */

static struct sample_list live, removed;

static uint64_t read_number(FILE *file)
{
    uint64_t number = 0;
    int byte;

    for (unsigned shift = 0;; shift += 7) {
        byte = getc(file);
        REQUIRE(byte != EOF && shift < 64);
        number |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return number;
    }
}

static struct event read_event(FILE *file, uint64_t *last)
{
    uint64_t number = read_number(file);
    uint64_t value = number / 4;

    switch (number % 4) {
    case SAMPLE_FRESH:
        *last += ((value >> 1) ^ (0 - (value & 1))) * 8;
        break;
    case SAMPLE_AGAIN:
        REQUIRE(value < removed.count);
        *last = sample_list_take(&removed, (size_t)value);
        break;
    default:
        REQUIRE(number % 4 == SAMPLE_REMOVE && value < live.count);
        uint64_t address = sample_list_take(&live, (size_t)value);
        sample_list_push(&removed, address);
        return (struct event){(const void *)(uintptr_t)address, false};
    }
    sample_list_push(&live, *last);
    return (struct event){(const void *)(uintptr_t)*last, true};
}

static void read_stream(FILE *file, struct stream *stream)
{
    uint64_t last = 0;

    for (size_t i = 0; (stream->name[i] = (char)getc(file)) != 0; i++)
        REQUIRE(i + 1 < sizeof stream->name);
    stream->count = (size_t)read_number(file);
    REQUIRE(stream->count <= EVENTS_MAX);

    live.count = removed.count = 0;
    live.capacity = SAMPLE_LIVE_MAX;
    removed.capacity = SAMPLE_REMOVED_MAX;
    for (size_t i = 0; i < stream->count; i++) {
        stream->events[i] = read_event(file, &last);
        if (live.count > stream->peak)
            stream->peak = live.count;
    }
}

static int read_streams(void **state)
{
    (void)state;
    FILE *file = fopen("test/streams.sample", "rb");

    REQUIRE(file != NULL);
    for (size_t i = 0; i < STREAMS; i++)
        read_stream(file, &streams[i]);
    REQUIRE(getc(file) == EOF);
    fclose(file);
    return 0;
}

/* --- Playing it --------------------------------------------------------------------------------------- */

/* What a record says about the event that made it. */
static struct block block_of(const struct stream *stream, size_t event)
{
    return (struct block){
        .address = stream->events[event].address,
        .size = (event * 1337) & 0xfffff,
        .stack = (uint32_t)event,
    };
}

static bool take_out(const void *address, struct block *out)
{
    return blockmap_find(address, out) && blockmap_was_there(blockmap_remove(address));
}

/* Every insert finds room, and every remove the very block that was inserted at that address last. */
static void play(const struct stream *stream)
{
    for (size_t i = 0; i < stream->count; i++) {
        struct block block = block_of(stream, i);

        if (stream->events[i].is_insert) {
            REQUIRE(blockmap_insert(&block));
        } else {
            REQUIRE(take_out(stream->events[i].address, &block));
            struct block inserted = block_of(stream, block.stack);
            REQUIRE(block.address == stream->events[i].address && inserted.address == block.address);
            REQUIRE(block.size == inserted.size);
        }
    }
}

static enum blockmap_step take_out_visited(const struct block *block, void *ctx)
{
    (void)ctx;
    REQUIRE(blockmap_was_there(blockmap_remove(block->address)));
    return BLOCKMAP_NEXT;
}

static int empty_table(void **state)
{
    (void)state;
    blockmap_each(take_out_visited, NULL);
    return 0;
}

static struct blockmap_stats table_stats(void)
{
    struct blockmap_stats stats;

    blockmap_get_stats(&stats);
    return stats;
}

/* --- Tests, each on one stream ------------------------------------------------------------------------ */

static void nothing_is_lost_below_80_per_cent(void **state)
{
    const struct stream *stream = *state;

    assert_in_range(stream->peak, LD_MAX_BLOCKS * 79 / 100, LD_MAX_BLOCKS * 80 / 100);
    play(stream);
    assert_int_equal(table_stats().records, stream->peak);
    assert_true(blockmap_is_valid());
}

static void cycles_leave_the_table_as_good_as_new(void **state)
{
    const struct stream *stream = *state;
    struct blockmap_stats first;

    play(stream);
    first = table_stats();
    for (size_t cycle = 0; cycle < CYCLES; cycle++) {
        empty_table(NULL);
        play(stream);
        assert_int_equal(table_stats().records, first.records);
        assert_int_equal(table_stats().displaced, first.displaced);
    }
    assert_true(blockmap_is_valid());
}

/* All that is alive, gathered by a walk. */
static struct block blocks[LD_MAX_BLOCKS];
static size_t block_count;

static enum blockmap_step gather(const struct block *block, void *ctx)
{
    (void)ctx;
    blocks[block_count++] = *block;
    return BLOCKMAP_NEXT;
}

/* Takes out some of the blocks and puts them back in the opposite order, again and again, with the table
 * never less than 40 % full: whatever wears out without ever being emptied shows here.  The program's blocks
 * had come in another order, so that it is the first rounds that the others are compared with. */
static void a_table_that_is_never_emptied_does_not_wear_out(void **state)
{
    const struct stream *stream = *state;
    struct blockmap_stats first;

    play(stream);
    first = table_stats();
    block_count = 0;
    blockmap_each(gather, NULL);
    for (size_t cycle = 0; cycle < 3 * CYCLES; cycle++) {
        size_t step = 2 + cycle % 5;

        for (size_t i = 0; i < block_count; i += step)
            REQUIRE(take_out(blocks[i].address, &blocks[i]));
        for (size_t i = block_count; i-- > 0;)
            REQUIRE(i % step != 0 || blockmap_insert(&blocks[i]));
        assert_int_equal(table_stats().records, first.records);
        if (cycle < CYCLES / 2)
            first = table_stats();
        assert_in_range(table_stats().displaced, 0, first.displaced + first.records / 50);
    }
    assert_true(blockmap_is_valid());
}

#define TEST_ON(test, index, program) \
    ((struct CMUnitTest){#test " (" program ")", test, NULL, empty_table, &streams[index]})
#define ON_EACH_STREAM(test) \
    TEST_ON(test, 0, "CPython"), TEST_ON(test, 1, "Perl"), TEST_ON(test, 2, "C++"), TEST_ON(test, 3, "SQLite")

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_EACH_STREAM(nothing_is_lost_below_80_per_cent),
        ON_EACH_STREAM(cycles_leave_the_table_as_good_as_new),
        ON_EACH_STREAM(a_table_that_is_never_emptied_does_not_wear_out),
    };

    test_deadline(300);
    return cmocka_run_group_tests(tests, read_streams, NULL);
}
