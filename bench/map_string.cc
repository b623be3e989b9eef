// SPDX-License-Identifier: MIT
//
// Trees, hash tables and strings of C++: many blocks of few sizes from a few call paths.  Argument: rounds.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

namespace
{

std::string word(std::minstd_rand &chance)
{
    std::string text;
    for (auto left = 6 + chance() % 30; left > 0; left--)
        text += static_cast<char>('a' + chance() % 26);
    return text;
}

std::size_t round_trip(std::minstd_rand &chance)
{
    std::map<std::string, std::vector<int>> ordered;
    std::unordered_map<std::string, std::string> hashed;

    for (int i = 0; i < 30000; i++) {
        std::string key = word(chance);
        ordered[key].push_back(i);
        ordered[key].push_back(i + 1);
        hashed[key.substr(0, 18)] = "value of " + key;
    }
    for (auto entry = ordered.begin(); entry != ordered.end();) {
        if (entry->first[0] < 'm')
            entry = ordered.erase(entry);
        else
            ++entry;
    }
    std::size_t length = 0;
    for (const auto &[key, value] : hashed)
        length += ordered.count(key) + (key + ": " + value).size();
    return length;
}

} // namespace

int main(int argc, char **argv)
{
    std::minstd_rand chance(666);
    std::size_t length = 0;
    for (int rounds = argc > 1 ? std::atoi(argv[1]) : 8; rounds > 0; rounds--)
        length += round_trip(chance);
    std::printf("%zu\n", length);
}
