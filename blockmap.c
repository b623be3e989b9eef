/* SPDX-License-Identifier: MIT
 *
 * The lock-free table of blockmap.h.  Its one idea: a slot belongs to whoever claimed it, by swapping its
 * head from free to claimed, until the record is taken out; a search never has to look at anything that
 * moves.
 *
 * Readers that do not own the record (walks) read head, body, head again.  The version, in both words and
 * changed with each insertion, tells a record from its successor in the same slot: a reader could only be
 * fooled if the slot were reused an exact multiple of fifteen times, for the same address, between each two
 * of three adjacent loads.
 */
#include "blockmap.h"

#include <stdatomic.h>

#include "platform.h"

enum {
    BUCKET_SLOTS = 8,
    /* One slot for each 32 bytes of addresses: what programs allocate is 30 to 100 bytes on the average. */
    SLOT_SHIFT = 5,
    BUCKET_SHIFT = SLOT_SHIFT + 3,
    PAGE_SHIFT = 12,
    PAGE_BUCKETS = 1 << (PAGE_SHIFT - BUCKET_SHIFT),
    /* A quarter more slots than records: a search then looks at two buckets on the average when all are
     * taken, and the chance that this many are all full is nil (0.8 ^ 128). */
    PROBES_MAX = 128,
};

#define SLOTS_WANTED ((size_t)LD_MAX_BLOCKS + LD_MAX_BLOCKS / 4)
#define BUCKETS      ((SLOTS_WANTED + BUCKET_SLOTS - 1) / BUCKET_SLOTS)
#define SLOTS        (BUCKETS * BUCKET_SLOTS)
#define STRETCH      256 /* slots: a page of the table */
#define STRETCHES    ((SLOTS + STRETCH - 1) / STRETCH)

#define VERSION_MASK UINT64_C(0xf)
#define HELD         UINT64_C(0x10)
#define MARK_SHIFT   5
#define MARK_MASK    ((UINT32_C(1) << BLOCKMAP_MARK_BITS) - 1)
#define ADDRESS_UNIT (UINT64_C(1) << (MARK_SHIFT + BLOCKMAP_MARK_BITS)) /* heads below this are free */
#define ADDRESS_MASK (~(ADDRESS_UNIT - 1))
#define CLAIMED      ADDRESS_MASK

#define STACK_SHIFT   4
#define FLAG_SHIFT    (STACK_SHIFT + BLOCKMAP_STACK_BITS)
#define SIZE_SHIFT    32
#define SIZE_IN_PAGES BLOCKMAP_EXACT_SIZES /* the size code counts pages, not bytes */

struct slot {
    _Atomic uint64_t head;
    _Atomic uint64_t body;
};

static struct {
    ALIGNED(BUCKET_SLOTS * 16) struct slot slots[SLOTS];
    _Atomic uint32_t overflow[BUCKETS];
    atomic_bool used[STRETCHES]; /* whether this stretch of slots was ever written: walks skip the others */
    _Atomic uint32_t epoch;
} map;

_Static_assert(sizeof(struct slot) == 16, "a record takes 16 bytes");
_Static_assert(LD_MAX_STACKS < 1 << BLOCKMAP_STACK_BITS, "stack ids fit their field");
_Static_assert(BLOCKMAP_STACK_BITS + BLOCKMAP_FLAG_BITS < 32,
               "no record has a tag that says that there is none");
_Static_assert(BLOCKMAP_EXACT_EPOCHS <= (MARK_MASK + 1) / 2,
               "marks stay apart until they are brought up to date");

/* --- Words ------------------------------------------------------------------------------------------ */

static inline bool is_free(uint64_t head)
{
    return head < ADDRESS_UNIT;
}

static inline bool is_claimed(uint64_t head)
{
    return head >= CLAIMED;
}

/* The version of whatever comes next.  0 is the one before the first.  Without a branch, which would be
 * guessed wrong each time that the version comes round. */
static inline uint64_t version_after(uint64_t version)
{
    uint64_t next = (version + 1) & VERSION_MASK;

    return next + (next == 0);
}

