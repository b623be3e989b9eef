/* SPDX-License-Identifier: MIT
 *
 * leakdetect: every live block of a running program, with its size and the exact call stack that
 * allocated it.  This header is the reference manual, and the only one.
 *
 * Call ld_init() once, allocate through ld_malloc() and its family, and ask at any moment, from any thread,
 * with ld_now_leaks() or ld_report() what is alive.  The allocation functions are thin wrappers over
 * jemalloc; what the library needs for itself lies in tables whose size was fixed when it was compiled
 * (config.h), plus less than 256 KiB for each thread that allocates (more if LD_MAX_FRAMES is above 64), of
 * which it touches what it needs.
 *
 * Said once, for every function below:
 *
 *  - Threads: any function may be called from any number of threads at once.
 *    One that ends leaves its part of the tables to the next that begins.  If the program had taken all
 *    keys of thread-specific data (pthread_key_create) before ld_init(), a thread has that part for the
 *    length of each call: all is recorded as ever, but each stack is walked anew.
 *    An allocation from a call site that is new, or whose stack no rule describes, may take the dynamic
 *    loader's lock for a moment (libunwind calls dl_iterate_phdr): so a thread must not allocate while it
 *    holds a lock for which a callback of dl_iterate_phdr in another thread may wait.
 *  - Before ld_init(): allocation works as plain jemalloc and nothing is recorded; walks find nothing.
 *  - Signals: an allocation function may be called from a signal handler exactly where jemalloc may be,
 *    which is wherever the handler cannot have interrupted jemalloc itself.  It does not matter whether the
 *    handler interrupted this library: its tables are lock-free.
 *  - Stack: a call may take 10 KiB of it, and 8 bytes for each of LD_MAX_FRAMES; an alternate signal stack or
 *    a coroutine's must have room for that.  For names and reports: 512 KiB, most of it for the demangler.
 *  - fork: the child has the records of the blocks it inherited, and goes on with a table of its own.
 *    Handlers of signals that arrive while a thread forks run when it has forked, so that they may fork too.
 *  - errno: bookkeeping never changes it; it says what the C function of the same name makes it say.
 *  - No allocation fails, and none is refused, because bookkeeping could not record it: see ld_stats.
 */
#ifndef LEAKDETECT_H
#define LEAKDETECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- Starting ---------------------------------------------------------------------------------------- */

/* Starts recording.  Returns the number of bytes that the library's own tables occupy; pages of them that
 * were never touched cost nothing.  Later calls change nothing and return the same number; of several first
 * calls at the same time one starts recording, and all return when it has.
 *
 * Call it first thing in main(), or from a constructor; not from a signal handler.  What it allocates on
 * the heap that it watches is not on record. */
size_t ld_init(void);

/* Switches recording off, and on again, for the whole process.  What is allocated while it is off is not
 * recorded, then or later, and counted nowhere; a block that is reallocated meanwhile leaves the record; and
 * blocks on record leave it as ever when they are freed.  Before ld_init this does nothing.  May be called
 * from a signal handler. */
void ld_set_recording(bool on);

/* The same for the calling thread alone, from ld_disable() to the ld_enable() that ends it; pairs nest.  One
 * ld_enable() too many does nothing.  What a disabled thread allocates takes a place in the table of blocks
 * nevertheless: it shows nowhere, but what it leads to is not lost.  May be called before ld_init and from a
 * signal handler. */
void ld_disable(void);
void ld_enable(void);

/* Records a sample only: on average one allocation in `period` bytes that are allocated, each with the chance
 * that follows from its size, whatever its call site.  Each record says how many blocks it stands for
 * (ld_leak.weight), and reports are estimates of the true totals, and say so; ld_stats counts what is on
 * record.  0 records everything, and is what a process begins with.
 *
 * An allocation or a free of a block that is not in the sample costs next to nothing if the period was set
 * before ld_init, and 0 was never set since; otherwise the free has to look whether the block is on record.
 * A block in the sample begins at a multiple of 4,096; one for which there is room only elsewhere is not in
 * it.  A block that is reallocated counts as freed and allocated.
 *
 * Returns 0; EINVAL for more than 2^40 bytes; ENOSPC if the process has used three other periods already. Any
 * thread, at any time, not from a signal handler. */
int ld_set_sampling(size_t period);

