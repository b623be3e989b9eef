#!/bin/sh
# Real programs under the checking build, by preload: each must end as ever, and not one stack may differ.
. test/check.sh

library=$(cd "$BUILD" && pwd)/lib/leakdetect/libleakdetect_malloc.so

counted() { # captures so far; differences; stacks of which unw_backtrace was out of date
    od -An -v -tu8 -N32 "$LEAKDETECT_CHECK_COUNTS" | tr -d '\n' | awk '{ print $1, $4, $3 }'
}

# The program ends as it should, its stacks were looked at, and none of them, its children's included, differed, nor was one
# right against unw_backtrace, unless $guesses.
guesses=
under() { # COMMAND...
    # shellcheck disable=SC2046 # three numbers
    set -- $(counted) "$@"
    before=$1 different=$2 outdated=$3
    shift 3
    LEAKDETECT_OPTIONS=report_at_exit=none LD_PRELOAD=$library "$@"
    # shellcheck disable=SC2046
    set -- $(counted)
    echo "$(($1 - before)) stacks"
    [ "$1" -gt "$before" ]
    [ "$2" -eq "$different" ]
    [ -n "$guesses" ] || [ "$3" -eq "$outdated" ]
}

try() { # NAME PROGRAM COMMAND...
    what=$1 program=$2
    shift 2
    if has "$program"; then
        check "$what" under "$@"
    else
        skip "$what" "there is no $program"
    fi
}

export PYTHONMALLOC=malloc PYTHONHASHSEED=0 PERL_HASH_SEED=0 PYTHONDONTWRITEBYTECODE=1

# A python3 that comes first in PATH may be another than the system's.
for python in /usr/bin/python3 "$(command -v python3 || echo python3)"; do
    try "$python: JSON and regular expressions" "$python" "$python" bench/json_regex.py 20
    try "$python: syntax trees" "$python" "$python" bench/parse_modules.py 6
    try "$python: modules, threads, children" "$python" "$python" test/unwind/modules.py 4
done
try 'perl: a graph' perl perl bench/graph.pl 1
if has python3; then
    python3 bench/queries.py 2000 >"$work/queries.sql"
    try 'sqlite3: queries' sqlite3 sqlite3 :memory: ".read $work/queries.sql"
fi

sh bench/functions.sh 300 >"$work/functions.c"
gcc -I. -E -o "$work/functions.i" "$work/functions.c"
cc1=$(gcc -print-prog-name=cc1)
try 'cc1 -O2' "$cc1" "$cc1" -quiet -O2 -o /dev/null "$work/functions.i"
if has g++; then
    cc1plus=$(g++ -print-prog-name=cc1plus)
    g++ -std=c++17 -E -o "$work/map_string.ii" bench/map_string.cc
    try 'cc1plus -O2' "$cc1plus" "$cc1plus" -quiet -O2 -o /dev/null "$work/map_string.ii"
    try 'gcc and g++ compile and link' g++ g++ -std=c++17 -O1 -pipe -o "$work/linked" bench/map_string.cc
    for level in 0 2 3; do
        g++ -std=c++17 -O$level -o "$work/exceptions$level" test/unwind/exceptions.cc -lpthread
        check "g++ -O$level: exceptions" under "$work/exceptions$level" 20000
    done
    g++ -std=c++17 -O2 -o "$work/map_string" bench/map_string.cc
    check 'g++ -O2: map and string' under "$work/map_string" 1
fi
if has clang++; then
    clang++ -std=c++17 -O2 -o "$work/exceptions_clang" test/unwind/exceptions.cc -lpthread
    check 'clang++ -O2: exceptions' under "$work/exceptions_clang" 20000
fi
if has rustc; then
    for level in 0 3; do
        rustc -C opt-level=$level -o "$work/collections$level" test/unwind/collections.rs
        check "rustc -O$level: collections, panics" under "$work/collections$level" 100
    done
else
    skip 'Rust' 'there is no rustc'
fi
if has go; then
    cat >"$work/strings.go" <<'END'
package main

// #include <stdlib.h>
import "C"
import ("fmt"; "sync")

func main() {
	var wait sync.WaitGroup
	for i := 0; i < 8; i++ {
		wait.Add(1)
		go func(n int) {
			for k := 0; k < 20000; k++ {
				C.free(C.malloc(C.size_t(k%1000 + n)))
			}
			wait.Done()
		}(i)
	}
	wait.Wait()
	fmt.Println("done")
}
END
    (cd "$work" && go build -o strings strings.go)
    check 'Go: threads that call C' under "$work/strings"
else
    skip 'Go' 'there is no go'
fi

mkdir "$work/repository"
cp ./*.c ./*.h "$work/repository"
try 'git: commit, log, repack' git sh -ec 'cd "$1"
    git init -q .
    git add .
    git -c user.name=n -c user.email=e@example.org commit -q -m one
    sed -i s/int/long/ ./*.c
    git -c user.name=n -c user.email=e@example.org commit -q -a -m two
    git log -p --stat --word-diff >/dev/null
    git repack -q -a -d -f --threads=2
    git fsck' sh "$work/repository"
try 'bash: forks and substitutions' bash bash -c '
    declare -A table
    for i in {1..300}; do table[$(echo "key $i")]="${i//1/one}"; done
    for key in "${!table[@]}"; do ( : "${table[$key]}" ); done
    [[ ${#table[@]} == 300 ]] && printf "%s\n" "${table[@]}" | sort | tail -n 1'
tar -cf "$work/archive.tar" ./*.c test
try 'xz with threads' xz xz -k -T2 -6 "$work/archive.tar"
try 'tar' tar tar -xf "$work/archive.tar" -C "$work"
try 'sort with threads' sort sort --parallel=2 -o /dev/null "$work/functions.c"
try 'awk' awk awk '{ count[$1] = count[$1] $2 } END { for (word in count) n++; print n }' "$work/functions.c"
try 'node' node node -e 'let m = new Map(); for (let i = 0; i < 50000; i++) m.set("k" + i, JSON.stringify({i}));
    console.log([...m.values()].sort().length)'
# Code made at run time.
try 'node: workers' node sh -c 'node test/programs/workers.js; [ $? -eq 5 ]'
cat >"$work/calls.lua" <<'END'
local ffi = require 'ffi'
ffi.cdef 'void *malloc(size_t); void free(void *);'
local function call(i) ffi.C.free(ffi.C.malloc(i % 50 + 1)) return i end
local sum = 0
for i = 1, 200000 do sum = sum + call(i) end
print(sum, #table.concat({tostring(sum), 'x'}))
END
try 'luajit: calls of C' luajit luajit "$work/calls.lua"
# YJIT has no frame pointers, and unw_backtrace keeps what it has guessed the first time.
guesses=yes try 'ruby with YJIT' ruby ruby --yjit -e 'def f(i) (0..20).map { |k| "x#{i * k}" * 3 }.join(",").scan(/\d+/).size end
    puts (1..4000).sum { |i| f(i) }'
try 'gdb' gdb gdb -q -batch -ex 'info functions walk' "$work/map_string"

exit $failed
