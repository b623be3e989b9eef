#!/bin/sh
# Every name of the malloc family is this library's, in a program that knows nothing of it: linked with the archive in
# each way that a program can be linked, and preloaded.  What is left is in the report at exit with its size and the
# function that left it; what was freed is not.
. test/check.sh

lib=$PWD/$BUILD
preload=$lib/lib/leakdetect/libleakdetect_malloc.so

# "SIZE FUNCTION" for each site of a report: the innermost function with a name that begins with left_ or freed_.
sites() { # REPORT
    awk '
        /^site [0-9]+: /  { size = $(NF - 1); gsub(",", "", size); blocks = $3; found = 0 }
        /^    ?#[0-9]+ |^        inlined into / && !found && match($0, /(left|freed)_by_[a-z_]*/) {
            found = 1
            print size / blocks, substr($0, RSTART, RLENGTH)
        }' "$1" | sort
}

# What the program prints is what it leaves.
leaves_what_it_says() { # COMMAND...
    rm -f "$work/report"
    LEAKDETECT_OPTIONS="report_at_exit=live:log_path=$work/report" timeout 60 "$@" >"$work/said"
    sort "$work/said" >"$work/want"
    sites "$work/report" >"$work/have"
    cat "$work/report"
    [ -s "$work/want" ]
    diff "$work/want" "$work/have"
}

flags() { # SOURCE
    echo -g -Wall -Wextra -Werror
    case $1 in *.cc) echo -std=c++17 -fsized-deallocation ;; esac
}

linked() { # SOURCE COMPILER ARGUMENT...
    source=$1 compiler=$2
    shift 2
    # shellcheck disable=SC2046
    "$compiler" $(flags "$source") "test/whole/$source" -o "$work/app" "$@" -L"$lib" -lleakdetect_malloc
    leaves_what_it_says "$work/app"
}

preloaded() { # SOURCE COMPILER ARGUMENT...
    source=$1 compiler=$2
    shift 2
    # shellcheck disable=SC2046
    "$compiler" $(flags "$source") "test/whole/$source" -o "$work/app" "$@"
    leaves_what_it_says env LD_PRELOAD="$preload" "$work/app"
    leaves_what_it_says "$BUILD/bin/leakdetect" run -- "$work/app"
}

for compiler in gcc clang g++ clang++; do
    has $compiler || continue
    case $compiler in
    *++) source=names.cc ;;
    *) source=names.c ;;
    esac
    for mode in '' -O0 -O2 -O3 -no-pie '-O2 -flto' -static '-static -O2' '-static -O2 -flto' -rdynamic; do
        # shellcheck disable=SC2086
        check "$compiler $mode, linked" linked $source $compiler $mode
    done
    for linker in gold lld; do
        has ld.$linker || continue
        for mode in -O0 -O2 -static; do
            check "$compiler $mode, linked by $linker" linked $source $compiler $mode -fuse-ld=$linker
        done
    done
    for mode in -O0 -O2 '-O3 -flto' -no-pie; do
        # shellcheck disable=SC2086
        check "$compiler $mode, preloaded" preloaded $source $compiler $mode
    done
done

for mode in '' -O2 -no-pie -static '-static -O2' -fuse-ld=gold -fuse-ld=lld '-static -fuse-ld=lld'; do
    # shellcheck disable=SC2086
    check "blocks from before main, linked, gcc $mode" linked early.c gcc -pthread $mode
done
check 'blocks from before main, preloaded' preloaded early.c gcc -pthread

# --- In company -------------------------------------------------------------------------------------------

# Prints what it should, and the report has so many blocks of 1,337 bytes.
works() { # BLOCKS COMMAND...
    want=$1
    shift
    rm -f "$work/report"
    LEAKDETECT_OPTIONS=report_at_exit=live:log_path=$work/report timeout 60 "$@" >"$work/said" 2>"$work/err"
    cat "$work/said" "$work/err"
    [ "$(cat "$work/said")" = 'it works' ]
    if [ "$want" = own ]; then
        grep -q '^leakdetect: nothing is recorded, because this program brings a malloc of its own$' "$work/err"
        [ ! -e "$work/report" ]
    else
        [ "$(grep -c '^site .* 1 block, 1,337 bytes' "$work/report")" -eq "$want" ]
    fi
}

jemalloc() {
    gcc test/whole/with_jemalloc.c -o "$work/app" -ljemalloc
    works 1 env LD_PRELOAD="$preload" "$work/app"
    for libraries in '-lleakdetect_malloc -ljemalloc' '-ljemalloc -lleakdetect_malloc'; do
        # shellcheck disable=SC2086
        gcc test/whole/with_jemalloc.c -o "$work/app" -L"$lib" $libraries
        works 1 "$work/app"
    done
    # Here jemalloc's own malloc comes along with its other names.
    gcc -static test/whole/with_jemalloc.c -o "$work/app" -L"$lib" -lleakdetect_malloc -ljemalloc -lm
    works own "$work/app"
}
check 'a program with a jemalloc of its own' jemalloc

own_malloc() {
    gcc test/whole/with_malloc.c -o "$work/app"
    works own env LD_PRELOAD="$preload" "$work/app"
    "$work/app"
    g++ -std=c++17 -fsized-deallocation test/whole/with_malloc.cc -o "$work/app"
    works own env LD_PRELOAD="$preload" "$work/app"
    for mode in '' -static; do
        # shellcheck disable=SC2086
        gcc $mode test/whole/with_malloc.c -o "$work/app" -L"$lib" -lleakdetect_malloc
        works own "$work/app"
    done
}
check 'a program with a malloc of its own' own_malloc

