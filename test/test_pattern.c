/* SPDX-License-Identifier: MIT
 *
 * Patterns, against every form that they have, a matcher that is too simple to be wrong, and the worst of
 * inputs.
 *
 * build: with pattern.c
 */
#include "test_support.h"

#include "pattern.h"

static bool matches(const char *pattern, const char *name)
{
    return pattern_matches(pattern_of(pattern), name);
}

/* --- Forms -------------------------------------------------------------------------------------------- */

static void plain_pattern_is_a_part_of_the_name(void **state)
{
    (void)state;
    assert_true(matches("foo", "foo"));
    assert_true(matches("foo", "a foo b"));
    assert_false(matches("foo", "fo"));
    assert_false(matches("foo", "f oo"));
    assert_false(matches("foo", "FOO"));
}

static void hat_is_the_beginning(void **state)
{
    (void)state;
    assert_true(matches("^foo", "foobar"));
    assert_false(matches("^foo", "a foo"));
    assert_true(matches("^foo*bar", "foo and a bar here"));
    assert_false(matches("^foo*bar", "a foo and a bar"));
    assert_true(matches("a^b", "xa^by"));
    assert_true(matches("^", "anything"));
}

static void dollar_is_the_end(void **state)
{
    (void)state;
    assert_true(matches("foo$", "a foo"));
    assert_true(matches("foo$", "foofoo"));
    assert_false(matches("foo$", "foo bar"));
    assert_true(matches("a*foo$", "a foo foo"));
    assert_false(matches("a*foo$", "foo a"));
    assert_true(matches("a$b", "xa$by"));
    assert_true(matches("foo*$", "a foo b"));
}

static void both_are_the_whole_name(void **state)
{
    (void)state;
    assert_true(matches("^foo$", "foo"));
    assert_false(matches("^foo$", "foofoo"));
    assert_false(matches("^foo$", "foo "));
    assert_false(matches("^$", "a"));
    assert_true(matches("^a*a$", "aba"));
    assert_false(matches("^a*a$", "a"));
}

static void star_is_anything(void **state)
{
    (void)state;
    assert_true(matches("*", "x"));
    assert_true(matches("f*o", "a f and an o"));
    assert_true(matches("f*o", "fo"));
    assert_false(matches("f*o", "of"));
    assert_true(
        matches("std::vector<*>::push_back", "std::vector<int, std::allocator<int> >::push_back(int&&)"));
    assert_true(matches("a**b", "ab"));
    assert_true(matches("^*b$", "ab"));
}

static void nothing_matches_nothing(void **state)
{
    (void)state;
    assert_false(matches("", "name"));
    assert_false(matches("*", ""));
    assert_false(matches("*", NULL));
    assert_false(matches("^$", ""));
}

static void pattern_ends_where_its_length_says(void **state)
{
    (void)state;
    assert_true(pattern_matches((struct pattern){"foobar", 3}, "a foo"));
    assert_false(pattern_matches((struct pattern){"foo$bar", 4}, "foo$"));
    assert_true(pattern_matches((struct pattern){"foo$bar", 4}, "foo"));
}

/* --- Lists -------------------------------------------------------------------------------------------- */

static void assert_pieces(const char *list, const char *const *expected)
{
    struct pattern piece;
    while (pattern_next(&list, ",\n", &piece)) {
        assert_non_null(*expected);
        assert_int_equal(piece.length, strlen(*expected));
        assert_memory_equal(piece.text, *expected, piece.length);
        expected++;
    }
    assert_null(*expected);
}

static void lists_are_cut_at_separators(void **state)
{
    (void)state;
    assert_pieces(NULL, (const char *const[]){NULL});
    assert_pieces("", (const char *const[]){"", NULL});
    assert_pieces("a", (const char *const[]){"a", NULL});
    assert_pieces("a,b c\n\td \r\n", (const char *const[]){"a", "b c", "d", "", NULL});
    assert_pieces(",,", (const char *const[]){"", "", "", NULL});
}

/* --- Against a reference ------------------------------------------------------------------------------ */

/* By trying everything. */
static bool glob(const char *pattern, size_t length, const char *name)
{
    if (length == 0)
        return *name == 0;
    if (*pattern == '*')
        return glob(pattern + 1, length - 1, name) || (*name != 0 && glob(pattern, length, name + 1));
    return *name == *pattern && glob(pattern + 1, length - 1, name + 1);
}

/* The whole name has to be what the pattern is with stars for what is not anchored. */
static bool reference(const char *pattern, const char *name)
{
    char whole[64];
    size_t length = strlen(pattern);
    bool at_beginning = length > 0 && pattern[0] == '^';
    bool at_end = length > (size_t)at_beginning && pattern[length - 1] == '$';

    if (length == 0 || *name == 0)
        return false;
    snprintf(whole, sizeof(whole), "%s%.*s%s", at_beginning ? "" : "*",
             (int)(length - (size_t)at_beginning - (size_t)at_end), pattern + at_beginning,
             at_end ? "" : "*");
    return glob(whole, strlen(whole), name);
}

static void random_text(uint64_t *random, const char *letters, size_t longest, char *out)
{
    size_t length = random_below(random, longest + 1);
    for (size_t i = 0; i < length; i++)
        out[i] = letters[random_below(random, strlen(letters))];
    out[length] = 0;
}

static void agrees_with_a_matcher_that_tries_everything(void **state)
{
    (void)state;
    uint64_t random = test_seed();
    char pattern[16], name[16];
    size_t matched = 0, rounds = scaled(300000);

    for (size_t i = 0; i < rounds; i++) {
        random_text(&random, "ab*^$", 8, pattern);
        random_text(&random, i % 2 == 0 ? "ab" : "ab^$", 12, name);
        bool expected = reference(pattern, name);
        if (matches(pattern, name) != expected)
            fail_msg("\"%s\" %s match \"%s\"", pattern, expected ? "must" : "must not", name);
        matched += expected;
    }
    assert_true(matched > rounds / 10 && matched < rounds / 10 * 9);
}

/* Matchers that go back try this for ever: as many stars as fit, none of which can be right. */
static void many_stars_take_no_time(void **state)
{
    (void)state;
    static char pattern[20001], name[100001];
    for (size_t i = 0; i < sizeof(pattern) - 1; i++)
        pattern[i] = i % 2 == 0 ? 'a' : '*';
    memset(name, 'a', sizeof(name) - 1);
    pattern[sizeof(pattern) - 2] = 'b';
    test_deadline(20); /* takes a millisecond */
    assert_false(matches(pattern, name));
    pattern[sizeof(pattern) - 2] = 'a';
    assert_true(matches(pattern, name));
    /* A long part that nearly stands everywhere. */
    memset(pattern, 'a', sizeof(pattern) - 1);
    pattern[sizeof(pattern) - 2] = 'b';
    for (size_t i = 0; i < 100; i++)
        assert_false(matches(pattern, name));
    test_deadline(120);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_pattern_is_a_part_of_the_name),
        cmocka_unit_test(hat_is_the_beginning),
        cmocka_unit_test(dollar_is_the_end),
        cmocka_unit_test(both_are_the_whole_name),
        cmocka_unit_test(star_is_anything),
        cmocka_unit_test(nothing_matches_nothing),
        cmocka_unit_test(pattern_ends_where_its_length_says),
        cmocka_unit_test(lists_are_cut_at_separators),
        cmocka_unit_test(agrees_with_a_matcher_that_tries_everything),
        cmocka_unit_test(many_stars_take_no_time),
    };

    test_deadline(120);
    return cmocka_run_group_tests_name("patterns", tests, NULL, NULL);
}
