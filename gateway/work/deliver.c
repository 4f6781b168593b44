/* See deliver.h.  Questions to the metanodes, and the queues that they give us. */
#include "gateway/work/deliver.h"

#include "common/base/check.h"
#include "common/obs/log.h"
#include "gateway/work/deliver_lane.h"
#include "proto/keyhash.h"
#include "proto/methods.h"

#include <stdlib.h>

#define ASK_TIMEOUT_NS NS_PER_SEC
#define METANODES_MAX 64
#define CLAIM_LOG_NS (60 * NS_PER_SEC)
#define STUCK_NS (30 * NS_PER_SEC)

struct deliver_ask {
    struct deliver *d;
    struct rpc_call call;
    bool calling;
    uint64_t asked_ns;
};

/* ---- queues ---- */

static struct queue *queue_find(struct deliver *d, uint32_t partition, uint64_t bucket_id)
{
    list_for_each(it, &d->queues)
    {
        struct queue *q = container_of(it, struct queue, node);
        if (q->partition == partition && q->bucket_id == bucket_id)
            return q;
    }
    return NULL;
}

/* The bucket's first key in a range that begins at `start`. */
static void queue_key(struct queue *q, struct slice start)
{
    struct buf lower = {0};
    range_position(q->bucket_id, SLICE_EMPTY, &lower);
    if (!lower.failed && slice_has_prefix(start, buf_view(&lower)))
        buf_append(&q->key, start.ptr + lower.len, start.len - lower.len);
    q->key.failed |= lower.failed;
    buf_fini(&lower);
}

static void queue_free(struct queue *q)
{
    list_for_each_safe(it, next, &q->lanes)
    {
        lane_free(container_of(it, struct lane, node));
    }
    list_remove(&q->node);
    q->d->queue_count--;
    buf_fini(&q->key);
    free(q);
}

static struct queue *queue_new(struct deliver *d, const Cairn__EventQueueInfo *info)
{
    struct queue *q = calloc(1, sizeof(*q));
    if (!q)
        return NULL;
    q->d = d;
    q->partition = info->partition;
    q->bucket_id = info->bucket_id;
    q->progress_ns = env_now_ns(d->gw->env);
    list_init(&q->node);
    list_init(&q->lanes);
    queue_key(q, SLICE(info->start.data, info->start.len));
    list_push_back(&d->queues, &q->node);
    d->queue_count++;
    if (!q->key.failed)
        return q;
    queue_free(q);
    return NULL;
}

static struct lane *lane_of(struct queue *q, const Cairn__EventCount *count)
{
    list_for_each(it, &q->lanes)
    {
        struct lane *l = container_of(it, struct lane, node);
        if (l->kind == count->kind && strcmp(l->target, count->target) == 0)
            return l;
    }
    return lane_new(q, count->kind, count->target);
}

static bool queue_idle(const struct queue *q)
{
    list_for_each(it, &q->lanes)
    {
        if (!lane_idle(container_of(it, struct lane, node)))
            return false;
    }
    return true;
}

/* Between two claims of ours another gateway may have delivered, also what we have listed and not
 * delivered: after what came later.  So the queue is given up, and begun anew when it is idle. */
static bool queue_lapsed(struct queue *q)
{
    q->lapsed |= env_now_ns(q->d->gw->env) >= q->claim_until_ns;
    return q->lapsed;
}

/* Destinations for which nothing waits any more: whoever changes a bucket's configuration again and
 * again while its queue is never empty would make us keep one for each that there ever was. */
static void lanes_drop(struct queue *q)
{
    list_for_each_safe(it, next, &q->lanes)
    {
        struct lane *l = container_of(it, struct lane, node);
        if (l->rows == 0 && l->count == 0 && lane_idle(l))
            lane_free(l);
    }
}

/* What the leader says of a queue that it has claimed for us. */
static void queue_learn(struct deliver *d, const Cairn__EventQueueInfo *info, uint64_t until_ns)
{
    struct queue *q = queue_find(d, info->partition, info->bucket_id);
    if (q && queue_lapsed(q))
        return;
    if (!q && d->queue_count < d->config.queues_max)
        q = queue_new(d, info);
    if (!q || !info->queue)
        return;
    q->mentioned = true;
    q->claim_until_ns = MAX(q->claim_until_ns, until_ns);
    q->oldest_ms = info->oldest_ms;
    q->time_ms = info->time_ms;
    q->time_at_ns = env_now_ns(d->gw->env);
    memset(q->rows, 0, sizeof(q->rows));
    list_for_each(it, &q->lanes)
    {
        container_of(it, struct lane, node)->rows = 0;
    }
    for (size_t i = 0; i < info->queue->n_counts; i++) {
        const Cairn__EventCount *count = info->queue->counts[i];
        bool replication = count->kind == CAIRN__SINK_KIND__SINK_REPLICATION;
        q->rows[replication ? DELIVER_REPLICATION : DELIVER_WEBHOOK] += count->rows;
        struct lane *l = lane_of(q, count);
        if (l) {
            l->rows = count->rows;
            lane_wake(l);
        }
    }
    lanes_drop(q);
}

