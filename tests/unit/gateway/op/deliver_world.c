/* See deliver_world.h. */
#include "tests/unit/gateway/op/deliver_world.h"

#include "common/base/check.h"
#include "proto/methods.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define POSTS_MAX 65536
#define CALLS_MAX 16
#define ACKED_MAX 16

struct deliver_world world;
static size_t turn;               /* of the queues that are given */
static char posts[POSTS_MAX][32]; /* keys, in order of arrival */
static struct http_call *open_calls[CALLS_MAX];
static char p0_last[32]; /* the sequencer of the last message about p0 that was taken */

/* ---- destinations that do as they are told ---- */

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
    world.p0_taken++;
}

static void call_end(unsigned i, int err, int with)
{
    struct http_call *call = open_calls[i];
    open_calls[i] = NULL;
    if (world.on_call && err == OK)
        world.on_call(call, &err, &with);
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
    assert_true(world.post_count < POSTS_MAX);
    key_of(call, posts[world.post_count]);
    if (!posts[world.post_count][0]) {
        probe = call;
        env_timer_init(&world.s.f.env, &probe_timer, probe_cb);
        env_timer_start(&probe_timer, 0);
        return;
    }
    world.post_count++;
    unsigned at = CALLS_MAX, open = 1;
    for (unsigned i = 0; i < CALLS_MAX; i++) {
        open += open_calls[i] != NULL;
        if (!open_calls[i])
            at = i;
    }
    assert_true(at < CALLS_MAX);
    open_calls[at] = call;
    world.open_max = MAX(world.open_max, open);
}

static void http_resume(struct http_call *call)
{
    (void)call;
}

static void http_cancel(struct http_call *call)
{
    call->canceled = true;
    world.canceled++;
}

static const struct http_client_ops ops = {http_start, http_resume, http_cancel};
static struct http_client client = {&ops};

/* Runs, answering what is not held. */
void world_run_ms(uint64_t ms)
{
    for (uint64_t at = 0; at < ms; at += 10) {
        fake_run(&world.s.f, 10 * NS_PER_MS);
        for (unsigned i = 0; i < CALLS_MAX; i++) {
            char key[32];
            if (!open_calls[i])
                continue;
            key_of(open_calls[i], key);
            if (open_calls[i]->canceled)
                call_end(i, ERR_CANCELED, 0);
            else if (!world.held_key || strcmp(key, world.held_key) != 0)
                call_end(i, OK, world.poisoned && key[0] == 'p' ? 400 : world.status);
        }
    }
}

void world_release(void)
{
    for (unsigned i = 0; i < CALLS_MAX; i++)
        if (open_calls[i])
            call_end(i, OK, world.status);
}

