/* SPDX-License-Identifier: MIT
 *
 * The report for programs: JSON, read back by python3 and jq, and folded stacks.
 *
 * build: flags -ULD_MAX_FRAMES -DLD_MAX_FRAMES=64
 * build: with report.c report_text.c report_json.c report_folded.c
 * build: with suppress.c kept.c skip.c names.c sites.c pattern.c scratch.c text.c
 */
#include "report_world.h"

#include <sys/wait.h>

static const struct ld_report_options json = {.format = LD_REPORT_JSON};
static const struct ld_report_options folded = {.format = LD_REPORT_FOLDED};

/* --- Reading back --------------------------------------------------------------------------------------- */

/* Runs a command of the shell with the text as its input, and returns the beginning of its output. */
static const char *piped(const char *text, const char *command)
{
    static char output[65536];
    char line[1024], path[] = "/tmp/leakdetect-report-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    snprintf(line, sizeof(line), "(%s) 2>&1 <%s", command, path);
    FILE *pipe = popen(line, "r");
    assert_non_null(pipe);
    size_t size = fread(output, 1, sizeof(output) - 1, pipe);
    output[size] = 0;
    int status = pclose(pipe);
    unlink(path);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("%s ended with %#x and wrote:\n%s", command, (unsigned)status, output);
    return output;
}

/* The whole report, which python and jq must both take, with what differs from run to run made equal. */
static const char *report_json(const struct ld_report_options *options, const char *kind)
{
    world.output_size = 0;
    assert_int_equal(report_walk(42, options, kind, walk_lost, NULL, NULL), 0);
    assert_int_equal(world.mapped, 0);
    piped(world.output, "python3 -m json.tool >/dev/null");
    piped(world.output, "jq -e . >/dev/null");
    return world.output;
}

static void assert_jq(const char *filter, const char *expected)
{
    char command[512];
    snprintf(command, sizeof(command), "jq -c '%s'", filter);
    const char *output = piped(world.output, command);
    if (strncmp(output, expected, strlen(expected)) != 0 || strcmp(output + strlen(expected), "\n") != 0)
        fail_msg("%s\ngives:    %s\nexpected: %s\nof %s", command, output, expected, world.output);
}

/* --- JSON ----------------------------------------------------------------------------------------------- */

static void json_of_nothing_is_an_object(void **state)
{
    (void)state;
    report_json(&json, "live");
    assert_jq(".sites", "[]");
    assert_jq("[.version, .tool, .kind, .blocks, .bytes]", "[1,\"leakdetect\",\"live\",0,0]");
}

static void json_has_what_a_report_has(void **state)
{
    (void)state;
    add_load(666);
    add_parse(1000);
    add_parse(337);
    world.stats.dropped_blocks = 12;
    world.stats.dropped_bytes = 345;
    world.stats.nested_blocks = 3;
    world.stats.nested_bytes = 128;
    world.stats.cut_stacks = 7;
    world.stats.peak_blocks = 1000;
    world.stats.peak_bytes = 64000;
    report_json(&json, "live");
    char expected[64];
    snprintf(expected, sizeof(expected), "%ld", (long)getpid());
    assert_jq(".pid", expected);
    assert_jq(".program | type", "\"string\"");
    assert_golden("report.json", piped(world.output, "jq '.pid = 0 | .program = \"\"'"));
}

static void json_tells_kinds_apart(void **state)
{
    (void)state;
    add_parse(1)->reach = LD_REACHABLE;
    add_parse(2)->reach = LD_POSSIBLY_LOST;
    add_parse(3)->reach = LD_INDIRECTLY_LOST;
    add_parse(4)->reach = LD_DEFINITELY_LOST;
    report_json(&json, "lost");
    assert_jq(".kind", "\"lost\"");
    assert_jq("[.sites[].kind]", "[\"definite\",\"indirect\",\"possible\",\"reachable\"]");
}

static void json_says_what_is_an_estimate(void **state)
{
    (void)state;
    add_parse(100);
    report_json(&json, "live");
    assert_jq("[.estimate, .blocks]", "[false,1]");
    add_parse(100)->weight = 8.5;
    report_json(&json, "live");
    assert_jq("[.estimate, .sampled_blocks, .blocks, .bytes]", "[true,2,10,950]");
}