/* ---- questions ---- */

/* After a round: queues that are empty or no longer ours go. */
static void round_end(struct deliver *d)
{
    uint64_t now_ms = env_wall_ms(d->gw->env), now_ns = env_now_ns(d->gw->env);
    uint64_t waiting[DELIVER_KINDS] = {0}, oldest = now_ms;
    uint64_t pause_ns = d->config.interval_ms * NS_PER_MS;
    list_for_each_safe(it, next, &d->queues)
    {
        struct queue *q = container_of(it, struct queue, node);
        if (queue_lapsed(q)) {
            list_for_each(l, &q->lanes)
            {
                lane_cancel(container_of(l, struct lane, node), true);
            }
        }
        if (queue_idle(q) && (!q->mentioned || q->lapsed)) {
            queue_free(q);
            continue;
        }
        for (int k = 0; k < DELIVER_KINDS && q->mentioned; k++)
            waiting[k] += q->rows[k];
        if (q->mentioned && q->oldest_ms)
            oldest = MIN(oldest, q->oldest_ms);
        if (!q->lapsed) /* its transfers are broken off then, and not an interval later */
            pause_ns = MIN(pause_ns, q->claim_until_ns - now_ns);
    }
    for (int k = 0; k < DELIVER_KINDS; k++)
        metric_set(d->metrics->waiting[k], (int64_t)waiting[k]);
    metric_set(d->metrics->oldest, (int64_t)((now_ms - oldest) / 1000));
    metric_set(d->metrics->queues, (int64_t)d->queue_count);
    if (!d->stopped)
        env_timer_start(&d->timer, pause_ns);
}

static void ask_end(struct deliver *d)
{
    CHECK(d->asking > 0);
    if (--d->asking == 0)
        round_end(d);
}

/* What the metanodes were told is not what this gateway was (gateway_params_check()). */
static void claim_check(struct deliver *d, uint64_t claim_ms)
{
    uint64_t now = env_now_ns(d->gw->env);
    if (deliver_times_fit(d->gw->config->event_timeout_ms, d->config.interval_ms, claim_ms) ||
        (d->claim_logged_ns && now - d->claim_logged_ns < CLAIM_LOG_NS))
        return;
    d->claim_logged_ns = now;
    log_error("events.claim", 0, L_UINT("event_claim_ms", claim_ms),
              L_UINT("event_timeout_ms", d->gw->config->event_timeout_ms),
              L_STR("why", "the metanodes' event_claim is too short for this gateway's "
                           "event_timeout and event_interval: events may wait for ever"));
}

static void ask_cb(struct rpc_call *call)
{
    struct deliver_ask *a = container_of(call, struct deliver_ask, call);
    struct deliver *d = a->d;
    const Cairn__EventQueuesResponse *m =
        (const Cairn__EventQueuesResponse *)(const void *)call->response;
    a->calling = false;
    if (call->err == OK && m && !d->stopped) {
        /* A quarter less: clocks that run at different speeds, and answers under way. */
        claim_check(d, m->claim_ms);
        uint64_t until = a->asked_ns + (uint64_t)m->claim_ms * NS_PER_MS / 4 * 3;
        for (size_t i = 0; i < m->n_queues; i++)
            queue_learn(d, m->queues[i], until);
    }
    rpc_call_fini(call);
    ask_end(d);
}

/* Nothing of it was taken for a while, and no transfer is under way. */
static bool queue_stuck(const struct queue *q, uint64_t now)
{
    if (q->lapsed || now < q->progress_ns + STUCK_NS)
        return false;
    list_for_each(it, &q->lanes)
    {
        const struct lane *l = container_of(it, struct lane, node);
        if (l->running && l->kind == CAIRN__SINK_KIND__SINK_REPLICATION)
            return false;
    }
    return true;
}

/* With as many queues as there may be, some that are stuck are let go, those first that we have had
 * for longest: we are silent about them, so that the claims end by themselves.  Their turn comes
 * again when the leader's search has come round. */
static void queues_give_way(struct deliver *d)
{
    uint64_t now = env_now_ns(d->gw->env);
    size_t left = d->config.queues_max / 8 + 1;
    if (d->queue_count < d->config.queues_max)
        return;
    list_for_each(it, &d->queues)
    {
        struct queue *q = container_of(it, struct queue, node);
        if (!queue_stuck(q, now))
            continue;
        q->lapsed = true;
        q->claim_until_ns = now;
        if (--left == 0)
            return;
    }
}

