/* Deep scrub: every blob of the groups that this node repairs, within a period.
 *
 *   choose a bucket → page of the own inventory → its blobs, one after the other ⇄ next page
 *        ↑                                                                            │
 *        └────────────────────── remembered (config.deep_save) ←──────────────────────┘
 *
 * A bucket is the blobs of one group whose ids begin with one byte.  Since when each is unchecked
 * is what is kept.  A node that takes a group over and has no note of it does not know what the
 * repairer before it has checked: it spreads the group's buckets over the period that lies behind,
 * so that they do not come all at once, and says no more than that.
 *
 * A group is looked into while all its members are up and none is changing: what is away would have
 * to be checked again. */
#include "common/base/check.h"
#include "common/base/hash.h"
#include "proto/methods.h"
#include "storagenode/repair/agent_impl.h"

#include <stdlib.h>

#define LOOK_NS NS_PER_SEC
#define RETRY_NS (10 * NS_PER_SEC)
#define AIM_NUM 7u /* of AIM_DEN parts of the period a bucket is due */
#define AIM_DEN 8u

static void later(struct repair_agent *a, uint64_t ns)
{
    if (!a->stopped)
        env_timer_start(&a->deep.timer, ns);
}

/* ---- buckets ---- */

static void oldest_find(struct deep_group *d)
{
    d->oldest = 0;
    for (unsigned i = 1; i < BUCKETS; i++)
        if (d->since_ms[i] < d->since_ms[d->oldest])
            d->oldest = i;
}

/* The group's note; from memory or, the first time, from what was kept.  NULL: no memory. */
static struct deep_group *note_get(struct repair_agent *a, struct repair_group *g)
{
    uint64_t now_ms = env_wall_ms(a->env), aim_ms = a->config.deep_period_ms / AIM_DEN * AIM_NUM;
    if (g->deep)
        return g->deep;
    struct deep_group *d = calloc(1, sizeof(*d));
    if (!d)
        return NULL;
    if (!a->config.deep_load || !a->config.deep_load(a->config.arg, g->pg, d->since_ms)) {
        uint32_t at = (uint32_t)hash64(g->pg, SLICE_LIT("deep")) % BUCKETS;
        for (unsigned i = 0; i < BUCKETS; i++)
            d->since_ms[(i + at) % BUCKETS] = now_ms - MIN(now_ms, aim_ms / BUCKETS * i);
    }
    for (unsigned i = 0; i < BUCKETS; i++)
        d->since_ms[i] = MIN(d->since_ms[i], now_ms); /* a clock that was wrong */
    oldest_find(d);
    return g->deep = d;
}

/* Buckets that the round that was asked for has not read. */
static unsigned round_left(struct repair_agent *a, struct deep_group *d)
{
    if (d->round != a->deep.round) {
        d->round = a->deep.round;
        memset(d->done, 0, sizeof(d->done));
        d->left = BUCKETS;
    }
    return d->left;
}

/* All members are there, and stay. */
static const Cairn__PlacementGroup *group_ready(const struct repair_agent *a,
                                                const struct repair_group *g)
{
    const Cairn__PlacementGroup *pg = map_client_pg(a->map, g->pg);
    size_t shards = pg ? (size_t)pg->data_shards + pg->parity_shards : 0;
    if (!pg || !g->repairs || pg->n_next_members || pg->data_shards < 1 ||
        shards > PLAN_SHARDS_MAX || pg->parity_shards < 1 || pg->parity_shards > EC_PARITY_MAX ||
        pg->data_shards > EC_DATA_MAX || pg->n_members < 2 || pg->n_members > shards)
        return NULL;
    for (size_t i = 0; i < pg->n_members; i++) {
        const Cairn__NodeRecord *node = map_client_node(a->map, pg->members[i]);
        if (!node || node->state != CAIRN__NODE_STATE__NODE_UP)
            return NULL;
    }
    return pg;
}

