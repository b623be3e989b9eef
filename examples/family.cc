// SPDX-License-Identifier: MIT
//
// A C++ program that knows nothing of leakdetect, with the leak that shared pointers are known for: a parent
// owns its children, and each child its parent, so that nobody is ever the last owner.
//
//     leakdetect run -- ./family                        as it is
//     c++ family.cc -lleakdetect_malloc && ./a.out      or linked with it
//
// What is lost at its end are the two families with children.  Childless people are freed, as they should be.
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

struct person {
    explicit person(std::string given) : name(std::move(given))
    {
    }

    std::string name;
    std::shared_ptr<person> parent; // should be a weak_ptr
    std::vector<std::shared_ptr<person>> children;
};

static std::shared_ptr<person> found_family(const std::string &name, int children)
{
    auto parent = std::make_shared<person>(name);

    for (int i = 0; i < children; i++) {
        auto child = std::make_shared<person>("child number " + std::to_string(i + 1) + " of " + name);
        child->parent = parent;
        parent->children.push_back(std::move(child));
    }
    return parent;
}

static std::size_t count_people()
{
    std::size_t people = 0;

    for (const auto &[name, children] : {std::pair("Ada", 3), std::pair("Grace", 0), std::pair("Barbara", 2)})
        people += 1 + found_family(name, children)->children.size();
    return people;
}

int main()
{
    std::printf("%zu people\n", count_people());
    return 0;
}
