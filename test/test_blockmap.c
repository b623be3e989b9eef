/* SPDX-License-Identifier: MIT
 *
 * The table of live blocks by itself, against a reference, alone and with threads.  It is small here, so that
 * its buckets run over all the time; what is asked of it is what blockmap.h says, so that any other store
 * passes too.
 *
 * build: sources
 * build: flags -DLD_MAX_BLOCKS=1000
 */
#include "test_support.h"

#include "blockmap.h"

/* Addresses come from a few pages, one for each 8 bytes, as an allocator hands out its smallest blocks: slots
 * are for larger ones. */
enum { PAGES = 8, SPACING = 8, PLACES = PAGES * 4096 / SPACING };

static const void *address_of_place(size_t place)
{
    return (const void *)(uintptr_t)(UINT64_C(0x7f12345a0000) + place * SPACING);
}

/* What a record of this place says, in its n-th life. */
static struct block block_of(size_t place, uint32_t life)
{
    return (struct block){
        .address = address_of_place(place),
        .size = place * 1337 + life,
        .stack = (uint32_t)(place * 31 + life) & 0xffffff,
        .mark = 0,
        .flags = (uint32_t)(place + life) & 15,
    };
}

static bool blocks_are_equal(const struct block *a, const struct block *b)
{
    return a->address == b->address && a->size == b->size && a->stack == b->stack && a->mark == b->mark &&
           a->flags == b->flags;
}

/* Takes a record out, and copies all that it says. */
static bool take_out(const void *address, struct block *out)
{
    bool was_there = blockmap_find(address, out);
    struct blockmap_removed removed = blockmap_remove(address);

    REQUIRE(blockmap_was_there(removed) == was_there);
    REQUIRE(!was_there || (removed.size == out->size && blockmap_removed_stack(removed) == out->stack &&
                           blockmap_removed_flags(removed) == out->flags));
    return was_there;
}

static size_t record_count(void)
{
    struct blockmap_stats stats;

    blockmap_get_stats(&stats);
    return stats.records;
}

static enum blockmap_step take_one(const struct block *block, void *address)
{
    *(const void **)address = block->address;
    return BLOCKMAP_STOP;
}

/* Each test starts with an empty table. */
static int empty_table(void **state)
{
    (void)state;
    struct block block;

    for (const void *address = NULL;; address = NULL) {
        blockmap_each(take_one, &address);
        if (address == NULL)
            break;
        REQUIRE(take_out(address, &block));
    }
    return blockmap_is_valid() && record_count() == 0 ? 0 : -1;
}

/* --- One record ----------------------------------------------------------------------------------------- */

static void a_record_comes_back_as_it_was_put_in(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 1337, 65536, ((size_t)1 << 31) - 1};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (uint32_t flags = 0; flags < 16; flags++) {
            struct block in = {.address = address_of_place(i),
                               .size = sizes[i],
                               .stack = flags % 2 != 0 ? 0xffffff : flags,
                               .flags = flags};
            struct block found, removed;

            assert_true(blockmap_insert(&in));
            assert_true(blockmap_find(in.address, &found));
            assert_true(blocks_are_equal(&in, &found));
            assert_true(take_out(in.address, &removed));
            assert_true(blocks_are_equal(&in, &removed));
            assert_false(blockmap_find(in.address, &found));
            assert_true(blockmap_is_valid());
        }
}

static void sizes_from_2_gib_on_are_never_understated_by_a_page(void **state)
{
    (void)state;
    static const size_t sizes[] = {(size_t)1 << 31, ((size_t)1 << 31) + 1, ((size_t)5 << 30) + 666,
                                   (size_t)1 << 42};
    struct block out;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct block in = {.address = address_of_place(i), .size = sizes[i]};

        assert_true(blockmap_insert(&in));
        assert_true(take_out(in.address, &out));
        assert_in_range(out.size, sizes[i], sizes[i] + 4095);
        /* A store may keep them exactly. */
        assert_int_equal(blockmap_kept_size(out.size), blockmap_kept_size(sizes[i]));
    }
    /* More than the field can say. */
    assert_true(blockmap_insert(&(struct block){.address = address_of_place(0), .size = PTRDIFF_MAX}));
    assert_true(take_out(address_of_place(0), &out));
    assert_in_range(out.size, ((size_t)1 << 43) - 4096, PTRDIFF_MAX);
}