/* The bucket to be read now: what was asked for first, then what is due; false: none. */
static bool bucket_choose(struct repair_agent *a)
{
    struct deep *s = &a->deep;
    uint64_t now_ms = env_wall_ms(a->env), aim_ms = a->config.deep_period_ms / AIM_DEN * AIM_NUM;
    uint64_t best_ms = UINT64_MAX;
    s->left = s->total = 0;
    for (size_t i = 0; i < a->group_count; i++) {
        const Cairn__PlacementGroup *pg = group_ready(a, a->groups[i]);
        struct deep_group *d = pg ? note_get(a, a->groups[i]) : NULL;
        if (!d)
            continue;
        unsigned bucket = d->oldest, left = s->asked ? round_left(a, d) : 0;
        s->left += left;
        s->total += BUCKETS;
        for (bucket = left ? 0 : bucket; left && (d->done[bucket / 8] >> bucket % 8 & 1); bucket++)
            ;
        uint64_t since_ms = left ? 0 : d->since_ms[bucket];
        bool is_due = left || now_ms - MIN(now_ms, since_ms) >= aim_ms;
        if (!is_due || since_ms >= best_ms)
            continue;
        best_ms = since_ms;
        s->pg = pg->id;
        s->epoch = pg->epoch;
        s->bucket = bucket;
    }
    if (s->asked && s->left == 0) {
        s->asked = false;
        a->stats.deep_rounds++;
    }
    return best_ms != UINT64_MAX;
}

static void bucket_end(struct repair_agent *a, bool whole)
{
    struct deep *s = &a->deep;
    struct repair_group *g = agent_group(a, s->pg);
    struct deep_group *d = g ? g->deep : NULL;
    s->busy = false;
    if (!whole || !d)
        return;
    d->since_ms[s->bucket] = s->began_ms;
    oldest_find(d);
    if (s->asked && round_left(a, d) && !(d->done[s->bucket / 8] >> s->bucket % 8 & 1)) {
        d->done[s->bucket / 8] |= (uint8_t)(1u << s->bucket % 8);
        d->left--;
    }
    if (a->config.deep_save)
        a->config.deep_save(a->config.arg, s->pg, d->since_ms);
}

/* ---- one page ---- */

static void on_page(struct rpc_call *rpc)
{
    struct repair_agent *a = container_of(rpc, struct repair_agent, deep.rpc);
    struct deep *s = &a->deep;
    const Cairn__InventoryResponse *m =
        (const Cairn__InventoryResponse *)(const void *)rpc->response;
    int err = rpc->err;
    s->listing = false;
    s->id_count = s->id_next = 0;
    s->more = !err && m && m->more;
    if (!err && (!m || m->n_entries > DEEP_PAGE + PLAN_SHARDS_MAX || (m->more && !m->n_entries)))
        err = ERR_PROTO;
    for (size_t i = 0; !err && i < m->n_entries; i++) {
        struct id128 id;
        if (!id128_from_slice(SLICE(m->entries[i]->blob_id.data, m->entries[i]->blob_id.len),
                              &id) ||
            id.bytes[0] != s->bucket ||
            (s->has_after && memcmp(id.bytes, s->after.bytes, ID_BYTES) < 0)) {
            err = ERR_PROTO;
        } else if (!s->has_after ||
                   !id128_eq(id, s->after)) { /* a blob may have several shards here */
            s->ids[s->id_count++] = s->after = id;
            s->has_after = true;
        }
    }
    rpc_call_fini(rpc);
    if (err)
        bucket_end(a, false);
    later(a, err ? RETRY_NS : 0);
}

static void page_ask(struct repair_agent *a)
{
    struct deep *s = &a->deep;
    Cairn__InventoryRequest request = CAIRN__INVENTORY_REQUEST__INIT;
    struct rpc_peer *self = map_client_peer(a->map, a->node_id);
    request.pg = s->pg;
    request.first_byte = s->bucket;
    request.entries_max = DEEP_PAGE;
    request.older_than_ms = s->began_ms - MIN(s->began_ms, a->config.repair_age_ms);
    if (s->has_after)
        request.after = (ProtobufCBinaryData){ID_BYTES, s->after.bytes};
    s->rpc = (struct rpc_call){.method = &method_store_inventory,
                               .request = &request.base,
                               .timeout_ns = a->config.timeout_ns,
                               .cb = on_page};
    s->listing = self && rpc_call_start(self, &s->rpc) == OK;
    if (s->listing)
        return;
    bucket_end(a, false);
    later(a, RETRY_NS);
}

/* ---- one blob ---- */

static void found_tell(struct repair_agent *a, const struct deep_blob *b)
{
    struct repair_deep_found found = {.pg = b->pg,
                                      .blob_id = b->blob_id,
                                      .wrong = b->wrong,
                                      .marked = b->told,
                                      .unproven = b->verdict == JUDGE_UNPROVEN};
    if (a->config.on_deep_found)
        a->config.on_deep_found(a->config.arg, &found);
}

