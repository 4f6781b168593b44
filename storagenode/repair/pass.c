/* One pass over one group.
 *
 *   START → DIGESTS → LISTING ⇄ MENDING → (next page, next bucket: LISTING) → end
 *
 * A node that does not answer for the digests is taken as away; one that fails later ends the pass,
 * which is made again in the next round. */
#include "common/base/check.h"
#include "common/base/hash.h"
#include "proto/methods.h"
#include "storagenode/repair/agent_impl.h"

#include <stdio.h>
#include <stdlib.h>

/* So often all buckets are compared by ids: digests may collide, and what was lost, mended and lost
 * again between two passes looks as it did. */
#define FULL_EVERY 60u

enum { PASS_START, PASS_DIGESTS, PASS_LISTING, PASS_MENDING, PASS_STATES };
static const char *const state_names[PASS_STATES] = {"start", "digests", "listing", "mending"};
static const uint32_t transitions[PASS_STATES] = {
    [PASS_START] = 1u << PASS_DIGESTS,
    [PASS_DIGESTS] = 1u << PASS_LISTING,
    [PASS_LISTING] = 1u << PASS_MENDING,
    [PASS_MENDING] = 1u << PASS_LISTING,
};

static enum op_next pass_end(struct pass *p, int err)
{
    p->err = err;
    return OP_DONE;
}

/* ---- who takes part ---- */

static unsigned node_get(struct pass *p, const char *id)
{
    unsigned i = 0;
    while (i < p->node_count && strcmp(p->node[i].id, id) != 0)
        i++;
    if (i < p->node_count)
        return i;
    struct pass_node *n = &p->node[p->node_count++];
    const Cairn__NodeRecord *record = map_client_node(p->agent->map, id);
    snprintf(n->id, sizeof(n->id), "%s", id);
    n->pass = p;
    n->up = record && record->state == CAIRN__NODE_STATE__NODE_UP;
    n->peer = n->up ? map_client_peer(p->agent->map, id) : NULL;
    return i;
}

static void place_add(struct pass *p, const char *id, size_t shard, bool now, bool next)
{
    bool mine = strcmp(id, p->agent->node_id) == 0;
    if (p->mode == PASS_REPAIR || (mine && next && !now))
        p->want |= 1u << p->plan.place_count;
    p->plan.place[p->plan.place_count++] = (struct plan_place){
        .node = (uint16_t)node_get(p, id), .shard = (uint8_t)shard, .now = now, .next = next};
}

static int places_make(struct pass *p)
{
    const Cairn__PlacementGroup *pg = map_client_pg(p->agent->map, p->group->pg);
    if (!pg)
        return ERR_NOT_FOUND;
    size_t n = pg->n_members;
    if (pg->data_shards == 0 || pg->data_shards > EC_DATA_MAX || n < pg->data_shards ||
        n - pg->data_shards > EC_PARITY_MAX || n > PLAN_PLACES_MAX / 2 ||
        (pg->n_next_members != 0 && pg->n_next_members != n))
        return ERR_INVAL;
    p->epoch = pg->epoch;
    p->plan.data = pg->data_shards;
    p->plan.shards = (unsigned)n;
    for (size_t i = 0; i < n; i++) {
        bool stays = !pg->n_next_members || strcmp(pg->members[i], pg->next_members[i]) == 0;
        place_add(p, pg->members[i], i, true, stays);
        if (!stays)
            place_add(p, pg->next_members[i], i, false, true);
    }
    return OK;
}

/* The group is as it was when the pass began. */
static bool is_current(const struct pass *p)
{
    const Cairn__PlacementGroup *pg = map_client_pg(p->agent->map, p->group->pg);
    return pg && pg->epoch == p->epoch;
}

/* ---- calls ---- */

static void on_inventory(struct rpc_call *rpc)
{
    struct pass_node *n = container_of(rpc, struct pass_node, rpc);
    struct pass *p = n->pass;
    n->running = false;
    p->left--;
    op_wake(&p->op);
}

static void inventory_send(struct pass_node *n, bool digests)
{
    struct pass *p = n->pass;
    uint64_t now_ms = env_wall_ms(p->agent->env), age_ms = p->agent->config.repair_age_ms;
    Cairn__InventoryRequest request = CAIRN__INVENTORY_REQUEST__INIT;
    request.pg = p->group->pg;
    request.digests = digests;
    request.first_byte = p->bucket;
    if (!digests && n->has_after)
        request.after = (ProtobufCBinaryData){ID_BYTES, n->after.bytes};
    request.entries_max = PAGE_ENTRIES;
    /* The lists have all of them: of what is young another node may know that it is deleted. */
    if (digests && p->mode == PASS_REPAIR && now_ms > age_ms)
        request.older_than_ms = now_ms - age_ms;
    n->rpc = (struct rpc_call){.method = &method_store_inventory,
                               .request = &request.base,
                               .timeout_ns = p->agent->config.timeout_ns,
                               .cb = on_inventory};
    n->sent = true;
    n->rpc.err = n->peer ? rpc_call_start(n->peer, &n->rpc) : ERR_UNREACHABLE;
    n->rpc.request = NULL;
    n->running = n->rpc.err == OK;
    p->left += n->running;
}

