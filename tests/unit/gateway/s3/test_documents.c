/* Documents in and out, the error table, checksums and their combination. */
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/crypto/codec.h"
#include "common/crypto/crc.h"
#include "gateway/s3/headers.h"
#include "gateway/s3/results.h"

#include <expat.h>
#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/gateway/s3/make.h"

static struct made m;
static struct arena arena;
static struct s3_fault fault;

static int teardown(void **state)
{
    (void)state;
    arena_fini(&m.arena);
    arena_fini(&arena);
    return 0;
}

/* Every document we write must be one that an XML parser takes. */
static void assert_well_formed(struct buf *b)
{
    XML_Parser p = XML_ParserCreate(NULL);
    assert_false(b->failed);
    if (XML_Parse(p, (const char *)b->ptr, (int)b->len, 1) != XML_STATUS_OK)
        fail_msg("%.*s", (int)b->len, (char *)b->ptr);
    XML_ParserFree(p);
}

static bool has(const struct buf *b, const char *text)
{
    return memmem(b->ptr, b->len, text, strlen(text)) != NULL;
}

static void escaping(void **state)
{
    (void)state;
    struct buf b = {0};
    xml_slice(&b, "K", SLICE_LIT("a<b>&\"'\r\n\t\x01\x1f\xef\xbf\xbe\xc3\xa9\xff\xc3z"));
    buf_u8(&b, 0);
    assert_string_equal((char *)b.ptr,
                        "<K>a&lt;b&gt;&amp;&quot;&apos;&#13;&#10;&#9;\xef\xbf\xbd\xef\xbf\xbd"
                        "\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbdz</K>");
    buf_clear(&b);
    xml_key(&b, "K", SLICE_LIT("a b/c+d%~*-._\xc3\xa9\x01"), true);
    buf_u8(&b, 0);
    assert_string_equal((char *)b.ptr, "<K>a+b/c%2Bd%25%7E*-._%C3%A9%01</K>");
    buf_clear(&b);
    xml_u64(&b, "N", 0);
    xml_u64(&b, "N", UINT64_MAX);
    buf_u8(&b, 0);
    assert_string_equal((char *)b.ptr, "<N>0</N><N>18446744073709551615</N>");
    buf_fini(&b);
}

