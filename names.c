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

/* leak->frames[index] for itself, or with the trampoline that shows it to be interrupted; it becomes the last
 * frame of what is returned. */
static struct ld_leak cut_out(const struct ld_leak *leak, size_t index, bool is_interrupted)
{
    struct ld_leak part = *leak;
    size_t first = is_interrupted ? index - 1 : index;
    part.frames = leak->frames + first;
    part.modules = leak->modules + first;
    part.frame_count = index - first + 1;
    return part;
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

/* Makes the spare name that of the symbol that was looked up. */
static void judge_spare(struct names *names, const struct name *key)
{
    names->spare = *key;
    names->spare.function = names->symbol.function;
    names->spare.file = names->symbol.file;
    names->spare.module = names->symbol.module;
    names->spare.build_id = names->symbol.build_id;
    names->spare.line = names->symbol.line;
    names->spare.offset = names->symbol.offset;
    names->judge(&names->spare, &names->spare.verdict, names->ctx);
}

/* The names of what was inlined, the innermost first, then `code`, which is kept already. */
static struct name *add_inlined(struct names *names, const struct ld_leak *part, const struct name *key,
                                struct name *code)
{
    struct name *first, **link = &first, *name;
    for (unsigned level = 0; level < NAMES_INLINED; level++) {
        if (!ld_symbolize_inlined(part, part->frame_count - 1, level, &names->symbol))
            break;
        judge_spare(names, key);
        name = keep_spare(names);
        if (name == NULL)
            break;
        *link = name;
        link = &name->outer;
    }
    *link = code;
    return first;
}

static const struct name *get(struct names *names, const struct ld_leak *leak, size_t index,
                              bool is_interrupted)
{
    const struct name key = {
        .frame = leak->frames[index],
        .module_id = leak->modules[index],
        .is_interrupted = is_interrupted,
    };
    struct name **link = find_link(names, key.frame, key.module_id, is_interrupted);
    if (*link != NULL)
        return *link;

    struct ld_leak part = cut_out(leak, index, is_interrupted);
    if (!ld_symbolize_frame(&part, part.frame_count - 1, &names->symbol))
        names->symbol.function = names->symbol.file = names->symbol.module = NULL;
    if (names->symbol.module == NULL)
        names->symbol.build_id[0] = 0;
    if (names->symbol.is_partial)
        names->is_partial = true;
    judge_spare(names, &key);
    struct name *code = keep_spare(names);
    if (code == NULL)
        return &names->spare;
    *link = code->line != 0 ? add_inlined(names, &part, &key, code) : code;
    return *link;
}

/* What a signal handler returns to. */
static bool is_trampoline(const struct name *name)
{
    return name->function != NULL && strcmp(name->function, LD_SIGNAL_FRAME) == 0;
}

const struct name *names_get(struct names *names, const struct ld_leak *leak, size_t index)
{
    bool is_interrupted = index > 0 && is_trampoline(get(names, leak, index - 1, false));
    return get(names, leak, index, is_interrupted);
}
