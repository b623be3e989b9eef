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

/* What a view is not begun without: descriptors, for a module, its debug file, and what dwz took out of that;
 * and address space, enough for most programs, and twice as much each time that it was not enough. */
enum { DESCRIPTORS_NEEDED = 3, BYTES_NEEDED = 32 << 20, SHORTAGES_MAX = 6 };

/* So many views of one module are made: it may be loaded again and again, each time from another file. */
enum { VIEWS_MAX = 100 };

struct view {
    struct backtrace_state *state; /* NULL: there is none */
    uint64_t version, inode;       /* of the file */
    uint32_t unloads;              /* as many as there were when this was the file that is loaded */
    uint8_t made;                  /* for this module, all in all */
    uint8_t shortages;             /* how often something ran short while it was read */
    bool is_incomplete;
};

static struct {
    struct view of[LD_MAX_MODULES + 1];
    uintptr_t base; /* the load bias that all of them go by: the program's own */
} views;

/* --- Files ---------------------------------------------------------------------------------------------- */

struct making {
    const char *path; /* the pointer that libbacktrace is given for the file of the module */
    bool is_open;     /* it was opened */
    bool is_over;     /* all that belongs to it was opened, if it was there */
    bool is_incomplete;
    struct backtrace_state *state;
};

/* Of this thread.  The others' files are of views that are not ours, where the program has libbacktrace in
 * common with this library. */
static THREAD_LOCAL struct making *making_now;

static int is_named(struct dl_phdr_info *info, size_t size, void *name)
{
    (void)size;
    return info->dlpi_name == name;
}

/* After the wanted file, and the debug files that belong to it, libbacktrace goes through all that is loaded,
 * and would read that, too; and in the place of a file that is gone by now, the program.  The path of a
 * module it has from the loader, those of debug files it has put together. */
static bool is_wanted(struct making *making, const char *path)
{
    if (path == making->path)
        return true;
    making->is_over =
        making->is_over || !making->is_open || dl_iterate_phdr(is_named, (void *)(uintptr_t)path) != 0;
    return !making->is_over;
}

