/* A round of questions about segments: see verify_ask.h.
 *
 *   questions ─► all is full: callback
 *       ▲   └──► the map as of now ─┬─► the groups of all the others are as they were: callback
 *       └── of those that are not ◄─┘
 *
 * While a group changes, shard i counts if its old or its new holder has it.  A node that reads may
 * answer with less than it was asked; it is asked for the rest.
 *
 * Former members have thrown away what they had.  So what is not full was looked for in the right
 * places only if its group had the same members before and after the question, which its epoch
 * tells: else it is asked about again.  What does not come to rest is not known.
 *
 * A node that takes questions and answers none (a stopped process, a cut cable) costs the first one
 * that it is asked the whole timeout, and those that follow LATE_NS each. */
#include "gateway/operator/verify_ask.h"

#include "common/base/arena.h"
#include "common/base/check.h"
#include "proto/methods.h"

#include <stdlib.h>

/* What one node is asked in one call: at most a shard as a member and one as a next member. */
#define REFS_MAX (2 * VERIFY_ITEMS_MAX)
#define ROUNDS_MAX 4
#define LATE_NS (1000 * NS_PER_MS)

struct verify_batch {
    const Cairn__NodeRecord *node;
    struct rpc_peer *peer;
    size_t count, done; /* done: answered, or given up */
    struct {
        uint16_t item, shard;
    } refs[REFS_MAX];
    ProtobufCBinaryData ids[REFS_MAX];
    uint32_t indexes[REFS_MAX];
    Cairn__CheckShardsRequest check;
};

static void ask_batches(struct verify_ask *v);
static void round_start(struct verify_ask *v);

size_t verify_ask_max(const struct verify_ask *v)
{
    return v->deep ? 16 : VERIFY_ITEMS_MAX; /* reading takes its time */
}

static void batches_free(struct verify_ask *v)
{
    for (size_t i = 0; i < v->batch_count; i++)
        free(v->batches[i]);
    free(v->batches);
    free(v->questions);
    v->batches = NULL;
    v->questions = NULL;
    v->batch_count = v->batch_cap = 0;
}

/* ---- building ---- */

static const Cairn__NodeRecord *map_node(const Cairn__ClusterMap *map, const char *node_id)
{
    for (size_t i = 0; i < map->n_nodes; i++)
        if (strcmp(map->nodes[i]->node_id, node_id) == 0)
            return map->nodes[i];
    return NULL;
}

static const Cairn__PlacementGroup *map_pg(const Cairn__ClusterMap *map, uint32_t id)
{
    for (size_t i = 0; map && i < map->n_pgs; i++)
        if (map->pgs[i]->id == id)
            return map->pgs[i];
    return NULL;
}

static struct verify_batch *batch_for(struct verify_ask *v, const Cairn__NodeRecord *node)
{
    for (size_t i = 0; i < v->batch_count; i++)
        if (v->batches[i]->node == node)
            return v->batches[i];
    if (v->batch_count == v->batch_cap) {
        size_t cap = v->batch_cap ? 2 * v->batch_cap : 16;
        struct verify_batch **p = realloc(v->batches, cap * sizeof(struct verify_batch *));
        if (!p)
            return NULL;
        v->batches = p;
        v->batch_cap = cap;
    }
    struct verify_batch *b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    b->node = node;
    b->peer = rpc_peer_get(meta_client_rpc(v->mc), node->addr, node->node_id);
    v->batches[v->batch_count++] = b;
    return b;
}

static int ask_member(struct verify_ask *v, const Cairn__ClusterMap *map, size_t item, size_t shard,
                      const char *node_id)
{
    const Cairn__NodeRecord *node = map_node(map, node_id);
    if (!node)
        return OK; /* it left the cluster, and its shard with it */
    struct verify_batch *b = batch_for(v, node);
    if (!b)
        return ERR_NOMEM;
    CHECK(b->count < REFS_MAX);
    b->refs[b->count].item = (uint16_t)item;
    b->refs[b->count].shard = (uint16_t)shard;
    b->ids[b->count] = v->items[item].segment->blob_id;
    b->indexes[b->count] = (uint32_t)shard;
    b->count++;
    return OK;
}

