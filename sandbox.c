/* SPDX-License-Identifier: MIT
 *
 * Names of the C library's that have to do with sandboxes, in whole programs.
 *
 * mincore: libunwind asks it whether memory can be read, and there are filters that kill whoever calls it
 * (that of OpenSSH's server, before a user has logged in), at a time when the program would not call
 * libunwind, but this library may.  So its questions are answered by a call that it makes anyway, and that
 * any C library needs (kernel_can_read).  All other callers get the kernel's answer.
 *
 * prctl: the kernel's, and noted if it sets a filter: nobody may be able to ask for that afterwards.
 */
#include "config.h"
#include "leakdetect.h"

#if LD_OVERRIDE

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>

#include "kernel.h"
#include "platform.h"
#include "thread.h"

ENTRY_POINT int ld_mincore(void *start, size_t size, unsigned char *pages);
ENTRY_POINT int ld_prctl(int option, ...);

ENTRY_POINT int ld_mincore(void *start, size_t size, unsigned char *pages)
{
    uintptr_t page = platform_page_size(), end = (uintptr_t)start + size;
    int error = 0;

    if (!thread_is_unwinding()) {
        error = kernel_mincore(start, size, pages);
    } else {
        for (uintptr_t at = (uintptr_t)start; at < end && error == 0; at += page)
            error = kernel_can_read(at) ? 0 : -ENOMEM;
        if (error == 0)
            memset(pages, 1, (size + page - 1) / page);
    }
    if (error == 0)
        return 0;
    errno = -error;
    return -1;
}

ENTRY_POINT int ld_prctl(int option, ...)
{
    unsigned long arguments[4];
    va_list list;
    int result;

    va_start(list, option);
    for (size_t i = 0; i < 4; i++)
        arguments[i] = va_arg(list, unsigned long);
    va_end(list);
    result = platform_prctl(option, arguments);
    if (option == PR_SET_SECCOMP && result == 0)
        platform_note_filter();
    return result;
}

#endif
