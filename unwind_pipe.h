/* SPDX-License-Identifier: MIT
 *
 * libunwind's pipe.  Whether memory can be read libunwind finds out by writing a byte of it into a pipe, and
 * it remembers the pipe by its numbers.  A program that closes all descriptors which it does not know, as
 * servers do when they start, closes this pipe too; when the numbers are given out again, libunwind reads and
 * writes what is the program's.  So before it is asked anything, see whether the numbers still are the pipe.
 */
#ifndef UNWIND_PIPE_H
#define UNWIND_PIPE_H

#include <stdbool.h>

/* Before and after libunwind opens it, once: the descriptors that it will have if no other thread opens any
 * meanwhile, and whether it has them. */
void unwind_pipe_guess(int ends[2]);
void unwind_pipe_note(const int ends[2]);

/* In the child. */
void unwind_pipe_after_fork(void);

/* Whether libunwind may be asked.  If nobody has the numbers, they are a pipe again.  Leaves errno alone; any
 * thread, also from a signal handler.  Budget: one system call. */
bool unwind_pipe_is_there(void);

#endif
