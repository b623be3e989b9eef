/* SPDX-License-Identifier: MIT
 *
 * Patterns, see pattern.h.
 */
#define _GNU_SOURCE /* memmem: linear, and a POSIX function since 2024 */
#include "pattern.h"

#include <string.h>

struct pattern pattern_of(const char *text)
{
    return (struct pattern){.text = text, .length = strlen(text)};
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

struct pattern pattern_trim(struct pattern pattern)
{
    while (pattern.length > 0 && is_blank(pattern.text[0])) {
        pattern.text++;
        pattern.length--;
    }
    while (pattern.length > 0 && is_blank(pattern.text[pattern.length - 1]))
        pattern.length--;
    return pattern;
}

/* The rest of a name that has not been matched yet. */
struct rest {
    const char *at;
    size_t length;
};

/* Moves behind the first place where the part stands, which must be the beginning if it is `anchored`. */
static bool skip_part(struct rest *rest, const char *part, size_t length, bool anchored)
{
    const char *found = rest->at;
    if (!anchored)
        found = memmem(rest->at, rest->length, part, length);
    else if (length > rest->length || memcmp(rest->at, part, length) != 0)
        return false;
    if (found == NULL)
        return false;
    rest->length -= (size_t)(found - rest->at) + length;
    rest->at = found + length;
    return true;
}

/* Whether the rest ends with the part, and begins with it too if it is `anchored`. */
static bool ends_with(const struct rest *rest, const char *part, size_t length, bool anchored)
{
    return length <= rest->length && (!anchored || length == rest->length) &&
           memcmp(rest->at + rest->length - length, part, length) == 0;
}

bool pattern_matches(struct pattern pattern, const char *name)
{
    if (name == NULL || *name == 0 || pattern.length == 0)
        return false;
    const char *part = pattern.text, *end = pattern.text + pattern.length, *star;
    bool anchored = *part == '^';
    if (anchored)
        part++;
    bool to_end = end > part && end[-1] == '$';
    if (to_end)
        end--;

    struct rest rest = {.at = name, .length = strlen(name)};
    while ((star = memchr(part, '*', (size_t)(end - part))) != NULL) {
        if (!skip_part(&rest, part, (size_t)(star - part), anchored))
            return false;
        anchored = false;
        part = star + 1;
    }
    if (to_end)
        return ends_with(&rest, part, (size_t)(end - part), anchored);
    return skip_part(&rest, part, (size_t)(end - part), anchored);
}

bool pattern_next(const char **list, const char *separators, struct pattern *piece)
{
    if (*list == NULL)
        return false;
    size_t length = strcspn(*list, separators);
    *piece = pattern_trim((struct pattern){.text = *list, .length = length});
    *list = (*list)[length] == 0 ? NULL : *list + length + 1;
    return true;
}
