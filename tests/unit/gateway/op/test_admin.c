/* The operator's questions: who may ask, what a status says, and the pages of a verification. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "proto/methods.h"
#include "tests/unit/gateway/op/stand.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define ADMIN "/_cairn/admin/v1/"

static json_t *ask_json(struct stand *s, const char *method, const char *target)
{
    struct exchange x;
    int status = exchange_run(s, &x, method, target, SLICE_EMPTY);
    if (status != 200)
        print_message("%s: %.*s\n", target, (int)x.out.len, (const char *)x.out.ptr);
    assert_int_equal(status, 200);
    json_t *o = json_loadb((const char *)x.out.ptr, x.out.len, 0, NULL);
    assert_non_null(o);
    exchange_fini(&x);
    return o;
}

static void refused(struct stand *s, int status, const char *method, const char *target,
                    const char *says)
{
    struct exchange x;
    assert_int_equal(exchange_run(s, &x, method, target, SLICE_EMPTY), status);
    assert_true(exchange_says(&x, says));
    exchange_fini(&x);
}

static long long number(const json_t *o, const char *name)
{
    return json_integer_value(json_object_get(o, name));
}

/* ---- who may ask ---- */

static void only_the_root_user_may_ask(void **state)
{
    (void)state;
    static const char *const gets[] = {"status", "nodes",  "disks",
                                       "pgs",    "verify", "nodes/n0/safe-to-remove",
                                       "repair", "scrub",  "nonsense"};
    struct stand s;
    stand_init(&s);
    s.on_view = stand_root;
    json_t *o = ask_json(&s, "GET", ADMIN "status");
    assert_string_equal(json_string_value(json_object_get(o, "health")), "degraded");
    assert_int_equal(json_array_size(json_object_get(o, "nodes")), STAND_NODES);
    assert_int_equal(number(json_object_get(o, "pgs"), "degraded"), 1);
    json_decref(o);
    refused(&s, 404, "GET", ADMIN "nonsense", "NoSuchKey");
    refused(&s, 405, "POST", ADMIN "status", "MethodNotAllowed");
    refused(&s, 404, "GET", ADMIN "nodes/nobody/safe-to-remove", "storage node");
    stand_put_account(&s, "2", "another");
    stand_put_key(&s, "ROOTKEY", "2", "", true);
    for (size_t i = 0; i < ARRAY_COUNT(gets); i++) {
        char target[64];
        snprintf(target, sizeof(target), ADMIN "%s", gets[i]);
        refused(&s, 403, "GET", target, "AccessDenied");
    }
    refused(&s, 403, "POST", ADMIN "nodes/n0/drain", "AccessDenied");
    refused(&s, 403, "POST", ADMIN "scrub", "AccessDenied");
    refused(&s, 403, "POST", ADMIN "nodes/n0/scrub", "AccessDenied");
    stand_fini(&s);
}

/* ---- repair and scrub ---- */

static void repair_and_scrub_are_told(void **state)
{
    (void)state;
    Cairn__NodeReport r = CAIRN__NODE_REPORT__INIT;
    Cairn__GroupReport group = CAIRN__GROUP_REPORT__INIT, *groups = &group;
    Cairn__DiskReport disk = CAIRN__DISK_REPORT__INIT, *disks = &disk;
    Cairn__DeepReport deep = CAIRN__DEEP_REPORT__INIT;
    struct stand s;
    stand_init(&s);
    s.on_view = stand_root;
    group.pg = 7;
    group.missing = 5;
    group.endangered = 2;
    r.groups = &groups;
    r.n_groups = 1;
    r.disks = &disks;
    r.n_disks = 1;
    r.repair_backlog_bytes = 1000;
    r.repair_rate = 30;
    r.repair_pass_ms = 5;
    disk.path = (char *)(uintptr_t) "/mnt/\xff"; /* no text */
    disk.scrub_asked = true;
    disk.scrub_left_bytes = 40;
    disk.live_bytes = 160;
    disk.scrub_oldest_ms = env_wall_ms(&s.f.env) - 90000;
    deep.asked = true;
    deep.left = 100;
    deep.total = 256;
    deep.unproven = 1;
    r.deep = &deep;
    s.node[0].report = &r;
    s.node[1].peer->down = true;
    json_t *o = ask_json(&s, "GET", ADMIN "repair");
    assert_true(number(o, "missing") == 5 && number(o, "endangered") == 2);
    assert_true(number(o, "eta_s") == 34 && number(o, "bytes_per_sec") == 30);
    const json_t *nodes = json_object_get(o, "nodes"), *n = json_array_get(nodes, 0);
    assert_int_equal(json_array_size(nodes), STAND_NODES);
    assert_true(json_is_true(json_object_get(n, "answers")) && number(n, "last_pass_ms") == 5);
    assert_true(json_is_false(json_object_get(json_array_get(nodes, 1), "answers")));
    assert_int_equal(number(json_array_get(json_object_get(o, "groups"), 0), "pg"), 7);
    json_decref(o);
    o = ask_json(&s, "GET", ADMIN "scrub");
    n = json_array_get(json_object_get(o, "nodes"), 0);
    const json_t *d = json_array_get(json_object_get(n, "disks"), 0);
    assert_true(number(d, "left_bytes") == 40 && number(d, "oldest_age_s") == 90);
    assert_true(number(o, "disks_under_way") == 1 && number(o, "deep_under_way") == 1);
    assert_true(number(o, "unproven") == 1 && number(json_object_get(n, "deep"), "left") == 100);
    json_decref(o);
    r.repair_rate = 0;
    o = ask_json(&s, "GET", ADMIN "repair");
    assert_true(json_is_null(json_object_get(o, "eta_s"))); /* nobody knows */
    json_decref(o);
    stand_fini(&s);
}

