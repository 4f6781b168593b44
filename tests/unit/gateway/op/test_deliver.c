/* Delivery of events: order per key when a claim is lost and won again; what can never be
 * replicated keeps nothing else up. */
#include "common/base/check.h"
#include "gateway/out/http_client.h"
#include "gateway/out/targets.h"
#include "gateway/work/deliver_lane.h"
#include "proto/methods.h"
#include "tests/unit/gateway/op/stand.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLAIM_MS 8000
#define POSTS_MAX 65536
#define POISONED 1500
#define CALLS_MAX 16
#define ACKED_MAX 16

static struct stand s;
static struct deliver_metrics metrics;
static struct deliver *d;
static struct targets hooks, remotes;
static bool granted; /* the leader gives us every queue that we have room for, in turns */
static size_t turn;
static uint64_t gateway_ahead_ms; /* its clock, of the leader's */
static unsigned queues_max = 8, running_max = 100, open_max;
static size_t window_max = 1000;

/* ---- destinations that do as they are told ---- */

static char posts[POSTS_MAX][32]; /* keys, in order of arrival */
static unsigned post_count, canceled;
static struct http_call *open_calls[CALLS_MAX];
static const char *held_key; /* requests for it are not answered; NULL: none */
static bool poisoned;        /* keys that begin with p are not taken */
static int status;           /* of the answers */
/* Answers in place of the usual; NULL: none. */
static void (*on_call)(struct http_call *call, int *err, int *status);
static uint64_t give_up_ms = 3600000;

static char p0_last[32]; /* the sequencer of the last message about p0 that was taken */
static unsigned p0_taken;

static void take(const struct http_call *call)
{
    static const char name[] = "\"sequencer\":\"", about[] = "\"key\":\"p0\"";
    const char *at = memmem(call->body.ptr, call->body.len, name, sizeof(name) - 1);
    char sequencer[32];
    if (!at || !memmem(call->body.ptr, call->body.len, about, sizeof(about) - 1))
        return;
    at += sizeof(name) - 1;
    snprintf(sequencer, sizeof(sequencer), "%.*s", (int)strcspn(at, "\""), at);
    assert_true(strcmp(p0_last, sequencer) < 0);
    strcpy(p0_last, sequencer);
    p0_taken++;
}

static void call_end(unsigned i, int err, int with)
{
    struct http_call *call = open_calls[i];
    open_calls[i] = NULL;
    if (on_call && err == OK)
        on_call(call, &err, &with);
    if (err == OK && with == 200 && call->body.len)
        take(call);
    call->err = err;
    call->status = with;
    call->cb(call);
}

/* Of a message, or of a request to a bucket; empty: it is a test message. */
static void key_of(const struct http_call *call, char ret[32])
{
    static const char name[] = "\"key\":\"";
    bool message = strncmp(call->url, "http://hook", 11) == 0;
    const char *at = message ? memmem(call->body.ptr, call->body.len, name, sizeof(name) - 1)
                             : strrchr(call->url, '/');
    at = !at ? "" : message ? at + sizeof(name) - 1 : at + 1;
    snprintf(ret, 32, "%.*s", (int)strcspn(at, "\"?"), at);
}

static struct http_call *probe;
static struct env_timer probe_timer;

static void probe_cb(struct env_timer *t)
{
    (void)t;
    probe->err = OK;
    probe->status = 200;
    probe->cb(probe);
}

static void http_start(struct http_client *c, struct http_call *call)
{
    (void)c;
    assert_true(post_count < POSTS_MAX);
    key_of(call, posts[post_count]);
    if (!posts[post_count][0]) {
        probe = call;
        env_timer_init(&s.f.env, &probe_timer, probe_cb);
        env_timer_start(&probe_timer, 0);
        return;
    }
    post_count++;
    unsigned at = CALLS_MAX, open = 1;
    for (unsigned i = 0; i < CALLS_MAX; i++) {
        open += open_calls[i] != NULL;
        if (!open_calls[i])
            at = i;
    }
    assert_true(at < CALLS_MAX);
    open_calls[at] = call;
    open_max = MAX(open_max, open);
}

static void http_resume(struct http_call *call)
{
    (void)call;
}

