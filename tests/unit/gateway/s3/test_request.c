/* Addressing, operations, and what header fields and parameters say. */
#include "common/base/err.h"
#include "gateway/s3/headers.h"
#include "gateway/s3/list.h"

#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "gateway/s3/version.h"
#include "tests/unit/gateway/s3/make.h"

static struct made m;

static int teardown(void **state)
{
    (void)state;
    arena_fini(&m.arena);
    return 0;
}

static void addressing(void **state)
{
    (void)state;
    static const struct {
        const char *host, *target, *bucket, *key;
        enum s3_code code;
    } cases[] = {
        {"localhost:9000", "/", "", "", S3_OK},
        {"localhost", "/photos", "photos", "", S3_OK},
        {"localhost", "/photos/", "photos", "", S3_OK},
        {"[::1]:9000", "/photos/a/b", "photos", "a/b", S3_OK},
        {"localhost", "/photos//", "photos", "/", S3_OK},
        {"localhost", "/photos//a", "photos", "/a", S3_OK},
        {"localhost", "/photos/../a", "photos", "../a", S3_OK},
        {"localhost", "/photos/a+b%20c%2Fd", "photos", "a+b c/d", S3_OK},
        {"localhost", "/photos/%C3%A9", "photos", "\xc3\xa9", S3_OK},
        {"localhost", "http://localhost/photos/k?x=y", "photos", "k", S3_OK},
        {"s3.amazonaws.com", "/photos/k", "photos", "k", S3_OK},
        {"photos.s3.amazonaws.com:443", "/k/l", "photos", "k/l", S3_OK},
        {"Photos.S3.amazonaws.com", "/k", "photos", "k", S3_OK},
        {"my.photos.s3.amazonaws.com", "/", "my.photos", "", S3_OK},
        {"photos.us-east-1.s3.amazonaws.com", "/k", "photos", "k", S3_OK},
        {"us-east-1.s3.amazonaws.com", "/photos/k", "photos", "k", S3_OK},
        {"evil-s3.amazonaws.com", "/photos/k", "photos", "k", S3_OK},
        {"localhost", "/photos/%zz", "", "", S3_INVALID_URI},
        {"localhost", "/photos/%c3", "", "", S3_INVALID_URI},
        {"localhost", "/photos/%c0%80", "", "", S3_INVALID_URI},
        {"localhost", "/photos/a%", "", "", S3_INVALID_URI},
        {"localhost", "/photos/k?a=%f", "", "", S3_INVALID_URI},
        {"localhost", "photos", "", "", S3_INVALID_URI},
        {"localhost", "*", "", "", S3_INVALID_URI},
        {"localhost", "//k", "", "", S3_INVALID_BUCKET_NAME},
        {"localhost", "/Photos/k", "Photos", "k", S3_INVALID_BUCKET_NAME},
        {"localhost", "/ph%2fotos/k", "ph/otos", "k", S3_INVALID_BUCKET_NAME},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char host[128];
        snprintf(host, sizeof(host), "Host: %s", cases[i].host);
        MAKE(&m, "GET", cases[i].target, host);
        assert_code(m.code, cases[i].code);
        if (m.code == S3_INVALID_URI)
            continue;
        assert_slice(m.request.bucket, cases[i].bucket);
        if (m.code == S3_OK)
            assert_slice(m.request.key, cases[i].key);
    }
}

static void bucket_names(void **state)
{
    (void)state;
    static const char *const good[] = {
        "abc",
        "a-b.c",
        "1a2",
        "my.bucket.name",
        "a23456789012345678901234567890123456789012345678901234567890123",
        "1.2.3",
        "192.168.5.4a"};
    static const char *const bad[] = {
        "",
        "ab",
        "Abc",
        "a_b",
        "-ab",
        "ab-",
        ".ab",
        "ab.",
        "a..b",
        "192.168.5.4",
        "xn--abc",
        "sthree-abc",
        "abc-s3alias",
        "abc--ol-s3",
        "abc--x-s3",
        "abc.mrap",
        "a b",
        "a234567890123456789012345678901234567890123456789012345678901234"};
    for (size_t i = 0; i < ARRAY_COUNT(good); i++)
        assert_true(s3_bucket_name_valid(slice_cstr(good[i])));
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_false(s3_bucket_name_valid(slice_cstr(bad[i])));
    static const char *const not_utf8[] = {"\x80",
                                           "\xc1\x81",
                                           "\xe0\x80\x80",
                                           "\xed\xa0\x80",
                                           "\xf0\x80\x80\x80",
                                           "\xf4\x90\x80\x80",
                                           "\xf5\x80\x80\x80",
                                           "\xe2\x82",
                                           "\xc3\x28",
                                           "\xf0\x9f\x98"};
    for (size_t i = 0; i < ARRAY_COUNT(not_utf8); i++)
        assert_false(utf8_valid(slice_cstr(not_utf8[i])));
    assert_true(utf8_valid(SLICE_LIT("\xf0\x9f\x98\x80\xed\x9f\xbf\xf4\x8f\xbf\xbf")));
}

