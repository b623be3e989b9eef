/* SPDX-License-Identifier: MIT
 *
 * A program that knows nothing of the library, and ends as its word says.  The only pointer to a block of
 * 1337 bytes is then either where a function of the program's has it, which has not returned, or stale: in
 * what is left on the stack where the frames of exit came to lie.  In between it is hidden, as its
 * complement.
 *
 * With OWN_EXIT the program has an exit of its own, which calls the C library's.  With TAKES_EXIT it takes
 * the address of exit, which in a program that is not position-independent is one in the program.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

enum { BLOCK = 1337, STACK = 65536, PAGE = 4096 };

#define APART __attribute__((noinline))

static uintptr_t hidden;

static APART void *show(void)
{
    return (void *)~hidden;
}

static APART void make(void)
{
    hidden = ~(uintptr_t)malloc(BLOCK);
}

static APART void wipe_stack(void)
{
    volatile char dead[16384];

    for (size_t i = 0; i < sizeof(dead); i++)
        dead[i] = 0;
}

/* When it returns its frame is full of pointers, and what is called next has its place. */
static APART void leave_stale(void)
{
    void *volatile words[2048];

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        words[i] = show();
}

#ifdef OWN_EXIT
static APART void end_really(int status)
{
    void *volatile held = show();

    ((void (*)(int))(uintptr_t)dlsym(RTLD_NEXT, "exit"))(status);
    held = NULL;
    (void)held;
}

void exit(int status)
{
    end_really(status);
    abort();
}
#endif

#ifdef TAKES_EXIT
static void (*volatile end)(int);
#define END() (end = exit, end(0))
#else
#define END() exit(0)
#endif

/* --- Stale ---------------------------------------------------------------------------------------------- */

static void nowhere(void)
{
    wipe_stack();
    END();
}

static void calls(void)
{
    leave_stale();
    END();
}

/* Registered last, and so called first. */
static void handlers(void)
{
    atexit(calls);
    exit(0);
}

static void handler_ends(void)
{
    END();
}

static void other_handler(void)
{
    atexit(handler_ends);
    atexit(leave_stale);
    exit(0);
}

static void *calls_in_thread(void *unused)
{
    calls();
    return unused;
}

static void run_thread(void *(*function)(void *))
{
    pthread_t thread;

    pthread_create(&thread, NULL, function, NULL);
    pthread_join(thread, NULL);
}

static void thread(void)
{
    run_thread(calls_in_thread);
}

static void *end_last(void *first)
{
    void *volatile words[64];

    pthread_join(*(pthread_t *)first, NULL);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        words[i] = show();
    return NULL;
}

/* The first thread ends by itself, and the program with the other one. */
static void last_thread(void)
{
    static pthread_t first;
    pthread_t other;

    first = pthread_self();
    pthread_create(&other, NULL, end_last, &first);
    pthread_exit(NULL);
}

