/* SPDX-License-Identifier: MIT
 *
 * The tree of call paths by itself, against a reference, alone and with threads.  It is small here, so that
 * nodes are given back all the time.
 *
 * build: sources
 * build: flags -DLD_MAX_STACKS=2048
 */
#include "test_support.h"

#include "loaded.h"
#include "module.h"
#include "platform.h"
#include "stackmap.h"

enum { DEPTH_MAX = 40, PLACES = 16 };

/* A stack, and what it must say; outermost frame first. */
struct path {
    size_t depth;
    const void *frames[DEPTH_MAX];
};

/* What is to be kept: as a block on record would. */
enum { ROOTS = 64, THREADS = 4 };
static _Atomic stack_id roots[THREADS][ROOTS];
static _Atomic stack_id in_flight[THREADS];

static void each_root(stackmap_mark_fn *mark)
{
    for (size_t t = 0; t < THREADS; t++)
        mark(atomic_load(&in_flight[t]));
    for (size_t t = 0; t < THREADS; t++)
        for (size_t i = 0; i < ROOTS; i++)
            mark(atomic_load(&roots[t][i]));
}

static int forget_roots(void **state)
{
    (void)state;

    for (size_t t = 0; t < THREADS; t++) {
        atomic_store(&in_flight[t], 0);
        for (size_t i = 0; i < ROOTS; i++)
            atomic_store(&roots[t][i], 0);
    }
    loaded_init();
    stackmap_collect(each_root);
    return stackmap_is_valid() ? 0 : -1;
}

/* Few different frames, so that paths share their beginnings. */
static void path_choose(struct path *path, uint64_t *seed, size_t depth)
{
    path->depth = depth;
    for (size_t i = 0; i < depth; i++)
        path->frames[i] = (const void *)(uintptr_t)(0x10000 + 0x1337 * random_below(seed, PLACES));
}

/* As unwind.c does it; 0: there was no room for all of it. */
static stack_id path_enter(const struct path *path, struct stackmap_supply *supply, unsigned thread)
{
    for (;;) {
        uint32_t epoch = stackmap_epoch();
        stack_id id = 0;

        for (size_t i = 0; i < path->depth; i++) {
            id = stackmap_child(supply, epoch, id, path->frames[i], 0);
            if (id == 0)
                break;
        }
        if (id == 0) {
            if (stackmap_collect(each_root) != STACKMAP_FULL || stackmap_epoch() != epoch)
                continue;
            return 0;
        }
        atomic_store(&in_flight[thread], id);
        platform_light_fence();
        if (stackmap_epoch() == epoch)
            return id;
    }
}

static bool path_is(const struct path *path, stack_id id)
{
    const void *frames[DEPTH_MAX + 1];
    uint16_t modules[DEPTH_MAX + 1];
    size_t count = stackmap_frames(id, frames, modules, DEPTH_MAX + 1);

    if (count != path->depth)
        return false;
    for (size_t i = 0; i < count; i++)
        if (frames[i] != path->frames[count - 1 - i])
            return false;
    return true;
}

static size_t node_count(void)
{
    struct stackmap_stats stats;

    stackmap_get_stats(&stats);
    return stats.nodes;
}

/* --- Alone -------------------------------------------------------------------------------------------- */

static void a_path_is_kept_once(void **state)
{
    (void)state;
    struct stackmap_supply supply = {0};
    struct path path, branch;
    uint64_t seed = 1337;
    stack_id id, other;
    size_t nodes;

    path_choose(&path, &seed, 20);
    branch = path;
    branch.frames[19] = &supply;
    id = path_enter(&path, &supply, 0);
    atomic_store(&roots[0][0], id);
    nodes = node_count();
    assert_true(path_is(&path, id));
    assert_int_equal(path_enter(&path, &supply, 0), id);
    assert_int_equal(node_count(), nodes);
    other = path_enter(&branch, &supply, 0);
    assert_int_not_equal(other, id);
    assert_int_equal(node_count(), nodes + 1);
    assert_true(path_is(&path, id));
    assert_true(path_is(&branch, other));
}

static void frames_are_cut_at_the_outer_end(void **state)
{
    (void)state;
    struct stackmap_supply supply = {0};
    const void *frames[8] = {0};
    uint16_t modules[8];
    struct path path;
    uint64_t seed = 666;
    stack_id id;

    path_choose(&path, &seed, 20);
    id = path_enter(&path, &supply, 0);
    assert_int_equal(stackmap_frames(id, frames, modules, 7), 7);
    for (size_t i = 0; i < 7; i++)
        assert_ptr_equal(frames[i], path.frames[19 - i]);
    assert_null(frames[7]);
    assert_int_equal(stackmap_frames(id, frames, modules, 0), 0);
}

static void stack_0_has_no_frames_and_wild_ids_do_no_harm(void **state)
{
    (void)state;
    const void *frames[8];
    uint16_t modules[8];

    assert_int_equal(stackmap_frames(0, frames, modules, 8), 0);
    assert_int_equal(stackmap_frames(LD_MAX_STACKS + 1, frames, modules, 8), 0);
    assert_int_equal(stackmap_frames(UINT32_MAX, frames, modules, 8), 0);
}

