/* SigV4 against the examples that AWS publishes (access key AKIAIOSFODNN7EXAMPLE), and against
 * every way to get it wrong. */
#include "common/base/err.h"
#include "common/crypto/codec.h"
#include "gateway/s3/checksum.h"
#include "gateway/s3/chunked.h"
#include "gateway/s3/time.h"

#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/gateway/s3/make.h"

#define SECRET SLICE_LIT("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define AUTH(headers, signature)                                                                   \
    "Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/"       \
    "aws4_request, SignedHeaders=" headers ", Signature=" signature
#define DATE "x-amz-date: 20130524T000000Z"
#define HOST "Host: examplebucket.s3.amazonaws.com"

static struct made m;
static struct sigv4_auth auth;
static uint64_t now_ms; /* 2013-05-24T00:00:00Z */

static int setup(void **state)
{
    (void)state;
    return amz_date_parse(SLICE_LIT("20130524T000000Z"), &now_ms) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    arena_fini(&m.arena);
    return 0;
}

static void key_of_auth(uint8_t key[SHA256_BYTES])
{
    sigv4_signing_key(SECRET, auth.scope_date, auth.region, auth.service, key);
}

/* All that a gateway does. */
static enum s3_code authenticate_at(uint64_t ms)
{
    uint8_t key[SHA256_BYTES];
    enum s3_code code = sigv4_parse(&m.request, &auth, &m.fault);
    if (code == S3_OK)
        code = sigv4_check_scope(&m.request, &auth, SLICE_LIT("us-east-1"), ms, &m.fault);
    if (code != S3_OK)
        return code;
    key_of_auth(key);
    return sigv4_verify(&m.request, &auth, key, &m.fault);
}

static enum s3_code authenticate(void)
{
    return authenticate_at(now_ms);
}

static struct slice extra(const char *name)
{
    for (unsigned i = 0; i < m.fault.extra_count; i++)
        if (strcmp(m.fault.extra[i].name, name) == 0)
            return m.fault.extra[i].value;
    return SLICE_EMPTY;
}

#define GET_OBJECT_SIGNATURE "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
#define GET_OBJECT_HEADERS "host;range;x-amz-content-sha256;x-amz-date"

static void published_examples(void **state)
{
    (void)state;
    MAKE(&m, "GET", "/test.txt", HOST, "Range: bytes=0-9", "x-amz-content-sha256: " EMPTY, DATE,
         AUTH(GET_OBJECT_HEADERS, GET_OBJECT_SIGNATURE));
    assert_code(m.code, S3_OK);
    assert_slice(m.request.bucket, "examplebucket");
    assert_slice(m.request.key, "test.txt");
    assert_code(authenticate(), S3_OK);
    assert_int_equal(auth.payload, S3_PAYLOAD_SHA256);

    MAKE(&m, "PUT", "/test%24file.text", HOST, "Date: Fri, 24 May 2013 00:00:00 GMT", DATE,
         "x-amz-storage-class: REDUCED_REDUNDANCY",
         "x-amz-content-sha256: 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
         AUTH("date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
              "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"));
    assert_slice(m.request.key, "test$file.text");
    assert_code(authenticate(), S3_OK);

    MAKE(&m, "GET", "/?lifecycle", HOST, DATE, "x-amz-content-sha256: " EMPTY,
         AUTH("host;x-amz-content-sha256;x-amz-date",
              "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"));
    assert_code(m.code, S3_OK);
    assert_code(authenticate(), S3_OK);

    MAKE(&m, "GET", "/?max-keys=2&prefix=J", HOST, DATE, "x-amz-content-sha256: " EMPTY,
         AUTH("host;x-amz-content-sha256;x-amz-date",
              "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"));
    assert_code(authenticate(), S3_OK);
    /* The same parameters in another order, and written another way. */
    MAKE(&m, "GET", "/?prefix=%4a&max-keys=2", HOST, DATE, "x-amz-content-sha256: " EMPTY,
         AUTH("host;x-amz-content-sha256;x-amz-date",
              "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"));
    assert_code(authenticate(), S3_OK);
}

#define PRESIGNED                                                                                  \
    "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F"          \
    "20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400"     \
    "&X-Amz-SignedHeaders=host&X-Amz-Signature="
