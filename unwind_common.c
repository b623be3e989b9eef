/* SPDX-License-Identifier: MIT
 *
 * What the two ways of capturing have in common: asking libunwind for a whole stack, and putting a stack in
 * the tree.
 */
#define UNW_LOCAL_ONLY
#include "unwind.h"

#include <errno.h>
#include <libunwind.h>
#include <pthread.h>

#include "bounded_wait.h"
#include "loaded.h"
#include "loader.h"
#include "module.h"
#include "platform.h"
#include "unwind_pipe.h"

enum {
    ROOM_TRIES_MAX = 32, /* a small table may be collected each time, and never have room for a long stack */
    ADDRESS_BITS = 48,   /* of what can be a return address, and has room in the tree */
};

/* unw_backtrace's cache must not be used by a signal handler that interrupted it (libunwind issue 425), nor
 * once a library has been unloaded: it keeps what it has learnt about a place, and would read wild when there
 * is another library.  Then a stack is stepped through, which is slow, but keeps signals out while it uses
 * what is shared, and can be told to forget. */
static COLD size_t step_through(const void **frames, size_t capacity)
{
    static _Atomic uint64_t forgotten;
    uint64_t unloads = loaded_unloads();
    unw_context_t context;
    unw_cursor_t cursor;
    size_t count = 0;

    if (atomic_load_explicit(&forgotten, memory_order_relaxed) != unloads) {
        unw_flush_cache(unw_local_addr_space, 0, 0);
        atomic_store_explicit(&forgotten, unloads, memory_order_relaxed);
    }
    if (unw_getcontext(&context) != 0 || unw_init_local(&cursor, &context) != 0)
        return 0;
    do {
        unw_word_t pc = 0;

        if (unw_get_reg(&cursor, UNW_REG_IP, &pc) != 0 || pc == 0)
            break;
        frames[count++] = (const void *)(uintptr_t)pc;
    } while (count < capacity && unw_step(&cursor) > 0);
    return count;
}

/* In the library that is preloaded (iterate_phdr.c): whether libunwind is told of modules without the
 * loader's lock. */
bool iterate_phdr_probe(void) __attribute__((weak));
static bool is_told;

bool unwind_can_ask(void)
{
    return unwind_pipe_is_there() && (is_told || loader_is_free_soon());
}

static size_t backtrace_here(struct thread *thread, unsigned level, const void **frames)
{
    int saved = errno;
    uint32_t inside;
    size_t count;

    if (!thread_unwind_enter(thread, level, &inside))
        return 0;
    /* loaded_unloads asks the loader, too. */
    if (UNLIKELY(!unwind_pipe_is_there() || !loader_is_free_soon())) {
        count = 0;
    } else if (LIKELY(inside == 0) && LIKELY(loaded_unloads() == 0)) {
        int returned = unw_backtrace((void **)(uintptr_t)frames, UNWIND_BUFFER_FRAMES);

        count = returned > 0 ? (size_t)returned : 0;
    } else if ((inside & 1u << level) == 0) {
        count = step_through(frames, UNWIND_BUFFER_FRAMES);
    } else {
        /* Should it be the unwinder that allocates, this ends the recursion. */
        thread_foreign_enter();
        count = step_through(frames, UNWIND_BUFFER_FRAMES);
        thread_foreign_leave();
    }
    thread_unwind_leave(thread, level);
    errno = saved;
    return count;
}

/* On aarch64 unw_backtrace takes one off return addresses (libunwind issue 911), where instructions have four
 * bytes and begin at multiples of that. */
static inline const void *whole_instruction(const void *pc)
{
#if defined(__aarch64__)
    enum { INSTRUCTION = 4 };

    pc = (const void *)(((uintptr_t)pc + INSTRUCTION - 1) & ~(uintptr_t)(INSTRUCTION - 1));
#endif
    return pc;
}