static inline bool was_ever_used(uint64_t head)
{
    return head != 0;
}

/* The address as it stands in a head; 0 for one that cannot be kept. */
static inline uint64_t key_of(const void *address)
{
    uint64_t bits = (uint64_t)(uintptr_t)address;

    return LIKELY((bits & ~UINT64_C(0xfffffffffff8)) == 0) ? bits << 16 : 0;
}

static inline const void *address_of(uint64_t head)
{
    return (const void *)(uintptr_t)((head & ADDRESS_MASK) >> 16);
}

static uint32_t size_encode(size_t size)
{
    if (LIKELY(size < SIZE_IN_PAGES))
        return (uint32_t)size;
    return SIZE_IN_PAGES | (uint32_t)(blockmap_kept_size(size) / BLOCKMAP_SIZE_PAGE);
}

static size_t size_decode(uint32_t code)
{
    if (LIKELY(code < SIZE_IN_PAGES))
        return code;
    return (size_t)(code & ~SIZE_IN_PAGES) * BLOCKMAP_SIZE_PAGE;
}

static inline uint64_t head_of(const struct block *block, uint64_t key, uint64_t version)
{
    return key | (uint64_t)(block->mark & MARK_MASK) << MARK_SHIFT | version;
}

static inline uint64_t body_of(const struct block *block, uint64_t version)
{
    return (uint64_t)size_encode(block->size) << SIZE_SHIFT | (uint64_t)block->flags << FLAG_SHIFT |
           (uint64_t)block->stack << STACK_SHIFT | version;
}

static inline size_t size_of(uint64_t body)
{
    return size_decode((uint32_t)(body >> SIZE_SHIFT));
}

static inline uint32_t stack_of(uint64_t body)
{
    return (uint32_t)(body >> STACK_SHIFT) & ((UINT32_C(1) << BLOCKMAP_STACK_BITS) - 1);
}

static inline uint32_t flags_of(uint64_t body)
{
    return (uint32_t)(body >> FLAG_SHIFT) & ((UINT32_C(1) << BLOCKMAP_FLAG_BITS) - 1);
}

/* Both, as they stand. */
static inline uint32_t tag_of(uint64_t body)
{
    return (uint32_t)(body >> STACK_SHIFT) &
           ((UINT32_C(1) << (BLOCKMAP_STACK_BITS + BLOCKMAP_FLAG_BITS)) - 1);
}

static inline void decode(uint64_t head, uint64_t body, struct block *out)
{
    /* The head was read before: its epoch had begun by then, so the difference is its age. */
    uint32_t now = atomic_load_explicit(&map.epoch, memory_order_relaxed);
    uint32_t age = (now - (uint32_t)(head >> MARK_SHIFT)) & MARK_MASK;

    *out = (struct block){
        .address = address_of(head),
        .size = size_of(body),
        .stack = stack_of(body),
        .mark = now - age,
        .flags = flags_of(body),
    };
}

/* --- The way of a search ------------------------------------------------------------------------------ */

struct probe {
    uint64_t page;
    size_t bucket;
    unsigned in_page; /* which of the page's buckets */
    unsigned first;   /* slot of the bucket to begin with */
    unsigned count;   /* buckets left behind */
};

static inline struct probe probe_start(const void *address)
{
    uintptr_t bits = (uintptr_t)address;
    uint64_t page = (uint64_t)bits >> PAGE_SHIFT;

    return (struct probe){
        .page = page,
        .bucket = (size_t)(((uint64_t)bits >> BUCKET_SHIFT) % BUCKETS),
        .in_page = (unsigned)(bits >> BUCKET_SHIFT) % PAGE_BUCKETS,
        .first = (unsigned)(bits >> SLOT_SHIFT) % BUCKET_SLOTS,
        .count = 0,
    };
}

/* The page's next window of buckets: anywhere in the table, so that pages which compete for one window
 * part. */
static inline void probe_next(struct probe *probe)
{
    uint64_t hash;

    probe->count++;
    hash = (probe->page + probe->count * UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xd6e8feb86659fd93);
    hash ^= hash >> 32;
    probe->bucket = (size_t)((hash + probe->in_page) % BUCKETS);
}

