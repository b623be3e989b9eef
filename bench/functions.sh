#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Prints a C source with that many functions, for bench/symbols.c: function_N allocates N + 1 bytes.
#
#     functions.sh 10000 >functions.c
set -eu

awk -v count="$1" 'BEGIN {
    print "#include \"leakdetect.h\"\n"
    print "static void *volatile last; /* written after the call, so that the call is no jump */\n"
    for (i = 0; i < count; i++) {
        print "static __attribute__((noinline)) void *function_" i "(void)\n{"
        print "    void *block = ld_malloc(" i + 1 ");\n"
        print "    last = block;\n    return block;\n}\n"
    }
    print "extern void *(*const functions[])(void);\nextern const size_t function_count;"
    print "void *(*const functions[])(void) = {"
    for (i = 0; i < count; i++)
        print "    function_" i ","
    print "};\nconst size_t function_count = " count ";"
}'
