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
 * and address space, enough for most programs. */
enum { DESCRIPTORS_NEEDED = 3, BYTES_NEEDED = 32 << 20 };

/* Views that came out incomplete and are not used, though they stay: after these many there are no more. */
enum { SPOILT_MAX = 8 };

static struct {
    struct backtrace_state *of[LD_MAX_MODULES + 1];
    uintptr_t base; /* the load bias that all of them go by: the program's own */
    unsigned spoilt;
} views;

bool views_know(module_id id)
{
    return views.of[id] != NULL;
}

/* --- Files ---------------------------------------------------------------------------------------------- */

/* The file of the module that a view is made of. */
static struct {
    const char *path; /* the pointer that libbacktrace was given */
    bool is_open;
} wanted;

static int is_named(struct dl_phdr_info *info, size_t size, void *name)
{
    (void)size;
    return info->dlpi_name == name;
}

/* libbacktrace goes through all that is loaded, and would read that, too; and in the place of a file that is
 * gone by now, the program.  The path of a module it has from the loader, those of debug files it has put
 * together. */
static bool is_unwanted(const char *path)
{
    return path != wanted.path &&
           (!wanted.is_open || dl_iterate_phdr(is_named, (void *)(uintptr_t)path) != 0);
}

int backtrace_open(const char *path, backtrace_error_callback on_error, void *data, int *does_not_exist)
{
    int fd = is_unwanted(path) ? -ENOENT : elf_file_open(path);
    bool is_missing = fd == -ENOENT || fd == -EACCES;

    if (fd >= 0 && !elf_file_is_whole(fd)) {
        elf_file_close(fd);
        fd = -ENOEXEC;
        is_missing = true;
    }
    wanted.is_open = wanted.is_open || fd >= 0;
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

struct making {
    struct backtrace_state *state;
    bool is_incomplete;
};

static void note_error(void *data, const char *message, int error)
{
    struct making *making = data;

    (void)message;
    if (error == EMFILE || error == ENFILE || error == ENOMEM)
        making->is_incomplete = true;
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
    making->state = backtrace_create_state(wanted.path, 0, note_error, making);
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

static bool memory_is_left(void)
{
    void *memory = kernel_map(BYTES_NEEDED);

    if (memory == NULL)
        return false;
    kernel_unmap(memory, BYTES_NEEDED);
    return true;
}

/* The module that was loaded from the same file and has a view; 0: none. */
static module_id find_twin(const struct module *module)
{
    for (size_t id = 1; id <= LD_MAX_MODULES && module->build_id.size != 0; id++) {
        const struct module *other = views.of[id] == NULL ? NULL : module_get((module_id)id);

        if (other != NULL && elf_build_ids_are_equal(&other->build_id, &module->build_id) &&
            strcmp(other->name, module->name) == 0)
            return (module_id)id;
    }
    return 0;
}

/* What libbacktrace could not open or map it never tries again, so it is not called when it is bound to fail,
 * and what it made when something ran short nevertheless is not used. */
static struct backtrace_state *make_view(const struct module *module, int fd, bool *is_partial)
{
    const char *program = module->is_program ? platform_program_file() : NULL;
    struct making making = {.state = NULL};

    *is_partial = views.spoilt == SPOILT_MAX || !descriptors_are_left(fd) || !memory_is_left();
    if (*is_partial)
        return NULL;
    wanted.path = program != NULL ? program : module->name;
    wanted.is_open = false;
    loader_ask(read_module, &making);
    views.spoilt += making.is_incomplete;
    *is_partial = making.is_incomplete;
    return making.is_incomplete ? NULL : making.state;
}

bool views_make(module_id id, int fd, bool *is_partial)
{
    const struct module *module = module_get(id);
    module_id twin = find_twin(module);

    views.of[id] = twin != 0 ? views.of[twin] : make_view(module, fd, is_partial);
    return views_know(id);
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

void views_ask(const struct place *place, int level, struct ld_symbol *out)
{
    struct backtrace_state *state = views.of[place->id];
    uintptr_t address = place->address - module_get(place->id)->base + views.base;
    struct lines lines = {.out = out, .wanted = level};

    backtrace_pcinfo(state, address, on_line, ignore_error, &lines);
    if (level == THE_CODE) {
        if (!demangle_is_mangled(out->function))
            backtrace_syminfo(state, address, on_symbol, ignore_error, out);
    } else if (lines.seen <= level + 1) { /* it was the last */
        out->function = out->file = NULL;
        out->line = 0;
    }
}