int backtrace_open(const char *path, backtrace_error_callback on_error, void *data, int *does_not_exist)
{
    struct making *making = making_now;
    int fd = making == NULL || is_wanted(making, path) ? elf_file_open(path) : -ENOENT;
    bool is_missing = fd == -ENOENT || fd == -EACCES;

    if (fd >= 0 && !elf_file_is_whole(fd)) {
        elf_file_close(fd);
        fd = -ENOEXEC;
        is_missing = true;
    }
    if (making != NULL && fd >= 0)
        making->is_open = true;
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

static bool ran_short(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM;
}

static void note_error(void *data, const char *message, int error)
{
    struct making *making = data;

    (void)message;
    making->is_incomplete = making->is_incomplete || ran_short(error);
}

static void ignore_symbol(void *data, uintptr_t pc, const char *name, uintptr_t value, uintptr_t size)
{
    (void)data;
    (void)pc;
    (void)name;
    (void)value;
    (void)size;
}

/* Called once, for the program, which comes first.  The file that is said to be the program's libbacktrace
 * takes to be mapped where the program is, and it knows the program by its empty name, in C libraries that
 * give it one.  It reads nothing before it is asked for something. */
static int read_module(struct dl_phdr_info *info, size_t size, void *ctx)
{
    struct making *making = ctx;

    (void)size;
    if (info->dlpi_name[0] != 0)
        return 1;
    views.base = info->dlpi_addr;
    making->state = backtrace_create_state(making->path, 0, note_error, making);
    if (making->state != NULL)
        backtrace_syminfo(making->state, 0, ignore_symbol, note_error, making);
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

static bool memory_is_left(const struct view *view)
{
    size_t needed = (size_t)BYTES_NEEDED << view->shortages;
    void *memory = kernel_map(needed);

    if (memory == NULL)
        return false;
    kernel_unmap(memory, needed);
    return true;
}

/* What libbacktrace could not open or map it never tries again, so it is not called when it is bound to fail,
 * and what it made when something ran short nevertheless is not used. */
static struct backtrace_state *make_view(struct view *view, const struct module *module, int fd,
                                         bool *is_partial)
{
    const char *program = module->is_program ? platform_program_file() : NULL;
    struct making making = {.path = program != NULL ? program : module->name};

    if (view->shortages == SHORTAGES_MAX || view->made == VIEWS_MAX || !elf_file_is_whole(fd))
        return NULL;
    *is_partial = !descriptors_are_left(fd) || !memory_is_left(view);
    if (*is_partial)
        return NULL;
    view->made++;
    making_now = &making;
    loader_ask(read_module, &making);
    making_now = NULL;
    *is_partial = making.is_incomplete;
    view->shortages = (uint8_t)(view->shortages + making.is_incomplete);
    return making.is_incomplete ? NULL : making.state;
}

/* Of another module that was loaded from the same file, by the same name, since that leads to debug files; or
 * NULL. */
static const struct view *find_twin(const struct module *module, const struct elf_file_identity *file)
{
    for (size_t id = 1; id <= LD_MAX_MODULES; id++) {
        const struct view *view = &views.of[id];
        const struct module *other = view->state == NULL ? NULL : module_get((module_id)id);

        if (other != NULL && other != module && !view->is_incomplete &&
            elf_build_ids_are_equal(&other->build_id, &module->build_id) &&
            (module->build_id.size != 0 || (view->version == file->version && view->inode == file->inode)) &&
            strcmp(other->name, module->name) == 0)
            return view;
    }
    return NULL;
}

bool views_make(const struct place *place, int fd, bool *is_partial)
{
    const struct module *module = module_get(place->id);
    struct view *view = &views.of[place->id];
    struct elf_file_identity file;

    if (!elf_file_identify(fd, &file))
        return false;
    /* Another file with its build id is the same to libbacktrace. */
    if (module->build_id.size == 0 && (view->version != file.version || view->inode != file.inode))
        view->state = NULL;
    if (view->state == NULL || view->is_incomplete) {
        const struct view *twin = find_twin(module, &file);
        struct backtrace_state *state = twin != NULL ? twin->state : make_view(view, module, fd, is_partial);

        if (state != NULL) {
            view->state = state;
            view->is_incomplete = false;
        }
        view->version = file.version;
        view->inode = file.inode;
    }
    view->unloads = (uint32_t)place->unloads;
    return view->state != NULL;
}

/* One that lacks something is made again when there may be enough for it. */
bool views_know(const struct place *place)
{
    struct view *view = &views.of[place->id];

    if (!place->is_loaded || view->state == NULL)
        return false;
    if (view->is_incomplete && view->shortages < SHORTAGES_MAX && memory_is_left(view))
        return false;
    return module_get(place->id)->build_id.size != 0 || view->unloads == (uint32_t)place->unloads;
}

bool views_keep(const struct place *place, const struct maps_file *mapped)
{
    struct view *view = &views.of[place->id];

    if (view->state == NULL || !place->is_loaded)
        return false;
    if (mapped->inode == view->inode)
        view->unloads = (uint32_t)place->unloads;
    else if (mapped->inode != 0)
        view->state = NULL;
    return view->state != NULL;
}

void views_forget(void)
{
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
struct asking {
    struct ld_symbol *out;
    int wanted;
    int seen;
    bool is_short;
};

static int on_line(void *data, uintptr_t pc, const char *file, int line, const char *function)
{
    struct asking *asking = data;

    (void)pc;
    if (file == NULL && function == NULL)
        return 0;
    if (asking->wanted == THE_CODE || asking->wanted == asking->seen) {
        asking->out->file = file;
        asking->out->line = line > 0 ? (unsigned)line : 0;
        asking->out->function = function;
    }
    asking->seen++;
    return 0;
}

/* Debug information has the bare name of a C++ function that is local to its file, and the symbol table all
 * of it. */
static void on_symbol(void *data, uintptr_t pc, const char *name, uintptr_t value, uintptr_t size)
{
    struct ld_symbol *out = ((struct asking *)data)->out;

    (void)pc;
    (void)value;
    (void)size;
    if (name != NULL && (out->function == NULL || demangle_is_mangled(name)))
        out->function = name;
}

/* Lines are read when one of them is asked for, and never again if that has failed. */
static void note_shortage(void *data, const char *message, int error)
{
    struct asking *asking = data;

    (void)message;
    asking->is_short = asking->is_short || ran_short(error);
}

static void note_incomplete(const struct backtrace_state *state)
{
    for (size_t id = 1; id <= LD_MAX_MODULES; id++)
        if (views.of[id].state == state && views.of[id].shortages < SHORTAGES_MAX) {
            views.of[id].is_incomplete = true;
            views.of[id].shortages++;
        }
}

void views_ask(const struct place *place, int level, struct ld_symbol *out)
{
    struct view *view = &views.of[place->id];
    uintptr_t address = place->address - module_get(place->id)->base + views.base;
    struct asking asking = {.out = out, .wanted = level};

    backtrace_pcinfo(view->state, address, on_line, note_shortage, &asking);
    if (level == THE_CODE) {
        if (!demangle_is_mangled(out->function))
            backtrace_syminfo(view->state, address, on_symbol, note_shortage, &asking);
    } else if (asking.seen <= level + 1) { /* it was the last */
        out->function = out->file = NULL;
        out->line = 0;
    }
    if (asking.is_short)
        note_incomplete(view->state);
    out->is_partial = view->is_incomplete && view->shortages < SHORTAGES_MAX && out->file == NULL;
}
