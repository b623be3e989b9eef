#!/bin/sh
# The command: what it hands on to the program, what it says when there is nothing to run, and that its help and the
# document are those of the table of options.
. test/check.sh

command=$PWD/$BUILD/bin/leakdetect
CC=${CC:-gcc}
source=test/whole
export LEAKDETECT_OPTIONS=report_at_exit=live
$CC -g -pthread $source/ends.c -o "$work/app"
mkdir "$work/folder"

says() { # STATUS PATTERN ARGUMENT...: the command fails so, in one line
    want=$1 pattern=$2 got=0
    shift 2
    "$command" "$@" 2>"$work/err" || got=$?
    cat "$work/err"
    [ "$got" -eq "$want" ] || { echo "exit status $got, not $want" && return 1; }
    grep -q "^leakdetect: $pattern" "$work/err"
    [ "$(wc -l <"$work/err")" -eq 1 ]
}

runs() {
    "$command" run -- "$work/app" leave 2>"$work/err"
    grep -q '^site 1: 1 block, 1,337 bytes$' "$work/err"
    "$command" run "$work/app" leave 2>"$work/err"
    grep -q '^site 1: 1 block, 1,337 bytes$' "$work/err"
}
check 'runs a program that was not built for it' runs

hands_on() {
    got=0
    "$command" run "$work/app" print exit >"$work/out" 2>/dev/null || got=$?
    [ $got -eq 3 ]
    [ "$(cat "$work/out")" = 'a line without an end' ]
    got=0
    "$command" run "$work/app" kill 2>/dev/null || got=$?
    [ $got -eq 137 ]
    echo from stdin | "$command" run -- cat 2>/dev/null | grep -q '^from stdin$'
    [ "$("$command" run -- echo -n -- --help 2>/dev/null)" = '-- --help' ]
    "$command" run -- sh -c 'echo $$' >"$work/out" 2>/dev/null &
    process=$!
    wait $process
    [ "$(cat "$work/out")" = $process ]
}
check 'status, signals, input, output, arguments and process are the program'"'"'s' hands_on

by_default() {
    $CC -g -pthread test/lost/leaky.c -o "$work/leaky"
    got=0
    LEAKDETECT_OPTIONS='' "$command" run -- "$work/leaky" keep lose 2>"$work/err" || got=$?
    [ $got -eq 23 ]
    grep -q '^site 1: definitely lost: 1 block, 1,337 bytes$' "$work/err"
    LEAKDETECT_OPTIONS='' "$command" run --exitcode=0 -- "$work/leaky" keep lose 2>"$work/err"
    grep -q '^site 1: definitely lost: 1 block, 1,337 bytes$' "$work/err"
    LEAKDETECT_OPTIONS='' "$command" run -- "$work/leaky" keep 2>"$work/err"
    [ ! -s "$work/err" ]
}
check 'by default, what is lost is reported, and the status is 23' by_default

searches() {
    cp "$work/app" "$work/folder/found"
    PATH=$work/folder "$command" run found 2>"$work/err"
    grep -q '^leakdetect report' "$work/err"
    cd "$work/folder" || exit 1
    "$command" run ./found 2>"$work/err"
    grep -q '^leakdetect report' "$work/err"
}
check 'searches PATH' searches

keeps_environment() {
    LD_PRELOAD=libm.so.6 LEAKDETECT_OPTIONS=max_sites=1 "$command" run --frames=1 -- env >"$work/out" 2>/dev/null
    grep -q '^LD_PRELOAD=/.*/libleakdetect_malloc.so:libm.so.6$' "$work/out"
    grep -q '^LEAKDETECT_OPTIONS=max_sites=1:frames=1$' "$work/out"
    LD_PRELOAD=libm.so.6 "$command" run --children=ignore -- env >"$work/out" 2>/dev/null
    grep -q '^LD_PRELOAD=libm.so.6$' "$work/out"
    "$command" run --children=ignore -- env >"$work/out" 2>/dev/null
    ! grep '^LD_PRELOAD=' "$work/out" || exit 1
}
check 'adds to LD_PRELOAD and LEAKDETECT_OPTIONS' keeps_environment

takes_options() {
    got=0
    "$command" run --exitcode=9 --log-path="$work/%e.log" "$work/app" leave || got=$?
    [ $got -eq 9 ]
    grep -q '^leakdetect report' "$work/app.log"
    "$command" run --format=json --log_path="$work/app.json" -- "$work/app" leave
    has python3 || return 0
    python3 -c 'import json, sys
report = json.load(open(sys.argv[1]))
assert report["blocks"] == 1 and report["sites"][0]["bytes"] == 1337, report' "$work/app.json"
}
check 'takes options as the environment does' takes_options

