#!/bin/sh
# What the C library and the C++ run time keep on purpose is not reported, and what the program allocates in the midst of their
# functions is.
. test/check.sh

lib=$PWD/$BUILD
so=$lib/lib/leakdetect/libleakdetect_malloc.so
CXX=${CXX:-g++}

$CXX -g -pthread test/whole/runtime.cc -o "$work/plain"
$CXX -g -pthread test/whole/runtime.cc -o "$work/linked" -L"$lib" -lleakdetect_malloc
$CXX -g -pthread -static-libstdc++ test/whole/runtime.cc -o "$work/half" -L"$lib" -lleakdetect_malloc
$CXX -g -pthread -static -DSTATIC test/whole/runtime.cc -o "$work/static" -L"$lib" -lleakdetect_malloc

report() { # WAY OPTIONS WORD...: as JSON
    way=$1 options=report_at_exit=live:format=json:log_path=$work/report$2
    shift 2
    rm -f "$work/report"
    case $way in
    preloaded) timeout 60 env LD_PRELOAD="$so" LEAKDETECT_OPTIONS="$options" "$work/plain" "$@" >/dev/null ;;
    *) timeout 60 env LEAKDETECT_OPTIONS="$options" "$work/$way" "$@" >/dev/null ;;
    esac
}

is_true() { # FILTER
    jq -e "$1" "$work/report" >/dev/null || {
        echo "not so: $1"
        jq -c '.sites[] | .bytes, (.frames[] | [.function, .module])' "$work/report"
        jq -c '.suppressed' "$work/report"
        return 1
    }
}

for way in preloaded linked half static; do
    nothing() {
        report $way ''
        is_true '.blocks == 0 and .sites == []'
        is_true '.suppressed.blocks > 0'
        is_true '[.suppressed.rules[] | .builtin and .blocks > 0] | all'
        is_true '([.suppressed.rules[].bytes] | add) == .suppressed.bytes'
    }
    check "$way: what the run-time libraries keep is not reported, and counted by name" nothing

    names() {
        report $way ''
        is_true '[.suppressed.rules[].rule] | contains(["stdio-buffers", "environment", "locale", "thread-keys"])'
        is_true '.suppressed.bytes > 70000'
    }
    check "$way: each under its own name" names

    own() {
        report $way '' leave
        is_true '.blocks == 5 and .bytes == 5 * 1337'
        is_true '[.sites[].frames[0].function == "leave()"] | all'
    }
    check "$way: what the program allocates inside their functions is reported" own
done

exit $failed
