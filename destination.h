/* SPDX-License-Identifier: MIT
 *
 * Where the reports of a whole program go: to a file of the user's, or to what was stderr when the program
 * started, even if the program has closed it since or put something else in its place.
 *
 * Nothing here allocates.  Not from a signal handler.
 */
#ifndef DESTINATION_H
#define DESTINATION_H

/* Called once, before the program's own code. */
void destination_init(void);

/* log_path, or NULL for stderr, of which then a copy is kept in a descriptor out of the program's way.  The
 * text must last. */
void destination_choose(const char *log_path);

/* A descriptor to write a report to, or -1.  What is wrong with a log_path is said on stderr. */
int destination_open(void);
void destination_close(int fd);

/* A child gives its copy of stderr back: it may be a daemon, whose caller waits for the end of what it
 * writes. */
void destination_after_fork_in_child(void);

/* One line, for the user, to stderr as it was. */
void destination_say(const char *line);

#endif
