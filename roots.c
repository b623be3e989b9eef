/* SPDX-License-Identifier: MIT
 *
 * The roots of roots.h.  Modules come from the loader.  What belongs to a thread is found from two addresses:
 *
 *     stack pointer          the live part of its stack begins here, less the red zone
 *         ...
 *     thread pointer - n     static thread-local storage, n bytes for all modules
 *     thread pointer         glibc's struct pthread (tcb.h)
 *
 * On the first thread the two halves lie apart: [stack], and memory of the loader.  A stack pointer that is
 * in neither is on a signal stack or on one that the program made for itself: then how much of the thread's
 * own stack is in use is not known, and all of it counts.
 */
#define _GNU_SOURCE
#include "roots.h"

#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ucontext.h>

#include "config.h"
#include "kernel.h"
#include "loader.h"
#include "loader_lock.h"
#include "platform.h"
#include "restart.h"
#include "tcb.h"

enum {
    WORD = sizeof(uintptr_t),
    RED_ZONE = 128,
    PAGE = 4096,
    FIRST_CAPACITY = 1024,
    /* What modules loaded later find in the static storage of each thread: glibc's reserve, and some. */
    TLS_SURPLUS = 4096,
    TLS_MOST = 1 << 20, /* of libraries whose code does not count on a fixed distance */
};

/* A flag of stacks (linux/signal.h): the thread has no signal stack while a handler is on it, so that it can
 * leave that one for another stack. */
#define AUTODISARM (1u << 31)

/* Below its own stack the kernel leaves room, but what the program asks to be right there is. */
#define STACK_LONGEST ((uintptr_t)1 << 30)

/* --- Registered regions --------------------------------------------------------------------------------- */

static struct {
    struct {
        _Atomic uintptr_t start; /* 0: free; 1: being changed */
        _Atomic uintptr_t end;
    } regions[LD_MAX_ROOTS];
    atomic_size_t used; /* none beyond */
} registered;

int roots_register(const void *start, size_t size)
{
    uintptr_t from = (uintptr_t)start, last_page = (uintptr_t)0 - PAGE;

    /* Where the address space ends, rounding an address up gives 0. */
    if (from < PAGE || from >= last_page || size == 0 || size > last_page - from)
        return EINVAL;
    for (size_t i = 0; i < LD_MAX_ROOTS; i++) {
        uintptr_t expected = 0;
        size_t used = atomic_load_explicit(&registered.used, memory_order_relaxed);

        if (!atomic_compare_exchange_strong_explicit(&registered.regions[i].start, &expected, 1,
                                                     memory_order_acquire, memory_order_relaxed))
            continue;
        atomic_store_explicit(&registered.regions[i].end, from + size, memory_order_relaxed);
        while (used < i + 1 &&
               !atomic_compare_exchange_weak_explicit(&registered.used, &used, i + 1, memory_order_relaxed,
                                                      memory_order_relaxed))
            continue;
        atomic_store_explicit(&registered.regions[i].start, from, memory_order_release);
        return 0;
    }
    return ENOMEM;
}

int roots_unregister(const void *start, size_t size)
{
    uintptr_t from = (uintptr_t)start;
    size_t used = atomic_load_explicit(&registered.used, memory_order_relaxed);

    for (size_t i = 0; i < used && from >= PAGE; i++) {
        uintptr_t expected = from;

        if (atomic_load_explicit(&registered.regions[i].end, memory_order_relaxed) == from + size &&
            atomic_compare_exchange_strong_explicit(&registered.regions[i].start, &expected, 1,
                                                    memory_order_relaxed, memory_order_relaxed)) {
            atomic_store_explicit(&registered.regions[i].start, 0, memory_order_release);
            return 0;
        }
    }
    return ENOENT;
}

size_t roots_own_bytes(void)
{
    return sizeof(registered);
}

/* --- Modules ------------------------------------------------------------------------------------------ */