static void errors(void **state)
{
    (void)state;
    struct buf b = {0};
    s3_fault_argument(&fault, "No <good>", "marker", SLICE_LIT("a&b"));
    s3_error_document(&b, &fault, SLICE_LIT("/bkt/k"), SLICE_LIT("ID"), SLICE_LIT("HOST"));
    assert_well_formed(&b);
    assert_true(has(&b, "<Error><Code>InvalidArgument</Code><Message>No &lt;good&gt;</Message>"
                        "<ArgumentName>marker</ArgumentName><ArgumentValue>a&amp;b</ArgumentValue>"
                        "<Resource>/bkt/k</Resource><RequestId>ID</RequestId><HostId>HOST</HostId>"
                        "</Error>"));
    for (int i = 0; i < 20; i++)
        s3_fault_extra(&fault, "More", SLICE_LIT("x"));
    assert_int_equal(fault.extra_count, S3_FAULT_EXTRA_MAX);
    for (int code = 1; code < S3_CODE_COUNT; code++) {
        int status = s3_code_status((enum s3_code)code);
        assert_true(status == 304 || (status >= 400 && status < 600));
        assert_true(strlen(s3_code_name((enum s3_code)code)) > 3);
    }
    static const struct {
        int err;
        enum s3_code code;
    } map[] = {
        {OK, S3_OK},
        {ERR_NOT_FOUND, S3_NO_SUCH_KEY},
        {ERR_NO_BUCKET, S3_NO_SUCH_BUCKET},
        {ERR_PRECONDITION, S3_PRECONDITION_FAILED},
        {ERR_CONFLICT, S3_CONDITIONAL_REQUEST_CONFLICT},
        {ERR_OVERLOAD, S3_SLOW_DOWN},
        {ERR_LIMIT, S3_SLOW_DOWN},
        {ERR_NO_QUORUM, S3_SERVICE_UNAVAILABLE},
        {ERR_CONDEMNED, S3_SERVICE_UNAVAILABLE},
        {ERR_TOO_OLD, S3_SERVICE_UNAVAILABLE},
        {ERR_CORRUPT, S3_INTERNAL_ERROR},
        {ERR_TIMEOUT, S3_INTERNAL_ERROR},
        {-12345, S3_INTERNAL_ERROR},
    };
    for (size_t i = 0; i < ARRAY_COUNT(map); i++)
        assert_code(s3_code_of_err(map[i].err), map[i].code);
        /* What may succeed when tried again must not look final: a 4xx but 409 is final. */
#define X(num, name, class, text)                                                                  \
    if (ERR_CLASS_##class != ERR_CLASS_PERMANENT)                                                  \
        assert_true(s3_code_status(s3_code_of_err(name)) >= 500 || name == ERR_CONFLICT);
    ERR_TABLE(X)
#undef X
    buf_fini(&b);
}

#define PART(n, etag) "<Part><PartNumber>" #n "</PartNumber><ETag>" etag "</ETag></Part>"
#define COMPLETE(body)                                                                             \
    "<CompleteMultipartUpload xmlns=\"" S3_XMLNS "\">" body "</CompleteMultipartUpload>"

static void read_complete(void **state)
{
    (void)state;
    struct s3_complete c;
    assert_code(
        s3_xml_complete(&arena,
                        SLICE_LIT("<?xml version=\"1.0\"?>\n" COMPLETE(
                            "\n <Part>\n<ETag>&quot;ab&quot;</ETag><PartNumber> 1 </PartNumber>"
                            "<ChecksumCRC32>y/Q5Jg==</ChecksumCRC32></Part>" PART(10000, "cd"))),
                        &c, &fault),
        S3_OK);
    assert_int_equal(c.count, 2);
    assert_slice(c.parts[0].etag, "ab");
    assert_int_equal(c.parts[0].checksum.algorithm, S3_CHECKSUM_CRC32);
    assert_int_equal(c.parts[1].number, 10000);
    assert_slice(c.parts[1].etag, "cd");
    static const struct {
        const char *body;
        enum s3_code code;
    } bad[] = {
        {"", S3_MALFORMED_XML},
        {"x", S3_MALFORMED_XML},
        {COMPLETE(""), S3_MALFORMED_XML},
        {COMPLETE(PART(1, "a")) "x", S3_MALFORMED_XML},
        {"<Complete>" PART(1, "a") "</Complete>", S3_MALFORMED_XML},
        {COMPLETE(PART(1, "a") "<Evil/>"), S3_MALFORMED_XML},
        {COMPLETE("<Part><PartNumber>1</PartNumber></Part>"), S3_MALFORMED_XML},
        {COMPLETE("<Part><ETag>1</ETag></Part>"), S3_MALFORMED_XML},
        {COMPLETE("<Part><PartNumber>x</PartNumber><ETag>a</ETag></Part>"), S3_MALFORMED_XML},
        {COMPLETE(
             "<Part><PartNumber>1</PartNumber><PartNumber>2</PartNumber><ETag>a</ETag></Part>"),
         S3_MALFORMED_XML},
        {COMPLETE("<Part><PartNumber>1</PartNumber><ETag>a<ETag>b</ETag></ETag></Part>"),
         S3_MALFORMED_XML},
        {COMPLETE(PART(0, "a")), S3_INVALID_ARGUMENT},
        {COMPLETE(PART(10001, "a")), S3_INVALID_ARGUMENT},
        {COMPLETE(PART(2, "a") PART(1, "b")), S3_INVALID_PART_ORDER},
        {COMPLETE(PART(2, "a") PART(2, "b")), S3_INVALID_PART_ORDER},
        {COMPLETE("<Part><PartNumber>1</PartNumber><ETag>a</ETag><ChecksumCRC32>!</ChecksumCRC32>"
                  "</Part>"),
         S3_INVALID_REQUEST},
        {"<!DOCTYPE x [<!ENTITY a \"b\">]>" COMPLETE(PART(1, "&a;")), S3_MALFORMED_XML},
        {"<!DOCTYPE x SYSTEM \"file:///etc/passwd\">" COMPLETE(PART(1, "a")), S3_MALFORMED_XML},
        {COMPLETE(PART(1, "&a;")), S3_MALFORMED_XML},
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        enum s3_code code = s3_xml_complete(&arena, slice_cstr(bad[i].body), &c, &fault);
        if (code != bad[i].code)
            fail_msg("%s: %s", bad[i].body, s3_code_name(code));
    }
}

static void hostile_xml(void **state)
{
    (void)state;
    struct s3_complete c;
    struct buf b = {0};
    /* Deeper than deep. */
    buf_cstr(&b, "<CompleteMultipartUpload>");
    for (int i = 0; i < 100000; i++)
        buf_cstr(&b, "<Part>");
    assert_code(s3_xml_complete(&arena, buf_view(&b), &c, &fault), S3_MALFORMED_XML);
    /* 10,000 parts fit; 10,001 do not. */
    for (int count = 10000; count <= 10001; count++) {
        buf_clear(&b);
        buf_cstr(&b, "<CompleteMultipartUpload>");
        for (int i = 1; i <= count; i++)
            buf_printf(&b, "<Part><PartNumber>%d</PartNumber><ETag>e</ETag></Part>", MIN(i, 10000));
        buf_cstr(&b, "</CompleteMultipartUpload>");
        assert_code(s3_xml_complete(&arena, buf_view(&b), &c, &fault),
                    count == 10000 ? S3_OK : S3_MALFORMED_XML);
    }
    /* A text that is too long, a document that is too large, an arena that is too small. */
    buf_clear(&b);
    buf_cstr(&b, "<CompleteMultipartUpload><Part><ETag>");
    for (int i = 0; i < 5000; i++)
        buf_u8(&b, 'e');
    assert_code(s3_xml_complete(&arena, buf_view(&b), &c, &fault), S3_MALFORMED_XML);
    while (b.len <= S3_COMPLETE_BODY_BYTES_MAX)
        buf_cstr(&b, "                                                                ");
    assert_code(s3_xml_complete(&arena, buf_view(&b), &c, &fault), S3_MALFORMED_XML);
    struct arena small;
    arena_init(&small, 1024);
    assert_code(s3_xml_complete(&small, SLICE_LIT(COMPLETE(PART(1, "a"))), &c, &fault),
                S3_INTERNAL_ERROR);
    arena_fini(&small);
    buf_fini(&b);
}

static void read_delete(void **state)
{
    (void)state;
    struct s3_delete d;
    assert_code(
        s3_xml_delete(
            &arena,
            SLICE_LIT("<Delete xmlns=\"" S3_XMLNS "\"><Quiet>true</Quiet><Object><Key>a &amp; "
                      "&#x62;</Key></Object><Object><VersionId>null</VersionId><Key> k </Key>"
                      "<ETag>\"e\"</ETag><Size>5</Size><LastModifiedTime>"
                      "2013-05-24T00:00:00.000Z</LastModifiedTime></Object></Delete>"),
            0, &d, &fault),
        S3_OK);
    assert_int_equal(d.count, 2);
    assert_true(d.quiet);
    assert_slice(d.objects[0].key, "a & b");
    assert_slice(d.objects[1].key, " k "); /* white space is part of a key */
    assert_slice(d.objects[1].etag, "e");
    assert_true(d.objects[1].has_size && d.objects[1].size == 5 && d.objects[1].has_mtime &&
                d.objects[1].has_version_id && !d.objects[0].has_etag);
    static const char *const bad[] = {
        "",
        "<Delete/>",
        "<Delete><Quiet>true</Quiet></Delete>",
        "<Delete><Object/></Delete>",
        "<Delete><Object><Key/></Object></Delete>",
        "<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
        "<Delete><Object><Key>a</Key><IfSomething>b</IfSomething></Object></Delete>",
        "<Delete><Object><Key>a</Key><Size>-1</Size></Object></Delete>",
        "<Delete><Object><Key>a</Key><LastModifiedTime>x</LastModifiedTime></Object></Delete>",
        "<Delete><Object><Key>a</Key></Object><Quiet>maybe</Quiet></Delete>",
        "<Delete><Quiet><Key>a</Key></Quiet></Delete>",
        "<Delete><Object><Key>a</Key></Object><Quiet><Key>b</Key>true</Quiet></Delete>",
        "<Delete><Object><Key>\xff</Key></Object></Delete>",
        "<Delete><Object><Key>a</Key></Object>",
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_code(s3_xml_delete(&arena, slice_cstr(bad[i]), 0, &d, &fault), S3_MALFORMED_XML);
    struct buf b = {0};
    for (int count = 1000; count <= 1001; count++) {
        buf_clear(&b);
        buf_cstr(&b, "<Delete>");
        for (int i = 0; i < count; i++)
            buf_cstr(&b, "<Object><Key>k</Key></Object>");
        buf_cstr(&b, "</Delete>");
        assert_code(s3_xml_delete(&arena, buf_view(&b), 0, &d, &fault),
                    count == 1000 ? S3_OK : S3_MALFORMED_XML);
    }
    buf_fini(&b);
}

static void read_create_bucket(void **state)
{
    (void)state;
    struct s3_create_bucket c;
    assert_code(s3_xml_create_bucket(&arena, SLICE_EMPTY, &c, &fault), S3_OK);
    assert_int_equal(c.location_constraint.len, 0);
    assert_code(s3_xml_create_bucket(&arena,
                                     SLICE_LIT("<CreateBucketConfiguration><LocationConstraint>"
                                               "eu-west-1</LocationConstraint>"
                                               "</CreateBucketConfiguration>"),
                                     &c, &fault),
                S3_OK);
    assert_slice(c.location_constraint, "eu-west-1");
    assert_code(s3_xml_create_bucket(&arena, SLICE_LIT("<CreateBucketConfiguration/>"), &c, &fault),
                S3_OK);
    assert_code(s3_xml_create_bucket(&arena,
                                     SLICE_LIT("<CreateBucketConfiguration><Bucket/>"
                                               "</CreateBucketConfiguration>"),
                                     &c, &fault),
                S3_NOT_IMPLEMENTED);
    assert_code(s3_xml_create_bucket(&arena, SLICE_LIT("{}"), &c, &fault), S3_MALFORMED_XML);
}

static void read_versioning(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum s3_code code;
        bool has_status, enabled, mfa;
    } cases[] = {
        {"<Status>Enabled</Status>", S3_OK, true, true, false},
        {"<Status> Suspended </Status>", S3_OK, true, false, false},
        {"<MfaDelete>Disabled</MfaDelete><Status>Enabled</Status>", S3_OK, true, true, false},
        {"<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>", S3_OK, true, true, true},
        {"", S3_OK, false, false, false},
        {"<Status>enabled</Status>", S3_MALFORMED_XML, false, false, false},
        {"<Status>Disabled</Status>", S3_MALFORMED_XML, false, false, false},
        {"<MfaDelete>Suspended</MfaDelete>", S3_MALFORMED_XML, false, false, false},
        {"<Status>Enabled</Status><Status>Enabled</Status>", S3_MALFORMED_XML, false, false, false},
        {"<Other/>", S3_MALFORMED_XML, false, false, false},
        {"<Status><Status>Enabled</Status></Status>", S3_MALFORMED_XML, false, false, false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct s3_versioning v;
        struct buf b = {0};
        buf_printf(&b, "<VersioningConfiguration xmlns=\"%s\">%s</VersioningConfiguration>", S3_XMLNS,
                   cases[i].text);
        assert_code(s3_xml_versioning(&arena, buf_view(&b), &v, &fault), cases[i].code);
        if (cases[i].code == S3_OK)
            assert_true(v.has_status == cases[i].has_status && v.enabled == cases[i].enabled &&
                        v.mfa_delete == cases[i].mfa);
        buf_fini(&b);
    }
    struct s3_versioning v;
    assert_code(s3_xml_versioning(&arena, SLICE_EMPTY, &v, &fault), S3_MALFORMED_XML);
}

/* ---- results ---- */

static const struct s3_owner owner = {SLICE_LIT("abcd"), SLICE_LIT("root")};

static void write_lists(void **state)
{
    (void)state;
    struct buf b = {0};
    struct s3_list_params p = {.prefix = SLICE_LIT("a b"),
                               .delimiter = SLICE_LIT("/"),
                               .has_delimiter = true,
                               .max_keys = 2,
                               .v2 = true,
                               .encode_url = true};
    struct s3_result_list l = {.bucket = SLICE_LIT("bkt"),
                               .params = &p,
                               .truncated = true,
                               .key_count = 2,
                               .next_token = SLICE_LIT("tok"),
                               .next_marker = SLICE_LIT("a b/")};
    struct s3_result_object o = {.key = SLICE_LIT("a b<"),
                                 .etag = SLICE_LIT("e"),
                                 .size = 5,
                                 .owner = &owner,
                                 .checksum_algorithm = S3_CHECKSUM_CRC32C,
                                 .checksum_type = S3_CHECKSUM_COMPOSITE};
    for (int v = 2; v >= 1; v--) {
        buf_clear(&b);
        p.v2 = v == 2;
        s3_result_list_begin(&b, &l);
        s3_result_list_object(&b, &l, &o);
        s3_result_list_prefix(&b, &l, SLICE_LIT("a b/"));
        s3_result_list_end(&b, &l);
        assert_well_formed(&b);
        assert_true(has(&b, "<ListBucketResult xmlns=\"" S3_XMLNS "\"><Name>bkt</Name>"
                            "<Prefix>a+b</Prefix>"));
        assert_true(has(&b,
                        "<Contents><Key>a+b%3C</Key><LastModified>1970-01-01T00:00:00.000Z"
                        "</LastModified><ETag>&quot;e&quot;</ETag><ChecksumAlgorithm>CRC32C"
                        "</ChecksumAlgorithm><ChecksumType>COMPOSITE</ChecksumType><Size>5</Size>"
                        "<Owner><ID>abcd</ID><DisplayName>root</DisplayName></Owner>"
                        "<StorageClass>STANDARD</StorageClass></Contents>"));
        assert_true(has(&b, "<CommonPrefixes><Prefix>a+b/</Prefix></CommonPrefixes>"));
        assert_int_equal(has(&b, "<NextContinuationToken>tok</NextContinuationToken>"), p.v2);
        assert_int_equal(has(&b, "<KeyCount>2</KeyCount>"), p.v2);
        assert_int_equal(has(&b, "<NextMarker>a+b/</NextMarker>"), !p.v2);
    }
    buf_clear(&b);
    s3_result_buckets_begin(&b, &owner);
    s3_result_buckets_entry(&b, &(struct s3_result_bucket){SLICE_LIT("bkt"), SLICE_LIT("r"), 1000});
    s3_result_buckets_end(&b, SLICE_EMPTY, SLICE_LIT("t"));
    assert_well_formed(&b);
    assert_true(has(&b, "<Buckets><Bucket><Name>bkt</Name><CreationDate>1970-01-01T00:00:01.000Z"
                        "</CreationDate><BucketRegion>r</BucketRegion></Bucket></Buckets>"));
    buf_clear(&b);
    s3_result_location(&b, SLICE_LIT("us-east-1"));
    assert_well_formed(&b);
    assert_true(has(&b, "\"></LocationConstraint>"));
    buf_fini(&b);
}

static void write_multipart(void **state)
{
    (void)state;
    static const uint8_t id[16] = {0xab, [15] = 1};
    struct buf b = {0};
    struct s3_list_uploads_params up = {.max_uploads = 5, .delimiter = SLICE_LIT("/")};
    struct s3_result_uploads u = {.bucket = SLICE_LIT("bkt"),
                                  .params = &up,
                                  .truncated = true,
                                  .next_key_marker = SLICE_LIT("k"),
                                  .next_upload_id_marker = id};
    s3_result_uploads_begin(&b, &u);
    s3_result_uploads_entry(
        &b, &u,
        &(struct s3_result_upload){
            .key = SLICE_LIT("k"), .upload_id = id, .owner = &owner, .initiator = &owner});
    s3_result_uploads_prefix(&b, &u, SLICE_LIT("p/"));
    s3_result_uploads_end(&b, &u);
    assert_well_formed(&b);
    assert_true(has(&b, "<UploadId>ab000000000000000000000000000001</UploadId>"));
    assert_true(has(&b, "<NextUploadIdMarker>ab0"));
    struct s3_checksum c;
    assert_true(s3_checksum_from_text(S3_CHECKSUM_CRC32, SLICE_LIT("y/Q5Jg=="), &c, NULL));
    struct s3_list_parts_params pp = {.marker = 3, .max_parts = 7};
    struct s3_result_parts l = {.bucket = SLICE_LIT("bkt"),
                                .key = SLICE_LIT("k"),
                                .upload_id = id,
                                .params = &pp,
                                .next_marker = 4,
                                .owner = &owner,
                                .initiator = &owner,
                                .checksum_algorithm = S3_CHECKSUM_CRC32};
    buf_clear(&b);
    s3_result_parts_begin(&b, &l);
    s3_result_parts_entry(&b, &(struct s3_result_part){
                                  .number = 4, .etag = SLICE_LIT("e"), .size = 9, .checksum = &c});
    s3_result_parts_end(&b, &l);
    assert_well_formed(&b);
    assert_true(has(&b, "<Part><PartNumber>4</PartNumber>"));
    assert_true(has(&b, "<ChecksumCRC32>y/Q5Jg==</ChecksumCRC32></Part>"));
    c.type = S3_CHECKSUM_COMPOSITE;
    buf_clear(&b);
    s3_result_complete(&b, SLICE_LIT("http://x/b/k"), SLICE_LIT("bkt"), SLICE_LIT("k"),
                       SLICE_LIT("e-2"), &c, 2);
    assert_well_formed(&b);
    assert_true(has(&b, "<ETag>&quot;e-2&quot;</ETag><ChecksumCRC32>y/Q5Jg==-2</ChecksumCRC32>"
                        "<ChecksumType>COMPOSITE</ChecksumType>"));
    buf_clear(&b);
    s3_result_initiate(&b, SLICE_LIT("bkt"), SLICE_LIT("k&"), id);
    assert_well_formed(&b);
    buf_clear(&b);
    s3_result_copy(&b, SLICE_LIT("e"), 0, NULL, 0);
    assert_well_formed(&b);
    buf_clear(&b);
    s3_result_copy_part(&b, SLICE_LIT("e"), 0, &c);
    assert_well_formed(&b);
    assert_true(has(&b, "<CopyPartResult"));
    buf_clear(&b);
    s3_result_delete_begin(&b);
    s3_result_delete_entry(&b, SLICE_LIT("<k>"), SLICE_EMPTY, SLICE_EMPTY);
    s3_result_delete_error(&b, SLICE_LIT("k2"), SLICE_LIT("null"), S3_ACCESS_DENIED, SLICE_EMPTY);
    s3_result_delete_end(&b);
    assert_well_formed(&b);
    assert_true(has(&b, "<Error><Key>k2</Key><VersionId>null</VersionId><Code>AccessDenied</Code>"
                        "<Message>Access Denied</Message></Error>"));
    struct s3_result_attributes a = {.mask = 31,
                                     .etag = SLICE_LIT("e-2"),
                                     .size = 12,
                                     .checksum = &c,
                                     .part_count = 2,
                                     .parts_max = 1000};
    buf_clear(&b);
    s3_result_attributes_begin(&b, &a);
    s3_result_attributes_part(&b, 1, 6, &c);
    s3_result_attributes_end(&b, &a);
    assert_well_formed(&b);
    assert_true(has(&b,
                    "<ETag>e-2</ETag><Checksum><ChecksumCRC32>y/Q5Jg==</ChecksumCRC32>"
                    "<ChecksumType>COMPOSITE</ChecksumType></Checksum><ObjectParts><PartsCount>2"));
    buf_fini(&b);
}

/* ---- checksums ---- */

static const struct {
    enum s3_checksum_algorithm algorithm;
    const char *text; /* of "123456789" */
} digits[] = {
    {S3_CHECKSUM_CRC32, "y/Q5Jg=="},
    {S3_CHECKSUM_CRC32C, "4waSgw=="},
    {S3_CHECKSUM_CRC64NVME, "rosUhgp5mIg="},
    {S3_CHECKSUM_SHA1, "98O8HYCOBHMq32eZZczDTKeuNEE="},
    {S3_CHECKSUM_SHA256, "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="},
};

static void hashed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(digits); i++) {
        struct s3_hasher h;
        struct s3_hashes r;
        char text[S3_CHECKSUM_TEXT_MAX];
        assert_int_equal(s3_hasher_init(&h, digits[i].algorithm, true, i % 2), OK);
        s3_hasher_update(&h, SLICE_LIT("1234"));
        s3_hasher_update(&h, SLICE_EMPTY);
        s3_hasher_update(&h, SLICE_LIT("56789"));
        s3_hasher_final(&h, &r);
        s3_checksum_text(&r.checksum, 0, text);
        assert_string_equal(text, digits[i].text);
        assert_true(r.crc64nvme == 0xae8b14860a799888ull && r.bytes == 9 && r.has_md5);
        /* The claim in the header: right, wrong by one bit. */
        char line[128];
        struct s3_checksum_claim claim;
        snprintf(line, sizeof(line), "%s: %s", s3_checksum_field(digits[i].algorithm), text);
        MAKE(&m, "PUT", "/bkt/k", "Host: x", line, "Content-MD5: JfnnlDI7RTiF9RgfG2JNCw==");
        assert_code(s3_checksum_claim_parse(&m.request, &claim, &fault), S3_OK);
        assert_true(claim.has_value && claim.has_md5 && claim.algorithm == digits[i].algorithm);
        assert_code(s3_hashes_verify(&r, &claim, NULL, &fault), S3_OK);
        claim.value.bytes[claim.value.len - 1] ^= 1;
        assert_code(s3_hashes_verify(&r, &claim, NULL, &fault), S3_BAD_DIGEST);
        claim.value.bytes[claim.value.len - 1] ^= 1;
        claim.md5[15] ^= 1;
        assert_code(s3_hashes_verify(&r, &claim, NULL, &fault), S3_BAD_DIGEST);
        claim.md5[15] ^= 1;
        if (r.has_sha256) {
            uint8_t sha[SHA256_BYTES];
            sha256(SLICE_LIT("123456789"), sha);
            assert_code(s3_hashes_verify(&r, &claim, sha, &fault), S3_OK);
            sha[0] ^= 1;
            assert_code(s3_hashes_verify(&r, &claim, sha, &fault),
                        S3_X_AMZ_CONTENT_SHA256_MISMATCH);
        }
    }
}

