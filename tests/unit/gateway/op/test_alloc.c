/* The n-th allocation failing in the gateway while a request is served: it is answered or cut off,
 * what was there before is there still, nothing leaks, and the next request finds all as it was. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/obs/log.h"
#include "gateway/op/quota.h"
#include "proto/registry.h"
#include "tests/unit/common/alloc_fail.h"
#include "tests/unit/gateway/op/stand.h"

#include <stdio.h>
#include <stdlib.h>

static struct stand s;
static uint8_t bytes[300000];

static void run(int status, const char *method, const char *target, struct slice body)
{
    struct exchange x;
    int got = exchange_run(&s, &x, method, target, body);
    if (got != status)
        fail_msg("%s %s: %d instead of %d", method, target, got, status);
    exchange_fini(&x);
}

static void assert_get(const char *target, struct slice body)
{
    struct exchange x;
    assert_int_equal(exchange_run(&s, &x, "GET", target, SLICE_EMPTY), 200);
    assert_true(slice_eq(buf_view(&x.out), body));
    exchange_fini(&x);
}

/* Warnings are as they should be here, thousands of them. */
static void on_log(void *arg, enum log_level level, const char *event, const char *line)
{
    (void)arg;
    (void)event;
    if (level == LOG_LEVEL_ERROR)
        fail_msg("%s", line);
}

static int setup(void **state)
{
    (void)state;
    stand_init(&s);
    log_hook_set(on_log, NULL);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 1000);
    run(200, "PUT", "/bucket", SLICE_EMPTY);
    run(200, "PUT", "/bucket/small", SLICE(bytes, 100));
    run(200, "PUT", "/bucket/large", SLICE(bytes, sizeof(bytes)));
    return 0;
}

/* The same with a bucket that encrypts. */
static int setup_sealed(void **state)
{
    static const struct master_keys masters = {.count = 1, .keys = {{.id = "m", .key = {1}}}};
    stand_masters = &masters;
    setup(state);
    run(200, "PUT", "/bucket?encryption",
        SLICE_LIT("<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>"
                  "<SSEAlgorithm>aws:kms</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule>"
                  "</ServerSideEncryptionConfiguration>"));
    run(200, "PUT", "/bucket/small", SLICE(bytes, 100));
    run(200, "PUT", "/bucket/large", SLICE(bytes, sizeof(bytes)));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stand_fini(&s);
    stand_masters = NULL;
    log_hook_set(NULL, NULL);
    return 0;
}

/* What a client may hear when memory runs out. */
static bool is_allowed(const struct exchange *x, int status)
{
    return x->aborted || x->status == status || x->status == 500 || x->status == 503 ||
           exchange_says(x, "<Code>Throttling</Code>"); /* IAM's 503 */
}

/* cold: nothing is cached that the witness would vouch for. */
static const char *more_field; /* of the request; may be NULL */
static bool slow;              /* its body comes so late that its rights are asked about again */

static uint64_t play(int status, const char *method, const char *target, struct slice body,
                     bool cold)
{
    for (uint64_t n = 0;; n++) {
        struct exchange x;
        if (cold)
            memset(s.slots, 0xff, sizeof(s.slots));
        alloc_fail_at(n);
        exchange_start(&s, &x, method, target, body, more_field, NULL);
        if (slow && !x.done) {
            x.paused = true;
            fake_run_until(&s.f, &x.done, 2 * NS_PER_SEC);
            if (!x.done)
                http_body_resume(&x.http);
        }
        fake_run_until(&s.f, &x.done, 120 * NS_PER_SEC);
        bool failed = alloc_fail_end();
        assert_true(x.done);
        if (!failed && (x.aborted || x.status != status))
            fail_msg("%s %s: %d undisturbed", method, target, x.status);
        if (!is_allowed(&x, status))
            fail_msg("%s %s: %d with allocation %llu failing %.*s", method, target, x.status,
                     (unsigned long long)n, (int)x.out.len, (const char *)x.out.ptr);
        exchange_fini(&x);
        const char *service = s.signs_for;
        s.signs_for = "s3";
        assert_get("/bucket/small", SLICE(bytes, 100));
        s.signs_for = service;
        assert_int_equal(s.gw.under_way, 0);
        if (!failed)
            return n;
    }
}

