/* One destination's events of one queue: listed, delivered, acknowledged.
 *
 * A window of events is in memory, in the queue's order.  Several are under delivery at a time, but
 * of one key only the first: what came later waits until the destination has taken it.  One that
 * fails is tried again, later and later, while those of other keys go on; when one after the other
 * fails, the destination is taken to be away and tried with one at a time.
 *
 * When there is nothing but what has failed in the window, and more behind it, all that is passed
 * over, and so is what comes later of the same keys: events that a destination never takes do not
 * keep up the rest, however many they are.  From the end of the queue it is begun anew with them,
 * after retry_max.  What was passed over is remembered as a bit for each hash, at least twice as
 * many as there are events, up to a bound; another key of the same hash waits for the next round,
 * whose hashes are others.
 *
 * A destination that answers, if only to say no, is there: the next event is tried soon.  One that
 * does not is left alone for longer. */
#include "gateway/work/deliver_lane.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/obs/log.h"
#include "gateway/op/events.h"
#include "proto/methods.h"

#include <stdio.h>
#include <stdlib.h>

#define RETRY_FIRST_NS (200 * NS_PER_MS) /* doubles up to retry_max_ms */
#define ACK_DELAY_NS (50 * NS_PER_MS)    /* so that one entry acknowledges several */
#define ACK_BATCH 32
#define CROWDED_NS (100 * NS_PER_MS) /* until it is looked whether there is a place */
#define AWAY_FAILURES 4
#define AWAY_PAUSE_MAX_NS (5 * NS_PER_SEC)
#define REFUSED_PAUSE_NS (20 * NS_PER_MS) /* after as many that were refused in a row */
#define LOG_NS (60 * NS_PER_SEC)
/* Of a bucket that is gone, what fails is tried no more once it is so old. */
#define GONE_AGE_MS (10 * 60 * 1000ull)
#define ASK_BUCKET_NS (30 * NS_PER_SEC)

static void lane_work(struct lane *l);

static uint64_t now_of(const struct lane *l)
{
    return env_now_ns(l->queue->d->gw->env);
}

/* By the partition's clock and ours, whichever has it younger: no clock that is ahead makes an
 * event so old that it is given up.  Of a metanode that tells no time, none is old. */
static uint64_t age_ms(const struct lane *l, const struct delivery *d)
{
    const struct queue *q = l->queue;
    uint64_t theirs = q->time_ms + (now_of(l) - q->time_at_ns) / NS_PER_MS;
    uint64_t now = MIN(env_wall_ms(q->d->gw->env), theirs), then = d->entry->row->time_ms;
    return now > then ? now - then : 0;
}

static int kind_of(const struct lane *l)
{
    return l->kind == CAIRN__SINK_KIND__SINK_REPLICATION ? DELIVER_REPLICATION : DELIVER_WEBHOOK;
}

/* May something be begun that takes so long? */
static bool is_ours(const struct lane *l, uint64_t ns)
{
    const struct queue *q = l->queue;
    return !q->d->stopped && now_of(l) + ns < q->claim_until_ns;
}

static uint64_t backoff_ns(const struct lane *l, unsigned tries)
{
    uint64_t max = l->queue->d->config.retry_max_ms * NS_PER_MS;
    uint64_t ns = RETRY_FIRST_NS << MIN(tries, 20u);
    return MIN(ns, max);
}

/* ---- acknowledgements ---- */

static void ack_add(struct lane *l, const struct delivery *d, Cairn__EventResult result)
{
    CHECK(l->ack_count < LANE_ACKS_MAX);
    Cairn__EventAck *a = &l->acks[l->ack_count];
    cairn__event_ack__init(a);
    a->index = d->entry->index;
    a->n = d->entry->n;
    a->result = result;
    if (l->kind == CAIRN__SINK_KIND__SINK_REPLICATION && d->entry->row->key.len) {
        a->key.data = malloc(d->entry->row->key.len);
        if (!a->key.data)
            return; /* it is delivered once more */
        a->key.len = d->entry->row->key.len;
        memcpy(a->key.data, d->entry->row->key.data, a->key.len);
    }
    if (l->ack_count++ == 0)
        l->ack_since_ns = now_of(l);
}