static void claims(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        enum s3_code code;
        enum s3_checksum_algorithm algorithm;
        bool in_trailer;
    } cases[] = {
        {"X: y", NULL, S3_OK, S3_CHECKSUM_NONE, false},
        {"X-Amz-Checksum-CRC32: y/Q5Jg==", NULL, S3_OK, S3_CHECKSUM_CRC32, false},
        {"x-amz-checksum-crc32: y/Q5Jg==", "x-amz-sdk-checksum-algorithm: CRC32", S3_OK,
         S3_CHECKSUM_CRC32, false},
        {"x-amz-checksum-crc32: y/Q5Jg==", "x-amz-sdk-checksum-algorithm: SHA1", S3_INVALID_REQUEST,
         0, false},
        {"x-amz-checksum-crc32: y/Q5Jg==", "x-amz-checksum-crc32c: 4waSgw==", S3_INVALID_REQUEST, 0,
         false},
        {"x-amz-checksum-crc32: y/Q5Jg==", "x-amz-checksum-crc32: y/Q5Jg==", S3_INVALID_REQUEST, 0,
         false},
        {"x-amz-checksum-crc32: y/Q5Jg==", "x-amz-trailer: x-amz-checksum-crc32",
         S3_INVALID_REQUEST, 0, false},
        {"x-amz-checksum-crc32: y/Q5", NULL, S3_INVALID_REQUEST, 0, false},
        {"x-amz-checksum-crc32: ", NULL, S3_INVALID_REQUEST, 0, false},
        {"x-amz-checksum-xxhash64: y/Q5Jg==", NULL, S3_INVALID_REQUEST, 0, false},
        {"x-amz-trailer: x-amz-checksum-sha256", "x-amz-sdk-checksum-algorithm: SHA256", S3_OK,
         S3_CHECKSUM_SHA256, true},
        {"x-amz-trailer: x-amz-meta-a", NULL, S3_INVALID_REQUEST, 0, false},
        {"x-amz-sdk-checksum-algorithm: crc64nvme", NULL, S3_OK, S3_CHECKSUM_CRC64NVME, false},
        {"x-amz-sdk-checksum-algorithm: CRC16", NULL, S3_INVALID_REQUEST, 0, false},
        {"Content-MD5: abc", NULL, S3_INVALID_DIGEST, 0, false},
        {"Content-MD5: ", NULL, S3_INVALID_DIGEST, 0, false},
        {"x-amz-checksum-mode: ENABLED", "x-amz-checksum-type: FULL_OBJECT", S3_OK, 0, false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct s3_checksum_claim c;
        const char *fields[] = {"Host: x", cases[i].a, cases[i].b, NULL};
        make(&m, "PUT", "/bkt/k", fields);
        enum s3_code code = s3_checksum_claim_parse(&m.request, &c, &fault);
        if (code != cases[i].code || (code == S3_OK && (c.algorithm != cases[i].algorithm ||
                                                        c.in_trailer != cases[i].in_trailer)))
            fail_msg("%s %s", cases[i].a, cases[i].b);
    }
    /* The trailer must bring what was announced, and nothing else. */
    struct s3_checksum_claim c = {.algorithm = S3_CHECKSUM_CRC32, .in_trailer = true};
    struct http_field right = {SLICE_LIT("X-Amz-Checksum-Crc32"), SLICE_LIT("y/Q5Jg==")};
    struct http_field wrong = {SLICE_LIT("x-amz-checksum-crc32c"), SLICE_LIT("4waSgw==")};
    struct s3_checksum_claim copy = c;
    assert_code(s3_checksum_claim_trailer(&copy, (struct http_fields){&right, 1}, &fault), S3_OK);
    assert_true(copy.has_value);
    assert_code(s3_checksum_claim_trailer(&copy, (struct http_fields){&right, 1}, &fault),
                S3_MALFORMED_TRAILER);
    copy = c;
    assert_code(s3_checksum_claim_trailer(&copy, (struct http_fields){&wrong, 1}, &fault),
                S3_MALFORMED_TRAILER);
    assert_code(s3_checksum_claim_trailer(&copy, (struct http_fields){NULL, 0}, &fault),
                S3_MALFORMED_TRAILER);
}

