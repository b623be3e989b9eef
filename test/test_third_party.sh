#!/bin/sh
# A leak three calls and more inside a library of somebody else's, which has no debug information: it is named down to
# function, module and offset, with the whole stack through the library into the program.
. test/check.sh

lib=$PWD/$BUILD
library=
for file in /usr/lib/*/libxml2.so.2 /usr/lib/libxml2.so.2 /usr/lib64/libxml2.so.2; do
    [ ! -e "$file" ] || library=$file
done
if [ -z "$library" ]; then
    skip 'libxml2' 'there is no libxml2.so.2'
    exit 0
fi

# The stack of the site of so many bytes, a frame a line, without numbers and addresses.
stack() { # BYTES
    awk -v bytes="$1" '
        /^site / { is_it = $3 == 1 && $(NF - 1) == bytes }
        is_it && /^ +#/ { sub(/^ +#[0-9]+ +0x[0-9a-f]+ +/, ""); print }' "$work/report"
}

# Whether module+offset is inside the function, as the library's own table of symbols has it.
is_inside() { # FUNCTION OFFSET
    readelf --dyn-syms --wide "$library" | awk -v name="$1" '$8 == name || index($8, name "@") == 1 { print $2, $3 }' >"$work/symbol"
    read -r start size <"$work/symbol"
    [ $(($2)) -ge $((0x$start)) ]
    [ $(($2)) -lt $((0x$start + size)) ]
}

names_it() { # COMMAND...
    rm -f "$work/report"
    LEAKDETECT_OPTIONS=report_at_exit=live:log_path=$work/report "$@"
    cat "$work/report"
    stack 176 >"$work/stack"
    i=0
    for function in xmlNewDoc xmlSAX2StartDocument xmlParseDocument xmlReadMemory; do
        i=$((i + 1))
        frame=$(sed -n "${i}p" "$work/stack")
        echo "$frame" | grep -q "^$function (.*/libxml2.so.2+0x[0-9a-f]*)$"
        offset=${frame##*+}
        is_inside $function "${offset%)}"
    done
    sed -n 5p "$work/stack" | grep -q '^parse_prices (.*test/whole/parse.c:16)$'
    sed -n 6p "$work/stack" | grep -q '^main (.*test/whole/parse.c:21)$'
    grep -q '^_start ' "$work/stack"

    LEAKDETECT_OPTIONS=report_at_exit=live:log_path=$work/report "$@" free
    cat "$work/report"
    ! grep 'libxml2' "$work/report" || exit 1
}

for compiler in gcc clang; do
    has $compiler || continue
    $compiler -g test/whole/parse.c -o "$work/plain" "$library"
    $compiler -g test/whole/parse.c -o "$work/linked" "$library" -L"$lib" -lleakdetect_malloc
    check "$compiler, preloaded: a leak inside libxml2 is named, and there is none when it is freed" \
        names_it env LD_PRELOAD="$lib/lib/leakdetect/libleakdetect_malloc.so" "$work/plain"
    check "$compiler, by the command" names_it "$lib/bin/leakdetect" run -- "$work/plain"
    check "$compiler, linked" names_it "$work/linked"
done

exit $failed
