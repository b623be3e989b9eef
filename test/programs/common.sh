# What the checks of real programs share.  Sourced.
#
# A program is run plain, with the library preloaded, and by `leakdetect run`: what it prints, how it ends and the files
# that it makes must be the same each time, and it must leave a report.
# shellcheck shell=sh disable=SC2034 # variables are for who sources this
. test/check.sh

# Debian's own programs.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C.UTF-8 TZ=UTC

# Other users read and write there, too; and what is preloaded must be where they can read it.
here=$(pwd)
chmod 755 "$work"
mkdir -m 1777 "$work/reports"
cp -R "$BUILD/lib" "$BUILD/bin" "$work"
chmod -R a+rX "$work/lib" "$work/bin"
library=$work/lib/leakdetect/libleakdetect_malloc.so
options=report_at_exit=live:log_path=$work/reports/%e.%p

# Runs a command in one of the three ways, plain, preload or command, in a process that it is then itself.
way=plain
in_this_way() ( # COMMAND...
    case $way in
    plain | looked_at) exec "$@" ;;
    preload) LD_PRELOAD=$library LEAKDETECT_OPTIONS=$options${quiet:+:report_at_exit=none} exec "$@" ;;
    command) exec "$work/bin/leakdetect" run --report_at_exit=live --log_path="$work/reports/%e.%p" ${quiet:+--report_at_exit=none} -- "$@" ;;
    default) LD_PRELOAD=$library LEAKDETECT_OPTIONS=log_path=$work/reports/%e.%p${maps:+:use_mappings=1} exec "$@" ;;
    esac
)

# Runs it in a new folder of always the same name, and keeps all that comes of it under $work/WAY.
observe() { # COMMAND...
    rm -rf "$work/folder" "${work:?}/$way" "$work/reports"/*
    mkdir -p "$work/folder" "$work/$way"
    status=0
    (cd "$work/folder" && in_this_way timeout -k 5 100 "$@") >"$work/$way/out" 2>"$work/$way/err" </dev/null || status=$?
    echo "$status" >"$work/$way/status"
    (cd "$work/folder" && find . -type f -print0 | sort -z | xargs -0 -r md5sum) >"$work/$way/files"
}

# Every process has left a report, with its last line.  Some, as python's servers of forks, outlive who started them.
has_reports() {
    [ -z "${quiet:-}" ] || return 0
    ls "$work/reports"/* >/dev/null
    tries=0
    for report in "$work/reports"/*; do
        until tail -n 1 "$report" | grep -q '^total: '; do
            [ $((tries += 1)) -lt 100 ] || { echo "$report: $(cat "$report")" && exit 1; }
            sleep 0.1
        done
    done
}

is_as_plain() { # COMMAND...
    observe "$@"
    # A program that counts its descriptors would see ours.
    diff "$work/plain/status" "$work/$way/status"
    diff "$work/plain/out" "$work/$way/out"
    diff "$work/plain/err" "$work/$way/err"
    [ -n "${any_files:-}" ] || diff "$work/plain/files" "$work/$way/files"
    has_reports
}

# Reporting what is lost, a program has another exit status only if it has lost something.
loses_nothing() { # COMMAND...
    observe "$@"
    cat "$work/reports"/* | head -n 60
    diff "$work/plain/status" "$work/$way/status"
    diff "$work/plain/out" "$work/$way/out"
    [ "$(cat "$work/reports"/* | wc -c)" -eq 0 ]
}

ended_well() {
    cat "$work/plain/err"
    [ "$(cat "$work/plain/status")" -eq "${expected:-0}" ]
}

# same NAME PROGRAM COMMAND... ; $any_files: what it writes may be different each time; $expected: its exit status;
# $quiet: no reports, which would be too many; $maps: it has pointers in memory that it maps itself; $leaky: why it may lose
# blocks.
same() {
    what=$1 program=$2
    shift 2
    if ! has "$program"; then
        skip "$what" "there is no $program"
        return
    fi
    way=plain
    observe "$@"
    check "$what" ended_well
    for way in preload command; do
        check "$what: the same by $way" is_as_plain "$@"
    done
    way=default
    [ -n "${leaky:-}" ] || check "$what: nothing is lost" loses_nothing "$@"
    way=plain
}
