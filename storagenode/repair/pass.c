/* One pass over one group.
 *
 *   START → DIGESTS → LISTING ⇄ MENDING → (next page, next bucket: LISTING) → ENDING
 *     └──── single blobs (PASS_SPOT) ─────────┘
 *
 * What a page has shown to lack something is mended while the next is listed, unless it is the rate
 * that it waits for: most buckets of a small group show one blob at most.  ENDING waits for what is
 * being mended.
 *
 * A node that does not answer for the digests is taken as away, and so is from then on one that fails
 * later: else a single one could keep a group from ever being repaired.  The pass is made again soon.
 * One that fills ends there: what that node has is not known. */
#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/mutant.h"
#include "proto/methods.h"
#include "storagenode/repair/agent_impl.h"

#include <stdio.h>
#include <stdlib.h>

/* So often all buckets are compared by ids: digests may collide, and what was lost, mended and lost
 * again between two passes looks as it did. */
#define FULL_EVERY 60u

enum { PASS_START, PASS_DIGESTS, PASS_LISTING, PASS_MENDING, PASS_ENDING, PASS_STATES };
static const char *const state_names[PASS_STATES] = {"start", "digests", "listing", "mending",
                                                     "ending"};
static const uint32_t transitions[PASS_STATES] = {
    [PASS_START] = 1u << PASS_DIGESTS | 1u << PASS_MENDING | 1u << PASS_ENDING,
    [PASS_DIGESTS] = 1u << PASS_LISTING | 1u << PASS_ENDING,
    [PASS_LISTING] = 1u << PASS_MENDING | 1u << PASS_ENDING,
    [PASS_MENDING] = 1u << PASS_LISTING | 1u << PASS_ENDING,
};

static enum op_next pass_end(struct pass *p, int err)
{
    p->err = err;
    return op_move(&p->op, PASS_ENDING);
}

static enum op_next pass_make_way(struct pass *p)
{
    p->made_way = true;
    return pass_end(p, ERR_CANCELED);
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
    bool wanted = p->mode == PASS_REPAIR || p->mode == PASS_SPOT ||
                  (mine && (p->mode == PASS_CATCH_UP || (next && !now)));
    if (wanted)
        p->want |= 1u << p->plan.place_count;
    p->plan.place[p->plan.place_count++] = (struct plan_place){
        .node = (uint16_t)node_get(p, id), .shard = (uint8_t)shard, .now = now, .next = next};
}