/* --- Allocating: C's contracts, to the letter -------------------------------------------------------------
 *
 * On failure each returns NULL (ld_posix_memalign: an error number) with errno ENOMEM, and whatever was
 * alive stays alive and on record.  A size of 0 gives a block of its own, to be freed, recorded as 0 bytes.
 * No size above PTRDIFF_MAX is ever granted. */

void *ld_malloc(size_t size);

/* Zeroed.  A product that does not fit in size_t is ENOMEM. */
void *ld_calloc(size_t count, size_t size);

/* The block's first bytes are kept; it may move.  The record takes the new size and the stack of this call,
 * whether the block moved or not.  ld_realloc(NULL, n) is ld_malloc(n).  ld_realloc(block, 0) frees the block
 * and returns NULL with errno untouched, as glibc does.  On failure the old block is untouched and still on
 * record as it was. */
void *ld_realloc(void *block, size_t size);

/* ld_realloc to count * size bytes; a product that does not fit in size_t is ENOMEM, the block untouched. */
void *ld_reallocarray(void *block, size_t count, size_t size);

/* EINVAL unless alignment is a power of two.  The size need not be a multiple of the alignment (C17). */
void *ld_aligned_alloc(size_t alignment, size_t size);

/* As ld_aligned_alloc; an alignment that is no power of two is rounded up to one, as glibc does, and one
 * for which there is no such power is EINVAL. */
void *ld_memalign(size_t alignment, size_t size);

/* EINVAL unless alignment is a power of two and a multiple of sizeof(void *); ENOMEM.  Neither sets errno,
 * and *out is written only on success (POSIX). */
int ld_posix_memalign(void **out, size_t alignment, size_t size);

/* A block that begins a page, as C libraries have it for old programs; ld_pvalloc rounds the size up to whole
 * pages. */
void *ld_valloc(size_t size);
void *ld_pvalloc(size_t size);

/* Frees a block of any of these functions, on record or not, or of the same jemalloc's malloc family: in a
 * program linked with -lleakdetect that is the program's own malloc.  ld_free(NULL) does nothing.  The other
 * way round works for the memory but not for the record: give a block of ld_malloc to ld_free, not to free,
 * or its record stays for good.
 *
 * Freeing anything else is undefined, as it is with free(): jemalloc decides what happens.  The tables of
 * this library survive it: an address that is not on record is looked up, not found, and passed on. */
void ld_free(void *block);

/* ld_free with the size (and the alignment) that the block was asked for, as C23 has it.  The values are
 * a hint for the allocator; a wrong one is undefined. */
void ld_free_sized(void *block, size_t size);
void ld_free_aligned_sized(void *block, size_t alignment, size_t size);

/* Bytes that may be used in the block, at least what was asked for; 0 for NULL.  Of a block on record it is
 * no more than that (1 if that was 0; ld_leak.size from 2 GiB on), because ld_lost_leaks would not see a
 * pointer beyond it. */
size_t ld_usable_size(const void *block);

/* A copy of the text (of at most size characters of it), with its final 0, to be given to ld_free. */
char *ld_strdup(const char *text);
char *ld_strndup(const char *text, size_t size);

/* --- Looking ----------------------------------------------------------------------------------------- */

/* The inner frames of the stack are unknown, for want of room in the table of call paths: frames[0] is not
 * the call site but the innermost caller of it that is known, or there is no frame at all.  */
#define LD_LEAK_STACK_CUT 1u

/* With the option strict_stack: a pointer does lead to the block, or to one that leads to it, but lies where
 * it looks dead, in a register or on a stack to which no code seems to return. */
#define LD_LEAK_STRICT 2u

/* An indirectly lost block that was not handed over after the block that leads it: that one is older than
 * asked for, or was freed meanwhile. */
#define LD_LEAK_UNLED 4u

/* Whether the program can still reach a block: what valgrind's users know by these words. */
enum ld_reach {
    LD_LIVE,            /* not looked at */
    LD_REACHABLE,       /* a pointer leads to it */
    LD_POSSIBLY_LOST,   /* only a pointer into its middle does */
    LD_INDIRECTLY_LOST, /* only lost blocks point to it */
    LD_DEFINITELY_LOST  /* nothing does */
};

/* One live block, as handed to a callback.  It and all that it points to belong to the library and
 * end with the callback.  Fields may be added at the end; the library is linked statically, so a program
 * and its library always agree on the layout. */
