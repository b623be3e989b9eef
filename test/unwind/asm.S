# SPDX-License-Identifier: MIT
#
# Functions that no compiler would make: see shapes.h.

.macro begin name
    .globl \name
    .type \name, @function
\name:
.endm
.macro end name
    .size \name, . - \name
.endm

    .text

# --- RBP as a general register ---------------------------------------------------------------------------

begin through_general_rbp
    .cfi_startproc
    push %rbp
    .cfi_def_cfa_offset 16
    .cfi_offset rbp, -16
    mov %rsi, %rbp
    call *%rdi
    pop %rbp
    .cfi_def_cfa_offset 8
    .cfi_restore rbp
    ret
    .cfi_endproc
end through_general_rbp

# --- Without unwind information --------------------------------------------------------------------------

begin through_nothing
    sub $24, %rsp
    call *%rdi
    add $24, %rsp
    ret
end through_nothing

begin through_nothing_with_frame_pointer
    push %rbp
    mov %rsp, %rbp
    call *%rdi
    pop %rbp
    ret
end through_nothing_with_frame_pointer

begin through_nothing_with_rbp
    push %rbp
    mov %rsi, %rbp
    call *%rdi
    pop %rbp
    ret
end through_nothing_with_rbp

# --- Other stacks ----------------------------------------------------------------------------------------

begin switch_stacks
    .cfi_startproc
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
    .cfi_endproc
end switch_stacks

begin bottom_ends
    .cfi_startproc
    .cfi_undefined rip
    nop
    call *%r12
    ud2
    .cfi_endproc
end bottom_ends

begin bottom_returns
    .cfi_startproc
    nop
    call *%r12
    ud2
    .cfi_endproc
end bottom_returns

# --- Puppets ---------------------------------------------------------------------------------------------

begin puppet_enter
    .cfi_startproc
    push %rbp
    .cfi_def_cfa_offset 16
    push %rbx
    .cfi_def_cfa_offset 24
    mov %rsp, %rbx
    mov %rdi, %rsp
    mov %rsi, %rbp
    # From here on the truth about the caller is what was made up.
    .cfi_def_cfa rsp, 8
    call *%rdx
    mov %rbx, %rsp
    .cfi_def_cfa_offset 24
    pop %rbx
    pop %rbp
    ret
    .cfi_endproc
end puppet_enter

# A return address: what is before it belongs to it.
    .cfi_startproc
    .cfi_undefined rip
    nop
begin puppet_end
    nop
    .cfi_endproc
end puppet_end

    .section .data.rel.ro.puppets, "aw", @progbits
    .balign 8
    .globl puppet_kinds, puppet_kind_count
puppet_kinds:
first_puppet:

# The instruction after the call is the one that begins at the label: 1.
.macro puppet from_bp, size, saved_bp, is_loaded
    .text
    .cfi_startproc
    .if \is_loaded
    .cfi_escape 0x0f, 3, 0x76, 0x78, 0x06
    .elseif \from_bp
    .cfi_def_cfa rbp, \size
    .else
    .cfi_def_cfa rsp, \size
    .endif
    .if \saved_bp
    .cfi_offset rbp, -\saved_bp
    .endif
    # Never run; without it this could not be where a call returns to.
    call *%rax
1:  nop
    ud2
    .cfi_endproc
    .section .data.rel.ro.puppets, "aw", @progbits
    .quad 1b
    .long \from_bp, \size, \saved_bp, \is_loaded
.endm

# Three of each, to be taken for each other.
.rept 3
    puppet 0, 8, 0, 0
    puppet 0, 16, 0, 0
    puppet 0, 40, 0, 0
    puppet 0, 1000, 0, 0
    puppet 0, 16, 16, 0
    puppet 0, 56, 16, 0
    puppet 0, 56, 56, 0
    puppet 0, 56, 24, 0
    puppet 1, 16, 16, 0
    puppet 1, 48, 48, 0
    puppet 1, 16, 0, 0
    puppet 0, 0, 16, 1
.endr

    .section .data.rel.ro.puppets, "aw", @progbits
puppet_kind_count:
    .quad (puppet_kind_count - first_puppet) / 24

    .section .note.GNU-stack, "", @progbits