static void operations(void **state)
{
    (void)state;
    static const struct {
        const char *method, *target;
        enum s3_op op;
        enum s3_code code;
    } cases[] = {
        {"GET", "/", S3_OP_LIST_BUCKETS, S3_OK},
        {"GET", "/?x-id=ListBuckets", S3_OP_LIST_BUCKETS, S3_OK},
        {"PUT", "/", S3_OP_NONE, S3_METHOD_NOT_ALLOWED},
        {"GET", "/_cairn/admin/v1/status", S3_OP_ADMIN, S3_OK},
        {"GET", "/_cairn/admin/v1/verify?versions", S3_OP_ADMIN, S3_OK},
        {"POST", "/_cairn/admin/v1/nodes/n/drain?plan=1", S3_OP_ADMIN, S3_OK},
        {"PUT", "/_cairn/admin/v1/status", S3_OP_NONE, S3_METHOD_NOT_ALLOWED},
        {"GET", "/_cairn/admin/v1/%ff", S3_OP_NONE, S3_INVALID_URI},
        {"GET", "/_cairn/admin/v2/status", S3_OP_NONE, S3_INVALID_BUCKET_NAME},
        {"PUT", "/bkt", S3_OP_CREATE_BUCKET, S3_OK},
        {"HEAD", "/bkt", S3_OP_HEAD_BUCKET, S3_OK},
        {"DELETE", "/bkt", S3_OP_DELETE_BUCKET, S3_OK},
        {"GET", "/bkt", S3_OP_LIST_OBJECTS, S3_OK},
        {"GET", "/bkt?list-type=2&prefix=a", S3_OP_LIST_OBJECTS_V2, S3_OK},
        {"GET", "/bkt?list-type=3", S3_OP_NONE, S3_INVALID_ARGUMENT},
        {"GET", "/bkt?location", S3_OP_GET_BUCKET_LOCATION, S3_OK},
        {"GET", "/bkt/?location=", S3_OP_GET_BUCKET_LOCATION, S3_OK},
        {"GET", "/bkt?uploads", S3_OP_LIST_MULTIPART_UPLOADS, S3_OK},
        {"GET", "/bkt?versions&key-marker=a", S3_OP_LIST_OBJECT_VERSIONS, S3_OK},
        {"GET", "/bkt?versioning", S3_OP_GET_BUCKET_VERSIONING, S3_OK},
        {"PUT", "/bkt?versioning", S3_OP_PUT_BUCKET_VERSIONING, S3_OK},
        {"POST", "/bkt?delete", S3_OP_DELETE_OBJECTS, S3_OK},
        {"POST", "/bkt", S3_OP_POST_OBJECT, S3_OK},
        {"POST", "/bkt/", S3_OP_POST_OBJECT, S3_OK},
        {"PUT", "/bkt?website", S3_OP_PUT_BUCKET_WEBSITE, S3_OK},
        {"DELETE", "/bkt?website", S3_OP_DELETE_BUCKET_WEBSITE, S3_OK},
        {"DELETE", "/bkt?uploads", S3_OP_NONE, S3_METHOD_NOT_ALLOWED},
        {"DELETE", "/bkt?uploadId=1", S3_OP_NONE, S3_NOT_IMPLEMENTED},
        {"PUT", "/bkt?delete", S3_OP_NONE, S3_METHOD_NOT_ALLOWED},
        {"GET", "/bkt/k", S3_OP_GET_OBJECT, S3_OK},
        {"GET", "/bkt/k?versionId=null", S3_OP_GET_OBJECT, S3_OK},
        {"GET", "/bkt/k?versionId=abc", S3_OP_NONE, S3_INVALID_ARGUMENT},
        {"GET", "/bkt/k?partNumber=1", S3_OP_GET_OBJECT, S3_OK},
        {"GET", "/bkt/k?attributes", S3_OP_GET_OBJECT_ATTRIBUTES, S3_OK},
        {"GET", "/bkt/k?uploadId=1", S3_OP_LIST_PARTS, S3_OK},
        {"GET", "/bkt/k?foo=bar&x-id=GetObject", S3_OP_GET_OBJECT, S3_OK},
        {"HEAD", "/bkt/k", S3_OP_HEAD_OBJECT, S3_OK},
        {"PUT", "/bkt/k", S3_OP_PUT_OBJECT, S3_OK},
        {"PUT", "/bkt/k?partNumber=1&uploadId=2", S3_OP_UPLOAD_PART, S3_OK},
        {"PUT", "/bkt/k?partNumber=1", S3_OP_NONE, S3_INVALID_ARGUMENT},
        {"PUT", "/bkt/k?uploadId=1", S3_OP_NONE, S3_INVALID_ARGUMENT},
        {"PUT", "/bkt/k?uploads", S3_OP_NONE, S3_METHOD_NOT_ALLOWED},
        {"PUT", "/bkt/k?attributes", S3_OP_NONE, S3_METHOD_NOT_ALLOWED},
        {"POST", "/bkt/k?uploads", S3_OP_CREATE_MULTIPART_UPLOAD, S3_OK},
        {"POST", "/bkt/k?uploadId=2", S3_OP_COMPLETE_MULTIPART_UPLOAD, S3_OK},
        {"POST", "/bkt/k", S3_OP_NONE, S3_METHOD_NOT_ALLOWED},
        {"DELETE", "/bkt/k", S3_OP_DELETE_OBJECT, S3_OK},
        {"DELETE", "/bkt/k?uploadId=2", S3_OP_ABORT_MULTIPART_UPLOAD, S3_OK},
        {"DELETE", "/bkt/k?uploads", S3_OP_NONE, S3_METHOD_NOT_ALLOWED},
        {"PATCH", "/bkt/k", S3_OP_NONE, S3_METHOD_NOT_ALLOWED},
        /* What must never be taken for the plain operation on the same resource. */
        {"PUT", "/bkt/k?versioning", S3_OP_NONE, S3_NOT_IMPLEMENTED},
        {"DELETE", "/bkt?versioning", S3_OP_NONE, S3_METHOD_NOT_ALLOWED},
        {"DELETE", "/bkt?versions", S3_OP_NONE, S3_METHOD_NOT_ALLOWED},
        {"PUT", "/bkt/k?versionId=null", S3_OP_NONE, S3_INVALID_ARGUMENT},
        {"POST", "/bkt/k?uploads&versionId=null", S3_OP_NONE, S3_INVALID_ARGUMENT},
        {"PUT", "/bkt?policy=", S3_OP_PUT_BUCKET_POLICY, S3_OK},
        {"DELETE", "/bkt?policy", S3_OP_DELETE_BUCKET_POLICY, S3_OK},
        {"PUT", "/bkt?policyStatus", S3_OP_NONE, S3_METHOD_NOT_ALLOWED},
        {"PUT", "/bkt?ownershipControls", S3_OP_PUT_BUCKET_OWNERSHIP, S3_OK},
        {"DELETE", "/bkt?publicAccessBlock", S3_OP_DELETE_PUBLIC_ACCESS_BLOCK, S3_OK},
        {"DELETE", "/bkt?lifecycle", S3_OP_DELETE_BUCKET_LIFECYCLE, S3_OK},
        {"DELETE", "/bkt?metadataTable", S3_OP_NONE, S3_NOT_IMPLEMENTED},
        {"PUT", "/bkt/k?acl", S3_OP_PUT_OBJECT_ACL, S3_OK},
        {"GET", "/bkt?acl", S3_OP_GET_BUCKET_ACL, S3_OK},
        {"DELETE", "/bkt?acl", S3_OP_NONE, S3_METHOD_NOT_ALLOWED},
        {"PUT", "/bkt/k?retention&versionId=null", S3_OP_PUT_OBJECT_RETENTION, S3_OK},
        {"PUT", "/bkt/k?legal-hold", S3_OP_PUT_OBJECT_LEGAL_HOLD, S3_OK},
        {"PUT", "/bkt?object-lock", S3_OP_PUT_OBJECT_LOCK_CONFIGURATION, S3_OK},
        {"DELETE", "/bkt?object-lock", S3_OP_NONE, S3_METHOD_NOT_ALLOWED},
        {"DELETE", "/bkt/k?retention", S3_OP_NONE, S3_METHOD_NOT_ALLOWED},
        {"PUT", "/bkt/k?retention&legal-hold", S3_OP_NONE, S3_INVALID_ARGUMENT},
        {"POST", "/bkt/k?select&select-type=2", S3_OP_NONE, S3_NOT_IMPLEMENTED},
        {"POST", "/bkt/k?restore", S3_OP_NONE, S3_NOT_IMPLEMENTED},
        {"PUT", "/bkt/k?renameObject", S3_OP_RENAME_OBJECT, S3_OK},
        {"GET", "/bkt/k?renameObject", S3_OP_NONE, S3_METHOD_NOT_ALLOWED},
        {"PUT", "/bkt/k?somethingNew", S3_OP_NONE, S3_NOT_IMPLEMENTED},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        MAKE(&m, cases[i].method, cases[i].target, "Host: localhost");
        if (m.code != cases[i].code || m.request.op != cases[i].op)
            fail_msg("%s %s: %s, %s", cases[i].method, cases[i].target, s3_code_name(m.code),
                     s3_op_name(m.request.op));
    }
    MAKE(&m, "PUT", "/bkt/k", "Host: localhost", "x-amz-copy-source: /a/b");
    assert_int_equal(m.request.op, S3_OP_COPY_OBJECT);
    MAKE(&m, "PUT", "/bkt/k?uploadId=1&partNumber=2", "Host: x", "x-amz-copy-source: /a/b");
    assert_int_equal(m.request.op, S3_OP_UPLOAD_PART_COPY);
}

