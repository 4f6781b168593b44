/* The walk over a node's shards, and its questions.  See agent.h.
 *
 *   RESTING ──timer──→ LISTING ──a page──→ READING ──the owners──→ ASKING ⇄ (next question)
 *      ↑                  ↑ │ nothing on it                           │ confirmed ones are marked
 *      └──walk has ended──┴─┴───────────────── PACING ←───────────────┘
 *
 * Whatever fails leaves its blobs for the next walk. */
#include "storagenode/orphans/agent_impl.h"

#include "common/base/check.h"
#include "common/base/mutant.h"
#include "proto/methods.h"

#include <stdio.h>
#include <stdlib.h>

#define SCAN_MAX 4096u                   /* index lines of one page */
#define PAGE_PAUSE_NS (20 * NS_PER_MS)   /* so that a walk is no burst */
#define FAILED_PAUSE_NS (5 * NS_PER_SEC) /* after a page that could not be listed */

enum {
    ORPHANS_RESTING,
    ORPHANS_LISTING,
    ORPHANS_READING,
    ORPHANS_ASKING,
    ORPHANS_PACING,
    ORPHANS_STATES
};
static const char *const state_names[ORPHANS_STATES] = {"resting", "listing", "reading", "asking",
                                                        "pacing"};
static const uint32_t transitions[ORPHANS_STATES] = {
    [ORPHANS_RESTING] = 1u << ORPHANS_LISTING,
    [ORPHANS_LISTING] = 1u << ORPHANS_READING | 1u << ORPHANS_PACING | 1u << ORPHANS_RESTING,
    [ORPHANS_READING] = 1u << ORPHANS_ASKING,
    [ORPHANS_ASKING] = 1u << ORPHANS_ASKING | 1u << ORPHANS_PACING,
    [ORPHANS_PACING] = 1u << ORPHANS_LISTING,
};

static enum op_next orphans_rest(struct orphans *o, int state, uint64_t pause_ns)
{
    op_move(&o->op, state);
    if (!o->stopped)
        env_timer_start(&o->timer, pause_ns);
    return OP_WAIT;
}

/* ---- 1. The next page ---- */

static bool names(char *const *members, size_t count, const char *node_id)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(members[i], node_id) == 0)
            return true;
    return false;
}

/* The first group of ours at or behind `from`, by id. */
static const Cairn__PlacementGroup *group_at(const struct orphans *o, uint32_t from)
{
    const Cairn__ClusterMap *map = map_client_map(o->map);
    const Cairn__PlacementGroup *found = NULL;
    for (size_t i = 0; map && i < map->n_pgs; i++) {
        const Cairn__PlacementGroup *pg = map->pgs[i];
        if (pg->id < from || (found && found->id <= pg->id))
            continue;
        if (names(pg->members, pg->n_members, o->node_id) ||
            names(pg->next_members, pg->n_next_members, o->node_id))
            found = pg;
    }
    return found;
}

static void group_leave(struct orphans *o)
{
    o->in_group = false;
    o->pg++; /* ids are far below the end of their type */
}

static void on_page(struct disks_inventory *page)
{
    struct orphans *o = container_of(page, struct orphans, page);
    o->listing = false;
    op_wake(&o->op);
}

static enum op_next walk_end(struct orphans *o, bool whole)
{
    o->pg = 0;
    o->in_group = false;
    if (whole) {
        o->stats.walks++;
        o->stats.left = o->left;
        o->stats.foreign = o->foreign;
    }
    o->left = o->foreign = 0;
    return orphans_rest(o, ORPHANS_RESTING, o->config.interval_ns);
}