static void http_cancel(struct http_call *call)
{
    call->canceled = true;
    canceled++;
}

static const struct http_client_ops ops = {http_start, http_resume, http_cancel};
static struct http_client client = {&ops};

/* Runs, answering what is not held. */
static void run_ms(uint64_t ms)
{
    for (uint64_t at = 0; at < ms; at += 10) {
        fake_run(&s.f, 10 * NS_PER_MS);
        for (unsigned i = 0; i < CALLS_MAX; i++) {
            char key[32];
            if (!open_calls[i])
                continue;
            key_of(open_calls[i], key);
            if (open_calls[i]->canceled)
                call_end(i, ERR_CANCELED, 0);
            else if (!held_key || strcmp(key, held_key) != 0)
                call_end(i, OK, poisoned && key[0] == 'p' ? 400 : status);
        }
    }
}

static void release(void)
{
    for (unsigned i = 0; i < CALLS_MAX; i++)
        if (open_calls[i])
            call_end(i, OK, status);
}

static unsigned posts_of(const char *key, unsigned from)
{
    unsigned n = 0;
    for (unsigned i = from; i < post_count; i++)
        n += strcmp(posts[i], key) == 0;
    return n;
}

/* ---- the leader of all partitions ---- */

static bool is_held(const Cairn__EventQueuesRequest *q, unsigned partition, uint64_t bucket)
{
    for (size_t i = 0; i < q->n_held; i++)
        if (q->held[i]->partition == partition && q->held[i]->bucket_id == bucket)
            return true;
    return false;
}

static bool on_view(struct stand *stand_, struct fake_call *call)
{
    Cairn__EventQueuesResponse r = CAIRN__EVENT_QUEUES_RESPONSE__INIT;
    Cairn__EventQueueInfo infos[8], *ptrs[8];
    struct index_view views[STAND_PARTITIONS];
    size_t count = 0, room, at = 0;
    if (call->method != &method_meta_event_queues)
        return false;
    const Cairn__EventQueuesRequest *q = (const Cairn__EventQueuesRequest *)(void *)call->request;
    room = q->queues_max;
    r.claim_ms = CLAIM_MS;
    r.queues = ptrs;
    for (unsigned p = 1; granted && p < STAND_PARTITIONS; p++) {
        uint64_t bucket = 0, oldest;
        Cairn__EventQueue *queue;
        index_view_init(&views[p], stand_->index[p], NULL);
        while (count < 8 &&
               index_event_queue_next(&views[p], bucket, &bucket, &queue, &oldest) == OK) {
            Cairn__EventQueueInfo *info = &infos[count++];
            cairn__event_queue_info__init(info);
            info->partition = p;
            info->bucket_id = bucket;
            info->queue = queue;
            info->oldest_ms = oldest;
            info->time_ms = s.f.wall_ms + s.f.now_ns / NS_PER_MS - gateway_ahead_ms;
            info->start = (ProtobufCBinaryData){views[p].start_bytes, views[p].start};
            if (is_held(q, p, bucket))
                ptrs[r.n_queues++] = info;
        }
    }
    for (; at < count && room; at++) {
        Cairn__EventQueueInfo *info = &infos[(turn + at) % count];
        if (is_held(q, info->partition, info->bucket_id))
            continue;
        ptrs[r.n_queues++] = info;
        room--;
    }
    turn += at;
    fake_reply(call, OK, &r.base, (struct payload){0});
    for (size_t i = 0; i < count; i++)
        cairn__event_queue__free_unpacked(infos[i].queue, NULL);
    return true;
}

