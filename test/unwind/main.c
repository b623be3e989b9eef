/* SPDX-License-Identifier: MIT
 *
 * Runs every shape, each in a process of its own, and reports in TAP.
 *
 *     shapes [NAME...]
 */
#define _GNU_SOURCE
#include "shapes.h"

#include <libgen.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define DECLARE(name) void shape_##name(void);
SHAPES(DECLARE)

static const struct {
    const char *name;
    void (*run)(void);
} shapes[] = {
#define ENTRY(name) {#name, shape_##name},
    SHAPES(ENTRY)};

enum { DEADLINE = 120 };

static uint32_t state;
static char folder[4000];

void shape_failed(const char *file, int line, const char *condition)
{
    dprintf(STDERR_FILENO, "%s:%d: does not hold: %s\n", file, line, condition);
    abort();
}

/* Every way in has a frame of its own, from which the walk begins. */
static void *allocate(void *old)
{
    void *block;

    switch (random_below(16)) {
    case 0:
        return ld_realloc(old, 24 + random_below(2) * 1000);
    case 1:
        return ld_reallocarray(old, 3, 8 + random_below(2) * 1000);
    case 2:
        block = ld_calloc(3, 8);
        break;
    case 3:
        block = ld_aligned_alloc(64, 24);
        break;
    case 4:
        block = ld_strdup("some text");
        break;
    case 5:
        block = NULL;
        REQUIRE(ld_posix_memalign(&block, 16, 24) == 0);
        break;
    case 6:
        block = ld_realloc(NULL, 24);
        break;
    default:
        return old;
    }
    ld_free(old);
    return block;
}

SITE int probe(void)
{
    void *block = allocate(ld_malloc(24));

    REQUIRE(block != NULL);
    ld_free(block);
    return opaque(1);
}

uint32_t random_number(void)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

int scaled(int count)
{
    const char *scale = getenv("SHAPES_SCALE");
    long long result = scale == NULL ? count : (long long)count * atoi(scale) / 100;

    return result > 0 ? (int)result : 1;
}

char *guarded_pages(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *pages = mmap(NULL, size + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    REQUIRE(pages != MAP_FAILED);
    REQUIRE(mprotect(pages + page, size, PROT_READ | PROT_WRITE) == 0);
    return pages + page;
}

void give_back_guarded(char *pages, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    REQUIRE(munmap(pages - page, size + 2 * page) == 0);
}

const char *beside_program(const char *name)
{
    static char path[sizeof(folder) + 100];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void find_folder(void)
{
    ssize_t length = readlink("/proc/self/exe", folder, sizeof(folder) - 1);

    REQUIRE(length > 0);
    dirname(folder);
}

static uint32_t seed(void)
{
    const char *text = getenv("LEAKDETECT_TEST_SEED");

    return text != NULL ? (uint32_t)strtoul(text, NULL, 0) : (uint32_t)getpid() * 2654435761u | 1u;
}

static int is_wanted(const char *name, char **wanted)
{
    if (*wanted == NULL)
        return 1;
    for (; *wanted != NULL; wanted++)
        if (strcmp(*wanted, name) == 0)
            return 1;
    return 0;
}

static int run(size_t i, uint32_t from)
{
    int status;
    pid_t child = fork();

    REQUIRE(child >= 0);
    if (child == 0) {
        alarm(DEADLINE);
        state = from + (uint32_t)i;
        shapes[i].run();
        /* The stack of every block that is left, at the end. */
        _exit(0);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    return status;
}

int main(int argc, char **argv)
{
    uint32_t from = seed();
    int failed = 0;

    (void)argc;
    find_folder();
    ld_init();
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        if (is_wanted(shapes[i].name, argv + 1)) {
            int status = run(i, from);

            if (status != 0) {
                printf("# status 0x%x, LEAKDETECT_TEST_SEED=%u\nnot ", (unsigned)status, from);
                failed = 1;
            }
            printf("ok - %s\n", shapes[i].name);
            fflush(stdout);
        }
    return failed;
}
