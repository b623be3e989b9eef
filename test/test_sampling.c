/* SPDX-License-Identifier: MIT
 *
 * Recording a sample: what is in it, what it stands for, and that switching keeps the records right.  Every
 * test is a process of its own, because a process can use a few periods only.
 */
#define _GNU_SOURCE
#include "leakdetect.h"
#include "test_support.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PERIOD = 16384, BLOCKS = 60000 };

struct sum {
    size_t records;
    double blocks, bytes;
    bool is_aligned, is_weighted;
};

static bool add(const struct ld_leak *leak, void *ctx)
{
    struct sum *sum = ctx;

    sum->records++;
    sum->blocks += leak->weight;
    sum->bytes += leak->weight * (double)leak->size;
    sum->is_aligned = sum->is_aligned && (uintptr_t)leak->address % 4096 == 0;
    sum->is_weighted = sum->is_weighted && leak->weight > 1;
    return true;
}

static struct sum walk(void)
{
    struct sum sum = {.is_aligned = true, .is_weighted = true};

    ld_now_leaks(add, &sum);
    return sum;
}

/* Runs the test in a child, which exits with 0 if all it requires is true. */
static void in_child(void (*test)(void))
{
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        test();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void *blocks[BLOCKS];

static void allocate_all(size_t size)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = ld_malloc(size);
        REQUIRE(blocks[i] != NULL);
        memset(blocks[i], (int)i, size);
    }
}

static void free_all(void)
{
    for (size_t i = 0; i < BLOCKS; i++)
        ld_free(blocks[i]);
}

/* --- What a sample stands for --------------------------------------------------------------------------- */

/* Eight standard deviations, of what is there and not of what was found, which may be nothing: of the
 * smallest blocks four are in a sample on the average.  With so few this fails by chance once in 10^8
 * runs. */
static void require_estimate(const struct sum *sum, double blocks_there, double size)
{
    double chance = -expm1(-size / PERIOD);
    double deviation = sqrt(blocks_there * (1 - chance) / chance);

    REQUIRE(fabs(sum->blocks - blocks_there) <= 8 * deviation + 1);
    REQUIRE(fabs(sum->bytes - blocks_there * size) <= (8 * deviation + 1) * size);
}

static void estimate(void)
{
    static const size_t sizes[] = {1, 24, 100, 1337, 5000, 40000};

    REQUIRE(ld_set_sampling(PERIOD) == 0);
    ld_init();
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t share = sizes[i] < 2000 ? 1 : 20;
        struct sum sum;

        for (size_t j = 0; j < BLOCKS / share; j++)
            blocks[j] = ld_malloc(sizes[i]);
        sum = walk();
        REQUIRE(sum.is_aligned && sum.is_weighted);
        REQUIRE(sum.records < BLOCKS / share);
        require_estimate(&sum, (double)(BLOCKS / share), (double)sizes[i]);
        for (size_t j = 0; j < BLOCKS / share; j++)
            ld_free(blocks[j]);
        REQUIRE(walk().records == 0);
    }
}

static void estimates_are_unbiased_for_every_size(void **state)
{
    (void)state;
    in_child(estimate);
}

static void whole(void)
{
    struct sum sum;

    ld_init();
    allocate_all(24);
    sum = walk();
    REQUIRE(sum.records == BLOCKS && sum.blocks == BLOCKS);
    free_all();
    REQUIRE(walk().records == 0);
}

static void without_a_period_everything_is_recorded_and_stands_for_itself(void **state)
{
    (void)state;
    in_child(whole);
}

/* --- Switching ------------------------------------------------------------------------------------------ */

static void switch_on_and_off(void)
{
    struct ld_stats stats;
    size_t records;

    ld_init();
    allocate_all(100);
    REQUIRE(ld_set_sampling(PERIOD) == 0);
    void *more[1000];
    for (size_t i = 0; i < 1000; i++)
        more[i] = ld_malloc(100);
    records = walk().records;
    REQUIRE(records >= BLOCKS && records < BLOCKS + 1000);
    /* Blocks from before are known wherever they are. */
    free_all();
    REQUIRE(walk().records == records - BLOCKS);
    REQUIRE(ld_set_sampling(0) == 0);
    allocate_all(100);
    REQUIRE(walk().records == records);
    free_all();
    for (size_t i = 0; i < 1000; i++)
        ld_free(more[i]);
    REQUIRE(walk().records == 0);
    ld_get_stats(&stats);
    REQUIRE(stats.live_blocks == 0 && stats.live_bytes == 0);
}

static void switching_keeps_every_record_right(void **state)
{
    (void)state;
    in_child(switch_on_and_off);
}

static void from_a_sample_to_everything(void)
{
    REQUIRE(ld_set_sampling(PERIOD) == 0);
    ld_init();
    allocate_all(24);
    REQUIRE(ld_set_sampling(0) == 0);
    size_t records = walk().records;
    void *block = ld_malloc(24);
    REQUIRE(walk().records == records + 1);
    ld_free(block);
    REQUIRE(walk().records == records);
    free_all();
    REQUIRE(walk().records == 0);
}

static void after_a_sample_everything_can_be_recorded(void **state)
{
    (void)state;
    in_child(from_a_sample_to_everything);
}

static void pause_and_go_on(void)
{
    REQUIRE(ld_set_sampling(1) == 0);
    ld_init();
    ld_set_recording(false);
    ld_free(ld_malloc(100000));
    void *unseen = ld_malloc(100000);
    REQUIRE(walk().records == 0);
    ld_set_recording(true);
    void *seen = ld_malloc(100000);
    REQUIRE(walk().records == 1);
    ld_free(seen);
    ld_free(unseen);
    REQUIRE(walk().records == 0);
}

