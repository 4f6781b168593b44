/* The result documents: multipart calls, copies, deletions, attributes. */
#include "gateway/s3/results_common.h"

#include "common/crypto/codec.h"
#include "gateway/s3/headers.h"

void result_owner(struct buf *b, const char *name, const struct s3_owner *owner)
{
    if (!owner)
        return;
    xml_open(b, name);
    xml_slice(b, "ID", owner->id);
    xml_slice(b, "DisplayName", owner->display_name);
    xml_close(b, name);
}

void result_etag(struct buf *b, struct slice etag)
{
    xml_open(b, "ETag");
    buf_cstr(b, "&quot;");
    xml_escape(b, etag);
    buf_cstr(b, "&quot;");
    xml_close(b, "ETag");
}

void result_storage_class(struct buf *b, struct slice storage_class)
{
    xml_slice(b, "StorageClass", storage_class.len ? storage_class : SLICE_LIT("STANDARD"));
}

void result_upload_id(struct buf *b, const char *name, const uint8_t id[16])
{
    char hex[S3_UPLOAD_ID_CHARS];
    hex_encode(SLICE(id, 16), hex);
    xml_slice(b, name, SLICE(hex, sizeof(hex)));
}

void result_checksum_kind(struct buf *b, enum s3_checksum_algorithm a, enum s3_checksum_type t)
{
    if (a == S3_CHECKSUM_NONE)
        return;
    xml_cstr(b, "ChecksumAlgorithm", s3_checksum_name(a));
    xml_cstr(b, "ChecksumType", s3_checksum_type_name(t));
}

void result_checksum(struct buf *b, const struct s3_checksum *c, unsigned part_count)
{
    char text[S3_CHECKSUM_TEXT_MAX];
    if (!c || c->algorithm == S3_CHECKSUM_NONE)
        return;
    s3_checksum_text(c, part_count, text);
    xml_cstr(b, s3_checksum_element(c->algorithm), text);
}

/* Of a whole object: with its type. */
static void object_checksum(struct buf *b, const struct s3_checksum *c, unsigned part_count)
{
    if (!c || c->algorithm == S3_CHECKSUM_NONE)
        return;
    result_checksum(b, c, part_count);
    xml_cstr(b, "ChecksumType", s3_checksum_type_name(c->type));
}

/* ---- multipart ---- */

void s3_result_parts_begin(struct buf *b, const struct s3_result_parts *l)
{
    xml_declaration(b);
    xml_open_ns(b, "ListPartsResult");
    xml_slice(b, "Bucket", l->bucket);
    xml_key(b, "Key", l->key, l->params->encode_url);
    result_upload_id(b, "UploadId", l->upload_id);
    result_owner(b, "Initiator", l->initiator);
    result_owner(b, "Owner", l->owner);
    result_storage_class(b, l->storage_class);
    xml_u64(b, "PartNumberMarker", l->params->marker);
    xml_u64(b, "MaxParts", l->params->max_parts);
    result_checksum_kind(b, l->checksum_algorithm, l->checksum_type);
}

void s3_result_parts_entry(struct buf *b, const struct s3_result_part *p)
{
    xml_open(b, "Part");
    xml_u64(b, "PartNumber", p->number);
    xml_time(b, "LastModified", p->mtime_ms);
    result_etag(b, p->etag);
    xml_u64(b, "Size", p->size);
    result_checksum(b, p->checksum, 0);
    xml_close(b, "Part");
}

void s3_result_parts_end(struct buf *b, const struct s3_result_parts *l)
{
    xml_u64(b, "NextPartNumberMarker", l->next_marker);
    xml_bool(b, "IsTruncated", l->truncated);
    xml_close(b, "ListPartsResult");
}

void s3_result_initiate(struct buf *b, struct slice bucket, struct slice key,
                        const uint8_t upload_id[16])
{
    xml_declaration(b);
    xml_open_ns(b, "InitiateMultipartUploadResult");
    xml_slice(b, "Bucket", bucket);
    xml_slice(b, "Key", key);
    result_upload_id(b, "UploadId", upload_id);
    xml_close(b, "InitiateMultipartUploadResult");
}

void s3_result_complete(struct buf *b, struct slice location, struct slice bucket, struct slice key,
                        struct slice etag, const struct s3_checksum *checksum, unsigned part_count)
{
    xml_declaration(b);
    xml_open_ns(b, "CompleteMultipartUploadResult");
    xml_slice(b, "Location", location);
    xml_slice(b, "Bucket", bucket);
    xml_slice(b, "Key", key);
    result_etag(b, etag);
    object_checksum(b, checksum, part_count);
    xml_close(b, "CompleteMultipartUploadResult");
}

