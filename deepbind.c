/* SPDX-License-Identifier: MIT
 *
 * dlopen without RTLD_DEEPBIND, for the library that is preloaded.  With it a library's own dependencies come
 * before all others, so that its free is the C library's, which is given blocks of this malloc's, and aborts:
 * that is how PHP opens its extensions.
 */
#define _GNU_SOURCE 1
#include "config.h"
#include "leakdetect.h"

#if LD_OVERRIDE

#include <dlfcn.h>

/* The dlopen that comes after this one. */
static void *next(void)
{
    return dlsym(RTLD_NEXT, "dlopen");
}

#if defined(__x86_64__) && defined(__LP64__)

__attribute__((used)) static void *(*const deepbind_next)(void) = next;

/* A jump: where dlopen looks first depends on who has called it, which it learns from its return address. */
__asm__(".pushsection .text\n"
        ".globl dlopen\n"
        ".type dlopen, @function\n"
        "dlopen:\n"
        "    .cfi_startproc\n"
        "    endbr64\n"
        "    push %rdi\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    push %rsi\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    sub $8, %rsp\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    call *deepbind_next(%rip)\n"
        "    add $8, %rsp\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    pop %rsi\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    pop %rdi\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    and $~8, %esi\n"
        "    jmp *%rax\n"
        "    .cfi_endproc\n"
        ".size dlopen, . - dlopen\n"
        ".popsection");

_Static_assert(RTLD_DEEPBIND == 8, "that is the bit");

#else

/* Where dlopen looks first depends on who has called it: it is taken to be this library. */
__attribute__((visibility("default"))) void *dlopen(const char *file, int mode)
{
    void *(*behind)(const char *, int);

    *(void **)&behind = next();
    return behind(file, mode & ~RTLD_DEEPBIND);
}

#endif
#endif
