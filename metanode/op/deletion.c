/* The leader's consumer of a partition's deletion queue.
 *
 *   IDLE ──pause over, items past their grace──→ DELETING at every member of their PGs
 *     ↑                                             │ all have answered
 *     └───── DeletionDone, ExpandDeletion ←─────────┘
 *
 * An item is done when every member, and while members change every one to come, has durably
 * acknowledged all its blobs; only a node that is lost with all its disks is not waited for: it is
 * not heard again before they are emptied (placement_given_up()).  The others stay queued and come
 * up again, so that a member that was away loses its shards when it is back.  A round that meets
 * such items goes on behind them, so that one dead node does not hold up everything. */
#include "metanode/op/internal.h"

#include "proto/storage.pb-c.h"

#include <stdlib.h>

#define ITEMS_MAX 128
/* Of a round, or one item.  A storage node takes 1024 in a request, and refuses more. */
#define BLOBS_MAX 512
_Static_assert(BLOBS_MAX <= INDEX_SEGMENTS_MAX && INDEX_SEGMENTS_MAX <= 1024, "one request");
#define MEMBERS_MAX 64 /* storage nodes that one round talks to */
#define CALL_TIMEOUT_MS 10000

struct member {
    struct rpc_call call;
    struct deletion *deletion;
    const char *node_id; /* of the map that the round began with: copied */
    struct rpc_peer *peer;
    ProtobufCBinaryData *ids;
    size_t count;
    bool acked, under_way;
};

struct deletion {
    struct replica *replica;
    uint64_t after; /* the round looks behind this item */
    bool proposing;
    bool stopped;
    unsigned under_way;
    struct index_deletions found;
    uint64_t map_version; /* by which members are asked */
    bool running;
    size_t member_count;
    struct member members[MEMBERS_MAX];
    uint64_t pg_members[]; /* per blob: a mask of members; all ones: cannot be told */
};

#define MASK_UNKNOWN UINT64_MAX

static void round_end(struct deletion *d)
{
    for (size_t i = 0; i < d->member_count; i++) {
        free(d->members[i].ids);
        free((char *)(uintptr_t)d->members[i].node_id);
        rpc_call_fini(&d->members[i].call);
    }
    memset(d->members, 0, sizeof(d->members));
    d->member_count = 0;
    d->running = false;
    index_deletions_fini(&d->found);
}

static void proposed(struct replica *r, int err, const Cairn__Outcome *outcome, void *arg)
{
    (void)err;
    (void)outcome;
    (void)arg;
    if (r->deletion)
        r->deletion->proposing = false;
    r->deletion_due_ns = 0; /* more at the next tick */
}

static void propose_items(struct deletion *d, uint64_t *items, size_t count, bool expand)
{
    Cairn__Command command = CAIRN__COMMAND__INIT;
    Cairn__DeletionDone done = CAIRN__DELETION_DONE__INIT;
    Cairn__ExpandDeletion expansion = CAIRN__EXPAND_DELETION__INIT;
    if (count == 0 || d->proposing)
        return;
    if (expand) {
        expansion.n_items = count;
        expansion.items = items;
        command.op_case = CAIRN__COMMAND__OP_EXPAND_DELETION;
        command.expand_deletion = &expansion;
    } else {
        done.n_items = count;
        done.items = items;
        command.op_case = CAIRN__COMMAND__OP_DELETION_DONE;
        command.deletion_done = &done;
    }
    d->proposing = propose_own(d->replica, &command, proposed, NULL) == OK;
}

/* It is lost for ever: nothing that it had is ever served again. */
static bool is_gone(const Cairn__ClusterMap *map, const char *node_id)
{
    const Cairn__NodeRecord *r = NULL;
    for (size_t i = 0; i < map->n_nodes && !r; i++)
        if (strcmp(map->nodes[i]->node_id, node_id) == 0)
            r = map->nodes[i];
    /* One whose disks were never told of is given up by its operator, who drains it. */
    bool gone = r && r->state == CAIRN__NODE_STATE__NODE_LOST && (r->n_disks > 0 || r->draining);
    for (size_t i = 0; gone && i < r->n_disks; i++)
        gone = r->disks[i]->state == CAIRN__DISK_STATE__DISK_LOST;
    return gone;
}

static const Cairn__PlacementGroup *pg_find(const Cairn__ClusterMap *map, uint32_t id)
{
    for (size_t i = 0; i < map->n_pgs; i++)
        if (map->pgs[i]->id == id)
            return map->pgs[i];
    return NULL;
}