/* The group as this map has it.  NULL: no memory. */
static const struct verify_group *group_for(struct verify_ask *v, uint32_t id,
                                            const Cairn__PlacementGroup *pg)
{
    uint64_t epoch = pg ? pg->epoch : 0;
    for (struct verify_group *g = v->groups; g; g = g->next)
        if (g->pg == id && g->epoch == epoch)
            return g;
    size_t shards = pg ? MAX(pg->n_members, pg->n_next_members) : 0; /* replicas become more */
    if (shards > REDUNDANCY_SHARDS_MAX)
        shards = 0;
    struct verify_group *g = arena_zalloc(v->arena, sizeof(*g) + shards * sizeof(g->node[0]));
    if (!g)
        return NULL;
    for (size_t s = 0; s < shards; s++) {
        const char *holder = s < pg->n_members ? pg->members[s] : pg->next_members[s];
        struct slice copy = arena_copy(v->arena, slice_cstr(holder));
        g->node[s] = copy.ptr ? (const char *)copy.ptr : "";
    }
    g->pg = id;
    g->epoch = epoch;
    g->shards = (unsigned)shards;
    if (shards)
        g->data = pg->scheme == CAIRN__SCHEME__SCHEME_REP3 ? 1 : pg->data_shards;
    g->parity = g->shards - MIN(g->shards, g->data);
    g->next = v->groups;
    v->groups = g;
    return g;
}

static int ask_item(struct verify_ask *v, const Cairn__ClusterMap *map, size_t i)
{
    struct verify_item *item = &v->items[i];
    const Cairn__PlacementGroup *pg = map_pg(map, item->segment->pg);
    item->group = group_for(v, item->segment->pg, pg);
    if (!item->group)
        return ERR_NOMEM;
    for (unsigned s = 0; s < item->group->shards; s++) {
        const char *holder = s < pg->n_members ? pg->members[s] : pg->next_members[s];
        item->found[s] = SHARD_NOT_FOUND;
        int err = ask_member(v, map, i, s, holder);
        bool moves = s < pg->n_next_members && strcmp(holder, pg->next_members[s]) != 0;
        if (!err && moves)
            err = ask_member(v, map, i, s, pg->next_members[s]);
        if (err)
            return err;
    }
    return OK;
}

static bool is_late(const struct verify_ask *v, const struct rpc_peer *peer)
{
    for (size_t i = 0; i < v->late_count; i++)
        if (v->late[i] == peer)
            return true;
    return false;
}

static void question_of(const struct verify_ask *v, struct verify_batch *b, struct blob_question *q)
{
    cairn__check_shards_request__init(&b->check);
    b->check.blob_ids = b->ids + b->done;
    b->check.n_blob_ids = b->count - b->done;
    b->check.shard_indexes = b->indexes + b->done;
    b->check.n_shard_indexes = b->count - b->done;
    b->check.deep = v->deep;
    *q = (struct blob_question){
        .peer = b->peer,
        .method = &method_store_check,
        .request = &b->check.base,
        .timeout_ns = is_late(v, b->peer) ? MIN(v->timeout_ns, (uint64_t)LATE_NS) : 0,
    };
}

/* ---- were the right nodes asked? ---- */

static void finish(struct verify_ask *v, int err)
{
    batches_free(v);
    v->err = err;
    v->cb(v);
}

/* Marks what is to be asked about again: what is not full, and whose group is another one by now.
 * Returns: whether there is any. */
static bool mark_moved(struct verify_ask *v)
{
    const Cairn__ClusterMap *map = meta_client_map(v->mc);
    bool any = false;
    for (size_t i = 0; i < v->count; i++) {
        struct verify_item *item = &v->items[i];
        const Cairn__PlacementGroup *pg = map_pg(map, item->segment->pg);
        item->wanted = item->is != REDUNDANCY_FULL && (pg ? pg->epoch : 0) != item->group->epoch;
        any |= item->wanted;
    }
    return any;
}

static void map_read_cb(struct meta_map_read *read)
{
    struct verify_ask *v = container_of(read, struct verify_ask, map_read);
    bool moved = read->err == OK && mark_moved(v);
    for (size_t i = 0; moved && v->rounds == ROUNDS_MAX && i < v->count; i++)
        if (v->items[i].wanted)
            v->items[i].is = REDUNDANCY_UNKNOWN;
    if (moved && v->rounds < ROUNDS_MAX)
        round_start(v);
    else
        finish(v, read->err);
}

