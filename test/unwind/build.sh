#!/bin/sh
# Builds the shapes in one way, for `make check-unwind`.
#
#     test/unwind/build.sh COMPILER LEVEL omit|keep FOLDER          (FOLDER/shapes, and its libraries)
set -eu

compiler=$1
level=$2
case $compiler in
clang) cxx=clang++ ;;
*) cxx=g++ ;;
esac
case $3 in
omit) frames=-fomit-frame-pointer ;;
keep) frames='-fno-omit-frame-pointer -mno-omit-leaf-frame-pointer' ;;
esac
folder=$4
mkdir -p "$folder"

objects=
for file in main frames stacks code puppets; do
    # shellcheck disable=SC2086 # a list of flags
    $compiler -std=gnu11 -O"$level" $frames -g -Wall -Wextra -Werror -Wno-unused-value -Wno-infinite-recursion -I. -c -o "$folder/$file.o" \
        test/unwind/$file.c
    objects="$objects $folder/$file.o"
done
# shellcheck disable=SC2086
$cxx -std=c++17 -O"$level" $frames -g -Wall -Wextra -Werror -I. -c -o "$folder/throw.o" test/unwind/throw.cc
$compiler -c -o "$folder/asm.o" test/unwind/asm.S
# shellcheck disable=SC2086
$cxx -o "$folder/shapes" $objects "$folder/throw.o" "$folder/asm.o" -L"$BUILD" -lleakdetect -lpthread
for shape in 1 2 3 4; do
    $compiler -shared -nostdlib -DSHAPE=$shape -o "$folder/pass$shape.so" test/unwind/pass.S
done
