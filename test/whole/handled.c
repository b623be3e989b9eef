/* SPDX-License-Identifier: MIT
 *
 * A program that has a handler for SIGUSR1, is asked for reports (SIGUSR2), and knows nothing of it:
 *
 *     handled calls    waits in system calls, which go on, and are over when they must be
 *     handled threads  threads that wait are cancelled, and leave by longjmp; a handler needs more than there
 *                      is on a signal stack
 *     handled lend     exits while a thread is in a call that goes on, and alone has the address of 4003
 * bytes handled storm N  N signals of its own, each of which must end a wait, amid one report after the other
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum { SECONDS = 2, LONGER = 1, REPORTS = 30, NEVER = 3600, NS_PER_S = 1000000000 };

static int line[2], silent[2], events;

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * (int64_t)NS_PER_S + now.tv_nsec;
}

static void pause_ns(long ns)
{
    struct timespec time = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};

    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &time, &time) == EINTR)
        continue;
}

/* --- Calls ---------------------------------------------------------------------------------------------- */

/* Until the end of the process that asks; with a time, for no longer than that.  A mask of the program's own
 * lets nothing in that would not be otherwise, unless it is one to wait with for SIGUSR1. */
static int in_poll(const sigset_t *mask, int seconds)
{
    struct timespec time = {.tv_sec = seconds};
    struct pollfd fd = {.fd = seconds == 0 ? line[0] : silent[0], .events = POLLIN};

    return mask == NULL && seconds == 0 ? poll(&fd, 1, -1) : ppoll(&fd, 1, seconds == 0 ? NULL : &time, mask);
}

static int in_epoll(const sigset_t *mask, int seconds)
{
    struct epoll_event event;

    (void)seconds;
    return mask == NULL ? epoll_wait(events, &event, 1, -1) : epoll_pwait(events, &event, 1, -1, mask);
}

static int in_select(const sigset_t *mask, int seconds)
{
    struct timeval time = {.tv_sec = seconds};
    struct timespec same = {.tv_sec = seconds};
    fd_set set;

    FD_ZERO(&set);
    FD_SET(seconds == 0 ? line[0] : silent[0], &set);
    return mask == NULL ? select(silent[1], &set, NULL, NULL, seconds == 0 ? NULL : &time)
                        : pselect(silent[1], &set, NULL, NULL, seconds == 0 ? NULL : &same, mask);
}

static int in_pause(const sigset_t *mask, int seconds)
{
    (void)seconds;
    return mask == NULL ? pause() : sigsuspend(mask);
}

static int in_sleep(const sigset_t *mask, int seconds)
{
    struct timespec time = {.tv_sec = seconds == 0 ? NEVER : seconds}, left;

    (void)mask;
    return nanosleep(&time, &left);
}

static const struct {
    const char *name;
    int (*wait)(const sigset_t *mask, int seconds);
    bool has_mask, has_time;
} calls[] = {
    {"poll", in_poll, false, false},
    {"ppoll", in_poll, true, false},
    {"ppoll for a time", in_poll, false, true},
    {"epoll_wait", in_epoll, false, false},
    {"epoll_pwait", in_epoll, true, false},
    {"select", in_select, false, false},
    {"select for a time", in_select, false, true},
    {"pselect", in_select, true, false},
    {"pselect for a time", in_select, true, true},
    {"pause", in_pause, false, false},
    {"sigsuspend", in_pause, true, false},
    {"nanosleep", in_sleep, false, true},
};

enum { CALLS = sizeof(calls) / sizeof(calls[0]) };

static _Thread_local atomic_bool was_handled;

static void *wait_in(void *call)
{
    size_t i = (size_t)call;
    int64_t begun = now_ns(), took;
    sigset_t none;
    int result, error;

    sigemptyset(&none);
    result = calls[i].wait(calls[i].has_mask ? &none : NULL, calls[i].has_time ? SECONDS : 0);
    error = errno;
    took = now_ns() - begun;
    if (calls[i].wait == in_pause ? result == 0 || !was_handled : result < 0)
        printf("%s: %s\n", calls[i].name, strerror(error));
    if (calls[i].has_time &&
        (took < SECONDS * (int64_t)NS_PER_S || took > (SECONDS + LONGER) * (int64_t)NS_PER_S))
        printf("%s: took %lld ns\n", calls[i].name, (long long)took);
    if (!calls[i].has_time && !was_handled && calls[i].wait == in_pause)
        printf("%s: over too early\n", calls[i].name);
    return call;
}

