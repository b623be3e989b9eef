/* SPDX-License-Identifier: MIT
 *
 * The thread that writes a report when a signal asks for one.  The signal's handler only wakes it, so that
 * nothing in a report waits for what the handler has interrupted.
 */
#ifndef HELPER_H
#define HELPER_H

/* Called for each of two signals at most.  From now on the helper calls `report` when `signal` comes; several
 * that come while it works have it called once more.  0, or an errno value: EEXIST if it is the other signal,
 * EBUSY if there is a handler already, or that of pthread_create, and then the signal does nothing. */
int helper_init(int signal, void (*report)(void));

/* Threads do not live on in a child: it gets one of its own. */
void helper_after_fork_in_child(void);

#endif
