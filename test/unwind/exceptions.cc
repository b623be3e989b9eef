// SPDX-License-Identifier: MIT
//
// A parser of arithmetic that reports its errors by exceptions, and a lot of containers: -O2 code of the
// ordinary kind.  Argument: rounds.
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace
{

struct syntax_error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct node {
    char operation;
    double value;
    std::unique_ptr<node> left, right;
};

class parser
{
  public:
    explicit parser(std::string text) : text_(std::move(text))
    {
    }

    std::unique_ptr<node> parse()
    {
        auto result = sum();
        if (at_ != text_.size())
            throw syntax_error("rest: " + text_.substr(at_));
        return result;
    }

  private:
    std::unique_ptr<node> binary(char operation, std::unique_ptr<node> left, std::unique_ptr<node> right)
    {
        return std::make_unique<node>(node{operation, 0, std::move(left), std::move(right)});
    }

    std::unique_ptr<node> sum()
    {
        auto left = product();
        while (at_ < text_.size() && (text_[at_] == '+' || text_[at_] == '-')) {
            char operation = text_[at_++];
            left = binary(operation, std::move(left), product());
        }
        return left;
    }

    std::unique_ptr<node> product()
    {
        auto left = atom();
        while (at_ < text_.size() && (text_[at_] == '*' || text_[at_] == '/')) {
            char operation = text_[at_++];
            left = binary(operation, std::move(left), atom());
        }
        return left;
    }

    std::unique_ptr<node> atom()
    {
        if (at_ < text_.size() && text_[at_] == '(') {
            at_++;
            auto inner = sum();
            if (at_ == text_.size() || text_[at_] != ')')
                throw syntax_error("no ) at " + std::to_string(at_) + " of " + text_);
            at_++;
            return inner;
        }
        std::size_t length = 0;
        double value = std::stod(text_.substr(at_), &length); // throws on nonsense
        at_ += length;
        return std::make_unique<node>(node{'0', value, nullptr, nullptr});
    }

    std::string text_;
    std::size_t at_ = 0;
};

double evaluate(const node &n)
{
    static const std::map<char, std::function<double(double, double)>> operations = {
        {'+', [](double a, double b) { return a + b; }},
        {'-', [](double a, double b) { return a - b; }},
        {'*', [](double a, double b) { return a * b; }},
        {'/', [](double a, double b) {
             if (b == 0)
                 throw std::domain_error(std::string("division of ") + std::to_string(a) + " by nothing");
             return a / b;
         }}};
    return n.operation == '0' ? n.value : operations.at(n.operation)(evaluate(*n.left), evaluate(*n.right));
}

std::string make_text(unsigned &state, int depth)
{
    state = state * 1664525 + 1013904223;
    unsigned choice = state >> 24;
    if (depth == 0 || choice < 40)
        return choice % 16 == 0 ? "x" : std::to_string(choice % 7);
    std::string text = make_text(state, depth - 1) + "+-*/"[choice % 4] + make_text(state, depth - 1);
    return choice % 3 == 0 ? "(" + text + (choice % 11 == 0 ? "" : ")") : text;
}

std::map<std::string, int> work(unsigned state, int rounds)
{
    std::map<std::string, int> outcomes;

    for (int i = 0; i < rounds; i++) {
        try {
            try {
                outcomes[std::to_string(static_cast<long>(evaluate(*parser(make_text(state, 5)).parse())))]++;
            } catch (const syntax_error &error) {
                std::throw_with_nested(
                    std::runtime_error("syntax: " + std::string(error.what()).substr(0, 10)));
            }
        } catch (const std::invalid_argument &) {
            outcomes["not a number"]++;
        } catch (const std::exception &error) {
            outcomes[error.what()]++;
        }
    }
    return outcomes;
}

} // namespace

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? std::atoi(argv[1]) : 1000;
    std::vector<std::thread> threads;
    std::vector<std::map<std::string, int>> results(3);

    for (unsigned i = 0; i < results.size(); i++)
        threads.emplace_back([&results, i, rounds] { results[i] = work(i + 1, rounds); });
    for (auto &thread : threads)
        thread.join();
    for (unsigned i = 0; i < results.size(); i++)
        if (results[i] != work(i + 1, rounds))
            return 1;
    std::cout << results[0].size() << " outcomes\n";
}