/* Another process asks for reports, which is not interrupted itself. */
static void ask_for_reports(void)
{
    pid_t asker = fork();

    if (asker == 0) {
        for (int i = 0; i < REPORTS; i++) {
            pause_ns(NS_PER_S / 20);
            kill(getppid(), SIGUSR2);
        }
        pause_ns(NS_PER_S / 5);
        _exit(0);
    }
    while (waitpid(asker, NULL, 0) < 0 && errno == EINTR)
        continue;
}

static void on_own(int number)
{
    (void)number;
    was_handled = true;
}

static void wait_in_calls(void)
{
    struct sigaction action = {.sa_handler = on_own};
    pthread_t threads[CALLS];

    sigaction(SIGUSR1, &action, NULL);
    for (size_t i = 0; i < CALLS; i++)
        if (pthread_create(&threads[i], NULL, wait_in, (void *)i) != 0)
            exit(2);
    ask_for_reports();
    for (size_t i = 0; i < CALLS; i++)
        if (calls[i].wait == in_pause)
            pthread_kill(threads[i], SIGUSR1);
    if (write(line[1], "x", 1) != 1)
        exit(2);
    for (size_t i = 0; i < CALLS; i++)
        pthread_join(threads[i], NULL);
}

/* --- Threads -------------------------------------------------------------------------------------------- */

enum { SIGNAL_STACK = 16384, MUCH = 8 * SIGNAL_STACK };

static atomic_bool is_cleaned_up;

static void clean_up(void *unused)
{
    (void)unused;
    is_cleaned_up = true;
}

static void *wait_to_be_cancelled(void *unused)
{
    pthread_cleanup_push(clean_up, NULL);
    in_poll(NULL, 0);
    pthread_cleanup_pop(0);
    puts("poll was not cancelled");
    return unused;
}

static _Thread_local sigjmp_buf *out;

static void on_own_that_needs_much(int number)
{
    volatile char much[MUCH];

    for (size_t i = 0; i < sizeof(much); i++)
        much[sizeof(much) - 1 - i] = (char)number;
    if (out != NULL)
        siglongjmp(*out, 1);
    was_handled = true;
}

static void *wait_with_signal_stack(void *stays)
{
    stack_t stack = {.ss_sp = malloc(SIGNAL_STACK), .ss_size = SIGNAL_STACK};
    sigjmp_buf here;

    sigaltstack(&stack, NULL);
    if (stays != NULL) {
        if (in_poll(NULL, 0) != -1 || errno != EINTR || !was_handled)
            puts("poll was not interrupted");
        return stays;
    }
    out = &here;
    if (sigsetjmp(here, 1) == 0) {
        in_poll(NULL, 0);
        puts("poll was not left");
    }
    /* What was left is left behind. */
    out = NULL;
    if (in_poll(NULL, 0) != 1)
        puts("the next poll was interrupted");
    return stays;
}

static void leave_calls(void)
{
    struct sigaction action = {.sa_handler = on_own_that_needs_much};
    pthread_t cancelled, staying, leaving;
    void *result = NULL;

    sigaction(SIGUSR1, &action, NULL);
    if (pthread_create(&cancelled, NULL, wait_to_be_cancelled, NULL) != 0 ||
        pthread_create(&staying, NULL, wait_with_signal_stack, line) != 0 ||
        pthread_create(&leaving, NULL, wait_with_signal_stack, NULL) != 0)
        exit(2);
    ask_for_reports();
    pthread_cancel(cancelled);
    pthread_join(cancelled, &result);
    if (result != PTHREAD_CANCELED || !is_cleaned_up)
        puts("not cancelled");
    pthread_kill(staying, SIGUSR1);
    pthread_join(staying, NULL);
    pthread_kill(leaving, SIGUSR1);
    ask_for_reports();
    if (write(line[1], "x", 1) != 1)
        exit(2);
    pthread_join(leaving, NULL);
}

/* Not by the C library's function, which has its arguments on the stack, too. */
static void *lend(void *unused)
{
#if defined(__x86_64__)
    void *block = malloc(4003);

    __asm__ volatile("mov $7, %%eax\n\tsyscall"
                     : "+D"(block)
                     : "S"(0L), "d"(-1L)
                     : "rax", "rcx", "r11", "memory");
#endif
    return unused;
}

static void lend_and_exit(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, lend, NULL) != 0)
        exit(2);
    ask_for_reports();
    exit(0);
}

/* --- The storm ------------------------------------------------------------------------------------------ */

/* What comes in the microsecond between the program's handler and the call that it has interrupted cannot be
 * told from what interrupts the call: one signal in so many may be lost, if the program has not blocked it
 * until it waits. */
enum { FEW = 200, DELAY_TURNS = 20000 };

