/* Delivery of events: order per key when a claim is lost and won again; what can never be
 * replicated keeps nothing else up. */
#include "common/base/check.h"
#include "proto/methods.h"
#include "tests/unit/gateway/op/deliver_world.h"

#include <stdio.h>
#include <stdlib.h>

#define POISONED 1500

static void what_was_listed_before_a_claim_was_lost(void **state)
{
    (void)state;
    world_notify("bucket");
    world.status = 503;
    world.held_key = "a";
    world_request(200, "PUT", "/bucket/a", "1");
    world_request(200, "PUT", "/bucket/b", "1");
    world_run_ms(1000);
    assert_true(world_posts_of("a", 0) == 1 && world_posts_of("b", 0) >= 1);
    /* The claim is over, while a request is still under way; another gateway has the queue. */
    world.granted = false;
    world_run_ms(CLAIM_MS);
    world_request(200, "PUT", "/bucket/b", "2");
    world_acknowledge("b", "hook");
    world.granted = true;
    unsigned before = world.post_count;
    world_run_ms(1000);
    assert_int_equal(world.post_count,
                     before); /* nothing, until what was under way has come back */
    world_release();
    world.held_key = NULL;
    world.status = 200;
    world_run_ms(2000);
    assert_int_equal(world_posts_of("b", before),
                     0); /* b's first event would come after its second */
    assert_int_equal(world_posts_of("a", before), 1);
}

/* Far more than are under delivery at a time, and then some that are taken. */
static void what_is_never_taken(void **state)
{
    (void)state;
    char target[32];
    world_notify("bucket");
    world.poisoned = true;
    for (int i = 0; i < POISONED; i++) {
        snprintf(target, sizeof(target), "/bucket/p%d", i);
        world_request(200, "PUT", target, "1");
    }
    world_request(200, "PUT", "/bucket/q1", "1");
    world_request(200, "PUT", "/bucket/p0", "2"); /* behind its first event */
    for (int i = 0; i < 600 && !world_posts_of("q1", 0); i++)
        world_run_ms(100);
    assert_int_equal(world_posts_of("q1", 0), 1);
    assert_int_equal(atomic_load(&world.metrics.delivered[DELIVER_WEBHOOK]->value), 1);
    world_request(200, "PUT", "/bucket/q2", "1");
    for (int i = 0; i < 600 && !world_posts_of("q2", 0); i++)
        world_run_ms(100);
    assert_int_equal(world_posts_of("q2", 0), 1);
    world.poisoned = false;
    world_run_ms(60000);
    assert_int_equal(atomic_load(&world.metrics.delivered[DELIVER_WEBHOOK]->value), POISONED + 3);
    assert_int_equal(world.p0_taken, 2);
    unsigned before = world.post_count;
    world_run_ms(5000);
    assert_int_equal(world.post_count, before);
}

/* ---- buckets that are gone ---- */

static struct {
    bool held;   /* questions about the bucket are not answered */
    uint64_t at; /* the window's first event when it was asked; 0: it was not */
} bucket_asked;

static bool hold_bucket(struct stand *stand_, struct fake_call *call)
{
    const Cairn__ReadRequest *q = (const Cairn__ReadRequest *)(void *)call->request;
    if (call->method != &method_meta_read ||
        q->keys[0]->kind != CAIRN__RECORD_KIND__RECORD_BUCKET || !bucket_asked.held)
        return world_on_view(stand_, call);
    if (!bucket_asked.at)
        bucket_asked.at = world_lane()->window[0]->entry->index;
    return true; /* swallowed: it is asked again */
}

#define GONE_AGE_MS (11 * 60000)

/* More events than the window holds make us ask whether the bucket is there, and have all left it
 * when the answer comes: to the question that was asked, so that none of them is given up. */
static void the_window_moves_on_before_the_answer(void **state)
{
    (void)state;
    enum { EVENTS = 3 * LANE_WINDOW };
    world_notify("bucket");
    world_put_poisoned(EVENTS);
    world_run_ms(5000);
    bucket_asked.at = 0;
    bucket_asked.held = true;
    world.s.on_view = hold_bucket;
    world.s.witness->silent = true; /* or nobody would ask the root */
    world.s.f.wall_ms += GONE_AGE_MS;
    bool moved = false; /* all of a window that have failed leave it at a time */
    for (int i = 0; i < 600 && !moved; i++) {
        world_run_ms(10);
        const struct lane *l = world_lane();
        moved = bucket_asked.at && l->count && l->window[0]->entry->index != bucket_asked.at;
    }
    assert_true(moved && world_lane()->asking_bucket);
    world.s.witness->silent = bucket_asked.held = false;
    for (int i = 0; i < 300 && world_lane()->asking_bucket; i++)
        world_run_ms(10);
    assert_false(world_lane()->asking_bucket);
    world_run_ms(10000);
    assert_int_equal(atomic_load(&world.metrics.given_up->value), 0);
    world.poisoned = false;
    world_run_ms(20000);
    assert_int_equal(atomic_load(&world.metrics.delivered[DELIVER_WEBHOOK]->value), EVENTS);
}

