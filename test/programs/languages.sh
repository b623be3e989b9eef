#!/bin/sh
# Interpreters, unmodified, with every block on record.
. test/programs/common.sh

export PYTHONHASHSEED=0 PERL_HASH_SEED=0 PYTHONDONTWRITEBYTECODE=1

maps=yes same 'python3: threads, children, ctypes' python3 python3 "$here/test/unwind/modules.py" 2
PYTHONMALLOC=malloc same 'python3: a block for each object' python3 python3 "$here/bench/json_regex.py" 3
maps=yes same 'python3: multiprocessing by spawn' python3 python3 "$here/test/programs/spawn.py"
same 'python3: descriptors, limits, signals' python3 python3 "$here/test/programs/process.py"
maps=yes expected=1 same 'python3: an exception that nobody catches' python3 python3 -c 'import json; json.loads("[")'
unset expected
leaky='valgrind finds the same' same 'perl: a graph' perl perl "$here/bench/graph.pl" 1
leaky='valgrind finds the same' same 'perl: forks, pipes, sort, sprintf' perl perl -e '
    use strict; use warnings; use POSIX ":sys_wait_h"; use Data::Dumper; use Storable qw(dclone);
    $Data::Dumper::Sortkeys = 1;
    for my $i (1 .. 40) {
        my $pid = open(my $in, "-|") // die;
        if (!$pid) { print join(",", map { sprintf "%05d", $_ * $i } sort { $b <=> $a } 1 .. 50), "\n"; exit $i % 3; }
        my $line = <$in>; close $in; print $? >> 8, " ", length($line), " ", substr($line, 0, 30), "\n";
    }
    print Dumper(dclone({ map { $_ => [ map { { n => $_ } } 1 .. 3 ] } "a" .. "e" }));
    local $SIG{ALRM} = sub { print "alarm\n"; exit 0 }; alarm 1; my @a; while (1) { push @a, "x" x 100; @a = () if @a > 999 }'
python3 bench/queries.py 300 >"$work/queries.sql"
same 'sqlite3: queries in memory' sqlite3 sqlite3 :memory: ".read $work/queries.sql"
same 'sqlite3: a file' sqlite3 sqlite3 file.db 'CREATE TABLE t(a, b); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1
    FROM n WHERE i < 20000) INSERT INTO t SELECT i, hex(i * 7919) FROM n; CREATE INDEX i ON t(b); VACUUM;
    SELECT count(*), min(b), max(b) FROM t; SELECT json_group_array(a) FROM (SELECT a FROM t LIMIT 50); PRAGMA integrity_check;'
expected=5 same 'node: promises, workers, zlib' node node "$here/test/programs/workers.js"
leaky='sort loses 16 bytes' quiet=yes expected=7 same 'bash: hundreds of forks' bash bash -c '
    declare -A table
    for i in {1..300}; do table[$(echo "key $i")]="${i//1/one}"; done
    for key in "${!table[@]}"; do ( [[ ${table[$key]} == *one* ]] && exit 1; exit 0 ) && even+=("$key"); done
    printf "%s\n" "${even[@]}" | sort -k2 -n | tail -n 5
    echo "${#table[@]} ${#even[@]}" | tee here | cat - here
    coproc cat; echo hello >&"${COPROC[1]}"; read -r line <&"${COPROC[0]}"; echo "$line"; exec {COPROC[1]}>&-; wait
    trap "echo trapped" USR1; kill -USR1 $$; diff <(seq 3) <(seq 4); exit 7'

exit $failed
