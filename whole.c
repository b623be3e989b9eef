/* SPDX-License-Identifier: MIT
 *
 * The life of a whole program on this library, which it need not know of: recording begins with its first
 * block, options are read before main, and a report is written when everything else in the program is over.
 *
 *     first allocation, whoever makes it      ld_init (leakdetect.c)
 *     constructor, before main                options, stderr, helper
 *     exit: handlers of atexit, destructors   the program's own
 *           destructor of this library        asks for a call when all destructors have run
 *           that call                         the report
 */
#define _GNU_SOURCE /* on_exit, gettid */
#include "config.h"
#include "leakdetect.h"

#if LD_OVERRIDE

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backing.h"
#include "check.h"
#include "destination.h"
#include "helper.h"
#include "given.h"
#include "operators.h"
#include "options.h"
#include "platform.h"
#include "report.h"
#include "suppress_file.h"
#include "whole.h"

#define LIBRARY_FILE "libleakdetect_malloc.so"

enum { WAIT_FOR_REPORT_YIELDS = 20000 }; /* of another thread, seconds */

static struct {
    struct options options;
    pid_t process;            /* the one that was started, if it was not forked from one */
    bool is_child;            /* forked from it */
    bool is_on;               /* this library is the program's malloc */
    const char *suppressions; /* of the file and compiled in; NULL: none */
    atomic_int reporter;      /* the thread that writes a report; if it is that of the end, less than 0 */
    atomic_bool is_ending;    /* the report of the end is to be made: no others from now on */
    atomic_bool is_over;      /* it was made, or is being made */
} whole;

/* Whether the program's malloc is this library's.  Its address does not tell: in a program that is not
 * position-independent, and takes the address itself, that of every function is one in the program. */
static bool is_own_malloc(void)
{
    /* Some other malloc's block stays: the free that is called may be this library's, or not be ready yet. */
    static void *volatile block;
    uint64_t before;
    bool is_own;

    ld_disable();
    before = backing_taken_by_thread();
    block = malloc(1);
    is_own = backing_taken_by_thread() != before;
    if (is_own) {
        free(block);
        block = NULL; /* or the next one there would never be lost */
    }
    ld_enable();
    return is_own;
}

/* --- Reports ------------------------------------------------------------------------------------------ */

/* While a report is written: a reader that has gone, a limit to the size of files, or somebody who cancels
 * this thread must not cost the program its life. */
struct shelter {
    sigset_t signals, mask; /* those that were held back, and all that were before */
    int cancel_state;
};

static const int deadly[] = {SIGPIPE, SIGXFSZ};

static void take_shelter(struct shelter *shelter)
{
    sigset_t pending;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &shelter->cancel_state);
    sigpending(&pending);
    sigemptyset(&shelter->signals);
    /* What waits already is for the program. */
    for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
        if (sigismember(&pending, deadly[i]) == 0)
            sigaddset(&shelter->signals, deadly[i]);
    pthread_sigmask(SIG_BLOCK, &shelter->signals, &shelter->mask);
}

static void leave_shelter(struct shelter *shelter)
{
    const struct timespec no_time = {0};

    while (sigtimedwait(&shelter->signals, NULL, &no_time) > 0)
        continue;
    pthread_sigmask(SIG_SETMASK, &shelter->mask, NULL);
    pthread_setcancelstate(shelter->cancel_state, NULL);
}

static const char *why_unknown(int error)
{
    struct ld_stats stats;

    switch (error) {
    case ENOENT: /* as after chroot */
    case EACCES:
    case EMFILE:
    case ENFILE:
        return "/proc cannot be read: ";
    case ESRCH:
        return "/proc is that of another pid namespace (unshare --mount-proc): ";
    case ENODATA:
        ld_get_stats(&stats);
        return stats.dropped_blocks == 0 || whole.options.sample != 0
                   ? "not all blocks are on record (report_at_exit=live shows those that are): "
                   : "not all blocks are on record, as there were more than LD_MAX_BLOCKS (README, Sizes) or "
                     "no "
                     "memory for that: ";
    case EAGAIN:
        return "libraries come and go all the time, or are about to: ";
    case ENOSYS:
        if (!CHECK_CAN_LOOK)
            return "this processor's registers are not known: ";
        /* fall through */
    case EPERM:
        return "/proc cannot be read, or a system call is refused that a look needs (seccomp): ";
    default:
        return "";
    }
}

