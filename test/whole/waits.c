/* SPDX-License-Identifier: MIT
 *
 * A program that is asked for reports (SIGUSR2), and knows nothing of it:
 *
 *     waits calls   waits in system calls that no signal of its own interrupts, and says which of them failed
 *     waits own     waits in one that a signal of its own interrupts, as it must
 *     waits exit    its main thread ends by SYS_exit, with status 3
 *     waits killed  a filter kills its main thread, and no other
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SECONDS = 2, REPORTS = 3, NEVER = 30 };

static int line[2], semaphore;
static sem_t of_program;

static int in_poll(void)
{
    struct pollfd fd = {.fd = line[0], .events = POLLIN};

    return poll(&fd, 1, -1);
}

static int in_epoll(void)
{
    struct epoll_event event = {.events = EPOLLIN};
    int fd = epoll_create1(EPOLL_CLOEXEC);

    epoll_ctl(fd, EPOLL_CTL_ADD, line[0], &event);
    return epoll_wait(fd, &event, 1, -1);
}

static int in_select(void)
{
    struct timeval time = {.tv_sec = NEVER};
    fd_set set;

    FD_ZERO(&set);
    FD_SET(line[0], &set);
    return select(line[0] + 1, &set, NULL, NULL, &time);
}

static int in_ppoll(void)
{
    struct timespec time = {.tv_sec = NEVER};
    struct pollfd fd = {.fd = line[0], .events = POLLIN};

    return ppoll(&fd, 1, &time, NULL);
}

/* Neither too short nor too long. */
static int in_sleep(void)
{
    struct timespec begun, now;
    unsigned result;

    clock_gettime(CLOCK_MONOTONIC, &begun);
    result = sleep(SECONDS);
    clock_gettime(CLOCK_MONOTONIC, &now);
    errno = ERANGE;
    return result == 0 && now.tv_sec - begun.tv_sec <= SECONDS + 1 ? 0 : -1;
}

static int in_semop(void)
{
    struct sembuf down = {.sem_op = -1};

    return semop(semaphore, &down, 1);
}

static int in_sem_timedwait(void)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += NEVER;
    return sem_timedwait(&of_program, &until);
}

static const struct {
    const char *name;
    int (*wait)(void);
} calls[] = {{"poll", in_poll},
             {"epoll_wait", in_epoll},
             {"select", in_select},
             {"ppoll", in_ppoll},
             {"sleep", in_sleep},
             {"semop", in_semop},
             {"sem_timedwait", in_sem_timedwait}};

enum { CALLS = sizeof(calls) / sizeof(calls[0]) };

static void *wait_in(void *call)
{
    size_t i = (size_t)call;

    if (calls[i].wait() < 0)
        printf("%s: %s\n", calls[i].name, strerror(errno));
    return call;
}

static void pause_for(long ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &time, &time) == EINTR)
        continue;
}

/* Another process asks, which is not interrupted itself. */
static pid_t ask(int number)
{
    pid_t asker = fork();

    if (asker != 0)
        return asker;
    for (int i = 0; i < REPORTS; i++) {
        pause_for(300);
        kill(getppid(), number);
    }
    pause_for(300);
    _exit(0);
}

static void wait_in_calls(void)
{
    struct sembuf up = {.sem_op = 1};
    pthread_t threads[CALLS];
    pid_t asker;

    semaphore = semget(IPC_PRIVATE, 1, 0600);
    if (pipe(line) != 0 || semaphore < 0 || sem_init(&of_program, 0, 0) != 0)
        exit(2);
    asker = ask(SIGUSR2);
    for (size_t i = 0; i < CALLS; i++)
        if (pthread_create(&threads[i], NULL, wait_in, (void *)i) != 0)
            exit(2);
    while (waitpid(asker, NULL, 0) < 0 && errno == EINTR)
        continue;
    if (write(line[1], "x", 1) != 1 || semop(semaphore, &up, 1) != 0 || sem_post(&of_program) != 0)
        exit(2);
    for (size_t i = 0; i < CALLS; i++)
        pthread_join(threads[i], NULL);
    semctl(semaphore, 0, IPC_RMID);
}

static void on_own(int number)
{
    (void)number;
}

static void wait_for_own(void)
{
    struct sigaction action = {.sa_handler = on_own};

    sigaction(SIGUSR1, &action, NULL);
    if (pipe(line) != 0)
        exit(2);
    ask(SIGUSR1);
    if (in_poll() != -1 || errno != EINTR)
        puts("poll was not interrupted");
    while (wait(NULL) < 0 && errno == EINTR)
        continue;
}

static void be_killed(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_THREAD),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        exit(77);
    syscall(SYS_getppid);
}

int main(int count, char **words)
{
    const char *word = count > 1 ? words[1] : "";

    if (strcmp(word, "calls") == 0)
        wait_in_calls();
    else if (strcmp(word, "own") == 0)
        wait_for_own();
    else if (strcmp(word, "exit") == 0)
        syscall(SYS_exit, 3);
    else if (strcmp(word, "killed") == 0)
        be_killed();
    else
        return 2;
    return 0;
}