static void acks_drop(struct lane *l, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(l->acks[i].key.data);
    memmove(l->acks, l->acks + count, (l->ack_count - count) * sizeof(*l->acks));
    l->ack_count -= count;
    l->ack_since_ns = now_of(l);
}

static int ack_cmp(const void *x, const void *y)
{
    const Cairn__EventAck *a = x, *b = y;
    if (a->index != b->index)
        return a->index < b->index ? -1 : 1;
    return (a->n > b->n) - (a->n < b->n);
}

static void ack_cb(struct meta_propose *p)
{
    struct lane *l = container_of(p, struct lane, ack);
    int err = p->err;
    l->acking = false;
    l->queue->d->busy--;
    meta_propose_fini(p);
    if (err != OK)
        log_warn("events.acknowledge", 0, L_STR("target", l->target), L_ERR(err));
    /* Once more does no harm.  What is not said in the end is delivered again, here or elsewhere.
     */
    if (err == OK || l->queue->d->stopped || err_class(err) == ERR_CLASS_PERMANENT)
        acks_drop(l, l->ack_sent);
    l->ack_sent = 0;
    l->ack_since_ns = now_of(l);
    lane_work(l);
}

/* An event may have been refused first and taken then, before either was said: one is said now. */
static size_t acks_one_each(struct lane *l)
{
    size_t n = 0;
    qsort(l->acks, l->ack_count, sizeof(*l->acks), ack_cmp);
    while (n < l->ack_count && (n == 0 || ack_cmp(&l->acks[n - 1], &l->acks[n]) != 0))
        n++;
    return n;
}

static void ack_send(struct lane *l)
{
    struct queue *q = l->queue;
    l->ack_sent = acks_one_each(l);
    cairn__ack_events__init(&l->ack_command);
    for (size_t i = 0; i < l->ack_sent; i++)
        l->ack_ptrs[i] = &l->acks[i];
    l->ack_command.bucket_id = q->bucket_id;
    l->ack_command.key = (ProtobufCBinaryData){q->key.len, q->key.ptr};
    l->ack_command.kind = l->kind;
    l->ack_command.target = l->target;
    l->ack_command.events = l->ack_ptrs;
    l->ack_command.n_events = l->ack_sent;
    l->ack = (struct meta_propose){
        .bucket_id = q->bucket_id,
        .key = buf_view(&q->key),
        .deadline_ns = now_of(l) + q->d->gw->config->timeout_ms * NS_PER_MS,
        .cb = ack_cb,
    };
    cairn__command__init(&l->ack.command);
    l->ack.command.op_case = CAIRN__COMMAND__OP_ACK_EVENTS;
    l->ack.command.ack_events = &l->ack_command;
    l->acking = true;
    q->d->busy++;
    meta_propose_start(q->d->gw->mc, &l->ack);
}

/* ---- ends of deliveries ---- */

/* It is in no window any more. */
static void delivery_free(struct delivery *d)
{
    d->lane->queue->d->windowed--;
    if (d->entry)
        cairn__event_entry__free_unpacked(d->entry, NULL);
    free(d);
}

static void window_remove(struct lane *l, struct delivery *d)
{
    size_t at = 0;
    while (l->window[at] != d)
        at++;
    memmove(&l->window[at], &l->window[at + 1], (l->count - at - 1) * sizeof(struct delivery *));
    l->count--;
    delivery_free(d);
}

static void delivered(struct lane *l, struct delivery *d, Cairn__EventResult result)
{
    const struct deliver_metrics *m = l->queue->d->metrics;
    if (result == CAIRN__EVENT_RESULT__EVENT_DONE) {
        metric_inc(m->delivered[kind_of(l)]);
        l->failures = 0;
        l->paused_until_ns = 0;
        l->queue->progress_ns = now_of(l);
    } else {
        metric_inc(m->given_up);
        if (!d->never) /* else there is nothing that anybody could do */
            log_error("events.given_up", 0, L_STR("target", l->target),
                      L_STR("bucket", d->entry->row->bucket),
                      L_BYTES("key", SLICE(d->entry->row->key.data, d->entry->row->key.len)));
    }
    ack_add(l, d, result);
    window_remove(l, d);
}

