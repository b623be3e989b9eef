/* SPDX-License-Identifier: MIT
 *
 * Demangling by libiberty: see demangle.h.
 */
#define _GNU_SOURCE 1
#include "demangle.h"

#include <libiberty/demangle.h>
#include <setjmp.h>
#include <string.h>

#include "thread.h"

bool demangle_is_mangled(const char *name)
{
    if (name == NULL || name[0] != '_')
        return false;
    /* Rust's own form goes on with a capital letter. */
    return name[1] == 'Z' || (name[1] == 'R' && name[2] >= 'A' && name[2] <= 'Z');
}

struct demangled {
    char bytes[LD_SYMBOL_TEXT];
    size_t length;
    jmp_buf full;
};

/* What is referred to again and again may double each time: nobody waits for what there is no room for.  The
 * C++ demangler holds nothing when it calls this; Rust's may have the copy of one identifier, which is then
 * lost. */
static void append(const char *part, size_t length, void *ctx)
{
    struct demangled *text = ctx;
    size_t room = sizeof(text->bytes) - 1 - text->length;

    memcpy(text->bytes + text->length, part, length < room ? length : room);
    text->length += length < room ? length : room;
    if (length > room)
        longjmp(text->full, 1);
}

/* Rust first: some of its names are right, but ugly, in C++. */
static bool demangle(const char *name, struct demangled *text)
{
    enum { LIKE_THE_RUN_TIME_LIBRARY = DMGL_PARAMS | DMGL_TYPES };

    if (_setjmp(text->full) != 0)
        return true;
    text->length = 0;
    if (rust_demangle_callback(name, DMGL_NO_OPTS, append, text) != 0)
        return true;
    text->length = 0;
    return cplus_demangle_v3_callback(name, LIKE_THE_RUN_TIME_LIBRARY, append, text) != 0;
}

void demangle_symbol(struct ld_symbol *out)
{
    struct demangled text;
    bool is_done;

    /* The demangler takes stack in proportion to the name, and recurses. */
    if (!demangle_is_mangled(out->function) || strnlen(out->function, LD_SYMBOL_TEXT) == LD_SYMBOL_TEXT)
        return;
    /* Of names with other letters than ASCII's it makes a copy with malloc for a while, which is neither to
     * be recorded nor to be counted as missing. */
    thread_disable();
    is_done = demangle(out->function, &text);
    thread_enable();
    if (!is_done)
        return;
    memcpy(out->text, text.bytes, text.length);
    out->text[text.length] = 0;
    out->function = out->text;
}
