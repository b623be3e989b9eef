#!/bin/sh
# Programs that say in their source what is not to be reported: suppressions that are compiled in.  In C and in C++, by gcc and
# by clang, linked, also -static, and with the library preloaded.
# shellcheck disable=SC2154 # what test/check.sh sets
. test/check.sh

lib=$PWD/$BUILD
so=$lib/lib/leakdetect/libleakdetect_malloc.so

# In each way that there is: the tests say `ways` and then use $way and build.
compilers=
for compiler in gcc clang g++ clang++; do
    if has $compiler; then
        compilers="$compilers $compiler"
    else
        skip "annotated_with_$compiler" "there is no $compiler"
    fi
done

build() { # COMPILER WAY FLAGS...
    compiler=$1 way=$2
    shift 2
    case $compiler in *++) set -- -x c++ -std=c++17 "$@" ;; esac
    case $way in
    preloaded) "$compiler" -g -Wall -Wextra -Werror -rdynamic -DPRELOADED "$@" test/whole/annotated.c -o "$work/app" ;;
    *)
        [ "$way" = linked ] || set -- -static "$@"
        # The source has a language, the libraries have not.
        "$compiler" -g -Wall -Wextra -Werror "$@" test/whole/annotated.c -x none -o "$work/app" -L"$lib" -lleakdetect_malloc
        ;;
    esac
}

# Runs what build has built last, with $options.  Sets $got; $work/said and $work/err are what it has written.
run() { # WORD...
    got=0
    [ "$way" = preloaded ] && preload=$so || preload=
    timeout 60 env ${preload:+LD_PRELOAD="$preload"} LEAKDETECT_OPTIONS="$options" "$work/app" "$@" \
        >"$work/said" 2>"$work/err" || got=$?
    echo "$*: status $got"
    cat "$work/said" "$work/err"
}

ends() { # STATUS WORD...
    want=$1
    shift
    run "$@"
    [ "$got" -eq "$want" ]
}

ends_silently() { # STATUS WORD...
    ends "$@"
    [ ! -s "$work/err" ]
}

ours() {
    build "$1" "$2" "-DOURS=\"# what we know\nleak:^known$\""
    options=
    ends_silently 0 known
    ends 23 known lose
    grep -q '^site 1: definitely lost: 1 block, 1,337 bytes' "$work/err"
    [ "$(grep -c '^site ' "$work/err")" -eq 1 ]
    grep -qxF '    1 block, 666 bytes: leak:^known$' "$work/err"
    options=report_at_exit=live
    ends 0 known lose
    [ "$(grep -c '^site .*1 block, 1,337 bytes' "$work/err")" -eq 1 ]
    [ "$(grep -c '^site .*1 block, 666 bytes' "$work/err")" -eq 0 ]
}

with_a_file() {
    build "$1" "$2" '-DOURS="leak:^known$"'
    printf 'leak:^lose$\nleak:^kno' >"$work/rules"
    options=suppressions=$work/rules
    ends_silently 0 known lose
    # The file comes first, and its last line, which has no end, ends all the same.
    options=suppressions=$work/rules:report_at_exit=live
    ends 0 known lose
    grep -qxF '    1 block, 666 bytes: leak:^kno' "$work/err"
    options=suppressions=$work/missing
    ends 0 known
    [ "$(cat "$work/err")" = "leakdetect: suppressions $work/missing: No such file or directory" ]
}

bad_lines() {
    build "$1" "$2" '-DOURS="leak:^known$\nknown\n\nrace:known"'
    options=
    ends 0 known
    grep -q '^leakdetect: ld_default_suppressions:2: no suppression: expected leak:PATTERN, or a # comment$' "$work/err"
    grep -q '^leakdetect: ld_default_suppressions:4: no suppression: ' "$work/err"
    [ "$(wc -l <"$work/err")" -eq 2 ]
}

for compiler in $compilers; do
    for way in preloaded linked static; do
        check "$compiler, $way: ld_default_suppressions" ours $compiler $way
        check "$compiler, $way: ld_default_suppressions and a file" with_a_file $compiler $way
        check "$compiler, $way: a line of ld_default_suppressions that is none" bad_lines $compiler $way
    done
done

exit $failed