static void on_blob(struct deep_blob *b)
{
    struct repair_agent *a = container_of(b, struct repair_agent, deep.blob);
    struct repair_stats *st = &a->stats;
    a->deep.checking = false;
    st->deep_bytes += b->bytes;
    st->deep_blobs += b->verdict != JUDGE_TOO_FEW;
    st->deep_unchecked += b->verdict == JUDGE_TOO_FEW && b->err != ERR_CANCELED;
    st->deep_found += (unsigned)__builtin_popcount(b->wrong);
    st->deep_mended += (unsigned)__builtin_popcount(b->told);
    st->deep_unproven += b->verdict == JUDGE_UNPROVEN;
    if (b->wrong || b->verdict == JUDGE_UNPROVEN)
        found_tell(a, b);
    later(a, b->bytes * NS_PER_SEC / a->config.deep_bytes_per_sec);
}

static void blob_check(struct repair_agent *a, const Cairn__PlacementGroup *pg)
{
    struct deep_blob *b = &a->deep.blob;
    *b = (struct deep_blob){.env = a->env,
                            .pg = pg->id,
                            .data = pg->data_shards,
                            .shards = (unsigned)pg->n_members,
                            .blob_id = a->deep.ids[a->deep.id_next++],
                            .timeout_ns = a->config.timeout_ns,
                            .cb = on_blob};
    for (size_t i = 0; i < pg->n_members; i++)
        b->peer[i] = map_client_peer(a->map, pg->members[i]);
    a->deep.checking = true;
    deep_blob_start(b);
}

/* ---- the whole ---- */

static void deep_step(struct env_timer *timer)
{
    struct repair_agent *a = container_of(timer, struct repair_agent, deep.timer);
    struct deep *s = &a->deep;
    CHECK(!s->checking && !s->listing);
    if (a->stopped)
        return;
    if (!s->busy) {
        s->busy = map_client_map(a->map) && bucket_choose(a);
        if (!s->busy) {
            later(a, LOOK_NS);
            return;
        }
        s->began_ms = env_wall_ms(a->env);
        s->has_after = false;
        page_ask(a);
        return;
    }
    struct repair_group *g = agent_group(a, s->pg);
    const Cairn__PlacementGroup *pg = g ? group_ready(a, g) : NULL;
    if (!pg || pg->epoch != s->epoch) {
        bucket_end(a, false);
        later(a, LOOK_NS);
    } else if (s->id_next < s->id_count) {
        blob_check(a, pg);
    } else if (s->more) {
        page_ask(a);
    } else {
        bucket_end(a, true);
        later(a, 0);
    }
}

void deep_init(struct repair_agent *a)
{
    env_timer_init(a->env, &a->deep.timer, deep_step);
    env_timer_start(&a->deep.timer, LOOK_NS);
}

void deep_stop(struct repair_agent *a)
{
    env_timer_stop(&a->deep.timer);
    if (a->deep.listing)
        rpc_call_cancel(&a->deep.rpc);
    if (a->deep.checking)
        deep_blob_cancel(&a->deep.blob);
}

bool deep_idle(const struct repair_agent *a)
{
    return !a->deep.listing && !a->deep.checking && !a->deep.timer.active;
}

int repair_agent_deep_now(struct repair_agent *a)
{
    if (a->stopped)
        return ERR_SHUTDOWN;
    a->deep.asked = true;
    a->deep.round++; /* one that is under way begins anew */
    a->deep.left = a->deep.total = 0;
    if (!a->deep.busy)
        later(a, 0);
    return OK;
}

uint64_t deep_oldest_ms(const struct repair_agent *a)
{
    uint64_t oldest_ms = UINT64_MAX;
    for (size_t i = 0; i < a->group_count; i++) {
        const struct deep_group *d = a->groups[i]->repairs ? a->groups[i]->deep : NULL;
        if (d)
            oldest_ms = MIN(oldest_ms, d->since_ms[d->oldest]);
    }
    return oldest_ms == UINT64_MAX ? 0 : oldest_ms;
}

void deep_report(struct repair_agent *a, Cairn__NodeReport *ret)
{
    Cairn__DeepReport *r = &a->deep.report;
    cairn__deep_report__init(r);
    r->oldest_ms = deep_oldest_ms(a);
    r->blobs = a->stats.deep_blobs;
    r->bytes = a->stats.deep_bytes;
    r->found = a->stats.deep_found;
    r->mended = a->stats.deep_mended;
    r->unproven = a->stats.deep_unproven;
    r->unchecked = a->stats.deep_unchecked;
    r->rounds = a->stats.deep_rounds;
    r->asked = a->deep.asked;
    r->left = a->deep.asked ? a->deep.left : 0;
    r->total = a->deep.total;
    ret->deep = r;
}
