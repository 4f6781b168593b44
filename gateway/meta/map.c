/* The cluster map: learnt from any metanode, kept fresh, turned into routes.  It is a hint: a wrong
 * route is refused by the metanode asked (epochs), never answered wrongly.  Who asks where things are,
 * and could be answered wrongly by an old map, reads it at the root's leader first. */
#include "common/base/check.h"
#include "gateway/meta/internal.h"
#include "proto/keyhash.h"
#include "proto/methods.h"

#include <stdlib.h>

static void map_timer_cb(struct env_timer *timer);

static struct slice bytes_of(ProtobufCBinaryData b)
{
    return SLICE(b.data, b.len);
}

int map_init(struct meta_client *mc)
{
    mc->seeds = calloc(mc->config.seed_count ? mc->config.seed_count : 1, sizeof(*mc->seeds));
    if (!mc->seeds)
        return ERR_NOMEM;
    for (unsigned i = 0; i < mc->config.seed_count; i++) {
        const struct meta_seed *seed = &mc->config.seeds[i];
        struct rpc_peer *peer = rpc_peer_get(mc->rpc, seed->addr, seed->node_id);
        if (peer)
            mc->seeds[mc->seed_count++] = peer;
    }
    mc->root.id = ROOT_PARTITION;
    env_timer_init(mc->env, &mc->map_timer, map_timer_cb);
    env_timer_start(&mc->map_timer, 0);
    return mc->seed_count ? OK : ERR_INVAL;
}

void map_stop(struct meta_client *mc)
{
    env_timer_stop(&mc->map_timer);
    if (mc->map_calling)
        rpc_call_cancel(&mc->map_call);
}

void map_fini(struct meta_client *mc)
{
    env_timer_stop(&mc->map_timer);
    free(mc->seeds);
    free(mc->routes);
    free(mc->metanodes);
    if (mc->map)
        cairn__cluster_map__free_unpacked(mc->map, NULL);
}

/* ---- routes ---- */

struct meta_route *map_route_by_id(struct meta_client *mc, uint32_t id)
{
    if (id == ROOT_PARTITION)
        return mc->map ? &mc->root : NULL;
    for (size_t i = 0; i < mc->route_count; i++)
        if (mc->routes[i].id == id)
            return &mc->routes[i];
    return NULL;
}

struct meta_route *map_route(struct meta_client *mc, bool root, uint64_t bucket_id,
                             struct slice key)
{
    if (root)
        return mc->map ? &mc->root : NULL;
    /* The last route that starts at or before the position. */
    size_t lo = 0, hi = mc->route_count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (range_contains(bytes_of(mc->routes[mid].descriptor->start), SLICE_EMPTY, bucket_id,
                           key))
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == 0)
        return NULL;
    struct meta_route *route = &mc->routes[lo - 1];
    const Cairn__PartitionDescriptor *d = route->descriptor;
    return range_contains(bytes_of(d->start), bytes_of(d->end), bucket_id, key) ? route : NULL;
}

static size_t replica_count(const struct meta_client *mc, const struct meta_route *route)
{
    return route->descriptor && route->descriptor->n_replicas ? route->descriptor->n_replicas
                                                              : mc->metanode_count;
}

static struct rpc_peer *replica_peer(struct meta_client *mc, const struct meta_route *route,
                                     size_t i)
{
    if (!route->descriptor || !route->descriptor->n_replicas)
        return mc->metanodes[i];
    const Cairn__ReplicaRef *r = route->descriptor->replicas[i];
    return rpc_peer_get(mc->rpc, r->addr, r->node_id[0] ? r->node_id : NULL);
}

void route_failed(struct meta_route *route, const struct rpc_peer *failed)
{
    if (route->leader == failed)
        route->leader = NULL;
    route->next++;
}

#define SHUN_NS (700 * NS_PER_MS)

void route_timed_out(struct meta_client *mc, struct meta_route *route, struct rpc_peer *failed)
{
    route_failed(route, failed);
    route->shunned = failed;
    route->shunned_until_ns = env_now_ns(mc->env) + SHUN_NS;
}

static bool route_shuns(struct meta_client *mc, const struct meta_route *route,
                        const struct rpc_peer *peer)
{
    return route->shunned == peer && env_now_ns(mc->env) < route->shunned_until_ns;
}