static void child(void)
{
    pid_t id = fork();
    int status = 0;

    if (id == 0)
        calls();
    waitpid(id, &status, 0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
}

static void on_signal_stale(int number)
{
    (void)number;
    calls();
}

static void handle(void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

    sigaction(SIGTRAP, &action, NULL);
}

static void *map_stack(void)
{
    char *stack = mmap(NULL, STACK + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    munmap(stack + STACK, PAGE);
    return stack;
}

static void handle_apart(void (*handler)(int))
{
    stack_t stack = {.ss_sp = map_stack(), .ss_size = STACK};

    sigaltstack(&stack, NULL);
    handle(handler, SA_ONSTACK);
}

static void signal_handler(void)
{
    handle(on_signal_stale, 0);
    raise(SIGTRAP);
}

static void signal_stack(void)
{
    handle_apart(on_signal_stale);
    raise(SIGTRAP);
}

/* --- Held ----------------------------------------------------------------------------------------------- */

static APART void local(void)
{
    void *volatile held = show();

    END();
    held = NULL;
    (void)held;
}

/* Of which no compiler knows that it does not return. */
static void (*volatile end_some_day)(int) = exit;

static APART int end_deep(int depth)
{
    if (depth > 0)
        return end_deep(depth - 1) + 1;
    end_some_day(0);
    return 0;
}

static APART void outer_local(void)
{
    void *volatile held = show();

    end_deep(5);
    held = NULL;
    (void)held;
}

/* Nothing but the register has it, and the function's frame is nothing that can be unwound. */
#define HELD_IN(name)                                                                  \
    static APART void in_##name(void)                                                  \
    {                                                                                  \
        __asm__ volatile("mov %0, %%" #name "\n\tnot %%" #name "\n\t"                  \
                         "xor %%edi, %%edi\n\tand $-16, %%rsp\n\tcall exit@PLT\n\tud2" \
                         :                                                             \
                         : "m"(hidden));                                               \
    }
HELD_IN(rbx)
HELD_IN(rbp)
HELD_IN(r12)
HELD_IN(r13)
HELD_IN(r14)
HELD_IN(r15)

/* As the functions between do not touch the register. */
static APART void call_in_r12(void)
{
    __asm__ volatile("mov %0, %%r12\n\tnot %%r12\n\tand $-16, %%rsp\n\tmov $3, %%edi\n\tcall *%1\n\tud2"
                     :
                     : "m"(hidden), "r"(end_deep));
}

static void handler_local(void)
{
    atexit(local);
    exit(0);
}

static void handler_outer_local(void)
{
    atexit(outer_local);
    exit(0);
}

static void handler_r12(void)
{
    atexit(in_r12);
    exit(0);
}

/* Whoever called exit first, and is waiting for it. */
static void first_local(void)
{
    atexit(handler_ends);
    local();
}

static void on_exit_local(int status, void *unused)
{
    (void)status;
    (void)unused;
    local();
}

static void with_status_local(void)
{
    on_exit(on_exit_local, NULL);
    exit(0);
}

static void *local_in_thread(void *unused)
{
    local();
    return unused;
}

static void thread_local_frame(void)
{
    run_thread(local_in_thread);
}

static void on_signal_end(int number)
{
    (void)number;
    END();
}

static void on_signal_local(int number)
{
    (void)number;
    local();
}

static APART void trap_with_local(void)
{
    void *volatile held = show();

    __asm__ volatile("int3");
    held = NULL;
    (void)held;
}

static APART void trap_with_r12(void)
{
    __asm__ volatile("mov %0, %%r12\n\tnot %%r12\n\tint3" : : "m"(hidden) : "r12");
}

/* A register that a call need not keep. */
static APART void trap_with_r10(void)
{
    __asm__ volatile("mov %0, %%r10\n\tnot %%r10\n\tint3" : : "m"(hidden) : "r10");
}

static void interrupted_local(void)
{
    handle(on_signal_end, 0);
    trap_with_local();
}

static void interrupted_r12(void)
{
    handle(on_signal_end, 0);
    trap_with_r12();
}

static void interrupted_r10(void)
{
    handle(on_signal_end, 0);
    trap_with_r10();
}

static void signal_stack_interrupted_local(void)
{
    handle_apart(on_signal_end);
    trap_with_local();
}

static void signal_stack_interrupted_r12(void)
{
    handle_apart(on_signal_end);
    trap_with_r12();
}

static void signal_stack_local(void)
{
    handle_apart(on_signal_local);
    raise(SIGTRAP);
}

/* The outermost function of a stack, of which there is little more than its return address. */
static void coroutine_body(void)
{
    void *volatile held = show();

    END();
    held = NULL;
    (void)held;
}

static void coroutine(void)
{
    static ucontext_t context, before;

    getcontext(&context);
    context.uc_stack.ss_sp = map_stack();
    context.uc_stack.ss_size = STACK;
    makecontext(&context, coroutine_body, 0);
    swapcontext(&before, &context);
}

/* --- Destructors ---------------------------------------------------------------------------------------- */

static void (*first_destructor)(void);
static void (*second_destructor)(void);

__attribute__((destructor(300))) static void destroy_first(void)
{
    if (first_destructor != NULL)
        first_destructor();
}

__attribute__((destructor(200))) static void destroy_second(void)
{
    if (second_destructor != NULL)
        second_destructor();
}

static void destructor(void)
{
    first_destructor = leave_stale;
    second_destructor = handler_ends;
    exit(0);
}

static void destructor_local(void)
{
    second_destructor = local;
    exit(0);
}

/* --- By name -------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*end)(void);
} ways[] = {
    {"nowhere", nowhere},
    {"calls", calls},
    {"handlers", handlers},
    {"other_handler", other_handler},
    {"thread", thread},
    {"last_thread", last_thread},
    {"child", child},
    {"signal_handler", signal_handler},
    {"signal_stack", signal_stack},

    {"destructor", destructor},

    {"local", local},
    {"outer_local", outer_local},
    {"rbx", in_rbx},
    {"rbp", in_rbp},
    {"r12", in_r12},
    {"r13", in_r13},
    {"r14", in_r14},
    {"r15", in_r15},
    {"caller_r12", call_in_r12},
    {"handler_local", handler_local},
    {"handler_outer_local", handler_outer_local},
    {"handler_r12", handler_r12},
    {"first_local", first_local},
    {"with_status_local", with_status_local},
    {"thread_local", thread_local_frame},
    {"interrupted_local", interrupted_local},
    {"interrupted_r12", interrupted_r12},
    {"interrupted_r10", interrupted_r10},
    {"signal_stack_local", signal_stack_local},
    {"signal_stack_interrupted_local", signal_stack_interrupted_local},
    {"signal_stack_interrupted_r12", signal_stack_interrupted_r12},
    {"coroutine", coroutine},
    {"destructor_local", destructor_local},
};

static APART void *volatile *fill(void *volatile *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        words[i] = show();
    return words;
}

/* With `returns` main's own frame is what lies where exit's will. */
int main(int count, char **words)
{
    void *volatile locals[64];
    const char *word = count > 1 ? words[1] : "";

    memset((void *)(uintptr_t)locals, 0, sizeof(locals));
    make();
    wipe_stack();
    if (strcmp(word, "returns") == 0) {
        fill(locals, sizeof(locals) / sizeof(locals[0]));
        return 0;
    }
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
        if (strcmp(word, ways[i].name) == 0)
            ways[i].end();
    return 98;
}
