/* SPDX-License-Identifier: MIT
 *
 * The handshake of stop.h.
 *
 *     who stops                              each other thread
 *     round = odd number
 *     for each in /proc/self/task:
 *         answer = request; signal   ---->   handler: says where its registers are
 *                                            answer = where it says so; arrived++
 *     wait until all have answered           wait while round is that number
 *         or give it up: answer = 0
 *     until a look at the tasks finds no new one
 *     ... snapshot ...
 *     round = next even number   -------->   return
 *
 * Whether a thread was stopped is decided by one compare-and-swap on its answer, from the request that it was
 * sent, in which the round is: a handler that comes too late changes nothing.  Answers are in memory that is
 * never unmapped.
 *
 * A thread that is not to be stopped now marks its request as postponed.  It may wait for a lock that one of
 * those has which are stopped already, and then nobody would ever move: if only such are missing, and go on
 * missing, the round is given up, and after a moment the next one begins.
 */
#define _GNU_SOURCE
#include "stop.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "kernel.h"
#include "restart.h"
#include "tasks.h"

enum {
    THREADS_MIN = 256,
    /* How often those that have not answered are looked at, and how long a thread may be unable to take the
     * signal, or not come to run, before it is given up. */
    LOOK_NS = 2000000,
    BLOCKED_LOOKS = 10,
    SILENT_LOOKS = 1000,
    /* How often all are let go because some have postponed their answer for BLOCKED_LOOKS, and for how long:
     * longer each time, because whoever has the lock must come to run. */
    RETRIES_MAX = 20,
    RETRY_NS = 1000000,
    /* Rounds are told apart in requests by this many bits; the rest is the number of the thread, and a bit
     * that says that it has postponed its answer. */
    ROUND_BITS = 32,
};

#define POSTPONED (UINT64_C(1) << 63)

static struct {
    _Atomic uint32_t round;             /* odd: threads are stopped */
    _Atomic uint32_t arrived, expected; /* threads, in this round */
    /* These change only when no round is on. */
    struct stop_thread *threads;
    _Atomic uintptr_t *answers; /* odd: a request; otherwise a struct stop_thread on the thread's own stack */
    size_t capacity;
    struct kernel_action before; /* whose signal it is */
    atomic_bool on_own_stacks;   /* handlers run where the threads are */
} all;

THREAD_LOCAL struct stop_self stop_self;

/* --- In the thread that is stopped ---------------------------------------------------------------------- */

#if defined(__x86_64__)

/* Bytes of the vector registers in a signal frame: 512, and more with AVX, as the frame itself says. */
static size_t size_of_vectors(const struct _libc_fpstate *vectors)
{
    enum { LEGACY = 512, MARK_AT = 464, MOST = 16384 };
    const uint32_t mark = 0x46505853;
    uint32_t words[2];

    memcpy(words, (const char *)vectors + MARK_AT, sizeof(words));
    return words[0] == mark && words[1] >= LEGACY && words[1] <= MOST ? words[1] & ~7u : LEGACY;
}