static bool have_acked(const struct deletion *d, const Cairn__ClusterMap *map, uint64_t mask,
                       char *const *ids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t m = 0;
        while (m < d->member_count && strcmp(d->members[m].node_id, ids[i]) != 0)
            m++;
        bool acked = m < d->member_count && (mask & 1ull << m) && d->members[m].acked;
        if (!acked && !is_gone(map, ids[i]))
            return false;
    }
    return true;
}

/* Every member of the blob's PG has acknowledged: as it was when the round began, and as it is now;
 * who came meanwhile may have been given a copy before the others heard of the deletion. */
static bool blob_is_gone(const struct deletion *d, const Cairn__ClusterMap *now, size_t blob)
{
    uint64_t mask = d->pg_members[blob];
    if (mask == MASK_UNKNOWN || !now)
        return false;
    const Cairn__PlacementGroup *pg =
        now->version != d->map_version ? pg_find(now, d->found.blobs[blob].pg) : NULL;
    if (pg && !MUTANT(DELETION_FIRST_ACK) &&
        (!have_acked(d, now, mask, pg->members, pg->n_members) ||
         !have_acked(d, now, mask, pg->next_members, pg->n_next_members)))
        return false;
    for (size_t i = 0; MUTANT(DELETION_FIRST_ACK) && i < d->member_count; i++)
        if ((mask & (1ull << i)) && d->members[i].acked)
            return true;
    for (size_t i = 0; i < d->member_count; i++)
        if ((mask & (1ull << i)) && !d->members[i].acked)
            return false;
    return true;
}

static void all_answered(struct deletion *d)
{
    struct index_deletions *f = &d->found;
    d->replica->node->map_ns = 0; /* the newest that there is here */
    const Cairn__ClusterMap *map = d->stopped ? NULL : status_map(d->replica->node);
    uint64_t *done = calloc(f->item_count ? f->item_count : 1, sizeof(*done));
    size_t count = 0, blob = 0;
    for (size_t i = 0; done && i < f->item_count; i++) {
        bool gone = true;
        for (; blob < f->blob_count && f->blobs[blob].item == f->items[i]; blob++) {
            bool blob_gone = blob_is_gone(d, map, blob);
            gone &= blob_gone;
            d->replica->node->stats.blobs_deleted += blob_gone;
        }
        if (gone)
            done[count++] = f->items[i];
    }
    if (done && !d->stopped)
        propose_items(d, done, count, false);
    free(done);
    d->after = f->more ? f->last_item : 0;
    d->replica->node->stats.deletion_rounds++;
    round_end(d);
    replica_wake(d->replica);
}

static void answered(struct rpc_call *call)
{
    struct member *m = container_of(call, struct member, call);
    struct deletion *d = m->deletion;
    m->acked = call->err == OK;
    m->under_way = false;
    d->under_way--;
    if (d->under_way == 0)
        all_answered(d);
}

/* ---- a round ---- */

static int member_of(struct deletion *d, const char *node_id)
{
    struct meta_node *n = d->replica->node;
    for (size_t i = 0; i < d->member_count; i++)
        if (strcmp(d->members[i].node_id, node_id) == 0)
            return (int)i;
    const struct cluster_node *node = topology_node(n, node_id);
    if (d->member_count == MEMBERS_MAX || !node)
        return -1;
    struct member *m = &d->members[d->member_count];
    m->deletion = d;
    m->node_id = strdup(node_id);
    m->peer = rpc_peer_get(n->rpc, node->addr, node->id);
    m->ids = calloc(d->found.blob_count, sizeof(m->ids[0]));
    if (m->node_id && m->peer && m->ids)
        return (int)d->member_count++;
    free((char *)(uintptr_t)m->node_id);
    free(m->ids);
    *m = (struct member){0};
    return -1;
}

/* Adds the bits of these members.  False: one cannot be told. */
static bool add_members(struct deletion *d, const Cairn__ClusterMap *map, char *const *ids,
                        size_t count, uint64_t *mask)
{
    for (size_t i = 0; i < count; i++) {
        if (is_gone(map, ids[i]))
            continue;
        int m = member_of(d, ids[i]);
        if (m < 0)
            return false;
        *mask |= 1ull << m;
    }
    return true;
}