#define PRESIGNED_SIGNATURE "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"

static void presigned(void **state)
{
    (void)state;
    MAKE(&m, "GET", PRESIGNED PRESIGNED_SIGNATURE, HOST);
    assert_code(authenticate(), S3_OK);
    assert_int_equal(auth.payload, S3_PAYLOAD_UNSIGNED);
    assert_code(authenticate_at(now_ms + 86400000), S3_OK);
    assert_code(authenticate_at(now_ms + 86400001), S3_REQUEST_EXPIRED);
    assert_string_equal(s3_code_name(S3_REQUEST_EXPIRED), "AccessDenied");
    assert_slice(extra("Expires"), "2013-05-25T00:00:00.000Z");
    assert_code(authenticate_at(now_ms - 900000), S3_OK);
    assert_code(authenticate_at(now_ms - 900001), S3_ACCESS_DENIED);
    /* One bit of the signature, the method, the path, a further parameter. */
    MAKE(&m, "GET", PRESIGNED "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d405",
         HOST);
    assert_code(authenticate(), S3_SIGNATURE_DOES_NOT_MATCH);
    MAKE(&m, "PUT", PRESIGNED PRESIGNED_SIGNATURE, HOST);
    assert_code(authenticate(), S3_SIGNATURE_DOES_NOT_MATCH);
    MAKE(&m, "GET", PRESIGNED PRESIGNED_SIGNATURE "&response-content-type=text%2Fhtml", HOST);
    assert_code(authenticate(), S3_SIGNATURE_DOES_NOT_MATCH);
    /* A header that matters and is not signed. */
    MAKE(&m, "GET", PRESIGNED PRESIGNED_SIGNATURE, HOST, "x-amz-acl: public-read");
    assert_code(authenticate(), S3_ACCESS_DENIED);
    assert_slice(extra("HeadersNotSigned"), "x-amz-acl");
}

/* "a,b" in one field and "a", "b" in two are signed alike, and must not mean different things. */
static void value_cut_in_two(void **state)
{
    (void)state;
    static const char line[] =
        AUTH("host;x-amz-content-sha256;x-amz-copy-source;x-amz-date", EMPTY);
    static const char meta[] = AUTH("host;x-amz-content-sha256;x-amz-date;x-amz-meta-a", EMPTY);
    static const char list[] =
        AUTH("host;x-amz-content-sha256;x-amz-date;x-amz-object-attributes", EMPTY);
    MAKE(&m, "PUT", "/test.txt", HOST, DATE, "x-amz-content-sha256: " EMPTY, line,
         "x-amz-copy-source: bucket/a,b");
    assert_code(authenticate(), S3_SIGNATURE_DOES_NOT_MATCH); /* well formed */
    MAKE(&m, "PUT", "/test.txt", HOST, DATE, "x-amz-content-sha256: " EMPTY, line,
         "x-amz-copy-source: bucket/a", "X-Amz-Copy-Source: b");
    assert_code(authenticate(), S3_INVALID_REQUEST);
    MAKE(&m, "PUT", "/test.txt", HOST, DATE, "x-amz-content-sha256: " EMPTY, meta,
         "x-amz-meta-a: 1", "x-amz-meta-a: 2");
    assert_code(authenticate(), S3_SIGNATURE_DOES_NOT_MATCH); /* joined, as it is signed */
    MAKE(&m, "GET", "/test.txt?attributes", HOST, DATE, "x-amz-content-sha256: " EMPTY, list,
         "x-amz-object-attributes: ETag", "x-amz-object-attributes: ObjectSize");
    assert_code(authenticate(), S3_SIGNATURE_DOES_NOT_MATCH); /* the same */
}

