/* SPDX-License-Identifier: MIT
 *
 * Names of frames, see names.h.
 */
#include "names.h"

#include <string.h>

const char *name_plain(const struct name *name)
{
    static const char prefix[] = "__GI_";
    const size_t length = sizeof(prefix) - 1;
    const char *function = name->function;
    return function != NULL && strncmp(function, prefix, length) == 0 ? function + length : function;
}

void names_init(struct names *names, name_judge_fn *judge, void *ctx)
{
    names->root = NULL;
    names->count = 0;
    names->judge = judge;
    names->ctx = ctx;
    names->is_partial = false;
    scratch_init(&names->scratch, NULL, 0);
}

void names_release(struct names *names)
{
    scratch_release(&names->scratch);
}

static uint64_t name_hash(const void *frame, uint16_t module_id, bool is_interrupted)
{
    uint64_t hash = ((uint64_t)(uintptr_t)frame ^ (uint64_t)module_id << 48 ^ is_interrupted) *
                    UINT64_C(0x9e3779b97f4a7c15);
    return (hash ^ hash >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
}

/* Where the name is, or belongs. */
static struct name **find_link(struct names *names, const void *frame, uint16_t module_id,
                               bool is_interrupted)
{
    struct name **link = &names->root;
    for (uint64_t hash = name_hash(frame, module_id, is_interrupted); *link != NULL; hash <<= 2) {
        if ((*link)->frame == frame && (*link)->module_id == module_id &&
            (*link)->is_interrupted == is_interrupted)
            break;
        link = &(*link)->child[hash >> 62];
    }
    return link;
}

/* Into names->symbol: leak->frames[index] for itself, or with the trampoline that shows it to be interrupted.
 */
static void look_up(struct names *names, const struct ld_leak *leak, size_t index, bool is_interrupted)
{
    struct ld_leak part = *leak;
    size_t first = is_interrupted ? index - 1 : index;
    part.frames = leak->frames + first;
    part.modules = leak->modules + first;
    part.frame_count = index - first + 1;
    if (!ld_symbolize_frame(&part, index - first, &names->symbol))
        names->symbol.function = names->symbol.file = names->symbol.module = NULL;
    if (names->symbol.module == NULL)
        names->symbol.build_id[0] = 0;
    if (names->symbol.is_partial)
        names->is_partial = true;
}

/* A copy of a string that will be overwritten.  NULL when memory is out. */
static const char *copy(struct names *names, const char *string)
{
    size_t size = strlen(string) + 1;
    char *to = scratch_take(&names->scratch, size);
    return to == NULL ? NULL : memcpy(to, string, size);
}

/* A copy of the spare name that can stay, or NULL. */
static struct name *keep_spare(struct names *names)
{
    struct name *name = names->count < NAMES_MAX ? scratch_take(&names->scratch, sizeof(*name)) : NULL;
    if (name == NULL)
        return NULL;
    *name = names->spare;
    if (name->function == names->symbol.text)
        name->function = copy(names, name->function);
    if (name->build_id[0] != 0)
        name->build_id = copy(names, name->build_id);
    else
        name->build_id = "";
    if ((names->spare.function != NULL && name->function == NULL) || name->build_id == NULL)
        return NULL;
    names->count++;
    return name;
}

static const struct name *get(struct names *names, const struct ld_leak *leak, size_t index,
                              bool is_interrupted)
{
    const void *frame = leak->frames[index];
    uint16_t module_id = leak->modules[index];
    struct name **link = find_link(names, frame, module_id, is_interrupted);
    if (*link != NULL)
        return *link;

    look_up(names, leak, index, is_interrupted);
    names->spare = (struct name){
        .function = names->symbol.function,
        .file = names->symbol.file,
        .module = names->symbol.module,
        .build_id = names->symbol.build_id,
        .line = names->symbol.line,
        .offset = names->symbol.offset,
        .frame = frame,
        .module_id = module_id,
        .is_interrupted = is_interrupted,
    };
    names->judge(&names->spare, &names->spare.verdict, names->ctx);
    *link = keep_spare(names);
    return *link == NULL ? &names->spare : *link;
}

/* What a signal handler returns to, as symbolize.c calls it. */
static bool is_trampoline(const struct name *name)
{
    return name->function != NULL && strcmp(name->function, "<signal handler called>") == 0;
}

const struct name *names_get(struct names *names, const struct ld_leak *leak, size_t index)
{
    bool is_interrupted = index > 0 && is_trampoline(get(names, leak, index - 1, false));
    return get(names, leak, index, is_interrupted);
}