static void a_bucket_that_is_gone(void **state)
{
    (void)state;
    world_notify("bucket");
    world_put_poisoned(1);
    world_request(204, "DELETE", "/bucket/p0", "");
    world_request(204, "DELETE", "/bucket", "");
    world_run_ms(60000);
    assert_int_equal(atomic_load(&world.metrics.given_up->value), 0);
    world.s.f.wall_ms += GONE_AGE_MS;
    world_run_ms(60000);
    assert_int_equal(atomic_load(&world.metrics.given_up->value), 1);
    unsigned before = world.post_count;
    world_run_ms(60000);
    assert_int_equal(world.post_count, before);
}

/* There is room for two queues, and two destinations are away: others have their turn. */
static void queues_that_are_stuck(void **state)
{
    (void)state;
    static const char *const buckets[] = {"away1", "away2", "good"};
    for (size_t i = 0; i < ARRAY_COUNT(buckets); i++) {
        char target[64];
        snprintf(target, sizeof(target), "/%s", buckets[i]);
        world_request(200, "PUT", target, "");
        world_notify(buckets[i]);
    }
    world.poisoned = true;
    world_request(200, "PUT", "/away1/p1", "1");
    world_request(200, "PUT", "/away2/p2", "1");
    world_run_ms(1000);
    assert_true(world_posts_of("p1", 0) && world_posts_of("p2", 0));
    world_request(200, "PUT", "/good/q1", "1");
    world_run_ms(20000);
    assert_int_equal(world_posts_of("q1", 0), 0);
    world_run_ms(40000);
    assert_int_equal(world_posts_of("q1", 0), 1);
    unsigned before = world.post_count;
    world_run_ms(60000);
    assert_true(world_posts_of("p1", before) && world_posts_of("p2", before));
    world.poisoned = false;
    world_run_ms(60000);
    assert_int_equal(atomic_load(&world.metrics.delivered[DELIVER_WEBHOOK]->value), 3);
}

static int setup_of_two(void **state)
{
    world.queues_max = 2;
    return world_setup(state);
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
        world_request(200, "PUT", target, "");
        world_notify(buckets[i]);
    }
    world.poisoned = true;
    world.granted = false;
    for (int k = 0; k < 20; k++)
        for (size_t i = 0; i < ARRAY_COUNT(buckets); i++) {
            snprintf(target, sizeof(target), "/%s/%c%d", buckets[i], i == 0 && k < 19 ? 'p' : 'q',
                     k);
            world_request(200, "PUT", target, "1");
        }
    world.granted = true;
    for (int i = 0; i < 3000; i++) {
        world_run_ms(10);
        assert_true(world.d->windowed <= 3 * LANE_WINDOW_LEAST && world.d->running <= 2);
    }
    assert_int_equal(world.open_max, 2);
    assert_int_equal(atomic_load(&world.metrics.delivered[DELIVER_WEBHOOK]->value), 41);
    world.poisoned = false;
    world_run_ms(20000);
    assert_int_equal(atomic_load(&world.metrics.delivered[DELIVER_WEBHOOK]->value), 60);
    assert_true(world.d->windowed == 0 && world.d->running == 0);
}

static int setup_of_a_crowd(void **state)
{
    world.running_max = 2;
    world.window_max = 8;
    return world_setup(state);
}

/* A gateway with such a clock signs with it, and so is refused everything: that is no reason to
 * give up what others can send.  Nor is a leader's.  What is old by both is. */
static void a_clock_that_is_ahead(void **state)
{
    (void)state;
    world_replicate();
    world.status = 403;
    world_request(200, "PUT", "/bucket/a", "1");
    world.gateway_ahead_ms = 0 - 2 * world.give_up_ms;
    world_run_ms(10000);
    assert_int_equal(atomic_load(&world.metrics.given_up->value), 0);
    world.s.f.wall_ms += world.gateway_ahead_ms = 2 * world.give_up_ms;
    world_run_ms(10000);
    assert_int_equal(atomic_load(&world.metrics.given_up->value), 0);
    assert_true(world_posts_of("a", 0) > 10);
    world.gateway_ahead_ms = 0;
    world_run_ms(10000);
    assert_int_equal(atomic_load(&world.metrics.given_up->value), 1);
}