static void presigned_malformed(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "X-Amz-Expires=0",
        "X-Amz-Expires=604801",
        "X-Amz-Expires=-1",
        "X-Amz-Expires=1x",
        "X-Amz-Date=20130524",
        "X-Amz-Date=20130525T000000Z",
        "X-Amz-Algorithm=AWS4-HMAC-SHA1",
        "X-Amz-Credential=AKIA",
        "X-Amz-Credential=a/20130524/us-east-1/s3/aws4",
        "X-Amz-SignedHeaders=",
        "X-Amz-SignedHeaders=date",
        "X-Amz-SignedHeaders=host;date",
        "X-Amz-Signature=abc",
    };
    static const char *const good[] = {
        "X-Amz-Algorithm=AWS4-HMAC-SHA256",
        "X-Amz-Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request",
        "X-Amz-Date=20130524T000000Z",
        "X-Amz-Expires=86400",
        "X-Amz-SignedHeaders=host",
        ("X-Amz-Signature=" PRESIGNED_SIGNATURE),
    };
    for (size_t i = 0; i <= ARRAY_COUNT(bad) + ARRAY_COUNT(good); i++) {
        char target[1024] = "/test.txt?";
        for (size_t k = 0; k < ARRAY_COUNT(good); k++) {
            const char *item = good[k];
            size_t name = strcspn(item, "=") + 1;
            if (i < ARRAY_COUNT(bad) && strncmp(bad[i], item, name) == 0)
                item = bad[i];
            if (i >= ARRAY_COUNT(bad) && i - ARRAY_COUNT(bad) == k)
                continue; /* one is missing */
            strcat(strcat(target, item), "&");
        }
        MAKE(&m, "GET", target, HOST);
        bool all = i == ARRAY_COUNT(bad) + ARRAY_COUNT(good);
        assert_code(authenticate(), all ? S3_OK : S3_AUTHORIZATION_QUERY_PARAMETERS_ERROR);
    }
    MAKE(&m, "GET", PRESIGNED PRESIGNED_SIGNATURE "&X-Amz-Date=20130524T000000Z", HOST);
    assert_code(authenticate(), S3_AUTHORIZATION_QUERY_PARAMETERS_ERROR); /* twice */
}

static void header_errors(void **state)
{
    (void)state;
    static const struct {
        const char *auth;
        enum s3_code code;
    } cases[] = {
        {"AWS AKIAIOSFODNN7EXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg=", S3_INVALID_REQUEST},
        {"AWS4-ECDSA-P256-SHA256 Credential=x", S3_INVALID_REQUEST},
        {"Bearer abc", S3_INVALID_ARGUMENT},
        {"AWS4-HMAC-SHA256", S3_INVALID_ARGUMENT},
        {"AWS4-HMAC-SHA256 ", S3_AUTHORIZATION_HEADER_MALFORMED},
        {"AWS4-HMAC-SHA256 Credential=a/20130524/us-east-1/s3/aws4_request",
         S3_AUTHORIZATION_HEADER_MALFORMED},
        {"AWS4-HMAC-SHA256 Credential=a/20130524/us-east-1/s3/aws4_request, SignedHeaders="
         "host;x-amz-content-sha256;x-amz-date, Signature=12",
         S3_AUTHORIZATION_HEADER_MALFORMED},
        {"AWS4-HMAC-SHA256 Credential=a/20130525/us-east-1/s3/aws4_request, SignedHeaders="
         "host;x-amz-content-sha256;x-amz-date, Signature=" EMPTY,
         S3_AUTHORIZATION_HEADER_MALFORMED},
        {"AWS4-HMAC-SHA256 Credential=a/20130524/us-east-1/ec2/aws4_request, SignedHeaders="
         "host;x-amz-content-sha256;x-amz-date, Signature=" EMPTY,
         S3_AUTHORIZATION_HEADER_MALFORMED},
        {"AWS4-HMAC-SHA256 Credential=a/20130524/us-east-1/s3/aws4_request, SignedHeaders="
         "x-amz-content-sha256;x-amz-date, Signature=" EMPTY,
         S3_AUTHORIZATION_HEADER_MALFORMED},
        {"AWS4-HMAC-SHA256 Credential=a/20130524/us-east-1/s3/aws4_request, SignedHeaders="
         "host;x-amz-date, Signature=" EMPTY,
         S3_ACCESS_DENIED},
        {"AWS4-HMAC-SHA256 Credential=a/20130524/us-east-1/s3/aws4_request, SignedHeaders="
         "Host;x-amz-content-sha256;x-amz-date, Signature=" EMPTY,
         S3_AUTHORIZATION_HEADER_MALFORMED},
        {"AWS4-HMAC-SHA256 Credential=a/20130524/us-east-1/s3/aws4_request, Credential=b, "
         "SignedHeaders=host, Signature=" EMPTY,
         S3_AUTHORIZATION_HEADER_MALFORMED},
        {"AWS4-HMAC-SHA256 Credential=a/20130524/us-east-1/s3/aws4_request, SignedHeaders="
         "host;x-amz-content-sha256;x-amz-date, Signature=" EMPTY,
         S3_SIGNATURE_DOES_NOT_MATCH},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char line[512];
        snprintf(line, sizeof(line), "Authorization: %s", cases[i].auth);
        MAKE(&m, "GET", "/test.txt", HOST, DATE, "x-amz-content-sha256: " EMPTY, line);
        assert_code(authenticate(), cases[i].code);
    }
}