static void upload_algorithms(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        enum s3_code code;
        enum s3_checksum_type type;
    } cases[] = {
        {"X: y", NULL, S3_OK, S3_CHECKSUM_FULL_OBJECT},
        {"x-amz-checksum-algorithm: CRC32", NULL, S3_OK, S3_CHECKSUM_COMPOSITE},
        {"x-amz-checksum-algorithm: SHA256", NULL, S3_OK, S3_CHECKSUM_COMPOSITE},
        {"x-amz-checksum-algorithm: CRC64NVME", NULL, S3_OK, S3_CHECKSUM_FULL_OBJECT},
        {"x-amz-checksum-algorithm: CRC32", "x-amz-checksum-type: FULL_OBJECT", S3_OK,
         S3_CHECKSUM_FULL_OBJECT},
        {"x-amz-checksum-algorithm: SHA1", "x-amz-checksum-type: FULL_OBJECT", S3_INVALID_REQUEST,
         0},
        {"x-amz-checksum-algorithm: CRC64NVME", "x-amz-checksum-type: COMPOSITE",
         S3_INVALID_REQUEST, 0},
        {"x-amz-checksum-type: COMPOSITE", NULL, S3_INVALID_REQUEST, 0},
        {"x-amz-checksum-algorithm: MD4", NULL, S3_INVALID_REQUEST, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        enum s3_checksum_algorithm a;
        enum s3_checksum_type t = S3_CHECKSUM_FULL_OBJECT;
        const char *fields[] = {"Host: x", cases[i].a, cases[i].b, NULL};
        make(&m, "POST", "/bkt/k?uploads", fields);
        assert_code(s3_checksum_upload_parse(&m.request, &a, &t, &fault), cases[i].code);
        if (cases[i].code == S3_OK)
            assert_int_equal(t, cases[i].type);
    }
}