static void puts_and_gets(void **state)
{
    (void)state;
    for (int cold = 0; cold < 2; cold++) {
        assert_true(play(200, "PUT", "/bucket/small", SLICE(bytes, 100), cold) > 5);
        assert_true(play(200, "GET", "/bucket/small", SLICE_EMPTY, cold) > 0);
        assert_true(play(200, "PUT", "/bucket/large", SLICE(bytes, sizeof(bytes)), cold) > 5);
        assert_get("/bucket/large", SLICE(bytes, sizeof(bytes)));
        assert_true(play(200, "GET", "/bucket/large", SLICE_EMPTY, cold) > 0);
        play(200, "HEAD", "/bucket/large", SLICE_EMPTY, cold);
        play(404, "GET", "/bucket/none", SLICE_EMPTY, cold);
    }
}

static void lists(void **state)
{
    (void)state;
    assert_true(play(200, "GET", "/bucket?list-type=2&max-keys=1", SLICE_EMPTY, true) > 5);
    play(200, "GET", "/bucket?uploads", SLICE_EMPTY, true);
    play(200, "GET", "/", SLICE_EMPTY, true);
}

static void questions(void **state)
{
    (void)state;
    static const char *const targets[] = {"status",
                                          "nodes",
                                          "disks",
                                          "pgs",
                                          "verify",
                                          "verify?bucket=bucket&max=1",
                                          "nodes/s1/safe-to-remove"};
    s.on_view = stand_root;
    for (int bad = 0; bad < 2; bad++) {
        s.node[1].check_err = bad ? ERR_IO : OK;
        for (size_t i = 0; i < ARRAY_COUNT(targets); i++) {
            char target[96];
            snprintf(target, sizeof(target), "/_cairn/admin/v1/%s", targets[i]);
            assert_true(play(200, "GET", target, SLICE_EMPTY, true) > 5);
        }
    }
    play(200, "POST", "/_cairn/admin/v1/nodes/s1/drain?plan=1", SLICE_EMPTY, true);
    s.node[1].check_err = OK;
    s.on_view = NULL;
}

static void deletes(void **state)
{
    (void)state;
    play(204, "DELETE", "/bucket/large", SLICE_EMPTY, false);
    play(200, "POST", "/bucket?delete",
         SLICE_LIT("<Delete><Object><Key>a</Key></Object><Object><Key>large</Key></Object>"
                   "</Delete>"),
         false);
}

static void parts_and_copies(void **state)
{
    (void)state;
    char id[33], target[96];
    struct exchange x;
    play(200, "POST", "/bucket/up?uploads", SLICE_EMPTY, false);
    assert_int_equal(exchange_run(&s, &x, "POST", "/bucket/up?uploads", SLICE_EMPTY), 200);
    buf_u8(&x.out, 0);
    snprintf(id, sizeof(id), "%s", strstr((const char *)x.out.ptr, "<UploadId>") + 10);
    exchange_fini(&x);
    snprintf(target, sizeof(target), "/bucket/up?partNumber=1&uploadId=%s", id);
    play(200, "PUT", target, SLICE(bytes, 100), false);
    play(200, "PUT", target, SLICE(bytes, sizeof(bytes)), false);
    snprintf(target, sizeof(target), "/bucket/up?uploadId=%s", id);
    play(200, "GET", target, SLICE_EMPTY, false);
    exchange_upload(&s, SLICE(bytes, sizeof(bytes)), 100000, id);
    play(200, "GET", "/bucket/mp", SLICE_EMPTY, true);
    play(206, "GET", "/bucket/mp?partNumber=2", SLICE_EMPTY, true);
    more_field = "x-amz-copy-source: bucket/mp";
    play(200, "PUT", "/bucket/copy", SLICE_EMPTY, true);
    more_field = NULL;
    assert_get("/bucket/copy", SLICE(bytes, sizeof(bytes)));
}

#define POLICY(statements)                                                                         \
    "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"*\","             \
    "\"Resource\":\"*\"}" statements "]}"

