/* SPDX-License-Identifier: MIT
 *
 * libunwind's pipe: see unwind_pipe.h.
 */
#define _GNU_SOURCE /* pipe2 */
#include "unwind_pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "platform.h"

enum end { OURS, CLOSED, FOREIGN };

static struct {
    int ends[2]; /* to be read, to be written */
    pid_t process;
    _Atomic uint32_t identity; /* of the file; 0: which one it is is not known */
    atomic_flag is_being_made;
} known = {.is_being_made = ATOMIC_FLAG_INIT};

/* Both ends of a pipe are one file.  0: it is no pipe. */
static uint32_t identity(const struct stat *file)
{
    return S_ISFIFO(file->st_mode) ? (uint32_t)file->st_ino ^ (uint32_t)file->st_dev << 24 : 0;
}

static uint32_t identity_of(int fd)
{
    struct stat file;

    return fstat(fd, &file) == 0 ? identity(&file) : 0;
}

static enum end what_is(int fd)
{
    struct stat file;

    if (fstat(fd, &file) != 0)
        /* Where that may not be asked, nothing can be done. */
        return errno == EBADF ? CLOSED : OURS;
    return identity(&file) == atomic_load_explicit(&known.identity, memory_order_relaxed) ? OURS : FOREIGN;
}

void unwind_pipe_guess(int ends[2])
{
    if (pipe2(ends, O_CLOEXEC) != 0) {
        ends[0] = ends[1] = -1;
        return;
    }
    close(ends[0]);
    close(ends[1]);
}

void unwind_pipe_note(const int ends[2])
{
    uint32_t file = identity_of(ends[0]);

    known.process = getpid();
    known.ends[0] = ends[0];
    known.ends[1] = ends[1];
    atomic_store_explicit(&known.identity, file == identity_of(ends[1]) ? file : 0, memory_order_relaxed);
}

void unwind_pipe_after_fork(void)
{
    known.process = getpid();
}

/* Where there is no such number the descriptor stays as it is. */
static void move_above(int *fd, int limit)
{
    int above = fcntl(*fd, F_DUPFD_CLOEXEC, limit + 1);

    if (above < 0)
        return;
    close(*fd);
    *fd = above;
}

/* Makes a pipe of what is closed; false if somebody was faster.  Where the numbers may not be had any more,
 * libunwind is left to open one for itself.  Not in a child of vfork, whose descriptors are its own, but not
 * its memory. */
static bool make_again(void)
{
    int fresh[2], got[2];
    bool is_made, is_over;

    if (getpid() != known.process || pipe2(fresh, O_CLOEXEC | O_NONBLOCK) != 0)
        return false;
    /* The lowest free numbers may be the very ones. */
    for (int i = 0; i < 2; i++)
        move_above(&fresh[i], known.ends[0] > known.ends[1] ? known.ends[0] : known.ends[1]);
    got[0] = fcntl(fresh[0], F_DUPFD_CLOEXEC, known.ends[0]);
    got[1] = fcntl(fresh[1], F_DUPFD_CLOEXEC, known.ends[1]);
    is_over = got[1] < 0 && errno == EINVAL;
    is_made = got[0] == known.ends[0] && got[1] == known.ends[1];
    if (is_made || is_over)
        atomic_store_explicit(&known.identity, is_made ? identity_of(got[0]) : 0, memory_order_relaxed);
    for (int i = 0; i < 2; i++) {
        if (!is_made && got[i] >= 0)
            close(got[i]);
        close(fresh[i]);
    }
    return is_made || is_over;
}

static COLD bool is_made_again(void)
{
    bool is_there;

    if (atomic_flag_test_and_set_explicit(&known.is_being_made, memory_order_acquire))
        return false;
    is_there = make_again();
    atomic_flag_clear_explicit(&known.is_being_made, memory_order_release);
    return is_there;
}

/* Whoever closes what is not his closes both ends, or all from some number on. */
bool unwind_pipe_is_there(void)
{
    int saved = errno;
    bool is_known = atomic_load_explicit(&known.identity, memory_order_relaxed) != 0;
    enum end writing = is_known && !platform_is_filtered() ? what_is(known.ends[1]) : OURS;
    bool is_there =
        LIKELY(writing == OURS) || (writing == CLOSED && what_is(known.ends[0]) == CLOSED && is_made_again());

    errno = saved;
    return is_there;
}
