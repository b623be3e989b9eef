/* SPDX-License-Identifier: MIT
 *
 * The report alone, on a world made for it: the report's parts are compiled into this test, which stands in
 * for everything below them, so that live blocks, names, figures, pages and write errors are what a test
 * wants them to be.  What it does on the real library is in test_report_live.c.
 *
 * UPDATE_GOLDEN=1 writes the golden files anew.
 *
 * The golden files have 64 frames, whatever the library was built with.
 *
 * build: flags -ULD_MAX_FRAMES -DLD_MAX_FRAMES=64
 * build: with report.c report_text.c report_json.c report_folded.c
 * build: with suppress.c kept.c skip.c names.c sites.c pattern.c scratch.c text.c
 */
#include "report_world.h"

#define LONG_FRAMES 12

/* Hands over some, and fails with the error that ctx points to. */
static int walk_fails(void *ctx, ld_leak_fn *callback, void *callback_ctx)
{
    world.many_sites = 1000;
    walk_lost(NULL, callback, callback_ctx);
    return *(int *)ctx;
}

/* --- What is printed ------------------------------------------------------------------------------------ */

static void title_names_the_process(void **state)
{
    (void)state;
    report(NULL);
    char title[64];
    snprintf(title, sizeof(title), "leakdetect report: process %ld, /", (long)getpid());
    assert_memory_equal(world.output, title, strlen(title));
}

static void nothing_alive_is_a_header_and_a_total(void **state)
{
    (void)state;
    assert_golden("report_empty", report(NULL));
}

static void blocks_with_one_stack_are_one_site(void **state)
{
    (void)state;
    add_load(666);
    add_parse(1000);
    add_parse(337);
    add_load(0);
    add_parse(1234567);
    assert_golden("report_sites", report(NULL));
}

static void one_of_each_is_singular(void **state)
{
    (void)state;
    add_parse(1);
    world.stats.peak_blocks = world.stats.peak_bytes = 1;
    assert_contains(report(NULL), "  live:       1 block, 1 byte, at 1 call site\n");
    assert_contains(report(NULL), "  peak:       1 block, 1 byte\n");
    assert_contains(report(NULL), "\nsite 1: 1 block, 1 byte\n");
    assert_contains(report(NULL), "\ntotal: 1 block, 1 byte, at 1 call site\n");
}

static void largest_number_is_whole(void **state)
{
    (void)state;
    add_parse(SIZE_MAX);
    assert_contains(report(NULL), "\nsite 1: 1 block, 18,446,744,073,709,551,615 bytes\n");
}

static void same_addresses_in_another_module_are_another_site(void **state)
{
    (void)state;
    add_parse(20);
    add_parse(10)->modules = other_modules;
    const char *text = report(NULL);
    assert_contains(text, "at 2 call sites");
    assert_contains(text, "site 2: 1 block, 10 bytes\n    #0  0x1001          parse_line (src/parse.c:42)\n");
}

static void every_form_of_a_name(void **state)
{
    (void)state;
    add_block(1337, named_frames, 7);
    assert_golden("report_names", report(NULL));
}

static void names_cannot_command_a_terminal(void **state)
{
    (void)state;
    add_block(1337, named_frames, 7);
    for (const char *at = report(NULL); *at != 0; at++)
        assert_true(*at == '\n' || (unsigned char)*at >= ' ');
    assert_null(strchr(world.output, 0x7f));
    assert_null(strstr(world.output, "\xc2\x9b"));
}

static void trap_14_what_was_not_recorded_is_always_said(void **state)
{
    (void)state;
    world.stats.dropped_blocks = 12345;
    world.stats.dropped_bytes = 6789012;
    world.stats.nested_blocks = 3;
    world.stats.nested_bytes = 128;
    world.stats.missed_blocks = 5;
    world.stats.missed_bytes = 1337;
    world.stats.cut_stacks = 7;
    world.stats.peak_blocks = 1000;
    world.stats.peak_bytes = 64000;
    assert_golden("report_unrecorded", report(NULL));
}

static void kinds_are_told_apart_the_worst_first(void **state)
{
    (void)state;
    add_parse(1000)->reach = LD_REACHABLE;
    add_parse(10)->reach = LD_DEFINITELY_LOST;
    add_parse(20)->reach = LD_INDIRECTLY_LOST;
    add_parse(30)->reach = LD_POSSIBLY_LOST;
    add_load(666)->reach = LD_POSSIBLY_LOST;
    add_parse(5)->reach = LD_DEFINITELY_LOST;
    assert_golden("report_kinds", report_lost(NULL));
}