static void scope_and_time(void **state)
{
    (void)state;
    MAKE(&m, "GET", "/test.txt", HOST, "Range: bytes=0-9", "x-amz-content-sha256: " EMPTY, DATE,
         AUTH(GET_OBJECT_HEADERS, GET_OBJECT_SIGNATURE));
    assert_code(authenticate_at(now_ms + 900000), S3_OK);
    assert_code(authenticate_at(now_ms + 900001), S3_REQUEST_TIME_TOO_SKEWED);
    assert_slice(extra("RequestTime"), "20130524T000000Z");
    assert_code(authenticate_at(now_ms - 900001), S3_REQUEST_TIME_TOO_SKEWED);
    assert_code(sigv4_parse(&m.request, &auth, &m.fault), S3_OK);
    assert_code(sigv4_check_scope(&m.request, &auth, SLICE_LIT("eu-central-1"), now_ms, &m.fault),
                S3_AUTHORIZATION_HEADER_MALFORMED);
    assert_slice(extra("Region"), "eu-central-1");
    assert_slice(m.fault.message,
                 "The authorization header is malformed; the region 'us-east-1' is "
                 "wrong; expecting 'eu-central-1'");
    assert_code(sigv4_unknown_key(&auth, &m.fault), S3_INVALID_ACCESS_KEY_ID);
    assert_slice(extra("AWSAccessKeyId"), "AKIAIOSFODNN7EXAMPLE");
}

static void mismatch_is_explained(void **state)
{
    (void)state;
    MAKE(&m, "GET", "/test.txt", HOST, "Range: bytes=0-8", "x-amz-content-sha256: " EMPTY, DATE,
         AUTH(GET_OBJECT_HEADERS, GET_OBJECT_SIGNATURE));
    assert_code(authenticate(), S3_SIGNATURE_DOES_NOT_MATCH);
    assert_slice(extra("CanonicalRequest"),
                 "GET\n/test.txt\n\nhost:examplebucket.s3.amazonaws.com\nrange:bytes=0-8\n"
                 "x-amz-content-sha256:" EMPTY
                 "\nx-amz-date:20130524T000000Z\n\n" GET_OBJECT_HEADERS "\n" EMPTY);
    assert_true(
        slice_has_prefix(extra("StringToSign"), SLICE_LIT("AWS4-HMAC-SHA256\n20130524T000000Z\n"
                                                          "20130524/us-east-1/s3/aws4_request\n")));
    assert_true(slice_has_prefix(extra("StringToSignBytes"), SLICE_LIT("41 57 53 34 2d")));
    assert_slice(extra("SignatureProvided"), GET_OBJECT_SIGNATURE);
    /* Nothing of the secret or of the right signature is in it. */
    struct buf b = {0};
    s3_error_document(&b, &m.fault, SLICE_LIT("/test.txt"), SLICE_LIT("1"), SLICE_LIT("2"));
    assert_null(memmem(b.ptr, b.len, "wJalr", 5));
    buf_fini(&b);
}

