/* The first content of the root: nodes, partitions, placement groups and the root user, from the
 * cluster file and the root credentials.  Whoever leads the root first proposes it; applied once. */
#include "metanode/op/internal.h"

#include "common/base/arena.h"
#include "common/base/hash.h"
#include "proto/keyhash.h"

#include <stdio.h>

#define PG_MEMBERS 3 /* scheme rep-3 */

struct boot {
    struct arena arena;
    const struct cluster_config *c;
    Cairn__Bootstrap m;
    Cairn__UserRecord user;
    Cairn__AccessKeyRecord key;
    bool failed;
};

static void *take(struct boot *b, size_t len)
{
    void *p = arena_zalloc(&b->arena, len ? len : 1);
    b->failed |= p == NULL;
    return p;
}

static void add_nodes(struct boot *b)
{
    b->m.nodes = take(b, b->c->node_count * sizeof(b->m.nodes[0]));
    for (size_t i = 0; i < b->c->node_count && !b->failed; i++) {
        const struct cluster_node *from = &b->c->nodes[i];
        Cairn__NodeRecord *node = take(b, sizeof(*node));
        if (!node)
            return;
        cairn__node_record__init(node);
        node->node_id = from->id;
        node->zone = from->zone;
        node->role = from->role;
        node->addr = from->addr;
        node->admin_addr = from->admin;
        b->m.nodes[b->m.n_nodes++] = node;
    }
}

/* Storage nodes by zone, in the file's order. */
struct zones {
    size_t count;
    struct zone {
        const char *name;
        size_t count;
        const struct cluster_node **nodes;
    } *zones;
};

static bool find_zones(struct boot *b, struct zones *ret)
{
    const struct cluster_config *c = b->c;
    ret->count = 0;
    ret->zones = take(b, c->node_count * sizeof(ret->zones[0]));
    for (size_t i = 0; i < c->node_count && !b->failed; i++) {
        size_t z = 0;
        if (c->nodes[i].role != NET_ROLE_STORAGENODE)
            continue;
        while (z < ret->count && strcmp(ret->zones[z].name, c->nodes[i].zone) != 0)
            z++;
        struct zone *zone = &ret->zones[z];
        if (z == ret->count) {
            zone->name = c->nodes[i].zone;
            zone->nodes = take(b, c->node_count * sizeof(zone->nodes[0]));
            ret->count++;
        }
        if (!b->failed)
            zone->nodes[zone->count++] = &c->nodes[i];
    }
    return !b->failed && ret->count > 0;
}

_Static_assert((int)INDEX_ROLE_STORAGENODE == NET_ROLE_STORAGENODE, "what the index asks of a member");
_Static_assert(PG_MEMBERS <= INDEX_COPIES_MAX, "what the index allows");

/* Member k of group i: a node of zone (i + k).  Within a zone groups take the nodes in turn; from one
 * turn to the next the zones are shifted against each other, so that a node shares groups with a
 * bounded number of others. */
static void add_members(struct boot *b, const struct zones *z, Cairn__PlacementGroup *pg)
{
    pg->members = take(b, PG_MEMBERS * sizeof(pg->members[0]));
    for (size_t k = 0; k < PG_MEMBERS && !b->failed; k++) {
        const struct zone *zone = &z->zones[(pg->id + k) % z->count];
        size_t turn = pg->id / zone->count;
        /* With fewer than three zones the later members go one node further in their zone. */
        size_t number = (pg->id + k / z->count + (k % z->count) * turn) % zone->count;
        char *id = zone->nodes[number]->id;
        bool taken = false;
        for (size_t i = 0; i < pg->n_members; i++)
            taken |= strcmp(pg->members[i], id) == 0;
        if (!taken)
            pg->members[pg->n_members++] = id;
    }
}

static void add_pgs(struct boot *b)
{
    struct zones z;
    if (!find_zones(b, &z))
        return; /* no storage node: inline objects only */
    b->m.pgs = take(b, b->c->pgs * sizeof(b->m.pgs[0]));
    for (unsigned i = 0; i < b->c->pgs && !b->failed; i++) {
        Cairn__PlacementGroup *pg = take(b, sizeof(*pg));
        if (!pg)
            return;
        cairn__placement_group__init(pg);
        pg->id = i;
        pg->epoch = 1;
        pg->scheme = CAIRN__SCHEME__SCHEME_REP3;
        pg->data_shards = 1;
        pg->parity_shards = PG_MEMBERS - 1;
        add_members(b, &z, pg);
        b->m.pgs[b->m.n_pgs++] = pg;
    }
}

static void add_user(struct boot *b, const struct meta_config *config)
{
    char *id = take(b, 65);
    if (!id)
        return;
    /* A canonical user id is 64 hex digits; the root's follows from the cluster's id, so that
     * whoever proposes it proposes the same. */
    for (unsigned i = 0; i < 4; i++)
        snprintf(id + 16 * i, 17, "%016llx",
                 (unsigned long long)hash64(100 + i, id128_slice(&b->c->cluster_id)));
    cairn__user_record__init(&b->user);
    b->user.user_id = id;
    b->user.name = (char *)(uintptr_t)"root";
    b->user.is_root = true;
    cairn__access_key_record__init(&b->key);
    b->key.access_key_id = (char *)(uintptr_t)config->root_access_key;
    b->key.secret = (char *)(uintptr_t)config->root_secret_key;
    b->key.user_id = id;
    b->key.user_name = b->user.name;
    b->key.enabled = true;
    b->key.is_root = true;
}

int bootstrap_propose(struct replica *r, void (*done)(struct replica *r, int err,
                                                      const Cairn__Outcome *outcome, void *arg))
{
    struct meta_node *n = r->node;
    struct boot b = {.c = n->config.cluster};
    Cairn__Command command = CAIRN__COMMAND__INIT;
    struct id128 write_id;
    uint64_t touches[2];
    cairn__bootstrap__init(&b.m);
    add_nodes(&b);
    add_pgs(&b);
    add_user(&b, &n->config);
    int err = b.failed ? ERR_NOMEM : OK;
    if (err == OK) {
        b.m.cluster_id = (ProtobufCBinaryData){ID_BYTES, (uint8_t *)(uintptr_t)b.c->cluster_id.bytes};
        b.m.n_partitions = n->topology->n_partitions;
        b.m.partitions = n->topology->partitions;
        b.m.root_user = &b.user;
        b.m.root_key = &b.key;
        touches[0] = keyhash_user(slice_cstr(b.user.user_id));
        touches[1] = keyhash_access_key(slice_cstr(b.key.access_key_id));
        env_random(n->env, write_id.bytes, sizeof(write_id.bytes));
        command.write_id = (ProtobufCBinaryData){ID_BYTES, write_id.bytes};
        command.n_touches = 2;
        command.touches = touches;
        command.op_case = CAIRN__COMMAND__OP_BOOTSTRAP;
        command.bootstrap = &b.m;
        err = propose_own(r, &command, done, NULL);
    }
    if (err != OK)
        log_warn("root.bootstrap_refused", 0, L_ERR(err));
    arena_fini(&b.arena);
    return err;
}
