#!/bin/sh
# What holds a block when a program ends: whatever its functions have that have not returned when exit is called, and nothing
# that calls before that have left on the stack.  test/lost/exits.c, built by gcc and by clang, with and without optimisation,
# with the library preloaded, linked, and static.
# shellcheck disable=SC2154 # what test/check.sh sets
. test/check.sh

lib=$PWD/$BUILD
so=$lib/lib/leakdetect/libleakdetect_malloc.so
source=test/lost/exits.c

stale='nowhere returns calls handlers other_handler thread child signal_handler signal_stack'
held=$(sed -n '/{"local",/,$ s/^    {"\([a-z0-9_]*\)", .*},$/\1/p' $source)

build() { # COMPILER FLAGS...
    # Nothing but exit is to run in the place of what is stale, the loader neither.
    "$@" -std=gnu11 -g -pthread $source -o "$work/plain" -Wl,-z,now
    "$@" -std=gnu11 -g -pthread $source -o "$work/linked" -Wl,-z,now -L"$lib" -lleakdetect_malloc
}

# ends STATUS WAY WORD
ends() {
    got=0
    case $2 in
    preloaded) timeout 60 env LD_PRELOAD="$so" LEAKDETECT_OPTIONS="${options:-}" "$work/plain" "$3" 2>"$work/err" || got=$? ;;
    *) timeout 60 env LEAKDETECT_OPTIONS="${options:-}" "$work/$2" "$3" 2>"$work/err" || got=$? ;;
    esac
    [ "$got" -eq "$1" ] || { echo "$3: exit status $got, not $1" && cat "$work/err" && return 1; }
}

is_lost() { # WAY WORD...
    way=$1
    shift
    for word in "$@"; do
        ends 23 "$way" "$word"
        grep -q '^site 1: definitely lost: 1 block, 1,337 bytes' "$work/err"
        [ "$(grep -c '^site ' "$work/err")" -eq 1 ]
    done
}

is_silent() { # WAY WORD...
    way=$1
    shift
    for word in "$@"; do
        ends 0 "$way" "$word"
        [ ! -s "$work/err" ] || { cat "$work/err" && return 1; }
    done
}

# What the stack holds is not for strict_stack=1; what is stale is not even marked.
is_strict() { # WAY
    options=strict_stack=1
    for word in local outer_local r12 handler_local first_local; do
        ends 23 "$1" $word
        grep -q '^site 1: definitely lost but for what looks dead: 1 block, 1,337 bytes' "$work/err"
    done
    is_lost "$1" calls returns
}

has_no_registers() { # WAY
    options=use_registers=0
    is_lost "$1" r12
    is_silent "$1" local handler_local
}

[ "$(echo "$held" | wc -l)" -gt 20 ] || { echo "not ok - $source has no words" && exit 1; }
for compiler in gcc clang; do
    if ! has $compiler; then
        skip "lost_at_exit_with_$compiler" "there is no $compiler"
        continue
    fi
    for level in -O0 -O2; do
        what="$compiler $level"
        build $compiler $level
        $compiler $level -std=gnu11 -g -pthread -static $source -o "$work/static" -L"$lib" -lleakdetect_malloc
        for way in preloaded linked static; do
            # shellcheck disable=SC2086 # words
            check "$what, $way: what is stale holds nothing" is_lost $way $stale
            # shellcheck disable=SC2086
            check "$what, $way: what functions have that have not returned holds" is_silent $way $held
            check "$what, $way: strict_stack=1" is_strict $way
            check "$what, $way: use_registers=0" has_no_registers $way
        done
        # Of a program that was preloaded the destructors come first, so that a call of exit in one leaves out the library's.
        check "$what, linked: a destructor ends" is_lost linked destructor
        check "$what, static: a destructor ends" is_lost static destructor
        # In a static program what libunwind knows of the code is in a file, which it cannot find once the first thread has gone.
        check "$what, preloaded: the last thread ends" is_lost preloaded last_thread
        check "$what, linked: the last thread ends" is_lost linked last_thread

        build $compiler $level -no-pie
        for way in preloaded linked; do
            # shellcheck disable=SC2086
            check "$what -no-pie, $way: what is stale holds nothing" is_lost $way $stale last_thread
            # shellcheck disable=SC2086
            check "$what -no-pie, $way: what functions have that have not returned holds" is_silent $way $held
        done

        # Who has called exit is not found out then, and what is lost may be missed.
        for flags in '-DOWN_EXIT' '-DTAKES_EXIT -fno-pie -no-pie'; do
            # shellcheck disable=SC2086
            build $compiler $level $flags
            for way in preloaded linked; do
                # shellcheck disable=SC2086
                check "$what $flags, $way: nothing is lost" is_silent $way $held
            done
        done
    done
done

exit $failed