static uintptr_t stack_pointer_of(const ucontext_t *context)
{
    return (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
}

static uintptr_t own_stack_pointer_of(const ucontext_t *context)
{
    return restart_stack_pointer(context->uc_mcontext.gregs);
}

static void save_registers(struct stop_thread *self, const ucontext_t *context)
{
    const mcontext_t *machine = &context->uc_mcontext;

    self->registers = (uintptr_t)machine->gregs;
    self->registers_end = self->registers + sizeof(machine->gregs);
    if (machine->fpregs != NULL) {
        self->vectors = (uintptr_t)machine->fpregs;
        self->vectors_end = self->vectors + size_of_vectors(machine->fpregs);
    }
}

#else

/* Nobody looks there (check.c). */
static uintptr_t stack_pointer_of(const ucontext_t *context)
{
    return (uintptr_t)context;
}

static uintptr_t own_stack_pointer_of(const ucontext_t *context)
{
    return stack_pointer_of(context);
}

static void save_registers(struct stop_thread *self, const ucontext_t *context)
{
    self->registers = (uintptr_t)&context->uc_mcontext;
    self->registers_end = self->registers + sizeof(context->uc_mcontext);
}

#endif

static void save(struct stop_thread *self, const ucontext_t *context)
{
    self->state = STOP_STOPPED;
    self->stack_pointer = stack_pointer_of(context);
    save_registers(self, context);
    self->thread_pointer = (uintptr_t)platform_thread_pointer();
    self->alternate_stack = (uintptr_t)context->uc_stack.ss_sp;
    if (kernel_is_on_stack(&context->uc_stack, self->stack_pointer))
        self->signal_stack_end = self->alternate_stack + context->uc_stack.ss_size;
}

static _Atomic uintptr_t *answer_to(uint64_t request)
{
    return &all.answers[(request & ~POSTPONED) >> ROUND_BITS];
}

static void stay(uint64_t request, const ucontext_t *context)
{
    uintptr_t asked = (uintptr_t)request;
    uint32_t round = (uint32_t)request;
    struct stop_thread self = {0};

    save(&self, context);
    /* Release: what was saved. */
    if (!atomic_compare_exchange_strong_explicit(answer_to(request), &asked, (uintptr_t)&self,
                                                 memory_order_release, memory_order_relaxed))
        return;
    /* Only the last one wakes whoever waits. */
    if (atomic_fetch_add_explicit(&all.arrived, 1, memory_order_seq_cst) + 1 ==
        atomic_load_explicit(&all.expected, memory_order_seq_cst))
        kernel_wake_all(&all.arrived);
    while (atomic_load_explicit(&all.round, memory_order_acquire) == round)
        kernel_wait_while(&all.round, round, 0);
}

/* Whether the signal has come where the thread is not to be stopped.  Further up than the deferring frame:
 * that was left by longjmp.  But a handler on the alternate stack, wherever that is, may have interrupted
 * it. */
static bool is_deferred(const ucontext_t *context)
{
    uintptr_t frame = (uintptr_t)stop_self.deferred, here = own_stack_pointer_of(context);

    if (frame == 0)
        return false;
    if (kernel_is_on_stack(&context->uc_stack, here) != kernel_is_on_stack(&context->uc_stack, frame))
        return kernel_is_on_stack(&context->uc_stack, here);
    return here < frame;
}

static void postpone(uint64_t request)
{
    uintptr_t asked = (uintptr_t)request, postponed = (uintptr_t)(request | POSTPONED);

    if (atomic_compare_exchange_strong_explicit(answer_to(request), &asked, postponed, memory_order_relaxed,
                                                memory_order_relaxed))
        stop_self.request = postponed;
}

static void handle(int number, void *information, void *context)
{
    const siginfo_t *info = information;
    uint64_t request = (uintptr_t)info->si_value.sival_ptr;
    uint32_t round = (uint32_t)request;

    if (info->si_code != SI_QUEUE) {
        kernel_handler_fn *next = all.before.handler;

        if (next != NULL && (uintptr_t)next != (uintptr_t)SIG_IGN)
            next(number, information, context);
        return;
    }
    if (round % 2 == 1 && round == atomic_load_explicit(&all.round, memory_order_acquire)) {
        if (is_deferred(context))
            postpone(request);
        else
            stay(request, context);
    }
    restart_call(information, context);
}

COLD const void *stop_outer(const void *frame)
{
    const void *outer = stop_self.deferred;
    stack_t stack;

    if (kernel_set_signal_stack(NULL, &stack) == 0 &&
        kernel_is_on_stack(&stack, (uintptr_t)frame) != kernel_is_on_stack(&stack, (uintptr_t)outer))
        return kernel_is_on_stack(&stack, (uintptr_t)frame) ? outer : NULL;
    return (uintptr_t)outer > (uintptr_t)frame ? outer : NULL;
}

COLD void stop_answer_late(void)
{
    uintptr_t request = stop_self.request;

    if (stop_self.deferred != NULL)
        return;
    stop_self.request = 0;
    kernel_send(kernel_process(), kernel_thread(), STOP_SIGNAL, (void *)request);
}

/* --- In the thread that stops the others ---------------------------------------------------------------- */

static bool is_request(uintptr_t answer)
{
    return answer % 2 != 0;
}

static bool is_asked(size_t i)
{
    return is_request(atomic_load_explicit(&all.answers[i], memory_order_acquire));
}

/* Does nothing if the thread has answered meanwhile. */
static void give_up(size_t i, bool is_gone)
{
    uintptr_t answer = atomic_load_explicit(&all.answers[i], memory_order_relaxed);

    do
        if (!is_request(answer))
            return;
    while (!atomic_compare_exchange_weak_explicit(&all.answers[i], &answer, 0, memory_order_relaxed,
                                                  memory_order_relaxed));
    /* Or the last one to answer would not know that it is the last. */
    atomic_fetch_add_explicit(&all.arrived, 1, memory_order_seq_cst);
    all.threads[i].state = is_gone ? STOP_GONE : STOP_RUNNING;
    if (!is_gone)
        all.threads[i].stack_pointer = tasks_stack_pointer(all.threads[i].id, all.threads[i].arguments);
}

static bool is_postponed(size_t i)
{
    return (atomic_load_explicit(&all.answers[i], memory_order_relaxed) & POSTPONED) != 0;
}

static size_t count_asked(size_t count)
{
    size_t asked = 0;

    for (size_t i = 0; i < count; i++)
        asked += is_asked(i);
    return asked;
}

/* Waits until every thread that was asked has answered or been given up.  False: that may take long, since
 * some have postponed their answer. */
static bool wait_for_all(size_t count, bool is_last_try)
{
    uint64_t next_look = kernel_now_ns() + LOOK_NS;
    unsigned stuck_looks = 0;

    atomic_store_explicit(&all.expected, (uint32_t)count, memory_order_seq_cst);
    for (unsigned look = 0; look < SILENT_LOOKS;) {
        uint32_t arrived = atomic_load_explicit(&all.arrived, memory_order_acquire);
        uint64_t now;
        bool all_are_stuck = true, has_postponed = false;

        if (count_asked(count) == 0)
            return true;
        now = kernel_now_ns();
        if (now < next_look) {
            kernel_wait_while(&all.arrived, arrived, next_look - now);
            continue;
        }
        next_look = now + LOOK_NS;
        look++;
        for (size_t i = 0; i < count; i++) {
            enum task_state state;

            if (!is_asked(i))
                continue;
            if (is_postponed(i)) {
                has_postponed = true;
                continue;
            }
            state = tasks_state(all.threads[i].id, STOP_SIGNAL);
            if (state == TASK_GONE)
                give_up(i, true);
            all_are_stuck &= state != TASK_READY;
        }
        stuck_looks = all_are_stuck ? stuck_looks + 1 : 0;
        if (stuck_looks == BLOCKED_LOOKS && has_postponed && !is_last_try)
            return false;
        if (stuck_looks == BLOCKED_LOOKS)
            break;
    }
    for (size_t i = 0; i < count; i++)
        give_up(i, false);
    return true;
}

/* What those that were stopped have said. */
static void read_answers(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        /* Acquire: partner of the release in stay. */
        uintptr_t answer = atomic_load_explicit(&all.answers[i], memory_order_acquire);
        pid_t id = all.threads[i].id;

        if (answer == 0)
            continue;
        all.threads[i] = *(const struct stop_thread *)answer;
        all.threads[i].id = id;
    }
}

