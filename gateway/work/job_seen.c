/* What is remembered of jobs that are not due: a hash table of bounded size.  Two jobs of one key
 * would only be looked at later than they might. */
#include "gateway/work/jobs_internal.h"

#include "common/base/hash.h"

#include <stdlib.h>
#include <string.h>

enum { SLOTS_MIN = 256 };

uint64_t job_seen_key(uint64_t bucket_id, const char *kind, const char *id)
{
    uint64_t key = hash64(hash64(bucket_id, slice_cstr(kind)), slice_cstr(id));
    return key ? key : 1;
}

/* The key's slot, or the empty one where it would be; some are always empty. */
static struct job_seen *find(const struct job_seen_table *t, uint64_t key)
{
    size_t i = key & (t->cap - 1);
    while (t->slots[i].key && t->slots[i].key != key)
        i = (i + 1) & (t->cap - 1);
    return &t->slots[i];
}

/* Copies what was met in this look (UINT32_MAX: all) into a table of that size. */
static bool rebuild(struct job_seen_table *t, size_t cap, uint32_t look)
{
    struct job_seen_table next = {.slots = calloc(cap, sizeof(*next.slots)), .cap = cap};
    if (!next.slots)
        return false;
    for (size_t i = 0; i < t->cap; i++) {
        const struct job_seen *s = &t->slots[i];
        if (!s->key || (look != UINT32_MAX && s->look != look))
            continue;
        *find(&next, s->key) = *s;
        next.count++;
    }
    free(t->slots);
    *t = next;
    return true;
}

struct job_seen *job_seen_get(struct job_seen_table *t, uint64_t key)
{
    if (t->cap == 0 && !rebuild(t, SLOTS_MIN, UINT32_MAX))
        return NULL;
    struct job_seen *s = find(t, key);
    if (s->key)
        return s;
    if (t->count >= JOBS_SEEN_MAX)
        return NULL;
    if ((t->count + 1) * 2 > t->cap) {
        if (!rebuild(t, t->cap * 2, UINT32_MAX))
            return NULL;
        s = find(t, key);
    }
    *s = (struct job_seen){.key = key};
    t->count++;
    return s;
}

uint64_t job_seen_oldest(const struct job_seen_table *t, const struct metric_gauge *shown)
{
    uint64_t oldest = 0;
    for (size_t i = 0; i < t->cap; i++) {
        const struct job_seen *s = &t->slots[i];
        if (s->key && s->shown == shown && s->finished_ms && (!oldest || s->finished_ms < oldest))
            oldest = s->finished_ms;
    }
    return oldest;
}

void job_seen_sweep(struct job_seen_table *t, uint32_t look)
{
    bool any = false;
    for (size_t i = 0; i < t->cap && !any; i++)
        any = t->slots[i].key && t->slots[i].look != look;
    if (any)
        (void)rebuild(t, t->cap, look); /* without memory they stay a while longer */
}

void job_seen_fini(struct job_seen_table *t)
{
    free(t->slots);
    *t = (struct job_seen_table){0};
}
