/* SPDX-License-Identifier: MIT
 *
 * A world for reports: the parts of the report are compiled into a test that includes this file, which stands
 * in for everything below them, so that live blocks, names, figures, pages and write errors are what a test
 * wants them to be.  The golden files have 64 frames, whatever the library was built with; so a test says:
 *
 *     build: flags -ULD_MAX_FRAMES -DLD_MAX_FRAMES=64
 *     build: with report.c report_text.c report_json.c report_folded.c
 *     build: with suppress.c kept.c skip.c names.c sites.c pattern.c scratch.c text.c
 *
 * UPDATE_GOLDEN=1 writes the golden files anew.
 */
#ifndef REPORT_WORLD_H
#define REPORT_WORLD_H

#include "config.h"
#include "kernel.h"
#include "leakdetect.h"
#include "platform.h"
#include "report.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* --- The world ----------------------------------------------------------------------------------------- */

#define WORLD_BLOCKS  128
#define WORLD_SYMBOLS 512
#define WORLD_FRAMES  4096
#define FIRST_SYMBOL  0x100000

static struct {
    struct ld_leak blocks[WORLD_BLOCKS];
    size_t block_count;
    size_t many_sites; /* instead of the blocks: so many, each with a stack of its own */
    struct ld_stats stats;

    struct {
        const char *function, *file, *module;
        const char *const *inlined; /* functions in it, innermost first, up to a NULL; or NULL */
    } symbols[WORLD_SYMBOLS];       /* of the frames from FIRST_SYMBOL on */
    size_t symbol_count;
    const void *frames[WORLD_FRAMES]; /* of the stacks that add_stack has made */
    uint16_t modules[WORLD_FRAMES];
    size_t frame_count;

    char *output;
    size_t output_size;
    int write_error; /* what writing fails with, from write number `good_writes` on */
    size_t good_writes, writes;

    bool is_static;    /* the program has no loader; what has no source file is the C library in it */
    bool is_partial;   /* all names are */
    size_t symbolized; /* how many were asked for, and known */

    size_t good_maps, maps; /* mapping fails from number `good_maps` on */
    size_t mapped;          /* bytes mapped now */
} world;

static inline int world_init(void **state)
{
    (void)state;
    free(world.output);
    memset(&world, 0, sizeof(world));
    world.good_maps = SIZE_MAX;
    world.stats = (struct ld_stats){.capacity_blocks = 1000, .stack_capacity = 2000, .own_bytes = 34567};
    return 0;
}

/* All stacks used here end in the same two frames. */
static const void *const parse_frames[] = {(void *)0x1001, (void *)0x9001, (void *)0x9002};
static const void *const load_frames[] = {(void *)0x2001, (void *)0x9001, (void *)0x9002};
static const void *const named_frames[] = {(void *)0x3001, (void *)0x3002, (void *)0x3003,
                                           (void *)0x3004, (void *)0x3005, (void *)0x7fff12345678,
                                           (void *)0x3006};
static const uint16_t first_modules[] = {1, 1, 2, 2, 2, 2, 2};
static const uint16_t other_modules[] = {3, 1, 2, 2, 2, 2, 2};

static inline struct ld_leak *add_block(size_t size, const void *const *frames, size_t frame_count)
{
    assert_true(world.block_count < WORLD_BLOCKS);
    struct ld_leak *leak = &world.blocks[world.block_count++];
    *leak = (struct ld_leak){.address = (void *)(world.block_count * 64),
                             .weight = 1.0,
                             .size = size,
                             .frames = frames,
                             .frame_count = frame_count,
                             .modules = first_modules};
    return leak;
}

static inline struct ld_leak *add_parse(size_t size)
{
    return add_block(size, parse_frames, 3);
}

static inline struct ld_leak *add_load(size_t size)
{
    return add_block(size, load_frames, 3);
}

/* The frame of this function in this module, each of which may be NULL. */
static inline const void *frame_of(const char *function, const char *file, const char *module)
{
    assert_true(world.symbol_count < WORLD_SYMBOLS);
    size_t i = world.symbol_count++;
    world.symbols[i].function = function;
    world.symbols[i].file = file;
    world.symbols[i].module = module;
    return (const void *)(uintptr_t)(FIRST_SYMBOL + i);
}