static void subresources(void **state)
{
    (void)state;
    static const struct {
        const char *method, *target;
        enum s3_op op;
        enum s3_code code;
    } cases[] = {
        {"GET", "/bkt?tagging", S3_OP_GET_BUCKET_TAGGING, S3_OK},
        {"PUT", "/bkt/?tagging=", S3_OP_PUT_BUCKET_TAGGING, S3_OK},
        {"DELETE", "/bkt?tagging", S3_OP_DELETE_BUCKET_TAGGING, S3_OK},
        {"POST", "/bkt?tagging", S3_OP_NONE, S3_METHOD_NOT_ALLOWED},
        {"HEAD", "/bkt?tagging", S3_OP_NONE, S3_METHOD_NOT_ALLOWED},
        {"GET", "/bkt/k?tagging&versionId=null", S3_OP_GET_OBJECT_TAGGING, S3_OK},
        {"GET", "/bkt/k?tagging&versionId=3", S3_OP_NONE, S3_INVALID_ARGUMENT},
        {"PUT", "/bkt?cors&versioning", S3_OP_NONE, S3_INVALID_ARGUMENT},
        {"PUT", "/bkt/k?tagging", S3_OP_PUT_OBJECT_TAGGING, S3_OK},
        {"DELETE", "/bkt/k?tagging", S3_OP_DELETE_OBJECT_TAGGING, S3_OK},
        {"PUT", "/bkt/k?tagging&acl", S3_OP_NONE, S3_INVALID_ARGUMENT},
        {"PUT", "/bkt/k?tagging&uploadId=1", S3_OP_NONE, S3_INVALID_ARGUMENT},
        {"GET", "/bkt?tagging&cors", S3_OP_NONE, S3_INVALID_ARGUMENT},
        {"PUT", "/bkt?cors&somethingNew", S3_OP_NONE, S3_NOT_IMPLEMENTED},
        {"PUT", "/bkt?cors", S3_OP_PUT_BUCKET_CORS, S3_OK},
        {"PUT", "/bkt/k?cors", S3_OP_NONE, S3_NOT_IMPLEMENTED},
        {"DELETE", "/bkt?accelerate", S3_OP_NONE, S3_METHOD_NOT_ALLOWED},
        {"GET", "/bkt?metrics", S3_OP_LIST_BUCKET_METRICS, S3_OK},
        {"GET", "/bkt?metrics&id=a", S3_OP_GET_BUCKET_METRICS, S3_OK},
        {"PUT", "/bkt?metrics&id=a", S3_OP_PUT_BUCKET_METRICS, S3_OK},
        {"GET", "/bkt?policy", S3_OP_GET_BUCKET_POLICY, S3_OK},
        {"POST", "/bkt?policy", S3_OP_NONE, S3_METHOD_NOT_ALLOWED},
        {"OPTIONS", "/bkt/k", S3_OP_PREFLIGHT, S3_OK},
        {"OPTIONS", "/", S3_OP_PREFLIGHT, S3_OK},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        MAKE(&m, cases[i].method, cases[i].target, "Host: localhost");
        if (m.code != cases[i].code || m.request.op != cases[i].op)
            fail_msg("%s %s: %s, %s", cases[i].method, cases[i].target, s3_code_name(m.code),
                     s3_op_name(m.request.op));
    }
}

#define FIXED_ID "F7CF2A0FP74RAUEOU4K0VIFPHG"

static void version_ids(void **state)
{
    (void)state;
    static const uint64_t versions[] = {1, 2, 0xFFFF, UINT64_C(1) << 40, UINT64_MAX - 1};
    char text[S3_VERSION_ID_CHARS + 1], other[S3_VERSION_ID_CHARS + 1];
    uint64_t got;
    for (size_t i = 0; i < ARRAY_COUNT(versions); i++) {
        s3_version_id_text(versions[i], text);
        assert_int_equal(strlen(text), S3_VERSION_ID_CHARS);
        assert_true(s3_version_id_parse(slice_cstr(text), &got) && got == versions[i]);
        /* No digit of it may be another one, and none may be missing. */
        for (size_t at = 0; at < S3_VERSION_ID_CHARS; at++)
            for (const char *digit = "0123456789ABCDEFGHIJKLMNOPQRSTUVa-"; *digit; digit++) {
                memcpy(other, text, sizeof(other));
                other[at] = *digit;
                if (other[at] != text[at])
                    assert_false(s3_version_id_parse(slice_cstr(other), &got));
            }
        assert_false(s3_version_id_parse(SLICE(text, S3_VERSION_ID_CHARS - 1), &got));
    }
    s3_version_id_text(12345, text);
    assert_string_equal(text, FIXED_ID); /* ids that were given stay good */
    assert_true(s3_version_id_parse(SLICE_LIT("null"), &got) && got == S3_VERSION_NULL);
    assert_false(s3_version_id_parse(SLICE_EMPTY, &got));
    memset(text, 0, sizeof(text));
    assert_false(s3_version_id_parse(SLICE(text, S3_VERSION_ID_CHARS), &got));
}