static inline struct slot *probe_slot(const struct probe *probe, unsigned i)
{
    return &map.slots[probe->bucket * BUCKET_SLOTS + (probe->first + i) % BUCKET_SLOTS];
}

/* Blocks smaller than what there is one slot for may find their home taken by a neighbour.  A second one, for
 * no other block of the page, is at the same place of one of the page's next windows, by the address.  What
 * lies there was not passed on. */
static inline struct slot *second_home(const void *address)
{
    struct probe probe = probe_start(address);

    probe.count = (unsigned)((uintptr_t)address >> 3) % (1 << (SLOT_SHIFT - 3));
    probe_next(&probe);
    return probe_slot(&probe, 0);
}

/* Where a block is looked for first: probe_slot(probe_start(address), 0), in fewer steps.  Next to one of
 * eight bytes there is mostly another one, which is why every second of them goes to its second home at once.
 */
static inline struct slot *home_of(const void *address)
{
    if (UNLIKELY((uintptr_t)address % 16 != 0))
        return second_home(address);
    return &map.slots[(uint64_t)((uintptr_t)address >> SLOT_SHIFT) % SLOTS];
}

/* The first slot at or after i in a stretch that was ever used; SLOTS: none. */
static inline size_t next_used(size_t i)
{
    while (i % STRETCH == 0 && i < SLOTS &&
           !atomic_load_explicit(&map.used[i / STRETCH], memory_order_relaxed))
        i += STRETCH;
    return i < SLOTS ? i : SLOTS;
}

static inline void mark_used(size_t slot)
{
    atomic_bool *used = &map.used[slot / STRETCH];

    if (UNLIKELY(!atomic_load_explicit(used, memory_order_relaxed)))
        atomic_store_explicit(used, true, memory_order_relaxed);
}

/* How many buckets a search for this address leaves behind before it first comes to that slot. */
static unsigned distance_to(const void *address, size_t slot)
{
    struct probe probe = probe_start(address);

    if (&map.slots[slot] == second_home(address))
        return 0;
    while (probe.bucket != slot / BUCKET_SLOTS) {
        probe_next(&probe);
        CHECK(probe.count < PROBES_MAX);
    }
    return probe.count;
}

/* Counts so many more in the buckets that a search for this address leaves behind, from the first to before
 * the end. */
static COLD void count_overflow(const void *address, unsigned first, unsigned end, uint32_t more)
{
    struct probe probe = probe_start(address);

    for (; probe.count < end; probe_next(&probe))
        if (probe.count >= first)
            atomic_fetch_add_explicit(&map.overflow[probe.bucket], more, memory_order_relaxed);
}

static COLD void uncount_overflow(const void *address, unsigned first, unsigned end)
{
    count_overflow(address, first, end, UINT32_MAX);
}

/* A search may come to a bucket twice: full at first, it had room later.  The record will be found the first
 * time. */
static COLD void uncount_return(const void *address, size_t slot, unsigned count)
{
    uncount_overflow(address, distance_to(address, slot), count);
}

/* --- Insert ------------------------------------------------------------------------------------------- */

/* Puts a block into this slot, whose head was seen to be free; false if somebody else was faster. */
static inline bool fill(struct slot *slot, uint64_t head, const struct block *block, uint64_t key)
{
    uint64_t version = version_after(head);

    /* Acquire: our body is stored after whoever had the slot before has read its own. */
    if (UNLIKELY(!atomic_compare_exchange_strong_explicit(&slot->head, &head, CLAIMED | version,
                                                          memory_order_acquire, memory_order_relaxed)))
        return false;
    /* Release: a walk that sees this body sees that the slot was claimed, and looks again. */
    atomic_store_explicit(&slot->body, body_of(block, version), memory_order_release);
    /* Release: partner of the acquiring loads in read_slot and locate. */
    atomic_store_explicit(&slot->head, head_of(block, key, version), memory_order_release);
    return true;
}

