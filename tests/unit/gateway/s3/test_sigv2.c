/* Signature Version 2 of presigned URLs: against the examples that AWS publishes (bucket
 * johnsmith), against what botocore presigns, and against every way to get it wrong. */
#include "common/crypto/codec.h"
#include "gateway/s3/headers.h"
#include "gateway/s3/sigv2.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/gateway/s3/make.h"

#define SECRET SLICE_LIT("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
#define HOST "Host: johnsmith.s3.amazonaws.com"
#define EXPIRES_S 1175139620ull
#define BEFORE_MS ((EXPIRES_S - 3600) * 1000)
#define CLAIM(signature)                                                                           \
    "AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Expires=1175139620&Signature=" signature
#define PUBLISHED "NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D"
#define ANY CLAIM("AAAAAAAAAAAAAAAAAAAAAAAAAAA=")

static struct made m;
static struct sigv4_auth auth;

static int teardown(void **state)
{
    (void)state;
    arena_fini(&m.arena);
    return 0;
}

/* All that a gateway does. */
static enum s3_code authenticate_at(uint64_t ms)
{
    enum s3_code code = sigv4_parse(&m.request, &auth, &m.fault);
    if (code == S3_OK)
        code = sigv4_check_scope(&m.request, &auth, SLICE_LIT("us-east-1"), ms, &m.fault);
    return code == S3_OK ? sigv2_verify(&m.request, &auth, SECRET, &m.fault) : code;
}

static enum s3_code authenticate(void)
{
    return authenticate_at(BEFORE_MS);
}

static struct slice extra(const char *name)
{
    for (unsigned i = 0; i < m.fault.extra_count; i++)
        if (strcmp(m.fault.extra[i].name, name) == 0)
            return m.fault.extra[i].value;
    return SLICE_EMPTY;
}

/* What must be signed of the request in m; with `date` in the place of Expires. */
static void assert_signs(const char *date, const char *want)
{
    struct buf b = {0};
    assert_code(sigv4_parse(&m.request, &auth, &m.fault), S3_OK);
    assert_true(auth.version_2);
    if (date)
        auth.timestamp = slice_cstr(date);
    sigv2_string_to_sign(&b, &m.request, &auth);
    assert_false(b.failed);
    assert_slice(buf_view(&b), want);
    buf_fini(&b);
}

static void assert_signed(const char *date, const char *signature)
{
    struct buf b = {0};
    uint8_t mac[SHA1_BYTES];
    char text[BASE64_CHARS(SHA1_BYTES) + 1] = {0};
    assert_code(m.code, S3_OK);
    assert_code(sigv4_parse(&m.request, &auth, &m.fault), S3_OK);
    auth.timestamp = slice_cstr(date);
    sigv2_string_to_sign(&b, &m.request, &auth);
    hmac_sha1(SECRET, buf_view(&b), mac);
    base64_encode(SLICE(mac, sizeof(mac)), text);
    assert_string_equal(text, signature);
    buf_fini(&b);
}

static void published_query(void **state)
{
    (void)state;
    MAKE(&m, "GET", "/photos/puppy.jpg?" CLAIM(PUBLISHED), HOST);
    assert_code(m.code, S3_OK);
    assert_slice(m.request.bucket, "johnsmith");
    assert_code(authenticate(), S3_OK);
    assert_true(auth.presigned && auth.version_2);
    assert_slice(auth.access_key, "AKIAIOSFODNN7EXAMPLE");
    assert_int_equal(auth.payload, S3_PAYLOAD_UNSIGNED);
    assert_slice(auth.payload_text, "UNSIGNED-PAYLOAD");
    /* the other way to say the bucket, and parameters in another order */
    MAKE(&m, "GET",
         "/johnsmith/photos/puppy.jpg?Signature=" PUBLISHED
         "&Expires=1175139620&AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&x-id=GetObject",
         "Host: x");
    assert_code(authenticate(), S3_OK);
}