/* Wild, interior, freed, misaligned: none is found, and nothing changes. */
static void bad_addresses_are_not_found_and_change_nothing(void **state)
{
    (void)state;
    static const uintptr_t wild[] = {0,
                                     1,
                                     7,
                                     8,
                                     16,
                                     4096,
                                     0x7ffffffffff8,
                                     0xffff800000000000,
                                     UINTPTR_MAX,
                                     UINTPTR_MAX - 7,
                                     0xfffffffffff8,
                                     0x1000000000000};
    struct blockmap_hold hold;
    struct block out, block = block_of(8, 1), freed = block_of(16, 1);

    assert_true(blockmap_insert(&block));
    assert_true(blockmap_insert(&freed));
    assert_true(take_out(freed.address, &out));
    assert_false(take_out(freed.address, &out));
    assert_false(blockmap_hold(freed.address, &hold));
    for (size_t i = 0; i < sizeof(wild) / sizeof(wild[0]); i++) {
        assert_false(take_out((const void *)wild[i], &out));
        assert_false(blockmap_find((const void *)wild[i], &out));
        assert_false(blockmap_hold((const void *)wild[i], &hold));
    }
    for (ptrdiff_t offset = -64; offset <= 64; offset++) {
        if (offset == 0)
            continue;
        assert_false(take_out((const char *)block.address + offset, &out));
        assert_false(blockmap_hold((const char *)block.address + offset, &hold));
    }
    assert_int_equal(record_count(), 1);
    assert_true(blockmap_is_valid());
    assert_true(take_out(block.address, &out));
    assert_true(blocks_are_equal(&block, &out));
}

static void null_is_never_put_on_record(void **state)
{
    (void)state;

    assert_false(blockmap_insert(&(struct block){.address = NULL, .size = 1337}));
    assert_int_equal(record_count(), 0);
}

static void a_held_record_does_not_answer_but_is_visited(void **state)
{
    (void)state;
    struct blockmap_hold hold;
    struct block out, old = block_of(5, 1), other = block_of(5, 2), grown = block_of(5, 3);
    const void *visited = NULL;

    assert_true(blockmap_insert(&old));
    assert_true(blockmap_hold(old.address, &hold));
    assert_true(blocks_are_equal(&old, &hold.block));
    assert_false(take_out(old.address, &out));
    assert_false(blockmap_find(old.address, &out));
    blockmap_each(take_one, &visited);
    assert_ptr_equal(visited, old.address);

    /* The address is another block's by now: that one comes and goes by itself. */
    assert_true(blockmap_insert(&other));
    assert_true(take_out(other.address, &out));
    assert_true(blocks_are_equal(&other, &out));

    blockmap_settle(&hold, &grown);
    assert_true(blockmap_find(grown.address, &out));
    assert_true(blocks_are_equal(&grown, &out));
    assert_true(blockmap_hold(grown.address, &hold));
    assert_true(blockmap_insert(&other));
    blockmap_settle(&hold, NULL);
    assert_int_equal(record_count(), 1);
    assert_true(take_out(other.address, &out));
    assert_true(blocks_are_equal(&other, &out));
    assert_true(blockmap_is_valid());
}

/* --- Walks ---------------------------------------------------------------------------------------------- */

struct visits {
    size_t count, again, limit;
    const void *last;
};

static enum blockmap_step visit_some_twice(const struct block *block, void *ctx)
{
    struct visits *visits = ctx;

    visits->count++;
    if (block->address != visits->last && visits->count % 2 == 1) {
        visits->last = block->address;
        visits->again++;
        return BLOCKMAP_AGAIN;
    }
    visits->last = block->address;
    return visits->count >= visits->limit ? BLOCKMAP_STOP : BLOCKMAP_NEXT;
}

static void a_visitor_can_stop_and_look_again(void **state)
{
    (void)state;
    struct visits visits = {.limit = SIZE_MAX};

    for (size_t i = 0; i < 100; i++) {
        struct block block = block_of(i * 7, 1);

        assert_true(blockmap_insert(&block));
    }
    blockmap_each(visit_some_twice, &visits);
    assert_int_equal(visits.count, 100 + visits.again);
    visits = (struct visits){.limit = 10};
    blockmap_each(visit_some_twice, &visits);
    assert_int_equal(visits.count, 10);
}