/* Whoever has the queue next must not be overtaken by what we sent before. */
static void a_transfer_ends_with_the_claim(void **state)
{
    (void)state;
    world_replicate();
    world.held_key = "a";
    world_request(200, "PUT", "/bucket/a", "1");
    world_run_ms(1000);
    assert_int_equal(world_posts_of("a", 0), 1);
    world.granted = false;
    world_run_ms(CLAIM_MS / 2);
    assert_int_equal(world.canceled, 0);
    world_run_ms(CLAIM_MS / 2);
    assert_true(world.canceled);
    world.granted = true;
    world.held_key = NULL;
    world_run_ms(2000);
    assert_int_equal(world_posts_of("a", 0), 2);
}

/* Nor when it is rarely asked for more. */
static void a_transfer_ends_before_the_next_look(void **state)
{
    (void)state;
    world_replicate();
    world.held_key = "a";
    world_request(200, "PUT", "/bucket/a", "1");
    for (int i = 0; i < 600 && !world_posts_of("a", 0); i++)
        world_run_ms(10);
    world.granted = false;
    world_run_ms(CLAIM_MS - 1000);
    assert_int_equal(world.canceled, 1);
}

static int setup_of_rare_looks(void **state)
{
    world.interval_ms = 5000;
    return world_setup(state);
}

/* One destination keeps the queue from being empty, while others come and go. */
static void destinations_that_come_and_go(void **state)
{
    (void)state;
    char text[1024], target[32];
    world_notify("bucket");
    world_put_poisoned(1);
    world_replicate();
    world_request(200, "PUT", "/bucket?notification", "<NotificationConfiguration/>");
    for (int i = 0; i < 8; i++) {
        const char *at = strstr(REPLICATION, "/there");
        snprintf(text, sizeof(text), "%.*s/there-%d%s", (int)(at - REPLICATION), REPLICATION, i,
                 at + strlen("/there"));
        world_request(200, "PUT", "/bucket?replication", text);
        snprintf(target, sizeof(target), "/bucket/q%d", i);
        world_request(200, "PUT", target, "1");
        world_run_ms(1000);
    }
    assert_int_equal(atomic_load(&world.metrics.delivered[DELIVER_REPLICATION]->value), 8);
    assert_non_null(world_lane());
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
    stand_put_account(&world.s, "000000000002", "canonical-2");
    stand_put_key(&world.s, "TWO", "000000000002", "", true);
    world.s.signs_as = "TWO";
    world_request(200, "PUT", "/theirs", "");
    world_request(200, "PUT", "/theirs?versioning",
                  "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>");
    world_request(400, "PUT", "/theirs?notification", notification);
    world_request(400, "PUT", "/theirs?replication", replication);
    world.hooks.items[0].accounts = strdup("000000000002");
    world.remotes.items[0].accounts = strdup("*");
    world_request(200, "PUT", "/theirs?notification", notification);
    world_request(200, "PUT", "/theirs?replication", replication);
    world_run_ms(2000);
    unsigned before = world.post_count;
    world_request(200, "PUT", "/theirs/a", "x");
    world_run_ms(5000);
    assert_true(world.post_count > before + 1); /* told, and replicated */
    free(world.hooks.items[0].accounts);
    free(world.remotes.items[0].accounts);
    world.hooks.items[0].accounts = world.remotes.items[0].accounts = NULL;
    before = world.post_count;
    world_request(200, "PUT", "/theirs/b", "x");
    world_run_ms(5000);
    assert_int_equal(world.post_count, before);
    world.s.signs_as = "ROOTKEY";
}

static void what_can_never_be_replicated(void **state)
{
    (void)state;
    struct exchange x;
    world_replicate();
    for (int i = 0; i < 80; i++) { /* more than are under delivery at a time */
        char target[32];
        snprintf(target, sizeof(target), "/bucket/secret-%d", i);
        exchange_start(
            &world.s, &x, "PUT", target, SLICE_LIT("1"),
            "x-amz-server-side-encryption-customer-algorithm: AES256",
            "x-amz-server-side-encryption-customer-key: "
            "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=",
            "x-amz-server-side-encryption-customer-key-MD5: UhbdzFjo2t5SVgded/ZC2g==", NULL);
        exchange_wait(&x);
        assert_int_equal(x.status, 200);
        exchange_fini(&x);
    }
    world_request(200, "PUT", "/bucket/plain", "1");
    world_run_ms(5000);
    assert_int_equal(world_posts_of("plain", 0), 1);
    assert_int_equal(world.post_count, 1);
    assert_int_equal(atomic_load(&world.metrics.given_up->value), 80);
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
    bool forgets;       /* answers to a completion that it knows of no such upload */
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
            *ret_err = far.forgets ? OK : ERR_TIMEOUT;
        if (far.forgets)
            *ret_status = 404;
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
    world.on_call = far_answer;
    world_replicate();
    exchange_upload(&world.s, SLICE(data, sizeof(data)), sizeof(data) / 2, id);
    assert_int_equal(exchange_run(&world.s, &x, "HEAD", "/bucket/mp", SLICE_EMPTY), 200);
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
    world_run_ms(60000);
    assert_int_equal(far.heads, 3);
    assert_true(far.creates == 1 && far.parts == 2 && far.completes == 1 && far.aborts == 0);
    assert_int_equal(atomic_load(&world.metrics.delivered[DELIVER_REPLICATION]->value), 1);
}

