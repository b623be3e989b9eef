/* SPDX-License-Identifier: MIT
 *
 * C's contract of every allocation function, to the letter.  The same tests run twice: before ld_init, when
 * nothing is recorded, and after it.
 */
#include "test_support.h"

#include <malloc.h>

static bool recording;
static char *made_early[8]; /* blocks that were made before ld_init */

/* Checks that a block is on record with this size, or, before ld_init, that it is not. */
static void assert_recorded(const void *block, size_t size)
{
    struct snapshot found;

    assert_int_equal(find_block(block, &found), recording);
    if (recording) {
        assert_int_equal(found.size, size);
        assert_true(found.frame_count > 0);
    }
}

static void assert_forgotten(const void *block)
{
    assert_false(is_on_record(block));
}

static bool is_filled(const void *block, size_t size, int byte)
{
    const unsigned char *bytes = block;

    for (size_t i = 0; i < size; i++)
        if (bytes[i] != (unsigned char)byte)
            return false;
    return true;
}

/* Sizes that no machine has. */
static const size_t absurd_sizes[] = {
    SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 4096, (size_t)PTRDIFF_MAX + 1, PTRDIFF_MAX, PTRDIFF_MAX - 65536};

#define FOR_EACH_ABSURD_SIZE(size)                                                   \
    for (size_t i_ = 0, size; i_ < sizeof(absurd_sizes) / sizeof(absurd_sizes[0]) && \
                              (size = opaque_size(absurd_sizes[i_]), true);          \
         i_++)

/* --- malloc, calloc ----------------------------------------------------------------------------------- */

static void malloc_gives_a_recorded_block(void **state)
{
    (void)state;
    char *block = ld_malloc(1337);

    assert_non_null(block);
    memset(block, 'x', 1337);
    assert_int_equal((uintptr_t)block % _Alignof(max_align_t), 0);
    assert_recorded(block, 1337);
    ld_free(block);
    assert_forgotten(block);
}

static void malloc_of_0_gives_distinct_blocks(void **state)
{
    (void)state;
    void *a = ld_malloc(0), *b = ld_malloc(0);

    assert_non_null(a);
    assert_non_null(b);
    assert_ptr_not_equal(a, b);
    assert_recorded(a, 0);
    assert_recorded(b, 0);
    ld_free(a);
    ld_free(b);
    assert_forgotten(a);
}

static void malloc_of_an_absurd_size_is_enomem(void **state)
{
    (void)state;
    size_t before = ld_now_leaks(NULL, NULL);

    FOR_EACH_ABSURD_SIZE(size)
    {
        errno = 0;
        assert_null(ld_malloc(size));
        assert_int_equal(errno, ENOMEM);
    }
    assert_int_equal(ld_now_leaks(NULL, NULL), before);
}

static void calloc_zeroes_memory_that_was_used(void **state)
{
    (void)state;

    for (int round = 0; round < 16; round++) {
        unsigned char *dirty = ld_malloc(666), *clean;

        memset(dirty, 0xa5, 666);
        ld_free(dirty);
        clean = ld_calloc(333, 2);
        assert_true(is_filled(clean, 666, 0));
        assert_recorded(clean, 666);
        ld_free(clean);
        assert_forgotten(clean);
    }
}

static void calloc_of_0_gives_a_block(void **state)
{
    (void)state;
    void *a = ld_calloc(0, 8), *b = ld_calloc(8, 0);

    assert_non_null(a);
    assert_non_null(b);
    assert_ptr_not_equal(a, b);
    assert_recorded(a, 0);
    ld_free(a);
    ld_free(b);
}

static void trap_04_calloc_whose_product_overflows_is_enomem(void **state)
{
    (void)state;
    static const size_t factors[][2] = {
        {SIZE_MAX, 2},
        {2, SIZE_MAX},
        {SIZE_MAX / 2 + 1, 2},
        {SIZE_MAX, SIZE_MAX},
        {(size_t)1 << 32, (size_t)1 << 32},
    };

    for (size_t i = 0; i < sizeof(factors) / sizeof(factors[0]); i++) {
        errno = 0;
        assert_null(ld_calloc(opaque_size(factors[i][0]), factors[i][1]));
        assert_int_equal(errno, ENOMEM);
    }
    FOR_EACH_ABSURD_SIZE(size)
    {
        errno = 0;
        assert_null(ld_calloc(1, size));
        assert_int_equal(errno, ENOMEM);
    }
}

/* --- realloc ------------------------------------------------------------------------------------------ */