/* ---- copies ---- */

void s3_result_copy(struct buf *b, struct slice etag, uint64_t mtime_ms,
                    const struct s3_checksum *checksum, unsigned part_count)
{
    xml_declaration(b);
    xml_open_ns(b, "CopyObjectResult");
    result_etag(b, etag);
    xml_time(b, "LastModified", mtime_ms);
    object_checksum(b, checksum, part_count);
    xml_close(b, "CopyObjectResult");
}

void s3_result_copy_part(struct buf *b, struct slice etag, uint64_t mtime_ms,
                         const struct s3_checksum *checksum)
{
    xml_declaration(b);
    xml_open_ns(b, "CopyPartResult");
    result_etag(b, etag);
    xml_time(b, "LastModified", mtime_ms);
    result_checksum(b, checksum, 0);
    xml_close(b, "CopyPartResult");
}

/* ---- deletions ---- */

void s3_result_delete_begin(struct buf *b)
{
    xml_declaration(b);
    xml_open_ns(b, "DeleteResult");
}

void s3_result_delete_entry(struct buf *b, struct slice key, struct slice version_id,
                            struct slice marker_id)
{
    xml_open(b, "Deleted");
    xml_slice(b, "Key", key);
    if (version_id.len)
        xml_slice(b, "VersionId", version_id);
    if (marker_id.len) {
        xml_bool(b, "DeleteMarker", true);
        xml_slice(b, "DeleteMarkerVersionId", marker_id);
    }
    xml_close(b, "Deleted");
}

void s3_result_delete_error(struct buf *b, struct slice key, struct slice version_id,
                            enum s3_code code, struct slice message)
{
    xml_open(b, "Error");
    xml_slice(b, "Key", key);
    if (version_id.len)
        xml_slice(b, "VersionId", version_id);
    xml_cstr(b, "Code", s3_code_name(code));
    xml_slice(b, "Message", message.len ? message : slice_cstr(s3_code_message(code)));
    xml_close(b, "Error");
}

void s3_result_delete_end(struct buf *b)
{
    xml_close(b, "DeleteResult");
}

/* ---- attributes ---- */

void s3_result_attributes_begin(struct buf *b, const struct s3_result_attributes *a)
{
    xml_declaration(b);
    xml_open_ns(b, "GetObjectAttributesResponse");
    if (a->mask & S3_ATTRIBUTE_ETAG)
        xml_slice(b, "ETag", a->etag); /* without quotes, unlike everywhere else */
    if (a->mask & S3_ATTRIBUTE_CHECKSUM && a->checksum &&
        a->checksum->algorithm != S3_CHECKSUM_NONE) {
        xml_open(b, "Checksum");
        /* S3 gives a composite checksum without its "-N" here. */
        object_checksum(b, a->checksum, 0);
        xml_close(b, "Checksum");
    }
    if (a->mask & S3_ATTRIBUTE_PARTS && a->part_count) {
        xml_open(b, "ObjectParts");
        xml_u64(b, "PartsCount", a->part_count);
        xml_u64(b, "PartNumberMarker", a->part_marker);
        xml_u64(b, "MaxParts", a->parts_max);
    }
}

void s3_result_attributes_part(struct buf *b, uint32_t number, uint64_t size,
                               const struct s3_checksum *checksum)
{
    xml_open(b, "Part");
    xml_u64(b, "PartNumber", number);
    xml_u64(b, "Size", size);
    result_checksum(b, checksum, 0);
    xml_close(b, "Part");
}

void s3_result_attributes_end(struct buf *b, const struct s3_result_attributes *a)
{
    if (a->mask & S3_ATTRIBUTE_PARTS && a->part_count) {
        xml_u64(b, "NextPartNumberMarker", a->next_part_marker);
        xml_bool(b, "IsTruncated", a->truncated);
        xml_close(b, "ObjectParts");
    }
    if (a->mask & S3_ATTRIBUTE_STORAGE_CLASS)
        result_storage_class(b, a->storage_class);
    if (a->mask & S3_ATTRIBUTE_SIZE)
        xml_u64(b, "ObjectSize", a->size);
    xml_close(b, "GetObjectAttributesResponse");
}
