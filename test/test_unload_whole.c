/* SPDX-License-Identifier: MIT
 *
 * The same where this library is the program's malloc, and hears of it when a library goes.
 *
 * build: whole
 * build: plugin test/unload_small.c test/unload_large.c test/unload_same.c
 */
#include "test_unload.c"
