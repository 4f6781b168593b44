/* Which operation a request is: every method with every subresource, on the service, on a bucket
 * and on an object.  What S3 has is written down here once more; all the rest must be refused, and
 * above all must not be the plain reading, writing or deletion of what the path names. */
#include "gateway/s3/request.h"

#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/gateway/s3/make.h"

static struct made m;

static int teardown(void **state)
{
    (void)state;
    arena_fini(&m.arena);
    return 0;
}

static const char *const methods[] = {"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH"};
static const char *const paths[] = {"/", "/bkt", "/bkt/k"};

/* All that selects an operation, offered or not, and what nobody knows yet. */
static const char *const names[] = {
    "abac",
    "accelerate",
    "acl",
    "analytics",
    "annotation",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "list-type",
    "location",
    "logging",
    "metadataAnnotationTable",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "partNumber",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "session",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versioning",
    "versions",
    "website",
    "somethingNew",
};

#define B "/bkt"
#define K "/bkt/k"

static const struct offered {
    const char *path, *name, *method;
    enum s3_op op;
} offered[] = {
    {B, "accelerate", "GET", S3_OP_GET_BUCKET_ACCELERATE},
    {B, "accelerate", "PUT", S3_OP_PUT_BUCKET_ACCELERATE},
    {B, "acl", "GET", S3_OP_GET_BUCKET_ACL},
    {B, "acl", "PUT", S3_OP_PUT_BUCKET_ACL},
    {B, "analytics", "DELETE", S3_OP_DELETE_BUCKET_ANALYTICS},
    {B, "analytics", "GET", S3_OP_LIST_BUCKET_ANALYTICS},
    {B, "analytics", "PUT", S3_OP_PUT_BUCKET_ANALYTICS},
    {B, "cors", "DELETE", S3_OP_DELETE_BUCKET_CORS},
    {B, "cors", "GET", S3_OP_GET_BUCKET_CORS},
    {B, "cors", "PUT", S3_OP_PUT_BUCKET_CORS},
    {B, "delete", "POST", S3_OP_DELETE_OBJECTS},
    {B, "encryption", "DELETE", S3_OP_DELETE_BUCKET_ENCRYPTION},
    {B, "encryption", "GET", S3_OP_GET_BUCKET_ENCRYPTION},
    {B, "encryption", "PUT", S3_OP_PUT_BUCKET_ENCRYPTION},
    {B, "intelligent-tiering", "DELETE", S3_OP_DELETE_BUCKET_TIERING},
    {B, "intelligent-tiering", "GET", S3_OP_LIST_BUCKET_TIERING},
    {B, "intelligent-tiering", "PUT", S3_OP_PUT_BUCKET_TIERING},
    {B, "inventory", "DELETE", S3_OP_DELETE_BUCKET_INVENTORY},
    {B, "inventory", "GET", S3_OP_LIST_BUCKET_INVENTORY},
    {B, "inventory", "PUT", S3_OP_PUT_BUCKET_INVENTORY},
    {B, "lifecycle", "DELETE", S3_OP_DELETE_BUCKET_LIFECYCLE},
    {B, "lifecycle", "GET", S3_OP_GET_BUCKET_LIFECYCLE},
    {B, "lifecycle", "PUT", S3_OP_PUT_BUCKET_LIFECYCLE},
    {B, "list-type", "GET", S3_OP_LIST_OBJECTS_V2},
    {B, "list-type", "HEAD", S3_OP_HEAD_BUCKET},
    {B, "location", "GET", S3_OP_GET_BUCKET_LOCATION},
    {B, "logging", "GET", S3_OP_GET_BUCKET_LOGGING},
    {B, "logging", "PUT", S3_OP_PUT_BUCKET_LOGGING},
    {B, "metrics", "DELETE", S3_OP_DELETE_BUCKET_METRICS},
    {B, "metrics", "GET", S3_OP_LIST_BUCKET_METRICS},
    {B, "metrics", "PUT", S3_OP_PUT_BUCKET_METRICS},
    {B, "notification", "GET", S3_OP_GET_BUCKET_NOTIFICATION},
    {B, "notification", "PUT", S3_OP_PUT_BUCKET_NOTIFICATION},
    {B, "object-lock", "GET", S3_OP_GET_OBJECT_LOCK_CONFIGURATION},
    {B, "object-lock", "PUT", S3_OP_PUT_OBJECT_LOCK_CONFIGURATION},
    {B, "ownershipControls", "DELETE", S3_OP_DELETE_BUCKET_OWNERSHIP},
    {B, "ownershipControls", "GET", S3_OP_GET_BUCKET_OWNERSHIP},
    {B, "ownershipControls", "PUT", S3_OP_PUT_BUCKET_OWNERSHIP},
    {B, "policy", "DELETE", S3_OP_DELETE_BUCKET_POLICY},
    {B, "policy", "GET", S3_OP_GET_BUCKET_POLICY},
    {B, "policy", "PUT", S3_OP_PUT_BUCKET_POLICY},
    {B, "policyStatus", "GET", S3_OP_GET_BUCKET_POLICY_STATUS},
    {B, "publicAccessBlock", "DELETE", S3_OP_DELETE_PUBLIC_ACCESS_BLOCK},
    {B, "publicAccessBlock", "GET", S3_OP_GET_PUBLIC_ACCESS_BLOCK},
    {B, "publicAccessBlock", "PUT", S3_OP_PUT_PUBLIC_ACCESS_BLOCK},
    {B, "replication", "DELETE", S3_OP_DELETE_BUCKET_REPLICATION},
    {B, "replication", "GET", S3_OP_GET_BUCKET_REPLICATION},
    {B, "replication", "PUT", S3_OP_PUT_BUCKET_REPLICATION},
    {B, "requestPayment", "GET", S3_OP_GET_BUCKET_REQUEST_PAYMENT},
    {B, "requestPayment", "PUT", S3_OP_PUT_BUCKET_REQUEST_PAYMENT},
    {B, "tagging", "DELETE", S3_OP_DELETE_BUCKET_TAGGING},
    {B, "tagging", "GET", S3_OP_GET_BUCKET_TAGGING},
    {B, "tagging", "PUT", S3_OP_PUT_BUCKET_TAGGING},
    {B, "uploads", "GET", S3_OP_LIST_MULTIPART_UPLOADS},
    {B, "versioning", "GET", S3_OP_GET_BUCKET_VERSIONING},
    {B, "versioning", "PUT", S3_OP_PUT_BUCKET_VERSIONING},
    {B, "versions", "GET", S3_OP_LIST_OBJECT_VERSIONS},
    {B, "website", "DELETE", S3_OP_DELETE_BUCKET_WEBSITE},
    {B, "website", "GET", S3_OP_GET_BUCKET_WEBSITE},
    {B, "website", "PUT", S3_OP_PUT_BUCKET_WEBSITE},
    {K, "acl", "GET", S3_OP_GET_OBJECT_ACL},
    {K, "acl", "PUT", S3_OP_PUT_OBJECT_ACL},
    {K, "attributes", "GET", S3_OP_GET_OBJECT_ATTRIBUTES},
    {K, "legal-hold", "GET", S3_OP_GET_OBJECT_LEGAL_HOLD},
    {K, "legal-hold", "PUT", S3_OP_PUT_OBJECT_LEGAL_HOLD},
    {K, "partNumber", "GET", S3_OP_GET_OBJECT},
    {K, "partNumber", "HEAD", S3_OP_HEAD_OBJECT},
    {K, "renameObject", "PUT", S3_OP_RENAME_OBJECT},
    {K, "retention", "GET", S3_OP_GET_OBJECT_RETENTION},
    {K, "retention", "PUT", S3_OP_PUT_OBJECT_RETENTION},
    {K, "tagging", "DELETE", S3_OP_DELETE_OBJECT_TAGGING},
    {K, "tagging", "GET", S3_OP_GET_OBJECT_TAGGING},
    {K, "tagging", "PUT", S3_OP_PUT_OBJECT_TAGGING},
    {K, "uploadId", "DELETE", S3_OP_ABORT_MULTIPART_UPLOAD},
    {K, "uploadId", "GET", S3_OP_LIST_PARTS},
    {K, "uploadId", "POST", S3_OP_COMPLETE_MULTIPART_UPLOAD},
    {K, "uploads", "POST", S3_OP_CREATE_MULTIPART_UPLOAD},
};

