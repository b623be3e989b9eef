#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Whole programs with every allocation recorded, against the same programs on plain jemalloc.
#
#     bench/programs.sh [--quick] FOLDER      the library: FOLDER/programs.tsv and .md
#     bench/programs.sh --peers FOLDER        other tools that record everything: FOLDER/peers.tsv and .md; ten minutes
#
# Programs and tools that are not installed are skipped with a line.  FOLDER/programs.raw.tsv has every single run.
set -eu
cd "$(dirname "$0")/.."

# One part in so many of the work, and how often.  Tools that make a program a hundred times slower get less.
part=1 rounds=${BENCH_PROGRAM_ROUNDS:-5} result=programs tools='leakdetect sample'
case $1 in
--quick) part=20 rounds=1 && shift ;;
--peers)
    part=${BENCH_PEER_PART:-4} rounds=1 result=peers
    tools='leakdetect heaptrack jemalloc_profile gperftools lsan_short lsan_full valgrind'
    shift
    ;;
esac
out=$(cd "$1" && pwd)
work=$out/programs
BUILD=${BUILD:-build/default}
CC=${CC:-cc}
CXX=${CXX:-g++}
python=/usr/bin/python3
mkdir -p "$work"

say() {
    echo "bench: $*" >&2
}

. bench/tools.sh

# --- Building -------------------------------------------------------------------------------------------

$CC -std=c11 -O2 -I. -o "$work/spend" bench/spend.c bench/measure.c

$CC -std=c11 -O2 -I. -fPIC -shared -o "$work/write_figures.so" bench/figures.c

# --- Programs -------------------------------------------------------------------------------------------

programs=
offer() { # PROGRAM COMMAND
    if command -v "$2" >/dev/null; then
        programs="$programs $1"
    else
        say "program $1: skipped, there is no $2"
    fi
}

cc1=$($CC -print-prog-name=cc1)
cc1plus=$($CXX -print-prog-name=cc1plus 2>/dev/null || echo cc1plus)

offer cpython $python
offer ast $python
offer server $python
offer perl perl
offer sqlite sqlite3
offer cc1 "$cc1"
offer cc1plus "$cc1plus"
offer map_string "$CXX"
offer node node

if command -v $python >/dev/null; then
    $python bench/queries.py $((20000 / part)) >"$work/queries.sql"
fi
sh bench/functions.sh $((3000 / part)) >"$work/functions.c"
$CC -I. -E -o "$work/functions.i" "$work/functions.c"
if command -v "$CXX" >/dev/null; then
    $CXX -std=c++17 -O2 -o "$work/map_string" bench/map_string.cc
    $CXX -std=c++17 -E -o "$work/map_string.ii" bench/map_string.cc
fi

export PYTHONMALLOC=malloc PYTHONHASHSEED=0 PERL_HASH_SEED=0

spend() { # PROGRAM SETTING... [WRAPPER...]
    program=$1
    shift
    case $program in
    cpython) "$work/spend" "$@" $python bench/json_regex.py $((100 / part)) ;;
    ast) "$work/spend" "$@" $python bench/parse_modules.py $(((11 + part - 1) / part)) ;;
    server) "$work/spend" "$@" $python bench/server.py $((3000 / part)) ;;
    perl) "$work/spend" "$@" perl bench/graph.pl $((5 / part + 1)) ;;
    sqlite) "$work/spend" "$@" sqlite3 :memory: ".read $work/queries.sql" ;;
    cc1) "$work/spend" "$@" "$cc1" -quiet -O1 -o /dev/null "$work/functions.i" ;;
    cc1plus) "$work/spend" "$@" "$cc1plus" -quiet -O1 -o /dev/null "$work/map_string.ii" ;;
    map_string) "$work/spend" "$@" "$work/map_string" $(((8 + part - 1) / part)) ;;
    node) "$work/spend" "$@" node bench/hashes.js $((40 / part)) ;;
    esac
}

what_is() { # PROGRAM
    case $1 in
    cpython) echo 'CPython, JSON and regular expressions' ;;
    ast) echo 'CPython, syntax trees of modules' ;;
    server) echo 'CPython, threaded server and its clients' ;;
    perl) echo 'Perl, graph of hashes and arrays' ;;
    sqlite) echo 'sqlite3, statements parsed and run' ;;
    cc1) echo 'cc1 of the C compiler, a file of functions' ;;
    cc1plus) echo 'cc1plus of the C++ compiler, a file with its headers' ;;
    map_string) echo 'C++, std::map and std::string' ;;
    node) echo 'Node.js, hashes and compression' ;;
    esac
}