/* A user with a policy, in a bucket with an ACL. */
static void user_put(const char *policy)
{
    struct exchange x;
    Cairn__UserRow user = CAIRN__USER_ROW__INIT;
    Cairn__NamedDocument document = CAIRN__NAMED_DOCUMENT__INIT, *documents[] = {&document};
    user.name = (char *)(uintptr_t) "u";
    user.path = (char *)(uintptr_t) "/";
    document.name = (char *)(uintptr_t) "p";
    document.document = (char *)(uintptr_t)policy;
    user.inlined = documents;
    user.n_inlined = 1;
    assert_int_equal(
        stand_put_row(&s, CAIRN__ROW_KIND__ROW_USER, OPERATOR_ACCOUNT, "u", &user.base), OK);
    stand_put_key(&s, "USER", OPERATOR_ACCOUNT, "u", true);
    run(200, "PUT", "/bucket?ownershipControls",
        SLICE_LIT("<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule>"
                  "</OwnershipControls>"));
    exchange_start(&s, &x, "PUT", "/bucket?acl", SLICE_EMPTY,
                   "x-amz-grant-write: uri=http://acs.amazonaws.com/groups/s3/LogDelivery", NULL);
    exchange_wait(&x);
    assert_int_equal(x.status, 200);
    exchange_fini(&x);
}

/* Whose rights are asked about once more, by a principal with policies. */
static void slow_bodies(void **state)
{
    (void)state;
    user_put(POLICY(""));
    for (int root = 0; root < 2; root++) {
        s.signs_as = root ? "ROOTKEY" : "USER";
        slow = true;
        for (int cold = 0; cold < 2; cold++) {
            play(200, "PUT", "/bucket/small", SLICE(bytes, 100), cold);
            if (root == cold) /* the stand's nodes have room for so many blobs */
                play(200, "PUT", "/bucket/large", SLICE(bytes, 150000), cold);
            play(200, "PUT", "/bucket/small?tagging",
                 SLICE_LIT("<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet>"
                           "</Tagging>"),
                 cold);
            play(200, "POST", "/bucket?delete",
                 SLICE_LIT("<Delete><Object><Key>a</Key></Object></Delete>"), cold);
            play(200, "PUT", "/bucket?ownershipControls",
                 SLICE_LIT("<OwnershipControls><Rule><ObjectOwnership>ObjectWriter"
                           "</ObjectOwnership></Rule></OwnershipControls>"),
                 cold);
        }
        slow = false;
    }
}

/* What could not be read for want of memory is read again, and not taken for what cannot be. */
static void want_of_memory_is_not_remembered(void **state)
{
    (void)state;
    static uint64_t slots[STAND_PARTITIONS][ARRAY_COUNT(s.slots[0])];
    user_put(POLICY(""));
    s.signs_as = "USER";
    for (bool failed = true; failed;) {
        static uint64_t n;
        struct exchange x;
        memcpy(slots, s.slots, sizeof(slots));
        memset(s.slots, 0xff, sizeof(s.slots)); /* all is read anew */
        alloc_fail_at(n++);
        exchange_start(&s, &x, "GET", "/bucket/small", SLICE_EMPTY, NULL);
        fake_run_until(&s.f, &x.done, 120 * NS_PER_SEC);
        failed = alloc_fail_end();
        assert_true(x.done && is_allowed(&x, 200));
        exchange_fini(&x);
        memcpy(s.slots, slots, sizeof(slots));
        assert_get("/bucket/small", SLICE(bytes, 100));
    }
}

/* What a condition asks about must not be taken for absent because there was no memory for it. */
static void denied_stays_denied(void **state)
{
    (void)state;
    user_put(POLICY(",{\"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":"
                    "{\"StringEquals\":{\"s3:RequestObjectTag/k\":\"v\"}}},"
                    "{\"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":"
                    "{\"StringLike\":{\"s3:x-amz-copy-source\":\"bucket/*\"}}}"));
    s.signs_as = "USER";
    struct buf tags = {0}, source = {0}; /* long: reading them takes new blocks of the arena */
    buf_cstr(&tags, "x-amz-tagging: ");
    buf_cstr(&source, "x-amz-copy-source: bucket/");
    for (int i = 0; i < 9; i++) {
        buf_printf(&tags, "k%d=", i);
        for (int k = 0; k < 250; k++)
            buf_cstr(&tags, "%61");
        buf_u8(&tags, '&');
    }
    for (int k = 0; k < 1000; k++)
        buf_cstr(&source, "%61");
    buf_cstr(&tags, "k=%76");
    buf_u8(&tags, 0);
    buf_u8(&source, 0);
    for (int late = 0; late < 2; late++) {
        more_field = (const char *)tags.ptr;
        play(403, "PUT", "/bucket/tagged", SLICE(bytes, 100), false);
        more_field = (const char *)source.ptr;
        play(403, "PUT", "/bucket/copy", SLICE_EMPTY, false);
        more_field = NULL;
        slow = true;
        play(403, "PUT", "/bucket/small?tagging",
             SLICE_LIT("<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet>"
                       "</Tagging>"),
             false);
    }
    slow = false;
    buf_fini(&tags);
    buf_fini(&source);
}

