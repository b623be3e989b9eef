#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Measures what the library costs, and writes docs/performance.md and the numbers behind it, build/bench/*.tsv.
#
#     make bench              everything, with other tools too, some twenty minutes
#     make bench QUICK=1      a smoke test, a minute: little work, one round; the document is build/bench/quick/performance.md
#
# BENCH_KEEP_PEERS=1 leaves the table of other tools as the document has it, which saves half of the time.
#
# BENCH_ROUNDS and BENCH_PROGRAM_ROUNDS say how often, 9 and 5 by default; BENCH_PEER_PART, which part of the work of whole
# programs other tools get, a 4th by default.
#
# BUILD is the folder of the library to measure (build/default); CC and CXX build the programs of the bench.
set -eu
cd "$(dirname "$0")/.."

quick=
rounds=${BENCH_ROUNDS:-9} pairs=100000 functions=10000
out=build/bench document=docs/performance.md
if [ "${1:-}" = --quick ]; then
    quick=--quick
    rounds=1 pairs=5000 functions=500
    out=build/bench/quick document=build/bench/quick/performance.md
fi
load=$(cut -d " " -f 1-3 /proc/loadavg)
BUILD=${BUILD:-build/default}
CC=${CC:-cc}
BLOCKMAP=${BLOCKMAP:-blockmap.c}
mkdir -p "$out" docs

say() {
    echo "bench: $*" >&2
}

# --- Building -------------------------------------------------------------------------------------------

[ -e "$BUILD/libleakdetect_core.a" ] || make

compile() { # PROGRAM FILE...
    program=$1
    shift
    $CC -std=c11 -O2 -g -I. -o "$out/$program" "$@" bench/measure.c -L"$BUILD" -lleakdetect -lpthread
}

say "building"
compile micro bench/micro.c
compile walk bench/walk.c
sh bench/functions.sh $functions >"$out/functions.c"
$CC -std=c11 -O0 -g -I. -c -o "$out/functions.o" "$out/functions.c"
compile symbols bench/symbols.c "$out/functions.o"
strip -g -o "$out/symbols.nodebug" "$out/symbols"
strip -o "$out/symbols.stripped" "$out/symbols"
$CC -std=c11 -O2 -g -I. -o "$out/table" bench/table.c bench/measure.c "$BLOCKMAP" platform.c

# --- Measuring ------------------------------------------------------------------------------------------

# shellcheck disable=SC2086 # an option or none
bench/streams.sh $quick "$out/streams"

