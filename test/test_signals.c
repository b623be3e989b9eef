/* SPDX-License-Identifier: MIT
 *
 * Signal handlers that allocate and free while they interrupt the library, at each single one of its
 * instructions (with the processor's trap flag, where it has one) and at random ones; and handlers that leave
 * by siglongjmp from there. The allocator below is one that can stand it.
 *
 * build: sources
 * build: with test/own_backing.c
 * build: flags -include test/own_backing.h -DLD_MAX_BLOCKS=16384 -DLD_MAX_STACKS=16384
 */
#define _GNU_SOURCE
#include "test_support.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>

#include "stackmap.h"
#include "thread.h"

enum { KEPT = 64, KEPT_SIZE = 640 };

static void *kept[KEPT]; /* blocks that handlers have made */
static volatile size_t handled;

/* What each handler does: one block comes and goes, one takes the place of an older one, one changes.  The
 * sizes are not those of the interrupted side: a handler at each instruction would keep it from ever getting
 * a block of its own. */
static void allocate_and_free(void)
{
    size_t i = handled % KEPT;
    void *block = ld_malloc(666);

    REQUIRE(block != NULL);
    ld_free(kept[i]);
    kept[i] = ld_malloc(KEPT_SIZE + i);
    if (handled % 3 == 0)
        kept[i] = ld_realloc(kept[i], KEPT_SIZE + i + KEPT * (handled % 2));
    REQUIRE(kept[i] != NULL);
    ld_free(block);
    handled++;
}

/* The interrupted side: every kind of entry, and its records checked afterwards. */
static void *work_blocks[4];

static SITE void work_once(void)
{
    work_blocks[0] = ld_malloc(1337);
    work_blocks[1] = ld_calloc(7, 191);
    work_blocks[1] = ld_realloc(work_blocks[1], 1338);
    work_blocks[2] = ld_aligned_alloc(64, 1339);
    work_blocks[2] = ld_realloc(work_blocks[2], 100000);
    work_blocks[3] = ld_realloc(NULL, 1340);
    ld_free(work_blocks[3]);
}

static void check_work(void)
{
    struct snapshot record;

    REQUIRE(find_block(work_blocks[0], &record) && record.size == 1337 && record.frame_count > 2);
    REQUIRE(find_block(work_blocks[1], &record) && record.size == 1338);
    REQUIRE(find_block(work_blocks[2], &record) && record.size == 100000);
    REQUIRE(count_of_size(1340, NULL) == 0);
    for (size_t i = 0; i < 3; i++) {
        ld_free(work_blocks[i]);
        REQUIRE(!is_on_record(work_blocks[i]));
    }
}

/* The blocks of the handlers are all there is. */
static void check_kept_and_free(void)
{
    size_t count = 0;

    for (size_t i = 0; i < KEPT; i++) {
        struct snapshot record;

        if (kept[i] == NULL)
            continue;
        REQUIRE(find_block(kept[i], &record));
        REQUIRE(record.size % KEPT == i);
        REQUIRE(record.frame_count > 2);
        count++;
    }
    REQUIRE(ld_now_leaks(NULL, NULL) == count);
    for (size_t i = 0; i < KEPT; i++) {
        ld_free(kept[i]);
        kept[i] = NULL;
    }
    REQUIRE(ld_now_leaks(NULL, NULL) == 0);
    REQUIRE(stats_now().live_blocks == 0);
    REQUIRE(stats_now().live_bytes == 0);
}

static void handle(int number, void (*handler)(int))
{
    /* Traps stay allowed in their handler, where there are none, so that they never look blocked to
     * set_mask. */
    struct sigaction action = {.sa_handler = handler,
                               .sa_flags = SA_RESTART | (number == SIGTRAP ? SA_NODEFER : 0)};

    sigemptyset(&action.sa_mask);
    REQUIRE(sigaction(number, &action, NULL) == 0);
}

/* --- At every instruction ----------------------------------------------------------------------------- */

static _Thread_local volatile bool is_blocked; /* signals are, by somebody else than a handler */

#if defined(__x86_64__) && !HAS_SANITIZER
#define CAN_STEP 1

enum { TRAP_FLAG = 0x100 };

