/* Values of condition keys of a request. */
#include "gateway/op/context.h"

#include "common/base/check.h"
#include "gateway/op/principal.h"
#include "tests/unit/gateway/op/stand.h"

#include <stdio.h>

static struct stand s;
static struct arena arena;
static struct http_request http;
static struct request req;
static struct http_field fields[16];
static struct context c;

static void make(const char *method, const char *target, const char *const *more)
{
    static const struct s3_addressing addressing = {0};
    struct s3_fault fault;
    size_t n = 0;
    arena_fini(&arena);
    for (; *more; more++) {
        const char *colon = strchr(*more, ':');
        fields[n++] =
            (struct http_field){SLICE(*more, (size_t)(colon - *more)), slice_cstr(colon + 2)};
    }
    http = (struct http_request){.peer = "10.1.2.3", .arena = &arena};
    req = (struct request){.gw = &s.gw, .http = &http, .arena = &arena};
    assert_int_equal(s3_request_parse(&arena, &addressing, slice_cstr(method), slice_cstr(target),
                                      (struct http_fields){fields, n}, &req.s3, &fault),
                     S3_OK);
    req.auth.time_ms = request_now_ms(&req) - 1500;
    assert_true(context_init(&c, &req, NULL));
}
#define MAKE(method, target, ...) make(method, target, (const char *const[]){__VA_ARGS__, NULL})

/* NULL: the key has no value. */
static void assert_value(const char *key, const char *want)
{
    struct policy_values v;
    bool has = context_values(&c, slice_cstr(key), &v);
    if (has != (want != NULL) || (has && !slice_eq(policy_values_at(&v, 0), slice_cstr(want))))
        fail_msg("%s: \"%.*s\" is not \"%s\"", key, has ? (int)policy_values_at(&v, 0).len : 0,
                 has ? (const char *)policy_values_at(&v, 0).ptr : "", want ? want : "(none)");
}

static void of_every_request(void **state)
{
    (void)state;
    MAKE("GET", "/bkt/key", "Host: x", "User-Agent: me", "Referer: there");
    assert_value("aws:SourceIp", "10.1.2.3");
    assert_value("AWS:sourceip", "10.1.2.3");
    assert_value("aws:SecureTransport", "false");
    assert_value("aws:UserAgent", "me");
    assert_value("aws:Referer", "there");
    assert_value("aws:ViaAWSService", "false");
    assert_value("aws:RequestedRegion", "us-east-1");
    assert_value("aws:MultiFactorAuthPresent", NULL);
    assert_value("aws:TokenIssueTime", NULL);
    assert_value("s3:signatureAge", "1500");
    assert_value("s3:authType", "REST-HEADER");
    assert_value("s3:signatureversion", "AWS4-HMAC-SHA256");
    assert_value("s3:TlsVersion", NULL);
    assert_value("s3:versionid", NULL);
    assert_value("aws:nothing", NULL);
    assert_value("s3:ExistingObjectTag/", NULL);
    http.peer = "::ffff:192.0.2.1";
    http.tls = true;
    http.tls_version = 0x304;
    req.auth.presigned = true;
    assert_value("aws:SourceIp", "192.0.2.1");
    assert_value("aws:SecureTransport", "true");
    assert_value("s3:TlsVersion", "1.3");
    assert_value("s3:authType", "REST-QUERY-STRING");
    /* version 2 says until when it is good, not since when */
    req.auth.version_2 = true;
    assert_value("s3:authType", "REST-QUERY-STRING");
    assert_value("s3:signatureversion", "AWS");
    assert_value("s3:signatureAge", NULL);
    req.auth.policy = SLICE_LIT("e30=");
    assert_value("s3:authType", "POST");
    assert_value("s3:signatureversion", "AWS");
    assert_value("s3:signatureAge", NULL);
    req.auth.policy = SLICE_EMPTY;
    req.auth.version_2 = false;
    /* what is signed of the body, though no field says it */
    assert_value("s3:x-amz-content-sha256", NULL);
    req.auth.payload_text = SLICE_LIT("UNSIGNED-PAYLOAD");
    assert_value("s3:x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    http.peer = "2001:db8::1";
    req.auth.anonymous = true;
    assert_value("s3:x-amz-content-sha256", NULL);
    assert_value("aws:SourceIp", "2001:db8::1");
    assert_value("s3:authType", NULL);
    assert_value("s3:signatureAge", NULL);
    struct principal_session session = {.issued_ms = 1500000000000};
    c.session = &session;
    assert_value("aws:TokenIssueTime", "2017-07-14T02:40:00.000Z");
    assert_value("aws:MultiFactorAuthPresent", "false");
}

static void of_lists(void **state)
{
    (void)state;
    MAKE("GET", "/bkt?list-type=2&prefix=a%2Fb&delimiter=&max-keys=7", "Host: x");
    assert_value("s3:prefix", "a/b");
    assert_value("s3:delimiter", "");
    assert_value("s3:max-keys", "7");
    MAKE("GET", "/bkt?list-type=2", "Host: x");
    assert_value("s3:prefix", NULL);
    assert_value("s3:max-keys", NULL);
}

static void of_writes(void **state)
{
    (void)state;
    MAKE("PUT", "/bkt/key", "Host: x", "x-amz-copy-source: /%73ecret/a+b%2Bc",
         "x-amz-tagging: a=1&b=", "x-amz-acl: private", "If-None-Match: *",
         "x-amz-object-lock-mode: GOVERNANCE",
         "x-amz-object-lock-retain-until-date: 2999-01-01T00:00:00Z",
         "x-amz-storage-class: GLACIER_IR", "x-amz-server-side-encryption: AES256");
    assert_value("s3:x-amz-copy-source", "secret/a b+c"); /* decoded: there is one way to name it */
    assert_value("s3:x-amz-acl", "private");
    assert_value("s3:if-none-match", "*");
    assert_value("s3:RequestObjectTag/a", "1");
    assert_value("s3:RequestObjectTag/b", "");
    assert_value("s3:RequestObjectTag/c", NULL);
    assert_value("s3:object-lock-mode", "GOVERNANCE");
    assert_value("s3:object-lock-retain-until-date", "2999-01-01T00:00:00Z");
    assert_value("s3:x-amz-storage-class", "GLACIER_IR");
    assert_value("s3:x-amz-server-side-encryption", "AES256");
    assert_value("s3:x-amz-grant-read", NULL);
    assert_value("s3:ObjectCreationOperation", "true");
    struct policy_values v;
    assert_true(context_values(&c, SLICE_LIT("s3:RequestObjectTagKeys"), &v));
    assert_int_equal(v.count, 2);
    assert_true(slice_eq(policy_values_at(&v, 1), SLICE_LIT("b")));
    uint64_t days = (32472144000000 - request_now_ms(&req) + 86399999) / 86400000;
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)days);
    assert_value("s3:object-lock-remaining-retention-days", text);
    MAKE("PUT", "/bkt/key?partNumber=1&uploadId=a", "Host: x", "x-amz-tagging: a=1&a=2");
    assert_value("s3:ObjectCreationOperation", "false");
    assert_value("s3:RequestObjectTag/a", NULL); /* the operation will refuse it */
    assert_value("s3:RequestObjectTagKeys", NULL);
    assert_value("s3:x-amz-copy-source", NULL);
}

