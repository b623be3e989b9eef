/* SPDX-License-Identifier: MIT
 *
 * The program should not notice that it has one thread more.  The helper takes no signals; it has a small
 * stack and nothing on record; and it ends with the main thread, should that end by pthread_exit: a program
 * is over when its last thread is, which the helper must not be.
 */
#define _GNU_SOURCE
#include "helper.h"

#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "platform.h"
#include "thread.h"

enum {
    REPORT_STACK = 256 * 1024, /* what leakdetect.h says */
    LIBRARY_STACK = 32 * 1024, /* the C library's own part of a stack, and that of this file */
    SIGNALS = 2,
};

static struct {
    struct {
        int signal;
        void (*report)(void);
        atomic_bool is_wanted;
    } of[SIGNALS];
    size_t count; /* of them */
    size_t stack_size;
    sem_t wanted;
    pthread_key_t of_main_thread; /* its destructor says when that ends */
    atomic_bool is_over;
} helper;

static void on_signal(int signal)
{
    int saved = errno;

    for (size_t i = 0; i < SIGNALS; i++)
        if (helper.of[i].signal == signal)
            atomic_store_explicit(&helper.of[i].is_wanted, true, memory_order_relaxed);
    sem_post(&helper.wanted);
    errno = saved;
}

static void end(void *unused)
{
    (void)unused;
    atomic_store_explicit(&helper.is_over, true, memory_order_relaxed);
    sem_post(&helper.wanted);
}

static void *work(void *unused)
{
    thread_disable();
    while (!atomic_load_explicit(&helper.is_over, memory_order_relaxed)) {
        if (sem_wait(&helper.wanted) != 0)
            continue;
        while (sem_trywait(&helper.wanted) == 0)
            ;
        for (size_t i = 0; i < SIGNALS; i++)
            if (!atomic_load_explicit(&helper.is_over, memory_order_relaxed) &&
                atomic_exchange_explicit(&helper.of[i].is_wanted, false, memory_order_relaxed))
                helper.of[i].report();
    }
    return unused;
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

static int start(void)
{
    int error = pthread_key_create(&helper.of_main_thread, end);

    helper.stack_size = REPORT_STACK + LIBRARY_STACK;
    /* Now: a child may not be able to ask the loader, and libraries that come later have no such part. */
    dl_iterate_phdr(add_thread_local, &helper.stack_size);
    sem_init(&helper.wanted, 0, 0);
    return error != 0 ? error : start_thread();
}

int helper_init(int signal, void (*report)(void))
{
    struct sigaction now, ours = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    int error;

    if (sigaction(signal, NULL, &now) != 0)
        return errno;
    if ((now.sa_flags & SA_SIGINFO) != 0 || (now.sa_handler != SIG_DFL && now.sa_handler != SIG_IGN))
        return EBUSY;
    if (helper.count == SIGNALS)
        return ENOSPC;
    error = helper.count != 0 ? 0 : start();
    if (error == 0) {
        helper.of[helper.count].report = report;
        helper.of[helper.count++].signal = signal;
    }
    /* Whoever sends it need not know that there is nobody to take it, and does not mean to end the program.
     */
    sigemptyset(&ours.sa_mask);
    if (sigaction(signal, &ours, NULL) != 0 && error == 0)
        error = errno;
    return error;
}

void helper_after_fork_in_child(void)
{
    if (helper.count == 0)
        return;
    sem_init(&helper.wanted, 0, 0);
    atomic_store_explicit(&helper.is_over, false, memory_order_relaxed);
    start_thread();
}
