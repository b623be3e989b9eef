/* SPDX-License-Identifier: MIT
 *
 * What holds a block, and what does not: one function for each place where a pointer may be, run once with
 * the pointer there and once with it taken away, the silent twin.  A program of its own, so that it can be
 * built in every way that the library can be used in (test/test_lost.sh).
 *
 *     scenarios [NAME...]      prints a line for each that fails; status 0: none
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "leakdetect.h"

#ifdef WHOLE
#define allocate malloc
#define release  free
#else
#define allocate ld_malloc
#define release  ld_free
#endif

#define SITE  __attribute__((noinline))
#define GUARD ((size_t)65536) /* bytes: a page, however large it is */

/* --- Looking ------------------------------------------------------------------------------------------ */

static const char *scenario;
static int failures;

struct wanted {
    size_t size;
    enum ld_reach reach;
    size_t count, led_blocks, led_bytes;
};

static bool look_for(const struct ld_leak *leak, void *ctx)
{
    struct wanted *wanted = ctx;

    if (leak->size == wanted->size) {
        wanted->reach = leak->reach;
        wanted->count++;
        wanted->led_blocks += leak->led_blocks;
        wanted->led_bytes += leak->led_bytes;
    }
    return true;
}

static const char *name_of(enum ld_reach reach)
{
    static const char *const names[] = {"live", "reachable", "possibly lost", "indirectly lost",
                                        "definitely lost"};

    return names[reach];
}

