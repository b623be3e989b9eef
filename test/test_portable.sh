#!/bin/sh
# Nothing shuts out other processors: the sources compile for 64-bit and 32-bit ARM, by cross-compilers, as both libraries.
# Those that name libunwind do not, because its header is there for this machine only.
. test/check.sh

ln -s /usr/include/jemalloc "$work/jemalloc"

compile() { # COMPILER
    for file in *.c; do
        ! grep -q '#include <libunwind.h>' "$file" || case $file in rules.c | unwind_exit.c) ;; *) continue ;; esac
        for override in 0 1; do
            "$1" -std=c11 -O1 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wundef -Werror -I. -I"$work" \
                -DLD_OVERRIDE=$override -c -o /dev/null "$file"
        done
    done
}

for compiler in aarch64-linux-gnu-gcc arm-linux-gnueabihf-gcc; do
    if has $compiler; then
        check "compiles_with_$compiler" compile $compiler
    else
        skip "compiles_with_$compiler" "there is no $compiler"
    fi
done
exit $failed