static void list_versions_params(void **state)
{
    (void)state;
    struct s3_list_versions_params p;
    char text[S3_VERSION_ID_CHARS + 1], target[200];
    s3_version_id_text(77, text);
    snprintf(target, sizeof(target), "/bkt?versions&key-marker=a%%2Fb&version-id-marker=%s", text);
    MAKE(&m, "GET", target, "Host: x");
    assert_code(s3_list_versions_params_parse(&m.request, &p, &m.fault), S3_OK);
    assert_true(p.version == 77 && p.max_keys == 1000 && !p.skip_prefix.len);
    assert_slice(p.key_marker, "a/b");
    MAKE(&m, "GET", "/bkt?versions&delimiter=/&key-marker=a/&max-keys=5", "Host: x");
    assert_code(s3_list_versions_params_parse(&m.request, &p, &m.fault), S3_OK);
    assert_true(p.version == S3_VERSION_NONE && p.max_keys == 5);
    assert_slice(p.skip_prefix, "a/");
    MAKE(&m, "GET", "/bkt?versions&version-id-marker=null", "Host: x");
    assert_code(s3_list_versions_params_parse(&m.request, &p, &m.fault), S3_INVALID_ARGUMENT);
    MAKE(&m, "GET", "/bkt?versions&key-marker=a&version-id-marker=x", "Host: x");
    assert_code(s3_list_versions_params_parse(&m.request, &p, &m.fault), S3_INVALID_ARGUMENT);
}

static void key_length(void **state)
{
    (void)state;
    char target[1100] = "/bkt/";
    memset(target + 5, 'k', 1024);
    MAKE(&m, "PUT", target, "Host: x");
    assert_code(m.code, S3_OK);
    target[5 + 1024] = 'k';
    MAKE(&m, "PUT", target, "Host: x");
    assert_code(m.code, S3_KEY_TOO_LONG);
}

static void query(void **state)
{
    (void)state;
    MAKE(&m, "GET", "/bkt?list-type=2&prefix=a%2Bb+c&&delimiter=%26&marker", "Host: x");
    assert_slice(s3_request_value(&m.request, "prefix"), "a+b c");
    assert_slice(s3_request_value(&m.request, "delimiter"), "&");
    assert_non_null(s3_request_param(&m.request, "marker"));
    assert_false(s3_request_param(&m.request, "marker")->has_value);
    assert_null(s3_request_param(&m.request, "x"));
    struct buf b = {0};
    buf_cstr(&b, "/bkt?");
    for (int i = 0; i <= S3_PARAMS_MAX; i++)
        buf_cstr(&b, "a=b&");
    buf_u8(&b, 0);
    MAKE(&m, "GET", (char *)b.ptr, "Host: x");
    assert_code(m.code, S3_INVALID_URI);
    buf_fini(&b);
}

/* ---- conditions ---- */

#define T0 "Sun, 06 Nov 1994 08:49:37 GMT"
#define T1 "Sun, 06 Nov 1994 08:49:38 GMT"
#define MTIME_MS 784111777123ull /* within the second T0 */

static void conditions(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        enum s3_code read, copy;
    } cases[] = {
        {"If-Match: \"e\"", NULL, S3_OK, S3_OK},
        {"If-Match: e", NULL, S3_OK, S3_OK},
        {"If-Match: \"x\", \"e\"", NULL, S3_OK, S3_OK},
        {"If-Match: *", NULL, S3_OK, S3_OK},
        {"If-Match: \"x\"", NULL, S3_PRECONDITION_FAILED, S3_PRECONDITION_FAILED},
        {"If-Match: W/\"e\"", NULL, S3_PRECONDITION_FAILED, S3_PRECONDITION_FAILED},
        {"If-None-Match: \"e\"", NULL, S3_NOT_MODIFIED, S3_PRECONDITION_FAILED},
        {"If-None-Match: W/\"e\"", NULL, S3_NOT_MODIFIED, S3_PRECONDITION_FAILED},
        {"If-None-Match: *", NULL, S3_NOT_MODIFIED, S3_PRECONDITION_FAILED},
        {"If-None-Match: \"x\"", NULL, S3_OK, S3_OK},
        {"If-Modified-Since: " T0, NULL, S3_NOT_MODIFIED, S3_PRECONDITION_FAILED},
        {"If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT", NULL, S3_OK, S3_OK},
        {"If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT", NULL, S3_NOT_MODIFIED,
         S3_PRECONDITION_FAILED},
        {"If-Modified-Since: Sun Nov  6 08:49:37 1994", NULL, S3_NOT_MODIFIED,
         S3_PRECONDITION_FAILED},
        {"If-Modified-Since: nonsense", NULL, S3_OK, S3_OK},
        {"If-Unmodified-Since: " T0, NULL, S3_OK, S3_OK},
        {"If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT", NULL, S3_PRECONDITION_FAILED,
         S3_PRECONDITION_FAILED},
        /* The one that holds makes the other not count. */
        {"If-Match: \"e\"", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT", S3_OK, S3_OK},
        {"If-None-Match: \"x\"", "If-Modified-Since: " T1, S3_OK, S3_OK},
        {"If-None-Match: \"e\"", "If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT",
         S3_NOT_MODIFIED, S3_PRECONDITION_FAILED},
        {"If-Match: \"x\"", "If-None-Match: \"e\"", S3_PRECONDITION_FAILED, S3_PRECONDITION_FAILED},
        {"If-Match: \"e\"", "If-None-Match: \"e\"", S3_NOT_MODIFIED, S3_PRECONDITION_FAILED},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct s3_conditions c;
        const char *fields[] = {"Host: x", cases[i].a, cases[i].b, NULL};
        make(&m, "GET", "/bkt/k", fields);
        assert_code(s3_conditions_parse(&m.request, MTIME_MS, &c, &m.fault), S3_OK);
        if (s3_conditions_read(&c, SLICE_LIT("e"), MTIME_MS, &m.fault) != cases[i].read ||
            s3_conditions_copy(&c, SLICE_LIT("e"), MTIME_MS, &m.fault) != cases[i].copy)
            fail_msg("%s %s", cases[i].a, cases[i].b);
    }
}

