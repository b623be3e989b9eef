/* SPDX-License-Identifier: MIT
 *
 * For test_inlined.sh: loses words, in functions that the compiler inlines into each other whatever it is
 * told, and, if an argument is given, gives them back instead.
 */
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define SITE   static __attribute__((noinline))

INLINE void *xmalloc(size_t size)
{
    void *block = malloc(size);

    if (block == NULL)
        abort();
    return block;
}

INLINE char *copy_word(const char *word)
{
    return strcpy(xmalloc(strlen(word) + 1), word);
}

INLINE void add_word(const char *word, int is_kept)
{
    char *copy = copy_word(word);

    /* A block that nobody looks at need not be made. */
    __asm__ volatile("" : : "r"(copy) : "memory");
    if (!is_kept)
        free(copy);
}

SITE void read_text(int is_kept)
{
    for (volatile int i = 0; i < 3; i++) /* one call site: the loop is not unrolled */
        add_word("leak", is_kept);
}

int main(int argc, char **argv)
{
    (void)argv;
    read_text(argc == 1);
    return 0;
}
