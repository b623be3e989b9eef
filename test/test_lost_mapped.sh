#!/bin/sh
# Blocks that only memory which the program has mapped itself points to: lost by default, and not with use_mappings=1; and what
# is lost all the same.
# shellcheck disable=SC2154 # what test/check.sh sets
. test/check.sh

lib=$PWD/$BUILD
so=$lib/lib/leakdetect/libleakdetect_malloc.so

run() { # WAY WORD...
    way=$1
    shift
    case $way in
    preloaded) timeout 120 env LD_PRELOAD="$so" LEAKDETECT_OPTIONS="$options" "$work/$compiler.plain" "$@" ;;
    *) timeout 120 env LEAKDETECT_OPTIONS="$options" "$work/$compiler.$way" "$@" ;;
    esac
}

# loses BLOCKS MAPPED WAY WORD... : so many blocks are definitely lost, and a mapping points to so many of them.
loses() {
    want=$1 mapped=$2 got=0
    shift 2
    run "$@" 2>"$work/err" || got=$?
    head -n 60 "$work/err"
    if [ "$want" -eq 0 ]; then
        [ $got -eq 0 ] && [ ! -s "$work/err" ]
        return
    fi
    [ $got -eq 23 ]
    grep -Eq "^    definitely lost: $want blocks?," "$work/err"
    if [ "$mapped" -eq 0 ]; then
        ! grep 'use_mappings' "$work/err"
    else
        grep -x "note: memory that the program has mapped itself points to $mapped of the definitely lost blocks; use_mappings=1 counts it" \
            "$work/err"
    fi
}

knows_nothing() { # WAY WORD...
    run "$@" 2>"$work/err"
    head -n 60 "$work/err"
    [ "$(grep -c '^leakdetect: what is lost is not known: ' "$work/err")" -eq 1 ] && [ "$(wc -l <"$work/err")" -eq 1 ]
}

# Reading all of 128 GiB takes a minute, and page tables of 256 MiB; of 16 GiB of static data four seconds and more.
takes_short() { # COMMAND...
    # shellcheck disable=SC3045 # dash and bash have it
    (ulimit -t "${seconds:-20}" && "$@")
}

# The page map has what guards are since 6.15.
tells_guards=$(uname -r | awk -F '[.-]' '$1 > 6 || ($1 == 6 && $2 >= 15) { print "yes" }')
can_live_apart=$(! unshare --pid true 2>/dev/null || echo yes)

[ $tells_guards ] || skip 'such pages in static data, in a small block, below a stack' 'the page map does not tell them'
[ $can_live_apart ] || skip 'such pages when a look is made in place' 'no other pid namespaces here'

for compiler in gcc clang; do
    has $compiler || {
        skip "$compiler" "no $compiler"
        continue
    }
    $compiler -g -O1 -pthread test/lost/mapped.c -o "$work/$compiler.plain"
    $compiler -g -O1 -pthread test/lost/mapped.c -o "$work/$compiler.linked" -L"$lib" -lleakdetect_malloc
    $compiler -g -O1 -pthread -static test/lost/mapped.c -o "$work/$compiler.static" -L"$lib" -lleakdetect_malloc

    for way in preloaded linked static; do
        what="$compiler, $way"
        options=
        check "$what: a mapping holds nothing by default, but is named" loses 1 1 $way held
        check "$what: and is not where it is not the cause" loses 1 0 $way lose
        check "$what: some of each" loses 3 2 $way held lose thread
        check "$what: a private mapping of a file" loses 2 1 $way file lose
        has_guards=yes
        options=report_at_exit=none run $way guarded 2>/dev/null || has_guards=
        if [ $has_guards ]; then
            check "$what: a page that cannot be read" loses 2 1 $way guarded lose
            check "$what: such a page at the end of a mapping" loses 1 0 $way end lose
            check "$what: such a page in the stack of a thread that no signal reaches" loses 1 0 $way deaf lose
            [ ! $tells_guards ] || check "$what: such pages in static data and in a small block" loses 1 0 $way within lose
            [ ! $tells_guards ] || [ ! $can_live_apart ] ||
                check "$what: and when a look is made in place" loses 1 0 $way apart within lose
        else
            skip "$what: a page that cannot be read" 'the kernel has no guard pages'
        fi
        check "$what: a stack in shared memory" loses 1 0 $way shared lose
        has_room=yes
        options=report_at_exit=none run $way sparse 2>/dev/null || has_room=
        if [ $has_room ]; then
            check "$what: ranges that are nearly empty" takes_short loses 1 1 $way sparse
        else
            skip "$what: ranges that are nearly empty" 'the kernel does not overcommit so much memory'
        fi
        options=use_mappings=1
        check "$what: use_mappings=1, a mapping holds a block" loses 0 0 $way held
        [ ! $has_guards ] || check "$what: use_mappings=1, beyond a page that cannot be read" loses 1 0 $way guarded lose
        [ ! $has_guards ] || [ ! $tells_guards ] ||
            check "$what: use_mappings=1, below a stack pointer and above such a page" loses 1 0 $way below
        [ ! $has_room ] || check "$what: use_mappings=1, in a range that is nearly empty" takes_short loses 1 0 $way sparse lose
        [ ! $has_room ] || check "$what: use_mappings=1, in what is kept out of copies" takes_short loses 1 0 $way withheld lose
        [ ! $has_room ] || check "$what: use_mappings=1, where that cannot be read, nothing is said" knows_nothing $way nobody withheld lose
        [ ! $has_room ] || check "$what: use_mappings=1, in there, when the first thread has ended" loses 1 0 $way withheld lose leave
        check "$what: use_mappings=1, in data that is kept out of copies" loses 1 0 $way data lose
        check "$what: use_mappings=1, and if there is none, all is known" loses 1 0 $way nobody held lose
        check "$what: use_mappings=1, of a thread that has ended" loses 0 0 $way thread
        check "$what: use_mappings=1, in a child" loses 0 0 $way held forked held
        check "$what: use_mappings=1, what nothing holds is lost" loses 2 0 $way held lose forked lose
        check "$what: use_mappings=1, a freed block holds nothing" loses 1 0 $way stale
        check "$what: use_mappings=1, an unmapped page holds nothing" loses 1 0 $way gone
        check "$what: use_mappings=1, blocks of many sizes" loses 200 0 $way classes
        check "$what: use_mappings=1, between the heap's pages" loses 200 0 $way woven classes
        export MALLOC_CONF=retain:false,dirty_decay_ms:0,muzzy_decay_ms:0
        check "$what: use_mappings=1, where the heap has given pages back" loses 200 0 $way unmapped classes woven unmapped
        unset MALLOC_CONF
    done
done

compiler=bss options='' seconds=2
if ! has gcc; then
    skip 'static data that is nearly empty' 'no gcc'
elif gcc -g -O1 test/lost/bss.c -o "$work/bss.plain" && ! "$work/bss.plain" 2>/dev/null; then
    skip 'static data that is nearly empty' 'the kernel does not overcommit so much memory'
else
    check 'static data that is nearly empty' takes_short loses 1 0 preloaded
fi

exit $failed
