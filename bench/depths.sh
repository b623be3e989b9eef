#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What the stacks of each tool are worth: how many frames it has kept of sixty stacks that are known (bench/depths.c), with the
# settings of bench/tools.sh, and how many of them it tells apart.  FOLDER/depths.tsv.
#
#     bench/depths.sh FOLDER
set -eu
cd "$(dirname "$0")/.."

out=$(cd "$1" && pwd)
work=$out/depths
BUILD=${BUILD:-build/default}
CC=${CC:-cc}
rm -rf "$work"
mkdir -p "$work"
. bench/tools.sh

$CC -std=c11 -O2 -g -o "$work/depths" bench/depths.c

# Each of these prints the addresses of one stack in each line, beginning with the function that calls malloc.
stacks_of() { # TOOL
    case $1 in
    leakdetect)
        env "LD_PRELOAD=$preload" LEAKDETECT_OPTIONS=report_at_exit=live "$work/depths" 2>&1 |
            awk '/^site /{ if (NR > 1) print line; line = "" } /^    *#/ { line = line " " $2 } END { print line }'
        ;;
    heaptrack)
        env "LD_PRELOAD=$heaptrack" "DUMP_HEAPTRACK_OUTPUT=$work/heaptrack" "$work/depths"
        awk '$1 == "t" { n++; node = sprintf("%x", n); pc[node] = $2; parent[node] = $3 }
            $1 == "+" && $2 == "539" { line = ""; for (node = $3; node in pc; node = parent[node]) line = line " " pc[node]; print line }' \
            "$work/heaptrack"
        ;;
    jemalloc_profile) # Four frames of its own.
        env "LD_PRELOAD=$jemalloc" "MALLOC_CONF=prof:true,lg_prof_sample:0,prof_final:true,prof_prefix:$work/jemalloc" "$work/depths"
        awk '/^@/ { line = ""; for (i = 6; i <= NF; i++) line = line " " $i } / t\*: [0-9]+: / && line != "" {
            count = $2 + 0; while ($3 == count * 1536 && count-- > 0) print line; line = "" }' "$work"/jemalloc.*
        ;;
    gperftools)
        env "LD_PRELOAD=$tcmalloc" "HEAPPROFILE=$work/gperftools" "$work/depths" 2>/dev/null
        awk '$1 + 0 > 0 && $2 == 1337 * $1 { count = $1 + 0; sub(/.*@/, ""); while (count-- > 0) print }' "$work"/gperftools.*
        ;;
    lsan_*) # One frame of its own.
        # shellcheck disable=SC2046 # words
        env $(tool_words "$1" depths) "$work/depths" 2>&1 |
            awk '/^Direct leak of / { if (line != "") for (; count > 0; count--) print line; line = ""; count = $7 }
                / #[1-9][0-9]* / { line = line " " $2 } END { for (; count > 0; count--) print line }'
        ;;
    valgrind)
        # shellcheck disable=SC2046 # words
        env $(tool_words valgrind depths) "$work/depths" 2>&1 |
            awk '/definitely lost in loss record/ { if (line != "") for (; count > 0; count--) print line; line = ""; gsub(",", "", $5); count = $5 }
                / by 0x/ { line = line " " $3 } END { for (; count > 0; count--) print line }'
        ;;
    esac
}

{
    printf 'tool\tstacks\ttold apart\tframes, mean\tthat there were\n'
    for tool in leakdetect heaptrack jemalloc_profile gperftools lsan_short lsan_full valgrind; do
        if ! is_installed "$tool"; then
            echo "bench: stacks of $tool: skipped, it is not installed" >&2
            continue
        fi
        stacks_of "$tool" >"$work/stacks.$tool" || true
        awk -v tool="$tool" 'NF > 0 { stacks++; frames += NF; if (!seen[$0]++) distinct++ }
            END { if (stacks == 60) printf "%s\t%d\t%d\t%.1f\t34.5\n", tool, stacks, distinct, frames / stacks
                  else printf "bench: stacks of %s: %d instead of 60\n", tool, stacks >"/dev/stderr" }' "$work/stacks.$tool"
    done
} >"$out/depths.tsv"