/* Another gateway has delivered all that waits of the key. */
static void acknowledge(const char *key, const char *target)
{
    for (unsigned p = 1; p < STAND_PARTITIONS; p++) {
        struct index_view view;
        struct index_reply reply = {0};
        uint64_t bucket = 0, oldest;
        Cairn__EventQueue *queue;
        index_view_init(&view, s.index[p], NULL);
        if (index_event_queue_next(&view, 0, &bucket, &queue, &oldest) != OK)
            continue;
        cairn__event_queue__free_unpacked(queue, NULL);
        Cairn__ListEventsRequest q = CAIRN__LIST_EVENTS_REQUEST__INIT;
        q.epoch = view.epoch;
        q.bucket_id = bucket;
        q.kind = CAIRN__SINK_KIND__SINK_WEBHOOK;
        q.target = (char *)(uintptr_t)target;
        q.rows_max = ACKED_MAX;
        assert_int_equal(index_list_events(&view, &q, &reply), OK);
        struct buf packed = {0};
        buf_reserve(&packed, protobuf_c_message_get_packed_size(&reply.msg.base));
        packed.len = protobuf_c_message_pack(&reply.msg.base, packed.ptr);
        Cairn__ListEventsResponse *m =
            cairn__list_events_response__unpack(NULL, packed.len, packed.ptr);
        Cairn__AckEvents ack = CAIRN__ACK_EVENTS__INIT;
        Cairn__EventAck acks[ACKED_MAX], *ptrs[ACKED_MAX];
        ack.bucket_id = bucket;
        ack.kind = CAIRN__SINK_KIND__SINK_WEBHOOK;
        ack.target = (char *)(uintptr_t)target;
        ack.events = ptrs;
        for (size_t i = 0; i < m->n_entries; i++) {
            const ProtobufCBinaryData *k = &m->entries[i]->row->key;
            if (!slice_eq(SLICE(k->data, k->len), slice_cstr(key)))
                continue;
            ack.key = *k;
            cairn__event_ack__init(ptrs[ack.n_events] = &acks[ack.n_events]);
            acks[ack.n_events].index = m->entries[i]->index;
            acks[ack.n_events++].n = m->entries[i]->n;
        }
        Cairn__Command command = CAIRN__COMMAND__INIT;
        command.op_case = CAIRN__COMMAND__OP_ACK_EVENTS;
        command.ack_events = &ack;
        if (ack.n_events)
            assert_int_equal(stand_command(&s, p, &command), OK);
        cairn__list_events_response__free_unpacked(m, NULL);
        buf_fini(&packed);
        index_reply_fini(&reply);
    }
}

/* ---- the stand ---- */

static void run(int expected, const char *method, const char *target, const char *body)
{
    struct exchange x;
    int got = exchange_run(&s, &x, method, target, slice_cstr(body));
    if (got != expected)
        fail_msg("%s %s: %d instead of %d: %.*s", method, target, got, expected, (int)x.out.len,
                 (const char *)x.out.ptr);
    exchange_fini(&x);
}

static int setup(void **state)
{
    (void)state;
    struct buf why = {0};
    char secret[] = "/tmp/test-deliver-XXXXXX", text[256];
    int fd = mkstemp(secret);
    assert_true(fd >= 0 && write(fd, "secret\n", 7) == 7);
    stand_init(&s);
    deliver_metrics_init(&metrics);
    assert_int_equal(targets_parse("hook=http://hook", false, &hooks, &why), OK);
    snprintf(text, sizeof(text), "far=http://far access_key=KEY secret=%s", secret);
    assert_int_equal(targets_parse(text, true, &remotes, &why), OK);
    close(fd);
    unlink(secret);
    s.config.webhooks = &hooks;
    s.config.remotes = &remotes;
    s.config.event_queue_max = 5000;
    s.config.event_timeout_ms = 500;
    s.gw.out = &client;
    s.on_view = on_view;
    granted = true;
    gateway_ahead_ms = 0;
    post_count = canceled = open_max = 0;
    held_key = NULL;
    poisoned = false;
    p0_taken = 0;
    p0_last[0] = 0;
    status = 200;
    on_call = NULL;
    memset(open_calls, 0, sizeof(open_calls));
    struct deliver_config config = {.interval_ms = 100,
                                    .retry_max_ms = 300,
                                    .give_up_ms = give_up_ms,
                                    .parallel = 4,
                                    .queues_max = queues_max,
                                    .running_max = running_max,
                                    .window_max = window_max};
    assert_int_equal(deliver_new(&s.gw, &config, &metrics, &d), OK);
    run(200, "PUT", "/bucket", "");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    deliver_stop(d);
    release();
    held_key = NULL;
    on_call = NULL;
    run_ms(20000);
    assert_true(deliver_idle(d));
    deliver_free(d);
    stand_fini(&s);
    targets_fini(&hooks);
    targets_fini(&remotes);
    return 0;
}

