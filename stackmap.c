/* SPDX-License-Identifier: MIT
 *
 * The tree of call paths of stackmap.h: nodes, the index that finds them, and their collection.
 *
 * A node changes owner by its stamp alone.  Whoever wants to reuse a dead node swaps its stamp for CLAIMED;
 * whoever finds it through the index swaps its stamp for the present epoch; one of them wins.  What a node
 * says does not change while its stamp is a number, so a reader that finds the same stamp before and after
 * has read the truth.
 *
 * A child may outlive its parent for a while: when (parent, pc) is looked up, parent is good, so a child
 * found under that id is right whatever path the id stood for when the child was made.
 */
#include "stackmap.h"

#include <errno.h>
#include <stdatomic.h>

#include "bounded_wait.h"
#include "platform.h"

enum {
    BUCKET_ENTRIES = 12,
    BUCKET_NODES = 8,    /* for so many nodes there is a bucket */
    SUPPLY_NODES = 32,   /* length of the run that a thread looks through at a time */
    LIMIT_FIRST = 16384, /* nodes in use at least, if there are so many */
    ROOTS_A_NODE = 4,    /* a node more is used for so many roots, which each collection has to look at */
    MODULE_BITS = 16,
    MARK_AHEAD = 16, /* nodes that are fetched while others are marked */
};

#define NODES   ((size_t)LD_MAX_STACKS + 1) /* the first one stays unused: id 0 is none */
#define BUCKETS ((size_t)LD_MAX_STACKS / BUCKET_NODES + 1)

#define CLAIMED     UINT32_MAX
#define FIRST_EPOCH 1u

struct node {
    _Atomic uint64_t frame; /* pc << MODULE_BITS | module */
    _Atomic uint32_t parent;
    _Atomic uint32_t stamp;
};

/* An entry is the id of a node and its tag, some bits of its hash, that tells most others at once.  The two
 * may not belong together for a moment, which is why the node has the last word. */
struct bucket {
    ALIGNED(CACHE_LINE) _Atomic uint8_t tags[16]; /* 0: the entry is empty, or there is none */
    _Atomic uint32_t ids[BUCKET_ENTRIES];
};

static struct {
    ALIGNED(CACHE_LINE) struct bucket index[BUCKETS];
    ALIGNED(CACHE_LINE) struct node nodes[NODES];

    /* sweep - FIRST_EPOCH in the upper half, nodes looked through since it was raised in the lower one. */
    ALIGNED(CACHE_LINE) _Atomic uint64_t cursor;

    ALIGNED(CACHE_LINE) _Atomic uintptr_t collector; /* which thread collects; 0: none */
    _Atomic uint32_t limit;   /* ids up to here are in use; 0 before the first collection */
    _Atomic uint32_t refused; /* nodes that could not be had since the last collection */
    _Atomic uint32_t kept;    /* nodes that the last collection found needed */
    _Atomic uint32_t rebuilt; /* the epoch since which the index is as it is: what is older has left it */
    _Atomic size_t collections;
    bool is_forking; /* it is a thread that forks that keeps others from collecting */

    /* Owned by the collection that is going on. */
    uint32_t marking_epoch;
    uint32_t marked; /* nodes */
    uint64_t roots;  /* ids looked at */
    stack_id ahead[MARK_AHEAD];
} map;

/* Read by everyone, written by collections. */
ALIGNED(CACHE_LINE) _Atomic uint32_t stackmap_current_epoch = FIRST_EPOCH;

_Static_assert(sizeof(struct node) == 16, "a node takes 16 bytes");
_Static_assert(sizeof(struct bucket) == CACHE_LINE, "a bucket is a cache line");

/* Epochs wrap around, skipping the two values that mean something else. */
static uint32_t epoch_after(uint32_t epoch)
{
    epoch++;
    return epoch == CLAIMED ? FIRST_EPOCH : epoch == 0 ? FIRST_EPOCH : epoch;
}

static inline bool is_older(uint32_t stamp, uint32_t epoch)
{
    return (int32_t)(stamp - epoch) < 0;
}

uint32_t stackmap_sweep(void)
{
    /* Acquire: what is read of nodes afterwards was not given back before. */
    return (uint32_t)(atomic_load_explicit(&map.cursor, memory_order_acquire) >> 32) + FIRST_EPOCH;
}

static inline uint32_t limit_now(void)
{
    uint32_t limit = atomic_load_explicit(&map.limit, memory_order_relaxed);

    if (limit != 0)
        return limit;
    return LD_MAX_STACKS < LIMIT_FIRST ? LD_MAX_STACKS : LIMIT_FIRST;
}

