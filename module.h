/* SPDX-License-Identifier: MIT
 *
 * Modules: the executable and the shared libraries that code was ever seen in.  A module that is unloaded
 * keeps its number and its name, so that frames in it can still be named; a library that is loaded at the
 * same place later is another module, unless it is the very same file.
 *
 *     module_at(pc) -> id      lock-free and a few ns when pc was seen before; asks the loader otherwise
 *     module_get(id) -> what is known of it
 *
 * The table is fixed (LD_MAX_MODULES) and only grows: an entry that was published never changes.
 */
#ifndef MODULE_H
#define MODULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint16_t module_id; /* 0: no module, or not known */

#define MODULE_BUILD_ID_MAX 20 /* a SHA-1; longer ones are cut */
#define MODULE_NAME_MAX     64 /* stored characters of a path, with the final 0; longer paths lose their front \
                                */

struct module {
    uintptr_t start, end;  /* the addresses it was mapped at */
    uintptr_t base;        /* load bias: address in memory minus address in the file's symbol table */
    uintptr_t build_id_at; /* where its build id lies in memory while it is loaded; 0: it has none */
    uint8_t build_id[MODULE_BUILD_ID_MAX];
    uint8_t build_id_size;
    bool can_unload; /* was not among the modules that the program started with */
    char name[MODULE_NAME_MAX];
};

/* Called once, before anything else here: notes which modules the process can never unload. */
void module_init(void);

/* The module that the code at pc belongs to now.  Never allocates.  Lock-free if pc was asked for before, and
 * for modules that can be unloaded two calls of the loader's own lock-free lookup more.  Not
 * async-signal-safe only where the C library has no lock-free lookup (glibc before 2.35, others). */
module_id module_at(const void *pc);

/* True if module `id` (not 0) is still what is loaded at pc: always, at the cost of one load, for a module
 * that cannot be unloaded. */
bool module_is_current(module_id id, const void *pc);

/* NULL for 0 and for numbers never given out; otherwise valid for ever. */
const struct module *module_get(module_id id);

/* The last module, loaded now or earlier, that covered this address; 0: none. */
module_id module_last_at(const void *pc);

/* The full path of the module, from the loader or from /proc/self/exe, into buffer; false, with the stored
 * name in buffer, if it is no longer loaded.  Cold: may take the loader's lock. */
bool module_path(module_id id, char *buffer, size_t size);

/* Bytes of the static tables. */
size_t module_own_bytes(void);

#endif
