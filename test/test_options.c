/* SPDX-License-Identifier: MIT
 *
 * The parser of options: what it takes, what it refuses, and that the defaults are there again when it does.
 *
 * build: with options.c
 */
#include "test_support.h"

#include <signal.h>

#include "options.h"

static char complaints[4096];
static unsigned complaint_count;

static void note(const char *line)
{
    size_t used = strlen(complaints);

    snprintf(complaints + used, sizeof(complaints) - used, "%s\n", line);
    complaint_count++;
    assert_null(strchr(line, '\n'));
}

static void ignore(const char *line)
{
    assert_true(strlen(line) < OPTIONS_LINE_BYTES);
}

static struct options parsed;

static const struct options *parse(const char *text)
{
    complaints[0] = '\0';
    complaint_count = 0;
    options_init(&parsed);
    options_parse(&parsed, "here", text, note);
    return &parsed;
}

/* No complaint. */
static const struct options *parse_well(const char *text)
{
    parse(text);
    assert_string_equal(complaints, "");
    return &parsed;
}

/* One complaint, which has the word in it. */
static const struct options *parse_badly(const char *text, const char *word)
{
    parse(text);
    assert_int_equal(complaint_count, 1);
    assert_non_null(strstr(complaints, word));
    assert_int_equal(strncmp(complaints, "leakdetect: here: ", 18), 0);
    return &parsed;
}

static void nothing_set_is_the_default(void **state)
{
    const struct options *options = parse_well("");

    (void)state;
    assert_int_equal(options->report_at_exit, OPTIONS_REPORT_LOST);
    assert_int_equal(options->format, OPTIONS_FORMAT_TEXT);
    assert_int_equal(options->children, OPTIONS_CHILDREN_FOLLOW);
    assert_null(options->log_path);
    assert_null(options->suppressions);
    assert_int_equal(options->signal, 0);
    assert_int_equal(options->exitcode, OPTIONS_BY_REPORT);
    assert_int_equal(options->max_sites, 0);
}

static void each_kind_is_set(void **state)
{
    const struct options *options = parse_well(
        "report_at_exit=none:log_path=/tmp/%p:exitcode=17:signal=USR2:children=ignore:format=json");

    (void)state;
    assert_int_equal(options->report_at_exit, OPTIONS_REPORT_NONE);
    assert_string_equal(options->log_path, "/tmp/%p");
    assert_int_equal(options->exitcode, 17);
    assert_int_equal(options->signal, SIGUSR2);
    assert_int_equal(options->children, OPTIONS_CHILDREN_IGNORE);
    assert_int_equal(options->format, OPTIONS_FORMAT_JSON);
}

static void later_ones_count_more(void **state)
{
    (void)state;
    assert_int_equal(parse_well("exitcode=1:exitcode=2")->exitcode, 2);
    options_parse(&parsed, "here", "exitcode=3", note);
    assert_int_equal(parsed.exitcode, 3);
    assert_null(parse_well("log_path=a:log_path=")->log_path);
}

static void numbers_have_suffixes(void **state)
{
    (void)state;
    assert_int_equal(parse_well("min_bytes=64")->min_bytes, 64);
    assert_int_equal(parse_well("min_bytes=64k")->min_bytes, 65536);
    assert_int_equal(parse_well("min_bytes=3M")->min_bytes, 3145728);
    assert_int_equal(parse_well("min_bytes=2g")->min_bytes, 2147483648);
    assert_int_equal(parse_well("min_bytes=18446744073709551615")->min_bytes, SIZE_MAX);
}

