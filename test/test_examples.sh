#!/bin/sh
# The example programs from outside.  What wordcount forgets is counted a second time, in awk, from the same
# text; what README shows is what examples/hello.c is and prints.
#
#     BUILD=build/default sh test/test_examples.sh     (after `make examples`)
# shellcheck disable=SC2317 # functions are called through check
. test/check.sh
export LC_ALL=C

examples=$(realpath "$BUILD")/examples
sources=$(realpath examples)
golden=$(realpath test/golden)
lib=$(realpath "$BUILD")
readme=$(realpath README.md)
top=$PWD
running=
trap '[ -z "$running" ] || kill "$running" 2>/dev/null || :; rm -rf "$work"' EXIT
cd "$work"

# The line of an example that has the text.
line_of() { # FILE TEXT
    grep -nF "$2" "$sources/$1" | cut -d: -f1
}

exits_with() { # STATUS COMMAND...
    expected=$1
    shift
    status=0
    "$@" || status=$?
    echo "exit status $status instead of $expected"
    [ "$status" -eq "$expected" ]
}

# --- wordcount -----------------------------------------------------------------------------------------

# Each site of a report as "4 blocks, 120 bytes|function|line".
sites_of() { # REPORT
    awk '
        /^site / {
            sub(/^site [0-9]+: /, "")
            tally = $0
            getline
            line = $0
            sub(/.*:/, "", line)
            sub(/\)$/, "", line)
            print tally "|" $3 "|" line
        }' "$1" | sort
}

# The same, as it follows from the text and the source.
expected_sites() { # TEXT
    tr -cs 'A-Za-z' '\n' <"$1" | awk \
        -v line_long="$(line_of wordcount.c 'char *word = checked(ld_strndup(')" \
        -v line_spelling="$(line_of wordcount.c 'entry->spelling = checked(ld_strndup(')" \
        -v line_removed="$(line_of wordcount.c 'checked(ld_strdup(word))')" \
        -v line_first="$(line_of wordcount.c 'table->buckets = checked(ld_calloc(')" \
        -v line_grown="$(line_of wordcount.c 'bigger.buckets = checked(ld_calloc(')" '
        function grouped(n) {
            return n < 1000 ? n "" : grouped(int(n / 1000)) sprintf(",%03d", n % 1000)
        }
        function site(blocks, bytes, name, line) {
            if (blocks > 0)
                print grouped(blocks) " block" (blocks == 1 ? "" : "s") ", " \
                      grouped(bytes) " bytes|" name "|" line
        }
        BEGIN {
            buckets = 64
            removed_count = split("a and in is of or that the to you", removed)
        }
        length($0) == 0 { next }
        length($0) > 14 {
            long_blocks++
            long_bytes += length($0) + 1
            next
        }
        {
            word = tolower($0)
            if (!(word in known)) {
                if (words == buckets) {
                    if (buckets == 64)
                        first_blocks = 1
                    else {
                        grown_blocks++
                        grown_bytes += 8 * buckets
                    }
                    buckets *= 2
                }
                known[word] = 1
                words++
            }
            if (word != $0) {
                if (word in spelled) {
                    spelling_blocks++
                    spelling_bytes += length($0) + 1
                }
                spelled[word] = 1
            }
        }
        END {
            for (i = 1; i <= removed_count; i++)
                if (removed[i] in known) {
                    removed_blocks++
                    removed_bytes += length(removed[i]) + 1
                }
            site(long_blocks, long_bytes, "count_word", line_long)
            site(spelling_blocks, spelling_bytes, "set_spelling", line_spelling)
            site(removed_blocks, removed_bytes, "table_insert", line_removed)
            site(first_blocks, 8 * 64, "table_init", line_first)
            site(grown_blocks, grown_bytes, "table_grow", line_grown)
        }' | sort
}

expected_top() { # TEXT
    tr -cs 'A-Za-z' '\n' <"$1" | awk 'length($0) > 0 && length($0) <= 14 { print tolower($0) }' |
        grep -vxE 'a|and|in|is|of|or|that|the|to|you' | sort | uniq -c | sort -k1,1nr -k2,2 |
        head -n 10 | awk '{ print $1, $2 }'
}

