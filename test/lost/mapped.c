/* What memory that a program maps itself can hold.  Each argument is one thing that it does:
 *
 *     held      a block of 1,337 bytes that only a mapped page points to
 *     thread    the same, by a thread that has ended
 *     lose      a block of 666 bytes that nothing points to
 *     stale     a block of 777 bytes that only a freed block points to
 *     classes   200 blocks of as many sizes, that nothing points to
 *     woven     300 small mappings, each made next to a block that makes the heap grow, and holds that block
 *     unmapped  large blocks come and go, and then mappings where they may have been, each of which holds one
 *     gone      a block of 555 bytes that a page points to that is unmapped
 *     file      a block of 1,111 bytes that only a private mapping of a file points to
 *     guarded   a block of 444 bytes that only a mapped page points to, behind one that cannot be read
 *     deaf      the same, and a block of 333 bytes, in the stack of a thread that no signal reaches
 *     shared    a block of 999 bytes that only another thread's stack points to, in shared memory
 *     below     a block of 999 bytes that only a dead part of a stack points to, above a guard
 *     end       a mapping whose last page cannot be read
 *     within    blocks of 444 bytes behind such a page, in static data and in a small block
 *     apart     children will be of another pid namespace
 *     data      a block of 888 bytes, in a page of static data that is kept out of copies
 *     sparse    two blocks of 222 bytes, in the midst of a block and of a mapping of 64 GiB
 *     withheld  two blocks of 111 bytes, in the midst of 64 GiB, in what is kept out of copies
 *     leave     the first thread ends, and another one the program
 *     nobody    the process is another user's, and lets nobody look into it
 *     forked    what comes after it, in a child
 *
 * That a page cannot be read nothing tells (MADV_GUARD_INSTALL).  Status 77: the kernel does not do that, or
 * not for this user. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SITE __attribute__((noinline))

enum { PAGE = 4096, MANY = 300, LARGE = 3 << 20, STACK = 1 << 20, GUARD_INSTALL = 102 };

static void *map(size_t size)
{
    void *address = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (address == MAP_FAILED)
        exit(2);
    return address;
}

/* Writes over what earlier calls have left on the stack: where there is one arena, as with one processor,
 * what malloc has left there may be the address of another thread's next block. */
static SITE void clear_stack(void)
{
    volatile char frame[16384];

    for (size_t i = 0; i < sizeof(frame); i++)
        frame[i] = 0;
}

/* A pointer that no register and no word of the stack has afterwards. */
static SITE void keep_in(void *volatile *place, size_t size)
{
    *place = malloc(size);
    if (*place == NULL)
        exit(2);
    memset(*place, 0, size);
}

static SITE void lose(size_t size)
{
    void *volatile place = NULL;

    keep_in(&place, size);
    place = NULL;
}

static void *hold_in_thread(void *page)
{
    keep_in(page, 1337);
    return NULL;
}

static SITE void hold(int in_thread)
{
    void *page = map(PAGE);
    pthread_t thread;

    if (!in_thread)
        keep_in(page, 1337);
    else if (pthread_create(&thread, NULL, hold_in_thread, page) != 0 || pthread_join(thread, NULL) != 0)
        exit(2);
}

static SITE void leave_stale(void)
{
    void **holder = malloc(64 * sizeof(void *));

    keep_in(&holder[40], 777);
    free(holder);
}

static SITE void weave(void)
{
    for (int i = 0; i < MANY; i++)
        keep_in(map(PAGE), 200000);
}

static SITE void map_where_blocks_were(void)
{
    void *blocks[MANY / 10];

    for (size_t i = 0; i < MANY / 10; i++) {
        blocks[i] = malloc(LARGE + i * PAGE);
        memset(blocks[i], 1, LARGE);
    }
    for (size_t i = 0; i < MANY / 10; i++)
        free(blocks[i]);
    for (size_t i = 0; i < MANY; i++)
        keep_in(map(LARGE / 10), 1000);
    memset(blocks, 0, sizeof(blocks));
}

static SITE void hold_where_it_goes(void)
{
    void *page = map(PAGE);

    keep_in(page, 555);
    munmap(page, PAGE);
}

static SITE void guard(void)
{
    char *pages = map((size_t)3 * PAGE);

    memset(pages, 1, (size_t)3 * PAGE);
    if (madvise(pages + PAGE, PAGE, GUARD_INSTALL) != 0)
        exit(77);
    memset(pages + (size_t)2 * PAGE, 0, PAGE);
    keep_in((void **)(pages + (size_t)2 * PAGE), 444);
}