static void payload_modes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum s3_payload_mode mode;
    } cases[] = {
        {"UNSIGNED-PAYLOAD", S3_PAYLOAD_UNSIGNED},
        {EMPTY, S3_PAYLOAD_SHA256},
        {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", S3_PAYLOAD_STREAMING_SIGNED},
        {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", S3_PAYLOAD_STREAMING_SIGNED_TRAILER},
        {"STREAMING-UNSIGNED-PAYLOAD-TRAILER", S3_PAYLOAD_STREAMING_UNSIGNED_TRAILER},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char line[128];
        snprintf(line, sizeof(line), "x-amz-content-sha256: %s", cases[i].text);
        MAKE(&m, "PUT", "/k", HOST, DATE, line,
             AUTH("host;x-amz-content-sha256;x-amz-date", EMPTY));
        assert_code(sigv4_parse(&m.request, &auth, &m.fault), S3_OK);
        assert_int_equal(auth.payload, cases[i].mode);
        /* Anonymous: only what needs no key. */
        MAKE(&m, "PUT", "/k", HOST, line);
        bool chained = cases[i].mode == S3_PAYLOAD_STREAMING_SIGNED ||
                       cases[i].mode == S3_PAYLOAD_STREAMING_SIGNED_TRAILER;
        assert_code(sigv4_parse(&m.request, &auth, &m.fault), chained ? S3_INVALID_REQUEST : S3_OK);
        assert_true(auth.anonymous);
    }
    MAKE(&m, "PUT", "/k", HOST, DATE, AUTH("host;x-amz-date", EMPTY));
    assert_code(sigv4_parse(&m.request, &auth, &m.fault), S3_INVALID_REQUEST);
    MAKE(&m, "PUT", "/k", HOST, DATE,
         "x-amz-content-sha256: STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
         AUTH("host;x-amz-content-sha256;x-amz-date", EMPTY));
    assert_code(sigv4_parse(&m.request, &auth, &m.fault), S3_INVALID_ARGUMENT);
    MAKE(&m, "GET", "/k", HOST);
    assert_code(sigv4_parse(&m.request, &auth, &m.fault), S3_OK);
    assert_true(auth.anonymous);
    MAKE(&m, "GET", PRESIGNED PRESIGNED_SIGNATURE, HOST, AUTH("host", EMPTY));
    assert_code(sigv4_parse(&m.request, &auth, &m.fault), S3_INVALID_ARGUMENT);
}

/* The token of a session: signed like the rest, once, and where the signature is. */
static void tokens(void **state)
{
    (void)state;
    MAKE(&m, "GET", "/k", HOST, DATE, "x-amz-security-token: t", "x-amz-content-sha256: " EMPTY,
         AUTH("host;x-amz-content-sha256;x-amz-date;x-amz-security-token", EMPTY));
    assert_code(sigv4_parse(&m.request, &auth, &m.fault), S3_OK);
    assert_true(slice_eq(auth.token, SLICE_LIT("t")));
    MAKE(&m, "GET", "/k", HOST, DATE, "x-amz-security-token: t", "x-amz-content-sha256: " EMPTY,
         AUTH("host;x-amz-content-sha256;x-amz-date", EMPTY));
    assert_code(sigv4_parse(&m.request, &auth, &m.fault), S3_ACCESS_DENIED);
    MAKE(&m, "GET", PRESIGNED PRESIGNED_SIGNATURE "&X-Amz-Security-Token=a%2Fb", HOST);
    assert_code(sigv4_parse(&m.request, &auth, &m.fault), S3_OK);
    assert_true(slice_eq(auth.token, SLICE_LIT("a/b")));
    MAKE(&m, "GET", PRESIGNED PRESIGNED_SIGNATURE "&X-Amz-Security-Token=a&X-Amz-Security-Token=b",
         HOST);
    assert_code(sigv4_parse(&m.request, &auth, &m.fault), S3_INVALID_TOKEN);
    MAKE(&m, "GET", "/k?X-Amz-Security-Token=a", HOST, DATE, "x-amz-content-sha256: " EMPTY,
         AUTH("host;x-amz-content-sha256;x-amz-date", EMPTY));
    assert_code(sigv4_parse(&m.request, &auth, &m.fault), S3_INVALID_TOKEN);
}

/* Other services than S3 sign the body's hash without saying it. */
static void other_services(void **state)
{
    (void)state;
    MAKE(&m, "POST", "/", HOST, DATE,
         "authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/iam/"
         "aws4_request, SignedHeaders=host;x-amz-date, Signature=" EMPTY);
    assert_code(sigv4_parse(&m.request, &auth, &m.fault), S3_OK);
    assert_true(slice_eq(auth.service, SLICE_LIT("iam")));
    assert_true(auth.payload == S3_PAYLOAD_UNSIGNED && auth.payload_text.len == 0);
    assert_code(sigv4_check_scope(&m.request, &auth, SLICE_EMPTY, auth.time_ms, &m.fault),
                S3_AUTHORIZATION_HEADER_MALFORMED);
    assert_code(sigv4_check_scope_of(&m.request, &auth, SLICE_LIT("iam"), SLICE_LIT("us-east-1"),
                                     auth.time_ms, &m.fault),
                S3_OK);
    assert_code(sigv4_check_scope_of(&m.request, &auth, SLICE_LIT("iam"), SLICE_LIT("eu-west-1"),
                                     auth.time_ms, &m.fault),
                S3_AUTHORIZATION_HEADER_MALFORMED);
}

static void cached_keys(void **state)
{
    (void)state;
    static struct sigv4_cache cache;
    uint8_t direct[SHA256_BYTES], cached[SHA256_BYTES];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 200; i++) {
            char secret[32], scope[64];
            snprintf(secret, sizeof(secret), "secret-%d", i % 50);
            snprintf(scope, sizeof(scope), "201305%02d/us-east-1/s3/aws4_request", 10 + i % 7);
            struct sigv4_auth a = {.scope = slice_cstr(scope),
                                   .scope_date = SLICE(scope, 8),
                                   .region = SLICE_LIT("us-east-1"),
                                   .service = SLICE_LIT("s3")};
            sigv4_cached_key(&cache, slice_cstr(secret), &a, cached);
            sigv4_signing_key(slice_cstr(secret), a.scope_date, a.region, a.service, direct);
            assert_memory_equal(cached, direct, SHA256_BYTES);
        }
    }
    sigv4_cache_fini(&cache);
}

