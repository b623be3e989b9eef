/* SPDX-License-Identifier: MIT
 *
 * The registry of modules: an append-only table that is filled without locks, and a cache in front of it.
 *
 * What makes a module the same one as before is not its address alone, since another library may have taken
 * its place: the range, the dynamic section's place and the build id must agree, or without a build id the
 * name.
 */
#define _POSIX_C_SOURCE 200809L
#include "module.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "loaded.h"
#include "platform.h"

enum {
    FIRST_PAGE = 4096,
    PATH_SIZE = 1024, /* on the stack of whoever meets a module first */
    ID_BITS = 16,
    NAME_BYTES = 64 * LD_MAX_MODULES,
    NAME_RESERVED = 32, /* bytes that every entry's name can have, however long the others are */
    SEEN_SLOTS = 4 * LD_MAX_MODULES,
};

#define NOT_WATCHED ((uintptr_t)1) /* or not yet */

static const char cut_mark[] = "...";

static struct {
    struct module modules[LD_MAX_MODULES]; /* entry id - 1: written by who claimed it, then only read */
    atomic_bool is_published[LD_MAX_MODULES];
    _Atomic uint64_t seen[SEEN_SLOTS];
    _Atomic uintptr_t
        records[LD_MAX_MODULES]; /* the loader's, of those that are watched; 0; or NOT_WATCHED */
    _Atomic uint64_t claimed;
    _Atomic(module_notice_fn *) notice; /* NULL: nobody watches */
    char names[NAME_BYTES];
} registry;

_Atomic uint32_t module_current_generation;

_Static_assert(sizeof(struct module) == 64 || sizeof(void *) != 8, "config.h says what a module costs");

/* --- Identity ----------------------------------------------------------------------------------------- */

static bool has_build_id_of(const struct loaded *now, const struct module *module)
{
    struct elf_build_id build_id;
    uintptr_t at;

    /* Whatever is mapped there now has a first page. */
    if (module->build_id_offset != 0)
        return memcmp((const void *)(now->start + module->build_id_offset), module->build_id.bytes,
                      module->build_id.size) == 0;
    elf_memory_build_id(now->start, now->end, now->base, &build_id, &at);
    return elf_build_ids_are_equal(&build_id, &module->build_id);
}

/* The table has the path with the directory that the loader's may lack, or without the front that was cut
 * off; of the program, whose name is empty there, that of its file. */
static bool has_name_of(const struct loaded *now, const struct module *module)
{
    const char *ours = module->name, *theirs = now->name;
    size_t our_length, their_length;

    if (strncmp(theirs, "./", 2) == 0)
        theirs += 2;
    their_length = strlen(theirs);
    if (strncmp(ours, cut_mark, sizeof(cut_mark) - 1) == 0) {
        ours += sizeof(cut_mark) - 1;
        our_length = strlen(ours);
        if (our_length <= their_length)
            return strcmp(ours, theirs + their_length - our_length) == 0;
    }
    our_length = strlen(ours);
    return their_length <= our_length && strcmp(ours + our_length - their_length, theirs) == 0 &&
           (their_length == 0 || their_length == our_length || ours[our_length - their_length - 1] == '/');
}

static bool is_same(const struct loaded *now, const struct module *module)
{
    if (now->start != module->start || now->end != module->end || now->dynamic != module->dynamic ||
        now->base != module->base)
        return false;
    if (!module->can_unload)
        return true;
    return has_build_id_of(now, module) && (module->build_id.size != 0 || has_name_of(now, module));
}

/* --- Registering -------------------------------------------------------------------------------------- */

/* The path of the program, or of a library that was loaded by a relative path; cut at its end to fit. */
static const char *absolute_path(const char *name, char *buffer, size_t size)
{
    if (name[0] == 0) {
        name = platform_program_path(buffer, size);
        if (name == NULL)
            return "";
    }
    if (name[0] != '/' && strchr(name, '/') != NULL && getcwd(buffer, size) != NULL) {
        size_t length = strlen(buffer), more;

        if (strncmp(name, "./", 2) == 0)
            name += 2;
        more = strlen(name) + 1;
        if (length + 1 + more <= size) {
            buffer[length] = '/';
            memcpy(buffer + length + 1, name, more);
            return buffer;
        }
    }
    return name;
}

static size_t claimed_entries(uint64_t claimed)
{
    return (size_t)(claimed >> 32);
}

