/* SPDX-License-Identifier: MIT
 *
 * For test_override.sh: a program in C that loads what is written in C++, with its library, for itself only.
 */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    void *module = dlopen(argv[argc - 1], RTLD_NOW | RTLD_LOCAL);
    int (*run)(void);

    if (module == NULL) {
        puts(dlerror());
        return 1;
    }
    *(void **)&run = dlsym(module, "run");
    return run();
}