/* --- Index ------------------------------------------------------------------------------------------- */

/* Where the child of a node may be entered: near the other children of the node and of its neighbours, which
 * are often those of the same stack, made at the same time; or, if there are too many of them, far from them,
 * anywhere. */
struct lookup {
    struct bucket *near;
    uint64_t hash; /* which says where the other one is */
    uint8_t tag;   /* never 0 */
};

static inline struct lookup lookup_of(stack_id parent, uint64_t frame)
{
    uint64_t hash = (frame ^ (uint64_t)parent * UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xff51afd7ed558ccd);

    return (struct lookup){
        .near = &map.index[parent / BUCKET_NODES],
        .hash = hash,
        .tag = (uint8_t)(hash >> 56 | 1),
    };
}

/* The part of the index in use grows with the array, so that a small tree stays in the cache. */
static inline struct bucket *lookup_far(const struct lookup *place)
{
    uint64_t buckets = (uint64_t)limit_now() / BUCKET_NODES + 1;

    return &map.index[((place->hash >> 24 & UINT32_MAX) * buckets) >> 32];
}

static inline unsigned bucket_tagged(const struct bucket *bucket, uint8_t tag)
{
    return platform_find_bytes(bucket->tags, tag);
}

/* Which entries are empty: a bit for each. */
static inline unsigned bucket_empty(const struct bucket *bucket)
{
    return platform_find_bytes(bucket->tags, 0) & ((1u << BUCKET_ENTRIES) - 1);
}

/* Enters a node in one of the empty entries; or, if there are none, in one of which `turn` says which.
 *
 * What is entered and deleted is so without a locked instruction: of two threads that take one entry at the
 * same time, the index loses the node of one, and what is entered at the very moment in which a dead node
 * leaves may leave with it. */
static void bucket_add(struct bucket *bucket, unsigned empty, uint32_t turn, uint8_t tag, stack_id id)
{
    unsigned i = LIKELY(empty != 0) ? (unsigned)__builtin_ctz(empty) : turn % BUCKET_ENTRIES;

    atomic_store_explicit(&bucket->ids[i], id, memory_order_relaxed);
    atomic_store_explicit(&bucket->tags[i], tag, memory_order_relaxed);
}

static bool bucket_delete(struct bucket *bucket, uint8_t tag, stack_id id)
{
    for (unsigned found = bucket_tagged(bucket, tag); found != 0; found &= found - 1) {
        int i = __builtin_ctz(found);

        if (atomic_load_explicit(&bucket->ids[i], memory_order_relaxed) == id) {
            atomic_store_explicit(&bucket->tags[i], 0, memory_order_relaxed);
            return true;
        }
    }
    return false;
}

static inline struct lookup lookup_of_node(const struct node *node)
{
    return lookup_of(atomic_load_explicit(&node->parent, memory_order_relaxed),
                     atomic_load_explicit(&node->frame, memory_order_relaxed));
}

/* Raises the stamp of a node to this epoch; false if the node is not in use. */
static bool refresh(struct node *node, uint32_t stamp, uint32_t epoch)
{
    do {
        if (stamp == 0 || stamp == CLAIMED)
            return false;
        if (!is_older(stamp, epoch))
            return true;
        /* Acquire: what the node says is looked at again. */
    } while (!atomic_compare_exchange_weak_explicit(&node->stamp, &stamp, epoch, memory_order_acq_rel,
                                                    memory_order_acquire));
    return true;
}

static inline bool says(const struct node *node, stack_id parent, uint64_t frame)
{
    return atomic_load_explicit(&node->frame, memory_order_relaxed) == frame &&
           atomic_load_explicit(&node->parent, memory_order_relaxed) == parent;
}

/* A stamp that is older protects no node: it may have been reused, for something else, since the look at its
 * stamp, so that what was read is half of this and half of that. */
static NOINLINE bool is_match_still(struct node *node, uint32_t stamp, uint32_t epoch, stack_id parent,
                                    uint64_t frame)
{
    return refresh(node, stamp, epoch) && says(node, parent, frame);
}

/* True if the node says (parent, frame), and is now known to be needed in this epoch. */
static inline bool is_match(stack_id id, uint32_t epoch, stack_id parent, uint64_t frame)
{
    struct node *node = &map.nodes[id];
    /* Acquire: partner of the last store in node_make; the node says what it said when it got this stamp. */
    uint32_t stamp = atomic_load_explicit(&node->stamp, memory_order_acquire);

    /* One that is not older protects the node until this epoch has passed, and whoever asked will notice
     * that. */
    return says(node, parent, frame) && stamp != 0 && stamp != CLAIMED &&
           (LIKELY(!is_older(stamp, epoch)) || is_match_still(node, stamp, epoch, parent, frame));
}

