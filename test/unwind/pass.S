# SPDX-License-Identifier: MIT
#
# A library whose function `pass` calls its argument, from the same place in the file in each SHAPE, with a frame that
# is another each time: what was learnt of one is wrong for the others.

    .text
    .globl pass
    .type pass, @function
    .balign 64
pass:
#if SHAPE == 1
    .cfi_startproc
    subq $0x1018, %rsp
    .cfi_def_cfa_offset 0x1020
#elif SHAPE == 2
    .cfi_startproc
    subq $0x2028, %rsp
    .cfi_def_cfa_offset 0x2030
#elif SHAPE == 3
    .cfi_startproc
    push %rbp
    .cfi_def_cfa_offset 16
    .cfi_offset rbp, -16
    mov %rsp, %rbp
    .cfi_def_cfa_register rbp
    sub $32, %rsp
#else
    # No unwind information: a frame pointer, which libunwind guesses.
    push %rbp
    mov %rsp, %rbp
    sub $48, %rsp
#endif
    .balign 16
    call *%rdi
#if SHAPE == 1
    addq $0x1018, %rsp
    .cfi_def_cfa_offset 8
#elif SHAPE == 2
    addq $0x2028, %rsp
    .cfi_def_cfa_offset 8
#else
    leave
#if SHAPE == 3
    .cfi_def_cfa rsp, 8
#endif
#endif
    ret
#if SHAPE != 4
    .cfi_endproc
#endif
    .size pass, . - pass

    # Something that is known, so that each library has the same sections at the same place.
    .cfi_startproc
    ret
    .cfi_endproc
    .section .note.GNU-stack, "", @progbits
