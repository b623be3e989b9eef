/* SPDX-License-Identifier: MIT
 *
 * A library of which built-in suppressions would take everything if it were a part of the C library; with
 * USER, a program that calls it.
 */
#include <stdlib.h>

void _nss_load(void);
void _dl_load(void);

#ifdef USER

int main(void)
{
    _nss_load();
    _dl_load();
    return 0;
}

#else

static void *volatile sink;

void _nss_load(void)
{
    sink = malloc(1337);
    sink = NULL;
}

void _dl_load(void)
{
    sink = malloc(1337);
    sink = NULL;
}

#endif