/* The node in this bucket that says (parent, frame); 0: there is none. */
static inline stack_id bucket_search(const struct bucket *bucket, uint8_t tag, uint32_t epoch,
                                     stack_id parent, uint64_t frame)
{
    for (unsigned found = bucket_tagged(bucket, tag); found != 0; found &= found - 1) {
        stack_id id = atomic_load_explicit(&bucket->ids[__builtin_ctz(found)], memory_order_relaxed);

        if (LIKELY(is_match(id, epoch, parent, frame)))
            return id;
    }
    return 0;
}

/* --- Nodes -------------------------------------------------------------------------------------------- */

/* The next run of the array for this thread; false: it is all looked through. */
static bool supply_refill(struct stackmap_supply *supply)
{
    uint64_t cursor = atomic_load_explicit(&map.cursor, memory_order_acquire);

    for (;;) {
        uint32_t done = (uint32_t)cursor, limit = limit_now();

        if (done >= limit)
            return false;
        if (atomic_compare_exchange_weak_explicit(&map.cursor, &cursor, cursor + SUPPLY_NODES,
                                                  memory_order_acq_rel, memory_order_acquire)) {
            supply->next = done + 1;
            supply->end = (done + SUPPLY_NODES < limit ? done + SUPPLY_NODES : limit) + 1;
            return true;
        }
    }
}

/* The next node of the run may be dead, too, and will have to leave the index: most are in the bucket of
 * their parent. */
static inline void expect_claim(const struct stackmap_supply *supply)
{
    uint32_t next = supply->next;

    if (LIKELY(next < supply->end))
        PREFETCH_WRITE(
            &map.index[atomic_load_explicit(&map.nodes[next].parent, memory_order_relaxed) / BUCKET_NODES]);
}

/* A dead node, now the caller's; 0: there is none.  A signal handler that uses the same supply in between
 * costs nodes nothing but a second look: it is the stamp that decides. */
static stack_id node_claim(struct stackmap_supply *supply)
{
    for (;;) {
        /* Read once: a handler may come between the look at it and its use. */
        stack_id id = *(volatile uint32_t *)&supply->next;
        struct node *node = &map.nodes[id];
        uint32_t stamp;

        if (id >= supply->end) {
            if (!supply_refill(supply))
                return 0;
            continue;
        }
        supply->next = id + 1;
        stamp = atomic_load_explicit(&node->stamp, memory_order_relaxed);
        if (stamp == CLAIMED || (stamp != 0 && !is_older(stamp, stackmap_sweep())))
            continue;
        if (!atomic_compare_exchange_strong_explicit(&node->stamp, &stamp, CLAIMED, memory_order_acquire,
                                                     memory_order_relaxed))
            continue;
        if (stamp != 0 && !is_older(stamp, atomic_load_explicit(&map.rebuilt, memory_order_relaxed))) {
            struct lookup place = lookup_of_node(node);

            if (!bucket_delete(place.near, place.tag, id))
                bucket_delete(lookup_far(&place), place.tag, id);
        }
        expect_claim(supply);
        return id;
    }
}

/* Entered in this bucket, in which these entries are empty. */
static NOINLINE stack_id node_make(struct stackmap_supply *supply, uint32_t epoch, stack_id parent,
                                   uint64_t frame, uint8_t tag, struct bucket *bucket, unsigned empty)
{
    stack_id id = node_claim(supply);
    struct node *node = &map.nodes[id];

    if (id == 0) {
        atomic_fetch_add_explicit(&map.refused, 1, memory_order_relaxed);
        return 0;
    }
    /* Release: a walk that reads one of these sees the sweep that allowed to write it, and copies again. */
    atomic_store_explicit(&node->frame, frame, memory_order_release);
    atomic_store_explicit(&node->parent, parent, memory_order_release);
    atomic_store_explicit(&node->stamp, epoch, memory_order_release);
    bucket_add(bucket, empty, id, tag, id);
    return id;
}

void stackmap_expect(stack_id parent)
{
    PREFETCH_WRITE(&map.index[parent / BUCKET_NODES]);
}

