/* The cluster map, followed; calls to leaders.  See map_client.h.
 *
 * A leader call:  TRY ──answer──→ done
 *                  ↑ └─not the leader, unreachable, lost, timed out─→ the hint, or the next
 * replica, └──────────── after a pause that grows ───────────┘ */
#include "proto/map_client.h"

#include "common/base/check.h"
#include "proto/keyhash.h"
#include "proto/methods.h"

#include <stdlib.h>

#define MAP_CALL_NS (2 * NS_PER_SEC)
#define PAUSE_MIN_NS (20 * NS_PER_MS)
#define PAUSE_MAX_NS (500 * NS_PER_MS)
#define TRY_NS (2 * NS_PER_SEC)

struct map_client {
    struct rpc *rpc;
    struct env *env;
    uint64_t poll_ns;
    void (*on_change)(void *arg);
    void *arg;
    struct rpc_peer **seeds;
    size_t seed_count, seed_next;
    Cairn__ClusterMap *map;
    struct env_timer timer;
    struct rpc_call call;
    bool calling, stopped;
    struct list calls; /* leader_call, under way */
};

/* ---- the map ---- */

static struct slice bytes_of(ProtobufCBinaryData b)
{
    return SLICE(b.data, b.len);
}

static void map_answered(struct rpc_call *call)
{
    struct map_client *mc = container_of(call, struct map_client, call);
    Cairn__ClusterMapResponse *a = (Cairn__ClusterMapResponse *)(void *)call->response;
    bool changed = false;
    mc->calling = false;
    if (call->err != OK || !a)
        mc->seed_next = (mc->seed_next + 1) % mc->seed_count;
    /* A metanode that is behind knows an older one. */
    if (call->err == OK && a && a->map && (!mc->map || a->map->version > mc->map->version)) {
        if (mc->map)
            cairn__cluster_map__free_unpacked(mc->map, NULL);
        mc->map = a->map;
        a->map = NULL;
        changed = true;
    }
    bool again = !mc->map;
    rpc_call_fini(call);
    if (mc->stopped)
        return;
    env_timer_start(&mc->timer, again ? PAUSE_MAX_NS / 5 : mc->poll_ns);
    if (changed && mc->on_change)
        mc->on_change(mc->arg);
}

static void map_ask(struct env_timer *timer)
{
    struct map_client *mc = container_of(timer, struct map_client, timer);
    Cairn__ClusterMapRequest request = CAIRN__CLUSTER_MAP_REQUEST__INIT;
    if (mc->calling || mc->stopped)
        return;
    request.known_version = mc->map ? mc->map->version : 0;
    mc->call = (struct rpc_call){.method = &method_meta_cluster_map,
                                 .request = &request.base,
                                 .timeout_ns = MAP_CALL_NS,
                                 .heap_response = true,
                                 .cb = map_answered};
    if (rpc_call_start(mc->seeds[mc->seed_next], &mc->call) == OK) {
        mc->calling = true;
        return;
    }
    mc->seed_next = (mc->seed_next + 1) % mc->seed_count;
    env_timer_start(&mc->timer, PAUSE_MAX_NS / 5);
}

int map_client_new(struct rpc *rpc, const struct map_client_config *config, struct map_client **ret)
{
    if (config->metanode_count == 0)
        return ERR_INVAL;
    struct map_client *mc = calloc(1, sizeof(*mc));
    struct rpc_peer **seeds = calloc(config->metanode_count, sizeof(struct rpc_peer *));
    if (!mc || !seeds) {
        free(mc);
        free(seeds);
        return ERR_NOMEM;
    }
    *mc = (struct map_client){.rpc = rpc,
                              .env = rpc_env(rpc),
                              .poll_ns = config->poll_ns ? config->poll_ns : NS_PER_SEC,
                              .on_change = config->on_change,
                              .arg = config->arg,
                              .seeds = seeds};
    list_init(&mc->calls);
    for (size_t i = 0; i < config->metanode_count; i++) {
        seeds[i] = rpc_peer_get(rpc, config->metanode_addrs[i], config->metanode_ids[i]);
        if (!seeds[i]) {
            map_client_free(mc);
            return ERR_NOMEM;
        }
        mc->seed_count++;
    }
    env_timer_init(mc->env, &mc->timer, map_ask);
    env_timer_start(&mc->timer, 0);
    *ret = mc;
    return OK;
}