static void a_recursion_of_one_frame_is_as_deep_as_it_is(void **state)
{
    (void)state;
    struct stackmap_supply supply = {0};
    struct path path = {.depth = DEPTH_MAX};
    stack_id ids[DEPTH_MAX];

    for (size_t depth = 1; depth <= DEPTH_MAX; depth++) {
        path.depth = depth;
        path.frames[depth - 1] = roots;
        ids[depth - 1] = path_enter(&path, &supply, 0);
        atomic_store(&roots[0][depth], ids[depth - 1]);
    }
    for (size_t depth = 1; depth <= DEPTH_MAX; depth++) {
        path.depth = depth;
        assert_true(path_is(&path, ids[depth - 1]));
    }
}

/* Paths without end, of which a few are kept: none of those is ever lost. */
static void trap_14_kept_paths_survive_hundreds_of_collections(void **state)
{
    (void)state;
    static struct path kept[ROOTS];
    struct stackmap_supply supply = {0};
    uint64_t seed = test_seed();
    struct stackmap_stats before, after;

    stackmap_get_stats(&before);
    for (size_t i = 0; i < scaled(50000); i++) {
        /* Half as many nodes as there are, at most, so that all have room. */
        size_t place = random_below(&seed, ROOTS / 2);
        struct path path;
        stack_id id;

        path_choose(&path, &seed, 1 + random_below(&seed, DEPTH_MAX));
        id = path_enter(&path, &supply, 0);
        assert_int_not_equal(id, 0);
        if (i % 8 == 0) {
            atomic_store(&roots[0][place], id);
            kept[place] = path;
        }
        if (i % 64 == 0)
            for (size_t k = 0; k < ROOTS; k++)
                assert_true(path_is(&kept[k], atomic_load(&roots[0][k])));
        if (i % 512 == 0)
            assert_true(stackmap_is_valid());
    }
    stackmap_get_stats(&after);
    assert_true(after.collections - before.collections > scaled(50000) * 10 / LD_MAX_STACKS);
}

/* Only what is kept may use up the nodes, and once it is not kept any more there is room again. */
static void trap_14_nodes_run_out_only_for_live_paths(void **state)
{
    (void)state;
    static struct path kept[THREADS * ROOTS];
    struct stackmap_supply supply = {0};
    uint64_t seed = 1337;
    size_t count = 0, nodes = 0;
    stack_id id;

    for (;;) {
        struct path *path = &kept[count];

        path_choose(path, &seed, DEPTH_MAX);
        id = path_enter(path, &supply, 0);
        if (id == 0)
            break;
        atomic_store(&roots[count / ROOTS][count % ROOTS], id);
        count++;
        assert_true(count < THREADS * ROOTS);
    }
    for (size_t i = 0; i < count; i++) {
        assert_true(path_is(&kept[i], atomic_load(&roots[i / ROOTS][i % ROOTS])));
        nodes += DEPTH_MAX;
    }
    /* Beginnings are shared, so the live ones alone need at most this, and nearly fill the table. */
    assert_true(nodes >= LD_MAX_STACKS - 2 * DEPTH_MAX);
    assert_true(stackmap_is_valid());

    assert_int_equal(forget_roots(NULL), 0);
    id = 0;
    for (int tries = 0; id == 0 && tries < 10000; tries++)
        id = path_enter(&kept[count], &supply, 0);
    assert_true(path_is(&kept[count], id));
}

/* --- Threads ------------------------------------------------------------------------------------------ */

static void enter_and_keep(unsigned index, void *ctx)
{
    static struct path kept[THREADS][ROOTS];
    struct stackmap_supply supply = {0};
    uint64_t seed = test_seed() + index;

    (void)ctx;
    for (size_t i = 0; i < scaled(50000); i++) {
        size_t place = random_below(&seed, ROOTS / 8);
        struct path path;
        stack_id id;

        path_choose(&path, &seed, 1 + random_below(&seed, DEPTH_MAX));
        id = path_enter(&path, &supply, index);
        if (id == 0)
            continue;
        REQUIRE(path_is(&path, id));
        atomic_store(&roots[index][place], id);
        kept[index][place] = path;
        for (size_t k = 0; i % 64 == 0 && k < ROOTS; k++)
            REQUIRE(path_is(&kept[index][k], atomic_load(&roots[index][k])));
    }
}

static void threads_lose_no_path_that_they_keep(void **state)
{
    (void)state;

    in_threads(THREADS, enter_and_keep, NULL);
    assert_true(stackmap_is_valid());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_path_is_kept_once, forget_roots),
        cmocka_unit_test_setup(frames_are_cut_at_the_outer_end, forget_roots),
        cmocka_unit_test_setup(stack_0_has_no_frames_and_wild_ids_do_no_harm, forget_roots),
        cmocka_unit_test_setup(a_recursion_of_one_frame_is_as_deep_as_it_is, forget_roots),
        cmocka_unit_test_setup(trap_14_kept_paths_survive_hundreds_of_collections, forget_roots),
        cmocka_unit_test_setup(trap_14_nodes_run_out_only_for_live_paths, forget_roots),
        cmocka_unit_test_setup(threads_lose_no_path_that_they_keep, forget_roots),
    };

    test_deadline(300);
    platform_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
