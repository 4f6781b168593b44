/* Inventories and access logs: configurations, rows, manifests, records, names. */
#include "gateway/s3/inventory.h"
#include "gateway/s3/logging.h"
#include "gateway/s3/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/gateway/s3/make.h"

#define NS " xmlns=\"" S3_XMLNS "\""
static struct made m;
static struct buf out;

static enum s3_code put(const char *target, const char *body)
{
    MAKE(&m, "PUT", target, "Host: x");
    assert_code(m.code, S3_OK);
    buf_clear(&out);
    return s3_setting_read(s3_setting_of_op(m.request.op), &m.request, slice_cstr(body), &out,
                           &m.fault);
}

#define INVENTORY(destination, more)                                                               \
    "<InventoryConfiguration" NS "><Id>i</Id><IsEnabled>true</IsEnabled><Destination>"             \
    "<S3BucketDestination>" destination "</S3BucketDestination></Destination><Schedule>"           \
    "<Frequency>Weekly</Frequency></Schedule><IncludedObjectVersions>All</"                        \
    "IncludedObjectVersions>" more "</InventoryConfiguration>"
#define TO "<Bucket>arn:aws:s3:::dest</Bucket>"
#define CSV "<Format>CSV</Format>"
#define FIELDS(x) "<OptionalFields>" x "</OptionalFields>"

static void inventory_documents(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        enum s3_code code;
    } cases[] = {
        {INVENTORY(TO CSV, ""), S3_OK},
        {INVENTORY(TO CSV "<Encryption></Encryption>", FIELDS("")), S3_OK},
        {INVENTORY(TO CSV "<Encryption><SSE-KMS><KeyId>k</KeyId></SSE-KMS></Encryption>", ""),
         S3_OK},
        {INVENTORY(TO CSV "<Encryption><SSE-S3></SSE-S3><SSE-KMS><KeyId>k</KeyId></SSE-KMS>"
                          "</Encryption>",
                   ""),
         S3_MALFORMED_XML},
        {INVENTORY(TO CSV, FIELDS("<Field>Size</Field><Field>ETag</Field>")), S3_OK},
        {INVENTORY(TO CSV, FIELDS("<Field>Size</Field><Field>Size</Field>")), S3_MALFORMED_XML},
        {INVENTORY(TO CSV, FIELDS("<Field>Weight</Field>")), S3_MALFORMED_XML},
        {INVENTORY(TO CSV, FIELDS("<Field>ObjectAccessControlList</Field>")), S3_NOT_IMPLEMENTED},
        {INVENTORY(TO CSV, FIELDS("<Field>IntelligentTieringAccessTier</Field>")),
         S3_NOT_IMPLEMENTED},
        {INVENTORY(TO "<Format>ORC</Format>", ""), S3_NOT_IMPLEMENTED},
        {INVENTORY(TO "<Format>csv</Format>", ""), S3_MALFORMED_XML},
        {INVENTORY(TO, ""), S3_MALFORMED_XML},
        {INVENTORY("<Bucket>dest</Bucket>" CSV, ""), S3_INVALID_S3_DESTINATION_BUCKET},
        {INVENTORY("<Bucket>arn:aws:s3::1:dest</Bucket>" CSV, ""),
         S3_INVALID_S3_DESTINATION_BUCKET},
        {INVENTORY("<Bucket>arn:aws:s3:::a/b</Bucket>" CSV, ""), S3_INVALID_S3_DESTINATION_BUCKET},
        {INVENTORY(TO CSV, "<Filter></Filter>"), S3_MALFORMED_XML},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        assert_code(put("/bkt?inventory&id=i", cases[i].body), cases[i].code);
        if (cases[i].code == S3_OK)
            assert_slice(buf_view(&out), cases[i].body);
    }
    assert_code(put("/bkt?inventory&id=other", INVENTORY(TO CSV, "")), S3_INVALID_ARGUMENT);
}

static void read_inventory(struct s3_inventory *i, const char *body)
{
    struct s3_node *root;
    assert_code(put("/bkt?inventory&id=i", body), S3_OK);
    assert_code(s3_document_read(&m.arena, &s3_inventory_schema, slice_cstr(body), &root, &m.fault),
                S3_OK);
    assert_code(s3_inventory_of_node(root, i, &m.fault), S3_OK);
}

