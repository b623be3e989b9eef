#!/bin/sh
# Servers under load on the loopback interface, unmodified, with every block on record.  What their clients are told must be
# what a plain one tells them, and they must end when they are asked to.  A fourth time lost blocks are looked for all the
# while, and none may be found.
. test/programs/common.sh

# Starts the server, by the command $become; it is our child itself, so that signals get to it.  What keeps capabilities while
# it changes its user cannot have the thread that check_signal needs.
start() { # COMMAND...
    look=check_signal=VTALRM:report_at_exit=none:format=json:log_path=$work/reports/%e.%p${maps:+:use_mappings=1}
    # shellcheck disable=SC2086 # $become is a list of words
    case $way in
    plain) ${become:-} "$@" & ;;
    preload) LD_PRELOAD=$library LEAKDETECT_OPTIONS=$options ${become:-} "$@" & ;;
    command) "$work/bin/leakdetect" run --report_at_exit=live --log_path="$work/reports/%e.%p" -- ${become:-} "$@" & ;;
    looked_at) ${become:-} env LD_PRELOAD="$library" LEAKDETECT_OPTIONS="$look" "$@" & ;;
    esac
    server=$!
    [ $way != looked_at ] || look_at_it &
}

# Asks the server and its children what is lost, from when it is up until it ends.
look_at_it() {
    for _ in $(seq 600); do
        [ ! -e "$work/is_up" ] || break
        sleep 0.1
    done
    for _ in $(seq 300); do
        children=$(cat "/proc/$server/task/$server/children" 2>/dev/null) || return 0
        # shellcheck disable=SC2086 # a list of them
        kill -VTALRM "$server" $children 2>/dev/null || true
        sleep 0.2
    done
}