static int places_make(struct pass *p)
{
    const Cairn__PlacementGroup *pg = map_client_pg(p->agent->map, p->group->pg);
    if (!pg)
        return ERR_NOT_FOUND;
    size_t n = MAX(pg->n_members, pg->n_next_members); /* replicas on too few nodes become more */
    if (pg->data_shards == 0 || pg->data_shards > EC_DATA_MAX || n < pg->data_shards ||
        n - pg->data_shards > EC_PARITY_MAX || n > PLAN_PLACES_MAX / 2 || pg->n_members > n ||
        (pg->n_members != n && pg->data_shards != 1) ||
        (pg->n_next_members != 0 && pg->n_next_members != n))
        return ERR_INVAL;
    p->epoch = pg->epoch;
    p->plan.data = pg->data_shards;
    p->plan.shards = (unsigned)n;
    for (size_t i = 0; i < n; i++) {
        bool grows = i >= pg->n_members;
        bool stays =
            !grows && (!pg->n_next_members || strcmp(pg->members[i], pg->next_members[i]) == 0);
        if (!grows)
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
            if (a->present.len == sizeof(n->present))
                memcpy(n->present, a->present.data, sizeof(n->present));
            else /* it does not say */
                memset(n->present, 0xff, sizeof(n->present));
            n->closed_epoch = a->closed_epoch;
        }
        inventory_fini(n);
    }
    p->all_closed = true;
    for (unsigned i = 0; i < p->plan.place_count; i++) {
        struct plan_place *place = &p->plan.place[i];
        const struct pass_node *n = &p->node[place->node];
        place->live = n->live;
        bool open = n->up && (!n->live || n->closed_epoch < p->epoch);
        if (place->now && open && !MUTANT(RELEASED_UNCLOSED))
            p->all_closed = false;
        /* What it got must not be dropped by an older map, after a restart. */
        if (p->mode == PASS_FILL && (p->want >> i & 1) && n->closed_epoch < p->epoch)
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

/* Nobody has anything there, damaged or young. */
static bool bucket_is_empty(const struct pass *p)
{
    for (unsigned i = 0; i < p->node_count; i++)
        if (p->node[i].live && (p->node[i].present[p->bucket / 8] >> (p->bucket & 7) & 1))
            return false;
    return true;
}

/* From p->bucket on: the first that has to be looked into.  False: none. */
static bool bucket_begin(struct pass *p)
{
    for (; p->bucket < BUCKETS; p->bucket++) {
        bool settled =
            p->mode == PASS_REPAIR && p->group->settled[p->bucket] == bucket_signature(p);
        if (!settled && !bucket_is_empty(p))
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

/* It is away, for the rest of this pass. */
static void node_falls(struct pass *p, unsigned node)
{
    p->node[node].live = false;
    p->node[node].count = 0;
    p->bucket_clean = false;
    p->fallen++;
    for (unsigned i = 0; i < p->plan.place_count; i++)
        if (p->plan.place[i].node == node)
            p->plan.place[i].live = false;
}

static int pages_take(struct pass *p)
{
    int err = OK;
    for (unsigned i = 0; i < p->node_count; i++) {
        struct pass_node *n = &p->node[i];
        if (!n->sent)
            continue;
        int e = page_take(n);
        inventory_fini(n);
        if (e && p->mode != PASS_FILL)
            node_falls(p, i);
        else
            err = err ? err : e;
    }
    return err;
}

/* Nothing is begun of it yet. */
static void item_met(struct pass *p, const struct plan_item *item)
{
    uint64_t old_ms = item->time_ms + p->agent->config.repair_age_ms;
    if (item->verdict == PLAN_YOUNG && (p->young_ms == 0 || old_ms < p->young_ms))
        p->young_ms = old_ms;
    if (item->verdict == PLAN_MEND || item->verdict == PLAN_BEYOND)
        p->pending += (unsigned)__builtin_popcount(item->lack & p->want);
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
    for (size_t i = 0; i < p->item_count; i++)
        item_met(p, &p->items[i]);
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

/* Whose disks are all given up: nothing that it had is ever served again. */
static bool is_given_up(const Cairn__NodeRecord *r)
{
    bool gone = r && r->state == CAIRN__NODE_STATE__NODE_LOST && (r->n_disks > 0 || r->draining);
    for (size_t i = 0; gone && i < r->n_disks; i++)
        gone = r->disks[i]->state == CAIRN__DISK_STATE__DISK_LOST;
    return gone;
}

/* It answers, and yet a disk of it that may come back cannot be asked. */
static bool misses_disk(const Cairn__NodeRecord *r)
{
    for (size_t i = 0; r && i < r->n_disks; i++)
        if (r->disks[i]->state == CAIRN__DISK_STATE__DISK_FAILED)
            return true;
    return false;
}

/* Of what a blob lacks still: see plan_hopeless().  Whatever may go better the next time is not:
 * a source or a target that failed, a partition that did not answer. */
static uint32_t hopeless_places(const struct pass *p, const struct mend *m)
{
    unsigned had = (unsigned)__builtin_popcount(plan_shards_of(&p->plan, m->had));
    uint32_t away = 0;
    if (m->outcome == MEND_BEYOND ? had >= p->plan.data
                                  : m->outcome != MEND_WRONG || p->plan.data == 1)
        return 0;
    for (unsigned i = 0; i < p->plan.place_count; i++) {
        const char *id = p->node[p->plan.place[i].node].id;
        const Cairn__NodeRecord *r = map_client_node(p->agent->map, id);
        if ((m->unknown >> i & 1) ? !is_given_up(r) : misses_disk(r))
            away |= 1u << i;
    }
    return plan_hopeless(&p->plan, m->had, away & ~m->had, m->unwanted);
}

static void outcome_count(struct pass *p, const struct mend *m)
{
    struct repair_stats *st = &p->agent->stats;
    unsigned lacking = (unsigned)__builtin_popcount(m->unwanted);
    st->repaired_shards += (unsigned)__builtin_popcount(m->mended);
    st->repaired_bytes += m->bytes;
    agent_repaired(p->agent, m->bytes);
    switch (m->outcome) {
    case MEND_NOTHING: return;
    case MEND_DELETED: st->deleted_skipped++; return;
    case MEND_UNREFERRED: st->unreferred_skipped++; return;
    case MEND_BEYOND: p->beyond++; break;
    case MEND_WRONG:
    case MEND_FAILED: st->checksum_failures += m->err == ERR_CHECKSUM; break;
    case MEND_MENDED: break;
    }
    if (lacking == 0)
        return;
    st->failures += m->outcome != MEND_MENDED;
    p->failures++;
    if (m->unwanted & ~hopeless_places(p, m))
        p->unfilled++;
    else
        p->hopeless++;
    p->missing += lacking;
    p->missing_bytes += lacking * m->shard_bytes;
    p->endangered += m->item.margin + __builtin_popcount(m->mended) <= 0;
}

/* Which places did not answer?  In a pass over hints they are not waited for again: most of its
 * blobs lack the very shard of a node that hangs.  Returns: one that is wanted did not. */
static bool places_learn(struct pass *p, const struct mend *m)
{
    for (unsigned i = 0; i < p->plan.place_count; i++) {
        struct plan_place *place = &p->plan.place[i];
        if (!place->live || m->group.place[i].live)
            continue;
        p->silent |= 1u << i;
        place->live = !p->hints;
    }
    return (p->silent & p->want) != 0;
}

static void on_mended(struct mend *m)
{
    struct pass *p = m->arg;
    p->mending[m - p->mend] = false;
    p->mends_left--;
    p->pending -= MIN(p->pending, (uint64_t)__builtin_popcount(m->listed & p->want));
    outcome_count(p, m);
    if (p->mode == PASS_SPOT)
        spots_outcome(p->agent, m, places_learn(p, m));
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
    m->listed = item->lack;
    m->want = p->want;
    m->bytes_max = c->blob_bytes_max;
    m->timeout_ns = c->timeout_ns;
    m->seen_ns_max = c->seen_ns_max;
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

/* Starts what may be started.  True: all of the page is under way. */
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
    return p->item_next == p->item_count;
}

/* ---- the steps ---- */

static enum op_next next_page(struct pass *p)
{
    if (p->mode == PASS_SPOT)
        return pass_end(p, OK);
    if (!is_current(p))
        return pass_end(p, ERR_EPOCH);
    if (agent_wants_other(p->agent, p))
        return pass_make_way(p);
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
    if (p->agent->stopped && op->state != PASS_ENDING)
        return pass_end(p, ERR_CANCELED);
    switch (op->state) {
    case PASS_START:
        if (p->mode == PASS_SPOT)
            return op_move(op, PASS_MENDING);
        for (unsigned i = 0; i < p->node_count; i++)
            if (p->node[i].up)
                inventory_send(&p->node[i], true);
        return op_move(op, PASS_DIGESTS);
    case PASS_DIGESTS:
        digests_take(p);
        if (p->mode == PASS_FILL && !p->all_closed)
            return pass_end(p, ERR_NOT_READY); /* what would be listed now is not all */
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
    case PASS_MENDING:
        if (!mends_go_on(p) || (p->mends_left > 0 && agent_is_ahead(p->agent)))
            return OP_WAIT;
        return next_page(p);
    default: return p->mends_left > 0 ? OP_WAIT : OP_DONE;
    }
}

/* So many old members were listed that every blob that was ever acknowledged is at one of them. */
static bool enough_were_listed(const struct pass *p)
{
    unsigned listed = 0, members = 0;
    for (unsigned i = 0; i < p->plan.place_count; i++) {
        members += p->plan.place[i].now;
        listed += p->plan.place[i].now && p->plan.place[i].live;
    }
    return listed >= p->plan.data && listed + p->plan.data >= members;
}

/* Returns: something was left undone. */
static bool pass_conclude(struct pass *p)
{
    struct repair_group *g = p->group;
    bool fallen = p->fallen > 0;
    if (p->err == OK && p->mode == PASS_REPAIR && fallen) /* not all of it is known */
        g->missing = MAX(g->missing, p->missing);
    if (p->err == OK && p->mode == PASS_REPAIR && !fallen) {
        g->missing = p->missing;
        g->endangered = p->endangered;
        g->beyond = p->beyond;
        g->missing_bytes = p->missing_bytes;
    }
    if (p->mode != PASS_FILL)
        return p->failures > 0 || fallen;
    if (p->err == OK && p->unfilled == 0 && p->disks_lost == p->agent->disks_lost && enough_were_listed(p) && is_current(p)) {
        g->filled_epoch = p->epoch;
        p->agent->stats.filled_without += p->hopeless;
        if (p->hopeless && p->agent->config.on_filled_without)
            p->agent->config.on_filled_without(p->agent->config.arg, g->pg, p->hopeless);
    }
    return g->filled_epoch != p->epoch;
}

static void pass_done(struct op *op)
{
    struct pass *p = container_of(op, struct pass, op);
    struct repair_agent *a = p->agent;
    struct pass_result result = {.group = p->group,
                                 .mode = p->mode,
                                 .err = p->err,
                                 .young_ms = p->young_ms,
                                 .made_way = p->made_way};
    a->stats.passes++;
    a->stats.passes_failed +=
        (p->err != OK && p->err != ERR_NOT_READY && !p->made_way) || p->fallen > 0;
    result.left = pass_conclude(p);
    for (unsigned i = 0; i < p->node_count; i++) {
        inventory_fini(&p->node[i]);
        free(p->node[i].entries);
    }
    free(p->node);
    free(p);
    agent_pass_ended(a, &result);
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

/* The blobs come from the agent's list; where they lie is looked at one by one. */
static int items_take(struct pass *p)
{
    struct repair_agent *a = p->agent;
    p->item_count =
        spots_take(a, env_now_ns(a->env), p->items, ITEMS_MAX, &p->group->pg, &p->hints);
    return p->item_count > 0 ? OK : ERR_NOT_FOUND;
}

static int pass_prepare(struct pass *p)
{
    int err = p->mode == PASS_SPOT ? items_take(p) : OK;
    if (!err)
        err = places_make(p);
    for (unsigned i = 0; !err && i < p->plan.place_count; i++)
        p->plan.place[i].live = p->mode == PASS_SPOT && p->node[p->plan.place[i].node].peer;
    for (unsigned i = 0; !err && p->mode != PASS_SPOT && i < p->node_count; i++) {
        p->node[i].entries = calloc(PAGE_ENTRIES_MAX, sizeof(*p->node[i].entries));
        if (!p->node[i].entries)
            err = ERR_NOMEM;
    }
    return err;
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
        p->disks_lost = a->disks_lost;
        err = pass_prepare(p);
    }
    if (err) {
        for (unsigned i = 0; nodes && i < PLAN_PLACES_MAX; i++)
            free(nodes[i].entries);
        free(nodes);
        free(p);
        return err;
    }
    if (mode == PASS_SPOT)
        a->spot_pass = p;
    else
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