unsigned world_posts_of(const char *key, unsigned from)
{
    unsigned n = 0;
    for (unsigned i = from; i < world.post_count; i++)
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

bool world_on_view(struct stand *stand_, struct fake_call *call)
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
    for (unsigned p = 1; world.granted && p < STAND_PARTITIONS; p++) {
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
            info->time_ms =
                world.s.f.wall_ms + world.s.f.now_ns / NS_PER_MS - world.gateway_ahead_ms;
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
void world_acknowledge(const char *key, const char *target)
{
    for (unsigned p = 1; p < STAND_PARTITIONS; p++) {
        struct index_view view;
        struct index_reply reply = {0};
        uint64_t bucket = 0, oldest;
        Cairn__EventQueue *queue;
        index_view_init(&view, world.s.index[p], NULL);
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
            assert_int_equal(stand_command(&world.s, p, &command), OK);
        cairn__list_events_response__free_unpacked(m, NULL);
        buf_fini(&packed);
        index_reply_fini(&reply);
    }
}

/* ---- the stand ---- */

void world_request(int expected, const char *method, const char *target, const char *body)
{
    struct exchange x;
    int got = exchange_run(&world.s, &x, method, target, slice_cstr(body));
    if (got != expected)
        fail_msg("%s %s: %d instead of %d: %.*s", method, target, got, expected, (int)x.out.len,
                 (const char *)x.out.ptr);
    exchange_fini(&x);
}

/* Of the next setup, unless it says otherwise. */
int world_defaults(void **state)
{
    (void)state;
    world.queues_max = 8;
    world.running_max = 100;
    world.window_max = 1000;
    world.give_up_ms = 3600000;
    world.interval_ms = 100;
    return 0;
}

int world_setup(void **state)
{
    (void)state;
    struct buf why = {0};
    char secret[] = "/tmp/test-deliver-XXXXXX", text[256];
    int fd = mkstemp(secret);
    assert_true(fd >= 0 && write(fd, "secret\n", 7) == 7);
    stand_init(&world.s);
    deliver_metrics_init(&world.metrics);
    assert_int_equal(targets_parse("hook=http://hook", false, &world.hooks, &why), OK);
    snprintf(text, sizeof(text), "far=http://far access_key=KEY secret=%s", secret);
    assert_int_equal(targets_parse(text, true, &world.remotes, &why), OK);
    close(fd);
    unlink(secret);
    world.s.config.webhooks = &world.hooks;
    world.s.config.remotes = &world.remotes;
    world.s.config.event_queue_max = 5000;
    world.s.config.event_timeout_ms = 500;
    world.s.gw.out = &client;
    world.s.on_view = world_on_view;
    world.granted = true;
    world.gateway_ahead_ms = 0;
    world.post_count = world.canceled = world.open_max = 0;
    world.held_key = NULL;
    world.poisoned = false;
    world.p0_taken = 0;
    p0_last[0] = 0;
    world.status = 200;
    world.on_call = NULL;
    memset(open_calls, 0, sizeof(open_calls));
    struct deliver_config config = {.interval_ms = world.interval_ms,
                                    .retry_max_ms = 300,
                                    .give_up_ms = world.give_up_ms,
                                    .parallel = 4,
                                    .queues_max = world.queues_max,
                                    .running_max = world.running_max,
                                    .window_max = world.window_max};
    assert_int_equal(deliver_new(&world.s.gw, &config, &world.metrics, &world.d), OK);
    world_request(200, "PUT", "/bucket", "");
    return 0;
}

int world_teardown(void **state)
{
    (void)state;
    deliver_stop(world.d);
    world_release();
    world.held_key = NULL;
    world.on_call = NULL;
    world_run_ms(20000);
    assert_true(deliver_idle(world.d));
    deliver_free(world.d);
    stand_fini(&world.s);
    targets_fini(&world.hooks);
    targets_fini(&world.remotes);
    return world_defaults(state);
}

void world_notify(const char *bucket)
{
    char target[64];
    snprintf(target, sizeof(target), "/%s?notification", bucket);
    world_request(200, "PUT", target,
                  "<NotificationConfiguration><QueueConfiguration><Id>i</Id>"
                  "<Queue>arn:cairn:sqs::hook:webhook</Queue><Event>s3:ObjectCreated:*</Event>"
                  "</QueueConfiguration></NotificationConfiguration>");
}

struct lane *world_lane(void)
{
    struct queue *q = container_of(world.d->queues.next, struct queue, node);
    assert_true(world.d->queue_count == 1 && q->lanes.next == q->lanes.prev);
    return container_of(q->lanes.next, struct lane, node);
}

void world_put_poisoned(int count)
{
    char target[32];
    world.poisoned = true;
    for (int i = 0; i < count; i++) {
        snprintf(target, sizeof(target), "/bucket/p%d", i);
        world_request(200, "PUT", target, "1");
    }
}

void world_replicate(void)
{
    world_request(200, "PUT", "/bucket?versioning",
                  "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>");
    world_request(200, "PUT", "/bucket?replication", REPLICATION);
}
