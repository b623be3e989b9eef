#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Prints tab-separated values as a table of Markdown: numbers to the right, a dash for what is empty.
#
#     bench/table.sh FILE
set -eu

awk -F '\t' '
    function print_row(   i) {
        printf "|"
        for (i = 1; i <= columns; i++)
            printf " %s |", $i == "" ? "-" : $i
        print ""
    }
    NR == 1 { columns = NF; heading = $0; next }
    NR == 2 {
        first = $0
        $0 = heading
        print_row()
        $0 = first
        printf "|"
        for (i = 1; i <= columns; i++)
            printf "%s|", $i ~ /^[-0-9.]*$/ ? "---:" : "---"
        print ""
    }
    { print_row() }' "$1"