static void realloc_of_null_is_malloc(void **state)
{
    (void)state;
    void *a = ld_realloc(NULL, 1337), *b = ld_realloc(NULL, 0), *c = ld_reallocarray(NULL, 3, 222);

    assert_non_null(b);
    assert_recorded(a, 1337);
    assert_recorded(b, 0);
    assert_recorded(c, 666);
    ld_free(a);
    ld_free(b);
    ld_free(c);
    assert_forgotten(c);
}

static void realloc_to_0_frees(void **state)
{
    (void)state;
    void *a = ld_malloc(1337), *b = ld_malloc(1337);

    errno = 1337;
    assert_null(ld_realloc(opaque_pointer(a), 0));
    assert_null(ld_reallocarray(opaque_pointer(b), 0, 8));
    assert_int_equal(errno, 1337);
    assert_forgotten(a);
    assert_forgotten(b);
}

static void realloc_keeps_the_contents(void **state)
{
    (void)state;
    static const size_t sizes[] = {8, 1337, 100000, 5000000, 666, 1};
    unsigned char *block = ld_malloc(1);
    size_t size = 1;

    block[0] = 0x5a;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        block = ld_realloc(block, sizes[i]);
        assert_non_null(block);
        assert_true(is_filled(block, size < sizes[i] ? size : sizes[i], 0x5a));
        size = sizes[i];
        memset(block, 0x5a, size);
        assert_recorded(block, size);
    }
    ld_free(block);
}

static void trap_01_moving_realloc_leaves_one_record(void **state)
{
    (void)state;
    size_t before = ld_now_leaks(NULL, NULL);
    char *block = ld_malloc(1337), *moved = ld_realloc(block, 10000000);

    assert_ptr_not_equal(opaque_pointer(block), moved);
    assert_forgotten(block);
    assert_recorded(moved, 10000000);
    assert_int_equal(ld_now_leaks(NULL, NULL), before + (recording ? 1 : 0));
    ld_free(moved);
    assert_int_equal(ld_now_leaks(NULL, NULL), before);
}

/* Reallocates within what the allocator gave anyhow, until it does not move. */
static void trap_02_in_place_realloc_updates_size_and_stack(void **state)
{
    (void)state;
    struct snapshot before, after;
    char *block = ld_malloc(1001), *same = block;

    assert_int_equal(find_block(block, &before), recording);
    ld_mark();
    for (int tries = 0; tries < 1000; tries++) {
        same = ld_realloc(block, 1000);
        if (opaque_pointer(block) == same)
            break;
        block = same;
        before.size = 0;
    }
    assert_ptr_equal(opaque_pointer(block), same);
    assert_recorded(same, 1000);
    if (recording && before.size == 1001) {
        assert_true(find_block(same, &after));
        assert_ptr_not_equal(after.frames[0], before.frames[0]);
        assert_ptr_equal(after.frames[1], before.frames[1]);
        assert_int_equal(after.frame_count, before.frame_count);
        assert_true(after.mark > before.mark);
    }
    ld_free(same);
    assert_forgotten(same);
}

static void trap_02_failed_realloc_leaves_block_and_record_as_they_were(void **state)
{
    (void)state;
    struct snapshot before, after;
    unsigned char *block = ld_malloc(1337);

    memset(block, 0x5a, 1337);
    assert_int_equal(find_block(block, &before), recording);
    ld_mark();
    FOR_EACH_ABSURD_SIZE(size)
    {
        errno = 0;
        assert_null(ld_realloc(block, size));
        assert_int_equal(errno, ENOMEM);
        errno = 0;
        assert_null(ld_reallocarray(block, 1, size));
        assert_int_equal(errno, ENOMEM);
        errno = 0;
        assert_null(ld_reallocarray(block, size, 16));
        assert_int_equal(errno, ENOMEM);
        assert_true(is_filled(block, 1337, 0x5a));
        assert_int_equal(find_block(block, &after), recording);
        if (recording)
            assert_true(snapshots_are_equal(&before, &after));
    }
    assert_int_equal(count_of_size(1337, NULL), recording ? 1 : 0);
    ld_free(block);
    assert_forgotten(block);
}

static void trap_02_failed_realloc_of_null_records_nothing(void **state)
{
    (void)state;
    size_t before = ld_now_leaks(NULL, NULL);

    FOR_EACH_ABSURD_SIZE(size)
    {
        errno = 0;
        assert_null(ld_realloc(NULL, size));
        assert_int_equal(errno, ENOMEM);
    }
    assert_int_equal(ld_now_leaks(NULL, NULL), before);
}