struct ld_leak {
    const void *address;
    size_t size;               /* bytes, as asked for; from 2 GiB on rounded up to 4 KiB, at most 8 TiB */
    const void *const *frames; /* return addresses, innermost first: frames[0] is the call of ld_* */
    size_t frame_count;        /* at most LD_MAX_FRAMES; deeper stacks lose their outermost frames */
    uint32_t mark;             /* the epoch it was made in, see ld_mark */
    uint32_t flags;            /* LD_LEAK_* */
    const uint16_t *modules; /* for ld_symbolize_frame: which module each frame was in when it was recorded */
    enum ld_reach reach;     /* LD_LIVE in ld_now_leaks and ld_leaks_since, which do not look */
    double weight; /* how many blocks like it this one stands for: 1, unless only a sample is recorded */
    /* What only a definitely lost block leads to, as indirectly lost blocks; 0 for all others. */
    size_t led_blocks, led_bytes;
};

/* What is called for each block.  Returning false ends the walk. */
typedef bool ld_leak_fn(const struct ld_leak *leak, void *ctx);

/* Calls callback for every block on record, in no particular order, and returns how many it was called
 * for.  NULL for callback only counts.
 *
 * No lock is held while the callback runs: it may allocate, free (the block it was handed too), print,
 * symbolize, and start another walk; it may leave by longjmp or a C++ exception.  Other threads go on
 * meanwhile.  A block that lives through the whole walk is handed over exactly once; one that is made or
 * freed meanwhile, at most once for each time it is made.  A block that is inside of another thread's
 * ld_realloc is handed over as it was before, with an address that may be another block's by then.  The
 * library itself allocates nothing and makes no system call here, so that this may be called from a signal
 * handler. */
size_t ld_now_leaks(ld_leak_fn *callback, void *ctx);

/* Starts a new epoch and returns its number, at least 1; blocks recorded from now on carry it.  Numbers rise
 * by one with each call.  Blocks made before the first call carry 0.  Records keep epochs exactly for 8,192
 * calls; of an older block only that it is at least that old is known. */
uint32_t ld_mark(void);

/* As ld_now_leaks, only the blocks made in epoch `mark` or a later one.  A mark older than the last 8,192
 * may hand over blocks made before it. */
size_t ld_leaks_since(uint32_t mark, ld_leak_fn *callback, void *ctx);

/* --- Names ---------------------------------------------------------------------------------------------- */

#define LD_SYMBOL_TEXT                                                                                    \
    1024                    /* longest name that needs a copy, with its final 0; longer ones are cut, and \
                             * names in object files that are so long stay as they are there */
#define LD_BUILD_ID_TEXT 41 /* a SHA-1 in hexadecimal, with its final 0; longer build ids are cut */

/* The source of one frame.  Strings point into this very struct or to memory that is never released, so
 * a struct must not be copied; NULL or 0 where a thing is not known. */
struct ld_symbol {
    const char *function; /* as it is called in its source, also in C++ and Rust */
    const char *file;     /* source file */
    const char *module;   /* path of the executable or library */
    unsigned line;        /* in file, from 1; 0: unknown */
    uintptr_t offset;     /* of the call in the module, for `addr2line -e module 0xoffset` */
    char text[LD_SYMBOL_TEXT];
    char build_id[LD_BUILD_ID_TEXT]; /* of the module, in hexadecimal; "": it has none, or it is not known */
    bool is_partial; /* descriptors or memory ran out on the way, or a fork had to go on while another thread
                      * was looking things up, and a handler of it asks: ask again later, there may be more */
};

/* Names a return address, as found in ld_leak.frames: the call before it is what is looked up.  Any value
 * may be given: true if at least the module is known, otherwise false with all fields NULL, 0 or empty.  A
 * module that has been unloaded still has its name and, if its file is still the same (which its build id
 * tells), its functions and lines; when another one took its place, use ld_symbolize_frame, which knows which
 * of them was there.
 *
 * Reads symbol tables and debug information from files on first use, and again for libraries that were loaded
 * since, into memory of its own, not the heap that is watched; only for names of Rust's with other letters
 * than ASCII's some is taken there, which is not on record, and is given back.  What cannot be read, for want
 * of descriptors or memory, is left out, and tried again next time.  The thread's signals wait
 * meanwhile.  Not from a signal handler, nor from a callback of dl_iterate_phdr.  Inlined calls show as the
 * function that has the code; see ld_symbolize_inlined. */