enum what { LIVE, LOST, LOST_IF_DEFINITE, LOST_AT_EXIT };

static void say_error(enum what what, int error)
{
    char line[256];

    switch (error) {
    case EBADF:
    case EDQUOT:
    case EFBIG:
    case EIO:
    case ENOSPC:
    case EPIPE:
        snprintf(line, sizeof(line), "leakdetect: the report could not be written: %s",
                 strerrordesc_np(error));
        break;
    default:
        if (what == LIVE)
            snprintf(line, sizeof(line), "leakdetect: the report is not complete: %s",
                     strerrordesc_np(error));
        else
            snprintf(line, sizeof(line), "leakdetect: what is lost is not known: %s%s", why_unknown(error),
                     strerrordesc_np(error));
    }
    destination_say(line);
}

/* True if the report has blocks to show: LIVE, any; LOST, never; the other two, a definitely lost one, and
 * without one nothing is written.  Only those two look at the caller. */
static bool write_report(enum what what, const struct check_caller *caller)
{
    static const enum ld_report_format formats[] = {
        [OPTIONS_FORMAT_TEXT] = LD_REPORT_TEXT,
        [OPTIONS_FORMAT_JSON] = LD_REPORT_JSON,
        [OPTIONS_FORMAT_FOLDED] = LD_REPORT_FOLDED,
    };
    struct report_found found = {0};
    const struct ld_report_options options = {
        .max_sites = whole.options.max_sites,
        .min_bytes = whole.options.min_bytes,
        .max_frames = whole.options.frames,
        .format = formats[whole.options.format],
        .skip = whole.options.skip,
        .suppressions = whole.suppressions,
    };
    struct shelter shelter;
    bool is_definite = false;
    int fd, error = 0;

    take_shelter(&shelter);
    fd = destination_open();
    /* The exit status may depend on it even if nobody can read it. */
    switch (what) {
    case LIVE:
        error = report_live(fd, &options, &found);
        break;
    case LOST:
        error = ld_check(fd, &options, NULL);
        break;
    case LOST_IF_DEFINITE:
    case LOST_AT_EXIT:
        error = check_report(fd, &options, caller, what == LOST_AT_EXIT, &is_definite);
        break;
    }
    if (fd >= 0)
        destination_close(fd);
    if (error != 0 && fd >= 0)
        say_error(what, error);
    leave_shelter(&shelter);
    return is_definite || found.blocks != 0;
}

enum { NOBODY };

/* One at a time, and others wait: not for ever, unless they are patient, or the process may end with what the
 * other one finds.  A handler of a signal that has interrupted a report is not to wait for it. */
static bool begin_report(bool is_of_end, bool is_patient)
{
    int thread = gettid();

    if (is_of_end)
        atomic_store_explicit(&whole.is_ending, true, memory_order_relaxed);
    for (unsigned i = 0;; i += i < WAIT_FOR_REPORT_YIELDS) {
        int now = NOBODY;

        if (atomic_compare_exchange_strong_explicit(&whole.reporter, &now, is_of_end ? -thread : thread,
                                                    memory_order_acquire, memory_order_relaxed))
            return true;
        if (now == thread || now == -thread || (i == WAIT_FOR_REPORT_YIELDS && !is_patient && now > NOBODY))
            return false;
        platform_yield(i);
    }
}

static void end_report(void)
{
    atomic_store_explicit(&whole.reporter, NOBODY, memory_order_release);
}

static bool report(enum what what, const struct check_caller *caller, bool is_patient)
{
    bool has_blocks;

    if (!begin_report(false, is_patient))
        return false;
    has_blocks = write_report(what, caller);
    end_report();
    return has_blocks;
}

/* What a signal asks for is not to keep the end waiting, however often it comes. */
static void report_unless_ending(enum what what)
{
    if (!atomic_load_explicit(&whole.is_ending, memory_order_relaxed))
        report(what, NULL, false);
}

static void report_on_signal(void)
{
    report_unless_ending(LIVE);
}

static void check_on_signal(void)
{
    report_unless_ending(LOST);
}

/* --- End ---------------------------------------------------------------------------------------------- */