/* *ret_code: why there is none. */
static enum s3_op op_wanted(const char *path, const char *name, const char *method,
                            enum s3_code *ret_code)
{
    *ret_code = S3_NOT_IMPLEMENTED;
    for (size_t i = 0; i < ARRAY_COUNT(offered); i++) {
        if (strcmp(offered[i].path, path) != 0 || strcmp(offered[i].name, name) != 0)
            continue;
        *ret_code = S3_METHOD_NOT_ALLOWED;
        if (strcmp(offered[i].method, method) == 0) {
            *ret_code = S3_OK;
            return offered[i].op;
        }
    }
    return S3_OP_NONE;
}

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static void check(const char *path, const char *name, const char *method, const char *value)
{
    enum s3_code code;
    enum s3_op op = op_wanted(path, name, method, &code);
    char target[128];
    snprintf(target, sizeof(target), "%s?%s%s", path, name, value);
    if (is(path, K) && is(method, "PUT") && (is(name, "uploadId") || is(name, "partNumber")))
        code = S3_INVALID_ARGUMENT; /* each without the other */
    if (is(name, "somethingNew") && is(value, "=2"))
        return; /* ignored, as S3 does */
    if (op == S3_OP_LIST_OBJECTS_V2 && !is(value, "=2")) {
        op = S3_OP_NONE;
        code = S3_INVALID_ARGUMENT;
    }
    MAKE(&m, method, target, "Host: localhost");
    if (m.code != code || m.request.op != op)
        fail_msg("%s %s: %s %s, not %s %s", method, target, s3_code_name(m.code),
                 s3_op_name(m.request.op), s3_code_name(code), s3_op_name(op));
}