static struct {
    size_t calls;
    uint64_t seen; /* stacks, a bit for each */
} stacks;

static void note_stack(uint32_t stack)
{
    stacks.calls++;
    stacks.seen |= UINT64_C(1) << (stack % 64);
}

static void each_stack_is_that_of_a_record_held_or_not(void **state)
{
    (void)state;
    struct block blocks[3];
    struct blockmap_hold hold;

    for (uint32_t i = 0; i < 3; i++) {
        blocks[i] = block_of(i * 1000, 1);
        blocks[i].stack = 10 + i;
        assert_true(blockmap_insert(&blocks[i]));
    }
    assert_true(take_out(blocks[0].address, &(struct block){0}));
    assert_true(blockmap_hold(blocks[2].address, &hold));
    stacks.calls = stacks.seen = 0;
    blockmap_each_stack(note_stack);
    assert_int_equal(stacks.calls, 2);
    assert_int_equal(stacks.seen, UINT64_C(1) << 11 | UINT64_C(1) << 12);
    blocks[2].stack = 20;
    blockmap_settle(&hold, &blocks[2]);
    stacks.calls = stacks.seen = 0;
    blockmap_each_stack(note_stack);
    assert_int_equal(stacks.calls, 2);
    assert_int_equal(stacks.seen, UINT64_C(1) << 11 | UINT64_C(1) << 20);
}

/* --- Epochs --------------------------------------------------------------------------------------------- */

static void marks_are_exact_for_8192_epochs_and_never_younger_than_that(void **state)
{
    (void)state;
    enum { EPOCHS = 20000, EVERY = 500 };
    struct block out;

    for (uint32_t epoch = 1; epoch <= EPOCHS; epoch++) {
        struct block block = block_of(epoch / EVERY, 1);

        blockmap_start_epoch(epoch);
        block.mark = epoch;
        if (epoch % EVERY == 0)
            assert_true(blockmap_insert(&block));
    }
    for (uint32_t epoch = EVERY; epoch <= EPOCHS; epoch += EVERY) {
        assert_true(take_out(address_of_place(epoch / EVERY), &out));
        if (EPOCHS - epoch <= BLOCKMAP_EXACT_EPOCHS)
            assert_int_equal(out.mark, epoch);
        else
            assert_in_range(out.mark, epoch, EPOCHS - BLOCKMAP_EXACT_EPOCHS);
    }
}

/* --- Against a reference ------------------------------------------------------------------------------ */

struct reference {
    struct block live[PLACES]; /* address NULL: none */
    struct blockmap_hold holds[PLACES];
    bool is_held[PLACES];
    size_t count;
    uint32_t life;
};

static void reference_insert(struct reference *reference, size_t place)
{
    struct block block = block_of(place, ++reference->life);

    if (blockmap_insert(&block)) {
        reference->live[place] = block;
        reference->count++;
    } else {
        assert_true(reference->count >= LD_MAX_BLOCKS);
    }
}

static void reference_remove(struct reference *reference, size_t place)
{
    struct block out;

    assert_true(take_out(address_of_place(place), &out));
    assert_true(blocks_are_equal(&out, &reference->live[place]));
    reference->live[place].address = NULL;
    reference->count--;
}

static void reference_settle(struct reference *reference, size_t place, bool keep)
{
    struct block block = block_of(place, ++reference->life);

    /* If the address belongs to another block by now, this one has moved away. */
    keep = keep && reference->live[place].address == NULL;
    blockmap_settle(&reference->holds[place], keep ? &block : NULL);
    reference->is_held[place] = false;
    if (keep)
        reference->live[place] = block;
    else
        reference->count--;
}

static void reference_step(struct reference *reference, size_t place, unsigned choice)
{
    bool is_live = reference->live[place].address != NULL;
    struct block out;

    if (reference->is_held[place] && choice < 4) {
        reference_settle(reference, place, choice < 2);
    } else if (!is_live) {
        assert_false(blockmap_find(address_of_place(place), &out));
        assert_false(take_out(address_of_place(place), &out));
        reference_insert(reference, place);
    } else if (choice == 7 && !reference->is_held[place]) {
        assert_true(blockmap_hold(address_of_place(place), &reference->holds[place]));
        assert_true(blocks_are_equal(&reference->holds[place].block, &reference->live[place]));
        reference->is_held[place] = true;
        reference->live[place].address = NULL;
    } else {
        reference_remove(reference, place);
    }
}