static void sample_is_reported_as_an_estimate(void **state)
{
    (void)state;
    add_parse(100)->weight = 10.25;
    add_parse(100)->weight = 10.25;
    add_load(3000)->weight = 1.0;
    assert_golden("report_estimate", report(NULL));
}

static void source_that_fails_gives_no_report(void **state)
{
    (void)state;
    int error = EAGAIN;
    assert_int_equal(report_walk(42, NULL, "lost", walk_fails, &error, NULL), EAGAIN);
    assert_int_equal(world.writes, 0);
    assert_int_equal(world.mapped, 0);
}

static void report_says_what_it_has_found(void **state)
{
    (void)state;
    struct report_found found;
    assert_int_equal(report_live(42, NULL, &found), 0);
    assert_true(found.sites == 0 && found.blocks == 0 && found.bytes == 0);
    add_parse(10);
    add_parse(10);
    add_load(5);
    const struct ld_report_options options = {.max_sites = 1, .since = 0};
    assert_int_equal(report_live(42, &options, &found), 0);
    assert_true(found.sites == 2 && found.blocks == 3 && found.bytes == 25);
}

static void cut_stack_says_so(void **state)
{
    (void)state;
    add_block(100, parse_frames + 1, 2);
    add_block(50, parse_frames + 1, 2)->flags = LD_LEAK_STACK_CUT;
    add_block(25, NULL, 0)->flags = LD_LEAK_STACK_CUT;
    assert_golden("report_cut", report(NULL));
}

static void stack_at_the_depth_limit_says_so(void **state)
{
    (void)state;
    static const void *frames[LD_MAX_FRAMES];
    static uint16_t modules[LD_MAX_FRAMES];
    add_block(10, frames, LD_MAX_FRAMES)->modules = modules;
    char line[64];
    snprintf(line, sizeof(line), "    ... at most %d frames are kept: LD_MAX_FRAMES\n", LD_MAX_FRAMES);
    assert_contains(report(NULL), line);
    add_block(10, frames, LD_MAX_FRAMES)->modules = modules;
    world.blocks[0].frame_count = world.blocks[1].frame_count = LD_MAX_FRAMES - 1;
    assert_null(strstr(report(NULL), "LD_MAX_FRAMES"));
}

static void frame_numbers_are_aligned(void **state)
{
    (void)state;
    static const void *frames[LONG_FRAMES];
    static uint16_t modules[LONG_FRAMES];
    add_block(10, frames, LONG_FRAMES)->modules = modules;
    const char *text = report(NULL);
    assert_contains(text, "\n    #5  0x0             ??\n");
    assert_contains(text, "\n   #10  0x0             ??\n");
}

/* --- Order ---------------------------------------------------------------------------------------------- */

static void most_bytes_come_first_then_most_blocks(void **state)
{
    (void)state;
    add_load(50);
    add_load(50);
    add_parse(100);
    add_block(101, named_frames, 1);
    const char *text = report(NULL);
    assert_contains(text, "site 1: 1 block, 101 bytes\n    #0  0x3001");
    assert_contains(text, "site 2: 2 blocks, 100 bytes\n    #0  0x2001");
    assert_contains(text, "site 3: 1 block, 100 bytes\n    #0  0x1001");
}

static void equal_sites_come_in_a_fixed_order(void **state)
{
    (void)state;
    add_load(64);
    add_parse(64);
    add_block(64, parse_frames, 2);
    char *first = strdup(report(NULL));
    assert_non_null(first);
    assert_contains(first, "site 1: 1 block, 64 bytes\n    #0  0x1001          parse_line (src/parse.c:42)\n"
                           "    #1  0x9001          main (src/main.c:9)\n\n");
    world.block_count = 0;
    add_block(64, parse_frames, 2);
    add_parse(64);
    add_load(64);
    assert_string_equal(report(NULL), first);
    free(first);
}

/* The sizes of the sites of a report, which must fall or stay. */
static size_t count_sorted_sites(const char *text)
{
    size_t count = 0;
    double last = 1e30;
    /* Line by line: with a sanitizer each strstr would measure all that is left of the text. */
    for (const char *at = strchr(text, '\n'); at != NULL; at = strchr(at + 1, '\n')) {
        if (strncmp(at, "\nsite ", 6) != 0)
            continue;
        const char *digit = strchr(strchr(at, ','), ' ') + 1;
        double bytes = 0;
        for (; *digit != ' '; digit++)
            if (*digit != ',')
                bytes = bytes * 10 + (*digit - '0');
        assert_true(bytes <= last);
        last = bytes;
        count++;
    }
    return count;
}

