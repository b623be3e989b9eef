/* SPDX-License-Identifier: MIT
 *
 * Text on its way to a file descriptor, through a small buffer in the caller's frame.  Never allocates,
 * never uses stdio, and formats the little that reports need: numbers, counts, and names that come from files
 * and may hold anything.
 */
#ifndef TEXT_H
#define TEXT_H

#include <stddef.h>
#include <stdint.h>

/* The first error stays, and everything after it is discarded: look at `error` once, after text_flush. */
struct text {
    int fd;
    int error; /* 0 or an errno value */
    size_t used;
    char bytes[4096];
};

void text_init(struct text *text, int fd);
void text_flush(struct text *text);

void text_put_bytes(struct text *text, const char *bytes, size_t size);
void text_put(struct text *text, const char *string);
void text_put_spaces(struct text *text, size_t count);

/* A number that names something: a process, a line. */
void text_put_id(struct text *text, size_t number);

/* "0x" and as few digits as will do.  Returns the length. */
size_t text_put_hex(struct text *text, uintptr_t number);

/* "1 block", "1,337 blocks". */
void text_put_count(struct text *text, size_t count, const char *noun);

/* Bytes of the well-formed UTF-8 character that begins here, or 0: for a stray byte, an overlong form, a
 * surrogate. */
size_t text_utf8_length(const char *at);

/* What a terminal might obey, and what is not UTF-8, becomes \xNN; a backslash is doubled, so that the two
 * can be told apart. */
void text_put_name(struct text *text, const char *name);

/* The same for the first `size` bytes of a text that goes on, or ends with 0. */
void text_put_name_part(struct text *text, const char *name, size_t size);

#endif
