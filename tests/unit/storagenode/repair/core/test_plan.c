/* What repair decides, against a reference that looks at every blob and place by itself. */
#include "common/base/mutant.h"
#include "storagenode/repair/core/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define BLOBS 40
#define NOW_MS 10000000u
#define AGE_MS 120000u

static uint64_t seed;
static unsigned rnd(unsigned n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((seed >> 33) % n);
}

static struct id128 blob_id(unsigned i)
{
    return (struct id128){{(uint8_t)(i >> 4), (uint8_t)(i << 4)}};
}

/* A world: blob i at place p is one of these. */
enum { NOTHING, WHOLE, DAMAGED, DELETED };
struct world {
    struct plan_group g;
    uint8_t at[BLOBS][PLAN_PLACES_MAX];
    uint64_t time_ms[BLOBS];
    struct plan_entry entries[PLAN_PLACES_MAX][BLOBS * 2];
    struct plan_page pages[PLAN_PLACES_MAX];
    size_t page_count;
};

/* k of n shards at nodes of their own; some change to a new node, some are not live. */
static void world_random(struct world *w)
{
    *w = (struct world){.g = {.data = 1 + rnd(5)}};
    struct plan_group *g = &w->g;
    g->shards = g->data + 1 + rnd(4);
    for (unsigned i = 0; i < g->shards; i++) {
        bool stays = rnd(4) > 0;
        g->place[g->place_count++] = (struct plan_place){.node = (uint16_t)(100 + i),
                                                         .shard = (uint8_t)i,
                                                         .now = true,
                                                         .next = stays,
                                                         .live = rnd(4) > 0};
        if (!stays)
            g->place[g->place_count++] = (struct plan_place){
                .node = (uint16_t)(200 + i), .shard = (uint8_t)i, .next = true, .live = rnd(4) > 0};
    }
    for (unsigned b = 0; b < BLOBS; b++) {
        w->time_ms[b] = NOW_MS - AGE_MS - 50 + rnd(100);
        bool tidy = rnd(3) == 0;
        for (unsigned p = 0; p < g->place_count; p++)
            w->at[b][p] = tidy || rnd(4) ? WHOLE : (uint8_t)(rnd(8) ? rnd(3) : DELETED);
    }
}

/* Pages of the live places, the first `cut` entries of each. */
static void world_pages(struct world *w, const size_t *from, size_t cut)
{
    w->page_count = 0;
    for (unsigned p = 0; p < w->g.place_count; p++) {
        const struct plan_place *place = &w->g.place[p];
        size_t n = 0, skipped = 0;
        if (!place->live)
            continue;
        struct plan_page *page = &w->pages[w->page_count];
        *page = (struct plan_page){.node = place->node, .entries = w->entries[w->page_count]};
        for (unsigned b = 0; b < BLOBS; b++) {
            if (w->at[b][p] == NOTHING || skipped++ < from[w->page_count])
                continue;
            if (n == cut) {
                page->more = true;
                break;
            }
            w->entries[w->page_count][n++] = (struct plan_entry){.blob_id = blob_id(b),
                                                                 .time_ms = w->time_ms[b],
                                                                 .shard = place->shard,
                                                                 .damaged = w->at[b][p] == DAMAGED,
                                                                 .deleted = w->at[b][p] == DELETED};
        }
        page->count = n;
        w->page_count++;
    }
}

/* The reference: counts, no masks. */
static enum plan_verdict expected(const struct world *w, unsigned b, bool fill, int *ret_margin,
                                  bool *ret_known)
{
    unsigned lacking = 0, held = 0;
    bool deleted = false;
    *ret_known = false;
    for (unsigned s = 0; s < w->g.shards; s++) {
        bool found = false;
        for (unsigned p = 0; p < w->g.place_count; p++) {
            if (w->g.place[p].shard != s || !w->g.place[p].live)
                continue;
            found |= w->at[b][p] == WHOLE;
            lacking += w->at[b][p] != WHOLE;
            deleted |= w->at[b][p] == DELETED;
            *ret_known |= w->at[b][p] != NOTHING;
        }
        held += found;
    }
    *ret_margin = (int)held - (int)w->g.data;
    if (deleted)
        return PLAN_DELETED;
    if (!lacking)
        return PLAN_WHOLE;
    if (!fill && w->time_ms[b] + AGE_MS > NOW_MS)
        return PLAN_YOUNG;
    return held < w->g.data ? PLAN_BEYOND : PLAN_MEND;
}

static void check_item(const struct world *w, const struct plan_item *item, bool fill)
{
    unsigned b = (unsigned)item->blob_id.bytes[0] << 4 | item->blob_id.bytes[1] >> 4;
    int margin;
    bool known, ask = false;
    assert_int_equal(item->verdict, expected(w, b, fill, &margin, &known));
    assert_true(known);
    assert_int_equal(item->margin, margin);
    assert_int_equal(plan_is_endangered(item), margin <= 0);
    for (unsigned p = 0; p < w->g.place_count; p++) {
        const struct plan_place *place = &w->g.place[p];
        assert_int_equal(item->lack >> p & 1, place->live && w->at[b][p] != WHOLE);
        assert_int_equal(item->damaged >> p & 1, place->live && w->at[b][p] == DAMAGED);
        if (place->live && w->at[b][p] == WHOLE)
            assert_true(item->have >> place->shard & 1);
        ask |= place->live && place->now && (w->at[b][p] == NOTHING || w->at[b][p] == DELETED);
    }
    assert_int_equal(item->ask, ask);
}

