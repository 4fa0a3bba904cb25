/* wordfreq [-n COUNT] [-l LENGTH] [FILE...]: the most frequent words of UTF-8 texts. */
#include "words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: wordfreq [-n COUNT] [-l LENGTH] [FILE...]\n"
    "  -n COUNT   how many words to show (default 10, 0: all)\n"
    "  -l LENGTH  leave out words of fewer characters (default 1)\n";

static int read_all(struct words *words, FILE *file, const char *name) {
    char piece[65536];
    size_t size;
    while ((size = fread(piece, 1, sizeof piece, file)) > 0) {
        if (words_read(words, piece, size) != 0) {
            fprintf(stderr, "wordfreq: out of memory\n");
            return -1;
        }
    }
    if (ferror(file)) {
        fprintf(stderr, "wordfreq: %s: %s\n", name, strerror(errno));
        return -1;
    }
    return words_end(words);
}

static int read_named(struct words *words, const char *name) {
    FILE *file = fopen(name, "rb");
    if (!file) {
        fprintf(stderr, "wordfreq: %s: %s\n", name, strerror(errno));
        return -1;
    }
    int result = read_all(words, file, name);
    fclose(file);
    return result;
}

static int show(const struct table *table, unsigned long most) {
    struct entry *all = table_sorted(table);
    if (!all) return -1;
    for (size_t i = 0; i < table->used && (most == 0 || i < most); i++)
        printf("%7lu  %s\n", all[i].count, all[i].word);
    free(all);
    return fflush(stdout);
}

static int number(const char *text, unsigned long *value) {
    char *end;
    errno = 0;
    *value = strtoul(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 ? 0 : -1;
}

int main(int argc, char **argv) {
    struct table table = {NULL, 0, 0};
    struct words words = {.table = &table, .shortest = 1};
    unsigned long most = 10, shortest = 1;
    int at = 1;
    for (; at + 1 < argc && argv[at][0] == '-' && argv[at][1] != '\0'; at += 2) {
        unsigned long *option = strcmp(argv[at], "-n") == 0 ? &most : strcmp(argv[at], "-l") == 0 ? &shortest : NULL;
        if (!option || number(argv[at + 1], option) != 0) break;
    }
    if (at < argc && argv[at][0] == '-' && argv[at][1] != '\0') {
        fputs(usage, stderr);
        return 2;
    }
    words.shortest = (unsigned)shortest;
    int failed = at == argc ? read_all(&words, stdin, "standard input") != 0 : 0;
    for (; at < argc; at++) failed |= read_named(&words, argv[at]) != 0;
    failed |= show(&table, most) != 0;
    table_free(&table);
    return failed;
}
