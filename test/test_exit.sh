#!/bin/sh
# The report at exit: it comes after everything that the program frees at its end, it comes whatever the program has done
# to its descriptors, it costs the program nothing, and it goes nowhere that it must not.
. test/check.sh

lib=$PWD/$BUILD
so=$lib/lib/leakdetect/libleakdetect_malloc.so
source=test/whole
CC=${CC:-gcc} CXX=${CXX:-g++}

$CC -g -pthread $source/ends.c -o "$work/plain"
$CC -g -pthread $source/ends.c -o "$work/linked" -L"$lib" -lleakdetect_malloc
$CC -g -pthread -static $source/ends.c -o "$work/static" -L"$lib" -lleakdetect_malloc

blocks() { # SIZE REPORT: how many blocks of that size it has
    awk -v size="$1" '/^site / && $NF == "bytes" { gsub(",", ""); if ($5 == size * $3) n += $3 } END { print n + 0 }' "$2"
}

reports() { # REPORT: how many are in it
    grep -c '^leakdetect report: ' "$1" || true
}

# Runs the program in one of three ways; options are in $options.
run() { # WAY WORD...
    way=$1
    shift
    case $way in
    preloaded) timeout 60 env LD_PRELOAD="$so" LEAKDETECT_OPTIONS="report_at_exit=live:${options:-}" "$work/plain" "$@" ;;
    *) timeout 60 env LEAKDETECT_OPTIONS="report_at_exit=live:${options:-}" "$work/$way" "$@" ;;
    esac
}

holds() { # REPORT COUNT COUNT: of reports, and of blocks left in all of them
    cat "$1"
    [ "$(reports "$1")" -eq "$2" ]
    [ "$(blocks 1337 "$1")" -eq "$3" ]
    [ "$(blocks 666 "$1")" -eq 0 ]
    [ "$2" -eq 0 ] || [ "$(grep -c '^total: ' "$1")" -eq "$2" ]
}

status_is() { # STATUS COMMAND...
    want=$1 got=0
    shift
    "$@" || got=$?
    [ "$got" -eq "$want" ] || { echo "exit status $got, not $want" && return 1; }
}

# As bundles start their programs.
by_loader() {
    loader=$(readelf -l "$work/plain" | sed -n 's/.*interpreter: \(.*\)]$/\1/p')
    (cd "$work" && timeout 60 env LD_PRELOAD="$so" LEAKDETECT_OPTIONS=report_at_exit=live "$loader" ./plain leave 2>err)
    holds "$work/err" 1 1
    grep -q ' main (.*ends.c:' "$work/err"
}
check "a loader that is asked to run the program is not taken for it" by_loader

