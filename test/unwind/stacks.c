/* SPDX-License-Identifier: MIT
 *
 * More stacks than one: of signal handlers, coroutines, threads and children.  Those of coroutines lie
 * between pages that must not be touched.
 */
#define _GNU_SOURCE
#include "shapes.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

enum { STACK_SIZE = 64 * 1024 };

static SITE int descend(int depth)
{
    return (depth > 0 ? descend(depth - 1) : probe()) + probe();
}

static SITE int descend_otherwise(int depth)
{
    volatile char room[200];

    room[0] = (char)probe();
    return (depth > 0 ? descend_otherwise(depth - 1) : probe()) + room[0];
}

/* --- Signals -------------------------------------------------------------------------------------------- */

static volatile int nesting;

static void handle(int number)
{
    (void)number;
    probe();
    descend((int)random_below(5));
    if (nesting-- > 0)
        raise(random_below(2) ? SIGUSR1 : SIGUSR2);
    probe();
}

static SITE int interrupt(int depth)
{
    probe();
    if (depth > 0)
        return interrupt(depth - 1) + probe();
    nesting = (int)random_below(4);
    raise(random_below(2) ? SIGUSR1 : SIGUSR2);
    return probe();
}

static int interrupt_with_rbp(void)
{
    return interrupt(2);
}

static void on_signals(void (*handler)(int number), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags | SA_NODEFER};

    sigemptyset(&action.sa_mask);
    REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
    action.sa_flags &= ~SA_ONSTACK;
    REQUIRE(sigaction(SIGUSR2, &action, NULL) == 0);
}

static void interrupt_often(void)
{
    for (int i = 0; i < scaled(1000); i++) {
        interrupt((int)random_below(10));
        through_general_rbp(interrupt_with_rbp, random_number());
    }
}

void shape_signal_handlers(void)
{
    on_signals(handle, 0);
    interrupt_often();
}

static void use_signal_stack(char *stack)
{
    stack_t alternate = {.ss_sp = stack, .ss_size = STACK_SIZE};

    REQUIRE(sigaltstack(&alternate, NULL) == 0);
}

void shape_signal_stacks(void)
{
    char *stack = guarded_pages(STACK_SIZE);

    use_signal_stack(stack);
    on_signals(handle, SA_ONSTACK);
    interrupt_often();
}

/* --- A handler that returns to where it did not come from ----------------------------------------------- */

static char *elsewhere;
static sigjmp_buf back;

static void arrive(void)
{
    descend((int)random_below(5));
    siglongjmp(back, 1);
}

static void redirect(int number, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    uintptr_t top = (uintptr_t)elsewhere + STACK_SIZE - 64 - 16 * random_below(4);

    (void)number;
    (void)info;
    probe();
    *(uintptr_t *)(top - 8) = 0;
    registers[REG_RSP] = (greg_t)(top - 8);
    registers[REG_RBP] = random_below(2) ? 0 : (greg_t)random_number();
    registers[REG_RIP] = (greg_t)(uintptr_t)arrive;
}

