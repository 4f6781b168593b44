/* Request targets and fields: "METHOD target\nName: value\n..." from any bytes, through everything
 * of the S3 layer that reads a request.  Decoded texts are UTF-8, and what is encoded decodes to
 * itself. */
#include "common/base/check.h"
#include "gateway/s3/checksum.h"
#include "gateway/s3/headers.h"
#include "gateway/s3/list.h"
#include "tests/fuzz/request_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_fields(const struct s3_request *r, struct s3_fault *f)
{
    struct s3_conditions conditions;
    struct s3_metadata metadata;
    struct s3_overrides overrides;
    struct s3_copy_source source;
    struct s3_attributes attributes;
    struct s3_checksum_claim claim;
    struct s3_range range;
    enum s3_checksum_algorithm algorithm;
    enum s3_checksum_type type;
    uint64_t a = 0, b = 0, offset = 0, length = 0;
    uint32_t part = 0;
    uint8_t id[16];
    bool flag = false;
    if (s3_conditions_parse(r, 1700000000000ull, &conditions, f) == S3_OK) {
        (void)s3_conditions_read(&conditions, SLICE_LIT("etag"), 1700000000000ull, f);
        (void)s3_conditions_for_write(&conditions, f);
    }
    (void)s3_copy_conditions_parse(r, 0, &conditions, f);
    if (s3_metadata_parse(r, &metadata, f) == S3_OK)
        for (size_t i = 0; i < metadata.user_count; i++)
            CHECK(metadata.user[i].name.len + metadata.user[i].value.len <= 4096);
    if (s3_overrides_parse(r, false, &overrides, f) == S3_OK)
        CHECK(!overrides.content_type.len ||
              !memchr(overrides.content_type.ptr, '\r', overrides.content_type.len));
    if (s3_copy_source_parse(r, &source, f) == S3_OK)
        CHECK(utf8_valid(source.key) && source.key.len <= S3_KEY_BYTES_MAX);
    (void)s3_attributes_parse(r, &attributes, f);
    (void)s3_checksum_claim_parse(r, &claim, f);
    (void)s3_checksum_upload_parse(r, &algorithm, &type, f);
    (void)s3_part_number_parse(r, &flag, &part, f);
    (void)s3_upload_id_parse(r, id, f);
    (void)s3_body_length(r, 1 << 20, &a, f);
    (void)s3_copy_range_parse(r, &flag, &a, &b, f);
    s3_range_parse(http_fields_get(r->fields, "range"), &range);
    if (s3_range_resolve(&range, 1000, SLICE_EMPTY, r->arena, &offset, &length, &flag, f) == S3_OK)
        CHECK(offset <= 1000 && length <= 1000 - offset && (length > 0 || !flag));
}

static void read_lists(struct s3_request *r, struct s3_fault *f)
{
    struct s3_list_params list;
    struct s3_list_uploads_params uploads;
    struct s3_list_parts_params parts;
    struct s3_list_buckets_params buckets;
    for (int op = 0; op < 2; op++) {
        r->op = op ? S3_OP_LIST_OBJECTS_V2 : S3_OP_LIST_OBJECTS;
        if (s3_list_params_parse(r, &list, f) == S3_OK)
            CHECK(list.max_keys <= S3_LIST_MAX);
    }
    struct s3_list_versions_params versions;
    if (s3_list_versions_params_parse(r, &versions, f) == S3_OK)
        CHECK(versions.max_keys <= S3_LIST_MAX && (!versions.version || versions.key_marker.len));
    if (s3_list_uploads_params_parse(r, &uploads, f) == S3_OK)
        CHECK(uploads.max_uploads >= 1 && uploads.max_uploads <= S3_LIST_MAX);
    (void)s3_list_parts_params_parse(r, &parts, f);
    (void)s3_list_buckets_params_parse(r, &buckets, f);
}

static void round_trip(struct arena *arena, struct slice s)
{
    struct buf b = {0};
    struct slice back = SLICE_EMPTY;
    s3_percent_encode(&b, s, false);
    CHECK(b.failed || (s3_percent_decode(arena, buf_view(&b), true, &back) && slice_eq(back, s)));
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct request_text t;
    struct s3_request r;
    struct s3_fault f;
    request_text_init(&t, SLICE(data, size), &r, &f);
    CHECK(utf8_valid(r.key) || t.code == S3_INVALID_URI);
    if (t.code == S3_OK) {
        CHECK(r.op != S3_OP_NONE && r.key.len <= S3_KEY_BYTES_MAX);
        CHECK(r.bucket.len == 0 || s3_bucket_name_valid(r.bucket));
    }
    CHECK(r.hoisted <= r.fields.count);
    for (size_t i = r.fields.count - r.hoisted; i < r.fields.count; i++)
        for (size_t k = 0; k < r.fields.ptr[i].value.len; k++) /* as a field could have it */
            CHECK(r.fields.ptr[i].value.ptr[k] >= 0x20 || r.fields.ptr[i].value.ptr[k] == '\t');
    round_trip(&t.arena, r.key);
    for (size_t i = 0; i < r.param_count; i++)
        round_trip(&t.arena, r.params[i].value);
    read_fields(&r, &f);
    read_lists(&r, &f);
    request_text_fini(&t);
    return 0;
}
