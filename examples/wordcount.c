/* SPDX-License-Identifier: MIT
 *
 * Counts the words of a text, prints the most frequent ones, and then everything that it forgot to free.
 *
 *     wordcount [FILE]
 *
 * Four bugs were left in on purpose, all of common kinds, and each is marked "Forgets".  The report at the
 * end finds the blocks of all four and nothing else: what is freed properly is not in it.
 */
#include <leakdetect.h>

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_FILE  "/usr/share/common-licenses/GPL-3"
#define TOP_WORDS     10
#define LONGEST_WORD  14 /* longer ones are not counted */
#define FIRST_BUCKETS 64

struct entry {
    struct entry *next;
    char *word;     /* in lower case */
    char *spelling; /* as it was last written with capitals, or NULL */
    size_t count;
};

/* A hash table with chains, which doubles when it has more entries than buckets. */
struct table {
    struct entry **buckets;
    size_t bucket_count;
    size_t entry_count;
};

static void *checked(void *block)
{
    if (block == NULL) {
        fprintf(stderr, "wordcount: out of memory\n");
        exit(EXIT_FAILURE);
    }
    return block;
}

/* --- Table --------------------------------------------------------------------------------------------- */

static size_t hash_word(const char *word)
{
    size_t hash = 5381;
    for (; *word != 0; word++)
        hash = hash * 33 + (unsigned char)*word;
    return hash;
}

static void table_init(struct table *table)
{
    table->bucket_count = FIRST_BUCKETS;
    table->entry_count = 0;
    table->buckets = checked(ld_calloc(table->bucket_count, sizeof(struct entry *)));
}

/* The link that points to the word's entry, or the empty one where it belongs. */
static struct entry **table_find(const struct table *table, const char *word)
{
    struct entry **link = &table->buckets[hash_word(word) % table->bucket_count];
    while (*link != NULL && strcmp((*link)->word, word) != 0)
        link = &(*link)->next;
    return link;
}

/* Forgets the old array of buckets. */
static void table_grow(struct table *table)
{
    struct table bigger = {.bucket_count = table->bucket_count * 2, .entry_count = table->entry_count};
    bigger.buckets = checked(ld_calloc(bigger.bucket_count, sizeof(struct entry *)));
    for (size_t i = 0; i < table->bucket_count; i++) {
        while (table->buckets[i] != NULL) {
            struct entry *entry = table->buckets[i];
            table->buckets[i] = entry->next;
            struct entry **link = table_find(&bigger, entry->word);
            entry->next = NULL;
            *link = entry;
        }
    }
    *table = bigger;
}

/* Makes an entry for a word that has none. */
static struct entry *table_insert(struct table *table, const char *word)
{
    if (table->entry_count == table->bucket_count)
        table_grow(table);
    struct entry *entry = checked(ld_malloc(sizeof(*entry)));
    *entry = (struct entry){.word = checked(ld_strdup(word))};
    *table_find(table, word) = entry;
    table->entry_count++;
    return entry;
}

/* Forgets the word: frees the entry that holds the only pointer to it. */
static void table_remove(struct table *table, const char *word)
{
    struct entry **link = table_find(table, word);
    struct entry *entry = *link;
    if (entry == NULL)
        return;
    *link = entry->next;
    ld_free(entry->spelling);
    ld_free(entry);
    table->entry_count--;
}

static void table_free(struct table *table)
{
    for (size_t i = 0; i < table->bucket_count; i++) {
        for (struct entry *entry = table->buckets[i], *next; entry != NULL; entry = next) {
            next = entry->next;
            ld_free(entry->word);
            ld_free(entry->spelling);
            ld_free(entry);
        }
    }
    ld_free(table->buckets);
}

/* --- Words --------------------------------------------------------------------------------------------- */

static bool make_lower_case(char *word)
{
    bool had_capitals = false;
    for (; *word != 0; word++) {
        had_capitals |= isupper((unsigned char)*word) != 0;
        *word = (char)tolower((unsigned char)*word);
    }
    return had_capitals;
}