/* --- Alignment ------------------------------------------------------------------------------------------ */

enum { ALIGNMENTS = 22 }; /* 1 ... 2 MiB */

static void aligned_alloc_aligns_any_size(void **state)
{
    (void)state;

    for (size_t alignment = 1; alignment < (size_t)1 << ALIGNMENTS; alignment *= 2) {
        void *a = ld_aligned_alloc(alignment, 1337), *b = ld_aligned_alloc(alignment, 0);

        assert_non_null(b);
        assert_int_equal((uintptr_t)a % alignment, 0);
        assert_int_equal((uintptr_t)b % alignment, 0);
        memset(a, 1, 1337);
        assert_recorded(a, 1337);
        assert_recorded(b, 0);
        ld_free(a);
        ld_free_aligned_sized(b, alignment, 0);
        assert_forgotten(a);
        assert_forgotten(b);
    }
}

static void aligned_alloc_refuses_what_is_no_power_of_two(void **state)
{
    (void)state;
    static const size_t wrong[] = {0, 3, 6, 24, 4095, SIZE_MAX, SIZE_MAX / 2, ((size_t)1 << 63) + 1};

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        errno = 0;
        assert_null(ld_aligned_alloc(opaque_size(wrong[i]), 1337));
        assert_int_equal(errno, EINVAL);
    }
}

static void absurd_alignments_are_enomem(void **state)
{
    (void)state;
    void *untouched = &recording;

    for (int bit = 50; bit < 64; bit++) {
        size_t alignment = opaque_size((size_t)1 << bit);

        errno = 0;
        assert_null(ld_aligned_alloc(alignment, 1));
        assert_int_equal(errno, ENOMEM);
        errno = 0;
        assert_null(ld_memalign(alignment, 1));
        assert_int_equal(errno, ENOMEM);
        assert_int_equal(ld_posix_memalign(&untouched, alignment, 1), ENOMEM);
        assert_ptr_equal(untouched, &recording);
    }
}

static void absurd_sizes_with_an_alignment_are_enomem(void **state)
{
    (void)state;
    void *untouched = &recording;

    FOR_EACH_ABSURD_SIZE(size)
    {
        for (size_t alignment = 8; alignment < (size_t)1 << ALIGNMENTS; alignment *= 2) {
            errno = 0;
            assert_null(ld_aligned_alloc(alignment, size));
            assert_int_equal(errno, ENOMEM);
            errno = 0;
            assert_null(ld_memalign(alignment, size));
            assert_int_equal(errno, ENOMEM);
            assert_int_equal(ld_posix_memalign(&untouched, alignment, size), ENOMEM);
            assert_ptr_equal(untouched, &recording);
        }
    }
}

static void trap_04_memalign_rounds_its_alignment_up(void **state)
{
    (void)state;
    static const size_t alignments[][2] = {{0, 1}, {1, 1}, {3, 4}, {24, 32}, {1000, 1024}, {4097, 8192}};

    for (size_t i = 0; i < sizeof(alignments) / sizeof(alignments[0]); i++) {
        void *block = ld_memalign(opaque_size(alignments[i][0]), 1337);

        assert_non_null(block);
        assert_int_equal((uintptr_t)block % alignments[i][1], 0);
        assert_recorded(block, 1337);
        ld_free(block);
        assert_forgotten(block);
    }
    errno = 0;
    assert_null(ld_memalign(((size_t)1 << 63) + 1, 1337));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_null(ld_memalign(SIZE_MAX, 1337));
    assert_int_equal(errno, EINVAL);
}

static void trap_04_posix_memalign_aligns_and_leaves_errno_alone(void **state)
{
    (void)state;

    for (size_t alignment = sizeof(void *); alignment < (size_t)1 << ALIGNMENTS; alignment *= 2) {
        void *block = NULL;

        errno = 1337;
        assert_int_equal(ld_posix_memalign(&block, alignment, 666), 0);
        assert_int_equal(errno, 1337);
        assert_int_equal((uintptr_t)block % alignment, 0);
        assert_recorded(block, 666);
        ld_free(block);
        assert_forgotten(block);
    }
}

