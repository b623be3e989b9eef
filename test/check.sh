# What the checks in sh share: TAP lines, as cmocka prints them, and a folder of their own.  Sourced.
# shellcheck shell=sh disable=SC2034 # $failed is for who sources this
set -eu

: "${MAKE:=make}" "${BUILD:=build/default}" "${INSIDE:=$(gcc -print-file-name=libbacktrace.a) -liberty}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
failed=0

# The make that runs the tests, on what it has built.
same_make() {
    "$MAKE" --no-print-directory BUILD="$BUILD" "$@"
}

# A make of one's own, that has nothing of the flags and settings of the one that runs the tests.
run_make() {
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u CC -u CXX -u CFLAGS -u CXXFLAGS -u CPPFLAGS -u LDFLAGS -u FLAGS \
        "$MAKE" --no-print-directory "$@"
}

# check NAME COMMAND... : ok if the command succeeds; its output is shown if it does not.  In the background, because that
# is where `set -e` counts: a function fails at the first of its commands that fails.
check() {
    name=$1
    shift
    status=0
    (
        set -e
        "$@"
    ) >"$work/log" 2>&1 &
    wait $! || status=$?
    if [ $status -eq 0 ]; then
        echo "ok - $name"
    else
        echo "not ok - $name"
        tail -n 40 "$work/log" | sed 's/^/#   /'
        failed=1
    fi
}

skip() { # NAME WHY
    echo "ok - $1 # SKIP $1: $2"
}

has() {
    command -v "$1" >/dev/null
}
