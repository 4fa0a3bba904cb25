/* Tests of the library. Prints each that fails, and exits with 1 when one did. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "words.h"

static int checks, failures;

#define CHECK(holds) check((holds), #holds, __LINE__)

static void check(int holds, const char *what, int line) {
    checks++;
    if (holds) return;
    failures++;
    printf("check.c:%d: does not hold: %s\n", line, what);
}

static uint32_t decoded(const char *bytes, size_t size) {
    uint32_t character;
    utf8_decode((const unsigned char *)bytes, size, &character);
    return character;
}

static void decodes_what_is_utf8(void) {
    CHECK(decoded("a", 1) == 'a');
    CHECK(decoded("\xC3\xA9", 2) == 0xE9);
    CHECK(decoded("\xE2\x82\xAC", 3) == 0x20AC);
    CHECK(decoded("\xF0\x9F\x90\xA7", 4) == 0x1F427);
}

static void replaces_what_is_not(void) {
    CHECK(decoded("\x80", 1) == UTF8_REPLACEMENT);             /* goes on with nothing before it */
    CHECK(decoded("\xC3", 1) == UTF8_REPLACEMENT);             /* cut off */
    CHECK(decoded("\xC0\xAF", 2) == UTF8_REPLACEMENT);         /* overlong */
    CHECK(decoded("\xED\xA0\x80", 3) == UTF8_REPLACEMENT);     /* a surrogate */
    CHECK(decoded("\xF4\x90\x80\x80", 4) == UTF8_REPLACEMENT); /* above U+10FFFF */
}

static void encodes_what_it_decodes(void) {
    static const uint32_t characters[] = {0x24, 0x7F, 0x80, 0x7FF, 0x800, 0xFFFF, 0x10000, 0x10FFFF};
    for (size_t i = 0; i < sizeof characters / sizeof characters[0]; i++) {
        unsigned char bytes[UTF8_LONGEST];
        uint32_t again;
        size_t length = utf8_encode(characters[i], bytes);
        CHECK(utf8_decode(bytes, length, &again) == length);
        CHECK(again == characters[i]);
    }
}

/* Counts the words of a text that comes in pieces of a size. */
static struct table counted(const char *text, size_t piece, unsigned shortest) {
    struct table table = {NULL, 0, 0};
    struct words words = {.table = &table, .shortest = shortest};
    for (size_t at = 0, size = strlen(text); at < size; at += piece)
        CHECK(words_read(&words, text + at, size - at < piece ? size - at : piece) == 0);
    CHECK(words_end(&words) == 0);
    return table;
}

static void counts_alike_in_pieces_of_any_size(void) {
    for (size_t piece = 1; piece < 12; piece++) {
        struct table table = counted("Été, ÉTÉ – été! Straße 東京 ПРИВЕТ привет", piece, 1);
        CHECK(table.used == 4);
        CHECK(table_get(&table, "été", strlen("été")) == 3);
        CHECK(table_get(&table, "привет", strlen("привет")) == 2);
        CHECK(table_get(&table, "東京", strlen("東京")) == 1);
        table_free(&table);
    }
}

static void bytes_that_are_no_text_part_words(void) {
    struct table table = counted("one\xFFtwo\xC3 three\xE2\x82 \xF0" "end", 3, 1);
    CHECK(table.used == 4);
    CHECK(table_get(&table, "two", 3) == 1);
    CHECK(table_get(&table, "end", 3) == 1);
    table_free(&table);
}

static void leaves_out_short_words_by_characters(void) {
    struct table table = counted("é éé ééé", 64, 3);
    CHECK(table.used == 1);
    table_free(&table);
}

static void sorts_by_count_and_then_by_word(void) {
    struct table table = counted("b a c b a b", 64, 1);
    struct entry *all = table_sorted(&table);
    CHECK(all && strcmp(all[0].word, "b") == 0 && strcmp(all[1].word, "a") == 0 && strcmp(all[2].word, "c") == 0);
    free(all);
    table_free(&table);
}

static void keeps_all_words_while_it_grows(void) {
    struct table table = {NULL, 0, 0};
    char word[16];
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 2000; i++) CHECK(table_count(&table, word, (size_t)sprintf(word, "w%d", i)) == 0);
    CHECK(table.used == 2000);
    CHECK(table_get(&table, "w1999", 5) == 2);
    table_free(&table);
}

int main(void) {
    decodes_what_is_utf8();
    replaces_what_is_not();
    encodes_what_it_decodes();
    counts_alike_in_pieces_of_any_size();
    bytes_that_are_no_text_part_words();
    leaves_out_short_words_by_characters();
    sorts_by_count_and_then_by_word();
    keeps_all_words_while_it_grows();
    printf("%d checks, %d failed\n", checks, failures);
    return failures > 0;
}