static void json_keeps_types_of_what_is_not_known(void **state)
{
    (void)state;
    add_block(10, named_frames, 7);
    report_json(&json, "live");
    assert_jq("[.sites[0].frames[] | map(type)] | unique",
              "[[\"string\",\"string\",\"string\",\"string\",\"string\",\"string\",\"number\"]]");
    assert_jq(".sites[0].frames[5]",
              "{\"pc\":\"0x7fff12345678\",\"module\":\"\",\"build_id\":\"\",\"offset\":\"0x0\","
              "\"function\":\"\",\"file\":\"\",\"line\":0}");
}

static void json_says_what_was_inlined(void **state)
{
    (void)state;
    const char *const inlined[] = {"copy_word", "add_word", NULL};
    add_stack(10, STACK(frame_with("parse", "app.c", "app", inlined), frame_of("main", "app.c", "app")));
    report_json(&json, "live");
    assert_jq(
        "[.sites[0].frames[] | [.function, .file, .inlined]]",
        "[[\"copy_word\",\"inline.h\",true],[\"add_word\",\"inline.h\",true],[\"parse\",\"app.c\",null],"
        "[\"main\",\"app.c\",null]]");
    assert_jq("[.sites[0].frames[:3][].pc] | unique | length", "1");
}

static void json_sums_up_what_is_not_listed(void **state)
{
    (void)state;
    add_parse(100);
    add_load(30);
    add_block(7, named_frames, 1);
    const struct ld_report_options options = {.format = LD_REPORT_JSON, .max_sites = 1, .max_frames = 2};
    report_json(&options, "live");
    assert_jq(".sites | length", "1");
    assert_jq(".sites[0].frames | length", "2");
    assert_jq(".unlisted", "{\"sites\":2,\"blocks\":2,\"bytes\":37}");
    assert_jq("[.blocks, .bytes]", "[3,137]");
}

static void json_says_what_is_missing_of_a_stack(void **state)
{
    (void)state;
    add_block(50, parse_frames + 1, 2)->flags = LD_LEAK_STACK_CUT;
    add_block(25, NULL, 0)->flags = LD_LEAK_STACK_CUT;
    world.is_partial = true;
    report_json(&json, "live");
    assert_jq("[.sites[].stack_cut]", "[true,true]");
    assert_jq("[.sites[].stack_deep]", "[false,false]");
    assert_jq(".sites[1].frames", "[]");
    assert_jq(".partial_names", "true");
}

static void json_says_which_rules_were_used(void **state)
{
    (void)state;
    add_parse(100);
    add_parse(50);
    add_load(7);
    const struct ld_report_options options = {
        .format = LD_REPORT_JSON, .suppressions = "leak:nothing \"at\" \\all\nleak:^parse_line$\nfoo"};
    report_json(&options, "live");
    assert_jq(".suppressed",
              "{\"blocks\":2,\"bytes\":150,\"bad_lines\":1,\"no_memory\":false,\"rules\":["
              "{\"rule\":\"nothing \\\"at\\\" \\\\all\",\"builtin\":false,\"blocks\":0,\"bytes\":0},"
              "{\"rule\":\"^parse_line$\",\"builtin\":false,\"blocks\":2,\"bytes\":150}]}");
    assert_jq("[.blocks, .bytes]", "[1,7]");
}

/* Every byte, alone and in company, and beginnings of characters that end too soon. */
static void json_is_valid_whatever_names_there_are(void **state)
{
    (void)state;
    char names[256][8];
    static const char *const worst[] = {
        "\"",
        "\\",
        "\\u",
        "\"}]}",
        "\b\f\n\r\t\v\x1b[31m",
        "\x7f",
        "\xc3",
        "\xe2\x82",
        "\xf0\x9f\x92",
        "\xc0\x80",
        "\xe0\x80\x80",
        "\xed\xa0\x80",
        "\xf4\x90\x80\x80",
        "\xf8\x88\x80\x80\x80",
        "\xef\xbf\xbe",
        "\xff\xfe",
        "caf\xc3\xa9 \xf0\x9f\x92\xa9",
    };
    for (size_t i = 1; i < 256; i++) {
        names[i][0] = 'a';
        names[i][1] = names[i][3] = (char)i;
        names[i][2] = 'b';
        names[i][4] = 0;
        add_stack(i, STACK(frame_of(names[i], names[i], names[i])))->reach = LD_LIVE;
        if (world.block_count == WORLD_BLOCKS || i == 255) {
            report_json(&json, "live");
            assert_jq("[.sites[].frames[] | .function == .file and .file == .module] | all", "true");
            world.block_count = 0;
        }
    }
    world_init(state);
    for (size_t i = 0; i < sizeof(worst) / sizeof(worst[0]); i++)
        add_stack(1000 - i, STACK(frame_of(worst[i], worst[i], worst[i])));
    report_json(&json, "live");
    assert_jq("[.sites[0:6][].frames[0].function]",
              "[\"\\\"\",\"\\\\\",\"\\\\u\",\"\\\"}]}\",\"\\b\\f\\n\\r\\t\\u000b\\u001b[31m\",\"\\u007f\"]");
    assert_jq("[.sites[6:14][].frames[0].function | explode | unique] | unique", "[[65533]]");
    assert_jq(".sites[16].frames[0].function", "\"caf\xc3\xa9 \xf0\x9f\x92\xa9\"");
}