void map_client_stop(struct map_client *mc)
{
    mc->stopped = true;
    env_timer_stop(&mc->timer);
    if (mc->calling)
        rpc_call_cancel(&mc->call);
    list_for_each(it, &mc->calls) leader_call_cancel(container_of(it, struct leader_call, node));
}

bool map_client_idle(const struct map_client *mc)
{
    return !mc->calling && list_empty(&mc->calls);
}

void map_client_free(struct map_client *mc)
{
    if (!mc)
        return;
    if (mc->map)
        cairn__cluster_map__free_unpacked(mc->map, NULL);
    free(mc->seeds);
    free(mc);
}

const Cairn__ClusterMap *map_client_map(const struct map_client *mc)
{
    return mc->map;
}

void map_client_refresh(struct map_client *mc)
{
    if (!mc->stopped && !mc->calling)
        env_timer_start(&mc->timer, 0);
}

const Cairn__NodeRecord *map_client_node(const struct map_client *mc, const char *node_id)
{
    for (size_t i = 0; mc->map && i < mc->map->n_nodes; i++)
        if (strcmp(mc->map->nodes[i]->node_id, node_id) == 0)
            return mc->map->nodes[i];
    return NULL;
}

const Cairn__PlacementGroup *map_client_pg(const struct map_client *mc, uint32_t id)
{
    for (size_t i = 0; mc->map && i < mc->map->n_pgs; i++)
        if (mc->map->pgs[i]->id == id)
            return mc->map->pgs[i];
    return NULL;
}

struct rpc_peer *map_client_peer(struct map_client *mc, const char *node_id)
{
    const Cairn__NodeRecord *node = map_client_node(mc, node_id);
    return node ? rpc_peer_get(mc->rpc, node->addr, node->node_id) : NULL;
}

const Cairn__PartitionDescriptor *map_client_partition(const struct map_client *mc, bool root,
                                                       uint64_t bucket_id, struct slice key)
{
    for (size_t i = 0; mc->map && i < mc->map->n_partitions; i++) {
        const Cairn__PartitionDescriptor *d = mc->map->partitions[i];
        if (root ? d->id == ROOT_PARTITION
                 : d->id != ROOT_PARTITION &&
                       range_contains(bytes_of(d->start), bytes_of(d->end), bucket_id, key))
            return d;
    }
    return NULL;
}

/* ---- calls to leaders ---- */

static void call_end(struct leader_call *c, int err)
{
    c->err = err;
    c->ended = true;
    env_timer_stop(&c->timer);
    list_remove(&c->node);
    c->cb(c);
}

/* The field of that name and type, or NULL. */
static void *field_of(const ProtobufCMessage *m, const char *name, ProtobufCType type)
{
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field_by_name(m->descriptor, name);
    if (!f || f->type != type || f->label == PROTOBUF_C_LABEL_REPEATED)
        return NULL;
    return (char *)(uintptr_t)m + f->offset;
}

static void take_hint(struct leader_call *c, const ProtobufCMessage *response)
{
    c->hint[0] = 0;
    if (!response)
        return;
    void *route = field_of(response, "route", PROTOBUF_C_TYPE_MESSAGE);
    if (route) {
        response = *(ProtobufCMessage **)route;
        if (!response)
            return;
    }
    void *hint = field_of(response, "leader_hint", PROTOBUF_C_TYPE_STRING);
    const char *id = hint ? *(char **)hint : NULL;
    if (id && strlen(id) < sizeof(c->hint))
        strcpy(c->hint, id);
}