static enum op_next list_start(struct orphans *o)
{
    const Cairn__PlacementGroup *pg = group_at(o, o->pg);
    uint64_t older_ms = orphan_older_than(env_wall_ms(o->env), o->config.orphan_age_ms);
    if (!pg || older_ms == 0)
        return walk_end(o, map_client_map(o->map) != NULL);
    if (pg->id != o->pg)
        o->in_group = false;
    o->pg = pg->id;
    o->page = (struct disks_inventory){.pg = pg->id,
                                       .all_bytes = true,
                                       .has_after = o->in_group,
                                       .after = o->after,
                                       .entries_max = ORPHAN_BATCH_MAX,
                                       .older_than_ms = older_ms,
                                       .unconfirmed = true,
                                       .scan_max = SCAN_MAX,
                                       .cb = on_page};
    int err = disks_inventory_start(o->disks, &o->page);
    o->listing = err == OK;
    if (err == OK)
        return OP_WAIT;
    o->stats.pages_failed++;
    return orphans_rest(o, ORPHANS_PACING, FAILED_PAUSE_NS);
}

/* A blob of which several shards lie here is asked about once.  At the batch's end the page has
 * room for some more of the last blob's. */
static void batch_fill(struct orphans *o)
{
    struct orphan_batch *b = &o->batch;
    const Cairn__ClusterMap *map = map_client_map(o->map);
    b->count = 0;
    for (size_t i = 0; i < o->page.count; i++) {
        const struct store_inventory_entry *e = &o->page.entries[i];
        if (i && id128_eq(o->page.entries[i - 1].blob_id, e->blob_id))
            continue;
        if (!map || e->record.time_ms < map->created_ms) {
            o->left++;
            o->foreign++;
            continue;
        }
        CHECK(b->count < ORPHAN_BATCH_MAX);
        struct orphan *blob = &b->blobs[b->count++];
        blob->blob_id = e->blob_id;
        blob->shard_index = e->shard_index;
        blob->time_ms = e->record.time_ms;
        blob->pg = o->pg;
        blob->has_owner = false;
        blob->bucket_id = blob->key_len = 0;
        blob->verdict = ORPHAN_LATER;
    }
}

static enum op_next list_take(struct orphans *o)
{
    int err = o->page.err;
    if (err == OK) {
        batch_fill(o);
        o->in_group = true;
        o->after = o->page.last;
        if (!o->page.more)
            group_leave(o);
    }
    disks_inventory_fini(&o->page);
    if (err) {
        o->stats.pages_failed++;
        return orphans_rest(o, ORPHANS_PACING, FAILED_PAUSE_NS);
    }
    if (o->batch.count == 0)
        return orphans_rest(o, ORPHANS_PACING, PAGE_PAUSE_NS);
    o->read_next = 0;
    return op_move(&o->op, ORPHANS_READING);
}

/* ---- 2. Whose are they? ---- */

static void read_take(struct orphans_read *r)
{
    struct orphan *blob = &r->orphans->batch.blobs[r->at];
    const struct shard_info *info = &r->get.info;
    if (r->get.err == OK && info->owner.key.len <= ORPHAN_KEY_BYTES_MAX) {
        blob->has_owner = true;
        blob->bucket_id = info->owner.bucket_id;
        blob->key_len = info->owner.key.len;
        if (blob->key_len)
            memcpy(blob->key, info->owner.key.ptr, blob->key_len);
        blob->time_ms = MAX(blob->time_ms, info->time_ms);
    }
    payload_unref(&r->get.payload);
}

static void on_head(struct store_get *get)
{
    struct orphans_read *r = container_of(get, struct orphans_read, get);
    struct orphans *o = r->orphans;
    read_take(r);
    r->running = false;
    o->reads_under_way--;
    op_wake(&o->op);
}

/* What cannot be read now is left for later: it may be damaged, which is repair's business. */
static bool reads_run(struct orphans *o)
{
    for (unsigned i = 0; i < READS_MAX; i++) {
        struct orphans_read *r = &o->reads[i];
        while (!r->running && o->read_next < o->batch.count && !o->stopped) {
            const struct orphan *blob = &o->batch.blobs[o->read_next];
            r->orphans = o;
            r->at = o->read_next++;
            r->get = (struct store_get){.blob_id = blob->blob_id,
                                        .shard_index = blob->shard_index,
                                        .want_info = true,
                                        .head_only = true,
                                        .cb = on_head};
            r->running = disks_get_start(o->disks, &r->get) == OK;
            o->reads_under_way += r->running;
        }
    }
    return o->reads_under_way > 0;
}

