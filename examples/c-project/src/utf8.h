/* UTF-8, one character at a time. */
#ifndef WORDFREQ_UTF8_H
#define WORDFREQ_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* What stands for bytes that are no UTF-8. */
#define UTF8_REPLACEMENT 0xFFFDu
/* The longest character, in bytes. */
#define UTF8_LONGEST 4

/*
 * Reads the first character of `size` bytes (at least one) into `*character`, and returns how many bytes it takes.
 * Overlong forms, surrogates, what lies above U+10FFFF and what is cut off are no UTF-8: the first byte of it is
 * taken, as UTF8_REPLACEMENT.
 */
size_t utf8_decode(const unsigned char *bytes, size_t size, uint32_t *character);

/* Writes a character, and returns how many bytes it took. */
size_t utf8_encode(uint32_t character, unsigned char bytes[UTF8_LONGEST]);

/* Whether a character belongs to a word: letters, digits, marks and ideographs do, punctuation and spaces do not. */
int utf8_is_word(uint32_t character);

/* The lower case of a Latin, Greek or Cyrillic letter; any other character as it is. */
uint32_t utf8_lower(uint32_t character);

#endif
