/* What operations read at leaders after they were allowed to: a key that was revoked, or a bucket
 * that was deleted, in between gets none of it (DESIGN section 2; for GET: meta/test_read.c). */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/crypto/codec.h"
#include "common/crypto/digest.h"
#include "gateway/s3/request.h"
#include "gateway/s3/time.h"
#include "proto/methods.h"
#include "proto/registry.h"
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
    stand_put_key(s, "ROOTKEY", OPERATOR_ACCOUNT, "", enabled);
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

/* Presigned with version 2, by the key and secret that else sign here in version 4. */
static void presign(struct stand *s, char ret[256], const char *resource, const char *query)
{
    char text[256], signature[3 * BASE64_CHARS(SHA1_BYTES) + 1] = {0},
                                                             base64[BASE64_CHARS(SHA1_BYTES)];
    uint8_t mac[SHA1_BYTES];
    struct buf b = {0};
    unsigned long long expires = env_wall_ms(&s->f.env) / 1000 + 60;
    snprintf(text, sizeof(text), "GET\n\n\n%llu\n%s", expires, resource);
    hmac_sha1(slice_cstr(s->signs_with), slice_cstr(text), mac);
    base64_encode(SLICE(mac, sizeof(mac)), base64);
    s3_percent_encode(&b, SLICE(base64, sizeof(base64)), false);
    memcpy(signature, b.ptr, b.len);
    buf_fini(&b);
    snprintf(ret, 256, "%s?%s&AWSAccessKeyId=ROOTKEY&Expires=%llu&Signature=%s", resource, query,
             expires, signature);
}

static void revoked_key_presigned_nothing(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    char list[256], get[256];
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    run(&s, 200, "PUT", "/bucket/secret", SLICE_LIT("text"));
    presign(&s, list, "/bucket/", "list-type=2");
    presign(&s, get, "/bucket/secret", "x-id=GetObject");
    s.signs_as = "";
    s.on_view = revoke_key;
    run(&s, 200, "GET", get, SLICE_EMPTY);
    run(&s, 200, "GET", list, SLICE_EMPTY);
    revoked_before = &method_meta_list;
    assert_int_equal(exchange_run(&s, &x, "GET", list, SLICE_EMPTY), 403);
    assert_null(revoked_before);
    assert_true(exchange_says(&x, "InvalidAccessKeyId") && !exchange_says(&x, "secret<"));
    exchange_fini(&x);
    run(&s, 403, "GET", get, SLICE_EMPTY);
    set_key(&s, true);
    run(&s, 200, "GET", get, SLICE_EMPTY);
    fake_run(&s.f, 61 * NS_PER_SEC);
    assert_int_equal(exchange_run(&s, &x, "GET", get, SLICE_EMPTY), 403);
    assert_true(exchange_says(&x, "Request has expired"));
    exchange_fini(&x);
    stand_fini(&s);
}

/* A form of version 2, signed as presign() signs: everything up to the file's data. */
static void sign_form(struct stand *s, struct buf *ret)
{
    char end[ISO8601_MS_CHARS + 1] = {0}, text[256], policy[BASE64_CHARS(256)];
    uint8_t mac[SHA1_BYTES];
    char signature[BASE64_CHARS(SHA1_BYTES)];
    iso8601_format(env_wall_ms(&s->f.env) + 60000, end);
    snprintf(text, sizeof(text),
             "{\"expiration\":\"%s\",\"conditions\":[{\"bucket\":\"bucket\"},{\"key\":\"form\"}]}",
             end);
    size_t len = base64_encode(slice_cstr(text), policy);
    hmac_sha1(slice_cstr(s->signs_with), SLICE(policy, len), mac);
    base64_encode(SLICE(mac, sizeof(mac)), signature);
    const struct http_field fields[] = {
        {SLICE_LIT("key"), SLICE_LIT("form")},
        {SLICE_LIT("AWSAccessKeyId"), SLICE_LIT("ROOTKEY")},
        {SLICE_LIT("policy"), SLICE(policy, len)},
        {SLICE_LIT("signature"), SLICE(signature, sizeof(signature))},
        {SLICE_LIT("file"), SLICE_EMPTY},
    };
    for (size_t i = 0; i < ARRAY_COUNT(fields); i++) {
        buf_cstr(ret, i ? "\r\n--B" : "--B");
        buf_cstr(ret, "\r\nContent-Disposition: form-data; name=\"");
        buf_slice(ret, fields[i].name);
        buf_cstr(ret, "\"\r\n\r\n");
        buf_slice(ret, fields[i].value);
    }
}

