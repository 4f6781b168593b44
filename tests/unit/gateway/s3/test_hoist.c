/* Fields in the query of presigned requests: which count, which are refused, and what is signed. */
#include "gateway/s3/checksum.h"
#include "gateway/s3/headers.h"
#include "gateway/s3/hoist.h"
#include "gateway/s3/sigv4.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/gateway/s3/make.h"

#define SIGNED_(names)                                                                             \
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20130524%2Fus-east-1%2Fs3%2F"        \
    "aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=" names      \
    "&X-Amz-Signature=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SIGNED SIGNED_("host")

static struct made m;

static struct slice field(const char *name)
{
    return http_fields_get(m.request.fields, name);
}

static void as_fields(void **state)
{
    (void)state;
    struct s3_metadata d;
    MAKE(&m, "PUT",
         "/bkt/k?" SIGNED "&x-amz-acl=public-read&X-Amz-Meta-Two%20=&x-amz-meta-a=%20b%20c%20&"
         "X-Amz-Storage-Class=STANDARD_IA&x-amz-user-agent=sdk&X-Amz-Expected-Bucket-Owner=1&"
         "X-Amz-Content-Sha256=UNSIGNED-PAYLOAD&x-amz-tagging",
         "Host: x");
    assert_code(m.code, S3_INVALID_ARGUMENT); /* a blank is in no name */
    MAKE(&m, "PUT",
         "/bkt/k?" SIGNED "&x-amz-acl=public-read&X-Amz-Meta-Two=&x-amz-meta-a=%20b%20c%20&"
         "X-Amz-Storage-Class=STANDARD_IA&x-amz-user-agent=sdk&X-Amz-Expected-Bucket-Owner=1&"
         "X-Amz-Content-Sha256=UNSIGNED-PAYLOAD&x-amz-tagging",
         "Host: x", "Content-Type: text/x");
    assert_code(m.code, S3_OK);
    assert_int_equal(m.request.op, S3_OP_PUT_OBJECT);
    assert_int_equal(m.request.hoisted, 6);
    assert_int_equal(m.request.fields.count, 8);
    assert_slice(field("x-amz-acl"), "public-read");
    assert_slice(field("x-amz-expected-bucket-owner"), "1");
    assert_non_null(field("x-amz-tagging").ptr);
    assert_code(s3_metadata_parse(&m.request, &d, &m.fault), S3_OK);
    assert_slice(d.content_type, "text/x");
    assert_slice(d.storage_class, "STANDARD_IA");
    assert_int_equal(d.user_count, 2);
    assert_slice(d.user[0].name, "two");
    assert_slice(d.user[1].value, "b c");
    /* which operation it is may hang on one */
    MAKE(&m, "PUT", "/bkt/k?" SIGNED "&x-amz-copy-source=%2Fa%2Fb", "Host: x");
    assert_code(m.code, S3_OK);
    assert_int_equal(m.request.op, S3_OP_COPY_OBJECT);
    /* of a request that is not presigned they are parameters that nobody knows */
    MAKE(&m, "PUT", "/bkt/k?x-amz-acl=public-read&x-amz-new=1", "Host: x");
    assert_code(m.code, S3_OK);
    assert_int_equal(m.request.hoisted, 0);
    assert_null(field("x-amz-acl").ptr);
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *target, *sent;
        enum s3_code code;
    } cases[] = {
        {"/bkt/k?" SIGNED "&x-amz-new=1", "a: b", S3_NOT_IMPLEMENTED},
        {"/bkt/k?" SIGNED "&x-amz-mfa=1", "a: b", S3_NOT_IMPLEMENTED},
        {"/bkt/k?" SIGNED "&x-amz-checksum-md5=1", "a: b", S3_NOT_IMPLEMENTED},
        {"/bkt/k?" SIGNED "&x-amz-date=20130524T000000Z", "a: b", S3_NOT_IMPLEMENTED},
        {"/bkt/k?" SIGNED "&x-amz-security-token=t", "a: b", S3_NOT_IMPLEMENTED},
        {"/bkt/k?" SIGNED "&x-amz-acl=private&X-Amz-Acl=private", "a: b", S3_INVALID_ARGUMENT},
        {"/bkt/k?" SIGNED "&x-amz-acl=private", "X-Amz-ACL: public-read", S3_INVALID_ARGUMENT},
        {"/bkt/k?" SIGNED "&x-amz-acl=private", "X-Amz-ACL: private", S3_OK},
        {"/bkt/k?" SIGNED "&x-amz-meta-a=1%0D%0Ab:%202", "a: b", S3_INVALID_ARGUMENT},
        {"/bkt/k?" SIGNED "&x-amz-website-redirect-location=%2F%0A", "a: b", S3_INVALID_ARGUMENT},
        {"/bkt/k?" SIGNED "&x-amz-meta-a=%7F", "a: b", S3_INVALID_ARGUMENT},
        {"/bkt/k?" SIGNED "&x-amz-meta-%C3%BC=1", "a: b", S3_INVALID_ARGUMENT},
        {"/bkt/k?" SIGNED "&x-amz-meta-a%3Ab=1", "a: b", S3_INVALID_ARGUMENT},
        {"/bkt/k?" SIGNED "&x-amz-server-side-encryption-customer-key=a", "a: b",
         S3_INVALID_REQUEST},
        {"/bkt/k?" SIGNED "&X-Amz-Copy-Source-Server-Side-Encryption-Customer-Key=a", "a: b",
         S3_INVALID_REQUEST},
        {"/bkt/k?X-Amz-Signature=1&x-amz-new=1", "a: b", S3_NOT_IMPLEMENTED},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        MAKE(&m, "PUT", cases[i].target, "Host: x", cases[i].sent);
        assert_code(m.code, cases[i].code);
        assert_slice(m.request.bucket, "bkt");
        if (m.code == S3_OK) {
            assert_int_equal(m.request.hoisted, 0); /* it was sent */
            assert_int_equal(m.request.fields.count, 2);
        }
    }
}

