/* SPDX-License-Identifier: MIT
 *
 * A kernel that does not take memory back when it is freed, of which the program must notice nothing: free
 * leaves errno alone.  Prints how often it was asked to.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BLOCKS = 20, SIZE = 1337000 };

static volatile int is_refusing, refused; /* free may look, whatever the compiler thinks */

/* In the place of the C library's, for all that is in this process. */
int madvise(void *address, size_t size, int advice)
{
    if (!is_refusing)
        return (int)syscall(SYS_madvise, address, size, advice);
    refused = refused + 1;
    errno = EINVAL;
    return -1;
}

int main(void)
{
    static void *volatile blocks[BLOCKS];

    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = malloc(SIZE);
    is_refusing = 1;
    errno = 1337;
    for (int i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    is_refusing = 0;
    printf("%d\n", refused);
    return errno == 1337 ? 0 : 1;
}