static void inventory_rows(void **state)
{
    (void)state;
    struct s3_inventory i;
    read_inventory(&i,
                   INVENTORY(TO CSV "<Prefix>p/q</Prefix>",
                             FIELDS("<Field>ETag</Field><Field>Size</Field><Field>EncryptionStatus"
                                    "</Field><Field>ObjectLockMode</Field>"
                                    "<Field>ObjectLockRetainUntilDate</Field>"
                                    "<Field>IsMultipartUploaded</Field>")));
    assert_true(i.enabled && i.weekly && i.all_versions);
    struct s3_inventory_entry e = {
        .key = SLICE_LIT("a \"b\",\n/c"),
        .version_id = "v1",
        .is_latest = true,
        .size = 7,
        .etag = "abc-2",
        .lock_mode = "GOVERNANCE",
        .retain_until_ms = 1000,
    };
    buf_clear(&out);
    s3_inventory_row(&out, &i, SLICE_LIT("bkt"), &e);
    assert_slice(
        buf_view(&out),
        "\"bkt\",\"a%20%22b%22%2C%0A/c\",\"v1\",\"true\",\"false\",\"7\",\"abc-2\",\"true\","
        "\"NOT-SSE\",\"1970-01-01T00:00:01.000Z\",\"GOVERNANCE\"\n");
    e.delete_marker = true;
    i.all_versions = false;
    buf_clear(&out);
    s3_inventory_row(&out, &i, SLICE_LIT("bkt"), &e);
    assert_slice(buf_view(&out), "\"bkt\",\"a%20%22b%22%2C%0A/c\",\"\",\"\",\"\",\"\",\"\",\"\"\n");
    buf_clear(&out);
    s3_inventory_manifest_place(&out, &i, SLICE_LIT("bkt"), 1480528920123);
    assert_slice(buf_view(&out), "p/q/bkt/i/2016-11-30T18-02Z/");
}

static void inventory_manifest(void **state)
{
    (void)state;
    struct s3_inventory i;
    read_inventory(&i, INVENTORY(TO CSV, FIELDS("<Field>ETag</Field><Field>Size</Field>")));
    struct s3_inventory_file a = {SLICE_LIT("x\"y"), 5, "00"}, b = {SLICE_LIT("z"), 6, "11"};
    buf_clear(&out);
    s3_inventory_manifest_begin(&out, &i, SLICE_LIT("bkt"), 123);
    s3_inventory_manifest_file(&out, true, &a);
    s3_inventory_manifest_file(&out, false, &b);
    s3_inventory_manifest_end(&out);
    assert_slice(buf_view(&out),
                 "{\"sourceBucket\":\"bkt\",\"destinationBucket\":\"arn:aws:s3:::dest\","
                 "\"version\":\"2016-11-30\",\"creationTimestamp\":\"123\",\"fileFormat\":\"CSV\","
                 "\"fileSchema\":\"Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, ETag\","
                 "\"files\":[{\"key\":\"x\\\"y\",\"size\":5,\"MD5checksum\":\"00\"},"
                 "{\"key\":\"z\",\"size\":6,\"MD5checksum\":\"11\"}]}");
}

#define LOGGING(x) "<BucketLoggingStatus" NS ">" x "</BucketLoggingStatus>"
#define ENABLED(bucket, more)                                                                      \
    LOGGING("<LoggingEnabled><TargetBucket>" bucket "</TargetBucket><TargetPrefix>p/"              \
            "</TargetPrefix>" more "</LoggingEnabled>")
#define FORMAT(x) "<TargetObjectKeyFormat>" x "</TargetObjectKeyFormat>"
#define PARTITIONED(x) FORMAT("<PartitionedPrefix>" x "</PartitionedPrefix>")

static void logging_documents(void **state)
{
    (void)state;
    assert_code(put("/bkt?logging", LOGGING("")), S3_OK);
    assert_int_equal(out.len, 0);
    assert_code(put("/bkt?logging", ENABLED("dest", "")), S3_OK);
    assert_slice(buf_view(&out), ENABLED("dest", ""));
    assert_code(put("/bkt?logging", ENABLED("dest", FORMAT("<SimplePrefix></SimplePrefix>"))),
                S3_OK);
    assert_code(put("/bkt?logging", ENABLED("No Bucket", "")),
                S3_INVALID_TARGET_BUCKET_FOR_LOGGING);
    assert_code(put("/bkt?logging", ENABLED("dest", "<TargetGrants></TargetGrants>")),
                S3_NOT_IMPLEMENTED);
    assert_code(put("/bkt?logging", LOGGING("<LoggingEnabled></LoggingEnabled>")),
                S3_MALFORMED_XML);
}

