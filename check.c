/* SPDX-License-Identifier: MIT
 *
 * The public calls about lost blocks, and the order of events in a check.
 *
 * One check at a time.  Whoever checks has all its signals blocked until the answer is there, so that no
 * handler of the program runs while others stand still; no lock is held when blocks are handed over.
 *
 * A block that is lost stays lost.  So where one look may have been deceived, because a thread could not be
 * stopped, what counts is what two looks agree on.
 */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>

#include "blockmap.h"
#include "collapse.h"
#include "gaps.h"
#include "kernel.h"
#include "ours.h"
#include "pages.h"
#include "platform.h"
#include "reach.h"
#include "report.h"
#include "restart.h"
#include "roots.h"
#include "snapshot.h"
#include "stackmap.h"
#include "stop.h"
#include "tasks.h"
#include "text.h"
#include "unwind.h"
#include "walk.h"

enum {
    ROOM_TO_SPARE = 4096, /* blocks that may be made between counting and stopping */
    LOOKS_MAX = 10,       /* while modules come and go */
    MODULES_NS = 3000000, /* so much longer each time until the next */
    IGNORE_WITHIN = 4096, /* bytes of a block, into which ld_ignore takes pointers */
};

static struct {
    _Atomic uint32_t busy; /* the process that looks; 0: none */
    struct check_options options;
} check;

/* From where it is looked. */
struct vantage {
    uintptr_t stack_pointer;
    struct unwind_frame frame; /* of it the registers, if they are not on the stack */
    bool has_registers;
    bool is_ending; /* see struct roots_snapshot */
};

static struct vantage vantage_of(const struct check_caller *caller)
{
    return (struct vantage){.stack_pointer = (uintptr_t)caller};
}

/* Who has called exit may have its pointers where it had them then.  The frames of exit itself hold nothing
 * of the program's, but have stale words of what had their place on the stack before. */
static struct vantage vantage_at_end(const struct check_caller *caller)
{
    struct vantage vantage = vantage_of(caller);

    vantage.is_ending = true;
    if (caller == NULL)
        return vantage;
    vantage.frame = (struct unwind_frame){.pc = caller->pc, .sp = (uintptr_t)(caller + 1)};
    memcpy(vantage.frame.kept, caller->registers, sizeof(vantage.frame.kept));
    vantage.has_registers = unwind_leave_exit(&vantage.frame);
    if (vantage.has_registers)
        vantage.stack_pointer = vantage.frame.sp;
    return vantage;
}

/* --- One look ----------------------------------------------------------------------------------------- */

/* In shared memory, with room for the lost blocks behind it. */
struct look {
    struct reach_job job;
    struct stop stop;
    struct roots roots;
    struct snapshot_start start;
    size_t size;
    bool was_in_place;
};

static void do_look(void *ctx)
{
    struct look *look = ctx;
    uint32_t rights = platform_unlock_keys();

    /* Marking takes too long to come before others. */
    kernel_restore_slice(look->stop.slice);
    look->job.is_in_copy = !look->was_in_place;
    look->job.knows_mapped = ours_are_known();
    reach_find(&look->job);
    platform_lock_keys(rights);
}

static void go_on(void *ctx)
{
    (void)ctx;
    stop_end();
}

static enum blockmap_step count_one(const struct block *block, void *count)
{
    (void)block;
    ++*(size_t *)count;
    return BLOCKMAP_NEXT;
}

static struct look *map_look(size_t room)
{
    size_t size = sizeof(struct look) + room * sizeof(reach_found);
    struct look *look = kernel_map_shared(size);

    if (look != NULL) {
        look->size = size;
        look->job.found = (reach_found *)(look + 1);
        look->job.room = room;
    }
    return look;
}

/* Gives back what a look needed and its answer does not: who leaves a callback by longjmp, an exception or a
 * cancellation leaves that answer behind.  (No cleanup handler: the library has no code with a personality,
 * whose COMDAT symbol would not survive that its names are made local.) */
static void keep_answer_alone(struct look *look)
{
    const size_t page = platform_page_size();
    size_t used = sizeof(*look) + look->job.found_count * sizeof(reach_found);

    roots_release(&look->roots);
    used = (used + page - 1) / page * page;
    if (used < look->size) {
        kernel_unmap((char *)look + used, look->size - used);
        look->size = used;
    }
}

static void unmap_look(struct look *look)
{
    if (look == NULL)
        return;
    roots_release(&look->roots);
    kernel_unmap(look, look->size);
}

/* The signal stack that the calling thread has, and whether it is on it. */
static void find_signal_stack(struct stop_thread *thread)
{
    stack_t stack;

    if (kernel_set_signal_stack(NULL, &stack) != 0)
        return;
    thread->alternate_stack = (uintptr_t)stack.ss_sp;
    if ((stack.ss_flags & SS_ONSTACK) != 0)
        thread->signal_stack_end = thread->alternate_stack + stack.ss_size;
}

