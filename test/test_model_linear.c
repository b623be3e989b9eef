/* SPDX-License-Identifier: MIT
 *
 * The model test on the store that is replaced, which is small, and slow.
 *
 * build: blockmap test/linear_blockmap.c
 * build: flags -DLD_MAX_BLOCKS=512 -DOPERATIONS=200000
 */
#include "test_model.c"