/* From the next instruction on SIGTRAP follows each one; the handler itself runs without. */
static inline void begin_stepping(void)
{
    __asm__ volatile(
        "lea -128(%%rsp), %%rsp; pushfq; orq %0, (%%rsp); popfq; lea 128(%%rsp), %%rsp" ::"i"(TRAP_FLAG)
        : "cc", "memory");
}

static inline void end_stepping(void)
{
    __asm__ volatile(
        "lea -128(%%rsp), %%rsp; pushfq; andq %0, (%%rsp); popfq; lea 128(%%rsp), %%rsp" ::"i"(~TRAP_FLAG)
        : "cc", "memory");
}

/* A trap cannot wait until signals are allowed again, as other signals do.  So whoever blocks signals,
 * libunwind for one, goes through here (its own calls, too: the program's definition comes first), and
 * handlers of traps do nothing meanwhile. */
static int set_mask(int how, const sigset_t *set, sigset_t *old)
{
    bool was_blocked = is_blocked;
    sigset_t without_trap;
    int result;

    if (set != NULL) {
        without_trap = *set;
        if (how == SIG_SETMASK || sigismember(set, SIGTRAP))
            is_blocked = how != SIG_UNBLOCK && sigismember(set, SIGTRAP);
        if (how != SIG_UNBLOCK)
            sigdelset(&without_trap, SIGTRAP);
    }
    result =
        (int)syscall(SYS_rt_sigprocmask, how, set != NULL ? &without_trap : NULL, old, sizeof(unsigned long));
    if (old != NULL && was_blocked)
        sigaddset(old, SIGTRAP);
    return result;
}

int sigprocmask(int how, const sigset_t *restrict set, sigset_t *restrict old)
{
    return set_mask(how, set, old);
}

int pthread_sigmask(int how, const sigset_t *restrict set, sigset_t *restrict old)
{
    return set_mask(how, set, old) == 0 ? 0 : errno;
}

#else
#define CAN_STEP 0

static inline void begin_stepping(void)
{
}

static inline void end_stepping(void)
{
}
#endif

static volatile size_t steps, steps_between; /* a handler does something at every so many-th step */

static void on_step(int number)
{
    (void)number;
    if (!is_blocked && steps++ % steps_between == 0)
        allocate_and_free();
}

/* The first time through, frames that were never seen are looked up, which takes a hundred thousand
 * instructions; later on it is a few hundred. */
static void trap_18_handlers_allocate_at_every_instruction(void **state)
{
    (void)state;

    if (!CAN_STEP)
        skip();
    handle(SIGTRAP, on_step);
    for (int i = 0; i < 8; i++) {
        steps_between = i == 0 ? 211 : 1;
        handled = 0;
        begin_stepping();
        work_once();
        end_stepping();
        assert_true(handled > 100);
        check_work();
        check_kept_and_free();
    }
    assert_int_equal(stats_now().nested_blocks, 0);
}

/* --- Leaving for good --------------------------------------------------------------------------------- */

static sigjmp_buf out;
static volatile size_t steps_left;

/* Leaving libunwind or the loader in the midst of a call leaves their locks taken, which no library can mend;
 * leaving this one, at any instruction of its own, must do no harm. */
