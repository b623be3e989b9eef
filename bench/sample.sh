#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Makes test/streams.sample anew: four recorded streams, each up to where 13,106 blocks are alive, which is just below 80 %
# of the 16,384 that test/test_streams.c has room for.
set -eu
cd "$(dirname "$0")/.."

bench/streams.sh build/bench/streams
${CC:-cc} -std=c11 -O2 -o build/bench/sample bench/sample.c bench/measure.c
cd build/bench/streams
../sample 13106 cpython.stream perl.stream map_string.stream sqlite_schema.stream >../streams.sample
mv ../streams.sample ../../../test/streams.sample