static void describe(struct look *look, const struct vantage *vantage)
{
    struct roots_snapshot *snapshot = &look->job.snapshot;

    snapshot->roots = &look->roots;
    snapshot->process = kernel_process();
    snapshot->main_stack = (uintptr_t)getauxval(AT_RANDOM);
    snapshot->caller.id = kernel_thread();
    snapshot->caller.stack_pointer = vantage->stack_pointer;
    if (vantage->has_registers) {
        snapshot->caller.registers = (uintptr_t)vantage->frame.kept;
        snapshot->caller.registers_end = (uintptr_t)vantage->frame.kept + sizeof(vantage->frame.kept);
    }
    snapshot->caller.thread_pointer = (uintptr_t)platform_thread_pointer();
    snapshot->caller.state = STOP_STOPPED;
    find_signal_stack(&snapshot->caller);
    snapshot->options = (struct roots_options){
        .strict = check.options.is_strict,
        .globals = !check.options.no_globals,
        .tls = !check.options.no_tls,
        .registers = !check.options.no_registers,
        .stacks = !check.options.no_stacks,
        .mapped = check.options.counts_mapped,
    };
    snapshot->is_ending = vantage->is_ending;
    look->job.are_unaligned = check.options.are_unaligned;
    look->job.ignored = CHECK_IGNORED;
}

/* The tables in which a number may look like a pointer. */
static int gather_roots(struct roots *roots)
{
    uintptr_t blocks = (uintptr_t)blockmap_table(), stacks = (uintptr_t)stackmap_table();
    uintptr_t mappings = (uintptr_t)ours_table();
    const struct ours_range own[] = {
        {blocks, blocks + blockmap_own_bytes()},
        {stacks, stacks + stackmap_own_bytes()},
        {mappings, mappings + ours_own_bytes()},
    };

    return roots_gather(roots, own, sizeof(own) / sizeof(own[0]));
}

/* Now that all others stand still.  0 or an errno value. */
static int can_be_known(const struct look *look)
{
    if (gaps_exist())
        return ENODATA;
    return roots_current(&look->roots) ? 0 : EAGAIN;
}

/* 0 or an errno value; *out is to be unmapped in any case.  `before`: what was found the last time, NULL:
 * this is the first look. */
static int look_once(const struct vantage *vantage, const struct look *before, size_t room, struct look **out)
{
    struct look *look = *out = map_look(room);
    int error;

    if (look == NULL)
        return ENOMEM;
    error = gather_roots(&look->roots);
    if (error != 0)
        return error;
    describe(look, vantage);
    if (before != NULL) {
        look->job.candidates = before->job.found;
        look->job.candidate_count = before->job.found_count;
    }
    error = stop_begin(&look->stop);
    if (error != 0)
        return error;
    look->job.snapshot.threads = look->stop.threads;
    look->job.snapshot.thread_count = look->stop.count;
    look->start.has_withheld = look->job.snapshot.options.mapped;
    error = can_be_known(look);
    if (error != 0)
        stop_end();
    else
        error = snapshot_run(do_look, go_on, look, &look->start, &look->was_in_place);
    stop_unblock(&look->stop);
    if (look->job.is_complete)
        return look->job.error;
    return error != 0 ? error : EFAULT;
}

/* Looks until there was room for all, and no module came or went meanwhile. */
static int look_well(const struct vantage *vantage, const struct look *before, struct look **out)
{
    size_t room = ROOM_TO_SPARE;
    int error = 0;

    if (!check.options.keeps_pages && !vantage->is_ending)
        collapse_pages();
    blockmap_each(count_one, &room);
    for (int i = 0; i < LOOKS_MAX; i++) {
        error = look_once(vantage, before, room, out);
        if (error == ENOSPC)
            room = (*out)->job.found_count + ROOM_TO_SPARE;
        else if (error == EAGAIN)
            kernel_pause_ns((uint64_t)(i + 1) * MODULES_NS);
        else
            return error;
        unmap_look(*out);
        *out = NULL;
    }
    return error == ENOSPC ? ENOMEM : error;
}

static int look_twice(const struct vantage *vantage, struct look **out)
{
    struct look *first = NULL;
    int error = look_well(vantage, NULL, &first);

    *out = first;
    if (error != 0 || first->stop.running == 0 || first->job.found_count == 0)
        return error;
    error = look_well(vantage, first, out);
    unmap_look(first);
    return error;
}

/* --- The answer --------------------------------------------------------------------------------------- */

/* What a process that was forked in the midst of a look has of it. */
static void forget_look(void)
{
    stop_after_fork();
    pages_close();
}

