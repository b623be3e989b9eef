/* SPDX-License-Identifier: MIT
 *
 * A library for test_exit.sh, in C++: it has blocks from before main, which its destructors free, and one
 * that nobody frees.
 */
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

static std::vector<std::unique_ptr<std::string>> kept;

static bool fill()
{
    for (int i = 0; i < 100; i++)
        kept.push_back(std::make_unique<std::string>(666, 'x'));
    return true;
}

static bool is_filled = fill();

__attribute__((noinline)) static void *leave_in_constructor()
{
    return std::malloc(4242);
}

void *left_by_constructor = leave_in_constructor();

extern "C" int keeper_count()
{
    return is_filled ? static_cast<int>(kept.size()) : 0;
}
