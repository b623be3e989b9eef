/* SPDX-License-Identifier: MIT
 *
 * For test_override.sh: a program that uses a jemalloc of its own, by the names that only jemalloc has.
 */
#include <jemalloc/jemalloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    uint64_t epoch = 1;
    size_t allocated = 0, size = sizeof(allocated);
    void *extended = mallocx(1000, MALLOCX_ALIGN(64)), *plain;

    memset(extended, 1, 1000);
    extended = rallocx(extended, 100000, 0);
    if (sallocx(extended, 0) < 100000 || mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch)) != 0 ||
        mallctl("stats.allocated", &allocated, &size, NULL, 0) != 0 || allocated < 100000)
        return 1;
    dallocx(extended, 0);
    plain = malloc(1337);
    __asm__ volatile("" : "+r"(plain)::"memory");
    puts("it works");
    return malloc_usable_size(plain) < 1337;
}