wordcount_is_right_on() { # TEXT
    "$examples/wordcount" "$1" >output || return 1
    sites_of output >sites
    expected_sites "$1" >expected
    diff expected sites || return 1
    awk '/^ +[0-9]+ [a-z]/ { print $1, $2 } /^leakdetect/ { exit }' output >top
    expected_top "$1" | diff - top || return 1
    grep -q '^leakdetect uses [0-9]* bytes for itself' output &&
        grep -q '^  dropped:    0 blocks, 0 bytes' output &&
        grep -q "^total: .*, at $(wc -l <expected | tr -d ' ') call sites*$" output
}

awk 'BEGIN {
    for (i = 0; i < 30000; i++) {
        n = i * i % 7919
        word = n % 3 == 0 ? "W" : "w"
        for (; n > 0; n = int(n / 26))
            word = word substr("abcdefghijklmnopqrstuvwxyz", n % 26 + 1, 1)
        print word, i % 11 == 0 ? "incomprehensibilities" : "The", "\0\377"
    }
}' >many_words
: >nothing
printf 'noNewlineAtTheEndAndTooLong' >one_word
text=/usr/share/common-licenses/GPL-3
[ -r "$text" ] || text=many_words

check 'wordcount: every forgotten call site of a licence, with function, line and exact counts' wordcount_is_right_on "$text"
check 'wordcount: the same for 30,000 lines' wordcount_is_right_on many_words
check 'wordcount: a forgotten block and nothing else' wordcount_is_right_on one_word
check 'wordcount: an empty text leaves nothing' wordcount_is_right_on nothing

fails_saying() { # STATUS TEXT COMMAND...
    expected_text=$2
    expected_status=$1
    shift 2
    exits_with "$expected_status" "$@" 2>errors || return 1
    cat errors
    grep -qF -- "$expected_text" errors
}

demo_takes_any_name() {
    cp one_word "it's any text"
    (cd "$top" && same_make demo FILE="$work/it's any text") >output || return 1
    cat output
    grep -q '^total: 1 block, 28 bytes, at 1 call site$' output
}
check 'make demo: a file with spaces and a quote in its name' demo_takes_any_name

check 'wordcount: a file that is not there' fails_saying 1 'wordcount: no/such: No such file or directory' "$examples/wordcount" no/such
check 'wordcount: a folder' fails_saying 1 'wordcount: .: Is a directory' "$examples/wordcount" .
check 'wordcount: too many arguments' fails_saying 2 'usage: wordcount [FILE]' "$examples/wordcount" a b
check 'wordcount: an option' fails_saying 2 'usage: wordcount [FILE]' "$examples/wordcount" --help
wordcount_to_full_disk() {
    "$examples/wordcount" one_word >/dev/full
}
check 'wordcount: no room for its output' fails_saying 1 'No space left on device' wordcount_to_full_disk

# --- ctrl_c --------------------------------------------------------------------------------------------

# Waits up to ten seconds.
until_true() { # COMMAND...
    tries=100
    until "$@" 2>/dev/null; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.1
    done
}

is_complete() {
    tail -n 1 leaks.txt | grep -q '^total: '
}

interrupt() {
    rm -f leaks.txt
    kill -INT "$running" && until_true is_complete
}

# Blocks and bytes as listed are the totals of the last line, and every block has a frame.
listing_adds_up() {
    awk '
        / bytes$/ {
            blocks++
            bytes += $2
            if (!has_frame)
                bare++
            has_frame = 0
        }
        /^    0x/ { has_frame = 1 }
        /^total: / {
            is_whole = $2 == blocks && $4 == bytes && bare <= 1 && has_frame && blocks > 0
            is_whole = is_whole && /leakdetect uses [1-9][0-9]* bytes for itself$/
        }
        END { exit !is_whole }' leaks.txt
}

names_its_source() {
    grep -q '^    0x[0-9a-f]* do_job (.*ctrl_c\.c:[0-9]*)$' leaks.txt &&
        grep -q '^    0x[0-9a-f]* work (.*ctrl_c\.c:[0-9]*)$' leaks.txt
}

total_blocks() {
    sed -n 's/^total: \([0-9]*\) blocks.*/\1/p' leaks.txt
}

