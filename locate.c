/* SPDX-License-Identifier: MIT
 *
 * Locating frames: see locate.h.
 */
#define _GNU_SOURCE 1
#include "locate.h"

#include <link.h>
#include <stddef.h>
#include <string.h>

#include "loader.h"
#include "trampoline.h"

typedef ElfW(Phdr) elf_segment;

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

    return (segment->p_flags & (PF_R | PF_X)) == (PF_R | PF_X) && offset < segment->p_filesz &&
           trampoline_is_at((const void *)address, segment->p_filesz - offset);
}

static void look_at_inner(struct place *place, const struct dl_phdr_info *info)
{
    const elf_segment *segment = find_segment(info, place->inner);

    if (segment == NULL)
        return;
    place->has_seen_inner = true;
    place->inner_is_trampoline = is_trampoline(info, segment, place->inner);
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
    if (place->id == 0)
        place->id = module_at(home);
    place->is_loaded = place->id != 0 && module_is_current(place->id, home);
    place->is_code = (segment->p_flags & PF_X) != 0;
    place->is_trampoline = place->is_loaded && is_trampoline(info, segment, place->frame);
}

/* With the loader's lock held, so that no module goes away while it is read. */
static int visit_module(struct dl_phdr_info *info, size_t size, void *ctx)
{
    struct place *place = ctx;

    if (size >= offsetof(struct dl_phdr_info, dlpi_subs) + sizeof(info->dlpi_subs))
        place->unloads = info->dlpi_subs;
    if (!place->has_seen_inner)
        look_at_inner(place, info);
    if (!place->has_seen_frame)
        look_at_frame(place, info);
    return place->has_seen_inner && place->has_seen_frame;
}

bool locate_frame(struct place *place)
{
    place->has_seen_inner = place->inner == 0;
    loader_ask(visit_module, place);
    /* A call that never returns may be the last instruction of its function, line or module: what is looked
     * up is the call, and not what follows it. */
    place->address = place->frame - !(place->is_trampoline || place->inner_is_trampoline);
    if (place->id == 0)
        place->id = module_last_at((const void *)place->address);
    if (!place->is_loaded)
        place->is_code = true; /* for want of knowledge */
    return module_get(place->id) != NULL;
}
