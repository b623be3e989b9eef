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

programs=$work

report() { # WAY OPTIONS WORD...: as JSON
    way=$1 options=report_at_exit=live:format=json:log_path=$work/report$2
    shift 2
    rm -f "$work/report"
    case $way in
    preloaded) timeout 60 env LD_PRELOAD="$so" LEAKDETECT_OPTIONS="$options" "$programs/plain" "$@" >/dev/null ;;
    *) timeout 60 env LEAKDETECT_OPTIONS="$options" "$programs/$way" "$@" >/dev/null ;;
    esac
}

is_true() { # FILTER; jq 1.6 has no objection to an empty file
    jq -es "length == 1 and (.[0] | $1)" "$work/report" >/dev/null || {
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

strip -o "$work/stripped" "$work/static"
none_lost() {
    report stripped :report_at_exit=lost # with status 0
    [ ! -s "$work/report" ]
}
check 'stripped: of what the C library keeps nothing is called lost' none_lost

# Programs that are easily mistaken for the C library.
CC=${CC:-gcc}
programs=$work/alike
mkdir "$programs"
$CC -g -pthread test/whole/alike.c -o "$programs/plain" -lresolv
$CC -g -pthread -static test/whole/alike.c -o "$programs/static" -L"$lib" -lleakdetect_malloc -lresolv
strip -o "$programs/stripped" "$programs/static"

leaves() { # BLOCKS WAY WORD
    report "$2" '' "$3"
    is_true ".blocks == $1 and .bytes == $1 * 1337"
}

for way in preloaded static stripped; do
    check "$way: functions with names like the C library's are the program's" leaves 24 $way names
    check "$way: and so is one that stands for the C library's" leaves 2 $way replaced
    check "$way: and a coroutine" leaves 1 $way coroutine
    check "$way: and what functions beside setenv call" leaves 3 $way callbacks
done

# Where its linker has the whole program's code behind the C library.
if has clang && has ld.lld; then
    clang -g -O2 -flto -fuse-ld=lld -pthread -static test/whole/alike.c -o "$programs/behind" -L"$lib" -lleakdetect_malloc -lresolv
    check 'link-time optimisation by lld: names like the C library'"'"'s are the program'"'"'s' leaves 24 behind names
else
    skip 'link-time optimisation by lld' 'no clang, or no lld'
fi

for way in preloaded static; do
    converter() {
        report $way '' converter
        is_true '[.sites[].frames[] | select(.function == "main")] | length > 0'
        is_true '[.sites[].frames[0].function | select(test("gconv_open$"))] | length == 2'
        report $way '' converter close
        is_true '.blocks == 0'
    }
    check "$way: a converter that was not closed is reported, and none that was" converter

    resolver() {
        report $way '' resolver
        is_true '[.sites[].frames[0].function | test("res_context_send$")] == [true]'
        report $way '' resolver close
        is_true '.blocks == 0'
    }
    check "$way: a resolver that was not closed is reported, and none that was" resolver

    keys() {
        report $way :report_at_exit=lost:use_tls=0:exitcode=0 keys
        is_true '[.sites[] | [.kind, .bytes]] == [["definite", 1337]]'
        report $way :report_at_exit=lost:exitcode=0 keys
        [ ! -s "$work/report" ]
    }
    check "$way: a value of a thread's key is not kept with the table where it is" keys
done

# A library whose name begins like that of a part of the C library.
for file in libresolver.so libnss_wrapper.so libnss_wrapper.so.0 libc-2.so.1 ld-linux-plugin.so; do
    library() {
        $CC -g -shared -fPIC test/whole/alike_library.c -o "$programs/$file"
        $CC -g -DUSER test/whole/alike_library.c -o "$programs/plain" "$programs/$file"
        report preloaded ''
        is_true '.blocks == 2 and .bytes == 2 * 1337'
    }
    check "what $file allocates is not the C library's" library
done

exit $failed
