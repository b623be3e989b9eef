/* SPDX-License-Identifier: MIT
 *
 * What differs between compilers, processors and kernels, under one name each.  Raw system calls are made in
 * platform.c and kernel.c alone, but for those that restart.c makes again.  Nothing here allocates from the
 * heap, and nothing knows what a block or a stack is.
 */
#ifndef PLATFORM_H
#define PLATFORM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ThreadSanitizer takes what reads several words at once for no atomic access. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define READS_WORD_BY_WORD
#endif
#elif defined(__SANITIZE_THREAD__)
#define READS_WORD_BY_WORD
#endif

#if defined(__SSE2__) && !defined(READS_WORD_BY_WORD)
#define READS_BY_SSE2
#include <emmintrin.h>
#endif

/* GNU extensions, each under a name that says what it is for. */
#define LIKELY(x)     __builtin_expect(!!(x), 1)
#define UNLIKELY(x)   __builtin_expect(!!(x), 0)
#define NOINLINE      __attribute__((noinline))
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define COLD          __attribute__((noinline, cold))
#define ALIGNED(n)    __attribute__((aligned(n)))
/* A pointer argument whose memory the function does not look at: gcc would warn that it is not
 * initialised. */
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 11
#define NOT_READ(argument) __attribute__((access(none, argument)))
#else
#define NOT_READ(argument)
#endif
/* Reads frames that are not its own, of which a sanitizer thinks that nobody should. */
#define READS_FRAMES __attribute__((noinline, no_sanitize("address", "thread")))
/* A public entry point: visible, and never inlined or cloned, so that it always has a return address. */
#define ENTRY_POINT __attribute__((visibility("default"), noinline))
/* Thread-local storage that is reached without a call, so that a signal handler may touch it. */
#define THREAD_LOCAL _Thread_local __attribute__((tls_model("initial-exec")))
/* Asks for the cache line of an address that will be written. */
#define PREFETCH_WRITE(address) __builtin_prefetch((address), 1)
/* Has the compiler keep this pointer, where it would rather compute it again at each use. */
#define KEEP_POINTER(pointer) __asm__("" : "+r"(pointer))
/* After a call whose result this is: has it made by a call, even at the end of a function, and not by a
 * jump. */
#define NOT_BY_A_JUMP(result) __asm__ volatile("" : : "r"(result))
#define RETURN_ADDRESS()      __builtin_return_address(0)
#define FRAME_ADDRESS()       __builtin_frame_address(0)

#define CACHE_LINE 64

/* Makes every store of every thread of this process that came before the call visible to this thread, as if
 * each of them had run a full fence: one thread pays (microseconds), so that all others need only
 * platform_light_fence on their hot path.  Linux membarrier(2). */
void platform_heavy_fence(void);

/* The other half.  A compiler barrier where membarrier works, a full fence elsewhere, and from the moment on
 * that a seccomp filter forbids it. */
static inline void platform_light_fence(void);

/* What thread-local storage is found from: on x86-64 the first word of the C library's thread descriptor. */
static inline const void *platform_thread_pointer(void)
{
    const void *pointer = NULL;

#if defined(__x86_64__)
    __asm__("mov %%fs:0, %0" : "=r"(pointer));
#endif
    return pointer;
}

/* Called once, before the fences are used. */
void platform_init(void);

/* Gives the processor to another thread, one that has waited for something so many times already.  It sleeps
 * a little if those were many: a thread of a higher priority never yields to the one that it waits for. */
enum { PLATFORM_BUSY_YIELDS = 100 }; /* those that do not sleep */
void platform_yield(unsigned times);

/* Whether the calling thread runs on its alternate signal stack. */
bool platform_on_signal_stack(void);

/* Whether the program has a dynamic loader, and is not static. */
bool platform_has_loader(void);

/* Whether this is code of the C library that a static program has inside.  It may be wrong where the linker
 * has not left things in their usual order. */
bool platform_is_c_library(const void *code);

