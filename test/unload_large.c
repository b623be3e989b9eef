/* SPDX-License-Identifier: MIT
 *
 * The same library with a frame that is larger by 512 KiB.
 */
#include "unload_frames.h"

UNLOAD_THROUGH("through", "524360", "40");
