# SPDX-License-Identifier: MIT
#
# The tools that are compared: where they are, and how a program is run under one.  Sourced, with $BUILD, $CC, and $work for
# what they write.
# shellcheck shell=sh disable=SC2154 # the sourcing script has it

library() { # NAME: its path, if it is installed
    path=$($CC -print-file-name="$1")
    [ "$path" = "$1" ] || echo "$path"
}

preload=$(cd "$BUILD" && pwd)/lib/leakdetect/libleakdetect_malloc.so
jemalloc=$(library libjemalloc.so.2)
lsan=$(library liblsan.so.0)
tcmalloc=$(library libtcmalloc.so.4)
heaptrack=$(find /usr/lib /usr/local/lib -name libheaptrack_preload.so 2>/dev/null | head -n 1)

is_installed() { # TOOL
    case $1 in
    plain | leakdetect | sample | jemalloc_profile) ;;
    heaptrack) [ -n "$heaptrack" ] ;;
    gperftools) [ -n "$tcmalloc" ] ;;
    lsan_*) [ -n "$lsan" ] ;;
    valgrind) command -v valgrind >/dev/null ;;
    esac
}

# What stands before the command, for env: settings, and perhaps a wrapper.
tool_words() { # TOOL NAME
    case $1 in
    plain) echo "LD_PRELOAD=$jemalloc" ;;
    leakdetect) echo "LD_PRELOAD=$preload LEAKDETECT_OPTIONS=report_at_exit=none" ;;
    sample) echo "LD_PRELOAD=$preload LEAKDETECT_OPTIONS=report_at_exit=none:sample=512k" ;;
    heaptrack) echo "LD_PRELOAD=$heaptrack DUMP_HEAPTRACK_OUTPUT=$work/heaptrack.$2" ;;
    jemalloc_profile) echo "LD_PRELOAD=$jemalloc MALLOC_CONF=prof:true,lg_prof_sample:0" ;;
    gperftools) echo "LD_PRELOAD=$tcmalloc HEAPPROFILE=$work/gperftools" ;;
    lsan_short) echo "LD_PRELOAD=$lsan LSAN_OPTIONS=exitcode=0" ;;
    lsan_full) echo "LD_PRELOAD=$lsan LSAN_OPTIONS=exitcode=0:fast_unwind_on_malloc=0:malloc_context_size=64" ;;
    valgrind) echo "valgrind --quiet --leak-check=full --num-callers=64" ;;
    esac
}

with_tool() { # TOOL COMMAND...
    words=$(tool_words "$1" pairs)
    shift
    # shellcheck disable=SC2086 # words
    env $words "$@"
}