/* The planted bug ORPHAN_UNASKED. */
struct unasked {
    struct disks_delete del;
    struct id128 ids[ORPHAN_BATCH_MAX];
};

static void on_unasked(struct disks_delete *del)
{
    free(container_of(del, struct unasked, del));
}

/* Returns: how many blobs nobody needs to be asked about any more, all. */
static size_t delete_unasked(struct orphans *o)
{
    struct unasked *u = calloc(1, sizeof(*u));
    CHECK(u);
    for (size_t i = 0; i < o->batch.count; i++)
        u->ids[i] = o->batch.blobs[i].blob_id;
    u->del = (struct disks_delete){
        .blob_ids = u->ids, .count = (uint32_t)o->batch.count, .cb = on_unasked};
    if (disks_delete_start(o->disks, &u->del) != OK)
        free(u);
    return o->batch.count;
}

static enum op_next read_end(struct orphans *o)
{
    orphan_batch_sort(&o->batch);
    for (size_t i = 0; i < o->batch.count; i++)
        o->stats.unreadable += !o->batch.blobs[i].has_owner;
    o->ask_at = MUTANT(ORPHAN_UNASKED) ? delete_unasked(o) : 0;
    return op_move(&o->op, ORPHANS_ASKING);
}

/* ---- 3. Does a record refer to them? ---- */

static void on_answer(struct leader_call *call)
{
    struct orphans *o = container_of(call, struct orphans, call);
    o->asking = false;
    op_wake(&o->op);
}

static void ask_start(struct orphans *o)
{
    const struct orphan *blobs = &o->batch.blobs[o->ask_at];
    cairn__blob_refs_request__init(&o->request);
    for (size_t i = 0; i < o->ask_count; i++) {
        o->ids[i] = (ProtobufCBinaryData){ID_BYTES, (uint8_t *)(uintptr_t)blobs[i].blob_id.bytes};
        o->pgs[i] = blobs[i].pg;
        o->times_ms[i] = blobs[i].time_ms;
    }
    o->request.bucket_id = blobs[0].bucket_id;
    o->request.key = (ProtobufCBinaryData){blobs[0].key_len, (uint8_t *)(uintptr_t)blobs[0].key};
    o->request.blob_ids = o->ids;
    o->request.pgs = o->pgs;
    o->request.times_ms = o->times_ms;
    o->request.n_blob_ids = o->request.n_pgs = o->request.n_times_ms = o->ask_count;
    o->request.condemn = true;
    o->call = (struct leader_call){.method = &method_meta_blob_refs,
                                   .request = &o->request.base,
                                   .bucket_id = blobs[0].bucket_id,
                                   .key = SLICE(blobs[0].key, blobs[0].key_len),
                                   .deadline_ns = env_now_ns(o->env) + o->config.timeout_ns,
                                   .cb = on_answer};
    o->asking = true;
    leader_call_start(o->map, &o->call);
}

static void ask_take(struct orphans *o)
{
    const Cairn__BlobRefsResponse *a =
        (const Cairn__BlobRefsResponse *)(const void *)o->call.rpc.response;
    int err = o->call.err;
    if (!err && !a)
        err = ERR_PROTO;
    if (!err)
        err = orphan_batch_answer(&o->batch, o->ask_at, o->ask_count,
                                  SLICE(a->referred.data, a->referred.len));
    leader_call_fini(&o->call);
    o->stats.asked += o->ask_count;
    for (size_t i = 0; i < o->ask_count; i++) {
        enum orphan_verdict verdict = o->batch.blobs[o->ask_at + i].verdict;
        o->stats.confirmed += verdict == ORPHAN_CONFIRMED;
        o->stats.condemned += verdict == ORPHAN_CONDEMNED;
        o->stats.young += !err && verdict == ORPHAN_LATER;
        o->stats.unanswered += err != OK;
    }
    o->ask_at += o->ask_count;
    o->ask_count = 0;
}

