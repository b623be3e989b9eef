/* SPDX-License-Identifier: MIT
 *
 * What is moved into huge pages before a copy of the process is made (collapse.h), as /proc/self/smaps tells
 * it: memory in use, whose bytes stay what they are, and nothing else.
 *
 * build: sources
 */
#define _GNU_SOURCE
#include "test_support.h"

#include <dirent.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collapse.h"

enum {
    HUGE_PAGE = 2 << 20,
    SIZE = 64 << 20, /* enough for it to be worth it */
    TIMES = 200,     /* each moves a part, where the kernel is slow */
};

struct region {
    unsigned char *mapped, *start; /* the first multiple of a huge page after what is mapped begins */
};

enum { MAPPED = SIZE + 2 * HUGE_PAGE };

/* A mapping of its own: what is before and behind it is not writable. */
static struct region map(void)
{
    struct region region;

    region.mapped = mmap(NULL, MAPPED, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(region.mapped != MAP_FAILED);
    region.start = (unsigned char *)(((uintptr_t)region.mapped + HUGE_PAGE) & ~(uintptr_t)(HUGE_PAGE - 1));
    REQUIRE(mprotect(region.start, SIZE, PROT_READ | PROT_WRITE) == 0);
    /* What is touched is to be in small pages. */
    REQUIRE(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
    return region;
}

static void fill(const struct region *region)
{
    for (size_t i = 0; i < SIZE; i += sizeof(uint64_t))
        *(uint64_t *)(void *)(region->start + i) = i * UINT64_C(0x9e3779b97f4a7c15);
    REQUIRE(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0) == 0);
}

static bool is_as_filled(const struct region *region)
{
    for (size_t i = 0; i < SIZE; i += sizeof(uint64_t))
        if (*(uint64_t *)(void *)(region->start + i) != i * UINT64_C(0x9e3779b97f4a7c15))
            return false;
    return true;
}

static void unmap(const struct region *region)
{
    REQUIRE(munmap(region->mapped, MAPPED) == 0);
}

/* Of the mappings that have a byte of the region: how many KiB a line of smaps says. */
static size_t kib_of(const struct region *region, const char *what)
{
    FILE *smaps = fopen("/proc/self/smaps", "r");
    size_t sum = 0, from, to, start = 0, end = 0, value;
    char line[4096], word[64];

    REQUIRE(smaps != NULL);
    while (fgets(line, sizeof(line), smaps) != NULL) {
        if (sscanf(line, "%zx-%zx ", &from, &to) == 2) {
            start = from;
            end = to;
            continue;
        }
        if (end > (uintptr_t)region->start && start < (uintptr_t)region->start + SIZE &&
            sscanf(line, "%63[^:]: %zu kB", word, &value) == 2 && strcmp(word, what) == 0)
            sum += value;
    }
    fclose(smaps);
    return sum;
}

static size_t huge_kib(const struct region *region)
{
    return kib_of(region, "AnonHugePages");
}

static size_t count_descriptors(void)
{
    DIR *list = opendir("/proc/self/fd");
    size_t count = 0;

    REQUIRE(list != NULL);
    while (readdir(list) != NULL)
        count++;
    closedir(list);
    return count;
}

/* Until there is nothing left to do. */
static void collapse_all(const struct region *region)
{
    for (int i = 0; i < TIMES && huge_kib(region) < SIZE / 1024; i++)
        collapse_pages();
}

/* Whether this kernel does it at all, when it is asked for a whole range that is in use. */
static bool has_collapse(void)
{
    enum { COLLAPSE = 25 }; /* MADV_COLLAPSE */
    struct region region = map();
    bool result;

    fill(&region);
    result = madvise(region.start, SIZE, COLLAPSE) == 0 && huge_kib(&region) == SIZE / 1024;
    unmap(&region);
    return result;
}

static void skip_without(void)
{
    char words[64] = "[never]";
    FILE *enabled = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");

    if (enabled != NULL) {
        REQUIRE(fgets(words, sizeof(words), enabled) != NULL);
        fclose(enabled);
    }
    if (strstr(words, "[never]") != NULL || !has_collapse()) {
        print_message("skipped: this kernel moves nothing into huge pages\n");
        skip();
    }
}

static void what_is_in_use_is_moved(void **state)
{
    struct region region;
    size_t descriptors = count_descriptors();

    (void)state;
    skip_without();
    region = map();
    fill(&region);
    assert_int_equal(huge_kib(&region), 0);
    errno = EDOM;
    collapse_pages();
    assert_int_equal(errno, EDOM);
    assert_true(huge_kib(&region) > 0);
    collapse_all(&region);
    assert_int_equal(huge_kib(&region), SIZE / 1024);
    assert_true(is_as_filled(&region));
    assert_int_equal(count_descriptors(), descriptors);
    unmap(&region);
}

/* It would be in use afterwards; where it is one small page in eight, it is. */
static void what_was_never_touched_stays_so(void **state)
{
    enum { SMALL = 4096, HOLES = HUGE_PAGE / SMALL / 8, RANGES = SIZE / HUGE_PAGE };
    struct region region;
    size_t resident;

    (void)state;
    skip_without();
    region = map();
    fill(&region);
    for (size_t i = 0; i < RANGES; i += 2) {
        size_t holes = i % 4 == 0 ? HOLES + 1 : HOLES;

        REQUIRE(madvise(region.start + i * HUGE_PAGE + i * SMALL, holes * SMALL, MADV_DONTNEED) == 0);
    }
    resident = kib_of(&region, "Rss");
    for (int i = 0; i < TIMES && huge_kib(&region) < SIZE / 1024 / 4 * 3; i++)
        collapse_pages();
    collapse_pages();
    assert_int_equal(huge_kib(&region), SIZE / 1024 / 4 * 3);
    assert_int_equal(kib_of(&region, "Rss"), resident + RANGES / 4 * HOLES * SMALL / 1024);
    unmap(&region);
}

/* Where the kernel has one page of zeroes for all of it, no memory is in use. */
static void what_is_only_read_takes_no_memory(void **state)
{
    struct region region;
    size_t resident;
    unsigned sum = 0;

    (void)state;
    skip_without();
    region = map();
    for (size_t i = 0; i < SIZE; i += 4096)
        sum += *(volatile unsigned char *)(region.start + i);
    assert_int_equal(sum, 0);
    REQUIRE(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0) == 0);
    resident = kib_of(&region, "Rss");
    for (int i = 0; i < 10; i++)
        collapse_pages();
    assert_int_equal(kib_of(&region, "Rss"), resident);
    unmap(&region);
}