/* However slowly the file comes behind the fields that were good when they came. */
static void revoked_key_posts_nothing(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    struct buf form = {0};
    static const char file[200000];
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    sign_form(&s, &form);
    size_t before_file = form.len;
    buf_append(&form, file, sizeof(file));
    buf_cstr(&form, "\r\n--B--\r\n");
    for (int revoked = 1; revoked >= 0; revoked--) {
        s.signs_as = "";
        exchange_start(&s, &x, "POST", "/bucket", buf_view(&form),
                       "Content-Type: multipart/form-data; boundary=B", NULL);
        x.hold_at = before_file + sizeof(file) / 2;
        fake_run(&s.f, 2 * NS_PER_SEC);
        assert_true(x.sent == x.hold_at && x.status == 0); /* the form was found good */
        x.hold_at = 0;
        if (revoked)
            set_key(&s, false);
        unsigned proposals = s.proposals;
        http_body_resume(&x.http);
        exchange_wait(&x);
        assert_int_equal(x.status, revoked ? 403 : 204);
        assert_int_equal(exchange_says(&x, "InvalidAccessKeyId"), revoked);
        assert_int_equal(s.proposals == proposals, revoked);
        exchange_fini(&x);
        set_key(&s, true);
        s.signs_as = "ROOTKEY";
        run(&s, revoked ? 404 : 200, "GET", "/bucket/form", SLICE_EMPTY);
    }
    buf_fini(&form);
    stand_fini(&s);
}

/* Settings decide who may what: a key that is gone sets none, however slowly it sends it. */
static void revoked_key_sets_nothing(void **state)
{
    (void)state;
    struct stand s;
    static const struct {
        const char *target, *body;
    } settings[] = {
        {"/bucket?policy",
         "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Deny\",\"Principal\":\"*\","
         "\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::bucket/*\"}]}"},
        {"/bucket?ownershipControls",
         "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule>"
         "</OwnershipControls>"},
    };
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    for (size_t i = 0; i < ARRAY_COUNT(settings); i++) {
        struct exchange x;
        exchange_start(&s, &x, "PUT", settings[i].target, slice_cstr(settings[i].body), NULL);
        x.paused = true; /* the head has come, the body not yet */
        fake_run(&s.f, NS_PER_SEC);
        assert_int_equal(x.status, 0);
        unsigned before = s.proposals;
        set_key(&s, false);
        http_body_resume(&x.http);
        exchange_wait(&x);
        assert_int_equal(x.status, 403);
        assert_true(exchange_says(&x, "InvalidAccessKeyId"));
        assert_int_equal(s.proposals, before);
        exchange_fini(&x);
        set_key(&s, true);
    }
    stand_fini(&s);
}

#define POLICY(statement) "{\"Version\":\"2012-10-17\",\"Statement\":[" statement "]}"
#define ALLOW(actions) "{\"Effect\":\"Allow\",\"Action\":[" actions "],\"Resource\":\"*\"}"

static void put_user(struct stand *s, const char *policy)
{
    Cairn__UserRow user = CAIRN__USER_ROW__INIT;
    Cairn__NamedDocument document = CAIRN__NAMED_DOCUMENT__INIT, *documents[] = {&document};
    user.name = (char *)(uintptr_t) "u";
    user.path = (char *)(uintptr_t) "/";
    document.name = (char *)(uintptr_t) "p";
    document.document = (char *)(uintptr_t)policy;
    user.inlined = documents;
    user.n_inlined = 1;
    assert_int_equal(stand_put_row(s, CAIRN__ROW_KIND__ROW_USER, OPERATOR_ACCOUNT, "u", &user.base),
                     OK);
}

