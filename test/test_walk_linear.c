/* SPDX-License-Identifier: MIT
 *
 * The same tests on the store that is replaced.
 *
 * build: blockmap test/linear_blockmap.c
 * build: with test/frames_cxx.cc
 * build: flags -DLD_MAX_BLOCKS=4096
 */
#include "test_walk.c"
