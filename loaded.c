/* SPDX-License-Identifier: MIT
 *
 * Asking the loader (loaded.h): glibc's lock-free lookup and its list of modules, or dl_iterate_phdr.
 */
#define _GNU_SOURCE 1
#include "loaded.h"

#include <dlfcn.h>
#include <link.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/auxv.h>

#include "loader.h"
#include "loader_lock.h"

/* 1: the C library finds the module of an address without locks (glibc 2.35, whose <dlfcn.h> defines the
 * name). */
#ifndef LD_HAVE_DL_FIND_OBJECT
#ifdef DLFO_STRUCT_HAS_EH_DBASE
#define LD_HAVE_DL_FIND_OBJECT 1
#else
#define LD_HAVE_DL_FIND_OBJECT 0
#endif
#endif

#if LD_HAVE_DL_FIND_OBJECT

/* The last one of what the process was started with; NULL until loaded_init. */
static const struct link_map *_Atomic last_at_start;

bool loaded_find(const void *pc, struct loaded *out)
{
    struct dl_find_object found;

    if (_dl_find_object((void *)(uintptr_t)pc, &found) != 0)
        return false;
    *out = (struct loaded){
        .start = (uintptr_t)found.dlfo_map_start,
        .end = (uintptr_t)found.dlfo_map_end,
        .base = found.dlfo_link_map->l_addr,
        .dynamic = (uintptr_t)found.dlfo_link_map->l_ld,
        .name = found.dlfo_link_map->l_name,
        .map = found.dlfo_link_map,
    };
    return true;
}

/* glibc never unloads what it loaded before the program's first instruction, and never takes it off its list
 * of modules, to the end of which dlopen adds.  So this part of the list may be read without a lock. */
bool loaded_can_be_unloaded(const struct loaded *now)
{
    /* Acquire: partner of find_startup. */
    const struct link_map *map = atomic_load_explicit(&last_at_start, memory_order_acquire);

    while (map != NULL && map != now->map)
        map = map->l_prev;
    return map == NULL;
}

/* Whether no module is loaded but those.  Of more than one namespace (dlmopen) nothing is known; since glibc
 * 2.35 the version tells that there are several. */
bool loaded_is_as_started(void)
{
    const struct link_map *last = atomic_load_explicit(&last_at_start, memory_order_acquire);
    const struct r_debug *debugger = loader_debugger();

    return last != NULL && debugger != NULL && *(const volatile int *)&debugger->r_version == 1 &&
           *(struct link_map *const volatile *)&last->l_next == NULL;
}

/* The loader relocates these values in place, except in modules whose dynamic section it cannot write. */
static const char *dynamic_string(const struct link_map *map, uintptr_t offset)
{
    for (const ElfW(Dyn) *entry = map->l_ld; entry->d_tag != DT_NULL; entry++)
        if (entry->d_tag == DT_STRTAB)
            return (const char *)(entry->d_un.d_ptr < map->l_addr ? map->l_addr + entry->d_un.d_ptr
                                                                  : entry->d_un.d_ptr) +
                   offset;
    return "";
}

static bool is_called(const struct link_map *map, const char *name)
{
    const char *slash = strrchr(map->l_name, '/');

    if (strcmp(map->l_name, name) == 0 || (slash != NULL && strcmp(slash + 1, name) == 0))
        return true;
    for (const ElfW(Dyn) *entry = map->l_ld; entry != NULL && entry->d_tag != DT_NULL; entry++)
        if (entry->d_tag == DT_SONAME)
            return strcmp(dynamic_string(map, entry->d_un.d_val), name) == 0;
    return false;
}

static bool comes_after(const struct link_map *map, const struct link_map *earlier)
{
    do
        earlier = earlier->l_next;
    while (earlier != NULL && earlier != map);
    return earlier != NULL;
}