static void place_blob(struct deletion *d, const Cairn__ClusterMap *map, size_t blob)
{
    const Cairn__PlacementGroup *pg = pg_find(map, d->found.blobs[blob].pg);
    d->pg_members[blob] = MASK_UNKNOWN;
    if (!pg)
        return;
    uint64_t mask = 0;
    if (!add_members(d, map, pg->members, pg->n_members, &mask) ||
        !add_members(d, map, pg->next_members, pg->n_next_members, &mask))
        return;
    for (size_t i = 0; i < d->member_count; i++)
        if (mask & (1ull << i))
            d->members[i].ids[d->members[i].count++] =
                (ProtobufCBinaryData){ID_BYTES, d->found.blobs[blob].blob_id.bytes};
    d->pg_members[blob] = mask;
}

static void start_calls(struct deletion *d)
{
    d->under_way = 1; /* ours, until all have been started */
    for (size_t i = 0; i < d->member_count; i++) {
        struct member *m = &d->members[i];
        Cairn__DeleteShardsRequest req = CAIRN__DELETE_SHARDS_REQUEST__INIT;
        if (m->count == 0)
            continue;
        req.n_blob_ids = m->count;
        req.blob_ids = m->ids;
        m->call = (struct rpc_call){.method = &method_store_delete,
                                    .request = &req.base,
                                    .timeout_ns = CALL_TIMEOUT_MS * NS_PER_MS,
                                    .cb = answered};
        if (rpc_call_start(m->peer, &m->call) == OK) {
            m->under_way = true;
            d->under_way++;
        }
    }
    d->under_way--;
    if (d->under_way == 0)
        all_answered(d);
}

static void round_start(struct replica *r, const Cairn__ClusterMap *map)
{
    struct meta_node *n = r->node;
    struct deletion *d = r->deletion;
    struct index_view view;
    uint64_t wall = env_wall_ms(n->env), grace = n->config.timeouts.deletion_grace;
    index_view_init(&view, r->index, NULL);
    int err = index_deletions_next(&view, d->after, wall > grace ? wall - grace : 0, ITEMS_MAX,
                                   BLOBS_MAX, &d->found);
    if (err != OK) {
        log_warn("deletion.read", 0, L_UINT("partition", r->partition), L_ERR(err));
        return;
    }
    d->running = true;
    d->map_version = map->version;
    if (d->found.expand_count > 0) {
        /* Parts first become items of blobs; the rest waits for the next round. */
        propose_items(d, d->found.expand, d->found.expand_count, true);
        round_end(d);
        return;
    }
    CHECK(d->found.blob_count <= INDEX_SEGMENTS_MAX);
    for (size_t i = 0; i < d->found.blob_count; i++)
        place_blob(d, map, i);
    start_calls(d);
}

void deletion_tick(struct replica *r)
{
    struct meta_node *n = r->node;
    uint64_t now = env_now_ns(n->env);
    if (!r->leading || n->draining || r->installing || now < r->deletion_due_ns ||
        visible_serving(&r->visible) == 0 || index_applied(r->index) < r->visible.noop)
        return;
    r->deletion_due_ns = now + ms_to_ns(n->config.timeouts.deletion_pause);
    bool prunable = index_outcome_count(r->index) > 0 || index_condemned_count(r->index) > 0;
    if (prunable && now >= r->prune_due_ns) {
        Cairn__Command prune = CAIRN__COMMAND__INIT;
        Cairn__PruneOutcomes op = CAIRN__PRUNE_OUTCOMES__INIT;
        prune.op_case = CAIRN__COMMAND__OP_PRUNE_OUTCOMES;
        prune.prune_outcomes = &op;
        r->prune_due_ns = now + ms_to_ns(n->config.timeouts.prune);
        (void)propose_own(r, &prune, NULL, NULL);
    }
    const Cairn__ClusterMap *map = index_deletion_count(r->index) > 0 ? status_map(n) : NULL;
    if (!map)
        return;
    if (!r->deletion) {
        r->deletion = calloc(1, sizeof(*r->deletion) + INDEX_SEGMENTS_MAX * sizeof(uint64_t));
        if (!r->deletion)
            return;
        r->deletion->replica = r;
    }
    if (!r->deletion->running && !r->deletion->proposing) {
        r->deletion->stopped = false;
        round_start(r, map);
    }
}

void deletion_stop(struct replica *r)
{
    struct deletion *d = r->deletion;
    if (!d || !d->running)
        return;
    d->stopped = true;
    for (size_t i = 0; i < d->member_count; i++)
        if (d->members[i].under_way)
            rpc_call_cancel(&d->members[i].call);
}

void deletion_free(struct replica *r)
{
    if (!r->deletion)
        return;
    if (r->deletion->running)
        round_end(r->deletion);
    free(r->deletion);
    r->deletion = NULL;
}
