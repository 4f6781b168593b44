/* One call to the leader of a partition: route, ask, follow hints, try other replicas, back off,
 * until an answer or the deadline.
 *
 *      start ──► ATTEMPT ──► rpc under way ──► answered: callback
 *                   ▲              │ not the leader, another epoch, unreachable, lost, timed out
 *                   └── backoff ◄──┘                        (or at once, after a good hint)
 *
 * What makes a retry safe: reads are reads; proposals carry one write id (propose.c).  Once an
 * attempt of a write had an unknown outcome, only an answer of the state machine settles it: a
 * refusal of a later attempt says nothing about the earlier one. */
#include "common/base/check.h"
#include "gateway/meta/internal.h"
#include "proto/methods.h"
#include "proto/storage.pb-c.h"

#define HOPS_MAX 3 /* hints followed at once before a backoff */

static void call_attempt(struct meta_call *call);

/* Writes where the request goes into it. */
static void address_request(struct meta_call *call, uint32_t partition, uint64_t epoch)
{
    void *m = call->request;
#define ADDRESS(type)                                                                              \
    do {                                                                                           \
        ((type *)m)->partition = partition;                                                        \
        ((type *)m)->epoch = epoch;                                                                \
    } while (0)
    if (call->method == &method_meta_read) {
        ADDRESS(Cairn__ReadRequest);
    } else if (call->method == &method_meta_propose) {
        ((Cairn__ProposeRequest *)m)->partition = partition;
        ((Cairn__ProposeRequest *)m)->command->epoch = epoch;
    } else if (call->method == &method_meta_list) {
        ADDRESS(Cairn__ListRequest);
    } else if (call->method == &method_meta_list_uploads) {
        ADDRESS(Cairn__ListUploadsRequest);
    } else if (call->method == &method_meta_list_parts) {
        ADDRESS(Cairn__ListPartsRequest);
    } else if (call->method == &method_meta_read_part_body) {
        ADDRESS(Cairn__ReadPartBodyRequest);
    } else if (call->method == &method_meta_list_segments) {
        ADDRESS(Cairn__ListSegmentsRequest);
    } else if (call->method == &method_meta_list_events) {
        ADDRESS(Cairn__ListEventsRequest);
    } else if (call->method == &method_meta_rows) {
        ((Cairn__ListRowsRequest *)m)->epoch = epoch;
    } else if (call->method == &method_root_cluster_status ||
               call->method == &method_root_drain_node ||
               call->method == &method_meta_cluster_map) {
        CHECK(call->root); /* there is one root, and it says itself whether it leads */
    } else {
        CHECK(call->method == &method_meta_list_buckets);
        ((Cairn__ListBucketsRequest *)m)->epoch = epoch;
    }
#undef ADDRESS
}

static const char *leader_hint(const struct meta_call *call, void *response)
{
    const Cairn__RouteError *route = NULL;
    if (!response)
        return "";
    if (call->method == &method_meta_read)
        route = ((Cairn__ReadResponse *)response)->route;
    else if (call->method == &method_meta_propose)
        route = ((Cairn__ProposeResponse *)response)->route;
    else if (call->method == &method_meta_list)
        route = ((Cairn__ListResponse *)response)->route;
    else if (call->method == &method_meta_list_uploads)
        route = ((Cairn__ListUploadsResponse *)response)->route;
    else if (call->method == &method_meta_list_parts)
        route = ((Cairn__ListPartsResponse *)response)->route;
    else if (call->method == &method_meta_read_part_body)
        route = ((Cairn__ReadPartBodyResponse *)response)->route;
    else if (call->method == &method_meta_list_segments)
        route = ((Cairn__ListSegmentsResponse *)response)->route;
    else if (call->method == &method_meta_list_events)
        route = ((Cairn__ListEventsResponse *)response)->route;
    else if (call->method == &method_meta_rows)
        route = ((Cairn__ListRowsResponse *)response)->route;
    else if (call->method == &method_root_cluster_status)
        return ((Cairn__ClusterStatusResponse *)response)->leader_hint;
    else if (call->method == &method_root_drain_node)
        return ((Cairn__DrainNodeResponse *)response)->leader_hint;
    else if (call->method == &method_meta_cluster_map)
        return ((Cairn__ClusterMapResponse *)response)->leader_hint;
    else if (call->method == &method_meta_list_buckets)
        route = ((Cairn__ListBucketsResponse *)response)->route;
    return route ? route->leader_hint : "";
}