/* The last module, `last` or one after it, that this one needs. */
static const struct link_map *last_needed(const struct link_map *by, const struct link_map *last,
                                          const struct link_map *program)
{
    for (const ElfW(Dyn) *entry = by->l_ld; entry != NULL && entry->d_tag != DT_NULL; entry++) {
        const struct link_map *map = program;

        if (entry->d_tag != DT_NEEDED)
            continue;
        while (map != NULL && !is_called(map, dynamic_string(by, entry->d_un.d_val)))
            map = map->l_next;
        if (map != NULL && comes_after(map, last))
            last = map;
    }
    return last;
}

/* Nothing in the loader's interface says which modules the process started with, but their order does.  First
 * comes the program, then LD_PRELOAD, then what they need, and what that needs; dlopen adds at the end.  So
 * all from the program to the last module that is needed by another of them was there at the start.  Of
 * several modules with a needed name the first is the one that the loader took.
 *
 * What a preloaded library alone needs may lie beyond, and counts as if it could be unloaded: slower, not
 * wrong. */
static int find_startup(struct dl_phdr_info *info, size_t size, void *ctx)
{
    struct loaded self;
    const struct link_map *map, *last, *program;

    (void)info;
    (void)size;
    (void)ctx;
    if (!loaded_find((const void *)(uintptr_t)loaded_init, &self))
        return 1;
    for (map = self.map; map->l_prev != NULL; map = map->l_prev)
        ;
    /* In a namespace of dlmopen the first module is no program, and can be unloaded. */
    if (map->l_name[0] != 0)
        return 1;
    program = map;
    for (last = map;; map = map->l_next) {
        last = last_needed(map, last, program);
        if (map == last)
            break;
    }
    /* Release: partner of loaded_can_be_unloaded and loaded_is_as_started, which reads what was written
     * before. */
    atomic_store_explicit(&last_at_start, last, memory_order_release);
    return 1;
}

void loaded_init(void)
{
    /* Called back once, with the loader's lock held. */
    dl_iterate_phdr(find_startup, NULL);
}

#else

/* Other C libraries: under the loader's lock, and all but the program might be unloaded. */
struct lookup {
    uintptr_t pc;
    bool is_found;
    struct loaded *out;
};

static int visit_loaded(struct dl_phdr_info *info, size_t size, void *ctx)
{
    struct lookup *lookup = ctx;
    uintptr_t page = (uintptr_t)getauxval(AT_PAGESZ);
    struct loaded now = {.start = UINTPTR_MAX, .base = info->dlpi_addr, .name = info->dlpi_name};

    (void)size;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + segment->p_vaddr, end = start + segment->p_memsz;

        if (segment->p_type == PT_DYNAMIC)
            now.dynamic = start;
        if (segment->p_type != PT_LOAD)
            continue;
        if (start < now.start)
            now.start = start & ~(page - 1);
        if (end > now.end)
            now.end = (end + page - 1) & ~(page - 1);
    }
    if (lookup->pc < now.start || lookup->pc >= now.end)
        return 0;
    *lookup->out = now;
    lookup->is_found = true;
    return 1;
}

bool loaded_find(const void *pc, struct loaded *out)
{
    struct lookup lookup = {.pc = (uintptr_t)pc, .out = out};

    return loader_visit(visit_loaded, &lookup) && lookup.is_found;
}

bool loaded_can_be_unloaded(const struct loaded *now)
{
    return now->name[0] != 0;
}

bool loaded_is_as_started(void)
{
    return false;
}

void loaded_init(void)
{
}

#endif

static int see_unloads(struct dl_phdr_info *info, size_t size, void *unloads)
{
    if (size >= offsetof(struct dl_phdr_info, dlpi_subs) + sizeof(info->dlpi_subs))
        *(uint64_t *)unloads = info->dlpi_subs;
    return 1;
}

uint64_t loaded_unloads(void)
{
    uint64_t unloads = 0;

    dl_iterate_phdr(see_unloads, &unloads);
    return unloads;
}
