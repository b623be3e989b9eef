// SPDX-License-Identifier: MIT
//
// C++ exceptions through frames that allocate, also while it happens.
#include "shapes.h"

#include <cstdlib>

namespace
{

struct failure {
    int depth;
};

// Allocates when it comes and when it goes.
struct guard {
    guard()
    {
        probe();
    }
    ~guard()
    {
        probe();
    }
};

SITE int descend(int depth)
{
    guard here;

    if (depth == 0)
        throw failure{probe()};
    return descend(depth - 1) + probe();
}

SITE int rethrow(int depth)
{
    guard here;

    try {
        probe();
        return depth > 0 ? rethrow(depth - 1) + opaque(1) : descend(static_cast<int>(random_below(10)));
    } catch (const failure &caught) {
        probe();
        if (random_below(2) != 0)
            throw;
        throw failure{caught.depth + 1};
    }
}

int compare(const void *, const void *)
{
    guard here;

    if (random_below(3) == 0)
        throw failure{1};
    return 0;
}

SITE int through_qsort()
{
    int numbers[] = {3, 1, 2, 5, 4};

    qsort(numbers, 5, sizeof(numbers[0]), compare);
    return probe();
}

// Throws and catches while another exception passes.
struct catches_in_destructor {
    ~catches_in_destructor()
    {
        try {
            descend(3);
        } catch (const failure &) {
            probe();
        }
    }
};

SITE int throw_through_catcher()
{
    catches_in_destructor here;

    return descend(2) + probe();
}

template <typename F> SITE int attempt(F function)
{
    try {
        return function();
    } catch (const failure &) {
        return probe();
    }
}

} // namespace

extern "C" void shape_throw_and_catch(void);

void shape_throw_and_catch(void)
{
    for (int i = 0; i < scaled(400); i++) {
        attempt([] { return descend(static_cast<int>(random_below(40))); });
        attempt([] { return rethrow(static_cast<int>(random_below(6))); });
        attempt(through_qsort);
        attempt(throw_through_catcher);
        probe();
    }
}
