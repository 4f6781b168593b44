/* What others ask of a metanode besides data: Raft status, the cluster map, and where to go instead. */
#include "metanode/op/internal.h"

#include <stdlib.h>

#define MAP_AGE_NS (NS_PER_SEC) /* how long a map is used before the root's state is looked at again */

const char *status_leader_id(const struct replica *r)
{
    if (!r->raft)
        return "";
    uint64_t leader = raft_leader(r->raft);
    for (size_t i = 0; i < r->desc->n_replicas && leader != 0; i++)
        if (topology_raft_id(r->desc->replicas[i]->node_id) == leader)
            return r->desc->replicas[i]->node_id;
    return "";
}

static const char *role_name(const struct replica *r)
{
    static const char *const names[] = {
        [RAFT_FOLLOWER] = "follower",
        [RAFT_PRE_CANDIDATE] = "pre-candidate",
        [RAFT_CANDIDATE] = "candidate",
        [RAFT_LEADER] = "leader",
    };
    return replica_runs(r) ? names[raft_role(r->raft)] : "quarantined";
}

void status_serve(void *arg, struct rpc_request *req)
{
    struct meta_node *n = arg;
    Cairn__MetaStatusResponse answer = CAIRN__META_STATUS_RESPONSE__INIT;
    Cairn__PartitionStatus *all = calloc(n->replica_count, sizeof(*all));
    Cairn__PartitionStatus **ptrs = calloc(n->replica_count, sizeof(*ptrs));
    for (size_t i = 0; all && ptrs && i < n->replica_count; i++) {
        struct replica *r = n->replicas[i];
        Cairn__PartitionStatus *s = &all[i];
        cairn__partition_status__init(s);
        ptrs[i] = s;
        s->partition = r->partition;
        s->role = (char *)(uintptr_t)role_name(r);
        if (!replica_runs(r))
            continue;
        s->term = raft_term(r->raft);
        s->leader = (char *)(uintptr_t)status_leader_id(r);
        s->last_index = raft_last_index(r->raft);
        s->commit = raft_commit(r->raft);
        s->visible = raft_visible(r->raft);
        s->applied = index_applied(r->index);
        s->log_first = raft_compact_index(r->raft);
        s->witnesses_needed = visible_needed_count(&r->visible);
    }
    answer.n_partitions = n->replica_count;
    answer.partitions = ptrs;
    rpc_reply(req, all && ptrs ? OK : ERR_NOMEM, all && ptrs ? &answer.base : NULL, NULL, 0);
    free(all);
    free(ptrs);
}

/* ---- cluster map ---- */

/* What the root says of a partition must be what this node began with.  One that was added to the
 * cluster file later has placed the partitions by another file: its groups are none. */
static bool contradicts(const struct meta_node *n, const Cairn__PartitionDescriptor *d)
{
    if (!node_replica((struct meta_node *)(uintptr_t)n, d->id) || d->n_replicas == 0)
        return false;
    for (size_t i = 0; i < d->n_replicas; i++)
        if (strcmp(d->replicas[i]->node_id, n->config.node_id) == 0)
            return false;
    return true;
}

static void keep_map(struct meta_node *n, Cairn__ClusterMap *map)
{
    for (size_t i = 0; i < map->n_partitions && !n->failed; i++) {
        if (!contradicts(n, map->partitions[i]))
            continue;
        log_error("metanode.not_a_member", 0, L_UINT("partition", map->partitions[i]->id));
        node_fail(n, ERR_CONFIG, "this node was added to the cluster file after the first start");
    }
    if (n->map)
        cairn__cluster_map__free_unpacked(n->map, NULL);
    n->map = map;
}

/* A response lives in the call's own memory, so what is kept of it is packed and unpacked. */
static void copy_map(struct meta_node *n, const Cairn__ClusterMap *map)
{
    struct buf packed = {0};
    if (buf_reserve(&packed, cairn__cluster_map__get_packed_size(map)) == OK) {
        packed.len = cairn__cluster_map__pack(map, packed.ptr);
        Cairn__ClusterMap *copy = cairn__cluster_map__unpack(NULL, packed.len, packed.ptr);
        if (copy)
            keep_map(n, copy);
    }
    buf_fini(&packed);
}

static void map_answered(struct rpc_call *call)
{
    struct meta_node *n = container_of(call, struct meta_node, map_call);
    const Cairn__ClusterMapResponse *a = (const Cairn__ClusterMapResponse *)call->response;
    n->map_asking = false;
    if (call->err == OK && a && a->map && (!n->map || a->map->version > n->map->version))
        copy_map(n, a->map);
    rpc_call_fini(call);
}

void status_map_tick(struct meta_node *n)
{
    struct replica *r = node_replica(n, ROOT_PARTITION);
    uint64_t now = env_now_ns(n->env);
    if ((r && replica_runs(r)) || n->map_asking || now < n->map_ns)
        return;
    /* No replica of the root here: ask one that has it. */
    struct meta_peer *peer = root_peer(n, n->map_attempt++);
    Cairn__ClusterMapRequest req = CAIRN__CLUSTER_MAP_REQUEST__INIT;
    n->map_ns = now + MAP_AGE_NS;
    if (!peer)
        return;
    req.known_version = n->map ? n->map->version : 0;
    n->map_call = (struct rpc_call){.method = &method_meta_cluster_map, .request = &req.base,
                                    .timeout_ns = 2 * NS_PER_SEC, .cb = map_answered};
    n->map_asking = rpc_call_start(peer->rpc, &n->map_call) == OK;
}