static size_t claimed_names(uint64_t claimed)
{
    return (size_t)(claimed & UINT32_MAX);
}

/* Bytes, with the final 0, that the next entry's name may have. */
static size_t room_for_name(uint64_t claimed)
{
    size_t entries_after = LD_MAX_MODULES - claimed_entries(claimed) - 1;

    return NAME_BYTES - claimed_names(claimed) - entries_after * NAME_RESERVED;
}

static const char *store_name(char *room, size_t size, const char *path)
{
    size_t length = strlen(path), mark = sizeof(cut_mark) - 1;

    if (length < size) {
        memcpy(room, path, length + 1);
    } else {
        memcpy(room, cut_mark, mark);
        memcpy(room + mark, path + length - (size - 1 - mark), size - mark);
    }
    return room;
}

static void describe(struct module *module, const struct loaded *now)
{
    uintptr_t at = 0;

    module->start = now->start;
    module->end = now->end;
    module->base = now->base;
    module->dynamic = now->dynamic;
    module->can_unload = loaded_can_be_unloaded(now);
    module->is_program = now->name[0] == 0;
    if (elf_memory_build_id(now->start, now->end, now->base, &module->build_id, &at) &&
        at - now->start + module->build_id.size <= FIRST_PAGE)
        module->build_id_offset = (uint16_t)(at - now->start);
}

const struct module *module_get(module_id id)
{
    /* Acquire: the entry, written before by publish. */
    if (id - 1u >= LD_MAX_MODULES ||
        !atomic_load_explicit(&registry.is_published[id - 1], memory_order_acquire))
        return NULL;
    return &registry.modules[id - 1];
}

static void publish(module_id id)
{
    /* Release: partner of module_get. */
    atomic_store_explicit(&registry.is_published[id - 1], true, memory_order_release);
}

static module_id find_registered(const struct loaded *now)
{
    size_t count = claimed_entries(atomic_load_explicit(&registry.claimed, memory_order_relaxed));

    for (size_t id = count; id > 0; id--) {
        const struct module *module = module_get((module_id)id);

        if (module != NULL && is_same(now, module))
            return (module_id)id;
    }
    return 0;
}

/* Claims an entry and room for a name by one compare-and-swap, fills them, and publishes the entry.  Nobody
 * ever waits for an entry: a signal handler that interrupts this, or the child of a fork, passes by one that
 * is not published. */
static COLD module_id enroll(const struct loaded *now)
{
    int saved = errno;
    char buffer[PATH_SIZE];
    const char *path = absolute_path(now->name, buffer, sizeof(buffer));
    uint64_t claimed = atomic_load_explicit(&registry.claimed, memory_order_relaxed);
    size_t size, length = strlen(path) + 1;
    struct module *module;
    module_id id;

    errno = saved;
    do {
        /* Somebody else may have been faster. */
        id = find_registered(now);
        if (id != 0 || claimed_entries(claimed) == LD_MAX_MODULES)
            return id;
        size = length < room_for_name(claimed) ? length : room_for_name(claimed);
    } while (!atomic_compare_exchange_weak_explicit(&registry.claimed, &claimed,
                                                    claimed + (UINT64_C(1) << 32) + size,
                                                    memory_order_relaxed, memory_order_relaxed));
    id = (module_id)(claimed_entries(claimed) + 1);
    module = &registry.modules[id - 1];
    describe(module, now);
    module->name = store_name(registry.names + claimed_names(claimed), size, path);
    publish(id);
    return id;
}

/* --- Looking up --------------------------------------------------------------------------------------- */

static _Atomic uint64_t *seen_slot(uintptr_t pc)
{
    uint64_t hash = (uint64_t)pc * UINT64_C(0x9e3779b97f4a7c15) >> 32;

    return &registry.seen[hash * SEEN_SLOTS >> 32];
}

static NOINLINE module_id module_at_slow(const void *pc)
{
    uintptr_t address = (uintptr_t)pc;
    struct loaded now;
    module_id id;

    if (!loaded_find(pc, &now))
        return 0;
    id = find_registered(&now);
    if (UNLIKELY(id == 0))
        id = enroll(&now);
    /* Neither what has no module, which may change, nor an address of which the cache could not hold every
     * bit. */
    if (id != 0 && (uint64_t)address >> (64 - ID_BITS) == 0)
        atomic_store_explicit(seen_slot(address), (uint64_t)address << ID_BITS | id, memory_order_relaxed);
    return id;
}