static void posix_memalign_refuses_wrong_alignments_and_leaves_out_alone(void **state)
{
    (void)state;
    static const size_t wrong[] = {0, 1, 2, 4, 3, 12, 24, 40, SIZE_MAX, SIZE_MAX - 7};
    void *untouched = &recording;

    errno = 1337;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(ld_posix_memalign(&untouched, wrong[i], 1337), EINVAL);
        assert_ptr_equal(untouched, &recording);
    }
    FOR_EACH_ABSURD_SIZE(size)
    assert_int_equal(ld_posix_memalign(&untouched, 64, size), ENOMEM);
    assert_int_equal(errno, 1337);
    assert_ptr_equal(untouched, &recording);
}

/* --- free and the rest -------------------------------------------------------------------------------- */

static void free_of_null_does_nothing(void **state)
{
    (void)state;

    errno = 1337;
    ld_free(NULL);
    ld_free_sized(NULL, 8);
    ld_free_aligned_sized(NULL, 64, 8);
    assert_int_equal(errno, 1337);
    assert_int_equal(ld_usable_size(NULL), 0);
}

static void trap_04_sized_frees_take_off_record(void **state)
{
    (void)state;
    void *a = ld_malloc(1337), *b = ld_aligned_alloc(256, 666);

    ld_free_sized(a, 1337);
    assert_forgotten(a);
    ld_free_aligned_sized(b, 256, 666);
    assert_forgotten(b);
}

static void usable_size_may_be_used(void **state)
{
    (void)state;

    for (size_t size = 0; size < 5000; size += 37) {
        void *block = ld_malloc(size);
        size_t usable = ld_usable_size(block);

        assert_true(usable >= size);
        memset(block, 0x5a, usable);
        assert_recorded(block, size);
        ld_free(block);
    }
}

/* What is beyond what was asked for no look reads: nobody must keep a pointer there. */
static void usable_size_of_a_recorded_block_is_what_was_asked_for(void **state)
{
    (void)state;

    for (size_t size = 0; size < 300000; size += 37 + size / 8) {
        void *blocks[] = {ld_malloc(size), ld_calloc(1, size), ld_realloc(ld_malloc(1337), size + 1),
                          ld_aligned_alloc(256, size), NULL};

        ld_disable();
        blocks[4] = ld_malloc(size);
        ld_enable();
        for (int i = 0; i < 5; i++) {
            size_t least = i == 2 ? size + 1 : size, usable = ld_usable_size(blocks[i]);

            assert_true(recording ? usable == least + (least == 0) : usable >= least);
            ld_free(blocks[i]);
        }
    }
}

/* From 2 GiB on a record's size is rounded up, and not exact. */
static void usable_size_of_a_large_block_may_be_used(void **state)
{
    (void)state;
    volatile size_t size = ((size_t)1 << 31) + 1337;
    char *block = sizeof(size_t) > 4 ? ld_malloc(size) : NULL;

    if (block == NULL)
        skip();
    assert_true(ld_usable_size(block) >= size);
    block[ld_usable_size(block) - 1] = 'x';
    ld_free(block);
}

static void strdup_copies_and_records(void **state)
{
    (void)state;
    char *copy = ld_strdup("forgotten"), *empty = ld_strdup("");

    assert_string_equal(copy, "forgotten");
    assert_string_equal(empty, "");
    assert_recorded(copy, 10);
    assert_recorded(empty, 1);
    ld_free(copy);
    ld_free(empty);
    assert_forgotten(copy);
}

static void trap_04_strndup_stops_at_its_size_or_at_the_end(void **state)
{
    (void)state;
    static const char unterminated[3] = {'a', 'b', 'c'};
    struct {
        const char *text;
        size_t size;
        const char *copy;
    } cases[] = {
        {unterminated, 3, "abc"}, {unterminated, 2, "ab"},  {unterminated, 0, ""},
        {"abc", 1000, "abc"},     {"abc", SIZE_MAX, "abc"}, {"", 8, ""},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *copy = ld_strndup(cases[i].text, opaque_size(cases[i].size));

        assert_string_equal(copy, cases[i].copy);
        assert_recorded(copy, strlen(cases[i].copy) + 1);
        ld_free(copy);
        assert_forgotten(copy);
    }
}

static void errno_survives_success(void **state)
{
    (void)state;
    void *blocks[8];

    for (int round = 0; round < 100; round++) {
        errno = 1337;
        blocks[0] = ld_malloc(100);
        blocks[1] = ld_calloc(10, 10);
        blocks[2] = ld_realloc(ld_malloc(10), 100000);
        blocks[3] = ld_reallocarray(NULL, 10, 10);
        blocks[4] = ld_aligned_alloc(4096, 100);
        blocks[5] = ld_memalign(64, 100);
        blocks[6] = ld_strdup("text");
        blocks[7] = ld_strndup("text", 2);
        assert_int_equal(errno, 1337);
        for (size_t i = 0; i < 8; i++)
            ld_free(blocks[i]);
        assert_int_equal(errno, 1337);
    }
}

