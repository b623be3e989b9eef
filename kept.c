/* SPDX-License-Identifier: MIT
 *
 * The built-in suppressions, see kept.h: kept.def in a form that takes no memory that can be written.
 */
#define _POSIX_C_SOURCE 200809L
#include "kept.h"

#include <libintl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pattern.h"
#include "platform.h"

/* Which library a module is. */
enum {
    LIBC = 1,    /* the C library and its parts */
    LOADER = 2,  /* the dynamic loader */
    CXX = 4,     /* the C++ run time, and gcc's */
    PROGRAM = 8, /* a static program where it is the C library, which it has inside */
    OTHER = 16,
    ANYWHERE = LIBC | LOADER | CXX | PROGRAM | OTHER,
};

enum { DIRECT, INNER };
enum nameless { NONE, ANY, BEFORE_SETENV, BEHIND_TZSET, BEFORE_DCNGETTEXT };

struct rule {
    uint8_t at, within;
    uint8_t depth;
    uint8_t nameless;
};

static const struct rule rules[] = {
#define RULE(name, at, within, depth, nameless, functions) {at, within, depth, nameless},
#include "kept.def"
#undef RULE
};

enum { RULE_COUNT = sizeof(rules) / sizeof(rules[0]) };

_Static_assert(RULE_COUNT <= KEPT_RULES_MAX, "there is a bit for each rule");

/* The name and the functions of each rule, each with its final 0. */
static const char texts[] =
#define RULE(name, at, within, depth, nameless, functions) name "\0" functions "\0"
#include "kept.def"
#undef RULE
    ;

size_t kept_count(void)
{
    return RULE_COUNT;
}

static const char *next_text(const char *text)
{
    return text + strlen(text) + 1;
}

const char *kept_name(size_t index)
{
    const char *name = texts;
    while (index-- > 0)
        name = next_text(next_text(name));
    return name;
}

size_t kept_first(size_t index)
{
    size_t first = 0;
    while (strcmp(kept_name(first), kept_name(index)) != 0)
        first++;
    return first;
}

static bool is_any_of(const char *name, const char *patterns)
{
    struct pattern pattern;
    while (pattern_next(&patterns, ",", &pattern))
        if (pattern_matches(pattern, name))
            return true;
    return false;
}

static unsigned library_of(const void *frame, const char *module)
{
    if (module == NULL)
        return OTHER;
    const char *slash = strrchr(module, '/');
    const char *file = slash == NULL ? module : slash + 1;
    if (is_any_of(file,
                  "^libc.so.*,^libc-2.*.so$,^libpthread.so.*,^libpthread-2.*.so$,^libdl.so.*,^libdl-2.*.so$,"
                  "^libresolv.so.*,^libresolv-2.*.so$,^libnss_*.so.2$,^libnss_*-2.*.so$"))
        return LIBC;
    if (is_any_of(file, "^ld-linux.so.*,^ld-linux-*.so.*,^ld-2.*.so$,^ld.so.*,^ld64.so.*,^ld-musl-*.so.*"))
        return LOADER;
    if (is_any_of(file, "^libstdc++.so.*,^libgcc_s.so.*,^libc++.so.*,^libc++abi.so.*"))
        return CXX;
    return platform_is_c_library(frame) ? PROGRAM : OTHER;
}

static bool is_in(const void *frame, uintptr_t start, size_t size)
{
    return (uintptr_t)frame - start < size;
}

/* The sizes are those of the functions that are meant, and little more: what comes next in a static program
 * may be one that allocates for its caller. */
static bool takes_nameless(enum nameless nameless, const void *frame)
{
    switch (nameless) {
    case NONE:
        break;
    case ANY:
        return true;
    case BEFORE_SETENV: /* __add_to_environ */
        return is_in(frame, (uintptr_t)setenv - 1024, 1024);
    case BEHIND_TZSET: /* __tz_convert */
        return is_in(frame, (uintptr_t)tzset, 1024);
    case BEFORE_DCNGETTEXT: /* __dcigettext, and those of its file that it calls */
        return is_in(frame, (uintptr_t)dcngettext - 4096, 4096);
    }
    return false;
}

uint32_t kept_direct(void)
{
    uint32_t direct = 0;
    for (size_t i = 0; i < RULE_COUNT; i++)
        direct |= (uint32_t)(rules[i].depth == DIRECT) << i;
    return direct;
}

uint32_t kept_match(const void *frame, const char *function, const char *module, uint32_t *within)
{
    unsigned library = library_of(frame, module);
    uint32_t at = 0;
    const char *name = texts;
    *within = 0;
    for (size_t i = 0; i < RULE_COUNT; i++) {
        const char *functions = next_text(name);
        name = next_text(functions);
        if ((rules[i].within & library) != 0)
            *within |= UINT32_C(1) << i;
        if ((rules[i].at & library) == 0)
            continue;
        if (function != NULL ? is_any_of(function, functions) : takes_nameless(rules[i].nameless, frame))
            at |= UINT32_C(1) << i;
    }
    return at;
}