/* The same, with these functions, innermost first, inlined into it. */
static inline const void *frame_with(const char *function, const char *file, const char *module,
                                     const char *const *inlined)
{
    const void *frame = frame_of(function, file, module);
    world.symbols[world.symbol_count - 1].inlined = inlined;
    return frame;
}

/* Frames made by frame_of, innermost first, up to a NULL. */
static inline struct ld_leak *add_stack(size_t size, const void *const *frames)
{
    size_t first = world.frame_count;
    while (*frames != NULL) {
        assert_true(world.frame_count < WORLD_FRAMES);
        world.modules[world.frame_count] = 1;
        world.frames[world.frame_count++] = *frames++;
    }
    struct ld_leak *leak = add_block(size, world.frames + first, world.frame_count - first);
    leak->modules = world.modules + first;
    return leak;
}

#define STACK(...) ((const void *const[]){__VA_ARGS__, NULL})

/* --- What stands below the report --------------------------------------------------------------------------
 */

/* Site i has i % 7 + 1 blocks of i % 1000 bytes, which come in another order each time; the frames are
 * overwritten after each call, as the library may do. */
static size_t many_each(ld_leak_fn *callback, void *ctx)
{
    const void *frames[3];
    struct ld_leak leak = {.frames = frames, .frame_count = 3, .modules = first_modules, .weight = 1.0};
    size_t count = 0;
    for (size_t round = 1; round <= 7; round++) {
        for (size_t i = 0; i < world.many_sites; i++) {
            if (i % 7 + 1 < round)
                continue;
            frames[0] = (void *)(0x10000 + i % 300);
            frames[1] = (void *)(0x20000 + i);
            frames[2] = (void *)0x9002;
            leak.size = i % 1000;
            count++;
            callback(&leak, ctx);
        }
    }
    return count;
}

size_t ld_leaks_since(uint32_t mark, ld_leak_fn *callback, void *ctx)
{
    if (world.many_sites > 0)
        return many_each(callback, ctx);
    size_t count = 0;
    for (size_t i = 0; i < world.block_count; i++) {
        if (world.blocks[i].mark < mark)
            continue;
        count++;
        if (!callback(&world.blocks[i], ctx))
            break;
    }
    return count;
}

void ld_get_stats(struct ld_stats *out)
{
    *out = world.stats;
}

/* A name is a copy, as a demangled one is, if it fits. */
static inline bool symbolize_added(size_t i, struct ld_symbol *out)
{
    *out = (struct ld_symbol){.function = world.symbols[i].function,
                              .file = world.symbols[i].file,
                              .module = world.symbols[i].module,
                              .line = (unsigned)i + 1,
                              .offset = i * 16,
                              .is_partial = world.is_partial};
    if (out->function != NULL && strlen(out->function) < sizeof(out->text))
        out->function = strcpy(out->text, out->function);
    world.symbolized++;
    return true;
}

bool ld_symbolize_frame(const struct ld_leak *leak, size_t index, struct ld_symbol *out)
{
    static const struct {
        uintptr_t address;
        const char *function, *file, *module;
        unsigned line;
        uintptr_t offset;
    } known[] = {
        {0x1001, "parse_line", "src/parse.c", "/usr/bin/app", 42, 0x1000},
        {0x2001, "load", "src/load.c", "/usr/bin/app", 1337, 0x2000},
        {0x9001, "main", "src/main.c", "/usr/bin/app", 9, 0x9000},
        {0x9002, NULL, NULL, "/lib/libc.so.6", 0, 0x271c9},
        {0x3001, "exported", NULL, "/lib/libx.so", 0, 0x31},
        {0x3002, "caf\xc3\xa9", "caf\xc3\xa9.c", "/lib/libx.so", 2, 0x32},
        {0x3003, "a\nb\x1b[31m\x7f", "c:\\d.c", "/lib/libx.so", 3, 0x33},
        {0x3004, "bad\xff\xc3", "c1\xc2\x9b.c", "/lib/libx.so", 4, 0x34},
        {0x3005, NULL, "orphan.c", "/lib/lib y.so", 5, 0x35},
    };
    memset(out, 0xee, sizeof(*out));
    if ((uintptr_t)leak->frames[index] - FIRST_SYMBOL < world.symbol_count)
        return symbolize_added((uintptr_t)leak->frames[index] - FIRST_SYMBOL, out);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if ((uintptr_t)leak->frames[index] != known[i].address)
            continue;
        out->function = known[i].function;
        out->file = known[i].file;
        out->module = leak->modules[index] == 3 ? "/lib/unloaded.so" : known[i].module;
        out->line = known[i].line;
        out->offset = known[i].offset;
        strcpy(out->build_id, known[i].address >= 0x9000 ? "" : "c0ffee");
        out->is_partial = world.is_partial;
        world.symbolized++;
        return true;
    }
    *out = (struct ld_symbol){0};
    return false;
}