static void notify_of(const char *bucket)
{
    char target[64];
    snprintf(target, sizeof(target), "/%s?notification", bucket);
    run(200, "PUT", target,
        "<NotificationConfiguration><QueueConfiguration><Id>i</Id>"
        "<Queue>arn:cairn:sqs::hook:webhook</Queue><Event>s3:ObjectCreated:*</Event>"
        "</QueueConfiguration></NotificationConfiguration>");
}

static void notify(void)
{
    notify_of("bucket");
}

/* ---- the tests ---- */

static void what_was_listed_before_a_claim_was_lost(void **state)
{
    (void)state;
    notify();
    status = 503;
    held_key = "a";
    run(200, "PUT", "/bucket/a", "1");
    run(200, "PUT", "/bucket/b", "1");
    run_ms(1000);
    assert_true(posts_of("a", 0) == 1 && posts_of("b", 0) >= 1);
    /* The claim is over, while a request is still under way; another gateway has the queue. */
    granted = false;
    run_ms(CLAIM_MS);
    run(200, "PUT", "/bucket/b", "2");
    acknowledge("b", "hook");
    granted = true;
    unsigned before = post_count;
    run_ms(1000);
    assert_int_equal(post_count, before); /* nothing, until what was under way has come back */
    release();
    held_key = NULL;
    status = 200;
    run_ms(2000);
    assert_int_equal(posts_of("b", before), 0); /* b's first event would come after its second */
    assert_int_equal(posts_of("a", before), 1);
}

/* Far more than are under delivery at a time, and then some that are taken. */
static void what_is_never_taken(void **state)
{
    (void)state;
    char target[32];
    notify();
    poisoned = true;
    for (int i = 0; i < POISONED; i++) {
        snprintf(target, sizeof(target), "/bucket/p%d", i);
        run(200, "PUT", target, "1");
    }
    run(200, "PUT", "/bucket/q1", "1");
    run(200, "PUT", "/bucket/p0", "2"); /* behind its first event */
    for (int i = 0; i < 600 && !posts_of("q1", 0); i++)
        run_ms(100);
    assert_int_equal(posts_of("q1", 0), 1);
    assert_int_equal(atomic_load(&metrics.delivered[DELIVER_WEBHOOK]->value), 1);
    run(200, "PUT", "/bucket/q2", "1");
    for (int i = 0; i < 600 && !posts_of("q2", 0); i++)
        run_ms(100);
    assert_int_equal(posts_of("q2", 0), 1);
    poisoned = false;
    run_ms(60000);
    assert_int_equal(atomic_load(&metrics.delivered[DELIVER_WEBHOOK]->value), POISONED + 3);
    assert_int_equal(p0_taken, 2);
    unsigned before = post_count;
    run_ms(5000);
    assert_int_equal(post_count, before);
}

/* ---- buckets that are gone ---- */

static struct {
    bool held;   /* questions about the bucket are not answered */
    uint64_t at; /* the window's first event when it was asked; 0: it was not */
} bucket_asked;

static struct lane *only_lane(void)
{
    struct queue *q = container_of(d->queues.next, struct queue, node);
    assert_true(d->queue_count == 1 && q->lanes.next == q->lanes.prev);
    return container_of(q->lanes.next, struct lane, node);
}

static bool hold_bucket(struct stand *stand_, struct fake_call *call)
{
    const Cairn__ReadRequest *q = (const Cairn__ReadRequest *)(void *)call->request;
    if (call->method != &method_meta_read ||
        q->keys[0]->kind != CAIRN__RECORD_KIND__RECORD_BUCKET || !bucket_asked.held)
        return on_view(stand_, call);
    if (!bucket_asked.at)
        bucket_asked.at = only_lane()->window[0]->entry->index;
    return true; /* swallowed: it is asked again */
}

static void put_poisoned(int count)
{
    char target[32];
    poisoned = true;
    for (int i = 0; i < count; i++) {
        snprintf(target, sizeof(target), "/bucket/p%d", i);
        run(200, "PUT", target, "1");
    }
}

#define GONE_AGE_MS (11 * 60000)

