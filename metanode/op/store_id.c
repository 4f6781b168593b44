/* No metanode comes back empty under its old id: the votes that it gave and the entries that it
 * acknowledged would be forgotten, and a quorum of such replicas could undo what was committed.
 *
 * The log store has an id, drawn when it was made and durable before the first Raft message leaves.
 * Each batch of Raft messages carries the sender's, and the one by which the sender knows the receiver;
 * a metanode remembers, durably, the first that it has seen of each other one.
 *   - A batch from another store than the remembered one is not listened to.
 *   - A node that is known by another store than the one it has stops.
 * What this cannot see: a loss within the moment between the first batch ever and its note. */
#include "metanode/op/internal.h"

#include <stdlib.h>

#define PEER_PREFIX "\xff" "peer"

struct slice store_id_key(void)
{
    return SLICE_LIT("\xff" "store");
}

static int read_id(struct meta_node *n, struct slice key, struct id128 *ret)
{
    struct buf value = {0};
    int err = n->log_kv->ops->get(n->log_kv, NULL, KV_INDEX, key, &value);
    if (err == OK && (!id128_from_slice(buf_view(&value), ret) || id128_is_zero(*ret)))
        err = ERR_CORRUPT;
    buf_fini(&value);
    return err;
}

static void peer_key(uint64_t raft_id, struct buf *ret)
{
    buf_slice(ret, SLICE_LIT(PEER_PREFIX));
    buf_be64(ret, raft_id);
}

int store_id_load(struct meta_node *n, bool *ret_new)
{
    int err = read_id(n, store_id_key(), &n->store);
    *ret_new = err == ERR_NOT_FOUND;
    if (err == ERR_NOT_FOUND)
        env_random(n->env, n->store.bytes, sizeof(n->store.bytes));
    else if (err != OK)
        return err;
    for (size_t i = 0; i < n->peer_count; i++) {
        struct meta_peer *p = &n->peers[i];
        struct buf key = {0};
        peer_key(p->raft_id, &key);
        err = key.failed ? ERR_NOMEM : read_id(n, buf_view(&key), &p->store);
        buf_fini(&key);
        if (err != OK && err != ERR_NOT_FOUND)
            return err;
    }
    return OK;
}

static void noted(struct kv_write_req *req)
{
    struct meta_peer *p = container_of(req, struct meta_peer, store_write);
    p->store_writing = false;
    if (req->err != OK)
        node_fail(p->node, req->err, "log write");
}

static int note(struct meta_peer *p, struct id128 store)
{
    struct meta_node *n = p->node;
    struct kv_batch *batch = kv_batch_new();
    struct buf key = {0};
    if (!batch)
        return ERR_NOMEM;
    peer_key(p->raft_id, &key);
    kv_batch_put(batch, KV_INDEX, buf_view(&key), id128_slice(&store));
    int err = key.failed ? ERR_NOMEM : kv_batch_error(batch);
    buf_fini(&key);
    p->store_write = (struct kv_write_req){.cb = noted, .batch = batch};
    list_init(&p->store_write.node);
    if (err == OK)
        err = n->log_kv->ops->write_start(n->log_kv, &p->store_write);
    if (err != OK) {
        kv_batch_free(p->store_write.batch);
        return err;
    }
    p->store = store;
    p->store_writing = true;
    return OK;
}

bool store_id_admits(struct meta_node *n, const char *node_id, const Cairn__RaftBatch *batch)
{
    struct meta_peer *p = transport_peer(n, topology_raft_id(node_id));
    struct id128 id;
    if (!p)
        return false;
    if (id128_from_slice(SLICE(batch->known_store.data, batch->known_store.len), &id) &&
        !id128_eq(id, n->store)) {
        log_error("metanode.store_replaced", 0, L_STR("known_to", node_id));
        node_fail(n, ERR_CONFIG, "the others know this node by another data directory");
        return false;
    }
    if (!id128_from_slice(SLICE(batch->store.data, batch->store.len), &id) || id128_is_zero(id))
        return batch->store.len == 0; /* of a version that has none */
    if (id128_is_zero(p->store))
        return note(p, id) == OK;
    if (id128_eq(p->store, id))
        return true;
    if (!p->store_refused)
        log_error("raft.peer_store_replaced", 0, L_STR("peer", node_id));
    p->store_refused = true;
    return false;
}