/* As SDKs put them into the query of a presigned request. */
static void of_the_query(void **state)
{
    (void)state;
    MAKE("PUT",
         "/bkt/key?X-Amz-Algorithm=a&x-amz-acl=public-read&x-amz-tagging=a%3D1&"
         "X-Amz-Server-Side-Encryption=AES256&x-amz-object-lock-mode=GOVERNANCE&"
         "x-amz-copy-source=%2Fsecret%2Fa",
         "Host: x");
    assert_value("s3:x-amz-acl", "public-read");
    assert_value("s3:x-amz-server-side-encryption", "AES256");
    assert_value("s3:RequestObjectTag/a", "1");
    assert_value("s3:object-lock-mode", "GOVERNANCE");
    assert_value("s3:x-amz-copy-source", "secret/a");
}

static void of_records_and_bodies(void **state)
{
    (void)state;
    Cairn__Pair tag = CAIRN__PAIR__INIT, *tags[] = {&tag};
    Cairn__ObjectRecord object = CAIRN__OBJECT_RECORD__INIT;
    Cairn__PrincipalRecord principal = CAIRN__PRINCIPAL_RECORD__INIT;
    struct s3_tag pair = {SLICE_LIT("k"), SLICE_LIT("v")};
    struct s3_tags said_tags = {&pair, 1};
    struct request_said said = {
        .tags = &said_tags, .lock_mode = SLICE_LIT("COMPLIANCE"), .location = SLICE_LIT("here")};
    tag.name = (char *)(uintptr_t) "team";
    tag.value = (char *)(uintptr_t) "red";
    object.tags = principal.tags = tags;
    object.n_tags = principal.n_tags = 1;
    MAKE("PUT", "/bkt/key?tagging&versionId=null", "Host: x");
    assert_value("s3:versionid", "null");
    assert_value("s3:ExistingObjectTag/team", NULL);
    assert_true(context_init(&c, &req, &said));
    c.object = &object;
    c.principal = &principal;
    assert_value("s3:ExistingObjectTag/team", "red");
    assert_value("s3:existingobjecttag/team", "red");
    assert_value("s3:ExistingObjectTag/Team", NULL); /* a tag's key has its case */
    assert_value("aws:PrincipalTag/team", "red");
    assert_value("aws:principaltag/TEAM", "red");
    assert_value("s3:RequestObjectTag/k", "v");
    assert_value("s3:object-lock-mode", "COMPLIANCE");
    assert_value("s3:locationconstraint", "here");
}

static int setup(void **state)
{
    (void)state;
    stand_init(&s);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    stand_fini(&s);
    return 0;
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {T(of_every_request), T(of_lists), T(of_writes), T(of_the_query),
                                       T(of_records_and_bodies)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
