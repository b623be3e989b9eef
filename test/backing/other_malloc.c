/* To be preloaded: a malloc that is not jemalloc's own.  With HEADER, one that has the next malloc make a
 * larger block, and keeps something in front of it; a block that is not its own ends the process.  Otherwise
 * one that hands out memory which is never given back. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if HEADER

#define _GNU_SOURCE 1
#include <dlfcn.h>

#define MAGIC UINT64_C(0x0badc0ffee0ddf00)

static void *(*next_malloc)(size_t);
static void (*next_free)(void *);

__attribute__((constructor)) static void find_next(void)
{
    void *found = dlsym((void *)-1L, "malloc");

    memcpy(&next_malloc, &found, sizeof(found));
    found = dlsym((void *)-1L, "free");
    memcpy(&next_free, &found, sizeof(found));
}

void *malloc(size_t size)
{
    uint64_t *block;

    if (next_malloc == NULL)
        find_next();
    block = next_malloc(size + 16);
    if (block == NULL)
        return NULL;
    *block = MAGIC;
    return block + 2;
}

void free(void *block)
{
    uint64_t *header = (uint64_t *)block - 2;

    if (block == NULL)
        return;
    if (*header != MAGIC)
        abort();
    next_free(header);
}

#else

static char memory[1 << 24];
static size_t used;

void *malloc(size_t size)
{
    void *block = memory + used;

    used += (size + 15) / 16 * 16;
    return used <= sizeof(memory) ? block : NULL;
}

void free(void *block)
{
    if (block != NULL && ((char *)block < memory || (char *)block >= memory + used))
        abort();
}

#endif
