/* SPDX-License-Identifier: MIT
 *
 * Rules: the cache, and libunwind as the oracle.
 *
 * A rule is what unw_step does to a frame, in a few numbers.  One step on the real stack shows where the
 * caller's frame, its return address and its saved BP are; to tell whether the CFA was counted from SP or
 * from BP, the step is taken again with a copy of the frame in another place and SP, then BP, pointing there.
 * What moves with neither may be loaded from a word of the frame, which is then one that the step follows.
 */
#define _GNU_SOURCE /* REG_RIP */
#define UNW_LOCAL_ONLY
#include "rules.h"

#if LD_UNWIND_RULES

#include <errno.h>
#include <libunwind.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "kernel.h"
#include "loaded.h"
#include "module.h"
#include "platform.h"
#include "trampoline.h"

#define BUSY UINT64_MAX /* as a key: the slot is being written */

enum { PAGE = 4096 }; /* the smallest */

struct rule_slot {
    _Atomic uint64_t key; /* check of the rule << RULE_PC_BITS | pc; 0: free */
    _Atomic uint64_t rule;
};

static ALIGNED(CACHE_LINE) struct rule_slot rule_sets[RULE_SETS][RULE_WAYS];

_Static_assert(sizeof(rule_sets[0]) == CACHE_LINE, "a set is one cache line");
_Static_assert(OWN_RULES > 1, "(i ^ 1) % OWN_RULES is never i");

/* --- Cache --------------------------------------------------------------------------------------------- */

/* The i-th slot to look at for this pc, all in one cache line. */
static inline struct rule_slot *rule_slot(uintptr_t pc, unsigned i)
{
    uint64_t hash = pc * UINT64_C(0x9e3779b97f4a7c15);

    return &rule_sets[(hash >> 32) % RULE_SETS][((hash >> 60) + i) % RULE_WAYS];
}

/* Binds key and rule together, should a reader be so late that the slot was written twice meanwhile. */
static inline uint64_t rule_key(uintptr_t pc, rule r)
{
    return (r * UINT64_C(0xd6e8feb86659fd93)) >> RULE_PC_BITS << RULE_PC_BITS | (uint64_t)pc;
}

/* As rules_find.  Budget: one cache line. */
static inline rule find(uintptr_t pc)
{
    for (unsigned i = 0; i < RULE_WAYS; i++) {
        struct rule_slot *slot = rule_slot(pc, i);
        /* Acquire: partner of the releases in keep. */
        uint64_t key = atomic_load_explicit(&slot->key, memory_order_acquire);

        if ((key << (64 - RULE_PC_BITS)) == (uint64_t)pc << (64 - RULE_PC_BITS)) {
            rule r = atomic_load_explicit(&slot->rule, memory_order_acquire);

            return LIKELY(key == rule_key(pc, r) &&
                          atomic_load_explicit(&slot->key, memory_order_relaxed) == key)
                       ? r
                       : 0;
        }
    }
    return 0;
}

/* The first slot that has this pc, as find would have it: it may have two, when threads have learnt it at the
 * same time.  Or a free one, or one that another pc can do without. */
static struct rule_slot *victim(uintptr_t pc)
{
    static _Atomic unsigned turn = 1; /* not 0, and so not next to the sets, where it would take a line */
    struct rule_slot *free_slot = NULL;

    for (unsigned i = 0; i < RULE_WAYS; i++) {
        struct rule_slot *slot = rule_slot(pc, i);
        uint64_t key = atomic_load_explicit(&slot->key, memory_order_relaxed);

        if ((key << (64 - RULE_PC_BITS)) == (uint64_t)pc << (64 - RULE_PC_BITS))
            return slot;
        if (key == 0 && free_slot == NULL)
            free_slot = slot;
    }
    return free_slot != NULL ? free_slot
                             : rule_slot(pc, atomic_fetch_add_explicit(&turn, 1, memory_order_relaxed));
}

