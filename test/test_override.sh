#!/bin/sh
# Every name of the malloc family is this library's, in a program that knows nothing of it: linked with the archive in
# each way that a program can be linked, and preloaded.  What is left is in the report at exit with its size and the
# function that left it; what was freed is not.
. test/check.sh

lib=$PWD/$BUILD
preload=$lib/lib/leakdetect/libleakdetect_malloc.so
flags='-g -Wall -Wextra -Werror'

# "SIZE FUNCTION" for each site of a report: the innermost frame with a name that begins with left_ or freed_.
sites() { # REPORT
    awk '
        /^site [0-9]+: /  { size = $(NF - 1); gsub(",", "", size); blocks = $3; found = 0 }
        /^    ?#[0-9]+ / && !found && match($0, /(left|freed)_by_[a-z_]*/) {
            found = 1
            print size / blocks, substr($0, RSTART, RLENGTH)
        }' "$1" | sort
}

# What the program prints is what it leaves.
leaves_what_it_says() { # COMMAND...
    rm -f "$work/report"
    LEAKDETECT_OPTIONS="log_path=$work/report" timeout 60 "$@" >"$work/said"
    sort "$work/said" >"$work/want"
    sites "$work/report" >"$work/have"
    cat "$work/report"
    [ -s "$work/want" ]
    diff "$work/want" "$work/have"
}

linked() { # SOURCE COMPILER ARGUMENT...
    source=$1 compiler=$2
    shift 2
    # shellcheck disable=SC2086
    "$compiler" $flags "test/whole/$source" -o "$work/app" "$@" -L"$lib" -lleakdetect_malloc
    leaves_what_it_says "$work/app"
}

preloaded() { # SOURCE COMPILER ARGUMENT...
    source=$1 compiler=$2
    shift 2
    # shellcheck disable=SC2086
    "$compiler" $flags "test/whole/$source" -o "$work/app" "$@"
    leaves_what_it_says env LD_PRELOAD="$preload" "$work/app"
    leaves_what_it_says "$BUILD/bin/leakdetect" run -- "$work/app"
}

for compiler in gcc clang g++ clang++; do
    has $compiler || continue
    case $compiler in
    *++) source=names.cc flags='-g -Wall -Wextra -Werror -std=c++17 -fsized-deallocation' ;;
    *) source=names.c ;;
    esac
    for mode in '' -O0 -O2 -O3 -no-pie '-O2 -flto' -static '-static -O2' '-static -O2 -flto' -rdynamic; do
        # shellcheck disable=SC2086
        check "$compiler $mode, linked" linked $source $compiler $mode
    done
    for linker in gold lld; do
        has ld.$linker || continue
        for mode in -O0 -O2 -static; do
            check "$compiler $mode, linked by $linker" linked $source $compiler $mode -fuse-ld=$linker
        done
    done
    for mode in -O0 -O2 '-O3 -flto' -no-pie; do
        # shellcheck disable=SC2086
        check "$compiler $mode, preloaded" preloaded $source $compiler $mode
    done
done

exit $failed