static void a_scrub_is_started_on_one_node_or_on_all(void **state)
{
    (void)state;
    struct stand s;
    stand_init(&s);
    s.on_view = stand_root;
    s.node[2].scrub_err = ERR_NOT_READY;
    json_t *o = ask_json(&s, "POST", ADMIN "scrub");
    assert_true(number(o, "started") == 2 && number(o, "failed") == 1);
    assert_true(s.node[0].scrubs == 1 && s.node[1].scrubs == 1 && s.node[2].scrubs == 1);
    json_decref(o);
    char target[64];
    snprintf(target, sizeof(target), ADMIN "nodes/%s/scrub?deep=1", s.node[1].id);
    o = ask_json(&s, "POST", target);
    assert_true(number(o, "started") == 1 && number(o, "failed") == 0);
    assert_int_equal(json_array_size(json_object_get(o, "nodes")), 1);
    assert_true(s.node[0].deep_scrubs == 0 && s.node[1].deep_scrubs == 1);
    assert_int_equal(s.node[1].scrubs, 1);
    json_decref(o);
    refused(&s, 404, "POST", ADMIN "nodes/nobody/scrub", "storage node");
    refused(&s, 405, "POST", ADMIN "repair", "MethodNotAllowed");
    refused(&s, 405, "GET", ADMIN "nodes/s0/scrub", "MethodNotAllowed");
    stand_fini(&s);
}

/* ---- verify ---- */

static void put_large(struct stand *s, const char *target)
{
    struct exchange x;
    size_t bytes = 300000;
    uint8_t *body = calloc(1, bytes);
    assert_int_equal(exchange_run(s, &x, "PUT", target, SLICE(body, bytes)), 200);
    exchange_fini(&x);
    free(body);
}

struct sums {
    long long objects, segments, full, degraded, lost, unknown, bad, pages;
};

/* All pages of one object each. */
static struct sums walk(struct stand *s)
{
    struct sums sum = {0};
    char target[256], after[160] = "";
    do {
        snprintf(target, sizeof(target), ADMIN "verify?after=%s&max=1", after);
        json_t *o = ask_json(s, "GET", target), *scheme;
        const char *next = json_string_value(json_object_get(o, "next"));
        size_t i;
        sum.objects += number(o, "objects");
        sum.segments += number(o, "segments");
        sum.bad += (long long)json_array_size(json_object_get(o, "bad"));
        json_array_foreach(json_object_get(o, "schemes"), i, scheme)
        {
            sum.full += number(scheme, "full");
            sum.degraded += number(scheme, "degraded");
            sum.lost += number(scheme, "lost");
            sum.unknown += number(scheme, "unknown");
        }
        snprintf(after, sizeof(after), "%s", next ? next : "");
        json_decref(o);
        assert_true(++sum.pages < 50);
    } while (after[0]);
    return sum;
}

static void fill(struct stand *s)
{
    static const char *const targets[] = {"/bucket/a", "/bucket/b", "/bucket/x", "/bucket/z",
                                          "/other/k"};
    struct exchange x;
    stand_init(s);
    assert_int_equal(exchange_run(s, &x, "PUT", "/bucket", SLICE_EMPTY), 200);
    exchange_fini(&x);
    assert_int_equal(exchange_run(s, &x, "PUT", "/other", SLICE_EMPTY), 200);
    exchange_fini(&x);
    for (size_t i = 0; i < ARRAY_COUNT(targets); i++)
        put_large(s, targets[i]);
}