static void what_a_child_shares_stays_so(void **state)
{
    struct region region;
    int gate[2];
    pid_t child;

    (void)state;
    skip_without();
    region = map();
    fill(&region);
    REQUIRE(pipe(gate) == 0);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        char byte;

        close(gate[1]);
        _exit(read(gate[0], &byte, 1) == 0 ? 0 : 1);
    }
    for (int i = 0; i < 10; i++)
        collapse_pages();
    assert_int_equal(huge_kib(&region), 0);
    close(gate[0]);
    close(gate[1]);
    REQUIRE(waitpid(child, NULL, 0) == child);
    collapse_all(&region);
    assert_int_equal(huge_kib(&region), SIZE / 1024);
    assert_true(is_as_filled(&region));
    unmap(&region);
}

static void what_the_program_wants_small_stays_so(void **state)
{
    struct region region;

    (void)state;
    skip_without();
    region = map();
    fill(&region);
    REQUIRE(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
    for (int i = 0; i < 10; i++)
        collapse_pages();
    REQUIRE(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0) == 0);
    assert_int_equal(huge_kib(&region), 0);
    REQUIRE(madvise(region.start, SIZE, MADV_NOHUGEPAGE) == 0);
    for (int i = 0; i < 10; i++)
        collapse_pages();
    assert_int_equal(huge_kib(&region), 0);
    unmap(&region);
}

static atomic_bool is_over;

/* Each byte goes round, in its own page. */
static void *write_pages(void *start)
{
    for (size_t rounds = 0; !atomic_load(&is_over); rounds++)
        for (size_t i = 0; i < SIZE; i += 4096) {
            unsigned char *at = (unsigned char *)start + i + 8;

            REQUIRE(*at == (unsigned char)rounds);
            *at = (unsigned char)(rounds + 1);
        }
    return NULL;
}

static void nothing_is_lost_that_is_written_meanwhile(void **state)
{
    struct region region;
    pthread_t writer;

    (void)state;
    skip_without();
    region = map();
    memset(region.start, 0, SIZE);
    REQUIRE(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0) == 0);
    REQUIRE(pthread_create(&writer, NULL, write_pages, region.start) == 0);
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();

        REQUIRE(child >= 0);
        if (child == 0)
            _exit(0);
        REQUIRE(waitpid(child, NULL, 0) == child);
        collapse_pages();
    }
    atomic_store(&is_over, true);
    REQUIRE(pthread_join(writer, NULL) == 0);
    assert_true(huge_kib(&region) > 0);
    unmap(&region);
}

/* ThreadSanitizer bears no copy of a process. */
#if !HAS_THREAD_SANITIZER
static void looks_do_it(void **state)
{
    enum { BLOCKS = SIZE / HUGE_PAGE };
    unsigned char *blocks[BLOCKS];
    struct region all = {0};
    size_t huge = 0;

    (void)state;
    skip_without();
    REQUIRE(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = ld_malloc(HUGE_PAGE);
        assert_non_null(blocks[i]);
        memset(blocks[i], 1, HUGE_PAGE);
    }
    REQUIRE(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0) == 0);
    assert_int_equal(ld_lost_leaks(NULL, NULL), 0);
    for (size_t i = 0; i < BLOCKS; i++) {
        all.start = blocks[i];
        huge += huge_kib(&all);
        ld_free(blocks[i]);
    }
    assert_true(huge > 0);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_in_use_is_moved),
        cmocka_unit_test(what_was_never_touched_stays_so),
        cmocka_unit_test(what_is_only_read_takes_no_memory),
        cmocka_unit_test(what_a_child_shares_stays_so),
        cmocka_unit_test(what_the_program_wants_small_stays_so),
        cmocka_unit_test(nothing_is_lost_that_is_written_meanwhile),
#if !HAS_THREAD_SANITIZER
        cmocka_unit_test(looks_do_it),
#endif
    };

    test_deadline(120);
    ld_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