/* The published examples are of the header: they differ in what stands where Expires does. */
static void published_canonical_forms(void **state)
{
    (void)state;
    MAKE(&m, "GET", "/photos/puppy.jpg?" ANY, HOST);
    assert_signed("Tue, 27 Mar 2007 19:36:42 +0000", "bWq2s1WEIj+Ydj0vQ697zp+IXMU=");
    MAKE(&m, "PUT", "/photos/puppy.jpg?" ANY, HOST, "Content-Type: image/jpeg",
         "Content-Length: 94328");
    assert_signed("Tue, 27 Mar 2007 21:15:45 +0000", "MyyxeRY7whkBe+bq8fHCL/2kKUg=");
    MAKE(&m, "GET", "/?prefix=photos&max-keys=50&marker=puppy&" ANY, HOST);
    assert_signed("Tue, 27 Mar 2007 19:42:41 +0000", "htDYFYduRNen8P9ZfE/s9SuKy0U=");
    MAKE(&m, "GET", "/?acl&" ANY, HOST);
    assert_signed("Tue, 27 Mar 2007 19:44:46 +0000", "c2WLPFtWHVgbEmeEG93a4cG37dM=");
    MAKE(&m, "DELETE", "/johnsmith/photos/puppy.jpg?" ANY, "Host: s3.amazonaws.com");
    assert_signed("Tue, 27 Mar 2007 21:20:26 +0000", "lx3byBScXR6KzyMaifNkardMwNk=");
    MAKE(&m, "PUT", "/static.johnsmith.net/db-backup.dat.gz?" ANY, "Host: x",
         "x-amz-acl: public-read", "content-type: application/x-download",
         "Content-MD5: 4gJE4saaMU4BqNR0kLY+lw==", "X-Amz-Meta-ReviewedBy: joe@johnsmith.net",
         "X-Amz-Meta-ReviewedBy: jane@johnsmith.net", "X-Amz-Meta-FileChecksum: 0x02661779",
         "X-Amz-Meta-ChecksumAlgorithm: crc32",
         "Content-Disposition: attachment; filename=database.dat", "Content-Encoding: gzip");
    assert_signed("Tue, 27 Mar 2007 21:06:08 +0000", "ilyl83RwaSoYIEdixDQcA4OnAnc=");
    MAKE(&m, "GET", "/?" ANY, "Host: s3.amazonaws.com");
    assert_signed("Wed, 28 Mar 2007 01:29:59 +0000", "qGdzdERIC03wnaRNKh6OqZehG9s=");
    MAKE(&m, "GET", "/dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re?" ANY, "Host: s3.amazonaws.com");
    assert_signed("Wed, 28 Mar 2007 01:49:49 +0000", "DNEZGsoieTZ92F3bUfSPQcbGmlM=");
}

