#!/bin/sh
# Nothing shuts out other processors: the sources compile for 64-bit and 32-bit ARM, by cross-compilers, as both libraries.
# Those that name libunwind do not, because its header is there for this machine only; but for 64-bit ARM it is fetched,
# and programs run in an emulator, with whole stacks.
. test/check.sh

ln -s /usr/include/jemalloc /usr/include/libiberty "$work"

compile() { # COMPILER
    for file in *.c; do
        ! grep -q '#include <libunwind.h>' "$file" || case $file in rules.c | unwind_exit.c) ;; *) continue ;; esac
        for override in 0 1; do
            "$1" -std=c11 -O1 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wundef -Werror -I. -isystem "$work" \
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

# Debian's packages for that processor, beside this machine's.
fetch() {
    mkdir -p "$work/apt/state/lists/partial" "$work/apt/cache/archives/partial" "$work/arm64"
    : >"$work/apt/status"
    (cd "$work/arm64" &&
        set -- -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::Cache="$work/apt/cache" \
            -o Dir::State="$work/apt/state" -o Dir::State::status="$work/apt/status" -o APT::Sandbox::User= &&
        timeout 60 apt-get "$@" update && timeout 60 apt-get "$@" download libjemalloc-dev libunwind-dev libiberty-dev liblzma-dev) >"$work/fetched" 2>&1 || return 1
    for package in "$work"/arm64/*.deb; do
        dpkg-deb -x "$package" "$work/arm64"
    done
}

has_whole_stacks() {
    usr=$work/arm64/usr
    libraries=$usr/lib/aarch64-linux-gnu
    cc="aarch64-linux-gnu-gcc -isystem $usr/include/aarch64-linux-gnu -isystem $usr/include -L$libraries -B$libraries"
    run_make -j2 BUILD="$work/build" CC="$cc" LD=aarch64-linux-gnu-ld AR=aarch64-linux-gnu-ar \
        OBJCOPY=aarch64-linux-gnu-objcopy "$work/build/libleakdetect.a" "$work/build/libleakdetect_core.a" >"$work/made" 2>&1
    $cc -g -static -I. -o "$work/hello" examples/hello.c -L"$work/build" -lleakdetect_core -ljemalloc_pic -lunwind -llzma -lm
    timeout 60 qemu-aarch64 "$work/hello" >"$work/said"
    grep -q '#0 .*greeting (.*hello.c:[0-9]*)' "$work/said"
    grep -q '#1 .*main (.*hello.c:[0-9]*)' "$work/said"
    grep -q ' _start ' "$work/said"
}

if ! has aarch64-linux-gnu-gcc || ! has qemu-aarch64; then
    skip whole_stacks_on_aarch64 "there is no aarch64-linux-gnu-gcc, or no qemu-aarch64"
elif ! fetch; then
    skip whole_stacks_on_aarch64 "Debian's packages for it could not be fetched"
else
    check whole_stacks_on_aarch64 has_whole_stacks
fi
exit $failed
