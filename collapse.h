/* SPDX-License-Identifier: MIT
 *
 * Making a coming copy of this process short.  What fork takes, while the program stands still, is the
 * copying of page tables: 512 entries for 2 MiB of small pages, one for a huge page.
 */
#ifndef COLLAPSE_H
#define COLLAPSE_H

/* Has the kernel move what lies in small pages into huge ones, while the program goes on.  It takes 0.5 to 1
 * ms for each 2 MiB, as measured (2 to 4 ms on a virtual machine that has to ask its host for the memory),
 * and next to nothing for those that are huge already; at most 300 ms, or 0.6 ms for each 2 MiB that the
 * process has if that is more: what is left then is for the next time.  A thread that touches such a range
 * meanwhile waits until it is moved.
 *
 * Only private memory in which at least seven small pages in eight are in use, so that the process needs
 * hardly more of it afterwards, and which it shares with no process that it was forked from or has forked.
 * Nothing in a process of less than 32 MiB, where the administrator wants no huge pages, and where a filter
 * of system calls may not know of the one that does it (madvise, MADV_COLLAPSE of Linux 6.1).  The program's
 * own wishes count, too (MADV_NOHUGEPAGE, PR_SET_THP_DISABLE).  Nor where real-time threads may keep a
 * processor for themselves, for which the kernel would wait.
 *
 * One thread at a time; leaves errno alone. */
void collapse_pages(void);

#endif
