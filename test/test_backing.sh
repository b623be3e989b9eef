#!/bin/sh
# ld_malloc and ld_free stand on jemalloc's malloc and free where these are what a program has, and on mallocx and dallocx
# where another malloc has come before them (backing.c): then none of that one's blocks must get into jemalloc, or the other
# way round.
. test/check.sh

build_app() { # NAME ARGUMENT...
    name=$1
    shift
    gcc -g -O2 -Wall -Wextra -Werror -I. test/backing/app.c -o "$work/$name" "$@"
}
build_other() { # NAME FLAG
    gcc -g -O2 -fno-builtin -Wall -Wextra -Werror -fPIC -shared test/backing/other_malloc.c -o "$work/$1.so" "$2" -ldl
}
shared="$BUILD/libleakdetect_core.a -ljemalloc -lgcc_s -lunwind -lm"

# shellcheck disable=SC2086 # words
check 'jemalloc in the program' build_app inside -L"$BUILD" -lleakdetect
# shellcheck disable=SC2086
check 'jemalloc as a shared library' build_app outside $shared
check 'a malloc with headers' build_other header -DHEADER=1
check 'a malloc of its own' build_other own -DHEADER=0

runs() { # PROGRAM PRELOADED
    timeout 60 env LD_PRELOAD="$2" "$work/$1"
}
for program in inside outside; do
    check "$program: alone" runs $program ''
    for other in header own; do
        check "$program: $other" runs $program "$work/$other.so"
    done
done

# Which of jemalloc's doors was taken: a preloaded one counts.
cat >"$work/doors.c" <<END
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static unsigned long calls;
void *mallocx(size_t size, int flags);
void *mallocx(size_t size, int flags)
{
    static void *(*next)(size_t, int);
    void *found = dlsym(RTLD_NEXT, "mallocx");
    memcpy(&next, &found, sizeof(found));
    calls += flags == 0;
    return next(size, flags);
}
__attribute__((destructor)) static void say(void)
{
    printf("%lu plain calls\\n", calls);
}
END
doors() { # WANT PRELOADED...
    want=$1
    shift
    gcc -Wall -Wextra -Werror -fPIC -shared "$work/doors.c" -o "$work/doors.so" -ldl
    timeout 60 env LD_PRELOAD="$work/doors.so $*" "$work/outside" | tee "$work/calls"
    case $want in
    few) grep -x '[0-3] plain calls' "$work/calls" ;;
    many) ! grep -x '[0-3] plain calls' "$work/calls" ;;
    esac
}
check 'where malloc is jemalloc, it is what is called' doors few
check 'where it is another one, mallocx is called' doors many "$work/header.so"

exit $failed