/* As botocore's HmacV1QueryAuth puts them: fields into the query, signed as fields. */
static void fields_in_the_query(void **state)
{
    (void)state;
    struct s3_metadata d;
    MAKE(&m, "PUT",
         "/bkt/k?" ANY "&content-type=text%2Fx&x-amz-meta-a=b%20c&x-amz-tagging=a%3Db&"
         "x-amz-security-token=tok%2F%2B%3D&content-md5=4gJE4saaMU4BqNR0kLY%2Blw%3D%3D",
         "Host: x");
    assert_code(m.code, S3_OK);
    assert_signs(NULL, "PUT\n4gJE4saaMU4BqNR0kLY+lw==\ntext/x\n1175139620\nx-amz-meta-a:b c\n"
                       "x-amz-security-token:tok/+=\nx-amz-tagging:a=b\n/bkt/k");
    assert_slice(auth.token, "tok/+=");
    /* what is signed counts */
    assert_code(s3_metadata_parse(&m.request, &d, &m.fault), S3_OK);
    assert_slice(d.content_type, "text/x");
    assert_int_equal(d.user_count, 1);
    assert_slice(d.user[0].value, "b c");
    /* one that is sent as well is signed once, and Content-Type as it is sent */
    MAKE(&m, "PUT", "/bkt/k?" ANY "&content-type=text%2Fx&x-amz-meta-a=b", "Host: x",
         "Content-Type: text/y", "X-Amz-Meta-A: b");
    assert_code(m.code, S3_OK);
    assert_signs(NULL, "PUT\n\ntext/y\n1175139620\nx-amz-meta-a:b\n/bkt/k");
    /* those that mean nothing are signed all the same */
    MAKE(&m, "PUT",
         "/bkt/k?" ANY "&x-amz-user-agent=%20sdk%20&x-amz-checksum-crc32=AAAAAA%3D%3D&"
         "x-amz-sdk-checksum-algorithm=CRC32",
         "Host: x");
    assert_signs(NULL, "PUT\n\n\n1175139620\nx-amz-checksum-crc32:AAAAAA==\n"
                       "x-amz-sdk-checksum-algorithm:CRC32\nx-amz-user-agent:sdk\n/bkt/k");
    /* "x-amz-a" comes before "x-amz-a-b", whatever their case */
    MAKE(&m, "PUT", "/bkt/k?" ANY "&x-amz-meta-a=3", "Host: x", "x-amz-meta-B: 1",
         "X-AMZ-META-A-b: 2");
    assert_signs(NULL, "PUT\n\n\n1175139620\nx-amz-meta-a:3\nx-amz-meta-a-b:2\n"
                       "x-amz-meta-b:1\n/bkt/k");
}

/* However it is said that it is about the bucket. */
static void buckets(void **state)
{
    (void)state;
    static const char *const paths[][2] = {
        {"/bkt?", "Host: x"}, {"/bkt/?", "Host: x"}, {"/?", "Host: bkt.s3.amazonaws.com"}};
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
        char target[256];
        snprintf(target, sizeof(target), "%slocation&" ANY, paths[i][0]);
        MAKE(&m, "GET", target, paths[i][1]);
        assert_slice(m.request.bucket, "bkt");
        assert_signs(NULL, "GET\n\n\n1175139620\n/bkt/?location");
    }
    MAKE(&m, "GET", "/?" ANY, "Host: x");
    assert_signs(NULL, "GET\n\n\n1175139620\n/");
}

static void signed_parameters(void **state)
{
    (void)state;
    static const struct {
        const char *query, *signs;
    } cases[] = {
        {"uploadId=u&partNumber=1", "?partNumber=1&uploadId=u"},
        {"versionId=v%2B1&prefix=p", "?versionId=v+1"},
        {"response-content-disposition=attachment%3B%20filename%3D%22%C3%BC%26b%22&"
         "response-content-type=a%2Fb",
         "?response-content-disposition=attachment; filename=\"\xc3\xbc&b\"&"
         "response-content-type=a/b"},
        {"response-expires=1&response-cache-control=2&response-content-language=3&"
         "response-content-encoding=4",
         "?response-cache-control=2&response-content-encoding=4&response-content-language=3&"
         "response-expires=1"},
        {"tagging", "?tagging"},
        {"tagging=", "?tagging="},
        {"uploads", "?uploads"},
        /* whatever chooses an operation, in S3's list or not */
        {"retention", "?retention"},
        {"legal-hold", "?legal-hold"},
        {"renameObject", "?renameObject"},
        {"attributes", "?attributes"},
        {"versionId=2&versionId=1", "?versionId=2&versionId=1"},
        {"versionid=2&Tagging=1&response-other=1&max-keys=1", ""},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char target[512], want[512];
        snprintf(target, sizeof(target), "/bkt/k?%s&" ANY, cases[i].query);
        snprintf(want, sizeof(want), "GET\n\n\n1175139620\n/bkt/k%s", cases[i].signs);
        MAKE(&m, "GET", target, "Host: x");
        assert_signs(NULL, want);
    }
}