static void nonsense_numbers_are_refused(void **state)
{
    static const char *const texts[] = {
        "min_bytes=",   "min_bytes=k",   "min_bytes=-1", "min_bytes=1.5",  "min_bytes=ten",
        "min_bytes=1 ", "min_bytes=1kk", "min_bytes=+1", "min_bytes=0x10", "min_bytes=99999999999999999999x",
    };
    static const char *const large[] = {
        "min_bytes=18446744073709551616",
        "min_bytes=18446744073709551615k",
        "min_bytes=99999999999999999999g",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(parse_badly(texts[i], "not a number")->min_bytes, 0);
    for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++)
        assert_int_equal(parse_badly(large[i], ": not from 0 to 18446744073709551615; ")->min_bytes, 0);
    assert_int_equal(parse_badly("exitcode=256", "not from 0 to 255")->exitcode, OPTIONS_BY_REPORT);
    assert_int_equal(parse_badly("exitcode=99999999999999999999", "not from 0 to 255")->exitcode,
                     OPTIONS_BY_REPORT);
    assert_int_equal(parse_badly("exitcode=5:exitcode=x", "not a number")->exitcode, OPTIONS_BY_REPORT);
}

static void choices_are_whole_words(void **state)
{
    static const char *const texts[] = {"format=", "format=tex", "format=texts", "format=text json",
                                        "format=JSON"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(parse_badly(texts[i], "text json folded")->format, OPTIONS_FORMAT_TEXT);
    assert_int_equal(parse_well("format=folded")->format, OPTIONS_FORMAT_FOLDED);
}

static void signals_have_names_and_numbers(void **state)
{
    (void)state;
    assert_int_equal(parse_well("signal=SIGUSR1")->signal, SIGUSR1);
    assert_int_equal(parse_well("signal=HUP")->signal, SIGHUP);
    assert_int_equal(parse_well("signal=12")->signal, SIGUSR2);
    assert_int_equal(parse_well("signal=40")->signal, 40);
    assert_int_equal(parse_well("signal=USR1:signal=")->signal, 0);
    assert_int_equal(parse_badly("signal=KILL", "USR2")->signal, 0);
    assert_int_equal(parse_badly("signal=11", "USR2")->signal, 0);
    assert_int_equal(parse_badly("signal=33", "USR2")->signal, 0);
    assert_int_equal(parse_badly("signal=0", "USR2")->signal, 0);
    assert_int_equal(parse_badly("signal=99", "USR2")->signal, 0);
}

static void values_may_have_colons(void **state)
{
    (void)state;
    assert_string_equal(parse_well("skip=ns::*:exitcode=1")->skip, "ns::*");
    assert_int_equal(parsed.exitcode, 1);
    assert_string_equal(parse_well("skip=a::b,c::d")->skip, "a::b,c::d");
    assert_string_equal(parse_well("log_path=/a:b/c")->log_path, "/a:b/c");
    assert_string_equal(parse_well("log_path=x=y")->log_path, "x=y");
}

static void separators_may_be_too_many(void **state)
{
    (void)state;
    assert_int_equal(parse_well(":exitcode=1:")->exitcode, 1);
    assert_int_equal(parse_well(":::exitcode=2")->exitcode, 2);
}

static void unknown_options_are_named(void **state)
{
    (void)state;
    assert_int_equal(parse_badly("exitcod=1:exitcode=4", "\"exitcod\"")->exitcode, 4);
    assert_int_equal(
        parse_badly("nonsense:exitcode=5", "here: nonsense: not of the form key=value; it is left out\n")
            ->exitcode,
        5);
    parse_badly("EXITCODE=1", "\"EXITCODE\"");
    parse_badly("=1", "\"\"");
    parse_badly("text_bytes=1", "\"text_bytes\"");
}

static void long_texts_are_refused_and_long_complaints_cut(void **state)
{
    static char text[2 * OPTIONS_TEXT_BYTES];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    memcpy(text, "log_path=", 9);
    assert_null(parse_badly(text, "too long")->log_path);
    memset(text, 'y', sizeof(text) - 1);
    parse_badly(text, ": yyyy");
    assert_true(strlen(complaints) <= OPTIONS_LINE_BYTES);
    memcpy(text, "format=", 7);
    parse_badly(text, "text json folded");
    assert_true(strlen(complaints) <= OPTIONS_LINE_BYTES);
}

/* What becomes of a wrong option is said of texts, not of arguments; and neither is anything said twice. */
static void complaints_say_what_is_so(void **state)
{
    static const struct {
        const char *text, *argument;
        const char *of_text, *of_argument;
    } lines[] = {
        {"exitcode=256", "--exitcode=256",
         "leakdetect: here: exitcode=256: not from 0 to 255; the default is used\n",
         "leakdetect: --exitcode=256: not from 0 to 255\n"},
        {"max_sites=x", "--max-sites=x", "leakdetect: here: max_sites=x: not a number; the default is used\n",
         "leakdetect: --max-sites=x: not a number\n"},
        {"format=xml", "--format=xml",
         "leakdetect: here: format=xml: choose one of: text json folded; the first of them is used\n",
         "leakdetect: --format=xml: choose one of: text json folded\n"},
        {"signal=KILL", "--signal=KILL",
         "leakdetect: here: signal=KILL: no signal that can ask for a report, such as USR2; none does\n",
         "leakdetect: --signal=KILL: no signal that can ask for a report, such as USR2\n"},
        {"nonsense", "--nonsense", "leakdetect: here: nonsense: not of the form key=value; it is left out\n",
         "leakdetect: --nonsense: not of the form key=value\n"},
        {"x=1", "--x=1",
         "leakdetect: here: there is no option \"x\"; `leakdetect run --help` lists them all\n",
         "leakdetect: --x=1: there is no option \"x\"; `leakdetect run --help` lists them all\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        parse(lines[i].text);
        assert_string_equal(complaints, lines[i].of_text);
        complaints[0] = '\0';
        options_parse_argument(&parsed, lines[i].argument, lines[i].text, note);
        assert_string_equal(complaints, lines[i].of_argument);
    }
}

static void long_arguments_are_refused_with_a_line(void **state)
{
    static char text[2 * OPTIONS_TEXT_BYTES];

    (void)state;
    parse_well("");
    memset(text, 'x', sizeof(text) - 1);
    memcpy(text, "--log_path=", 11);
    options_parse_argument(&parsed, text, text + 2, note);
    assert_int_equal(complaint_count, 1);
    assert_non_null(strstr(complaints, "xxx: too long\n"));
    assert_true(strlen(complaints) <= OPTIONS_LINE_BYTES);
}

/* Whatever comes: no crash, and nothing but what an option may have. */
static void any_text_is_survived(void **state)
{
    static const char letters[] = ":==_-%kmg 0123456789exitcodfrmalnsgpuhv\n\xff";
    uint64_t seed = test_seed();

    (void)state;
    for (size_t i = 0; i < scaled(20000); i++) {
        char text[64];
        size_t length = random_below(&seed, sizeof(text));

        for (size_t j = 0; j < length; j++)
            text[j] = letters[random_below(&seed, sizeof(letters) - 1)];
        text[length] = '\0';
        options_init(&parsed);
        options_parse(&parsed, "here", text, ignore);
        assert_true(parsed.exitcode <= OPTIONS_BY_REPORT);
        assert_true(parsed.format <= OPTIONS_FORMAT_FOLDED);
        assert_true(parsed.text_bytes <= sizeof(parsed.texts));
    }
}

static void the_table_is_complete(void **state)
{
    (void)state;
    assert_true(options_count >= 12);
    for (size_t i = 0; i < options_count; i++) {
        const struct option *option = &options_table[i];

        assert_true(strlen(option->help) > 10);
        assert_true(strlen(option->values) > 0);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(option->name, options_table[j].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_set_is_the_default),
        cmocka_unit_test(each_kind_is_set),
        cmocka_unit_test(later_ones_count_more),
        cmocka_unit_test(numbers_have_suffixes),
        cmocka_unit_test(nonsense_numbers_are_refused),
        cmocka_unit_test(choices_are_whole_words),
        cmocka_unit_test(signals_have_names_and_numbers),
        cmocka_unit_test(values_may_have_colons),
        cmocka_unit_test(separators_may_be_too_many),
        cmocka_unit_test(unknown_options_are_named),
        cmocka_unit_test(long_texts_are_refused_and_long_complaints_cut),
        cmocka_unit_test(complaints_say_what_is_so),
        cmocka_unit_test(long_arguments_are_refused_with_a_line),
        cmocka_unit_test(any_text_is_survived),
        cmocka_unit_test(the_table_is_complete),
    };

    test_deadline(60);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
