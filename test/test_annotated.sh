#!/bin/sh
# Programs that say in their source what is not to be reported: suppressions that are compiled in, and LeakSanitizer's
# interface.  In C and in C++, by gcc and by clang, linked, also -static, and with the library preloaded.
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

# --- LeakSanitizer's names ----------------------------------------------------------------------------------

theirs() {
    build "$1" "$2" '-DOURS="leak:^none$"' '-DTHEIRS="leak:^known$\nrace:a"'
    options=
    ends 0 known
    [ "$(cat "$work/err")" = 'leakdetect: __lsan_default_suppressions:2: no suppression: expected leak:PATTERN, or a # comment' ]
    ends 23 known lose
    grep -q '^site 1: definitely lost: 1 block, 1,337 bytes' "$work/err"
    [ "$(grep -c '^site ' "$work/err")" -eq 1 ]
}

# What follows needs one program, without any function that the library calls.
spared() {
    options=
    ends_silently 0 hide ignore region
    ends 0 hide ignore region look
    [ "$(cat "$work/said")" = 0 ]
    ends_silently 0 hide ignore region check
    options=report_at_exit=live
    ends 0 hide ignore region
    [ "$(grep -c '^site .* 1 block, 2,001 bytes' "$work/err")" -eq 2 ]
    options=
    ends 23 hide ignore region forget
    grep -q '^site 1: definitely lost: 1 block, 2,001 bytes' "$work/err"
    [ "$(grep -c '^site ' "$work/err")" -eq 1 ]
    [ "$(grep -c 'make_region' "$work/err")" -eq 1 ]
}

# A look changes nothing but what is said.
looks() {
    options=
    ends_silently 0 look look
    [ "$(cat "$work/said")" = "$(printf '0\n0')" ]
    ends 23 handler look lose look look
    [ "$(cat "$work/said")" = "$(printf '0\n1\n1\nhandler')" ]
    [ "$(grep -c '^site 1: definitely lost: 1 block, 1,337 bytes' "$work/err")" -eq 3 ]
    options=exitcode=0
    ends 0 lose look
    [ "$(cat "$work/said")" = 1 ]
    options=report_at_exit=none
    ends 0 lose look
    [ "$(cat "$work/said")" = 1 ]
    [ "$(grep -c '^site ' "$work/err")" -eq 1 ]
    echo 'leak:^lose$' >"$work/rules"
    options=suppressions=$work/rules
    ends_silently 0 lose look
    [ "$(cat "$work/said")" = 0 ]
}

# The end comes at once, but for what was printed; without a leak the program goes on, and is not looked at again.
checks() {
    options=
    ends 23 handler print lose check print
    [ "$(cat "$work/said")" = printed ]
    [ "$(grep -c '^site 1: definitely lost: 1 block, 1,337 bytes' "$work/err")" -eq 1 ]
    ends_silently 0 handler check lose check print
    [ "$(cat "$work/said")" = "$(printf 'printed\nhandler')" ]
    # It says nothing of looks that change nothing.
    ends 0 check lose look check
    [ "$(cat "$work/said")" = 1 ]
    options=exitcode=9
    ends 9 lose check
    options=exitcode=0
    ends 0 lose check print
    [ "$(cat "$work/said")" = printed ]
    [ "$(grep -c '^site ' "$work/err")" -eq 1 ]
    options=report_at_exit=none
    ends_silently 0 lose
    ends 23 lose check
}

# With another report at the end, that one.
checks_live() {
    options=report_at_exit=live
    ends 0 lose hide ignore check lose
    [ "$(grep -c '^site .* 1 block, 1,337 bytes' "$work/err")" -eq 1 ]
    [ "$(grep -c '^site .* 1 block, 2,001 bytes' "$work/err")" -eq 1 ]
    options=report_at_exit=live:exitcode=9
    ends 9 handler lose check
    [ ! -s "$work/said" ]
}

stale() {
    options=
    ends 23 stale look
    [ "$(cat "$work/said")" = 1 ]
    options=report_at_exit=none
    ends 23 stale check
}

# Who ends the program meanwhile waits for what the others find.
together() {
    options=
    for _ in 1 2 3; do
        ends 23 lose together
        [ "$(grep -c '^site ' "$work/err")" -eq 1 ]
    done
    ends_silently 0 together
}

# A handler that ends the program in the midst of a report does not wait for it.
interrupted() {
    for word in look check; do
        [ "$way" = preloaded ] && preload=$so || preload=
        {
            got=0
            timeout 60 env ${preload:+LD_PRELOAD="$preload"} "$work/app" lose interrupt $word >/dev/null || got=$?
            echo $got >"$work/status"
        } 2>&1 | { sleep 3 && cat >/dev/null; }
        [ "$(cat "$work/status")" -eq 5 ]
    done
}