static bool is_own_code(const void *context)
{
#if CAN_STEP
    extern const char __executable_start[], etext[];
    uintptr_t pc = (uintptr_t)((const ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];

    return pc >= (uintptr_t)__executable_start && pc < (uintptr_t)etext && !is_blocked;
#else
    return context == NULL;
#endif
}

static void on_step_leave(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    if (is_own_code(context) && steps_left-- == 0)
        siglongjmp(out, 1);
}

/* Steps through one of each until a handler leaves at step n; false if it came to its end before.  No
 * realloc: whoever leaves one does not know which of the two blocks there is. */
static SITE bool leave_at_step(size_t n)
{
    steps_left = n;
    if (sigsetjmp(out, 1) != 0)
        return true;
    begin_stepping();
    ld_free(ld_malloc(1337));
    ld_free(ld_calloc(7, 191));
    ld_free(ld_aligned_alloc(64, 1339));
    end_stepping();
    return false;
}

/* From the same depth, further in, and further out: everything is recorded, with its stack. */
static SITE void check_recording(void)
{
    struct ld_stats before = stats_now(), after;

    work_once();
    check_work();
    after = stats_now();
    REQUIRE(after.live_blocks == before.live_blocks);
    REQUIRE(after.live_bytes == before.live_bytes);
    REQUIRE(after.nested_blocks == before.nested_blocks);
    REQUIRE(after.dropped_blocks == before.dropped_blocks);
}

static SITE int check_recording_at_depth(int depth)
{
    if (depth == 0) {
        check_recording();
        return 1;
    }
    return check_recording_at_depth(depth - 1) + 1;
}

static bool free_it(const struct ld_leak *leak, void *ctx)
{
    (void)ctx;
    ld_free((void *)(uintptr_t)leak->address);
    return true;
}

/* A block that was on its way when it was left may be lost, on record or not; later ones may not. */
static void trap_18_recording_survives_a_longjmp_from_every_instruction(void **state)
{
    (void)state;
    struct sigaction action = {.sa_sigaction = on_step_leave, .sa_flags = SA_NODEFER | SA_SIGINFO};
    size_t n = 0;

    if (!CAN_STEP)
        skip();
    REQUIRE(sigaction(SIGTRAP, &action, NULL) == 0);
    work_once(); /* so that there is nothing left to be looked up elsewhere */
    check_work();
    while (leave_at_step(n)) {
        check_recording();
        check_recording_at_depth(5);
        ld_now_leaks(free_it, NULL);
        n += 1 + n / 100;
    }
    assert_true(n > 100);
}

/* Recursion that needs nodes for paths of its own. */
static SITE int take_a_path(uint64_t *seed, unsigned depth);

static SITE int turn_left(uint64_t *seed, unsigned depth)
{
    return take_a_path(seed, depth) + 1;
}

static SITE int turn_right(uint64_t *seed, unsigned depth)
{
    return take_a_path(seed, depth) + 1;
}

static SITE int take_a_path(uint64_t *seed, unsigned depth)
{
    if (depth == 0) {
        ld_free(ld_malloc(666));
        return 1;
    }
    return (random_below(seed, 2) == 0 ? turn_left : turn_right)(seed, depth - 1) + 1;
}

static void take_paths_until_collected(void)
{
    size_t collections = stats_now().stack_collections;
    uint64_t seed = test_seed();

    while (stats_now().stack_collections == collections)
        take_a_path(&seed, 25);
}

static void on_step_leave_collection(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    if (stackmap_is_collecting() && is_own_code(context) && steps_left-- == 0)
        siglongjmp(out, 1);
}

/* Leaves a collection at its n-th step; false if it had fewer. */
static SITE bool leave_collection_at_step(size_t n)
{
    uint64_t seed = test_seed() + n;
    size_t collections;

    take_paths_until_collected();
    while (stats_now().stack_nodes + 64 < LD_MAX_STACKS)
        take_a_path(&seed, 25);
    collections = stats_now().stack_collections;
    steps_left = n;
    if (sigsetjmp(out, 1) != 0)
        return true;
    begin_stepping();
    for (int i = 0; i < 20; i++)
        take_a_path(&seed, 25);
    end_stepping();
    REQUIRE(stats_now().stack_collections > collections);
    return false;
}

static void trap_18_a_collection_that_was_left_by_longjmp_does_not_block_the_next(void **state)
{
    (void)state;
    struct sigaction action = {.sa_sigaction = on_step_leave_collection, .sa_flags = SA_NODEFER | SA_SIGINFO};
    size_t n = 0;

    if (!CAN_STEP)
        skip();
    REQUIRE(sigaction(SIGTRAP, &action, NULL) == 0);
    while (n < 20000 && leave_collection_at_step(n)) {
        size_t cut = stats_now().cut_stacks;

        take_paths_until_collected();
        check_recording();
        REQUIRE(stats_now().cut_stacks == cut);
        REQUIRE(stackmap_is_valid());
        ld_now_leaks(free_it, NULL);
        n = n * 2 + 1;
    }
    assert_true(n > 100);
}

/* How often anybody has waited for anything. */
static atomic_size_t yields;

int sched_yield(void)
{
    atomic_fetch_add(&yields, 1);
    return (int)syscall(SYS_sched_yield);
}

enum {
    PATHS_MEANWHILE = 20,
    YIELDS_MAX = 12000, /* the library waits for less than this, once, and not for each path */
};
static atomic_bool is_left, may_go_on;

static void leave_and_wait(void *step, bool calls_again)
{
    REQUIRE(leave_collection_at_step(*(size_t *)step));
    atomic_store(&is_left, true);
    while (!atomic_load(&may_go_on))
        usleep(100);
    if (calls_again)
        ld_free(ld_malloc(1337));
}

static void *leave_and_call_again(void *step)
{
    leave_and_wait(step, true);
    return NULL;
}

static void *leave_and_end(void *step)
{
    leave_and_wait(step, false);
    return NULL;
}

/* Another thread leaves a collection at this step, and calls nothing for a while: others go on at once,
 * without the inner frames, and as ever when it has called something, or has ended. */
static void go_on_while_a_thread_has_left(size_t step, void *leave(void *step))
{
    uint64_t seed = test_seed() + 1;
    pthread_t thread;
    size_t cut;

    atomic_store(&is_left, false);
    atomic_store(&may_go_on, false);
    REQUIRE(pthread_create(&thread, NULL, leave, &step) == 0);
    while (!atomic_load(&is_left))
        usleep(100);
    cut = stats_now().cut_stacks;
    atomic_store(&yields, 0);
    for (int i = 0; i < PATHS_MEANWHILE; i++)
        take_a_path(&seed, 25);
    REQUIRE(stats_now().cut_stacks > cut + PATHS_MEANWHILE / 2);
    REQUIRE(atomic_load(&yields) < YIELDS_MAX);
    atomic_store(&may_go_on, true);
    REQUIRE(pthread_join(thread, NULL) == 0);
    cut = stats_now().cut_stacks;
    take_paths_until_collected();
    check_recording();
    REQUIRE(stats_now().cut_stacks == cut);
    REQUIRE(stackmap_is_valid());
    ld_now_leaks(free_it, NULL);
}

static void trap_18_nobody_waits_for_a_thread_that_has_left_a_collection(void **state)
{
    (void)state;
    struct sigaction action = {.sa_sigaction = on_step_leave_collection, .sa_flags = SA_NODEFER | SA_SIGINFO};

    if (!CAN_STEP)
        skip();
    REQUIRE(sigaction(SIGTRAP, &action, NULL) == 0);
    go_on_while_a_thread_has_left(0, leave_and_call_again);
    go_on_while_a_thread_has_left(1000, leave_and_call_again);
    go_on_while_a_thread_has_left(0, leave_and_end);
    go_on_while_a_thread_has_left(1000, leave_and_end);
}

/* --- At random instants ------------------------------------------------------------------------------- */

static void trap_18_handlers_of_a_fast_timer_allocate(void **state)
{
    (void)state;
    struct itimerval timer = {.it_interval = {.tv_usec = 500}, .it_value = {.tv_usec = 500}}, none = {0};
    size_t wanted = scaled(2000);

    handled = 0;
    steps_between = 1;
    handle(SIGPROF, on_step);
    assert_int_equal(setitimer(ITIMER_PROF, &timer, NULL), 0);
    for (size_t i = 0; i < 3000000 && handled < wanted; i++) {
        work_once();
        for (size_t k = 0; k < 3; k++)
            ld_free(work_blocks[k]);
    }
    assert_int_equal(setitimer(ITIMER_PROF, &none, NULL), 0);
    check_kept_and_free();
}

/* Several threads, each interrupted by its own signals, that another thread sends. */
enum { VICTIMS = 3 };
static pthread_t victims[VICTIMS];
static atomic_uint ready, finished;
static _Thread_local void *own_kept;

static void on_signal_in_thread(int number)
{
    (void)number;
    ld_free(own_kept);
    own_kept = ld_malloc(666);
    REQUIRE(own_kept != NULL);
}

/* Another thread may be in ld_realloc, whose block had this address before. */
static bool is_on_record_with_size(const void *address, size_t size)
{
    struct search search = {.address = address, .size = size};

    ld_now_leaks(search_visit, &search);
    return search.count >= 1;
}

static void work_in_thread(unsigned index)
{
    void *blocks[32] = {NULL};

    victims[index] = pthread_self();
    atomic_fetch_add(&ready, 1);
    for (size_t i = 0; i < scaled(300000); i++) {
        size_t k = i % 32;

        ld_free(blocks[k]);
        blocks[k] = i % 2 != 0 ? ld_malloc(1 + i % 1000) : ld_realloc(ld_malloc(i % 100), 1 + i % 1000);
        if (i % 20001 == 0)
            REQUIRE(is_on_record_with_size(blocks[k], 1 + i % 1000));
    }
    for (size_t k = 0; k < 32; k++)
        ld_free(blocks[k]);
    atomic_fetch_add(&finished, 1);
    while (atomic_load(&finished) != VICTIMS + 1)
        usleep(100);
    ld_free(own_kept);
}

static void work_or_send(unsigned index, void *ctx)
{
    (void)ctx;
    if (index < VICTIMS) {
        work_in_thread(index);
        return;
    }
    while (atomic_load(&ready) != VICTIMS)
        usleep(100);
    for (size_t i = 0; atomic_load(&finished) != VICTIMS; i++) {
        pthread_kill(victims[i % VICTIMS], SIGUSR1);
        usleep(100);
    }
    /* No signal is on its way any more when a victim frees its last block: they are handled before this
     * one. */
    for (size_t i = 0; i < VICTIMS; i++)
        pthread_kill(victims[i], SIGUSR2);
    usleep(1000);
    atomic_fetch_add(&finished, 1);
}

static void on_nothing(int number)
{
    (void)number;
}

static void trap_18_handlers_allocate_in_many_threads(void **state)
{
    (void)state;

    handle(SIGUSR1, on_signal_in_thread);
    handle(SIGUSR2, on_nothing);
    in_threads(VICTIMS + 1, work_or_send, NULL);
    assert_int_equal(ld_now_leaks(NULL, NULL), 0);
    assert_int_equal(stats_now().live_blocks, 0);
}

static size_t count_size_666;

static bool count_666(const struct ld_leak *leak, void *ctx)
{
    (void)ctx;
    count_size_666 += leak->size == 666;
    return true;
}

static void on_signal_walk(int number)
{
    (void)number;
    if (is_blocked)
        return;
    ld_now_leaks(count_666, NULL);
    handled++;
}

/* A walk never waits for what it has interrupted. */
static void trap_21_handlers_walk_at_every_instruction(void **state)
{
    (void)state;
    void *block;

    if (!CAN_STEP)
        skip();
    block = ld_malloc(666);
    handle(SIGTRAP, on_signal_walk);
    handled = count_size_666 = 0;
    begin_stepping();
    work_once();
    end_stepping();
    check_work();
    assert_true(handled > 100);
    assert_int_equal(count_size_666, handled);
    ld_free(block);
}

/* --- Handlers in handlers ----------------------------------------------------------------------------- */

/* Enters once more, from further in, as a handler does that has interrupted the one before. */
static SITE void enter_again(unsigned level)
{
    struct thread_entry entry = thread_enter(FRAME_ADDRESS());

    if (level < THREAD_NESTING) {
        REQUIRE(entry.share != NULL && entry.level == level);
        enter_again(level + 1);
        thread_leave(entry);
        return;
    }
    REQUIRE(entry.share == NULL);
    ld_free(ld_malloc(10));
}

/* Each has a stack of its own in flight.  Beyond that nothing is recorded, and it is counted. */
static void handlers_that_interrupt_too_many_others_drop_their_blocks(void **state)
{
    (void)state;
    size_t dropped = stats_now().dropped_blocks;

    enter_again(0);
    assert_int_equal(stats_now().dropped_blocks - dropped, 1);
    enter_again(0);
    assert_int_equal(ld_now_leaks(NULL, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trap_18_handlers_allocate_at_every_instruction),
        cmocka_unit_test(trap_21_handlers_walk_at_every_instruction),
        cmocka_unit_test(trap_18_handlers_of_a_fast_timer_allocate),
        cmocka_unit_test(trap_18_handlers_allocate_in_many_threads),
        cmocka_unit_test(trap_18_recording_survives_a_longjmp_from_every_instruction),
        cmocka_unit_test(trap_18_a_collection_that_was_left_by_longjmp_does_not_block_the_next),
        cmocka_unit_test(trap_18_nobody_waits_for_a_thread_that_has_left_a_collection),
        cmocka_unit_test(handlers_that_interrupt_too_many_others_drop_their_blocks),
    };

    test_deadline(280);
    ld_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
