/* SPDX-License-Identifier: MIT
 *
 * The buffered writer of text.h.
 */
#include "text.h"

#include <string.h>

#include "platform.h"

static const char hex_digits[] = "0123456789abcdef";

void text_init(struct text *text, int fd)
{
    text->fd = fd;
    text->error = 0;
    text->used = 0;
}

void text_flush(struct text *text)
{
    if (text->error == 0 && text->used > 0)
        text->error = platform_write(text->fd, text->bytes, text->used);
    text->used = 0;
}

void text_put_bytes(struct text *text, const char *bytes, size_t size)
{
    while (size > 0) {
        if (text->used == sizeof(text->bytes))
            text_flush(text);
        size_t room = sizeof(text->bytes) - text->used;
        size_t part = size < room ? size : room;
        memcpy(text->bytes + text->used, bytes, part);
        text->used += part;
        bytes += part;
        size -= part;
    }
}

void text_put(struct text *text, const char *string)
{
    text_put_bytes(text, string, strlen(string));
}

void text_put_spaces(struct text *text, size_t count)
{
    while (count-- > 0)
        text_put(text, " ");
}

/* Decimal; grouped: with a comma before every third digit from the right. */
static void put_decimal(struct text *text, size_t number, bool grouped)
{
    char digits[sizeof(number) * 4];
    size_t at = sizeof(digits);
    size_t count = 0;
    do {
        if (grouped && count > 0 && count % 3 == 0)
            digits[--at] = ',';
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
        count++;
    } while (number > 0);
    text_put_bytes(text, digits + at, sizeof(digits) - at);
}

void text_put_id(struct text *text, size_t number)
{
    put_decimal(text, number, false);
}

size_t text_put_hex(struct text *text, uintptr_t number)
{
    char digits[2 + sizeof(number) * 2];
    size_t at = sizeof(digits);
    do {
        digits[--at] = hex_digits[number % 16];
        number /= 16;
    } while (number > 0);
    digits[--at] = 'x';
    digits[--at] = '0';
    text_put_bytes(text, digits + at, sizeof(digits) - at);
    return sizeof(digits) - at;
}

void text_put_count(struct text *text, size_t count, const char *noun)
{
    put_decimal(text, count, true);
    text_put(text, " ");
    text_put(text, noun);
    if (count != 1)
        text_put(text, "s");
}

/* The second byte is where overlong forms (C0, C1, E0 80, F0 80), surrogates (ED A0) and what lies beyond
 * the last plane (F4 90, F5) are told from good ones. */
size_t text_utf8_length(const char *string)
{
    const unsigned char *at = (const unsigned char *)string;
    if (at[0] < 0x80)
        return 1;
    if (at[0] < 0xc2 || at[0] > 0xf4)
        return 0;
    size_t length = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    unsigned char least = at[0] == 0xe0 ? 0xa0 : at[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char most = at[0] == 0xed ? 0x9f : at[0] == 0xf4 ? 0x8f : 0xbf;
    if (at[1] < least || at[1] > most)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

/* ASCII's control characters, and those of C1, which some terminals obey in their UTF-8 form. */
static bool is_control(const unsigned char *at)
{
    return at[0] < ' ' || at[0] == 0x7f || (at[0] == 0xc2 && at[1] < 0xa0);
}

/* Writes one character, and returns the bytes that it has taken. */
static size_t put_character(struct text *text, const char *name)
{
    const unsigned char *at = (const unsigned char *)name;
    size_t length = is_control(at) ? 0 : text_utf8_length(name);
    const char escape[] = {'\\', 'x', hex_digits[*at / 16], hex_digits[*at % 16]};
    if (*at == '\\')
        text_put(text, "\\\\");
    else if (length > 0)
        text_put_bytes(text, name, length);
    else
        text_put_bytes(text, escape, sizeof(escape));
    return length > 0 ? length : 1;
}

void text_put_name(struct text *text, const char *name)
{
    while (*name != 0)
        name += put_character(text, name);
}

void text_put_name_part(struct text *text, const char *name, size_t size)
{
    const char *end = name + size;
    while (name < end)
        name += put_character(text, name);
}
