/* SPDX-License-Identifier: MIT
 *
 * From a frame to its function, file, line and module.  Three steps, all on the cold path and under one lock:
 *
 *     locate    which module is it in, is that module still loaded, and which address is the call's?
 *     look up   ask libbacktrace (views.h), or where it cannot know, the symbol tables in the module's file
 *     demangle  after the lock was released, since that calls the program's malloc
 *
 * Whatever fails makes the answer shorter, down to the module and the offset in it, and is tried again next
 * time.
 *
 * Lock order: ours, then the loader's.  No code of the program runs under ours.
 */
#define _POSIX_C_SOURCE 200809L
#include "leakdetect.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

#include "bounded_wait.h"
#include "demangle.h"
#include "elf_file.h"
#include "loader.h"
#include "locate.h"
#include "maps.h"
#include "module.h"
#include "platform.h"
#include "symbolize.h"
#include "thread.h"
#include "views.h"

static atomic_bool some_fork_has_lock;

/* Of all that is asked here: the loader, views, files. */
static pthread_mutex_t the_lock = PTHREAD_MUTEX_INITIALIZER;

/* This thread has the lock: a signal handler that forks must not wait for it. */
static THREAD_LOCAL bool has_lock;

/* The fork that this thread is in has it. */
static THREAD_LOCAL bool fork_has_lock;

/* --- Looking up --------------------------------------------------------------------------------------- */

/* Whether the file is the one that is mapped, as far as that can be told: some file systems have other
 * devices in the memory map. */
static bool may_be_mapped(int fd, const struct maps_file *mapped)
{
    struct elf_file_identity file;

    return mapped->inode == 0 || !elf_file_identify(fd, &file) || file.device != mapped->device ||
           file.inode == mapped->inode;
}

/* The module's file, if it is what was loaded, or a negative errno value.  Without a build id it is that
 * while the module is loaded, if it is the one that is mapped. */
static int open_same_file(const struct place *place, const struct maps_file *mapped)
{
    const struct module *module = module_get(place->id);
    const char *program = module->is_program ? platform_program_file() : NULL;
    int fd = elf_file_open(program != NULL ? program : module->name);
    struct elf_build_id build_id;

    if (fd < 0)
        return fd;
    if (module->build_id.size == 0
            ? place->is_loaded && may_be_mapped(fd, mapped)
            : elf_file_build_id(fd, &build_id) && elf_build_ids_are_equal(&build_id, &module->build_id))
        return fd;
    elf_file_close(fd);
    return -ENOENT;
}

static void look_up(const struct place *place, int level, struct ld_symbol *out)
{
    const struct module *module = module_get(place->id);
    struct maps_file mapped = {0};
    int fd;

    if (views_know(place)) {
        views_ask(place, level, out);
        return;
    }
    /* Of an unloaded module this is done each time: its file may change, and libbacktrace has parts of it
     * mapped. */
    if (module->build_id.size == 0 && place->is_loaded)
        mapped = maps_file_at(place->address);
    fd = open_same_file(place, &mapped);
    if (fd < 0) {
        if (views_keep(place, &mapped))
            views_ask(place, level, out);
        else
            out->is_partial = fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM;
        return;
    }
    if (views_make(place, fd, &out->is_partial))
        views_ask(place, level, out);
    else if (level == THE_CODE &&
             elf_file_function(fd, place->address - module->base, out->text, sizeof(out->text)))
        out->function = out->text;
    elf_file_close(fd);
}

/* --- Entry points ------------------------------------------------------------------------------------- */

/* Waits for the lock without end, but for a fork that has it no longer than half a second: it may wait for
 * what this thread has, in a handler of the program's. */
static bool wait_for_lock(void)
{
    struct bounded_wait in_vain = {0};

    while (pthread_mutex_trylock(&the_lock) != 0) {
        if (!atomic_load_explicit(&some_fork_has_lock, memory_order_relaxed))
            bounded_wait_anew(&in_vain);
        if (!bounded_wait(&in_vain))
            return false;
    }
    return true;
}

/* False if what is under the lock cannot be used: a fork has not got it, which a handler of fork is not to
 * wait for either; or has it, and is late. */
static bool lock(void)
{
    if (thread_is_forking())
        return fork_has_lock;
    if (!wait_for_lock())
        return false;
    has_lock = true;
    atomic_signal_fence(memory_order_seq_cst);
    return true;
}

static void unlock(void)
{
    if (thread_is_forking() || !has_lock)
        return;
    atomic_signal_fence(memory_order_seq_cst);
    has_lock = false;
    pthread_mutex_unlock(&the_lock);
}

static bool name_place(struct place *place, int level, bool may_look_up, struct ld_symbol *out)
{
    const struct module *module;

    if (!locate_frame(place))
        return false;
    module = module_get(place->id);
    out->module = module->name;
    elf_build_id_text(&module->build_id, out->build_id, sizeof(out->build_id));
    out->offset = place->address - module->base;
    if (place->is_trampoline && level == THE_CODE)
        out->function = LD_SIGNAL_FRAME;
    else if (place->is_code && !place->is_trampoline && may_look_up)
        look_up(place, level, out);
    else
        out->is_partial = !may_look_up;
    return true;
}