/* More events than the window holds make us ask whether the bucket is there, and have all left it
 * when the answer comes: to the question that was asked, so that none of them is given up. */
static void the_window_moves_on_before_the_answer(void **state)
{
    (void)state;
    enum { EVENTS = 3 * LANE_WINDOW };
    notify();
    put_poisoned(EVENTS);
    run_ms(5000);
    bucket_asked.at = 0;
    bucket_asked.held = true;
    s.on_view = hold_bucket;
    s.witness->silent = true; /* or nobody would ask the root */
    s.f.wall_ms += GONE_AGE_MS;
    uint64_t last = 0;
    for (int i = 0; i < 600 && !last; i++) {
        run_ms(10);
        const struct lane *l = only_lane();
        if (bucket_asked.at && l->count && l->window[0]->entry->index > bucket_asked.at)
            last = l->window[l->count - 1]->entry->index;
    }
    assert_true(last > bucket_asked.at && only_lane()->asking_bucket);
    s.witness->silent = bucket_asked.held = false;
    for (int i = 0; i < 300 && only_lane()->asking_bucket; i++)
        run_ms(10);
    assert_false(only_lane()->asking_bucket);
    run_ms(10000);
    assert_int_equal(atomic_load(&metrics.given_up->value), 0);
    poisoned = false;
    run_ms(20000);
    assert_int_equal(atomic_load(&metrics.delivered[DELIVER_WEBHOOK]->value), EVENTS);
}

static void a_bucket_that_is_gone(void **state)
{
    (void)state;
    notify();
    put_poisoned(1);
    run(204, "DELETE", "/bucket/p0", "");
    run(204, "DELETE", "/bucket", "");
    run_ms(60000);
    assert_int_equal(atomic_load(&metrics.given_up->value), 0);
    s.f.wall_ms += GONE_AGE_MS;
    run_ms(60000);
    assert_int_equal(atomic_load(&metrics.given_up->value), 1);
    unsigned before = post_count;
    run_ms(60000);
    assert_int_equal(post_count, before);
}

/* There is room for two queues, and two destinations are away: others have their turn. */
static void queues_that_are_stuck(void **state)
{
    (void)state;
    static const char *const buckets[] = {"away1", "away2", "good"};
    for (size_t i = 0; i < ARRAY_COUNT(buckets); i++) {
        char target[64];
        snprintf(target, sizeof(target), "/%s", buckets[i]);
        run(200, "PUT", target, "");
        notify_of(buckets[i]);
    }
    poisoned = true;
    run(200, "PUT", "/away1/p1", "1");
    run(200, "PUT", "/away2/p2", "1");
    run_ms(1000);
    assert_true(posts_of("p1", 0) && posts_of("p2", 0));
    run(200, "PUT", "/good/q1", "1");
    run_ms(20000);
    assert_int_equal(posts_of("q1", 0), 0);
    run_ms(40000);
    assert_int_equal(posts_of("q1", 0), 1);
    unsigned before = post_count;
    run_ms(60000);
    assert_true(posts_of("p1", before) && posts_of("p2", before));
    poisoned = false;
    run_ms(60000);
    assert_int_equal(atomic_load(&metrics.delivered[DELIVER_WEBHOOK]->value), 3);
}

static int setup_of_two(void **state)
{
    queues_max = 2;
    int err = setup(state);
    queues_max = 8;
    return err;
}

/* However many destinations there are, so much is under way and in memory and no more; and what is
 * never taken keeps nothing else up, in a small window either. */
static void a_crowd(void **state)
{
    (void)state;
    static const char *const buckets[] = {"one", "two", "three"};
    char target[64];
    for (size_t i = 0; i < ARRAY_COUNT(buckets); i++) {
        snprintf(target, sizeof(target), "/%s", buckets[i]);
        run(200, "PUT", target, "");
        notify_of(buckets[i]);
    }
    poisoned = true;
    granted = false;
    for (int k = 0; k < 20; k++)
        for (size_t i = 0; i < ARRAY_COUNT(buckets); i++) {
            snprintf(target, sizeof(target), "/%s/%c%d", buckets[i], i == 0 && k < 19 ? 'p' : 'q',
                     k);
            run(200, "PUT", target, "1");
        }
    granted = true;
    for (int i = 0; i < 3000; i++) {
        run_ms(10);
        assert_true(d->windowed <= 3 * LANE_WINDOW_LEAST && d->running <= 2);
    }
    assert_int_equal(open_max, 2);
    assert_int_equal(atomic_load(&metrics.delivered[DELIVER_WEBHOOK]->value), 41);
    poisoned = false;
    run_ms(20000);
    assert_int_equal(atomic_load(&metrics.delivered[DELIVER_WEBHOOK]->value), 60);
    assert_true(d->windowed == 0 && d->running == 0);
}

