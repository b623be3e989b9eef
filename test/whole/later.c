/* SPDX-License-Identifier: MIT
 *
 * A program in C that opens a library in C++, whose thread-local storage is counted from the thread pointer:
 * later LIBRARY.  Of the blocks that the library makes, one is lost.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static void wipe_stack(void)
{
    volatile char dead[16384];

    memset((char *)dead, 0, sizeof(dead));
}

int main(int argc, char **argv)
{
    void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
    void (*work)(void) = NULL;

    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    *(void **)&work = dlsym(library, "work");
    work();
    wipe_stack();
    return 0;
}