static void clear(struct ld_symbol *out)
{
    out->function = out->file = out->module = NULL;
    out->line = 0;
    out->offset = 0;
    out->text[0] = out->build_id[0] = 0;
    out->is_partial = false;
}

static bool symbolize(struct place *place, int level, struct ld_symbol *out)
{
    int saved = errno, cancel_state;
    sigset_t all, blocked;
    bool is_known;

    /* libbacktrace opens files, which is where a thread is cancelled, and would take the lock with it; and
     * what a handler allocated meanwhile would be taken for the library's. */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &blocked);
    thread_foreign_enter();
    is_known = name_place(place, level, lock(), out);
    unlock();
    thread_foreign_leave();
    demangle_symbol(out);
    pthread_sigmask(SIG_SETMASK, &blocked, NULL);
    pthread_setcancelstate(cancel_state, NULL);
    errno = saved;
    return is_known;
}

ENTRY_POINT bool ld_symbolize(const void *frame, struct ld_symbol *out)
{
    struct place place = {.frame = (uintptr_t)frame};

    clear(out);
    return frame != NULL && symbolize(&place, THE_CODE, out);
}

static bool symbolize_level(const struct ld_leak *leak, size_t index, int level, struct ld_symbol *out)
{
    struct place place;

    clear(out);
    /* What was in no module when it was recorded has no name, whatever is there now. */
    if (index >= leak->frame_count || leak->frames[index] == NULL || leak->modules[index] == 0)
        return false;
    place = (struct place){
        .frame = (uintptr_t)leak->frames[index],
        .inner = index > 0 ? (uintptr_t)leak->frames[index - 1] : 0,
        .id = leak->modules[index],
    };
    return symbolize(&place, level, out);
}

ENTRY_POINT bool ld_symbolize_frame(const struct ld_leak *leak, size_t index, struct ld_symbol *out)
{
    return symbolize_level(leak, index, THE_CODE, out);
}

ENTRY_POINT bool ld_symbolize_inlined(const struct ld_leak *leak, size_t index, unsigned level,
                                      struct ld_symbol *out)
{
    bool is_known = symbolize_level(leak, index, level < INT_MAX ? (int)level : INT_MAX - 1, out);

    return is_known && (out->function != NULL || out->file != NULL);
}

static int print_symbol(const struct ld_symbol *symbol, char *buffer, size_t size)
{
    if (symbol->function != NULL && symbol->file != NULL && symbol->line != 0)
        return snprintf(buffer, size, "%s (%s:%u)", symbol->function, symbol->file, symbol->line);
    if (symbol->function != NULL && symbol->file != NULL)
        return snprintf(buffer, size, "%s (%s)", symbol->function, symbol->file);
    if (symbol->function != NULL)
        return snprintf(buffer, size, "%s (%s+0x%" PRIxPTR ")", symbol->function, symbol->module,
                        symbol->offset);
    return snprintf(buffer, size, "%s+0x%" PRIxPTR, symbol->module, symbol->offset);
}

ENTRY_POINT size_t ld_symbol_name(const void *frame, char *buffer, size_t size)
{
    struct ld_symbol symbol;
    int saved = errno, length;

    /* snprintf refuses to be told of more. */
    if (size > INT_MAX)
        size = INT_MAX;
    if (ld_symbolize(frame, &symbol))
        length = print_symbol(&symbol, buffer, size);
    else
        length = snprintf(buffer, size, "0x%" PRIxPTR, (uintptr_t)frame);
    errno = saved;
    return length > 0 ? (size_t)length : 0;
}

/* --- Fork --------------------------------------------------------------------------------------------- */

/* What a fork waits for the lock while whoever has it reads large files: some seconds, with a pause in most
 * yields. */
enum { FORK_WORK_YIELDS = 30000 };

void symbolize_before_fork(void)
{
    struct bounded_wait in_vain = {0};

    /* Bounded: this thread may have the loader's lock, for which the other one waits.  But one that works
     * with that lock held is waited for, because the loader would not be of use in the child. */
    for (int i = 0; i < FORK_WORK_YIELDS && !has_lock; i++) {
        if (pthread_mutex_trylock(&the_lock) == 0) {
            fork_has_lock = true;
            atomic_store_explicit(&some_fork_has_lock, true, memory_order_relaxed);
            return;
        }
        if (!loader_is_awaited())
            bounded_wait_anew(&in_vain);
        if (!bounded_wait(&in_vain))
            return;
    }
}

/* A thread that the child does not have was in the midst of it.  Of its views nothing is known, so they are
 * left as they are, for those who have names from them, and the child begins with none. */
static void start_anew(void)
{
    pthread_mutex_init(&the_lock, NULL);
    loader_forget();
    views_forget();
}

void symbolize_after_fork(bool in_child)
{
    if (fork_has_lock || in_child)
        atomic_store_explicit(&some_fork_has_lock, false, memory_order_relaxed);
    if (fork_has_lock) {
        fork_has_lock = false;
        pthread_mutex_unlock(&the_lock);
    } else if (in_child && !has_lock) {
        start_anew();
    }
}

size_t symbolize_own_bytes(void)
{
    return views_own_bytes();
}