static void the_silent_twin_leaves_nothing_on_record(void **state)
{
    (void)state;

    assert_int_equal(ld_now_leaks(NULL, NULL), 0);
    assert_int_equal(stats_now().live_blocks, 0);
    assert_int_equal(stats_now().live_bytes, 0);
}

#define CONTRACT                                                                                            \
    cmocka_unit_test(malloc_gives_a_recorded_block), cmocka_unit_test(malloc_of_0_gives_distinct_blocks),   \
        cmocka_unit_test(malloc_of_an_absurd_size_is_enomem),                                               \
        cmocka_unit_test(calloc_zeroes_memory_that_was_used), cmocka_unit_test(calloc_of_0_gives_a_block),  \
        cmocka_unit_test(trap_04_calloc_whose_product_overflows_is_enomem),                                 \
        cmocka_unit_test(realloc_of_null_is_malloc), cmocka_unit_test(realloc_to_0_frees),                  \
        cmocka_unit_test(realloc_keeps_the_contents),                                                       \
        cmocka_unit_test(trap_01_moving_realloc_leaves_one_record),                                         \
        cmocka_unit_test(trap_02_in_place_realloc_updates_size_and_stack),                                  \
        cmocka_unit_test(trap_02_failed_realloc_leaves_block_and_record_as_they_were),                      \
        cmocka_unit_test(trap_02_failed_realloc_of_null_records_nothing),                                   \
        cmocka_unit_test(aligned_alloc_aligns_any_size),                                                    \
        cmocka_unit_test(aligned_alloc_refuses_what_is_no_power_of_two),                                    \
        cmocka_unit_test(absurd_alignments_are_enomem),                                                     \
        cmocka_unit_test(absurd_sizes_with_an_alignment_are_enomem),                                        \
        cmocka_unit_test(trap_04_memalign_rounds_its_alignment_up),                                         \
        cmocka_unit_test(trap_04_posix_memalign_aligns_and_leaves_errno_alone),                             \
        cmocka_unit_test(posix_memalign_refuses_wrong_alignments_and_leaves_out_alone),                     \
        cmocka_unit_test(free_of_null_does_nothing), cmocka_unit_test(trap_04_sized_frees_take_off_record), \
        cmocka_unit_test(usable_size_may_be_used),                                                          \
        cmocka_unit_test(usable_size_of_a_recorded_block_is_what_was_asked_for),                            \
        cmocka_unit_test(usable_size_of_a_large_block_may_be_used),                                         \
        cmocka_unit_test(strdup_copies_and_records),                                                        \
        cmocka_unit_test(trap_04_strndup_stops_at_its_size_or_at_the_end),                                  \
        cmocka_unit_test(errno_survives_success), cmocka_unit_test(the_silent_twin_leaves_nothing_on_record)

/* --- ld_init ------------------------------------------------------------------------------------------ */

static void early_blocks_are_not_recorded(void **state)
{
    (void)state;

    for (size_t i = 0; i < 8; i++) {
        made_early[i] = ld_malloc(1337);
        memset(made_early[i], 0x5a, 1337);
    }
    assert_int_equal(ld_now_leaks(NULL, NULL), 0);
    assert_int_equal(stats_now().live_blocks, 0);
}

static size_t own_bytes[8];
static pthread_barrier_t barrier;

/* From the return of ld_init on, whoever called it, everything is recorded. */
static void init_and_allocate(unsigned index, void *ctx)
{
    (void)ctx;
    void *block;

    pthread_barrier_wait(&barrier);
    own_bytes[index] = ld_init();
    block = ld_malloc(1337 + index);
    REQUIRE(is_on_record(block));
    ld_free(block);
    REQUIRE(!is_on_record(block));
}

static void init_from_8_threads_at_once_starts_once(void **state)
{
    (void)state;

    assert_int_equal(pthread_barrier_init(&barrier, NULL, 8), 0);
    in_threads(8, init_and_allocate, NULL);
    pthread_barrier_destroy(&barrier);
    assert_true(own_bytes[0] >= LD_MAX_BLOCKS * (size_t)16);
    for (size_t i = 1; i < 8; i++)
        assert_int_equal(own_bytes[i], own_bytes[0]);
    recording = true;
}

