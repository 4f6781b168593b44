/* The n-th allocation failing in every parser of requests and writer of documents: an error that
 * says so, or a buffer marked failed; never a crash, a leak, or half an answer taken for a whole.
 */
#include "common/base/err.h"
#include "gateway/s3/chunked.h"
#include "gateway/s3/cors.h"
#include "gateway/s3/headers.h"
#include "gateway/s3/results.h"
#include "gateway/s3/settings.h"
#include "gateway/s3/sigv2.h"
#include "gateway/s3/tags.h"
#include "tests/unit/common/alloc_fail.h"

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

#define DATE "20130524T000000Z"
#define MANY "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

/* Everything that a request goes through before its operation, and all header fields. */
static enum s3_code whole_request(const char *method, const char *target)
{
    struct sigv4_auth auth;
    struct s3_metadata metadata;
    struct s3_conditions conditions;
    struct s3_overrides overrides;
    struct s3_copy_source source;
    struct s3_attributes attributes;
    struct s3_list_params list;
    MAKE(&m, method, target, "Host: s3.amazonaws.com", "x-amz-date: " DATE,
         "x-amz-content-sha256: UNSIGNED-PAYLOAD", "Content-Encoding: aws-chunked,gzip",
         "Content-Type: text/plain", "x-amz-meta-a: " MANY, "x-amz-meta-a: b", "x-amz-meta-c: d",
         "If-Match: \"a\", \"b\"", "Range: bytes=5-7", "x-amz-copy-source: /bucket/a%20b",
         "x-amz-object-attributes: ETag,ObjectParts",
         "Authorization: AWS4-HMAC-SHA256 Credential=AK/20130524/us-east-1/s3/aws4_request,"
         "SignedHeaders=content-encoding;content-type;host;if-match;range;x-amz-content-sha256;"
         "x-amz-copy-source;x-amz-date;x-amz-meta-a;x-amz-meta-c;x-amz-object-attributes,"
         "Signature=0000000000000000000000000000000000000000000000000000000000000000");
    enum s3_code code = m.code;
    if (code == S3_OK)
        code = sigv4_parse(&m.request, &auth, &m.fault);
    if (code == S3_OK) {
        uint8_t key[SHA256_BYTES] = {0};
        code = sigv4_verify(&m.request, &auth, key, &m.fault);
        if (code == S3_SIGNATURE_DOES_NOT_MATCH)
            code = S3_OK; /* it is wrong indeed; the point is how it was found */
    }
    if (code == S3_OK)
        code = s3_metadata_parse(&m.request, &metadata, &m.fault);
    if (code == S3_OK)
        code = s3_conditions_parse(&m.request, 0, &conditions, &m.fault);
    if (code == S3_OK)
        code = s3_overrides_parse(&m.request, false, &overrides, &m.fault);
    if (code == S3_OK)
        code = s3_copy_source_parse(&m.request, &source, &m.fault);
    if (code == S3_OK)
        code = s3_attributes_parse(&m.request, &attributes, &m.fault);
    if (code == S3_OK && m.request.op == S3_OP_LIST_OBJECTS_V2)
        code = s3_list_params_parse(&m.request, &list, &m.fault);
    if (code == S3_OK && m.request.op == S3_OP_LIST_OBJECTS_V2) {
        struct buf token = {0};
        s3_list_token(&token, &m.request, &list, SLICE_LIT("a/b"), true);
        if (token.failed)
            code = S3_INTERNAL_ERROR;
        buf_fini(&token);
    }
    return code;
}

/* In an arena of so many bytes: what cannot be decoded is not the client's mistake. */
static enum s3_code bounded_request(size_t bytes_max)
{
    struct s3_tags tags;
    arena_fini(&m.arena);
    arena_init(&m.arena, bytes_max);
    MAKE(&m, "PUT", "/bucket/some%20key?%61=%62", "Host: s3.amazonaws.com",
         "x-amz-tagging: a%20b=c%20d&e+f=g+h");
    enum s3_code code = m.code == S3_OK ? s3_tags_of_request(&m.request, &tags, &m.fault) : m.code;
    if (code == S3_OK)
        assert_slice(tags.tags[1].value, "g h");
    return code;
}

static void bounded(void **state)
{
    (void)state;
    enum s3_code code = S3_INTERNAL_ERROR;
    for (size_t max = 1; max < 4096 && code != S3_OK; max++) {
        code = bounded_request(max);
        if (code != S3_OK)
            assert_code(code, S3_INTERNAL_ERROR);
    }
    assert_code(code, S3_OK);
    arena_fini(&m.arena);
    arena_init(&m.arena, 0);
}