static void key_is(const char *body, const char *want)
{
    struct s3_node *root;
    struct s3_logging l;
    MAKE(&m, "PUT", "/bkt?logging", "Host: x");
    assert_code(s3_document_read(&m.arena, &s3_logging_schema, slice_cstr(body), &root, &m.fault),
                S3_OK);
    assert_code(s3_logging_of_node(&m.arena, root, &l, &m.fault), S3_OK);
    buf_clear(&out);
    s3_logging_key(&out, &l, SLICE_LIT("123456789012"), SLICE_LIT("eu"), SLICE_LIT("bkt"),
                   1480528920123, 1480528920123 + 86400000, "0123456789ABCDEF");
    assert_slice(buf_view(&out), want);
}

static void logging_names(void **state)
{
    (void)state;
#define BY(x) PARTITIONED("<PartitionDateSource>" x "</PartitionDateSource>")
    key_is(ENABLED("dest", ""), "p/2016-12-01-18-02-00-0123456789ABCDEF");
    key_is(ENABLED("dest", BY("DeliveryTime")),
           "p/123456789012/eu/bkt/2016/12/01/2016-12-01-18-02-00-0123456789ABCDEF");
    key_is(ENABLED("dest", BY("EventTime")),
           "p/123456789012/eu/bkt/2016/11/30/2016-11-30-00-00-00-0123456789ABCDEF");
}

static void record_is(const struct s3_log_record *r, const char *want)
{
    buf_clear(&out);
    s3_log_record_write(&out, r);
    assert_slice(buf_view(&out), want);
}

