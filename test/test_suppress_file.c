/* SPDX-License-Identifier: MIT
 *
 * Files of suppressions: what is read, and what is said of what is wrong with them.
 *
 * build: sources
 * build: with suppress_file.c
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "test_support.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "suppress.h"
#include "suppress_file.h"

/* What was said, each line with an end. */
static char said[4096];

static void say(const char *line)
{
    REQUIRE(strlen(said) + strlen(line) + 2 < sizeof(said));
    strcat(said, line);
    strcat(said, "\n");
}

static char folder[] = "/tmp/leakdetect-suppressions-XXXXXX";
static char path[128];

static void make_file(const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    close(fd);
}

static const char *load(const char *text)
{
    said[0] = 0;
    if (text != NULL)
        make_file(text, strlen(text));
    return suppress_file_load(path, say);
}

static void assert_said(const char *format)
{
    char expected[1024];
    snprintf(expected, sizeof(expected), format, path, path, path, path, path, path);
    assert_string_equal(said, expected);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL || snprintf(path, sizeof(path), "%s/my.supp", folder) <= 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static void good_file_is_read_in_silence(void **state)
{
    (void)state;
    static const char text[] = "# what we know\n\nleak:libfoo.so\r\n  leak: two words  \nleak:^last$";
    assert_string_equal(load(text), text);
    assert_string_equal(said, "");
    assert_string_equal(load(""), "");
    assert_string_equal(said, "");
}

static void byte_order_mark_is_no_part_of_the_first_line(void **state)
{
    (void)state;
    assert_string_equal(load("\xef\xbb\xbfleak:a\nleak:b\n"), "leak:a\nleak:b\n");
    assert_string_equal(said, "");
    assert_string_equal(load("\xef\xbb\xbf"), "");
}

static void line_that_is_no_rule_is_said_with_its_number(void **state)
{
    (void)state;
    static const char text[] = "leak:good\nrace:foo\n\nleak:\nleak:good too\n";
    assert_string_equal(load(text), text);
    assert_said("leakdetect: %s:2: no suppression: expected leak:PATTERN, or a # comment\n"
                "leakdetect: %s:4: no suppression: expected leak:PATTERN, or a # comment\n");
}

static void many_bad_lines_are_counted(void **state)
{
    (void)state;
    assert_non_null(load("1\n2\n3\n4\n5\n6\n7\n"));
    assert_non_null(strstr(said, ":5: no suppression"));
    assert_null(strstr(said, ":6: no suppression"));
    assert_non_null(strstr(said, ": 2 more lines are no suppressions\n"));
}

static void file_that_cannot_be_used_is_said(void **state)
{
    (void)state;
    unlink(path);
    errno = 1337;
    assert_null(load(NULL));
    assert_int_equal(errno, 1337);
    assert_said("leakdetect: suppressions %s: No such file or directory\n");

    assert_int_equal(mkfifo(path, 0600), 0);
    assert_null(load(NULL));
    assert_said("leakdetect: suppressions %s: not a regular file\n");
    unlink(path);

    make_file("leak:a\0b\n", 9);
    assert_null(load(NULL));
    assert_said("leakdetect: suppressions %s: not a text: it has a zero byte\n");

    make_file("", 0);
    assert_int_equal(truncate(path, SUPPRESS_FILE_MAX + 1), 0);
    assert_null(load(NULL));
    assert_said("leakdetect: suppressions %s: larger than 1 MiB\n");
    assert_null(suppress_file_load(path, NULL));
    unlink(path);
}

static void largest_file_is_read_whole(void **state)
{
    (void)state;
    static char text[SUPPRESS_FILE_MAX + 1];
    for (size_t i = 0; i + 8 <= SUPPRESS_FILE_MAX; i += 8)
        memcpy(text + i, "leak:ab\n", 8);
    const char *read = load(text);
    assert_string_equal(said, "");
    assert_true(strcmp(read, text) == 0);
}

/* Compiled in. */
static void a_text_is_copied_behind_the_file(void **state)
{
    (void)state;
    char text[] = "leak:b\nbad\n";
    const char *both = suppress_file_add(load("leak:a"), text, "mine", say);

    memset(text, 'x', strlen(text));
    assert_string_equal(both, "leak:a\nleak:b\nbad\n");
    assert_string_equal(said, "leakdetect: mine:2: no suppression: expected leak:PATTERN, or a # comment\n");
    both = suppress_file_add(both, "leak:c", "other", NULL);
    assert_string_equal(both, "leak:a\nleak:b\nbad\n\nleak:c");
    both = suppress_file_add(NULL, "", "mine", say);
    assert_string_equal(both, "");
    assert_string_equal(suppress_file_add(both, "leak:d", "mine", say), "\nleak:d");
}

static void a_text_without_room_is_left_out_and_said(void **state)
{
    (void)state;
    static char text[SUPPRESS_FILE_MAX + 2];
    const char *before = load("leak:a\n");

    memset(text, '#', sizeof(text) - 1);
    errno = 1337;
    assert_ptr_equal(suppress_file_add(before, text, "mine", say), before);
    assert_int_equal(errno, 1337);
    assert_string_equal(said, "leakdetect: suppressions mine: larger than 1 MiB\n");
    said[0] = 0;
    text[SUPPRESS_FILE_MAX] = 0;
    before = suppress_file_add(before, text, "mine", say);
    assert_int_equal(strlen(before), strlen("leak:a\n\n") + SUPPRESS_FILE_MAX);
    assert_string_equal(said, "");
}

static int count_descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void no_descriptor_is_left_behind(void **state)
{
    (void)state;
    int before = count_descriptors();
    load("leak:a\nbad\n");
    load(NULL);
    unlink(path);
    load(NULL);
    assert_int_equal(count_descriptors(), before);
}

/* What a line is, told by hand: 0 nothing, 1 a rule, 2 a mistake. */
static int kind_of_line(const char *line)
{
    while (*line == ' ' || *line == '\t' || *line == '\r')
        line++;
    if (*line == 0 || *line == '#')
        return 0;
    if (strncmp(line, "leak:", 5) != 0)
        return 2;
    for (line += 5; *line == ' ' || *line == '\t' || *line == '\r'; line++)
        ;
    return *line == 0 ? 2 : 1;
}

/* Counts of rules and mistakes in texts put together from pieces that matter. */
static void random_texts_are_understood(void **state)
{
    (void)state;
    static const char *const pieces[] = {"leak:", "leak", ":",  "#", " ",   "\t",
                                         "\r",    "\n",   "\n", "a", "^*$", "race:x"};
    uint64_t random = test_seed();

    for (size_t round = 0; round < scaled(20000); round++) {
        char text[256] = "", copy[256];
        size_t kinds[3] = {0}, number = 0, first_bad = 0;
        for (size_t i = random_below(&random, 24); i > 0; i--)
            strcat(text, pieces[random_below(&random, sizeof(pieces) / sizeof(pieces[0]))]);
        strcpy(copy, text);
        for (char *line = copy, *next; line != NULL; line = next) {
            next = strchr(line, '\n');
            if (next != NULL)
                *next++ = 0;
            number++;
            int kind = kind_of_line(line);
            if (kind == 2 && kinds[2] == 0)
                first_bad = number;
            kinds[kind]++;
        }

        struct suppress suppress;
        struct scratch scratch;
        scratch_init(&scratch, NULL, 0);
        suppress_init(&suppress, text, false, &scratch);
        if (suppress.rule_count != kinds[1] || suppress.bad_count != kinds[2] ||
            suppress.first_bad != first_bad)
            fail_msg("%zu rules and %zu mistakes, the first in line %zu, in:\n%s", suppress.rule_count,
                     suppress.bad_count, suppress.first_bad, text);
        scratch_release(&scratch);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_file_is_read_in_silence),
        cmocka_unit_test(byte_order_mark_is_no_part_of_the_first_line),
        cmocka_unit_test(line_that_is_no_rule_is_said_with_its_number),
        cmocka_unit_test(many_bad_lines_are_counted),
        cmocka_unit_test(file_that_cannot_be_used_is_said),
        cmocka_unit_test(largest_file_is_read_whole),
        cmocka_unit_test(a_text_is_copied_behind_the_file),
        cmocka_unit_test(a_text_without_room_is_left_out_and_said),
        cmocka_unit_test(no_descriptor_is_left_behind),
        cmocka_unit_test(random_texts_are_understood),
    };

    test_deadline(120);
    return cmocka_run_group_tests_name("files of suppressions", tests, set_up, tear_down);
}