static void condition_lists(void **state)
{
    (void)state;
    static const char *const bad[] = {"If-Match: ",  "If-Match: \"e",      "If-Match: \"e\" x",
                                      "If-Match: ,", "If-Match: *, \"e\"", "If-Match: \"a\", *"};
    struct s3_conditions c;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        MAKE(&m, "GET", "/bkt/k", "Host: x", bad[i]);
        enum s3_code code = s3_conditions_parse(&m.request, 0, &c, &m.fault);
        if (i >= 4) /* a star among tags is a tag like any other, and matches none */
            assert_true(code == S3_INVALID_ARGUMENT || !c.if_match.any);
        else
            assert_code(code, S3_INVALID_ARGUMENT);
    }
    MAKE(&m, "PUT", "/bkt/k", "Host: x", "If-None-Match: *", "If-Match: \"e\"");
    assert_code(s3_conditions_parse(&m.request, 0, &c, &m.fault), S3_OK);
    assert_code(s3_conditions_for_write(&c, &m.fault), S3_OK);
    MAKE(&m, "PUT", "/bkt/k", "Host: x", "If-None-Match: \"e\"");
    assert_code(s3_conditions_parse(&m.request, 0, &c, &m.fault), S3_OK);
    assert_code(s3_conditions_for_write(&c, &m.fault), S3_NOT_IMPLEMENTED);
    MAKE(&m, "DELETE", "/bkt/k", "Host: x", "x-amz-if-match-size: 12",
         "x-amz-if-match-last-modified-time: " T0);
    assert_code(s3_conditions_parse(&m.request, 0, &c, &m.fault), S3_OK);
    assert_true(c.has_size && c.size == 12 && c.has_mtime && c.mtime_ms / 1000 == 784111777);
    MAKE(&m, "DELETE", "/bkt/k", "Host: x", "x-amz-if-match-size: many");
    assert_code(s3_conditions_parse(&m.request, 0, &c, &m.fault), S3_INVALID_ARGUMENT);
    MAKE(&m, "DELETE", "/bkt/k", "Host: x", "x-amz-if-match-last-modified-time: soon");
    assert_code(s3_conditions_parse(&m.request, 0, &c, &m.fault), S3_INVALID_ARGUMENT);
    MAKE(&m, "PUT", "/bkt/k", "Host: x", "x-amz-copy-source: /a/b",
         "x-amz-copy-source-if-match: \"e\"", "x-amz-copy-source-if-modified-since: " T0);
    assert_code(s3_copy_conditions_parse(&m.request, 0, &c, &m.fault), S3_OK);
    assert_true(c.if_match.given && c.has_modified_since && !c.if_none_match.given);
}

static void ranges(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        uint64_t size, offset, length;
        bool partial;
        enum s3_code code;
    } cases[] = {
        {"bytes=0-9", 100, 0, 10, true, S3_OK},
        {"Bytes=0-9", 100, 0, 10, true, S3_OK},
        {"bytes=0-0", 1, 0, 1, true, S3_OK},
        {"bytes=5-", 100, 5, 95, true, S3_OK},
        {"bytes=99-", 100, 99, 1, true, S3_OK},
        {"bytes=-5", 100, 95, 5, true, S3_OK},
        {"bytes=-500", 100, 0, 100, true, S3_OK},
        {"bytes=90-1000", 100, 90, 10, true, S3_OK},
        {"bytes=0-18446744073709551615", 100, 0, 100, true, S3_OK},
        {"bytes=100-", 100, 0, 0, false, S3_INVALID_RANGE},
        {"bytes=100-200", 100, 0, 0, false, S3_INVALID_RANGE},
        {"bytes=-0", 100, 0, 0, false, S3_INVALID_RANGE},
        {"bytes=0-", 0, 0, 0, false, S3_INVALID_RANGE},
        {"bytes=-1", 0, 0, 0, false, S3_INVALID_RANGE},
        {"bytes=9-0", 100, 0, 100, false, S3_OK},
        {"bytes=0-1,5-6", 100, 0, 100, false, S3_OK},
        {"bytes=0-18446744073709551616", 100, 0, 100, false, S3_OK},
        {"bytes=", 100, 0, 100, false, S3_OK},
        {"bytes=-", 100, 0, 100, false, S3_OK},
        {"bytes=a-b", 100, 0, 100, false, S3_OK},
        {"bytes=+1-2", 100, 0, 100, false, S3_OK},
        {"items=0-1", 100, 0, 100, false, S3_OK},
        {"", 0, 0, 0, false, S3_OK},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct s3_range r;
        uint64_t offset = 7, length = 7;
        bool partial = false;
        s3_range_parse(slice_cstr(cases[i].value), &r);
        enum s3_code code = s3_range_resolve(&r, cases[i].size, slice_cstr(cases[i].value),
                                             &m.arena, &offset, &length, &partial, &m.fault);
        assert_code(code, cases[i].code);
        if (code == S3_OK &&
            (offset != cases[i].offset || length != cases[i].length || partial != cases[i].partial))
            fail_msg("%s", cases[i].value);
    }
    bool given;
    uint64_t first, last;
    MAKE(&m, "PUT", "/bkt/k", "Host: x", "x-amz-copy-source-range: bytes=5-9");
    assert_code(s3_copy_range_parse(&m.request, &given, &first, &last, &m.fault), S3_OK);
    assert_true(given && first == 5 && last == 9);
    static const char *const bad[] = {"bytes=5-", "bytes=-5", "5-9", "bytes=9-5"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        char line[64];
        snprintf(line, sizeof(line), "x-amz-copy-source-range: %s", bad[i]);
        MAKE(&m, "PUT", "/bkt/k", "Host: x", line);
        assert_code(s3_copy_range_parse(&m.request, &given, &first, &last, &m.fault),
                    S3_INVALID_ARGUMENT);
    }
}

