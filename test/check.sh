# What the checks in sh share: TAP lines, as cmocka prints them, and a folder of their own.  Sourced.
# shellcheck shell=sh
set -eu

: "${MAKE:=make}" "${BUILD:=build/default}" "${BACKTRACE:=$(gcc -print-file-name=libbacktrace.a)}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
failed=0

# A make of one's own, that has nothing of the flags and settings of the one that runs the tests.
run_make() {
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u CC -u CXX -u CFLAGS -u CXXFLAGS -u CPPFLAGS -u LDFLAGS -u FLAGS \
        "$MAKE" --no-print-directory "$@"
}

# check NAME COMMAND... : ok if the command succeeds; its output is shown if it does not.
check() {
    name=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        echo "ok - $name"
    else
        echo "not ok - $name"
        sed 's/^/#   /' "$work/log" | head -n 40
        failed=1
    fi
}

skip() { # NAME WHY
    echo "ok - $1 # SKIP $1: $2"
}

has() {
    command -v "$1" >/dev/null
}