/* Forgets the spelling that was there before. */
static void set_spelling(struct entry *entry, const char *text, size_t length)
{
    entry->spelling = checked(ld_strndup(text, length));
}

/* Forgets its copy of the word when it returns early. */
static void count_word(struct table *table, const char *text, size_t length)
{
    char *word = checked(ld_strndup(text, length));
    if (length > LONGEST_WORD)
        return;
    bool had_capitals = make_lower_case(word);
    struct entry *entry = *table_find(table, word);
    if (entry == NULL)
        entry = table_insert(table, word);
    entry->count++;
    if (had_capitals)
        set_spelling(entry, text, length);
    ld_free(word);
}

/* Words are runs of letters. */
static void count_words(struct table *table, const char *text, size_t size)
{
    size_t start = 0;
    for (size_t i = 0; i <= size; i++) {
        if (i < size && isalpha((unsigned char)text[i]))
            continue;
        if (i > start)
            count_word(table, text + start, i - start);
        start = i + 1;
    }
}

static void remove_common_words(struct table *table)
{
    static const char *const common[] = {"a", "and", "in", "is", "of", "or", "that", "the", "to", "you"};
    for (size_t i = 0; i < sizeof(common) / sizeof(common[0]); i++)
        table_remove(table, common[i]);
}

/* --- Output -------------------------------------------------------------------------------------------- */

/* For qsort: the most frequent first, and words of the same count in the order of the alphabet. */
static int compare_entries(const void *left, const void *right)
{
    const struct entry *a = *(struct entry *const *)left;
    const struct entry *b = *(struct entry *const *)right;
    if (a->count != b->count)
        return a->count > b->count ? -1 : 1;
    return strcmp(a->word, b->word);
}

static void print_entry(const struct entry *entry)
{
    printf("%7zu %s", entry->count, entry->word);
    if (entry->spelling != NULL)
        printf(" (%s)", entry->spelling);
    printf("\n");
}

static void print_top(const struct table *table)
{
    struct entry **sorted = checked(ld_malloc(table->entry_count * sizeof(struct entry *)));
    size_t count = 0;
    for (size_t i = 0; i < table->bucket_count; i++)
        for (struct entry *entry = table->buckets[i]; entry != NULL; entry = entry->next)
            sorted[count++] = entry;
    qsort(sorted, count, sizeof(struct entry *), compare_entries);

    printf("%zu different words; the most frequent ones:\n", count);
    for (size_t i = 0; i < count && i < TOP_WORDS; i++)
        print_entry(sorted[i]);
    ld_free(sorted);
}

/* --- Input --------------------------------------------------------------------------------------------- */

/* The whole file, to be freed; NULL with errno set. */
static char *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return NULL;
    size_t room = 4096;
    char *text = checked(ld_malloc(room));
    *size = 0;
    for (size_t part; (part = fread(text + *size, 1, room - *size, file)) > 0;) {
        *size += part;
        if (*size == room)
            text = checked(ld_realloc(text, room *= 2));
    }
    int error = ferror(file) ? errno : 0;
    fclose(file);
    if (error != 0) {
        ld_free(text);
        text = NULL;
        errno = error;
    }
    return text;
}

int main(int argc, char **argv)
{
    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        fprintf(stderr, "usage: wordcount [FILE]\nThe default is " DEFAULT_FILE ".\n");
        return 2;
    }
    size_t own_bytes = ld_init();

    const char *path = argc == 2 ? argv[1] : DEFAULT_FILE;
    size_t size;
    char *text = read_file(path, &size);
    if (text == NULL) {
        fprintf(stderr, "wordcount: %s: %s\n", path, strerror(errno));
        return EXIT_FAILURE;
    }

    struct table table;
    table_init(&table);
    count_words(&table, text, size);
    remove_common_words(&table);
    print_top(&table);
    table_free(&table);
    ld_free(text);

    printf("\nleakdetect uses %zu bytes for itself.  What was forgotten:\n\n", own_bytes);
    fflush(stdout);
    int error = ld_report(STDOUT_FILENO, NULL);
    if (error != 0)
        fprintf(stderr, "wordcount: no report: %s\n", strerror(error));
    return error == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
