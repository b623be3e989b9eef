/* SPDX-License-Identifier: MIT
 *
 * A library with small frames.
 */
#include "unload_frames.h"

UNLOAD_THROUGH("through", "72", "40");
