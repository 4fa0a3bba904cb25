#include "table.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* FNV-1a, 64 bits. */
static uint64_t hash(const char *word, size_t length) {
    uint64_t value = 14695981039346656037u;
    for (size_t i = 0; i < length; i++) value = (value ^ (unsigned char)word[i]) * 1099511628211u;
    return value;
}

/* The slot that has the word, or the free one where it belongs. There is always a free one. */
static struct entry *slot_of(const struct table *table, const char *word, size_t length) {
    size_t mask = table->capacity - 1;
    size_t at = (size_t)hash(word, length) & mask;
    for (;; at = (at + 1) & mask) {
        struct entry *slot = &table->slots[at];
        if (!slot->word || (slot->length == length && memcmp(slot->word, word, length) == 0)) return slot;
    }
}

static int grow(struct table *table) {
    struct table larger = {NULL, table->capacity ? table->capacity * 2 : 64, table->used};
    larger.slots = calloc(larger.capacity, sizeof *larger.slots);
    if (!larger.slots) return -1;
    for (size_t i = 0; i < table->capacity; i++) {
        const struct entry *old = &table->slots[i];
        if (old->word) *slot_of(&larger, old->word, old->length) = *old;
    }
    free(table->slots);
    *table = larger;
    return 0;
}

int table_count(struct table *table, const char *word, size_t length) {
    /* At most three quarters full, so that a search ends soon. */
    if (table->used * 4 >= table->capacity * 3 && grow(table) != 0) return -1;
    struct entry *slot = slot_of(table, word, length);
    if (!slot->word) {
        char *copy = malloc(length + 1);
        if (!copy) return -1;
        memcpy(copy, word, length);
        copy[length] = '\0';
        *slot = (struct entry){copy, length, 0};
        table->used++;
    }
    slot->count++;
    return 0;
}

unsigned long table_get(const struct table *table, const char *word, size_t length) {
    return table->capacity ? slot_of(table, word, length)->count : 0;
}

static int by_count(const void *left, const void *right) {
    const struct entry *a = left, *b = right;
    if (a->count != b->count) return a->count < b->count ? 1 : -1;
    return strcmp(a->word, b->word);
}

struct entry *table_sorted(const struct table *table) {
    struct entry *all = malloc((table->used + 1) * sizeof *all);
    if (!all) return NULL;
    size_t count = 0;
    for (size_t i = 0; i < table->capacity; i++)
        if (table->slots[i].word) all[count++] = table->slots[i];
    qsort(all, count, sizeof *all, by_count);
    return all;
}

void table_free(struct table *table) {
    for (size_t i = 0; i < table->capacity; i++) free(table->slots[i].word);
    free(table->slots);
    *table = (struct table){NULL, 0, 0};
}
