/* SPDX-License-Identifier: MIT
 *
 * Suppressions, see suppress.h.
 */
#include "suppress.h"

#include <string.h>

bool suppress_parse(struct pattern line, struct pattern *pattern)
{
    static const char type[] = "leak:";
    const size_t type_length = sizeof(type) - 1;
    line = pattern_trim(line);
    *pattern = (struct pattern){0};
    if (line.length == 0 || line.text[0] == '#')
        return true;
    if (line.length < type_length || memcmp(line.text, type, type_length) != 0)
        return false;
    *pattern = pattern_trim((struct pattern){line.text + type_length, line.length - type_length});
    return pattern->length > 0;
}

/* Goes through the text, and puts the rules into suppress->rules, if there is such a place yet; counts them
 * anyway. */
static void read_rules(struct suppress *suppress, const char *text)
{
    struct pattern line, pattern;
    size_t number = 0;
    suppress->rule_count = suppress->bad_count = 0;
    while (pattern_next(&text, "\n", &line)) {
        number++;
        if (!suppress_parse(line, &pattern)) {
            if (suppress->bad_count++ == 0)
                suppress->first_bad = number;
        } else if (pattern.length > 0) {
            if (suppress->rules != NULL)
                suppress->rules[suppress->rule_count] = (struct suppress_rule){.pattern = pattern};
            suppress->rule_count++;
        }
    }
}

void suppress_init(struct suppress *suppress, const char *text, bool with_kept, struct scratch *scratch)
{
    *suppress = (struct suppress){.with_kept = with_kept};
    read_rules(suppress, text);
    if (suppress->rule_count == 0)
        return;
    suppress->rules = scratch_take(scratch, suppress->rule_count * sizeof(suppress->rules[0]));
    suppress->is_short = suppress->rules == NULL;
    if (suppress->is_short)
        suppress->rule_count = 0;
    else
        read_rules(suppress, text);
}

void suppress_judge(const struct suppress *suppress, const struct name *name, struct name_verdict *verdict)
{
    for (size_t i = 0; i < suppress->rule_count && verdict->rule == 0; i++) {
        struct pattern pattern = suppress->rules[i].pattern;
        if (pattern_matches(pattern, name->function) || pattern_matches(pattern, name->file) ||
            pattern_matches(pattern, name->module))
            verdict->rule = (uint32_t)i + 1;
    }
    if (suppress->with_kept)
        verdict->kept_at = kept_match(name->frame, name_plain(name), name->module, &verdict->kept_within);
}

static unsigned lowest_bit(uint32_t bits)
{
    unsigned bit = 0;
    while ((bits >> bit & 1) == 0)
        bit++;
    return bit;
}

/* The tally of the rule that takes the site, or NULL.  Rules that were given come first.  Of a stack whose
 * inner frames are unknown nobody can say that only run-time libraries are in there. */
static struct tally *find_rule(struct suppress *suppress, const struct site *site, struct names *names)
{
    const struct ld_leak *leak = &site->leak;
    bool with_kept = suppress->with_kept && (leak->flags & LD_LEAK_STACK_CUT) == 0;
    uint32_t kept = with_kept ? kept_direct() : 0;
    struct tally *found = NULL;
    for (size_t i = 0; i < leak->frame_count && (kept != 0 || suppress->rule_count > 0); i++) {
        const struct name *name = names_get(names, leak, i);
        const struct name_verdict *verdict = &name_of_code(name)->verdict;
        for (; name != NULL; name = name->outer)
            if (name->verdict.rule != 0)
                return &suppress->rules[name->verdict.rule - 1].taken;
        if ((kept & verdict->kept_at) != 0 && found == NULL)
            found = &suppress->kept[kept_first(lowest_bit(kept & verdict->kept_at))];
        if (i == 0 && with_kept)
            kept = UINT32_MAX;
        kept = found == NULL ? kept & verdict->kept_within : 0;
    }
    return found;
}

static bool is_builtin(const struct suppress *suppress, const struct tally *taken)
{
    return (uintptr_t)taken - (uintptr_t)suppress->kept < sizeof(suppress->kept);
}

bool suppress_takes(struct suppress *suppress, struct site *site, struct names *names)
{
    struct tally *taken = find_rule(suppress, site, names);
    if (taken == NULL && site->leader != NULL) {
        taken = find_rule(suppress, site->leader, names);
        if (is_builtin(suppress, taken)) {
            site->leak.reach = LD_DEFINITELY_LOST;
            taken = NULL;
        }
    }
    if (taken == NULL)
        return false;
    if (taken->blocks == 0)
        suppress->used++;
    tally_add(taken, &site->tally);
    tally_add(&suppress->total, &site->tally);
    return true;
}

size_t suppress_count(const struct suppress *suppress)
{
    return suppress->rule_count + kept_count();
}

void suppress_get(const struct suppress *suppress, size_t index, struct suppress_hits *hits)
{
    hits->is_builtin = index >= suppress->rule_count;
    if (hits->is_builtin) {
        hits->name = pattern_of(kept_name(index - suppress->rule_count));
        hits->taken = suppress->kept[index - suppress->rule_count];
    } else {
        hits->name = suppress->rules[index].pattern;
        hits->taken = suppress->rules[index].taken;
    }
}
