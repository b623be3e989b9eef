/* SPDX-License-Identifier: MIT
 *
 * The program should not notice that it has one thread more.  The helper takes no signals; it has a small
 * stack and nothing on record; and it ends with the main thread, should that end before the program: a
 * program is over when its last thread is, which the helper must not be.
 */
#define _GNU_SOURCE
#include "helper.h"

#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/wait.h>

#include "kernel.h"
#include "platform.h"
#include "restart.h"
#include "roots.h"
#include "tasks.h"
#include "thread.h"

enum {
    REPORT_STACK = 512 * 1024, /* what leakdetect.h says */
    LIBRARY_STACK = 32 * 1024, /* the C library's own part of a stack, and that of this file */
    SIGNALS = 2,
    WORDS_OF_THREAD = 192,      /* to look at; the one is number 180 on x86-64, 52 on aarch64 */
    LOOK_AFTER_NS = 1000000000, /* whether the main thread is still there */
};

static struct {
    struct {
        int signal;
        void (*report)(void);
        /* The process that was asked for it, or 0.  A child has what its parent was asked for as well. */
        _Atomic pid_t wanted_by;
    } requests[SIGNALS];
    size_t count; /* of them */
    size_t stack_size;
    _Atomic uint32_t wakings;
    pthread_key_t of_main_thread; /* its destructor says when that ends */
    /* The main thread's id in glibc's struct pthread, which the kernel clears when that thread ends; and
     * which word it is there, to find it again in a child, where another thread is the main one. */
    const _Atomic uint32_t *main_thread; /* NULL: not known */
    size_t word_of_thread;               /* 0: not known */
    atomic_bool is_over;
} helper;

static void wake(void)
{
    atomic_fetch_add_explicit(&helper.wakings, 1, memory_order_release);
    kernel_wake_all(&helper.wakings);
}

static void on_signal(int signal, siginfo_t *info, void *context)
{
    int saved = errno;

    for (size_t i = 0; i < SIGNALS; i++)
        if (helper.requests[i].signal == signal)
            atomic_store_explicit(&helper.requests[i].wanted_by, kernel_process(), memory_order_relaxed);
    wake();
    restart_call(info, context);
    errno = saved;
}

static void end(void *unused)
{
    (void)unused;
    atomic_store_explicit(&helper.is_over, true, memory_order_relaxed);
    wake();
}

/* How the main thread has ended, as wait() tells it.  0 if that cannot be read. */
static int status_of_main_thread(void)
{
    enum { EXIT_CODE = 52 };

    return (int)tasks_stat(kernel_process(), EXIT_CODE);
}

/* Whether there is no thread but this one, and perhaps a main thread that has ended. */
static bool is_last(void)
{
    enum { THREADS = 20 };
    unsigned long threads = tasks_stat(kernel_process(), THREADS);

    return threads != 0 && threads <= 2;
}

/* The status of a program is that of its last thread. */
static _Noreturn void end_as_main_thread(void)
{
    int status = is_last() ? status_of_main_thread() : 0;
    int number = WTERMSIG(status);

    roots_disregard(0);
    if (number != 0) {
        sigset_t mask;

        signal(number, SIG_DFL);
        sigemptyset(&mask);
        sigaddset(&mask, number);
        pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
        raise(number);
    }
    kernel_exit_thread(WEXITSTATUS(status));
}

/* Whatever ends the main thread without its destructors, a filter of system calls or SYS_exit, is noticed by
 * and by. */
