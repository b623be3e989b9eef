/* SPDX-License-Identifier: MIT
 *
 * The tests of the store, on the store that is replaced.
 *
 * build: blockmap test/linear_blockmap.c
 * build: flags -DLD_MAX_BLOCKS=1000
 */
#include "test_blockmap.c"
