#!/bin/sh
# The shapes (shapes.h), in each way of compiling them, under the checking build; and in one way under builds that keep
# fewer and more frames.
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

# The check itself needs more stack than the smallest threads have if it compares as many frames.
for depth in 6 1024; do
    library=$BUILD/unwind/frames$depth
    check "LD_MAX_FRAMES=$depth is built" run_make -s -j2 FLAVOUR=unwind BUILD="$library" LD_MAX_FRAMES=$depth
    BUILD=$library check "shapes with LD_MAX_FRAMES=$depth are built" \
        sh test/unwind/build.sh gcc 2 omit "$library/shapes"
    # shellcheck disable=SC2046 # names
    run "LD_MAX_FRAMES=$depth" "$library/shapes/shapes" \
        $(sed -n 's/^ *X(\([a-z_]*\)).*/\1/p' test/unwind/shapes.h | grep -v smallest_threads)
done

exit $failed
