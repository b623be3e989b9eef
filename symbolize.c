/* SPDX-License-Identifier: MIT
 *
 * From a frame to its function, file, line and module.  Three steps, all on the cold path and under one lock:
 *
 *     locate    which module is it in, is that module still loaded, and which address is the call's?
 *     look up   ask libbacktrace, or where it cannot know, the symbol tables in the module's file
 *     demangle  after the lock was released, since that calls the program's malloc
 *
 * Whatever fails makes the answer shorter, down to the module and the offset in it, and is tried again next
 * time.
 *
 * Lock order: ours, then the loader's.  No code of the program runs under ours.
 */
#define _GNU_SOURCE 1
#include "leakdetect.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "elf_file.h"
#include "module.h"
#include "platform.h"
#include "symbolize.h"
#include "thread.h"

/* --- libbacktrace -------------------------------------------------------------------------------------- */

/* The part of its interface that is used here, word for word.  gcc has the header where other compilers do
 * not look, among headers that are not for them, and has not changed it since it was written. */
struct backtrace_state;
typedef void (*backtrace_error_callback)(void *data, const char *message, int error);
typedef int (*backtrace_full_callback)(void *data, uintptr_t pc, const char *file, int line,
                                       const char *function);
typedef void (*backtrace_syminfo_callback)(void *data, uintptr_t pc, const char *name, uintptr_t value,
                                           uintptr_t size);

extern struct backtrace_state *backtrace_create_state(const char *program, int is_threaded,
                                                      backtrace_error_callback on_error, void *data);
extern int backtrace_pcinfo(struct backtrace_state *state, uintptr_t pc, backtrace_full_callback visit,
                            backtrace_error_callback on_error, void *data);
extern int backtrace_syminfo(struct backtrace_state *state, uintptr_t address,
                             backtrace_syminfo_callback visit, backtrace_error_callback on_error, void *data);

/* What it knows: all modules that were loaded when it was first asked, and it never looks again.
 * For a library that was loaded later there is a new view, of all that is loaded by then.  For one that was
 * not in any view when it was unloaded there is one in which it stands in the place of the program (see
 * scan).
 *
 * A view can never be given back.  For a program of 20 libraries without debug information it costs 12 ms and
 * 3 MiB; one library with much of it, such as the C library's, adds 80 ms and 20 MiB.  When there are
 * VIEWS_MAX, modules in none of them have functions without file and line. */
enum { VIEWS_MAX = 8 };

struct view {
    struct backtrace_state *state;
    uintptr_t shift; /* to be added to an address before libbacktrace is asked for it */
};

/* What a view is not begun without: descriptors, for a module, its debug file, and what dwz took out of that;
 * and address space, enough for most programs. */
enum { DESCRIPTORS_NEEDED = 3, BYTES_NEEDED = 32 << 20 };

static struct {
    pthread_mutex_t lock;
    /* All below is under the lock.  Views are numbered from 1; 0 is none. */
    struct view views[VIEWS_MAX + 1];
    uint8_t view_count;                  /* made ever, complete or not */
    uint8_t newest;                      /* of the views of what was loaded */
    unsigned long long newest_loads;     /* how many modules had ever been loaded when it was made */
    uint8_t view_of[LD_MAX_MODULES + 1]; /* which one knows the module */

    /* Atomic: whoever has the lock asks the loader, and may be waiting for the loader's. */
    atomic_bool is_at_loader;
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* This thread has the lock: a signal handler that forks must not wait for it. */
static THREAD_LOCAL bool has_lock;

/* The fork that this thread is in has it. */
static THREAD_LOCAL bool fork_has_lock;

/* What a fork waits for the lock while whoever has it reads large files: some seconds. */
enum { FORK_WORK_YIELDS = 3000000 };

typedef ElfW(Phdr) elf_segment;
typedef int module_visitor(struct dl_phdr_info *info, size_t size, void *ctx);

static void stop_waiting(void)
{
    atomic_store_explicit(&shared.is_at_loader, false, memory_order_relaxed);
}

/* dl_iterate_phdr; `visit` is to say by stop_waiting that the loader's lock has been had. */
static void ask_loader(module_visitor *visit, void *ctx)
{
    atomic_store_explicit(&shared.is_at_loader, true, memory_order_relaxed);
    dl_iterate_phdr(visit, ctx);
    stop_waiting();
}

/* --- Locating a frame --------------------------------------------------------------------------------- */

enum { THE_CODE = -1 };

struct place {
    uintptr_t frame;
    uintptr_t inner; /* the frame that it called, 0: not known */
    module_id id;    /* 0 before locate: whichever module is there */
    int level;       /* of the inlined function that is wanted, from 0; THE_CODE: the one that has the code */