/* All signals, those of the C library's too. */
static SITE void *wait_deaf(void *ready)
{
    unsigned long all = ~0UL;
    void *volatile block = malloc(333);

    clear_stack();
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, NULL, sizeof(all));
    sem_post(ready);
    for (;;)
        pause();
    return block;
}

static SITE void start_deaf(void)
{
    static sem_t ready;
    char *stack = map(STACK);
    pthread_attr_t attr;
    pthread_t thread;

    if (madvise(stack + PAGE, PAGE, GUARD_INSTALL) != 0)
        exit(77);
    sem_init(&ready, 0, 0);
    keep_in((void **)stack, 444);
    pthread_attr_init(&attr);
    pthread_attr_setstack(&attr, stack, STACK);
    if (pthread_create(&thread, &attr, wait_deaf, &ready) != 0)
        exit(2);
    pthread_attr_destroy(&attr);
    sem_wait(&ready);
}

static SITE void wait_deep(sem_t *ready)
{
    volatile char frame[STACK / 4];

    frame[0] = 0;
    sem_post(ready);
    while (frame[0] == 0)
        pause();
}

/* Pages away from both ends of what is in use of the stack. */
static SITE void wait_with_block(sem_t *ready)
{
    void *volatile block = malloc(999);

    clear_stack();
    wait_deep(ready);
    free(block);
}

static void *run_on_shared_stack(void *ready)
{
    volatile char frame[STACK / 4];

    frame[0] = 0;
    wait_with_block(ready);
    return (char *)ready + frame[0];
}

static SITE void start_on_shared_stack(void)
{
    static sem_t ready;
    pthread_attr_t attr;
    pthread_t thread;

    sem_init(&ready, 0, 0);
    pthread_attr_init(&attr);
    pthread_attr_setstack(&attr, mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0),
                          STACK);
    if (pthread_create(&thread, &attr, run_on_shared_stack, &ready) != 0)
        exit(2);
    pthread_attr_destroy(&attr);
    sem_wait(&ready);
}

static void *wait_for_ever(void *ready)
{
    sem_post(ready);
    for (;;)
        pause();
    return NULL;
}

static SITE void start_above_guard(void)
{
    static sem_t ready;
    char *stack = map(STACK);
    pthread_attr_t attr;
    pthread_t thread;

    if (madvise(stack, PAGE, GUARD_INSTALL) != 0)
        exit(77);
    sem_init(&ready, 0, 0);
    keep_in((void **)(stack + PAGE), 999);
    pthread_attr_init(&attr);
    pthread_attr_setstack(&attr, stack, STACK);
    if (pthread_create(&thread, &attr, wait_for_ever, &ready) != 0)
        exit(2);
    pthread_attr_destroy(&attr);
    sem_wait(&ready);
}

static SITE void guard_the_end(void)
{
    char *pages = map((size_t)4 * PAGE);

    memset(pages, 1, (size_t)4 * PAGE);
    if (mprotect(pages, PAGE, PROT_NONE) != 0 || mprotect(pages + (size_t)3 * PAGE, PAGE, PROT_NONE) != 0)
        exit(2);
    if (madvise(pages + (size_t)2 * PAGE, PAGE, GUARD_INSTALL) != 0)
        exit(77);
}

static void guard_within(char *pages)
{
    memset(pages, 0, (size_t)4 * PAGE);
    if (madvise(pages + PAGE, PAGE, GUARD_INSTALL) != 0)
        exit(77);
    keep_in((void **)(pages + (size_t)2 * PAGE), 444);
}

static SITE void guard_data_and_block(void)
{
    static _Alignas(PAGE) char data[4 * PAGE];
    static void *volatile block;

    block = aligned_alloc(PAGE, (size_t)4 * PAGE);
    if (block == NULL)
        exit(2);
    guard_within(data);
    guard_within(block);
}

static SITE void withhold_data(void)
{
    static _Alignas(PAGE) void *data[2 * PAGE / sizeof(void *)] = {data};

    keep_in(&data[PAGE / sizeof(void *)], 888);
    if (madvise(data, sizeof(data), MADV_DONTFORK) != 0)
        exit(2);
}