static void keep(uintptr_t pc, rule r)
{
    struct rule_slot *slot = victim(pc);
    uint64_t key = atomic_load_explicit(&slot->key, memory_order_relaxed);

    if (key == BUSY || !atomic_compare_exchange_strong_explicit(&slot->key, &key, BUSY, memory_order_acquire,
                                                                memory_order_relaxed))
        return;
    /* Release: who sees the rule sees that the slot is busy; who sees the key sees the rule. */
    atomic_store_explicit(&slot->rule, r, memory_order_release);
    atomic_store_explicit(&slot->key, rule_key(pc, r), memory_order_release);
}

/* What can be unloaded, but not without notice, is as good as what cannot. */
static inline rule watched(rule r, uintptr_t pc)
{
    return (r & RULE_CAN_UNLOAD) != 0 && module_is_watched(rule_module(r), (const void *)pc)
               ? r & ~(rule)RULE_CAN_UNLOAD
               : r;
}

NOINLINE rule rules_find_shared(struct own_rules *own, uintptr_t pc)
{
    size_t i = own_rule_place(pc);
    rule r = watched(find(pc), pc);

    if (r == 0 || (r & RULE_CAN_UNLOAD) != 0)
        return r;
    /* A signal handler may leave for good in between: meanwhile the entry has a number that is no pc, and
     * that nobody would look for in this place. */
    own->entries[i].pc = (uintptr_t)i ^ 1;
    atomic_signal_fence(memory_order_seq_cst);
    own->entries[i].rule = r;
    atomic_signal_fence(memory_order_seq_cst);
    own->entries[i].pc = pc;
    return r;
}

/* --- Oracle -------------------------------------------------------------------------------------------- */

struct observation {
    int result;      /* of unw_step: > 0 stepped, 0 there is no caller, or its address is 0 */
    bool has_return; /* the return address was read from memory */
    uintptr_t cfa;   /* SP in the caller */
    uintptr_t return_at;
    uintptr_t bp_at; /* where the caller's BP was read from; 0: BP was left alone */
};

static bool get_location(unw_cursor_t *cursor, unw_regnum_t reg, uintptr_t *at)
{
    unw_save_loc_t location;

    if (unw_get_save_loc(cursor, reg, &location) != 0 || location.type != UNW_SLT_MEMORY)
        return false;
    *at = (uintptr_t)location.u.addr;
    return true;
}

/* A cursor at a frame with these registers, which `context` holds for it. */
static bool aim(unw_cursor_t *cursor, unw_context_t *context, uintptr_t pc, uintptr_t sp, uintptr_t bp)
{
    memset(context, 0, sizeof(*context));
    context->uc_mcontext.gregs[REG_RIP] = (greg_t)pc;
    context->uc_mcontext.gregs[REG_RSP] = (greg_t)sp;
    context->uc_mcontext.gregs[REG_RBP] = (greg_t)bp;
    return unw_init_local(cursor, context) == 0;
}

/* The step of this cursor, whose registers lie in that context. */
static bool step(unw_cursor_t *cursor, const unw_context_t *context, struct observation *out)
{
    unw_word_t cfa = 0;

    *out = (struct observation){.result = unw_step(cursor)};
    out->has_return = get_location(cursor, UNW_REG_IP, &out->return_at);
    if (out->result < 0 || (out->result == 0 && !out->has_return))
        return out->result == 0;
    if (unw_get_reg(cursor, UNW_REG_SP, &cfa) != 0)
        return false;
    out->cfa = (uintptr_t)cfa;
    if (get_location(cursor, UNW_X86_64_RBP, &out->bp_at) && out->bp_at >= (uintptr_t)context &&
        out->bp_at < (uintptr_t)(context + 1))
        out->bp_at = 0;
    return true;
}

/* Where the code ends that libunwind has information on; 0: it has none on this.  Then it guesses, and says
 * that the procedure is one byte long. */
