/* SPDX-License-Identifier: MIT
 *
 * Walks over the live blocks: what lasts is seen exactly once and whole, whatever the callback and other
 * threads do.
 *
 * build: with test/frames_cxx.cc
 */
#include "test_support.h"

#include "frames_cxx.h"

/* --- While others allocate and free --------------------------------------------------------------------- */

/* Each site makes blocks of its own sizes only, so that a record with the size of one block and the stack of
 * another shows itself.  Each takes an old block: the last site reallocates it, the others free it. */
enum { SITES = 4, LASTING = 2000, CHURNERS = 3, CHURNED = 64 };

static SITE void *remake_at_0(void *old, size_t k)
{
    ld_free(old);
    char *block = ld_malloc(k * SITES + 0);

    RETURN_FROM_SITE(block);
}

static SITE void *remake_at_1(void *old, size_t k)
{
    ld_free(old);
    char *block = ld_calloc(1, k * SITES + 1);

    RETURN_FROM_SITE(block);
}

static SITE void *remake_at_2(void *old, size_t k)
{
    ld_free(old);
    char *block = ld_aligned_alloc(32, k * SITES + 2);

    RETURN_FROM_SITE(block);
}

static SITE void *remake_at_3(void *old, size_t k)
{
    char *block = ld_realloc(old, k * SITES + 3);

    RETURN_FROM_SITE(block);
}

static void *(*const remake_at[SITES])(void *old, size_t k) = {remake_at_0, remake_at_1, remake_at_2,
                                                               remake_at_3};
static const void *frame_of_site[SITES];

static void learn_sites(void)
{
    struct snapshot record;

    for (size_t site = 0; site < SITES; site++) {
        void *block = remake_at[site](NULL, 1000);

        REQUIRE(find_block(block, &record));
        frame_of_site[site] = record.frames[0];
        ld_free(block);
    }
}

static void *lasting[LASTING];
static atomic_bool is_over;

/* Lasting blocks have sizes from this one on, churned ones smaller ones. */
#define LASTING_SIZE ((size_t)5000)

struct sighting {
    size_t seen[LASTING], churned;
};

static bool see(const struct ld_leak *leak, void *ctx)
{
    struct sighting *sighting = ctx;
    size_t k = leak->size / SITES;

    REQUIRE(leak->frame_count > 0);
    REQUIRE(leak->frames[0] == frame_of_site[leak->size % SITES]);
    if (k < LASTING_SIZE) {
        sighting->churned++;
        return true;
    }
    REQUIRE(k - LASTING_SIZE < LASTING);
    REQUIRE(leak->address == lasting[k - LASTING_SIZE]);
    sighting->seen[k - LASTING_SIZE]++;
    return true;
}

static void walk_often(void)
{
    static struct sighting sighting;

    for (size_t i = 0; i < scaled(400); i++) {
        memset(&sighting, 0, sizeof(sighting));
        size_t count = ld_now_leaks(see, &sighting);

        for (size_t k = 0; k < LASTING; k++)
            REQUIRE(sighting.seen[k] == 1);
        REQUIRE(count == LASTING + sighting.churned);
    }
}

static void churn_until_over(uint64_t seed)
{
    void *blocks[CHURNED] = {NULL};

    while (!atomic_load(&is_over)) {
        size_t i = random_below(&seed, CHURNED);

        blocks[i] = remake_at[random_below(&seed, SITES)](blocks[i], 1 + random_below(&seed, 300));
    }
    for (size_t i = 0; i < CHURNED; i++)
        ld_free(blocks[i]);
}

static void walk_or_churn(unsigned index, void *ctx)
{
    (void)ctx;
    if (index != 0) {
        churn_until_over(test_seed() + index);
        return;
    }
    walk_often();
    atomic_store(&is_over, true);
}

static void trap_26_what_lasts_is_seen_exactly_once_and_whole(void **state)
{
    (void)state;

    test_seed();
    learn_sites();
    for (size_t k = 0; k < LASTING; k++)
        lasting[k] = remake_at[k % SITES](NULL, LASTING_SIZE + k);
    in_threads(1 + CHURNERS, walk_or_churn, NULL);
    assert_int_equal(ld_now_leaks(NULL, NULL), LASTING);
    for (size_t k = 0; k < LASTING; k++)
        ld_free(lasting[k]);
    assert_int_equal(ld_now_leaks(NULL, NULL), 0);
}

/* --- What a callback may do ----------------------------------------------------------------------------- */

enum { BLOCKS = 100 };
static void *blocks[BLOCKS];

