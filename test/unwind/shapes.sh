#!/bin/sh
# The shapes (shapes.h), in each way of compiling them, under the checking build; and in one way under other builds of
# the library.
. test/check.sh

export SHAPES_SCALE="${SHAPES_SCALE:-10}"

# Lines of its own, with the way in them.
run() { # WAY PROGRAM [SHAPE...]
    way=$1
    shift
    "$@" >"$work/lines" || failed=1
    sed "s/^\(not \)\{0,1\}ok - /&$way: /" "$work/lines"
}

for compiler in gcc clang; do
    if ! has $compiler; then
        skip "shapes by $compiler" "there is no $compiler"
        continue
    fi
    for level in 0 1 2 3; do
        for frames in omit keep; do
            way=$compiler-O$level-$frames
            check "$way is built" sh test/unwind/build.sh $compiler $level $frames "$BUILD/unwind/$way"
            run "$way" "$BUILD/unwind/$way/shapes"
        done
    done
done

# The library built otherwise.  The check itself needs more stack than the smallest threads have if it compares many frames.
all=$(sed -n 's/^ *X(\([a-z_]*\)).*/\1/p' test/unwind/shapes.h)
for setting in LD_MAX_FRAMES=6 LD_MAX_FRAMES=1024 CFLAGS=-Os CC=clang; do
    library=$BUILD/unwind/$setting
    check "the library with $setting is built" run_make -s -j2 FLAVOUR=unwind BUILD="$library" "$setting" "$library/libleakdetect.a" \
        "$library/libleakdetect_core.a" "$library/libleakdetect_unwind.so"
    BUILD=$library check "shapes with $setting are built" sh test/unwind/build.sh gcc 2 keep "$library/shapes"
    # shellcheck disable=SC2046 # names
    run "$setting" "$library/shapes/shapes" $(echo "$all" | if [ "$setting" = LD_MAX_FRAMES=1024 ]; then grep -v smallest_threads; else cat; fi)
done

exit $failed