# --- Tools ----------------------------------------------------------------------------------------------

run_with() { # TOOL PROGRAM
    words=$(tool_words "$1" "$2")
    # shellcheck disable=SC2086 # words
    spend "$2" $words
}

# What the library says about a run, in a run of its own, because asking takes time.
write_figures() { # PROGRAM
    rm -f "$work/figures.$1"
    spend "$1" LD_PRELOAD="$preload:$work/write_figures.so" LEAKDETECT_OPTIONS=report_at_exit=none \
        LEAKDETECT_BENCH_FIGURES="$work/figures.$1" >/dev/null
}

installed=
for tool in $tools; do
    if is_installed "$tool"; then
        installed="$installed $tool"
    else
        say "tool $tool: skipped, it is not installed"
    fi
done

# --- Measuring ------------------------------------------------------------------------------------------

# A run that fails counts as none: some tools cannot bear some programs.
run_and_note() { # ROUND TOOL PROGRAM
    if spent=$(run_with "$2" "$3" 2>"$work/errors"); then
        printf '%s\t%s\t%s\t%s\n' "$3" "$2" "$1" "$spent"
    else
        say "$3 with $2 failed"
    fi
}

if [ $result = programs ]; then
    for program in $programs; do
        write_figures "$program"
    done
fi
round=0
while [ $((round += 1)) -le $rounds ]; do
    for program in $programs; do
        say "round $round: $program"
        for tool in plain $installed; do
            run_and_note $round "$tool" "$program"
        done
    done
done >"$out/$result.raw.tsv"
rm -f "$work"/heaptrack.* "$work"/gperftools*

awk -f bench/ratios.awk "$out/$result.raw.tsv" >"$work/ratios.tsv"

# --- Writing --------------------------------------------------------------------------------------------

# A row for each program, with what the library itself says about the run.
write_programs() {
    printf 'program\tplain s\tratio\tmin\tmax\tplain MiB\tmemory ratio\tsample\tpeak live\tmean depth\tnot recorded\n'
    while read -r program tool rest; do
        [ "$tool" = leakdetect ] || continue
        printf '%s\t%s\t%s\t' "$(what_is "$program")" "$rest" \
            "$(awk -v program="$program" '$1 == program && $2 == "sample" { print $4 }' "$work/ratios.tsv")"
        # Peak blocks, bytes, dropped, nested, cut, nodes, collections, mean depth.
        awk -F '\t' 'END { printf "%d\t%s\t%d\n", $1, $8, $3 + $4 + $5 }' "$work/figures.$program"
    done <"$work/ratios.tsv"
}

# A row for each program, a column for each tool.
write_peers() {
    printf 'program\tplain s'
    # shellcheck disable=SC2086 # a list of words
    printf '\t%s' $installed
    echo
    for program in $programs; do
        printf '%s\t%s' "$(what_is "$program")" \
            "$(awk -v program="$program" '$1 == program { print $3; exit }' "$work/ratios.tsv")"
        for tool in $installed; do
            printf '\t%s' "$(awk -v program="$program" -v tool="$tool" '$1 == program && $2 == tool { print $4 }' \
                "$work/ratios.tsv")"
        done
        echo
    done
}

if [ $result = programs ]; then
    write_programs >"$out/programs.tsv"
    cat >"$out/programs.md" <<END

## Whole programs

User time with every allocation recorded, over user time on plain jemalloc in the same round, start and exit of the program
included; $rounds rounds, medians. The library is preloaded into programs that know nothing of it, as \`leakdetect run\` does. Memory
is the most that was resident. \`sample\` is the ratio when one allocation in 512 KiB is recorded. Mean depth is that of the stacks of blocks that are alive at exit, at most \`LD_MAX_FRAMES\`.

$(sh bench/table.sh "$out/programs.tsv")
END
else
    write_peers >"$out/peers.tsv"
    cat >"$out/peers.md" <<END

## Other tools that record every allocation

User time over plain jemalloc, as above, with a smaller amount of work, once, on $(date -u +%Y-%m-%d) (\`bench/programs.sh --peers
build/bench\`); a dash where the tool broke the program. \`lsan_short\` is LeakSanitizer as it comes, with stacks of one or two
frames where the code has no frame pointers; \`lsan_full\` with whole stacks; \`jemalloc_profile\` samples every byte. heaptrack is
the recording alone: what it writes, some 30 bytes for each call, another program has to read to say what is alive.

$(sh bench/table.sh "$out/peers.tsv")
END
fi
