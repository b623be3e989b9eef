#!/bin/sh
# Small and unusual builds: sizes that are what config.h says, nonsense that is refused, another store, and the
# sources straight in another build.
. test/check.sh

# What is to be measured does not depend on flags.
small='LD_MAX_BLOCKS=256 LD_MAX_FRAMES=6 LD_MAX_STACKS=128 LD_MAX_MODULES=16'
build() { # NAME SETTING...
    folder=$work/$1
    shift
    run_make -s -j2 BUILD="$folder" CFLAGS='-O1' "$@"
}

# Static memory, in bytes, of the build NAME: what can be written.  Constants that have addresses in them, which `size`
# counts as data, are tables of names and patterns, and depend on no macro.
static_bytes() {
    size -A "$work/$1/libleakdetect.o" | awk '$1 ~ /^[.](data|t?bss|tdata)/ && $1 !~ /^[.]data[.]rel[.]ro/ { all += $2 } END { print all }'
}

# What an item costs, as config.h says.
documented() { # MACRO
    awk -v macro="$1" '/Costs [0-9.]+ bytes of [.]bss each/ { cost = $3 } $0 == "#ifndef " macro { print cost }' config.h
}

builds_and_prints_size() {
    # shellcheck disable=SC2086
    build small $small >"$work/first"
    cat "$work/first"
    grep -q '^ *text.*bss' "$work/first"
    grep -q 'libleakdetect.o$' "$work/first"
}
check "make $small prints the size" builds_and_prints_size

rebuilds_only_what_changed() {
    # shellcheck disable=SC2086
    build small $small >"$work/again"
    test ! -s "$work/again"
    before=$(static_bytes small)
    # shellcheck disable=SC2086
    build small $small LD_MAX_BLOCKS=512
    test "$(static_bytes small)" -gt "$before"
    # shellcheck disable=SC2086
    build small $small
    test "$(static_bytes small)" -eq "$before"
}
check 'another value rebuilds, the same one does not' rebuilds_only_what_changed

# Twice the build, once with COUNT more items: what each of them costs, to a hundredth.
costs_what_is_documented() { # MACRO COUNT
    cost=$(documented "$1")
    # shellcheck disable=SC2086
    build "more_$1" $small "$1=$2"
    less=$(static_bytes small) more=$(static_bytes "more_$1")
    echo "$1: $cost bytes each, says config.h; $less bytes with few, $more with $2"
    [ -n "$cost" ]
    awk -v less="$less" -v more="$more" -v count="$2" -v cost="$cost" \
        'BEGIN { each = (more - less) / count; print each; exit !(each < cost * 1.01 && each > cost * 0.97) }'
}
check 'a block costs what config.h says' costs_what_is_documented LD_MAX_BLOCKS 100000
check 'a call-path node costs what config.h says' costs_what_is_documented LD_MAX_STACKS 100000
check 'a module costs what config.h says' costs_what_is_documented LD_MAX_MODULES 10000
rm -rf "$work"/more_*

small_is_small() {
    awk -v all="$(static_bytes small)" -v block="$(documented LD_MAX_BLOCKS)" -v node="$(documented LD_MAX_STACKS)" \
        -v module="$(documented LD_MAX_MODULES)" 'BEGIN {
            rest = all - 256 * block - 128 * node - 16 * module
            print all " bytes, of which " rest " are in no table"
            exit !(rest >= 0 && rest <= 2560)
        }'
}
check 'a small library takes its tables and at most 2.5 KiB more' small_is_small

small_works() {
    gcc -O1 -I. test/link/small.c -L"$work/small" -lleakdetect -o "$work/run"
    "$work/run" | tee "$work/says"
    read -r own blocks stacks <"$work/says"
    [ "$blocks $stacks" = '256 128' ]
    # What it says that it uses is what the linker sees, but for what the heap and the loader need apart.
    static=$(static_bytes small)
    echo "$own of $static"
    [ "$own" -le "$static" ]
    [ "$own" -ge $((static - 1024)) ]
}
check 'a small library works, and ld_init returns the size of its tables' small_works

# With the flags that make has by itself, and its -Werror.
smallest_works() {
    run_make -s -j2 BUILD="$work/smallest" LD_MAX_BLOCKS=16 LD_MAX_FRAMES=1 LD_MAX_STACKS=64 LD_MAX_MODULES=4
    gcc -O1 -I. test/link/small.c -L"$work/smallest" -lleakdetect -o "$work/run"
    "$work/run"
}
check 'the smallest sizes work' smallest_works

largest_links() {
    run_make -s -j2 BUILD="$work/largest" LD_MAX_BLOCKS="$1" LD_MAX_FRAMES=1024 LD_MAX_STACKS=16777214 LD_MAX_MODULES=65535
    echo '#include <leakdetect.h>
int main(void) { return ld_init() == 0; }' >"$work/largest.c"
    gcc -I. "$work/largest.c" -L"$work/largest" -lleakdetect -o "$work/run"
    "$work/run"
}
check 'the largest sizes link and start' largest_links \
    "$(sed -n 's/^#if LD_MAX_BLOCKS < .* LD_MAX_BLOCKS > \([0-9]*\)$/\1/p' config.h)"

