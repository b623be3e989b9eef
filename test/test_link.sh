#!/bin/sh
# After `make install`, -lleakdetect is all that a program needs: with each compiler, linker and kind of executable,
# and in the company of what it may clash with.
. test/check.sh

stage=$work/stage
lib=$stage/opt/ld/lib
include=$stage/opt/ld/include
same_make -s install DESTDIR="$stage" PREFIX=/opt/ld >&2

link=$PWD/test/link
export PKG_CONFIG_PATH="$lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$stage"

# link_and_run COMPILER ARGUMENT... : in a folder that has nothing of ours.
link_and_run() {
    rm -rf "$work/run"
    mkdir "$work/run"
    cd "$work/run"
    "$@" -o app
    timeout 60 ./app
}

run_app() { # NAME COMPILER ARGUMENT... : app.c or app.cc, as the compiler's language is
    name=$1 compiler=$2
    shift 2
    if ! has "$compiler"; then
        skip "$name" "no $compiler"
        return
    fi
    case $compiler in
    *++*)
        c_compiler=gcc
        [ "$compiler" = g++ ] || c_compiler=clang
        $c_compiler -g -fPIE -I"$include" -c "$link/in_c.c" -o "$work/in_c.o"
        check "$name" link_and_run "$compiler" -g -Wall -Wextra -Werror -I"$include" "$link/app.cc" "$work/in_c.o" "$@"
        ;;
    *) check "$name" link_and_run "$compiler" -g -Wall -Wextra -Werror -I"$include" "$link/app.c" "$@" ;;
    esac
}

for compiler in gcc g++ clang clang++; do
    for linker in bfd gold lld; do
        if ! has ld.$linker; then
            skip "$compiler with $linker" "no ld.$linker"
            continue
        fi
        with="-L$lib -fuse-ld=$linker"
        for mode in '' -no-pie -static -O2 '-O2 -flto' '-O3 -Wl,--gc-sections' -Wl,-z,now -Wl,--as-needed; do
            # lld does not read gcc's bytecode, whatever is linked.
            case $compiler:$linker:$mode in g*:lld:*-flto) continue ;; esac
            # shellcheck disable=SC2086
            run_app "$compiler ${mode:-plain}, $linker" "$compiler" $mode $with -lleakdetect
        done
    done
done

# A linker that reads few linker scripts: those of -lleakdetect, but not that of -lleakdetect_malloc.
if has ld.mold; then
    for compiler in gcc g++ clang clang++; do
        run_app "$compiler plain, mold" $compiler -L"$lib" -fuse-ld=mold -lleakdetect
    done
    # Whole: of malloc in an archive, mold prefers the C library's, which is not weak.
    whole_by_mold() { # COMPILER ARGUMENT...
        "$@" -g -x c - -x none -fuse-ld=mold -o "$work/whole" -L"$lib" -Wl,--whole-archive -lleakdetect_malloc_core \
            -Wl,--no-whole-archive -lleakdetect_unwind -lm <<'EOF'
#include <stdio.h>
int main(void) { return fclose(stdin); }
EOF
        LEAKDETECT_OPTIONS=report_at_exit=live:verbosity=1 "$work/whole" 2>"$work/report"
        grep -q '^leakdetect report: ' "$work/report"
    }
    for mode in '' -static '-O2 -flto' -Wl,--gc-sections; do
        # shellcheck disable=SC2086
        check "a whole program ${mode:-plain}, mold" whole_by_mold gcc $mode
    done
else
    skip 'mold' 'no ld.mold'
fi

# Its symbol is that of a COMDAT group, which does not survive that names are made local: a static program crashes when it is
# unwound through there.
has_no_personality() {
    for object in "$BUILD/libleakdetect.o" "$BUILD/whole/libleakdetect_malloc.o"; do
        [ -s "$object" ]
        ! nm "$object" | grep 'DW[.]ref[.]' || exit 1
    done
}
check 'no code of the library has a personality' has_no_personality

for compiler in gcc clang; do
    for mode in '' -static; do
        with="$mode -L$lib"
        # shellcheck disable=SC2086
        {
            run_app "$compiler $mode, names of its own" $compiler "$link/clash.c" $with -lleakdetect
            run_app "$compiler $mode, libbacktrace of its own" $compiler "$link/own_backtrace.c" $with -lleakdetect -lbacktrace
            run_app "$compiler $mode, -ljemalloc before" $compiler $with -ljemalloc -lleakdetect
            run_app "$compiler $mode, -ljemalloc after" $compiler $with -lleakdetect -ljemalloc
            run_app "$compiler $mode, -lleakdetect twice" $compiler $with -lleakdetect -lleakdetect
        }
    done
done
run_app 'g++ -static-libgcc -static-libstdc++' g++ -L"$lib" -lleakdetect -static-libgcc -static-libstdc++