struct rpc_peer *route_target(struct meta_client *mc, struct meta_route *route)
{
    size_t count = replica_count(mc, route);
    if (route->leader && rpc_peer_is_up(route->leader))
        return route->leader;
    struct rpc_peer *any = route->leader, *shunned = NULL;
    for (size_t i = 0; i < count; i++) {
        struct rpc_peer *peer = replica_peer(mc, route, (route->next + i) % count);
        if (peer && rpc_peer_is_up(peer) && peer != route->leader) {
            if (!route_shuns(mc, route, peer))
                return peer;
            shunned = peer;
        }
        if (!any)
            any = peer;
    }
    return shunned ? shunned : any;
}

bool route_hint(struct meta_client *mc, struct meta_route *route, const char *node_id,
                const struct rpc_peer *asked)
{
    const Cairn__PartitionDescriptor *d = route->descriptor;
    for (size_t i = 0; d && node_id[0] && i < d->n_replicas; i++) {
        if (strcmp(d->replicas[i]->node_id, node_id) != 0)
            continue;
        struct rpc_peer *peer = replica_peer(mc, route, i);
        if (!peer || peer == asked || !rpc_peer_is_up(peer) || route_shuns(mc, route, peer))
            return false;
        route->leader = peer;
        return true;
    }
    return false;
}

/* ---- taking a map over ---- */

static int route_cmp(const void *a, const void *b)
{
    const struct meta_route *x = a, *y = b;
    return slice_cmp(bytes_of(x->descriptor->start), bytes_of(y->descriptor->start));
}

/* The leader guess of a partition outlives the map that it was learnt under. */
static void route_from(struct meta_client *mc, struct meta_route *route,
                       Cairn__PartitionDescriptor *d)
{
    struct meta_route *old = map_route_by_id(mc, d->id);
    *route = (struct meta_route){.id = d->id, .descriptor = d};
    if (old) {
        route->leader = old->leader;
        route->next = old->next;
        route->shunned = old->shunned;
        route->shunned_until_ns = old->shunned_until_ns;
    }
    if (!route->leader)
        route_hint(mc, route, d->leader_hint, NULL);
}

static int map_take(struct meta_client *mc, Cairn__ClusterMap *map)
{
    struct meta_route *routes = calloc(map->n_partitions + 1, sizeof(*routes));
    struct rpc_peer **nodes = calloc(map->n_nodes + 1, sizeof(*nodes));
    if (!routes || !nodes) {
        free(routes);
        free(nodes);
        return ERR_NOMEM;
    }
    size_t node_count = 0, count = 0;
    for (size_t i = 0; i < map->n_nodes; i++) {
        const Cairn__NodeRecord *n = map->nodes[i];
        if (n->role != NET_ROLE_METANODE)
            continue;
        nodes[node_count] = rpc_peer_get(mc->rpc, n->addr, n->node_id);
        node_count += nodes[node_count] != NULL;
    }
    struct meta_route root = mc->root;
    root.descriptor = NULL;
    for (size_t i = 0; i < map->n_partitions; i++) {
        if (map->partitions[i]->n_replicas > META_REPLICAS_MAX)
            continue;
        if (map->partitions[i]->id == ROOT_PARTITION)
            route_from(mc, &root,
                       map->partitions[i]); /* still found by id: mc->root is the old one */
        else
            route_from(mc, &routes[count++], map->partitions[i]);
    }
    if (count)
        qsort(routes, count, sizeof(*routes), route_cmp);
    free(mc->routes);
    free(mc->metanodes);
    mc->routes = routes;
    mc->route_count = count;
    mc->root = root;
    mc->metanodes = nodes;
    mc->metanode_count = node_count;
    if (mc->map)
        cairn__cluster_map__free_unpacked(mc->map, NULL);
    mc->map = map;
    mc->stats.map_loads++;
    check_map_changed(mc);
    return OK;
}

/* ---- loading ---- */

/* The seeds and what the map names, in turn. */
static struct rpc_peer *map_source(struct meta_client *mc)
{
    size_t count = mc->seed_count + mc->metanode_count;
    for (size_t tries = 0; tries < count; tries++) {
        size_t i = mc->next_seed++ % count;
        struct rpc_peer *peer =
            i < mc->seed_count ? mc->seeds[i] : mc->metanodes[i - mc->seed_count];
        if (rpc_peer_is_up(peer) || tries + 1 == count)
            return peer;
    }
    return NULL;
}

