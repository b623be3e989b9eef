/* SPDX-License-Identifier: MIT
 *
 * System calls without the C library around them, for places where its locks, its cancellation points and its
 * errno must not be touched: between the moment the threads of the program are stopped and the moment they go
 * on, in the signal handler that stops them, and in the process that looks for lost blocks.
 *
 * Unless it is said otherwise, a function returns what the kernel does: a result, or an errno value with a
 * minus sign.  errno stays.
 */
#ifndef KERNEL_H
#define KERNEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Files, for reading. */
int kernel_open(const char *path);
long kernel_read(int fd, void *buffer, size_t size);
bool kernel_seek(int fd, uint64_t offset);
long kernel_control(int fd, unsigned long request, void *argument); /* ioctl */
long kernel_list(int fd, void *entries, size_t size);               /* getdents64 */
void kernel_close(int fd);
void kernel_close_all(void);

/* Reads a whole small file, cut to what fits, and ends it with a 0.  Returns its length. */
long kernel_read_file(const char *path, char *buffer, size_t size);

/* Memory: zeroed pages, or NULL.  Shared ones are common to this process and its copies. */
void *kernel_map(size_t size);
void *kernel_map_shared(size_t size);
void kernel_unmap(void *address, size_t size);

/* Private memory at this very place, where nothing must be; false if it cannot be had. */
bool kernel_map_at(void *address, size_t size);

/* Whether there is something to read; whether 8 bytes can be written, which are as before afterwards, and are
 * the calling thread's. */
bool kernel_can_read(uintptr_t address);
bool kernel_can_write(uintptr_t address);
int kernel_make_readable(uintptr_t start, size_t size); /* whole pages */
int kernel_mincore(void *start, size_t size, unsigned char *pages);
int kernel_collapse(uintptr_t start, size_t size); /* into huge pages */

/* Processes and threads. */
pid_t kernel_process(void);
pid_t kernel_thread(void);
void kernel_pause_ns(uint64_t ns);

/* A copy of this process with the calling thread alone, made by no more than a system call: no handlers of
 * fork run.  Its end sends no signal, and no wait() sees it but kernel_wait, and those with __WALL.  0 in the
 * copy. */
pid_t kernel_copy_process(void);
long kernel_wait(pid_t pid, int *status);

/* Whether a child of the calling thread, and so a copy, would be of another pid namespace, as after
 * unshare(CLONE_NEWPID).  The first process of one takes all that comes later along when it ends. */
bool kernel_has_children_elsewhere(void);

bool kernel_has_ended(pid_t pid); /* it can be waited for still */
_Noreturn void kernel_exit(int status);
_Noreturn void kernel_exit_thread(int status);

/* The time for which the scheduler lets the calling thread run at a stretch: with a short one it is let run
 * soon where all processors are busy (EEVDF, from Linux 6.12 on).  To be handed back: what it was. */
#define KERNEL_NO_SLICE UINT64_MAX
uint64_t kernel_shorten_slice(void);
void kernel_restore_slice(uint64_t slice);

/* In the copy: dies when the thread that made it does; leaves no core dump; is the first to be killed when
 * memory runs out, and has no real-time priority. */
void kernel_die_with_parent(pid_t parent);
void kernel_dump_nothing(void);
void kernel_give_way(void);

/* A clock's time, in nanoseconds; now is CLOCK_MONOTONIC's.  The program may have a clock_gettime of its own,
 * as with libfaketime, which may allocate, or stand still. */
uint64_t kernel_clock_ns(int clock);
uint64_t kernel_now_ns(void);

/* Waits while *word is value, until it is woken, interrupted, or the time is up (0: there is no limit). */
void kernel_wait_while(_Atomic uint32_t *word, uint32_t value, uint64_t limit_ns);
void kernel_wake_all(_Atomic uint32_t *word);

/* The same between this process and a copy, in memory that both share; always with a limit, since a copy may
 * be killed. */
void kernel_wait_for_copy(_Atomic uint32_t *word, uint32_t value, uint64_t limit_ns);
void kernel_wake_original(_Atomic uint32_t *word);

/* Signals.  Sets are the kernel's. */
#define KERNEL_SIGNAL(n) (UINT64_C(1) << ((n)-1))
#define KERNEL_GLIBCS    (KERNEL_SIGNAL(32) | KERNEL_SIGNAL(33)) /* which the C library keeps for itself */

typedef void kernel_handler_fn(int signal, void *info, void *context); /* a siginfo_t, a ucontext_t */

struct kernel_action {
    kernel_handler_fn *handler; /* NULL: the default; (kernel_handler_fn *)SIG_IGN */
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

int kernel_set_action(int signal, const struct kernel_action *action, struct kernel_action *old);
void kernel_block(uint64_t set, uint64_t *old); /* besides those that are */
void kernel_set_blocked(uint64_t set);
uint64_t kernel_pending(void); /* of the calling thread and of the process, as far as they are blocked */

/* sigprocmask, for all signals there are; only so much of the sets is looked at as the kernel knows. */
int kernel_change_mask(int how, const void *set, void *old);

/* sigaltstack; and whether an address is on one, a stack_t. */
int kernel_set_signal_stack(const void *stack, void *old);
bool kernel_is_on_stack(const void *stack, uintptr_t address);

/* Sends a signal to one thread of this process, with a value that arrives as si_value. */
int kernel_send(pid_t process, pid_t thread, int signal, void *value);

#endif