/* Every metanode, at once: each knows the partitions that it leads. */
static void round_begin(struct deliver *d)
{
    Cairn__EventQueuesRequest request = CAIRN__EVENT_QUEUES_REQUEST__INIT;
    Cairn__EventQueueRef refs[DELIVER_QUEUES_MAX], *ptrs[DELIVER_QUEUES_MAX];
    struct rpc_peer *peer;
    request.claimant = (ProtobufCBinaryData){ID_BYTES, d->claimant.bytes};
    request.held = ptrs;
    queues_give_way(d);
    list_for_each(it, &d->queues)
    {
        struct queue *q = container_of(it, struct queue, node);
        q->mentioned = false;
        if (queue_lapsed(q))
            continue;
        Cairn__EventQueueRef *ref = &refs[request.n_held];
        cairn__event_queue_ref__init(ref);
        ref->partition = q->partition;
        ref->bucket_id = q->bucket_id;
        ptrs[request.n_held++] = ref;
    }
    request.queues_max = (uint32_t)(d->config.queues_max - d->queue_count);
    d->asking = 1; /* ours, so that the round does not end before all are asked */
    for (size_t i = 0; i < METANODES_MAX && (peer = meta_client_metanode(d->gw->mc, i)) != NULL;
         i++) {
        struct deliver_ask *a = &d->asks[i];
        a->asked_ns = env_now_ns(d->gw->env);
        a->call = (struct rpc_call){
            .method = &method_meta_event_queues,
            .heap_response = true,
            .request = &request.base,
            .timeout_ns = ASK_TIMEOUT_NS,
            .cb = ask_cb,
        };
        if (rpc_call_start(peer, &a->call) != OK)
            continue;
        a->calling = true;
        d->asking++;
    }
    ask_end(d);
}

static void timer_cb(struct env_timer *timer)
{
    struct deliver *d = container_of(timer, struct deliver, timer);
    if (!d->stopped)
        round_begin(d);
}

/* ---- life ---- */

void deliver_metrics_init(struct deliver_metrics *m)
{
    static const char *const labels[] = {"sink=\"webhook\"", "sink=\"replication\""};
    for (int k = 0; k < DELIVER_KINDS; k++) {
        m->waiting[k] =
            metric_gauge_new("cairn_events_waiting", labels[k],
                             "Events in the queues that this gateway delivers, when last asked.");
        m->delivered[k] = metric_counter_new("cairn_events_delivered_total", labels[k],
                                             "Events that their destination has taken.");
        m->failed[k] = metric_counter_new("cairn_events_failed_total", labels[k],
                                          "Deliveries that failed; they are tried again.");
    }
    m->given_up =
        metric_counter_new("cairn_events_given_up_total", NULL, "Events that are not tried again.");
    m->oldest = metric_gauge_new("cairn_events_oldest_seconds", NULL,
                                 "Age of the oldest event in these queues.");
    m->queues = metric_gauge_new("cairn_events_queues", NULL,
                                 "Queues of events that this gateway delivers.");
}

int deliver_new(struct gateway *gw, const struct deliver_config *config,
                const struct deliver_metrics *metrics, struct deliver **ret)
{
    CHECK(config->parallel >= 1 && config->parallel <= DELIVER_PARALLEL_MAX && gw->out);
    CHECK(config->queues_max >= 1 && config->queues_max <= DELIVER_QUEUES_MAX);
    CHECK(config->running_max >= 1);
    struct deliver *d = calloc(1, sizeof(*d));
    struct deliver_ask *asks = calloc(METANODES_MAX, sizeof(*asks));
    if (!d || !asks) {
        free(d);
        free(asks);
        return ERR_NOMEM;
    }
    d->gw = gw;
    d->config = *config;
    d->metrics = metrics;
    d->asks = asks;
    for (size_t i = 0; i < METANODES_MAX; i++)
        asks[i].d = d;
    list_init(&d->queues);
    env_random(gw->env, d->claimant.bytes, ID_BYTES);
    env_timer_init(gw->env, &d->timer, timer_cb);
    env_timer_start(&d->timer, 0);
    *ret = d;
    return OK;
}

void deliver_stop(struct deliver *d)
{
    if (d->stopped)
        return;
    d->stopped = true;
    env_timer_stop(&d->timer);
    for (size_t i = 0; i < METANODES_MAX; i++)
        if (d->asks[i].calling)
            rpc_call_cancel(&d->asks[i].call);
    list_for_each(it, &d->queues)
    {
        struct queue *q = container_of(it, struct queue, node);
        list_for_each(l, &q->lanes)
        {
            lane_cancel(container_of(l, struct lane, node), false);
        }
    }
}

bool deliver_idle(const struct deliver *d)
{
    return d->asking == 0 && d->busy == 0;
}

void deliver_free(struct deliver *d)
{
    if (!d)
        return;
    CHECK(d->stopped && deliver_idle(d));
    list_for_each_safe(it, next, &d->queues)
    {
        queue_free(container_of(it, struct queue, node));
    }
    free(d->asks);
    free(d);
}