suppresses() {
    echo 'leak:^leave$' >"$work/rules"
    "$command" run --suppressions="$work/rules" --exitcode=9 "$work/app" leave 2>"$work/err"
    cat "$work/err"
    grep -q 'total: 0 blocks' "$work/err"
    "$command" run --suppressions="$work/missing" "$work/app" 2>"$work/err"
    grep -q "^leakdetect: suppressions .*/missing: No such file" "$work/err"
    got=0
    "$command" run --skip=leave --exitcode=9 "$work/app" leave 2>"$work/err" || got=$?
    [ $got -eq 9 ]
    grep -q '#0 .* main ' "$work/err"
}
check 'suppressions and skip' suppresses

from_environment() {
    LEAKDETECT_OPTIONS=report_at_exit=live:exitcod=3:max_sites=ten "$command" run "$work/app" 2>"$work/err"
    [ "$(grep -c '^leakdetect: LEAKDETECT_OPTIONS: ' "$work/err")" -eq 2 ]
    grep -q '^leakdetect report' "$work/err"
}
check 'a mistake in the environment costs a line, not the run' from_environment

shows_what_it_takes() {
    LEAKDETECT_OPTIONS='' "$command" run --verbosity=2 "$work/app" 2>"$work/err"
    grep '^leakdetect: exitcode=23$' "$work/err"
    shown=$(sed -n 's/^leakdetect: \([^ ]*=.*\)/\1/p' "$work/err" | tr '\n' :)
    LEAKDETECT_OPTIONS=$shown "$command" run "$work/app" 2>"$work/again"
    sed 's/process [0-9]*//' "$work/err" >"$work/want"
    sed 's/process [0-9]*//' "$work/again" | diff "$work/want" -
    "$command" run --verbosity=2 "$work/app" 2>"$work/err"
    grep '^leakdetect: exitcode=0$' "$work/err"
}
check 'verbosity=2 shows values that are good for options' shows_what_it_takes

compiled_in() {
    echo 'const char *ld_default_options(void); const char *ld_default_options(void) { return "exitcode=5:format=folded"; }' \
        >"$work/defaults.c"
    $CC -g -rdynamic $source/ends.c "$work/defaults.c" -o "$work/with_defaults"
    $CC -g $source/ends.c "$work/defaults.c" -o "$work/linked" -L"$BUILD" -lleakdetect_malloc
    $CC -g -static $source/ends.c "$work/defaults.c" -o "$work/static" -L"$BUILD" -lleakdetect_malloc
    for app in "$command run $work/with_defaults" "$work/linked" "$work/static"; do
        got=0
        $app leave 2>"$work/err" || got=$?
        [ $got -eq 5 ]
        grep -q ';main;leave 1337$' "$work/err"
        got=0
        LEAKDETECT_OPTIONS=report_at_exit=live:exitcode=6 $app leave 2>"$work/err" || got=$?
        [ $got -eq 6 ]
    done
}
check 'ld_default_options, and the environment counts more' compiled_in

asked_once() {
    cat >"$work/once.c" <<'END'
#include <stdlib.h>
#include <string.h>
static int calls;
const char *ld_default_options(void);
const char *ld_default_options(void)
{
    void *volatile block = malloc(10);
    block = realloc(block, 1000);
    free(block);
    calls++;
    return "exitcode=5";
}
static void *volatile kept;
/* More than there is room for, and then none of them. */
static __attribute__((noinline)) void fill_table(void)
{
    void **list = NULL, **next;
    for (int i = 0; i < 1200000; i++) {
        next = malloc(16);
        *next = list;
        kept = list = next;
    }
    for (; list != NULL; list = next) {
        next = *list;
        free(list);
    }
}
int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "fill") == 0)
        fill_table();
    kept = malloc(1337);
    kept = NULL;
    return calls != 1;
}
END
    $CC -g -rdynamic "$work/once.c" -o "$work/once"
    $CC -g "$work/once.c" -o "$work/once.linked" -L"$BUILD" -lleakdetect_malloc
    for app in "$command run $work/once" "$work/once.linked"; do
        for word in '' fill; do
            got=0
            LEAKDETECT_OPTIONS=exitcode=0 $app $word 2>"$work/err" || got=$?
            cat "$work/err"
            [ $got -eq 0 ]
            grep -q '^site 1: definitely lost: 1 block, 1,337 bytes' "$work/err"
        done
    done
}
check 'ld_default_options is called once, and what it has freed is no gap in the record' asked_once

no_command() {
    got=0
    "$command" frobnicate 2>"$work/err" || got=$?
    [ $got -eq 125 ]
    grep -q '^leakdetect: frobnicate: there is no such command$' "$work/err"
}
check 'no such command' no_command

