/* SPDX-License-Identifier: MIT
 *
 * Linked with app.c: a program whose own functions are called like those inside the library and inside
 * libbacktrace.  Each keeps its own.
 */
#include <stdlib.h>

#define CLASH(name)  \
    void name(void); \
    void name(void)  \
    {                \
        abort();     \
    }

CLASH(blockmap_insert_at)
CLASH(blockmap_remove)
CLASH(blockmap_each)
CLASH(stackmap_insert)
CLASH(stackmap_intern)
CLASH(stackmap_frames)
CLASH(unwind_capture)
CLASH(thread_get)
CLASH(module_at)
CLASH(module_get)
CLASH(platform_init)
CLASH(kernel_map)
CLASH(platform_write)
CLASH(report_write)
CLASH(backing_alloc)
CLASH(symbolize_before_fork)
CLASH(elf_memory_build_id)
CLASH(backtrace_create_state)
CLASH(backtrace_alloc)
CLASH(backtrace_open)
CLASH(backtrace_pcinfo)
CLASH(backtrace_initialize)
CLASH(backtrace_dwarf_add)