static void dates(void **state)
{
    (void)state;
    char text[32];
    uint64_t ms = 0;
    http_date_format(784111777999ull, text);
    assert_string_equal(text, T0);
    iso8601_format(1369353600005ull, text);
    assert_string_equal(text, "2013-05-24T00:00:00.005Z");
    amz_date_format(951782400000ull, text);
    assert_string_equal(text, "20000229T000000Z");
    /* Every day of 400 years there and back. */
    for (uint64_t day = 0; day < 146097; day++) {
        uint64_t at = day * 86400000 + day % 86400000;
        iso8601_format(at, text);
        assert_true(iso8601_parse(slice_cstr(text), &ms) && ms == at);
        http_date_format(at, text);
        assert_true(http_date_parse(slice_cstr(text), at, &ms) && ms == at / 1000 * 1000);
    }
    assert_true(
        http_date_parse(SLICE_LIT("Sunday, 06-Nov-94 08:49:37 GMT"), 1700000000000ull, &ms));
    assert_true(ms == 784111777000ull);
    assert_true(
        http_date_parse(SLICE_LIT("Tuesday, 06-Nov-40 08:49:37 GMT"), 1700000000000ull, &ms));
    iso8601_format(ms, text);
    assert_memory_equal(text, "2040", 4);
    assert_true(iso8601_parse(SLICE_LIT("2013-05-24T00:00:00.5Z"), &ms) && ms % 1000 == 500);
    assert_true(iso8601_parse(SLICE_LIT("2013-05-24T00:00:00.123456Z"), &ms) && ms % 1000 == 123);
    static const char *const bad[] = {"2013-02-29T00:00:00Z",
                                      "2013-13-01T00:00:00Z",
                                      "2013-00-01T00:00:00Z",
                                      "2013-01-01T24:00:00Z",
                                      "2013-01-01T00:00:00",
                                      "2013-01-01 00:00:00Z",
                                      "",
                                      "1969-01-01T00:00:00Z",
                                      "2013-01-01T00:00:00.Zx"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_false(iso8601_parse(slice_cstr(bad[i]), &ms));
    static const char *const bad_http[] = {"",
                                           "Sun",
                                           "Sun,",
                                           "Sun, 06 Nov 1994 08:49:37",
                                           "Sun, 6 Nov 1994 08:49:37 GMT",
                                           "Sun, 31 Feb 1994 08:49:37 GMT",
                                           "Sun, 06 Nov 1994 08:49:37 CET",
                                           "Sunday 06-Nov-94"};
    for (size_t i = 0; i < ARRAY_COUNT(bad_http); i++)
        assert_false(http_date_parse(slice_cstr(bad_http[i]), 0, &ms));
}

static void metadata(void **state)
{
    (void)state;
    struct s3_metadata d;
    MAKE(&m, "PUT", "/bkt/k", "Host: x", "Content-Type: text/plain", "X-Amz-Meta-Color: red",
         "x-amz-meta-size:  big one", "X-AMZ-META-COLOR: blue",
         "Content-Encoding: gzip, aws-chunked", "x-amz-storage-class: STANDARD_IA",
         "x-amz-acl: private");
    assert_code(s3_metadata_parse(&m.request, &d, &m.fault), S3_OK);
    assert_slice(d.content_type, "text/plain");
    assert_slice(d.content_encoding, "gzip");
    assert_int_equal(d.user_count, 2);
    assert_slice(d.user[0].name, "color");
    assert_slice(d.user[0].value, "red,blue");
    assert_slice(d.user[1].value, "big one");
    MAKE(&m, "PUT", "/bkt/k", "Host: x", "Content-Encoding: aws-chunked");
    assert_code(s3_metadata_parse(&m.request, &d, &m.fault), S3_OK);
    assert_int_equal(d.content_encoding.len, 0);
    char line[2200] = "x-amz-meta-a: ";
    size_t start = strlen(line);
    memset(line + start, 'v', 2047);
    MAKE(&m, "PUT", "/bkt/k", "Host: x", line);
    assert_code(s3_metadata_parse(&m.request, &d, &m.fault), S3_OK);
    line[start + 2047] = 'v';
    MAKE(&m, "PUT", "/bkt/k", "Host: x", line);
    assert_code(s3_metadata_parse(&m.request, &d, &m.fault), S3_METADATA_TOO_LARGE);
    static const struct {
        const char *field;
        enum s3_code code;
    } refused[] = {
        {"x-amz-website-redirect-location: ftp://x", S3_INVALID_ARGUMENT},
        {"x-amz-rename-source: /bkt/old", S3_NOT_IMPLEMENTED},
    };
    for (size_t i = 0; i < ARRAY_COUNT(refused); i++) {
        MAKE(&m, "PUT", "/bkt/k", "Host: x", refused[i].field);
        assert_code(s3_metadata_parse(&m.request, &d, &m.fault), refused[i].code);
    }
    MAKE(&m, "PUT", "/bkt/k", "Host: x", "x-amz-write-offset-bytes: 5");
    assert_code(s3_metadata_parse(&m.request, &d, &m.fault), S3_OK);
    MAKE(&m, "POST", "/bkt/k?uploads", "Host: x", "x-amz-write-offset-bytes: 5");
    assert_code(s3_metadata_parse(&m.request, &d, &m.fault), S3_NOT_IMPLEMENTED);
    static const char *const known[] = {"", "STANDARD", "REDUCED_REDUNDANCY", "GLACIER_IR"};
    static const char *const unknown[] = {"GLACIER", "standard", "STANDARD ", "ECONOMY"};
    for (size_t i = 0; i < ARRAY_COUNT(known); i++)
        assert_true(s3_storage_class_known(slice_cstr(known[i])));
    for (size_t i = 0; i < ARRAY_COUNT(unknown); i++)
        assert_false(s3_storage_class_known(slice_cstr(unknown[i])));
}

static void overrides(void **state)
{
    (void)state;
    struct s3_overrides o;
    MAKE(&m, "GET", "/bkt/k?response-content-type=text%2Fx&response-expires=never", "Host: x");
    assert_code(s3_overrides_parse(&m.request, false, &o, &m.fault), S3_OK);
    assert_slice(o.content_type, "text/x");
    assert_slice(o.expires, "never");
    assert_code(s3_overrides_parse(&m.request, true, &o, &m.fault), S3_INVALID_REQUEST);
    MAKE(&m, "GET", "/bkt/k?response-content-type=a%0d%0aX-Evil:%20b", "Host: x");
    assert_code(s3_overrides_parse(&m.request, false, &o, &m.fault), S3_INVALID_ARGUMENT);
}

static void copy_sources(void **state)
{
    (void)state;
    static const struct {
        const char *value, *bucket, *key;
        enum s3_code code;
    } cases[] = {
        {"/src/a/b", "src", "a/b", S3_OK},
        {"src/a%20b%2Bc", "src", "a b+c", S3_OK},
        {"src%2Fa", "src", "a", S3_OK},
        {"src/a%3Fb?versionId=null", "src", "a?b", S3_OK},
        {"src/a?versionId=3", "", "", S3_INVALID_ARGUMENT},
        {"src/a?b", "", "", S3_INVALID_ARGUMENT},
        {"src", "", "", S3_INVALID_ARGUMENT},
        {"src/", "", "", S3_INVALID_ARGUMENT},
        {"//a", "", "", S3_INVALID_ARGUMENT},
        {"", "", "", S3_INVALID_ARGUMENT},
        {"src/%zz", "", "", S3_INVALID_ARGUMENT},
        {"SRC/a", "", "", S3_INVALID_BUCKET_NAME},
    };
    struct s3_copy_source c;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char line[128];
        snprintf(line, sizeof(line), "x-amz-copy-source: %s", cases[i].value);
        MAKE(&m, "PUT", "/bkt/k", "Host: x", line);
        assert_code(s3_copy_source_parse(&m.request, &c, &m.fault), cases[i].code);
        if (cases[i].code == S3_OK) {
            assert_slice(c.bucket, cases[i].bucket);
            assert_slice(c.key, cases[i].key);
        }
    }
    MAKE(&m, "PUT", "/bkt/k", "Host: x", "x-amz-copy-source: a-b/c",
         "x-amz-metadata-directive: REPLACE");
    assert_code(s3_copy_source_parse(&m.request, &c, &m.fault), S3_OK);
    assert_true(c.replace_metadata);
    MAKE(&m, "PUT", "/bkt/k", "Host: x", "x-amz-copy-source: a-b/c",
         "x-amz-metadata-directive: MERGE");
    assert_code(s3_copy_source_parse(&m.request, &c, &m.fault), S3_INVALID_ARGUMENT);
}