static void iam(void **state)
{
    (void)state;
    s.config.access_log = true;
    s.signs_for = "iam";
    assert_true(play(200, "GET", "/?Action=ListUsers&Version=2010-05-08", SLICE_EMPTY, false) > 2);
    play(200, "GET", "/?Action=GetUser&Version=2010-05-08", SLICE_EMPTY, false);
    play(404, "GET", "/?Action=DeleteUser&UserName=u&Version=2010-05-08", SLICE_EMPTY, false);
}

static void quotas(void **state)
{
    (void)state;
    struct quotas_metrics metrics;
    Cairn__Quota quota = CAIRN__QUOTA__INIT;
    quotas_metrics_init(&metrics);
    assert_int_equal(quotas_new(60000, &metrics, &s.gw.quotas), OK);
    quota.id = 1;
    quota.bytes_max = UINT64_MAX;
    quota.objects_max = UINT64_MAX;
    assert_int_equal(stand_put_row(&s, CAIRN__ROW_KIND__ROW_QUOTA, QUOTAS_OF_ACCOUNTS,
                                   OPERATOR_ACCOUNT, &quota.base),
                     OK);
    run(200, "POST", "/_cairn/admin/v1/quota/bucket/set?max_bytes=9223372036854775807",
        SLICE_EMPTY);
    for (int late = 0; late < 2; late++) {
        slow = late;
        play(200, "PUT", "/bucket/small", SLICE(bytes, 100), true);
        play(200, "PUT", "/bucket/large", SLICE(bytes, sizeof(bytes)), true);
    }
    slow = false;
    more_field = "x-amz-copy-source: bucket/large";
    play(200, "PUT", "/bucket/copy", SLICE_EMPTY, true);
    more_field = NULL;
    play(200, "GET", "/_cairn/admin/v1/quota", SLICE_EMPTY, true);
    quotas_free(s.gw.quotas);
    s.gw.quotas = NULL;
}

static void versions(void **state)
{
    (void)state;
    struct exchange x;
    char target[96];
    play(200, "PUT", "/bucket?versioning",
         SLICE_LIT("<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"),
         true);
    play(200, "GET", "/bucket?versioning", SLICE_EMPTY, true);
    assert_int_equal(exchange_run(&s, &x, "PUT", "/bucket/v", SLICE(bytes, 100)), 200);
    buf_u8(&x.head, 0);
    snprintf(target, sizeof(target), "/bucket/v?versionId=%.26s",
             strstr((const char *)x.head.ptr, "x-amz-version-id: ") + 18);
    exchange_fini(&x);
    play(200, "PUT", "/bucket/v", SLICE(bytes, 200), false);
    play(200, "GET", target, SLICE_EMPTY, true);
    play(204, "DELETE", "/bucket/v", SLICE_EMPTY, true);
    play(404, "GET", "/bucket/v", SLICE_EMPTY, true);
    play(200, "GET", "/bucket?versions&max-keys=3", SLICE_EMPTY, true);
    play(200, "POST", "/bucket?delete",
         SLICE_LIT("<Delete><Object><Key>v</Key></Object><Object><Key>large</Key>"
                   "<VersionId>null</VersionId></Object></Delete>"),
         false);
    play(204, "DELETE", target, SLICE_EMPTY, true);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define SEALED(f)                                                                                  \
    {                                                                                              \
        #f " sealed", f, setup_sealed, teardown, NULL                                              \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(puts_and_gets), TEST(versions), TEST(lists), TEST(questions),
                                       TEST(deletes), TEST(parts_and_copies), TEST(slow_bodies),
                                       TEST(want_of_memory_is_not_remembered), TEST(denied_stays_denied), TEST(iam), TEST(quotas),
                                       SEALED(puts_and_gets), SEALED(parts_and_copies)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
