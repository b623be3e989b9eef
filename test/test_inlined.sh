#!/bin/sh
# Functions that the compiler has inlined, from a program's debug information into the report: as frames, for `skip` and
# for suppressions.
. test/check.sh

lib=$PWD/$BUILD
preload=$lib/lib/leakdetect/libleakdetect_malloc.so

# The names of the site of 15 bytes, a line each, without what stands before them.
names() { # OPTIONS PROGRAM...
    options=$1
    shift
    rm -f "$work/report"
    LEAKDETECT_OPTIONS=report_at_exit=live:log_path=$work/report:$options "$@"
    cat "$work/report"
    awk '/^site / { is_it = $3 == 3 && $(NF - 1) == 15 }
         is_it && /^ +(#[0-9]+ +0x[0-9a-f]+|inlined into) / {
             sub(/^ +(#[0-9]+ +0x[0-9a-f]+|inlined into) +/, ""); sub(/ .*/, ""); print }' "$work/report" >"$work/names"
    echo "--- names:"
    cat "$work/names"
}

begin_with() { # NAME...
    for name; do echo "$name"; done >"$work/expected"
    head -n $# "$work/names" | diff "$work/expected" -
}

shows_them() { # PROGRAM...
    names skip=no_such_function "$@"
    begin_with copy_word add_word read_text main
    names skip=^add_word:frames=9 "$@"
    begin_with copy_word add_word read_text main
    names 'skip=^copy_word$,^add_word$' "$@"
    begin_with read_text main
    names skip=no_such_function "$@" give it back
    [ ! -s "$work/names" ]
}

suppresses_them() { # PROGRAM...
    echo 'leak:^copy_word$' >"$work/rules"
    names suppressions="$work/rules" "$@"
    [ ! -s "$work/names" ]
    grep -q '3 blocks, 15 bytes: leak:^copy_word\$' "$work/report"
    echo 'leak:^paste_word$' >"$work/rules"
    names suppressions="$work/rules" "$@"
    begin_with copy_word add_word read_text main
}

for compiler in gcc clang; do
    has $compiler || continue
    for level in -O0 -O2 '-O2 -flto'; do
        # clang needs a linker that knows its code.
        [ "$compiler $level" != 'clang -O2 -flto' ] || level="$level -fuse-ld=lld"
        # shellcheck disable=SC2086 # flags
        $compiler -g $level test/whole/inlined.c -o "$work/inlined"
        check "$compiler $level: inlined functions are shown" shows_them env LD_PRELOAD="$preload" "$work/inlined"
        check "$compiler $level: inlined functions are suppressed" suppresses_them env LD_PRELOAD="$preload" "$work/inlined"
        # shellcheck disable=SC2086
        $compiler -g1 $level test/whole/inlined.c -o "$work/linked" -L"$lib" -lleakdetect_malloc
        check "$compiler $level, linked: inlined functions are suppressed" suppresses_them "$work/linked"
    done
    $compiler -O2 test/whole/inlined.c -o "$work/bare"
    only_the_code() {
        names skip=no_such_function env LD_PRELOAD="$preload" "$work/bare"
        begin_with read_text main
    }
    check "$compiler without debug information: the function that has the code is shown" only_the_code
done

exit $failed