static void requests(void **state)
{
    (void)state;
    static const struct {
        const char *method, *target;
    } cases[] = {
        {"PUT", "/bucket/some%20key/with+more?partNumber=1&uploadId=0123456789abcdef"},
        {"GET", "/bucket/key?response-content-type=text%2Fplain&response-expires=x"},
        {"GET", "/bucket?list-type=2&prefix=a%2Fb&delimiter=%2F&start-after=a&max-keys=7&"
                "encoding-type=url"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint64_t n = 0;
        for (;; n++) {
            alloc_fail_at(n);
            enum s3_code code = whole_request(cases[i].method, cases[i].target);
            bool failed = alloc_fail_end();
            arena_fini(&m.arena); /* the next round allocates anew */
            if (!failed) {
                assert_code(code, S3_OK);
                break;
            }
            assert_code(code, S3_INTERNAL_ERROR);
        }
        assert_true(n > 0);
    }
}

/* Signed with version 2, and all that is hoisted. */
static void presigned(void **state)
{
    (void)state;
    uint64_t n = 0;
    for (;; n++) {
        struct sigv4_auth auth;
        alloc_fail_at(n);
        MAKE(&m, "PUT",
             "/bucket/some%20key?partNumber=1&uploadId=0123456789abcdef&AWSAccessKeyId=AK&"
             "Signature=AAAA&Expires=9999999999&x-amz-meta-a=" MANY "&content-type=text%2Fx&"
             "x-amz-security-token=" MANY MANY MANY,
             "Host: s3.amazonaws.com", "x-amz-meta-b: " MANY MANY MANY MANY);
        enum s3_code code = m.code;
        if (code == S3_OK)
            code = sigv4_parse(&m.request, &auth, &m.fault);
        if (code == S3_OK)
            code = sigv2_verify(&m.request, &auth, SLICE_LIT("secret"), &m.fault);
        bool failed = alloc_fail_end();
        arena_fini(&m.arena);
        if (!failed) {
            assert_code(code, S3_SIGNATURE_DOES_NOT_MATCH);
            break;
        }
        if (code != S3_SIGNATURE_DOES_NOT_MATCH) /* nor does it without all of the answer */
            assert_code(code, S3_INTERNAL_ERROR);
    }
    assert_true(n > 1);
}

/* A form of version 2. */
static void posted(void **state)
{
    (void)state;
    uint64_t n = 0;
    static const struct http_field fields[] = {
        {SLICE_LIT("AWSAccessKeyId"), SLICE_LIT("AK")},
        {SLICE_LIT("policy"), SLICE_LIT(MANY MANY MANY MANY MANY MANY)},
        {SLICE_LIT("signature"), SLICE_LIT("AAAA")},
    };
    for (;; n++) {
        struct arena arena = {0};
        struct s3_fault fault = {0};
        struct sigv4_auth auth;
        struct s3_request r = {.arena = &arena};
        alloc_fail_at(n);
        enum s3_code code =
            sigv4_parse_form((struct http_fields){fields, ARRAY_COUNT(fields)}, &auth, &fault);
        if (code == S3_OK)
            code = sigv2_verify(&r, &auth, SLICE_LIT("secret"), &fault);
        bool failed = alloc_fail_end();
        arena_fini(&arena);
        if (code != S3_SIGNATURE_DOES_NOT_MATCH) {
            assert_true(failed);
            assert_code(code, S3_INTERNAL_ERROR);
        }
        if (!failed)
            break;
    }
    assert_true(n > 1);
}

/* ---- documents in ---- */

static enum s3_code read_complete(struct arena *a, struct s3_fault *fault)
{
    struct s3_complete c = {0};
    enum s3_code code = s3_xml_complete(
        a,
        SLICE_LIT("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"a\"</ETag>"
                  "<ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part><Part><PartNumber>2</PartNumber>"
                  "<ETag>&quot;" MANY "&quot;</ETag></Part></CompleteMultipartUpload>"),
        &c, fault);
    if (code == S3_OK)
        assert_int_equal(c.count, 2);
    return code;
}

static enum s3_code read_delete(struct arena *a, struct s3_fault *fault)
{
    struct s3_delete d = {0};
    enum s3_code code =
        s3_xml_delete(a,
                      SLICE_LIT("<Delete><Quiet>true</Quiet><Object><Key>a&amp;b</Key></Object>"
                                "<Object><Key>" MANY "</Key><ETag>x</ETag></Object></Delete>"),
                      0, &d, fault);
    if (code == S3_OK)
        assert_int_equal(d.count, 2);
    return code;
}

static enum s3_code read_create_bucket(struct arena *a, struct s3_fault *fault)
{
    struct s3_create_bucket c = {0};
    enum s3_code code =
        s3_xml_create_bucket(a,
                             SLICE_LIT("<CreateBucketConfiguration><LocationConstraint>eu-central-1"
                                       "</LocationConstraint></CreateBucketConfiguration>"),
                             &c, fault);
    if (code == S3_OK)
        assert_slice(c.location_constraint, "eu-central-1");
    return code;
}

/* Into normal form, and as the rules are read out of it. */
static enum s3_code read_cors(struct arena *a, struct s3_fault *fault)
{
    const struct s3_setting *s = s3_setting_of_op(S3_OP_PUT_BUCKET_CORS);
    const struct s3_request r = {.op = S3_OP_PUT_BUCKET_CORS, .arena = a};
    struct buf stored = {0};
    struct s3_node *root;
    struct s3_cors cors;
    enum s3_code code = s3_setting_read(
        s, &r,
        SLICE_LIT("<CORSConfiguration><CORSRule><AllowedOrigin>" MANY "</AllowedOrigin>"
                  "<AllowedMethod>GET</AllowedMethod><AllowedHeader>*</AllowedHeader></CORSRule>"
                  "</CORSConfiguration>"),
        &stored, fault);
    if (code == S3_OK)
        code = s3_document_read(a, s->schema, buf_view(&stored), &root, fault);
    if (code == S3_OK)
        code = s3_cors_of_node(a, root, &cors, fault);
    buf_fini(&stored);
    return code;
}

static enum s3_code read_versioning(struct arena *a, struct s3_fault *fault)
{
    struct s3_versioning v = {0};
    enum s3_code code =
        s3_xml_versioning(a,
                          SLICE_LIT("<VersioningConfiguration><Status>Enabled</Status>"
                                    "</VersioningConfiguration>"),
                          &v, fault);
    if (code == S3_OK)
        assert_true(v.enabled);
    return code;
}

static void documents_in(void **state)
{
    (void)state;
    enum s3_code (*const readers[])(struct arena *, struct s3_fault *) = {
        read_complete, read_delete, read_create_bucket, read_cors, read_versioning};
    for (size_t i = 0; i < ARRAY_COUNT(readers); i++) {
        uint64_t n = 0;
        for (;; n++) {
            struct arena a;
            struct s3_fault fault = {0};
            arena_init(&a, 1 << 20);
            alloc_fail_at(n);
            enum s3_code code = readers[i](&a, &fault);
            bool failed = alloc_fail_end();
            arena_fini(&a);
            if (!failed) {
                assert_code(code, S3_OK);
                break;
            }
            assert_code(code, S3_INTERNAL_ERROR);
        }
        assert_true(n > 2);
    }
}

/* ---- documents out ---- */

static const uint8_t upload_id[16];
static const struct s3_owner owner = {SLICE_LIT("id"), SLICE_LIT("name")};

static void write_list(struct buf *b)
{
    static const struct s3_list_params params = {
        .v2 = true, .fetch_owner = true, .delimiter = SLICE_LIT("/"), .prefix = SLICE_LIT(MANY)};
    struct s3_result_list l = {.bucket = SLICE_LIT("bucket"),
                               .params = &params,
                               .truncated = true,
                               .key_count = 30,
                               .next_token = SLICE_LIT("token")};
    struct s3_result_object o = {
        .key = SLICE_LIT(MANY), .etag = SLICE_LIT("e"), .size = 5, .owner = &owner};
    s3_result_list_begin(b, &l);
    for (int i = 0; i < 15; i++) {
        s3_result_list_object(b, &l, &o);
        s3_result_list_prefix(b, &l, SLICE_LIT("p/"));
    }
    s3_result_list_end(b, &l);
}

static void write_uploads_and_parts(struct buf *b)
{
    static const struct s3_list_uploads_params uploads = {.delimiter = SLICE_LIT("/")};
    static const struct s3_list_parts_params parts = {.max_parts = 5};
    struct s3_result_uploads u = {.bucket = SLICE_LIT("b"), .params = &uploads, .truncated = true};
    struct s3_result_upload e = {
        .key = SLICE_LIT(MANY), .upload_id = upload_id, .owner = &owner, .initiator = &owner};
    struct s3_result_parts p = {.bucket = SLICE_LIT("b"),
                                .key = SLICE_LIT(MANY),
                                .upload_id = upload_id,
                                .params = &parts,
                                .owner = &owner,
                                .initiator = &owner};
    struct s3_checksum checksum;
    s3_checksum_of_crc64(7, &checksum);
    struct s3_result_part part = {.number = 1, .etag = SLICE_LIT("e"), .checksum = &checksum};
    s3_result_uploads_begin(b, &u);
    s3_result_uploads_entry(b, &u, &e);
    s3_result_uploads_prefix(b, &u, SLICE_LIT("p/"));
    s3_result_uploads_end(b, &u);
    s3_result_parts_begin(b, &p);
    s3_result_parts_entry(b, &part);
    s3_result_parts_end(b, &p);
}

static void write_the_rest(struct buf *b)
{
    struct s3_fault fault = {0};
    struct s3_result_bucket bucket = {SLICE_LIT("bucket"), SLICE_LIT("r"), 0};
    struct s3_list_versions_params params = {.prefix = SLICE_LIT(MANY),
                                             .delimiter = SLICE_LIT("/")};
    struct s3_result_versions versions = {.bucket = SLICE_LIT("b"),
                                          .params = &params,
                                          .truncated = true,
                                          .next_key_marker = SLICE_LIT(MANY),
                                          .next_version_id_marker = SLICE_LIT("null")};
    struct s3_result_version version = {.key = SLICE_LIT(MANY),
                                        .etag = SLICE_LIT("e"),
                                        .version_id = SLICE_LIT("null"),
                                        .owner = &owner};
    struct s3_result_attributes a = {.mask = 31, .etag = SLICE_LIT("e"), .part_count = 1};
    s3_result_buckets_begin(b, &owner);
    s3_result_buckets_entry(b, &bucket);
    s3_result_buckets_end(b, SLICE_EMPTY, SLICE_LIT("token"));
    s3_result_location(b, SLICE_LIT("eu-central-1"));
    s3_result_initiate(b, SLICE_LIT("b"), SLICE_LIT(MANY), upload_id);
    s3_result_complete(b, SLICE_LIT(MANY), SLICE_LIT("b"), SLICE_LIT("k"), SLICE_LIT("e"), NULL, 2);
    s3_result_copy(b, SLICE_LIT("e"), 0, NULL, 0);
    s3_result_copy_part(b, SLICE_LIT("e"), 0, NULL);
    s3_result_delete_begin(b);
    s3_result_delete_entry(b, SLICE_LIT("k"), SLICE_EMPTY, SLICE_LIT("marker"));
    s3_result_delete_error(b, SLICE_LIT("k"), SLICE_EMPTY, S3_ACCESS_DENIED, SLICE_LIT("no"));
    s3_result_delete_end(b);
    s3_result_versioning(b, "Enabled");
    s3_result_versions_begin(b, &versions);
    s3_result_versions_entry(b, &versions, &version);
    s3_result_versions_prefix(b, &versions, SLICE_LIT(MANY));
    s3_result_versions_end(b, &versions);
    s3_result_attributes_begin(b, &a);
    s3_result_attributes_part(b, 1, 5, NULL);
    s3_result_attributes_end(b, &a);
    s3_fault_argument(&fault, "No", "marker", SLICE_LIT("a&b"));
    s3_error_document(b, &fault, SLICE_LIT("/b/k"), SLICE_LIT("ID"), SLICE_LIT("HOST"));
}

static void documents_out(void **state)
{
    (void)state;
    void (*const writers[])(struct buf *) = {write_list, write_uploads_and_parts, write_the_rest};
    for (size_t i = 0; i < ARRAY_COUNT(writers); i++) {
        uint64_t n = 0;
        for (;; n++) {
            struct buf b = {0};
            alloc_fail_at(n);
            writers[i](&b);
            bool failed = alloc_fail_end();
            assert_int_equal(b.failed, failed);
            buf_fini(&b);
            if (!failed)
                break;
        }
        assert_true(n > 2);
    }
}

/* ---- bodies ---- */

static int begin_chunks(void)
{
    struct sigv4_auth auth = {0};
    struct aws_chunked d;
    struct aws_chunked_config config = {.mode = S3_PAYLOAD_STREAMING_SIGNED, .auth = &auth};
    int err = aws_chunked_init(&d, &config);
    if (err == OK)
        aws_chunked_fini(&d);
    return err;
}

static void hashes_and_chunks(void **state)
{
    (void)state;
    digest_prepare();
    for (uint64_t n = 0;; n++) {
        struct s3_hasher h = {0};
        struct s3_combiner c = {0};
        alloc_fail_at(n);
        int err = s3_hasher_init(&h, S3_CHECKSUM_SHA1, true, true);
        if (err == OK)
            err = s3_combiner_init(&c, S3_CHECKSUM_SHA256, S3_CHECKSUM_COMPOSITE);
        bool failed = alloc_fail_end();
        s3_hasher_fini(&h);
        s3_combiner_fini(&c);
        assert_int_equal(err, failed ? ERR_NOMEM : OK);
        if (!failed)
            break;
    }
    for (uint64_t n = 0;; n++) {
        alloc_fail_at(n);
        int err = begin_chunks();
        bool failed = alloc_fail_end();
        assert_int_equal(err, failed ? ERR_NOMEM : OK);
        if (!failed)
            break;
    }
}

#define TEST(f) cmocka_unit_test_teardown(f, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bounded),      TEST(requests),      TEST(presigned),        TEST(posted),
        TEST(documents_in), TEST(documents_out), TEST(hashes_and_chunks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