bool ld_symbolize_inlined(const struct ld_leak *leak, size_t index, unsigned level, struct ld_symbol *out)
{
    size_t i = (uintptr_t)leak->frames[index] - FIRST_SYMBOL;
    memset(out, 0xee, sizeof(*out));
    if (i >= world.symbol_count || world.symbols[i].inlined == NULL)
        return false;
    for (unsigned before = 0; before <= level; before++)
        if (world.symbols[i].inlined[before] == NULL)
            return false;
    *out = (struct ld_symbol){.function = world.symbols[i].inlined[level],
                              .file = "inline.h",
                              .module = world.symbols[i].module,
                              .line = level + 1,
                              .offset = i * 16};
    return true;
}

bool platform_has_loader(void)
{
    return !world.is_static;
}

const char *platform_program_path(char *buffer, size_t size)
{
    ssize_t length = readlink("/proc/self/exe", buffer, size - 1);

    if (length <= 0)
        return NULL;
    buffer[length] = 0;
    return buffer;
}

bool platform_is_c_library(const void *code)
{
    return world.is_static && world.symbols[(uintptr_t)code - FIRST_SYMBOL].file == NULL;
}

void *kernel_map(size_t size)
{
    if (world.maps++ >= world.good_maps)
        return NULL;
    world.mapped += size;
    return calloc(1, size);
}

void kernel_unmap(void *address, size_t size)
{
    assert_true(world.mapped >= size);
    world.mapped -= size;
    free(address);
}

int platform_write(int fd, const void *data, size_t size)
{
    assert_int_equal(fd, 42);
    if (world.writes++ >= world.good_writes && world.write_error != 0)
        return world.write_error;
    world.output = realloc(world.output, world.output_size + size + 1);
    assert_non_null(world.output);
    memcpy(world.output + world.output_size, data, size);
    world.output_size += size;
    world.output[world.output_size] = 0;
    return 0;
}

/* --- Helpers -------------------------------------------------------------------------------------------- */

/* The report of the world, without its first line, which names the process. */
static inline const char *report(const struct ld_report_options *options)
{
    world.output_size = 0;
    assert_int_equal(ld_report(42, options), 0);
    assert_int_equal(world.mapped, 0);
    const char *line_end = strchr(world.output, '\n');
    assert_non_null(line_end);
    return line_end + 1;
}

/* Hands over all blocks of the world. */
static inline int walk_lost(void *ctx, ld_leak_fn *callback, void *callback_ctx)
{
    (void)ctx;
    ld_leaks_since(0, callback, callback_ctx);
    return 0;
}

static inline const char *report_lost(const struct ld_report_options *options)
{
    world.output_size = 0;
    assert_int_equal(report_walk(42, options, "lost", walk_lost, NULL, NULL), 0);
    assert_int_equal(world.mapped, 0);
    return strchr(world.output, '\n') + 1;
}

static inline void assert_contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("no \"%s\" in:\n%s", part, text);
}

static inline void golden_path(char *path, size_t size, const char *name)
{
    const char *slash = strrchr(__FILE__, '/');
    int folder = slash == NULL ? 0 : (int)(slash - __FILE__ + 1);
    snprintf(path, size, "%.*sgolden/%s%s", folder, __FILE__, name, strchr(name, '.') == NULL ? ".txt" : "");
}

static inline void assert_golden(const char *name, const char *text)
{
    char path[512];
    golden_path(path, sizeof(path), name);
    if (getenv("UPDATE_GOLDEN") != NULL) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        assert_int_not_equal(fputs(text, file), EOF);
        assert_int_equal(fclose(file), 0);
    }
    static char expected[65536];
    FILE *file = fopen(path, "r");
    if (file == NULL)
        fail_msg("cannot read %s", path);
    size_t size = fread(expected, 1, sizeof(expected) - 1, file);
    expected[size] = 0;
    fclose(file);
    assert_string_equal(text, expected);
}

#endif