/* Whom to ask: the hint, else the replicas in turn. */
static struct rpc_peer *choose(struct leader_call *c, const Cairn__PartitionDescriptor *d)
{
    const Cairn__ReplicaRef *found = NULL;
    for (size_t i = 0; i < d->n_replicas && c->hint[0] && !found; i++)
        if (strcmp(d->replicas[i]->node_id, c->hint) == 0)
            found = d->replicas[i];
    c->hint[0] = 0;
    if (!found && d->n_replicas > 0)
        found = d->replicas[c->tries % d->n_replicas];
    return found ? rpc_peer_get(c->mc->rpc, found->addr, found->node_id) : NULL;
}

static void try_again(struct leader_call *c, bool at_once)
{
    uint64_t pause = PAUSE_MIN_NS << MIN(c->tries, 5u);
    c->tries++;
    at_once |= c->deadline_ns == 0 || c->mc->stopped;
    env_timer_start(&c->timer, at_once ? 0 : MIN(pause, PAUSE_MAX_NS));
}

static bool is_final(int err)
{
    return err == OK || (err_class(err) == ERR_CLASS_PERMANENT && err != ERR_QUARANTINED &&
                         err != ERR_IO && err != ERR_CORRUPT);
}

static void answered(struct rpc_call *rpc)
{
    struct leader_call *c = container_of(rpc, struct leader_call, rpc);
    int err = rpc->err == OK && !rpc->response ? ERR_PROTO : rpc->err;
    c->running = false;
    if (is_final(err)) {
        call_end(c, err);
        return;
    }
    take_hint(c, rpc->response);
    bool hinted = c->hint[0] && c->tries < 3;
    rpc_call_fini(rpc);
    if (err == ERR_EPOCH || err == ERR_NO_PARTITION)
        map_client_refresh(c->mc);
    try_again(c, hinted);
}

static void call_try(struct env_timer *timer)
{
    struct leader_call *c = container_of(timer, struct leader_call, timer);
    struct map_client *mc = c->mc;
    uint64_t now = env_now_ns(mc->env), try_ns = c->try_ns ? c->try_ns : TRY_NS;
    if (mc->stopped || now >= c->deadline_ns) {
        call_end(c, mc->stopped ? ERR_SHUTDOWN : c->deadline_ns == 0 ? ERR_CANCELED : ERR_TIMEOUT);
        return;
    }
    const Cairn__PartitionDescriptor *d = map_client_partition(mc, c->root, c->bucket_id, c->key);
    struct rpc_peer *peer = d ? choose(c, d) : NULL;
    if (!peer) {
        map_client_refresh(mc);
        try_again(c, false);
        return;
    }
    uint32_t *partition = field_of(c->request, "partition", PROTOBUF_C_TYPE_UINT32);
    uint64_t *epoch = field_of(c->request, "epoch", PROTOBUF_C_TYPE_UINT64);
    if (partition)
        *partition = d->id;
    if (epoch)
        *epoch = d->epoch;
    c->rpc = (struct rpc_call){.method = c->method,
                               .request = c->request,
                               .timeout_ns = MIN(try_ns, c->deadline_ns - now),
                               .cb = answered};
    c->running = rpc_call_start(peer, &c->rpc) == OK;
    if (!c->running)
        try_again(c, false);
}

void leader_call_start(struct map_client *mc, struct leader_call *c)
{
    c->mc = mc;
    c->err = OK;
    c->tries = 0;
    c->running = c->ended = false;
    c->hint[0] = 0;
    c->rpc = (struct rpc_call){0};
    list_push_back(&mc->calls, &c->node);
    env_timer_init(mc->env, &c->timer, call_try);
    env_timer_start(&c->timer, 0);
}

void leader_call_cancel(struct leader_call *c)
{
    if (c->ended)
        return;
    c->deadline_ns = 0; /* as if it were over */
    if (c->running)
        rpc_call_cancel(&c->rpc);
    else
        env_timer_start(&c->timer, 0);
}

void leader_call_fini(struct leader_call *c)
{
    CHECK(!c->running);
    rpc_call_fini(&c->rpc);
}