const void **unwind_backtrace(struct thread *thread, unsigned level, const void *caller, const void **buffer,
                              size_t *count)
{
    size_t all = backtrace_here(thread, level, buffer), addresses = 0;

    /* Where libunwind guesses, it may take for a return address what cannot be one. */
    for (; addresses < all && (uint64_t)(uintptr_t)buffer[addresses] >> ADDRESS_BITS == 0; addresses++)
        buffer[addresses] = whole_instruction(buffer[addresses]);
    all = addresses;

    /* Our own frames end at the entry point's caller, whatever the compiler did to the functions in
     * between. */
    for (size_t i = 0; i < all && i < UNWIND_OWN_FRAMES; i++)
        if (buffer[i] == caller) {
            *count = all - i < LD_MAX_FRAMES ? all - i : LD_MAX_FRAMES;
            return buffer + i;
        }
    /* The unwinder failed, or could not be asked: the return address at least is known. */
    buffer[0] = caller;
    *count = 1;
    return buffer;
}

/* The epoch of a collection that did not end while somebody waited for it: its thread was left by a signal
 * handler in the midst of it, and has called nothing since.  0: none. */
static _Atomic uint32_t stuck_epoch;

/* Waits for another thread's collection, of milliseconds, but for none that somebody has waited for in vain.
 * True if it is over. */
static bool await_collection(void)
{
    uint32_t epoch = stackmap_epoch();
    struct bounded_wait wait = {0};

    if (atomic_load_explicit(&stuck_epoch, memory_order_relaxed) == epoch)
        return false;
    while (stackmap_is_collecting() && stackmap_epoch() == epoch)
        if (!bounded_wait(&wait)) {
            atomic_store_explicit(&stuck_epoch, epoch, memory_order_relaxed);
            return false;
        }
    return true;
}

COLD bool unwind_make_room(unsigned level, uint32_t epoch, int tries, stackmap_roots_fn *each_root)
{
    enum stackmap_outcome outcome = tries < ROOM_TRIES_MAX ? stackmap_collect(each_root) : STACKMAP_FULL;
    /* A signal handler may have interrupted the very collection that it would wait for, and whoever forks
     * keeps collections out. */
    bool may_wait = outcome == STACKMAP_BUSY && level == 0 && !thread_is_forking();

    if (outcome == STACKMAP_COLLECTED || (may_wait && await_collection()))
        return true;
    return stackmap_epoch() != epoch;
}

static atomic_size_t asked;

size_t unwind_asked(void)
{
    return atomic_load_explicit(&asked, memory_order_relaxed);
}

struct unwind_stack unwind_ask(struct thread *thread, unsigned level, const void *caller,
                               stackmap_roots_fn *each_root)
{
    const void *buffer[UNWIND_BUFFER_FRAMES];
    size_t count;
    const void **frames = unwind_backtrace(thread, level, caller, buffer, &count);

    atomic_fetch_add_explicit(&asked, 1, memory_order_relaxed);
    return unwind_keep(thread, level, frames, count, each_root);
}

struct unwind_stack unwind_keep(struct thread *thread, unsigned level, const void *const *frames,
                                size_t count, stackmap_roots_fn *each_root)
{
    struct path *path = &thread->last[level];
    uint32_t shared = 0;

    while (shared < path->count && shared < count && path->frames[shared] == frames[count - 1 - shared])
        shared++;
    path_truncate(path, path_current(path, shared));
    while (path->count < count)
        path_push(path, frames[count - 1 - path->count]);
    for (int tries = 0; tries < UNWIND_TRIES_MAX; tries++) {
        uint32_t epoch = stackmap_epoch();
        bool is_cut = !path_intern(path, &thread->supply, epoch);
        stack_id id = path->known == 0 ? 0 : path->ids[path->known - 1];

        if (UNLIKELY(is_cut) && unwind_make_room(level, epoch, tries, each_root))
            continue;
        if (LIKELY(unwind_publish(thread, level, id, epoch)))
            return (struct unwind_stack){.id = id, .is_cut = is_cut};
    }
    return (struct unwind_stack){.id = 0, .is_cut = true};
}

static void warm_up(void)
{
    const void *frames[UNWIND_BUFFER_FRAMES];
    int ends[2];

    unwind_pipe_guess(ends);
    is_told = iterate_phdr_probe != NULL && iterate_phdr_probe();
    unw_backtrace((void **)(uintptr_t)frames, UNWIND_BUFFER_FRAMES);
    step_through(frames, UNWIND_BUFFER_FRAMES);
    unwind_pipe_note(ends);
}

void unwind_init(void)
{
    int state;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    platform_with_high_descriptors(warm_up);
    pthread_setcancelstate(state, NULL);
}
