/* Text, taken apart into words. */
#ifndef WORDFREQ_WORDS_H
#define WORDFREQ_WORDS_H

#include "table.h"
#include "utf8.h"

/* Bytes of the longest word; what is longer is counted as several. */
#define WORDS_LONGEST 256

struct words {
    struct table *table;
    unsigned shortest; /* in characters: shorter words do not count */
    /* The word that is being read. */
    char word[WORDS_LONGEST];
    size_t length;
    unsigned characters;
    /* The beginning of a character that the last piece ended in. */
    unsigned char rest[UTF8_LONGEST];
    size_t rest_length;
};

/* Counts the words of the next piece of a text. Returns 0, or -1 when memory is short. */
int words_read(struct words *words, const char *piece, size_t size);

/* The text is over: what was begun is a word. Returns 0, or -1 when memory is short. */
int words_end(struct words *words);

#endif
