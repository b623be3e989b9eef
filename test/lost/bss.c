/* Static data of 16 GiB that was hardly touched, and holds a block in its midst; another one is lost.  Status
 * as test/lost/mapped.c. */
#include <stdlib.h>
#include <string.h>

#define SITE __attribute__((noinline))

enum { WORDS_OF_GIB = (1 << 30) / sizeof(void *) };

static void *volatile data[(size_t)16 * WORDS_OF_GIB];

static SITE void hold(void *volatile *place, size_t size)
{
    *place = malloc(size);
}

/* Writes over what earlier calls have left on the stack. */
static SITE void clear_stack(void)
{
    volatile char frame[16384];

    memset((void *)frame, 0, sizeof(frame));
}

int main(void)
{
    void *volatile place;

    hold(&data[(size_t)8 * WORDS_OF_GIB], 444);
    hold(&place, 666);
    place = NULL;
    clear_stack();
    return 0;
}
