#!/bin/sh
# Checks the architecture (docs/design.md): every file at the top includes only what stands below it, and each thing that
# the library depends on is named in one place.  Comments do not count.
#
#     test/layers.sh [FOLDER]
set -eu
cd "${1:-.}"

awk '
BEGIN {
    # Low to high; files of one line know nothing of each other.
    rank["config.h"] = rank["leakdetect.h"] = rank["options.def"] = rank["kept.def"] = 0
    rank["platform"] = 1
    rank["ours"] = 0.5
    rank["backing_libc"] = rank["elf_file"] = rank["text"] = rank["scratch"] = rank["pattern"] = 2
    rank["backing_private"] = rank["options"] = rank["destination"] = rank["unwind_pipe"] = 2
    rank["tasks"] = 2.3
    rank["restart"] = 2.5
    rank["backing"] = rank["module"] = rank["given"] = 3
    rank["kernel"] = 2
    rank["pages"] = 2.5
    rank["maps"] = rank["stop"] = 3
    rank["withheld"] = rank["tcb"] = rank["collapse"] = 3.4
    rank["snapshot"] = 3.5
    rank["blockmap"] = rank["stackmap"] = rank["roots"] = rank["interior"] = rank["gaps"] = 4
    rank["mapped"] = 4.5
    rank["path"] = rank["rules"] = rank["reach"] = 5
    rank["trail"] = 6
    rank["shortcuts"] = 6.5
    rank["thread"] = 7
    rank["sampling"] = 8
    rank["walk"] = 8.5
    rank["unwind"] = rank["unwind_common"] = rank["unwind_generic"] = rank["unwind_check"] = rank["unwind_exit"] = 8
    rank["locate"] = 4
    rank["loader_lock"] = 2.1
    rank["loader"] = 2.2
    rank["demangle"] = 8
    rank["views"] = 8.5
    rank["symbolize"] = rank["sites"] = rank["names"] = rank["skip"] = rank["kept"] = rank["helper"] = 9
    rank["suppress"] = 10
    rank["report_format"] = rank["suppress_file"] = 11
    rank["report"] = 12
    rank["check"] = 13
    rank["leakdetect.c"] = rank["whole"] = rank["knobs"] = rank["heap_pages"] = 14
    rank["sandbox"] = rank["sigmask"] = rank["sigstack"] = 13
    rank["lsan"] = 15
    rank["jump"] = 1
    rank["operators"] = rank["deepbind"] = rank["iterate_phdr"] = 2

    # These are built on the public interface and little else.
    only["locate"] = " module loader "
    only["demangle"] = " leakdetect.h thread "
    only["views"] = " leakdetect.h config.h platform elf_file module loader locate demangle "
    only["symbolize"] = " leakdetect.h platform elf_file module thread loader locate views demangle "
    only["sites"] = " leakdetect.h config.h platform scratch "
    only["names"] = " leakdetect.h scratch "
    only["skip"] = " pattern "
    only["kept"] = " platform pattern kept.def "
    only["suppress"] = " scratch pattern kept names sites "
    only["suppress_file"] = " platform pattern suppress "
    only["report_format"] = " leakdetect.h config.h text names sites suppress "
    only["report"] = " leakdetect.h platform text names sites skip suppress report_format "

    # What only these may name, as a pattern of code.
    door["(^|[^a-z_])([mrsdx]allocx|sdallocx|nallocx|mallctl|MALLOCX_)|<jemalloc/"] = "^backing"
    door["(^|[^a-z_])(unw_|UNW_)|<libunwind"] = "^(unwind|rules|iterate_phdr)"
    door["(^|[^a-z_])backtrace_(state|create|full|simple|pcinfo|syminfo)|<backtrace[.]h>"] = "^views"
    door["(^|[^A-Za-z_])(Elf(32|64)?_|ElfW)"] = "^(elf_file|module|locate|roots|loader_lock|iterate_phdr)"
    door["(^|[^a-z_])syscall *[(]"] = "^(platform|kernel)"
}

function noun(file) {
    if (file in rank)
        return file
    sub(/[.][ch]$/, "", file)
    sub(/^unwind_.*/, "unwind", file)
    sub(/^report_.*/, "report_format", file)
    return file
}

function fault(text) {
    print FILENAME ":" FNR ": " text
    faults++
}

FNR == 1 {
    me = noun(FILENAME)
    in_comment = 0
    files++
    if (!(me in rank))
        fault("stands nowhere: give it a rank in test/layers.sh")
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
    if (it == me)
        next
    if (!(it in rank))
        fault("includes " quoted[2] ", which stands nowhere")
    else if (rank[it] >= rank[me])
        fault("includes " quoted[2] ", which does not stand below it")
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
    print "layers: " files " files, no arrow points up"
}' *.h *.c
