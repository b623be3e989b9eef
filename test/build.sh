#!/bin/sh
# Builds one test program as its own `build:` directives say (test/README.md).
#
#     test/build.sh test/test_x.c build/default/test/test_x      (called by the Makefile, with its variables)
set -eu

source=$1
output=$2
from_sources=
flags=
files=
plugins=
store=$BLOCKMAP
libraries='-lleakdetect'

while read -r directive arguments; do
    case $directive in
    '') ;;
    sources) from_sources=yes ;;
    flags) flags="$flags $arguments" ;;
    blockmap) from_sources=yes store=$arguments ;;
    with) files="$files $arguments" ;;
    plugin) plugins="$plugins $arguments" ;;
    whole) [ -z "$HEAP" ] || libraries='-lleakdetect_malloc' ;;
    *)
        echo "$source: unknown directive: build: $directive $arguments" >&2
        exit 1
        ;;
    esac
done <<EOF
$(sed -n 's/^\(\/\/\| \*\) build: //p' "$source")
EOF

# Many tests compile the whole library, each with sizes of its own, which most of its files know nothing of.
cache=
if command -v ccache >/dev/null; then
    cache=ccache
    export CCACHE_DIR="${CCACHE_DIR:-$PWD/build/ccache}"
fi

# shellcheck disable=SC2086 # lists of words, all of them
compile() { # FILE OBJECT FLAGS...
    in=$1 out=$2
    shift 2
    case $in in
    *.cc) $cache $CXX -std=c++17 $CXX_WARNINGS -I. $CPPFLAGS $CXXFLAGS $FLAGS $flags "$@" -c -o "$out" "$in" ;;
    *) $cache $CC $C_FLAGS -std=gnu11 $flags "$@" -c -o "$out" "$in" ;;
    esac
}

parts=$output.parts
mkdir -p "$parts"
objects=
link=$CC
for file in $source $files; do
    object=$parts/$(basename "$file").o
    compile "$file" "$object"
    objects="$objects $object"
    case $file in *.cc) link=$CXX ;; esac
done

if [ -n "$from_sources" ]; then
    for file in $SOURCES; do
        [ "$file" != "$BLOCKMAP" ] || file=$store
        object=$parts/library_$(basename "$file").o
        compile "$file" "$object" -fvisibility=hidden
        objects="$objects $object"
    done
    libraries="$INSIDE $HEAP -lleakdetect_unwind -lm"
fi

for file in $plugins; do
    name=$(basename "${file%.*}")
    compile "$file" "$parts/$name.o" -fPIC
    # shellcheck disable=SC2086
    $link $CFLAGS $FLAGS -shared -o "$(dirname "$output")/$name.so" "$parts/$name.o" $LDFLAGS
done

# shellcheck disable=SC2086
$link $CFLAGS $FLAGS $flags -o "$output" $objects $LDFLAGS -L"$BUILD" $libraries -lcmocka