# With operators of C++ that call each other, some of which the program has replaced; also where they are in a module.
operators() { # COMPILER
    for mode in -O0 -O2 -no-pie; do
        for replaced in '' -DREPLACED; do
            # shellcheck disable=SC2086
            "$1" -std=c++17 -fsized-deallocation $mode $replaced test/whole/operators.cc -o "$work/app"
            works 1 env LD_PRELOAD="$preload" "$work/app"
        done
    done
    "$1" -std=c++17 -fsized-deallocation -shared -fPIC test/whole/operators.cc -o "$work/module.so"
    gcc test/whole/operators_host.c -o "$work/app"
    works 1 env LD_PRELOAD="$preload" "$work/app" "$work/module.so"
    "$1" -std=c++17 -fsized-deallocation -shared -fPIC -static-libstdc++ test/whole/operators_locked.cc -o "$work/module.so"
    works 0 env LD_PRELOAD="$preload" "$work/app" "$work/module.so"
    "$1" -std=c++17 -fsized-deallocation test/whole/operators.cc -o "$work/app" -Wl,--no-as-needed -ljemalloc
    works 1 env LD_PRELOAD="$preload" "$work/app"
}
for compiler in g++ clang++; do
    has $compiler || continue
    check "a program that replaces operators of C++, or runs out of memory in them, $compiler" operators $compiler
done

# The functions that call new are the sites, also where the program has an address of its own for malloc.
sites_of_new() { # COMPILER
    for mode in -O1 '-O1 -no-pie -fno-pie'; do
        # shellcheck disable=SC2086
        "$1" -std=c++17 -g $mode test/whole/new_sites.cc -o "$work/app"
        env LD_PRELOAD="$preload" LEAKDETECT_OPTIONS=report_at_exit=live "$work/app" 2>"$work/err"
        for function in make_one make_array make_aligned make_quietly make_at_second_try make_aligned_at_second_try; do
            grep -E "^    #0 .* $function\(" "$work/err" || { cat "$work/err" && return 1; }
        done
    done
}
for compiler in g++ clang++; do
    has $compiler || continue
    check "the callers of new are the sites, $compiler" sites_of_new $compiler
done

asks() {
    for mode in '' -O2 -no-pie -fuse-ld=gold -fuse-ld=lld; do
        # shellcheck disable=SC2086
        gcc $mode -I. test/whole/asks.c -o "$work/app"
        [ "$("$work/app")" = 'there is no library' ]
        works 1 env LD_PRELOAD="$preload" "$work/app"
        # shellcheck disable=SC2086
        gcc $mode -I. test/whole/asks.c -o "$work/app" -L"$lib" -lleakdetect_malloc
        works 1 "$work/app"
    done
    gcc -static -I. test/whole/asks.c -o "$work/app" -L"$lib" -lleakdetect_malloc
    works 1 "$work/app"
}
check 'a program that calls ld_* if it is there sees the same records' asks

with_knobs() {
    for mode in '' -O2 -static '-static -O2 -flto'; do
        # shellcheck disable=SC2086
        gcc $mode test/whole/with_knobs.c -o "$work/app" -L"$lib" -lleakdetect_malloc
        works 1 "$work/app"
    done
    gcc test/whole/with_knobs.c -o "$work/app"
    works 1 env LD_PRELOAD="$preload" "$work/app"
}
check "a program that turns the knobs of glibc's malloc" with_knobs

names_in() { # FILE NM-OPTION
    nm "$2" --defined-only --extern-only --format=just-symbols "$1" | sed '/:$/d; /^$/d; s/@.*//' | sort
}
is_operator='^_Z(n[wa]|d[la])'
shows_nothing_else() { # FILE NM-OPTION [PATTERN [NAME...]]
    names_in "$1" "$2" | grep -v '^ld_' | grep -Ev "${3:-^$}" >"$work/shown"
    {
        sed -n 's/ = ld_.*;$//p' override.ld
        [ $# -lt 4 ] || (shift 3 && printf '%s\n' "$@")
    } | sort | diff - "$work/shown"
}
check 'the library in the archive shows the names of malloc, and ld_*' shows_nothing_else "$BUILD/whole/libleakdetect_malloc.o" -g
check 'the preload shows the same, operators, dlopen and dl_iterate_phdr' \
    shows_nothing_else "$preload" -D "$is_operator" dlopen dl_iterate_phdr

# Where [a-z] leaves out the i.
if has localedef && mkdir "$work/locale" && localedef -i tr_TR -f UTF-8 "$work/locale/tr_TR.UTF-8" 2>"$work/log"; then
    other_locale() {
        env LOCPATH="$work/locale" LC_ALL=tr_TR.UTF-8 "$MAKE" -s BUILD="$work/build" "$work/build/whole/names" >&2
        diff "$BUILD/whole/names" "$work/build/whole/names"
        [ "$(grep -c ';$' override.ld)" -eq "$(wc -l <"$work/build/whole/names")" ]
    }
    check 'the names are the same when the locale has other letters' other_locale
else
    skip 'names in another locale' 'no localedef, or nothing to make a locale from'
fi

has_all_operators() {
    names_in "$(g++ -print-file-name=libstdc++.so.6)" -D | grep -E "$is_operator" >"$work/want"
    names_in "$preload" -D | grep -E "$is_operator" | diff "$work/want" -
}
check 'the operators are those that the C++ library has' has_all_operators

exit $failed
