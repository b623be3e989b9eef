/* SPDX-License-Identifier: MIT
 *
 * Options at run time, as a text "key=value:key=value", from the environment or compiled in.  options.def is
 * the list of them.  Nothing here allocates, reads the environment or writes: what is wrong in a text is told
 * to the caller, a line for each mistake, and the option has its default then.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stddef.h>

/* The words of the choices, in order. */
enum { OPTIONS_REPORT_LOST, OPTIONS_REPORT_LIVE, OPTIONS_REPORT_NONE };
enum { OPTIONS_FORMAT_TEXT, OPTIONS_FORMAT_JSON, OPTIONS_FORMAT_FOLDED };
enum { OPTIONS_CHILDREN_FOLLOW, OPTIONS_CHILDREN_IGNORE };

/* A number that was not set and whose default depends on another option. */
#define OPTIONS_BY_REPORT 256

#define OPTIONS_TEXT_BYTES 4096 /* of all texts together, with their final 0 */
#define OPTIONS_LINE_BYTES 512  /* of a complaint */

struct options {
#define CHOICE(name, words, help)                           size_t name;
#define NUMBER(name, lowest, highest, standard, unit, help) size_t name;
#define TEXT(name, what, help)                              const char *name; /* NULL, or in `texts` */
#define SIGNAL(name, help)                                  size_t name;      /* 0: none */
#include "options.def"
#undef CHOICE
#undef NUMBER
#undef TEXT
#undef SIGNAL
    size_t text_bytes;
    char texts[OPTIONS_TEXT_BYTES];
};

/* Gets one line, without its end.  NULL: nobody is told. */
typedef void options_complain_fn(const char *line);

void options_init(struct options *options);

/* Applies what `text` sets to what is set already.  `origin` is what complaints begin with.  A colon ends a
 * value only before another "key=" or at the end of the text, so that a value may have colons. */
void options_parse(struct options *options, const char *origin, const char *text,
                   options_complain_fn *complain);

/* The same for an argument of a command, such as "--max-sites=10", whose text is "max_sites=10".  Complaints
 * begin with the argument, and say nothing of the default: such a command is not to run. */
void options_parse_argument(struct options *options, const char *argument, const char *text,
                            options_complain_fn *complain);

enum option_kind { OPTION_CHOICE, OPTION_NUMBER, OPTION_TEXT, OPTION_SIGNAL };

struct option {
    const char *name;
    enum option_kind kind;
    size_t offset;          /* in struct options */
    size_t lowest, highest; /* of a number */
    size_t standard;        /* the default of a number */
    const char *values;     /* the words of a choice, with spaces between them; else what the value is */
    const char *help;
};
extern const struct option options_table[];
extern const size_t options_count;

/* Writes "leakdetect: name=value", cut to fit. */
void options_show(const struct options *options, const struct option *option, char *line, size_t size);

#endif