/* What changes while a body is on its way. */
enum meanwhile { NOTHING_CHANGES, RIGHTS_GO, KEY_GOES, POLICY_OF_BUCKET_COMES, CHANGES };

static void change(struct stand *s, enum meanwhile what)
{
    static const char deny[] =
        POLICY("{\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"s3:*\",\"Resource\":"
               "[\"arn:aws:s3:::bucket/*\",\"arn:aws:s3:::bucket\"]}");
    const char *signs_as = s->signs_as;
    if (what == RIGHTS_GO)
        put_user(s, POLICY(ALLOW("\"s3:GetObject\",\"s3:ListBucket\"")));
    if (what == KEY_GOES)
        stand_put_key(s, "USER", OPERATOR_ACCOUNT, "u", false);
    s->signs_as = "ROOTKEY";
    if (what == POLICY_OF_BUCKET_COMES)
        run(s, 204, "PUT", "/bucket?policy", slice_cstr(deny));
    s->signs_as = signs_as;
}

static void undo(struct stand *s)
{
    put_user(s, POLICY(ALLOW("\"s3:*\"")));
    stand_put_key(s, "USER", OPERATOR_ACCOUNT, "u", true);
    s->signs_as = "ROOTKEY";
    run(s, 204, "DELETE", "/bucket?policy", SLICE_EMPTY);
    s->signs_as = "USER";
}

/* However slowly the body comes: who may not write by then does not, whatever writes it. */
static void revoked_rights_write_nothing(void **state)
{
    (void)state;
    struct stand s;
    static const char large[200000];
    char id[33], part[96], second[96], complete[96], parts[200], etag[40];
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    stand_put_key(&s, "USER", OPERATOR_ACCOUNT, "u", true);
    put_user(&s, POLICY(ALLOW("\"s3:*\"")));
    run(&s, 200, "PUT", "/bucket/key", SLICE_LIT("there"));
    struct exchange x;
    upload_id(&s, id);
    snprintf(part, sizeof(part), "/bucket/secret?partNumber=1&uploadId=%s", id);
    snprintf(second, sizeof(second), "/bucket/secret?partNumber=2&uploadId=%s", id);
    snprintf(complete, sizeof(complete), "/bucket/secret?uploadId=%s", id);
    assert_int_equal(exchange_run(&s, &x, "PUT", part, SLICE_LIT("part")), 200);
    buf_u8(&x.head, 0);
    const char *at = strcasestr((const char *)x.head.ptr, "etag: ");
    assert_non_null(at);
    snprintf(etag, sizeof(etag), "%.32s", at + 7);
    exchange_fini(&x);
    snprintf(parts, sizeof(parts),
             "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part>"
             "</CompleteMultipartUpload>",
             etag);
    const struct {
        const char *method, *target, *field;
        struct slice body;
    } writers[] = {
        {"PUT", "/bucket/new", NULL, SLICE_LIT("small")},
        {"PUT", "/bucket/new", NULL, {(const uint8_t *)large, sizeof(large)}},
        {"PUT", "/bucket/key", "x-amz-write-offset-bytes: 5", SLICE_LIT("more")},
        {"PUT", second, NULL, SLICE_LIT("another")},
        {"PUT", "/bucket/key?tagging", NULL,
         SLICE_LIT("<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>")},
        {"PUT", "/bucket?versioning", NULL,
         SLICE_LIT("<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")},
        {"POST", "/bucket?delete", NULL,
         SLICE_LIT("<Delete><Object><Key>key</Key></Object></Delete>")},
        {"PUT", "/another", NULL, SLICE_LIT("<CreateBucketConfiguration/>")},
        {"POST", complete, NULL, slice_cstr(parts)},
    };
    s.signs_as = "USER";
    for (size_t i = 0; i < ARRAY_COUNT(writers); i++)
        for (int what = CHANGES - 1; what >= NOTHING_CHANGES; what--) {
            bool of_bucket = strcmp(writers[i].target, "/another") != 0;
            if (what == POLICY_OF_BUCKET_COMES && !of_bucket)
                continue;
            exchange_start(&s, &x, writers[i].method, writers[i].target, writers[i].body,
                           writers[i].field, NULL);
            x.paused = true; /* the head has come, the body not yet */
            fake_run(&s.f, 2 * NS_PER_SEC);
            assert_int_equal(x.status, 0);
            change(&s, (enum meanwhile)what);
            unsigned before = s.proposals;
            http_body_resume(&x.http);
            exchange_wait(&x);
            bool each = strstr(writers[i].target, "?delete"); /* its keys are refused one by one */
            const char *code = what == KEY_GOES ? "InvalidAccessKeyId" : "AccessDenied";
            int status = what == NOTHING_CHANGES || (each && what != KEY_GOES) ? 200 : 403;
            if (x.status != status || (what != NOTHING_CHANGES && !exchange_says(&x, code)))
                fail_msg("%s %s, change %d: %d %.*s", writers[i].method, writers[i].target, what,
                         x.status, (int)x.out.len, (const char *)x.out.ptr);
            assert_int_equal(s.proposals == before, what != NOTHING_CHANGES);
            exchange_fini(&x);
            undo(&s);
        }
    fake_run(&s.f, 10 * NS_PER_SEC);
    stand_fini(&s);
}

