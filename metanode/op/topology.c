/* Which partitions there are and who holds them.
 *
 * At the first start they are computed from the cluster file, which all nodes share, and stored beside
 * the logs: what a Raft group's members are must not change because someone edits a file.  Addresses
 * always come from the cluster file. */
#include "metanode/op/internal.h"

#include "common/base/hash.h"

#include <stdlib.h>

static struct slice topology_key(void)
{
    /* Above every key of the Raft logs, which begin with a partition's number. */
    return SLICE_LIT("\xff" "topology");
}

uint64_t topology_raft_id(const char *node_id)
{
    uint64_t id = hash64(1, slice_cstr(node_id));
    return id ? id : 1;
}

const struct cluster_node *topology_node(const struct meta_node *n, const char *node_id)
{
    const struct cluster_config *c = n->config.cluster;
    for (size_t i = 0; i < c->node_count; i++)
        if (strcmp(c->nodes[i].id, node_id) == 0)
            return &c->nodes[i];
    return NULL;
}

const Cairn__PartitionDescriptor *topology_partition(const struct meta_node *n, uint32_t id)
{
    for (size_t i = 0; i < n->topology->n_partitions; i++)
        if (n->topology->partitions[i]->id == id)
            return n->topology->partitions[i];
    return NULL;
}

/* Metanodes in the file's order; the replicas of partition p begin with number p, so that preferred
 * leaders are spread, and lie in as many zones as there are. */
struct placement {
    const struct cluster_node *nodes[META_PEERS_MAX];
    size_t count;
};

static int find_metanodes(const struct cluster_config *c, struct placement *ret)
{
    ret->count = 0;
    for (size_t i = 0; i < c->node_count; i++) {
        if (c->nodes[i].role != NET_ROLE_METANODE)
            continue;
        if (ret->count == META_PEERS_MAX)
            return ERR_CONFIG;
        ret->nodes[ret->count++] = &c->nodes[i];
    }
    return ret->count ? OK : ERR_CONFIG;
}

static bool zone_is_used(const struct cluster_node *const *chosen, size_t count, const char *zone)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(chosen[i]->zone, zone) == 0)
            return true;
    return false;
}

static size_t choose_replicas(const struct placement *p, uint32_t partition,
                              const struct cluster_node **ret)
{
    size_t want = MIN(p->count, (size_t)META_REPLICAS_MAX), count = 0;
    for (int pass = 0; pass < 2 && count < want; pass++) {
        for (size_t i = 0; i < p->count && count < want; i++) {
            const struct cluster_node *node = p->nodes[(partition + i) % p->count];
            bool taken = false;
            for (size_t k = 0; k < count; k++)
                taken |= ret[k] == node;
            /* First one a zone; then, with fewer zones than replicas, any. */
            if (!taken && (pass == 1 || !zone_is_used(ret, count, node->zone)))
                ret[count++] = node;
        }
    }
    return count;
}

static int set_bound(ProtobufCBinaryData *ret, const struct buf *bound)
{
    if (bound->len == 0)
        return OK;
    ret->data = malloc(bound->len);
    if (!ret->data)
        return ERR_NOMEM;
    memcpy(ret->data, bound->ptr, bound->len);
    ret->len = bound->len;
    return OK;
}

static int add_replicas(Cairn__PartitionDescriptor *d, const struct placement *p)
{
    const struct cluster_node *chosen[META_REPLICAS_MAX];
    size_t count = choose_replicas(p, d->id, chosen);
    d->replicas = calloc(count, sizeof(d->replicas[0]));
    if (!d->replicas)
        return ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        Cairn__ReplicaRef *ref = malloc(sizeof(*ref));
        if (!ref)
            return ERR_NOMEM;
        cairn__replica_ref__init(ref);
        d->replicas[d->n_replicas++] = ref;
        ref->node_id = strdup(chosen[i]->id);
        ref->addr = strdup(chosen[i]->addr);
        ref->zone = strdup(chosen[i]->zone);
        if (!ref->node_id || !ref->addr || !ref->zone)
            return ERR_NOMEM;
    }
    return OK;
}

