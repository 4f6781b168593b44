/* What can be said of the root's commands about nodes, partitions and placement groups without
 * looking at the tables. */
#include "metanode/index/state.h"

#include "common/ec/ec.h"

enum {
    NODES_MAX = 4096,
    PARTITIONS_MAX = 65536,
    REPLICAS_MAX = 64,
    PGS_MAX = 65536,
    PG_MEMBERS_MAX = 64,
    UNKNOWN_FIELDS_MAX = 64,
    UNKNOWN_BYTES_MAX = 16 << 10,
};
_Static_assert(EC_SHARDS_MAX <= PG_MEMBERS_MAX, "a coded group's members");

bool check_text(const char *s, size_t min, size_t max)
{
    size_t len = string_of(s).len;
    return len >= min && len <= max;
}

bool check_unknown(const ProtobufCMessage *m)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < m->n_unknown_fields && i <= UNKNOWN_FIELDS_MAX; i++)
        bytes += m->unknown_fields[i].len;
    return m->n_unknown_fields <= UNKNOWN_FIELDS_MAX && bytes <= UNKNOWN_BYTES_MAX;
}

/* ---- nodes ---- */

static bool disks_ok(Cairn__DiskRecord *const *disks, size_t count)
{
    if (count > INDEX_DISKS_MAX)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (disks[i]->disk_id.len != ID_BYTES || !check_unknown(&disks[i]->base) ||
            (unsigned)disks[i]->state > CAIRN__DISK_STATE__DISK_LOST)
            return false;
        for (size_t j = 0; j < i; j++)
            if (slice_eq(bytes_of(disks[i]->disk_id), bytes_of(disks[j]->disk_id)))
                return false;
    }
    return true;
}

static bool node_ok(const Cairn__NodeRecord *n)
{
    return check_text(n->node_id, 1, CHECK_NAME_BYTES_MAX) &&
           check_text(n->zone, 0, CHECK_NAME_BYTES_MAX) &&
           check_text(n->addr, 0, CHECK_NAME_BYTES_MAX) &&
           check_text(n->admin_addr, 0, CHECK_NAME_BYTES_MAX) &&
           (unsigned)n->state <= CAIRN__NODE_STATE__NODE_LOST && disks_ok(n->disks, n->n_disks) &&
           check_unknown(&n->base);
}

bool check_nodes(Cairn__NodeRecord *const *nodes, size_t count)
{
    if (count > NODES_MAX)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!node_ok(nodes[i]))
            return false;
    return true;
}

bool check_put_node(const Cairn__PutNode *op)
{
    return op->node && node_ok(op->node);
}

/* ---- partitions ---- */

bool check_partitions(Cairn__PartitionDescriptor *const *partitions, size_t count)
{
    if (count > PARTITIONS_MAX)
        return false;
    for (size_t i = 0; i < count; i++) {
        const Cairn__PartitionDescriptor *p = partitions[i];
        if (p->start.len > RANGE_BOUND_BYTES_MAX || p->end.len > RANGE_BOUND_BYTES_MAX ||
            p->n_replicas > REPLICAS_MAX || !check_unknown(&p->base))
            return false;
        for (size_t j = 0; j < p->n_replicas; j++)
            if (!check_text(p->replicas[j]->node_id, 1, CHECK_NAME_BYTES_MAX) ||
                !check_text(p->replicas[j]->addr, 0, CHECK_NAME_BYTES_MAX) ||
                !check_text(p->replicas[j]->zone, 0, CHECK_NAME_BYTES_MAX))
                return false;
    }
    return true;
}

/* ---- placement groups ---- */

static bool members_ok(char *const *members, size_t count, bool distinct)
{
    if (count > PG_MEMBERS_MAX)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!check_text(members[i], 1, CHECK_NAME_BYTES_MAX))
            return false;
        for (size_t j = 0; distinct && j < i; j++)
            if (slice_eq(string_of(members[i]), string_of(members[j])))
                return false;
    }
    return true;
}

bool check_pgs(Cairn__PlacementGroup *const *pgs, size_t count)
{
    if (count > PGS_MAX)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!check_unknown(&pgs[i]->base) ||
            !members_ok(pgs[i]->members, pgs[i]->n_members, false) ||
            !members_ok(pgs[i]->next_members, pgs[i]->n_next_members, false))
            return false;
    return true;
}

static bool scheme_ok(const Cairn__PlacementGroup *pg)
{
    switch (pg->scheme) {
    case CAIRN__SCHEME__SCHEME_REP3:
        return pg->data_shards == 1 && pg->parity_shards < INDEX_COPIES_MAX && pg->n_members >= 1 &&
               pg->n_members <= INDEX_COPIES_MAX;
    case CAIRN__SCHEME__SCHEME_RS:
        return pg->data_shards >= 1 && pg->data_shards <= EC_DATA_MAX && pg->parity_shards >= 1 &&
               pg->parity_shards <= EC_PARITY_MAX &&
               pg->n_members == pg->data_shards + pg->parity_shards;
    default: return false;
    }
}

bool check_add_pgs(const Cairn__AddPgs *op)
{
    if (op->n_pgs == 0 || op->n_pgs > INDEX_ADD_PGS_MAX || !check_pgs(op->pgs, op->n_pgs))
        return false;
    for (size_t i = 0; i < op->n_pgs; i++) {
        const Cairn__PlacementGroup *pg = op->pgs[i];
        if ((i && pg->id <= op->pgs[i - 1]->id) || pg->epoch == 0 || pg->n_next_members ||
            pg->change_ms || !scheme_ok(pg) || !members_ok(pg->members, pg->n_members, true))
            return false;
    }
    return true;
}

bool check_begin_change(const Cairn__BeginPgChange *op)
{
    return op->n_next_members >= 1 && members_ok(op->next_members, op->n_next_members, true);
}