/* A copy takes as long as its data, and must be allowed to write then; a rename takes the source
 * away in the end, too, and must be allowed to do that. */
static bool slow_read;
static const char *read_then;
static void read_slowly(struct stand *s, struct fake_call *call)
{
    (void)call;
    if (!slow_read)
        return;
    slow_read = false;
    fake_run(&s->f, 2 * NS_PER_SEC);
    put_user(s, read_then);
}

static void revoked_rights_copy_nothing(void **state)
{
    (void)state;
    struct stand s;
    static const char large[200000];
    static const char *const fields[] = {"x-amz-copy-source: /bucket/key",
                                         "x-amz-rename-source: key"};
    static const char *const targets[] = {"/bucket/copy", "/bucket/kez?renameObject"};
    static const char *const then[] = {POLICY(ALLOW("\"s3:GetObject\"")),
                                       POLICY(ALLOW("\"s3:GetObject\",\"s3:PutObject\""))};
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    stand_put_key(&s, "USER", OPERATOR_ACCOUNT, "u", true);
    put_user(&s, POLICY(ALLOW("\"s3:*\"")));
    run(&s, 200, "PUT", "/bucket/key", SLICE(large, sizeof(large)));
    s.signs_as = "USER";
    s.on_get = read_slowly;
    for (size_t i = 0; i < ARRAY_COUNT(fields); i++) {
        struct exchange x;
        slow_read = true;
        read_then = then[i];
        unsigned before = s.proposals;
        exchange_start(&s, &x, "PUT", targets[i], SLICE_EMPTY, fields[i], NULL);
        exchange_wait(&x);
        if (slow_read)
            fail_msg("%d %.*s", x.status, (int)x.out.len, (const char *)x.out.ptr);
        assert_int_equal(x.status, 403);
        assert_true(exchange_says(&x, "AccessDenied"));
        assert_int_equal(s.proposals, before);
        exchange_fini(&x);
        undo(&s);
    }
    stand_fini(&s);
}

/* A proposal that meets settings which change is made anew, for seconds: not by whom it is not
 * allowed any more. */