    uintptr_t address; /* in the call, or what a signal interrupted */
    bool is_loaded;    /* the module is there now */
    bool is_in_view;   /* libbacktrace would find it there: its path does not depend on the current folder */
    bool is_code;
    bool is_trampoline; /* the frame is the kernel's way back from a signal handler */

    bool inner_is_trampoline, has_seen_inner, has_seen_frame;
    unsigned long long loads; /* of modules, ever, at this time */
};

/* The code to which a signal handler returns; what called it is the instruction that was interrupted, and no
 * call. */
#if defined(__x86_64__)
#define KNOWS_TRAMPOLINE 1
static const unsigned char trampoline[] = {0x48, 0xc7, 0xc0, 15, 0, 0, 0, /* mov $SYS_rt_sigreturn, %rax */
                                           0x0f, 0x05 /* syscall */};
#elif defined(__aarch64__)
#define KNOWS_TRAMPOLINE 1
static const unsigned char trampoline[] = {0x68, 0x11, 0x80, 0xd2, /* mov x8, #SYS_rt_sigreturn */
                                           0x01, 0x00, 0x00, 0xd4 /* svc #0 */};
#else
#define KNOWS_TRAMPOLINE 0 /* what a signal interrupts is looked up one byte too early */
static const unsigned char trampoline[1];
#endif

static const elf_segment *find_segment(const struct dl_phdr_info *info, uintptr_t address)
{
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const elf_segment *segment = &info->dlpi_phdr[i];

        if (segment->p_type == PT_LOAD && address - info->dlpi_addr - segment->p_vaddr < segment->p_memsz)
            return segment;
    }
    return NULL;
}

static bool is_trampoline(const struct dl_phdr_info *info, const elf_segment *segment, uintptr_t address)
{
    uintptr_t offset = address - info->dlpi_addr - segment->p_vaddr;

    return KNOWS_TRAMPOLINE && (segment->p_flags & (PF_R | PF_X)) == (PF_R | PF_X) &&
           segment->p_filesz >= sizeof(trampoline) && offset <= segment->p_filesz - sizeof(trampoline) &&
           memcmp((const void *)address, trampoline, sizeof(trampoline)) == 0;
}

static void look_at_inner(struct place *place, const struct dl_phdr_info *info)
{
    const elf_segment *segment = find_segment(info, place->inner);

    if (segment == NULL)
        return;
    place->has_seen_inner = true;
    place->inner_is_trampoline = is_trampoline(info, segment, place->inner);
}

static bool loader_has_path(const struct dl_phdr_info *info, const struct module *module)
{
    return module->is_program || strcmp(info->dlpi_name, module->name) == 0;
}

static void look_at_frame(struct place *place, const struct dl_phdr_info *info)
{
    const elf_segment *segment = find_segment(info, place->frame - 1);
    const void *home;

    if (segment == NULL)
        segment = find_segment(info, place->frame);
    if (segment == NULL)
        return;
    /* One address for all of the segment, for the sake of module_at's cache. */
    home = (const void *)(info->dlpi_addr + segment->p_vaddr);
    place->has_seen_frame = true;
    place->loads = info->dlpi_adds;
    if (place->id == 0)
        place->id = module_at(home);
    place->is_loaded = place->id != 0 && module_is_current(place->id, home);
    place->is_in_view = place->is_loaded && loader_has_path(info, module_get(place->id));
    place->is_code = (segment->p_flags & PF_X) != 0;
    place->is_trampoline = place->is_loaded && is_trampoline(info, segment, place->frame);
}

/* With the loader's lock held, so that no module goes away while it is read. */
static int visit_module(struct dl_phdr_info *info, size_t size, void *ctx)
{
    struct place *place = ctx;

    (void)size;
    stop_waiting();
    if (!place->has_seen_inner)
        look_at_inner(place, info);
    if (!place->has_seen_frame)
        look_at_frame(place, info);
    return place->has_seen_inner && place->has_seen_frame;
}

