#!/bin/sh
# Ten seconds of `make soak`: a threaded server under load, in which lost blocks are looked for all the while.
. test/check.sh

${CC:-cc} -std=gnu11 -O2 -g -I. -o "$work/soak" test/soak/soak.c -L"$BUILD" -lleakdetect_malloc -lpthread
LEAKDETECT_OPTIONS=report_at_exit=none "$work/soak" 10
