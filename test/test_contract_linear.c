/* SPDX-License-Identifier: MIT
 *
 * The same tests on the store that is replaced.
 *
 * build: blockmap test/linear_blockmap.c
 * build: flags -DLD_MAX_BLOCKS=1000
 */
#include "test_contract.c"