/* True if the module is known. */
static bool locate(struct place *place)
{
    place->has_seen_inner = place->inner == 0;
    ask_loader(visit_module, place);
    /* A call that never returns may be the last instruction of its function, line or module: what is looked
     * up is the call, and not what follows it. */
    place->address = place->frame - !(place->is_trampoline || place->inner_is_trampoline);
    if (place->id == 0)
        place->id = module_last_at((const void *)place->address);
    if (!place->is_loaded)
        place->is_code = true; /* for want of knowledge */
    return module_get(place->id) != NULL;
}

/* --- Views -------------------------------------------------------------------------------------------- */

struct scan {
    module_id id; /* the module for whose sake it is made */
    bool is_in_view;
    bool is_incomplete;
    struct view view;
    unsigned long long loads;
};

static void note_error(void *data, const char *message, int error)
{
    struct scan *scan = data;

    (void)message;
    if (error == EMFILE || error == ENFILE || error == ENOMEM)
        scan->is_incomplete = true;
}

static void ignore_symbol(void *data, uintptr_t pc, const char *name, uintptr_t value, uintptr_t size)
{
    (void)data;
    (void)pc;
    (void)name;
    (void)value;
    (void)size;
}

/* Called once, for the program, with the loader's lock held, so that what libbacktrace finds is what is
 * loaded now.
 *
 * It can be made to read a file that is not loaded: the one that is said to be the program's, it takes to be
 * mapped where the program is.  The program itself is not in such a view, so the two cannot be confused. */
static int scan_modules(struct dl_phdr_info *info, size_t size, void *ctx)
{
    struct scan *scan = ctx;
    const struct module *module = module_get(scan->id);
    const char *program = platform_program_file();

    (void)size;
    stop_waiting();
    scan->loads = info->dlpi_adds;
    if (!scan->is_in_view) {
        /* By its empty name libbacktrace knows the program, in C libraries that give it one. */
        if (info->dlpi_name[0] != 0)
            return 1;
        program = module->name;
        scan->view.shift = info->dlpi_addr - module->base;
    } else if (!module_is_current(scan->id, (const void *)module->start)) {
        return 1; /* no longer */
    }
    scan->view.state = backtrace_create_state(program, 0, note_error, scan);
    /* It reads nothing before it is asked for something. */
    if (scan->view.state != NULL)
        backtrace_syminfo(scan->view.state, 0, ignore_symbol, note_error, scan);
    return 1;
}

static bool descriptors_are_left(int fd)
{
    int copies[DESCRIPTORS_NEEDED];
    int count = 0;

    while (count < DESCRIPTORS_NEEDED && (copies[count] = fcntl(fd, F_DUPFD_CLOEXEC, 0)) >= 0)
        count++;
    for (int i = 0; i < count; i++)
        elf_file_close(copies[i]);
    return count == DESCRIPTORS_NEEDED;
}

static bool memory_is_left(void)
{
    void *memory = platform_map(BYTES_NEEDED);

    if (memory == NULL)
        return false;
    platform_unmap(memory, BYTES_NEEDED);
    return true;
}

/* fd is any open descriptor.  What libbacktrace could not open or map it never tries again, so it is not
 * called when it is bound to fail, and what it made when something ran short nevertheless is not used. */
static uint8_t make_view(struct scan *scan, int fd)
{
    if (shared.view_count == VIEWS_MAX)
        return 0;
    if (!descriptors_are_left(fd) || !memory_is_left()) {
        scan->is_incomplete = true;
        return 0;
    }
    ask_loader(scan_modules, scan);
    if (scan->view.state == NULL)
        return 0;
    shared.views[++shared.view_count] = scan->view;
    return scan->is_incomplete ? 0 : shared.view_count;
}

static uint8_t find_view(const struct place *place, int fd, bool *is_partial)
{
    struct scan scan = {.id = place->id, .is_in_view = place->is_in_view};
    uint8_t view;

    if (shared.view_of[place->id] != 0)
        return shared.view_of[place->id];
    /* The newest one has all that was there from the start, and if nothing was loaded since, all that is
     * there. */
    if (place->is_in_view && shared.newest != 0 &&
        (!module_get(place->id)->can_unload || shared.newest_loads == place->loads))
        return shared.newest;
    view = make_view(&scan, fd);
    *is_partial = scan.is_incomplete;
    if (view != 0 && place->is_in_view) {
        shared.newest = view;
        shared.newest_loads = scan.loads;
    }
    return view;
}

