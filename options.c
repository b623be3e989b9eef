/* SPDX-License-Identifier: MIT
 *
 * The parser of options, over the table that options.def expands into.
 */
#define _POSIX_C_SOURCE 200809L
#include "options.h"

#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
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
};

static bool is_word(struct span span, const char *word)
{
    return strlen(word) == span.length && memcmp(word, span.text, span.length) == 0;
}

__attribute__((format(printf, 2, 3))) static void complain(const struct parser *parser, const char *format,
                                                           ...)
{
    char line[OPTIONS_LINE_BYTES];
    int length = snprintf(line, sizeof(line), "leakdetect: %s: ", parser->origin);
    va_list arguments;

    if (length < 0 || (size_t)length >= sizeof(line))
        return;
    va_start(arguments, format);
    vsnprintf(line + length, sizeof(line) - (size_t)length, format, arguments);
    va_end(arguments);
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

static bool parse_number(struct span value, size_t *out)
{
    unsigned shift = value.length > 1 ? suffix_shift(value.text[value.length - 1]) : 0;
    size_t digits = value.length - (shift != 0), number = 0;

    for (size_t i = 0; i < digits; i++) {
        if (value.text[i] < '0' || value.text[i] > '9' || __builtin_mul_overflow(number, 10u, &number) ||
            __builtin_add_overflow(number, (size_t)(value.text[i] - '0'), &number))
            return false;
    }
    *out = number << shift;
    return digits != 0 && *out >> shift == number;
}

/* Signals that programs leave to their users.  Not those of faults, those that cannot be caught, and those of
 * the terminal and of children, which mean something already. */
static bool parse_signal(struct span value, size_t *out)
{
    static const struct {
        const char *name;
        int number;
    } signals[] = {
        {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"HUP", SIGHUP},       {"QUIT", SIGQUIT}, {"ALRM", SIGALRM},
        {"PROF", SIGPROF}, {"IO", SIGIO},     {"VTALRM", SIGVTALRM}, {"URG", SIGURG},   {"PWR", SIGPWR},
    };

    if (value.length > 3 && memcmp(value.text, "SIG", 3) == 0)
        value = (struct span){value.text + 3, value.length - 3};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        if (is_word(value, signals[i].name)) {
            *out = (size_t)signals[i].number;
            return true;
        }
    if (!parse_number(value, out))
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

static void set(const struct parser *parser, const struct option *option, struct span value)
{
    struct options *options = parser->options;
    int shown = value.length < 100 ? (int)value.length : 100;
    size_t number = 0;
    const char *text = NULL;

    set_default(options, option);
    switch (option->kind) {
    case OPTION_CHOICE:
        if (!parse_choice(value, option->values, &number))
            complain(parser, "%s=%.*s: choose one of: %s; the first of them is used", option->name, shown,
                     value.text, option->values);
        else
            *number_of(options, option) = number;
        break;
    case OPTION_NUMBER:
        if (!parse_number(value, &number))
            complain(parser, "%s=%.*s: not a number; the default is used", option->name, shown, value.text);
        else if (number < option->lowest || number > option->highest)
            complain(parser, "%s=%.*s: not from %zu to %zu; the default is used", option->name, shown,
                     value.text, option->lowest, option->highest);
        else
            *number_of(options, option) = number;
        break;
    case OPTION_TEXT:
        if (!keep_text(options, value, &text))
            complain(parser, "%s: too long; it is left out", option->name);
        *text_of(options, option) = value.length == 0 ? NULL : text;
        break;
    case OPTION_SIGNAL:
        if (!parse_signal(value, &number))
            complain(parser, "%s=%.*s: no signal that can ask for a report, such as USR2; none does",
                     option->name, shown, value.text);
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

void options_parse(struct options *options, const char *origin, const char *text,
                   options_complain_fn *complain_fn)
{
    struct parser parser = {options, origin, complain_fn};

    while (*text != '\0') {
        struct span name = {text, strcspn(text, "=:")}, value;
        const struct option *option = find(name);
        int shown = name.length < 100 ? (int)name.length : 100;

        if (text[name.length] != '=') {
            if (name.length != 0)
                complain(&parser, "\"%.*s\" is not of the form key=value; it is left out", shown, text);
            text += name.length + (text[name.length] == ':');
            continue;
        }
        value.text = text + name.length + 1;
        value.length = value_length(value.text);
        if (option != NULL)
            set(&parser, option, value);
        else
            complain(&parser, "there is no option \"%.*s\"; `leakdetect run --help` lists them all", shown,
                     text);
        text = value.text + value.length;
        text += *text == ':';
    }
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
    if (option->kind == OPTION_TEXT || option->kind == OPTION_CHOICE)
        snprintf(line, size, "leakdetect: %s=%.*s", option->name, (int)length, text == NULL ? "" : text);
    else
        snprintf(line, size, "leakdetect: %s=%zu", option->name, number);
}