static void a_completion_that_was_sent_twice(void **state)
{
    (void)state;
    upload();
    far.forgets = true;
    far.there_at = 1;
    world_run_ms(60000);
    assert_true(far.creates == 1 && far.completes == 1 && far.heads == 1);
    assert_int_equal(atomic_load(&world.metrics.delivered[DELIVER_REPLICATION]->value), 1);
}

/* What is there has the same data, but is older: another version. */
static void a_completion_that_never_comes(void **state)
{
    (void)state;
    upload();
    far.there_at = 1;
    far.last_modified = BEFORE;
    world_run_ms(290000);
    assert_true(far.creates == 1 && far.aborts == 0);
    world_run_ms(20000);
    assert_true(far.creates == 2 && far.parts == 4 && far.aborts == 1);
    assert_int_equal(atomic_load(&world.metrics.given_up->value), 0);
    world_run_ms(600000); /* give_up_ms was over in between */
    assert_int_equal(atomic_load(&world.metrics.given_up->value), 1);
    assert_int_equal(far.creates, 2);
    unsigned before = world.post_count;
    world_run_ms(60000);
    assert_int_equal(world.post_count, before);
}

/* It came after all, while nobody looked: it is not sent again. */
static void a_completion_that_is_found_by_the_next_try(void **state)
{
    (void)state;
    upload();
    far.there_at = 1;
    far.last_modified = BEFORE;
    far.crosses_abort = true;
    world_run_ms(320000);
    assert_true(far.creates == 1 && far.aborts == 1);
    assert_int_equal(atomic_load(&world.metrics.delivered[DELIVER_REPLICATION]->value), 1);
}

/* The same data once more within the second in which they were replicated before, with other
 * metadata, say: what is found there is not what was not answered, and that is sent again. */
static void the_same_data_within_a_second(void **state)
{
    (void)state;
    upload();
    far.there_before = far.answers_again = true;
    world_run_ms(60000);
    assert_true(far.creates == 2 && far.parts == 4 && far.completes == 2);
    assert_int_equal(atomic_load(&world.metrics.delivered[DELIVER_REPLICATION]->value), 1);
}

static int setup_to_give_up(void **state)
{
    world.give_up_ms = 500000;
    return world_setup(state);
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
    world.on_call = fields_look;
    world_replicate();
    exchange_start(&world.s, &x, "PUT", "/bucket/k", SLICE_LIT("1"), "x-amz-meta-a: ", NULL);
    exchange_wait(&x);
    assert_int_equal(x.status, 200);
    exchange_fini(&x);
    world_run_ms(1000);
    assert_true(has_empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WITH(world_setup, f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
        WITH(world_setup, what_was_listed_before_a_claim_was_lost),
        WITH(world_setup, what_is_never_taken),
        WITH(world_setup, the_window_moves_on_before_the_answer),
        WITH(world_setup, a_bucket_that_is_gone),
        WITH(setup_of_two, queues_that_are_stuck),
        WITH(setup_of_a_crowd, a_crowd),
        WITH(world_setup, a_clock_that_is_ahead),
        WITH(world_setup, a_transfer_ends_with_the_claim),
        WITH(setup_of_rare_looks, a_transfer_ends_before_the_next_look),
        WITH(world_setup, destinations_that_come_and_go),
        WITH(world_setup, what_can_never_be_replicated),
        WITH(world_setup, destinations_of_others),
        WITH(world_setup, a_completion_that_is_late),
        WITH(world_setup, a_completion_that_was_sent_twice),
        WITH(setup_to_give_up, a_completion_that_never_comes),
        WITH(world_setup, a_completion_that_is_found_by_the_next_try),
        WITH(world_setup, the_same_data_within_a_second),
        WITH(world_setup, metadata_without_a_value),
    };
    return cmocka_run_group_tests(tests, world_defaults, NULL);
}