/* Partition 0 is the root; object partition i (from 1) is [split i - 1, split i). */
static int compute(struct meta_node *n, Cairn__ClusterMap *map)
{
    const struct cluster_config *c = n->config.cluster;
    size_t count = c->split_point_count + 2;
    struct placement p;
    int err = find_metanodes(c, &p);
    if (err != OK)
        return err;
    map->cluster_id.data = malloc(ID_BYTES);
    map->partitions = calloc(count, sizeof(map->partitions[0]));
    if (!map->cluster_id.data || !map->partitions)
        return ERR_NOMEM;
    memcpy(map->cluster_id.data, c->cluster_id.bytes, ID_BYTES);
    map->cluster_id.len = ID_BYTES;
    for (uint32_t id = 0; id < count; id++) {
        Cairn__PartitionDescriptor *d = malloc(sizeof(*d));
        if (!d)
            return ERR_NOMEM;
        cairn__partition_descriptor__init(d);
        map->partitions[map->n_partitions++] = d;
        d->id = id;
        d->epoch = 1;
        if (id >= 2 && (err = set_bound(&d->start, &c->split_points[id - 2])) != OK)
            return err;
        if (id >= 1 && id - 1 < c->split_point_count &&
            (err = set_bound(&d->end, &c->split_points[id - 1])) != OK)
            return err;
        if ((err = add_replicas(d, &p)) != OK)
            return err;
    }
    return OK;
}

static void stored(struct kv_write_req *req)
{
    struct meta_node *n = container_of(req, struct meta_node, topology_write);
    n->topology_writing = false;
    if (req->err != OK)
        node_fail(n, req->err, "topology not stored");
}

/* Goes to the log store before anything else, so nothing durable ever precedes it. */
static int store(struct meta_node *n)
{
    struct kv_batch *batch = kv_batch_new();
    size_t len = cairn__cluster_map__get_packed_size(n->topology);
    struct buf packed = {0};
    if (!batch || buf_reserve(&packed, len) != OK) {
        kv_batch_free(batch);
        return ERR_NOMEM;
    }
    packed.len = cairn__cluster_map__pack(n->topology, packed.ptr);
    kv_batch_put(batch, KV_INDEX, topology_key(), buf_view(&packed));
    kv_batch_put(batch, KV_INDEX, store_id_key(), id128_slice(&n->store));
    buf_fini(&packed);
    n->topology_write = (struct kv_write_req){.cb = stored, .batch = batch};
    list_init(&n->topology_write.node);
    int err = kv_batch_error(batch);
    if (err == OK)
        err = n->log_kv->ops->write_start(n->log_kv, &n->topology_write);
    n->topology_writing = err == OK;
    if (err != OK)
        kv_batch_free(n->topology_write.batch);
    return err;
}

static void refresh_addresses(struct meta_node *n)
{
    for (size_t i = 0; i < n->topology->n_partitions; i++) {
        Cairn__PartitionDescriptor *d = n->topology->partitions[i];
        for (size_t k = 0; k < d->n_replicas; k++) {
            const struct cluster_node *node = topology_node(n, d->replicas[k]->node_id);
            char *addr = node ? strdup(node->addr) : NULL;
            if (addr) {
                free(d->replicas[k]->addr);
                d->replicas[k]->addr = addr;
            }
        }
    }
}

int topology_load(struct meta_node *n)
{
    struct buf packed = {0};
    bool new_store;
    int err = store_id_load(n, &new_store);
    if (err != OK)
        return err;
    err = n->log_kv->ops->get(n->log_kv, NULL, KV_INDEX, topology_key(), &packed);
    if (err == OK) {
        n->topology = cairn__cluster_map__unpack(NULL, packed.len, packed.ptr);
        buf_fini(&packed);
        if (!n->topology)
            return ERR_CORRUPT;
        struct slice id = SLICE(n->topology->cluster_id.data, n->topology->cluster_id.len);
        if (!slice_eq(id, id128_slice(&n->config.cluster->cluster_id)))
            return ERR_CONFIG;
        refresh_addresses(n);
        return new_store ? store(n) : OK; /* of a version that had no ids */
    }
    buf_fini(&packed);
    if (err != ERR_NOT_FOUND)
        return err;
    if (!new_store)
        return ERR_CORRUPT;
    n->topology = malloc(sizeof(*n->topology));
    if (!n->topology)
        return ERR_NOMEM;
    cairn__cluster_map__init(n->topology);
    err = compute(n, n->topology);
    return err == OK ? store(n) : err;
}