struct gathering {
    struct roots *roots;
    uintptr_t thread_pointer;
    bool is_full;
};

/* The range without what is the library's own; few, so that recursion is short. */
static void add_range(struct gathering *gathering, uintptr_t start, uintptr_t end, size_t first)
{
    struct roots *roots = gathering->roots;

    for (size_t i = first; i < roots->own_count; i++) {
        const struct ours_range *own = &roots->own[i];

        if (own->start >= end || own->end <= start)
            continue;
        if (own->start > start)
            add_range(gathering, start, own->start, i + 1);
        if (own->end < end)
            add_range(gathering, own->end, end, i + 1);
        return;
    }
    if (roots->module_count == roots->capacity) {
        gathering->is_full = true;
        return;
    }
    roots->modules[roots->module_count++] = (struct ours_range){start, end};
}

/* Whether the module's thread-local storage is at a fixed distance from all thread pointers, because its code
 * counts on that (DF_STATIC_TLS: the initial-exec and local-exec models). */
static bool is_tls_static(const struct dl_phdr_info *info)
{
    const ElfW(Dyn) *entry = NULL;

    for (size_t i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
            entry = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
    for (; entry != NULL && entry->d_tag != DT_NULL; entry++)
        if (entry->d_tag == DT_FLAGS)
            return (entry->d_un.d_val & DF_STATIC_TLS) != 0;
    return false;
}

static void add_tls(struct gathering *gathering, const struct dl_phdr_info *info, const ElfW(Phdr) * segment)
{
    enum { PROGRAM = 1 };
    struct roots *roots = gathering->roots;
    uintptr_t below = gathering->thread_pointer - (uintptr_t)info->dlpi_tls_data;
    bool is_static = info->dlpi_tls_modid == PROGRAM || is_tls_static(info);

    if (info->dlpi_tls_modid >= roots->capacity) {
        gathering->is_full = true;
        return;
    }
    roots->tls_sizes[info->dlpi_tls_modid] = segment->p_memsz;
    if (info->dlpi_tls_modid >= roots->tls_count)
        roots->tls_count = info->dlpi_tls_modid + 1;
    if (info->dlpi_tls_data == NULL)
        /* Loaded later: glibc does not say where it is, before the thread has asked for it by its number. */
        roots->late_tls += is_static ? segment->p_memsz + segment->p_align : 0;
    else if ((is_static || below <= TLS_MOST) && below > roots->static_tls)
        roots->static_tls = below;
}

static uint64_t add_loaded(uint64_t loaded, uintptr_t base, const char *name)
{
    return (loaded ^ base ^ (uint64_t)(uintptr_t)name << 16) * UINT64_C(0x9e3779b97f4a7c15);
}

static int add_module(struct dl_phdr_info *info, size_t size, void *ctx)
{
    struct gathering *gathering = ctx;

    (void)size;
    gathering->roots->loaded = add_loaded(gathering->roots->loaded, info->dlpi_addr, info->dlpi_name);
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + segment->p_vaddr;

        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_W) != 0)
            add_range(gathering, start, start + segment->p_memsz, 0);
        if (segment->p_type == PT_TLS && info->dlpi_tls_modid != 0)
            add_tls(gathering, info, segment);
    }
    return 0;
}

static bool map_tables(struct roots *roots, size_t capacity)
{
    *roots = (struct roots){.capacity = capacity};
    roots->modules = kernel_map(capacity * sizeof(roots->modules[0]));
    roots->tls_sizes = kernel_map(capacity * sizeof(roots->tls_sizes[0]));
    return roots->modules != NULL && roots->tls_sizes != NULL;
}