static NOINLINE uintptr_t end_of_code(uintptr_t pc, uintptr_t sp, uintptr_t bp)
{
    unw_context_t context;
    unw_cursor_t cursor;
    unw_proc_info_t info;

    return aim(&cursor, &context, pc, sp, bp) && unw_get_proc_info(&cursor, &info) == 0 &&
                   info.end_ip - info.start_ip > 1
               ? (uintptr_t)info.end_ip
               : 0;
}

/* One step from a frame with these registers.  False: it cannot be said.  Not inlined, as a cursor and its
 * context are 2 KiB, which those that ask need not have on the stack while they go on. */
static NOINLINE bool observe(uintptr_t pc, uintptr_t sp, uintptr_t bp, struct observation *out)
{
    unw_context_t context;
    unw_cursor_t cursor;

    return aim(&cursor, &context, pc, sp, bp) && unw_is_signal_frame(&cursor) <= 0 &&
           step(&cursor, &context, out);
}

/* Volatile, lest the compiler makes it a call of memcpy, which a sanitizer watches. */
static READS_FRAMES void copy_words(uintptr_t *to, uintptr_t from, size_t count)
{
    const volatile uintptr_t *word = (const volatile uintptr_t *)from;

    for (size_t i = 0; i < count; i++)
        to[i] = word[i];
}

/* Copies the frame, or what is at most so far below BP, for a step that begins in the copy.  Returns how far
 * that is from the frame; 0: it is too large, or not all there. */
static uintptr_t copy_frame(const struct observation *seen, uintptr_t sp, uintptr_t bp, bool with_bp,
                            uintptr_t *copy)
{
    uintptr_t from = with_bp && bp - sp > RULES_SCRATCH / 2 ? bp - RULES_SCRATCH / 2 : sp;

    /* What is copied lies in two pages, and the return address was read from one of them. */
    if (seen->cfa - from > RULES_SCRATCH || !kernel_can_read(from))
        return 0;
    copy_words(copy, from, (seen->cfa - from) / sizeof(uintptr_t));
    return (uintptr_t)copy - from;
}

/* Whether a step from a copy of the frame, with SP or BP pointing there, ends as far from that register as
 * the step from the real one, which `seen` describes.  Of a large frame it is the step that is taken from a
 * little further out: what it reads there is no return address, but where it reads is told all the same. */
static bool moves_with(const struct observation *seen, uintptr_t pc, uintptr_t sp, uintptr_t bp, bool with_bp,
                       uintptr_t *copy)
{
    enum { FURTHER_OUT = 2 * sizeof(uintptr_t) };
    uintptr_t shift = copy_frame(seen, sp, bp, with_bp, copy);
    bool is_copied = shift != 0;
    struct observation moved;

    if (!is_copied)
        shift = kernel_can_read(seen->return_at + FURTHER_OUT) ? FURTHER_OUT : 0;
    return shift != 0 && observe(pc, with_bp ? sp : sp + shift, with_bp ? bp + shift : bp, &moved) &&
           (moved.result == seen->result || !is_copied) && moved.cfa == seen->cfa + shift &&
           moved.return_at == seen->return_at + shift &&
           (seen->bp_at == 0 ? moved.bp_at == 0 : moved.bp_at == seen->bp_at + shift);
}

static rule encode(const struct observation *seen, uintptr_t base, unsigned flags)
{
    int64_t cfa = (int64_t)(seen->cfa - base), bp = 0;

    if (seen->bp_at != 0) {
        flags |= RULE_RESTORES_BP;
        bp = (int64_t)(seen->bp_at - seen->cfa);
    }
    if (cfa % 8 != 0 || bp % 8 != 0 || cfa / 8 >= 1 << 23 || cfa / 8 < -(1 << 23) || bp / 8 >= 1 << 15 ||
        bp / 8 < -(1 << 15))
        return RULE_ASK;
    return (uint64_t)(cfa / 8) << 40 | ((uint64_t)(bp / 8) & 0xffff) << 24 | flags;
}