static struct {
    pthread_t waiter;
    unsigned count;
    atomic_uint waits, answers; /* of which the thread is about to be in the last one; that are over */
    atomic_uint strikes;        /* signals that have come in a wait, and not before it */
    atomic_bool is_over;
} storm;

/* A call that is interrupted has failed already when the handler runs, or is to begin anew, which none should
 * that is interrupted by more than a report. */
static void on_strike(int number, siginfo_t *info, void *context)
{
#if defined(__x86_64__)
    const greg_t *registers = ((const ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *next = (const unsigned char *)(uintptr_t)registers[REG_RIP];
    bool is_call = next[0] == 0x0f && next[1] == 0x05;

    storm.strikes += is_call || registers[REG_RAX] == -EINTR;
#endif
    (void)number;
    (void)info;
    (void)context;
}

static unsigned next_random(unsigned *state)
{
    *state = *state * 1103515245 + 12345;
    return *state >> 16;
}

static void *ask_again_and_again(void *unused)
{
    while (!storm.is_over) {
        kill(getpid(), SIGUSR2);
        pause_ns(100000);
    }
    return unused;
}

/* One that is sent before the call has begun interrupts nothing, unless the call has a mask, and is sent
 * again. */
static void *send_all(void *seed)
{
    unsigned random = *(unsigned *)seed, lost = 0;

    for (unsigned i = 1; i <= storm.count; i++) {
        bool has_mask = calls[i % CALLS].has_mask;
        int64_t patience = has_mask ? 10 * (int64_t)NS_PER_S : NS_PER_S / 10;

        while (storm.waits < i)
            sched_yield();
        while (storm.answers < i) {
            unsigned strikes = storm.strikes;
            int64_t begun;

            for (unsigned turns = next_random(&random) % DELAY_TURNS; turns > 0; turns--)
                __asm__ volatile("");
            pthread_kill(storm.waiter, SIGUSR1);
            begun = now_ns();
            while (storm.answers < i && now_ns() - begun < patience)
                sched_yield();
            if (storm.answers < i && has_mask) {
                printf("seed %u: %s was never over\n", *(unsigned *)seed, calls[i % CALLS].name);
                exit(1);
            }
            lost += storm.answers < i && storm.strikes != strikes;
        }
    }
    if (lost > storm.count / FEW)
        printf("seed %u: %u of %u signals were lost\n", *(unsigned *)seed, lost, storm.count);
    return NULL;
}

static void wait_in_storm(unsigned count)
{
    struct sigaction action = {.sa_sigaction = on_strike, .sa_flags = SA_SIGINFO};
    unsigned seed = (unsigned)getpid();
    pthread_t sender, asker;
    sigset_t own, none;

    sigaction(SIGUSR1, &action, NULL);
    sigemptyset(&none);
    sigemptyset(&own);
    sigaddset(&own, SIGUSR1);
    storm.waiter = pthread_self();
    storm.count = count;
    if (pthread_create(&sender, NULL, send_all, &seed) != 0 ||
        pthread_create(&asker, NULL, ask_again_and_again, NULL) != 0)
        exit(2);
    for (unsigned i = 1; i <= count; i++) {
        size_t call = i % CALLS;
        bool has_mask = calls[call].has_mask;
        unsigned strikes;
        int result;

        if (has_mask)
            pthread_sigmask(SIG_BLOCK, &own, NULL);
        strikes = storm.strikes;
        storm.waits = i;
        /* With a mask, as programs do it that count on the signal. */
        do {
            result = calls[call].wait(has_mask ? &none : NULL, calls[call].has_time ? NEVER : 0);
            if (result != -1 || errno != EINTR)
                printf("seed %u: %s was not interrupted\n", seed, calls[call].name);
        } while (has_mask && storm.strikes == strikes);
        storm.answers = i;
        pthread_sigmask(SIG_UNBLOCK, &own, NULL);
    }
    pthread_join(sender, NULL);
    storm.is_over = true;
    pthread_join(asker, NULL);
}

int main(int count, char **words)
{
    const char *word = count > 1 ? words[1] : "";
    struct epoll_event event = {.events = EPOLLIN};

    events = epoll_create1(EPOLL_CLOEXEC);
    if (pipe(line) != 0 || pipe(silent) != 0 || epoll_ctl(events, EPOLL_CTL_ADD, line[0], &event) != 0)
        return 2;
    if (strcmp(word, "calls") == 0)
        wait_in_calls();
    else if (strcmp(word, "threads") == 0)
        leave_calls();
    else if (strcmp(word, "lend") == 0)
        lend_and_exit();
    else if (strcmp(word, "storm") == 0 && count > 2)
        wait_in_storm((unsigned)strtoul(words[2], NULL, 10));
    else
        return 2;
    return 0;
}
