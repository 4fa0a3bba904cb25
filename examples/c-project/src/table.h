/* How often each word came. */
#ifndef WORDFREQ_TABLE_H
#define WORDFREQ_TABLE_H

#include <stddef.h>

struct entry {
    char *word;
    size_t length; /* in bytes */
    unsigned long count;
};

struct table {
    struct entry *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t used;
};

/* Counts a word once more, and copies it when it is new. Returns 0, or -1 when memory is short. */
int table_count(struct table *table, const char *word, size_t length);

/* How often a word came. */
unsigned long table_get(const struct table *table, const char *word, size_t length);

/*
 * All entries, most frequent first, words of the same count by their bytes. The array is the caller's, the words stay
 * the table's. NULL when memory is short; an empty table has an array, too.
 */
struct entry *table_sorted(const struct table *table);

void table_free(struct table *table);

#endif