static void *work(void *unused)
{
    const uint64_t limit_ns = helper.main_thread == NULL ? 0 : LOOK_AFTER_NS;

    thread_disable();
    roots_disregard(kernel_thread());
    for (;;) {
        uint32_t wakings = atomic_load_explicit(&helper.wakings, memory_order_acquire);

        for (size_t i = 0; i < SIGNALS; i++)
            if (!atomic_load_explicit(&helper.is_over, memory_order_relaxed) &&
                atomic_exchange_explicit(&helper.requests[i].wanted_by, 0, memory_order_relaxed) ==
                    kernel_process())
                helper.requests[i].report();
        if (atomic_load_explicit(&helper.is_over, memory_order_relaxed)) {
            roots_disregard(0);
            return unused;
        }
        if (helper.main_thread != NULL && atomic_load_explicit(helper.main_thread, memory_order_relaxed) == 0)
            end_as_main_thread();
        kernel_wait_while(&helper.wakings, wakings, limit_ns);
    }
}

/* The C library takes what is thread-local in the program and in its libraries from a thread's stack. */
static int add_thread_local(struct dl_phdr_info *info, size_t size, void *stack_size)
{
    (void)size;
    for (size_t i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_TLS)
            *(size_t *)stack_size += info->dlpi_phdr[i].p_memsz + info->dlpi_phdr[i].p_align;
    return 0;
}

/* The C library allocates for a thread what the program did not ask for. */
static int start_thread(void)
{
    pthread_attr_t attributes;
    sigset_t all, saved;
    pthread_t thread;
    int error;

    helper.main_thread =
        helper.word_of_thread == 0 ? NULL : (const _Atomic uint32_t *)pthread_self() + helper.word_of_thread;
    thread_disable();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &saved);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, helper.stack_size);
    error = pthread_create(&thread, &attributes, work, NULL);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
    if (error == 0)
        pthread_setspecific(helper.of_main_thread, &helper);
    thread_enable();
    return error;
}

/* The C library has it where it has all that is a thread's own, the one word there that is its number.  (The
 * kernel would tell, by PR_GET_TID_ADDRESS, but not all kernels are built to.) */
static void find_main_thread(void)
{
    const volatile uint32_t *words = (const uint32_t *)pthread_self();
    uint32_t id = (uint32_t)kernel_thread();
    size_t count = 0;

    for (size_t i = 0; i < WORDS_OF_THREAD; i++)
        if (words[i] == id) {
            helper.word_of_thread = i;
            count++;
        }
    if (count != 1)
        helper.word_of_thread = 0;
}

static int start(void)
{
    int error = pthread_key_create(&helper.of_main_thread, end);

    helper.stack_size = REPORT_STACK + LIBRARY_STACK;
    /* Now: a child may not be able to ask the loader, and libraries that come later have no such part. */
    dl_iterate_phdr(add_thread_local, &helper.stack_size);
    find_main_thread();
    return error != 0 ? error : start_thread();
}

int helper_init(int signal, void (*report)(void))
{
    struct sigaction now, ours = {.sa_sigaction = on_signal, .sa_flags = SA_RESTART | SA_SIGINFO};
    int error;

    if (sigaction(signal, NULL, &now) != 0)
        return errno;
    if ((now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == on_signal)
        return EEXIST;
    if ((now.sa_flags & SA_SIGINFO) != 0 || (now.sa_handler != SIG_DFL && now.sa_handler != SIG_IGN))
        return EBUSY;
    if (helper.count == SIGNALS)
        return ENOSPC;
    error = helper.count != 0 ? 0 : start();
    restart_know_handler((kernel_handler_fn *)(void (*)(void))on_signal);
    if (error == 0) {
        helper.requests[helper.count].report = report;
        helper.requests[helper.count++].signal = signal;
    }
    /* Whoever sends it need not know that there is nobody to take it, and does not mean to end the program.
     * On no signal stack (SA_ONSTACK): that threads share one, or have a small one, shows later than this,
     * and to change the action then takes a system call that a sandbox may not allow. */
    sigfillset(&ours.sa_mask);
    if (sigaction(signal, &ours, NULL) != 0 && error == 0)
        error = errno;
    return error;
}

void helper_after_fork_in_child(void)
{
    if (helper.count == 0)
        return;
    atomic_store_explicit(&helper.is_over, false, memory_order_relaxed);
    start_thread();
}