/* Budget of a hit: two cache lines, no write. */
stack_id stackmap_child(struct stackmap_supply *supply, uint32_t epoch, stack_id parent, const void *pc,
                        uint16_t module)
{
    uint64_t frame = (uint64_t)(uintptr_t)pc << MODULE_BITS | module;
    struct lookup place = lookup_of(parent, frame);
    struct bucket *bucket = place.near;
    stack_id id = bucket_search(bucket, place.tag, epoch, parent, frame);
    unsigned empty;

    if (LIKELY(id != 0))
        return id;
    empty = bucket_empty(bucket);
    /* What was entered far away before an entry here was given back is lost. */
    if (UNLIKELY(empty == 0)) {
        bucket = lookup_far(&place);
        id = bucket_search(bucket, place.tag, epoch, parent, frame);
        if (id != 0)
            return id;
        empty = bucket_empty(bucket);
    }
    return node_make(supply, epoch, parent, frame, place.tag, bucket, empty);
}

size_t stackmap_frames(stack_id stack, const void **frames, uint16_t *modules, size_t capacity)
{
    size_t count = 0;

    while (stack != 0 && stack < NODES && count < capacity) {
        uint64_t frame = atomic_load_explicit(&map.nodes[stack].frame, memory_order_acquire);

        frames[count] = (const void *)(uintptr_t)(frame >> MODULE_BITS);
        modules[count] = (uint16_t)(frame & UINT16_MAX);
        count++;
        stack = atomic_load_explicit(&map.nodes[stack].parent, memory_order_acquire);
    }
    return count;
}

/* --- Collection --------------------------------------------------------------------------------------- */

static void mark(stack_id id)
{
    uint32_t epoch = map.marking_epoch;

    while (id != 0 && id < NODES) {
        struct node *node = &map.nodes[id];
        uint32_t stamp = atomic_load_explicit(&node->stamp, memory_order_acquire);

        do {
            /* Stamped already: so are its parents, for marking goes on to them and stacks are built from the
             * outermost frame inwards.  Not in use: the id was worthless. */
            if (stamp == 0 || stamp == CLAIMED || !is_older(stamp, epoch))
                return;
        } while (!atomic_compare_exchange_weak_explicit(&node->stamp, &stamp, epoch, memory_order_acq_rel,
                                                        memory_order_acquire));
        map.marked++;
        id = atomic_load_explicit(&node->parent, memory_order_relaxed);
    }
}

/* The same, later: roots are all over the array. */
static void mark_root(stack_id id)
{
    stack_id *place = &map.ahead[map.roots++ % MARK_AHEAD], before = *place;

    *place = id < NODES ? id : 0;
    PREFETCH_WRITE(&map.nodes[*place]);
    mark(before);
}

/* The part of the index in use has grown: enters all marked nodes again.  Whoever looks meanwhile finds
 * nothing, and makes a node of its own. */
static COLD void index_rebuild(uint32_t old_limit)
{
    size_t buckets = (size_t)limit_now() / BUCKET_NODES + 1;

    for (size_t b = 0; b < buckets; b++)
        for (unsigned i = 0; i < BUCKET_ENTRIES; i++)
            atomic_store_explicit(&map.index[b].tags[i], 0, memory_order_relaxed);
    for (stack_id id = 1; id <= old_limit; id++) {
        struct node *node = &map.nodes[id];

        if (atomic_load_explicit(&node->stamp, memory_order_acquire) == map.marking_epoch) {
            struct lookup place = lookup_of_node(node);
            struct bucket *bucket = bucket_empty(place.near) != 0 ? place.near : lookup_far(&place);

            bucket_add(bucket, bucket_empty(bucket), id, place.tag, id);
        }
    }
    atomic_store_explicit(&map.rebuilt, map.marking_epoch, memory_order_relaxed);
}

/* Numbers of epochs come round: lest one that is far behind looks like one ahead. */
static void index_stays_old(void)
{
    uint32_t oldest = map.marking_epoch - (UINT32_C(1) << 30);

    if (is_older(atomic_load_explicit(&map.rebuilt, memory_order_relaxed), oldest))
        atomic_store_explicit(&map.rebuilt, oldest, memory_order_relaxed);
}

/* How far the array is used until the next collection: far enough for that one to pay, and no further. */
static void limit_raise(void)
{
    uint64_t limit = (uint64_t)map.marked * 2 + map.roots / ROOTS_A_NODE + LIMIT_FIRST;
    uint32_t old = limit_now();

    if (limit > LD_MAX_STACKS)
        limit = LD_MAX_STACKS;
    if (limit <= old)
        return;
    atomic_store_explicit(&map.limit, (uint32_t)limit, memory_order_relaxed);
    index_rebuild(old);
}

/* Whether the nodes that were asked for since the last collection, granted or refused, are worth the next
 * one: a 64th of those in use, and, if that can be, more than one path needs, or whoever enters one that does
 * not fit would have the nodes that it was granted collected again and again. */
