#include "words.h"

#include <string.h>

static int end_word(struct words *words) {
    size_t length = words->length;
    unsigned characters = words->characters;
    words->length = 0;
    words->characters = 0;
    if (length == 0 || characters < words->shortest) return 0;
    return table_count(words->table, words->word, length);
}

static int take(struct words *words, uint32_t character) {
    unsigned char bytes[UTF8_LONGEST];
    if (!utf8_is_word(character)) return end_word(words);
    size_t length = utf8_encode(utf8_lower(character), bytes);
    if (words->length + length > sizeof words->word && end_word(words) != 0) return -1;
    memcpy(words->word + words->length, bytes, length);
    words->length += length;
    words->characters++;
    return 0;
}

/* Bytes of the character that starts with this one. */
static size_t expected(unsigned char first) {
    return first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC0 ? 2 : 1;
}

/* Takes characters; keeps the beginning of one that may go on, when more is to come. */
static int take_all(struct words *words, const unsigned char *bytes, size_t size, int more) {
    uint32_t character;
    while (size > 0) {
        if (more && expected(*bytes) > size) {
            memcpy(words->rest, bytes, size);
            words->rest_length = size;
            return 0;
        }
        size_t length = utf8_decode(bytes, size, &character);
        if (take(words, character) != 0) return -1;
        bytes += length;
        size -= length;
    }
    return 0;
}

int words_read(struct words *words, const char *piece, size_t size) {
    const unsigned char *bytes = (const unsigned char *)piece;
    while (words->rest_length > 0 && size > 0) {
        unsigned char joined[UTF8_LONGEST];
        size_t length = words->rest_length;
        memcpy(joined, words->rest, length);
        joined[length] = *bytes++;
        size--;
        words->rest_length = 0;
        if (take_all(words, joined, length + 1, 1) != 0) return -1;
    }
    return take_all(words, bytes, size, 1);
}

int words_end(struct words *words) {
    size_t length = words->rest_length;
    words->rest_length = 0;
    return take_all(words, words->rest, length, 0) != 0 ? -1 : end_word(words);
}
