/* The linearizability checker. */
#include "tests/sim/history.h"

#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void history_fini(struct history *h)
{
    free(h->ops);
    *h = (struct history){0};
}

size_t history_add(struct history *h, struct history_op op)
{
    if (h->count == h->cap) {
        h->cap = h->cap ? 2 * h->cap : 64;
        h->ops = realloc(h->ops, h->cap * sizeof(*h->ops));
        CHECK(h->ops);
    }
    h->ops[h->count] = op;
    return h->count++;
}

/* What the register holds after op, if op may come next; false when it may not. */
static bool applies(const struct history_op *op, uint64_t value, uint64_t *ret)
{
    *ret = value;
    switch (op->kind) {
    case HISTORY_READ: return value == op->value;
    case HISTORY_PUT: *ret = op->value; return true;
    case HISTORY_DELETE: *ret = 0; return true;
    case HISTORY_PUT_IF_ABSENT:
    case HISTORY_PUT_IF_MATCH: {
        bool holds = op->kind == HISTORY_PUT_IF_ABSENT ? value == 0 : value == op->expect;
        if (op->refused)
            return !holds;
        *ret = op->value;
        return holds;
    }
    }
    return false;
}

struct memory { /* a set of (configuration hash) */
    uint64_t *slots;
    size_t count, cap;
};

/* false: it was there already. */
static bool memory_add(struct memory *m, uint64_t key)
{
    if (key == 0)
        key = 1;
    if (2 * (m->count + 1) > m->cap) {
        struct memory grown = {.cap = m->cap ? 2 * m->cap : 4096};
        grown.slots = calloc(grown.cap, sizeof(*grown.slots));
        CHECK(grown.slots);
        for (size_t i = 0; i < m->cap; i++)
            if (m->slots[i])
                memory_add(&grown, m->slots[i]);
        free(m->slots);
        *m = grown;
    }
    size_t i = key & (m->cap - 1);
    for (; m->slots[i]; i = (i + 1) & (m->cap - 1))
        if (m->slots[i] == key)
            return false;
    m->slots[i] = key;
    m->count++;
    return true;
}

static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdull;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ull;
    return x ^ (x >> 33);
}

struct search {
    const struct history_op *ops; /* sorted by start */
    size_t count, known_left;
    bool *done;
    uint64_t hash; /* of the set of done ops */
    uint64_t steps, steps_max;
    size_t first; /* all before it are done */
    size_t deepest_stuck, deepest_done, done_count;
    struct memory memory;
};

/* The earliest end among the known ops that are not done: an op that starts later cannot be next.
 */
static uint64_t horizon(const struct search *s)
{
    uint64_t end = HISTORY_PENDING;
    for (size_t i = s->first; i < s->count && s->ops[i].start < end; i++)
        if (!s->done[i] && s->ops[i].end < end)
            end = s->ops[i].end;
    return end;
}

static void mark(struct search *s, size_t i, bool done)
{
    s->done[i] = done;
    s->hash ^= mix(i + 1);
    if (s->ops[i].end != HISTORY_PENDING)
        s->known_left += done ? (size_t)-1 : 1;
    s->done_count += done ? 1 : (size_t)-1;
    if (!done && i < s->first)
        s->first = i;
}

struct frame {
    uint64_t value; /* before the choice */
    size_t next;    /* the next op to try */
    size_t chosen;  /* SIZE_MAX: none yet */
};

static int by_start(const void *a, const void *b)
{
    const struct history_op *x = a, *y = b;
    return (x->start > y->start) - (x->start < y->start);
}

/* The next op from `from` that may come now; SIZE_MAX when there is none. */
static size_t candidate(struct search *s, size_t from, uint64_t value, uint64_t end, uint64_t *ret)
{
    for (size_t i = from; i < s->count && s->ops[i].start <= end; i++)
        if (!s->done[i] && applies(&s->ops[i], value, ret))
            return i;
    return SIZE_MAX;
}

static enum history_verdict run(struct search *s, uint64_t initial)
{
    struct frame *stack = calloc(s->count + 1, sizeof(*stack));
    CHECK(stack);
    size_t depth = 0;
    enum history_verdict verdict = HISTORY_VIOLATION;
    stack[0] = (struct frame){.value = initial, .chosen = SIZE_MAX};
    for (;;) {
        struct frame *f = &stack[depth];
        if (s->known_left == 0) {
            verdict = HISTORY_OK;
            break;
        }
        if (++s->steps > s->steps_max) {
            verdict = HISTORY_UNDECIDED;
            break;
        }
        if (f->chosen != SIZE_MAX) { /* came back: take the choice back */
            mark(s, f->chosen, false);
            /* A read that fitted changes nothing, so another choice cannot do better. */
            bool was_read = s->ops[f->chosen].kind == HISTORY_READ;
            f->next = was_read ? s->count : f->chosen + 1;
            f->chosen = SIZE_MAX;
        }
        while (s->first < s->count && s->done[s->first])
            s->first++;
        uint64_t value, end = horizon(s);
        size_t i = candidate(s, MAX(f->next, s->first), f->value, end, &value);
        if (i == SIZE_MAX) {
            if (s->done_count >= s->deepest_done) {
                s->deepest_done = s->done_count;
                s->deepest_stuck = s->first;
            }
            if (depth == 0)
                break;
            depth--;
            continue;
        }
        mark(s, i, true);
        f->chosen = i;
        if (!memory_add(&s->memory, mix(s->hash) ^ mix(value * 3 + 1))) {
            continue; /* seen: is taken back in the next turn */
        }
        stack[++depth] = (struct frame){.value = value, .chosen = SIZE_MAX};
    }
    free(stack);
    return verdict;
}

enum history_verdict history_check(const struct history *h, uint64_t initial, uint64_t steps_max,
                                   size_t *ret_stuck)
{
    if (h->count == 0)
        return HISTORY_OK;
    struct history_op *ops = malloc(h->count * sizeof(*ops));
    struct search s = {.count = h->count, .steps_max = steps_max};
    s.done = calloc(h->count, sizeof(*s.done));
    CHECK(ops && s.done);
    memcpy(ops, h->ops, h->count * sizeof(*ops));
    qsort(ops, h->count, sizeof(*ops), by_start);
    s.ops = ops;
    for (size_t i = 0; i < h->count; i++)
        s.known_left += ops[i].end != HISTORY_PENDING;
    enum history_verdict verdict = run(&s, initial);
    if (verdict == HISTORY_VIOLATION && ret_stuck) {
        for (size_t i = 0; i < h->count; i++)
            if (memcmp(&h->ops[i], &ops[MIN(s.deepest_stuck, s.count - 1)], sizeof(*ops)) == 0)
                *ret_stuck = i;
    }
    free(s.memory.slots);
    free(s.done);
    free(ops);
    return verdict;
}

void history_print(const struct history *h, const char *name, void (*line)(void *arg, const char *),
                   void *arg)
{
    static const char *const kinds[] = {"read", "put", "put-if-absent", "put-if-match", "delete"};
    for (size_t i = 0; i < h->count; i++) {
        const struct history_op *op = &h->ops[i];
        char text[256], end[32] = "?";
        if (op->end != HISTORY_PENDING)
            snprintf(end, sizeof(end), "%.6f", (double)op->end / 1e9);
        snprintf(text, sizeof(text), "%s #%zu client %u %s value=%llu expect=%llu%s [%.6f, %s]",
                 name, i, op->client, kinds[op->kind], (unsigned long long)op->value,
                 (unsigned long long)op->expect, op->refused ? " refused" : "",
                 (double)op->start / 1e9, end);
        line(arg, text);
    }
}