int roots_gather(struct roots *roots, const struct ours_range *own, size_t own_count)
{
    for (size_t capacity = FIRST_CAPACITY;; capacity *= 2) {
        struct gathering gathering = {.roots = roots, .thread_pointer = (uintptr_t)platform_thread_pointer()};

        if (!map_tables(roots, capacity)) {
            roots_release(roots);
            return ENOMEM;
        }
        for (size_t i = 0; i < own_count; i++)
            roots->own[roots->own_count++] = own[i];
        if (!loader_visit(add_module, &gathering)) {
            roots_release(roots);
            return EAGAIN;
        }
        if (!gathering.is_full)
            return 0;
        roots_release(roots);
    }
}

void roots_release(struct roots *roots)
{
    if (roots->modules != NULL)
        kernel_unmap(roots->modules, roots->capacity * sizeof(roots->modules[0]));
    if (roots->tls_sizes != NULL)
        kernel_unmap(roots->tls_sizes, roots->capacity * sizeof(roots->tls_sizes[0]));
    *roots = (struct roots){0};
}

bool roots_current(const struct roots *roots)
{
    const struct r_debug *loader = loader_debugger();
    uint64_t loaded = 0;

    if (loader == NULL)
        return true;
    if (loader->r_state != RT_CONSISTENT)
        return false;
    for (const struct link_map *map = loader->r_map; map != NULL; map = map->l_next)
        loaded = add_loaded(loaded, map->l_addr, map->l_name);
    return loaded == roots->loaded;
}

/* Of the thread whose stack is the kernel's.  0: not known, as the library was loaded by another. */
static uintptr_t first_thread_pointer;

__attribute__((constructor)) static void find_first_thread(void)
{
    if (kernel_thread() == kernel_process())
        first_thread_pointer = (uintptr_t)platform_thread_pointer();
}

/* The library's own thread, and the process that has it, for in one that is forked from there another thread
 * may have its number.  0: none. */
static struct {
    atomic_int thread, process;
} own;

void roots_disregard(pid_t thread)
{
    atomic_store_explicit(&own.thread, 0, memory_order_relaxed);
    atomic_store_explicit(&own.process, kernel_process(), memory_order_relaxed);
    atomic_store_explicit(&own.thread, thread, memory_order_release);
}

static bool is_own(pid_t thread, pid_t process)
{
    return thread == atomic_load_explicit(&own.thread, memory_order_acquire) &&
           process == atomic_load_explicit(&own.process, memory_order_relaxed);
}

/* --- In the snapshot ------------------------------------------------------------------------------------ */

struct pass {
    const struct roots_snapshot *snapshot;
    roots_visit_fn *visit;
    roots_bound_fn *bound;
    void *ctx;
    bool is_one_missing; /* a thread that is running but was not found */
};

static bool counts(const struct pass *pass, enum roots_kind kind)
{
    const struct roots_options *options = &pass->snapshot->options;

    switch (kind) {
    case ROOTS_REGISTERED:
        return true;
    case ROOTS_GLOBAL:
        return options->globals;
    case ROOTS_TLS:
        return options->tls;
    case ROOTS_REGISTERS:
    case ROOTS_DEAD_REGISTERS:
        return options->registers;
    case ROOTS_STACK:
    case ROOTS_DEAD_STACK:
        return options->stacks;
    case ROOTS_MAPPED:
        return options->mapped;
    case ROOTS_KEPT:
        return true;
    }
    return true;
}

/* Those parts of the range that can be read. */
static void visit_range(const struct pass *pass, enum roots_kind kind, uintptr_t start, uintptr_t end)
{
    const struct maps *maps = pass->snapshot->maps;

    start = (start + WORD - 1) & ~(uintptr_t)(WORD - 1);
    end &= ~(uintptr_t)(WORD - 1);
    if (start >= end || !counts(pass, kind))
        return;
    for (size_t i = maps_first_above(maps, start); i < maps->count && maps->entries[i].start < end; i++) {
        const struct mapping *mapping = &maps->entries[i];
        uintptr_t from = mapping->start > start ? mapping->start : start;
        uintptr_t to = mapping->end < end ? mapping->end : end;

        if (maps_open(maps, mapping))
            pass->visit(kind, from, to, pass->ctx);
    }
}