static int make_blocks(void **state)
{
    (void)state;
    for (size_t i = 0; i < BLOCKS; i++)
        blocks[i] = ld_malloc(1337);
    return 0;
}

static bool free_it(const struct ld_leak *leak, void *ctx)
{
    (void)ctx;
    ld_free((void *)(uintptr_t)leak->address);
    return true;
}

static int free_blocks(void **state)
{
    (void)state;
    ld_now_leaks(free_it, NULL);
    return ld_now_leaks(NULL, NULL) == 0 ? 0 : -1;
}

static void null_callback_counts(void **state)
{
    (void)state;

    assert_int_equal(ld_now_leaks(NULL, NULL), BLOCKS);
    assert_int_equal(ld_leaks_since(0, NULL, NULL), BLOCKS);
}

static void callback_may_free_the_block_it_was_handed(void **state)
{
    (void)state;

    assert_int_equal(ld_now_leaks(free_it, NULL), BLOCKS);
    assert_int_equal(ld_now_leaks(NULL, NULL), 0);
}

static bool allocate_another(const struct ld_leak *leak, void *ctx)
{
    size_t *count = ctx;

    if (leak->size == 1337 && *count < BLOCKS) {
        REQUIRE(ld_malloc(666) != NULL);
        ld_free(ld_malloc(667));
        ++*count;
    }
    return true;
}

static void callback_may_allocate(void **state)
{
    (void)state;
    size_t count = 0;

    assert_true(ld_now_leaks(allocate_another, &count) >= BLOCKS);
    assert_int_equal(count, BLOCKS);
    assert_int_equal(count_of_size(666, NULL), BLOCKS);
    assert_int_equal(count_of_size(667, NULL), 0);
}

static bool name_all_frames(const struct ld_leak *leak, void *ctx)
{
    struct ld_symbol symbol;
    char text[200];

    for (size_t i = 0; i < leak->frame_count; i++) {
        ld_symbolize_frame(leak, i, &symbol);
        ld_symbol_name(leak->frames[i], text, sizeof(text));
    }
    ++*(size_t *)ctx;
    return true;
}

static void callback_may_symbolize(void **state)
{
    (void)state;
    size_t count = 0;

    assert_int_equal(ld_now_leaks(name_all_frames, &count), BLOCKS);
    assert_int_equal(count, BLOCKS);
    assert_int_equal(ld_now_leaks(NULL, NULL), BLOCKS);
}

static bool walk_again(const struct ld_leak *leak, void *ctx)
{
    struct snapshot before, again;

    snapshot_take(leak, &before);
    REQUIRE(find_block(leak->address, &again));
    REQUIRE(snapshots_are_equal(&before, &again));
    /* The nested walk has not disturbed what this one was handed. */
    snapshot_take(leak, &again);
    REQUIRE(snapshots_are_equal(&before, &again));
    ++*(size_t *)ctx;
    return true;
}

static void callback_may_walk(void **state)
{
    (void)state;
    size_t count = 0;

    assert_int_equal(ld_now_leaks(walk_again, &count), BLOCKS);
    assert_int_equal(count, BLOCKS);
}

static bool stop_after(const struct ld_leak *leak, void *ctx)
{
    (void)leak;
    return --*(size_t *)ctx > 0;
}

static void callback_may_stop_the_walk(void **state)
{
    (void)state;

    for (size_t limit = 1; limit <= BLOCKS; limit += 33) {
        size_t rest = limit;

        assert_int_equal(ld_now_leaks(stop_after, &rest), limit);
        assert_int_equal(rest, 0);
    }
}

static bool jump_out(const struct ld_leak *leak, void *ctx)
{
    (void)leak;
    longjmp(*(jmp_buf *)ctx, 1);
}

static void callback_may_leave_by_longjmp(void **state)
{
    (void)state;
    jmp_buf out;

    for (volatile int i = 0; i < 100; i++)
        if (setjmp(out) == 0) {
            ld_now_leaks(jump_out, &out);
            fail();
        }
    null_callback_counts(state);
    callback_may_allocate(state);
}

static bool throw_out(const struct ld_leak *leak, void *ctx)
{
    (void)leak;
    (*(void (**)(void))ctx)();
    return true;
}

static void walk_and_throw(void (*thrower)(void))
{
    ld_now_leaks(throw_out, &thrower);
}

static void callback_may_leave_by_a_cxx_exception(void **state)
{
    /* What it adds to C code cannot be passed by exceptions. */
    if (HAS_THREAD_SANITIZER)
        skip();
    for (int i = 0; i < 100; i++)
        assert_true(cxx_leave_by_exception(walk_and_throw));
    null_callback_counts(state);
    callback_may_allocate(state);
}