/* One look at a time.  Of another process it is what this one was copied from in the midst of a look, without
 * handlers of fork (_Fork): here nobody will ever leave. */
static void enter(void)
{
    const uint32_t self = (uint32_t)kernel_process();
    uint32_t before = 0;

    while (!atomic_compare_exchange_weak_explicit(&check.busy, &before, self, memory_order_acquire,
                                                  memory_order_relaxed))
        if (before == self) {
            kernel_wait_while(&check.busy, self, 0);
            before = 0;
        }
    if (before != 0)
        forget_look();
}

static void leave(void)
{
    atomic_store_explicit(&check.busy, 0, memory_order_release);
    kernel_wake_all(&check.busy);
}

/* What a definitely lost block leads. */
static void add_up_led(const struct look *look, size_t leader, struct walk *walk)
{
    struct block block;

    walk->led_blocks = 0;
    walk->led_bytes = 0;
    if (REACH_HOW(look->job.found[leader]) != LD_DEFINITELY_LOST)
        return;
    for (size_t i = leader + 1;
         i < look->job.found_count && REACH_HOW(look->job.found[i]) == LD_INDIRECTLY_LOST; i++)
        if (blockmap_find((const void *)REACH_ADDRESS(look->job.found[i]), &block)) {
            walk->led_blocks++;
            walk->led_bytes += block.size;
        }
}

/* A block that is not on record any more was freed, so it was not lost, but only possibly so. */
static void hand_over(const struct look *look, struct walk *walk)
{
    bool has_leader = false;

    for (size_t i = 0; i < look->job.found_count; i++) {
        const void *address = (const void *)REACH_ADDRESS(look->job.found[i]);
        const enum ld_reach how = (enum ld_reach)REACH_HOW(look->job.found[i]);
        enum blockmap_step step = BLOCKMAP_AGAIN;
        struct block block;

        add_up_led(look, i, walk);
        walk->flags = REACH_IS_STRICT(look->job.found[i]) ? LD_LEAK_STRICT : 0;
        if (how == LD_DEFINITELY_LOST)
            has_leader = false;
        else if (how == LD_INDIRECTLY_LOST && !has_leader)
            walk->flags |= LD_LEAK_UNLED;
        while (step == BLOCKMAP_AGAIN && blockmap_find(address, &block) && block.mark >= walk->since)
            step = walk_hand_over(walk, &block, how);
        if (step == BLOCKMAP_STOP)
            return;
        has_leader = has_leader || (how == LD_DEFINITELY_LOST && step == BLOCKMAP_NEXT);
    }
}

/* 0 or an errno value.  A signal handler that ends the program, and so looks itself, is not to find a look
 * begun in its own thread. */
static int find_lost(const struct vantage *vantage, struct look **look)
{
    uint64_t blocked;
    int error;

    *look = NULL;
    if (!CHECK_CAN_LOOK)
        return ENOSYS;
    if (gaps_exist())
        return ENODATA;
    if (check.options.counts_mapped && !ours_are_known())
        return ENOTSUP;
    kernel_block(STOP_OTHER_SIGNALS, &blocked);
    enter();
    error = look_twice(vantage, look);
    if (*look != NULL)
        keep_answer_alone(*look);
    leave();
    kernel_set_blocked(blocked);
    return error;
}

struct source {
    const struct look *look;
    uint32_t since;
};

static int hand_to_report(void *ctx, ld_leak_fn *callback, void *callback_ctx)
{
    const struct source *source = ctx;
    struct walk walk;

    walk_init(&walk, callback, callback_ctx);
    walk.since = source->since;
    hand_over(source->look, &walk);
    return 0;
}

/* For people, how it was looked, if that was not as usual. */
static void say_how(const struct look *look, int fd, const struct report_found *found)
{
    struct text text;

    text_init(&text, fd);
    if (look->stop.running != 0)
        text_put(&text,
                 "note: some threads could not be stopped; their whole stacks were taken for pointers\n");
    if (look->was_in_place)
        text_put(&text, "note: the process could not be copied, and stood still while it was examined\n");
    if (look->job.mapped_count != 0 && found->definite_sites != 0) {
        text_put(&text, "note: memory that the program has mapped itself points to ");
        text_put_id(&text, look->job.mapped_count);
        text_put(&text, " of the definitely lost blocks");
        text_put(&text, found->suppressed != 0 ? ", suppressed ones included" : "");
        text_put(&text, "; use_mappings=1 counts it\n");
    }
    text_flush(&text);
}

static int write_lost(const struct look *look, int fd, const struct ld_report_options *options,
                      struct report_found *found)
{
    struct source source = {.look = look, .since = options == NULL ? 0 : options->since};
    int error = report_walk(fd, options, "lost", hand_to_report, &source, found);