static void init_again_changes_nothing(void **state)
{
    (void)state;
    void *block = ld_malloc(1337);

    errno = 1337;
    assert_int_equal(ld_init(), own_bytes[0]);
    assert_int_equal(errno, 1337);
    assert_recorded(block, 1337);
    ld_free(block);
}

static void early_blocks_may_be_freed_and_reallocated(void **state)
{
    (void)state;
    char *moved, *same;

    for (size_t i = 0; i < 6; i++) {
        assert_true(is_filled(made_early[i], 1337, 0x5a));
        ld_free(made_early[i]);
    }
    moved = ld_realloc(made_early[6], 5000000);
    assert_true(is_filled(moved, 1337, 0x5a));
    assert_recorded(moved, 5000000);
    same = ld_realloc(made_early[7], 1336);
    assert_recorded(same, 1336);
    assert_null(ld_realloc(moved, opaque_size(PTRDIFF_MAX)));
    assert_recorded(moved, 5000000);
    ld_free(moved);
    ld_free(same);
    the_silent_twin_leaves_nothing_on_record(NULL);
}

static void blocks_of_malloc_may_be_freed_and_reallocated(void **state)
{
    (void)state;
    char *freed = malloc(1337), *grown = malloc(1337);

    assert_non_null(grown);
    memset(grown, 0x5a, 1337);
    ld_free(freed);
    grown = ld_realloc(grown, 100000);
    assert_true(is_filled(grown, 1337, 0x5a));
    assert_recorded(grown, 100000);
    ld_free(grown);
    the_silent_twin_leaves_nothing_on_record(NULL);
}

static void stats_follow_each_call(void **state)
{
    (void)state;
    void *block = ld_malloc(1337);

    assert_int_equal(stats_now().live_blocks, 1);
    assert_int_equal(stats_now().live_bytes, 1337);
    block = ld_realloc(block, 2000000);
    assert_int_equal(stats_now().live_blocks, 1);
    assert_int_equal(stats_now().live_bytes, 2000000);
    assert_true(stats_now().peak_bytes >= 2000000);
    assert_null(ld_realloc(block, opaque_size(SIZE_MAX)));
    assert_int_equal(stats_now().live_bytes, 2000000);
    ld_free(block);
    the_silent_twin_leaves_nothing_on_record(NULL);
    assert_int_equal(stats_now().capacity_blocks, LD_MAX_BLOCKS);
    assert_int_equal(stats_now().stack_capacity, LD_MAX_STACKS);
    assert_true(stats_now().own_bytes >= own_bytes[0]);
    assert_int_equal(stats_now().dropped_blocks, 0);
    assert_int_equal(stats_now().nested_blocks, 0);
}

/* Their sizes are recorded in pages: what is added to the totals is what is taken off them later. */
static void huge_blocks_leave_the_totals_as_they_were(void **state)
{
    (void)state;
    size_t huge = opaque_size((size_t)INT32_MAX + 2);
    void *small = ld_malloc(1337), *block = ld_malloc(huge);
    struct snapshot record;

    if (block == NULL || HAS_SANITIZER) {
        ld_free(block);
        ld_free(small);
        skip(); /* no address space to spare */
    }
    assert_true(find_block(block, &record));
    assert_in_range(record.size, huge, huge + 4095);
    assert_int_equal(stats_now().live_bytes, record.size + 1337);
    block = ld_realloc(block, huge + 4);
    assert_true(find_block(block, &record));
    assert_int_equal(stats_now().live_bytes, record.size + 1337);
    ld_free(block);
    assert_int_equal(stats_now().live_bytes, 1337);
    ld_free(small);
    assert_int_equal(stats_now().live_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest before[] = {CONTRACT};
    const struct CMUnitTest start[] = {
        cmocka_unit_test(early_blocks_are_not_recorded),
        cmocka_unit_test(init_from_8_threads_at_once_starts_once),
        cmocka_unit_test(init_again_changes_nothing),
        cmocka_unit_test(early_blocks_may_be_freed_and_reallocated),
        cmocka_unit_test(blocks_of_malloc_may_be_freed_and_reallocated),
        cmocka_unit_test(stats_follow_each_call),
        cmocka_unit_test(huge_blocks_leave_the_totals_as_they_were),
    };
    const struct CMUnitTest after[] = {CONTRACT};

    test_deadline(120);
    return cmocka_run_group_tests_name("before ld_init", before, NULL, NULL) +
           cmocka_run_group_tests_name("ld_init", start, NULL, NULL) +
           cmocka_run_group_tests_name("after ld_init", after, NULL, NULL);
}