struct census {
    size_t count, cursor;
    pid_t self, process;
    uint32_t round;
    bool has_met_self;
    int error;
};

/* Tasks come in the same order each time, so the next one is mostly where the cursor is. */
static bool is_known(struct census *census, pid_t id)
{
    for (size_t i = 0; i < census->count; i++) {
        size_t at = (census->cursor + i) % census->count;

        if (all.threads[at].id == id) {
            census->cursor = at + 1;
            return true;
        }
    }
    return false;
}

static void ask(struct census *census, pid_t id)
{
    size_t i = census->count++;
    uintptr_t request = (uintptr_t)((uint64_t)i << ROUND_BITS | census->round);
    int error;

    all.threads[i] = (struct stop_thread){.state = STOP_RUNNING, .id = id};
    atomic_store_explicit(&all.answers[i], request, memory_order_relaxed);
    error = -kernel_send(census->process, id, STOP_SIGNAL, (void *)request);
    if (error != 0)
        give_up(i, error == ESRCH);
}

static bool ask_if_new(void *ctx, pid_t id)
{
    struct census *census = ctx;

    census->has_met_self |= id == census->self;
    if (id == census->self || is_known(census, id))
        return true;
    if (census->count == all.capacity) {
        census->error = EAGAIN;
        return false;
    }
    ask(census, id);
    return true;
}

/* Returns how many tasks there are that were not known yet. */
static size_t ask_new(struct census *census)
{
    size_t before = census->count;
    int error;

    census->error = 0;
    error = tasks_each(ask_if_new, census);
    if (error != 0)
        census->error = error;
    return census->count - before;
}

static bool make_room(void)
{
    size_t capacity = all.capacity == 0 ? THREADS_MIN : 2 * all.capacity;
    struct stop_thread *threads = kernel_map(capacity * (sizeof(all.threads[0]) + sizeof(all.answers[0])));

    if (threads == NULL)
        return false;
    all.threads = threads;
    all.answers = (_Atomic uintptr_t *)(threads + capacity);
    all.capacity = capacity;
    return true;
}

