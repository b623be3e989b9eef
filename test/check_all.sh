#!/bin/sh
# Runs `make check` in each flavour, `make check-unwind`, `make check-programs` and `make lint`, whatever fails on the way.
# As many of them at a time as there are processors, up to four, for most tests use one.  What each of them prints comes when it has
# ended, and is in build/check/*.log; the last line sums up all of it.
#
#     test/check_all.sh FLAVOUR...                               (called by the Makefile)
set -eu

: "${MAKE:=make}"
state=build/check
rm -rf "$state"
mkdir -p "$state"

# Real programs run with the library that the default flavour has built, so that those two are one after the other.
all=
for flavour; do
    [ "$flavour" != default ] || flavour=default+programs
    all="$all $flavour"
done
all="$all unwind lint"

# Leaves numbers and names of what failed in $state/WHAT.result, as test/run.sh does.
run() { # WHAT
    goal=check result=build/$1/result
    case $1 in
    unwind | programs) goal=check-$1 ;;
    lint)
        numbers='0 1 0 lint'
        ! $MAKE --no-print-directory lint || numbers='1 0 0'
        echo "$numbers" >"$state/lint.result"
        return
        ;;
    *) goal="check FLAVOUR=$1" ;;
    esac
    rm -f "$result"
    # shellcheck disable=SC2086 # words
    $MAKE --no-print-directory $goal || true
    # No numbers: it did not even build.
    cp "$result" "$state/$1.result" 2>/dev/null || echo '0 1 0 did not build' >"$state/$1.result"
}

lane() {
    for each in $all; do
        mkdir "$state/$each.taken" 2>/dev/null || continue
        for what in $(echo "$each" | tr + ' '); do
            began=$(date +%s)
            run "$what" >"$state/$what.log" 2>&1
            (
                flock 9
                echo "=== $what ($(($(date +%s) - began)) s)"
                cat "$state/$what.log"
            ) 9>"$state/lock"
        done
    done
}

# What runs in the background does not end by an interrupt from the keyboard.
trap 'trap - TERM; kill 0' INT
lanes=$(nproc)
[ "$lanes" -le 4 ] || lanes=4
while [ $((lanes -= 1)) -ge 0 ]; do
    lane &
done
wait

passed=0 failed=0 skipped=0 broken=
for what in $(echo "$all" | tr + ' '); do
    read -r p f s names <"$state/$what.result"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    [ "$f" -eq 0 ] || broken="$broken $what ($names)"
done
echo "==="
[ -z "$broken" ] || echo "failed:$broken"
[ "$skipped" -eq 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