static unsigned refused;
static bool refuse_and_revoke(struct stand *s, struct fake_call *call)
{
    Cairn__ProposeResponse response = CAIRN__PROPOSE_RESPONSE__INIT;
    Cairn__Outcome outcome = CAIRN__OUTCOME__INIT;
    const Cairn__Command *command = ((const Cairn__ProposeRequest *)(void *)call->request)->command;
    if (command->op_case != CAIRN__COMMAND__OP_PUT_OBJECT || refused >= 9)
        return false;
    if (++refused == 5)
        put_user(s, POLICY(ALLOW("\"s3:GetObject\"")));
    outcome.err = ERR_SETTINGS;
    response.outcome = &outcome;
    fake_reply(call, OK, &response.base, (struct payload){0});
    return true;
}

static void revoked_rights_try_nothing_again(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    stand_put_key(&s, "USER", OPERATOR_ACCOUNT, "u", true);
    put_user(&s, POLICY(ALLOW("\"s3:*\"")));
    s.signs_as = "USER";
    s.on_propose = refuse_and_revoke;
    refused = 0;
    assert_int_equal(exchange_run(&s, &x, "PUT", "/bucket/key", SLICE_LIT("text")), 403);
    assert_true(exchange_says(&x, "AccessDenied"));
    assert_true(refused < 9);
    exchange_fini(&x);
    s.on_propose = NULL;
    undo(&s);
    run(&s, 404, "GET", "/bucket/key", SLICE_EMPTY);
    stand_fini(&s);
}

/* Many keys under long policies take a while to be asked about. */
struct slow_asking {
    struct env_timer timer;
    struct stand *s;
    unsigned turns;
};

static void after_some_keys(struct env_timer *timer)
{
    struct slow_asking *a = container_of(timer, struct slow_asking, timer);
    if (++a->turns < 4) { /* the body comes in between */
        env_timer_start(timer, 0);
        return;
    }
    a->s->f.now_ns += 2 * NS_PER_SEC;
    stand_put_key(a->s, "USER", OPERATOR_ACCOUNT, "u", false);
}

static void revoked_key_deletes_nothing(void **state)
{
    (void)state;
    struct stand s;
    struct exchange x;
    struct buf body = {0};
    stand_init(&s);
    run(&s, 200, "PUT", "/bucket", SLICE_EMPTY);
    run(&s, 200, "PUT", "/bucket/k1", SLICE_LIT("text"));
    stand_put_key(&s, "USER", OPERATOR_ACCOUNT, "u", true);
    put_user(&s, POLICY(ALLOW("\"s3:*\"")));
    buf_cstr(&body, "<Delete>");
    for (int i = 0; i < 100; i++)
        buf_printf(&body, "<Object><Key>k%d</Key></Object>", i);
    buf_cstr(&body, "</Delete>");
    s.signs_as = "USER";
    struct slow_asking a = {.s = &s};
    env_timer_init(&s.f.env, &a.timer, after_some_keys);
    exchange_start(&s, &x, "POST", "/bucket?delete", buf_view(&body), NULL);
    x.paused = true;
    fake_run(&s.f, NS_PER_SEC / 2);
    unsigned before = s.proposals;
    http_body_resume(&x.http);
    env_timer_start(&a.timer, 0);
    exchange_wait(&x);
    assert_int_equal(a.turns, 4);
    assert_int_equal(x.status, 403);
    assert_true(exchange_says(&x, "InvalidAccessKeyId"));
    assert_int_equal(s.proposals, before);
    exchange_fini(&x);
    buf_fini(&body);
    s.signs_as = "ROOTKEY";
    run(&s, 200, "GET", "/bucket/k1", SLICE_EMPTY);
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
        cmocka_unit_test(revoked_key_presigned_nothing),
        cmocka_unit_test(revoked_key_posts_nothing),
        cmocka_unit_test(revoked_key_sets_nothing),
        cmocka_unit_test(revoked_rights_write_nothing),
        cmocka_unit_test(revoked_rights_copy_nothing),
        cmocka_unit_test(revoked_rights_try_nothing_again),
        cmocka_unit_test(revoked_key_deletes_nothing),
        cmocka_unit_test(bucket_made_anew_is_another_bucket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