static void every_method_with_every_subresource(void **state)
{
    (void)state;
    static const char *const values[] = {"", "=", "=2"};
    for (size_t p = 0; p < ARRAY_COUNT(paths); p++)
        for (size_t n = 0; n < ARRAY_COUNT(names); n++)
            for (size_t i = 0; i < ARRAY_COUNT(methods); i++)
                for (size_t v = 0; v < ARRAY_COUNT(values); v++)
                    check(paths[p], names[n], methods[i], values[v]);
    for (size_t n = 0; n < ARRAY_COUNT(names); n++)
        assert_true(s3_names_subresource(slice_cstr(names[n])) == !is(names[n], "somethingNew"));
}

/* Two of them are never one of them, whichever comes first. */
static void every_two_subresources(void **state)
{
    (void)state;
    for (size_t p = 0; p < ARRAY_COUNT(paths); p++)
        for (size_t a = 0; a < ARRAY_COUNT(names); a++)
            for (size_t b = 0; b < ARRAY_COUNT(names); b++)
                for (size_t i = 0; a != b && i < ARRAY_COUNT(methods); i++) {
                    char target[128];
                    bool part = is(paths[p], K) && is(methods[i], "PUT") &&
                                ((is(names[a], "uploadId") && is(names[b], "partNumber")) ||
                                 (is(names[b], "uploadId") && is(names[a], "partNumber")));
                    snprintf(target, sizeof(target), "%s?%s&%s", paths[p], names[a], names[b]);
                    MAKE(&m, methods[i], target, "Host: localhost");
                    if (part != (m.code == S3_OK) ||
                        m.request.op != (part ? S3_OP_UPLOAD_PART : S3_OP_NONE))
                        fail_msg("%s %s: %s", methods[i], target, s3_op_name(m.request.op));
                }
}

/* What clients send along with plain operations. */
static void plain(void **state)
{
    (void)state;
    static const struct {
        const char *method, *target;
        enum s3_op op;
    } cases[] = {
        {"GET", "/", S3_OP_LIST_BUCKETS},
        {"GET", "/?max-buckets=2&prefix=a&continuation-token=x&bucket-region=r",
         S3_OP_LIST_BUCKETS},
        {"GET", "/?x-id=ListBuckets", S3_OP_LIST_BUCKETS},
        {"GET", "/?foo=bar", S3_OP_LIST_BUCKETS},
        {"GET", "/bkt?prefix=&delimiter=&marker=&max-keys=&encoding-type=url", S3_OP_LIST_OBJECTS},
        {"GET", "/bkt?list-type=1", S3_OP_LIST_OBJECTS},
        {"GET", "/bkt/?list-type=2&prefix&fetch-owner=true&start-after=a", S3_OP_LIST_OBJECTS_V2},
        {"GET", "/bkt?metrics&id=a", S3_OP_GET_BUCKET_METRICS},
        {"GET", "/bkt?acl&acl", S3_OP_GET_BUCKET_ACL},
        {"POST", "/bkt?x-amz-b", S3_OP_POST_OBJECT},
        {"GET", "/bkt/k?x-id=GetObject&response-content-type=a&response-expires=&partNumber=1",
         S3_OP_GET_OBJECT},
        {"GET", "/bkt/k?X-Amz-Algorithm=a&X-Amz-Date=b", S3_OP_GET_OBJECT},
        {"GET", "/bkt/k?AWSAccessKeyId=a&Expires=1&Signature=c", S3_OP_GET_OBJECT},
        {"HEAD", "/bkt/k?versionId=null&partNumber=1", S3_OP_HEAD_OBJECT},
        {"PUT", "/bkt/k?x-id=PutObject", S3_OP_PUT_OBJECT},
        {"PUT", "/bkt/k?x-id=UploadPart&partNumber=1&uploadId=a", S3_OP_UPLOAD_PART},
        {"DELETE", "/bkt/k?x-id=DeleteObject&versionId=null", S3_OP_DELETE_OBJECT},
        {"DELETE", "/bkt/k?v=1", S3_OP_DELETE_OBJECT},
        {"OPTIONS", "/bkt/k?acl&tagging", S3_OP_PREFLIGHT},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        MAKE(&m, cases[i].method, cases[i].target, "Host: localhost");
        if (m.code != S3_OK || m.request.op != cases[i].op)
            fail_msg("%s %s: %s %s", cases[i].method, cases[i].target, s3_code_name(m.code),
                     s3_op_name(m.request.op));
    }
}

