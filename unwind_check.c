/* SPDX-License-Identifier: MIT
 *
 * The checking build (LD_CHECK_UNWIND): each stack that was captured is read back from the tree and compared
 * with what unw_backtrace says at that very moment.  At the first difference both are printed, frame by
 * frame, and the program aborts.
 *
 * unw_backtrace is not always right: what it has learnt about an address it keeps as long as the thread
 * lives, even when another library has taken the place.  So before two stacks count as different a cursor,
 * which is slow but keeps nothing once libunwind was told to forget, has the last word.  Nor does its cache
 * forget what it has guessed about code that nothing describes (see differ_by_guess).  Nor does it end where
 * nothing can return to the next address (is_led_nowhere).  All of these are counted.
 *
 * Counts go to the file that LEAKDETECT_CHECK_COUNTS names, if it is there and has a page: shared by all
 * processes of a test, so that none is lost with one that is killed, or whose failure its parent hides.
 */
#define _GNU_SOURCE /* secure_getenv, REG_RIP */
#define UNW_LOCAL_ONLY
#include "unwind.h"

#if LD_CHECK_UNWIND

#include <errno.h>
#include <fcntl.h>
#include <libunwind.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "module.h"
#include "platform.h"
#include "rules.h"
#include "text.h"

/* Read by test/unwind/total.sh. */
struct counts {
    _Atomic uint64_t captures;  /* compared, and equal */
    _Atomic uint64_t cut;       /* not compared: there was no room for the inner frames, or a fork was late */
    _Atomic uint64_t outdated;  /* of the equal ones: unw_backtrace was not */
    _Atomic uint64_t different; /* at most one for each process */
};

static struct counts own_counts;
static _Atomic(struct counts *) counts;

struct frames {
    size_t count;
    const void *at[UNWIND_BUFFER_FRAMES];
};

static struct counts *open_counts(void)
{
    const char *path = secure_getenv("LEAKDETECT_CHECK_COUNTS");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    void *shared = MAP_FAILED;