static void bucket_cb(struct meta_read *read)
{
    struct lane *l = container_of(read, struct lane, bucket_read);
    const struct cache_entry *e = read->err == OK ? read->bucket_entry : NULL;
    l->asking_bucket = false;
    l->queue->d->busy--;
    if (e)
        l->gone = !e->record->present || e->record->bucket->id != l->queue->bucket_id;
    meta_read_fini(read);
    lane_work(l);
}

static void bucket_ask(struct lane *l, const struct delivery *d)
{
    uint64_t now = now_of(l);
    if (l->asking_bucket || (l->asked_bucket_ns && now - l->asked_bucket_ns < ASK_BUCKET_NS))
        return;
    l->asking_bucket = true;
    l->asked_bucket_ns = now;
    l->queue->d->busy++;
    snprintf(l->asked_bucket, sizeof(l->asked_bucket), "%s", d->entry->row->bucket);
    l->bucket_read = (struct meta_read){
        .bucket = slice_cstr(l->asked_bucket),
        .deadline_ns = now + l->queue->d->gw->config->timeout_ms * NS_PER_MS,
        .cb = bucket_cb,
    };
    meta_read_start(l->queue->d->gw->mc, &l->bucket_read);
}

/* The destination, or what stands before it, says that it is not there, or gives no answer. */
static bool says_away(int status)
{
    return status == 408 || status == 429 || (status >= 502 && status <= 504);
}

static void failed(struct lane *l, struct delivery *d, bool away, int status, const char *why)
{
    struct deliver *all = l->queue->d;
    uint64_t now = now_of(l);
    metric_inc(all->metrics->failed[kind_of(l)]);
    if (!l->logged_ns || now - l->logged_ns >= LOG_NS) {
        l->logged_ns = now;
        log_warn("events.failed", 0, L_STR("target", l->target),
                 L_STR("bucket", d->entry->row->bucket), L_INT("status", status), L_STR("why", why),
                 L_UINT("tries", d->tries + 1));
    }
    d->next_ns = now + backoff_ns(l, d->tries++);
    if (++l->failures >= AWAY_FAILURES)
        l->paused_until_ns =
            now + (away ? MIN(backoff_ns(l, l->failures - AWAY_FAILURES), AWAY_PAUSE_MAX_NS)
                        : REFUSED_PAUSE_NS);
    if (age_ms(l, d) < GONE_AGE_MS)
        return;
    if (l->gone)
        delivered(l, d, CAIRN__EVENT_RESULT__EVENT_GIVEN_UP);
    else
        bucket_ask(l, d);
}

static void runs(struct delivery *d, bool on)
{
    struct lane *l = d->lane;
    struct deliver *all = l->queue->d;
    d->running = on;
    l->running += on ? 1 : -1u;
    all->running += on ? 1 : -1u;
    all->busy += on ? 1 : -1u;
}

/* ---- webhooks ---- */

static void post_cb(struct webhook_post *post)
{
    struct delivery *d = post->user;
    struct lane *l = d->lane;
    int err = post->err, status = post->call.status;
    char why[sizeof(post->call.why)];
    memcpy(why, post->call.why, sizeof(why));
    runs(d, false);
    webhook_post_fini(post);
    if (err == OK)
        delivered(l, d, CAIRN__EVENT_RESULT__EVENT_DONE);
    else
        failed(l, d, err != ERR_REFUSED || says_away(status), status, why[0] ? why : err_name(err));
    lane_work(l);
}

static struct slice rule_of(const struct lane *l, const Cairn__EventRow *row,
                            struct slice *ret_class)
{
    for (size_t i = 0; i < row->n_sinks; i++) {
        const Cairn__EventSink *s = row->sinks[i];
        if (s->kind != l->kind || strcmp(s->target, l->target) != 0)
            continue;
        if (ret_class)
            *ret_class = slice_cstr(s->storage_class);
        return slice_cstr(s->id);
    }
    return SLICE_EMPTY;
}