say "table of live blocks"
"$out/table" $rounds "$out"/streams/*.stream >"$out/table.tsv"

say "one pair"
"$out/micro" $rounds $pairs >"$out/micro.tsv"

say "unwinders"
$CC -std=c11 -O2 -g -fno-omit-frame-pointer -I. -o "$out/unwinders" bench/unwinders.c bench/measure.c -L"$BUILD" -lleakdetect -lpthread
"$out/unwinders" $rounds $pairs >"$out/unwinders.tsv"

say "walks"
"$out/walk" $rounds >"$out/walk.tsv"

say "names"
{
    printf 'program\tframes\tfunctions named\tlines named\tfirst ms\tmin\tmax\tagain ms\n'
    printf 'with debug information\t%s\n' "$("$out/symbols" $rounds)"
    printf 'with a symbol table\t%s\n' "$("$out/symbols.nodebug" $rounds)"
    printf 'stripped\t%s\n' "$("$out/symbols.stripped" $rounds)"
} >"$out/symbols.tsv"

# The instructions that so many more pairs take, by so many.
instructions_of() { # HEAP PATH DEPTH PAIRS
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$out/micro" count "$@" 2>&1 |
        sed -n 's/.*Collected : //p'
}

count_instructions() { # PATH DEPTH
    printf '%s\t%s' "$1" "$2"
    for heap in malloc mallocx leakdetect; do
        few=$(instructions_of $heap "$1" "$2" 10000)
        many=$(instructions_of $heap "$1" "$2" 30000)
        printf '\t%s' $(((many - few) / 20000))
    done
    echo
}

rm -f "$out/instructions.tsv"
if command -v valgrind >/dev/null; then
    say "instructions"
    {
        printf 'path\tdepth\tmalloc\tmallocx\tleakdetect\n'
        count_instructions repeat 10
        count_instructions repeat 20
        [ -n "$quick" ] || count_instructions repeat 40
        [ -n "$quick" ] || count_instructions vary 20
    } >"$out/instructions.tsv"
else
    say "instructions: skipped, there is no valgrind"
fi

# shellcheck disable=SC2086 # an option or none
BUILD=$BUILD CC=$CC sh bench/programs.sh $quick "$out"
# shellcheck disable=SC2086
BUILD=$BUILD CC=$CC sh bench/where.sh $quick "$out"
if [ -n "${BENCH_KEEP_PEERS:-}" ] && [ -z "$quick" ] && grep -q '^## Other tools' "$document"; then
    # Without the end of the section, which is measured again.
    printf '\n%s\n' "$(awk '/^## / { inside = /^## Other tools/ } /^What the stacks of each/ { inside = 0 } inside' "$document")" \
        >"$out/peers.md"
elif [ -z "$quick" ]; then
    BUILD=$BUILD CC=$CC sh bench/programs.sh --peers "$out"
fi
BUILD=$BUILD CC=$CC sh bench/depths.sh "$out"
# shellcheck disable=SC2086
BUILD=$BUILD CC=$CC sh bench/overhead.sh $quick "$out"

say "looking for lost blocks"
compile pause bench/pause.c
pause_of_peer() { # NAME COMMAND...
    peer=$1
    shift
    LSAN_OPTIONS=report_objects=0:log_path=/dev/null timeout 120 "$@" 2>/dev/null || say "pause of $peer, $*: skipped, it failed"
}
{
    printf 'tool\tblocks\tMiB\tthreads\tpause ms\tleast\tfirst\tfork ms\ttotal ms\tleast\tfirst\tlost\n'
    "$out/pause" 10000 100 1 $rounds
    "$out/pause" 10000 100 100 $rounds
    [ -n "$quick" ] || "$out/pause" 1000000 1024 1 $rounds
    MALLOC_CONF=thp:always "$out/pause" 10000 100 1 $rounds | sed 's/^leakdetect/leakdetect, thp:always/'
    [ -n "$quick" ] || MALLOC_CONF=thp:always "$out/pause" 1000000 1024 1 $rounds | sed 's/^leakdetect/leakdetect, thp:always/'
    if $CC -std=gnu11 -O2 -g -fsanitize=leak -DLEAK_SANITIZER -o "$out/pause.lsan" bench/pause.c -lpthread 2>/dev/null; then
        # What it returns is whether anything is lost, not how much.
        {
            pause_of_peer LeakSanitizer "$out/pause.lsan" 10000 100 1 3
            pause_of_peer LeakSanitizer "$out/pause.lsan" 10000 100 100 3
            [ -n "$quick" ] || pause_of_peer LeakSanitizer "$out/pause.lsan" 1000000 1024 1 3
        } | sed 's/[0-9]*$/some/'
    else
        say "pause of LeakSanitizer: skipped, it is not installed"
    fi
    if command -v valgrind >/dev/null &&
        $CC -std=gnu11 -O2 -g -DMEMCHECK -o "$out/pause.memcheck" bench/pause.c -lpthread 2>/dev/null; then
        pause_of_peer valgrind valgrind --fair-sched=yes --quiet --log-file=/dev/null "$out/pause.memcheck" 10000 100 1 3
    else
        say "pause of valgrind: skipped, it is not installed"
    fi
} >"$out/pause.tsv"

# --- The document ---------------------------------------------------------------------------------------

table() {
    sh bench/table.sh "$1"
}

# The tools to compare with, as far as they are installed.
other_tools() {
    for tool in heaptrack:heaptrack gperftools:libgoogle-perftools4 LeakSanitizer:liblsan0 valgrind:valgrind; do
        version=$(version_of_package "${tool#*:}")
        [ "$version" = unknown ] || printf '%s %s, ' "${tool%:*}" "$version"
    done | sed 's/, $//'
}

version_of_package() {
    dpkg-query -W -f '${Version}' "$1" 2>/dev/null || echo unknown
}

commit=$(git rev-parse --short HEAD 2>/dev/null || echo 'not in git')
[ -z "$(git status --porcelain -- '*.c' '*.cc' '*.h' '*.def' '*.ld' '*.sh' Makefile 2>/dev/null)" ] || commit="$commit, changed since"

# What it is meant to cost, and whether it does: of one thread's pairs what they add to malloc, of programs the ratio.
{
    printf 'what\tmeasured\tat most\tgoal\tso it is\n'
    awk -F '\t' '
        function say(what, measured, most, goal) {
            print what, measured, most, goal, measured <= goal ? "reached" : measured <= most ? "short of the goal" : "missed"
        }
        BEGIN { OFS = "\t" }
        FNR == 1 { file++; next }
        file == 1 && $2 == 20 && $3 == 1 && $1 == "repeat" { say("a pair at depth 20, path repeated, ns", $9, 40, 40) }
        file == 1 && $2 == 20 && $3 == 1 && $1 == "vary" { say("a pair at depth 20, five frames vary, ns", $9, 120, 120) }
        file == 2 && $1 ~ /^(CPython|Node)/ { say($1, $3, 2.0, 1.5) }
        file == 2 && $1 !~ /^(CPython|Node)/ { say($1, $3, 1.5, 1.2) }
        file == 3 { say($1 ", a sample", $8, 1.03, 1.03) }
        file == 4 && $1 ~ /^leakdetect/ && $4 == 1 && $2 == 10000 { say("pause, 100 MiB, ms (" $1 ")", $5, 2, 2) }
        file == 4 && $1 ~ /^leakdetect/ && $4 == 1 && $2 == 1000000 { say("pause, 1 GiB, ms (" $1 ")", $5, 15, 15) }
        file == 4 && $1 == "leakdetect" && $4 == 1 && $2 == 10000 { say("pause of the first look, 100 MiB, ms", $7, 2, 2) }
        file == 4 && $1 == "leakdetect" && $4 == 1 && $2 == 1000000 {
            say("pause of the first look, 1 GiB, ms", $7, 15, 15)
            say("the whole look, 1 GiB, ms", $9, 1000, 1000)
            say("the whole first look, 1 GiB, ms", $11, 1000, 1000)
        }' \
        "$out/micro.tsv" "$out/programs.tsv" "$out/programs.tsv" "$out/pause.tsv"
} >"$out/targets.tsv"

say "writing $document"
{
    cat <<END
# What it costs

Written by \`make bench\`; do not edit. The numbers are in \`$out/*.tsv\` afterwards.

| | |
|---|---|
| processor | $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) processors |
| memory | $(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo) |
| kernel | $(uname -sr | sed 's/-.*//'), $(uname -m) |
| distribution | $(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release) |
| compiler | $($CC --version | head -n 1) |
| C library | $(ldd --version | head -n 1) |
| jemalloc | $(version_of_package libjemalloc-dev) |
| libunwind | $(version_of_package libunwind-dev) |
| other tools | $(other_tools) |
| leakdetect | commit $commit |
| date | $(date -u +%Y-%m-%d) |
| load when it began | $load |