static int setup_of_a_crowd(void **state)
{
    running_max = 2;
    window_max = 8;
    int err = setup(state);
    running_max = 100;
    window_max = 1000;
    return err;
}

#define REPLICATION                                                                                \
    "<ReplicationConfiguration><Role>r</Role><Rule><ID>i</ID><Status>Enabled</Status>"             \
    "<Priority>1</Priority><DeleteMarkerReplication><Status>Disabled</Status>"                     \
    "</DeleteMarkerReplication><Filter><Prefix></Prefix></Filter><Destination>"                    \
    "<Bucket>arn:aws:s3:::far/there</Bucket></Destination></Rule></ReplicationConfiguration>"

static void replicate(void)
{
    run(200, "PUT", "/bucket?versioning",
        "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>");
    run(200, "PUT", "/bucket?replication", REPLICATION);
}

/* A gateway with such a clock signs with it, and so is refused everything: that is no reason to
 * give up what others can send.  Nor is a leader's.  What is old by both is. */
static void a_clock_that_is_ahead(void **state)
{
    (void)state;
    replicate();
    status = 403;
    run(200, "PUT", "/bucket/a", "1");
    gateway_ahead_ms = 0 - 2 * give_up_ms;
    run_ms(10000);
    assert_int_equal(atomic_load(&metrics.given_up->value), 0);
    s.f.wall_ms += gateway_ahead_ms = 2 * give_up_ms;
    run_ms(10000);
    assert_int_equal(atomic_load(&metrics.given_up->value), 0);
    assert_true(posts_of("a", 0) > 10);
    gateway_ahead_ms = 0;
    run_ms(10000);
    assert_int_equal(atomic_load(&metrics.given_up->value), 1);
}

/* Whoever has the queue next must not be overtaken by what we sent before. */
static void a_transfer_ends_with_the_claim(void **state)
{
    (void)state;
    replicate();
    held_key = "a";
    run(200, "PUT", "/bucket/a", "1");
    run_ms(1000);
    assert_int_equal(posts_of("a", 0), 1);
    granted = false;
    run_ms(CLAIM_MS / 2);
    assert_int_equal(canceled, 0);
    run_ms(CLAIM_MS / 2);
    assert_true(canceled);
    granted = true;
    held_key = NULL;
    run_ms(2000);
    assert_int_equal(posts_of("a", 0), 2);
}

/* Destinations are the operator's: with its token and key gateways would do for a tenant what that
 * one may not.  What was configured before it was taken away is sent no more. */
static void destinations_of_others(void **state)
{
    (void)state;
    static const char notification[] =
        "<NotificationConfiguration><QueueConfiguration><Id>i</Id>"
        "<Queue>arn:cairn:sqs::hook:webhook</Queue><Event>s3:ObjectCreated:*</Event>"
        "</QueueConfiguration></NotificationConfiguration>";
    static const char replication[] =
        "<ReplicationConfiguration><Role>r</Role><Rule><Status>Enabled</Status><Prefix></Prefix>"
        "<Destination><Bucket>arn:aws:s3:::far/copy</Bucket></Destination></Rule>"
        "</ReplicationConfiguration>";
    stand_put_account(&s, "000000000002", "canonical-2");
    stand_put_key(&s, "TWO", "000000000002", "", true);
    s.signs_as = "TWO";
    run(200, "PUT", "/theirs", "");
    run(200, "PUT", "/theirs?versioning",
        "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>");
    run(400, "PUT", "/theirs?notification", notification);
    run(400, "PUT", "/theirs?replication", replication);
    hooks.items[0].accounts = strdup("000000000002");
    remotes.items[0].accounts = strdup("*");
    run(200, "PUT", "/theirs?notification", notification);
    run(200, "PUT", "/theirs?replication", replication);
    run_ms(2000);
    unsigned before = post_count;
    run(200, "PUT", "/theirs/a", "x");
    run_ms(5000);
    assert_true(post_count > before + 1); /* told, and replicated */
    free(hooks.items[0].accounts);
    free(remotes.items[0].accounts);
    hooks.items[0].accounts = remotes.items[0].accounts = NULL;
    before = post_count;
    run(200, "PUT", "/theirs/b", "x");
    run_ms(5000);
    assert_int_equal(post_count, before);
    s.signs_as = "ROOTKEY";
}