/* false: no memory. */
static bool post_start(struct lane *l, struct delivery *d, const struct target *target)
{
    struct gateway *gw = l->queue->d->gw;
    const Cairn__EventRow *row = d->entry->row;
    struct s3_event_message m = {
        .event = (enum s3_event)row->name,
        .time_ms = row->time_ms,
        .region = gw->config->region,
        .rule_id = rule_of(l, row, NULL),
        .requester = slice_cstr(row->requester),
        .source_ip = slice_cstr(row->source_ip),
        .request_id = slice_cstr(row->request_id),
        .bucket = slice_cstr(row->bucket),
        .bucket_owner = slice_cstr(row->bucket_owner),
        .key = SLICE(row->key.data, row->key.len),
        .etag = slice_cstr(row->etag),
        .size = row->size,
        .version = row->versioned ? row->version : 0,
        .index = d->entry->index,
        .n = d->entry->n,
    };
    d->u.post = (struct webhook_post){.cb = post_cb, .user = d};
    s3_event_message_write(&d->u.post.body, &m);
    if (webhook_post_start(gw->out, target, gw->config->event_timeout_ms, &d->u.post) == OK)
        return true;
    webhook_post_fini(&d->u.post);
    return false;
}

/* ---- replication ---- */

static void replicate_cb(struct replicate *r)
{
    struct delivery *d = r->user;
    struct lane *l = d->lane;
    enum replicate_result result = r->result;
    d->sent = r->sent;
    runs(d, false);
    if (result == REPLICATE_DONE) {
        delivered(l, d, CAIRN__EVENT_RESULT__EVENT_DONE);
    } else if (result == REPLICATE_NEVER) {
        d->never = true;
        delivered(l, d, CAIRN__EVENT_RESULT__EVENT_GIVEN_UP);
    } else if ((result == REPLICATE_REFUSED || result == REPLICATE_LATE) &&
               age_ms(l, d) >= l->queue->d->config.give_up_ms) {
        delivered(l, d, CAIRN__EVENT_RESULT__EVENT_GIVEN_UP);
    } else {
        if (result == REPLICATE_REFUSED && !d->refused && l->ack_count < LANE_ACKS_MAX) {
            d->refused = true;
            ack_add(l, d, CAIRN__EVENT_RESULT__EVENT_REFUSED);
        }
        /* An object may be large: any error of the endpoint's own is reason to wait. */
        bool away = !r->status || r->status >= 500 || says_away(r->status);
        failed(l, d, result == REPLICATE_FAILED && away, r->status, r->why);
    }
    free(r);
    lane_work(l);
}

static bool replicate_begin(struct lane *l, struct delivery *d, const struct target *target)
{
    struct replicate *r = calloc(1, sizeof(*r));
    if (!r)
        return false;
    const char *slash = strchr(l->target, '/');
    *r = (struct replicate){
        .gw = l->queue->d->gw,
        .target = target,
        .bucket = slice_cstr(slash ? slash + 1 : ""),
        .bucket_id = l->queue->bucket_id,
        .row = d->entry->row,
        .sent = d->sent,
        .cb = replicate_cb,
        .user = d,
    };
    (void)rule_of(l, d->entry->row, &r->storage_class);
    d->u.replicate = r;
    replicate_start(r);
    return true;
}

/* ---- beginnings ---- */

/* NULL: the operator has taken the name away, or this gateway does not know it yet. */
static const struct target *target_of(const struct lane *l)
{
    const struct gateway_config *c = l->queue->d->gw->config;
    if (l->kind == CAIRN__SINK_KIND__SINK_WEBHOOK)
        return targets_find(c->webhooks, slice_cstr(l->target));
    return targets_find(c->remotes, SLICE(l->target, strcspn(l->target, "/")));
}

