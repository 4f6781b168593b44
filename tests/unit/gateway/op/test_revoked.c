/* What operations read at leaders after they were allowed to: a key that was revoked, or a bucket
 * that was deleted, in between gets none of it (DESIGN section 2; for GET: meta/test_read.c). */
#include "common/base/check.h"
#include "common/base/err.h"
#include "proto/keyhash.h"
#include "proto/methods.h"
#include "tests/unit/gateway/op/stand.h"

#include <stdio.h>

static void run(struct stand *s, int status, const char *method, const char *target,
                struct slice body)
{
    struct exchange x;
    assert_int_equal(exchange_run(s, &x, method, target, body), status);
    exchange_fini(&x);
}

static void set_key(struct stand *s, bool enabled)
{
    Cairn__Command command = CAIRN__COMMAND__INIT;
    Cairn__PutAccessKey put = CAIRN__PUT_ACCESS_KEY__INIT;
    Cairn__AccessKeyRecord key = CAIRN__ACCESS_KEY_RECORD__INIT;
    static uint8_t id[ID_BYTES] = {9};
    uint64_t touch = keyhash_access_key(SLICE_LIT("ROOTKEY")), at = index_applied(s->index[0]) + 1;
    struct buf data = {0};
    Cairn__Outcome *outcome;
    id[1]++;
    key.access_key_id = (char *)(uintptr_t) "ROOTKEY";
    key.secret = (char *)(uintptr_t) "secret";
    key.user_id = key.user_name = (char *)(uintptr_t) "root";
    key.is_root = true;
    key.enabled = enabled;
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

static const struct rpc_method *revoked_before;

/* The moment between the authorization and the read at the leader. */
static bool revoke_key(struct stand *s, struct fake_call *call)
{
    if (call->method == revoked_before) {
        revoked_before = NULL;
        set_key(s, false);
    }
    return false;
}

static void upload_id(struct stand *s, char ret[33])
{
    struct exchange x;
    assert_int_equal(exchange_run(s, &x, "POST", "/bucket/secret?uploads", SLICE_EMPTY), 200);
    buf_u8(&x.out, 0);
    const char *id = strstr((const char *)x.out.ptr, "<UploadId>");
    assert_non_null(id);
    snprintf(ret, 33, "%s", id + 10);
    exchange_fini(&x);
}

static void revoked_key_lists_nothing_new(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    char id[33], parts[96];
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    run(&s, 200, "PUT", "/bucket/secret", SLICE_LIT("text"));
    upload_id(&s, id);
    snprintf(parts, sizeof(parts), "/bucket/secret?uploadId=%s", id);
    const struct {
        const char *target, *shows;
        const struct rpc_method *method;
    } lists[] = {{"/bucket?list-type=2", "secret", &method_meta_list},
                 {"/bucket", "secret", &method_meta_list},
                 {"/bucket?uploads", "secret", &method_meta_list_uploads},
                 {parts, "ListPartsResult", &method_meta_list_parts},
                 {"/", "bucket", &method_meta_list_buckets}};
    s.on_view = revoke_key;
    for (size_t i = 0; i < ARRAY_COUNT(lists); i++) {
        assert_int_equal(exchange_run(&s, &x, "GET", lists[i].target, SLICE_EMPTY), 200);
        assert_true(exchange_says(&x, lists[i].shows));
        exchange_fini(&x);
        revoked_before = lists[i].method;
        assert_int_equal(exchange_run(&s, &x, "GET", lists[i].target, SLICE_EMPTY), 403);
        assert_null(revoked_before);
        assert_true(exchange_says(&x, "InvalidAccessKeyId"));
        assert_false(exchange_says(&x, "ListPartsResult"));
        exchange_fini(&x);
        set_key(&s, true);
    }
    stand_fini(&s);
}

static int swallowed;

/* The first attempt at the leader is lost. */
static bool swallow(struct stand *s, struct fake_call *call)
{
    (void)s;
    return call->method == &method_meta_list && swallowed++ == 0;
}

static void bucket_made_anew_is_another_bucket(void **state)
{
    (void)state;
    static const struct {
        bool anew;
        int status;
    } cases[] = {{false, 404}, {true, 503}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct stand s;
        struct exchange x;
        stand_init(&s);
        run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
        s.on_view = swallow;
        swallowed = 0;
        exchange_start(&s, &x, "GET", "/bucket?list-type=2", SLICE_EMPTY, NULL);
        fake_run(&s.f, 200 * NS_PER_MS);
        assert_int_equal(swallowed, 1);
        run(&s, 204, "DELETE", "/bucket", SLICE_EMPTY);
        if (cases[i].anew)
            run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
        exchange_wait(&x);
        assert_int_equal(x.status, cases[i].status);
        exchange_fini(&x);
        stand_fini(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(revoked_key_lists_nothing_new),
        cmocka_unit_test(bucket_made_anew_is_another_bucket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
