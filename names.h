/* SPDX-License-Identifier: MIT
 *
 * The names of frames, each looked up once for a whole report: ld_symbolize_frame takes microseconds, and the
 * stacks of a report share most of their frames.
 *
 *     (return address, module, interrupted or not) -> name of the innermost function, which was inlined
 *                                                       outer -> name of the next one
 *                                                         outer -> name of the function that has the code
 *
 * A 4-ary trie over the hash, which never needs to be rebuilt: two bits of the hash choose the child.  It
 * lives in scratch memory, with NAMES_MAX names at most; what does not fit is looked up each time, so that no
 * report lacks a name because of it.
 */
#ifndef NAMES_H
#define NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "leakdetect.h"
#include "scratch.h"

#define NAMES_MAX 131072 /* some 25 MiB of scratch memory */

/* Functions that are inlined into each other at one place.  What is further out is left out. */
#define NAMES_INLINED 64

/* What those above conclude from a name, once for each: see skip.h, suppress.h, kept.h. */
struct name_verdict {
    bool is_skipped;      /* the function is never the call site */
    uint32_t rule;        /* of the suppressions that were given, from 1; 0: none matches */
    uint32_t kept_at;     /* a bit for each built-in rule that this frame fulfils */
    uint32_t kept_within; /* and for each that looks on, further outwards, when it has seen this frame */
};

struct name {
    const char *function, *file, *module; /* NULL: not known */
    const char *build_id;                 /* "": not known */
    unsigned line;                        /* 0: not known */
    uintptr_t offset;
    struct name_verdict verdict;
    struct name *outer; /* what this function was inlined into; NULL: it has the code */

    const void *frame;
    uint16_t module_id;
    bool is_interrupted; /* by a signal, rather than calling something */
    struct name *child[4];
};

/* The function as its users call it: glibc's debug information has its internal aliases, such as
 * __GI_setlocale.  NULL: not known. */
const char *name_plain(const struct name *name);

/* The last one of a frame's names: the function that has the code. */
static inline const struct name *name_of_code(const struct name *name)
{
    while (name->outer != NULL)
        name = name->outer;
    return name;
}

/* Called once for each name that is looked up, with all but the verdict filled in. */
typedef void name_judge_fn(const struct name *name, struct name_verdict *verdict, void *ctx);

struct names {
    struct name *root;
    size_t count;
    name_judge_fn *judge;
    void *ctx;
    bool is_partial; /* of some frame not all is known, for want of memory or descriptors */
    struct scratch scratch;
    struct name spare;       /* where there is no memory for more */
    struct ld_symbol symbol; /* the last one that was looked up, whose strings the spare name has */
};

void names_init(struct names *names, name_judge_fn *judge, void *ctx);
void names_release(struct names *names);

/* The names of leak->frames[index], from the innermost one on, valid until the next call. */
const struct name *names_get(struct names *names, const struct ld_leak *leak, size_t index);

#endif
