/* SPDX-License-Identifier: MIT
 *
 * What tests share: cmocka and its includes, checks that work in any thread, random numbers, threads, and
 * looking for one block in a walk.
 */
#ifndef TEST_SUPPORT_H
#define TEST_SUPPORT_H

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "config.h"
#include "leakdetect.h"

/* A function that is a call site of its own: it is never inlined, and what it returns is not known to be its
 * callee's result, so that no tail call becomes a jump. */
#define SITE __attribute__((noinline))
#define RETURN_FROM_SITE(value)            \
    do {                                   \
        __asm__ volatile("" ::: "memory"); \
        return value;                      \
    } while (0)

#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define HAS_THREAD_SANITIZER 1
#else
#define HAS_THREAD_SANITIZER 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer) || HAS_THREAD_SANITIZER
#define HAS_SANITIZER 1
#else
#define HAS_SANITIZER 0
#endif

#if HAS_THREAD_SANITIZER
/* Handlers that allocate, where the interrupted code does not, are what some tests are about. */
const char *__tsan_default_options(void);
__attribute__((used, visibility("default"))) const char *__tsan_default_options(void)
{
    return "report_signal_unsafe=0";
}
#endif

/* --- Checks ------------------------------------------------------------------------------------------- */

/* Ends the program if the condition does not hold: for threads that are not cmocka's, signal handlers and
 * children. */
#define REQUIRE(condition) ((condition) ? (void)0 : require_failed(__FILE__, __LINE__, #condition))

static inline _Noreturn void require_failed(const char *file, int line, const char *condition)
{
    dprintf(STDERR_FILENO, "%s:%d: does not hold: %s\n", file, line, condition);
    abort();
}

/* Any test that hangs ends here. */
static inline void test_deadline(unsigned seconds)
{
    alarm(seconds);
}

/* Keeps the compiler from knowing a value, and from warning about what it knows. */
static inline size_t opaque_size(size_t size)
{
    __asm__ volatile("" : "+r"(size));
    return size;
}

static inline void *opaque_pointer(void *pointer)
{
    __asm__ volatile("" : "+r"(pointer));
    return pointer;
}

/* The stack of the function in which it stands, as another unwinder sees it: the C library's backtrace(3). By
 * that name a program that is linked with libunwind has libunwind's. */
#define WALK_HERE(walk, capacity) ((size_t)c_library_backtrace()((walk), (capacity)))

typedef int backtrace_fn(void **walk, int capacity);

static inline backtrace_fn *c_library_backtrace(void)
{
    static _Atomic(backtrace_fn *) known;
    backtrace_fn *function = atomic_load_explicit(&known, memory_order_relaxed);

    if (function == NULL) {
        *(void **)&function = dlsym(dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD), "backtrace");
        REQUIRE(function != NULL);
        atomic_store_explicit(&known, function, memory_order_relaxed);
    }
    return function;
}

/* --- Random work -------------------------------------------------------------------------------------- */

/* splitmix64 */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline size_t random_below(uint64_t *state, size_t limit)
{
    return (size_t)(random_next(state) % limit);
}

/* The seed of this run, printed once. */
static inline uint64_t test_seed(void)
{
    static uint64_t seed;
    const char *text = getenv("LEAKDETECT_TEST_SEED");

    if (seed == 0) {
        seed = text != NULL ? strtoull(text, NULL, 0) : ((uint64_t)time(NULL) << 20) + (uint64_t)getpid();
        fprintf(stderr, "LEAKDETECT_TEST_SEED=%llu\n", (unsigned long long)seed);
    }
    return seed;
}

/* So many pieces of work, or the part of them that LEAKDETECT_TEST_SCALE asks for, at least 1. */
static inline size_t scaled(size_t count)
{
    const char *text = getenv("LEAKDETECT_TEST_SCALE");
    size_t result = text != NULL ? count * strtoull(text, NULL, 0) / 100 : count;

    return result > 0 ? result : 1;
}

/* --- Threads ------------------------------------------------------------------------------------------ */

enum { THREADS_MAX = 64 };

struct worker {
    void (*work)(unsigned index, void *ctx);
    void *ctx;
    unsigned index;
};

static inline void *worker_main(void *argument)
{
    const struct worker *worker = argument;

    worker->work(worker->index, worker->ctx);
    return NULL;
}

/* Calls work(index, ctx) in `count` threads at once, and waits for them. */
static inline void in_threads(unsigned count, void (*work)(unsigned index, void *ctx), void *ctx)
{
    struct worker workers[THREADS_MAX];
    pthread_t threads[THREADS_MAX];

    REQUIRE(count <= THREADS_MAX);
    for (unsigned i = 0; i < count; i++) {
        workers[i] = (struct worker){.work = work, .ctx = ctx, .index = i};
        REQUIRE(pthread_create(&threads[i], NULL, worker_main, &workers[i]) == 0);
    }
    for (unsigned i = 0; i < count; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
}

/* --- Records ------------------------------------------------------------------------------------------ */

/* A copy of what a walk handed over. */
struct snapshot {
    const void *address;
    size_t size;
    size_t frame_count;
    const void *frames[LD_MAX_FRAMES];
    uint16_t modules[LD_MAX_FRAMES];
    uint32_t mark;
    uint32_t flags;
};

static inline void snapshot_take(const struct ld_leak *leak, struct snapshot *out)
{
    REQUIRE(leak->frame_count <= LD_MAX_FRAMES);
    *out = (struct snapshot){
        .address = leak->address,
        .size = leak->size,
        .frame_count = leak->frame_count,
        .mark = leak->mark,
        .flags = leak->flags,
    };
    for (size_t i = 0; i < leak->frame_count; i++) {
        out->frames[i] = leak->frames[i];
        out->modules[i] = leak->modules[i];
    }
}

static inline bool snapshots_are_equal(const struct snapshot *a, const struct snapshot *b)
{
    return a->address == b->address && a->size == b->size && a->frame_count == b->frame_count &&
           memcmp(a->frames, b->frames, a->frame_count * sizeof(a->frames[0])) == 0 && a->mark == b->mark &&
           a->flags == b->flags;
}

struct search {
    const void *address; /* NULL: any */
    size_t size;         /* SIZE_MAX: any */
    size_t count;
    struct snapshot *last;
};

static inline bool search_visit(const struct ld_leak *leak, void *ctx)
{
    struct search *search = ctx;

    if ((search->address == NULL || leak->address == search->address) &&
        (search->size == SIZE_MAX || leak->size == search->size)) {
        search->count++;
        if (search->last != NULL)
            snapshot_take(leak, search->last);
    }
    return true;
}

/* How many blocks of this size are on record; the last one seen goes to *last, unless that is NULL. */
static inline size_t count_of_size(size_t size, struct snapshot *last)
{
    struct search search = {.size = size, .last = last};

    ld_now_leaks(search_visit, &search);
    return search.count;
}

/* Whether a block is on record, and as what. */
static inline bool find_block(const void *address, struct snapshot *out)
{
    struct search search = {.address = address, .size = SIZE_MAX, .last = out};

    ld_now_leaks(search_visit, &search);
    REQUIRE(search.count <= 1);
    return search.count == 1;
}

static inline bool is_on_record(const void *address)
{
    return find_block(address, NULL);
}

static inline struct ld_stats stats_now(void)
{
    struct ld_stats stats;

    ld_get_stats(&stats);
    return stats;
}

#endif
