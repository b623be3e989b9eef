/* SPDX-License-Identifier: MIT
 *
 * A program that knows nothing of the library and makes its life hard, in one way for each word:
 *
 *     traps WORD [FOLDER]
 *
 * It checks what it can see by itself, and aborts.  At the end LOST blocks of 666 bytes are left on purpose,
 * and not one of 1337.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <iconv.h>
#include <limits.h>
#include <locale.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum { LOST = 3, BUSY_THREADS = 32 };

#define REQUIRE(condition) ((condition) ? (void)0 : failed(__LINE__, #condition))

extern char **environ;
static const char *folder = ".";

static _Noreturn void failed(int line, const char *condition)
{
    dprintf(STDERR_FILENO, "traps.c:%d: does not hold: %s\n", line, condition);
    abort();
}

/* Nobody may know what becomes of a block. */
static void *volatile sink;

static __attribute__((noinline)) void lose(void)
{
    for (int i = 0; i < LOST; i++)
        sink = malloc(666);
    sink = NULL;
}

static __attribute__((noinline)) int work(int depth)
{
    char *block = malloc(1337);
    int sum;

    REQUIRE(block != NULL);
    block[1336] = (char)depth;
    block = realloc(block, 100000);
    REQUIRE(block != NULL && block[1336] == (char)depth);
    sum = depth > 0 ? work(depth - 1) : 1;
    block = realloc(block, 1337);
    REQUIRE(block != NULL && block[1336] == (char)depth);
    free(block);
    return sum + 1;
}

static void run_threads(int count, void *(*function)(void *), const pthread_attr_t *attributes)
{
    pthread_t threads[64];

    for (int i = 0; i < count; i++)
        REQUIRE(pthread_create(&threads[i], attributes, function, (void *)(intptr_t)i) == 0);
    for (int i = 0; i < count; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
}

static volatile int is_over;

static void *work_until_over(void *unused)
{
    while (!is_over) {
        work(5);
        usleep(300); /* as many as there are, each has its turn */
    }
    return unused;
}

static pthread_t busy[BUSY_THREADS];

static void begin_busy(int count)
{
    is_over = 0;
    for (int i = 0; i < count; i++)
        REQUIRE(pthread_create(&busy[i], NULL, work_until_over, NULL) == 0);
}

static void end_busy(int count)
{
    is_over = 1;
    for (int i = 0; i < count; i++)
        REQUIRE(pthread_join(busy[i], NULL) == 0);
}

static void expect_status(pid_t child, int wanted)
{
    int status;

    REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == wanted);
}

/* --- Libraries ------------------------------------------------------------------------------------------ */

static void *load_and_unload(void *index)
{
    for (int i = 0; i < 150; i++) {
        char path[4000];
        void *library;
        int (*use)(int number);

        snprintf(path, sizeof(path), "%s/plugin%d.so", folder, (int)((intptr_t)index + i) % 3);
        library = dlopen(path, i % 2 != 0 ? RTLD_NOW : RTLD_LAZY);
        REQUIRE(library != NULL);
        use = (int (*)(int))(uintptr_t)dlsym(library, "plugin_use");
        REQUIRE(use != NULL && use(i) != 0);
        REQUIRE(dlopen("/nowhere/at/all.so", RTLD_NOW) == NULL && dlerror() != NULL);
        work(2);
        REQUIRE(dlclose(library) == 0);
    }
    return NULL;
}

static void libraries(void)
{
    run_threads(4, load_and_unload, NULL);
}

/* The loader allocates a thread's data when they are first used, and the C library loads modules of its
 * own. */
static void *libraries_used;

static void *use_library(void *index)
{
    int (*use)(int number) = (int (*)(int))(uintptr_t)dlsym(libraries_used, "plugin_use");
    iconv_t conversion = iconv_open("UTF-16", "ISO-8859-15");

    REQUIRE(use((int)(intptr_t)index) != 0);
    REQUIRE(conversion != (iconv_t)-1 && iconv_close(conversion) == 0);
    return NULL;
}

static void loader(void)
{
    char path[4000];

    snprintf(path, sizeof(path), "%s/plugin0.so", folder);
    for (int i = 0; i < 30; i++) {
        libraries_used = dlopen(path, RTLD_NOW);
        REQUIRE(libraries_used != NULL);
        run_threads(16, use_library, NULL);
        REQUIRE(dlclose(libraries_used) == 0);
    }
}

/* --- Processes ------------------------------------------------------------------------------------------ */