has_more_blocks_than() { # COUNT
    interrupt && [ "$(total_blocks)" -gt "$1" ]
}

is_running() {
    kill -0 "$running"
}

ends_on_sigterm() {
    kill -TERM "$running"
    until_true test -s ctrl_c.status
    [ "$(cat ctrl_c.status)" -eq 0 ]
}

{
    "$examples/ctrl_c" 100 2>ctrl_c.log &
    echo $! >ctrl_c.pid
    status=0
    wait $! || status=$?
    echo "$status" >ctrl_c.status
} &
until_true grep -q 'Ctrl-C writes' ctrl_c.log
running=$(cat ctrl_c.pid)
sleep 0.5 # for the first hundred jobs
check 'ctrl_c: Ctrl-C lists the live blocks' interrupt
check 'ctrl_c: the list adds up' listing_adds_up
check 'ctrl_c: frames have function, file and line' names_its_source
check 'ctrl_c: the program goes on' is_running
check 'ctrl_c: and forgets more' until_true has_more_blocks_than "$(total_blocks)"
check 'ctrl_c: the longer list adds up too' listing_adds_up
check 'ctrl_c: SIGTERM ends it well' ends_on_sigterm
check 'ctrl_c: ends by itself when asked to' exits_with 0 "$examples/ctrl_c" 1
for wrong in 0 -1 1x '' 100000; do
    check "ctrl_c: \"$wrong\" is no number of seconds" fails_saying 2 'usage: ctrl_c [SECONDS]' "$examples/ctrl_c" "$wrong"
done

# --- sqlite --------------------------------------------------------------------------------------------

# A site whose stack goes through libsqlite3 into the line that prepares the statement, and on to main.
statement_is_found() {
    "$examples/sqlite" >output || return 1
    cat output
    awk -v line="$(line_of sqlite.c 'sqlite3_prepare_v2(database, query')" '
        BEGIN {
            RS = ""
            found = "sqlite3_prepare_v2 \\([^ ]*libsqlite3[^ ]*\\)\n" \
                    " *#[0-9]+  0x[0-9a-f]+ +print_first_city \\([^ ]*sqlite\\.c:" line "\\)\n" \
                    " *#[0-9]+  0x[0-9a-f]+ +main \\([^ ]*sqlite\\.c:[0-9]+\\)\n"
        }
        /^site / && $0 ~ found { sites++ }
        END { exit sites == 0 }' output
}

finalized_statement_is_not() {
    ! grep -q ' count_cities (' output
}

if [ -x "$examples/sqlite" ]; then
    check 'sqlite: the forgotten statement, through libsqlite3 into the program' statement_is_found
    check 'sqlite: nothing of the finalized one' finalized_statement_is_not
fi

# --- hello and README ------------------------------------------------------------------------------------

# Addresses, the process, the folder and all that lies outside main differ from one machine to the next.
normalised() {
    sed -E 's/0x[0-9a-f]+/0x.../; s/process [0-9]+, .*/process .../; s/\([^ ]*hello\.c/(hello.c/
            s/(own memory: )[0-9,]+/\1.../' | awk '
        / main \(/ {
            print
            beyond_main = 1
        }
        /^$/ { beyond_main = 0 }
        !beyond_main { print }'
}

hello_is_golden() {
    "$examples/hello" >output || return 1
    [ -z "${UPDATE_GOLDEN-}" ] || normalised <output >"$golden/hello.txt"
    normalised <output | diff "$golden/hello.txt" -
}

# The first fenced block of README is the program, and the second one what it prints.
readme_block() { # NUMBER
    awk -v number="$1" '/^```/ { if (!inside) block++; inside = !inside; next } inside && block == number' "$readme"
}

readme_shows_hello() {
    readme_block 1 | diff - "$sources/hello.c" | grep '^[<>]' | grep -v SPDX-License && return 1
    readme_block 1 >hello.c
    ${CC:-gcc} -std=gnu11 -g -Og -fno-inline -I"$top" -o from_readme hello.c -L"$lib" -lleakdetect
    ./from_readme | normalised >printed
    readme_block 2 | normalised | diff printed -
}

check 'hello: prints what it always did' hello_is_golden
check 'README: shows hello.c and what it prints' readme_shows_hello

exit $failed