/* SDKs put the checksum of no data into URLs of uploads whose data are yet to come. */
static void checksums(void **state)
{
    (void)state;
    struct s3_checksum_claim claim;
    static const char *const of_no_data[] = {
        "crc32=AAAAAA%3D%3D", "crc32c=AAAAAA%3D%3D", "crc64nvme=AAAAAAAAAAA%3D",
        "sha1=2jmj7l5rSw0yVb%2FvlWAYkK%2FYBwk%3D",
        "sha256=47DEQpj8HBSa%2B%2FTImW%2B5JCeuQeRkm5NMpJWZG3hSuFU%3D"};
    for (size_t i = 0; i < ARRAY_COUNT(of_no_data); i++) {
        char target[1024] = "/bkt/k?" SIGNED "&x-amz-checksum-";
        strcat(target, of_no_data[i]);
        MAKE(&m, "PUT", target, "Host: x");
        assert_code(m.code, S3_OK);
        assert_int_equal(m.request.hoisted, 0);
    }
    MAKE(&m, "PUT",
         "/bkt/k?" SIGNED "&x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32",
         "Host: x");
    assert_code(s3_checksum_claim_parse(&m.request, &claim, &m.fault), S3_OK);
    assert_int_equal(claim.algorithm, S3_CHECKSUM_CRC32); /* worked out, not compared */
    assert_false(claim.has_value);
    MAKE(&m, "PUT", "/bkt/k?" SIGNED "&x-amz-checksum-crc32=AAAAAQ%3D%3D", "Host: x");
    assert_code(s3_checksum_claim_parse(&m.request, &claim, &m.fault), S3_OK);
    assert_true(claim.has_value);
}

static void canonical(struct buf *b)
{
    struct sigv4_auth auth;
    buf_clear(b);
    assert_code(sigv4_parse(&m.request, &auth, &m.fault), S3_OK);
    sigv4_canonical_request(b, &m.request, &auth);
}

/* They are signed once: in the query.  A field that was not sent is none that could be signed. */
static void what_is_signed(void **state)
{
    (void)state;
    struct sigv4_auth auth;
    struct buf b = {0};
    MAKE(&m, "PUT", "/bkt/k?" SIGNED "&x-amz-acl=private", "Host: x");
    canonical(&b);
    assert_non_null(memmem(b.ptr, b.len, SLICE_LIT("&x-amz-acl=private\nhost:x\n\nhost\n").ptr, 32));
    MAKE(&m, "PUT", "/bkt/k?" SIGNED_("host%3Bx-amz-acl") "&x-amz-acl=private", "Host: x");
    canonical(&b);
    assert_non_null(memmem(b.ptr, b.len, "\nhost:x\nx-amz-acl:\n\n", 20));
    MAKE(&m, "PUT", "/bkt/k?" SIGNED_("host%3Bx-amz-acl") "&x-amz-acl=private", "Host: x",
         "x-amz-acl: private");
    canonical(&b);
    assert_non_null(memmem(b.ptr, b.len, "\nhost:x\nx-amz-acl:private\n\n", 27));
    /* one that is sent must be signed as such, whatever the query says */
    MAKE(&m, "PUT", "/bkt/k?" SIGNED "&x-amz-acl=private", "Host: x", "x-amz-acl: private");
    assert_code(sigv4_parse(&m.request, &auth, &m.fault), S3_ACCESS_DENIED);
    /* of the body one thing is said */
    MAKE(&m, "PUT",
         "/bkt/k?" SIGNED_("host%3Bx-amz-content-sha256") "&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD",
         "Host: x",
         "x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_code(sigv4_parse(&m.request, &auth, &m.fault), S3_INVALID_ARGUMENT);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_fields),
        cmocka_unit_test(refused),
        cmocka_unit_test(checksums),
        cmocka_unit_test(what_is_signed),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_fini(&m.arena);
    return failed;
}