static const Cairn__InventoryResponse *inventory_of(const struct pass_node *n)
{
    return (const Cairn__InventoryResponse *)(const void *)n->rpc.response;
}

static void inventory_fini(struct pass_node *n)
{
    if (n->sent)
        rpc_call_fini(&n->rpc);
    n->sent = false;
}

/* ---- 1. Digests: who is there, and what has changed? ---- */

static void digests_take(struct pass *p)
{
    for (unsigned i = 0; i < p->node_count; i++) {
        struct pass_node *n = &p->node[i];
        const Cairn__InventoryResponse *a = inventory_of(n);
        n->live = n->sent && n->rpc.err == OK && a && a->n_digests == BUCKETS;
        if (n->live) {
            memcpy(n->digest, a->digests, sizeof(n->digest));
            n->closed_epoch = a->closed_epoch;
        }
        inventory_fini(n);
    }
    p->all_closed = true;
    for (unsigned i = 0; i < p->plan.place_count; i++) {
        struct plan_place *place = &p->plan.place[i];
        const struct pass_node *n = &p->node[place->node];
        place->live = n->live;
        if (place->now && n->up && (!n->live || n->closed_epoch < p->epoch))
            p->all_closed = false;
    }
}

/* Of what everybody has in the bucket; never 0. */
static uint64_t bucket_signature(const struct pass *p)
{
    uint64_t h = p->epoch;
    for (unsigned i = 0; i < p->node_count; i++) {
        uint64_t of_node[2] = {p->node[i].live, p->node[i].digest[p->bucket]};
        h = hash64(h, SLICE((const uint8_t *)of_node, sizeof(of_node)));
    }
    return h ? h : 1;
}

/* From p->bucket on: the first that has to be looked into.  False: none. */
static bool bucket_begin(struct pass *p)
{
    for (; p->bucket < BUCKETS; p->bucket++) {
        if (p->mode == PASS_FILL || p->group->settled[p->bucket] != bucket_signature(p))
            break;
        p->agent->stats.buckets_settled++;
    }
    if (p->bucket == BUCKETS)
        return false;
    p->agent->stats.buckets_listed++;
    p->bucket_clean = true;
    for (unsigned i = 0; i < p->node_count; i++)
        p->node[i].has_after = p->node[i].exhausted = false;
    return true;
}

/* ---- 2. Lists ---- */

static void pages_send(struct pass *p)
{
    for (unsigned i = 0; i < p->node_count; i++) {
        struct pass_node *n = &p->node[i];
        n->count = 0;
        n->more = false;
        if (n->live && !n->exhausted)
            inventory_send(n, false);
    }
}

/* Sorted, of this bucket, behind what has been seen. */
static int page_take(struct pass_node *n)
{
    const Cairn__InventoryResponse *a = inventory_of(n);
    if (n->rpc.err != OK)
        return n->rpc.err;
    if (!a || a->n_entries > PAGE_ENTRIES_MAX || (a->more && a->n_entries == 0))
        return ERR_PROTO;
    for (size_t i = 0; i < a->n_entries; i++) {
        const Cairn__InventoryEntry *e = a->entries[i];
        struct plan_entry *to = &n->entries[i];
        if (!id128_from_slice(SLICE(e->blob_id.data, e->blob_id.len), &to->blob_id) ||
            to->blob_id.bytes[0] != n->pass->bucket || e->shard_index >= PLAN_SHARDS_MAX ||
            (n->has_after && memcmp(to->blob_id.bytes, n->after.bytes, ID_BYTES) <= 0) ||
            (i > 0 && memcmp(to->blob_id.bytes, to[-1].blob_id.bytes, ID_BYTES) < 0))
            return ERR_PROTO;
        to->shard = (uint8_t)e->shard_index;
        to->time_ms = e->time_ms;
        to->damaged = e->damaged;
        to->deleted = e->deleted;
    }
    n->count = a->n_entries;
    n->more = a->more;
    return OK;
}

