/* SPDX-License-Identifier: MIT
 *
 * The model test on a table that is full most of the time.
 *
 * build: sources
 * build: flags -DLD_MAX_BLOCKS=4096
 */
#include "test_model.c"