/* The same, if it is free. */
static inline bool fill_if_free(struct slot *slot, const struct block *block, uint64_t key)
{
    uint64_t head = atomic_load_explicit(&slot->head, memory_order_relaxed);

    if (!is_free(head))
        return false;
    if (UNLIKELY(!was_ever_used(head)))
        mark_used((size_t)(slot - map.slots));
    return fill(slot, head, block, key);
}

static NOINLINE bool insert_slow(const struct block *block, uint64_t key)
{
    struct probe probe = probe_start(block->address);
    struct slot *second = second_home(block->address);

    if (key == 0)
        return false;
    if (LIKELY(fill_if_free(second, block, key)))
        return true;
    for (;;) {
        for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
            struct slot *slot = probe_slot(&probe, i);

            if (!fill_if_free(slot, block, key))
                continue;
            if (UNLIKELY(probe.count != 0))
                uncount_return(block->address, (size_t)(slot - map.slots), probe.count);
            return true;
        }
        /* Before the caller hands out the address, hence seen by whoever removes it. */
        atomic_fetch_add_explicit(&map.overflow[probe.bucket], 1, memory_order_relaxed);
        probe_next(&probe);
        if (UNLIKELY(probe.count == PROBES_MAX)) {
            uncount_overflow(block->address, 0, probe.count);
            return false;
        }
    }
}

struct slot *blockmap_expect(const void *address)
{
    struct slot *home = home_of(address);

    PREFETCH_WRITE(home);
    return home;
}

/* Budget: one cache line, one compare-and-swap. */
bool blockmap_insert_at(struct slot *home, const struct block *block)
{
    uint64_t key = key_of(block->address);

    return LIKELY(key != 0 && fill_if_free(home, block, key)) || insert_slow(block, key);
}

/* --- Find, remove, hold --------------------------------------------------------------------------------- */

static inline bool answers(const struct slot *slot, uint64_t key, uint64_t *head)
{
    *head = atomic_load_explicit(&slot->head, memory_order_acquire);
    return (*head & (ADDRESS_MASK | HELD)) == key;
}

/* The slot whose record answers to this address, with its head as it was and the number of buckets that the
 * search left behind; NULL: there is none. */
static inline struct slot *locate(const void *address, uint64_t *head, unsigned *passed)
{
    uint64_t key = key_of(address);
    struct slot *slot = home_of(address);
    struct probe probe;

    if (UNLIKELY(key == 0))
        return NULL;
    *passed = 0;
    if (answers(slot, key, head))
        return slot;
    /* While a home has always been free, nothing was ever sent away from it. */
    if (!was_ever_used(*head))
        return NULL;
    slot = second_home(address);
    if (answers(slot, key, head))
        return slot;
    probe = probe_start(address);
    for (;;) {
        for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
            slot = probe_slot(&probe, i);
            *passed = probe.count;
            if (answers(slot, key, head))
                return slot;
        }
        if (LIKELY(atomic_load_explicit(&map.overflow[probe.bucket], memory_order_relaxed) == 0))
            return NULL;
        probe_next(&probe);
        if (UNLIKELY(probe.count == PROBES_MAX))
            return NULL;
    }
}

/* Takes out the record that is in this slot, with this head.  A plain store: the record is the caller's, and
 * of others only refresh_marks would write to it, whose swap fails now, or whose mark dies with the record.
 */
static inline struct blockmap_removed take_out(struct slot *slot, uint64_t head)
{
    uint64_t body = atomic_load_explicit(&slot->body, memory_order_relaxed);

    /* Release: partner of the claim in fill. */
    atomic_store_explicit(&slot->head, head & VERSION_MASK, memory_order_release);
    return (struct blockmap_removed){.size = size_of(body), .tag = tag_of(body)};
}

static NOINLINE struct blockmap_removed remove_slow(const void *address)
{
    struct blockmap_removed removed;
    uint64_t head;
    unsigned passed;
    struct slot *slot = locate(address, &head, &passed);

    if (slot == NULL)
        return (struct blockmap_removed){.tag = UINT32_MAX};
    removed = take_out(slot, head);
    if (UNLIKELY(passed != 0))
        uncount_overflow(address, 0, passed);
    return removed;
}