/* All that could be has been asked.  A mark that cannot be written is a question more, later. */
static enum op_next ask_end(struct orphans *o)
{
    struct id128 ids[ORPHAN_BATCH_MAX];
    size_t count = orphan_batch_select(&o->batch, ORPHAN_CONFIRMED, ids);
    if (count)
        (void)disks_confirm(o->disks, ids, count);
    o->left += orphan_batch_select(&o->batch, ORPHAN_LATER, ids);
    uint64_t pause_ns =
        orphan_pace(&o->free_ns, env_now_ns(o->env), o->batch.count, o->config.blobs_per_sec);
    o->batch.count = 0;
    return orphans_rest(o, ORPHANS_PACING, MAX(pause_ns, PAGE_PAUSE_NS));
}

/* ---- the machine ---- */

static enum op_next orphans_step(struct op *op)
{
    struct orphans *o = container_of(op, struct orphans, op);
    switch (op->state) {
    case ORPHANS_RESTING:
    case ORPHANS_PACING:
        if (o->stopped || o->timer.active)
            return OP_WAIT;
        op_move(op, ORPHANS_LISTING);
        return list_start(o);
    case ORPHANS_LISTING: return o->listing ? OP_WAIT : list_take(o);
    case ORPHANS_READING: return reads_run(o) ? OP_WAIT : read_end(o);
    default:
        CHECK(op->state == ORPHANS_ASKING);
        if (o->asking)
            return OP_WAIT;
        if (o->ask_count)
            ask_take(o);
        o->ask_count = o->stopped ? 0 : orphan_batch_question(&o->batch, o->ask_at);
        if (o->ask_count == 0)
            return ask_end(o);
        ask_start(o);
        return OP_WAIT;
    }
}

static const struct op_type orphans_type = {.name = "orphans",
                                            .state_names = state_names,
                                            .transitions = transitions,
                                            .state_count = ORPHANS_STATES,
                                            .step = orphans_step};

static void on_timer(struct env_timer *timer)
{
    op_wake(&container_of(timer, struct orphans, timer)->op);
}

/* ---- life ---- */

int orphans_new(struct env *env, struct disks *disks, struct map_client *map,
                const struct orphans_config *config, struct orphans **ret)
{
    if (strlen(config->node_id) >= NET_NODE_ID_MAX)
        return ERR_INVAL;
    struct orphans *o = calloc(1, sizeof(*o));
    if (!o)
        return ERR_NOMEM;
    o->env = env;
    o->disks = disks;
    o->map = map;
    o->config = *config;
    snprintf(o->node_id, sizeof(o->node_id), "%s", config->node_id);
    struct orphans_config *c = &o->config;
    c->node_id = o->node_id;
    c->orphan_age_ms = c->orphan_age_ms ? c->orphan_age_ms : UINT64_C(24) * 3600000;
    uint64_t rest_ns = MIN(c->orphan_age_ms / 24, UINT64_C(3600000)) * NS_PER_MS;
    c->interval_ns = c->interval_ns ? c->interval_ns : MAX(rest_ns, NS_PER_SEC);
    c->blobs_per_sec = c->blobs_per_sec ? c->blobs_per_sec : 200;
    c->timeout_ns = c->timeout_ns ? c->timeout_ns : 10 * NS_PER_SEC;
    op_init(&o->op, &orphans_type, ORPHANS_RESTING, 0, 0);
    env_timer_init(env, &o->timer, on_timer);
    env_timer_start(&o->timer, MIN(c->interval_ns, NS_PER_SEC));
    *ret = o;
    return OK;
}

void orphans_stop(struct orphans *o)
{
    o->stopped = true;
    env_timer_stop(&o->timer);
    if (o->asking)
        leader_call_cancel(&o->call);
}

bool orphans_idle(const struct orphans *o)
{
    return !o->listing && !o->asking && o->reads_under_way == 0 && !o->timer.active;
}

void orphans_free(struct orphans *o)
{
    if (!o)
        return;
    env_timer_stop(&o->timer);
    orphans_metrics_forget(o);
    free(o);
}

void orphans_stats(const struct orphans *o, struct orphans_stats *ret)
{
    *ret = o->stats;
}