/* A thousand, or as many as a machine comes to that takes longer than 20 ms for one. */
static void forks(void)
{
    time_t end = time(NULL) + 20;

    begin_busy(BUSY_THREADS);
    for (int i = 0; i < 1000 && time(NULL) < end; i++) {
        pid_t child = fork();

        if (child == 0) {
            alarm(20);
            REQUIRE(work(3) == 5);
            _exit(i % 7);
        }
        expect_status(child, i % 7);
    }
    end_busy(BUSY_THREADS);
}

static void forks_that_exit(void)
{
    begin_busy(4);
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();

        if (child == 0) {
            alarm(60);
            REQUIRE(work(3) == 5);
            exit(7);
        }
        expect_status(child, 7);
    }
    end_busy(4);
}

static void spawns(void)
{
    char *arguments[] = {(char *)"sh", (char *)"-c", (char *)"exit 3", NULL};

    begin_busy(8);
    for (int i = 0; i < 60; i++) {
        pid_t child = vfork();

        if (child == 0) {
            execve("/bin/sh", arguments, environ);
            _exit(127);
        }
        expect_status(child, 3);
        REQUIRE(posix_spawn(&child, "/bin/sh", NULL, NULL, arguments, environ) == 0);
        expect_status(child, 3);
    }
    REQUIRE(system("exit 5") == 5 << 8);
    FILE *pipe = popen("echo word", "r");
    char word[8];
    REQUIRE(pipe != NULL && fgets(word, sizeof(word), pipe) != NULL && strcmp(word, "word\n") == 0);
    REQUIRE(pclose(pipe) == 0);
    end_busy(8);
}

/* --- Threads -------------------------------------------------------------------------------------------- */

static pthread_key_t keys[8];

/* Comes again as often as the C library lets it. */
static void free_and_allocate(void *block)
{
    free(block);
    for (int i = 0; i < 8; i++)
        if (pthread_getspecific(keys[i]) == NULL && work(1) == 3) {
            free(malloc(1337));
            break;
        }
}

static void again(void *count)
{
    intptr_t rounds = (intptr_t)count;

    work(1);
    if (rounds > 1)
        REQUIRE(pthread_setspecific(keys[7], (void *)(rounds - 1)) == 0);
}

static __attribute__((noinline)) void leave(int depth)
{
    if (depth == 0)
        pthread_exit(NULL);
    leave(depth - 1);
    free(sink);
}

static void *die_with_data(void *index)
{
    for (int i = 0; i < 7; i++)
        REQUIRE(pthread_setspecific(keys[i], malloc(1337)) == 0);
    REQUIRE(pthread_setspecific(keys[7], (void *)(intptr_t)PTHREAD_DESTRUCTOR_ITERATIONS) == 0);
    leave((int)(intptr_t)index);
    return NULL;
}

static void thread_data(void)
{
    for (int i = 0; i < 7; i++)
        REQUIRE(pthread_key_create(&keys[i], free_and_allocate) == 0);
    REQUIRE(pthread_key_create(&keys[7], again) == 0);
    for (int i = 0; i < 50; i++)
        run_threads(16, die_with_data, NULL);
}

static void *work_once(void *depth)
{
    work((int)(intptr_t)depth % 3);
    return NULL;
}

static void many_threads(void)
{
    for (int i = 0; i < 10000 / 20; i++)
        run_threads(20, work_once, NULL);
}

static void smallest_stacks(void)
{
    pthread_attr_t attributes;

    REQUIRE(pthread_attr_init(&attributes) == 0);
    REQUIRE(pthread_attr_setstacksize(&attributes, (size_t)sysconf(_SC_THREAD_STACK_MIN)) == 0);
    for (int i = 0; i < 50; i++)
        run_threads(8, work_once, &attributes);
    pthread_attr_destroy(&attributes);
}

/* --- Signals and stacks --------------------------------------------------------------------------------- */

static volatile sig_atomic_t handled;

/* It runs wherever the library is, and does nothing that a handler must not. */
static void handle(int number)
{
    volatile char room[2000];

    room[0] = room[1999] = (char)number;
    handled += room[0] == room[1999];
}

static void signals(void)
{
    static char alternate[64 * 1024];
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof(alternate)};
    struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};

    REQUIRE(sigaltstack(&stack, NULL) == 0);
    for (int round = 0; round < 2; round++) {
        struct sigaction action = {.sa_handler = handle,
                                   .sa_flags = SA_RESTART | (round == 0 ? SA_ONSTACK : 0)};
        int until = handled + 300;

        REQUIRE(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &often, NULL) == 0);
        begin_busy(2);
        while (handled < until)
            work(handled % 30);
        end_busy(2);
        REQUIRE(setitimer(ITIMER_REAL, &never, NULL) == 0);
    }
}

static atomic_int begun, ended;

