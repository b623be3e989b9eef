/* SPDX-License-Identifier: MIT
 *
 * The registry of modules as it is where the C library has no lock-free lookup.
 *
 * build: sources
 * build: flags -DLD_MAX_MODULES=16 -DLD_HAVE_DL_FIND_OBJECT=0
 */
#include "test_module.c"