/* The state machine has spoken, whatever status came with it. */
static bool is_decided(const struct meta_call *call, const void *response)
{
    return call->method == &method_meta_propose && response &&
           ((const Cairn__ProposeResponse *)response)->outcome;
}

static void call_end(struct meta_call *call, int err)
{
    struct meta_client *mc = call->mc;
    if (err != OK && call->maybe_applied) {
        if (err_class(err) != ERR_CLASS_UNKNOWN_OUTCOME)
            err = ERR_TIMEOUT;
        mc->stats.unknown_outcomes++;
    }
    call->err = err;
    env_timer_stop(&call->timer);
    list_remove(&call->node);
    mc->outstanding--;
    call->cb(call);
}

static void call_backoff(struct meta_call *call)
{
    struct meta_client *mc = call->mc;
    uint64_t delay = meta_backoff_ns(mc, call->backoffs++);
    uint64_t now = env_now_ns(mc->env);
    if (now + delay > call->deadline_ns)
        delay = call->deadline_ns > now ? call->deadline_ns - now : 0;
    call->hops = 0;
    mc->stats.route_retries++;
    env_timer_start(&call->timer, mc->stopped ? 0 : delay);
}

static void timer_cb(struct env_timer *timer)
{
    call_attempt(container_of(timer, struct meta_call, timer));
}

/* What the failure of an attempt means for the next one. */
static void call_failed(struct meta_call *call, int err, void *response)
{
    struct meta_client *mc = call->mc;
    struct meta_route *route = map_route_by_id(mc, call->partition);
    bool hop = false;
    call->last_err = err;
    switch (err) {
    case ERR_NOT_LEADER:
    case ERR_NOT_READY:
        hop = route && route_hint(mc, route, leader_hint(call, response), call->target);
        if (!hop && route)
            route_failed(route, call->target);
        break;
    case ERR_EPOCH:
    case ERR_NO_PARTITION:
        meta_client_refresh(mc);
        if (err == ERR_NO_PARTITION && route)
            route_failed(route, call->target);
        break;
    case ERR_TIMEOUT:
        if (route)
            route_timed_out(mc, route, call->target);
        break;
    case ERR_OVERLOAD:
    case ERR_LIMIT: break; /* it leads, and is busy: others could only send us back */
    default:
        if (route)
            route_failed(route, call->target);
    }
    if (hop && ++call->hops <= HOPS_MAX) {
        mc->stats.route_retries++;
        call_attempt(call);
        return;
    }
    call_backoff(call);
}

static bool is_worth_a_retry(int err)
{
    return err_class(err) != ERR_CLASS_PERMANENT || err == ERR_QUARANTINED || err == ERR_IO ||
           err == ERR_CORRUPT;
}

static void rpc_cb(struct rpc_call *rpc)
{
    struct meta_call *call = container_of(rpc, struct meta_call, rpc);
    struct meta_client *mc = call->mc;
    int err = rpc->err;
    call->calling = false;
    if (err == OK && !rpc->response)
        err = ERR_PROTO;
    if (err == OK || is_decided(call, rpc->response)) {
        struct meta_route *route = map_route_by_id(mc, call->partition);
        if (route)
            route->leader = call->target;
        call->response = rpc->response;
        rpc->response = NULL;
        call->response_payload = rpc->response_payload;
        rpc->response_payload = (struct payload){0};
        rpc_call_fini(rpc);
        call_end(call, OK);
        return;
    }
    if (call->is_write && err_class(err) == ERR_CLASS_UNKNOWN_OUTCOME)
        call->maybe_applied = true;
    if (!is_worth_a_retry(err)) {
        rpc_call_fini(rpc);
        call_end(call, err);
        return;
    }
    /* The hint is read before the response goes; a hop starts the next attempt over this struct. */
    ProtobufCMessage *response = rpc->response;
    rpc->response = NULL;
    rpc_call_fini(rpc);
    call_failed(call, err, response);
    if (response)
        protobuf_c_message_free_unpacked(response, NULL);
}