static void begin(struct lane *l, struct delivery *d)
{
    const struct target *target = target_of(l);
    runs(d, true);
    bool webhook = l->kind == CAIRN__SINK_KIND__SINK_WEBHOOK;
    if (target && (webhook ? post_start(l, d, target) : replicate_begin(l, d, target)))
        return;
    runs(d, false);
    failed(l, d, true, 0,
           target ? "no memory" : "no such destination in this gateway's configuration");
}

static bool waits_for_its_key(const struct lane *l, size_t at)
{
    const Cairn__EventRow *row = l->window[at]->entry->row;
    for (size_t i = 0; i < at; i++) {
        const Cairn__EventRow *before = l->window[i]->entry->row;
        if (before->key.len == row->key.len &&
            memcmp(before->key.data, row->key.data, row->key.len) == 0)
            return true;
    }
    return false;
}

/* The queue is to be begun anew: what was passed over has its turn. */
static bool anew_due(const struct lane *l, uint64_t now)
{
    return l->passed_count && l->passed_end && now >= l->passed_until_ns;
}

/* What was never tried before what failed, and that in turns: a destination that is taken to be
 * away gets one at a time, and if that were always the first, events which it never takes would
 * keep up all others.  NULL: nothing may begin now. */
static struct delivery *next_to_begin(const struct lane *l, uint64_t now)
{
    struct delivery *best = NULL;
    for (size_t i = 0; i < l->count; i++) {
        struct delivery *d = l->window[i];
        bool sooner = !d->running && now >= d->next_ns && (!best || d->next_ns < best->next_ns);
        if (d->tries && anew_due(l, now))
            continue;
        if (sooner && !waits_for_its_key(l, i))
            best = d;
    }
    return best;
}

/* How many of the lane may be under way: less when the others have many. */
static unsigned running_max(const struct lane *l)
{
    const struct deliver *d = l->queue->d;
    if (d->running >= d->config.running_max)
        return 0;
    return d->running >= d->config.running_max / 4 || l->failures >= AWAY_FAILURES
               ? 1
               : d->config.parallel;
}

/* And in memory. */
static size_t window_max(const struct lane *l)
{
    const struct deliver *d = l->queue->d;
    return d->windowed - l->count + LANE_WINDOW <= d->config.window_max ? LANE_WINDOW
                                                                        : LANE_WINDOW_LEAST;
}

static void begin_some(struct lane *l, uint64_t now)
{
    uint64_t takes = l->queue->d->gw->config->event_timeout_ms * NS_PER_MS;
    struct delivery *d;
    for (;;) {
        unsigned most = running_max(l);
        l->crowded = most == 0;
        /* Each that is under way may end in an acknowledgement, and say something before. */
        if (l->running >= most || now < l->paused_until_ns || !is_ours(l, takes) ||
            l->ack_count + 2 * (l->running + 1) > LANE_ACKS_MAX || !(d = next_to_begin(l, now)))
            return;
        begin(l, d);
    }
}

/* ---- what is passed over ---- */

/* false: no memory.  What waits for it says how much is needed. */
static bool passed_make(struct lane *l)
{
    struct deliver *d = l->queue->d;
    uint64_t bits = LANE_PASSED_BITS_MIN;
    if (l->passed)
        return true;
    while (bits < LANE_PASSED_BITS_MAX && bits < 2 * l->rows)
        bits *= 2;
    if (d->passed_bytes + bits / 8 > DELIVER_PASSED_BYTES_MAX)
        bits = LANE_PASSED_BITS_MIN;
    l->passed = calloc(bits / 64, sizeof(*l->passed));
    if (!l->passed)
        return false;
    l->passed_bits = bits;
    d->passed_bytes += bits / 8;
    env_random(d->gw->env, &l->passed_seed, sizeof(l->passed_seed));
    return true;
}

static void passed_drop(struct lane *l)
{
    if (l->passed)
        l->queue->d->passed_bytes -= l->passed_bits / 8;
    free(l->passed);
    l->passed = NULL;
    l->passed_count = 0;
    l->passed_end = false;
}