/* Overwrites what calls have left on the stack below, and in registers. */
static SITE void wipe_stack(void)
{
    volatile char dead[16384];

    for (size_t i = 0; i < sizeof(dead); i++)
        dead[i] = 0;
#if defined(__x86_64__)
    __asm__ volatile(
        "pxor %%xmm0, %%xmm0\n\tpxor %%xmm1, %%xmm1\n\tpxor %%xmm2, %%xmm2\n\tpxor %%xmm3, %%xmm3\n\t"
        "pxor %%xmm4, %%xmm4\n\tpxor %%xmm5, %%xmm5\n\tpxor %%xmm6, %%xmm6\n\tpxor %%xmm7, %%xmm7"
        :
        :
        : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
    __asm__ volatile(
        "xor %%eax, %%eax\n\txor %%ecx, %%ecx\n\txor %%edx, %%edx\n\txor %%esi, %%esi\n\txor %%edi, %%edi\n\t"
        "xor %%r8, %%r8\n\txor %%r9, %%r9\n\txor %%r10, %%r10\n\txor %%r11, %%r11"
        :
        :
        : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11");
#endif
}

static SITE struct wanted find_below(size_t size)
{
    struct wanted wanted = {.size = size, .reach = LD_REACHABLE};

    ld_lost_leaks(look_for, &wanted);
    return wanted;
}

static void judge(const struct wanted *wanted, enum ld_reach reach)
{
    if (wanted->reach == reach)
        return;
    printf("FAILED %s: the block of %zu bytes is %s, and should be %s\n", scenario, wanted->size,
           name_of(wanted->reach), name_of(reach));
    failures++;
}

static SITE void expect_below(size_t size, enum ld_reach reach)
{
    struct wanted wanted = find_below(size);

    judge(&wanted, reach);
}

/* Frames have holes, in which calls that came before have left pointers. */
#define find(size)          (wipe_stack(), find_below(size))
#define expect(size, reach) (wipe_stack(), expect_below(size, reach))

static void require(bool condition, const char *what)
{
    if (condition)
        return;
    printf("FAILED %s: %s\n", scenario, what);
    failures++;
}

/* An address that no scan would take for one. */
typedef uintptr_t hidden;
#define HIDE UINT64_C(0xa5a5a5a5a5a5a5a5)

static SITE hidden make(size_t size)
{
    void *block = allocate(size);

    memset(block, 0, size);
    return (uintptr_t)block ^ HIDE;
}

/* A call each time, so that nothing but its result has the address. */
static SITE void *show(hidden block)
{
    void *pointer = (void *)(block ^ HIDE);

    __asm__ volatile("" : "+r"(pointer));
    return pointer;
}

/* Stores a pointer, or what it points to hidden, so that twins do the same work. */
static SITE void put(void **where, hidden block)
{
    *where = show(block);
}

/* The next block may have this address. */
static SITE void drop(hidden block)
{
    release(show(block));
    wipe_stack();
}

/* --- Globals ------------------------------------------------------------------------------------------ */

static void *global_bss;
static void *global_data = &global_data;
static struct {
    char c;
    void *unaligned;
} __attribute__((packed)) packed;

static SITE void in_bss(void)
{
    hidden block = make(1337);

    put(&global_bss, block);
    expect(1337, LD_REACHABLE);
    global_bss = NULL;
    expect(1337, LD_DEFINITELY_LOST);
    drop(block);
}

/* What a static program asks for first lies behind what it has of its first thread. */
static SITE void behind_first_thread(void)
{
    void **memory = sbrk(4096);
    hidden block = make(1337);

    for (size_t i = 0; i < 4096 / sizeof(void *); i++)
        put(&memory[i], block);
    expect(1337, LD_DEFINITELY_LOST);
    memset(memory, 0, 4096);
    drop(block);
}

static SITE void in_data(void)
{
    hidden block = make(1337);

    put(&global_data, block);
    expect(1337, LD_REACHABLE);
    global_data = NULL;
    expect(1337, LD_DEFINITELY_LOST);
    drop(block);
}

static SITE void in_unaligned(void)
{
    hidden block = make(1337);
    void *pointer = show(block);

    /* Only use_unaligned finds it. */
    memcpy((char *)&packed + offsetof(__typeof__(packed), unaligned), &pointer, sizeof(pointer));
    pointer = NULL;
    __asm__ volatile("" : : "r"(&pointer) : "memory");
    expect(1337, LD_DEFINITELY_LOST);
    memset(&packed, 0, sizeof(packed));
    drop(block);
}

static SITE void is_tagged(void)
{
    hidden block = make(1337);

    global_bss = (void *)((uintptr_t)show(block) | UINT64_C(1) << 60);
    expect(1337, LD_DEFINITELY_LOST);
    global_bss = (void *)((uintptr_t)show(block) | 1);
    expect(1337, LD_POSSIBLY_LOST);
    global_bss = NULL;
    drop(block);
}

/* --- Shapes ------------------------------------------------------------------------------------------- */

static SITE void is_interior(void)
{
    hidden block = make(1337);

    global_bss = (char *)show(block) + 48;
    expect(1337, LD_POSSIBLY_LOST);
    global_bss = (char *)show(block) + 1336;
    expect(1337, LD_POSSIBLY_LOST);
    global_bss = (char *)show(block) + 1337; /* one past the end */
    expect(1337, LD_DEFINITELY_LOST);
    global_bss = (char *)show(block) - 1;
    expect(1337, LD_DEFINITELY_LOST);
    global_bss = NULL;
    drop(block);
}

static SITE void is_empty(void)
{
    hidden block = (uintptr_t)allocate(0) ^ HIDE;

    put(&global_bss, block);
    expect(0, LD_REACHABLE);
    global_bss = NULL;
    expect(0, LD_DEFINITELY_LOST);
    drop(block);
}

static SITE void points_to_itself(void)
{
    hidden block = make(1337);

    put(show(block), block);
    expect(1337, LD_DEFINITELY_LOST);
    drop(block);
}

static SITE void is_cycle(void)
{
    hidden blocks[5];

    for (int i = 0; i < 5; i++)
        blocks[i] = make(1337);
    for (int i = 0; i < 5; i++)
        put(show(blocks[i]), blocks[(i + 3) % 5]);
    put(&global_bss, blocks[2]);
    expect(1337, LD_REACHABLE);
    global_bss = NULL;
    {
        struct wanted wanted = find(1337);

        require(wanted.count == 5, "all of a cycle are lost");
        require(wanted.led_blocks == 4 && wanted.led_bytes == 4 * 1337, "one of a cycle leads the others");
    }
    for (int i = 0; i < 5; i++)
        drop(blocks[i]);
}

/* A list whose head was made last, first, in the middle. */
static SITE void is_list(void)
{
    enum { LENGTH = 100 };
    hidden nodes[LENGTH], head = make(666);

    for (int i = 0; i < LENGTH; i++)
        nodes[i] = make(1337);
    for (int i = 0; i + 1 < LENGTH; i++)
        put(show(nodes[i]), nodes[i + 1]);
    put(show(head), nodes[0]);
    put(&global_bss, head);
    expect(1337, LD_REACHABLE);
    expect(666, LD_REACHABLE);
    global_bss = NULL;
    {
        struct wanted leader = find(666), others = find(1337);

        require(leader.reach == LD_DEFINITELY_LOST && leader.count == 1, "the head is lost");
        require(leader.led_blocks == LENGTH && leader.led_bytes == 1337 * LENGTH, "the head leads the list");
        require(others.reach == LD_INDIRECTLY_LOST && others.count == LENGTH, "the list is lost by its head");
    }
    /* The head is reachable, but its pointer is gone. */
    put(&global_bss, head);
    memset(show(head), 0, 8);
    {
        struct wanted others = find(1337);

        require(others.count == LENGTH && others.led_blocks == LENGTH - 1, "lost behind a reachable head");
    }
    expect(666, LD_REACHABLE);
    global_bss = NULL;
    for (int i = 0; i < LENGTH; i++)
        drop(nodes[i]);
    drop(head);
}

static SITE hidden make_tree(int depth)
{
    hidden node = make(1337);

    if (depth > 0) {
        put((void **)show(node) + 1, make_tree(depth - 1));
        put((void **)show(node) + 2, make_tree(depth - 1));
    }
    return node;
}

static SITE void drop_tree(hidden node, int depth)
{
    if (depth > 0) {
        drop_tree((uintptr_t)((void **)show(node))[1] ^ HIDE, depth - 1);
        drop_tree((uintptr_t)((void **)show(node))[2] ^ HIDE, depth - 1);
    }
    drop(node);
}

static SITE void is_tree(void)
{
    hidden root = make_tree(9);
    struct wanted wanted;

    put(&global_bss, root);
    expect(1337, LD_REACHABLE);
    global_bss = NULL;
    wanted = find(1337);
    require(wanted.count == 1023 && wanted.led_blocks == 1022, "a tree is led by its root");
    drop_tree(root, 9);
}

static SITE hidden make_list(size_t length)
{
    hidden head = make(24);

    for (size_t i = 1; i < length; i++) {
        hidden node = make(24);

        put(show(node), head);
        head = node;
    }
    return head;
}

static SITE void drop_list(hidden head)
{
    for (void **node = show(head), **next; node != NULL; node = next) {
        next = node[0];
        release(node);
    }
}

static SITE void is_long_list(void)
{
    enum { LENGTH = 500000 };
    hidden head = make_list(LENGTH);
    struct wanted wanted;

    put(&global_bss, head);
    wanted = find(24);
    require(wanted.count == 0, "a long list is reachable");
    global_bss = NULL;
    wanted = find(24);
    require(wanted.count == LENGTH && wanted.led_blocks == LENGTH - 1, "a long list is lost");
    drop_list(head);
}

static SITE void is_in_freed(void)
{
    hidden holder = make(666), block = make(1337);

    put(show(holder), block);
    put(&global_bss, holder);
    expect(1337, LD_REACHABLE);
    global_bss = NULL;
    drop(holder);
    expect(1337, LD_DEFINITELY_LOST);
    drop(block);
}

static SITE void is_ignored(void)
{
    hidden holder = make(666), block = make(1337);

    put(show(holder), block);
    expect(666, LD_DEFINITELY_LOST);
    expect(1337, LD_INDIRECTLY_LOST);
    ld_ignore(show(holder));
    expect(666, LD_REACHABLE);
    expect(1337, LD_REACHABLE);
    drop(holder);
    expect(1337, LD_DEFINITELY_LOST);
    drop(block);
}

static SITE void is_new_array(void)
{
    hidden block = make(8 + 3 * 40);

    *(size_t *)show(block) = 3;
    global_bss = (char *)show(block) + 8;
    expect(128, LD_REACHABLE);
    *(size_t *)show(block) = 7;
    expect(128, LD_POSSIBLY_LOST);
    global_bss = NULL;
    expect(128, LD_DEFINITELY_LOST);
    drop(block);
}

/* --- Memory that is no block ---------------------------------------------------------------------------- */

static SITE void in_mapping(void)
{
    hidden block = make(1337);
    void **memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    put(memory + 600, block);
    expect(1337, LD_DEFINITELY_LOST);
    require(ld_register_root(memory, 8192) == 0, "a region can be registered");
    expect(1337, LD_REACHABLE);
    mprotect(memory, 4096, PROT_NONE);
    expect(1337, LD_REACHABLE);
    require(ld_unregister_root(memory, 4096) != 0, "only what was registered can be unregistered");
    require(ld_unregister_root(memory, 8192) == 0, "a region can be unregistered");
    expect(1337, LD_DEFINITELY_LOST);
    munmap(memory, 8192);
    drop(block);
}

/* --- Threads ------------------------------------------------------------------------------------------ */

static sem_t ready, go;
static _Thread_local void *tls_bss;
static _Thread_local void *tls_data = &global_data;
static hidden shared;
static bool is_to_hold;
static pthread_attr_t *attributes; /* NULL: as ever */

/* The next threads have a stack of so many bytes, at the beginning of this memory. */
static void use_stack(pthread_attr_t *attr, char *memory, size_t size)
{
    pthread_attr_init(attr);
    pthread_attr_setstack(attr, memory, size);
    attributes = attr;
}

static void use_no_stack(void)
{
    pthread_attr_destroy(attributes);
    attributes = NULL;
}

enum { STACK = 1 << 18 };

static char *map_stacks(size_t count)
{
    void *memory = mmap(NULL, count * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    require(memory != MAP_FAILED, "there is memory for stacks");
    return memory;
}

static void meet(void)
{
    wipe_stack();
    sem_post(&ready);
    while (sem_wait(&go) != 0)
        continue;
}

static SITE void run_thread(void *(*body)(void *), bool hold, enum ld_reach during, enum ld_reach after)
{
    pthread_t thread;

    shared = make(1337);
    is_to_hold = hold;
    wipe_stack();
    pthread_create(&thread, attributes, body, NULL);
    while (sem_wait(&ready) != 0)
        continue;
    expect(1337, during);
    sem_post(&go);
    pthread_join(thread, NULL);
    expect(1337, after);
    drop(shared);
    shared = 0;
}

static SITE void *on_stack_of_thread(void *unused)
{
    void *volatile pointer = is_to_hold ? show(shared) : NULL;

    (void)unused;
    meet();
    pointer = NULL;
    return pointer;
}

static SITE void on_other_stack(void)
{
    run_thread(on_stack_of_thread, true, LD_REACHABLE, LD_DEFINITELY_LOST);
    run_thread(on_stack_of_thread, false, LD_DEFINITELY_LOST, LD_DEFINITELY_LOST);
}

static SITE void meet_further_down(void)
{
    volatile char deep[16384];

    /* All of it is in use, with what earlier threads have left there. */
    for (size_t i = 0; i < sizeof(deep); i++)
        deep[i] = 0;
    meet();
    deep[0] = deep[1];
}

/* As a buffer does that is kept from swap or from core dumps. */
static SITE void *on_stack_in_pieces(void *unused)
{
    void *volatile pointer = is_to_hold ? show(shared) : NULL;
    char *page = (char *)((uintptr_t)&pointer & ~(uintptr_t)4095);

    (void)unused;
    require(madvise(page, 4096, MADV_DONTDUMP) == 0, "a page of a stack can be marked");
    meet_further_down();
    madvise(page, 4096, MADV_DODUMP);
    pointer = NULL;
    return pointer;
}

static SITE void on_cut_stack(void)
{
    run_thread(on_stack_in_pieces, true, LD_REACHABLE, LD_DEFINITELY_LOST);
    run_thread(on_stack_in_pieces, false, LD_DEFINITELY_LOST, LD_DEFINITELY_LOST);
}

/* Pages that the program has protected since; `held` is the page that has the pointer, further out than one
 * that cannot be read. */
enum { STACK_PAGES = 6 };
static int held, protection;

static SITE void *on_protected_stack(void *unused)
{
    char space[STACK_PAGES * 4096];
    char *pages = (char *)(((uintptr_t)space + 4095) & ~(uintptr_t)4095);
    void *volatile *pointer = (void *volatile *)(pages + held * 4096 + 1024);

    (void)unused;
    memset(space, 0, sizeof(space));
    *pointer = is_to_hold ? show(shared) : NULL;
    require(mprotect(pages, 4096, PROT_NONE) == 0, "a page of a stack can be protected");
    require(mprotect(pages + held * 4096, 4096, protection) == 0, "and another");
    require(mprotect(pages + 4 * 4096, 4096, PROT_NONE) == 0, "and one more");
    meet_further_down();
    mprotect(pages, STACK_PAGES / 2 * 4096, PROT_READ | PROT_WRITE);
    mprotect(pages + 3 * 4096, 2 * 4096, PROT_READ | PROT_WRITE);
    *pointer = NULL;
    return *pointer;
}

static SITE void on_stack_with_protected_pages(void)
{
    static const int protections[] = {PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE};

    held = 2;
    for (size_t i = 0; i < sizeof(protections) / sizeof(protections[0]); i++) {
        protection = protections[i];
        run_thread(on_protected_stack, true, LD_REACHABLE, LD_DEFINITELY_LOST);
        run_thread(on_protected_stack, false, LD_DEFINITELY_LOST, LD_DEFINITELY_LOST);
    }
}

static SITE void in_protected_block(void)
{
    hidden outer = make(4 * 4096), inner = make(1337);
    char *page = (char *)(((uintptr_t)show(outer) + 4095) & ~(uintptr_t)4095);

    put((void **)(page + 1024), inner);
    put(&global_bss, outer);
    require(mprotect(page, 4096, PROT_NONE) == 0, "a page of a block can be protected");
    expect(1337, LD_REACHABLE);
    mprotect(page, 4096, PROT_READ | PROT_WRITE);
    memset(page + 1024, 0, sizeof(void *));
    expect(1337, LD_DEFINITELY_LOST);
    global_bss = NULL;
    drop(inner);
    drop(outer);
}

/* As the kernel has it from the start, a thread may not touch what has a key. */
static SITE void behind_a_protection_key(void)
{
    hidden outer = make(4 * 4096), inner = make(1337);
    char *page = (char *)(((uintptr_t)show(outer) + 4095) & ~(uintptr_t)4095);
    int key = pkey_alloc(0, 0);

    put((void **)(page + 1024), inner);
    put(&global_bss, outer);
    if (key < 0) {
        fprintf(stderr, "behind_a_protection_key: skipped, there is none\n");
    } else {
        require(pkey_mprotect(page, 4096, PROT_READ | PROT_WRITE, key) == 0,
                "a page of a block can have a key");
        for (unsigned rights = 0; rights <= PKEY_DISABLE_ACCESS; rights++) {
            require(pkey_set(key, rights) == 0, "a thread may change its rights");
            expect(1337, LD_REACHABLE);
            require(pkey_get(key) == (int)rights, "a look leaves the rights of its thread");
        }
        pkey_set(key, 0);
        pkey_mprotect(page, 4096, PROT_READ | PROT_WRITE, 0);
        pkey_free(key);
    }
    memset(page + 1024, 0, sizeof(void *));
    expect(1337, LD_DEFINITELY_LOST);
    global_bss = NULL;
    drop(inner);
    drop(outer);
}

static void *in_tls_of_thread(void *unused)
{
    (void)unused;
    put(is_to_hold ? &tls_bss : &tls_data, shared);
    wipe_stack();
    meet();
    return NULL;
}

static SITE void in_tls(void)
{
    hidden block = make(1337);

    put(&tls_bss, block);
    expect(1337, LD_REACHABLE);
    tls_bss = NULL;
    expect(1337, LD_DEFINITELY_LOST);
    put(&tls_data, block);
    expect(1337, LD_REACHABLE);
    tls_data = NULL;
    expect(1337, LD_DEFINITELY_LOST);
    drop(block);
    run_thread(in_tls_of_thread, true, LD_REACHABLE, LD_DEFINITELY_LOST);
    run_thread(in_tls_of_thread, false, LD_REACHABLE, LD_DEFINITELY_LOST);
}

enum { KEYS = 100 };
static pthread_key_t keys[KEYS];

static void *in_keys_of_thread(void *unused)
{
    (void)unused;
    pthread_setspecific(keys[is_to_hold ? 0 : KEYS - 1], show(shared));
    wipe_stack();
    meet();
    pthread_setspecific(keys[is_to_hold ? 0 : KEYS - 1], NULL);
    return NULL;
}

/* Its keys may be in one page, and its thread pointer in another. */
static SITE void run_in_keys_on_odd_stacks(void)
{
    char *memory = map_stacks(2);

    for (size_t size = STACK; size < STACK + 4096; size += 512) {
        pthread_attr_t attr;

        use_stack(&attr, memory, size);
        run_thread(in_keys_of_thread, true, LD_REACHABLE, LD_DEFINITELY_LOST);
        run_thread(in_keys_of_thread, false, LD_REACHABLE, LD_DEFINITELY_LOST);
        use_no_stack();
    }
    munmap(memory, (size_t)2 * STACK);
}

static SITE void in_keys(void)
{
    hidden block = make(1337);

    for (int i = 0; i < KEYS; i++)
        pthread_key_create(&keys[i], NULL);
    for (int i = 0; i < KEYS; i += KEYS - 1) {
        pthread_setspecific(keys[i], show(block));
        expect(1337, LD_REACHABLE);
        pthread_setspecific(keys[i], NULL);
        expect(1337, LD_DEFINITELY_LOST);
    }
    drop(block);
    run_thread(in_keys_of_thread, true, LD_REACHABLE, LD_DEFINITELY_LOST);
    run_thread(in_keys_of_thread, false, LD_REACHABLE, LD_DEFINITELY_LOST);
    run_in_keys_on_odd_stacks();
    for (int i = 0; i < KEYS; i++)
        pthread_key_delete(keys[i]);
}

static atomic_bool is_running, is_over;

/* Spins with a pointer in a register alone. */
static SITE void *in_register_of_thread(void *unused)
{
    uintptr_t pointer = is_to_hold ? (wipe_stack(), (uintptr_t)show(shared)) : (wipe_stack(), 0);

    (void)unused;
    atomic_store(&is_running, true);
    while (!atomic_load(&is_over))
        __asm__ volatile("" : "+r"(pointer));
    pointer = 0;
    __asm__ volatile("" : "+r"(pointer));
    return NULL;
}

static SITE void in_vector_of_thread_loop(void)
{
    uintptr_t pointer = is_to_hold ? (wipe_stack(), (uintptr_t)show(shared)) : (wipe_stack(), 0);

#if defined(__x86_64__)
    __asm__ volatile("movq %0, %%xmm7\n\txorq %0, %0" : "+r"(pointer) : : "xmm7");
#endif
    atomic_store(&is_running, true);
    while (!atomic_load(&is_over))
        continue;
#if defined(__x86_64__)
    __asm__ volatile("pxor %%xmm7, %%xmm7" : : : "xmm7");
#endif
}

static SITE void *in_vector_of_thread(void *unused)
{
    (void)unused;
    in_vector_of_thread_loop();
    return NULL;
}

static SITE void spin(void *(*body)(void *), bool hold, enum ld_reach during)
{
    pthread_t thread;

    shared = make(1337);
    is_to_hold = hold;
    atomic_store(&is_running, false);
    atomic_store(&is_over, false);
    pthread_create(&thread, NULL, body, NULL);
    while (!atomic_load(&is_running))
        sched_yield();
    expect(1337, during);
    atomic_store(&is_over, true);
    pthread_join(thread, NULL);
    expect(1337, LD_DEFINITELY_LOST);
    drop(shared);
    shared = 0;
}

static SITE void in_register(void)
{
    spin(in_register_of_thread, true, LD_REACHABLE);
    spin(in_register_of_thread, false, LD_DEFINITELY_LOST);
    spin(in_vector_of_thread, true, LD_REACHABLE);
    spin(in_vector_of_thread, false, LD_DEFINITELY_LOST);
}

static void *all_blocked(void *unused)
{
    sigset_t set;
    void *result;

    sigfillset(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    result = on_stack_of_thread(unused);
    return result;
}

static void *all_blocked_spinning(void *unused)
{
    sigset_t set;

    sigfillset(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    return in_register_of_thread(unused);
}

static SITE void in_thread_that_blocks_signals(void)
{
    run_thread(all_blocked, true, LD_REACHABLE, LD_DEFINITELY_LOST);
    run_thread(all_blocked, false, LD_DEFINITELY_LOST, LD_DEFINITELY_LOST);
    spin(all_blocked_spinning, true, LD_REACHABLE);
    spin(all_blocked_spinning, false, LD_DEFINITELY_LOST);
}

static void *return_block(void *unused)
{
    (void)unused;
    return is_to_hold ? show(shared) : NULL;
}

static SITE void run_for_result(void)
{
    pthread_t thread;

    pthread_create(&thread, attributes, return_block, NULL);
    usleep(50000);
    expect(1337, is_to_hold ? LD_REACHABLE : LD_DEFINITELY_LOST);
    {
        void *result;

        pthread_join(thread, &result);
        result = NULL;
        __asm__ volatile("" : : "r"(&result) : "memory");
    }
    expect(1337, LD_DEFINITELY_LOST);
}

/* A stack need not be the end of what is mapped. */
static SITE void run_for_result_below_other_memory(void)
{
    const size_t size = (size_t)9 << 20;
    char *memory = map_stacks(2);
    void *above = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    pthread_attr_t attr;

    run_for_result();
    munmap(above, size);
    use_stack(&attr, memory, STACK);
    run_for_result();
    use_no_stack();
    munmap(memory, (size_t)2 * STACK);
}

static SITE void in_result_of_thread(void)
{
    pthread_t thread;
    pthread_attr_t detached;

    shared = make(1337);
    is_to_hold = false;
    wipe_stack();
    run_for_result();
    run_for_result_below_other_memory();
    is_to_hold = true;
    run_for_result();
    run_for_result_below_other_memory();
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_create(&thread, &detached, return_block, NULL);
    pthread_attr_destroy(&detached);
    usleep(50000);
    expect(1337, LD_DEFINITELY_LOST);
    drop(shared);
}

static void destroy(void *pointer)
{
    void *volatile kept = pointer;

    (void)kept;
    expect(1337, is_to_hold ? LD_REACHABLE : LD_DEFINITELY_LOST);
    kept = NULL; /* no tail call */
}

static pthread_key_t destructor_key;

static void *with_destructor(void *unused)
{
    (void)unused;
    pthread_setspecific(destructor_key, is_to_hold ? show(shared) : &destructor_key);
    wipe_stack();
    return NULL;
}

static SITE void in_destructor(void)
{
    pthread_key_create(&destructor_key, destroy);
    for (int hold = 0; hold < 2; hold++) {
        pthread_t thread;

        shared = make(1337);
        is_to_hold = hold;
        wipe_stack();
        pthread_create(&thread, NULL, with_destructor, NULL);
        pthread_join(thread, NULL);
        drop(shared);
    }
    pthread_key_delete(destructor_key);
}

/* --- Other stacks ------------------------------------------------------------------------------------- */

/* All of a mapping may be a stack, and the kernel makes one of neighbours: pages between them. */
static void *map_stack(size_t size)
{
    char *guard = mmap(NULL, size + 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    mprotect(guard + GUARD, size, PROT_READ | PROT_WRITE);
    return guard + GUARD;
}

static void unmap_stack(void *stack, size_t size)
{
    munmap((char *)stack - GUARD, size + 2 * GUARD);
}

static ucontext_t main_context, coroutine;

static SITE void make_coroutine(void *stack, size_t size, void (*work)(void))
{
    getcontext(&coroutine);
    coroutine.uc_stack.ss_sp = stack;
    coroutine.uc_stack.ss_size = size;
    coroutine.uc_link = &main_context;
    makecontext(&coroutine, work, 0);
}

static SITE void suspended(void)
{
    void *volatile pointer = is_to_hold ? show(shared) : NULL;

    swapcontext(&coroutine, &main_context);
    pointer = NULL;
    (void)pointer;
}

static SITE void suspend(bool hold, bool is_registered, enum ld_reach reach)
{
    enum { SIZE = 65536 };
    void *stack = map_stack(SIZE);

    shared = make(1337);
    is_to_hold = hold;
    if (is_registered)
        ld_register_root(stack, SIZE);
    wipe_stack();
    make_coroutine(stack, SIZE, suspended);
    swapcontext(&main_context, &coroutine);
    expect(1337, reach);
    swapcontext(&main_context, &coroutine);
    if (is_registered)
        ld_unregister_root(stack, SIZE);
    unmap_stack(stack, SIZE);
    drop(shared);
}

static SITE void on_coroutine(void)
{
    suspend(true, false, LD_DEFINITELY_LOST);
    suspend(true, true, LD_REACHABLE);
    suspend(false, true, LD_DEFINITELY_LOST);
}

/* All of the stack will count, dead or not. */
static SITE void wipe_deep_stack(void)
{
    volatile char dead[1 << 20];

    for (size_t i = 0; i < sizeof(dead); i++)
        dead[i] = 0;
}

/* Looks from the coroutine, with the pointer on the stack of the thread. */
static void look_from_there(void)
{
    expect(1337, is_to_hold ? LD_REACHABLE : LD_DEFINITELY_LOST);
}

static SITE void look_from_coroutine(void *stack, size_t size, bool hold)
{
    void *volatile pointer;

    shared = make(1337);
    is_to_hold = hold;
    pointer = hold ? show(shared) : NULL;
    wipe_stack();
    make_coroutine(stack, size, look_from_there);
    memset(&main_context, 0, sizeof(main_context));
    wipe_deep_stack();
    wipe_stack();
    swapcontext(&main_context, &coroutine);
    pointer = NULL;
    (void)pointer;
    drop(shared);
}

static SITE void below_coroutine(void)
{
    enum { SIZE = 131072 };

    for (int hold = 0; hold < 2; hold++) {
        void *stack = map_stack(SIZE);

        look_from_coroutine(stack, SIZE, hold);
        unmap_stack(stack, SIZE);
    }
}

#ifdef WHOLE
static SITE uintptr_t start_of_heap(void)
{
    hidden block = make(1337);
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    unsigned long start = 0, end;

    while (fgets(line, sizeof(line), maps) != NULL)
        if (sscanf(line, "%lx-%lx", &start, &end) == 2 && (block ^ HIDE) - start < end - start)
            break;
    fclose(maps);
    drop(block);
    return start;
}

/* The coroutine's stack is in one mapping with the heap, which has addresses of blocks of its own account. */
static SITE void on_coroutine_below_heap(void)
{
    enum { SIZE = 131072 };
    uintptr_t heap = start_of_heap();

    for (int hold = 0; hold < 2; hold++) {
        void *stack = mmap((void *)(heap - SIZE), SIZE, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

        if (stack == MAP_FAILED)
            return;
        look_from_coroutine(stack, SIZE, hold);
        munmap(stack, SIZE);
    }
}
#endif

static void look_from_handler(int signal)
{
    (void)signal;
    look_from_there();
}

static void be_interrupted(void)
{
    void *volatile pointer = is_to_hold ? show(shared) : NULL;

    raise(SIGUSR1);
    pointer = NULL;
    (void)pointer;
}

/* Looks from a handler on the signal stack, with the pointer on the stack of the coroutine that it has
 * interrupted. */
static SITE void interrupt_coroutine(int flags)
{
    enum { SIZE = 131072 };
    const struct sigaction action = {.sa_handler = look_from_handler, .sa_flags = SA_ONSTACK};
    struct sigaction before;
    stack_t signal_stack = {.ss_size = SIZE, .ss_flags = flags}, stack_before;

    signal_stack.ss_sp = map_stack(SIZE);
    sigaltstack(&signal_stack, &stack_before);
    sigaction(SIGUSR1, &action, &before);
    for (int hold = 0; hold < 2; hold++) {
        void *stack = map_stack(SIZE);

        shared = make(1337);
        is_to_hold = hold;
        wipe_stack();
        make_coroutine(stack, SIZE, be_interrupted);
        memset(&main_context, 0, sizeof(main_context));
        wipe_deep_stack();
        swapcontext(&main_context, &coroutine);
        unmap_stack(stack, SIZE);
        drop(shared);
    }
    sigaction(SIGUSR1, &before, NULL);
    sigaltstack(&stack_before, NULL);
    unmap_stack(signal_stack.ss_sp, SIZE);
}

static SITE void on_interrupted_coroutine(void)
{
    const unsigned autodisarm = 1u << 31; /* SS_AUTODISARM, of Linux */

    interrupt_coroutine(0);
    interrupt_coroutine((int)autodisarm);
}

#if defined(__x86_64__)
/* Looks from the very top of a stack above which nothing is mapped, with the pointer in a register. */
static SITE void at_top_of_stack(void)
{
    enum { SIZE = 131072, HOLE = 4096 };
    static struct wanted wanted;

    for (int hold = 0; hold < 2; hold++) {
        char *stack = mmap(NULL, SIZE + HOLE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        hidden key = hold ? HIDE : 0;

        munmap(stack + SIZE, HOLE);
        shared = make(1337);
        wanted = (struct wanted){.size = 1337, .reach = LD_REACHABLE};
        wipe_deep_stack();
        wipe_stack();
        __asm__ volatile(
            "mov %%rsp, %%r12\n\tmov %[top], %%rsp\n\tmov %[key], %%rbx\n\txor %[shared], %%rbx\n\t"
            "call *%[look]\n\tmov %%r12, %%rsp\n\txor %%ebx, %%ebx"
            :
            : [top] "r"(stack + SIZE), [key] "r"(key), [shared] "m"(shared), [look] "r"(ld_lost_leaks),
              "D"(look_for), "S"(&wanted)
            : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "memory", "cc");
        judge(&wanted, hold ? LD_REACHABLE : LD_DEFINITELY_LOST);
        munmap(stack, SIZE);
        drop(shared);
    }
}
#endif

static void handler(int number)
{
    void *volatile pointer = is_to_hold ? show(shared) : NULL;

    (void)number;
    meet();
    pointer = NULL;
    (void)pointer;
}

static void *with_signal_stack(void *unused)
{
    size_t size = 65536;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t stack = {.ss_sp = memory, .ss_size = size};

    (void)unused;
    wipe_stack();
    sigaltstack(&stack, NULL);
    raise(SIGUSR1);
    stack.ss_flags = SS_DISABLE;
    sigaltstack(&stack, NULL);
    munmap(memory, size);
    return NULL;
}

static void wait_in_handler(int number)
{
    (void)number;
    meet();
}

/* The handler's stack is above the thread's own, which waits for it. */
static void *with_thread_local_signal_stack(void *unused)
{
    static _Thread_local char memory[65536];
    stack_t stack = {.ss_sp = memory, .ss_size = sizeof(memory)};
    void *volatile pointer = is_to_hold ? show(shared) : NULL;

    (void)unused;
    wipe_stack();
    sigaltstack(&stack, NULL);
    raise(SIGUSR2);
    pointer = NULL;
    (void)pointer;
    stack.ss_flags = SS_DISABLE;
    sigaltstack(&stack, NULL);
    memset(memory, 0, sizeof(memory));
    return NULL;
}

static SITE void use_signal_stack(hidden block, size_t size)
{
    stack_t stack = {.ss_sp = block == 0 ? NULL : show(block), .ss_size = size};

    stack.ss_flags = block == 0 ? SS_DISABLE : 0;
    sigaltstack(&stack, NULL);
    stack.ss_sp = NULL;
    __asm__ volatile("" : : "r"(&stack) : "memory");
}

/* Only the kernel has its address. */
static SITE void is_signal_stack(void)
{
    size_t size = 65536;
    hidden block = make(size);

    use_signal_stack(block, size);
    expect(size, LD_REACHABLE);
    use_signal_stack(0, 0);
    expect(size, LD_DEFINITELY_LOST);
    drop(block);
}

static SITE void on_signal_stack(void)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};

    sigaction(SIGUSR1, &action, NULL);
    run_thread(with_signal_stack, true, LD_REACHABLE, LD_DEFINITELY_LOST);
    run_thread(with_signal_stack, false, LD_DEFINITELY_LOST, LD_DEFINITELY_LOST);
    signal(SIGUSR1, SIG_DFL);
    action.sa_handler = wait_in_handler;
    sigaction(SIGUSR2, &action, NULL);
    run_thread(with_thread_local_signal_stack, true, LD_REACHABLE, LD_DEFINITELY_LOST);
    run_thread(with_thread_local_signal_stack, false, LD_DEFINITELY_LOST, LD_DEFINITELY_LOST);
    signal(SIGUSR2, SIG_DFL);
}

static SITE void on_dead_stack_inner(hidden block)
{
    void *volatile pointer = show(block);

    (void)pointer;
}

static SITE void on_dead_stack(void)
{
    hidden block = make(1337);
    struct wanted wanted = {.size = 1337, .reach = LD_REACHABLE};

    wipe_stack();
    on_dead_stack_inner(block);
    ld_lost_leaks(look_for, &wanted);
    require(wanted.reach == LD_DEFINITELY_LOST, "what lies below the stack pointer is dead");
    drop(block);
}

/* --- Processes ---------------------------------------------------------------------------------------- */

static SITE void in_child(void)
{
    hidden block = make(1337);
    pid_t child;
    int status = 0;

    put(&global_bss, block);
    fflush(stdout);
    child = fork();
    if (child == 0) {
        failures = 0;
        expect(1337, LD_REACHABLE);
        global_bss = NULL;
        expect(1337, LD_DEFINITELY_LOST);
        fflush(stdout);
        _exit(failures);
    }
    waitpid(child, &status, 0);
    require(status == 0, "a forked child looks for itself");
    expect(1337, LD_REACHABLE);
    global_bss = NULL;
    drop(block);
}

/* --- Libraries ---------------------------------------------------------------------------------------- */

#ifdef PLUGIN
static SITE void in_library(void)
{
    void *library = dlopen(PLUGIN, RTLD_NOW);
    void **(*where[2])(void);

    require(library != NULL, "the library is loaded");
    if (library == NULL)
        return;
    *(void **)&where[0] = dlsym(library, "plugin_static");
    *(void **)&where[1] = dlsym(library, "plugin_thread_local");
    for (int i = 0; i < 2; i++) {
        hidden block = make(1337);

        put(where[i](), block);
        expect(1337, LD_REACHABLE);
        *where[i]() = NULL;
        expect(1337, LD_DEFINITELY_LOST);
        if (i == 0) {
            put(where[i](), block);
            dlclose(library);
            expect(1337, LD_DEFINITELY_LOST);
            library = dlopen(PLUGIN, RTLD_NOW);
            *(void **)&where[1] = dlsym(library, "plugin_thread_local");
        }
        drop(block);
    }
}

static void **(*thread_local_of_library)(void);

static void *in_library_of_thread(void *unused)
{
    (void)unused;
    *thread_local_of_library() = is_to_hold ? show(shared) : NULL;
    wipe_stack();
    meet();
    return NULL;
}

static SITE void in_library_tls(void)
{
    void *library = dlopen(PLUGIN, RTLD_NOW);

    *(void **)&thread_local_of_library = dlsym(library, "plugin_thread_local");
    run_thread(in_library_of_thread, true, LD_REACHABLE, LD_DEFINITELY_LOST);
    run_thread(in_library_of_thread, false, LD_DEFINITELY_LOST, LD_DEFINITELY_LOST);
}
#endif

/* --- All of them -------------------------------------------------------------------------------------- */

static SITE void is_silent(void)
{
    size_t count;

    wipe_stack();
    count = ld_lost_leaks(NULL, NULL);
    require(count == 0, "nothing is lost now");
}

#define SCENARIO(name) \
    {                  \
#name, name    \
    }
static const struct {
    const char *name;
    void (*run)(void);
} scenarios[] = {
    SCENARIO(behind_first_thread),
    SCENARIO(in_bss),
    SCENARIO(in_data),
    SCENARIO(in_unaligned),
    SCENARIO(is_tagged),
    SCENARIO(is_interior),
    SCENARIO(is_empty),
    SCENARIO(points_to_itself),
    SCENARIO(is_cycle),
    SCENARIO(is_list),
    SCENARIO(is_tree),
    SCENARIO(is_long_list),
    SCENARIO(is_in_freed),
    SCENARIO(is_ignored),
    SCENARIO(is_new_array),
    SCENARIO(in_mapping),
    SCENARIO(on_other_stack),
    SCENARIO(on_cut_stack),
    SCENARIO(on_stack_with_protected_pages),
    SCENARIO(in_protected_block),
    SCENARIO(behind_a_protection_key),
    SCENARIO(in_tls),
    SCENARIO(in_keys),
    SCENARIO(in_register),
    SCENARIO(in_thread_that_blocks_signals),
    SCENARIO(in_result_of_thread),
    SCENARIO(in_destructor),
    SCENARIO(on_coroutine),
    SCENARIO(below_coroutine),
#ifdef WHOLE
    SCENARIO(on_coroutine_below_heap),
#endif
    SCENARIO(on_interrupted_coroutine),
#if defined(__x86_64__)
    SCENARIO(at_top_of_stack),
#endif
    SCENARIO(on_signal_stack),
    SCENARIO(is_signal_stack),
    SCENARIO(on_dead_stack),
    SCENARIO(in_child),
#ifdef PLUGIN
    SCENARIO(in_library),
    SCENARIO(in_library_tls),
#endif
};

static bool is_wanted(const char *name, int count, char **names)
{
    for (int i = 1; i < count; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return count < 2;
}

/* Before main blocks have come and gone, and their addresses were left in places that live as long as main
 * does. These blocks take them. */
static void *volatile decoys[256];

static SITE void take_stale_addresses(void)
{
    static const size_t sizes[] = {0, 24, 128, 666, 1337};

    for (size_t i = 0; i < sizeof(decoys) / sizeof(decoys[0]); i++)
        decoys[i] = allocate(sizes[i % 5]);
}

int main(int count, char **names)
{
    static char buffer[BUFSIZ];

    /* A block of the C library's would be a neighbour of ours. */
    setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
    alarm(120);
    ld_init();
    take_stale_addresses();
    sem_init(&ready, 0, 0);
    sem_init(&go, 0, 0);
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        int before = failures;

        if (!is_wanted(scenarios[i].name, count, names))
            continue;
        scenario = scenarios[i].name;
        wipe_stack();
        scenarios[i].run();
        is_silent();
        if (failures == before)
            printf("ok %s\n", scenario);
    }
    printf("%d failures\n", failures);
    return failures != 0;
}