/* Parts against the whole (full object), and against the definition (composite). */
static void combined(void **state)
{
    (void)state;
    static uint8_t data[1000];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7);
    static const size_t sizes[] = {300, 0, 1, 699};
    for (int a = S3_CHECKSUM_NONE; a < S3_CHECKSUM_COUNT; a++) {
        for (int t = S3_CHECKSUM_FULL_OBJECT; t <= S3_CHECKSUM_COMPOSITE; t++) {
            enum s3_checksum_algorithm algorithm = (enum s3_checksum_algorithm)a;
            struct s3_combiner c;
            struct s3_hasher h;
            struct s3_hashes part, whole, of_sums;
            struct s3_checksum sum;
            char etag[S3_ETAG_TEXT_MAX], md5s[4 * MD5_BYTES], sums[4 * 32];
            uint64_t crc64 = 0;
            bool known = false;
            size_t at = 0, sums_len = 0;
            assert_int_equal(s3_combiner_init(&c, algorithm, (enum s3_checksum_type)t), OK);
            for (int i = 0; i < 4; i++) {
                assert_int_equal(s3_hasher_init(&h, algorithm, true, false), OK);
                s3_hasher_update(&h, SLICE(data + at, sizes[i]));
                s3_hasher_final(&h, &part);
                memcpy(md5s + i * MD5_BYTES, part.md5, MD5_BYTES);
                memcpy(sums + sums_len, part.checksum.bytes, part.checksum.len);
                sums_len += part.checksum.len;
                s3_combiner_add(&c, sizes[i], part.md5, &part.checksum, &part.crc64nvme);
                at += sizes[i];
            }
            s3_combiner_final(&c, etag, &sum, &crc64, &known);
            assert_int_equal(s3_hasher_init(&h, algorithm, true, false), OK);
            s3_hasher_update(&h, SLICE(data, sizeof(data)));
            s3_hasher_final(&h, &whole);
            assert_true(known && crc64 == whole.crc64nvme);
            assert_int_equal(s3_hasher_init(&h, algorithm, true, false), OK);
            s3_hasher_update(&h, SLICE(sums, sums_len));
            s3_hasher_final(&h, &of_sums);
            bool sha = algorithm == S3_CHECKSUM_SHA1 || algorithm == S3_CHECKSUM_SHA256;
            bool crc64_kind = algorithm == S3_CHECKSUM_NONE || algorithm == S3_CHECKSUM_CRC64NVME;
            if (sha && t == S3_CHECKSUM_FULL_OBJECT)
                assert_int_equal(sum.algorithm, S3_CHECKSUM_NONE);
            else if (t == S3_CHECKSUM_FULL_OBJECT || crc64_kind)
                assert_memory_equal(sum.bytes, whole.checksum.bytes, whole.checksum.len);
            else
                assert_memory_equal(sum.bytes, of_sums.checksum.bytes, of_sums.checksum.len);
            uint8_t md5[MD5_BYTES];
            char want[S3_ETAG_TEXT_MAX] = {0};
            digest_once(DIGEST_MD5, SLICE(md5s, sizeof(md5s)), md5);
            hex_encode(SLICE(md5, MD5_BYTES), want);
            assert_string_equal(etag, strcat(want, "-4"));
        }
    }
    /* A part without the checksum: the whole has none, rather than a wrong one. */
    struct s3_combiner c;
    struct s3_checksum sum;
    char etag[S3_ETAG_TEXT_MAX];
    uint64_t crc64;
    bool known;
    uint8_t md5[MD5_BYTES] = {0};
    assert_int_equal(s3_combiner_init(&c, S3_CHECKSUM_CRC32, S3_CHECKSUM_COMPOSITE), OK);
    s3_combiner_add(&c, 5, md5, NULL, NULL);
    s3_combiner_final(&c, etag, &sum, &crc64, &known);
    assert_true(sum.algorithm == S3_CHECKSUM_NONE && !known);
}

