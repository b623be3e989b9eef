/* SPDX-License-Identifier: MIT
 *
 * Views of libbacktrace: see views.h.
 */
#define _GNU_SOURCE 1
#include "views.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>

#include "config.h"
#include "demangle.h"
#include "elf_file.h"
#include "kernel.h"
#include "loader.h"
#include "platform.h"

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

/* In the place of its own, by which it opens all files: it maps what their section headers say is there, and
 * what is beyond the end of a file would kill the process, as a pipe in the place of a file would stop it. */
int backtrace_open(const char *path, backtrace_error_callback on_error, void *data, int *does_not_exist);
int backtrace_close(int fd, backtrace_error_callback on_error, void *data);

struct view {
    struct backtrace_state *state;
    uintptr_t shift; /* to be added to an address before libbacktrace is asked for it */
};

/* What a view is not begun without: descriptors, for a module, its debug file, and what dwz took out of that;
 * and address space, enough for most programs. */
enum { DESCRIPTORS_NEEDED = 3, BYTES_NEEDED = 32 << 20 };

/* They are numbered from 1; 0 is none. */
static struct {
    struct view all[VIEWS_MAX];
    unsigned long long newest_loads; /* how many modules had ever been loaded when the newest was made */
    uint8_t newest;                  /* of the views of what was loaded */
    uint8_t count;                   /* made ever, complete or not */
    uint8_t of[LD_MAX_MODULES + 1];  /* which one knows the module */
} views;

uint8_t views_known(module_id id)
{
    return views.of[id];
}

/* --- Files ---------------------------------------------------------------------------------------------- */

int backtrace_open(const char *path, backtrace_error_callback on_error, void *data, int *does_not_exist)
{
    int fd = elf_file_open(path);
    bool is_missing = fd == -ENOENT || fd == -EACCES;

    if (fd >= 0 && !elf_file_is_whole(fd)) {
        elf_file_close(fd);
        fd = -ENOEXEC;
        is_missing = true;
    }
    if (does_not_exist != NULL)
        *does_not_exist = is_missing;
    if (fd < 0 && (does_not_exist == NULL || !is_missing))
        on_error(data, path, -fd);
    return fd < 0 ? -1 : fd;
}

int backtrace_close(int fd, backtrace_error_callback on_error, void *data)
{
    (void)on_error;
    (void)data;
    elf_file_close(fd);
    return 1;
}

/* --- Making a view -------------------------------------------------------------------------------------- */

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
    if (program == NULL)
        program = module_program();
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
    void *memory = kernel_map(BYTES_NEEDED);

    if (memory == NULL)
        return false;
    kernel_unmap(memory, BYTES_NEEDED);
    return true;
}

/* fd is any open descriptor.  What libbacktrace could not open or map it never tries again, so it is not
 * called when it is bound to fail, and what it made when something ran short nevertheless is not used. */
static uint8_t make_view(struct scan *scan, int fd)
{
    if (views.count == VIEWS_MAX)
        return 0;
    if (!descriptors_are_left(fd) || !memory_is_left()) {
        scan->is_incomplete = true;
        return 0;
    }
    loader_ask(scan_modules, scan);
    if (scan->view.state == NULL)
        return 0;
    views.all[views.count++] = scan->view;
    return scan->is_incomplete ? 0 : views.count;
}

static uint8_t find_view(const struct place *place, int fd, bool *is_partial)
{
    struct scan scan = {.id = place->id, .is_in_view = place->is_in_view};
    uint8_t view;

    if (views.of[place->id] != 0)
        return views.of[place->id];
    /* The newest one has all that was there from the start, and if nothing was loaded since, all that is
     * there. */
    if (place->is_in_view && views.newest != 0 &&
        (!module_get(place->id)->can_unload || views.newest_loads == place->loads))
        return views.newest;
    view = make_view(&scan, fd);
    *is_partial = scan.is_incomplete;
    if (view != 0 && place->is_in_view) {
        views.newest = view;
        views.newest_loads = scan.loads;
    }
    return view;
}

uint8_t views_find(const struct place *place, int fd, bool *is_partial)
{
    return views.of[place->id] = find_view(place, fd, is_partial);
}

void views_forget(void)
{
    views.count = views.newest = 0;
    views.newest_loads = 0;
    memset(views.of, 0, sizeof(views.of));
}

size_t views_own_bytes(void)
{
    return sizeof(views);
}

/* --- Asking it ------------------------------------------------------------------------------------------ */

/* Names as they stand in the file.  They last as long as the view, which is for ever: libbacktrace's header
 * does not promise it, but the tables that it keeps are of these pointers, and the next answer is taken from
 * them.
 *
 * Inlined functions come first, innermost first, and the one that has the code comes last. */
struct lines {
    struct ld_symbol *out;
    int wanted;
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

/* Debug information has the bare name of a C++ function that is local to its file, and the symbol table all
 * of it. */
static void on_symbol(void *data, uintptr_t pc, const char *name, uintptr_t value, uintptr_t size)
{
    struct ld_symbol *out = data;

    (void)pc;
    (void)value;
    (void)size;
    if (name != NULL && (out->function == NULL || demangle_is_mangled(name)))
        out->function = name;
}

static void ignore_error(void *data, const char *message, int error)
{
    (void)data;
    (void)message;
    (void)error;
}

void views_ask(uint8_t number, const struct place *place, int level, struct ld_symbol *out)
{
    const struct view *view = &views.all[number - 1];
    uintptr_t address = place->address + view->shift;
    struct lines lines = {.out = out, .wanted = level};

    backtrace_pcinfo(view->state, address, on_line, ignore_error, &lines);
    if (level == THE_CODE) {
        if (!demangle_is_mangled(out->function))
            backtrace_syminfo(view->state, address, on_symbol, ignore_error, out);
    } else if (lines.seen <= level + 1) { /* it was the last */
        out->function = out->file = NULL;
        out->line = 0;
    }
}