static unsigned asked;

/* The second time the page is asked for, all of it has been deleted. */
static bool all_deleted(struct stand *s, struct fake_call *call)
{
    (void)s;
    Cairn__ListSegmentsResponse r = CAIRN__LIST_SEGMENTS_RESPONSE__INIT;
    if (call->method != &method_meta_list_segments || asked++ % 2 == 0)
        return false;
    fake_reply(call, OK, &r.base, (struct payload){0});
    return true;
}

static void pages_cover_everything_once(void **state)
{
    (void)state;
    struct stand s;
    fill(&s);
    struct sums sum = walk(&s);
    assert_int_equal(sum.objects, 5);
    assert_true(sum.segments >= 5 && sum.full == sum.segments && sum.bad == 0);
    long long segments = sum.segments;
    s.node[0].blobs[0].deleted = true; /* one copy of one segment */
    sum = walk(&s);
    assert_true(sum.degraded == 1 && sum.full == segments - 1 && sum.lost == 0 && sum.bad == 1);
    s.node[0].check_max = 1; /* answers with less than it was asked */
    s.node[0].checks = 0;
    json_t *o = ask_json(&s, "GET", ADMIN "verify?bucket=bucket");
    assert_true(number(o, "segments") == s.node[0].checks && s.node[0].checks > 1);
    assert_int_equal(json_array_size(json_object_get(o, "bad")), 1);
    json_decref(o);
    s.node[0].check_max = 0;
    for (int i = 0; i < STAND_NODES; i++) {
        for (unsigned k = 0; k < s.node[i].blob_count; k++)
            s.node[i].blobs[k].deleted = true;
    }
    sum = walk(&s);
    assert_true(sum.lost == segments && sum.full == 0 && sum.bad == segments);
    s.node[1].check_err = ERR_IO; /* it may have it */
    sum = walk(&s);
    assert_true(sum.unknown == segments && sum.lost == 0);
    s.node[1].check_err = OK;
    asked = 0;
    s.on_view = all_deleted;
    sum = walk(&s); /* no longer referred to: no loss */
    assert_true(sum.lost == 0 && sum.bad == 0 && sum.segments == 0);
    stand_fini(&s);
}

/* ---- members that change ---- */

static bool no_map(struct stand *s, struct fake_call *call)
{
    Cairn__ClusterMapResponse r = CAIRN__CLUSTER_MAP_RESPONSE__INIT;
    (void)s;
    fake_reply(call, ERR_NOT_LEADER, &r.base, (struct payload){0});
    return true;
}

static bool map_of_before(struct stand *s, struct fake_call *call)
{
    Cairn__ClusterMapResponse r = CAIRN__CLUSTER_MAP_RESPONSE__INIT;
    (void)s;
    r.unchanged = true;
    fake_reply(call, OK, &r.base, (struct payload){0});
    return true;
}

/* However old the loop's own map: its group's members of now are asked, and nobody else. */
static void former_members_are_not_asked(void **state)
{
    (void)state;
    struct stand s;
    fill(&s);
    struct sums whole = walk(&s);
    for (unsigned i = 0; i < 5; i++) {
        bool to_spare = i % 2 == 0;
        struct stand_node *former = to_spare ? &s.node[2] : &s.spare;
        stand_move(&s, to_spare);
        former->checks = 0;
        struct sums sum = walk(&s);
        assert_true(sum.full == whole.full && sum.segments == whole.segments && sum.bad == 0);
        assert_int_equal(former->checks, 0);
    }
    stand_fini(&s);
}

/* Who cannot know where things are says so, in time. */
static void without_the_roots_leader_nothing_is_said(void **state)
{
    (void)state;
    struct stand s;
    fill(&s);
    s.on_map = no_map;
    uint64_t began = s.f.now_ns;
    refused(&s, 503, "GET", ADMIN "verify", "leaders that know");
    assert_in_range(s.f.now_ns - began, 0, (s.config.timeout_ms + 1000) * NS_PER_MS);
    s.on_map = map_of_before; /* a leader that does not know the question */
    refused(&s, 501, "GET", ADMIN "verify", "NotImplemented");
    assert_int_equal(s.node[0].checks, 0);
    s.on_map = NULL;
    assert_int_equal(walk(&s).degraded, 0);
    stand_fini(&s);
}

static unsigned moves, moves_max;

