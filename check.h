/* SPDX-License-Identifier: MIT
 *
 * Looking for lost blocks: who may ask, what is asked of each room, and what becomes of the answer.
 *
 *     roots_gather        the loader says which modules there are
 *     stop_begin          all other threads stand still
 *     snapshot_run          a copy of the process is made
 *     stop_end            they go on
 *     reach_find          meanwhile, in the copy: marking
 *     blockmap_find       each lost block is looked up, and handed over
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "leakdetect.h"

/* The flag of a record that was given to ld_ignore. */
#define CHECK_IGNORED 8u

struct check_options {
    bool no_globals, no_tls, no_registers, no_stacks; /* that are not roots */
    bool are_unaligned;                               /* pointers may be at any address */
};

/* For all later checks. */
void check_set_options(const struct check_options *options);

/* A block was not put on record.  From now on nobody can know what is lost, because that block may lead to
 * it. Any thread, at any time. */
void check_note_gap(void);

/* What a check has found. */
struct check_found {
    size_t definite, indirect, possible; /* blocks */
    size_t running_threads;              /* that could not be stopped */
    bool was_in_place;                   /* no copy could be made: the program stood still all the time */
    uint64_t pause_ns;                   /* for which the program stood still, at most */
    uint64_t total_ns;
};

/* As ld_check, but writes nothing unless a definitely lost block is to be reported, as *definite says. */
int check_report(int fd, const struct ld_report_options *options, bool *definite);

void check_after_fork(void);

size_t check_own_bytes(void);

#endif
