#!/bin/sh
# Runs tests, one after the other, each with a deadline, and counts what they report in TAP: programs with cmocka, and
# checks written in sh (*.sh).  A test that crashes or hangs has failed, whatever it had reported.  Logs lie beside RESULT,
# which gets the three numbers and the names of what failed.  The last line is `N passed, N failed`.
#
#     test/run.sh RESULT TEST...
set -eu

result=$1
shift
logs=$(dirname "$result")/log
mkdir -p "$logs"
rm -f "$result"
deadline=${LEAKDETECT_TEST_DEADLINE:-300}
all_passed=0 all_failed=0 all_skipped=0 names=

for test in "$@"; do
    name=$(basename "$test")
    log=$logs/$name.log
    start=$(date +%s)
    status=0
    case $test in
    *.sh) timeout -k 10 "$deadline" sh "$test" >"$log" 2>&1 </dev/null || status=$? ;;
    *) CMOCKA_MESSAGE_OUTPUT=TAP timeout -k 10 "$deadline" "$test" >"$log" 2>&1 </dev/null || status=$? ;;
    esac
    seconds=$(($(date +%s) - start))

    # Planned tests that never reported were lost in a crash; the one that was running counts as failed.
    # shellcheck disable=SC2046 # three numbers
    set -- $(awk -v status="$status" '
        /^1\.\.[0-9]+$/            { planned += substr($0, 4); next }
        /^(not )?ok .*# SKIP/      { skipped++; next }
        /^ok /                     { passed++ }
        /^not ok /                 { failed++ }
        END {
            if (failed == 0 && (status != 0 || passed + skipped == 0 || passed + skipped < planned))
                failed = 1
            print passed + 0, failed + 0, skipped + 0
        }' "$log")
    all_passed=$((all_passed + $1)) all_failed=$((all_failed + $2)) all_skipped=$((all_skipped + $3))

    if [ "$2" -gt 0 ]; then
        echo "FAILED  $name: $1 passed, $2 failed, exit status $status ($seconds s); its log, $log:"
        names="$names $name"
        grep -v '^ok ' "$log" | tail -n 200 | sed 's/^/    | /'
    else
        echo "ok      $name: $1 passed ($seconds s)"
    fi
    sed -n 's/^.*# SKIP \{0,1\}/skipped: /p; s/^# note: /        /p' "$log"
done

echo "$all_passed $all_failed $all_skipped$names" >"$result"
[ "$all_skipped" -eq 0 ] || echo "$all_skipped skipped"
echo "$all_passed passed, $all_failed failed"
[ "$all_failed" -eq 0 ]