/* A child that was forked to be shut in, as that of OpenSSH's server which talks to whoever has not logged in
 * yet, may be killed for any system call that it does not need itself. */
static bool is_own_reporter(void)
{
    if (whole.is_child && platform_is_filtered())
        return false;
    return whole.options.children == OPTIONS_CHILDREN_FOLLOW || getpid() == whole.process;
}

static bool is_to_report(void)
{
    switch (whole.options.report_at_exit) {
    case OPTIONS_REPORT_NONE:
        return false;
    case OPTIONS_REPORT_LOST:
        return !given_is_turned_off() && is_own_reporter();
    default:
        return is_own_reporter();
    }
}

/* Without handlers of atexit and destructors, but what was printed is not lost: unless another thread has
 * stdout in its hands, for which nobody knows how long to wait. */
static _Noreturn void end_at_once(int status)
{
    struct shelter shelter;

    take_shelter(&shelter);
    if (ftrylockfile(stdout) == 0)
        fflush_unlocked(stdout);
    _exit(status);
}

enum ending { AT_EXIT, AT_ONCE };

/* The report of the end, once; and the end itself, if that has blocks to show. */
static void report_end(enum ending ending, const struct check_caller *caller)
{
    bool of_lost = whole.options.report_at_exit != OPTIONS_REPORT_LIVE, has_blocks = false;
    int wanted = (int)whole.options.exitcode;

    if (!begin_report(true, ending == AT_ONCE))
        return;
    if (!atomic_exchange_explicit(&whole.is_over, true, memory_order_relaxed))
        has_blocks = write_report(!of_lost            ? LIVE
                                  : ending == AT_EXIT ? LOST_AT_EXIT
                                                      : LOST_IF_DEFINITE,
                                  caller);
    if (has_blocks && wanted != 0 && ending == AT_ONCE)
        end_at_once(wanted);
    end_report();
    /* exit goes on where it was, with this status, and flushes what the program has written. */
    if (has_blocks && wanted != 0)
        exit(wanted);
}

static NOINLINE void end(int status, void *unused, const struct check_caller *caller)
{
    (void)status;
    (void)unused;
    report_end(AT_EXIT, caller);
}

/* What lies on the stack from here on is not the program's. */
#if CHECK_CAN_LOOK
CHECK_FROM_CALLER static void at_the_very_end(CHECK_UNUSED int status, CHECK_UNUSED void *unused)
{
    CHECK_FROM_HERE(end, "rdx");
}
#else
static void at_the_very_end(int status, void *unused)
{
    end(status, unused, NULL);
}
#endif

/* Destructors run, those of all libraries, in one call of a handler that was registered before the program's
 * first instruction.  What is registered meanwhile is called next. */
__attribute__((destructor)) static void at_destruction(void)
{
    if (whole.is_on && (is_to_report() || atomic_load_explicit(&whole.is_over, memory_order_relaxed)))
        on_exit(at_the_very_end, NULL);
}

/* --- What the program asks for ------------------------------------------------------------------------ */

static bool is_to_check(void)
{
    return whole.is_on && !given_is_turned_off() && is_own_reporter();
}

bool whole_check(const struct check_caller *caller)
{
    return is_to_check() && report(LOST_IF_DEFINITE, caller, true);
}

void whole_check_and_end(const struct check_caller *caller)
{
    if (is_to_check())
        report_end(AT_ONCE, caller);
}

/* --- Start -------------------------------------------------------------------------------------------- */

static bool is_library(const char *path, size_t length)
{
    size_t name = sizeof(LIBRARY_FILE) - 1;

    return length >= name && memcmp(path + length - name, LIBRARY_FILE, name) == 0 &&
           (length == name || path[length - name - 1] == '/');
}

/* Programs that this one executes are to be left alone.  Nothing is allocated: the text is changed where it
 * is. */
static void leave_children_alone(void)
{
    char *list = getenv("LD_PRELOAD"), *out = list, *first = list;

    if (list == NULL)
        return;
    while (*list != '\0') {
        size_t length = strcspn(list, " :"), separator = list[length] != '\0';

        if (!is_library(list, length)) {
            memmove(out, list, length + separator);
            out += length + separator;
        }
        list += length + separator;
    }
    *out = '\0';
    if (*first == '\0')
        unsetenv("LD_PRELOAD");
}