static uint64_t *passed_word(struct lane *l, const Cairn__EventRow *row, uint64_t *ret_bit)
{
    uint64_t bit =
        hash64(l->passed_seed, SLICE(row->key.data, row->key.len)) & (l->passed_bits - 1);
    *ret_bit = UINT64_C(1) << bit % 64;
    return &l->passed[bit / 64];
}

static bool is_passed(struct lane *l, const Cairn__EventRow *row)
{
    uint64_t bit;
    return l->passed && *passed_word(l, row, &bit) & bit;
}

/* Makes room in a window that is not filled again because of what has failed. */
static void pass_over(struct lane *l)
{
    size_t kept = 0;
    if (l->count <= window_max(l) / 2 || l->rows <= l->count)
        return;
    for (size_t i = 0; i < l->count; i++)
        if (l->window[i]->running || (!l->window[i]->tries && !waits_for_its_key(l, i)))
            return;
    if (!passed_make(l))
        return;
    for (size_t i = 0; i < l->count; i++) {
        uint64_t bit, *word = passed_word(l, l->window[i]->entry->row, &bit);
        *word |= bit;
        l->passed_count++;
        l->passed_until_ns = now_of(l) + l->queue->d->config.retry_max_ms * NS_PER_MS;
    }
    for (size_t i = 0; i < l->count; i++) {
        struct delivery *d = l->window[i];
        if (is_passed(l, d->entry->row))
            delivery_free(d);
        else
            l->window[kept++] = d;
    }
    l->count = kept;
}

/* When what is under way has come to its end, and all was tried. */
static void begin_anew(struct lane *l)
{
    if (l->running || l->listing || l->ack_count)
        return;
    for (size_t i = 0; i < l->count; i++)
        if (!l->window[i]->tries && !waits_for_its_key(l, i))
            return;
    while (l->count)
        delivery_free(l->window[--l->count]);
    passed_drop(l);
    l->after_index = l->after_n = 0;
    l->more = true;
}

/* ---- listing ---- */

static void list_take(struct lane *l, Cairn__ListEventsResponse *m)
{
    for (size_t i = 0; i < m->n_entries && l->count < LANE_WINDOW; i++) {
        struct delivery *d = calloc(1, sizeof(*d));
        if (!d || !m->entries[i]->row) {
            free(d);
            l->more = true; /* the rest is listed again */
            return;
        }
        l->after_index = m->entries[i]->index;
        l->after_n = m->entries[i]->n;
        if (is_passed(l, m->entries[i]->row)) {
            free(d);
            continue;
        }
        d->lane = l;
        l->queue->d->windowed++;
        d->entry = m->entries[i];
        m->entries[i] = NULL;
        l->window[l->count++] = d;
    }
    l->more = m->more;
    l->after_index = m->resume_index;
    l->after_n = m->resume_n;
}

static void list_cb(struct meta_call *call)
{
    struct lane *l = container_of(call, struct lane, list);
    Cairn__ListEventsResponse *m = (Cairn__ListEventsResponse *)(void *)call->response;
    bool from_start = l->list_request.after_index == 0;
    l->listing = false;
    l->queue->d->busy--;
    if (call->err == OK && m) {
        bool none = m->n_entries == 0 && !m->more;
        l->passed_end |= l->passed_count && !m->more;
        list_take(l, m);
        /* Nothing behind the cursor, though there are some: what was not acknowledged. */
        if (none && !from_start && l->count == 0 && l->ack_count == 0 && !l->passed_count)
            l->after_index = l->after_n = 0;
    } else {
        l->paused_until_ns = now_of(l) + backoff_ns(l, 0);
        l->more = true;
    }
    meta_call_fini(call);
    lane_work(l);
}

static void list_start(struct lane *l)
{
    struct queue *q = l->queue;
    cairn__list_events_request__init(&l->list_request);
    l->list_request.bucket_id = q->bucket_id;
    l->list_request.kind = l->kind;
    l->list_request.target = l->target;
    l->list_request.after_index = l->after_index;
    l->list_request.after_n = l->after_n;
    l->list_request.rows_max = (uint32_t)(window_max(l) - l->count);
    l->list = (struct meta_call){
        .method = &method_meta_list_events,
        .bucket_id = q->bucket_id,
        .key = buf_view(&q->key),
        .request = &l->list_request.base,
        .deadline_ns = now_of(l) + q->d->gw->config->timeout_ms * NS_PER_MS,
        .cb = list_cb,
    };
    l->listing = true;
    l->woken = l->more = false;
    q->d->busy++;
    meta_call_start(q->d->gw->mc, &l->list);
}