/* Whether with BP pointing to the copy, all else being the same, the CFA is this one. */
static bool leads_to(uintptr_t cfa, const struct observation *seen, uintptr_t pc, uintptr_t sp, uintptr_t bp,
                     uintptr_t shift)
{
    struct observation moved;

    return observe(pc, sp, bp + shift, &moved) && moved.result == seen->result && moved.cfa == cfa &&
           moved.return_at == cfa - sizeof(uintptr_t) && moved.bp_at == seen->bp_at + shift;
}

/* The rule if the CFA is a word of the frame at some distance from BP, as in functions that have realigned
 * the stack: when that word is changed in a copy of the frame, the step from there follows it. */
static rule ask_for_loaded(const struct observation *seen, uintptr_t pc, uintptr_t sp, uintptr_t bp,
                           uintptr_t *copy)
{
    enum { CHANGE = 2 * sizeof(uintptr_t) };
    uintptr_t shift = copy_frame(seen, sp, bp, true, copy);

    if (shift == 0 || seen->bp_at == 0 || !leads_to(seen->cfa, seen, pc, sp, bp, shift))
        return RULE_ASK;
    for (uintptr_t *word = copy; (uintptr_t)word < seen->cfa + shift; word++) {
        bool follows;

        if (*word != seen->cfa)
            continue;
        *word += CHANGE;
        follows = leads_to(seen->cfa + CHANGE, seen, pc, sp, bp, shift);
        *word -= CHANGE;
        if (follows) {
            uintptr_t at = (uintptr_t)word - shift;
            const struct observation loaded = {.cfa = at, .bp_at = at + (seen->bp_at - bp)};

            return encode(&loaded, bp, RULE_FROM_BP | RULE_LOADED);
        }
    }
    return RULE_ASK;
}

/* The length of the indirect call whose opcode, FF /2, is there: with a ModRM byte, perhaps an SIB byte, and
 * a displacement (Intel's manual, volume 2, section 2.1). */
static int indirect_call_length(const volatile uint8_t *at)
{
    unsigned mod = at[1] >> 6, rm = at[1] & 7;
    bool has_sib = mod != 3 && rm == 4;
    bool has_base = (has_sib ? at[2] & 7u : rm) != 5;

    return 2 + has_sib + (mod == 1 ? 1 : mod == 2 || (mod == 0 && !has_base) ? 4 : 0);
}

/* Whether the instruction before this one is a call: the one of above, or E8 with a displacement of four
 * bytes. */
static READS_FRAMES bool follows_call(uintptr_t pc)
{
    enum { LONGEST = 7 };
    const volatile uint8_t *end = (const volatile uint8_t *)pc;
    int in_page = (int)(pc % platform_page_size());
    int longest = in_page < LONGEST && !kernel_can_read(pc - LONGEST) ? in_page : LONGEST;

    if (longest >= 5 && end[-5] == 0xe8)
        return true;
    for (int length = 2; length <= longest; length++)
        if (end[-length] == 0xff && (end[1 - length] >> 3 & 7) == 2 &&
            indirect_call_length(end - length) == length)
            return true;
    return false;
}

/* For code that libunwind knows nothing about: it takes BP for a frame pointer, but not in the entries of
 * procedure linkage tables, nor where there is no code. */
static rule ask_for_guess(uintptr_t pc, uintptr_t *scratch)
{
    enum { BP = 4, CALLER = BP + 2 }; /* where BP, and SP in the caller, point to in the scratch */
    uintptr_t sp = (uintptr_t)scratch, bp = (uintptr_t)&scratch[BP];
    const struct observation chained = {.cfa = (uintptr_t)&scratch[CALLER], .bp_at = bp};
    struct observation seen;

    for (size_t i = 0; i < CALLER; i++)
        scratch[i] = pc;
    /* What was taken for a return address may be anything, and libunwind reads what is there. */
    return kernel_can_read(pc) && kernel_can_read(pc + sizeof(uint64_t)) && observe(pc, sp, bp, &seen) &&
                   seen.result > 0 && seen.has_return && seen.return_at == bp + sizeof(uintptr_t) &&
                   seen.bp_at == bp
               ? encode(&chained, bp, RULE_FROM_BP | RULE_GUESSED)
               : RULE_ASK;
}