refused() { # MACRO VALUE
    ! gcc -std=c11 -fsyntax-only -x c -D"$1=$2" config.h 2>"$work/refusal" || exit 1
    cat "$work/refusal"
    grep -q "#error \"$1 .*choose [0-9]* to [0-9]*" "$work/refusal"
}
for value in 0 15 -1 1073741825 99999999999 many; do
    check "LD_MAX_BLOCKS=$value is an #error with a sentence" refused LD_MAX_BLOCKS "$value"
done
for value in 0 -1 1025 many; do
    check "LD_MAX_FRAMES=$value is an #error with a sentence" refused LD_MAX_FRAMES "$value"
done
for value in 0 63 -1 16777216 many; do
    check "LD_MAX_STACKS=$value is an #error with a sentence" refused LD_MAX_STACKS "$value"
done
for value in 0 3 -1 65536 many; do
    check "LD_MAX_MODULES=$value is an #error with a sentence" refused LD_MAX_MODULES "$value"
done

too_few_stacks() {
    ! gcc -fsyntax-only -x c -DLD_MAX_STACKS=100 -DLD_MAX_FRAMES=101 config.h 2>"$work/refusal" || exit 1
    grep -q '#error "LD_MAX_STACKS must be' "$work/refusal"
}
check 'fewer call-path nodes than frames is an #error with a sentence' too_few_stacks

make_refuses() {
    ! build nonsense LD_MAX_BLOCKS=1 2>"$work/refusal" || exit 1
    grep -q 'error.*choose' "$work/refusal"
}
check 'make LD_MAX_BLOCKS=1 fails and says why' make_refuses

all_are_set() {
    names=$(sed -n 's/^#define \(LD_[^ ]*\) .*/\1/p' config.h | grep -v '^LD_OVERRIDE$' | sort -u)
    # shellcheck disable=SC2046 # words
    run_make BUILD="$work/settings" -n $(printf '%s=7 ' $names) | grep -- '-c -o' | head -n 1 >"$work/commands"
    for name in $names; do
        grep -q -- " -D$name=7 " "$work/commands" || { echo "$name is not handed on" && return 1; }
    done
}
check 'make hands on whatever config.h has' all_are_set

environment_is_ignored() {
    LD_MAX_MODULES=unused run_make BUILD="$work/environment" -n | grep -- '-c -o' >"$work/commands"
    [ -s "$work/commands" ]
    ! grep LD_MAX_MODULES "$work/commands" || exit 1
}
check 'what the environment has is not ours' environment_is_ignored

another_store() {
    build linear BLOCKMAP=test/linear_blockmap.c LD_MAX_BLOCKS=500
    gcc -g -I. test/link/app.c -L"$work/linear" -lleakdetect -o "$work/run"
    "$work/run"
    gcc -g -I. test/link/small.c -L"$work/linear" -lleakdetect -o "$work/run"
    "$work/run"
}
check 'make BLOCKMAP=test/linear_blockmap.c' another_store

store_from_elsewhere() {
    cp test/linear_blockmap.c "$work/mine.c"
    build elsewhere BLOCKMAP="$work/mine.c" LD_MAX_BLOCKS=500
    gcc -g -I. test/link/app.c -L"$work/elsewhere" -lleakdetect -o "$work/run"
    "$work/run"
}
check 'make BLOCKMAP=, in another folder' store_from_elsewhere

# As somebody would who puts our files among his own: no Makefile of ours.
straight() { # PROGRAM COMPILER FLAGS...
    program=$1
    compiler=$2
    shift 2
    rm -rf "$work/straight"
    mkdir "$work/straight"
    cp ./*.c ./*.h ./*.def "test/link/$program" "$work/straight"
    (
        cd "$work/straight"
        "$compiler" -g -std=c11 -Wall -Wextra -Wpedantic -Werror -DLD_MAX_BLOCKS=300 -DLD_MAX_FRAMES=20 -DLD_MAX_STACKS=500 \
            "$@" -I. ./*.c -o app -lbacktrace -liberty -ljemalloc -lgcc_s -lunwind -lm
        ./app
    )
}
check 'gcc: the sources straight in another build' straight app.c gcc
check 'gcc -O2: the sources straight in another build' straight app.c gcc -O2
check 'gcc -O3 -flto: the sources straight in another build' straight app.c gcc -O3 -flto
check 'gcc -std=gnu17 -fPIC: the sources straight in another build' straight app.c gcc -std=gnu17 -fPIC
check 'a program that uses libbacktrace, too' straight shares_backtrace.c gcc
if has clang; then
    check 'clang: the sources straight in another build' straight app.c clang
    check 'clang -O2: the sources straight in another build' straight app.c clang -O2
else
    skip 'clang: the sources straight in another build' 'no clang'
fi

# views.c has a copy of what it uses of gcc's header: it does not compile if they differ.
check "what is used of libbacktrace is as gcc's header has it" gcc -std=c11 -D_GNU_SOURCE=1 -Wall -Wextra -Werror \
    -include backtrace.h -fsyntax-only views.c

exit $failed
