/* SPDX-License-Identifier: MIT
 *
 * More blocks than there is room for on record: while there are, nobody can know what is lost; when those
 * that had no room are gone, or have come on record, one can again, where the library is the program's
 * malloc.
 */
#include "leakdetect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MORE = 100, LOST_SIZE = 1337 };

static size_t capacity, count;
static void **crowd;
static int failures;

static void expect(const char *what, int error)
{
    errno = 0;

    size_t lost = ld_lost_leaks(NULL, NULL);
    size_t wanted = error == 0;

    if (errno != error || lost != wanted) {
        printf("FAILED %s: %zu lost (%s), and should be %zu (%s)\n", what, lost, strerror(errno), wanted,
               strerror(error));
        failures++;
    }
}

/* As many as there are to be alive, the newest of which have no room. */
static void gather(void)
{
    while (count < capacity + MORE)
        if ((crowd[count++] = malloc(16)) == NULL)
            abort();
}

static void dismiss(size_t left)
{
    while (count > left)
        free(crowd[--count]);
}

static __attribute__((noinline)) void lose(void)
{
    void *volatile lost = malloc(LOST_SIZE);

    memset(lost, 1, LOST_SIZE);
    lost = NULL;
}

int main(void)
{
    struct ld_stats stats;

    ld_init();
    ld_get_stats(&stats);
    capacity = stats.capacity_blocks;
    crowd = malloc((capacity + MORE) * sizeof(void *));
    if (crowd == NULL)
        abort();
    lose();
    expect("before", 0);

    gather();
    expect("too many", ENODATA);
    dismiss(capacity - 2 * MORE);
    expect("those without room are gone", 0);

    gather();
    expect("too many again", ENODATA);
    for (size_t i = 0; i < 3 * MORE; i++) {
        free(crowd[i]);
        crowd[i] = NULL;
    }
    expect("there is room, but not for those that have come before", ENODATA);
    for (size_t i = capacity - MORE; i < count; i++)
        if ((crowd[i] = realloc(crowd[i], 24)) == NULL)
            abort();
    expect("all of them have come on record", 0);

    dismiss(0);
    free(crowd);
    ld_get_stats(&stats);
    printf("%zu blocks had no room\n", stats.dropped_blocks);
    return failures != 0 || stats.dropped_blocks == 0;
}