static SITE void spread(void)
{
    static void **volatile block;
    const size_t size = (size_t)64 << 30;
    void **mapping =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    block = malloc(size);
    if (block == NULL || mapping == MAP_FAILED)
        exit(77);
    keep_in(&block[size / 2 / sizeof(void *)], 222);
    keep_in(&mapping[size / 2 / sizeof(void *)], 222);
}

/* With a page that cannot be read in there, where there is such a thing. */
static SITE void withhold(void)
{
    const size_t size = (size_t)64 << 30, part = (size_t)64 * PAGE;
    char *mapping =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char *withheld = mapping + size / 2;

    if (mapping == MAP_FAILED)
        exit(77);
    keep_in((void **)withheld, 111);
    keep_in((void **)(withheld + part - PAGE), 111);
    if (madvise(withheld, part, MADV_DONTFORK) != 0)
        exit(2);
    madvise(withheld + part / 2, PAGE, GUARD_INSTALL);
}

/* Its parts have no files any more in /proc/self then. */
static void *end_program(void *unused)
{
    char state[256] = "";

    for (int i = 0; i < 10000 && strstr(state, ") Z") == NULL; i++) {
        FILE *file = fopen("/proc/self/stat", "r");

        if (file == NULL || fgets(state, sizeof(state), file) == NULL)
            exit(2);
        fclose(file);
        usleep(1000);
    }
    exit(0);
    return unused;
}

static void leave(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, end_program, NULL) != 0)
        exit(2);
    pthread_exit(NULL);
}

static void live_apart(void)
{
    if (unshare(CLONE_NEWPID) != 0)
        exit(77);
}

static void become_nobody(void)
{
    enum { NOBODY = 65534 };

    if (geteuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY) != 0)
        exit(2);
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        exit(2);
}

static void fork_and_wait(void)
{
    int status;
    pid_t child = fork();

    if (child == 0)
        return;
    if (waitpid(child, &status, 0) != child)
        exit(2);
    _exit(WEXITSTATUS(status));
}

/* The first ones take the addresses of blocks that have come and gone before main, and that frames which last
 * as long as main's may still have. */
static SITE void lose_classes(void)
{
    static void *volatile decoys[4 * 30];

    for (size_t i = 0; i < sizeof(decoys) / sizeof(decoys[0]); i++)
        decoys[i] = malloc(1 + i / 4 * (i / 4));
    for (size_t size = 1; size <= 200; size++)
        lose(size * size);
}

/* Memory like any other, once it was written to. */
static SITE void hold_in_file(void)
{
    int file = memfd_create("file", 0);
    void *volatile *page;

    if (file < 0 || ftruncate(file, PAGE) != 0)
        exit(2);
    page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    close(file);
    if (page == MAP_FAILED)
        exit(2);
    keep_in(&page[7], 1111);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];

        if (strcmp(word, "held") == 0 || strcmp(word, "thread") == 0)
            hold(word[0] == 't');
        else if (strcmp(word, "lose") == 0)
            lose(666);
        else if (strcmp(word, "stale") == 0)
            leave_stale();
        else if (strcmp(word, "woven") == 0)
            weave();
        else if (strcmp(word, "unmapped") == 0)
            map_where_blocks_were();
        else if (strcmp(word, "gone") == 0)
            hold_where_it_goes();
        else if (strcmp(word, "guarded") == 0)
            guard();
        else if (strcmp(word, "deaf") == 0)
            start_deaf();
        else if (strcmp(word, "shared") == 0)
            start_on_shared_stack();
        else if (strcmp(word, "below") == 0)
            start_above_guard();
        else if (strcmp(word, "end") == 0)
            guard_the_end();
        else if (strcmp(word, "within") == 0)
            guard_data_and_block();
        else if (strcmp(word, "apart") == 0)
            live_apart();
        else if (strcmp(word, "data") == 0)
            withhold_data();
        else if (strcmp(word, "sparse") == 0)
            spread();
        else if (strcmp(word, "withheld") == 0)
            withhold();
        else if (strcmp(word, "leave") == 0)
            leave();
        else if (strcmp(word, "nobody") == 0)
            become_nobody();
        else if (strcmp(word, "forked") == 0)
            fork_and_wait();
        else if (strcmp(word, "classes") == 0)
            lose_classes();
        else if (strcmp(word, "file") == 0)
            hold_in_file();
        else
            return 3;
        clear_stack();
    }
    return 0;
}
