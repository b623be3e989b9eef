/* SPDX-License-Identifier: MIT
 *
 * dl_iterate_phdr, for the library that is preloaded: libunwind's question, which module has this address, is
 * answered without the loader's lock.  libunwind has a lock of its own meanwhile, and asks for a new call
 * site; whoever allocates in a callback of dl_iterate_phdr, as programs in Rust do that take a backtrace, has
 * the loader's lock and waits for libunwind's.
 *
 * libunwind has one call of dl_iterate_phdr.  Its place is learnt by having libunwind ask for an address that
 * is known (iterate_phdr_probe).
 */
#define _GNU_SOURCE 1
#include "config.h"
#include "leakdetect.h"

#if LD_OVERRIDE && defined(__x86_64__) && defined(__LP64__)
#include <dlfcn.h>
#endif

/* A C library that finds the module of an address without locks (glibc 2.35). */
#ifdef DLFO_STRUCT_HAS_EH_DBASE

#define UNW_LOCAL_ONLY
#include <libunwind.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "jump.h"
#include "platform.h"

enum { FIRST_PAGE = 4096 };

typedef ElfW(Ehdr) elf_header;
typedef ElfW(Phdr) elf_segment;
typedef int visitor(struct dl_phdr_info *info, size_t size, void *data);
typedef int iterate_fn(visitor *visit, void *data);

static _Atomic uintptr_t libunwinds_call; /* where it ends; 0: not known */
static THREAD_LOCAL uintptr_t probed;     /* the address that libunwind is made to ask for; 0: none */

/* The dl_iterate_phdr that comes after this one. */
static iterate_fn *next(void)
{
    static _Atomic(iterate_fn *) known;
    iterate_fn *function = atomic_load_explicit(&known, memory_order_relaxed);

    if (UNLIKELY(function == NULL)) {
        *(void **)&function = dlsym(RTLD_NEXT, "dl_iterate_phdr");
        atomic_store_explicit(&known, function, memory_order_relaxed);
    }
    return function;
}

/* As libunwind has it (Gfind_proc_info-lsb.c): the address that it looks for comes first. */
static uintptr_t asked_for(const void *data)
{
    return *(const uintptr_t *)data;
}

static bool has_segments(const elf_header *header)
{
    return memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 && header->e_phentsize == sizeof(elf_segment) &&
           header->e_phoff <= FIRST_PAGE &&
           header->e_phnum <= (FIRST_PAGE - header->e_phoff) / sizeof(elf_segment);
}

/* The one module that matters.  Its code is on the stack, so that it stays loaded. */
static int answer(visitor *visit, void *data)
{
    struct dl_find_object found;
    const elf_header *header;
    struct dl_phdr_info info;

    if (_dl_find_object((void *)asked_for(data), &found) != 0)
        return 0;
    header = found.dlfo_map_start;
    if (!has_segments(header))
        return next()(visit, data);
    info = (struct dl_phdr_info){
        .dlpi_addr = found.dlfo_link_map->l_addr,
        .dlpi_name = found.dlfo_link_map->l_name,
        .dlpi_phdr = (const elf_segment *)((const char *)header + header->e_phoff),
        .dlpi_phnum = header->e_phnum,
    };
    return visit(&info, offsetof(struct dl_phdr_info, dlpi_adds), data);
}

/* Whether it is libunwind that has called: not so if it is the program's own dl_iterate_phdr, which passes on
 * what libunwind asks, and what others ask. */
static bool is_in_libunwind(uintptr_t caller)
{
    struct dl_find_object here, libunwind;

    return _dl_find_object((void *)(caller - 1), &here) == 0 &&
           _dl_find_object((void *)(uintptr_t)unw_get_proc_info, &libunwind) == 0 &&
           here.dlfo_link_map == libunwind.dlfo_link_map;
}

static iterate_fn *choose(visitor *visit, void *data, uintptr_t caller)
{
    (void)visit;
    if (caller == atomic_load_explicit(&libunwinds_call, memory_order_relaxed))
        return answer;
    /* A return address is looked for by the instruction before it. */
    if (UNLIKELY(probed != 0) && is_in_libunwind(caller) &&
        (asked_for(data) == probed || asked_for(data) == probed - 1))
        atomic_store_explicit(&libunwinds_call, caller, memory_order_relaxed);
    return next();
}

__attribute__((used)) static iterate_fn *(*const iterate_phdr_choose)(visitor *, void *, uintptr_t) = choose;

/* Whose modules it lists depends on who has called it. */
JUMP("dl_iterate_phdr", "iterate_phdr_choose", "");

/* Called by the rest of the library, if this is part of it, before libunwind is asked for anything.  True if
 * libunwind is answered here from now on. */
bool iterate_phdr_probe(void);
bool iterate_phdr_probe(void)
{
    unw_context_t context;
    unw_cursor_t cursor;
    unw_proc_info_t info;
    unw_word_t pc = 0;

    if (unw_getcontext(&context) != 0 || unw_init_local(&cursor, &context) != 0 ||
        unw_get_reg(&cursor, UNW_REG_IP, &pc) != 0)
        return false;
    probed = (uintptr_t)pc;
    unw_get_proc_info(&cursor, &info);
    probed = 0;
    return atomic_load_explicit(&libunwinds_call, memory_order_relaxed) != 0;
}

#endif
