// SPDX-License-Identifier: MIT
//
// The C++ half of tests: exceptions that pass through frames, and thread_local objects with destructors.
#include "frames_cxx.h"

#include <cstdlib>

#include "leakdetect.h"

#define SITE __attribute__((noinline))

namespace
{

struct failure {
    int depth;
};

// Throws from `depth` frames further in.
SITE int throw_from(int depth)
{
    if (depth == 0)
        throw failure{1337};
    return throw_from(depth - 1) + 1;
}

struct runs_at_unwinding {
    probe_fn *probe;
    void *ctx;

    ~runs_at_unwinding()
    {
        probe(ctx);
    }
};

SITE int unwind_through(probe_fn *probe, void *ctx)
{
    runs_at_unwinding object = {probe, ctx};

    return throw_from(3) + 1;
}

struct allocates_per_thread {
    void *block = nullptr;

    ~allocates_per_thread()
    {
        ld_free(block);
        ld_free(ld_malloc(1337));
    }
};

thread_local allocates_per_thread object;

} // namespace

int cxx_probe_around_a_throw(probe_fn *probe, void *ctx)
{
    int caught = 0;

    for (int depth = 0; depth < 8; depth++) {
        try {
            caught -= unwind_through(probe, ctx);
        } catch (const failure &) {
            caught += probe(ctx);
        }
        caught += probe(ctx);
    }
    return caught;
}

bool cxx_leave_by_exception(void (*function)(void (*thrower)()))
{
    try {
        function([] { throw failure{666}; });
    } catch (const failure &caught) {
        return caught.depth == 666;
    }
    return false;
}

void cxx_use_thread_local()
{
    if (object.block == nullptr)
        object.block = ld_malloc(666);
}