/* The blocks of thread-local storage that the loader has allocated for one thread, and its own list of them.
 * glibc keeps those of a thread that has ended for the next thread. */
static void visit_dtv(const struct pass *pass, uintptr_t tcb, bool has_ended)
{
    const struct roots *roots = pass->snapshot->roots;
    struct tcb_dtv dtv;

    if (!tcb_get_dtv(pass->snapshot->maps, tcb, &dtv))
        return;
    pass->visit(ROOTS_KEPT, (uintptr_t)&dtv.start, (uintptr_t)(&dtv.start + 1), pass->ctx);
    visit_range(pass, ROOTS_KEPT, dtv.start, dtv.end);
    if (has_ended)
        return;
    for (size_t i = 1; i <= dtv.count && i < roots->tls_count; i++) {
        uintptr_t storage = tcb_storage(&dtv, i);

        if (storage != 0)
            visit_range(pass, ROOTS_TLS, storage, storage + roots->tls_sizes[i]);
    }
}

static void visit_keys(const struct pass *pass, uintptr_t tcb)
{
    const uintptr_t *arrays = tcb_key_arrays(pass->snapshot->maps, tcb);

    for (size_t i = 1; arrays != NULL && i < TCB_KEY_ARRAYS; i++)
        if (arrays[i] != 0)
            visit_range(pass, ROOTS_TLS, arrays[i], arrays[i] + TCB_KEY_BYTES);
}

static void visit_tls(const struct pass *pass, uintptr_t thread_pointer, bool is_first)
{
    const struct maps *maps = pass->snapshot->maps;
    const struct mapping *mapping = maps_find(maps, thread_pointer);
    /* Other threads have what was loaded later above the beginning of their stack. */
    uintptr_t later = is_first ? TLS_SURPLUS + pass->snapshot->roots->late_tls : 0;
    uintptr_t start = thread_pointer - pass->snapshot->roots->static_tls - later;

    if (mapping == NULL || !mapping->is_readable || !counts(pass, ROOTS_TLS))
        return;
    visit_range(pass, ROOTS_TLS, start > mapping->start ? start : mapping->start,
                tcb_end(maps, thread_pointer));
    if (!tcb_is_at(maps, thread_pointer))
        return;
    visit_dtv(pass, thread_pointer, false);
    visit_keys(pass, thread_pointer);
}

/* The stack that the kernel has given to the first thread, or the C library or the program to another, which
 * ends where the thread's static storage begins.  The program may have protected parts of it, which are
 * mappings of their own.  Empty: it was not found. */
static struct ours_range given_stack(const struct pass *pass, uintptr_t thread_pointer, bool is_first)
{
    const struct maps *maps = pass->snapshot->maps;
    const struct mapping *mapping = maps_find(maps, is_first ? pass->snapshot->main_stack : thread_pointer);
    uintptr_t start, end;

    if (mapping == NULL)
        return (struct ours_range){0, 0};
    end = is_first ? mapping->end : thread_pointer - pass->snapshot->roots->static_tls;
    start = is_first ? 0 : tcb_stack_start(maps, thread_pointer);
    if (start != 0)
        return (struct ours_range){start, end};
    while (is_first && mapping > maps->entries && mapping[-1].end == mapping->start &&
           mapping[-1].is_private && !mapping[-1].is_of_file && end - mapping[-1].start < STACK_LONGEST)
        mapping--;
    return (struct ours_range){maps_beginning(maps, mapping), end};
}

static void visit_whole_stack(const struct pass *pass, uintptr_t thread_pointer, bool is_first)
{
    struct ours_range stack = given_stack(pass, thread_pointer, is_first);

    visit_range(pass, ROOTS_STACK, stack.start, stack.end);
}