static void what_can_never_be_replicated(void **state)
{
    (void)state;
    struct exchange x;
    replicate();
    for (int i = 0; i < 80; i++) { /* more than are under delivery at a time */
        char target[32];
        snprintf(target, sizeof(target), "/bucket/secret-%d", i);
        exchange_start(
            &s, &x, "PUT", target, SLICE_LIT("1"),
            "x-amz-server-side-encryption-customer-algorithm: AES256",
            "x-amz-server-side-encryption-customer-key: "
            "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=",
            "x-amz-server-side-encryption-customer-key-MD5: UhbdzFjo2t5SVgded/ZC2g==", NULL);
        exchange_wait(&x);
        assert_int_equal(x.status, 200);
        exchange_fini(&x);
    }
    run(200, "PUT", "/bucket/plain", "1");
    run_ms(5000);
    assert_int_equal(posts_of("plain", 0), 1);
    assert_int_equal(post_count, 1);
    assert_int_equal(atomic_load(&metrics.given_up->value), 80);
}

/* ---- an upload whose completion is not answered ---- */

#define BEFORE "Mon, 30 Nov 2026 17:14:14 GMT"
#define MADE "Mon, 30 Nov 2026 17:14:15 GMT"
#define AFTER "Mon, 30 Nov 2026 17:14:16 GMT"

static struct {
    unsigned creates, parts, completes, aborts, heads;
    unsigned there_at;  /* the look that finds it; 0: none ever does */
    bool there_before;  /* something like it, before it is completed and after */
    bool answers_again; /* the second completion */
    bool crosses_abort; /* it was complete when it was to be aborted */
    const char *last_modified;
    char etag[64];
} far;

static void far_answer(struct http_call *call, int *ret_err, int *ret_status)
{
    bool upload = strstr(call->url, "uploadId=") != NULL;
    snprintf(call->date, sizeof(call->date), "%s", far.creates ? AFTER : MADE);
    if (strcmp(call->method, "HEAD") == 0) {
        bool look = far.completes == far.creates;
        far.heads += look;
        bool there = far.there_before || (look && far.there_at && far.heads >= far.there_at);
        *ret_status = there ? 200 : 404;
        snprintf(call->etag, sizeof(call->etag), "%s", there ? far.etag : "");
        snprintf(call->last_modified, sizeof(call->last_modified), "%s", far.last_modified);
    } else if (strcmp(call->method, "DELETE") == 0) {
        far.aborts++;
        if (far.crosses_abort)
            far.last_modified = MADE;
        *ret_status = 204;
    } else if (strcmp(call->method, "PUT") == 0) {
        far.parts++;
    } else if (upload) {
        if (++far.completes == 1 || !far.answers_again)
            *ret_err = ERR_TIMEOUT;
    } else {
        far.creates++;
        buf_cstr(&call->answer, "<A><UploadId>id</UploadId></A>");
    }
}

static void upload(void)
{
    static const uint8_t data[2000];
    char id[33];
    struct exchange x;
    memset(&far, 0, sizeof(far));
    far.last_modified = MADE;
    on_call = far_answer;
    replicate();
    exchange_upload(&s, SLICE(data, sizeof(data)), sizeof(data) / 2, id);
    assert_int_equal(exchange_run(&s, &x, "HEAD", "/bucket/mp", SLICE_EMPTY), 200);
    buf_u8(&x.head, 0);
    const char *etag = strstr((const char *)x.head.ptr, "ETag: \"");
    assert_non_null(etag);
    snprintf(far.etag, sizeof(far.etag), "%.*s", (int)strcspn(etag + 7, "\""), etag + 7);
    exchange_fini(&x);
}