/* From the beginning only when nothing that it would show is under way or to be acknowledged. */
static bool may_list(const struct lane *l, uint64_t now)
{
    bool from_start = l->after_index == 0;
    if (l->listing || !(l->woken || l->more) || l->count > window_max(l) / 2 ||
        now < l->paused_until_ns || !is_ours(l, 0))
        return false;
    return !from_start || (l->count == 0 && l->ack_count == 0);
}

/* ---- the lane ---- */

static void set_timer(struct lane *l, uint64_t now)
{
    uint64_t due = UINT64_MAX;
    for (size_t i = 0; i < l->count; i++)
        if (!l->window[i]->running && l->window[i]->next_ns > now)
            due = MIN(due, l->window[i]->next_ns);
    if (l->paused_until_ns > now && (l->count || l->more))
        due = MIN(due, l->paused_until_ns);
    if (l->passed_count && l->passed_until_ns > now)
        due = MIN(due, l->passed_until_ns);
    if (l->crowded && l->count)
        due = MIN(due, now + CROWDED_NS);
    if (l->ack_count && !l->acking)
        due = MIN(due, l->ack_since_ns + ACK_DELAY_NS);
    if (due == UINT64_MAX)
        env_timer_stop(&l->timer);
    else
        env_timer_start(&l->timer, due > now ? due - now : 0);
}

static void lane_work(struct lane *l)
{
    uint64_t now = now_of(l);
    begin_some(l, now);
    if (anew_due(l, now))
        begin_anew(l);
    else
        pass_over(l);
    if (!anew_due(l, now) && may_list(l, now))
        list_start(l);
    bool last = l->queue->d->stopped && l->running == 0;
    if (l->ack_count && !l->acking &&
        (l->ack_count >= ACK_BATCH || last || now >= l->ack_since_ns + ACK_DELAY_NS))
        ack_send(l);
    if (!l->queue->d->stopped)
        set_timer(l, now);
}

static void timer_cb(struct env_timer *timer)
{
    lane_work(container_of(timer, struct lane, timer));
}

struct lane *lane_new(struct queue *q, Cairn__SinkKind kind, const char *target)
{
    struct lane *l = calloc(1, sizeof(*l));
    if (l)
        l->target = strdup(target);
    if (!l || !l->target) {
        free(l);
        return NULL;
    }
    l->queue = q;
    l->kind = kind;
    list_init(&l->node);
    list_push_back(&q->lanes, &l->node);
    env_timer_init(q->d->gw->env, &l->timer, timer_cb);
    return l;
}

void lane_wake(struct lane *l)
{
    l->woken = true;
    lane_work(l);
}

void lane_cancel(struct lane *l, bool at_once)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->window[i]->running && l->kind == CAIRN__SINK_KIND__SINK_REPLICATION)
            replicate_cancel(l->window[i]->u.replicate, at_once);
    if (l->queue->d->stopped)
        env_timer_stop(&l->timer);
}

bool lane_idle(const struct lane *l)
{
    /* What waits for another try is met again by whoever has the queue next. */
    return l->running == 0 && !l->listing && !l->acking && !l->asking_bucket && l->ack_count == 0 &&
           (l->count == 0 || now_of(l) >= l->queue->claim_until_ns);
}

void lane_free(struct lane *l)
{
    CHECK(l->running == 0 && !l->listing && !l->acking && !l->asking_bucket);
    env_timer_stop(&l->timer);
    while (l->count)
        delivery_free(l->window[--l->count]);
    acks_drop(l, l->ack_count);
    passed_drop(l);
    list_remove(&l->node);
    free(l->target);
    free(l);
}
