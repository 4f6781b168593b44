/* The first content of the root: nodes, partitions, placement groups and the first account, from the
 * cluster file and the root credentials.  Whoever leads the root first proposes it; applied once. */
#include "metanode/op/placement.h"

#include "common/base/hash.h"
#include "proto/keyhash.h"
#include "proto/registry.h"

#include <stdio.h>

struct boot {
    struct arena arena;
    const struct cluster_config *c;
    Cairn__Bootstrap m;
    Cairn__AccountRow account;
    Cairn__AccessKeyRow key;
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

_Static_assert((int)INDEX_ROLE_STORAGENODE == (int)NET_ROLE_STORAGENODE, "what the index asks of a member");
_Static_assert(PLACE_REPLICAS <= INDEX_COPIES_MAX, "what the index allows");

/* The first groups; if there are to be more, they are added in portions that hold nothing up. */
static void add_pgs(struct boot *b)
{
    struct placement_view w;
    if (placement_view_make(&b->arena, b->m.nodes, b->m.n_nodes, NULL, 0, &w) != OK ||
        placement_new_groups(&b->arena, &w, b->c, 0, INDEX_ADD_PGS_MAX, &b->m.pgs, &b->m.n_pgs) !=
            OK)
        b->failed = true;
}

/* The operator's account, and the key of its root user. */
static void add_account(struct boot *b, const struct meta_config *config)
{
    char *id = take(b, 65);
    if (!id)
        return;
    /* A canonical user id is 64 hex digits; this one follows from the cluster's id, so that
     * whoever proposes it proposes the same. */
    for (unsigned i = 0; i < 4; i++)
        snprintf(id + 16 * i, 17, "%016llx",
                 (unsigned long long)hash64(100 + i, id128_slice(&b->c->cluster_id)));
    cairn__account_row__init(&b->account);
    b->account.account_id = OPERATOR_ACCOUNT;
    b->account.canonical_id = id;
    b->account.name = b->account.display_name = "root";
    cairn__access_key_row__init(&b->key);
    b->key.access_key_id = (char *)(uintptr_t)config->root_access_key;
    b->key.secret = (char *)(uintptr_t)config->root_secret_key;
    b->key.account_id = OPERATOR_ACCOUNT;
    b->key.enabled = true;
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
    if (!b.failed)
        add_pgs(&b);
    add_account(&b, &n->config);
    int err = b.failed ? ERR_NOMEM : OK;
    if (err == OK) {
        b.m.cluster_id = (ProtobufCBinaryData){ID_BYTES, (uint8_t *)(uintptr_t)b.c->cluster_id.bytes};
        b.m.n_partitions = n->topology->n_partitions;
        b.m.partitions = n->topology->partitions;
        b.m.account = &b.account;
        b.m.account_key = &b.key;
        touches[0] = keyhash_account(slice_cstr(b.account.account_id));
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
