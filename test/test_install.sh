#!/bin/sh
# make install and make uninstall, as the GNU conventions have them.
. test/check.sh

files() { # FOLDER
    (cd "$1" && find . -type f | sort)
}

installs_these() { # FOLDER PREFIX LIBDIR INCLUDEDIR
    files "$1" >"$work/have"
    sort >"$work/want" <<EOF
.$2/bin/leakdetect
.$2/lib/leakdetect/libleakdetect_malloc.so
.$2/share/man/man1/leakdetect.1
.$3/libleakdetect.a
.$3/libleakdetect_core.a
.$3/libleakdetect_malloc.a
.$3/libleakdetect_malloc_core.a
.$3/libleakdetect_unwind.a
.$3/libleakdetect_unwind.so
.$3/pkgconfig/leakdetect.pc
.$3/pkgconfig/leakdetect_malloc.pc
.$4/leakdetect.h
EOF
    diff "$work/want" "$work/have"
}

staged() {
    same_make -s install DESTDIR="$work/a"
    installs_these "$work/a" /usr/local /usr/local/lib /usr/local/include
    grep -q '^prefix=/usr/local$' "$work/a/usr/local/lib/pkgconfig/leakdetect.pc"
}
check 'DESTDIR, default prefix' staged

with_prefix() {
    same_make -s install DESTDIR="$work/b" PREFIX=/usr libdir=/usr/lib/multi
    installs_these "$work/b" /usr /usr/lib/multi /usr/include
    grep -q '^libdir=/usr/lib/multi$' "$work/b/usr/lib/multi/pkgconfig/leakdetect.pc"
}
check 'DESTDIR, PREFIX, libdir' with_prefix

with_spaces() {
    same_make -s install PREFIX="$work/my own programs"
    installs_these "$work/my own programs" "" /lib /include
    has pkg-config || return 0
    eval "gcc -g test/link/app.c -o '$work/app' $(PKG_CONFIG_PATH="$work/my own programs/lib/pkgconfig" pkg-config --cflags --libs leakdetect)"
    "$work/app"
}
check 'a prefix with spaces, and pkg-config for it' with_spaces

works_where_installed() {
    echo '#include <stdlib.h>
int main(void) { void *volatile left = malloc(1337); return left == NULL; }' >"$work/leaves.c"
    gcc "$work/leaves.c" -o "$work/leaves"
    "$work/a/usr/local/bin/leakdetect" run --report_at_exit=live "$work/leaves" 2>&1 | grep -q '^site 1: 1 block, 1,337 bytes$'
    gcc "$work/leaves.c" -o "$work/leaves" -L"$work/a/usr/local/lib" -lleakdetect_malloc
    LEAKDETECT_OPTIONS=report_at_exit=live "$work/leaves" 2>&1 | grep -q '^site 1: 1 block, 1,337 bytes$'
    has pkg-config || return 0
    PKG_CONFIG_PATH=$work/a/usr/local/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$work/a pkg-config --libs leakdetect_malloc |
        grep -q -- '-lleakdetect_malloc'
}
check 'the command finds its library, and linkers the archive' works_where_installed

no_staging_path() {
    ! grep -r "$work/a" "$work/a" || exit 1
}
check 'no file names the staging folder' no_staging_path

uninstalled() {
    echo mine >"$work/a/usr/local/lib/libother.a"
    echo mine >"$work/a/usr/local/include/other.h"
    same_make -s uninstall DESTDIR="$work/a"
    files "$work/a" >"$work/have"
    diff "$work/have" - <<EOF
./usr/local/include/other.h
./usr/local/lib/libother.a
EOF
    same_make -s uninstall DESTDIR="$work/a"
}
check 'uninstall removes what was installed and nothing else, and may be repeated' uninstalled

# In the folders that compilers search without being asked, where that may be done; everything is put back.
if [ "$(id -u)" -eq 0 ] && [ "${CI:-}" = true ] && [ ! -e /usr/local/lib/libleakdetect.a ] && [ ! -e /usr/lib/libleakdetect.a ]; then
    trap 'same_make -s uninstall; same_make -s uninstall PREFIX=/usr; rm -rf "$work"' EXIT
    same_make -s install >&2
    for how in gcc clang 'gcc -static' 'clang -static'; do
        # shellcheck disable=SC2086
        check "/usr/local: $how app.c -lleakdetect" $how test/link/app.c -lleakdetect -o "$work/app"
    done
    # Neither gold nor lld searches /usr/local/lib, and compilers do not name it to them.
    for how in 'gcc -fuse-ld=gold' 'clang -fuse-ld=gold' 'gcc -fuse-ld=lld' 'clang -fuse-ld=lld'; do
        # shellcheck disable=SC2086,SC2046
        check "/usr/local: $how app.c, pkg-config" $how test/link/app.c $(pkg-config --libs leakdetect) -o "$work/app"
    done
    same_make -s uninstall
    same_make -s install PREFIX=/usr >&2
    for how in gcc clang 'gcc -fuse-ld=gold' 'clang -fuse-ld=gold' 'gcc -fuse-ld=lld' 'clang -fuse-ld=lld'; do
        # shellcheck disable=SC2086
        check "/usr: $how app.c -lleakdetect" $how test/link/app.c -lleakdetect -o "$work/app"
    done
else
    skip 'install to /usr/local and /usr' 'only by root, with CI=true, where nothing is installed yet'
fi

exit $failed
