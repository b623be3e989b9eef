/* SPDX-License-Identifier: MIT
 *
 * The first step from a frame to its name: which module is it in, is that module still loaded, and which
 * address is the call's?
 */
#ifndef LOCATE_H
#define LOCATE_H

#include <stdbool.h>
#include <stdint.h>

#include "module.h"

struct place {
    uintptr_t frame;
    uintptr_t inner; /* the frame that it called, 0: not known */
    module_id id;    /* 0 before locate_frame: whichever module is there */

    uintptr_t address; /* in the call, or what a signal interrupted */
    bool is_loaded;    /* the module is there now */
    bool is_code;
    bool is_trampoline; /* the frame is the kernel's way back from a signal handler */

    uint64_t unloads; /* how many modules were unloaded before it was looked at */

    bool inner_is_trampoline, has_seen_inner, has_seen_frame;
};

/* Fills in the rest of a place of which the frame, and perhaps `inner` and the module, are known.  True if
 * the module is.  For one thread at a time (loader.h). */
bool locate_frame(struct place *place);

#endif
