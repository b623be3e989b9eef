#!/bin/sh
# Lost blocks in every way that the library can be used in: test/lost/scenarios.c, built by gcc and by clang, with and
# without optimisation, dynamic and static, linked with the library and with it as malloc of the whole program, as archive
# and as the shared library that is preloaded.
. test/check.sh

library=$(cd "$BUILD" && pwd)
shared=$library/lib/leakdetect/libleakdetect_malloc.so
export LEAKDETECT_OPTIONS=report_at_exit=none

# What is called lost must be lost, always.  The other way round an address may have been left where nobody can clear it, in
# a frame or a register, so that a lost block is missed now and then: such a scenario is played again, alone.
missed_now_and_then() { # OUTPUT: the scenarios in question; fails if there is any other fault
    ! grep '^FAILED' "$1" | grep -v -e 'is reachable, and should be' -e 'a long list is lost' || return 1
    sed -n 's/^FAILED \([a-z_]*\):.*/\1/p' "$1" | sort -u
}

scenarios() { # COMPILER FLAGS...
    # shellcheck disable=SC2086 # words
    "$@" -std=gnu11 -g -I. -o "$work/scenarios" test/lost/scenarios.c $last -lpthread
    "$work/scenarios" >"$work/output" 2>&1 && return
    again=$(missed_now_and_then "$work/output")
    [ -n "$again" ]
    for scenario in $again; do
        tries=0
        until "$work/scenarios" "$scenario" >"$work/output" 2>&1; do
            cat "$work/output"
            missed_now_and_then "$work/output" >/dev/null
            [ $((tries += 1)) -lt 5 ]
        done
    done
}

# Exactly what was dropped, of each size class.  An address that was left in a register or a frame of the C library's is bad
# luck with one seed, not with three.
seed=${LEAKDETECT_TEST_SEED:-$(date +%s)}
classes() { # COMPILER FLAGS...
    # shellcheck disable=SC2086 # words
    "$@" -std=gnu11 -g -I. -o "$work/classes" test/lost/classes.c $last -lpthread
    for i in 0 1 2; do
        "$work/classes" $((seed + i)) >"$work/output" 2>&1 && return
        cat "$work/output"
        ! grep -v -e 'are lost, and were missed' -e '^seed' -e 'were dropped' "$work/output" || return 1
    done
    return 1
}

cc -shared -fPIC -o "$work/plugin.so" test/lost/plugin.c
plugin="-DPLUGIN=\"$work/plugin.so\""
for compiler in gcc clang; do
    if ! has $compiler; then
        skip "lost_blocks_with_$compiler" "there is no $compiler"
        continue
    fi
    for level in -O0 -O2; do
        last="-L$library -lleakdetect"
        check "$compiler $level, linked" scenarios $compiler $level "$plugin"
        check "$compiler $level, static" scenarios $compiler $level -static
        last="-L$library -lleakdetect_malloc"
        check "$compiler $level, as malloc" scenarios $compiler $level "$plugin" -DWHOLE
        check "$compiler $level, as malloc, static" scenarios $compiler $level -static -DWHOLE
        last="$shared -Wl,-rpath,$library/lib/leakdetect"
        check "$compiler $level, as malloc, shared" scenarios $compiler $level "$plugin" -DWHOLE
        check "$compiler $level, all size classes, shared" classes $compiler $level
        last="-L$library -lleakdetect_malloc"
        check "$compiler $level, all size classes" classes $compiler $level
        check "$compiler $level, all size classes, static" classes $compiler $level -static
    done
done
exit $failed
