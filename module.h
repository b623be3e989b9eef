/* SPDX-License-Identifier: MIT
 *
 * Modules: the executable and the shared libraries that code was ever seen in.  A module that is unloaded
 * keeps its number and its name, so that frames in it can still be named; a library that is loaded at the
 * same place later is another module, unless it is the very same file.
 *
 *     module_at(pc)  -> id     a load and a compare if pc was seen before, otherwise the loader is asked
 *     module_get(id) -> what is known of it
 *
 * The table is fixed (LD_MAX_MODULES) and only grows: an entry that was published never changes.
 *
 *     modules[id - 1]          64 bytes: where it was mapped, build id, name
 *     names                    64 bytes for each entry, shared out: a long path may use what short ones left
 *     seen[hash of pc]         pc << 16 | id, 8 bytes, overwritten by whatever has the same hash
 *     claimed                  entries given out << 32 | bytes of names given out; never falls
 *
 * Two threads that meet a module for the first time at the same instant may each give it a number: both are
 * right, and whoever compares modules by number takes them for two.
 *
 * Whether a library is still loaded is a question to the loader each time, unless it is watched: the loader
 * keeps its record of a library (struct link_map) in a block of the program's heap, and frees that block when
 * the library is unloaded, before another can be loaded in its place.  So who is the program's malloc hears
 * of it.
 */
#ifndef MODULE_H
#define MODULE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "elf_file.h"
#include "platform.h"

typedef uint16_t module_id; /* 0: no module, or not known */

struct module {
    uintptr_t start, end; /* the addresses it was mapped at */
    uintptr_t base;       /* load bias: address in memory minus address in the file's symbol table */
    uintptr_t dynamic;    /* where its dynamic section lay; 0: it had none */
    const char *name;     /* its whole path; "..." and the end of it where there was no room for more */
    struct elf_build_id build_id; /* if its first page led to one */
    bool can_unload : 1;          /* was not among the modules that the program started with */
    bool is_program : 1;          /* the executable itself: its file may be platform_program_file() */
    uint16_t
        build_id_offset; /* from start to the build id; 0: it is beyond the first page, or there is none */
};

/* The module that the code at pc belongs to now.  pc must be code that stays loaded during the call, as a
 * frame of the calling thread's stack does, or that the loader's lock keeps.  Never allocates, and is
 * lock-free; not where the C library has no lock-free lookup (glibc before 2.35, others), nor
 * async-signal-safe there. */
module_id module_at(const void *pc);

/* True if module `id` is still what is loaded at pc: always, at the cost of one load, for a module that
 * cannot be unloaded; for 0, if there is still nothing.  For pc the same holds as above. */
bool module_is_current(module_id id, const void *pc);

/* Whether the module may be unloaded before the process ends; false for 0. */
bool module_can_unload(module_id id);

/* From now on modules are watched.  `notice` is called with the address of a block, from any thread and from
 * signal handlers, and sees to it that module_freed is called with it before it is freed; or returns false.
 */
typedef bool module_notice_fn(const void *block);
void module_watch_by(module_notice_fn *notice);
void module_freed(const void *block);

/* True if module `id` is what is loaded at pc, as above, and will be until module_generation is another; for
 * 0, if there is nothing.  Two loads if it is watched already. */
bool module_is_watched(module_id id, const void *pc);

/* Another one each time that a module that was watched has been unloaded; and, if somebody has asked for 0,
 * when the first module has been loaded. */
#define MODULE_NONE_LOADED 1u /* as a bit of a generation */
extern _Atomic uint32_t module_current_generation;
uint32_t module_see_loads(void);
static inline uint32_t module_generation(void)
{
    /* Who runs code of a library that was loaded since has heard of that from whoever loaded it. */
    uint32_t generation = atomic_load_explicit(&module_current_generation, memory_order_relaxed);

    return LIKELY((generation & MODULE_NONE_LOADED) == 0) ? generation : module_see_loads();
}

/* NULL for 0 and for numbers never given out; otherwise valid for ever. */
const struct module *module_get(module_id id);

/* The newest module, loaded now or earlier, that covered this address; 0: none.  Any address will do. */
module_id module_last_at(const void *pc);

/* Bytes of the static tables. */
size_t module_own_bytes(void);

#endif