#if defined(__x86_64__)
/* Whether the instruction at which it was stopped, or is to go on, is a system call. */
static bool is_in_system_call(const struct pass *pass, const struct stop_thread *thread)
{
    static const unsigned char instruction[] = {0x0f, 0x05};
    uintptr_t next, before;

    /* Of the calling thread there are some registers at most. */
    if (thread->registers_end - thread->registers <= (uintptr_t)REG_RIP * WORD)
        return false;
    next = ((const uintptr_t *)thread->registers)[REG_RIP];
    before = next - sizeof(instruction);
    if (!maps_can_read(pass->snapshot->maps, before, 2 * sizeof(instruction)))
        return false;
    return memcmp((const void *)before, instruction, sizeof(instruction)) == 0 ||
           memcmp((const void *)next, instruction, sizeof(instruction)) == 0;
}

/* SP in what a handler has interrupted, if the kernel's record of that is here, which says on which signal
 * stack it is; 0: it is not.  `signal_stack` is the thread's; while one with SS_AUTODISARM is in use it has
 * none. */
static uintptr_t interrupted_pointer(uintptr_t at, uintptr_t end, uintptr_t signal_stack)
{
    const ucontext_t *context = (const void *)at;
    const stack_t *stack = &context->uc_stack;

    if (end - at < offsetof(ucontext_t, uc_mcontext) + sizeof(context->uc_mcontext.gregs) ||
        at - (uintptr_t)stack->ss_sp >= stack->ss_size ||
        ((uintptr_t)stack->ss_sp != signal_stack && (unsigned)stack->ss_flags != AUTODISARM))
        return 0;
    return (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
}
#else
static bool is_in_system_call(const struct pass *pass, const struct stop_thread *thread)
{
    (void)pass;
    (void)thread;
    return false;
}

static uintptr_t interrupted_pointer(uintptr_t at, uintptr_t end, uintptr_t signal_stack)
{
    (void)at;
    (void)end;
    (void)signal_stack;
    return 0;
}
#endif

static bool is_caller(const struct pass *pass, const struct stop_thread *thread)
{
    return thread->id == pass->snapshot->caller.id;
}

/* Whether no code will return to the functions of this thread. */
static bool is_ending(const struct pass *pass, const struct stop_thread *thread)
{
    return pass->snapshot->options.strict && pass->snapshot->is_ending && is_caller(pass, thread);
}

/* A signal stack, or one of the program's own making, with the stack pointer there: up to `end`, or that of
 * the block or the mapping that it is in. */
static struct ours_range visit_other_stack(const struct pass *pass, uintptr_t start, uintptr_t pointer,
                                           uintptr_t end)
{
    const struct mapping *mapping = maps_find(pass->snapshot->maps, pointer);

    if (end == 0)
        end = pass->bound(pointer, pass->ctx);
    if (mapping == NULL)
        return (struct ours_range){0};
    if (end > mapping->end)
        end = mapping->end;
    visit_range(pass, ROOTS_STACK, start, end);
    return (struct ours_range){maps_open(pass->snapshot->maps, mapping) ? pointer : end, end};
}

/* The stacks that handlers return to whose signal stack this is. */
static void visit_interrupted(const struct pass *pass, struct ours_range stack, uintptr_t signal_stack)
{
    for (uintptr_t at = (stack.start + WORD - 1) & ~(uintptr_t)(WORD - 1); at < stack.end; at += WORD) {
        uintptr_t pointer = interrupted_pointer(at, stack.end, signal_stack);

        if (pointer != 0 && (pointer < stack.start || pointer >= stack.end))
            visit_other_stack(pass, pointer - RED_ZONE, pointer, 0);
    }
}

static void visit_stack(const struct pass *pass, const struct stop_thread *thread, bool is_first)
{
    const struct maps *maps = pass->snapshot->maps;
    const struct mapping *mapping = maps_find(maps, thread->stack_pointer);
    enum roots_kind kind = is_ending(pass, thread) ? ROOTS_DEAD_STACK : ROOTS_STACK;
    /* What makes a call has no red zone. */
    uintptr_t start = thread->stack_pointer - (is_caller(pass, thread) ? 0 : RED_ZONE), end;
    struct ours_range given;

    if (mapping == NULL) {
        visit_whole_stack(pass, thread->thread_pointer, is_first);
        return;
    }
    if (pass->snapshot->options.strict && is_in_system_call(pass, thread)) {
        uintptr_t pointer = restart_stack_pointer((const void *)thread->registers);

        visit_range(pass, ROOTS_DEAD_STACK, start, pointer);
        start = pointer;
    }
    given = given_stack(pass, thread->thread_pointer, is_first);
    if (thread->stack_pointer >= given.start && thread->stack_pointer < given.end) {
        visit_range(pass, kind, start, given.end);
        return;
    }
    end = mapping->end;
    if (pass->snapshot->main_stack >= mapping->start && pass->snapshot->main_stack < end) {
        visit_range(pass, kind, start, end);
        return;
    }
    visit_interrupted(pass, visit_other_stack(pass, start, thread->stack_pointer, thread->signal_stack_end),
                      thread->alternate_stack);
    visit_whole_stack(pass, thread->thread_pointer, is_first);
}

/* A thread that could not be stopped: all of its stack, as far as it can be found.  Returns its thread
 * pointer, or 0. */
static uintptr_t visit_running(const struct pass *pass, const struct stop_thread *thread, bool is_first)
{
    const struct maps *maps = pass->snapshot->maps;
    const struct mapping *mapping = maps_find(maps, thread->stack_pointer);
    uintptr_t thread_pointer = thread->thread_pointer;

    visit_range(pass, ROOTS_REGISTERS, (uintptr_t)thread->arguments,
                (uintptr_t)thread->arguments + sizeof(thread->arguments));
    if (mapping == NULL)
        return thread_pointer;
    if (!is_first && thread_pointer == 0)
        thread_pointer = tcb_find(maps, thread->stack_pointer);
    if (is_first || thread_pointer != 0)
        visit_whole_stack(pass, thread_pointer, is_first);
    else
        visit_range(pass, ROOTS_STACK, maps_beginning(maps, mapping),
                    pass->bound(thread->stack_pointer, pass->ctx));
    return thread_pointer;
}

/* A child that another thread than the first has forked runs on that thread's stack, under the id of a first
 * thread. */
static bool is_first_thread(const struct pass *pass, const struct stop_thread *thread)
{
    return thread->id == pass->snapshot->process &&
           (first_thread_pointer == 0 || thread->thread_pointer == 0 ||
            thread->thread_pointer == first_thread_pointer);
}

static void visit_all_registers(const struct pass *pass, const struct stop_thread *thread)
{
    enum roots_kind kind = is_ending(pass, thread) ? ROOTS_DEAD_REGISTERS : ROOTS_REGISTERS;

    visit_range(pass, kind, thread->registers, thread->registers_end);
    visit_range(pass, ROOTS_REGISTERS, thread->vectors, thread->vectors_end);
}

#if defined(__x86_64__)
/* Of a thread in a system call, those that a call keeps are its functions'.  The others were for the call. */
static void visit_registers(const struct pass *pass, const struct stop_thread *thread)
{
    uintptr_t start = thread->registers, end = thread->registers_end;

    if (!pass->snapshot->options.strict || !is_in_system_call(pass, thread)) {
        visit_all_registers(pass, thread);
        return;
    }
    for (uintptr_t at = start; at < end; at += WORD) {
        uintptr_t number = (at - start) / WORD;
        bool is_kept = (number >= REG_R12 && number <= REG_R15) || number == REG_RBP || number == REG_RBX;

        visit_range(pass, is_kept ? ROOTS_REGISTERS : ROOTS_DEAD_REGISTERS, at, at + WORD);
    }
    visit_range(pass, ROOTS_DEAD_REGISTERS, thread->vectors, thread->vectors_end);
}
#else
static void visit_registers(const struct pass *pass, const struct stop_thread *thread)
{
    visit_all_registers(pass, thread);
}
#endif

/* Of the library's own thread registers and stack have stale words, of what it has seen of the program's
 * blocks, and nothing else. */
static void visit_thread(const struct pass *pass, const struct stop_thread *thread)
{
    bool is_first = is_first_thread(pass, thread);
    bool is_ours = is_own(thread->id, pass->snapshot->process);
    enum stop_state state = thread->state;
    uintptr_t thread_pointer = thread->thread_pointer, alternate_stack = thread->alternate_stack;

    if (state == STOP_GONE)
        return;
    if (state == STOP_RUNNING && !is_ours) {
        thread_pointer = visit_running(pass, thread, is_first);
    } else if (!is_ours) {
        if (alternate_stack != 0)
            pass->visit(ROOTS_KEPT, (uintptr_t)&alternate_stack, (uintptr_t)(&alternate_stack + 1),
                        pass->ctx);
        visit_registers(pass, thread);
        visit_stack(pass, thread, is_first);
    }
    if (thread_pointer != 0)
        visit_tls(pass, thread_pointer, is_first);
}

static bool is_thread_known(const struct roots_snapshot *snapshot, uintptr_t thread_pointer)
{
    if (snapshot->caller.thread_pointer == thread_pointer)
        return true;
    for (size_t i = 0; i < snapshot->thread_count; i++)
        if (snapshot->threads[i].thread_pointer == thread_pointer)
            return true;
    return false;
}

/* A thread that has ended but was not joined still has its result.  One that is running but was not found may
 * be anywhere on its stack. */
static void visit_other_thread(uintptr_t tcb, void *ctx)
{
    const struct pass *pass = ctx;
    const struct maps *maps = pass->snapshot->maps;
    int32_t id = tcb_id(tcb);

    if ((id > 0 && !pass->is_one_missing) || is_thread_known(pass->snapshot, tcb))
        return;
    if (id > 0) {
        visit_whole_stack(pass, tcb, false);
        visit_tls(pass, tcb, false);
        return;
    }
    visit_dtv(pass, tcb, true);
    if (id == 0 && !tcb_is_detached(maps, tcb))
        visit_range(pass, ROOTS_TLS, tcb, tcb_end(maps, tcb));
}

static bool has_tcb(const struct pass *pass, const struct stop_thread *thread)
{
    return tcb_is_at(pass->snapshot->maps, thread->thread_pointer) &&
           tcb_id(thread->thread_pointer) == thread->id;
}

void roots_each(const struct roots_snapshot *snapshot, roots_visit_fn *visit, roots_bound_fn *bound,
                void *ctx)
{
    struct pass pass = {.snapshot = snapshot, .visit = visit, .bound = bound, .ctx = ctx};
    const struct roots *roots = snapshot->roots;
    size_t used = atomic_load_explicit(&registered.used, memory_order_relaxed);

    for (size_t i = 0; i < roots->module_count; i++)
        visit_range(&pass, ROOTS_GLOBAL, roots->modules[i].start, roots->modules[i].end);
    for (size_t i = 0; i < used; i++) {
        uintptr_t start = atomic_load_explicit(&registered.regions[i].start, memory_order_relaxed);
        uintptr_t end = atomic_load_explicit(&registered.regions[i].end, memory_order_relaxed);

        if (start > 1)
            visit_range(&pass, ROOTS_REGISTERED, start, end);
    }
    visit_thread(&pass, &snapshot->caller);
    for (size_t i = 0; i < snapshot->thread_count; i++) {
        const struct stop_thread *thread = &snapshot->threads[i];

        visit_thread(&pass, thread);
        if (thread->state == STOP_RUNNING && thread->stack_pointer == 0)
            pass.is_one_missing = true;
    }
    if (has_tcb(&pass, &snapshot->caller))
        tcb_each(snapshot->maps, snapshot->caller.thread_pointer, visit_other_thread, &pass);
}
