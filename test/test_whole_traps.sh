#!/bin/sh
# What broke other tools that stand under a whole program: each in a program that knows nothing of the library, plain, with
# the library preloaded, and with it linked.  The program must notice nothing, and what it has lost, and no more, must be
# in the report.
. test/check.sh

library=$PWD/$BUILD
preload=$library/lib/leakdetect/libleakdetect_malloc.so
: "${CC:=gcc}"

$CC -g -O1 -pthread test/whole/traps.c -o "$work/plain"
$CC -g -O1 -pthread test/whole/traps.c -o "$work/linked" -L"$library" -lleakdetect_malloc
$CC -g -O1 -rdynamic test/whole/refused.c -o "$work/refused"
$CC -g -O1 -rdynamic test/whole/refused.c -o "$work/refused_linked" -L"$library" -lleakdetect_malloc
for i in 0 1 2; do
    $CC -g -O1 -fPIC -shared -DNUMBER=$i test/whole/traps_plugin.c -o "$work/plugin$i.so"
done

# Blocks of that size in the report.
blocks() { # SIZE REPORT
    awk -v size="$1" '/^site / && $NF == "bytes" { gsub(",", ""); if ($5 == size * $3) n += $3 } END { print n + 0 }' "$2"
}

# runs WAY WORD ; $options besides
runs() {
    rm -rf "$work/reports"
    mkdir "$work/reports"
    program=$work/plain
    settings=LEAKDETECT_OPTIONS=report_at_exit=live:log_path=$work/reports/%p${options:+:$options}
    case $1 in
    preloaded) settings="LD_PRELOAD=$preload $settings" ;;
    linked) program=$work/linked ;;
    esac
    # shellcheck disable=SC2086 # words
    timeout -k 5 120 env $settings "$program" "$2" "$work" >"$work/out" 2>"$work/err" || { echo "exit status $?" && cat "$work/err" && exit 1; }
    echo "$2" | diff - "$work/out"
    diff /dev/null "$work/err"
    [ "$1" != plain ] || return 0
    case ${options:-} in *report_at_exit=none*) return 0 ;; esac
    for report in "$work/reports"/*; do
        tail -n 1 "$report" | grep '^total: '
        [ "$(blocks 666 "$report")" -eq 3 ] || [ -n "${children:-}" ]
        [ "$(blocks 1337 "$report")" -eq 0 ] || [ -n "${children:-}" ]
    done
}

trap_is_harmless() { # NAME WORD
    for way in plain preloaded linked; do
        check "$1: $way" runs $way "$2"
    done
}

trap_is_harmless 'libraries come and go, by four threads, and allocate in constructors' libraries
trap_is_harmless 'the loader allocates data of threads' loader
options=report_at_exit=none
trap_is_harmless 'a thousand forks from 33 threads' forks
options=
# A child that was forked has what its parent's threads had in hand.
children=yes
trap_is_harmless 'forked children that report' forks_that_exit
options=children=ignore
children=
trap_is_harmless 'vfork, posix_spawn, system, popen' spawns
options=
trap_is_harmless "threads end by pthread_exit, and destructors of their data allocate" thread_data
trap_is_harmless 'ten thousand threads' many_threads
trap_is_harmless 'the smallest stacks' smallest_stacks
trap_is_harmless 'a thousand signals each second' signals
trap_is_harmless 'timers that start threads' timers
trap_is_harmless 'a hundred coroutines' stack_switching
trap_is_harmless 'no bytes, and too many' sizes
trap_is_harmless 'deep recursion' deep
trap_is_harmless 'stacks that begin with the address of a function' stacks_by_hand
trap_is_harmless 'descriptors that it does not know are closed, and taken' descriptors

# Of what is forbidden to it the program calls nothing.
is_shut_in() { # COMMAND...
    LEAKDETECT_OPTIONS=log_path=$work/reports.%p "$@"
}
# The program must not be killed for what lets its calls wait on, nor the look for what it could do without.
is_looked_into_shut_in() {
    status=0
    LEAKDETECT_OPTIONS=check_signal=USR2 "$@" 2>"$work/said" || status=$?
    [ $status -eq 23 ]
    grep -q 'definitely lost: 1 block, 1,337 bytes' "$work/said"
}
status=0
$CC -g -O1 test/whole/sandbox_waits.c -o "$work/sandbox_waits" -lpthread
LEAKDETECT_OPTIONS='' timeout 5 "$work/sandbox_waits" || status=$?
if [ $status -ne 77 ]; then
    check 'a sandbox by seccomp(2) that allows little to wait with' is_looked_into_shut_in env LD_PRELOAD="$preload" "$work/sandbox_waits"
else
    skip 'a sandbox by seccomp(2)' 'there is no seccomp'
fi

$CC -g -O1 test/whole/sandbox.c -o "$work/sandbox"
$CC -g -O1 test/whole/sandbox.c -o "$work/sandbox_linked" -L"$library" -lleakdetect_malloc
if "$work/sandbox"; then
    check 'sandboxes that kill who calls more than they allow: preloaded' is_shut_in env LD_PRELOAD="$preload" "$work/sandbox"
    check 'sandboxes that kill who calls more than they allow: linked' is_shut_in "$work/sandbox_linked"
else
    skip 'a sandbox' 'there is no seccomp'
fi

if nm -D "$preload" | grep -q ' dl_iterate_phdr$'; then
    $CC -g -O1 test/whole/callback.c -o "$work/callback" -lpthread
    check 'a callback of dl_iterate_phdr that allocates' \
        timeout -s KILL 100 env LD_PRELOAD="$preload" LEAKDETECT_OPTIONS=report_at_exit=none "$work/callback"
else
    skip 'a callback of dl_iterate_phdr that allocates' 'nothing is done for it in this build'
fi

# The loader's lock is found all the same where the first block of all is allocated with another of its locks held.
$CC -g -O1 -fPIC -shared test/whole/optional.c -o "$work/liboptional.so" -ldl
for way in plain linked; do
    case $way in plain) with= ;; linked) with="-L$library -lleakdetect_malloc" ;; esac
    # shellcheck disable=SC2086 # words
    $CC -g -O1 -pthread test/whole/held_loader.c -o "$work/held_loader_$way" -L"$work" -Wl,-rpath,"$work" -loptional $with
done
nobody_hangs() { # ANSWER COMMAND...
    answer=$1
    shift
    LEAKDETECT_OPTIONS=report_at_exit=none timeout -s KILL 200 "$@" >"$work/out"
    printf '%s\n0 hung\n' "$answer" | diff - "$work/out"
}
check "the first block is dlsym's, the loader's lock is held: plain" nobody_hangs 'nobody to ask' "$work/held_loader_plain"
check "the first block is dlsym's, the loader's lock is held: preloaded" nobody_hangs EAGAIN env LD_PRELOAD="$preload" "$work/held_loader_plain"
check "the first block is dlsym's, the loader's lock is held: linked" nobody_hangs EAGAIN "$work/held_loader_linked"

passes_on() {
    LEAKDETECT_OPTIONS=log_path=$work/report LD_PRELOAD=$preload "$work/passes_on" >"$work/out"
    echo all | diff - "$work/out"
}
$CC -g -O0 test/whole/passes_on.c -o "$work/passes_on" -ldl
check 'a dl_iterate_phdr of the program, which passes on what others ask' passes_on

mkdir "$work/plugins"
$CC -g -O1 -fPIC -shared -DPLUGIN test/whole/deepbind.c -o "$work/plugins/libdeepbind.so"
# shellcheck disable=SC2016 # $ORIGIN is the loader's
$CC -D_GNU_SOURCE -g -O1 test/whole/deepbind.c -o "$work/deepbind" -Wl,-rpath,'$ORIGIN/plugins',--enable-new-dtags -ldl
binds_deep() { # COMMAND...
    rm -f "$work/report"
    LEAKDETECT_OPTIONS=report_at_exit=live:log_path=$work/report "$@" | diff - "$work/end"
}
binds_deep_and_is_recorded() {
    binds_deep env LD_PRELOAD="$preload" "$work/deepbind"
    [ "$(blocks 1337 "$work/report")" -eq 1 ]
    grep '  exchange (.*deepbind.c:' "$work/report"
}
echo end >"$work/end"
check 'a library that is opened with RTLD_DEEPBIND: plain' binds_deep "$work/deepbind"
check 'a library that is opened with RTLD_DEEPBIND: preloaded' binds_deep_and_is_recorded

refuses_memory() { # COMMAND...
    # What is freed goes back at once.
    times=$(MALLOC_CONF=dirty_decay_ms:0,muzzy_decay_ms:0 LEAKDETECT_OPTIONS=report_at_exit=none "$@")
    [ "$times" -gt 0 ]
}
check 'a kernel that takes no memory back: preloaded' refuses_memory env LD_PRELOAD="$preload" "$work/refused"
check 'a kernel that takes no memory back: linked' refuses_memory "$work/refused_linked"
(
    # shellcheck disable=SC3045 # every sh that there is on Linux has it
    ulimit -v 600000
    trap_is_harmless 'no more memory' until_memory_is_out
    exit $failed
) || failed=1
(
    # shellcheck disable=SC3045
    ulimit -s unlimited
    trap_is_harmless 'stacks without limit' many_threads
    exit $failed
) || failed=1

# A program that is asked for reports notices nothing.
waits() { # STATUS WORD WAY
    want=$1 got=0 program=$work/waits settings=
    case $3 in
    preloaded) settings="LD_PRELOAD=$preload" ;;
    linked) program=$work/waits_linked ;;
    esac
    # shellcheck disable=SC2086 # words
    timeout -s KILL 30 env $settings LEAKDETECT_OPTIONS="report_at_exit=none:$option=USR2:log_path=$work/report" "$program" "$2" >"$work/out" 2>&1 || got=$?
    sed -i '/^Bad system call$/d' "$work/out" # says sh
    [ $got -eq 77 ] && [ "$2" = killed ] || [ $got -eq "$want" ] || { echo "exit status $got, not $want" && exit 1; }
    diff /dev/null "$work/out"
}
${CC:-gcc} -g -O1 -pthread test/whole/waits.c -o "$work/waits"
${CC:-gcc} -g -O1 -pthread test/whole/waits.c -o "$work/waits_linked" "-L$library" -lleakdetect_malloc
for option in signal check_signal; do
    for way in preloaded linked; do
        if [ "$(uname -m)" = x86_64 ]; then
            check "$option: calls that wait are not interrupted: $way" waits 0 calls $way
        else
            skip "$option: calls that wait are not interrupted: $way" 'they are restarted on x86-64 only'
        fi
        check "$option: a signal of the program's own interrupts them: $way" waits 0 own $way
        check "$option: the main thread ends, and the program with it: $way" waits 3 exit $way
        check "$option: the main thread is killed, and the program with it: $way" waits 159 killed $way
    done
done

# So it is if it has signal handlers; what is lost is said, with a seed.
is_handled() { # WORDS WAY
    program=$work/handled settings=
    case $2 in
    preloaded) settings="LD_PRELOAD=$preload" ;;
    linked) program=$work/handled_linked ;;
    esac
    # shellcheck disable=SC2086 # words
    timeout -s KILL 120 env $settings LEAKDETECT_OPTIONS="report_at_exit=none:$option=USR2:log_path=$work/report" "$program" $1 >"$work/out" 2>&1
    diff /dev/null "$work/out"
}
# In the frame of such a call nothing is held, but by what the program has given to it.
lends() { # PROGRAM...
    for strict in 0 1; do
        status=0
        LEAKDETECT_OPTIONS=check_signal=USR2:strict_stack=$strict:log_path=$work/lent timeout -s KILL 30 "$@" lend || status=$?
        [ $status -eq $((23 * strict)) ] || { echo "exit status $status" && exit 1; }
    done
    grep '^site 1: definitely lost but for what looks dead: 1 block, 4,003 bytes' "$work/lent"
}
${CC:-gcc} -g -O1 -pthread test/whole/handled.c -o "$work/handled"
${CC:-gcc} -g -O1 -pthread test/whole/handled.c -o "$work/handled_linked" "-L$library" -lleakdetect_malloc
for option in signal check_signal; do
    for way in preloaded linked; do
        if [ "$(uname -m)" = x86_64 ]; then
            check "$option: calls go on where there are signal handlers: $way" is_handled calls $way
            check "$option: calls that go on are left, and need no signal stack: $way" is_handled threads $way
            check "$option: signals of the program's own are not lost: $way" is_handled 'storm 20000' $way
        else
            skip "$option: calls go on where there are signal handlers: $way" 'they do on x86-64 only'
        fi
    done
done
if [ "$(uname -m)" = x86_64 ]; then
    check 'what a call that goes on has been lent is held by nothing that lives' lends env LD_PRELOAD="$preload" "$work/handled"
fi

# The thread that writes reports has as much of its stack left as a report needs, whatever is thread-local.
# A handler at an instruction of which the compiler's unwind information is wrong.
steps_through_an_epilogue() { # COMMAND...
    timeout -k 5 120 env LEAKDETECT_OPTIONS=report_at_exit=live:format=folded:log_path="$work/report" "$@" >"$work/out"
    echo 10 end | diff - "$work/out"
    [ "$(grep -c 'main;.*realigned;.*on_step' "$work/report")" -gt 10 ]
    [ "$(grep -c on_step "$work/report")" -eq "$(grep -c 'main;.*on_step' "$work/report")" ]
}
if [ "$(uname -m)" = x86_64 ]; then
    $CC -g -O2 test/whole/epilogue.c -o "$work/epilogue"
    $CC -g -O2 test/whole/epilogue.c -o "$work/epilogue_linked" -L"$library" -lleakdetect_malloc
    check 'a handler allocates at each instruction of an epilogue: preloaded' steps_through_an_epilogue env LD_PRELOAD="$preload" "$work/epilogue"
    check 'a handler allocates at each instruction of an epilogue: linked' steps_through_an_epilogue "$work/epilogue_linked"
fi

# Thread-local storage for which the loader has kept room comes late; and C++, of which the program knows nothing.
${CXX:-g++} -g -O1 -fPIC -shared test/whole/later_library.cc -o "$work/later.so"
$CC -g -O1 test/whole/later.c -o "$work/later" -ldl
reports_what_came_late() {
    status=0
    timeout -k 5 120 env GLIBC_TUNABLES=glibc.rtld.optional_static_tls=70000 LD_PRELOAD="$preload" \
        "$work/later" "$work/later.so" 2>"$work/err" || status=$?
    [ $status -eq 23 ]
    grep '^total: 1 block, 1,337 bytes' "$work/err"
    grep ' later::Deep::lose(int) ' "$work/err"
}
check 'what the thread-local storage of a library that is opened late holds, and its names' reports_what_came_late

reports_on_signal() { # COMMAND...
    rm -f "$work/report"
    LEAKDETECT_OPTIONS=report_at_exit=none:signal=USR2:log_path=$work/report timeout -k 5 120 "$@" "$work/report" >"$work/out"
    echo end | diff - "$work/out"
    [ "$(blocks 666 "$work/report")" -eq 1 ]
    grep -q 'int allocate<nested<.*nested<int>' "$work/report"
}
# Without that thread the signal does nothing.
ignores_signal() { # COMMAND...
    (
        # shellcheck disable=SC3045
        ulimit -v 700000
        LEAKDETECT_OPTIONS=report_at_exit=none:signal=USR2 timeout -k 5 120 "$@" >"$work/out" 2>"$work/err"
    )
    echo end | diff - "$work/out"
    grep '^leakdetect: signal 12 cannot ask for reports: ' "$work/err"
}
# Bytes for which the stack was once too small for the demangler, and for the thread, and more than there are.
for bytes in 204800 307200 16777216 400000000; do
    for way in preloaded linked static; do
        program=$work/thread_local
        libraries="-L$library -lleakdetect_malloc"
        case $way in
        preloaded)
            libraries=''
            program="env LD_PRELOAD=$preload $program"
            ;;
        static) libraries="-static $libraries" ;;
        esac
        # shellcheck disable=SC2086 # words
        ${CXX:-g++} -g -O1 -DBYTES=$bytes test/whole/thread_local.cc -o "$work/thread_local" $libraries
        if [ $bytes -lt 400000000 ]; then
            check "$bytes bytes of thread-local data: $way" reports_on_signal $program
        else
            check "no room for one thread more: $way" ignores_signal $program
        fi
    done
done

exit $failed