/* --- Looking up --------------------------------------------------------------------------------------- */

/* Names as they stand in the file.  They last as long as the view, which is for ever: libbacktrace's header
 * does not promise it, but the tables that it keeps are of these pointers, and the next answer is taken from
 * them.
 *
 * Inlined functions come first, innermost first, and the one that has the code comes last. */
struct lines {
    struct ld_symbol *out;
    int wanted; /* place.level */
    int seen;
};

static int on_line(void *data, uintptr_t pc, const char *file, int line, const char *function)
{
    struct lines *lines = data;

    (void)pc;
    if (file == NULL && function == NULL)
        return 0;
    if (lines->wanted == THE_CODE || lines->wanted == lines->seen) {
        lines->out->file = file;
        lines->out->line = line > 0 ? (unsigned)line : 0;
        lines->out->function = function;
    }
    lines->seen++;
    return 0;
}

static bool is_mangled(const char *name)
{
    return name != NULL && strncmp(name, "_Z", 2) == 0;
}

/* Debug information has the bare name of a C++ function that is local to its file, and the symbol table all
 * of it. */
static void on_symbol(void *data, uintptr_t pc, const char *name, uintptr_t value, uintptr_t size)
{
    struct ld_symbol *out = data;

    (void)pc;
    (void)value;
    (void)size;
    if (name != NULL && (out->function == NULL || is_mangled(name)))
        out->function = name;
}

static void ignore_error(void *data, const char *message, int error)
{
    (void)data;
    (void)message;
    (void)error;
}

static void ask_view(uint8_t number, const struct place *place, struct ld_symbol *out)
{
    const struct view *view = &shared.views[number];
    uintptr_t address = place->address + view->shift;
    struct lines lines = {.out = out, .wanted = place->level};

    backtrace_pcinfo(view->state, address, on_line, ignore_error, &lines);
    if (place->level == THE_CODE) {
        if (!is_mangled(out->function))
            backtrace_syminfo(view->state, address, on_symbol, ignore_error, out);
    } else if (lines.seen <= place->level + 1) { /* it was the last */
        out->function = out->file = NULL;
        out->line = 0;
    }
}

/* The module's file, if it is what was loaded, or a negative errno value.  Without a build id that is taken
 * for granted while the module is loaded, and not afterwards. */
static int open_same_file(const struct module *module, bool is_loaded)
{
    int fd = elf_file_open(module->is_program ? platform_program_file() : module->name);
    struct elf_build_id build_id;

    if (fd < 0 || (is_loaded && module->build_id.size == 0))
        return fd;
    if (module->build_id.size != 0 && elf_file_build_id(fd, &build_id) &&
        elf_build_ids_are_equal(&build_id, &module->build_id))
        return fd;
    elf_file_close(fd);
    return -ENOENT;
}

static void look_up(const struct place *place, struct ld_symbol *out)
{
    const struct module *module = module_get(place->id);
    uint8_t view = shared.view_of[place->id];
    int fd;

    if (view != 0 && place->is_loaded) {
        ask_view(view, place, out);
        return;
    }
    /* Of an unloaded module this is done each time: its file may change, and libbacktrace has parts of it
     * mapped. */
    fd = open_same_file(module, place->is_loaded);
    if (fd < 0) {
        out->is_partial = fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM;
        return;
    }
    view = find_view(place, fd, &out->is_partial);
    shared.view_of[place->id] = view;
    if (view != 0)
        ask_view(view, place, out);
    else if (place->level == THE_CODE &&
             elf_file_function(fd, place->address - module->base, out->text, sizeof(out->text)))
        out->function = out->text;
    elf_file_close(fd);
}

/* --- Demangling --------------------------------------------------------------------------------------- */

/* The C++ run-time library's, if the program has one. */
extern char *__cxa_demangle(const char *mangled, char *buffer, size_t *size, int *status)
    __attribute__((weak));

