/* SPDX-License-Identifier: MIT
 *
 * Live blocks grouped by call site: first a hash table that a walk fills, then, when the walk is over, an
 * array in the order of the report.
 *
 *     sites_init -> sites_add for each block -> sites_pack -> sites_merge, sites_keep -> sites_sort -> read
 *
 * The first call sites fit into the table itself, which is made to lie on a stack; when no pages can be
 * mapped for the others, their blocks are counted in `lost`.  Nothing here allocates or takes a lock.
 */
#ifndef SITES_H
#define SITES_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "leakdetect.h"
#include "scratch.h"

struct tally {
    size_t blocks, bytes;
};

void tally_add(struct tally *tally, const struct tally *more);

/* All blocks of one kind with the same stack: the same frames in the same modules, cut or not; until
 * sites_merge, if they are indirectly lost, those that blocks of one site lead.  The stack is copied, because
 * what a walk hands over ends with the callback. */
struct site {
    struct ld_leak leak;       /* of the first block that was seen here; its arrays are the copies */
    struct tally tally;        /* of blocks seen; after sites_pack, of all that they stand for */
    double blocks, bytes;      /* the same by weight */
    const struct site *leader; /* the site of the definitely lost blocks that lead these, or NULL */
    uint64_t hash;
    bool is_deep; /* as many frames as are kept: there may have been more outside them */
};

#define SITES_SLOTS_FIRST   256   /* a power of two, as every slot count */
#define SITES_SCRATCH_FIRST 12288 /* bytes: some 48 call sites of 12 frames */

/* A hash table with linear probing, at most half full:
 *
 *     slots[hash & (slot_count - 1)], or the next free one -> site -> copy of its stack
 *
 * sites_pack moves the sites to slots[0 .. site_count - 1], which ends its life as a table. */
struct site_table {
    struct site **slots;
    size_t slot_count;
    size_t site_count;
    size_t blocks_seen;             /* by sites_add */
    const struct site *leader;      /* of what is indirectly lost and comes next */
    bool is_estimate;               /* some block stands for others */
    struct tally lost;              /* blocks that are in no site, because there was no memory for one */
    double lost_blocks, lost_bytes; /* the same by weight */
    struct scratch scratch;
    struct site *first[SITES_SLOTS_FIRST];
    alignas(max_align_t) unsigned char first_scratch[SITES_SCRATCH_FIRST];
};

void sites_init(struct site_table *sites);
void sites_release(struct site_table *sites);

/* The ld_leak_fn of the walk; ctx is the table. */
bool sites_add(const struct ld_leak *leak, void *ctx);

/* Ends the walk.  If it was of a sample, tallies become estimates, rounded to whole blocks and bytes. */
void sites_pack(struct site_table *sites);

/* Merges sites that differ in their leader alone, or that shortening their stacks has made equal. */
void sites_merge(struct site_table *sites);

/* Removes the sites for which keep says no.  It may shorten their stacks, if sites_merge comes next. */
typedef bool sites_keep_fn(struct site *site, void *ctx);
void sites_keep(struct site_table *sites, sites_keep_fn *keep, void *ctx);

/* Into the order of the report: the worst kind first, then most bytes, then most blocks, then by stack so
 * that ties always come out the same way. */
void sites_sort(struct site_table *sites);

/* Of all sites and what was lost. */
struct tally sites_total(const struct site_table *sites);

#endif