static bool pays(void)
{
    uint32_t limit = limit_now(), kept = atomic_load_explicit(&map.kept, memory_order_relaxed);
    uint32_t path = STACKMAP_DEPTH_MAX < limit / 2 ? STACKMAP_DEPTH_MAX : limit / 2;
    uint32_t asked = kept < limit ? limit - kept : 0; /* and granted */

    asked += atomic_load_explicit(&map.refused, memory_order_relaxed);
    return asked >= limit / 64 && asked > path;
}

/* A number that no other thread has at the same time. */
static uintptr_t this_thread(void)
{
    return (uintptr_t)&errno;
}

static bool try_begin(void)
{
    uintptr_t none = 0;

    /* Acquire: partner of end. */
    return atomic_compare_exchange_strong_explicit(&map.collector, &none, this_thread(), memory_order_acquire,
                                                   memory_order_relaxed);
}

static void end(void)
{
    atomic_store_explicit(&map.collector, 0, memory_order_release);
}

/* What was marked counts for nothing, since the next collection has an epoch of its own; what the index lost
 * is entered again. */
void stackmap_abandon(void)
{
    if (atomic_load_explicit(&map.collector, memory_order_relaxed) == this_thread())
        end();
}

enum stackmap_outcome stackmap_collect(stackmap_roots_fn *each_root)
{
    if (!try_begin())
        return STACKMAP_BUSY;
    if (!pays()) {
        end();
        return STACKMAP_FULL;
    }

    map.marked = 0;
    map.roots = 0;
    map.marking_epoch = epoch_after(stackmap_epoch());
    atomic_store_explicit(&stackmap_current_epoch, map.marking_epoch, memory_order_seq_cst);
    /* From here on whoever is about to put a stack on record either sees the new epoch, or has its id where
     * each_root looks for it. */
    platform_heavy_fence();
    each_root(mark_root);
    for (size_t i = 0; i < MARK_AHEAD; i++)
        mark_root(0);
    limit_raise();
    atomic_store_explicit(&map.kept, map.marked, memory_order_relaxed);
    atomic_store_explicit(&map.refused, 0, memory_order_relaxed);
    index_stays_old();
    atomic_fetch_add_explicit(&map.collections, 1, memory_order_relaxed);
    /* Release: who looks through the array again sees all marks. */
    atomic_store_explicit(&map.cursor, (uint64_t)(map.marking_epoch - FIRST_EPOCH) << 32,
                          memory_order_release);

    end();
    return STACKMAP_COLLECTED;
}

bool stackmap_is_collecting(void)
{
    return atomic_load_explicit(&map.collector, memory_order_relaxed) != 0;
}

void stackmap_before_fork(void)
{
    struct bounded_wait wait = {0};

    /* Bounded: fork may have been called by a signal handler that interrupted the collection. */
    while (!try_begin())
        if (!bounded_wait(&wait))
            return;
    map.is_forking = true;
}

/* In the child there is no other thread that might still be collecting.  But a collection of this thread's,
 * in the midst of which a signal handler has forked, goes on. */
void stackmap_after_fork(bool in_child)
{
    bool is_own = atomic_load_explicit(&map.collector, memory_order_relaxed) == this_thread();

    if (is_own ? !map.is_forking : !in_child)
        return;
    map.is_forking = false;
    end();
}

/* --- Figures and checks -------------------------------------------------------------------------------- */

static bool is_needed(uint32_t stamp)
{
    return stamp != 0 && stamp != CLAIMED && !is_older(stamp, stackmap_sweep());
}

void stackmap_get_stats(struct stackmap_stats *out)
{
    const size_t limit = limit_now();

    *out = (struct stackmap_stats){
        .collections = atomic_load_explicit(&map.collections, memory_order_relaxed),
    };
    for (size_t id = 1; id <= limit; id++)
        out->nodes += is_needed(atomic_load_explicit(&map.nodes[id].stamp, memory_order_relaxed));
}

size_t stackmap_own_bytes(void)
{
    return sizeof(map);
}

const void *stackmap_table(void)
{
    return &map;
}

bool stackmap_is_valid(void)
{
    if (is_older(stackmap_epoch(), stackmap_sweep()))
        return false;
    for (size_t id = 1; id < NODES; id++) {
        uint32_t parent = atomic_load_explicit(&map.nodes[id].parent, memory_order_relaxed);

        if (parent >= NODES)
            return false;
        if (parent != 0 && is_needed(atomic_load_explicit(&map.nodes[id].stamp, memory_order_relaxed)) &&
            !is_needed(atomic_load_explicit(&map.nodes[parent].stamp, memory_order_relaxed)))
            return false;
    }
    return true;
}