/* No parameter that an operation is chosen by can be added to a URL. */
static void operations_are_signed(void **state)
{
    (void)state;
    static const char *const methods[] = {"GET", "PUT", "DELETE", "POST"};
    static const char *const params[] = {"acl",
                                         "analytics&id=1",
                                         "attributes",
                                         "cors",
                                         "delete",
                                         "encryption",
                                         "inventory&id=1",
                                         "legal-hold",
                                         "lifecycle",
                                         "location",
                                         "metrics&id=1",
                                         "notification",
                                         "object-lock",
                                         "partNumber=1",
                                         "policy",
                                         "policyStatus",
                                         "publicAccessBlock",
                                         "ownershipControls",
                                         "renameObject",
                                         "replication",
                                         "requestPayment",
                                         "retention",
                                         "tagging",
                                         "uploadId=1",
                                         "uploads",
                                         "versioning",
                                         "versions",
                                         "website",
                                         "accelerate",
                                         "logging",
                                         "intelligent-tiering&id=1"};
    for (size_t k = 0; k < ARRAY_COUNT(methods); k++) {
        for (size_t on = 0; on < 2; on++) {
            MAKE(&m, methods[k], on ? "/bkt/k?" ANY : "/bkt?" ANY, "Host: x");
            enum s3_op plain = m.request.op;
            for (size_t i = 0; i < ARRAY_COUNT(params); i++) {
                struct buf b = {0};
                char target[256];
                snprintf(target, sizeof(target), "/bkt%s?%s&" ANY, on ? "/k" : "", params[i]);
                MAKE(&m, methods[k], target, "Host: x");
                if (m.code != S3_OK || m.request.op == plain)
                    continue;
                assert_code(sigv4_parse(&m.request, &auth, &m.fault), S3_OK);
                sigv2_string_to_sign(&b, &m.request, &auth);
                assert_non_null(memchr(b.ptr, '?', b.len));
                buf_fini(&b);
            }
        }
    }
}

static void times(void **state)
{
    (void)state;
    MAKE(&m, "GET", "/photos/puppy.jpg?" CLAIM(PUBLISHED), HOST);
    assert_code(authenticate_at(0), S3_OK); /* however far away */
    assert_code(authenticate_at(EXPIRES_S * 1000), S3_OK);
    assert_code(authenticate_at(EXPIRES_S * 1000 + 1), S3_REQUEST_EXPIRED);
    assert_string_equal(s3_code_name(S3_REQUEST_EXPIRED), "AccessDenied");
    assert_slice(extra("Expires"), "2007-03-29T03:40:20.000Z");
    assert_slice(extra("ServerTime"), "2007-03-29T03:40:20.001Z");
    static const struct {
        const char *expires;
        enum s3_code code;
    } cases[] = {
        {"99999999999", S3_SIGNATURE_DOES_NOT_MATCH}, /* well formed */
        {"18446744073709551", S3_SIGNATURE_DOES_NOT_MATCH},
        {"18446744073709552", S3_ACCESS_DENIED}, /* milliseconds would not fit */
        {"18446744073709551616", S3_ACCESS_DENIED},
        {"-1", S3_ACCESS_DENIED},
        {"1e9", S3_ACCESS_DENIED},
        {"+1", S3_ACCESS_DENIED},
        {"2007-03-29T03:40:20Z", S3_ACCESS_DENIED},
        {"", S3_ACCESS_DENIED},
        {"0", S3_REQUEST_EXPIRED},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char target[256];
        snprintf(target, sizeof(target), "/k?AWSAccessKeyId=A&Signature=AA==&Expires=%s",
                 cases[i].expires);
        MAKE(&m, "GET", target, HOST);
        assert_code(authenticate(), cases[i].code);
    }
    MAKE(&m, "GET", "/k?AWSAccessKeyId=A&Signature=" PUBLISHED "&Expires=soon", HOST);
    assert_code(authenticate(), S3_ACCESS_DENIED);
    assert_slice(m.fault.message, "Invalid date (should be seconds since epoch): soon");
}