/* The rule, if there is one, but for what *may_be_guess says: libunwind's guesses count from BP, or have
 * nothing between SP and the return address, or end. */
static rule ask_oracle(uintptr_t pc, uintptr_t sp, uintptr_t bp, uintptr_t *scratch, bool *may_be_guess)
{
    struct observation seen;

    *may_be_guess = true;

    if (!observe(pc, sp, bp, &seen))
        return RULE_ASK;
    if (seen.result == 0 && !seen.has_return)
        return RULE_ENDS;
    if (!seen.has_return || seen.cfa <= sp || seen.return_at != seen.cfa - 8)
        return RULE_ASK;
    if (moves_with(&seen, pc, sp, bp, false, scratch)) {
        *may_be_guess = seen.return_at == sp;
        return encode(&seen, sp, 0);
    }
    if (bp < sp || bp >= seen.cfa || bp % sizeof(uintptr_t) != 0)
        return RULE_ASK;
    if (moves_with(&seen, pc, sp, bp, true, scratch))
        return encode(&seen, bp, RULE_FROM_BP);
    return ask_for_loaded(&seen, pc, sp, bp, scratch);
}

/* As ask_oracle, but in the scratch: there may be nothing to read where a frame would be that is none, or to
 * which BP does not belong. */
enum { BP_ASIDE = RULES_SCRATCH / sizeof(uintptr_t) / 4 };
static rule ask_aside(uintptr_t pc, uintptr_t *scratch)
{
    bool may_be_guess;

    return ask_oracle(pc, (uintptr_t)scratch, (uintptr_t)&scratch[BP_ASIDE], scratch, &may_be_guess);
}

/* What the code of a module does, from where the thread is and then aside, or the other way round. */
static rule ask_for_module(uintptr_t pc, uintptr_t sp, uintptr_t bp, uintptr_t end_of_code,
                           uintptr_t *scratch, bool *is_aside, bool *may_be_guess)
{
    rule r = *is_aside ? RULE_ASK : ask_oracle(pc, sp, bp, scratch, may_be_guess);

    if (r != RULE_ASK || end_of_code == 0)
        return r;
    r = ask_aside(pc, scratch);
    if (r == RULE_ASK && *is_aside)
        r = ask_oracle(pc, sp, bp, scratch, may_be_guess);
    *is_aside = true;
    return r;
}

rule rules_learn(uintptr_t pc, uintptr_t sp, uintptr_t bp, bool is_doubtful, uintptr_t *scratch)
{
    int saved = errno;
    module_id module = module_at((const void *)pc);
    bool can_unload = module == 0 || module_can_unload(module), may_be_guess = true;
    bool can_use_bp =
        bp - sp < RULES_SCRATCH || (kernel_can_read(bp - 2 * sizeof(bp)) && kernel_can_read(bp));
    bool is_at_end, is_aside, is_for_now = false;
    struct observation seen;
    uintptr_t end;
    rule r = RULE_ASK;

    /* libunwind reads there without a look. */
    if (!can_use_bp)
        bp = (uintptr_t)&scratch[BP_ASIDE];
    /* And remembers places, whatever is there now. */
    if (can_unload)
        unw_flush_cache(unw_local_addr_space, 0, 0);
    end = end_of_code(pc, sp, bp);
    is_at_end = module != 0 && end == pc;
    is_aside = is_at_end || !can_use_bp;
    if (module != 0)
        r = ask_for_module(pc, sp, bp, end, scratch, &is_aside, &may_be_guess);
    if (may_be_guess && end == 0)
        r = ask_for_guess(pc, scratch);
    /* A stack that was made by hand may begin with the address of a function, as though that were returned
     * to: there is nothing beyond, or what libunwind would stumble over. */
    if ((r & (RULE_ENDS | RULE_GUESSED)) == 0 && ((r & RULE_ASK) == 0 || is_at_end) && !follows_call(pc))
        r = RULE_ENDS;
    /* Nor may libunwind stumble over it itself. */
    if (is_at_end && r == RULE_ASK && !can_use_bp && !(observe(pc, sp, bp, &seen) && seen.has_return)) {
        r = RULE_ENDS;
        is_for_now = true;
    }
    if ((is_at_end && (r & RULE_ASK) == 0) || (is_aside && (r & RULE_FROM_BP) != 0))
        r |= RULE_UNSURE;
    r |= (uint64_t)module << 8;
    if (can_unload)
        r |= RULE_CAN_UNLOAD;
    if (!is_for_now && ((r & RULE_ASK) == 0 || !is_doubtful))
        keep(pc, r);
    r = watched(r, pc);
    errno = saved;
    return r;
}