/* ---- the published uploads in chunks ---- */

#define CHUNK_1 "10000;chunk-signature="
#define CHUNK_2 "\r\n400;chunk-signature="
#define CHUNK_3 "\r\n0;chunk-signature="

static void append_a(struct buf *b, size_t n)
{
    assert_int_equal(buf_reserve(b, n), OK);
    memset(b->ptr + b->len, 'a', n);
    b->len += n;
}

static void chunked_example(struct buf *b)
{
    MAKE(&m, "PUT", "/examplebucket/chunkObject.txt", "Host: s3.amazonaws.com", DATE,
         "x-amz-storage-class: REDUCED_REDUNDANCY",
         "x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
         "Content-Encoding: aws-chunked", "x-amz-decoded-content-length: 66560",
         "Content-Length: 66824",
         AUTH("content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;"
              "x-amz-decoded-content-length;x-amz-storage-class",
              "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"));
    buf_cstr(b, CHUNK_1 "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n");
    append_a(b, 65536);
    buf_cstr(b, CHUNK_2 "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n");
    append_a(b, 1024);
    buf_cstr(b, CHUNK_3 "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n");
}

static void trailer_example(struct buf *b)
{
    MAKE(&m, "PUT", "/examplebucket/chunkObject.txt", "Host: s3.amazonaws.com", DATE,
         "x-amz-storage-class: REDUCED_REDUNDANCY",
         "x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
         "Content-Encoding: aws-chunked", "x-amz-decoded-content-length: 66560",
         "x-amz-trailer: x-amz-checksum-crc32c",
         AUTH("content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;"
              "x-amz-storage-class;x-amz-trailer",
              "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"));
    buf_cstr(b, CHUNK_1 "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n");
    append_a(b, 65536);
    buf_cstr(b, CHUNK_2 "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n");
    append_a(b, 1024);
    buf_cstr(b, CHUNK_3 "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n"
                        "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:"
                        "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n");
}

