/* SPDX-License-Identifier: MIT
 *
 * A library of the same layout as the one with small frames, and not the same.
 */
#include "unload_frames.h"

const char unload_same[] = "another build id";

UNLOAD_THROUGH("through", "72", "40");
