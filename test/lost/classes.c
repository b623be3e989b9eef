/* SPDX-License-Identifier: MIT
 *
 * No lost block is missed, and none that is held is taken for lost: of blocks of every size class of the
 * allocator, made in random places in random order, half are dropped and half kept.  What is found must be
 * exactly what was dropped.
 *
 *     classes SEED       status 0: so it is.  Needs the library as malloc, linked or preloaded
 *
 * Stale copies are cleared: addresses are kept hidden, and each is seen by functions alone whose frames are
 * overwritten afterwards.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "leakdetect.h"

#pragma weak ld_lost_leaks

#define SITE __attribute__((noinline))

enum {
    LARGEST = 4 << 20,
    CLASSES_MOST = 128,
    ROUNDS = 6, /* blocks of each class and kind */
    BLOCKS = CLASSES_MOST * ROUNDS * 2,
    SMALL = 14336, /* beyond it classes are of whole pages */
    THREADS = 4,
    DEPTH = 12,
};

struct block {
    uintptr_t hidden; /* complement of its address */
    size_t size;
    bool is_dropped, was_found;
};

static struct block blocks[BLOCKS];
static size_t block_count, dropped_count, found_count, false_count;
static void *volatile held[BLOCKS];
static uint64_t seed;

static uint64_t draw(uint64_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % below;
}

/* Overwrites what calls have left below: no pointer lasts there. */
static SITE void wipe_stack(void)
{
    volatile char dead[65536];

    for (size_t i = 0; i < sizeof(dead); i++)
        dead[i] = 0;
}

/* --- The blocks --------------------------------------------------------------------------------------- */

static SITE void *allocate(size_t size)
{
    void *block = NULL;

    switch (draw(5)) {
    case 0:
        block = calloc(1, size);
        break;
    case 1:
        block = realloc(malloc(1 + draw(size)), size);
        break;
    case 2:
        block = realloc(malloc(size + draw(size)), size);
        break;
    case 3:
        if (posix_memalign(&block, (size_t)8 << draw(6), size) != 0)
            abort();
        break;
    default:
        block = malloc(size);
        break;
    }
    memset(block, 0, size);
    return block;
}

static SITE void make(struct block *it, size_t index)
{
    void *block = allocate(it->size);

    it->hidden = ~(uintptr_t)block;
    if (!it->is_dropped)
        held[index] = block;
}

/* At some depth, with a frame of some size. */
static SITE int descend(struct block *it, size_t index, uint64_t depth)
{
    volatile char frame[64 * 7];

    frame[0] = (char)depth;
    if (depth == 0)
        make(it, index);
    else
        frame[1] = (char)descend(it, index, depth - 1);
    return frame[0] + 1;
}

static struct {
    struct block *it;
    size_t index;
} job;

static void *in_thread(void *unused)
{
    descend(job.it, job.index, draw(DEPTH));
    wipe_stack();
    return unused;
}

static SITE void make_somewhere(struct block *it, size_t index)
{
    pthread_t thread;

    if (draw(8) != 0) {
        descend(it, index, draw(DEPTH));
        return;
    }
    job.it = it;
    job.index = index;
    if (pthread_create(&thread, NULL, in_thread, NULL) != 0)
        abort();
    pthread_join(thread, NULL);
}

/* The size class after this one, as jemalloc has them: multiples of 16, and from 64 on four to each
 * doubling. */
static size_t class_after(size_t size)
{
    size_t step = 16;

    if (size == 0)
        return 8;
    while (size >= 8 * step)
        step *= 2;
    return size / step * step + step;
}

/* Before main blocks have come and gone, and their addresses were left in frames that last as long as main's.
 * These blocks take them. */
static SITE void take_stale_addresses(void)
{
    static void *volatile decoys[CLASSES_MOST * 4];
    size_t count = 0, last = 0;

    while (last < SMALL) {
        for (int i = 0; i < 4; i++)
            decoys[count++] = malloc(last + 1);
        last = class_after(last);
    }
}

/* Each class from the sizes that fall into it. */
static SITE void plan(void)
{
    size_t last = 0;

    while (last < LARGEST) {
        size_t size = class_after(last);

        for (int i = 0; i < 2 * ROUNDS && (size <= SMALL || i < 4); i++)
            blocks[block_count++] = (struct block){
                .size = last + 1 + draw(size - last),
                .is_dropped = i % 2 == 0,
            };
        last = size;
    }
    for (size_t i = block_count; i-- > 1;) {
        size_t other = draw(i + 1);
        struct block swap = blocks[i];

        blocks[i] = blocks[other];
        blocks[other] = swap;
    }
}

/* --- Meanwhile ---------------------------------------------------------------------------------------- */

static sem_t ready, go;

static void *wait_here(void *unused)
{
    free(malloc(draw(1000) + 1));
    wipe_stack();
    sem_post(&ready);
    while (sem_wait(&go) != 0)
        continue;
    return unused;
}

/* --- The answer --------------------------------------------------------------------------------------- */

static bool compare(const struct ld_leak *leak, void *unused)
{
    (void)unused;
    found_count++;
    for (size_t i = 0; i < block_count; i++)
        if (~blocks[i].hidden == (uintptr_t)leak->address && blocks[i].is_dropped &&
            blocks[i].size == leak->size && leak->reach == LD_DEFINITELY_LOST && !blocks[i].was_found) {
            blocks[i].was_found = true;
            return true;
        }
    printf("FAILED: %zu bytes at %p are not lost, but said to be (%d)\n", leak->size, leak->address,
           (int)leak->reach);
    false_count++;
    return true;
}

static SITE void look(void)
{
    ld_lost_leaks(compare, NULL);
}

static SITE int run(int count, char **arguments)
{
    static char buffer[BUFSIZ];
    pthread_t threads[THREADS];
    size_t missed = 0;

    setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
    seed = count > 1 ? strtoull(arguments[1], NULL, 0) : (uint64_t)getpid();
    printf("seed %llu\n", (unsigned long long)seed);
    seed = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    alarm(120);
    if (ld_lost_leaks == NULL)
        return 2;
    sem_init(&ready, 0, 0);
    sem_init(&go, 0, 0);
    for (int i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], NULL, wait_here, NULL) != 0)
            abort();
        while (sem_wait(&ready) != 0)
            continue;
    }
    take_stale_addresses();
    plan();
    for (size_t i = 0; i < block_count; i++) {
        make_somewhere(&blocks[i], i);
        dropped_count += blocks[i].is_dropped;
    }
    wipe_stack();
    look();
    for (size_t i = 0; i < block_count; i++)
        if (blocks[i].is_dropped && !blocks[i].was_found) {
            printf("FAILED: %zu bytes at %p are lost, and were missed\n", blocks[i].size,
                   (void *)~blocks[i].hidden);
            missed++;
        }
    printf("%zu of %zu blocks were dropped, %zu found, %zu missed\n", dropped_count, block_count, found_count,
           missed);
    for (int i = 0; i < THREADS; i++)
        sem_post(&go);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    return missed != 0 || false_count != 0;
}

/* What others have left below, half overwritten, may look like a pointer into a block. */
int main(int count, char **arguments)
{
    wipe_stack();
    return run(count, arguments);
}