static void a_pause_ends_in_the_same_sample(void **state)
{
    (void)state;
    in_child(pause_and_go_on);
}

/* --- Contracts ------------------------------------------------------------------------------------------ */

static void contracts(void)
{
    unsigned char *block = NULL;
    size_t kept = 0;

    REQUIRE(ld_set_sampling(64) == 0);
    ld_init();
    for (size_t size = 1; size < 100000; size = size * 5 / 4 + 1) {
        unsigned char *moved = ld_realloc(block, size);

        REQUIRE(moved != NULL);
        block = moved;
        for (size_t i = 0; i < kept; i++)
            REQUIRE(block[i] == (unsigned char)i);
        kept = size;
        for (size_t i = 0; i < size; i++)
            block[i] = (unsigned char)i;
        REQUIRE(walk().records <= 1);
    }
    ld_free(block);
    REQUIRE(walk().records == 0);
    for (int i = 0; i < 2000; i++) {
        void *aligned = ld_aligned_alloc(65536, 10);
        unsigned char *zeroed = ld_calloc(10, 20);

        REQUIRE((uintptr_t)aligned % 65536 == 0);
        for (int j = 0; j < 200; j++)
            REQUIRE(zeroed[j] == 0);
        ld_free(aligned);
        ld_free(zeroed);
    }
    errno = 0;
    /* Volatile, or the compiler warns of what is tested. */
    volatile size_t absurd = SIZE_MAX;
    REQUIRE(ld_malloc(absurd) == NULL && errno == ENOMEM);
    REQUIRE(walk().records == 0);
}

static void the_contracts_of_allocation_hold_in_a_sample(void **state)
{
    (void)state;
    in_child(contracts);
}

/* From now on there is so much more address space than is in use. */
static void allow_more(size_t bytes)
{
    FILE *file = fopen("/proc/self/statm", "r");
    struct rlimit limit = {.rlim_max = RLIM_INFINITY};
    size_t pages = 0;

    REQUIRE(file != NULL && fscanf(file, "%zu", &pages) == 1);
    fclose(file);
    limit.rlim_cur = pages * (size_t)sysconf(_SC_PAGESIZE) + bytes;
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
}

enum { MIB = 1 << 20 };

static void shrink(void)
{
    unsigned char *block;

    REQUIRE(ld_set_sampling(1) == 0);
    ld_init();
    block = ld_malloc((size_t)400 * MIB);
    REQUIRE(block != NULL && walk().records == 1);
    block[0] = 42;
    allow_more((size_t)100 * MIB);
    errno = 1337;
    block = ld_realloc(block, (size_t)300 * MIB);
    REQUIRE(block != NULL && block[0] == 42 && errno == 1337);
    REQUIRE(walk().records == 0);
    ld_free(block);
}

static void a_realloc_that_has_no_room_for_the_sample_succeeds_without(void **state)
{
    (void)state;
    if (HAS_SANITIZER)
        skip(); /* whose shadow is larger than any limit */
    in_child(shrink);
}

static void exhaust(void)
{
    size_t made = 0, left = 0;

    REQUIRE(ld_set_sampling(1) == 0);
    /* Room for blocks that may begin anywhere, between others. */
    for (size_t i = 0; i < 2000; i++)
        blocks[i] = ld_malloc(24);
    for (size_t i = 0; i < 2000; i += 2)
        ld_free(blocks[i]);
    ld_init();
    allow_more(MIB);
    while (made < BLOCKS && left < 100) {
        blocks[made] = ld_malloc(24);
        REQUIRE(blocks[made] != NULL);
        left += (uintptr_t)blocks[made++] % 4096 != 0;
    }
    REQUIRE(left == 100);
    REQUIRE(walk().records <= made - left);
    while (made > 0)
        ld_free(blocks[--made]);
    REQUIRE(walk().records == 0);
}

static void a_malloc_that_has_no_room_for_the_sample_succeeds_without(void **state)
{
    (void)state;
    if (HAS_SANITIZER)
        skip();
    in_child(exhaust);
}

static void periods(void)
{
    REQUIRE(ld_set_sampling(((size_t)1 << 40) + 1) == EINVAL);
    for (size_t period = 1; period <= 3; period++)
        REQUIRE(ld_set_sampling(period) == 0);
    REQUIRE(ld_set_sampling(4) == ENOSPC);
    REQUIRE(ld_set_sampling(2) == 0 && ld_set_sampling(0) == 0);
}

static void a_period_that_cannot_be_is_refused(void **state)
{
    (void)state;
    in_child(periods);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(estimates_are_unbiased_for_every_size),
        cmocka_unit_test(without_a_period_everything_is_recorded_and_stands_for_itself),
        cmocka_unit_test(switching_keeps_every_record_right),
        cmocka_unit_test(after_a_sample_everything_can_be_recorded),
        cmocka_unit_test(a_pause_ends_in_the_same_sample),
        cmocka_unit_test(the_contracts_of_allocation_hold_in_a_sample),
        cmocka_unit_test(a_realloc_that_has_no_room_for_the_sample_succeeds_without),
        cmocka_unit_test(a_malloc_that_has_no_room_for_the_sample_succeeds_without),
        cmocka_unit_test(a_period_that_cannot_be_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