static void after_fork_in_child(void)
{
    whole.is_child = true;
    /* That of another thread comes to no end in here. */
    if (atomic_load_explicit(&whole.reporter, memory_order_relaxed) < NOBODY)
        atomic_store_explicit(&whole.is_over, false, memory_order_relaxed);
    atomic_store_explicit(&whole.is_ending, false, memory_order_relaxed);
    atomic_store_explicit(&whole.reporter, NOBODY, memory_order_relaxed);
    destination_after_fork_in_child();
    if (whole.options.children == OPTIONS_CHILDREN_FOLLOW)
        helper_after_fork_in_child();
}

static void start_helper(size_t number, void (*report_it)(void))
{
    char line[128];
    int error = number == 0 ? 0 : helper_init((int)number, report_it);
    const char *why = error == EBUSY    ? "the program handles it already"
                      : error == EEXIST ? "another option has it already"
                                        : strerrordesc_np(error);

    if (error == 0)
        return;
    snprintf(line, sizeof(line), "leakdetect: signal %zu cannot ask for reports: %s", number, why);
    destination_say(line);
}

/* Those of the file come first, since of several rules the first counts a block as its own. */
static void load_suppressions(void)
{
    struct given_text given[GIVEN_TEXTS_MAX];
    size_t count = given_suppressions(given);

    if (whole.options.suppressions != NULL)
        whole.suppressions = suppress_file_load(whole.options.suppressions, destination_say);
    for (size_t i = 0; i < count; i++)
        if (given[i].text != NULL)
            whole.suppressions =
                suppress_file_add(whole.suppressions, given[i].text, given[i].origin, destination_say);
}

static void say_start(void)
{
    char line[OPTIONS_LINE_BYTES];

    snprintf(line, sizeof(line), "leakdetect: recording process %ld; report %s, to %s", (long)getpid(),
             is_to_report() ? "at exit" : "only when asked for",
             whole.options.log_path == NULL ? "stderr" : whole.options.log_path);
    destination_say(line);
    if (given_is_turned_off())
        destination_say("leakdetect: __lsan_is_turned_off says that no leak is to be looked for");
    if (given_unread_options())
        destination_say(
            "leakdetect: what __lsan_default_options says does not count; ld_default_options does");
    for (size_t i = 0; whole.options.verbosity > 1 && i < options_count; i++) {
        options_show(&whole.options, &options_table[i], line, sizeof(line));
        destination_say(line);
    }
}

static void read_options(void)
{
    enum { STATUS_IF_LOST = 23 };

    given_options(&whole.options, destination_say);
    if (whole.options.exitcode == OPTIONS_BY_REPORT)
        whole.options.exitcode = whole.options.report_at_exit == OPTIONS_REPORT_LIVE ? 0 : STATUS_IF_LOST;
}

/* Earlier than anything that is not part of an implementation. */
__attribute__((constructor(101))) static void start(void)
{
    destination_init();
    read_options();
    whole.process = getpid();
    if (whole.options.children == OPTIONS_CHILDREN_IGNORE)
        leave_children_alone();
    whole.is_on = is_own_malloc();
    if (!whole.is_on) {
        destination_say("leakdetect: nothing is recorded, because this program brings a malloc of its own");
        return;
    }
    operators_trust_malloc();
    ld_set_sampling(whole.options.sample);
    ld_init();
    check_set_options(&(struct check_options){
        .no_globals = whole.options.use_globals == 0,
        .no_tls = whole.options.use_tls == 0,
        .no_registers = whole.options.use_registers == 0,
        .no_stacks = whole.options.use_stacks == 0,
        .is_strict = whole.options.strict_stack != 0,
        .are_unaligned = whole.options.use_unaligned != 0,
        .keeps_pages = whole.options.huge_pages == 0,
        .counts_mapped = whole.options.use_mappings != 0,
    });
    pthread_atfork(NULL, NULL, after_fork_in_child);
    destination_choose(whole.options.log_path);
    load_suppressions();
    start_helper(whole.options.signal, report_on_signal);
    start_helper(whole.options.check_signal, check_on_signal);
    if (whole.options.verbosity > 0)
        say_start();
}

#endif