static void any_number_of_sites_is_sorted(void **state)
{
    (void)state;
    for (world.many_sites = 1; world.many_sites < 2000; world.many_sites += world.many_sites / 3 + 1)
        assert_int_equal(count_sorted_sites(report(NULL)), world.many_sites);
}

/* Decimal, with a comma before every third digit from the right. */
static void put_grouped(char *out, size_t number)
{
    char digits[32];
    int length = snprintf(digits, sizeof(digits), "%zu", number);
    for (int i = 0; i < length; i++) {
        *out++ = digits[i];
        if (i + 1 < length && (length - i - 1) % 3 == 0)
            *out++ = ',';
    }
    *out = 0;
}

/* "N blocks, M bytes" as many_each hands them over, by formula. */
static void many_totals(char *out, size_t size)
{
    size_t blocks = 0, bytes = 0;
    char block_digits[32], byte_digits[32];
    for (size_t i = 0; i < world.many_sites; i++) {
        blocks += i % 7 + 1;
        bytes += (i % 7 + 1) * (i % 1000);
    }
    put_grouped(block_digits, blocks);
    put_grouped(byte_digits, bytes);
    snprintf(out, size, "%s blocks, %s bytes", block_digits, byte_digits);
}

static void sort_100000_sites(void **state)
{
    (void)state;
    world.many_sites = 100000;
    char totals[128];
    many_totals(totals, sizeof(totals));
    clock_t start = clock();
    const struct ld_report_options options = {.max_sites = 3};
    const char *text = report(&options);
    assert_true(clock() - start < 5 * CLOCKS_PER_SEC);
    assert_contains(text, totals);
    assert_contains(text, ", at 100,000 call sites\n");
    assert_contains(text, "\nsite 1: 7 blocks, 6,993 bytes\n");
}

/* --- Options -------------------------------------------------------------------------------------------- */

static void sites_beyond_max_sites_are_summed_up(void **state)
{
    (void)state;
    add_parse(100);
    add_load(30);
    add_load(20);
    add_block(7, named_frames, 1);
    const struct ld_report_options options = {.max_sites = 1};
    assert_golden("report_max_sites", report(&options));
}

static void sites_below_min_bytes_are_summed_up(void **state)
{
    (void)state;
    add_parse(100);
    add_load(99);
    const struct ld_report_options options = {.min_bytes = 100};
    const char *text = report(&options);
    assert_contains(text, "\nsite 1: 1 block, 100 bytes\n");
    assert_null(strstr(text, "\nsite 2"));
    assert_contains(text, "\nnot listed, as asked: 1 block, 99 bytes, at 1 call site\n");
    assert_contains(text, "\ntotal: 2 blocks, 199 bytes, at 2 call sites\n");
}

static void options_that_leave_nothing_out_say_nothing(void **state)
{
    (void)state;
    add_parse(100);
    add_load(99);
    char *all = strdup(report(NULL));
    const struct ld_report_options options = {.max_sites = 2, .min_bytes = 99, .max_frames = 3};
    assert_string_equal(report(&options), all);
    free(all);
}

static void frames_beyond_max_frames_are_counted(void **state)
{
    (void)state;
    add_parse(100);
    struct ld_report_options options = {.max_frames = 1};
    assert_contains(report(&options), "(src/parse.c:42)\n    ... 2 more frames\n");
    options.max_frames = 2;
    assert_contains(report(&options), "(src/main.c:9)\n    ... 1 more frame\n");
}

static void since_reports_only_newer_blocks(void **state)
{
    (void)state;
    add_parse(100)->mark = 1;
    add_parse(10)->mark = 1337;
    const struct ld_report_options options = {.since = 1337};
    assert_contains(report(&options),
                    "  live:       1 block, 10 bytes, at 1 call site, made since mark 1337\n");
}

/* --- When things fail ----------------------------------------------------------------------------------- */

static void first_write_error_ends_the_report(void **state)
{
    (void)state;
    world.many_sites = 10000;
    static const int errors[] = {EBADF, EPIPE, ENOSPC};
    for (size_t i = 0; i < 3; i++) {
        for (world.good_writes = 0; world.good_writes < 4; world.good_writes++) {
            world.write_error = errors[i];
            world.writes = world.output_size = 0;
            assert_int_equal(ld_report(42, NULL), errors[i]);
            assert_int_equal(world.writes, world.good_writes + 1);
            assert_int_equal(world.mapped, 0);
        }
    }
}

