/* SPDX-License-Identifier: MIT
 *
 * Capture by unw_backtrace, which caches per thread how each frame is laid out and costs 6 to 7 ns a frame.
 * What it returns is compared, from the outermost frame inwards, with this thread's last stack, and only the
 * frames beyond what they share are looked up in the tree.
 */
#define UNW_LOCAL_ONLY
#include "unwind.h"

#include <libunwind.h>

#include "module.h"
#include "platform.h"

enum {
    OWN_FRAMES_MAX = 10,  /* from unw_backtrace's caller to the entry point */
    NESTED_MAX = 4,       /* deeper recursion through the unwinder is its own, not a signal handler's */
    TRIES_MAX = 16,       /* captures that a collection may overtake before the stack is given up */
    WAIT_YIELDS = 100000, /* for another thread's collection, some 100 ms */
};

#define BUFFER_FRAMES (LD_MAX_FRAMES + OWN_FRAMES_MAX)

/* --- Frames ------------------------------------------------------------------------------------------- */

/* unw_backtrace's cache must not be used by a signal handler that interrupted it (libunwind issue 425): such
 * a handler's stack is stepped through, which is slow, but keeps signals out while it uses what is shared. */
static COLD size_t step_through(const void **frames, size_t capacity)
{
    unw_context_t context;
    unw_cursor_t cursor;
    size_t count = 0;

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

static size_t backtrace_here(struct thread *thread, const void **frames)
{
    uint32_t nested = atomic_load_explicit(&thread->unwinding, memory_order_relaxed);
    size_t count;

    if (UNLIKELY(nested >= NESTED_MAX))
        return 0;
    thread_unwind_enter(thread);
    if (LIKELY(nested == 0)) {
        int returned = unw_backtrace((void **)(uintptr_t)frames, BUFFER_FRAMES);

        count = returned > 0 ? (size_t)returned : 0;
    } else {
        count = step_through(frames, BUFFER_FRAMES);
    }
    thread_unwind_leave(thread);
    return count;
}

/* Makes `frames` begin with the caller of the entry point, whatever the compiler did to the functions in
 * between. */
static const void **skip_own(const void **frames, size_t *count, const void *caller)
{
    for (size_t i = 0; i < *count && i < OWN_FRAMES_MAX; i++)
        if (frames[i] == caller) {
            *count -= i;
            return frames + i;
        }
    /* The unwinder failed: the return address at least is known. */
    frames[0] = caller;
    *count = 1;
    return frames;
}

/* --- Stack id ----------------------------------------------------------------------------------------- */

/* How many outer frames are those of the last stack, in the same modules. */
static uint32_t shared_with_last(const struct thread_memory *last, const void *const *frames, size_t count)
{
    module_id checked = 0;
    uint32_t shared = 0;

    for (; shared < last->count && shared < count; shared++) {
        const void *pc = frames[count - 1 - shared];
        module_id module = last->modules[shared];

        if (pc != last->frames[shared])
            break;
        if (module != checked && module != 0 && !module_is_current(module, pc))
            break;
        checked = module;
    }
    return shared;
}

/* The id of the stack, or of as much of its outer part as there is room for. */
static struct unwind_stack intern(struct thread *thread, struct thread_memory *last, uint32_t epoch,
                                  const void *const *frames, size_t count)
{
    uint32_t known = last->epoch == epoch ? shared_with_last(last, frames, count) : 0;
    stack_id id = known != 0 ? last->ids[known - 1] : 0;

    /* A signal handler may leave for good at any point here: what counts as known is always complete. */
    last->count = known;
    last->epoch = epoch;
    for (; known < count; known++) {
        const void *pc = frames[count - 1 - known];
        stack_id child = stackmap_child(&thread->supply, epoch, id, pc);

        if (UNLIKELY(child == 0))
            return (struct unwind_stack){.id = id, .is_cut = true};
        id = child;
        last->frames[known] = pc;
        last->ids[known] = id;
        last->modules[known] = stackmap_module(id);
        atomic_signal_fence(memory_order_release);
        last->count = known + 1;
    }
    return (struct unwind_stack){.id = id, .is_cut = false};
}

/* A signal handler must leave the last stack of what it interrupted alone, and builds its own from the start.
 */
static NOINLINE struct unwind_stack intern_nested(struct thread *thread, uint32_t epoch,
                                                  const void *const *frames, size_t count)
{
    struct thread_memory memory;

    memory.epoch = epoch;
    memory.count = 0;
    return intern(thread, &memory, epoch, frames, count);
}

/* True if it is worth trying again to get nodes. */
static COLD bool make_room(unsigned level, stackmap_roots_fn *each_root)
{
    if (stackmap_collect(each_root))
        return true;
    /* A signal handler may have interrupted the very collection that it would wait for. */
    if (level != 0 || !stackmap_is_collecting())
        return false;
    for (int i = 0; i < WAIT_YIELDS && stackmap_is_collecting(); i++)
        platform_yield();
    return true;
}

struct unwind_stack unwind_capture(struct thread *thread, unsigned level, const void *caller,
                                   stackmap_roots_fn *each_root)
{
    const void *buffer[BUFFER_FRAMES];
    size_t count = backtrace_here(thread, buffer);
    const void **frames = skip_own(buffer, &count, caller);

    if (count > LD_MAX_FRAMES)
        count = LD_MAX_FRAMES;
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        uint32_t epoch = stackmap_epoch();
        struct unwind_stack stack = LIKELY(level == 0) ? intern(thread, &thread->memory, epoch, frames, count)
                                                       : intern_nested(thread, epoch, frames, count);

        if (UNLIKELY(stack.is_cut) && make_room(level, each_root))
            continue;
        /* Release: partner of thread_each_in_flight. */
        atomic_store_explicit(&thread->in_flight[level], stack.id, memory_order_release);
        platform_light_fence();
        /* A collection that has begun since may have missed the id; one that begins now will not. */
        if (LIKELY(stackmap_epoch() == epoch))
            return stack;
    }
    return (struct unwind_stack){.id = 0, .is_cut = true};
}

void unwind_init(void)
{
    void *frames[OWN_FRAMES_MAX];

    unw_backtrace(frames, OWN_FRAMES_MAX);
    step_through((const void **)(uintptr_t)frames, OWN_FRAMES_MAX);
}
