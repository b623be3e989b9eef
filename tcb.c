/* SPDX-License-Identifier: MIT
 *
 * Control blocks of tcb.h.  glibc has each in one of three lists, whose heads lie side by side in its data:
 * threads on stacks that it has made, threads on stacks of the program's and the first one, and stacks that
 * it keeps for threads to come.  It changes them so that they can be read forwards at any moment.  Before
 * glibc 2.34 the heads lie apart; then there is the end of a mapping, where a stack that glibc has made
 * mostly ends.
 */
#define _GNU_SOURCE
#include "tcb.h"

#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "kernel.h"
#include "platform.h"

enum {
    WORD = sizeof(uintptr_t),
    PAGE = 4096,

    DTV = 8,
    SELF = 16,
    LINK = 704,
    ID = 720,
    ALIGN = 64,
    LEAST_BYTES = 2304, /* of a control block; 64 more in glibc 2.36 */
    MOST_BYTES = 2560,

    DTV_ENTRY = 2 * WORD,
    DTV_MOST = 1 << 16,
    HEAD_BYTES = 2 * WORD,
    FARTHEST = 2 * HEAD_BYTES, /* from one of the three heads to another */
    LIST_MOST = 1 << 20,
};

/* What the kernel keeps free below the beginning of the first stack: half of it, since it may begin lower. */
#define FIRST_STACK_MOST ((uintptr_t)64 << 20)
#define STACK_MOST       (UINTPTR_MAX >> 28)

static READS_FRAMES uintptr_t word_at(uintptr_t address)
{
    return *(const uintptr_t *)address;
}

static bool can_read_words(const struct maps *maps, uintptr_t address, size_t count)
{
    return address % WORD == 0 && maps_can_read(maps, address, count * WORD);
}

static bool points_to_itself(uintptr_t address)
{
    return word_at(address) == address && word_at(address + SELF) == address;
}

bool tcb_is_at(const struct maps *maps, uintptr_t address)
{
    return can_read_words(maps, address, ID / WORD + 1) && points_to_itself(address);
}

uintptr_t tcb_find(const struct maps *maps, uintptr_t address)
{
    const struct mapping *mapping = maps_find(maps, address);

    if (mapping == NULL || !mapping->is_readable)
        return 0;
    for (uintptr_t at = (address + ALIGN - 1) & ~(uintptr_t)(ALIGN - 1); at + ID + WORD <= mapping->end;
         at += ALIGN)
        if (points_to_itself(at))
            return at;
    return 0;
}

/* The end of the data that the program was born with.  A static one has its first control block right below,
 * and what it asks for by sbrk right above. */
static uintptr_t first_break;

__attribute__((constructor)) static void find_first_break(void)
{
    first_break = (uintptr_t)sbrk(0);
}

/* Stacks that glibc has made end with a page.  Those that the program has made may end anywhere. */
uintptr_t tcb_end(const struct maps *maps, uintptr_t tcb)
{
    const struct mapping *mapping = maps_find(maps, tcb);
    uintptr_t end = (tcb | (PAGE - 1)) + 1;

    if (end - tcb < LEAST_BYTES)
        end = tcb + MOST_BYTES;
    if (first_break > tcb && first_break < end)
        end = first_break;
    return mapping != NULL && mapping->end < end ? mapping->end : end;
}

int32_t tcb_id(uintptr_t tcb)
{
    int32_t id;

    memcpy(&id, (const void *)(tcb + ID), sizeof(id));
    return id;
}

/* It has its own address once more then, as that of the thread that waits for its end. */
bool tcb_is_detached(const struct maps *maps, uintptr_t tcb)
{
    uintptr_t end = tcb_end(maps, tcb);

    /* Not beyond the block, where the program may have noted the thread. */
    for (uintptr_t at = tcb + ID; at + WORD <= end && at < tcb + LEAST_BYTES; at += WORD)
        if (word_at(at) == tcb)
            return true;
    return false;
}

/* A control block says where the memory is in which it stands: address, size, and how much of that, at its
 * beginning, is a guard.  No other three words in it look like that.  False: the stack is not the C library's
 * or the program's, but the kernel's. */