/* Whether the C library has set itself up, as far as this library needs it.  A dynamic loader has seen to
 * that before it runs any other code; a static program's C library allocates before it can find code by
 * address. */
bool platform_is_set_up(void);

/* Bytes in a page. */
size_t platform_page_size(void);

/* Writes all of it, whatever EINTR and short writes there are.  0 or an errno value. */
int platform_write(int fd, const void *data, size_t size);

/* The name under which the kernel has the program's file, whatever became of its path: that of this thread,
 * once the main thread has ended, as by pthread_exit, and /proc/self leads to no file any more.  NULL where a
 * dynamic loader was asked to run the program, and the kernel's is the loader. */
const char *platform_program_file(void);

/* Its path, as the kernel has it, written to the buffer; or as it was given to execve, or to that loader,
 * where /proc cannot be asked, or says more than there is room for.  NULL: not known. */
const char *platform_program_path(char *buffer, size_t size);

/* Where descriptors of the library's own begin: programs count on the lowest free one, and close or look at
 * all that they have. */
int platform_first_descriptor(void);

/* Calls function, and has whatever it opens get such descriptors.  Not while other threads open files that
 * must have low ones. */
void platform_with_high_descriptors(void (*function)(void));

/* prctl(2), with errno. */
int platform_prctl(int option, const unsigned long arguments[4]);

/* Whether this process, or one that it was forked from, has given itself a filter of system calls: by
 * prctl(2), as sandbox.c notes, or otherwise, as tasks.c finds out.  Then no call is made that
 * could be done without. */
bool platform_is_filtered(void);
void platform_note_filter(void);

/* Allows the calling thread all that a protection key (pkeys(7)) may keep it from; what was allowed, for
 * platform_lock_keys.  A signal handler is allowed nothing that has a key, nor is a thread at first. */
uint32_t platform_unlock_keys(void);
void platform_lock_keys(uint32_t rights);

/* One line on stderr, then abort(): for a broken invariant.  Never allocates. */
_Noreturn void platform_fatal(const char *what);

#define CHECK(condition)                                     \
    do {                                                     \
        if (UNLIKELY(!(condition)))                          \
            platform_fatal("broken invariant: " #condition); \
    } while (0)

/* Adds to a number that only this thread writes, in one instruction, so that a signal handler of it comes
 * before or after; other threads may read it meanwhile.  Returns the sum, or a later one. */
static inline int64_t platform_add(_Atomic int64_t *number, int64_t amount)
{
#if defined(__x86_64__)
    __asm__("addq %1, %0" : "+m"(*number) : "er"(amount) : "cc");
    return atomic_load_explicit(number, memory_order_relaxed);
#else
    return atomic_fetch_add_explicit(number, amount, memory_order_relaxed) + amount;
#endif
}

/* Which of 16 bytes, that begin at a multiple of 16, are this one: a bit for each, the lowest for the first.
 * Each byte is read as if by a relaxed load. */
static inline unsigned platform_find_bytes(const _Atomic uint8_t *bytes, uint8_t wanted)
{
#if defined(READS_BY_SSE2)
    const volatile __m128i *at = (const volatile __m128i *)bytes; /* read once */
    __m128i equal = _mm_cmpeq_epi8(*at, _mm_set1_epi8((char)wanted));

    return (unsigned)_mm_movemask_epi8(equal);
#else
    unsigned found = 0;

    for (unsigned i = 0; i < 16; i++)
        found |= (unsigned)(atomic_load_explicit(&bytes[i], memory_order_relaxed) == wanted) << i;
    return found;
#endif
}

extern atomic_bool platform_has_membarrier;

static inline void platform_light_fence(void)
{
    if (LIKELY(atomic_load_explicit(&platform_has_membarrier, memory_order_relaxed)))
        atomic_signal_fence(memory_order_seq_cst);
    else
        atomic_thread_fence(memory_order_seq_cst);
}

#endif
