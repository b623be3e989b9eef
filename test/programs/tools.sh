#!/bin/sh
# Compilers, git, and programs that work on files with threads, unmodified, with every block on record.
. test/programs/common.sh

mkdir "$work/sources"
sh bench/functions.sh 200 >"$work/sources/functions.c"
cp bench/map_string.cc test/unwind/exceptions.cc leakdetect.h "$work/sources"
cat >"$work/sources/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.13)
project(sample C CXX)
find_package(Threads REQUIRED)
include(CheckFunctionExists)
check_function_exists(getline HAVE_GETLINE)
add_library(functions STATIC functions.c)
target_include_directories(functions PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
add_executable(exceptions exceptions.cc)
target_link_libraries(exceptions Threads::Threads)
END
chmod -R a+rX "$work/sources"

leaky='gcc loses 12 strings' same 'gcc: compiles' gcc gcc -O2 -g -c -I. -o functions.o "$work/sources/functions.c"
leaky='gcc loses 12 strings' same 'g++: compiles and links' g++ sh -ec 'g++ -std=c++17 -O1 -flto=2 -o program "$1" && ./program 100' sh "$work/sources/exceptions.cc"
leaky='gcc loses 12 strings' expected=1 same 'gcc: errors' gcc sh -c 'echo "int main(void) { return x + ; }" >wrong.c; gcc -Wall -c wrong.c'
cc1=$(gcc -print-prog-name=cc1)
maps=yes same 'cc1: compiles' "$cc1" "$cc1" -quiet -O2 -g -imultiarch "$(gcc -print-multiarch)" -o functions.s "$work/sources/functions.c"
leaky='it runs gcc' any_files=yes same 'cmake: configures a project and builds it' cmake \
    sh -ec 'cmake -G "Unix Makefiles" -DCMAKE_BUILD_TYPE=Release -S "$1" -B . | sed "s/ ([0-9.]*s)$//"
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -j2 exceptions >/dev/null && ./exceptions 100' sh "$work/sources"

export GIT_AUTHOR_NAME=n GIT_AUTHOR_EMAIL=e@example.org GIT_COMMITTER_NAME=n GIT_COMMITTER_EMAIL=e@example.org \
    GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000' GIT_CONFIG_NOSYSTEM=1 HOME="$work"
leaky='cp loses a table' any_files=yes same 'git: commit, clone, merge, log, gc' git sh -ec 'git init -q -b main one && cp "$1"/* one && cd one
    git add . && git commit -q -m first && git checkout -q -b side && sed -i s/block/chunk/g *.c && git commit -q -a -m second
    git checkout -q main && echo more >more && git add more && git commit -q -m third && git merge -q --no-edit side
    git gc -q --prune=now && git fsck --strict && cd .. && git clone -q --no-local one two && cd two
    git log --graph --stat --format="%H %an %s" && git diff HEAD~2 | wc && git blame functions.c | cut -c 1-8 | sort -u
    git grep -c chunk && git status --short --branch' sh "$work/sources"

tar -cf "$work/archive.tar" -C "$here" --sort=name --mtime=@0 test bench
same 'tar and gzip: there and back' tar sh -ec 'tar -xf "$1" && tar -czf again.tar.gz --sort=name --owner=0 --group=0 test
    tar -tvzf again.tar.gz | wc -l && rm again.tar.gz' sh "$work/archive.tar"
same 'xz with threads' xz sh -ec 'xz -T2 --block-size=200KiB -c "$1" >a.xz && xz -T2 -dc a.xz | cmp - "$1"' sh "$work/archive.tar"
leaky='it loses 16 bytes' same 'sort with threads' sort sh -ec 'seq 300000 | sort --parallel=2 -S 4M -R --random-source="$1" >r
    sort --parallel=2 -S 2M -n r | md5sum' sh "$work/archive.tar"
leaky='date loses its time zone' same 'date, with a clock_gettime that allocates' faketime faketime '2020-01-02 03:04:05' date -u +%Y-%m-%d
same 'ImageMagick converts a picture' convert sh -ec 'convert -seed 7 -size 320x240 plasma:tomato-steelblue -blur 0x2 -swirl 60 \
    -resize 200% -colors 64 a.ppm 2>&1 && convert a.ppm -rotate 30 -quality 80 b.jpg && convert b.jpg -format "%wx%h %k" info:
    rm a.ppm b.jpg'
same 'ffmpeg encodes and decodes' ffmpeg sh -ec 'ffmpeg -nostdin -loglevel error -f lavfi -i testsrc=duration=1:size=160x120:rate=10 \
    -c:v mpeg4 -threads 2 -bitexact a.avi && ffmpeg -nostdin -loglevel error -i a.avi -f framemd5 -'

exit $failed
