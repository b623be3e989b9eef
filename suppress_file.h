/* SPDX-License-Identifier: MIT
 *
 * Suppressions that come in a file or were compiled in, read when a program starts, so that what is wrong
 * with them is said before it matters.  Nothing here allocates from the heap that is watched.
 */
#ifndef SUPPRESS_FILE_H
#define SUPPRESS_FILE_H

#define SUPPRESS_FILE_MAX 1048576 /* bytes */

/* The text of the file, for ld_report_options.suppressions, in memory that is never given back; NULL if the
 * file cannot be read, is no regular file or is larger than SUPPRESS_FILE_MAX.  Calls say, which may be NULL,
 * with a line for what is wrong: of the file, or of the first lines that are no rule.  The good lines count
 * all the same. */
const char *suppress_file_load(const char *path, void (*say)(const char *line));

/* Puts a copy of `text`, which is compiled in and comes from what `origin` names, behind `before`: NULL, or
 * what one of these two has returned, which is given back then.  Says what is wrong as above.  Without
 * memory, or if the text is larger than SUPPRESS_FILE_MAX, that is said, and `before` is what comes back. */
const char *suppress_file_add(const char *before, const char *text, const char *origin,
                              void (*say)(const char *line));

#endif