const Cairn__ClusterMap *status_map(struct meta_node *n)
{
    struct replica *r = node_replica(n, ROOT_PARTITION);
    uint64_t now = env_now_ns(n->env);
    if (!r || !replica_runs(r) || r->installing)
        return n->map;
    if (n->map && now < n->map_ns)
        return n->map;
    struct index_view view;
    Cairn__ClusterMap *map = NULL;
    index_view_init(&view, r->index, NULL);
    if (index_cluster_map(&view, &map) == OK) {
        keep_map(n, map);
        n->map_ns = now + MAP_AGE_NS;
    }
    return n->map;
}

static void reply_map(struct rpc_request *req, const Cairn__ClusterMap *map, uint64_t as_of)
{
    const Cairn__ClusterMapRequest *m = (const Cairn__ClusterMapRequest *)req->msg;
    Cairn__ClusterMapResponse answer = CAIRN__CLUSTER_MAP_RESPONSE__INIT;
    answer.as_of = as_of;
    answer.unchanged = m->known_version != 0 && m->known_version == map->version;
    if (!answer.unchanged)
        answer.map = (Cairn__ClusterMap *)(uintptr_t)map;
    rpc_reply(req, OK, &answer.base, NULL, 0);
}

void status_serve_map(void *arg, struct rpc_request *req)
{
    struct meta_node *n = arg;
    if (((const Cairn__ClusterMapRequest *)req->msg)->current) {
        read_serve(arg, req); /* which ends in status_reply_map() */
        return;
    }
    const Cairn__ClusterMap *map = status_map(n);
    if (map)
        reply_map(req, map, 0);
    else
        rpc_reply(req, ERR_NOT_READY, NULL, NULL, 0);
}

const Cairn__ClusterMap *status_map_at(struct meta_node *n, uint64_t index)
{
    if (n->map && n->map->version < index)
        n->map_ns = 0; /* the one that is kept is older */
    const Cairn__ClusterMap *map = status_map(n);
    return map && map->version >= index ? map : NULL;
}

void status_reply_map(struct rpc_request *req, const Cairn__ClusterMap *map, uint64_t index)
{
    CHECK(index > 0 && map->version >= index);
    reply_map(req, map, index);
}

/* ---- routing errors ---- */

void status_reply_route(struct rpc_request *req, int err, struct meta_node *n, struct replica *r)
{
    Cairn__RouteError route = CAIRN__ROUTE_ERROR__INIT;
    Cairn__PartitionDescriptor *current[META_PARTITIONS_MAX];
    const ProtobufCMessage *msg = NULL;
    uint16_t kind = req->method->kind;
    route.current = current;
    if (r) {
        route.leader_hint = (char *)(uintptr_t)status_leader_id(r);
        current[route.n_current++] = (Cairn__PartitionDescriptor *)(uintptr_t)r->desc;
    }
    /* With a wrong epoch or partition the caller's map is of no use: it gets ours. */
    for (size_t i = 0; err != ERR_NOT_LEADER && err != ERR_NOT_READY &&
                       i < n->topology->n_partitions && route.n_current < META_PARTITIONS_MAX; i++)
        if (!r || n->topology->partitions[i] != r->desc)
            current[route.n_current++] = n->topology->partitions[i];
#define ROUTED(METHOD, Type, INIT)                                                                 \
    Cairn__##Type METHOD##_answer = INIT;                                                          \
    if (kind == method_meta_##METHOD.kind) {                                                       \
        METHOD##_answer.route = &route;                                                            \
        msg = &METHOD##_answer.base;                                                               \
    }
    ROUTED(propose, ProposeResponse, CAIRN__PROPOSE_RESPONSE__INIT)
    ROUTED(read, ReadResponse, CAIRN__READ_RESPONSE__INIT)
    ROUTED(list, ListResponse, CAIRN__LIST_RESPONSE__INIT)
    ROUTED(list_uploads, ListUploadsResponse, CAIRN__LIST_UPLOADS_RESPONSE__INIT)
    ROUTED(list_parts, ListPartsResponse, CAIRN__LIST_PARTS_RESPONSE__INIT)
    ROUTED(read_part_body, ReadPartBodyResponse, CAIRN__READ_PART_BODY_RESPONSE__INIT)
    ROUTED(blob_refs, BlobRefsResponse, CAIRN__BLOB_REFS_RESPONSE__INIT)
    ROUTED(list_segments, ListSegmentsResponse, CAIRN__LIST_SEGMENTS_RESPONSE__INIT)
    ROUTED(list_events, ListEventsResponse, CAIRN__LIST_EVENTS_RESPONSE__INIT)
    ROUTED(list_buckets, ListBucketsResponse, CAIRN__LIST_BUCKETS_RESPONSE__INIT)
    ROUTED(rows, ListRowsResponse, CAIRN__LIST_ROWS_RESPONSE__INIT)
#undef ROUTED
    Cairn__ClusterStatusResponse status = CAIRN__CLUSTER_STATUS_RESPONSE__INIT;
    if (kind == method_root_cluster_status.kind) {
        status.leader_hint = route.leader_hint ? route.leader_hint : status.leader_hint;
        msg = &status.base;
    }
    Cairn__ClusterMapResponse map = CAIRN__CLUSTER_MAP_RESPONSE__INIT;
    if (kind == method_meta_cluster_map.kind) {
        map.leader_hint = route.leader_hint ? route.leader_hint : map.leader_hint;
        msg = &map.base;
    }
    rpc_reply(req, err, msg, NULL, 0);
}
