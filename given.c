/* SPDX-License-Identifier: MIT
 *
 * Reading what given.h says.
 */
#define _GNU_SOURCE /* secure_getenv */
#include "given.h"

#if LD_OVERRIDE

#include <stdlib.h>

/* Compiled into the program, options that it wants to have, and blocks that it wants left out. */
extern const char *ld_default_options(void) __attribute__((weak));
extern const char *ld_default_suppressions(void) __attribute__((weak));

/* The same as LeakSanitizer has it.  Its options have other names and meanings, and are not asked for. */
extern const char *__lsan_default_options(void) __attribute__((weak));
extern const char *__lsan_default_suppressions(void) __attribute__((weak));
extern int __lsan_is_turned_off(void) __attribute__((weak));

/* It is called once, when the first block is made or before main. */
static const char *default_options(void)
{
    static const char *text;
    static bool was_asked;

    if (!was_asked && ld_default_options != NULL) {
        was_asked = true;
        text = ld_default_options();
    }
    return text;
}

void given_options(struct options *out, options_complain_fn *complain)
{
    const char *compiled_in = default_options();
    const char *set = secure_getenv("LEAKDETECT_OPTIONS");

    options_init(out);
    if (compiled_in != NULL)
        options_parse(out, "ld_default_options", compiled_in, complain);
    if (set != NULL)
        options_parse(out, "LEAKDETECT_OPTIONS", set, complain);
}

size_t given_suppressions(struct given_text out[GIVEN_TEXTS_MAX])
{
    size_t count = 0;

    if (ld_default_suppressions != NULL)
        out[count++] = (struct given_text){ld_default_suppressions(), "ld_default_suppressions"};
    if (__lsan_default_suppressions != NULL)
        out[count++] = (struct given_text){__lsan_default_suppressions(), "__lsan_default_suppressions"};
    return count;
}

bool given_is_turned_off(void)
{
    return __lsan_is_turned_off != NULL && __lsan_is_turned_off() != 0;
}

bool given_unread_options(void)
{
    return __lsan_default_options != NULL;
}

size_t given_sample(void)
{
    struct options options;

    /* What is wrong is told when all options are read. */
    given_options(&options, NULL);
    return options.sample;
}

#endif
