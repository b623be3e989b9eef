/* SPDX-License-Identifier: MIT
 *
 * Gaps in the record: blocks that are alive and not in the table.  They may lead to others, so while the
 * program has one, nobody can know what is lost.
 *
 *     state    63         62       61 ... 0
 *             | for good | of the  | how many blocks there are,
 *             |          | program | of the program or of a servant of the library's
 *
 * A block that is freed and was not on record closes a gap, but which one it was is not known: that of the
 * program may be closed only when there is none left at all.  All functions may be called by any thread, and
 * from signal handlers.
 */
#ifndef GAPS_H
#define GAPS_H

#include <stdbool.h>

/* A block was made that is not on record.  What a servant of the library's has made leads nowhere. */
void gaps_open(bool of_program);

/* A block has gone that was not on record.  Only for whoever sees each block there is, as where this library
 * is the program's malloc. */
void gaps_close(void);

/* From now on nobody knows which blocks are not on record. */
void gaps_stay(void);

/* Whether a block of the program's is not on record. */
bool gaps_exist(void);

#endif