/* Copies what can be read from there on, at most `size` bytes, and returns how many.  Volatile for the same
 * reason as in copy_words. */
static READS_FRAMES size_t copy_code(uintptr_t pc, unsigned char *to, size_t size)
{
    const volatile unsigned char *at = (const volatile unsigned char *)pc;
    size_t left = PAGE - pc % PAGE;

    if (!kernel_can_read(pc & ~(uintptr_t)7))
        return 0;
    if (size > left && !kernel_can_read(pc + left))
        size = left;
    for (size_t i = 0; i < size; i++)
        to[i] = at[i];
    return size;
}

bool rules_is_signal_return(uintptr_t pc)
{
    unsigned char code[TRAMPOLINE_MAX] = {0};

    return trampoline_is_at(code, copy_code(pc, code, sizeof(code)));
}

bool rules_is_return(uintptr_t pc)
{
    return kernel_can_read((pc - 1) & ~(uintptr_t)7) && (follows_call(pc) || rules_is_signal_return(pc));
}

/* Volatile for the same reason as in copy_words. */
static READS_FRAMES void copy_registers(unw_context_t *to, const ucontext_t *from)
{
    const volatile greg_t *registers = from->uc_mcontext.gregs;

    for (size_t i = 0; i < NGREG; i++)
        to->uc_mcontext.gregs[i] = registers[i];
}

bool rules_are_wrong_of(const void *kernels, struct rules_caller *out)
{
    int saved = errno;
    unw_context_t context;
    unw_cursor_t cursor;
    struct observation seen = {0};
    uintptr_t pc, bp;
    bool are_wrong;

    memset(&context, 0, sizeof(context));
    copy_registers(&context, kernels);
    pc = (uintptr_t)context.uc_mcontext.gregs[REG_RIP];
    bp = (uintptr_t)context.uc_mcontext.gregs[REG_RBP];
    /* libunwind remembers places, whatever is there now. */
    if (loaded_unloads() != 0)
        unw_flush_cache(unw_local_addr_space, 0, 0);
    /* What a function has saved lies in its frame. */
    are_wrong = unw_init_local2(&cursor, &context, UNW_INIT_SIGNAL_FRAME) == 0 &&
                unw_is_signal_frame(&cursor) <= 0 && step(&cursor, &context, &seen) && seen.result > 0 &&
                seen.has_return && seen.return_at == seen.cfa - sizeof(uintptr_t) && seen.bp_at == bp &&
                bp >= seen.cfa;
    *out = (struct rules_caller){.interrupted = pc, .sp = seen.cfa, .bp = bp};
    errno = saved;
    return are_wrong;
}

void rules_forget(struct own_rules *own)
{
    memset(own, 0, sizeof(*own));
}

size_t rules_own_bytes(void)
{
    return sizeof(rule_sets);
}

#endif