/* Fills and empties the table by turns, with holds in between, and checks every invariant after every
 * step. */
static void model_of_random_operations(void **state)
{
    (void)state;
    static struct reference reference;
    uint64_t seed = test_seed();
    size_t steps = scaled(30000);

    for (size_t i = 0; i < steps; i++) {
        /* A window of places that moves: sometimes half of it fits, sometimes all. */
        size_t window = (i / 3000) % 2 == 0 ? PLACES : 1200;

        reference_step(&reference, random_below(&seed, window), (unsigned)random_below(&seed, 8));
        assert_true(blockmap_is_valid());
        assert_int_equal(record_count(), reference.count);
    }
    for (size_t place = 0; place < PLACES; place++) {
        if (reference.is_held[place])
            reference_settle(&reference, place, false);
        if (reference.live[place].address != NULL)
            reference_remove(&reference, place);
    }
    assert_int_equal(reference.count, 0);
    assert_int_equal(record_count(), 0);
}

/* --- Room --------------------------------------------------------------------------------------------- */

/* Fills the table with places from `first` on, and returns how many it took. */
static size_t fill(size_t first)
{
    size_t count = 0;

    while (first + count < PLACES) {
        struct block block = block_of(first + count, 1);

        if (!blockmap_insert(&block))
            break;
        count++;
    }
    return count;
}

static size_t displaced(void)
{
    struct blockmap_stats stats;

    blockmap_get_stats(&stats);
    return stats.displaced;
}

/* No tombstones: after a million insertions and removals it holds as much, as near to where it is looked
 * for. */
static void trap_14_cycles_leave_no_wear(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    size_t at_first = fill(0), displaced_at_first;
    struct block out;

    assert_true(at_first >= LD_MAX_BLOCKS);
    assert_int_equal(empty_table(NULL), 0);
    for (size_t i = 0; i < LD_MAX_BLOCKS * 9 / 10; i++)
        assert_true(blockmap_insert(&(struct block){.address = address_of_place(i)}));
    displaced_at_first = displaced();

    for (size_t i = 0; i < scaled(1000000); i++) {
        size_t place = random_below(&seed, LD_MAX_BLOCKS * 9 / 10);
        struct block block = block_of(place, 1);

        assert_true(take_out(block.address, &out));
        assert_true(blockmap_insert(&block));
    }
    assert_true(blockmap_is_valid());
    assert_true(displaced() <= displaced_at_first + LD_MAX_BLOCKS / 4);
    assert_int_equal(empty_table(NULL), 0);
    assert_int_equal(fill(0), at_first);
}

/* Of what LD_MAX_BLOCKS promises, nothing depends on which addresses are alive. */
static void trap_14_a_full_table_takes_a_record_for_each_that_leaves(void **state)
{
    (void)state;
    struct block out;

    for (size_t i = 0; i < LD_MAX_BLOCKS; i++)
        assert_true(blockmap_insert(&(struct block){.address = address_of_place(i)}));
    for (size_t i = 0; i + LD_MAX_BLOCKS < PLACES; i++) {
        assert_true(take_out(address_of_place(i), &out));
        assert_true(blockmap_insert(&(struct block){.address = address_of_place(i + LD_MAX_BLOCKS)}));
        assert_true(blockmap_is_valid());
    }
    assert_int_equal(record_count(), LD_MAX_BLOCKS);
}

/* --- Threads ------------------------------------------------------------------------------------------ */

enum { THREADS = 8 };

static atomic_bool is_over;

/* Each thread owns every THREADS-th place, so that all of them meet in every bucket. */
static void insert_and_remove(unsigned index, void *ctx)
{
    static struct block live[PLACES];
    uint64_t seed = test_seed() + index;
    struct block out;

    (void)ctx;
    for (size_t i = 0; i < scaled(200000); i++) {
        size_t place = random_below(&seed, PLACES / THREADS / 2) * THREADS + index;
        struct blockmap_hold hold;
        struct block block = block_of(place, (uint32_t)i);

        if (live[place].address == NULL) {
            if (blockmap_insert(&block))
                live[place] = block;
        } else if (i % 3 == 0) {
            REQUIRE(blockmap_hold(block.address, &hold));
            REQUIRE(blocks_are_equal(&hold.block, &live[place]));
            blockmap_settle(&hold, &block);
            live[place] = block;
        } else {
            REQUIRE(take_out(block.address, &out));
            REQUIRE(blocks_are_equal(&out, &live[place]));
            live[place].address = NULL;
        }
    }
    for (size_t place = index; place < PLACES; place += THREADS)
        if (live[place].address != NULL) {
            REQUIRE(take_out(address_of_place(place), &out));
            live[place].address = NULL;
        }
}

