/* SPDX-License-Identifier: MIT
 *
 * A function that takes two arguments and jumps to another one with them (x86-64): what matters to that one
 * is who has called, and it learns that from its return address.
 *
 *     JUMP(name, choose, change)    choose is a pointer to a function of the two arguments and the return
 *                                   address, which returns where to; `change` is an instruction, or nothing,
 *                                   between that and the jump
 */
#ifndef JUMP_H
#define JUMP_H

#define JUMP(name, choose, change)                   \
    __asm__(".pushsection .text\n"                   \
            ".globl " name "\n"                      \
            ".type " name ", @function\n" name ":\n" \
            "    .cfi_startproc\n"                   \
            "    endbr64\n"                          \
            "    mov (%rsp), %rdx\n"                 \
            "    push %rdi\n"                        \
            "    .cfi_adjust_cfa_offset 8\n"         \
            "    push %rsi\n"                        \
            "    .cfi_adjust_cfa_offset 8\n"         \
            "    sub $8, %rsp\n"                     \
            "    .cfi_adjust_cfa_offset 8\n"         \
            "    call *" choose "(%rip)\n"           \
            "    add $8, %rsp\n"                     \
            "    .cfi_adjust_cfa_offset -8\n"        \
            "    pop %rsi\n"                         \
            "    .cfi_adjust_cfa_offset -8\n"        \
            "    pop %rdi\n"                         \
            "    .cfi_adjust_cfa_offset -8\n"        \
            "    " change "\n"                       \
            "    jmp *%rax\n"                        \
            "    .cfi_endproc\n"                     \
            ".size " name ", . - " name "\n"         \
            ".popsection")

#endif
