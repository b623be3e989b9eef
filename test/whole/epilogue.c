/* SPDX-License-Identifier: MIT
 *
 * A handler that loses a block at each instruction of a function that has realigned its stack, and so where
 * the compiler's unwind information is wrong of BP, called by one whose frame is found by way of BP.
 */
#include <alloca.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define TRAP_FLAG "0x100"

static void *volatile block;
static volatile int handled;

static void on_step(int signal)
{
    (void)signal;
    block = malloc(24);
    handled++;
}

static __attribute__((noinline)) double same(double x)
{
    __asm__ volatile("" : "+x"(x));
    return x;
}

static __attribute__((noinline)) double realigned(size_t x)
{
    double aligned __attribute__((aligned(64))) = (double)x;

    __asm__ volatile("" ::"m"(aligned));
    return same(aligned) + same((double)x);
}

static __attribute__((noinline)) double caller(size_t size)
{
    volatile char aligned[64] __attribute__((aligned(64)));
    volatile char *any = alloca(size);
    double sum;

    aligned[size % 64] = any[0] = 1;
    __asm__ volatile("pushfq; orq $" TRAP_FLAG ", (%%rsp); popfq" ::: "memory", "cc");
    sum = realigned(size / 16 * 5);
    __asm__ volatile("pushfq; andq $~" TRAP_FLAG ", (%%rsp); popfq" ::: "memory", "cc");
    return sum + aligned[1] * 0 + any[0] * 0;
}

int main(int argc, char **argv)
{
    double sum;

    (void)argv;
    signal(SIGTRAP, on_step);
    sum = caller((size_t)argc * 16);
    printf("%g %s\n", sum, handled > 10 ? "end" : "no step was taken");
    return 0;
}
