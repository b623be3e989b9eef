/* SPDX-License-Identifier: MIT
 *
 * The part of app.cc that is written in C.
 */
#include <leakdetect.h>

int in_c(int n);

int in_c(int n)
{
    void *block = ld_calloc(3, 5);
    int live = (int)ld_now_leaks(NULL, NULL);

    ld_free(block);
    return n + live;
}