/* Why a call ends that nobody answered.  A failed read, or a write that never left, has not
 * happened. */
static int given_up(const struct meta_call *call, int err)
{
    return err_class(call->last_err) == ERR_CLASS_RETRY ? call->last_err : err;
}

/* Ends the call by way of the timer: this may be inside the start. */
static void call_fatal(struct meta_call *call, int err)
{
    call->fatal_err = err;
    env_timer_start(&call->timer, 0);
}

static void call_attempt(struct meta_call *call)
{
    struct meta_client *mc = call->mc;
    uint64_t now = env_now_ns(mc->env);
    if (mc->stopped) {
        call_end(call, call->maybe_applied ? ERR_CANCELED : ERR_SHUTDOWN);
        return;
    }
    if (call->fatal_err) {
        call_end(call, call->fatal_err);
        return;
    }
    if (now >= call->deadline_ns) {
        call_end(call, given_up(call, call->is_write ? ERR_NOT_READY : ERR_TIMEOUT));
        return;
    }
    struct meta_route *route = map_route(mc, call->root, call->bucket_id, call->key);
    struct rpc_peer *target = route ? route_target(mc, route) : NULL;
    if (!target) {
        meta_client_refresh(mc);
        call_backoff(call);
        return;
    }
    call->partition = route->id;
    call->target = target;
    address_request(call, route->id, route->descriptor ? route->descriptor->epoch : 0);
    if (call->want_range) {
        buf_clear(&call->range_end);
        if (route->descriptor)
            buf_append(&call->range_end, route->descriptor->end.data, route->descriptor->end.len);
        if (call->range_end.failed) {
            call_fatal(call, ERR_NOMEM);
            return;
        }
    }
    uint64_t attempt_ns = (uint64_t)call->attempt_ms * NS_PER_MS;
    call->rpc = (struct rpc_call){
        .method = call->method,
        .heap_response = true,
        .request = call->request,
        .payload[0] = call->payload,
        .payload_count = call->payload.bytes.len ? 1 : 0,
        .timeout_ns = MIN(attempt_ns, call->deadline_ns - now),
        .cb = rpc_cb,
    };
    call->attempts++;
    int err = rpc_call_start(target, &call->rpc);
    if (err == OK)
        call->calling = true;
    else if (err == ERR_TOO_LARGE || err == ERR_INVAL)
        call_fatal(call, err);
    else
        call_failed(call, err, NULL);
}

void meta_call_start(struct meta_client *mc, struct meta_call *call)
{
    call->mc = mc;
    payload_ref(call->payload);
    if (call->attempt_ms == 0)
        call->attempt_ms = mc->config.read_attempt_ms;
    env_timer_init(mc->env, &call->timer, timer_cb);
    list_push_back(&mc->calls, &call->node);
    mc->outstanding++;
    /* What would end the call inside this start goes through the timer. */
    if (mc->stopped || !mc->map || env_now_ns(mc->env) >= call->deadline_ns) {
        if (!mc->map)
            meta_client_refresh(mc);
        env_timer_start(&call->timer, mc->stopped || mc->map ? 0 : meta_backoff_ns(mc, 0));
        return;
    }
    call_attempt(call);
}

void meta_call_fini(struct meta_call *call)
{
    CHECK(!call->calling);
    if (call->response)
        protobuf_c_message_free_unpacked(call->response, NULL);
    call->response = NULL;
    payload_unref(&call->response_payload);
    payload_unref(&call->payload);
    buf_fini(&call->range_end);
}