static void on_timer(union sigval unused)
{
    (void)unused;
    atomic_fetch_add(&begun, 1);
    work(atomic_load(&begun) % 30);
    atomic_fetch_add(&ended, 1);
}

/* The C library makes a thread for each time, in one that waits for a signal which must stay blocked. */
static void timers(void)
{
    enum { TIMERS = 4, TIMES = 300, WAITS = 6000 };
    struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = on_timer};
    struct itimerspec often = {{0, 1000000}, {0, 1000000}};
    timer_t all[TIMERS];
    int waits = 0;

    for (int i = 0; i < TIMERS; i++)
        REQUIRE(timer_create(CLOCK_MONOTONIC, &event, &all[i]) == 0 &&
                timer_settime(all[i], 0, &often, NULL) == 0);
    while (atomic_load(&ended) < TIMES && waits++ < WAITS)
        usleep(10000);
    for (int i = 0; i < TIMERS; i++)
        REQUIRE(timer_delete(all[i]) == 0);
    do
        usleep(100000);
    while (atomic_load(&ended) < atomic_load(&begun) && waits++ < WAITS);
    REQUIRE(waits < WAITS);
}

enum { COROUTINES = 100, STACK_SIZE = 64 * 1024 };

static ucontext_t scheduler, coroutines[COROUTINES];
static int current;

static __attribute__((noinline)) int work_in_turns(int depth)
{
    void *block = malloc(1337);
    int mine = current, sum;

    REQUIRE(swapcontext(&coroutines[mine], &scheduler) == 0);
    sum = depth > 0 ? work_in_turns(depth - 1) : work(1);
    free(block);
    return sum + 1;
}

static void coroutine_main(void)
{
    work_in_turns(6);
}

static void stack_switching(void)
{
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < COROUTINES; i++) {
            char *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

            REQUIRE(stack != MAP_FAILED && getcontext(&coroutines[i]) == 0);
            coroutines[i].uc_stack.ss_sp = stack;
            coroutines[i].uc_stack.ss_size = STACK_SIZE;
            coroutines[i].uc_link = &scheduler;
            makecontext(&coroutines[i], coroutine_main, 0);
        }
        for (int turn = 0; turn < 8; turn++)
            for (current = 0; current < COROUTINES; current++)
                REQUIRE(swapcontext(&scheduler, &coroutines[current]) == 0);
        for (int i = 0; i < COROUTINES; i++)
            REQUIRE(munmap(coroutines[i].uc_stack.ss_sp, STACK_SIZE) == 0);
    }
}

/* --- Sizes ---------------------------------------------------------------------------------------------- */

static void refuses(void *block)
{
    REQUIRE(block == NULL && errno == ENOMEM);
    errno = 0;
}

static void sizes(void)
{
    volatile size_t huge[] = {SIZE_MAX, SIZE_MAX - 4096, (size_t)PTRDIFF_MAX + 1, PTRDIFF_MAX,
                              (size_t)1 << 62};
    char *kept = malloc(1337), *empty[100];
    void *block = kept;

    errno = 0;
    for (size_t i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
        refuses(malloc(huge[i]));
        refuses(calloc(huge[i], 1));
        refuses(calloc(huge[i] / 2, 3));
        refuses(realloc(kept, huge[i]));
        refuses(reallocarray(kept, huge[i], 2));
        refuses(aligned_alloc(64, huge[i]));
        refuses(memalign(64, huge[i]));
        REQUIRE(posix_memalign(&block, 64, huge[i]) == ENOMEM && block == kept);
        errno = 0;
    }
    free(kept);
    for (int i = 0; i < 100; i++) {
        empty[i] = malloc(0);
        REQUIRE(empty[i] != NULL);
        for (int k = 0; k < i; k++)
            REQUIRE(empty[i] != empty[k]);
    }
    for (int i = 0; i < 100; i++)
        free(empty[i]);
    free(NULL);
    REQUIRE(realloc(malloc(1337), 0) == NULL);
}

/* With little address space: see test_whole_traps.sh. */
static void until_memory_is_out(void)
{
    struct cell {
        struct cell *next;
        char room[100000];
    } *list = NULL, *cell;
    size_t count = 0;

    while ((cell = malloc(sizeof(*cell))) != NULL) {
        memset(cell, 1, sizeof(*cell));
        cell->next = list;
        list = cell;
        count++;
    }
    REQUIRE(errno == ENOMEM && count > 100);
    REQUIRE(realloc(list, (size_t)1 << 40) == NULL && list->room[5] == 1);
    while (list != NULL) {
        cell = list->next;
        free(list);
        list = cell;
    }
    work(10);
}

static void deep(void)
{
    work(300);
}

#if defined(__x86_64__)