    if (fd >= 0) {
        if (lseek(fd, 0, SEEK_END) >= (off_t)sizeof(struct counts))
            shared = mmap(NULL, sizeof(struct counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
    }
    return shared == MAP_FAILED ? &own_counts : shared;
}

static struct counts *get_counts(void)
{
    struct counts *known = atomic_load_explicit(&counts, memory_order_acquire);

    if (UNLIKELY(known == NULL)) {
        known = open_counts();
        atomic_store_explicit(&counts, known, memory_order_release);
    }
    return known;
}

static void count(_Atomic uint64_t *number)
{
    atomic_fetch_add_explicit(number, 1, memory_order_relaxed);
}

/* --- Asking --------------------------------------------------------------------------------------------- */

static bool are_equal(const struct frames *a, const struct frames *b)
{
    return a->count == b->count && memcmp(a->at, b->at, a->count * sizeof(a->at[0])) == 0;
}

/* Whether one is the beginning of the other, up to code that nothing describes, where libunwind guesses and
 * unw_backtrace's cache keeps whether the stack went on the first time; or, beyond such code, up to where no
 * call was made, and so up to where a guess was wrong, which only the rules see. */
static bool differ_by_guess(struct thread *thread, const struct frames *a, const struct frames *b)
{
#if LD_UNWIND_RULES
    const struct frames *shorter = a->count < b->count ? a : b;
    rule last = 0;
    unsigned seen = 0;

    for (size_t i = 0; i < shorter->count; i++) {
        last = rules_find(&thread->rules, (uintptr_t)shorter->at[i]);
        seen |= (unsigned)last & RULE_GUESSED;
    }
    return seen != 0 && (last & (RULE_GUESSED | RULE_ENDS)) != 0 &&
           memcmp(a->at, b->at, shorter->count * sizeof(a->at[0])) == 0;
#else
    (void)thread, (void)a, (void)b;
    return false;
#endif
}

/* Whether ours ends where libunwind goes on to what nothing returns to. */
static bool is_led_nowhere(const struct frames *ours, const struct frames *theirs)
{
#if LD_UNWIND_RULES
    return ours->count < theirs->count &&
           memcmp(ours->at, theirs->at, ours->count * sizeof(ours->at[0])) == 0 &&
           !rules_is_return((uintptr_t)theirs->at[ours->count]);
#else
    (void)ours, (void)theirs;
    return false;
#endif
}

/* unw_step, mended: after a guess it goes on with a stack pointer that is not that of the frame it came to,
 * unlike unw_backtrace. */
static bool step(unw_cursor_t *cursor, unw_context_t *context)
{
#if LD_UNWIND_RULES
    unw_word_t sp = 0, bp = 0, pc = 0, next_sp = 0, next_bp = 0;
    unw_save_loc_t return_at = {0};

    unw_get_reg(cursor, UNW_X86_64_RSP, &sp);
    unw_get_reg(cursor, UNW_X86_64_RBP, &bp);
    if (unw_step(cursor) <= 0)
        return false;
    unw_get_reg(cursor, UNW_X86_64_RSP, &next_sp);
    unw_get_save_loc(cursor, UNW_X86_64_RIP, &return_at);
    if (next_sp != sp + 16 || return_at.u.addr != bp + 8 || sp == bp)
        return true;
    if (unw_get_reg(cursor, UNW_REG_IP, &pc) != 0 || unw_get_reg(cursor, UNW_X86_64_RBP, &next_bp) != 0)
        return false;
    context->uc_mcontext.gregs[REG_RIP] = (greg_t)pc;
    context->uc_mcontext.gregs[REG_RSP] = (greg_t)(bp + 16);
    context->uc_mcontext.gregs[REG_RBP] = (greg_t)next_bp;
    return unw_init_local(cursor, context) == 0;
#else
    (void)context;
    return unw_step(cursor) > 0;
#endif
}

/* The stack from `caller` on, by a cursor that begins without a memory.  False: libunwind cannot be asked. */
static COLD bool step_afresh(struct thread *thread, unsigned level, const void *caller, struct frames *out)
{
    unw_context_t context;
    unw_cursor_t cursor;
    uint32_t inside;
    int own = 0;

    out->count = 0;
    if (!thread_unwind_enter(thread, level, &inside))
        return false;
    unw_flush_cache(unw_local_addr_space, 0, 0);
    if (unw_getcontext(&context) == 0 && unw_init_local(&cursor, &context) == 0)
        do {
            unw_word_t pc = 0;

            if (unw_get_reg(&cursor, UNW_REG_IP, &pc) != 0 || pc == 0 || pc >> 48 != 0)
                break;
            if (out->count > 0 || (const void *)(uintptr_t)pc == caller)
                out->at[out->count++] = (const void *)(uintptr_t)pc;
        } while (out->count < LD_MAX_FRAMES && (out->count > 0 || own++ < UNWIND_OWN_FRAMES) &&
                 step(&cursor, &context));
    thread_unwind_leave(thread, level);
    return true;
}

/* --- Telling -------------------------------------------------------------------------------------------- */

static void put_frames(struct text *text, const char *whose, const struct frames *frames)
{
    text_put(text, whose);
    for (size_t i = 0; i < frames->count; i++) {
        const struct module *module = module_get(module_last_at(frames->at[i]));

        text_put(text, "\n    #");
        text_put_id(text, i);
        text_put(text, " ");
        text_put_hex(text, (uintptr_t)frames->at[i]);
        if (module != NULL) {
            text_put(text, " ");
            text_put(text, module->name);
            text_put(text, "+");
            text_put_hex(text, (uintptr_t)frames->at[i] - module->base);
        }
    }
    text_put(text, "\n");
}

/* --- Checking ------------------------------------------------------------------------------------------- */

/* Apart, so that its room on the stack is not taken by stacks that are equal: some threads have little. */
static COLD void judge(struct thread *thread, unsigned level, struct unwind_caller caller,
                       const struct frames *ours, const void **their_frames, size_t their_count)
{
    struct counts *to = get_counts();
    struct frames theirs, afresh;
    struct text text;

    theirs.count = their_count;
    memcpy(theirs.at, their_frames, their_count * sizeof(theirs.at[0]));
    if (!step_afresh(thread, level, caller.pc, &afresh)) {
        count(&to->cut);
        return;
    }
    if (are_equal(ours, &afresh) || differ_by_guess(thread, ours, &theirs) || is_led_nowhere(ours, &theirs)) {
        count(&to->captures);
        count(&to->outdated);
        return;
    }
    count(&to->different);
    text_init(&text, STDERR_FILENO);
    put_frames(&text, "leakdetect: a stack was captured as", ours);
    put_frames(&text, "and unw_backtrace says", &theirs);
    put_frames(&text, "and unw_step says", &afresh);
    text_flush(&text);
    platform_fatal("a stack was captured that is not what libunwind says");
}

void unwind_check(struct thread *thread, unsigned level, struct unwind_caller caller,
                  struct unwind_stack stack)
{
    struct counts *to = get_counts();
    uint16_t modules[LD_MAX_FRAMES];
    const void *buffer[UNWIND_BUFFER_FRAMES];
    const void **found;
    struct frames ours;
    size_t count_found;
    int saved = errno;

    if (stack.is_cut) {
        count(&to->cut);
        return;
    }
    ours.count = stackmap_frames(stack.id, ours.at, modules, LD_MAX_FRAMES);
    found = unwind_backtrace(thread, level, caller.pc, buffer, &count_found);
    if (LIKELY(ours.count == count_found && memcmp(ours.at, found, count_found * sizeof(found[0])) == 0))
        count(&to->captures);
    else
        judge(thread, level, caller, &ours, found, count_found);
    errno = saved;
}

#endif
