#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Where the time goes: the functions of this library that take most of it in two programs, by perf's samples.
#
#     bench/where.sh [--quick] FOLDER         FOLDER/where.tsv; FOLDER/programs must be there (bench/programs.sh)
set -eu
cd "$(dirname "$0")/.."

part=1
[ "$1" != --quick ] || { part=20 && shift; }
out=$(cd "$1" && pwd)
BUILD=${BUILD:-build/default}
CC=${CC:-cc}
rm -f "$out/where.tsv"

if ! perf record -q -e cpu-clock -o /dev/null true 2>/dev/null; then
    echo 'bench: where the time goes: skipped, there is no perf that may be used' >&2
    exit 0
fi
cp "$BUILD/lib/leakdetect/libleakdetect_malloc.so" "$out/programs/profiled.so"
export PYTHONMALLOC=malloc PYTHONHASHSEED=0

# "SHARE<tab>FUNCTION", largest first, of the library's functions, and two sums.
shares_in() { # COMMAND...
    perf record -q -e cpu-clock -F 2000 -o "$out/programs/perf.data" \
        env LD_PRELOAD="$out/programs/profiled.so" LEAKDETECT_OPTIONS=report_at_exit=none "$@" >/dev/null 2>&1
    perf report -q -i "$out/programs/perf.data" --stdio --no-children -F overhead,dso,symbol 2>/dev/null |
        awk '{ share = $1 + 0; name = $4 }
             $2 != "profiled.so" { rest += share; next }
             name ~ /^ldheap_|^arena_|^tcache_/ { heap += share; next }
             { own += share; if (++count <= 10) printf "%.1f\t%s\n", share, name }
             END { printf "%.1f\tall of this library\n%.1f\tjemalloc\n%.1f\tthe program, its libraries and the kernel\n", own, heap, rest }'
}

write_rows() { # PROGRAM COMMAND...
    what=$1
    shift
    shares_in "$@" | while IFS='	' read -r share function; do printf '%s\t%s\t%s\n' "$what" "$function" "$share"; done
}

{
    printf 'program\tfunction\tper cent\n'
    [ ! -x /usr/bin/python3 ] || write_rows 'CPython, JSON' /usr/bin/python3 bench/json_regex.py $((100 / part))
    write_rows cc1 "$($CC -print-prog-name=cc1)" -quiet -O1 -o /dev/null "$out/programs/functions.i"
} >"$out/where.tsv"
rm -f "$out/programs/perf.data" "$out/programs/profiled.so"
