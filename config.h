/* SPDX-License-Identifier: MIT
 *
 * Every compile-time tunable: meaning, unit, default, range and cost.  Set one with `make
 * LD_MAX_BLOCKS=1024`, or with -D when the sources are compiled straight into another build.  Public structs
 * do not depend on them, so an application need not know what its library was built with.
 */
#ifndef CONFIG_H
#define CONFIG_H

/* Live blocks that can be on record at the same time.  Range: 16 to 2^26, as static tables must fit in 2 GiB.
 * Costs 20.6 bytes of .bss each: a 16-byte record, a quarter more slots than records so that probing stays
 * short, and the overflow counts. */
#ifndef LD_MAX_BLOCKS
#define LD_MAX_BLOCKS 1048576
#endif

/* Frames kept of each call stack; deeper stacks lose their outermost frames.  Range: 1 to 1024.
 * Costs some 510 bytes of memory for each thread that allocates, none of it touched before a stack is that
 * deep, and 8 bytes of stack during a call. */
#ifndef LD_MAX_FRAMES
#define LD_MAX_FRAMES 64
#endif

/* Call-path nodes: one for each distinct beginning of a stack, counted from its outermost frame.  Only live
 * blocks keep them.  Range: 64 to 2^24 - 2.
 * Costs 24.25 bytes of .bss each: a 16-byte node, its two places in the index, and a share of the cache of
 * rules by which stacks are walked; and 2 bytes, but at most 200 KiB, for each thread that allocates, for the
 * shortcuts that it takes. */
#ifndef LD_MAX_STACKS
#define LD_MAX_STACKS 1048576
#endif

/* Executables and shared libraries that can be told apart, counted over the life of the process.  A frame
 * in a module beyond that has an address and no name.  Range: 4 to 65535.
 * Costs 201 bytes of .bss each: what is known of it, 64 bytes of path in a pool that all share, and a
 * cache. */
#ifndef LD_MAX_MODULES
#define LD_MAX_MODULES 512
#endif

/* Regions that can be registered as roots at the same time; few in a small library.  Range: 1 to 65536. Costs
 * 16 bytes of .bss each. */
#ifndef LD_MAX_ROOTS
#if LD_MAX_BLOCKS < 65536
#define LD_MAX_ROOTS 16
#else
#define LD_MAX_ROOTS 1024
#endif
#endif

/* 1 walks stacks by rules that libunwind was asked for once for each return address (unwind.c); 0 has
 * unw_backtrace do it each time (unwind_generic.c), on any processor. */
#ifndef LD_UNWIND_RULES
#if defined(__x86_64__) && defined(__LP64__)
#define LD_UNWIND_RULES 1
#else
#define LD_UNWIND_RULES 0
#endif
#endif

/* 1 compares every stack that is captured with what unw_backtrace says at that moment, and aborts at the
 * first difference.  Very slow. */
#ifndef LD_CHECK_UNWIND
#define LD_CHECK_UNWIND 0
#endif

/* 1 takes memory from the C library's malloc instead of jemalloc, so that a sanitizer sees every block. */
#ifndef LD_BACKING_LIBC
#define LD_BACKING_LIBC 0
#endif

/* 1 makes this library the program's malloc: it begins to record with the first block of all, and jemalloc is
 * under names of its own.  The Makefile sets it for libleakdetect_malloc. */
#ifndef LD_OVERRIDE
#define LD_OVERRIDE 0
#endif

#if LD_MAX_BLOCKS < 16 || LD_MAX_BLOCKS > 67108864
#error "LD_MAX_BLOCKS is the number of live blocks on record: choose 16 to 67108864 (2^26)"
#endif
#if LD_MAX_FRAMES < 1 || LD_MAX_FRAMES > 1024
#error "LD_MAX_FRAMES is the number of frames kept of each call stack: choose 1 to 1024"
#endif
#if LD_MAX_STACKS < 64 || LD_MAX_STACKS > 16777214
#error "LD_MAX_STACKS is the number of call-path nodes: choose 64 to 16777214 (2^24 - 2)"
#endif
#if LD_MAX_STACKS < LD_MAX_FRAMES
#error "LD_MAX_STACKS must be at least LD_MAX_FRAMES, or the table could not hold a single call stack"
#endif
#if LD_MAX_MODULES < 4 || LD_MAX_MODULES > 65535
#error "LD_MAX_MODULES is the number of executables and libraries that can be told apart: choose 4 to 65535"
#endif
#if LD_MAX_ROOTS < 1 || LD_MAX_ROOTS > 65536
#error "LD_MAX_ROOTS is the number of regions that can be registered as roots: choose 1 to 65536"
#endif

#endif
