#!/bin/sh
# Checks the architecture: every file at the top includes only what stands above it in the table of docs/design.md, and each
# thing that the library depends on is named in one place.  Comments do not count.
#
#     test/layers.sh [FOLDER]
set -eu
cd "${1:-.}"

table=docs/design.md
awk -v table="$table" '
BEGIN {
    # These are built on the public interface and little else.
    only["locate"] = " module loader trampoline "
    only["demangle"] = " leakdetect.h thread "
    only["views"] = " leakdetect.h config platform kernel maps elf_file module loader locate demangle "
    only["symbolize"] = " leakdetect.h platform bounded_wait maps elf_file module thread loader locate views demangle "
    only["sites"] = " leakdetect.h config kernel scratch "
    only["names"] = " leakdetect.h scratch "
    only["skip"] = " pattern "
    only["kept"] = " platform pattern "
    only["suppress"] = " scratch pattern kept names sites "
    only["suppress_file"] = " kernel pattern suppress "
    only["report_format"] = " leakdetect.h config text names sites suppress "
    only["report"] = " leakdetect.h platform text names sites skip suppress report_format "

    # What only these may name, as a pattern of code.
    door["(^|[^a-z_])([mrsdx]allocx|sdallocx|nallocx|mallctl|MALLOCX_)|<jemalloc/"] = "^backing"
    door["(^|[^a-z_])(unw_|UNW_)|<libunwind"] = "^(unwind|rules|iterate_phdr)"
    door["(^|[^a-z_])backtrace_(state|create|full|simple|pcinfo|syminfo)|<backtrace[.]h>"] = "^views"
    door["_demangle_|<libiberty/"] = "^demangle"
    door["(^|[^A-Za-z_])(Elf(32|64)?_|ElfW)"] = "^(elf_file|loaded|locate|roots|loader_lock|iterate_phdr)"
    door["(^|[^a-z_])syscall *[(]"] = "^(platform|kernel)"
}

# The row of the table that a file belongs to.
function noun(file) {
    if (file ~ /[.]def$/ || file == "leakdetect.h")
        return file
    sub(/[.][ch]$/, "", file)
    sub(/^unwind_.*/, "unwind", file)
    sub(/^report_.*/, "report_format", file)
    sub(/^backing_.*/, "backing", file)
    return file
}

function fault(text) {
    print FILENAME ":" FNR ": " text
    faults++
}

FILENAME == table {
    if (/^[|] `/) {
        split($0, quoted, "`")
        rank[noun(quoted[2])] = FNR
    }
    next
}

FNR == 1 {
    me = noun(FILENAME)
    in_comment = 0
    files++
    if (!(me in rank))
        fault("stands nowhere: give it a row in " table)
}

{
    code = $0
    if (in_comment) {
        if (!sub(/^.*[*][\/]/, "", code))
            next
        in_comment = 0
    }
    gsub(/[\/][*]([^*]|[*]+[^*\/])*[*]+[\/]/, " ", code)
    sub(/(^|[^:])[\/][\/].*$/, "", code)
    if (sub(/[\/][*].*$/, "", code))
        in_comment = 1
}

code ~ /^ *# *include *"/ {
    split(code, quoted, "\"")
    it = noun(quoted[2])
    if (it == me || it ~ /[.]def$/)
        next
    if (!(it in rank))
        fault("includes " quoted[2] ", which stands nowhere")
    else if (rank[it] >= rank[me])
        fault("includes " quoted[2] ", which does not stand above it in " table)
    else if (me in only && index(only[me], " " it " ") == 0)
        fault("includes " quoted[2] ", which it must do without")
}

{
    for (pattern in door)
        if (code ~ pattern && FILENAME !~ door[pattern])
            fault("names what only " substr(door[pattern], 2) " may: " $0)
}

END {
    if (faults > 0)
        exit 1
    print "layers: " files " files, no arrow points down"
}' "$table" *.h *.c