/* change_stack: to a stack that has what a call keeps on it.  end_of_stack: a function like any other, which
 * calls come_back, and does not begin where a call ends. */
void change_stack(void **from, void *to);
void end_of_stack(void);
void come_back(void);
__asm__("change_stack: push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; mov %rsp, (%rdi);"
        "mov %rsi, %rsp; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret;"
        ".skip 16, 0x90; .cfi_startproc; nop; .cfi_def_cfa_offset 64; end_of_stack: .cfi_def_cfa_offset 8;"
        "sub $8, %rsp; .cfi_def_cfa_offset 16; call come_back; hlt; .cfi_endproc");

static void *main_stack;

__attribute__((noinline)) void come_back(void)
{
    static void *dead;

    change_stack(&dead, main_stack);
    abort();
}

static __attribute__((noinline)) void work_on_stack(void)
{
    work(3);
    come_back();
}

static void begin_stack(char *top)
{
    void **stack = (void **)(void *)top;

    *--stack =
        (void *)end_of_stack; /* as though that had called work_on_stack: it is where this returns to */
    *--stack = (void *)work_on_stack;
    for (int i = 0; i < 6; i++)
        *--stack = NULL;
    change_stack(&main_stack, stack);
}

/* Where the first stack ends there is memory beyond; where the second does there is none. */
static void stacks_by_hand(void)
{
    enum { SIZE = 131072 };
    char *memory = mmap(NULL, SIZE + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    REQUIRE(memory != MAP_FAILED && mprotect(memory + SIZE, 4096, PROT_NONE) == 0);
    begin_stack(memory + SIZE / 2);
    begin_stack(memory + SIZE);
    munmap(memory, SIZE + 4096);
}

#else

static void stacks_by_hand(void)
{
    work(3);
}

#endif

enum { PAIRS = 200 };

/* Code that nothing is written of, as compilers at run time make it: calls a function. */
static void allocate_from_unknown_code(size_t place)
{
#if defined(__x86_64__)
    static const unsigned char code[] = {0x48, 0x83, 0xec, 0x18, 0xff, 0xd6, 0x48, 0x83, 0xc4, 0x18, 0xc3};
    static unsigned char *page;
    typedef void *call(size_t size, void *(*function)(size_t));

    if (page == NULL)
        page = mmap(NULL, 65536, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(page != MAP_FAILED);
    memcpy(page + place * sizeof(code), code, sizeof(code));
    free(((call *)(void *)(page + place * sizeof(code)))(1337, malloc));
#else
    free(malloc(1337 + place));
#endif
}

static void close_all(void)
{
    for (int fd = 3; fd < 1024; fd++)
        close(fd);
}

/* Takes some 400 descriptors, with ten bytes under way on each, allocates, and looks whether they still are.
 */
static void keep_descriptors(size_t round)
{
    static int pairs[PAIRS][2];
    char bytes[100];

    for (size_t i = 0; i < PAIRS; i++) {
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pairs[i]) == 0);
        for (size_t side = 0; side < 2; side++)
            REQUIRE(write(pairs[i][side], "0123456789", 10) == 10);
    }
    for (size_t i = 0; i < 100; i++)
        allocate_from_unknown_code(round * 100 + i);
    work(100);
    for (size_t i = 0; i < PAIRS; i++)
        for (size_t side = 0; side < 2; side++) {
            REQUIRE(read(pairs[i][side], bytes, sizeof(bytes)) == 10);
            REQUIRE(memcmp(bytes, "0123456789", 10) == 0);
        }
}

/* Closed, and taken before anything is allocated; closed, and something is allocated before. */
static void descriptors(void)
{
    free(malloc(1337));
    close_all();
    keep_descriptors(0);
    close_all();
    allocate_from_unknown_code(1000);
    work(10);
    keep_descriptors(1);
    close_all();
}

/* -------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *word;
    void (*run)(void);
} words[] = {
    {"libraries", libraries},
    {"loader", loader},
    {"forks", forks},
    {"forks_that_exit", forks_that_exit},
    {"spawns", spawns},
    {"thread_data", thread_data},
    {"many_threads", many_threads},
    {"smallest_stacks", smallest_stacks},
    {"signals", signals},
    {"timers", timers},
    {"stack_switching", stack_switching},
    {"sizes", sizes},
    {"until_memory_is_out", until_memory_is_out},
    {"deep", deep},
    {"descriptors", descriptors},
    {"stacks_by_hand", stacks_by_hand},
};

int main(int argc, char **argv)
{
    if (argc > 2)
        folder = argv[2];
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (argc > 1 && strcmp(argv[1], words[i].word) == 0) {
            words[i].run();
            lose();
            puts(words[i].word);
            return 0;
        }
    return 2;
}
