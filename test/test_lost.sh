#!/bin/sh
# Lost blocks in every way that the library can be used in: test/lost/scenarios.c, built by gcc and by clang, with and
# without optimisation, dynamic and static, linked with the library and with it as malloc of the whole program, as archive
# and as the shared library that is preloaded.
set -eu

out=$BUILD/lost
mkdir -p "$out"
out=$(cd "$out" && pwd)
folder=$(cd "$BUILD/lib/leakdetect" && pwd)
failed=0

fail() {
    echo "FAILED: $*" >&2
    failed=1
}

# build NAME FLAGS...
build() {
    name=$1
    shift
    # shellcheck disable=SC2086
    $compiler -std=gnu11 -g -I. -o "$out/$name" test/lost/scenarios.c "$@" -lpthread ||
        { fail "$name does not build"; return 1; }
}

run() {
    if ! "$out/$1" >"$out/$1.log" 2>&1; then
        fail "$1"
        grep -v "^ok " "$out/$1.log" | head -n 10 >&2 || true
    fi
}

cc -shared -fPIC -o "$out/plugin.so" test/lost/plugin.c
plugin="-DPLUGIN=\"$out/plugin.so\""
export LEAKDETECT_OPTIONS=report_at_exit=none

for compiler in gcc clang; do
    for level in -O0 -O2; do
        build "$compiler$level" $level "$plugin" -L"$BUILD" -lleakdetect && run "$compiler$level"
        build "$compiler$level-whole" $level "$plugin" -DWHOLE -L"$BUILD" -lleakdetect_malloc && run "$compiler$level-whole"
        build "$compiler$level-shared" $level "$plugin" -DWHOLE "$folder/libleakdetect_malloc.so" -Wl,-rpath,"$folder" &&
            run "$compiler$level-shared"
        build "$compiler$level-static" $level -static -L"$BUILD" -lleakdetect && run "$compiler$level-static"
        build "$compiler$level-whole-static" $level -DWHOLE -static -L"$BUILD" -lleakdetect_malloc &&
            run "$compiler$level-whole-static"
    done
done

exit $failed