static void copy_cut(char *out, size_t size, const char *text)
{
    size_t length = strnlen(text, size - 1);

    memcpy(out, text, length);
    out[length] = 0;
}

static void demangle(struct ld_symbol *out)
{
    sigset_t all, saved;
    char *demangled;
    int status;

    /* The demangler takes stack in proportion to the name, and recurses. */
    if (__cxa_demangle == NULL || !is_mangled(out->function) ||
        strnlen(out->function, LD_SYMBOL_TEXT) == LD_SYMBOL_TEXT)
        return;
    /* It allocates.  What it does not free, this does, so that is neither to be recorded nor to be counted as
     * missing; signals wait, as what their handlers allocate is. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &saved);
    thread_disable();
    demangled = __cxa_demangle(out->function, NULL, NULL, &status);
    if (demangled != NULL) {
        copy_cut(out->text, sizeof(out->text), demangled);
        out->function = out->text;
        free(demangled);
    }
    thread_enable();
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
}

/* --- Entry points ------------------------------------------------------------------------------------- */

/* False if what is under the lock cannot be used: a fork has not got it, which a handler of fork is not to
 * wait for either. */
static bool lock(void)
{
    if (thread_is_forking())
        return fork_has_lock;
    pthread_mutex_lock(&shared.lock);
    has_lock = true;
    atomic_signal_fence(memory_order_seq_cst);
    return true;
}

static void unlock(void)
{
    if (thread_is_forking())
        return;
    atomic_signal_fence(memory_order_seq_cst);
    has_lock = false;
    pthread_mutex_unlock(&shared.lock);
}

static bool name_place(struct place *place, bool may_look_up, struct ld_symbol *out)
{
    const struct module *module;

    if (!locate(place))
        return false;
    module = module_get(place->id);
    out->module = module->name;
    elf_build_id_text(&module->build_id, out->build_id, sizeof(out->build_id));
    out->offset = place->address - module->base;
    if (place->is_trampoline && place->level == THE_CODE)
        out->function = "<signal handler called>";
    else if (place->is_code && !place->is_trampoline && may_look_up)
        look_up(place, out);
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

static bool symbolize(struct place *place, struct ld_symbol *out)
{
    int saved = errno, cancel_state;
    bool is_known;

    /* libbacktrace opens files, which is where a thread is cancelled, and would take the lock with it. */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    thread_foreign_enter();
    is_known = name_place(place, lock(), out);
    unlock();
    thread_foreign_leave();
    demangle(out);
    pthread_setcancelstate(cancel_state, NULL);
    errno = saved;
    return is_known;
}

ENTRY_POINT bool ld_symbolize(const void *frame, struct ld_symbol *out)
{
    struct place place = {.frame = (uintptr_t)frame, .level = THE_CODE};

    clear(out);
    return frame != NULL && symbolize(&place, out);
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
        .level = level,
    };
    return symbolize(&place, out);
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

void symbolize_before_fork(void)
{
    struct platform_wait in_vain = {0};

    /* Bounded: this thread may have the loader's lock, for which the other one waits.  But one that works
     * with that lock held is waited for, because the loader would not be of use in the child. */
    for (int i = 0; i < FORK_WORK_YIELDS && !has_lock; i++) {
        if (pthread_mutex_trylock(&shared.lock) == 0) {
            fork_has_lock = true;
            return;
        }
        if (!atomic_load_explicit(&shared.is_at_loader, memory_order_relaxed))
            in_vain = (struct platform_wait){0};
        if (!platform_wait(&in_vain))
            return;
    }
}

/* A thread that the child does not have was in the midst of it.  Of its views nothing is known, so they are
 * left as they are, for those who have names from them, and the child begins with none. */
static void start_anew(void)
{
    pthread_mutex_init(&shared.lock, NULL);
    stop_waiting();
    shared.view_count = shared.newest = 0;
    shared.newest_loads = 0;
    memset(shared.view_of, 0, sizeof(shared.view_of));
}

void symbolize_after_fork(bool in_child)
{
    if (fork_has_lock) {
        fork_has_lock = false;
        pthread_mutex_unlock(&shared.lock);
    } else if (in_child && !has_lock) {
        start_anew();
    }
}

size_t symbolize_own_bytes(void)
{
    return sizeof(shared);
}
