/* SPDX-License-Identifier: MIT
 *
 * Millions of random operations in eight threads, against a reference: whenever all threads rest, a walk must find
 * exactly the blocks that the reference knows, each with its address, its size, its epoch, and the stack that its site
 * has.  Any thread frees and reallocates any other thread's blocks.
 *
 * With a small table (test_model_small.c) blocks go unrecorded: then what is on record must be right, and together
 * with what was counted as dropped it must be everything.
 */
#include "test_support.h"

enum { THREADS = 8, CELLS = 16384, ROUNDS = 40, SITES = 16, PATHS = 8 };

/* Ten million operations, by default, in all threads and rounds. */
#define OPERATIONS_IN_A_ROUND scaled(10500000 / (THREADS * ROUNDS))

/* --- Reference --------------------------------------------------------------------------------------------- */

/* A place for one block, that whoever has locked it may do with as they like. */
struct cell {
    atomic_flag lock;
    void *address; /* NULL: none */
    size_t size;
    unsigned site, path;
    uint32_t mark;
};

static struct cell cells[CELLS];
static uint32_t mark_now;
static pthread_barrier_t barrier;

/* The stack that each site leaves on each way to it, and the entry of a thread below it: learnt when a thread begins, while
 * nothing else runs. */
static struct snapshot expected[SITES][PATHS];

/* --- Sites ------------------------------------------------------------------------------------------------- */

/* What a site works on: the old block is freed, reallocated, or NULL. */
struct job {
    void *old;
    size_t size;
    void *block;
};

#define DEFINE_SITE(number, call)                                                                            \
    static SITE void site_##number(struct job *job)                                                          \
    {                                                                                                        \
        job->block = call;                                                                                   \
        __asm__ volatile("" ::: "memory");                                                                   \
    }

static void *from_posix_memalign(int error, void **block)
{
    return error == 0 ? *block : NULL;
}

static void *of_size(const char *text, size_t size)
{
    static char long_text[8192];

    (void)text;
    if (long_text[0] == '\0')
        return NULL;
    return long_text + sizeof(long_text) - size;
}

DEFINE_SITE(0, ld_malloc(job->size))
DEFINE_SITE(1, ld_calloc(1, job->size))
DEFINE_SITE(2, ld_calloc(job->size, 1))
DEFINE_SITE(3, ld_aligned_alloc(16, job->size))
DEFINE_SITE(4, ld_aligned_alloc(256, job->size))
DEFINE_SITE(5, ld_memalign(4096, job->size))
DEFINE_SITE(6, ld_memalign(24, job->size))
DEFINE_SITE(7, from_posix_memalign(ld_posix_memalign(&job->block, 64, job->size), &job->block))
DEFINE_SITE(8, ld_realloc(NULL, job->size))
DEFINE_SITE(9, ld_reallocarray(NULL, job->size, 1))
DEFINE_SITE(10, ld_strndup(of_size("", job->size), job->size))
DEFINE_SITE(11, ld_strdup(of_size("", job->size)))
DEFINE_SITE(12, ld_realloc(job->old, job->size))
DEFINE_SITE(13, ld_reallocarray(job->old, job->size, 1))
DEFINE_SITE(14, ld_realloc(job->old, job->size))
DEFINE_SITE(15, ld_reallocarray(job->old, 1, job->size))
