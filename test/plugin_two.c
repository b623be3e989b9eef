/* SPDX-License-Identifier: MIT
 *
 * Another library with the same code, which is likely to be loaded in the place of the first one.
 */
#include "plugin_one.c"