static READS_FRAMES bool find_stack(uintptr_t tcb, struct tcb_stack *out)
{
    for (uintptr_t at = tcb; at + 3 * sizeof(uintptr_t) <= tcb + LEAST_BYTES; at += sizeof(uintptr_t)) {
        uintptr_t start = word_at(at), size = word_at(at + sizeof(uintptr_t)),
                  guard = word_at(at + 2 * sizeof(uintptr_t));

        if (start >= PAGE && start < tcb && size < STACK_MOST && guard <= size &&
            start + size - tcb >= LEAST_BYTES && start + size - tcb <= (uintptr_t)2 * MOST_BYTES) {
            *out = (struct tcb_stack){.of = tcb, .start = start + guard, .end = tcb};
            return true;
        }
    }
    return false;
}

struct tcb_stack tcb_own_stack(void)
{
    const uintptr_t self = (uintptr_t)platform_thread_pointer();
    const uintptr_t first = (uintptr_t)getauxval(AT_RANDOM) & ~(uintptr_t)(sizeof(uintptr_t) - 1);
    struct tcb_stack stack = {0};

    if (self != 0 && !find_stack(self, &stack))
        stack = (struct tcb_stack){.of = self, .start = first - FIRST_STACK_MOST, .end = first};
    return stack;
}

uintptr_t tcb_stack_start(const struct maps *maps, uintptr_t tcb)
{
    struct tcb_stack stack;

    return can_read_words(maps, tcb, LEAST_BYTES / WORD) && find_stack(tcb, &stack) ? stack.start : 0;
}

bool tcb_get_dtv(const struct maps *maps, uintptr_t tcb, struct tcb_dtv *out)
{
    uintptr_t start = word_at(tcb + DTV) - DTV_ENTRY;
    size_t count;

    if (!can_read_words(maps, start, 2))
        return false;
    count = word_at(start);
    *out = (struct tcb_dtv){.start = start, .end = start + (count + 2) * DTV_ENTRY, .count = count};
    return count <= DTV_MOST && maps_can_read(maps, start, out->end - start);
}

uintptr_t tcb_storage(const struct tcb_dtv *dtv, size_t module)
{
    uintptr_t storage = word_at(dtv->start + (module + 1) * DTV_ENTRY);

    return storage == UINTPTR_MAX ? 0 : storage;
}

/* The first array lies right before the pointers to all of them. */
const uintptr_t *tcb_key_arrays(const struct maps *maps, uintptr_t tcb)
{
    uintptr_t end = tcb_end(maps, tcb);

    for (uintptr_t at = tcb + TCB_KEY_BYTES; at + (uintptr_t)TCB_KEY_ARRAYS * WORD <= end; at += WORD)
        if (word_at(at) == at - TCB_KEY_BYTES)
            return (const uintptr_t *)at;
    return NULL;
}

/* The head of the list that it is in: the one link of it that is in no control block.  What is being added is
 * the first, and so comes last. */
static uintptr_t find_head(const struct maps *maps, uintptr_t tcb)
{
    uintptr_t link = tcb + LINK;

    for (size_t i = 0; i < LIST_MOST; i++) {
        if (!tcb_is_at(maps, link - LINK))
            return link;
        link = word_at(link);
        if (!can_read_words(maps, link, 2) || link == tcb + LINK)
            return 0;
    }
    return 0;
}

/* If there is one: its previous one is the last of its list. */
static void visit_list(const struct maps *maps, uintptr_t head, tcb_visit_fn *visit, void *ctx)
{
    uintptr_t link = head;

    if (!can_read_words(maps, head, 2) || !tcb_is_at(maps, word_at(head + WORD) - LINK))
        return;
    for (size_t i = 0; i < LIST_MOST; i++) {
        link = word_at(link);
        if (link == head || !can_read_words(maps, link, 2))
            return;
        if (tcb_is_at(maps, link - LINK))
            visit(link - LINK, ctx);
    }
}

static void visit_end(const struct maps *maps, const struct mapping *mapping, tcb_visit_fn *visit, void *ctx)
{
    if (!mapping->is_readable || !mapping->is_writable || !mapping->is_private || mapping->is_of_file)
        return;
    if (!kernel_can_read(mapping->end - PAGE))
        return;
    for (uintptr_t tcb = tcb_find(maps, mapping->end - PAGE); tcb != 0; tcb = tcb_find(maps, tcb + ALIGN))
        visit(tcb, ctx);
}

void tcb_each(const struct maps *maps, uintptr_t tcb, tcb_visit_fn *visit, void *ctx)
{
    uintptr_t head = find_head(maps, tcb);

    for (uintptr_t at = head - FARTHEST; head != 0 && at <= head + FARTHEST; at += HEAD_BYTES)
        visit_list(maps, at, visit, ctx);
    for (size_t i = 0; i < maps->count; i++)
        visit_end(maps, &maps->entries[i], visit, ctx);
}
