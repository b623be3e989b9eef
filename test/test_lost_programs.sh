#!/bin/sh
# Programs in which lost blocks are looked for in special circumstances, of test/lost/: crowds of threads, odd stacks, the end of
# the program in a look, huge pages, and the idioms of C++.
. test/check.sh

library=$(cd "$BUILD" && pwd)
shared=$library/lib/leakdetect/libleakdetect_malloc.so
export LEAKDETECT_OPTIONS=report_at_exit=none

as_malloc() { # PROGRAM LIBRARIES...
    program=$1
    shift
    cc -g -pthread -I. -o "$work/$program" "test/lost/$program.c" "$@"
    timeout 120 "$work/$program"
}
for program in crowd ring shared_stack handed_on small_stack; do
    check "$program" as_malloc $program -L"$library" -lleakdetect_malloc
    check "$program, shared" as_malloc $program "$shared" -Wl,-rpath,"$library/lib/leakdetect"
done
for program in shared_stack handed_on small_stack; do
    check "$program, static" as_malloc $program -static -L"$library" -lleakdetect_malloc
done

ended_in_a_look() {
    for _ in 1 2 3 4 5; do
        status=0
        LEAKDETECT_OPTIONS='' as_malloc ended_in_a_look -L"$library" -lleakdetect_malloc || status=$?
        [ $status -eq 5 ] || { echo "exit status $status" && return 1; }
    done
}
check "a signal handler ends the program in a look" ended_in_a_look

# test_collapse.c has more of it, and says where the kernel does not do it.
huge_pages() {
    kib=$(LEAKDETECT_OPTIONS=report_at_exit=none:huge_pages=0 as_malloc large "$@")
    [ "$kib" -eq 0 ]
    kib=$(as_malloc large "$@")
    [ "$kib" -gt 0 ]
}
cc -o "$work/can_collapse" -x c - <<'END'
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
int main(void)
{
    enum { HUGE_PAGE = 2 << 20, COLLAPSE = 25 };
    char *memory = aligned_alloc(HUGE_PAGE, HUGE_PAGE);

    return memory == NULL || (memset(memory, 1, HUGE_PAGE), madvise(memory, HUGE_PAGE, COLLAPSE)) != 0;
}
END
if "$work/can_collapse" && ! grep -q '\[never\]' /sys/kernel/mm/transparent_hugepage/enabled; then
    check "huge pages" huge_pages -L"$library" -lleakdetect_malloc
    check "huge pages, shared" huge_pages "$shared" -Wl,-rpath,"$library/lib/leakdetect"
else
    skip "huge_pages" "this kernel moves nothing into huge pages"
fi

idioms() { # COMPILER FLAGS...
    # shellcheck disable=SC2086 # words
    "$@" -std=c++17 -g -I. -o "$work/idioms" test/lost/idioms.cc $last
    "$work/idioms"
}

# C++ in both forms that GNU's library gives std::string.
for compiler in g++ clang++; do
    if ! has $compiler; then
        skip "idioms_of_c++_with_$compiler" "there is no $compiler"
        continue
    fi
    for level in -O0 -O2; do
        for form in 0 1; do
            what="$compiler $level, idioms of C++, std::string of form $form"
            last="-L$library -lleakdetect_malloc -D_GLIBCXX_USE_CXX11_ABI=$form"
            check "$what" idioms $compiler $level
            check "$what, static" idioms $compiler $level -static
            last="$shared -Wl,-rpath,$library/lib/leakdetect -D_GLIBCXX_USE_CXX11_ABI=$form"
            check "$what, shared" idioms $compiler $level
        done
    done
done
exit $failed
