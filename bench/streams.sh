#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Records the address streams of real programs (stream.h) into a folder, each unless it is there already, and skips, with
# a line, what cannot run here.
#
#     bench/streams.sh [--quick] FOLDER      (CC and CXX choose the compilers)
#
# FOLDER/recorder/ keeps what is built for it.  --quick records a tenth of the work.
set -eu

here=$(dirname "$0")
part=1
if [ "$1" = --quick ]; then
    part=10
    shift
fi
mkdir -p "$1/recorder"
streams=$(cd "$1" && pwd)
tools=$streams/recorder

# The system's own, not one that was put before it in the PATH and may have a heap of its own.
python=/usr/bin/python3

# shellcheck disable=SC2086 # flags are words
${CC:-cc} -std=c11 -O2 ${CPPFLAGS:-} ${CFLAGS:-} -fPIC -shared -o "$tools/record.so" "$here/record.c" -ljemalloc

record() { # NAME INPUT COMMAND...
    name=$1 input=$2
    shift 2
    [ ! -s "$streams/$name.stream" ] || return 0
    if ! command -v "$1" >/dev/null; then
        echo "stream $name: skipped, there is no $1" >&2
        return 0
    fi
    echo "recording $name" >&2
    env PYTHONMALLOC=malloc PYTHONHASHSEED=0 PERL_HASH_SEED=0 \
        LEAKDETECT_STREAM="$streams/$name.stream.part" LD_PRELOAD="$tools/record.so" \
        "$@" <"$input" >"$tools/$name.out"
    mv "$streams/$name.stream.part" "$streams/$name.stream"
}

record cpython /dev/null $python "$here/json_regex.py" $((100 / part))
record ast /dev/null $python "$here/parse_modules.py" $((11 / part))
record perl /dev/null perl "$here/graph.pl" 5

if command -v "${CXX:-g++}" >/dev/null; then
    "${CXX:-g++}" -std=c++17 -O2 -o "$tools/map_string" "$here/map_string.cc"
    record map_string /dev/null "$tools/map_string" $(((8 + part - 1) / part))
fi
if command -v $python >/dev/null; then
    $python "$here/queries.py" $((20000 / part)) >"$tools/queries.sql"
    record sqlite "$tools/queries.sql" sqlite3 :memory:
    # A database with a large schema, opened and used.
    $python "$here/queries.py" 0 1500 >"$tools/schema.sql"
    $python "$here/queries.py" 300 | grep -E '^(SELECT|UPDATE|WITH)' >"$tools/schema_queries.sql"
    if command -v sqlite3 >/dev/null && [ ! -s "$tools/schema.db" ]; then
        sqlite3 "$tools/schema.db" <"$tools/schema.sql"
    fi
    record sqlite_schema "$tools/schema_queries.sql" sqlite3 "$tools/schema.db"
fi