How it is measured: what is compared runs in turn, round after round ($rounds of them); the median is given, and the least and
the greatest next to it, so that one sees how quiet the machine was. Times are processor time of the thread that works, or
user time of the process, unless it says otherwise. Every program checks that what it measured really happened: that all blocks
were recorded with their whole stacks, that a walk found exactly what is alive, that names are the right ones.

## One ld_malloc and ld_free pair

Nanoseconds of processor time for each pair, 16 to 256 bytes, with 64 blocks alive. \`malloc\` and \`mallocx\` are jemalloc's two
doors, without this library; \`leakdetect\` is with it, and then what it adds to either in the same round. The depth is that of the recorded stack.
On a path that is \`repeat\`ed all pairs come from the same stack; with \`vary\` the innermost five frames all differ from those
of the pair before, among 1,024 stacks; with \`fresh\` among a million, so that hardly a stack is ever seen twice.
Speed-up is the throughput of all threads together over that of one, by the clock on the wall: no more than the processors that
were free allow, as plain malloc's shows. By processor time it says what the threads cost each other.

$(table "$out/micro.tsv")

END
    if [ -s "$out/instructions.tsv" ]; then
        cat <<END
Instructions for each pair, counted by valgrind: they do not depend on how busy the machine is.

$(table "$out/instructions.tsv")

END
    fi
    cat <<END
## One stack

Nanoseconds of processor time for one whole stack of a program that repeats it: by this library, with ld_malloc and ld_free putting it on record and
taking it off again, and jemalloc's own pair subtracted; by libunwind's \`unw_backtrace\` and by the C library's \`backtrace\`, which hand over addresses and keep
nothing; and by a walk along frame pointers, for which this program was compiled, unlike most. All four see the same frames.

$(table "$out/unwinders.tsv")

## The table of live blocks

Address streams of real programs (\`bench/streams.sh\` records them), replayed on the table alone: nanoseconds for each insert
and remove pair, beyond the empty call pair that the replay costs anyway. Not one insert found the table full.

$(table "$out/table.tsv")

## Walks

\`ld_now_leaks\` over blocks from 4,096 call paths, in milliseconds, with a callback that adds up sizes, and without one.

$(table "$out/walk.tsv")

## Names

\`ld_symbolize_frame\` for frames in as many functions of one program, in milliseconds: the first time, when files have to be
read, and again.

$(table "$out/symbols.tsv")

## Looking for lost blocks

\`ld_lost_leaks\` in a process with so many blocks, in so much memory, and so many threads: the largest gap that a thread notices
which does nothing but read the clock, and the time until the answer is there, in milliseconds; medians, the least, and the first, which finds small pages. \`fork\` is what
the kernel needs to copy that process before it is looked into for the first time. \`thp:always\`: jemalloc has asked for huge pages from the beginning. The same heap for LeakSanitizer's \`__lsan_do_recoverable_leak_check\` and for valgrind's
\`VALGRIND_DO_LEAK_CHECK\`, in which threads take turns.

$(table "$out/pause.tsv")
END
    for part in programs peers; do
        [ ! -s "$out/$part.md" ] || cat "$out/$part.md"
    done
    cat <<END

What the stacks of each are worth, in a program without frame pointers (\`bench/depths.c\`) with sixty that are known, 5 to 64 frames deep, by the same settings:
how many of them the tool tells apart, and how many frames it has of each.

$(table "$out/depths.tsv")
END
    [ ! -s "$out/overhead.md" ] || cat "$out/overhead.md"
    cat <<END

## Against what it is meant to cost

$(table "$out/targets.tsv")
END
    if [ -s "$out/where.tsv" ]; then
        cat <<END

## Where the time goes

Per cent of a program's time in functions of this library, by perf's samples of the processor's clock. What is missing up to the ratio above is what it does to
the program's caches.

$(table "$out/where.tsv")
END
    fi
} >"$out/performance.md.part"
mv "$out/performance.md.part" "$document"