static unsigned run_world(struct world *w, size_t cut, size_t max, bool fill)
{
    struct plan_rules rules = {NOW_MS, AGE_MS, fill};
    struct plan_item items[BLOBS];
    size_t from[PLAN_PLACES_MAX] = {0}, done[PLAN_PLACES_MAX];
    unsigned seen = 0;
    for (bool more = true; more;) {
        world_pages(w, from, cut);
        size_t n = plan_merge(&w->g, w->pages, w->page_count, &rules, items, max, done);
        for (size_t i = 0; i < n; i++) {
            check_item(w, &items[i], fill);
            if (i > 0)
                assert_true(items[i - 1].margin < items[i].margin ||
                            (items[i - 1].margin == items[i].margin &&
                             items[i - 1].time_ms <= items[i].time_ms));
        }
        seen += (unsigned)n;
        more = false;
        for (size_t p = 0; p < w->page_count; p++) {
            more |= w->pages[p].more || done[p] < w->pages[p].count;
            from[p] += done[p];
        }
    }
    return seen;
}

static void random_groups_agree_with_the_reference(void **state)
{
    (void)state;
    unsigned verdicts[PLAN_DELETED + 1] = {0};
    for (seed = 1; seed < 2000; seed++) {
        uint64_t keep = seed;
        static struct world w;
        world_random(&w);
        bool fill = rnd(2);
        unsigned items = 0;
        for (unsigned b = 0; b < BLOBS; b++) {
            int margin;
            bool known;
            enum plan_verdict v = expected(&w, b, fill, &margin, &known);
            verdicts[v]++;
            items += known && v != PLAN_WHOLE;
        }
        assert_int_equal(run_world(&w, 1 + rnd(BLOBS), 1 + rnd(BLOBS), fill), items);
        seed = keep;
    }
    for (unsigned v = 0; v <= PLAN_DELETED; v++)
        assert_true(verdicts[v] > 100); /* each was tried */
}

static void the_first_that_is_up_and_stays_repairs(void **state)
{
    (void)state;
    struct plan_member m[3] = {{false, false}, {true, true}, {true, false}};
    assert_int_equal(plan_repairer(m, 3), 2);
    m[0].up = true;
    assert_int_equal(plan_repairer(m, 3), 0);
    m[0].up = m[2].up = false;
    assert_int_equal(plan_repairer(m, 3), 1);
    m[1].up = false;
    assert_int_equal(plan_repairer(m, 3), -1);
    assert_int_equal(plan_repairer(m, 0), -1);
}

/* Three replicas: one has it, one lacks it, one says `third`. */
static struct plan_item three(uint8_t third, uint64_t time_ms)
{
    struct world w = {.g = {.data = 1, .shards = 3, .place_count = 3}};
    struct plan_rules rules = {NOW_MS, AGE_MS, false};
    struct plan_item item = {.blob_id = blob_id(1), .time_ms = time_ms};
    for (unsigned i = 0; i < 3; i++)
        w.g.place[i] = (struct plan_place){(uint16_t)i, (uint8_t)i, true, true, true};
    plan_judge(&w.g, &rules, third == WHOLE ? 5 : 1, third == DAMAGED ? 4 : 0, third == DELETED,
               &item);
    return item;
}

static void what_a_member_deleted_is_never_copied(void **state)
{
    (void)state;
    assert_int_equal(three(WHOLE, 1).verdict, PLAN_MEND);
    assert_int_equal(three(DAMAGED, 1).lack, 6);
    assert_int_equal(three(DELETED, 1).verdict, PLAN_DELETED);
    mutant_active = MUTANT_REPAIR_COPIES_DELETED;
    assert_int_equal(three(DELETED, 1).verdict, PLAN_MEND);
    mutant_active = MUTANT_NONE;
}

static void young_blobs_wait_and_clocks_may_be_behind(void **state)
{
    (void)state;
    assert_int_equal(three(WHOLE, NOW_MS - AGE_MS).verdict, PLAN_MEND);
    assert_int_equal(three(WHOLE, NOW_MS - AGE_MS + 1).verdict, PLAN_YOUNG);
    assert_int_equal(three(WHOLE, NOW_MS + 1).verdict, PLAN_YOUNG);
    assert_int_equal(three(WHOLE, UINT64_MAX).verdict, PLAN_YOUNG);
}

/* 3 of 4 shards; the last one moves from place 3 to place 4. */
static void what_nobody_has_to_give_is_hopeless(void **state)
{
    (void)state;
    struct plan_group g = {.data = 3, .shards = 4, .place_count = 5};
    for (unsigned i = 0; i < 5; i++)
        g.place[i] = (struct plan_place){.node = (uint16_t)i,
                                         .shard = (uint8_t)(i < 4 ? i : 3),
                                         .now = i < 4,
                                         .next = i != 3,
                                         .live = true};
    const uint32_t is_new = 1u << 4, old = 1u << 3;
    assert_int_equal(plan_hopeless(&g, 3, 0, is_new), is_new);   /* the old one has nothing */
    assert_int_equal(plan_hopeless(&g, 3 | old, 0, is_new), 0);  /* a copy */
    assert_int_equal(plan_hopeless(&g, 3, old, is_new), 0);      /* it may, and be the third */
    assert_int_equal(plan_hopeless(&g, 1, old, is_new), is_new); /* it may, and be the second */
    assert_int_equal(plan_hopeless(&g, 3, 1u << 2, is_new), is_new); /* who is away stays */
    assert_int_equal(plan_hopeless(&g, 3, is_new, is_new), is_new);  /* itself is no old one */
    assert_int_equal(plan_hopeless(&g, 3, 0, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_groups_agree_with_the_reference),
        cmocka_unit_test(the_first_that_is_up_and_stays_repairs),
        cmocka_unit_test(what_a_member_deleted_is_never_copied),
        cmocka_unit_test(young_blobs_wait_and_clocks_may_be_behind),
        cmocka_unit_test(what_nobody_has_to_give_is_hopeless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