static void tampered(void **state)
{
    (void)state;
    static const struct {
        const char *method, *target, *field;
        enum s3_code code;
    } cases[] = {
        {"GET", "/photos/puppy.jpg?" CLAIM(PUBLISHED), "a: b", S3_OK},
        {"GET", "/photos/puppy.jpg?prefix=x&" CLAIM(PUBLISHED), "Range: bytes=0-1", S3_OK},
        {"HEAD", "/photos/puppy.jpg?" CLAIM(PUBLISHED), "a: b", S3_SIGNATURE_DOES_NOT_MATCH},
        {"GET", "/photos/puppy.jpG?" CLAIM(PUBLISHED), "a: b", S3_SIGNATURE_DOES_NOT_MATCH},
        {"GET", "/photos/puppy%2Ejpg?" CLAIM(PUBLISHED), "a: b", S3_SIGNATURE_DOES_NOT_MATCH},
        {"GET", "/photos/puppy.jpg?versionId=null&" CLAIM(PUBLISHED), "a: b",
         S3_SIGNATURE_DOES_NOT_MATCH},
        {"GET", "/photos/puppy.jpg?" CLAIM(PUBLISHED) "&response-content-type=text%2Fhtml", "a: b",
         S3_SIGNATURE_DOES_NOT_MATCH},
        {"GET", "/photos/puppy.jpg?" CLAIM(PUBLISHED) "&x-amz-expected-bucket-owner=1", "a: b",
         S3_SIGNATURE_DOES_NOT_MATCH},
        {"GET", "/photos/puppy.jpg?" CLAIM(PUBLISHED) "&x-amz-security-token=t", "a: b",
         S3_SIGNATURE_DOES_NOT_MATCH},
        {"GET", "/photos/puppy.jpg?" CLAIM(PUBLISHED) "&content-type=text%2Fx", "a: b",
         S3_SIGNATURE_DOES_NOT_MATCH},
        {"GET", "/photos/puppy.jpg?" CLAIM(PUBLISHED), "x-amz-acl: private",
         S3_SIGNATURE_DOES_NOT_MATCH},
        {"GET", "/photos/puppy.jpg?" CLAIM(PUBLISHED), "Content-Type: text/x",
         S3_SIGNATURE_DOES_NOT_MATCH},
        {"GET", "/photos/puppy.jpg?" CLAIM(PUBLISHED), "Content-MD5: x",
         S3_SIGNATURE_DOES_NOT_MATCH},
        {"GET", "/photos/puppy.jpg?AWSAccessKeyId=A&Expires=1175139621&Signature=" PUBLISHED,
         "a: b", S3_SIGNATURE_DOES_NOT_MATCH},
        {"GET", "/photos/puppy.jpg?" CLAIM("NpgCjnDzrM%2BWFzoENXmpNDUsSn9%3D"), "a: b",
         S3_SIGNATURE_DOES_NOT_MATCH},
        {"GET", "/photos/puppy.jpg?" CLAIM("npgCjnDzrM%2BWFzoENXmpNDUsSn8%3D"), "a: b",
         S3_SIGNATURE_DOES_NOT_MATCH},
        {"GET", "/photos/puppy.jpg?" CLAIM("NpgCjnDzrM%2BWFzoENXmpNDUsSn8"), "a: b",
         S3_SIGNATURE_DOES_NOT_MATCH},
        {"GET", "/photos/puppy.jpg?" CLAIM("NpgCjnDzrM%2BWFzoENXmpNDUsSg%3D%3D"), "a: b",
         S3_SIGNATURE_DOES_NOT_MATCH}, /* 19 bytes */
        {"GET", "/photos/puppy.jpg?" CLAIM("NpgCjnDzrM%2BWFzoENXmpNDUsSn8A"), "a: b",
         S3_SIGNATURE_DOES_NOT_MATCH},                                        /* 21 */
        {"GET", "/photos/puppy.jpg?" CLAIM("%FF"), "a: b", S3_ACCESS_DENIED}, /* no text at all */
        {"GET", "/photos/puppy.jpg?" CLAIM("%3D"), "a: b", S3_SIGNATURE_DOES_NOT_MATCH},
        {"GET", "/photos/puppy.jpg?" CLAIM("AAAAAAAAAAAAAAAAAAAAAAAAAAA%3D"), "a: b",
         S3_SIGNATURE_DOES_NOT_MATCH},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        MAKE(&m, cases[i].method, cases[i].target, HOST, cases[i].field);
        assert_code(authenticate(), cases[i].code);
    }
    MAKE(&m, "GET", "/photos/puppy.jpg?" ANY, HOST);
    assert_code(authenticate(), S3_SIGNATURE_DOES_NOT_MATCH);
    assert_slice(extra("AWSAccessKeyId"), "AKIAIOSFODNN7EXAMPLE");
    assert_slice(extra("StringToSign"), "GET\n\n\n1175139620\n/johnsmith/photos/puppy.jpg");
    assert_slice(extra("SignatureProvided"), "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    assert_int_equal(extra("StringToSignBytes").len, 3 * extra("StringToSign").len - 1);
    assert_null(extra("CanonicalRequest").ptr);
}

static void malformed(void **state)
{
    (void)state;
#define SHA "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define V4                                                                                         \
    "Authorization: AWS4-HMAC-SHA256 Credential=A/20070329/us-east-1/s3/aws4_request, "            \
    "SignedHeaders=host, Signature=" SHA
    static const struct {
        const char *target, *field;
        enum s3_code code;
    } cases[] = {
        {"/k?AWSAccessKeyId=A", "a: b", S3_ACCESS_DENIED},
        {"/k?Signature=A", "a: b", S3_ACCESS_DENIED},
        {"/k?AWSAccessKeyId=A&Signature=A", "a: b", S3_ACCESS_DENIED},
        {"/k?AWSAccessKeyId=A&Expires=1", "a: b", S3_ACCESS_DENIED},
        {"/k?Signature=A&Expires=1", "a: b", S3_ACCESS_DENIED},
        {"/k?AWSAccessKeyId=&Signature=A&Expires=1", "a: b", S3_ACCESS_DENIED},
        {"/k?AWSAccessKeyId&Signature&Expires", "a: b", S3_ACCESS_DENIED},
        {"/k?" ANY "&Signature=A", "a: b", S3_ACCESS_DENIED},
        {"/k?" ANY "&Expires=9999999999", "a: b", S3_ACCESS_DENIED},
        {"/k?" ANY "&AWSAccessKeyId=B", "a: b", S3_ACCESS_DENIED},
        /* two signatures at once */
        {"/k?" ANY, V4, S3_INVALID_ARGUMENT},
        {"/k?" ANY, "Authorization: AWS A:b", S3_INVALID_ARGUMENT},
        {"/k?Signature=A", V4, S3_INVALID_ARGUMENT},
        {"/k?" ANY "&X-Amz-Algorithm=AWS4-HMAC-SHA256", "a: b", S3_INVALID_ARGUMENT},
        {"/k?" ANY "&X-Amz-Signature=" SHA, "a: b", S3_INVALID_ARGUMENT},
        {"/k?" ANY "&X-Amz-Credential=A", "a: b", S3_INVALID_ARGUMENT},
        /* version 2 anywhere else */
        {"/k", "Authorization: AWS AKIAIOSFODNN7EXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg=",
         S3_INVALID_REQUEST},
        {S3_ADMIN_PREFIX "status?" ANY, "a: b", S3_INVALID_REQUEST},
        {"/k?" ANY "&x-amz-security-token=a&x-amz-security-token=a", "a: b", S3_INVALID_TOKEN},
        {"/k?" ANY "&x-amz-security-token=a&X-Amz-Security-Token=a", "a: b", S3_INVALID_TOKEN},
        {"/k?" ANY "&x-amz-security-token=a", "x-amz-security-token: a", S3_INVALID_TOKEN},
        {"/k?" ANY, "x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD", S3_INVALID_REQUEST},
        {"/k?" ANY, "x-amz-content-sha256: x", S3_INVALID_ARGUMENT},
        /* a line of its own among those that are signed */
        {"/k?" ANY "&x-amz-user-agent=a%0Ax-amz-website-redirect-location%3A%2F", "a: b",
         S3_INVALID_ARGUMENT},
        {"/k?" ANY "&X-Amz-Date=a%0Ab", "a: b", S3_INVALID_ARGUMENT},
        /* several parameters in the value of one */
        {"/k?" ANY "&response-content-type=a%26versionId%3Dv", "a: b", S3_INVALID_ARGUMENT},
        {"/k?" ANY "&response-content-type=a%26tagging", "a: b", S3_INVALID_ARGUMENT},
        {"/k?" ANY "&partNumber=1%26b%26uploadId%3D1", "a: b", S3_INVALID_ARGUMENT},
        {"/k?" ANY "&response-content-type=a%26b%3D1%26", "a: b", S3_SIGNATURE_DOES_NOT_MATCH},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        MAKE(&m, "GET", cases[i].target, HOST, cases[i].field);
        assert_code(authenticate(), cases[i].code);
    }
    MAKE(&m, "GET", "/k?Expires=5&awsaccesskeyid=A", HOST);
    assert_code(sigv4_parse(&m.request, &auth, &m.fault), S3_OK);
    assert_true(auth.anonymous && !auth.version_2); /* they claim nothing */
    char target[512] = "/k?Expires=1175139620&Signature=A&AWSAccessKeyId=";
    memset(target + strlen(target), 'A', 129);
    MAKE(&m, "GET", target, HOST);
    assert_code(authenticate(), S3_INVALID_ACCESS_KEY_ID);
}

static void twice(void **state)
{
    (void)state;
    MAKE(&m, "PUT", "/k?" ANY, HOST, "Content-Type: a", "content-type: b");
    assert_code(authenticate(), S3_INVALID_REQUEST);
    MAKE(&m, "PUT", "/k?" ANY, HOST, "Content-MD5: a", "content-md5: b");
    assert_code(authenticate(), S3_INVALID_REQUEST);
    MAKE(&m, "PUT", "/k?" ANY, HOST, "x-amz-acl: a", "X-Amz-Acl: b");
    assert_code(authenticate(), S3_INVALID_REQUEST);
    assert_slice(extra("Header"), "x-amz-acl");
    MAKE(&m, "PUT", "/k?" ANY "&x-amz-acl=a&X-Amz-ACL=b", HOST);
    assert_code(m.code, S3_INVALID_ARGUMENT);
    MAKE(&m, "PUT", "/k?" ANY "&x-amz-acl=a", HOST, "x-amz-acl: b");
    assert_code(m.code, S3_INVALID_ARGUMENT);
    MAKE(&m, "PUT", "/k?" ANY "&content-type=a&Content-Type=b", HOST);
    assert_code(m.code, S3_INVALID_ARGUMENT);
    MAKE(&m, "PUT", "/k?" ANY "&content-type=a%0Ab", HOST);
    assert_code(m.code, S3_INVALID_ARGUMENT);
    /* what nobody knows, and what belongs into no URL, as with version 4 */
    MAKE(&m, "PUT", "/k?" ANY "&x-amz-new=1", HOST);
    assert_code(m.code, S3_NOT_IMPLEMENTED);
    MAKE(&m, "PUT", "/k?" ANY "&x-amz-server-side-encryption-customer-key=1", HOST);
    assert_code(m.code, S3_INVALID_REQUEST);
    /* of version 4 the type is not taken from the query */
    MAKE(&m, "PUT", "/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&content-type=a", HOST);
    assert_code(m.code, S3_OK);
    assert_int_equal(m.request.hoisted, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_query),
        cmocka_unit_test(published_canonical_forms),
        cmocka_unit_test(fields_in_the_query),
        cmocka_unit_test(buckets),
        cmocka_unit_test(signed_parameters),
        cmocka_unit_test(operations_are_signed),
        cmocka_unit_test(times),
        cmocka_unit_test(tampered),
        cmocka_unit_test(malformed),
        cmocka_unit_test(twice),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