static void round_end(struct verify_ask *v)
{
    bool full = true;
    batches_free(v);
    for (size_t i = 0; i < v->count; i++) {
        struct verify_item *item = &v->items[i];
        if (item->wanted)
            item->is = redundancy_of(item->found, item->group->shards, item->group->data);
        full &= item->is == REDUNDANCY_FULL;
    }
    if (full) {
        finish(v, OK);
        return;
    }
    v->map_read = (struct meta_map_read){
        .deadline_ns = env_now_ns(meta_client_env(v->mc)) + v->timeout_ns,
        .cb = map_read_cb,
    };
    meta_map_read_start(v->mc, &v->map_read);
}

/* ---- answers ---- */

static enum shard_found found_by_check(Cairn__ShardState state)
{
    switch (state) {
    case CAIRN__SHARD_STATE__SHARD_PRESENT: return SHARD_FOUND;
    case CAIRN__SHARD_STATE__SHARD_DAMAGED: return SHARD_FOUND_DAMAGED;
    case CAIRN__SHARD_STATE__SHARD_UNREADABLE: return SHARD_NOT_ANSWERED;
    default: return SHARD_NOT_FOUND;
    }
}

/* Of two holders the better one counts. */
static enum shard_found better(enum shard_found a, enum shard_found b)
{
    static const int rank[] = {[SHARD_NOT_FOUND] = 0,
                               [SHARD_FOUND_DAMAGED] = 1,
                               [SHARD_NOT_ANSWERED] = 2,
                               [SHARD_FOUND] = 3};
    return rank[a] >= rank[b] ? a : b;
}

static void take_answer(struct verify_ask *v, const struct blob_question *q, struct verify_batch *b)
{
    const Cairn__CheckShardsResponse *m =
        (const Cairn__CheckShardsResponse *)(const void *)q->response;
    size_t left = b->count - b->done, states = q->err == OK ? m->n_states : 0;
    bool told = states > 0 && states <= left;
    if (q->err == ERR_TIMEOUT && !is_late(v, b->peer) && v->late_count < VERIFY_LATE_MAX)
        v->late[v->late_count++] = b->peer;
    for (size_t i = 0; i < (told ? states : left); i++) {
        size_t k = b->done + i;
        enum shard_found *f = &v->items[b->refs[k].item].found[b->refs[k].shard];
        *f = better(*f, told ? found_by_check(m->states[i]) : SHARD_NOT_ANSWERED);
    }
    b->done += told ? states : left;
}

static void asked_cb(struct blob_ask *ask)
{
    struct verify_ask *v = container_of(ask, struct verify_ask, ask);
    size_t question = 0;
    bool more = false;
    for (size_t k = 0; k < v->batch_count; k++) {
        struct verify_batch *b = v->batches[k];
        if (b->done < b->count) /* as in ask_batches() */
            take_answer(v, &ask->questions[question++], b);
        more |= b->done < b->count;
    }
    blob_ask_fini(ask);
    if (more) {
        ask_batches(v);
        return;
    }
    round_end(v);
}

/* All that are not done. */
static void ask_batches(struct verify_ask *v)
{
    size_t count = 0;
    for (size_t k = 0; k < v->batch_count; k++)
        if (v->batches[k]->done < v->batches[k]->count)
            question_of(v, v->batches[k], &v->questions[count++]);
    v->ask = (struct blob_ask){
        .questions = v->questions,
        .count = count,
        .timeout_ns = v->timeout_ns,
        .since_ns = v->since_ns,
        .cb = asked_cb,
    };
    blob_ask_start(v->bc, &v->ask);
}

static void nomem_cb(struct env_timer *timer)
{
    finish(container_of(timer, struct verify_ask, timer), ERR_NOMEM);
}

/* All that are wanted, by the map as it is. */
static void round_start(struct verify_ask *v)
{
    const Cairn__ClusterMap *map = meta_client_map(v->mc);
    int err = OK;
    v->rounds++;
    for (size_t i = 0; !err && i < v->count; i++)
        if (v->items[i].wanted)
            err = ask_item(v, map, i);
    if (!err && !(v->questions = calloc(v->batch_count + 1, sizeof(*v->questions))))
        err = ERR_NOMEM;
    if (err) {
        env_timer_init(meta_client_env(v->mc), &v->timer, nomem_cb);
        env_timer_start(&v->timer, 0);
        return;
    }
    ask_batches(v);
}

void verify_ask_start(struct blob_client *bc, struct meta_client *mc, struct verify_ask *v)
{
    CHECK(v->count <= verify_ask_max(v));
    v->bc = bc;
    v->mc = mc;
    v->rounds = 0;
    for (size_t i = 0; i < v->count; i++)
        v->items[i].wanted = true;
    round_start(v);
}
