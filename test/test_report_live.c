/* SPDX-License-Identifier: MIT
 *
 * The report on the real library: that it says what the records say, allocates nothing, and comes out of
 * places where not much works any more.  How it looks is in test_report.c.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "test_support.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

#if !LD_BACKING_LIBC
#include <jemalloc/jemalloc.h>
#endif

enum { ODD_SIZE = 1337, OTHER_ODD_SIZE = 666 };

/* --- Helpers -------------------------------------------------------------------------------------------- */

/* A file in memory to write reports to. */
static int new_file(void)
{
    int fd = memfd_create("report", 0);

    REQUIRE(fd >= 0);
    return fd;
}

/* What is in the file, to be given to free, which is not the heap that is watched. */
static char *read_all(int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)size + 1);

    REQUIRE(text != NULL);
    REQUIRE(pread(fd, text, (size_t)size, 0) == size);
    return text;
}

static char *report(const struct ld_report_options *options)
{
    int fd = new_file();

    REQUIRE(ld_report(fd, options) == 0);
    char *text = read_all(fd);
    close(fd);
    return text;
}

static void assert_contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("no \"%s\" in:\n%.4000s", part, text);
}

/* The number that follows the label, commas left out. */
static size_t number_after(const char *text, const char *label)
{
    const char *at = strstr(text, label);
    size_t number = 0;

    if (at == NULL)
        fail_msg("no \"%s\" in:\n%.4000s", label, text);
    for (at += strlen(label); (*at >= '0' && *at <= '9') || *at == ','; at++)
        if (*at != ',')
            number = number * 10 + (size_t)(*at - '0');
    return number;
}

enum { SITE_LINE = __LINE__ + 4 }; /* of the call in make_block */

static SITE void *make_block(size_t size)
{
    void *block = ld_malloc(size);

    RETURN_FROM_SITE(block);
}

static SITE void *make_block_elsewhere(size_t size)
{
    void *block = ld_malloc(size);

    RETURN_FROM_SITE(block);
}