# Looks had answers; the last one in each process may not have come to its end.  What $leaks names, functions that valgrind
# finds to lose blocks in this program, may be there.
nothing_is_lost() {
    for report in "$work/reports"/*; do
        jq -c . <"$report" >"$work/answers" 2>/dev/null || true
        [ $(($(wc -l <"$work/answers") + 1)) -ge "$(grep -c '^{"version"' "$report")" ]
        cat "$work/answers"
    done >"$work/looks"
    [ "$(wc -l <"$work/looks")" -ge 5 ]
    ! grep -r 'what is lost is not known' "$work/folder" || exit 1
    jq -c --arg leaks "${leaks:-}" '.sites[] | select(.kind == "definite" or .kind == "indirect") |
        select($leaks == "" or (.frames[0].function | test("^(" + $leaks + ")$") | not))' <"$work/looks" >"$work/lost"
    cat "$work/lost"
    [ ! -s "$work/lost" ]
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Until the command succeeds, or the server has gone.
wait_for() { # COMMAND...
    tries=0
    until "$@" >"$work/waited" 2>&1; do
        kill -0 "$server" || return 1
        [ $((tries += 1)) -lt 300 ] || return 1
        sleep 0.1
    done
    : >"$work/is_up"
}

# Whatever it is doing, it is over in half a minute.
await_end() {
    tries=0
    while [ -e "/proc/$server" ] && ! grep -q '^State:.*Z' "/proc/$server/status"; do
        [ $((tries += 1)) -lt 300 ] || { echo 'it does not end' && return 1; }
        sleep 0.1
    done
    status=0
    wait "$server" || status=$?
    server=
    echo "exit status $status"
}

stop() { # SIGNAL
    kill -"$1" "$server"
    await_end
}

# serves NAME PROGRAM FUNCTION: it starts the server in $way, puts questions to it, prints the answers, and stops it.
serves() {
    if ! has "$2"; then
        skip "$1" "there is no $2"
        return
    fi
    for way in plain preload command looked_at; do
        rm -rf "$work/folder" "$work/reports"/* "$work/is_up"
        mkdir -m 777 "$work/folder"
        check "$1, $way" answers "$3"
    done
    way=plain
}

answers() { # FUNCTION
    server=
    trap '[ -z "$server" ] || kill -TERM "$server"' EXIT
    port=$(free_port)
    "$1" >"$work/answers.$way" 2>"$work/errors.$way" || { cat "$work/errors.$way" "$work/answers.$way" && exit 1; }
    cat "$work/errors.$way"
    diff "$work/answers.plain" "$work/answers.$way"
    case $way in
    plain) ;;
    looked_at) nothing_is_lost ;;
    *) has_reports ;;
    esac
}

# --- redis ------------------------------------------------------------------------------------------------

ask_redis() {
    redis-cli -h 127.0.0.1 -p "$port" "$@"
}

redis() {
    cd "$work/folder"
    start redis-server --bind 127.0.0.1 --port "$port" --dir . --save '' --appendonly yes --io-threads 2 >log 2>&1
    wait_for ask_redis ping
    in_this_way timeout 60 redis-benchmark -h 127.0.0.1 -p "$port" -q -n 4000 -c 20 -r 1000 -d 300 >benchmark
    tr '\r' '\n' <benchmark | grep -c 'requests per second, p50'
    ask_redis flushall
    seq 2000 | awk '{ print "RPUSH list value" $1; print "HSET hash field" $1 " " $1 * 7919; print "ZADD set " $1 " m" $1 }' | ask_redis |
        md5sum
    ask_redis eval 'local sum = 0; for i, v in ipairs(redis.call("LRANGE", "list", 0, -1)) do sum = sum + #v end; return sum' 0
    ask_redis hvals hash | sort -n | md5sum
    ask_redis bgrewriteaof
    ask_redis save
    ask_redis shutdown nosave || true
    await_end
    grep -c -i 'crash\|assert' log || true
}
serves 'redis under redis-benchmark' redis-server redis

# --- nginx ------------------------------------------------------------------------------------------------

fetch() { # PATH
    python3 -c 'import sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Accept-Encoding": "gzip"})
with urllib.request.urlopen(request) as answer:
    sys.stdout.buffer.write(b"%d %s\n" % (answer.status, (answer.headers["Content-Encoding"] or "none").encode()))
    sys.stdout.buffer.write(answer.read())' "http://127.0.0.1:$port$1"
}

nginx_under_load() {
    cd "$work/folder"
    mkdir files temporary
    seq 5000 >files/numbers.txt
    chmod -R a+rwX .
    cat >nginx.conf <<END
daemon off; worker_processes 2; pid $PWD/pid; error_log $PWD/error.log; user $(id -un) $(id -gn);
events { worker_connections 256; }
http {
    access_log $PWD/access.log; gzip on; gzip_min_length 100; gzip_types text/plain; default_type text/plain;
    client_body_temp_path $PWD/temporary/a; proxy_temp_path $PWD/temporary/b; fastcgi_temp_path $PWD/temporary/c;
    uwsgi_temp_path $PWD/temporary/d; scgi_temp_path $PWD/temporary/e;
    server { listen 127.0.0.1:$port; root $PWD/files; location /again/ { proxy_pass http://127.0.0.1:$port/; } }
}
END
    start nginx -c "$PWD/nginx.conf" -e "$PWD/error.log" -p "$PWD" 2>log
    wait_for fetch /numbers.txt
    fetch /numbers.txt | md5sum
    for path in /numbers.txt /again/numbers.txt; do
        timeout 60 ab -q -n 2000 -c 16 -k -H 'Accept-Encoding: gzip' "http://127.0.0.1:$port$path" |
            grep -E '^(Complete|Failed|Non-2xx|Document Length)'
    done
    kill -HUP "$server"
    sleep 0.3
    fetch /again/numbers.txt | md5sum
    stop QUIT
    grep -E 'emerg|alert|crit' error.log || true
}
if has ab; then
    serves 'nginx under ab' nginx nginx_under_load
else
    skip 'nginx under ab' 'there is no ab'
fi

# --- python3 ----------------------------------------------------------------------------------------------

# A thread for each request; its objects and frames lie in memory that it maps itself.
python_server() {
    cd "$work/folder"
    seq 5000 >index.html
    start python3 -c 'import http.server, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()' "$port" >log 2>&1
    wait_for fetch /
    timeout 60 ab -q -n 2000 -c 8 "http://127.0.0.1:$port/" | grep -E '^(Complete|Failed|Non-2xx|Document Length)'
    fetch /index.html | md5sum
    stop TERM
    grep -E 'Traceback|Error' log || true
}
maps=yes
if has ab; then
    serves 'http.server of python3 under ab' python3 python_server
else
    skip 'http.server of python3 under ab' 'there is no ab'
fi

# --- node -------------------------------------------------------------------------------------------------

# It keeps the heap of its language out of copies of itself.  Each answer leaves objects behind, for a while.
node_server() {
    cd "$work/folder"
    start node -e 'const http = require("http"), zlib = require("zlib"), kept = [];
        const numbers = Array.from({ length: 5000 }, (_, i) => i + 1).join("\n");
        process.on("SIGTERM", () => process.exit(0));
        http.createServer((request, response) => {
            kept.push({ url: request.url, bytes: Buffer.from(request.url + kept.length) });
            if (kept.length > 500) kept.splice(0, 250);
            if (request.url !== "/gzip") return response.end(numbers);
            zlib.gzip(numbers, (error, bytes) => {
                response.setHeader("Content-Encoding", "gzip");
                response.end(bytes);
            });
        }).listen(+process.argv[1], "127.0.0.1");' "$port" >log 2>&1
    wait_for fetch /
    timeout 60 ab -q -n 2000 -c 8 -k "http://127.0.0.1:$port/" | grep -E '^(Complete|Failed|Non-2xx|Document Length)'
    timeout 60 ab -q -n 1000 -c 8 "http://127.0.0.1:$port/gzip" | grep -E '^(Complete|Failed|Non-2xx)'
    fetch /gzip | md5sum
    stop TERM
    grep -i error log || true
}
if has ab; then
    serves 'http of node under ab' node node_server
else
    skip 'http of node under ab' 'there is no ab'
fi
maps=

# --- PostgreSQL -------------------------------------------------------------------------------------------

# It refuses to be root.
become=
user=$(id -un)
if [ "$(id -u)" -eq 0 ]; then
    user=postgres
    become='setpriv --reuid=postgres --regid=postgres --clear-groups'
fi
binaries=$(find /usr/lib/postgresql -name initdb 2>/dev/null | sort -V | tail -n 1)
binaries=${binaries%/initdb}

ask_postgres() {
    $become "$binaries/psql" -h 127.0.0.1 -p "$port" -U "$user" -X -q -A -t -v ON_ERROR_STOP=1 -d postgres "$@"
}

# shellcheck disable=SC2086 # $become is a list of words
postgres() {
    cd "$work/folder"
    in_this_way timeout 60 $become "$binaries/initdb" -D "$PWD/data" -A trust -U "$user" -E UTF8 --no-sync >log
    start "$binaries/postgres" -D "$PWD/data" -p "$port" -c listen_addresses=127.0.0.1 -c fsync=off \
        -c unix_socket_directories= -c max_worker_processes=4 >>log 2>&1
    wait_for ask_postgres -c 'SELECT 1'
    in_this_way timeout 60 $become "$binaries/pgbench" -h 127.0.0.1 -p "$port" -U "$user" -i -q -s 1 postgres >>log 2>&1
    in_this_way timeout 60 $become "$binaries/pgbench" -h 127.0.0.1 -p "$port" -U "$user" -c 4 -j 2 -t 100 postgres |
        grep 'transactions actually processed'
    ask_postgres -c 'SELECT count(*) FROM pgbench_accounts' -c 'SELECT count(*) FROM pgbench_history'
    ask_postgres -c 'CREATE TABLE t AS SELECT i, md5(i::text) AS m FROM generate_series(1, 20000) i' \
        -c 'CREATE INDEX ON t(m)' -c 'ANALYZE t' -c 'VACUUM t' \
        -c 'SELECT substr(m, 1, 1), count(*), max(i) FROM t GROUP BY 1 ORDER BY 1' \
        -c 'SELECT a.i FROM t a JOIN t b USING (m) ORDER BY m LIMIT 5' -c 'SELECT jsonb_agg(m) -> 3 FROM t'
    ask_postgres -c 'SELECT 1 / 0' 2>&1 || true
    stop INT
    # A question too early, and a session that was not over yet, are no failures.
    grep -E 'PANIC|FATAL|signal' log | grep -v -e 'is starting up' -e 'due to administrator command' || true
}
leaks='save_ps_display_args|PostmasterMain'
serves 'PostgreSQL: initdb and pgbench' "${binaries:-/nowhere}/pgbench" postgres

exit $failed
