/* SPDX-License-Identifier: MIT
 *
 * For test_annotated.sh: a program, in C and in C++, that has compiled in what is not to be reported.  Its
 * words say what it loses:
 *
 *     lose       a block of 1337 bytes
 *     known      a block of 666 bytes, which OURS says is no news
 */
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef OURS
/* As a function may make it that has no text to return: what comes back does not last. */
const char *ld_default_suppressions(void);
const char *ld_default_suppressions(void)
{
    static char text[64];

    strcpy(text, OURS);
    return text;
}

static __attribute__((destructor)) void overwrite(void)
{
    strcpy((char *)ld_default_suppressions(), "leak:*");
}
#endif

/* Where this is C++, with the names of C: a static program may have nothing to read others with. */
#define NOINLINE __attribute__((noinline))

NOINLINE int lose(void);
NOINLINE int lose(void)
{
    void *volatile block = malloc(1337);

    block = NULL;
    return block != NULL;
}

NOINLINE int known(void);
NOINLINE int known(void)
{
    void *volatile block = malloc(666);

    block = NULL;
    return block != NULL;
}

#ifdef __cplusplus
}
#endif

static NOINLINE void wipe_stack(void)
{
    volatile char dead[16384];

    for (size_t i = 0; i < sizeof(dead); i++)
        dead[i] = 0;
}

int main(int count, char **words)
{
    int unexpected = 0;

    for (int i = 1; i < count; i++) {
        if (strcmp(words[i], "lose") == 0)
            unexpected += lose();
        if (strcmp(words[i], "known") == 0)
            unexpected += known();
        wipe_stack();
    }
    return unexpected;
}
