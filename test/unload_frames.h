/* SPDX-License-Identifier: MIT
 *
 * A function NAME(call) whose second function calls call(), with frames of so many bytes (8 more than a
 * multiple of 16). Whatever those are, all instructions lie at the same places, so that one library can be
 * put where another was and have other frames at the same return addresses.
 */
#ifndef UNLOAD_FRAMES_H
#define UNLOAD_FRAMES_H

typedef void unload_call_fn(void);
typedef void unload_through_fn(unload_call_fn *call);

#define UNLOAD_FRAME(name, call, size)                               \
    ".globl " name "\n.type " name ", @function\n" name ":\n"        \
    ".cfi_startproc\n"                                               \
    ".byte 0x48, 0x81, 0xec\n.long " size "\n" /* sub $size, %rsp */ \
    ".cfi_adjust_cfa_offset " size "\n"                              \
    "call " call "\n"                                                \
    ".byte 0x48, 0x81, 0xc4\n.long " size "\n" /* add $size, %rsp */ \
    ".cfi_adjust_cfa_offset -" size "\n"                             \
    "ret\n.cfi_endproc\n.size " name ", . - " name "\n"

#define UNLOAD_THROUGH(name, outer_size, inner_size)                                        \
    __asm__(".text\n.hidden " name "_inner\n" UNLOAD_FRAME(name, name "_inner", outer_size) \
                UNLOAD_FRAME(name "_inner", "*%rdi", inner_size))

#endif