static void rename_sources(void **state)
{
    (void)state;
    static const struct {
        const char *value, *key;
        enum s3_code code;
    } cases[] = {
        {"/bkt/a/b", "a/b", S3_OK},
        {"bkt/a%20b%2Bc", "a b+c", S3_OK},
        {"a/b", "a/b", S3_OK},
        {"bkt", "bkt", S3_OK},
        {"bkt/", "bkt/", S3_OK},
        {"/other/a", "", S3_INVALID_REQUEST},
        {"/bkt/", "", S3_INVALID_REQUEST},
        {"/", "", S3_INVALID_REQUEST},
        {"k", "", S3_INVALID_REQUEST},
        {"/bkt/k", "", S3_INVALID_REQUEST},
        {"a%zz", "", S3_INVALID_ARGUMENT},
        {"%ff", "", S3_INVALID_ARGUMENT},
        {"", "", S3_INVALID_ARGUMENT},
    };
    struct s3_copy_source c;
    struct slice token;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char line[128];
        snprintf(line, sizeof(line), "x-amz-rename-source: %s", cases[i].value);
        MAKE(&m, "PUT", "/bkt/k?renameObject", "Host: x", line);
        assert_code(s3_rename_source_parse(&m.request, &c, &m.fault), cases[i].code);
        if (cases[i].code == S3_OK) {
            assert_slice(c.bucket, "bkt");
            assert_slice(c.key, cases[i].key);
        }
    }
    MAKE(&m, "PUT", "/bkt/k?renameObject", "Host: x", "x-amz-client-token: 2f!~");
    assert_code(s3_client_token_parse(&m.request, &token, &m.fault), S3_OK);
    assert_slice(token, "2f!~");
    MAKE(&m, "PUT", "/bkt/k?renameObject", "Host: x", "x-amz-client-token: a b");
    assert_code(s3_client_token_parse(&m.request, &token, &m.fault), S3_INVALID_ARGUMENT);
    MAKE(&m, "PUT", "/bkt/k?renameObject", "Host: x", "x-amz-client-token:");
    assert_code(s3_client_token_parse(&m.request, &token, &m.fault), S3_INVALID_ARGUMENT);
}

static void lists(void **state)
{
    (void)state;
    struct s3_list_params p;
    MAKE(&m, "GET",
         "/bkt?list-type=2&prefix=p%2F&delimiter=%2F&max-keys=5000&encoding-type=url"
         "&fetch-owner=true&start-after=p%2Fx",
         "Host: x");
    assert_code(s3_list_params_parse(&m.request, &p, &m.fault), S3_OK);
    assert_true(p.v2 && p.encode_url && p.fetch_owner && p.has_start_after && !p.skip_prefix.len);
    assert_int_equal(p.max_keys, 1000);
    assert_slice(p.marker, "p/x");
    static const struct {
        const char *target;
        enum s3_code code;
    } cases[] = {
        {"/bkt?max-keys=0", S3_OK},
        {"/bkt?max-keys=", S3_OK},
        {"/bkt?max-keys=-1", S3_INVALID_ARGUMENT},
        {"/bkt?max-keys=ten", S3_INVALID_ARGUMENT},
        {"/bkt?max-keys=2147483648", S3_INVALID_ARGUMENT},
        {"/bkt?encoding-type=base64", S3_INVALID_ARGUMENT},
        {"/bkt?list-type=2&continuation-token=", S3_INVALID_ARGUMENT},
        {"/bkt?list-type=2&continuation-token=abc", S3_INVALID_ARGUMENT},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        MAKE(&m, "GET", cases[i].target, "Host: x");
        assert_code(s3_list_params_parse(&m.request, &p, &m.fault), cases[i].code);
    }
    /* No common prefix that is not greater than the marker.  v1: NextMarker may be one. */
    MAKE(&m, "GET", "/bkt?prefix=a&delimiter=%2F&marker=ab%2F", "Host: x");
    assert_code(s3_list_params_parse(&m.request, &p, &m.fault), S3_OK);
    assert_slice(p.skip_prefix, "ab/");
    MAKE(&m, "GET", "/bkt?prefix=a&delimiter=%2F&marker=ab%2Fc%2F", "Host: x");
    assert_code(s3_list_params_parse(&m.request, &p, &m.fault), S3_OK);
    assert_slice(p.skip_prefix, "ab/");
    MAKE(&m, "GET", "/bkt?list-type=2&prefix=a/&delimiter=%2F&start-after=a/b/c", "Host: x");
    assert_code(s3_list_params_parse(&m.request, &p, &m.fault), S3_OK);
    assert_slice(p.skip_prefix, "a/b/");
    static const char *const none[] = {"/bkt?marker=ab%2F", "/bkt?delimiter=/&marker=ab",
                                       "/bkt?delimiter=/&prefix=a/&marker=a/b",
                                       "/bkt?delimiter=/&prefix=b&marker=a/b"};
    for (size_t i = 0; i < ARRAY_COUNT(none); i++) {
        MAKE(&m, "GET", none[i], "Host: x");
        assert_code(s3_list_params_parse(&m.request, &p, &m.fault), S3_OK);
        assert_int_equal(p.skip_prefix.len, 0);
    }
}