nothing() {
    got=0
    "$command" >"$work/out" 2>"$work/err" || got=$?
    [ $got -eq 125 ]
    grep -q '^usage: leakdetect run' "$work/err"
    says 125 'no program to run' run
    says 125 'no program to run' run --
    says 125 '--nonsense=1: there is no option "nonsense"' run --nonsense=1 -- true
    says 125 '--exitcode=x: not a number$' run --exitcode=x -- true
    says 125 '--max-sites=x: not a number$' run --max-sites=x -- true
    long=$(printf '%03000d' 0)
    says 125 '--log_path=0*: too long$' run --log_path="$long$long" -- true
    says 125 '--log_path=0*: too long$' run --suppressions="$long" --log_path="$long" -- true
    LEAKDETECT_OPTIONS=suppressions=$long says 125 '--log_path=0*: too long$' run --log_path="$long" -- true
    says 125 '-x: there is no such option' run -x true
}
check 'says what it does not understand' nothing

cannot_run() {
    says 127 'no_such_program_at_all: not found' run no_such_program_at_all
    says 127 '/no/such: No such file' run /no/such
    echo text >"$work/text"
    says 126 '.*/text: may not be executed' run "$work/text"
    says 126 '.*/folder: is not a program' run "$work/folder"
    PATH=$work:$PATH says 126 'text: found, but may not be executed' run text
    $CC -static $source/ends.c -o "$work/static"
    says 126 '.*/static: is a static executable.*-lleakdetect_malloc' run "$work/static"
    printf '#!%s\n' "$work/static" >"$work/script"
    chmod +x "$work/script"
    says 126 '.*/static: is a static executable' run "$work/script"
}
check 'says why a program cannot be run' cannot_run

if [ "$(id -u)" -eq 0 ]; then
    set_uid() {
        cp "$work/app" "$work/set_uid"
        chown nobody "$work/set_uid"
        chmod u+s "$work/set_uid"
        says 126 '.*/set_uid: gets rights' run "$work/set_uid"
    }
    check 'says that nothing can be preloaded into a set-uid program' set_uid
else
    skip 'set-uid program' 'only root can make one'
fi

scripts() {
    printf '#!/bin/sh\nexec "%s" leave\n' "$work/app" >"$work/script"
    chmod +x "$work/script"
    "$command" run --log_path="$work/script.%e" "$work/script"
    grep -q '^site 1: 1 block, 1,337 bytes$' "$work/script.app"
}
check 'runs scripts' scripts

helps() {
    "$command" --help >"$work/help"
    "$command" run --help >"$work/run_help"
    diff "$work/help" "$work/run_help"
    for option in $(sed -n 's/^[A-Z]*(\([a-z_]*\),.*/\1/p' options.def); do
        grep -q "^  --$option=" "$work/help"
    done
    awk 'length > 100 { print; exit 1 }' "$work/help"
    "$command" --version | grep -qx 'leakdetect [0-9.]*'
}
check '--help and --version' helps

library() {
    LD_PRELOAD=$("$command" --library) LEAKDETECT_OPTIONS=report_at_exit=live:log_path=$work/by_hand "$work/app" leave
    grep -q '^site 1: 1 block, 1,337 bytes$' "$work/by_hand"
}
check '--library is what to preload' library

# Static, so that it runs in a root folder that has nothing else.
alone_at_the_root() {
    mkdir -p "$work/root/proc"
    $CC -static "$BUILD/whole/run.o" "$BUILD/whole/options.o" -o "$work/root/leakdetect"
    got=0
    # shellcheck disable=SC2016 # $1 is for the inner sh
    unshare -rm sh -c 'mount --rbind /proc "$1/proc" && exec chroot "$1" /leakdetect --library' - "$work/root" 2>"$work/err" || got=$?
    cat "$work/err"
    [ $got -eq 125 ]
    grep -q '^leakdetect: /lib/leakdetect/libleakdetect_malloc.so: No such file .* installed by' "$work/err"
}
if unshare -rm true 2>/dev/null; then
    check 'a command in the root folder says that it has no library' alone_at_the_root
else
    skip 'a command in the root folder' 'no namespaces of its own'
fi

documented() {
    same_make -s "$BUILD/whole/options_md" >&2
    "$BUILD/whole/options_md" | diff docs/options.md -
}
check 'docs/options.md is made from the table' documented

has man && manual() {
    man --warnings -l docs/leakdetect.1 >"$work/manual" 2>"$work/warnings"
    [ ! -s "$work/warnings" ]
    grep -q 'leakdetect run' "$work/manual"
} && check 'the manual page' manual

exit $failed