static void trap_13_names_of_10000_characters_are_whole(void **state)
{
    (void)state;
    static char name[10001];
    memset(name, 'x', sizeof(name) - 1);
    add_stack(1337, STACK(frame_of(name, name, name)));
    report_json(&json, "live");
    assert_jq("[.sites[0].frames[0] | (.function, .file, .module | length)]", "[10000,10000,10000]");
    assert_int_equal(strlen(report(&folded)), 0); /* it has one line, which `report` takes for a title */
    assert_int_equal(strlen(world.output), 10000 + strlen(" 1337\n"));
}

/* --- Folded --------------------------------------------------------------------------------------------- */

static const char *report_folded(const struct ld_report_options *options)
{
    world.output_size = 0;
    if (world.output != NULL)
        world.output[0] = 0;
    assert_int_equal(report_walk(42, options, "live", walk_lost, NULL, NULL), 0);
    return world.output == NULL ? "" : world.output;
}

static void folded_nothing_is_empty(void **state)
{
    (void)state;
    assert_string_equal(report_folded(&folded), "");
}

static void folded_is_outermost_first_with_bytes(void **state)
{
    (void)state;
    add_load(666);
    add_parse(1000);
    add_parse(337);
    assert_string_equal(report_folded(&folded), "libc.so.6+0x271c9;main;parse_line 1337\n"
                                                "libc.so.6+0x271c9;main;load 666\n");
}

static void folded_has_inlined_functions_inside(void **state)
{
    (void)state;
    const char *const inlined[] = {"copy_word", "add_word", NULL};
    add_stack(10, STACK(frame_with("parse", "app.c", "app", inlined), frame_of("main", "app.c", "app")));
    assert_string_equal(report_folded(&folded), "main;parse;add_word;copy_word 10\n");
}

static void folded_names_have_no_separators(void **state)
{
    (void)state;
    add_stack(7, STACK(frame_of("operator new(unsigned long)", NULL, NULL), frame_of("a;b 12", NULL, NULL),
                       frame_of("line\nend\t\xff", NULL, NULL), frame_of(NULL, NULL, "/lib/my lib;1.so")));
    assert_string_equal(report_folded(&folded),
                        "my_lib:1.so+0x30;line\\x0aend\\x09\\xff;a:b_12;operator_new(unsigned_long) 7\n");
}

static void folded_keeps_wrappers_unless_they_are_given(void **state)
{
    (void)state;
    add_stack(7, STACK(frame_of("strdup", NULL, NULL), frame_of("parse", NULL, NULL),
                       frame_of("main", NULL, NULL)));
    assert_string_equal(report_folded(&folded), "main;parse;strdup 7\n");
    const struct ld_report_options options = {.format = LD_REPORT_FOLDED, .skip = "strdup"};
    assert_string_equal(report_folded(&options), "main;parse 7\n");
}

static void folded_says_what_is_missing(void **state)
{
    (void)state;
    add_block(50, parse_frames + 1, 1)->flags = LD_LEAK_STACK_CUT;
    add_block(25, NULL, 0)->flags = LD_LEAK_STACK_CUT;
    add_load(20);
    add_parse(10)->reach = LD_DEFINITELY_LOST;
    const struct ld_report_options options = {.format = LD_REPORT_FOLDED, .max_sites = 3, .max_frames = 2};
    assert_string_equal(report_folded(&options), "definite;[outer];main;parse_line 10\n"
                                                 "main;[unknown] 50\n"
                                                 "[unknown] 25\n"
                                                 "[unlisted] 20\n");
}