/* Runs the work in a child, which has not made a report yet; what it wrote to the file is returned. */
static char *in_child(void (*work)(int fd))
{
    int fd = new_file(), status;
    pid_t child = fork();

    REQUIRE(child >= 0);
    if (child == 0) {
        test_deadline(60);
        work(fd);
        _exit(0);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    char *text = read_all(fd);
    close(fd);
    if (status != 0)
        fail_msg("the child ended with status %#x and wrote:\n%.4000s", (unsigned)status, text);
    return text;
}

/* --- In a process that has never made a report ---------------------------------------------------------- */

#if !LD_BACKING_LIBC
static uint64_t allocated_by_thread(void)
{
    uint64_t bytes;
    size_t size = sizeof(bytes);

    REQUIRE(mallctl("thread.allocated", &bytes, &size, NULL, 0) == 0);
    return bytes;
}
#else
static uint64_t allocated_by_thread(void)
{
    return 0;
}
#endif

static void report_and_compare_heap(int fd)
{
    struct ld_stats before = stats_now();
    uint64_t allocated = allocated_by_thread();

    REQUIRE(ld_report(fd, NULL) == 0);
    REQUIRE(allocated_by_thread() == allocated);
    struct ld_stats after = stats_now();
    REQUIRE(before.live_blocks == after.live_blocks && before.live_bytes == after.live_bytes);
    REQUIRE(before.nested_blocks == after.nested_blocks);
    REQUIRE(before.peak_blocks == after.peak_blocks && before.peak_bytes == after.peak_bytes);
}

static void allocates_nothing_on_the_heap_it_reports_on(void **state)
{
    (void)state;
    void *block = make_block(ODD_SIZE);

    free(in_child(report_and_compare_heap));
    ld_free(block);
}

static void report_without_descriptors(int fd)
{
    while (dup(fd) >= 0)
        ;
    REQUIRE(errno == EMFILE);
    REQUIRE(ld_report(fd, NULL) == 0);
}

static void trap_25_comes_out_when_no_descriptor_is_left(void **state)
{
    (void)state;
    void *block = make_block(ODD_SIZE);
    char *text = in_child(report_without_descriptors);

    assert_contains(text, ": 1 block, 1,337 bytes\n    #0  0x");
    assert_contains(text, "\nsome names are missing, ");
    assert_contains(text, "\ntotal: 1 block, 1,337 bytes, at 1 call site\n");
    free(text);
    ld_free(block);
}

static void report_without_address_space(int fd)
{
    const struct rlimit none = {0};

    REQUIRE(setrlimit(RLIMIT_AS, &none) == 0);
    REQUIRE(ld_report(fd, NULL) == 0);
}

static void trap_25_comes_out_when_no_page_can_be_mapped(void **state)
{
    (void)state;
    if (HAS_SANITIZER)
        skip(); /* a sanitizer's run time needs pages of its own */
    void *block = make_block(ODD_SIZE);
    char *text = in_child(report_without_address_space);

    assert_contains(text, ": 1 block, 1,337 bytes\n    #0  0x");
    assert_contains(text, "\ntotal: 1 block, 1,337 bytes, at 1 call site\n");
    free(text);
    ld_free(block);
}

static void report_with_standard_files_closed(int fd)
{
    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    close(STDERR_FILENO);
    REQUIRE(ld_report(STDERR_FILENO, NULL) == EBADF);
    REQUIRE(ld_report(fd, NULL) == 0);
}

static void trap_25_comes_out_when_stderr_is_closed(void **state)
{
    (void)state;
    void *block = make_block(ODD_SIZE);
    char *text = in_child(report_with_standard_files_closed);

    assert_contains(text, "\ntotal: 1 block, 1,337 bytes, at 1 call site\n");
    free(text);
    ld_free(block);
}

static int exit_fd;

static void report_at_exit(void)
{
    REQUIRE(ld_report(exit_fd, NULL) == 0);
}

static void exit_with_buffered_output(int fd)
{
    exit_fd = fd;
    REQUIRE(dup2(fd, STDOUT_FILENO) >= 0);
    REQUIRE(atexit(report_at_exit) == 0);
    REQUIRE(printf("said before the end\n") > 0);
    exit(0);
}

static void trap_23_costs_the_program_none_of_its_output(void **state)
{
    (void)state;
    fflush(stdout); /* or the child would say it again */
    char *text = in_child(exit_with_buffered_output);

    assert_contains(text, "\ntotal: 0 blocks, 0 bytes, at 0 call sites\n");
    assert_contains(text, "said before the end\n");
    free(text);
}

/* --- What it says --------------------------------------------------------------------------------------- */

static void site_has_function_file_and_line(void **state)
{
    (void)state;
    void *block = make_block(ODD_SIZE);
    char *text = report(NULL);
    char *site = strstr(text, ": 1 block, 1,337 bytes\n");
    char line[32];

    assert_non_null(site);
    char *frame = strstr(site, "#0");
    assert_non_null(frame);
    *strchr(frame, '\n') = 0;
    snprintf(line, sizeof(line), "test_report_live.c:%d)", SITE_LINE);
    assert_contains(frame, " make_block (");
    assert_contains(frame, line);
    free(text);
    ld_free(block);
}

static void freed_block_is_in_no_report(void **state)
{
    (void)state;
    ld_free(make_block(ODD_SIZE));
    char *text = report(NULL);

    assert_null(strstr(text, ": 1 block, 1,337 bytes"));
    assert_contains(text, "\ntotal: 0 blocks, 0 bytes, at 0 call sites\n");
    free(text);
}

static void sites_agree_with_the_records(void **state)
{
    (void)state;
    void *blocks[30];

    for (size_t i = 0; i < opaque_size(30); i++)
        blocks[i] = i % 3 == 0 ? make_block_elsewhere(OTHER_ODD_SIZE) : make_block(ODD_SIZE);
    char *text = report(NULL);
    assert_contains(text, "\nsite 1: 20 blocks, 26,740 bytes\n");
    assert_contains(text, "\nsite 2: 10 blocks, 6,660 bytes\n");
    assert_contains(text, "\ntotal: 30 blocks, 33,400 bytes, at 2 call sites\n");
    free(text);
    for (size_t i = 0; i < 30; i++)
        ld_free(blocks[i]);
}

static void since_a_mark_reports_only_newer_blocks(void **state)
{
    (void)state;
    void *older = make_block(ODD_SIZE);
    const struct ld_report_options options = {.since = ld_mark()};
    void *newer = make_block(OTHER_ODD_SIZE);
    char *text = report(&options);

    assert_contains(text, "\ntotal: 1 block, 666 bytes, at 1 call site\n");
    free(text);
    ld_free(older);
    ld_free(newer);
}

/* Makes blocks until some are dropped.  They link to each other, so that the test needs no memory for
 * them. */
static void **fill_table(size_t *block_count)
{
    void **last = NULL;

    *block_count = 0;
    while (stats_now().dropped_blocks < 100) {
        for (size_t i = 0; i < 100; i++, ++*block_count) {
            void **block = make_block(sizeof(*block));
            *block = last;
            last = block;
        }
    }
    return last;
}

static void trap_14_full_table_says_what_was_dropped(void **state)
{
    (void)state;
    size_t blocks;
    void **last = fill_table(&blocks);
    struct timespec start, end;

    clock_gettime(CLOCK_MONOTONIC, &start);
    char *text = report(NULL);
    clock_gettime(CLOCK_MONOTONIC, &end);
    print_message("%zu live blocks: %ld ms\n", stats_now().live_blocks,
                  (long)(end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000);
    assert_int_equal(number_after(text, "\n  dropped:    "), stats_now().dropped_blocks);
    assert_int_equal(number_after(text, "\n  live:       "), stats_now().live_blocks);
    assert_int_equal(stats_now().live_blocks + stats_now().dropped_blocks, blocks);
    free(text);
    while (last != NULL) {
        void **next = *last;
        ld_free(last);
        last = next;
    }
    assert_int_equal(stats_now().live_blocks, 0);
}

/* --- For programs --------------------------------------------------------------------------------------- */

/* What jq makes of the text. */
static char *jq(const char *text, const char *filter)
{
    char command[256], *output = calloc(1, 4096);
    int fd = new_file();

    REQUIRE(output != NULL && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    snprintf(command, sizeof(command), "jq -c '%s' </dev/fd/%d", filter, fd);
    lseek(fd, 0, SEEK_SET);
    FILE *pipe = popen(command, "r");
    REQUIRE(pipe != NULL);
    size_t size = fread(output, 1, 4095, pipe);
    output[size] = 0;
    if (pclose(pipe) != 0)
        fail_msg("jq does not take:\n%.4000s", text);
    close(fd);
    return output;
}

static void assert_jq(const char *text, const char *filter, const char *expected)
{
    char *output = jq(text, filter);
    assert_string_equal(output, expected);
    free(output);
}

static void json_says_where_a_block_was_made(void **state)
{
    (void)state;
    const struct ld_report_options options = {.format = LD_REPORT_JSON};
    void *block = make_block(ODD_SIZE);
    char *text = report(&options), expected[64];

    snprintf(expected, sizeof(expected), "[\"make_block\",%d]\n", SITE_LINE);
    assert_jq(text, ".sites[0].frames[0] | [.function, .line]", expected);
    assert_jq(text, ".sites[0].frames[0] | .file | endswith(\"test_report_live.c\")", "true\n");
    assert_jq(text, ".sites[0].frames[0].module == .program", "true\n");
    assert_jq(text, "[.sites[0] | .blocks, .bytes, .kind]", "[1,1337,\"live\"]\n");
    free(text);
    ld_free(block);
    text = report(&options);
    assert_jq(text, "[.blocks, .sites]", "[0,[]]\n");
    free(text);
}

/* The build id as a symbolizer elsewhere would look for it. */
static void json_has_build_ids_as_files_have_them(void **state)
{
    (void)state;
    const struct ld_report_options options = {.format = LD_REPORT_JSON};
    void *block = make_block(ODD_SIZE);
    char *text = report(&options), id[64] = "";
    FILE *pipe = popen("readelf -n \"$(readlink /proc/$PPID/exe)\" | sed -n 's/.*Build ID: //p'", "r");

    assert_non_null(pipe);
    if (fgets(id, sizeof(id), pipe) == NULL)
        id[0] = 0;
    pclose(pipe);
    id[strcspn(id, "\n")] = 0;
    char expected[80];
    snprintf(expected, sizeof(expected), "\"%s\"\n", id);
    assert_jq(text, ".sites[0].frames[0].build_id", expected);
    free(text);
    ld_free(block);
}

static void folded_ends_where_the_block_was_made(void **state)
{
    (void)state;
    const struct ld_report_options options = {.format = LD_REPORT_FOLDED};
    void *block = make_block(ODD_SIZE);
    char *text = report(&options);

    assert_contains(text, ";main;");
    assert_contains(text, ";folded_ends_where_the_block_was_made;make_block 1337\n");
    free(text);
    ld_free(block);
}

static SITE void *make_odd_block(void)
{
    void *block = ld_malloc(ODD_SIZE);

    RETURN_FROM_SITE(block);
}

static void suppression_leaves_out_by_function(void **state)
{
    (void)state;
    const struct ld_report_options options = {.suppressions = "leak:^make_odd_block$"};
    void *left_out = make_odd_block(), *reported = make_block_elsewhere(OTHER_ODD_SIZE);
    char *text = report(&options);

    assert_contains(text, "\n  suppressed: 1 block, 1,337 bytes by 1 rule\n");
    assert_contains(text, "\ntotal: 1 block, 666 bytes, at 1 call site\n");
    free(text);
    ld_free(left_out);
    ld_free(reported);
}

static void skipped_function_is_not_the_site(void **state)
{
    (void)state;
    const struct ld_report_options options = {.skip = "^make_block"};
    void *one = make_block(ODD_SIZE);
    char *text = report(&options);

    assert_contains(text, "skipped_function_is_not_the_site (");
    assert_null(strstr(text, " make_block ("));
    free(text);
    ld_free(one);
}

/* --- Writing -------------------------------------------------------------------------------------------- */

static void assert_fails_with(int fd, int error)
{
    errno = ODD_SIZE;
    assert_int_equal(ld_report(fd, NULL), error);
    assert_int_equal(errno, ODD_SIZE);
}

static void write_errors_are_returned_and_errno_is_kept(void **state)
{
    (void)state;
    int full = open("/dev/full", O_WRONLY), unwritable = open("/dev/null", O_RDONLY), ends[2];

    assert_true(full >= 0 && unwritable >= 0);
    assert_fails_with(full, ENOSPC);
    assert_fails_with(unwritable, EBADF);
    assert_fails_with(-1, EBADF);
    close(full);
    close(unwritable);
    assert_fails_with(full, EBADF);

    void (*old)(int) = signal(SIGPIPE, SIG_IGN);
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    assert_fails_with(ends[1], EPIPE);
    close(ends[1]);
    signal(SIGPIPE, old);
}

/* Reads a pipe to its end, in small pieces and with pauses. */
static void *read_slowly(void *file)
{
    const struct timespec pause = {.tv_nsec = 200000};
    const int *ends = file;
    char piece[512];
    int fd = new_file();

    for (ssize_t size = 1; size != 0;) {
        size = read(ends[0], piece, sizeof(piece));
        /* The signals that are to interrupt the writer come here, too. */
        REQUIRE(size >= 0 || errno == EINTR);
        if (size <= 0)
            continue;
        REQUIRE(write(fd, piece, (size_t)size) == size);
        nanosleep(&pause, NULL);
    }
    char *text = read_all(fd);
    close(fd);
    return text;
}

/* A report of many frames into a small pipe with a slow reader, who returns it. */
static char *report_to_slow_reader(bool is_nonblocking)
{
    int ends[2];
    pthread_t reader;
    void *text;

    REQUIRE(pipe2(ends, is_nonblocking ? O_NONBLOCK : 0) == 0);
    REQUIRE(fcntl(ends[0], F_SETFL, 0) == 0);
    REQUIRE(fcntl(ends[1], F_SETPIPE_SZ, 4096) > 0);
    REQUIRE(pthread_create(&reader, NULL, read_slowly, ends) == 0);
    REQUIRE(ld_report(ends[1], NULL) == 0);
    close(ends[1]);
    REQUIRE(pthread_join(reader, &text) == 0);
    close(ends[0]);
    return text;
}

/* So many calls from so many places. */
#define CALLS_4   make_block(1), make_block(2), make_block(3), make_block(4)
#define CALLS_16  CALLS_4, CALLS_4, CALLS_4, CALLS_4
#define CALLS_128 CALLS_16, CALLS_16, CALLS_16, CALLS_16, CALLS_16, CALLS_16, CALLS_16, CALLS_16

static void assert_whole_reports(bool is_nonblocking)
{
    void *blocks[] = {CALLS_128};
    char *expected = report(NULL);
    char *text = report_to_slow_reader(is_nonblocking);

    assert_true(strlen(expected) > 16384);
    assert_string_equal(text, expected);
    free(text);
    free(expected);
    for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
        ld_free(blocks[i]);
}

static void ignore_signal(int number)
{
    (void)number;
}

static void interrupted_writes_lose_nothing(void **state)
{
    (void)state;
    struct sigaction old_action, action = {.sa_handler = ignore_signal};
    const struct itimerval often = {{.tv_usec = 500}, {.tv_usec = 500}}, never = {{0}, {0}};

    /* ITIMER_REAL is the deadline's too, which the next test renews. */
    assert_int_equal(sigaction(SIGALRM, &action, &old_action), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    assert_whole_reports(false);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &old_action, NULL), 0);
    test_deadline(120);
}

static void pipe_that_does_not_block_is_waited_for(void **state)
{
    (void)state;
    assert_whole_reports(true);
}

/* --- While others work -------------------------------------------------------------------------------- */

static atomic_bool stopping;

static void allocate_and_free(unsigned index, void *ctx)
{
    (void)ctx;
    uint64_t random = test_seed() + index;
    void *blocks[64] = {NULL};

    while (!atomic_load(&stopping)) {
        size_t i = random_below(&random, 64);
        ld_free(blocks[i]);
        blocks[i] = i % 2 == 0 ? make_block(i) : make_block_elsewhere(i);
    }
    for (size_t i = 0; i < 64; i++)
        ld_free(blocks[i]);
}

/* The sums over the sites are the totals of the header and of the last line. */
static void assert_sums(const char *text)
{
    size_t blocks = 0, bytes = 0, sites = 0;

    for (const char *at = strstr(text, "\nsite "); at != NULL; at = strstr(at + 1, "\nsite ")) {
        const char *colon = strchr(at, ':');
        blocks += number_after(colon, ": ");
        bytes += number_after(strstr(colon, " block"), ", ");
        sites++;
    }
    assert_int_equal(number_after(text, "\n  live:       "), blocks);
    assert_int_equal(number_after(text, "\ntotal: "), blocks);
    assert_int_equal(number_after(strstr(strstr(text, "\ntotal: "), " block"), ", "), bytes);
    assert_int_equal(number_after(strstr(text, "\ntotal: "), ", at "), sites);
}

static void *report_often(void *unused)
{
    (void)unused;
    void *kept[7];

    for (size_t i = 0; i < opaque_size(7); i++) /* or each might become a site of its own */
        kept[i] = make_block(1000000);
    for (size_t i = 0; i < scaled(300); i++) {
        char *text = report(NULL);
        assert_contains(text, "\nsite 1: 7 blocks, 7,000,000 bytes\n");
        assert_sums(text);
        free(text);
    }
    for (size_t i = 0; i < 7; i++)
        ld_free(kept[i]);
    return NULL;
}

static void *workers_main(void *unused)
{
    in_threads(4, allocate_and_free, NULL);
    return unused;
}

static void agrees_with_itself_while_4_threads_allocate(void **state)
{
    (void)state;
    pthread_t workers;

    test_seed();
    assert_int_equal(pthread_create(&workers, NULL, workers_main, NULL), 0);
    report_often(NULL);
    atomic_store(&stopping, true);
    assert_int_equal(pthread_join(workers, NULL), 0);
    assert_int_equal(stats_now().live_blocks, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* First those that want a process which has made no report. */
        cmocka_unit_test(allocates_nothing_on_the_heap_it_reports_on),
        cmocka_unit_test(trap_25_comes_out_when_no_descriptor_is_left),
        cmocka_unit_test(trap_25_comes_out_when_no_page_can_be_mapped),
        cmocka_unit_test(trap_25_comes_out_when_stderr_is_closed),
        cmocka_unit_test(trap_23_costs_the_program_none_of_its_output),
        cmocka_unit_test(site_has_function_file_and_line),
        cmocka_unit_test(freed_block_is_in_no_report),
        cmocka_unit_test(sites_agree_with_the_records),
        cmocka_unit_test(since_a_mark_reports_only_newer_blocks),
        cmocka_unit_test(json_says_where_a_block_was_made),
        cmocka_unit_test(json_has_build_ids_as_files_have_them),
        cmocka_unit_test(folded_ends_where_the_block_was_made),
        cmocka_unit_test(suppression_leaves_out_by_function),
        cmocka_unit_test(skipped_function_is_not_the_site),
        cmocka_unit_test(write_errors_are_returned_and_errno_is_kept),
        cmocka_unit_test(interrupted_writes_lose_nothing),
        cmocka_unit_test(pipe_that_does_not_block_is_waited_for),
        cmocka_unit_test(agrees_with_itself_while_4_threads_allocate),
        cmocka_unit_test(trap_14_full_table_says_what_was_dropped),
    };

    test_deadline(120);
    ld_init();
    return cmocka_run_group_tests_name("report on the library", tests, NULL, NULL);
}
