/* Which blobs of a group lack which shards, and who mends them first.  See plan.h. */
#include "storagenode/repair/core/plan.h"

#include "common/base/check.h"
#include "common/base/mutant.h"

#include <stdlib.h>

int plan_repairer(const struct plan_member *members, size_t count)
{
    int drained = -1;
    for (size_t i = 0; i < count; i++) {
        if (members[i].up && !members[i].draining)
            return (int)i;
        if (members[i].up && drained < 0)
            drained = (int)i;
    }
    return drained;
}

uint32_t plan_shards_of(const struct plan_group *g, uint32_t places)
{
    uint32_t shards = 0;
    for (unsigned i = 0; i < g->place_count; i++)
        if (places >> i & 1)
            shards |= 1u << g->place[i].shard;
    return shards;
}

uint32_t plan_hopeless(const struct plan_group *g, uint32_t had, uint32_t away, uint32_t lacking)
{
    uint32_t now = 0, hopeless = 0;
    for (unsigned i = 0; i < g->place_count; i++)
        now |= (uint32_t)g->place[i].now << i;
    uint32_t whole = plan_shards_of(g, had), perhaps = plan_shards_of(g, away & now);
    bool too_few = (unsigned)__builtin_popcount(whole | perhaps) < g->data;
    for (unsigned i = 0; i < g->place_count; i++) {
        uint32_t shard = 1u << g->place[i].shard;
        if ((lacking >> i & 1) && !(whole & shard) && (too_few || !(perhaps & shard)))
            hopeless |= 1u << i;
    }
    return hopeless;
}

void plan_judge(const struct plan_group *g, const struct plan_rules *rules, uint32_t whole,
                uint32_t damaged, bool deleted, struct plan_item *item)
{
    CHECK(g->data > 0 && g->data <= g->shards && g->shards <= PLAN_SHARDS_MAX &&
          g->place_count <= PLAN_PLACES_MAX);
    uint32_t live = 0, now = 0;
    for (unsigned i = 0; i < g->place_count; i++) {
        live |= (uint32_t)g->place[i].live << i;
        now |= (uint32_t)g->place[i].now << i;
    }
    item->have = plan_shards_of(g, whole & live);
    item->lack = live & ~whole;
    item->damaged = item->lack & damaged;
    item->margin = __builtin_popcount(item->have) - (int)g->data;
    item->ask = (item->lack & ~item->damaged & now) != 0;
    if (deleted && !MUTANT(REPAIR_COPIES_DELETED))
        item->verdict = PLAN_DELETED;
    else if (!item->lack)
        item->verdict = PLAN_WHOLE;
    /* A clock that is behind makes it younger than now: also too young. */
    else if (!rules->fill && (item->time_ms > rules->now_ms ||
                              rules->now_ms - item->time_ms < rules->repair_age_ms))
        item->verdict = PLAN_YOUNG;
    else
        item->verdict = item->margin < 0 ? PLAN_BEYOND : PLAN_MEND;
}

/* ---- merging ---- */

/* The lowest blob id that is not judged yet.  False: no more, or a page has to be continued first.
 */
static bool merge_next(const struct plan_page *pages, size_t page_count, const size_t *done,
                       struct id128 *ret)
{
    bool any = false;
    for (size_t p = 0; p < page_count; p++) {
        const struct plan_page *page = &pages[p];
        if (done[p] == page->count) {
            if (page->more)
                return false;
            continue;
        }
        const struct id128 *id = &page->entries[done[p]].blob_id;
        if (!any || memcmp(id->bytes, ret->bytes, ID_BYTES) < 0)
            *ret = *id;
        any = true;
    }
    return any;
}

struct merged {
    uint32_t whole, damaged;
    bool deleted;
};

static void merge_entry(const struct plan_group *g, uint16_t node, const struct plan_entry *e,
                        struct merged *m, uint64_t *time_ms)
{
    m->deleted |= e->deleted;
    if (e->time_ms > *time_ms)
        *time_ms = e->time_ms; /* of several the youngest: it may yet be under way */
    if (e->deleted)
        return;
    for (unsigned i = 0; i < g->place_count; i++) {
        if (g->place[i].node != node || g->place[i].shard != e->shard)
            continue;
        *(e->damaged ? &m->damaged : &m->whole) |= 1u << i;
    }
}

size_t plan_merge(const struct plan_group *g, const struct plan_page *pages, size_t page_count,
                  const struct plan_rules *rules, struct plan_item *ret, size_t max,
                  size_t *ret_done)
{
    size_t count = 0;
    struct plan_item item = {0};
    CHECK(max > 0);
    for (size_t p = 0; p < page_count; p++)
        ret_done[p] = 0;
    while (count < max && merge_next(pages, page_count, ret_done, &item.blob_id)) {
        struct merged m = {0};
        item.time_ms = 0;
        for (size_t p = 0; p < page_count; p++) {
            const struct plan_page *page = &pages[p];
            for (size_t *at = &ret_done[p];
                 *at < page->count && id128_eq(page->entries[*at].blob_id, item.blob_id); ++*at)
                merge_entry(g, page->node, &page->entries[*at], &m, &item.time_ms);
        }
        plan_judge(g, rules, m.whole, m.damaged, m.deleted, &item);
        if (item.verdict != PLAN_WHOLE)
            ret[count++] = item;
    }
    plan_sort(ret, count);
    return count;
}

static int compare(const void *a, const void *b)
{
    const struct plan_item *x = a, *y = b;
    if (x->margin != y->margin)
        return x->margin < y->margin ? -1 : 1;
    if (x->time_ms != y->time_ms)
        return x->time_ms < y->time_ms ? -1 : 1;
    return memcmp(x->blob_id.bytes, y->blob_id.bytes, ID_BYTES);
}

void plan_sort(struct plan_item *items, size_t count)
{
    if (count > 1)
        qsort(items, count, sizeof(*items), compare);
}