/* --- Marks ---------------------------------------------------------------------------------------------- */

static bool check_mark(const struct ld_leak *leak, void *ctx)
{
    REQUIRE(leak->mark >= *(uint32_t *)ctx);
    return true;
}

static void trap_27_only_blocks_since_the_mark_are_handed_over(void **state)
{
    (void)state;
    uint32_t first = ld_mark(), second;
    struct snapshot record;

    assert_true(first >= 1);
    assert_int_equal(ld_leaks_since(first, NULL, NULL), 0);
    ld_malloc(666);
    assert_int_equal(ld_leaks_since(first, check_mark, &first), 1);
    second = ld_mark();
    assert_int_equal(second, first + 1);
    assert_int_equal(ld_leaks_since(second, NULL, NULL), 0);
    ld_malloc(665);
    ld_malloc(665);
    assert_int_equal(ld_leaks_since(second, check_mark, &second), 2);
    assert_int_equal(ld_leaks_since(first, check_mark, &first), 3);
    assert_int_equal(ld_leaks_since(0, NULL, NULL), BLOCKS + 3);
    assert_int_equal(ld_leaks_since(second + 1, NULL, NULL), 0);
    assert_int_equal(count_of_size(666, &record), 1);
    assert_int_equal(record.mark, first);
    assert_int_equal(count_of_size(665, &record), 2);
    assert_int_equal(record.mark, second);
}

static void trap_27_realloc_makes_a_block_new(void **state)
{
    (void)state;
    uint32_t mark = ld_mark();

    blocks[0] = ld_realloc(blocks[0], 1336);
    blocks[1] = ld_realloc(blocks[1], 1000000);
    assert_int_equal(ld_leaks_since(mark, NULL, NULL), 2);
}

static void marks_are_exact_for_8192_calls(void **state)
{
    (void)state;
    enum { MARKS = 20000, EXACT = 8192, EVERY = 100 };
    uint32_t last = ld_mark();

    for (size_t i = 0; i < MARKS; i++) {
        uint32_t mark = ld_mark();

        assert_int_equal(mark, last + 1);
        last = mark;
        if (i % EVERY == 0)
            ld_malloc(10000 + i);
    }
    for (size_t i = 0; i < MARKS; i += EVERY) {
        struct snapshot record;
        uint32_t made = (uint32_t)(last - MARKS + 1 + i);

        assert_int_equal(count_of_size(10000 + i, &record), 1);
        if (last - made <= EXACT)
            assert_int_equal(record.mark, made);
        else
            assert_in_range(record.mark, made, last - EXACT);
    }
    /* Within the exact part a walk since a mark is exact, too. */
    assert_int_equal(ld_leaks_since(last - 5 * EVERY + 1, NULL, NULL), 5);
}

static void mark_often(unsigned index, void *ctx)
{
    uint32_t last = 0;

    (void)ctx;
    (void)index;
    for (size_t i = 0; i < scaled(20000); i++) {
        uint32_t mark = ld_mark();

        REQUIRE(mark > last);
        last = mark;
    }
}

static void marks_of_threads_are_never_equal(void **state)
{
    (void)state;
    uint32_t before = ld_mark();

    in_threads(4, mark_often, NULL);
    assert_int_equal(ld_mark(), before + 4 * scaled(20000) + 1);
}

#define WITH_BLOCKS(test) cmocka_unit_test_setup_teardown(test, make_blocks, free_blocks)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trap_26_what_lasts_is_seen_exactly_once_and_whole),
        WITH_BLOCKS(null_callback_counts),
        WITH_BLOCKS(callback_may_free_the_block_it_was_handed),
        WITH_BLOCKS(callback_may_allocate),
        WITH_BLOCKS(callback_may_symbolize),
        WITH_BLOCKS(callback_may_walk),
        WITH_BLOCKS(callback_may_stop_the_walk),
        WITH_BLOCKS(callback_may_leave_by_longjmp),
        WITH_BLOCKS(callback_may_leave_by_a_cxx_exception),
        WITH_BLOCKS(trap_27_only_blocks_since_the_mark_are_handed_over),
        WITH_BLOCKS(trap_27_realloc_makes_a_block_new),
        WITH_BLOCKS(marks_are_exact_for_8192_calls),
        WITH_BLOCKS(marks_of_threads_are_never_equal),
    };

    test_deadline(240);
    ld_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