static int pages_take(struct pass *p)
{
    int err = OK;
    for (unsigned i = 0; i < p->node_count; i++) {
        struct pass_node *n = &p->node[i];
        if (!n->sent)
            continue;
        int e = page_take(n);
        err = err ? err : e;
        inventory_fini(n);
    }
    return err;
}

static void pages_merge(struct pass *p)
{
    struct plan_page pages[PLAN_PLACES_MAX];
    size_t done[PLAN_PLACES_MAX];
    unsigned from[PLAN_PLACES_MAX];
    size_t count = 0;
    const struct plan_rules rules = {.now_ms = env_wall_ms(p->agent->env),
                                     .repair_age_ms = p->agent->config.repair_age_ms,
                                     .fill = p->mode == PASS_FILL};
    for (unsigned i = 0; i < p->node_count; i++) {
        const struct pass_node *n = &p->node[i];
        if (!n->live)
            continue;
        from[count] = i;
        pages[count++] = (struct plan_page){(uint16_t)i, n->entries, n->count, n->more};
    }
    p->item_next = 0;
    p->item_count = plan_merge(&p->plan, pages, count, &rules, p->items, ITEMS_MAX, done);
    p->bucket_clean &= p->item_count == 0;
    for (size_t k = 0; k < count; k++) {
        struct pass_node *n = &p->node[from[k]];
        if (done[k] > 0) {
            n->after = n->entries[done[k] - 1].blob_id;
            n->has_after = true;
        }
        n->exhausted |= done[k] == n->count && !n->more;
    }
}

static bool pages_are_over(const struct pass *p)
{
    for (unsigned i = 0; i < p->node_count; i++)
        if (p->node[i].live && !p->node[i].exhausted)
            return false;
    return true;
}

/* ---- 3. Mending ---- */

static void outcome_count(struct pass *p, const struct mend *m)
{
    struct repair_stats *st = &p->agent->stats;
    unsigned lacking = (unsigned)__builtin_popcount(m->unwanted);
    st->repaired_shards += (unsigned)__builtin_popcount(m->mended);
    st->repaired_bytes += m->bytes;
    switch (m->outcome) {
    case MEND_NOTHING: return;
    case MEND_DELETED: st->deleted_skipped++; return;
    case MEND_UNREFERRED: st->unreferred_skipped++; return;
    case MEND_BEYOND: p->beyond++; break;
    case MEND_FAILED: st->checksum_failures += m->err == ERR_CHECKSUM; break;
    case MEND_MENDED: break;
    }
    if (lacking == 0)
        return;
    st->failures += m->outcome != MEND_MENDED;
    p->failures++;
    p->missing += lacking;
    p->endangered += m->item.margin + __builtin_popcount(m->mended) <= 0;
}

static void on_mended(struct mend *m)
{
    struct pass *p = m->arg;
    p->mending[m - p->mend] = false;
    p->mends_left--;
    outcome_count(p, m);
    op_wake(&p->op);
}

static void mend_begin(struct pass *p, struct mend *m, const struct plan_item *item)
{
    const struct repair_config *c = &p->agent->config;
    memset(m, 0, sizeof(*m));
    m->env = p->agent->env;
    m->map = p->agent->map;
    m->group = p->plan;
    m->pg = p->group->pg;
    m->pg_epoch = p->epoch;
    m->item = *item;
    m->want = p->want;
    m->bytes_max = c->blob_bytes_max;
    m->orphan_age_ms = c->orphan_age_ms;
    m->timeout_ns = c->timeout_ns;
    m->pace = agent_pace;
    m->pace_arg = p->agent;
    m->cb = on_mended;
    m->arg = p;
    for (unsigned i = 0; i < p->plan.place_count; i++)
        m->peer[i] = p->node[p->plan.place[i].node].peer;
    p->mending[m - p->mend] = true;
    p->mends_left++;
    mend_start(m);
}

/* Starts what may be started.  True: all of them have ended. */
static bool mends_go_on(struct pass *p)
{
    struct repair_stats *st = &p->agent->stats;
    for (unsigned k = 0; k < p->agent->config.parallel; k++) {
        while (!p->mending[k] && p->item_next < p->item_count) {
            const struct plan_item *item = &p->items[p->item_next++];
            st->young_skipped += item->verdict == PLAN_YOUNG;
            st->deleted_skipped += item->verdict == PLAN_DELETED;
            if ((item->verdict == PLAN_MEND || item->verdict == PLAN_BEYOND) &&
                (item->lack & p->want))
                mend_begin(p, &p->mend[k], item);
        }
    }
    return p->mends_left == 0 && p->item_next == p->item_count;
}

/* ---- the steps ---- */

