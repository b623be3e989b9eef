// SPDX-License-Identifier: MIT
//
// A program with BYTES of thread-local data, and a name that is hard work for the demangler, which asks for a
// report by SIGUSR2 and waits until it is complete:
//
//     thread_local REPORT
//
// or goes on at once, without an argument.

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <signal.h>
#include <unistd.h>

enum { LOST_BYTES = 666, TRIES = 3000, TRY_US = 10000 };

static thread_local char data[BYTES];

template <class T> struct nested {
};

template <int Depth> struct deep {
    using type = nested<typename deep<Depth - 1>::type>;
};

template <> struct deep<0> {
    using type = int;
};

static void *volatile sink;

template <class T> __attribute__((noinline)) int allocate(T)
{
    sink = malloc(LOST_BYTES);
    return data[BYTES - 1] + 1;
}

static bool is_complete(const char *path)
{
    char line[4096];
    bool found = false;
    FILE *report = fopen(path, "r");

    if (report == nullptr)
        return false;
    while (fgets(line, sizeof(line), report) != nullptr)
        found = found || strncmp(line, "total: ", 7) == 0;
    fclose(report);
    return found;
}

int main(int argc, char **argv)
{
    data[0] = 1;
    allocate(typename deep<90>::type{});
    raise(SIGUSR2);
    for (int i = 0; argc > 1 && !is_complete(argv[1]); i++) {
        if (i == TRIES)
            return 1;
        usleep(TRY_US);
    }
    puts("end");
    return 0;
}