static void tokens(void **state)
{
    (void)state;
    struct buf b = {0};
    struct s3_list_params p;
    MAKE(&m, "GET", "/bkt?list-type=2&prefix=p&delimiter=%2F", "Host: x");
    assert_code(s3_list_params_parse(&m.request, &p, &m.fault), S3_OK);
    s3_list_token(&b, &m.request, &p, SLICE_LIT("p\0q/"), true);
    char target[256];
    snprintf(target, sizeof(target),
             "/bkt?list-type=2&prefix=p&delimiter=%%2F&start-after=z"
             "&continuation-token=%.*s",
             (int)b.len, (char *)b.ptr);
    MAKE(&m, "GET", target, "Host: x");
    assert_code(s3_list_params_parse(&m.request, &p, &m.fault), S3_OK);
    assert_true(slice_eq(p.skip_prefix, p.marker) && slice_eq(p.marker, SLICE_LIT("p\0q/")));
    b.len = 0; /* a place within a common prefix: nothing of it has been given */
    s3_list_token(&b, &m.request, &p, SLICE_LIT("p/x"), false);
    snprintf(target, sizeof(target),
             "/bkt?list-type=2&prefix=p&delimiter=%%2F&continuation-token=%.*s", (int)b.len,
             (char *)b.ptr);
    MAKE(&m, "GET", target, "Host: x");
    assert_code(s3_list_params_parse(&m.request, &p, &m.fault), S3_OK);
    assert_true(p.skip_prefix.len == 0 && slice_eq(p.marker, SLICE_LIT("p/x")));
    /* Of another prefix or bucket, or damaged: an error, not another place. */
    snprintf(target, sizeof(target), "/bkt?list-type=2&prefix=q&continuation-token=%.*s",
             (int)b.len, (char *)b.ptr);
    MAKE(&m, "GET", target, "Host: x");
    assert_code(s3_list_params_parse(&m.request, &p, &m.fault), S3_INVALID_ARGUMENT);
    struct slice position;
    bool is_prefix;
    struct buf t = {0};
    s3_token_encode(&t, SLICE_LIT("scope"), SLICE_LIT("position"), false);
    assert_true(s3_token_decode(&m.arena, SLICE_LIT("scope"), buf_view(&t), &position, &is_prefix));
    assert_false(
        s3_token_decode(&m.arena, SLICE_LIT("other"), buf_view(&t), &position, &is_prefix));
    for (size_t i = 0; i < t.len; i++) {
        uint8_t was = t.ptr[i];
        t.ptr[i] = was == 'A' ? 'B' : 'A';
        assert_false(
            s3_token_decode(&m.arena, SLICE_LIT("scope"), buf_view(&t), &position, &is_prefix));
        t.ptr[i] = was;
        assert_false(
            s3_token_decode(&m.arena, SLICE_LIT("scope"), SLICE(t.ptr, i), &position, &is_prefix));
    }
    buf_fini(&t);
    buf_fini(&b);
}

static void small_parameters(void **state)
{
    (void)state;
    struct s3_attributes a;
    uint8_t id[16];
    uint32_t part = 0;
    uint64_t length = 0;
    bool given;
    MAKE(&m, "GET", "/bkt/k?attributes", "Host: x", "x-amz-object-attributes: ETag, ObjectSize",
         "x-amz-object-attributes: Checksum", "x-amz-max-parts: 5", "x-amz-part-number-marker: 7");
    assert_code(s3_attributes_parse(&m.request, &a, &m.fault), S3_OK);
    assert_int_equal(a.mask, S3_ATTRIBUTE_ETAG | S3_ATTRIBUTE_SIZE | S3_ATTRIBUTE_CHECKSUM);
    assert_true(a.parts_max == 5 && a.part_marker == 7);
    MAKE(&m, "GET", "/bkt/k?attributes", "Host: x", "x-amz-object-attributes: Owner");
    assert_code(s3_attributes_parse(&m.request, &a, &m.fault), S3_INVALID_ARGUMENT);
    MAKE(&m, "GET", "/bkt/k?attributes", "Host: x");
    assert_code(s3_attributes_parse(&m.request, &a, &m.fault), S3_INVALID_REQUEST);
    static const char *const parts[] = {"0", "10001", "", "-1", "1x", "99999999999999999999"};
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        char target[96];
        snprintf(target, sizeof(target), "/bkt/k?uploadId=1&partNumber=%s", parts[i]);
        MAKE(&m, "PUT", target, "Host: x");
        assert_code(s3_part_number_parse(&m.request, &given, &part, &m.fault), S3_INVALID_ARGUMENT);
    }
    MAKE(&m, "PUT", "/bkt/k?uploadId=00112233445566778899aabbccddeeff&partNumber=10000", "Host: x",
         "Content-Length: 11");
    assert_code(s3_part_number_parse(&m.request, &given, &part, &m.fault), S3_OK);
    assert_int_equal(part, 10000);
    assert_code(s3_upload_id_parse(&m.request, id, &m.fault), S3_OK);
    assert_int_equal(id[15], 0xff);
    assert_code(s3_body_length(&m.request, 11, &length, &m.fault), S3_OK);
    assert_code(s3_body_length(&m.request, 10, &length, &m.fault), S3_ENTITY_TOO_LARGE);
    MAKE(&m, "PUT", "/bkt/k?uploadId=nonsense&partNumber=1", "Host: x");
    assert_code(s3_upload_id_parse(&m.request, id, &m.fault), S3_NO_SUCH_UPLOAD);
    assert_code(s3_body_length(&m.request, 10, &length, &m.fault), S3_MISSING_CONTENT_LENGTH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addressing),
        cmocka_unit_test(bucket_names),
        cmocka_unit_test(operations),
        cmocka_unit_test(subresources),
        cmocka_unit_test(version_ids),
        cmocka_unit_test(list_versions_params),
        cmocka_unit_test(key_length),
        cmocka_unit_test(query),
        cmocka_unit_test(conditions),
        cmocka_unit_test(condition_lists),
        cmocka_unit_test(ranges),
        cmocka_unit_test(dates),
        cmocka_unit_test(metadata),
        cmocka_unit_test(overrides),
        cmocka_unit_test(copy_sources),
        cmocka_unit_test(rename_sources),
        cmocka_unit_test(lists),
        cmocka_unit_test(tokens),
        cmocka_unit_test(small_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
