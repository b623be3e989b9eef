/* SPDX-License-Identifier: MIT
 *
 * A library to be loaded and unloaded: it allocates through the function that it is handed.
 */
#include <stddef.h>

void *plugin_allocate(void *(*allocate)(size_t size), size_t size);

/* Calls allocate, so that the frame stays: no tail call. */
void *plugin_allocate(void *(*allocate)(size_t size), size_t size)
{
    char *block = allocate(size);

    __asm__ volatile("" ::: "memory");
    return block;
}