static void errno_is_kept(void **state)
{
    (void)state;
    world.write_error = EPIPE;
    errno = 1337;
    assert_int_equal(ld_report(42, NULL), EPIPE);
    assert_int_equal(errno, 1337);
}

static void a_few_sites_need_no_pages(void **state)
{
    (void)state;
    world.many_sites = 60;
    world.good_maps = 0;
    assert_int_equal(count_sorted_sites(report(NULL)), 60);
}

/* The n-th request for pages and all after it fail, for each n: what there is no room for is summed up, and
 * the totals stay right.  The last ones are for names, which are looked up again and again without them. */
static void trap_25_without_pages_the_rest_is_summed_up(void **state)
{
    (void)state;
    world.many_sites = 20000;
    char totals[128];
    many_totals(totals, sizeof(totals));
    char *whole = strdup(report(NULL));
    size_t needed = world.maps, last_sites = 0, whole_reports = 0;
    assert_true(needed > 4);
    for (size_t n = 0; n < needed; n++) {
        world.good_maps = n;
        world.maps = world.output_size = 0;
        int error = ld_report(42, NULL);
        assert_int_equal(world.mapped, 0);
        assert_contains(world.output, totals);
        size_t sites = count_sorted_sites(world.output);
        assert_true(sites >= 60 && sites >= last_sites);
        last_sites = sites;
        if (error == 0) {
            assert_string_equal(strchr(world.output, '\n') + 1, whole);
            whole_reports++;
            continue;
        }
        assert_int_equal(error, ENOMEM);
        assert_int_equal(whole_reports, 0);
        assert_true(sites < 20000);
        assert_contains(world.output, "  no memory:  ");
        assert_contains(world.output, ", at more than ");
    }
    assert_true(whole_reports > 0 && whole_reports < needed - 4);
    free(whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(title_names_the_process, world_init),
        cmocka_unit_test_setup(nothing_alive_is_a_header_and_a_total, world_init),
        cmocka_unit_test_setup(blocks_with_one_stack_are_one_site, world_init),
        cmocka_unit_test_setup(one_of_each_is_singular, world_init),
        cmocka_unit_test_setup(largest_number_is_whole, world_init),
        cmocka_unit_test_setup(same_addresses_in_another_module_are_another_site, world_init),
        cmocka_unit_test_setup(every_form_of_a_name, world_init),
        cmocka_unit_test_setup(names_cannot_command_a_terminal, world_init),
        cmocka_unit_test_setup(trap_14_what_was_not_recorded_is_always_said, world_init),
        cmocka_unit_test_setup(kinds_are_told_apart_the_worst_first, world_init),
        cmocka_unit_test_setup(sample_is_reported_as_an_estimate, world_init),
        cmocka_unit_test_setup(source_that_fails_gives_no_report, world_init),
        cmocka_unit_test_setup(report_says_what_it_has_found, world_init),
        cmocka_unit_test_setup(cut_stack_says_so, world_init),
        cmocka_unit_test_setup(stack_at_the_depth_limit_says_so, world_init),
        cmocka_unit_test_setup(frame_numbers_are_aligned, world_init),
        cmocka_unit_test_setup(most_bytes_come_first_then_most_blocks, world_init),
        cmocka_unit_test_setup(equal_sites_come_in_a_fixed_order, world_init),
        cmocka_unit_test_setup(any_number_of_sites_is_sorted, world_init),
        cmocka_unit_test_setup(sort_100000_sites, world_init),
        cmocka_unit_test_setup(sites_beyond_max_sites_are_summed_up, world_init),
        cmocka_unit_test_setup(sites_below_min_bytes_are_summed_up, world_init),
        cmocka_unit_test_setup(options_that_leave_nothing_out_say_nothing, world_init),
        cmocka_unit_test_setup(frames_beyond_max_frames_are_counted, world_init),
        cmocka_unit_test_setup(since_reports_only_newer_blocks, world_init),
        cmocka_unit_test_setup(first_write_error_ends_the_report, world_init),
        cmocka_unit_test_setup(errno_is_kept, world_init),
        cmocka_unit_test_setup(a_few_sites_need_no_pages, world_init),
        cmocka_unit_test_setup(trap_25_without_pages_the_rest_is_summed_up, world_init),
    };
    return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
