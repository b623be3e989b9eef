#!/bin/sh
# Runs `make check` in each flavour, `make check-unwind`, `make check-programs` and `make lint`, whatever fails on the way.
# The last line sums up all of it.
#
#     test/check_all.sh FLAVOUR...                               (called by the Makefile)
set -eu

: "${MAKE:=make}"
passed=0 failed=0 skipped=0
count() { # WHAT RESULT WORD... : makes WORD..., whose numbers are in RESULT
    what=$1 result=$2
    shift 2
    echo "=== $what"
    rm -f "$result"
    $MAKE --no-print-directory "$@" || true
    # No numbers: it did not even build.
    read -r p f s names 2>/dev/null <"$result" || { p=0 f=1 s=0 names='did not build'; }
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    [ "$f" -eq 0 ] || broken="${broken:-} $what ($names)"
}

# While one flavour is tested, the next one is built: most tests use one processor.
builder=
build() { # FLAVOUR
    mkdir -p build
    nice $MAKE --no-print-directory FLAVOUR="$1" all test-programs examples >"build/$1.log" 2>&1 &
    builder=$!
}

while [ $# -gt 0 ]; do
    flavour=$1
    shift
    [ -z "$builder" ] || wait "$builder" || true
    [ $# -eq 0 ] || build "$1"
    count "$flavour" "build/$flavour/result" check FLAVOUR="$flavour"
done
count unwind build/unwind/result check-unwind
count programs build/default/result check-programs

echo "=== lint"
if $MAKE --no-print-directory lint; then
    passed=$((passed + 1))
else
    failed=$((failed + 1)) broken="${broken:-} lint"
fi

echo "==="
[ -z "${broken:-}" ] || echo "failed:$broken"
[ "$skipped" -eq 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