/* Budget: one cache line, no locked instruction where the record is in one of its homes, as it mostly is; on
 * a miss one more line, of the overflow counts. */
struct blockmap_removed blockmap_remove(const void *address)
{
    struct slot *home = home_of(address);
    uint64_t head = atomic_load_explicit(&home->head, memory_order_acquire);
    uint64_t key = key_of(address);

    if (UNLIKELY(key == 0 || (head & (ADDRESS_MASK | HELD)) != key))
        return remove_slow(address);
    return take_out(home, head);
}

bool blockmap_find(const void *address, struct block *out)
{
    struct slot *slot;
    uint64_t head, body;
    unsigned passed;

    do {
        slot = locate(address, &head, &passed);
        if (slot == NULL)
            return false;
        /* Acquire: the second look at the head comes after it. */
        body = atomic_load_explicit(&slot->body, memory_order_acquire);
    } while (atomic_load_explicit(&slot->head, memory_order_relaxed) != head ||
             ((head ^ body) & VERSION_MASK) != 0);
    decode(head, body, out);
    return true;
}

bool blockmap_hold(const void *address, struct blockmap_hold *hold)
{
    struct slot *slot;
    uint64_t head, body;
    unsigned passed;

    do {
        slot = locate(address, &head, &passed);
        if (slot == NULL)
            return false;
        body = atomic_load_explicit(&slot->body, memory_order_relaxed);
    } while (!atomic_compare_exchange_strong_explicit(&slot->head, &head, head | HELD, memory_order_relaxed,
                                                      memory_order_relaxed));
    decode(head, body, &hold->block);
    hold->slot = (size_t)(slot - map.slots);
    return true;
}

void blockmap_settle(const struct blockmap_hold *hold, const struct block *block)
{
    struct slot *slot = &map.slots[hold->slot];
    uint64_t head = atomic_load_explicit(&slot->head, memory_order_relaxed);
    uint64_t version = head & VERSION_MASK;

    CHECK((head & HELD) != 0 && address_of(head) == hold->block.address);
    if (block == NULL) {
        unsigned passed = distance_to(hold->block.address, hold->slot);

        atomic_store_explicit(&slot->head, version, memory_order_release);
        if (UNLIKELY(passed != 0))
            uncount_overflow(hold->block.address, 0, passed);
        return;
    }
    /* The body goes first, with the next version: read_slot knows what a held record with such a body
     * means. */
    version = version_after(version);
    atomic_store_explicit(&slot->body, body_of(block, version), memory_order_release);
    atomic_store_explicit(&slot->head, head_of(block, head & ADDRESS_MASK, version), memory_order_release);
}

/* --- Walk ----------------------------------------------------------------------------------------------- */

/* A consistent copy of what the slot holds; false if it holds nothing that has been there for a while. */
static inline bool read_slot(struct slot *slot, struct block *out)
{
    for (;;) {
        uint64_t head = atomic_load_explicit(&slot->head, memory_order_acquire);
        uint64_t body, version;

        if (is_free(head) || is_claimed(head))
            return false;
        body = atomic_load_explicit(&slot->body, memory_order_acquire);
        version = body & VERSION_MASK;
        /* A held record whose body is one version ahead is about to be settled, and the body is its new one:
         * its owner may be a thread that is not running, or the one that this walk interrupted, so never wait
         * for it. */
        if (atomic_load_explicit(&slot->head, memory_order_relaxed) == head &&
            (version == (head & VERSION_MASK) || (version == version_after(head) && (head & HELD) != 0))) {
            decode(head, body, out);
            return true;
        }
    }
}

void blockmap_each(blockmap_visit_fn *visit, void *ctx)
{
    for (size_t i = next_used(0); i < SLOTS; i = next_used(i + 1)) {
        enum blockmap_step step = BLOCKMAP_AGAIN;
        struct block block;

        while (step == BLOCKMAP_AGAIN && read_slot(&map.slots[i], &block))
            step = visit(&block, ctx);
        if (step == BLOCKMAP_STOP)
            return;
    }
}