if has pkg-config; then
    for compiler in gcc g++; do
        # shellcheck disable=SC2046
        run_app "$compiler, pkg-config" $compiler $(pkg-config --cflags --libs leakdetect)
        # shellcheck disable=SC2046
        run_app "$compiler -static, pkg-config" $compiler -static $(pkg-config --static --cflags --libs leakdetect)
    done
    # CMake and Meson leave -L out of what pkg-config says, and put the path of a library for its name.
    by_path() { # MODULE PROGRAM ARGUMENT...
        module=$1 program=$2
        shift 2
        for flag in $(env -u PKG_CONFIG_SYSROOT_DIR pkg-config --define-variable=libdir="$lib" --libs "$module"); do
            case $flag in
            -L*) ;;
            -l*) set -- "$@" "$lib/lib${flag#-l}.a" ;;
            *) set -- "$@" "$flag" ;;
            esac
        done
        link_and_run gcc -g -I"$include" "$program" "$@"
    }
    for mode in '' -static -fuse-ld=gold -fuse-ld=lld; do
        # shellcheck disable=SC2086
        check "by path, as CMake has it, ${mode:-plain}" by_path leakdetect "$link/app.c" $mode
    done
    echo 'int main(void) { return 0; }' >"$work/nothing.c"
    check 'by path, as CMake has it, a whole program' by_path leakdetect_malloc "$work/nothing.c"
else
    skip 'pkg-config' 'no pkg-config'
fi

# In a shared library, which brings the heap along for the whole program.
in_shared_library() {
    gcc -g -fPIC -shared -I"$include" -Dmain=app_main "$link/app.c" -L"$lib" -lleakdetect -o "$work/libapp.so"
    echo 'int app_main(void); int main(void) { return app_main(); }' >"$work/main.c"
    gcc "$work/main.c" -L"$work" -lapp -Wl,-rpath,"$work" -o "$work/main"
    "$work/main"
}
check 'in a shared library' in_shared_library

# What dlopen loads has the library of the program, which shows ld_* to it.
in_a_plugin() { # LINKER
    rm -f "$work/plugin.so" "$work/main"
    cat >"$work/plugin.c" <<'EOF'
#include <leakdetect.h>
void *forget(void *(*keep)(void *)) { return keep(ld_malloc(1337)); }
EOF
    cat >"$work/main.c" <<'EOF'
#include <dlfcn.h>
#include <leakdetect.h>
static void *keep(void *block) { return block; }
int main(int count, char **arguments)
{
    ld_init();
    void *plugin = count == 2 ? dlopen(arguments[1], RTLD_NOW) : NULL;
    if (plugin == NULL)
        return 1;
    void *(*forget)(void *(*)(void *));
    *(void **)&forget = dlsym(plugin, "forget");
    forget(keep);
    dlclose(plugin);
    return ld_report(1, NULL);
}
EOF
    gcc -g -fPIC -shared -I"$include" "$work/plugin.c" -o "$work/plugin.so"
    gcc -g -rdynamic "-fuse-ld=$1" -I"$include" "$work/main.c" -L"$lib" -lleakdetect -o "$work/main"
    "$work/main" "$work/plugin.so" >"$work/report"
    cat "$work/report"
    grep -q ' forget (.*plugin.c:2)$' "$work/report"
}
for linker in bfd gold lld; do
    has ld.$linker || continue
    check "in a plugin, $linker" in_a_plugin $linker
done

only_ld_names() {
    nm --defined-only --extern-only --format=just-symbols "$lib/libleakdetect_core.a" | sed '/:$/d; /^$/d' >"$work/names"
    cat "$work/names"
    grep -q '^ld_init$' "$work/names"
    ! grep -v '^ld_' "$work/names" || exit 1
}
check 'libleakdetect_core.a shows nothing but ld_*' only_ld_names

declared_is_defined() {
    grep -o '\bld_[a-z_]*(' leakdetect.h | tr -d '(' | grep -v '_fn$\|^ld_default_' | sort -u >"$work/declared"
    nm --defined-only --extern-only --format=just-symbols "$lib/libleakdetect_core.a" | grep '^ld_' | sort -u >"$work/defined"
    diff "$work/declared" "$work/defined"
}
check 'leakdetect.h declares what the library defines' declared_is_defined

for language in c99 c11 c17 gnu89 c++98 c++11 c++17 c++20; do
    for compiler in gcc clang; do
        kind=c
        case $language in
        c++*) kind=c++ ;;
        gnu89) [ $compiler = gcc ] || continue ;; # clang has no _Bool there under -Wpedantic
        esac
        has $compiler || continue
        echo '#include <leakdetect.h>' >"$work/header.c"
        check "leakdetect.h in $language, $compiler" $compiler -std=$language -x $kind -Wall -Wextra -Wpedantic -Wshadow -Werror \
            -I"$include" -fsyntax-only "$work/header.c"
    done
done

exit $failed