void shape_signal_to_elsewhere(void)
{
    struct sigaction action = {.sa_sigaction = redirect, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    elsewhere = guarded_pages(STACK_SIZE);
    use_signal_stack(guarded_pages(STACK_SIZE));
    REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
    for (volatile int i = 0; i < scaled(3000); i++) {
        if (sigsetjmp(back, 1) == 0)
            raise(SIGUSR1);
        descend(3);
    }
}

/* --- Coroutines of the C library ------------------------------------------------------------------------ */

enum { COROUTINES = 300 };

static struct {
    char *stack;
    ucontext_t context;
} coroutines[COROUTINES];
static ucontext_t scheduler;
static int current;

static void yield(void)
{
    REQUIRE(swapcontext(&coroutines[current].context, &scheduler) == 0);
}

static SITE int work(int depth)
{
    int sum = probe();

    if (random_below(3) == 0)
        yield();
    if (depth > 0)
        sum += random_below(2) ? work(depth - 1) + opaque(1) : work(depth - 1);
    if (random_below(3) == 0)
        yield();
    return sum + probe();
}

static void work_for_ever(void)
{
    for (;;)
        work((int)random_below(8));
}

static void work_otherwise(void)
{
    for (;;)
        descend_otherwise((int)random_below(8)) + work((int)random_below(3));
}

/* A new one in the place of the old: the same addresses, other frames. */
static void begin(int i)
{
    ucontext_t *context = &coroutines[i].context;

    REQUIRE(getcontext(context) == 0);
    context->uc_stack.ss_sp = coroutines[i].stack;
    context->uc_stack.ss_size = STACK_SIZE;
    makecontext(context, random_below(2) ? work_for_ever : work_otherwise, 0);
}

static void begin_all(void)
{
    for (int i = 0; i < COROUTINES; i++) {
        coroutines[i].stack = guarded_pages(STACK_SIZE);
        begin(i);
    }
}

static void resume(int i)
{
    current = i;
    REQUIRE(swapcontext(&scheduler, &coroutines[i].context) == 0);
}

static void renew_pages(int i)
{
    REQUIRE(munmap(coroutines[i].stack, STACK_SIZE) == 0);
    REQUIRE(mmap(coroutines[i].stack, STACK_SIZE, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == coroutines[i].stack);
}

static void resume_often(void)
{
    for (int i = 0; i < scaled(40000); i++) {
        int which = (int)random_below(random_below(2) ? 3 : COROUTINES);

        if (random_below(50) == 0) {
            renew_pages(which);
            begin(which);
        }
        resume(which);
        if (random_below(10) == 0)
            probe();
    }
}

void shape_coroutines(void)
{
    begin_all();
    resume_often();
}

/* A handler, on its own stack, hands the processor to a coroutine before it returns. */
static void schedule(int number)
{
    (void)number;
    probe();
    resume((int)random_below(COROUTINES));
    probe();
}

void shape_coroutines_in_handlers(void)
{
    begin_all();
    use_signal_stack(guarded_pages(STACK_SIZE));
    on_signals(schedule, SA_ONSTACK);
    for (int i = 0; i < scaled(10000); i++) {
        raise(random_below(2) ? SIGUSR1 : SIGUSR2);
        descend((int)random_below(3));
    }
}

/* --- Stacks that are used up to their last word --------------------------------------------------------- */

enum { EDGES = 8 };

static struct {
    char *stack;
    void *sp;
} edges[EDGES];
static void *main_sp;
static int current_edge;

static SITE int work_at_edge(int depth)
{
    int sum = probe();

    switch_stacks(&edges[current_edge].sp, main_sp);
    sum += probe();
    if (depth > 0)
        sum += work_at_edge(depth - 1) + opaque(1);
    return sum + probe();
}

static int work_at_edge_for_ever(void)
{
    for (;;)
        work_at_edge((int)random_below(6));
    return 0;
}

static int work_otherwise_at_edge_for_ever(void)
{
    for (;;)
        descend_otherwise(3) + work_at_edge((int)random_below(6)) + descend((int)random_below(3));
    return 0;
}

/* What switch_stacks pops, and above that what the function finds that it returns to: nothing, the stack ends
 * there, or, where that has a return address, one that is none.  SP is a multiple of 16 where it calls. */
static void begin_at_edge(int i)
{
    uintptr_t *sp = (uintptr_t *)(void *)(edges[i].stack + STACK_SIZE);
    const char *bottom = bottom_ends;

    if (random_below(2)) {
        bottom = bottom_returns;
        *--sp = 0;
        *--sp = 0;
    }
    *--sp = (uintptr_t)bottom;
    *--sp = random_below(2) ? 0 : (uintptr_t)edges[i].stack - 8;                                    /* RBP */
    *--sp = 0;                                                                                      /* RBX */
    *--sp = (uintptr_t)(random_below(2) ? work_at_edge_for_ever : work_otherwise_at_edge_for_ever); /* R12 */
    *--sp = 0;
    *--sp = 0;
    *--sp = 0;
    edges[i].sp = sp;
}

void shape_stacks_at_the_edge(void)
{
    for (int i = 0; i < EDGES; i++) {
        edges[i].stack = guarded_pages(STACK_SIZE);
        begin_at_edge(i);
    }
    for (int i = 0; i < scaled(40000); i++) {
        current_edge = (int)random_below(EDGES);
        if (random_below(50) == 0) {
            memset(edges[current_edge].stack, 0xa5, STACK_SIZE);
            begin_at_edge(current_edge);
        }
        switch_stacks(&main_sp, edges[current_edge].sp);
        if (random_below(10) == 0)
            probe();
    }
}

/* One place, again and again, and nothing of it left in between: what was remembered of it must not be
 * read. */
void shape_stacks_remapped(void)
{
    coroutines[0].stack = guarded_pages(STACK_SIZE);
    for (int i = 0; i < scaled(10000); i++) {
        renew_pages(0);
        begin(0);
        for (int k = (int)random_below(4); k >= 0; k--)
            resume(0);
        REQUIRE(mprotect(coroutines[0].stack, STACK_SIZE, PROT_NONE) == 0);
        descend((int)random_below(3));
        REQUIRE(mprotect(coroutines[0].stack, STACK_SIZE, PROT_READ | PROT_WRITE) == 0);
    }
}

/* --- Threads -------------------------------------------------------------------------------------------- */

static void *work_in_thread(void *depth)
{
    descend((int)(intptr_t)depth);
    return NULL;
}

static void *work_otherwise_in_thread(void *depth)
{
    descend_otherwise((int)(intptr_t)depth);
    return NULL;
}

static void run_threads(int count, size_t stack_size, uint32_t depth)
{
    pthread_attr_t attributes;
    pthread_t threads[4];

    REQUIRE(pthread_attr_init(&attributes) == 0);
    REQUIRE(stack_size == 0 || pthread_attr_setstacksize(&attributes, stack_size) == 0);
    for (int i = 0; i < count; i++) {
        for (int k = 0; k < 4; k++)
            REQUIRE(pthread_create(&threads[k], &attributes,
                                   random_below(2) ? work_in_thread : work_otherwise_in_thread,
                                   (void *)(intptr_t)random_below(depth)) == 0);
        for (int k = 0; k < 4; k++)
            REQUIRE(pthread_join(threads[k], NULL) == 0);
    }
    pthread_attr_destroy(&attributes);
}

void shape_threads_come_and_go(void)
{
    run_threads(scaled(1000), 0, 60);
}

/* What libunwind calls is bound by its first call, which takes kilobytes of stack where registers are wide:
 * the check has no room for that here, so it is done before. */
void shape_smallest_threads(void)
{
    descend(3);
    run_threads(scaled(300), (size_t)sysconf(_SC_THREAD_STACK_MIN), 3);
}

/* --- Children ------------------------------------------------------------------------------------------- */

static void expect_child(pid_t child)
{
    int status;

    REQUIRE(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

static SITE int fork_at(int depth)
{
    if (depth > 0)
        return fork_at(depth - 1) + probe();
    pid_t child = random_below(2) ? fork() : vfork();
    if (child == 0) {
        descend(3);
        _exit(0);
    }
    descend(3);
    expect_child(child);
    return probe();
}

void shape_forks(void)
{
    for (int i = 0; i < scaled(200); i++)
        fork_at((int)random_below(5));
}

static int child_main(void *depth)
{
    descend((int)(intptr_t)depth);
    return 0;
}

/* As posix_spawn does it: this very memory, another stack. */
void shape_cloned_stacks(void)
{
    char *stack = guarded_pages(STACK_SIZE);

    for (int i = 0; i < scaled(500); i++) {
        expect_child(clone(child_main, stack + STACK_SIZE, CLONE_VM | CLONE_VFORK | SIGCHLD,
                           (void *)(intptr_t)random_below(8)));
        descend((int)random_below(3));
    }
}