void blockmap_each_stack(blockmap_stack_fn *visit)
{
    for (size_t i = next_used(0); i < SLOTS; i = next_used(i)) {
        const struct slot *slot = &map.slots[i], *end = &map.slots[i + STRETCH < SLOTS ? i + STRETCH : SLOTS];

        for (; slot < end; slot++, i++) {
            /* Acquire: the body is that of this record, or of one that came after it. */
            uint64_t head = atomic_load_explicit(&slot->head, memory_order_acquire);

            if (!is_free(head) && !is_claimed(head))
                visit(stack_of(atomic_load_explicit(&slot->body, memory_order_relaxed)));
        }
    }
}

/* --- Epochs ------------------------------------------------------------------------------------------ */

/* Gives records that are about to outlive their mark the oldest one that is still told exactly. */
static COLD void refresh_marks(void)
{
    for (size_t i = next_used(0); i < SLOTS; i = next_used(i + 1)) {
        _Atomic uint64_t *word = &map.slots[i].head;
        /* Acquire: the epoch is that of this record, or a later one. */
        uint64_t head = atomic_load_explicit(word, memory_order_acquire);
        uint32_t epoch = atomic_load_explicit(&map.epoch, memory_order_relaxed);
        uint32_t age = (epoch - (uint32_t)(head >> MARK_SHIFT)) & MARK_MASK;

        if (is_free(head) || is_claimed(head) || (head & HELD) != 0 || age <= BLOCKMAP_EXACT_EPOCHS)
            continue;
        uint64_t fresh = (head & (ADDRESS_MASK | VERSION_MASK)) |
                         (uint64_t)((epoch - BLOCKMAP_EXACT_EPOCHS) & MARK_MASK) << MARK_SHIFT;
        /* Whoever changed the head meanwhile freed the block or holds it: it is seen to next time. */
        atomic_compare_exchange_strong_explicit(word, &head, fresh, memory_order_relaxed,
                                                memory_order_relaxed);
    }
}

void blockmap_start_epoch(uint32_t epoch)
{
    uint32_t now = atomic_load_explicit(&map.epoch, memory_order_relaxed);

    /* Several threads may start epochs at once: the highest number counts. */
    while ((int32_t)(epoch - now) > 0 &&
           !atomic_compare_exchange_weak_explicit(&map.epoch, &now, epoch, memory_order_relaxed,
                                                  memory_order_relaxed))
        continue;
    /* Before an age is more than three quarters of what its field can tell. */
    if (epoch % (BLOCKMAP_EXACT_EPOCHS / 2) == 0 && epoch > BLOCKMAP_EXACT_EPOCHS)
        refresh_marks();
}

/* --- Figures and checks ------------------------------------------------------------------------------- */

size_t blockmap_own_bytes(void)
{
    return sizeof(map);
}

const void *blockmap_table(void)
{
    return &map;
}

void blockmap_get_stats(struct blockmap_stats *out)
{
    *out = (struct blockmap_stats){0};
    for (size_t i = next_used(0); i < SLOTS; i = next_used(i + 1)) {
        struct block block;

        if (!read_slot(&map.slots[i], &block))
            continue;
        out->records++;
        out->displaced += distance_to(block.address, i) != 0;
    }
}

bool blockmap_is_valid(void)
{
    /* Each record takes what it counted out of the overflow counts; then each must be 0. */
    bool valid = true;

    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = next_used(0); i < SLOTS; i = next_used(i + 1)) {
            uint64_t head = atomic_load_explicit(&map.slots[i].head, memory_order_acquire);
            uint64_t body = atomic_load_explicit(&map.slots[i].body, memory_order_relaxed);

            if (is_free(head))
                continue;
            if (is_claimed(head) || ((head ^ body) & VERSION_MASK) != 0)
                return false;
            count_overflow(address_of(head), 0, distance_to(address_of(head), i), pass == 0 ? UINT32_MAX : 1);
        }
        for (size_t b = 0; pass == 0 && b < BUCKETS; b++)
            valid = valid && atomic_load_explicit(&map.overflow[b], memory_order_relaxed) == 0;
    }
    return valid;
}
