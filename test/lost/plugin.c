/* SPDX-License-Identifier: MIT
 *
 * A library with a static and a thread-local pointer.
 */
#include <stddef.h>

void **plugin_static(void);
void **plugin_thread_local(void);

static void *pointer;
static _Thread_local void *pointer_of_thread;

void **plugin_static(void)
{
    return &pointer;
}

void **plugin_thread_local(void)
{
    return &pointer_of_thread;
}