bool ld_symbolize(const void *frame, struct ld_symbol *out);

/* What the frame between a signal handler and that which it has interrupted is called. */
#define LD_SIGNAL_FRAME "<signal handler called>"

/* The same for leak->frames[index], with all that the record knows: the module, and whether the frame is what
 * a signal interrupted, which is no call.  The frame in between shows as LD_SIGNAL_FRAME.  False for an
 * index out of range, and for a frame that was in no module when it was recorded. */
bool ld_symbolize_frame(const struct ld_leak *leak, size_t index, struct ld_symbol *out);

/* Names a function that the compiler has inlined into leak->frames[index], as debug information tells: level
 * 0 is the innermost one, where the call is, level 1 the one that it was inlined into, and so on.  False:
 * there is none at this level, and what comes next is the function that has the code, ld_symbolize_frame's,
 * whose line is then where the outermost one was called. */
bool ld_symbolize_inlined(const struct ld_leak *leak, size_t index, unsigned level, struct ld_symbol *out);

/* Writes "function (file:line)", or as much of it as is known, down to "module+0xoffset" and "0xaddress",
 * into buffer, never more than size bytes with the final 0, and returns the length that the whole text has:
 * snprintf's convention.  buffer may be NULL if size is 0. */
size_t ld_symbol_name(const void *frame, char *buffer, size_t size);

/* --- Figures -------------------------------------------------------------------------------------------- */

struct ld_stats {
    size_t live_blocks, live_bytes; /* on record now */
    size_t peak_blocks, peak_bytes; /* the most there ever were: exact for one thread; with more, off by at
                                     * most 64 blocks and 64 KiB, or one block's size, for each */
    size_t capacity_blocks;         /* LD_MAX_BLOCKS */

    /* What was not recorded, since ld_init.  Dropped: the table of blocks was full, or there was no memory
     * for the thread's own part, or a fifth signal handler was in this library, each within the last one.
     * Nested: made by foreign code that the library was in (libunwind, libbacktrace, the loader). */
    size_t dropped_blocks, dropped_bytes;
    size_t nested_blocks, nested_bytes;
    /* Made through ld_* before ld_init had started recording. */
    size_t missed_blocks, missed_bytes;

    /* Call paths: one node for each distinct beginning of a stack, counted from its outermost frame. */
    size_t stack_nodes;       /* in use, of live blocks or not yet given back */
    size_t stack_capacity;    /* LD_MAX_STACKS */
    size_t stack_collections; /* how often the nodes that no live block needs were taken back */
    size_t cut_stacks;        /* blocks recorded with LD_LEAK_STACK_CUT */
    size_t asked_stacks;      /* left to libunwind, because no rule could walk them: microseconds each */

    size_t own_bytes; /* what ld_init returned, and the parts of threads */
};

/* Fills *out.  Every number but the peaks is exact when no other thread is allocating;
 * in a child of a process with several threads, if none was when it was first called there. */
void ld_get_stats(struct ld_stats *out);

/* --- Report --------------------------------------------------------------------------------------------- */

/* In what form a report is written. */
enum ld_report_format {
    /* For people: a header with the totals, all that was not recorded, and the memory that the library uses;
     * then each call site with its blocks, its bytes, and its stack with function, file and line. */
    LD_REPORT_TEXT,

    /* One object, and a newline:
     *
     *     {"version":1,"tool":"leakdetect","pid":N,"program":"...","kind":"live","blocks":N,"bytes":N,
     *      "dropped_blocks":N,"dropped_bytes":N,"own_bytes":N,
     *      "nested_blocks":N,"nested_bytes":N,"missed_blocks":N,"missed_bytes":N,"cut_stacks":N,
     *      "peak_blocks":N,"peak_bytes":N,"capacity_blocks":N,"since":N,"estimate":false,"sampled_blocks":N,
     *      "sites":[{"blocks":N,"bytes":N,"kind":"live","stack_cut":false,"stack_deep":false,
     *        "frames":[{"pc":"0x..","module":"..","build_id":"..","offset":"0x..","function":"..","file":"..","line":N}]}],
     *      "unlisted":{"sites":N,"blocks":N,"bytes":N},"unplaced":{"blocks":N,"bytes":N},
     *      "suppressed":{"blocks":N,"bytes":N,"bad_lines":N,"no_memory":false,
     *        "rules":[{"rule":"..","builtin":true,"blocks":N,"bytes":N}]},
     *      "partial_names":false}
     *
     * What is not known of a frame is "" or 0, so that each key always has the same type.  The kind of the
     * report is live, or lost: that of ld_check.  The kind of a site is live, or in a report of lost blocks
     * definite, indirect, possible or reachable.  estimate: only a sample was recorded, and stands
     * for all. stack_cut: LD_LEAK_STACK_CUT.  stack_deep: there may be more frames outside.
     * strict: LD_LEAK_STRICT, a key that is there only if it is true, as is a frame's "inlined": this
     * function was inlined into the next one, which has the same pc.  unlisted: left out, as the options ask.
     * unplaced: at call sites for which there was no memory.  bad_lines: of the suppressions, that are no
     * rule; no_memory: for the rules, so that none was used.  partial_names: see ld_symbol.is_partial. A byte
     * that is not part of well-formed UTF-8 becomes U+FFFD.  Keys may be added.
     */
    LD_REPORT_JSON,

