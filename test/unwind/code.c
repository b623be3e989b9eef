/* SPDX-License-Identifier: MIT
 *
 * Code that comes and goes, and code of which nobody knows how to unwind it.
 */
#define _GNU_SOURCE
#include "shapes.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

/* --- Without unwind information ------------------------------------------------------------------------- */

static SITE int descend(int depth)
{
    return (depth > 0 ? descend(depth - 1) : probe()) + probe();
}

static int through_all(void)
{
    int sum = probe();

    sum += through_nothing(probe);
    sum += through_nothing_with_frame_pointer(probe);
    sum += through_general_rbp(probe, random_number());
    return sum + descend(2);
}

void shape_code_without_information(void)
{
    for (int i = 0; i < scaled(5000); i++) {
        through_nothing(probe);
        through_nothing(through_all);
        through_nothing_with_frame_pointer(through_all);
        through_nothing_with_rbp(through_all, 0);
        descend(3);
    }
}

/* --- Made at run time ----------------------------------------------------------------------------------- */

/* Two functions that call their argument from the same offset: with a frame pointer, and without. */
static const unsigned char with_frame_pointer[] = {
    0x55,                   /* push %rbp */
    0x48, 0x89, 0xe5,       /* mov %rsp, %rbp */
    0x90, 0x90, 0x90, 0x90, /* nop */
    0xff, 0xd7,             /* call *%rdi */
    0x5d,                   /* pop %rbp */
    0xc3,                   /* ret */
};
static const unsigned char without_frame_pointer[] = {
    0x48, 0x83, 0xec, 0x18, /* sub $24, %rsp */
    0x90, 0x90, 0x90, 0x90, /* nop */
    0xff, 0xd7,             /* call *%rdi */
    0x48, 0x83, 0xc4, 0x18, /* add $24, %rsp */
    0xc3,                   /* ret */
};

static int (*make_code(char *at, const unsigned char *code, size_t size))(function_fn *function)
{
    REQUIRE(mprotect(at, 4096, PROT_READ | PROT_WRITE) == 0);
    memcpy(at, code, size);
    REQUIRE(mprotect(at, 4096, PROT_READ | PROT_EXEC) == 0);
    return (int (*)(function_fn *))(uintptr_t)at;
}

static int (*outer_code)(function_fn *function);

static int through_code(void)
{
    return outer_code(probe) + probe();
}

void shape_code_made_at_run_time(void)
{
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    REQUIRE(pages != MAP_FAILED);
    for (int i = 0; i < scaled(3000); i++) {
        int (*code)(function_fn *) =
            random_below(2) ? make_code(pages, with_frame_pointer, sizeof(with_frame_pointer))
                            : make_code(pages, without_frame_pointer, sizeof(without_frame_pointer));

        outer_code = random_below(2)
                         ? make_code(pages + 4096, with_frame_pointer, sizeof(with_frame_pointer))
                         : make_code(pages + 4096, without_frame_pointer, sizeof(without_frame_pointer));
        code(probe);
        code(through_code);
        outer_code(probe);
        descend(2);
    }
}

/* --- One library in the place of another ---------------------------------------------------------------- */

enum { LIBRARIES = 4 };

typedef int pass_fn(function_fn *function);
static pass_fn *pass;

static SITE int call_pass(int depth)
{
    return (depth > 0 ? call_pass(depth - 1) : pass(probe)) + opaque(1);
}

static int pass_twice(void)
{
    return pass(probe) + probe();
}

/* What libunwind says is not enough here, since it remembers what was there before, too.  Without information
 * on a library, its guess is all that there is. */
static int is_known;

struct expected {
    const void *frames[2];
    size_t found;
};

static bool compare_frames(const struct ld_leak *leak, void *ctx)
{
    struct expected *expected = ctx;

    if (leak->size != 1337)
        return true;
    REQUIRE(leak->frame_count > 4);
    REQUIRE((const char *)leak->frames[1] - (const char *)expected->frames[0] < 128);
    REQUIRE((uintptr_t)leak->frames[1] > (uintptr_t)expected->frames[0]);
    REQUIRE((const char *)leak->frames[2] - (const char *)expected->frames[1] < 256);
    REQUIRE((uintptr_t)leak->frames[2] > (uintptr_t)expected->frames[1]);
    expected->found++;
    return true;
}

static SITE int check_by_walk(void)
{
    struct expected expected = {{(const void *)(uintptr_t)pass, NULL}, 0};
    void *block = ld_malloc(1337);

    extern int call_with_walk(void);
    expected.frames[1] = (const void *)(uintptr_t)call_with_walk;
    ld_now_leaks(compare_frames, &expected);
    REQUIRE(expected.found == 1);
    ld_free(block);
    return probe();
}

SITE int call_with_walk(void);
SITE int call_with_walk(void)
{
    return pass(check_by_walk) + opaque(1);
}

static void *use_library(void *count)
{
    for (int i = 0; i < (int)(intptr_t)count; i++) {
        call_pass((int)random_below(3));
        pass(pass_twice);
        if (is_known)
            call_with_walk();
        descend(2);
    }
    return NULL;
}

void shape_other_library_same_place(void)
{
    int same_place = 0;
    pass_fn *before = NULL;

    for (int i = 0; i < scaled(400); i++) {
        char name[] = "pass1.so";
        void *library;
        pthread_t thread;

        name[4] = (char)('1' + random_below(LIBRARIES));
        is_known = name[4] != '4';
        library = dlopen(beside_program(name), RTLD_NOW);
        REQUIRE(library != NULL);
        pass = (pass_fn *)(uintptr_t)dlsym(library, "pass");
        REQUIRE(pass != NULL);
        same_place += pass == before;
        before = pass;
        if (i % 16 == 0) {
            REQUIRE(pthread_create(&thread, NULL, use_library, (void *)(intptr_t)5) == 0);
            REQUIRE(pthread_join(thread, NULL) == 0);
        }
        use_library((void *)(intptr_t)(1 + random_below(10)));
        REQUIRE(dlclose(library) == 0);
        if (random_below(2) != 0)
            probe();
    }
    /* Otherwise this has shown nothing. */
    REQUIRE(same_place > scaled(400) / 2);
}
