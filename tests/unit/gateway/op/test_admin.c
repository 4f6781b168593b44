/* The operator's questions: who may ask, what a status says, and the pages of a verification. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "proto/keyhash.h"
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

static void set_root(struct stand *s, bool is_root)
{
    Cairn__Command command = CAIRN__COMMAND__INIT;
    Cairn__PutAccessKey put = CAIRN__PUT_ACCESS_KEY__INIT;
    Cairn__AccessKeyRecord key = CAIRN__ACCESS_KEY_RECORD__INIT;
    uint8_t id[ID_BYTES] = {9, is_root};
    uint64_t touch = keyhash_access_key(SLICE_LIT("ROOTKEY")), at = index_applied(s->index[0]) + 1;
    struct buf data = {0};
    Cairn__Outcome *outcome;
    key.access_key_id = (char *)(uintptr_t) "ROOTKEY";
    key.secret = (char *)(uintptr_t) "secret";
    key.user_id = key.user_name = (char *)(uintptr_t) "root";
    key.is_root = is_root;
    key.enabled = true;
    put.key = &key;
    command.write_id = (ProtobufCBinaryData){ID_BYTES, id};
    command.epoch = 1;
    command.issued_ms = command.time_ms = env_wall_ms(&s->f.env);
    command.n_touches = 1;
    command.touches = &touch;
    command.op_case = CAIRN__COMMAND__OP_PUT_ACCESS_KEY;
    command.put_access_key = &put;
    s->slots[0][touch % 4096] = at;
    index_entry_pack(&command, SLICE_EMPTY, &data);
    assert_int_equal(index_apply(s->index[0], at, 1, buf_view(&data), &outcome), OK);
    assert_int_equal(outcome->err, OK);
    cairn__outcome__free_unpacked(outcome, NULL);
    buf_fini(&data);
}

static void only_the_root_user_may_ask(void **state)
{
    (void)state;
    static const char *const gets[] = {
        "status", "nodes", "disks", "pgs", "verify", "nodes/n0/safe-to-remove", "nonsense"};
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
    set_root(&s, false);
    for (size_t i = 0; i < ARRAY_COUNT(gets); i++) {
        char target[64];
        snprintf(target, sizeof(target), ADMIN "%s", gets[i]);
        refused(&s, 403, "GET", target, "AccessDenied");
    }
    refused(&s, 403, "POST", ADMIN "nodes/n0/drain", "AccessDenied");
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
        cmocka_unit_test(pages_cover_everything_once),
        cmocka_unit_test(bad_places_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
