/* SPDX-License-Identifier: MIT
 *
 * For test_override.sh: a program that calls what glibc has for its own malloc, and that is not C's or
 * POSIX's.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    void *volatile left = malloc(1337);
    struct mallinfo2 gauges = mallinfo2();
    FILE *null = fopen("/dev/null", "w");
    pid_t child;

    (void)left;
    if (mallopt(M_MMAP_THRESHOLD, 1 << 20) != 1 || malloc_info(0, null) != 0 || gauges.hblks != 0)
        return 1;
    malloc_trim(0);
    fclose(null);
    child = fork();
    if (child == 0)
        _exit(0);
    wait(NULL);
    puts("it works");
    return 0;
}