static void checksum_texts(void **state)
{
    (void)state;
    struct s3_checksum c;
    unsigned parts = 0;
    char text[S3_CHECKSUM_TEXT_MAX];
    assert_true(s3_checksum_from_text(S3_CHECKSUM_SHA256, slice_cstr(digits[4].text), &c, &parts));
    assert_int_equal(parts, 0);
    c.type = S3_CHECKSUM_COMPOSITE;
    assert_int_equal(s3_checksum_text(&c, 10000, text), 50);
    assert_true(s3_checksum_from_text(S3_CHECKSUM_SHA256, slice_cstr(text), &c, &parts));
    assert_int_equal(parts, 10000);
    assert_false(s3_checksum_from_text(S3_CHECKSUM_SHA256, slice_cstr(text), &c, NULL));
    assert_false(s3_checksum_from_text(S3_CHECKSUM_CRC32, SLICE_LIT("y/Q5Jg==-0"), &c, &parts));
    assert_false(s3_checksum_from_text(S3_CHECKSUM_CRC32, SLICE_LIT("y/Q5Jg==-"), &c, &parts));
    assert_false(s3_checksum_from_text(S3_CHECKSUM_CRC32, SLICE_LIT("y/Q5Jg==-10001"), &c, &parts));
    assert_false(s3_checksum_from_text(S3_CHECKSUM_CRC32C, slice_cstr(digits[2].text), &c, &parts));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escaping),
        cmocka_unit_test(errors),
        cmocka_unit_test(read_complete),
        cmocka_unit_test(hostile_xml),
        cmocka_unit_test(read_delete),
        cmocka_unit_test(read_create_bucket),
        cmocka_unit_test(read_versioning),
        cmocka_unit_test(write_lists),
        cmocka_unit_test(write_multipart),
        cmocka_unit_test(hashed),
        cmocka_unit_test(claims),
        cmocka_unit_test(upload_algorithms),
        cmocka_unit_test(combined),
        cmocka_unit_test(checksum_texts),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