for way in preloaded linked static; do
    left() {
        run $way leave 2>"$work/err"
        holds "$work/err" 1 1
    }
    check "$way: what is left is reported, and nothing that the end frees" left

    twin() {
        run $way 2>"$work/err"
        holds "$work/err" 1 0
    }
    check "$way: a program that leaves nothing has an empty report" twin

    output() {
        status_is 3 run $way leave print exit >"$work/out" 2>"$work/err"
        [ "$(cat "$work/out")" = 'a line without an end' ]
        holds "$work/err" 1 1
    }
    check "$way: exit status and output are the program's" output

    exitcode() {
        options=exitcode=23 && status_is 23 run $way leave print >"$work/out" 2>"$work/err"
        [ "$(cat "$work/out")" = 'a line without an end' ]
        holds "$work/err" 1 1
    }
    check "$way: exitcode, and no output is lost for it" exitcode

    exitcode_twin() {
        options=exitcode=23:min_bytes=1 && status_is 0 run $way 2>"$work/err"
        holds "$work/err" 1 0
    }
    check "$way: exitcode of a program that leaves nothing" exitcode_twin

    closed() {
        run $way leave print close 2>"$work/err" >"$work/out"
        holds "$work/err" 1 1
    }
    check "$way: trap_25, stdout and stderr closed by then" closed

    all_closed() {
        options=log_path=$work/report && run $way leave close-all
        holds "$work/report" 1 1
        options=log_path= && run $way leave close-all 2>"$work/err"
        holds "$work/err" 0 0
    }
    check "$way: trap_25, all descriptors closed by then" all_closed

    redirected() {
        rm -f "$work/elsewhere"
        run $way leave redirect "$work/elsewhere" 2>"$work/err"
        holds "$work/err" 1 1
        [ ! -s "$work/elsewhere" ]
        run $way fork leave redirect "$work/elsewhere" 2>"$work/err"
        holds "$work/err" 1 0
        holds "$work/elsewhere" 1 1
    }
    check "$way: stderr redirected by then" redirected

    never_opened() {
        run $way leave 2>&-
        run $way leave reuse "$work/data" 2>&-
        [ "$(cat "$work/data")" = data ]
        run $way leave reuse-late "$work/data" 2>&-
        [ "$(cat "$work/data")" = data ]
    }
    check "$way: no stderr to begin with, and nothing is written to what takes its place" never_opened

    reused() {
        run $way fork leave reuse "$work/data2" 2>"$work/err"
        [ "$(cat "$work/data2")" = data ]
        run $way leave reuse "$work/data2" 2>"$work/err"
        holds "$work/err" 1 1
        [ "$(cat "$work/data2")" = data ]
    }
    check "$way: what the program opens in the place of stderr is not written to" reused

    threads() {
        for _ in 1 2 3 4 5; do
            run $way leave thread thread 2>"$work/err"
            holds "$work/err" 1 1
        done
    }
    check "$way: other threads still run" threads

    follow() {
        run $way leave fork leave 2>"$work/err"
        holds "$work/err" 2 3
    }
    check "$way: a forked child reports for itself" follow

    ignore() {
        options=children=ignore && run $way leave fork leave 2>"$work/err"
        holds "$work/err" 1 1
    }
    check "$way: children=ignore, forked" ignore

    thread_fork() {
        run $way thread leave fork leave 2>"$work/err"
        holds "$work/err" 2 3
    }
    check "$way: trap_20, a child forked from a program with threads" thread_fork

    none() {
        options=report_at_exit=none && run $way leave 2>"$work/err"
        [ ! -s "$work/err" ]
    }
    check "$way: report_at_exit=none" none

    hard_ends() {
        status_is 7 run $way leave quit 2>"$work/err"
        holds "$work/err" 0 0
        for signal in abort kill; do
            got=0
            run $way leave $signal 2>"$work/err" || got=$?
            [ $got -ge 128 ]
            ! grep -q 'leakdetect report' "$work/err" || exit 1
        done
    }
    check "$way: _exit, abort and signals cost the report and nothing else" hard_ends

    main_thread() {
        run $way leave pthread_exit 2>"$work/err"
        holds "$work/err" 1 1
        grep -q "^leakdetect report: process [0-9]*, $work/" "$work/err"
        grep -q ' leave (.*/ends.c:[0-9]*)$' "$work/err"
        options=signal=USR2 && run $way leave pthread_exit 2>"$work/err"
        holds "$work/err" 1 1
        echo 'leak:^leave$' >"$work/rules"
        options=suppressions=$work/rules && run $way leave pthread_exit 2>"$work/err"
        holds "$work/err" 1 0
    }
    check "$way: the main thread ends by pthread_exit" main_thread

    on_signal() {
        options=signal=USR2:log_path=$work/report.%p:report_at_exit=none && run $way leave usr2
        cat "$work"/report.* >"$work/all"
        rm "$work"/report.*
        [ "$(reports "$work/all")" -eq 1 ]
        [ "$(blocks 1337 "$work/all")" -eq 1 ]
        options=signal=SIGUSR2:report_at_exit=none && run $way leave usr2 fork leave usr2 2>"$work/err"
        [ "$(reports "$work/err")" -eq 2 ]
        [ "$(blocks 1337 "$work/err")" -eq 3 ]
        options=signal=USR2:check_signal=USR2:report_at_exit=none && run $way leave usr2 2>"$work/err"
        [ "$(reports "$work/err")" -eq 1 ]
        [ "$(blocks 1337 "$work/err")" -eq 1 ]
        [ "$(head -n 1 "$work/err")" = 'leakdetect: signal 12 cannot ask for reports: another option has it already' ]
    }
    check "$way: a report on a signal, in a forked child too" on_signal

    parent_alone() {
        options=signal=USR2:log_path=$work/report.%p:report_at_exit=none && run $way leave fork-asked
        set -- "$work"/report.*
        echo $# reports
        rm "$@"
        [ $# -eq 1 ]
    }
    check "$way: none of a forked child whose parent alone was asked" parent_alone
done

executed() {
    options= && run preloaded leave exec "$work/plain" leave 2>"$work/err"
    holds "$work/err" 1 1
    options= && run preloaded fork leave exec "$work/plain" leave 2>"$work/err"
    holds "$work/err" 2 1
    options=children=ignore && run preloaded fork leave exec "$work/plain" leave 2>"$work/err"
    holds "$work/err" 1 0
}
check 'preloaded: executed programs report or do not, as asked' executed

# --- A library that keeps blocks from before main ---------------------------------------------------------

$CXX -g -fPIC -shared $source/keeper.cc -o "$work/libkeeper.so"

library_ends() { # COMMAND...
    LEAKDETECT_OPTIONS=report_at_exit=live "$@" 2>"$work/err"
    cat "$work/err"
    [ "$(reports "$work/err")" -eq 1 ]
    [ "$(blocks 666 "$work/err")" -eq 0 ]
    [ "$(blocks 667 "$work/err")" -eq 0 ]
    [ "$(blocks 4242 "$work/err")" -eq 1 ]
    grep -q 'leave_in_constructor' "$work/err"
}

$CC $source/keeps.c -o "$work/keeps" -L"$work" -lkeeper -Wl,-rpath,"$work"
check 'preloaded: a library frees at its end what it made before main' library_ends env LD_PRELOAD="$so" "$work/keeps"
for how in gcc g++ clang 'gcc -Wl,-z,now' 'gcc -fuse-ld=gold' 'gcc -fuse-ld=lld'; do
    # shellcheck disable=SC2086
    $how -x c $source/keeps.c -x none -o "$work/keeps" -L"$work" -L"$lib" -lkeeper -lleakdetect_malloc -Wl,-rpath,"$work"
    check "linked by $how: a library frees at its end what it made before main" library_ends "$work/keeps"
done

# --- Files ------------------------------------------------------------------------------------------------

log() { # PATH
    options=log_path=$1 run preloaded leave 2>"$work/err"
}

refused() { # PATH WHY: the program goes on, and somebody says why there is no report
    log "$1"
    cat "$work/err"
    grep -q "^leakdetect: cannot write the report to .*: $2" "$work/err"
    [ "$(wc -l <"$work/err")" -eq 1 ]
}

new_file() {
    umask 0
    log "$work/new"
    [ "$(stat -c %a "$work/new")" = 600 ]
    holds "$work/new" 1 1
    log "$work/new"
    holds "$work/new" 1 1
}
check 'log_path: a new file of mode 0600, replaced the next time' new_file

names() {
    log "$work/%e-%p-%%-%x"
    set -- "$work"/plain-[0-9]*-%-%x
    [ $# -eq 1 ] && [ -s "$1" ]
}
check 'log_path: %p, %e, %%' names

links() {
    echo mine >"$work/target"
    ln -s "$work/target" "$work/symbolic"
    refused "$work/symbolic" 'it is a symbolic link'
    ln "$work/target" "$work/hard"
    refused "$work/hard" 'it has another name too'
    [ "$(cat "$work/target")" = mine ]
}
check 'log_path: never through a link' links

odd_files() {
    mkfifo "$work/fifo"
    refused "$work/fifo" 'it is not a regular file'
    refused "$work" 'Is a directory'
    refused "$work/none/log" 'No such file'
    refused /dev/null 'it is not a regular file'
}
check 'log_path: no pipe, folder or device' odd_files

if [ "$(id -u)" -eq 0 ]; then
    others() {
        echo theirs >"$work/theirs"
        chown nobody "$work/theirs"
        refused "$work/theirs" "it is another user's"
        [ "$(cat "$work/theirs")" = theirs ]
    }
    check "log_path: never another user's file" others

    set_uid() {
        echo 'const char *ld_default_options(void); const char *ld_default_options(void) { return "report_at_exit=live"; }' \
            >"$work/defaults.c"
        $CC -g -pthread $source/ends.c "$work/defaults.c" -o "$work/set_uid" -L"$lib" -lleakdetect_malloc
        chmod 755 "$work"
        chown nobody "$work/set_uid"
        chmod u+s "$work/set_uid"
        LEAKDETECT_OPTIONS="log_path=$work/of_set_uid:exitcode=5" "$work/set_uid" leave 2>"$work/err"
        [ ! -e "$work/of_set_uid" ]
        holds "$work/err" 1 1
    }
    check 'a set-uid program ignores the environment' set_uid
else
    skip "log_path: never another user's file, set-uid" 'only root can make one'
fi

full_disk() {
    [ -w /dev/full ]
    run preloaded leave 2>/dev/full
    status_is 3 run preloaded leave exit 2>/dev/full
}
check 'a report that cannot be written costs the program nothing' full_disk

closed_pipe() {
    { run preloaded leave exit 2>&1 >&3 || echo $? >"$work/status"; } 3>&1 | true
    [ "$(cat "$work/status")" -eq 3 ]
}
check 'a report that nobody reads any more costs the program nothing' closed_pipe

exit $failed