/* Decode in pieces of `step` bytes; returns the outcome, and what came out. */
static enum s3_code decode(struct slice body, size_t step, struct s3_hashes *ret)
{
    struct aws_chunked c;
    struct s3_hasher h;
    struct s3_checksum_claim claim;
    struct aws_chunked_config config = {.mode = auth.payload, .auth = &auth};
    config.trailer_names = http_fields_get(m.request.fields, "x-amz-trailer");
    enum s3_code code = aws_chunked_decoded_length(&m.request, &config.decoded_length, &m.fault);
    if (code != S3_OK)
        return code;
    assert_code(s3_checksum_claim_parse(&m.request, &claim, &m.fault), S3_OK);
    key_of_auth(config.signing_key);
    assert_int_equal(aws_chunked_init(&c, &config), OK);
    assert_int_equal(s3_hasher_init(&h, claim.algorithm, false, false), OK);
    while (body.len && code == S3_OK) {
        struct slice in = SLICE(body.ptr, MIN(step, body.len)), data;
        while (in.len && code == S3_OK) {
            size_t used = 0;
            code = aws_chunked_push(&c, in, &used, &data, &m.fault);
            assert_true(code != S3_OK || (used > 0 && used <= in.len));
            s3_hasher_update(&h, data);
            in = SLICE(in.ptr + used, in.len - used);
        }
        body = SLICE(body.ptr + MIN(step, body.len), body.len - MIN(step, body.len));
    }
    enum s3_code end = aws_chunked_finish(&c, &m.fault);
    assert_true(code == S3_OK || end == code);
    s3_hasher_final(&h, ret);
    if (end == S3_OK)
        end = s3_checksum_claim_trailer(&claim, aws_chunked_trailers(&c), &m.fault);
    if (end == S3_OK)
        end = s3_hashes_verify(ret, &claim, NULL, &m.fault);
    aws_chunked_fini(&c);
    return end;
}

static void published_chunks(void **state)
{
    (void)state;
    void (*const examples[])(struct buf *) = {chunked_example, trailer_example};
    for (size_t i = 0; i < ARRAY_COUNT(examples); i++) {
        struct buf b = {0};
        struct s3_hashes hashes;
        examples[i](&b);
        assert_code(authenticate(), S3_OK);
        assert_int_equal(i == 0 ? b.len : 66824, 66824);
        static const size_t steps[] = {1, 2, 3, 7, 85, 86, 87, 88, 1000, 65536, 1 << 20};
        for (size_t k = 0; k < ARRAY_COUNT(steps); k++) {
            assert_code(decode(buf_view(&b), steps[k], &hashes), S3_OK);
            assert_int_equal(hashes.bytes, 66560);
        }
        /* One bit anywhere in the framing or the data makes it fail; so does any missing end. */
        for (size_t at = 0; at < b.len; at += at < 200 || at > 65500 ? 1 : 6007) {
            b.ptr[at] ^= 1;
            enum s3_code code = decode(buf_view(&b), 1 << 20, &hashes);
            bool hex_case = false; /* no letter changes case by this bit */
            assert_true(hex_case || code != S3_OK);
            b.ptr[at] ^= 1;
        }
        for (size_t len = 0; len < b.len; len += len < 200 || len > 66500 ? 1 : 9973)
            assert_code(decode(SLICE(b.ptr, len), 1 << 20, &hashes), S3_INCOMPLETE_BODY);
        buf_cstr(&b, "x");
        assert_code(decode(buf_view(&b), 1 << 20, &hashes), S3_INVALID_REQUEST);
        buf_fini(&b);
    }
}

/* Two chunks swapped, each with its own signature: the chain breaks. */
static void chunks_cannot_move(void **state)
{
    (void)state;
    struct buf b = {0};
    struct s3_hashes hashes;
    chunked_example(&b);
    assert_code(authenticate(), S3_OK);
    memcpy(b.ptr + strlen(CHUNK_1),
           "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497", 64);
    assert_code(decode(buf_view(&b), 1 << 20, &hashes), S3_SIGNATURE_DOES_NOT_MATCH);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_examples),  cmocka_unit_test(presigned),
        cmocka_unit_test(presigned_malformed), cmocka_unit_test(header_errors),
        cmocka_unit_test(scope_and_time),      cmocka_unit_test(mismatch_is_explained),
        cmocka_unit_test(payload_modes),       cmocka_unit_test(tokens),
        cmocka_unit_test(other_services),      cmocka_unit_test(cached_keys),
        cmocka_unit_test(published_chunks),    cmocka_unit_test(chunks_cannot_move),
        cmocka_unit_test(value_cut_in_two),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