forked() {
    options=
    ends 23 lose forked check
    ends 23 forked lose check
    ends_silently 0 check forked lose
    options=children=ignore
    ends_silently 0 lose forked check look
    [ "$(cat "$work/said")" = 0 ]
}

is_off() {
    build "$1" "$2" -DOFF=1
    options=
    ends_silently 0 lose
    ends_silently 0 lose look check
    [ "$(cat "$work/said")" = 0 ]
    options=report_at_exit=live
    ends 0 lose
    grep -q '^site .* 1 block, 1,337 bytes' "$work/err"
    options=verbosity=1
    ends 0 lose
    grep -q '^leakdetect: __lsan_is_turned_off says that no leak is to be looked for$' "$work/err"
    # It should be a constant, but need not be one.
    build "$1" "$2" -DOFF=is_off
    options=
    ends 23 lose
    ends_silently 0 lose off
    ends 0 lose look off look
    [ "$(cat "$work/said")" = "$(printf '1\n0')" ]
}

# They are LeakSanitizer's, and not known here.
their_options() {
    build "$1" "$2" '-DOPTIONS="exitcode=9:detect_leaks=0"'
    options=
    ends_silently 0
    ends 23 lose
    ! grep '^leakdetect: ' "$work/err" || return 1
    options=verbosity=1
    ends 23 lose
    grep -q '^leakdetect: what __lsan_default_options says does not count; ld_default_options does$' "$work/err"
}

has_header() { # COMPILER
    echo '#include <sanitizer/lsan_interface.h>' | $1 -x c++ -fsyntax-only - 2>/dev/null
}

names() { # COMPILER WAY FLAGS...
    compiler=$1 way=$2
    shift 2
    if ! build "$compiler" "$way" "$@"; then
        echo "not ok - $compiler, $way $*: a program with LeakSanitizer's names can be built"
        failed=1
        return
    fi
    say="$compiler, $way${*:+ $*}"
    check "$say: blocks that are not lost because the program says so" spared
    check "$say: __lsan_do_recoverable_leak_check" looks
    check "$say: __lsan_do_leak_check" checks
    check "$say: __lsan_do_leak_check with report_at_exit=live" checks_live
    check "$say: what calls have left on the stack does not count" stale
    check "$say: several threads check, and the program ends" together
    check "$say: checks in a child" forked
    [ "$compiler$*" != gcc ] || check "$say: a handler ends the program in the midst of a report" interrupted
}

for compiler in $compilers; do
    for way in preloaded linked static; do
        check "$compiler, $way: ld_default_suppressions" ours $compiler $way
        check "$compiler, $way: ld_default_suppressions and a file" with_a_file $compiler $way
        check "$compiler, $way: a line of ld_default_suppressions that is none" bad_lines $compiler $way
        check "$compiler, $way: __lsan_default_suppressions" theirs $compiler $way
        check "$compiler, $way: __lsan_is_turned_off" is_off $compiler $way
        check "$compiler, $way: __lsan_default_options" their_options $compiler $way
        names $compiler $way
    done
    case $compiler in
    gcc | clang)
        names $compiler linked -O2
        names $compiler preloaded -O2 -no-pie
        ;;
    esac
    if has_header $compiler; then
        names $compiler linked -DHEADER
    else
        skip "annotated_by_header_$compiler" "there is no sanitizer/lsan_interface.h"
    fi
done

# --- Beside the real one ----------------------------------------------------------------------------------

# Which of the two is the program's malloc is the compiler's choice; its names must be of the same, or one of them would not
# know what is hidden.
beside() { # COMPILER
    "$1" -g -fsanitize=leak test/whole/annotated.c -o "$work/app" -L"$lib" -lleakdetect_malloc
    way=linked
    options=
    ends 23 hide lose
    # Either's report.
    [ "$(grep -c -e '^site .* 1,337 bytes' -e 'leak of 1337 byte' "$work/err")" -eq 1 ]
    ! grep -e '2,001 bytes' -e '2001 byte' "$work/err" || return 1
    ends 0 hide
}

for compiler in gcc clang; do
    has $compiler || continue
    # It needs ptrace, which is not everywhere.
    if $compiler -fsanitize=leak test/whole/annotated.c -o "$work/app" 2>/dev/null && "$work/app" look >/dev/null 2>&1; then
        check "$compiler: beside LeakSanitizer" beside $compiler
    else
        skip "beside_leaksanitizer_$compiler" 'it does not work here'
    fi
done

exit $failed