    if (error == 0 && (options == NULL || options->format == LD_REPORT_TEXT))
        say_how(look, fd, found);
    return error;
}

/* Whoever cancels the thread does so when all that was mapped for the look is gone again. */
static NOINLINE int report_and_count(int fd, const struct ld_report_options *options, size_t *lost,
                                     const struct check_caller *caller)
{
    struct report_found reported = {0};
    struct look *look;
    const struct vantage vantage = vantage_of(caller);
    int cancel_state, error;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    error = find_lost(&vantage, &look);
    if (error == 0)
        error = write_lost(look, fd, options, &reported);
    unmap_look(look);
    pthread_setcancelstate(cancel_state, NULL);
    pthread_testcancel();
    if (lost != NULL)
        *lost = reported.blocks;
    return error;
}

static bool has_definite(const struct look *look)
{
    for (size_t i = 0; i < look->job.found_count; i++)
        if (REACH_HOW(look->job.found[i]) == LD_DEFINITELY_LOST)
            return true;
    return false;
}

/* Suppressions are applied while a report is made, so a first one, to nowhere, tells if there is to be
 * one. */
int check_report(int fd, const struct ld_report_options *options, const struct check_caller *caller,
                 bool is_ending, bool *definite)
{
    struct report_found reported = {0};
    struct look *look;
    const struct vantage vantage = is_ending ? vantage_at_end(caller) : vantage_of(caller);
    int error = find_lost(&vantage, &look);

    *definite = false;
    if (error == 0 && has_definite(look)) {
        write_lost(look, -1, options, &reported);
        *definite = reported.definite_sites != 0;
        if (*definite)
            error = write_lost(look, fd, options, &reported);
    }
    unmap_look(look);
    return error;
}

static NOINLINE size_t walk_lost(ld_leak_fn *callback, void *ctx, const struct check_caller *caller)
{
    const struct vantage vantage = vantage_of(caller);
    struct look *look;
    struct walk walk;
    int cancel_state, error;

    walk_init(&walk, callback, ctx);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    error = find_lost(&vantage, &look);
    pthread_setcancelstate(cancel_state, NULL);
    if (error == 0)
        hand_over(look, &walk);
    unmap_look(look);
    if (error != 0)
        errno = error;
    return walk.count;
}

#if CHECK_CAN_LOOK

ENTRY_POINT CHECK_FROM_CALLER int ld_check(CHECK_UNUSED int fd,
                                           CHECK_UNUSED const struct ld_report_options *options,
                                           CHECK_UNUSED size_t *lost)
{
    CHECK_FROM_HERE(report_and_count, "rcx");
}

ENTRY_POINT CHECK_FROM_CALLER size_t ld_lost_leaks(CHECK_UNUSED ld_leak_fn *callback, CHECK_UNUSED void *ctx)
{
    CHECK_FROM_HERE(walk_lost, "rdx");
}

#else

ENTRY_POINT int ld_check(int fd, const struct ld_report_options *options, size_t *lost)
{
    return report_and_count(fd, options, lost, NULL);
}

ENTRY_POINT size_t ld_lost_leaks(ld_leak_fn *callback, void *ctx)
{
    return walk_lost(callback, ctx, NULL);
}

#endif

/* --- What is not to be lost ----------------------------------------------------------------------------- */

/* The block that this is a pointer into, or NULL; the beginning of a large one. */
static const void *block_with(const void *pointer)
{
    const char *at = (const char *)((uintptr_t)pointer & ~(uintptr_t)(sizeof(uint64_t) - 1));
    struct block block;

    for (size_t i = 0; i < IGNORE_WITHIN; i += sizeof(uint64_t), at -= sizeof(uint64_t))
        if (blockmap_find(at, &block))
            return pointer == at || (size_t)((const char *)pointer - at) < block.size ? at : NULL;
    return NULL;
}

ENTRY_POINT void ld_ignore(const void *block)
{
    struct blockmap_hold hold;
    const void *start = block_with(block);

    if (start == NULL || !blockmap_hold(start, &hold))
        return;
    hold.block.flags |= CHECK_IGNORED;
    blockmap_settle(&hold, &hold.block);
}

ENTRY_POINT int ld_register_root(const void *start, size_t size)
{
    return roots_register(start, size);
}

ENTRY_POINT int ld_unregister_root(const void *start, size_t size)
{
    return roots_unregister(start, size);
}

/* --- Life --------------------------------------------------------------------------------------------- */

void check_init(void)
{
    restart_init();
    tasks_init();
}

void check_set_options(const struct check_options *options)
{
    check.options = *options;
}

void check_after_fork(void)
{
    atomic_store_explicit(&check.busy, 0, memory_order_relaxed);
    forget_look();
}

size_t check_own_bytes(void)
{
    return sizeof(check) + roots_own_bytes() + ours_own_bytes();
}