static enum op_next next_page(struct pass *p)
{
    if (!is_current(p))
        return pass_end(p, ERR_EPOCH);
    if (pages_are_over(p)) {
        if (p->mode == PASS_REPAIR)
            p->group->settled[p->bucket] = p->bucket_clean ? bucket_signature(p) : 0;
        p->bucket++;
        if (!bucket_begin(p))
            return pass_end(p, OK);
    }
    pages_send(p);
    return op_move(&p->op, PASS_LISTING);
}

static enum op_next pass_step(struct op *op)
{
    struct pass *p = container_of(op, struct pass, op);
    int err;
    if (p->left > 0 || p->timer.active)
        return OP_WAIT;
    if (p->agent->stopped)
        return p->mends_left > 0 ? OP_WAIT : pass_end(p, ERR_CANCELED);
    switch (op->state) {
    case PASS_START:
        for (unsigned i = 0; i < p->node_count; i++)
            if (p->node[i].up)
                inventory_send(&p->node[i], true);
        return op_move(op, PASS_DIGESTS);
    case PASS_DIGESTS:
        digests_take(p);
        if (!bucket_begin(p))
            return pass_end(p, OK);
        pages_send(p);
        return op_move(op, PASS_LISTING);
    case PASS_LISTING:
        err = pages_take(p);
        if (err)
            return pass_end(p, err);
        pages_merge(p);
        return op_move(op, PASS_MENDING);
    default: return mends_go_on(p) ? next_page(p) : OP_WAIT;
    }
}

/* So many old members were listed that every blob that was ever acknowledged is at one of them. */
static bool enough_were_listed(const struct pass *p)
{
    unsigned listed = 0;
    for (unsigned i = 0; i < p->plan.place_count; i++)
        listed += p->plan.place[i].now && p->plan.place[i].live;
    return listed >= MAX(p->plan.data, p->plan.shards - p->plan.data);
}

static void pass_done(struct op *op)
{
    struct pass *p = container_of(op, struct pass, op);
    struct repair_agent *a = p->agent;
    struct repair_group *g = p->group;
    a->stats.passes++;
    a->stats.passes_failed += p->err != OK;
    if (p->err == OK && p->mode == PASS_REPAIR) {
        g->missing = p->missing;
        g->endangered = p->endangered;
        g->beyond = p->beyond;
    }
    if (p->err == OK && p->mode == PASS_FILL && p->all_closed && p->failures == 0 &&
        enough_were_listed(p) && is_current(p))
        g->filled_epoch = p->epoch;
    for (unsigned i = 0; i < p->node_count; i++) {
        inventory_fini(&p->node[i]);
        free(p->node[i].entries);
    }
    free(p->node);
    free(p);
    agent_pass_ended(a);
}

static const struct op_type pass_type = {.name = "repair",
                                         .state_names = state_names,
                                         .transitions = transitions,
                                         .state_count = PASS_STATES,
                                         .step = pass_step,
                                         .done = pass_done};

static void on_timer(struct env_timer *timer)
{
    op_wake(&container_of(timer, struct pass, timer)->op);
}

int pass_start(struct repair_agent *a, struct repair_group *g, enum pass_mode mode)
{
    struct pass *p = calloc(1, sizeof(*p));
    struct pass_node *nodes = calloc(PLAN_PLACES_MAX, sizeof(*nodes));
    int err = p && nodes ? OK : ERR_NOMEM;
    if (!err) {
        p->agent = a;
        p->group = g;
        p->mode = mode;
        p->node = nodes;
        err = places_make(p);
    }
    for (unsigned i = 0; !err && i < p->node_count; i++) {
        nodes[i].entries = calloc(PAGE_ENTRIES_MAX, sizeof(*nodes[i].entries));
        if (!nodes[i].entries)
            err = ERR_NOMEM;
    }
    if (err) {
        for (unsigned i = 0; nodes && i < PLAN_PLACES_MAX; i++)
            free(nodes[i].entries);
        free(nodes);
        free(p);
        return err;
    }
    a->pass = p;
    if (mode == PASS_REPAIR && g->passes++ % FULL_EVERY == 0)
        memset(g->settled, 0, sizeof(g->settled));
    op_init(&p->op, &pass_type, PASS_START, 0, 0);
    env_timer_init(a->env, &p->timer, on_timer);
    env_timer_start(&p->timer, 0);
    return OK;
}

void pass_cancel(struct pass *p)
{
    for (unsigned i = 0; i < p->node_count; i++)
        if (p->node[i].running)
            rpc_call_cancel(&p->node[i].rpc);
    for (unsigned k = 0; k < REPAIR_PARALLEL_MAX; k++)
        if (p->mending[k])
            mend_cancel(&p->mend[k]);
}