static void map_again(struct meta_client *mc, bool failed)
{
    uint64_t delay = (uint64_t)mc->config.map_refresh_ms * NS_PER_MS;
    if (mc->stopped)
        return;
    if (failed)
        delay = meta_backoff_ns(mc, 1 + mc->map_failures++);
    else if (mc->map_wanted)
        delay = meta_backoff_ns(mc, 2);
    mc->map_wanted = false;
    env_timer_start(&mc->map_timer, delay);
}

/* Takes the map that was answered, if it is newer than ours.
 * Returns: OK; ERR_NOT_READY (there is none still); ERR_NOMEM. */
static int map_answered(struct meta_client *mc, Cairn__ClusterMapResponse *r)
{
    /* A metanode that is behind may know an older map than ours: a route must never go back. */
    if (!r->unchanged && r->map && (!mc->map || r->map->version > mc->map->version)) {
        int err = map_take(mc, r->map);
        if (err != OK)
            return err;
        r->map = NULL;
    }
    /* Without a map, "nothing new" or an empty answer is no success. */
    return mc->map ? OK : ERR_NOT_READY;
}

static void map_call_cb(struct rpc_call *call)
{
    struct meta_client *mc = container_of(call, struct meta_client, map_call);
    mc->map_calling = false;
    mc->outstanding--;
    int err = call->err;
    if (err == OK && !call->response)
        err = ERR_PROTO;
    if (err == OK)
        err = map_answered(mc, (Cairn__ClusterMapResponse *)(void *)call->response);
    if (err == OK)
        mc->map_failures = 0;
    rpc_call_fini(call);
    map_again(mc, err != OK);
}

static void map_timer_cb(struct env_timer *timer)
{
    struct meta_client *mc = container_of(timer, struct meta_client, map_timer);
    if (mc->map_calling || mc->stopped)
        return;
    Cairn__ClusterMapRequest request = CAIRN__CLUSTER_MAP_REQUEST__INIT;
    request.known_version = mc->map ? mc->map->version : 0;
    struct rpc_peer *peer = map_source(mc);
    mc->map_call = (struct rpc_call){
        .method = &method_meta_cluster_map,
        .heap_response = true,
        .request = &request.base,
        .timeout_ns = 1000 * NS_PER_MS,
        .cb = map_call_cb,
    };
    if (!peer || rpc_call_start(peer, &mc->map_call) != OK) {
        map_again(mc, true);
        return;
    }
    mc->map_calling = true;
    mc->outstanding++;
}

void meta_client_refresh(struct meta_client *mc)
{
    if (mc->stopped)
        return;
    if (mc->map_calling) {
        mc->map_wanted = true; /* the answer under way may be too old */
        return;
    }
    uint64_t delay = meta_backoff_ns(mc, 0);
    if (!mc->map_timer.active || mc->map_timer.due_ns > env_now_ns(mc->env) + delay)
        env_timer_start(&mc->map_timer, delay);
}

/* ---- a map as new as the question ---- */

static void current_cb(struct meta_call *call)
{
    struct meta_map_read *read = container_of(call, struct meta_map_read, call);
    Cairn__ClusterMapResponse *r = (Cairn__ClusterMapResponse *)(void *)call->response;
    uint64_t as_of = call->err == OK ? r->as_of : 0;
    read->err = call->err ? call->err : map_answered(call->mc, r);
    /* The version of before does not know the question, and answers with what it happens to have. */
    if (read->err == OK && as_of == 0)
        read->err = ERR_UNIMPLEMENTED;
    else if (read->err == OK && call->mc->map->version < as_of)
        read->err = ERR_PROTO;
    meta_call_fini(call);
    read->cb(read);
}

void meta_map_read_start(struct meta_client *mc, struct meta_map_read *read)
{
    cairn__cluster_map_request__init(&read->request);
    read->request.current = true;
    read->request.known_version = mc->map ? mc->map->version : 0;
    read->call = (struct meta_call){
        .method = &method_meta_cluster_map,
        .root = true,
        .request = &read->request.base,
        .deadline_ns = read->deadline_ns,
        .cb = current_cb,
    };
    meta_call_start(mc, &read->call);
}