/* As errors and logs call it. */
static void resource_types(void **state)
{
    (void)state;
    static const struct {
        const char *method, *target, *resource;
    } cases[] = {
        {"GET", "/", "SERVICE"},
        {"PUT", "/bkt", "BUCKET"},
        {"PATCH", "/bkt/k", "OBJECT"},
        {"GET", "/bkt/k?partNumber=1", "OBJECT"},
        {"GET", "/bkt?acl", "ACL"},
        {"DELETE", "/bkt/k?acl", "ACL"},
        {"PUT", "/bkt?tagging", "TAGGING"},
        {"HEAD", "/bkt/k?tagging", "OBJECT_TAGGING"},
        {"DELETE", "/bkt?uploads", "UPLOADS"},
        {"DELETE", "/bkt/k?uploadId=1", "UPLOAD"},
        {"POST", "/bkt/k?restore", "RESTORE"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        MAKE(&m, cases[i].method, cases[i].target, "Host: localhost");
        assert_string_equal(m.request.resource, cases[i].resource);
        if (m.code == S3_METHOD_NOT_ALLOWED) {
            assert_slice(m.fault.extra[0].value, cases[i].method);
            assert_slice(m.fault.extra[1].value, cases[i].resource);
        }
    }
    MAKE(&m, "HEAD", "/bkt/k?tagging", "Host: x");
    assert_string_equal(m.request.allow, "GET, PUT, DELETE");
    MAKE(&m, "DELETE", "/bkt?uploads", "Host: x");
    assert_string_equal(m.request.allow, "GET");
    MAKE(&m, "PATCH", "/bkt", "Host: x");
    assert_string_equal(m.request.allow, "GET, HEAD, PUT, POST, DELETE");
    MAKE(&m, "DELETE", "/bkt/k?tagging&acl", "Host: x"); /* of one or of the other? */
    assert_null(m.request.resource);
}

/* A version is named to operations on versions.  A bucket has none: it must not be deleted, say, by
 * who forgot the key. */
static void version_ids(void **state)
{
    (void)state;
    static const struct {
        const char *method, *target;
        bool taken;
    } cases[] = {
        {"GET", "/bkt/k?", true},
        {"HEAD", "/bkt/k?", true},
        {"DELETE", "/bkt/k?", true},
        {"GET", "/bkt/k?attributes&", true},
        {"GET", "/bkt/k?acl&", true},
        {"PUT", "/bkt/k?acl&", true},
        {"GET", "/bkt/k?tagging&", true},
        {"PUT", "/bkt/k?tagging&", true},
        {"DELETE", "/bkt/k?tagging&", true},
        {"GET", "/bkt/k?retention&", true},
        {"PUT", "/bkt/k?retention&", true},
        {"GET", "/bkt/k?legal-hold&", true},
        {"PUT", "/bkt/k?legal-hold&", true},
        {"PUT", "/bkt/k?", false},
        {"PUT", "/bkt/k?renameObject&", false},
        {"PUT", "/bkt/k?uploadId=a&partNumber=1&", false},
        {"POST", "/bkt/k?uploads&", false},
        {"POST", "/bkt/k?uploadId=a&", false},
        {"GET", "/bkt/k?uploadId=a&", false},
        {"DELETE", "/bkt/k?uploadId=a&", false},
        {"DELETE", "/bkt?", false},
        {"DELETE", "/bkt?tagging&", false},
        {"GET", "/bkt?", false},
        {"GET", "/bkt?versions&", false},
        {"HEAD", "/bkt?", false},
        {"PUT", "/bkt?", false},
        {"PUT", "/bkt?versioning&", false},
        {"POST", "/bkt?delete&", false},
        {"GET", "/?", false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char target[128];
        snprintf(target, sizeof(target), "%sversionId=null", cases[i].target);
        MAKE(&m, cases[i].method, target, "Host: localhost");
        if (m.code != (cases[i].taken ? S3_OK : S3_INVALID_ARGUMENT))
            fail_msg("%s %s: %s", cases[i].method, target, s3_code_name(m.code));
        assert_true((m.request.op != S3_OP_NONE) == cases[i].taken);
        assert_true((m.request.version != 0) == cases[i].taken);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_with_every_subresource),
        cmocka_unit_test(every_two_subresources),
        cmocka_unit_test(plain),
        cmocka_unit_test(resource_types),
        cmocka_unit_test(version_ids),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