static void logging_records(void **state)
{
    (void)state;
    struct s3_log_record r = {
        .bucket_owner = SLICE_LIT("owner"),
        .bucket = SLICE_LIT("bkt"),
        .peer = SLICE_LIT("192.0.2.3"),
        .requester = SLICE_LIT("arn:aws:iam::1:user/u"),
        .request_id = SLICE_LIT("ID"),
        .time_ms = 1549411238000,
        .op = S3_OP_GET_OBJECT,
        .method = SLICE_LIT("GET"),
        .target = SLICE_LIT("/bkt/a%20b?x=1&X-Amz-Signature=abc&%58-amz-security-token=t&y&"
                            "x-amz-server-side-encryption-customer-key=K&x-amz-copy-source-server-"
                            "side-encryption-customer-key=K"),
        .key = SLICE_LIT("a b"),
        .status = 206,
        .bytes_sent = 10,
        .has_size = true,
        .size = 20,
        .total_ms = 7,
        .has_turnaround = true,
        .turnaround_ms = 3,
        .user_agent = SLICE_LIT("x\" 1\r\n\x80"),
        .version_id = SLICE_LIT("v 1"),
        .host = SLICE_LIT("h:1"),
        .is_signed = true,
        .presigned = true,
        .tls_version = "TLSv1.3",
    };
    record_is(&r, "owner bkt [06/Feb/2019:00:00:38 +0000] 192.0.2.3 arn:aws:iam::1:user/u ID "
                  "REST.GET.OBJECT a%2520b \"GET /bkt/a%20b?x=1&X-Amz-Signature=XXXX&"
                  "%58-amz-security-token=XXXX&y&x-amz-server-side-encryption-customer-key=XXXX&"
                  "x-amz-copy-source-server-side-encryption-customer-key=XXXX HTTP/1.1\" 206 - 10 20 7 3 \"-\" "
                  "\"x%22 1%0D%0A%80\" v%201 - SigV4 - QueryString h:1 TLSv1.3 - -\n");
    r.version_2 = true;
    r.target = SLICE_LIT("/bkt/a?AWSAccessKeyId=A&Signature=abc&Expires=1&x-amz-security-token=t");
    record_is(&r, "owner bkt [06/Feb/2019:00:00:38 +0000] 192.0.2.3 arn:aws:iam::1:user/u ID "
                  "REST.GET.OBJECT a%2520b \"GET /bkt/a?AWSAccessKeyId=A&Signature=XXXX&Expires=1&"
                  "x-amz-security-token=XXXX HTTP/1.1\" 206 - 10 20 7 3 \"-\" "
                  "\"x%22 1%0D%0A%80\" v%201 - SigV2 - QueryString h:1 TLSv1.3 - -\n");
    r.presigned = false;
    r.form = true;
    r.target = SLICE_LIT("/bkt");
    record_is(&r, "owner bkt [06/Feb/2019:00:00:38 +0000] 192.0.2.3 arn:aws:iam::1:user/u ID "
                  "REST.GET.OBJECT a%2520b \"GET /bkt HTTP/1.1\" 206 - 10 20 7 3 \"-\" "
                  "\"x%22 1%0D%0A%80\" v%201 - SigV2 - POST h:1 TLSv1.3 - -\n");
    r = (struct s3_log_record){.bucket_owner = SLICE_LIT("o"),
                               .bucket = SLICE_LIT("b"),
                               .request_id = SLICE_LIT("ID"),
                               .op = S3_OP_PUT_BUCKET_LOGGING,
                               .resource = "LOGGING_STATUS",
                               .method = SLICE_LIT("PUT"),
                               .target = SLICE_LIT("/b?logging"),
                               .status = 403,
                               .error = "AccessDenied"};
    record_is(&r,
              "o b [01/Jan/1970:00:00:00 +0000] - - ID REST.PUT.LOGGING_STATUS - \"PUT /b?logging"
              " HTTP/1.1\" 403 AccessDenied - - 0 - \"-\" \"-\" - - - - - - - - -\n");
    static const struct {
        enum s3_op op;
        const char *method, *resource, *want;
    } others[] = {
        {S3_OP_POST_OBJECT, "POST", "BUCKET", " REST.POST.OBJECT "},
        {S3_OP_COPY_OBJECT, "PUT", "OBJECT", " REST.COPY.OBJECT "},
        {S3_OP_UPLOAD_PART, "PUT", "UPLOAD", " REST.PUT.PART "},
        {S3_OP_UPLOAD_PART_COPY, "PUT", "UPLOAD", " REST.COPY.PART "},
        {S3_OP_COMPLETE_MULTIPART_UPLOAD, "POST", "UPLOAD", " REST.POST.UPLOAD "},
        {S3_OP_LIST_BUCKETS, "GET", "SERVICE", " REST.GET.SERVICE "},
        {S3_OP_PREFLIGHT, "OPTIONS", NULL, " REST.OPTIONS.PREFLIGHT "},
        {S3_OP_NONE, "DELETE", "UPLOADS", " REST.DELETE.UPLOADS "},
        {S3_OP_NONE, "DELETE", NULL, " REST.DELETE.BUCKET "},
    };
    for (size_t i = 0; i < ARRAY_COUNT(others); i++) {
        r.op = others[i].op;
        r.method = slice_cstr(others[i].method);
        r.resource = others[i].resource;
        buf_clear(&out);
        s3_log_record_write(&out, &r);
        assert_non_null(memmem(out.ptr, out.len, others[i].want, strlen(others[i].want)));
    }
    r.op = S3_OP_GET_OBJECT;
    r.method = SLICE_LIT("GET");
    r.resource = "OBJECT";
    r.website = true;
    buf_clear(&out);
    s3_log_record_write(&out, &r);
    assert_non_null(memmem(out.ptr, out.len, " WEBSITE.GET.OBJECT ", 20));
}

/* What clients send cannot be made to take without end. */
static void long_records(void **state)
{
    (void)state;
    static char target[65536];
    memset(target, '"', sizeof(target));
    target[0] = '/';
    target[100] = '?';
    for (size_t i = 200; i < sizeof(target); i += 100)
        target[i] = '&';
    struct s3_log_record r = {.method = SLICE_LIT("GET"),
                              .target = SLICE(target, sizeof(target)),
                              .referer = SLICE(target, sizeof(target))};
    buf_clear(&out);
    s3_log_record_write(&out, &r);
    assert_true(out.len < 16384);
    assert_null(memchr(out.ptr, '\n', out.len - 1));
}

static int done(void **state)
{
    (void)state;
    arena_fini(&m.arena);
    buf_fini(&out);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inventory_documents), cmocka_unit_test(inventory_rows),
        cmocka_unit_test(inventory_manifest),  cmocka_unit_test(logging_documents),
        cmocka_unit_test(logging_names),       cmocka_unit_test(logging_records),
        cmocka_unit_test(long_records),
    };
    return cmocka_run_group_tests(tests, NULL, done);
}
