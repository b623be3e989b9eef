/* SPDX-License-Identifier: MIT
 *
 * The code to which a signal handler returns.  What has "called" it is the instruction that was interrupted,
 * and no call.
 */
#ifndef TRAMPOLINE_H
#define TRAMPOLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

enum { TRAMPOLINE_MAX = 9 }; /* bytes */

/* Whether it is there, of which so many bytes can be read. */
static inline bool trampoline_is_at(const void *code, size_t size)
{
#if defined(__x86_64__)
    /* mov $SYS_rt_sigreturn, %rax, as the C library has it for all handlers, or %eax, as programs have it
     * that bring their own; syscall */
    static const unsigned char usual[] = {0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05};
    static const unsigned char others[] = {0xb8, 15, 0, 0, 0, 0x0f, 0x05};

    return (size >= sizeof(usual) && memcmp(code, usual, sizeof(usual)) == 0) ||
           (size >= sizeof(others) && memcmp(code, others, sizeof(others)) == 0);
#elif defined(__aarch64__)
    /* mov x8, #SYS_rt_sigreturn; svc #0 */
    static const unsigned char usual[] = {0x68, 0x11, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4};

    return size >= sizeof(usual) && memcmp(code, usual, sizeof(usual)) == 0;
#else
    /* What a signal interrupts is looked up one byte too early. */
    (void)code, (void)size;
    return false;
#endif
}

#endif