static void every_line_of_folded_is_a_stack_and_a_number(void **state)
{
    (void)state;
    add_block(1337, named_frames, 7);
    add_parse(3);
    add_load(2);
    report_folded(&folded);
    piped(world.output, "! grep -vE '^[^ ;]+(;[^ ;]+)* [0-9]+$'");
}

/* --- When things fail ----------------------------------------------------------------------------------- */

static void first_write_error_ends_every_form(void **state)
{
    (void)state;
    static const int errors[] = {EBADF, EPIPE, ENOSPC, EAGAIN};
    world.many_sites = 2000;
    for (enum ld_report_format format = LD_REPORT_TEXT; format <= LD_REPORT_FOLDED; format++) {
        const struct ld_report_options options = {.format = format};
        world.write_error = 0;
        world.writes = 0;
        assert_int_equal(ld_report(42, &options), 0);
        size_t writes = world.writes;
        assert_true(writes > 4);
        for (world.good_writes = 0; world.good_writes < writes; world.good_writes++) {
            world.write_error = errors[world.good_writes % 4];
            world.writes = world.output_size = 0;
            assert_int_equal(ld_report(42, &options), world.write_error);
            assert_int_equal(world.writes, world.good_writes + 1);
            assert_int_equal(world.mapped, 0);
        }
    }
}

static void without_pages_every_form_says_so(void **state)
{
    (void)state;
    world.many_sites = 1000;
    for (size_t n = 0; n < 4; n++) {
        world.good_maps = n;
        world.maps = 0;
        world.output_size = 0;
        assert_int_equal(ld_report(42, &json), ENOMEM);
        piped(world.output, "python3 -m json.tool >/dev/null");
        assert_jq(".blocks == 3997 and .unplaced.blocks > 0", "true");
        assert_jq("([.sites[].bytes] | add) + .unplaced.bytes == .bytes", "true");
        world.maps = 0;
        world.output_size = 0;
        assert_int_equal(ld_report(42, &folded), ENOMEM);
        assert_contains(world.output, "\n[unplaced] ");
    }
}

static void unknown_form_is_an_error(void **state)
{
    (void)state;
    const struct ld_report_options options = {.format = (enum ld_report_format)1337};
    assert_int_equal(ld_report(42, &options), EINVAL);
    assert_int_equal(world.writes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(json_of_nothing_is_an_object, world_init),
        cmocka_unit_test_setup(json_has_what_a_report_has, world_init),
        cmocka_unit_test_setup(json_tells_kinds_apart, world_init),
        cmocka_unit_test_setup(json_says_what_is_an_estimate, world_init),
        cmocka_unit_test_setup(json_keeps_types_of_what_is_not_known, world_init),
        cmocka_unit_test_setup(json_says_what_was_inlined, world_init),
        cmocka_unit_test_setup(json_sums_up_what_is_not_listed, world_init),
        cmocka_unit_test_setup(json_says_what_is_missing_of_a_stack, world_init),
        cmocka_unit_test_setup(json_says_which_rules_were_used, world_init),
        cmocka_unit_test_setup(json_is_valid_whatever_names_there_are, world_init),
        cmocka_unit_test_setup(trap_13_names_of_10000_characters_are_whole, world_init),
        cmocka_unit_test_setup(folded_nothing_is_empty, world_init),
        cmocka_unit_test_setup(folded_is_outermost_first_with_bytes, world_init),
        cmocka_unit_test_setup(folded_has_inlined_functions_inside, world_init),
        cmocka_unit_test_setup(folded_names_have_no_separators, world_init),
        cmocka_unit_test_setup(folded_keeps_wrappers_unless_they_are_given, world_init),
        cmocka_unit_test_setup(folded_says_what_is_missing, world_init),
        cmocka_unit_test_setup(every_line_of_folded_is_a_stack_and_a_number, world_init),
        cmocka_unit_test_setup(first_write_error_ends_every_form, world_init),
        cmocka_unit_test_setup(without_pages_every_form_says_so, world_init),
        cmocka_unit_test_setup(unknown_form_is_an_error, world_init),
    };
    return cmocka_run_group_tests_name("report for programs", tests, NULL, NULL);
}
