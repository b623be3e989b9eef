/* SPDX-License-Identifier: MIT
 *
 * The parser of options, over the table that options.def expands into.
 */
#define _POSIX_C_SOURCE 200809L
#include "options.h"

#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

const struct option options_table[] = {
#define AT(name)                  offsetof(struct options, name)
#define CHOICE(name, words, help) {#name, OPTION_CHOICE, AT(name), 0, 0, 0, words, help},
#define NUMBER(name, lowest, highest, standard, unit, help) \
    {#name, OPTION_NUMBER, AT(name), lowest, highest, standard, unit, help},
#define TEXT(name, what, help) {#name, OPTION_TEXT, AT(name), 0, 0, 0, what, help},
#define SIGNAL(name, help)     {#name, OPTION_SIGNAL, AT(name), 0, 0, 0, "SIGNAL", help},
#include "options.def"
#undef CHOICE
#undef NUMBER
#undef TEXT
#undef SIGNAL
};
const size_t options_count = sizeof(options_table) / sizeof(options_table[0]);

/* A part of a text. */
struct span {
    const char *text;
    size_t length;
};

struct parser {
    struct options *options;
    const char *origin;
    options_complain_fn *complain;
    bool is_argument; /* and the origin shows the whole text */
};

static bool is_word(struct span span, const char *word)
{
    return strlen(word) == span.length && memcmp(word, span.text, span.length) == 0;
}

/* What of it is shown. */
static int shown(size_t length)
{
    return length < 100 ? (int)length : 100;
}

/* What is wrong with this part of the text, and what becomes of it, each if there is one.  An argument
 * has been shown already, and the command does not run. */
__attribute__((format(printf, 4, 5))) static void complain(const struct parser *parser, struct span part,
                                                           const char *outcome, const char *format, ...)
{
    char line[OPTIONS_LINE_BYTES], what[OPTIONS_LINE_BYTES / 2];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    if (parser->is_argument) {
        part.length = 0;
        outcome = NULL;
    }
    snprintf(line, sizeof(line), "leakdetect: %.*s: %.*s%s%s%s%s", shown(strlen(parser->origin)),
             parser->origin, shown(part.length), part.text, part.length == 0 ? "" : ": ", what,
             outcome == NULL ? "" : "; ", outcome == NULL ? "" : outcome);
    if (parser->complain != NULL)
        parser->complain(line);
}

/* --- Values ------------------------------------------------------------------------------------------- */

static size_t *number_of(struct options *options, const struct option *option)
{
    return (size_t *)(void *)((char *)options + option->offset);
}

static const char **text_of(struct options *options, const struct option *option)
{
    return (const char **)(void *)((char *)options + option->offset);
}

static void set_default(struct options *options, const struct option *option)
{
    if (option->kind == OPTION_TEXT)
        *text_of(options, option) = NULL;
    else
        *number_of(options, option) = option->standard;
}

/* Which of `words`, that have spaces between them. */
static bool parse_choice(struct span value, const char *words, size_t *out)
{
    for (*out = 0; *words != '\0'; (*out)++) {
        size_t length = strcspn(words, " ");

        if (length == value.length && memcmp(words, value.text, length) == 0)
            return true;
        words += length + (words[length] == ' ');
    }
    return false;
}

static unsigned suffix_shift(char suffix)
{
    switch (suffix) {
    case 'k':
    case 'K':
        return 10;
    case 'm':
    case 'M':
        return 20;
    case 'g':
    case 'G':
        return 30;
    default:
        return 0;
    }
}

/* One that is larger than any size_t is a number, and not in any range. */
static bool parse_number(struct span value, size_t *out, bool *is_too_large)
{
    unsigned shift = value.length > 1 ? suffix_shift(value.text[value.length - 1]) : 0;
    size_t digits = value.length - (shift != 0), number = 0;

    *is_too_large = false;
    for (size_t i = 0; i < digits; i++) {
        if (value.text[i] < '0' || value.text[i] > '9')
            return false;
        *is_too_large |= __builtin_mul_overflow(number, 10u, &number) ||
                         __builtin_add_overflow(number, (size_t)(value.text[i] - '0'), &number);
    }
    *out = number << shift;
    *is_too_large |= *out >> shift != number;
    return digits != 0;
}

/* Signals that programs leave to their users.  Not those of faults, those that cannot be caught, and those
 * that mean something already, of children or of a terminal that is stopped or resized. */
static bool parse_signal(struct span value, size_t *out)
{
    static const struct {
        const char *name;
        int number;
    } signals[] = {
        {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"HUP", SIGHUP},       {"QUIT", SIGQUIT}, {"ALRM", SIGALRM},
        {"PROF", SIGPROF}, {"IO", SIGIO},     {"VTALRM", SIGVTALRM}, {"URG", SIGURG},   {"PWR", SIGPWR},
    };
    bool is_too_large;

    if (value.length > 3 && memcmp(value.text, "SIG", 3) == 0)
        value = (struct span){value.text + 3, value.length - 3};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        if (is_word(value, signals[i].name)) {
            *out = (size_t)signals[i].number;
            return true;
        }
    if (!parse_number(value, out, &is_too_large) || is_too_large)
        return false;
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        if (*out == (size_t)signals[i].number)
            return true;
    return *out >= (size_t)SIGRTMIN && *out <= (size_t)SIGRTMAX;
}

static bool keep_text(struct options *options, struct span value, const char **out)
{
    char *copy = options->texts + options->text_bytes;

    if (value.length >= sizeof(options->texts) - options->text_bytes)
        return false;
    memcpy(copy, value.text, value.length);
    copy[value.length] = '\0';
    options->text_bytes += value.length + 1;
    *out = copy;
    return true;
}

/* --- Setting one -------------------------------------------------------------------------------------- */

/* The part of the text is "name=value". */
static void set(const struct parser *parser, const struct option *option, struct span part, struct span value)
{
    static const char by_default[] = "the default is used";
    struct options *options = parser->options;
    bool is_too_large;
    size_t number = 0;
    const char *text = NULL;

    set_default(options, option);
    switch (option->kind) {
    case OPTION_CHOICE:
        if (!parse_choice(value, option->values, &number))
            complain(parser, part, "the first of them is used", "choose one of: %s", option->values);
        else
            *number_of(options, option) = number;
        break;
    case OPTION_NUMBER:
        if (!parse_number(value, &number, &is_too_large))
            complain(parser, part, by_default, "not a number");
        else if (is_too_large || number < option->lowest || number > option->highest)
            complain(parser, part, by_default, "not from %zu to %zu", option->lowest, option->highest);
        else
            *number_of(options, option) = number;
        break;
    case OPTION_TEXT:
        if (!keep_text(options, value, &text))
            complain(parser, (struct span){part.text, strlen(option->name)}, "it is left out", "too long");
        *text_of(options, option) = value.length == 0 ? NULL : text;
        break;
    case OPTION_SIGNAL:
        if (value.length != 0 && !parse_signal(value, &number))
            complain(parser, part, "none does", "no signal that can ask for a report, such as USR2");
        else
            *number_of(options, option) = number;
        break;
    }
}

static const struct option *find(struct span name)
{
    for (size_t i = 0; i < options_count; i++)
        if (is_word(name, options_table[i].name))
            return &options_table[i];
    return NULL;
}

/* --- Text --------------------------------------------------------------------------------------------- */

static size_t name_length(const char *text)
{
    size_t length = 0;

    while ((text[length] >= 'a' && text[length] <= 'z') || text[length] == '_')
        length++;
    return length;
}

static size_t value_length(const char *text)
{
    size_t length = 0;

    for (; text[length] != '\0'; length++) {
        const char *next = text + length + 1;
        size_t name = text[length] == ':' ? name_length(next) : 0;

        if (text[length] == ':' && (*next == '\0' || (name != 0 && next[name] == '=')))
            break;
    }
    return length;
}

static void parse(const struct parser *parser, const char *text)
{
    while (*text != '\0') {
        struct span name = {text, strcspn(text, "=:")}, part = name, value, none = {"", 0};
        const struct option *option = find(name);

        if (text[name.length] == '=') {
            value.text = text + name.length + 1;
            value.length = value_length(value.text);
            part.length += 1 + value.length;
            if (option != NULL)
                set(parser, option, part, value);
            else
                complain(parser, none, NULL,
                         "there is no option \"%.*s\"; `leakdetect run --help` lists them all",
                         shown(name.length), name.text);
        } else if (name.length != 0) {
            complain(parser, part, "it is left out", "not of the form key=value");
        }
        text += part.length;
        text += *text == ':';
    }
}

void options_parse(struct options *options, const char *origin, const char *text,
                   options_complain_fn *complain_fn)
{
    parse(&(struct parser){options, origin, complain_fn, false}, text);
}

void options_parse_argument(struct options *options, const char *argument, const char *text,
                            options_complain_fn *complain_fn)
{
    parse(&(struct parser){options, argument, complain_fn, true}, text);
}

void options_init(struct options *options)
{
    options->text_bytes = 0;
    for (size_t i = 0; i < options_count; i++)
        set_default(options, &options_table[i]);
}

static size_t word_length(const char *words, size_t index, const char **word)
{
    for (*word = words; index > 0; index--)
        *word += strcspn(*word, " ") + 1;
    return strcspn(*word, " ");
}

void options_show(const struct options *options, const struct option *option, char *line, size_t size)
{
    const char *at = (const char *)options + option->offset, *text = NULL;
    size_t number = 0, length = 0;

    if (option->kind == OPTION_TEXT)
        memcpy(&text, at, sizeof(text));
    else
        memcpy(&number, at, sizeof(number));
    if (option->kind == OPTION_CHOICE)
        length = word_length(option->values, number, &text);
    else if (text != NULL)
        length = strnlen(text, size);
    if (option->kind == OPTION_TEXT || option->kind == OPTION_CHOICE ||
        (option->kind == OPTION_SIGNAL && number == 0))
        snprintf(line, size, "leakdetect: %s=%.*s", option->name, (int)length, text == NULL ? "" : text);
    else
        snprintf(line, size, "leakdetect: %s=%zu", option->name, number);
}