static void threads_leave_a_valid_table(void **state)
{
    (void)state;

    in_threads(THREADS, insert_and_remove, NULL);
    assert_int_equal(record_count(), 0);
    assert_true(blockmap_is_valid());
    assert_true(fill(0) >= LD_MAX_BLOCKS);
}

enum { LASTING = 100 };

/* Thread 0 walks; the others come and go, and take hold of the lasting blocks, which they own by turns. */
struct count_of_place {
    uint8_t seen[PLACES];
};

static enum blockmap_step count_place(const struct block *block, void *ctx)
{
    struct count_of_place *counts = ctx;
    size_t place = ((uintptr_t)block->address - (uintptr_t)address_of_place(0)) / SPACING;
    uint32_t life = (uint32_t)(block->size - place * 1337);
    struct block expected = block_of(place, life);

    REQUIRE(place < PLACES);
    REQUIRE(blocks_are_equal(block, &expected));
    counts->seen[place] = (uint8_t)(counts->seen[place] + 1);
    return BLOCKMAP_NEXT;
}

static void walk_or_disturb(unsigned index, void *ctx)
{
    static struct count_of_place counts;
    uint64_t seed = test_seed() + index;
    struct block out;

    (void)ctx;
    for (size_t i = 0; index == 0 && i < scaled(3000); i++) {
        memset(&counts, 0, sizeof(counts));
        blockmap_each(count_place, &counts);
        for (size_t place = 0; place < LASTING; place++)
            REQUIRE(counts.seen[place] == 1);
    }
    for (uint32_t i = 0; index != 0 && !atomic_load(&is_over); i++) {
        size_t place = LASTING + random_below(&seed, 64) * THREADS + index;
        size_t lasting = (i % (LASTING / THREADS)) * THREADS + index;
        struct block block = block_of(place, i % 1337), again = block_of(lasting, i % 1337);
        struct blockmap_hold hold;

        REQUIRE(blockmap_insert(&block));
        REQUIRE(blockmap_hold(again.address, &hold));
        blockmap_settle(&hold, i % 2 == 0 ? &hold.block : &again);
        REQUIRE(take_out(block.address, &out));
        REQUIRE(blocks_are_equal(&block, &out));
    }
    if (index == 0)
        atomic_store(&is_over, true);
}

static void a_walk_sees_what_lasts_exactly_once_and_whole(void **state)
{
    (void)state;

    for (size_t place = 0; place < LASTING; place++) {
        struct block block = block_of(place, 1);

        assert_true(blockmap_insert(&block));
    }
    in_threads(4, walk_or_disturb, NULL);
    assert_int_equal(record_count(), LASTING);
    assert_true(blockmap_is_valid());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_record_comes_back_as_it_was_put_in, empty_table),
        cmocka_unit_test_setup(sizes_from_2_gib_on_are_never_understated_by_a_page, empty_table),
        cmocka_unit_test_setup(bad_addresses_are_not_found_and_change_nothing, empty_table),
        cmocka_unit_test_setup(null_is_never_put_on_record, empty_table),
        cmocka_unit_test_setup(a_held_record_does_not_answer_but_is_visited, empty_table),
        cmocka_unit_test_setup(a_visitor_can_stop_and_look_again, empty_table),
        cmocka_unit_test_setup(model_of_random_operations, empty_table),
        cmocka_unit_test_setup(trap_14_cycles_leave_no_wear, empty_table),
        cmocka_unit_test_setup(each_stack_is_that_of_a_record_held_or_not, empty_table),
        cmocka_unit_test_setup(trap_14_a_full_table_takes_a_record_for_each_that_leaves, empty_table),
        cmocka_unit_test_setup(threads_leave_a_valid_table, empty_table),
        cmocka_unit_test_setup(a_walk_sees_what_lasts_exactly_once_and_whole, empty_table),
        cmocka_unit_test_setup(marks_are_exact_for_8192_epochs_and_never_younger_than_that, empty_table),
    };

    test_deadline(300);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
