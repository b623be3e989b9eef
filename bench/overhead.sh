#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What recording adds to a malloc and free pair, against the depth of the call stack and against the number of threads:
# ours, and that of other tools.  FOLDER/overhead.tsv and .md, and a picture, docs/overhead.svg.
#
#     bench/overhead.sh [--quick] FOLDER
set -eu
cd "$(dirname "$0")/.."

rounds=${BENCH_PROGRAM_ROUNDS:-5} picture=docs/overhead.svg
if [ "$1" = --quick ]; then
    rounds=1
    shift
    picture=$1/overhead.svg
fi
out=$(cd "$1" && pwd)
work=$out/overhead
BUILD=${BUILD:-build/default}
CC=${CC:-cc}
mkdir -p "$work"
. bench/tools.sh

$CC -std=c11 -O2 -o "$work/pairs" bench/pairs.c bench/measure.c -lpthread

# Tools that take microseconds get less to do.
pairs_for() { # TOOL
    case $1 in
    plain | leakdetect) echo 300000 ;;
    heaptrack) echo 50000 ;;
    *) echo 5000 ;;
    esac
}

run_once() { # TOOL FRAMES THREADS
    (cd "$work" && with_tool "$1" "$work/pairs" "$2" "$3" $(($(pairs_for "$1") / ($3 > 4 ? 4 : 1))) 2>/dev/null) || echo nan
}

tools="plain leakdetect"
for tool in heaptrack jemalloc_profile gperftools lsan_full; do
    if is_installed $tool; then
        tools="$tools $tool"
    else
        echo "bench: overhead of $tool: skipped, it is not installed" >&2
    fi
done

echo "bench: overhead against depth and threads" >&2
round=0
while [ $((round += 1)) -le $rounds ]; do
    for where in 5,1 10,1 20,1 30,1 40,1 60,1 20,2 20,4 20,8 20,16 20,32; do
        for tool in $tools; do
            printf '%s\t%s\t%s\t%s\n' "${where%,*}" "${where#*,}" "$tool" "$(run_once "$tool" "${where%,*}" "${where#*,}")"
        done
    done
done >"$out/overhead.raw.tsv"
rm -f "$work"/heaptrack* "$work"/gperftools*

# Medians, and what each adds to plain jemalloc.
awk -F '\t' -v tools="$tools" '
    $4 != "nan" { count[$1, $2, $3]++; value[$1, $2, $3, count[$1, $2, $3]] = $4; if (!(($1, $2) in seen)) { seen[$1, $2]; order[++places] = $1 SUBSEP $2 } }
    function median(key,   n, i, j, t, a) {
        n = count[key]
        if (n == 0)
            return "nan"
        for (i = 1; i <= n; i++)
            a[i] = value[key, i]
        for (i = 2; i <= n; i++)
            for (j = i; j > 1 && a[j - 1] > a[j]; j--) {
                t = a[j]; a[j] = a[j - 1]; a[j - 1] = t
            }
        return a[int((n + 1) / 2)]
    }
    END {
        n = split(tools, tool, " ")
        printf "depth\tthreads\tplain"
        for (i = 2; i <= n; i++)
            printf "\t%s", tool[i]
        print ""
        for (p = 1; p <= places; p++) {
            split(order[p], at, SUBSEP)
            plain = median(order[p] SUBSEP "plain")
            printf "%s\t%s\t%.1f", at[1], at[2], plain
            for (i = 2; i <= n; i++) {
                m = median(order[p] SUBSEP tool[i])
                printf "\t%s", m == "nan" ? "nan" : sprintf("%.0f", m - plain)
            }
            print ""
        }
    }' "$out/overhead.raw.tsv" >"$out/overhead.tsv"

if command -v gnuplot >/dev/null; then
    awk 'NR > 1 && $2 == 1' "$out/overhead.tsv" >"$work/depth.dat"
    awk 'NR > 1 && $1 == 20' "$out/overhead.tsv" >"$work/threads.dat"
    columns=$(echo "$tools" | wc -w)
    gnuplot <<END
set terminal svg size 1000,440 font "sans,12" background "white"
set output "$picture"
set multiplot layout 1,2
set logscale y
set yrange [10:100000]
set grid
set key below maxrows 3
set ylabel "ns more than plain jemalloc, each pair"
set xlabel "frames of the call stack"
plot for [i=4:$((columns + 2))] "$work/depth.dat" using 1:i with linespoints title word("$(echo "$tools" | tr _ ' ' | sed 's/jemalloc profile/jemalloc-profile/; s/lsan full/LeakSanitizer/')", i - 2)
set logscale x 2
set xlabel "threads, on $(nproc) processors, 20 frames"
plot for [i=4:$((columns + 2))] "$work/threads.dat" using 2:i with linespoints title word("$(echo "$tools" | tr _ ' ' | sed 's/jemalloc profile/jemalloc-profile/; s/lsan full/LeakSanitizer/')", i - 2)
END
else
    echo "bench: picture: skipped, there is no gnuplot" >&2
fi

cat >"$out/overhead.md" <<END

## Against depth and threads

A program that knows nothing of any tool (\`bench/pairs.c\`), preloaded: nanoseconds of processor time that each malloc and free
pair takes on plain jemalloc, and what each tool adds, on a path that repeats. Threads beyond the processors take turns. \`lsan_full\`
is LeakSanitizer with whole stacks, \`jemalloc_profile\` records every allocation. Medians of $rounds rounds.

![overhead against depth and threads](overhead.svg)

$(sh bench/table.sh "$out/overhead.tsv")
END