static void a_completion_that_is_late(void **state)
{
    (void)state;
    upload();
    far.there_at = 3;
    run_ms(60000);
    assert_int_equal(far.heads, 3);
    assert_true(far.creates == 1 && far.parts == 2 && far.completes == 1 && far.aborts == 0);
    assert_int_equal(atomic_load(&metrics.delivered[DELIVER_REPLICATION]->value), 1);
}

/* What is there has the same data, but is older: another version. */
static void a_completion_that_never_comes(void **state)
{
    (void)state;
    upload();
    far.there_at = 1;
    far.last_modified = BEFORE;
    run_ms(290000);
    assert_true(far.creates == 1 && far.aborts == 0);
    run_ms(20000);
    assert_true(far.creates == 2 && far.parts == 4 && far.aborts == 1);
    assert_int_equal(atomic_load(&metrics.given_up->value), 0);
    run_ms(600000); /* give_up_ms was over in between */
    assert_int_equal(atomic_load(&metrics.given_up->value), 1);
    assert_int_equal(far.creates, 2);
    unsigned before = post_count;
    run_ms(60000);
    assert_int_equal(post_count, before);
}

/* It came after all, while nobody looked: it is not sent again. */
static void a_completion_that_is_found_by_the_next_try(void **state)
{
    (void)state;
    upload();
    far.there_at = 1;
    far.last_modified = BEFORE;
    far.crosses_abort = true;
    run_ms(320000);
    assert_true(far.creates == 1 && far.aborts == 1);
    assert_int_equal(atomic_load(&metrics.delivered[DELIVER_REPLICATION]->value), 1);
}

/* The same data once more within the second in which they were replicated before, with other
 * metadata, say: what is found there is not what was not answered, and that is sent again. */
static void the_same_data_within_a_second(void **state)
{
    (void)state;
    upload();
    far.there_before = far.answers_again = true;
    run_ms(60000);
    assert_true(far.creates == 2 && far.parts == 4 && far.completes == 2);
    assert_int_equal(atomic_load(&metrics.delivered[DELIVER_REPLICATION]->value), 1);
}

static int setup_to_give_up(void **state)
{
    give_up_ms = 500000;
    int err = setup(state);
    give_up_ms = 3600000;
    return err;
}

static bool has_empty;

static void fields_look(struct http_call *call, int *ret_err, int *ret_status)
{
    (void)ret_err;
    (void)ret_status;
    for (size_t i = 0; i < call->field_count; i++)
        has_empty |= strcmp(call->fields[i], "x-amz-meta-a;") == 0;
}

static void metadata_without_a_value(void **state)
{
    (void)state;
    struct exchange x;
    has_empty = false;
    on_call = fields_look;
    replicate();
    exchange_start(&s, &x, "PUT", "/bucket/k", SLICE_LIT("1"), "x-amz-meta-a: ", NULL);
    exchange_wait(&x);
    assert_int_equal(x.status, 200);
    exchange_fini(&x);
    run_ms(1000);
    assert_true(has_empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_listed_before_a_claim_was_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_never_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(the_window_moves_on_before_the_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bucket_that_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(queues_that_are_stuck, setup_of_two, teardown),
        cmocka_unit_test_setup_teardown(a_crowd, setup_of_a_crowd, teardown),
        cmocka_unit_test_setup_teardown(a_clock_that_is_ahead, setup, teardown),
        cmocka_unit_test_setup_teardown(a_transfer_ends_with_the_claim, setup, teardown),
        cmocka_unit_test_setup_teardown(what_can_never_be_replicated, setup, teardown),
        cmocka_unit_test_setup_teardown(destinations_of_others, setup, teardown),
        cmocka_unit_test_setup_teardown(a_completion_that_is_late, setup, teardown),
        cmocka_unit_test_setup_teardown(a_completion_that_never_comes, setup_to_give_up, teardown),
        cmocka_unit_test_setup_teardown(a_completion_that_is_found_by_the_next_try, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_same_data_within_a_second, setup, teardown),
        cmocka_unit_test_setup_teardown(metadata_without_a_value, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
