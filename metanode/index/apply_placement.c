/* The root's commands about storage nodes and placement groups, proposed by the root's leader
 * (docs/decisions/0014-placement.md).
 *
 *   group: members, epoch e ──BeginPgChange(e)──▶ members + next_members, e+1
 *                                  FinishPgChange(e+1)──▶ members := next_members, e+2
 *
 * Refusals: ERR_NOT_FOUND (no such group; a node that is not known, or no storage node),
 * ERR_CONFLICT (the group's epoch is another than the proposer saw; not ERR_EPOCH, which speaks of
 * the partition), ERR_EXISTS (the id is in use; a change is under way), ERR_REFUSED (it would break
 * a rule whatever the epoch: a node's fixed fields, fewer members or more than the scheme has
 * shards, nothing changed, no change to finish). A repeated command meets the epoch or the id that
 * its first copy left, so none needs a write id. */
#include "metanode/index/state.h"

/* ---- nodes ---- */

static bool same_text(const char *x, const char *y)
{
    return slice_eq(string_of(x), string_of(y));
}

static int node_get(struct apply *a, const char *node_id, Cairn__NodeRecord **ret)
{
    ProtobufCMessage *message;
    int err =
        root_get(a, TABLE_NODE, string_of(node_id), &cairn__node_record__descriptor, &message);
    *ret = err ? NULL : (Cairn__NodeRecord *)(void *)message;
    return err;
}

int apply_put_node(struct apply *a, const Cairn__PutNode *op)
{
    const Cairn__NodeRecord *node = op->node;
    Cairn__NodeRecord *old;
    int err = node_get(a, node->node_id, &old);
    if (err)
        return err;
    a->out.existed = old != NULL;
    if (!old && node->role != INDEX_ROLE_STORAGENODE)
        return apply_decide(a, ERR_NOT_FOUND);
    if (old && (old->role != node->role || !same_text(old->zone, node->zone) ||
                !same_text(old->addr, node->addr) || !same_text(old->admin_addr, node->admin_addr)))
        return apply_decide(a, ERR_REFUSED);
    return root_put(a, TABLE_NODE, string_of(node->node_id), &node->base);
}

/* ---- groups ---- */

static int storage_nodes_only(struct apply *a, char *const *members, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        Cairn__NodeRecord *node;
        index_arena_reset(a->arena);
        int err = node_get(a, members[i], &node);
        if (err)
            return err;
        if (!node || node->role != INDEX_ROLE_STORAGENODE)
            return apply_decide(a, ERR_NOT_FOUND);
    }
    return OK;
}

/* ERR_NOT_FOUND is decided unless each is a known storage node.  Their records are decoded one at a
 * time: thousands of groups name thousands of nodes with hundreds of disks. */
static int members_check(struct apply *a, char *const *members, size_t count)
{
    struct index_arena records, *whole = a->arena;
    index_arena_init(&records);
    a->arena = &records;
    int err = storage_nodes_only(a, members, count);
    a->arena = whole;
    index_arena_fini(&records);
    return err;
}

static int pg_get(struct apply *a, uint32_t id, Cairn__PlacementGroup **ret)
{
    struct key key;
    ProtobufCMessage *message = NULL;
    key_start(&key, a->index->partition, TABLE_PG);
    key_be32(&key, id);
    int err = apply_get_message(a, &key, &cairn__placement_group__descriptor, &message);
    if (err && err != ERR_NOT_FOUND)
        return err;
    *ret = err ? NULL : (Cairn__PlacementGroup *)(void *)message;
    return OK;
}

int apply_add_pgs(struct apply *a, const Cairn__AddPgs *op)
{
    for (size_t i = 0; i < op->n_pgs; i++) {
        Cairn__PlacementGroup *old;
        int err = pg_get(a, op->pgs[i]->id, &old);
        if (!err && old)
            apply_decide(a, ERR_EXISTS);
        if (!err && !old)
            err = members_check(a, op->pgs[i]->members, op->pgs[i]->n_members);
        if (err || a->out.err)
            return err;
        err = root_put_be32(a, TABLE_PG, op->pgs[i]->id, &op->pgs[i]->base);
        if (err)
            return err;
    }
    return OK;
}

/* The group at that epoch; *ret NULL: refused. */
static int pg_at_epoch(struct apply *a, uint32_t id, uint64_t epoch, Cairn__PlacementGroup **ret)
{
    int err = pg_get(a, id, ret);
    if (err)
        return err;
    if (!*ret)
        return apply_decide(a, ERR_NOT_FOUND);
    if ((*ret)->epoch != epoch) {
        *ret = NULL;
        return apply_decide(a, ERR_CONFLICT);
    }
    return OK;
}

int apply_begin_change(struct apply *a, const Cairn__BeginPgChange *op)
{
    Cairn__PlacementGroup *pg;
    int err = pg_at_epoch(a, op->pg, op->epoch, &pg);
    if (err || !pg)
        return err;
    if (pg->n_next_members)
        return apply_decide(a, ERR_EXISTS);
    uint64_t shards = (uint64_t)pg->data_shards + pg->parity_shards;
    bool differs = op->n_next_members > pg->n_members; /* replicas on too few nodes get more */
    for (size_t i = 0; i < op->n_next_members && i < pg->n_members; i++)
        differs |= !same_text(op->next_members[i], pg->members[i]);
    bool too_many = op->n_next_members > pg->n_members && op->n_next_members > shards;
    if (op->n_next_members < pg->n_members || too_many || !differs)
        return apply_decide(a, ERR_REFUSED);
    err = members_check(a, op->next_members, op->n_next_members);
    if (err || a->out.err)
        return err;
    pg->next_members = op->next_members;
    pg->n_next_members = op->n_next_members;
    pg->change_ms = a->h.time_ms;
    pg->epoch++;
    return root_put_be32(a, TABLE_PG, pg->id, &pg->base);
}

int apply_finish_change(struct apply *a, const Cairn__FinishPgChange *op)
{
    Cairn__PlacementGroup *pg;
    int err = pg_at_epoch(a, op->pg, op->epoch, &pg);
    if (err || !pg)
        return err;
    if (!pg->n_next_members)
        return apply_decide(a, ERR_REFUSED);
    pg->members = pg->next_members;
    pg->n_members = pg->n_next_members;
    pg->next_members = NULL;
    pg->n_next_members = 0;
    pg->change_ms = 0;
    pg->epoch++;
    return root_put_be32(a, TABLE_PG, pg->id, &pg->base);
}