/* The group moves while its members are being asked: who was a member has nothing to show. */
static void move_first(struct stand_node *n)
{
    if (n == &n->s->node[0] && moves < moves_max)
        stand_move(n->s, moves++ % 2 == 0);
}

static void members_may_change_meanwhile(void **state)
{
    (void)state;
    struct stand s;
    fill(&s);
    struct sums whole = walk(&s);
    s.on_check = move_first;
    for (moves = 0, moves_max = 1; moves_max < 4; moves_max++) {
        struct sums sum = walk(&s);
        assert_int_equal(moves, moves_max);
        assert_true(sum.full == whole.full && sum.segments == whole.segments && sum.bad == 0);
    }
    moves_max = UINT32_MAX; /* it does not come to rest: nobody knows */
    s.node[0].checks = 0;
    json_t *o = ask_json(&s, "GET", ADMIN "verify?bucket=other");
    const json_t *scheme = json_array_get(json_object_get(o, "schemes"), 0);
    assert_true(number(scheme, "unknown") > 0 && number(scheme, "lost") == 0);
    assert_int_equal(number(scheme, "unknown"), number(o, "segments"));
    assert_in_range(s.node[0].checks, 2, 10);
    json_decref(o);
    /* What is lost is lost, whoever moves. */
    for (int i = 0; i <= STAND_NODES; i++) {
        struct stand_node *n = i < STAND_NODES ? &s.node[i] : &s.spare;
        for (unsigned k = 0; k < n->blob_count; k++)
            n->blobs[k].deleted = true;
    }
    moves = moves & 1;
    moves_max = moves + 1;
    struct sums sum = walk(&s);
    assert_true(sum.lost == whole.segments && sum.full == 0 && sum.unknown == 0);
    stand_fini(&s);
}

/* The connection may be of before the node's restart: only who is asked anew and does not answer is
 * said not to answer. */
static void a_broken_connection_is_no_answer(void **state)
{
    (void)state;
    struct stand s;
    fill(&s);
    struct sums whole = walk(&s);
    s.node[1].peer->loses_once = true;
    struct sums sum = walk(&s);
    assert_true(sum.full == whole.full && sum.bad == 0);
    s.node[1].peer->loses_once = true;
    s.on_view = stand_root;
    json_t *o = ask_json(&s, "GET", ADMIN "repair");
    const json_t *n = json_array_get(json_object_get(o, "nodes"), 1);
    assert_true(json_is_true(json_object_get(n, "answers")));
    json_decref(o);
    s.node[1].peer->loses = true;
    unsigned calls = s.node[1].peer->calls;
    o = ask_json(&s, "GET", ADMIN "repair");
    n = json_array_get(json_object_get(o, "nodes"), 1);
    assert_true(json_is_false(json_object_get(n, "answers")));
    assert_int_equal(s.node[1].peer->calls - calls, 2);
    json_decref(o);
    s.on_view = NULL;
    sum = walk(&s);
    assert_true(sum.degraded > 0 && sum.lost == 0);
    stand_fini(&s);
}

static void bad_places_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"bucket",       "/",           "bucket/zz/",
                                      "bucket/6",     "bucket/6/",   "BUCKET/-",
                                      "bucket/61/6g", "bucket/61/0", "bucket/61"};
    struct stand s;
    fill(&s);
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        char target[128];
        snprintf(target, sizeof(target), ADMIN "verify?after=%s", bad[i]);
        refused(&s, 400, "GET", target, "InvalidArgument");
    }
    refused(&s, 400, "GET", ADMIN "verify?after=other/-&bucket=bucket", "InvalidArgument");
    refused(&s, 400, "GET", ADMIN "verify?after=other//&bucket=bucket", "InvalidArgument");
    refused(&s, 400, "GET", ADMIN "verify?max=0", "InvalidArgument");
    refused(&s, 404, "GET", ADMIN "verify?bucket=nowhere", "NoSuchBucket");
    json_decref(ask_json(&s, "GET", ADMIN "verify?after=gone//")); /* on behind it */
    stand_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_root_user_may_ask),
        cmocka_unit_test(repair_and_scrub_are_told),
        cmocka_unit_test(a_scrub_is_started_on_one_node_or_on_all),
        cmocka_unit_test(pages_cover_everything_once),
        cmocka_unit_test(former_members_are_not_asked),
        cmocka_unit_test(without_the_roots_leader_nothing_is_said),
        cmocka_unit_test(members_may_change_meanwhile),
        cmocka_unit_test(a_broken_connection_is_no_answer),
        cmocka_unit_test(bad_places_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