    /* A line for each call site, outermost function first, with its bytes: "main;parse;strdup 4096", as
     * flamegraph.pl and speedscope read it.  In names a space becomes _ and a semicolon a colon.
     * A stack that was cut to max_frames, or may have been deeper, begins with "[outer]"; "[unknown]" stands
     * for inner frames that are not known.  The lines "[unlisted] BYTES" and "[unplaced] BYTES" are for what
     * the options leave out, and for what there was no memory to tell apart.  In a report of
     * lost blocks the kind of the site comes before all: "definite;main;parse;strdup 4096". */
    LD_REPORT_FOLDED
};

/* Zero-initialise it, set what you need: 0 means the default everywhere.  Fields may be added at the end; as
 * the library is linked statically, a program that does so needs no change.  The library keeps no pointer to
 * it or to its strings.
 *
 * A pattern is what LeakSanitizer takes: it matches a name that contains it; * stands for any characters, ^
 * at the beginning for the beginning of the name, $ at the end for its end. */
struct ld_report_options {
    size_t max_sites;  /* call sites to print; the others are summed up in a line.  0: all */
    size_t min_bytes;  /* print no site with fewer.  0: all */
    size_t max_frames; /* frames to print of each stack.  0: all */
    uint32_t since;    /* only blocks of this epoch (ld_mark) or later.  0: all */
    enum ld_report_format format;

    /* Functions that only allocate for others, and are never the call site: they are left out of the inner
     * end of a stack, unless nothing of it would remain.  Patterns, separated by commas or newlines; * will
     * stand for a comma too.  They come on top of a list of well-known ones (skip.c): operator new,
     * std::allocator, Rust's Box, xmalloc, g_malloc, strdup ...  That list is not used for LD_REPORT_FOLDED,
     * where each is a function like others. */
    const char *skip;
    bool no_default_skip; /* without that list */

    /* The text of a file of suppressions, as LeakSanitizer has them: lines "leak:PATTERN", empty lines, and
     * comments that begin with #.  A block is left out if the pattern matches function, source file or module
     * of any frame of its stack.  Reports say how many blocks each rule has taken, and which lines are none.
     *
     * What the C library and the C++ run time keep on purpose is left out too, by built-in rules (kept.def)
     * that name what they are about: stdio's buffers, the dynamic loader's tables, the pool for exceptions
     * ...  A given rule takes a lost block with all that it leads.  A built-in one takes that block alone:
     * what hangs on it is the program's, and each block of that is reported as definitely lost. */
    const char *suppressions;
    bool no_default_suppressions; /* without the built-in ones */
};

/* Writes to fd the live blocks, grouped by call site, the largest first.  options may be NULL:
 * LEAKDETECT_OPTIONS are for the reports that are written when a program ends, or on a signal.
 *
 * Returns 0 or an errno value: EBADF, EPIPE ... from writing, EINVAL for an unknown format, ENOMEM when there
 * is no scratch memory (mapped apart, never taken from the heap it reports on); there is a report then, and
 * it says what is missing.  Retries on EINTR.  SIGPIPE is the caller's affair. Not from a signal handler:
 * wake a thread, as examples/ctrl_c.c does.  What it takes of the stack is said above.  A cancellation
 * that comes meanwhile takes effect at the end. */
int ld_report(int fd, const struct ld_report_options *options);

