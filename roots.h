/* SPDX-License-Identifier: MIT
 *
 * Where a program keeps pointers, apart from its blocks: the writable data of each module, regions that were
 * registered, and of each thread its registers, the live part of its stack, its thread-local storage, and the
 * arrays of its pthread keys; and, if it is asked for, memory that the program has mapped itself (mapped.h).
 * What is no root: the tables of this library, and what lies below a stack pointer.
 *
 *     roots_gather    before the threads are stopped: asks the loader, which has a lock
 *     roots_current   when they stand still: whether a module has come or gone since, or is about to
 *     roots_each      in the snapshot: touches no lock and reads only what is mapped
 */
#ifndef ROOTS_H
#define ROOTS_H

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "maps.h"
#include "ours.h"
#include "stop.h"

enum roots_kind {
    ROOTS_REGISTERED,
    ROOTS_GLOBAL,
    ROOTS_TLS,
    ROOTS_REGISTERS,
    ROOTS_STACK,
    ROOTS_DEAD_REGISTERS,
    ROOTS_DEAD_STACK,
    ROOTS_MAPPED, /* memory that the program has mapped itself */
    ROOTS_KEPT,   /* the C library's: what it leads to is not lost, but leads no further */
};

#define ROOTS_LOOKS_DEAD(kind) ((kind) == ROOTS_DEAD_REGISTERS || (kind) == ROOTS_DEAD_STACK)

/* Which kinds count. */
struct roots_options {
    bool globals, tls, registers, stacks, mapped;
    bool strict; /* what looks dead is of a kind of its own */
};

enum { ROOTS_OWN_MAX = 4 };

struct roots {
    struct ours_range own[ROOTS_OWN_MAX]; /* tables of this library, in the writable segments of modules */
    size_t own_count;
    struct ours_range *modules; /* writable segments, without the tables of this library */
    size_t module_count;
    size_t *tls_sizes; /* by number of the module in the loader's table of thread-local storage */
    size_t tls_count;
    size_t static_tls; /* bytes below a thread pointer that may be thread-local storage */
    size_t late_tls;   /* bytes more below the first thread's, for libraries that were loaded later */
    size_t capacity;   /* of modules, and of tls_sizes */
    uint64_t loaded;   /* a hash of the modules, in the loader's order */
};

/* `own` are the tables of this library, at most ROOTS_OWN_MAX.  0 or an errno value. */
int roots_gather(struct roots *roots, const struct ours_range *own, size_t own_count);
void roots_release(struct roots *roots);
bool roots_current(const struct roots *roots);

/* Called for each range, aligned to words and readable in its whole length. */
typedef void roots_visit_fn(enum roots_kind kind, uintptr_t start, uintptr_t end, void *ctx);

/* The end of what may be a stack that contains this address but is known to nobody: of the block that it is
 * in, or where the next block or a range of ours begins. */
typedef uintptr_t roots_bound_fn(uintptr_t address, void *ctx);

struct roots_snapshot {
    const struct roots *roots;
    const struct maps *maps;
    const struct stop_thread *threads;
    size_t thread_count;
    pid_t process;        /* the id of the first thread too */
    uintptr_t main_stack; /* an address on that one's stack */
    /* As it was when it called this library, with its registers on its stack; or, of a program that is
     * ending, when it called exit, with those that a call keeps where this says. */
    struct stop_thread caller;
    bool is_ending; /* the program: no function of the caller's will ever go on */
    struct roots_options options;
};

void roots_each(const struct roots_snapshot *snapshot, roots_visit_fn *visit, roots_bound_fn *bound,
                void *ctx);

/* Registered regions.  0 or an errno value. */
int roots_register(const void *start, size_t size);
int roots_unregister(const void *start, size_t size);

/* The kernel's id of a thread that is the library's own: what is in its registers and on its stack keeps
 * nothing.  0: there is none.  Called before it ends. */
void roots_disregard(pid_t thread);

size_t roots_own_bytes(void);

#endif