/* Budget, for a pc that was seen before: one line of the cache and one of the table, no lock, no system
 * call. */
module_id module_at(const void *pc)
{
    uint64_t seen = atomic_load_explicit(seen_slot((uintptr_t)pc), memory_order_relaxed);
    module_id id = (module_id)seen;

    if (LIKELY(seen >> ID_BITS == (uintptr_t)pc && id != 0 && module_is_current(id, pc)))
        return id;
    return module_at_slow(pc);
}

bool module_is_current(module_id id, const void *pc)
{
    const struct module *module = module_get(id);
    struct loaded now;

    if (UNLIKELY(module == NULL))
        return id == 0 && !loaded_find(pc, &now);
    return LIKELY(!module->can_unload) || (loaded_find(pc, &now) && is_same(&now, module));
}

/* --- Watching ----------------------------------------------------------------------------------------- */

void module_watch_by(module_notice_fn *by)
{
    atomic_store_explicit(&registry.notice, by, memory_order_relaxed);
}

/* Of several threads that come here at the same time one sees to it, and a module that was refused once is
 * not tried again. */
static NOINLINE bool begin_to_watch(module_id id, const void *pc)
{
    module_notice_fn *by = atomic_load_explicit(&registry.notice, memory_order_relaxed);
    const struct module *module = module_get(id);
    uintptr_t none = 0;
    struct loaded now;

    if (by == NULL || module == NULL || !loaded_find(pc, &now) || !is_same(&now, module) || now.map == NULL ||
        !atomic_compare_exchange_strong_explicit(&registry.records[id - 1], &none, NOT_WATCHED,
                                                 memory_order_relaxed, memory_order_relaxed) ||
        !by(now.map))
        return false;
    atomic_store_explicit(&registry.records[id - 1], (uintptr_t)now.map, memory_order_relaxed);
    return true;
}

/* Where there is no module one may come, which is heard of once. */
static NOINLINE bool begin_to_see_loads(const void *pc)
{
    struct loaded now;

    if (!loaded_is_as_started() || loaded_find(pc, &now))
        return false;
    atomic_fetch_or_explicit(&module_current_generation, MODULE_NONE_LOADED, memory_order_relaxed);
    return true;
}

uint32_t module_see_loads(void)
{
    uint32_t generation = atomic_load_explicit(&module_current_generation, memory_order_relaxed);

    if (loaded_is_as_started() || (generation & MODULE_NONE_LOADED) == 0)
        return generation;
    atomic_compare_exchange_strong_explicit(&module_current_generation, &generation, generation + 1,
                                            memory_order_relaxed, memory_order_relaxed);
    return atomic_load_explicit(&module_current_generation, memory_order_relaxed);
}

bool module_is_watched(module_id id, const void *pc)
{
    uintptr_t record;

    if (UNLIKELY(id == 0))
        return begin_to_see_loads(pc);
    record = atomic_load_explicit(&registry.records[id - 1], memory_order_relaxed);
    return LIKELY(record != 0) ? record != NOT_WATCHED : begin_to_watch(id, pc);
}

void module_freed(const void *block)
{
    size_t count = claimed_entries(atomic_load_explicit(&registry.claimed, memory_order_relaxed));
    bool was_watched = false;

    for (size_t i = 0; i < count; i++)
        if (atomic_load_explicit(&registry.records[i], memory_order_relaxed) == (uintptr_t)block) {
            atomic_store_explicit(&registry.records[i], 0, memory_order_relaxed);
            was_watched = true;
        }
    if (was_watched)
        atomic_fetch_add_explicit(&module_current_generation, 2 * MODULE_NONE_LOADED, memory_order_relaxed);
}

/* --- What is known ------------------------------------------------------------------------------------ */

module_id module_last_at(const void *pc)
{
    uintptr_t address = (uintptr_t)pc;

    for (size_t id = claimed_entries(atomic_load_explicit(&registry.claimed, memory_order_relaxed)); id > 0;
         id--) {
        const struct module *module = module_get((module_id)id);

        if (module != NULL && address >= module->start && address < module->end)
            return (module_id)id;
    }
    return 0;
}

size_t module_own_bytes(void)
{
    return sizeof(registry);
}

bool module_can_unload(module_id id)
{
    const struct module *module = module_get(id);

    return module != NULL && module->can_unload;
}