/* --- Lost blocks ------------------------------------------------------------------------------------------
 *
 * A block is lost when the program cannot reach it any more: no pointer leads to it from the writable data of
 * a module, from a thread's registers, stack or thread-local storage, or from a registered region, by way of
 * any number of blocks.  What that cannot know is said in docs/lost-blocks.md.
 *
 * To look, all other threads are stopped for as long as it takes to copy the process (fork's copy, without
 * its handlers and without SIGCHLD), some milliseconds; then they go on, and the copy is examined.  So that
 * there is less to copy, memory in use is moved into huge pages before (docs/lost-blocks.md).  Threads
 * that are in a system call take a signal for it: nearly all calls are restarted, and those that may fail
 * with EINTR instead, or transfer less than they were asked to, are listed in docs/lost-blocks.md.  The
 * calling thread has its signals blocked until the answer is there.  One look at a time: others wait.  Not
 * from a signal handler. */

/* As ld_now_leaks, only for blocks that are lost; leak->reach says how.  The blocks that a definitely lost
 * one leads to come right after it.  Nothing is suppressed.  No lock is held while the callback runs; if it
 * leaves by longjmp, an exception or a cancellation, 8 bytes for each lost block stay mapped.
 *
 * Returns how many blocks were handed over.  If it could not look, it returns 0 and sets errno, which is
 * otherwise left alone: ENOMEM, or what went wrong with /proc/self (EMFILE, ENOENT ...; ESRCH when /proc is
 * that of another pid namespace, and there are several threads), or EFAULT when the copy of the process was
 * killed; EAGAIN when libraries were loaded or unloaded during each of ten looks, when another thread keeps
 * the loader's lock, and always in a process that was forked in the midst of a dlopen of another thread's;
 * ENODATA when nobody can know, because some blocks are not on record (dropped, allocated while recording was
 * off, or not in a sample), and may lead to others (docs/lost-blocks.md says for how long); with
 * use_mappings=1 ENOTSUP, EACCES or EPERM when what is mapped is not known or cannot be read; ENOSYS on other
 * processors than x86-64. */
size_t ld_lost_leaks(ld_leak_fn *callback, void *ctx);

/* Looks now, and writes a report of what is lost, as ld_report does of what is alive.  *lost, if lost is not
 * NULL, is the number of blocks that are definitely, indirectly and possibly lost, as the report has them:
 * without those that a suppression has taken, and those that they lead.  Returns 0, or an errno value as
 * ld_report or ld_lost_leaks, and is cancelled as ld_report is. */
int ld_check(int fd, const struct ld_report_options *options, size_t *lost);

/* Never to be reported as lost, nor what only this block leads to.  Holds until the block is freed.  The
 * pointer is what an allocation function returned, or points into the first 4096 bytes of that, as what new[]
 * returns of an array with a count in front; others, and NULL, do nothing. */
void ld_ignore(const void *block);

/* Says that a region of memory which is no block (mapped by the program, say, or the stack of a coroutine)
 * holds pointers, until it is unregistered with the same values.  What of it is not mapped is passed over.
 * Returns 0, EINVAL for an empty region and one that has part of the first or the last 4096 bytes that there
 * are addresses for, ENOMEM when there are LD_MAX_ROOTS of them, ENOENT for one that is not registered. */
int ld_register_root(const void *start, size_t size);
int ld_unregister_root(const void *start, size_t size);

/* --- Whole programs ----------------------------------------------------------------------------------- */

/* Not a function of the library's, but one that you may write: the options that a program linked with
 * -lleakdetect_malloc has from the start, as "name=value:name=value" (docs/options.md).  The environment
 * counts more.  It is called once, before your constructors, and the text must last.  */
const char *ld_default_options(void);

/* The same for suppressions: a text as ld_report_options.suppressions has it, for the reports that such a
 * program writes at its end and on signals, together with the file of the option `suppressions`.  ld_report
 * and ld_check have those of their own arguments only.  It is called once, before your constructors; the
 * library keeps a copy.  Lines that are no rule are said on stderr then, as those of the file are, and the
 * others count. */
const char *ld_default_suppressions(void);

/* LeakSanitizer's functions, of sanitizer/lsan_interface.h, are there in such programs, too, for those that
 * call them already, and __lsan_default_suppressions and __lsan_is_turned_off are called:
 * docs/whole-program.md. */

#ifdef __cplusplus
}
#endif

#endif