/* On signal stacks, because other stacks may be as small as a goroutine's.  0, or an errno value. */
static int take_signal(void)
{
    struct kernel_action ours = {
        .handler = handle, .flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK, .mask = ~UINT64_C(0)};
    struct kernel_action now = {0};
    int error = -kernel_set_action(STOP_SIGNAL, NULL, &now);

    if (UNLIKELY(atomic_load_explicit(&all.on_own_stacks, memory_order_relaxed)))
        ours.flags &= ~(unsigned long)SA_ONSTACK;

    if (error != 0 || (now.handler == handle && ((now.flags ^ ours.flags) & SA_ONSTACK) == 0))
        return error;
    if (now.handler != handle)
        all.before = now;
    if (now.restorer != NULL) {
        ours.restorer = now.restorer;
        ours.flags |=
            now.flags & ~(unsigned long)(SA_SIGINFO | SA_RESTART | SA_ONSTACK | SA_NODEFER | SA_RESETHAND);
    }
    return -kernel_set_action(STOP_SIGNAL, &ours, NULL);
}

/* glibc's handler ignores ours when they come late; where there is none, ours stays. */
static void return_signal(void)
{
    if (all.before.handler != NULL && (uintptr_t)all.before.handler != (uintptr_t)SIG_IGN)
        kernel_set_action(STOP_SIGNAL, &all.before, NULL);
}

void stop_avoid_signal_stacks(void)
{
    atomic_store_explicit(&all.on_own_stacks, true, memory_order_relaxed);
}

/* 0, or an errno value: EDEADLK if some threads wait for what those have that are stopped. */
static int stop_once(struct stop *stop, bool is_last_try)
{
    struct census census = {.self = kernel_thread(), .process = kernel_process()};

    census.round = atomic_load_explicit(&all.round, memory_order_relaxed) + 1;
    atomic_store_explicit(&all.arrived, 0, memory_order_relaxed);
    atomic_store_explicit(&all.expected, UINT32_MAX, memory_order_relaxed);
    /* Release: the answers are where they are. */
    atomic_store_explicit(&all.round, census.round, memory_order_release);
    while (ask_new(&census) != 0)
        if (!wait_for_all(census.count, is_last_try))
            return EDEADLK;
    /* Numbers of another pid namespace say who is there, but not to whom a signal can be sent.  A single one
     * is the calling thread's. */
    if (census.error == 0 && !census.has_met_self && census.count != 1)
        census.error = ESRCH;
    read_answers(census.count);
    stop->threads = all.threads;
    stop->count = census.count;
    stop->running = 0;
    for (size_t i = 0; i < census.count; i++)
        stop->running += all.threads[i].state == STOP_RUNNING;
    return census.error;
}

static void release(void)
{
    atomic_fetch_add_explicit(&all.round, 1, memory_order_release);
    kernel_wake_all(&all.round);
}

int stop_begin(struct stop *stop)
{
    unsigned retries = 0;
    int error;

    kernel_block(~UINT64_C(0), &stop->blocked);
    stop->slice = KERNEL_NO_SLICE;
    if (all.capacity == 0 && !make_room()) {
        stop_unblock(stop);
        return ENOMEM;
    }
    /* Where all processors are busy, the others wait for this thread, and it for a copy that it makes. */
    if (!tasks_note_filters())
        stop->slice = kernel_shorten_slice();
    error = take_signal();
    if (error != 0) {
        stop_unblock(stop);
        return error;
    }
    while ((error = stop_once(stop, retries == RETRIES_MAX)) != 0) {
        release();
        if (error == EDEADLK) {
            kernel_pause_ns(++retries * (uint64_t)RETRY_NS);
        } else if (error != EAGAIN || !make_room()) {
            return_signal();
            stop_unblock(stop);
            return error;
        }
    }
    return 0;
}

void stop_end(void)
{
    release();
    return_signal();
}

void stop_after_fork(void)
{
    uint32_t round = atomic_load_explicit(&all.round, memory_order_relaxed);

    atomic_store_explicit(&all.round, round + round % 2, memory_order_relaxed);
    stop_self.request = 0;
}

void stop_unblock(const struct stop *stop)
{
    kernel_restore_slice(stop->slice);
    kernel_set_blocked(stop->blocked);
}
