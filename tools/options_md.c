/* SPDX-License-Identifier: MIT
 *
 * Prints docs/options.md from the table of options; `make docs/options.md` puts it there.
 */
#include <stdio.h>

#include "options.h"

static const char intro[] =
    "# Options\n"
    "\n"
    "Made from `options.def` by `make docs/options.md`.\n"
    "\n"
    "They are read when a program starts that runs under `leakdetect run`, has `libleakdetect_malloc.so` "
    "preloaded, or is "
    "linked with\n"
    "`-lleakdetect_malloc` ([whole-program.md](whole-program.md)). What comes later in this list counts "
    "more:\n"
    "\n"
    "1. compiled into the program: `const char *ld_default_options(void) { return \"max_sites=10\"; }` (in "
    "an executable that "
    "is run with the\n"
    "   preload, link with `-rdynamic`);\n"
    "2. the environment: `LEAKDETECT_OPTIONS=\"name=value:name=value\"`, which programs with another user's "
    "rights "
    "ignore;\n"
    "3. the command: `leakdetect run --name=value`, where `-` in a name is as good as `_`.\n"
    "\n"
    "A colon ends a value only before another `name=` or at the end, so that values may have colons: "
    "`skip=ns::*:exitcode=1`. Numbers may end\n"
    "in `k`, `m` or `g`, for 2^10, 2^20 and 2^30. What is not understood is said in one line on stderr, and "
    "the option has "
    "its default.\n"
    "What the command does not understand of its own arguments it says in the same way, and then it runs "
    "nothing, with status 125.\n"
    "\n"
    "| option | values | default | meaning |\n"
    "|---|---|---|---|\n";

static void print_values(const struct option *option)
{
    if (option->kind != OPTION_CHOICE) {
        fputs(option->values, stdout);
        return;
    }
    putchar('`');
    for (const char *c = option->values; *c != '\0'; c++)
        fputs(*c == ' ' ? "`, `" : (char[]){*c, '\0'}, stdout);
    putchar('`');
}

static void print_default(const struct option *option)
{
    int first = 0;

    while (option->values[first] != '\0' && option->values[first] != ' ')
        first++;
    if (option->kind == OPTION_CHOICE)
        printf("`%.*s`", first, option->values);
    else if (option->kind == OPTION_NUMBER && option->standard <= option->highest)
        printf("%zu", option->standard);
}

int main(void)
{
    fputs(intro, stdout);
    for (size_t i = 0; i < options_count; i++) {
        const struct option *option = &options_table[i];

        printf("| `%s` | ", option->name);
        print_values(option);
        fputs(" | ", stdout);
        print_default(option);
        printf(" | %s |\n", option->help);
    }
    return 0;
}
