/* The result documents: buckets and lists of objects and uploads.  Shapes and names are those of
 * the S3 API's published model. */
#include "gateway/s3/results.h"

#include "gateway/s3/results_common.h"

void s3_result_buckets_begin(struct buf *b, const struct s3_owner *owner)
{
    xml_declaration(b);
    xml_open_ns(b, "ListAllMyBucketsResult");
    result_owner(b, "Owner", owner);
    xml_open(b, "Buckets");
}

void s3_result_buckets_entry(struct buf *b, const struct s3_result_bucket *e)
{
    xml_open(b, "Bucket");
    xml_slice(b, "Name", e->name);
    xml_time(b, "CreationDate", e->created_ms);
    if (e->region.len)
        xml_slice(b, "BucketRegion", e->region);
    xml_close(b, "Bucket");
}

void s3_result_buckets_end(struct buf *b, struct slice prefix, struct slice next_token)
{
    xml_close(b, "Buckets");
    if (next_token.len)
        xml_slice(b, "ContinuationToken", next_token);
    if (prefix.len)
        xml_slice(b, "Prefix", prefix);
    xml_close(b, "ListAllMyBucketsResult");
}

void s3_result_location(struct buf *b, struct slice region)
{
    xml_declaration(b);
    xml_open_ns(b, "LocationConstraint");
    if (!slice_eq(region, SLICE_LIT("us-east-1")))
        xml_escape(b, region);
    xml_close(b, "LocationConstraint");
}

/* ---- objects ---- */

static void list_head_v1(struct buf *b, const struct s3_list_params *p)
{
    xml_key(b, "Marker", p->has_marker ? p->marker : SLICE_EMPTY, p->encode_url);
}

static void list_head_v2(struct buf *b, const struct s3_list_params *p)
{
    if (p->has_token)
        xml_slice(b, "ContinuationToken", p->continuation_token);
    if (p->has_start_after)
        xml_key(b, "StartAfter", p->start_after, p->encode_url);
}

void s3_result_list_begin(struct buf *b, const struct s3_result_list *l)
{
    const struct s3_list_params *p = l->params;
    xml_declaration(b);
    xml_open_ns(b, "ListBucketResult");
    xml_slice(b, "Name", l->bucket);
    xml_key(b, "Prefix", p->prefix, p->encode_url);
    if (p->v2)
        list_head_v2(b, p);
    else
        list_head_v1(b, p);
    xml_u64(b, "MaxKeys", p->max_keys);
    if (p->has_delimiter)
        xml_key(b, "Delimiter", p->delimiter, p->encode_url);
    if (p->encode_url)
        xml_cstr(b, "EncodingType", "url");
}

void s3_result_list_object(struct buf *b, const struct s3_result_list *l,
                           const struct s3_result_object *o)
{
    xml_open(b, "Contents");
    xml_key(b, "Key", o->key, l->params->encode_url);
    xml_time(b, "LastModified", o->mtime_ms);
    result_etag(b, o->etag);
    result_checksum_kind(b, o->checksum_algorithm, o->checksum_type);
    xml_u64(b, "Size", o->size);
    result_owner(b, "Owner", o->owner);
    result_storage_class(b, o->storage_class);
    xml_close(b, "Contents");
}

static void common_prefix(struct buf *b, struct slice prefix, bool url)
{
    xml_open(b, "CommonPrefixes");
    xml_key(b, "Prefix", prefix, url);
    xml_close(b, "CommonPrefixes");
}

void s3_result_list_prefix(struct buf *b, const struct s3_result_list *l, struct slice prefix)
{
    common_prefix(b, prefix, l->params->encode_url);
}

void s3_result_list_end(struct buf *b, const struct s3_result_list *l)
{
    const struct s3_list_params *p = l->params;
    xml_bool(b, "IsTruncated", l->truncated);
    if (p->v2) {
        xml_u64(b, "KeyCount", l->key_count);
        if (l->truncated)
            xml_slice(b, "NextContinuationToken", l->next_token);
    } else if (l->truncated && (p->has_delimiter || l->marker_needed)) {
        xml_key(b, "NextMarker", l->next_marker, p->encode_url);
    }
    xml_close(b, "ListBucketResult");
}

/* ---- versions ---- */

void s3_result_versioning(struct buf *b, const char *status)
{
    xml_declaration(b);
    xml_open_ns(b, "VersioningConfiguration");
    if (status)
        xml_cstr(b, "Status", status);
    xml_close(b, "VersioningConfiguration");
}

void s3_result_versions_begin(struct buf *b, const struct s3_result_versions *l)
{
    const struct s3_list_versions_params *p = l->params;
    xml_declaration(b);
    xml_open_ns(b, "ListVersionsResult");
    xml_slice(b, "Name", l->bucket);
    xml_key(b, "Prefix", p->prefix, p->encode_url);
    xml_key(b, "KeyMarker", p->key_marker, p->encode_url);
    xml_slice(b, "VersionIdMarker", p->version_id_marker);
    xml_u64(b, "MaxKeys", p->max_keys);
    if (p->delimiter.len)
        xml_key(b, "Delimiter", p->delimiter, p->encode_url);
    if (p->encode_url)
        xml_cstr(b, "EncodingType", "url");
}

void s3_result_versions_entry(struct buf *b, const struct s3_result_versions *l,
                              const struct s3_result_version *v)
{
    const char *element = v->delete_marker ? "DeleteMarker" : "Version";
    xml_open(b, element);
    xml_key(b, "Key", v->key, l->params->encode_url);
    xml_slice(b, "VersionId", v->version_id);
    xml_bool(b, "IsLatest", v->is_latest);
    xml_time(b, "LastModified", v->mtime_ms);
    if (!v->delete_marker) {
        result_etag(b, v->etag);
        result_checksum_kind(b, v->checksum_algorithm, v->checksum_type);
        xml_u64(b, "Size", v->size);
    }
    result_owner(b, "Owner", v->owner);
    if (!v->delete_marker)
        result_storage_class(b, v->storage_class);
    xml_close(b, element);
}

void s3_result_versions_prefix(struct buf *b, const struct s3_result_versions *l,
                               struct slice prefix)
{
    common_prefix(b, prefix, l->params->encode_url);
}

void s3_result_versions_end(struct buf *b, const struct s3_result_versions *l)
{
    xml_bool(b, "IsTruncated", l->truncated);
    if (l->truncated) {
        xml_key(b, "NextKeyMarker", l->next_key_marker, l->params->encode_url);
        if (l->next_version_id_marker.len)
            xml_slice(b, "NextVersionIdMarker", l->next_version_id_marker);
    }
    xml_close(b, "ListVersionsResult");
}

/* ---- uploads ---- */

void s3_result_uploads_begin(struct buf *b, const struct s3_result_uploads *l)
{
    const struct s3_list_uploads_params *p = l->params;
    xml_declaration(b);
    xml_open_ns(b, "ListMultipartUploadsResult");
    xml_slice(b, "Bucket", l->bucket);
    xml_key(b, "KeyMarker", p->key_marker, p->encode_url);
    xml_slice(b, "UploadIdMarker", p->upload_id_marker);
    xml_key(b, "Prefix", p->prefix, p->encode_url);
    if (p->delimiter.len)
        xml_key(b, "Delimiter", p->delimiter, p->encode_url);
    xml_u64(b, "MaxUploads", p->max_uploads);
    if (p->encode_url)
        xml_cstr(b, "EncodingType", "url");
}

void s3_result_uploads_entry(struct buf *b, const struct s3_result_uploads *l,
                             const struct s3_result_upload *u)
{
    xml_open(b, "Upload");
    xml_key(b, "Key", u->key, l->params->encode_url);
    result_upload_id(b, "UploadId", u->upload_id);
    result_owner(b, "Initiator", u->initiator);
    result_owner(b, "Owner", u->owner);
    result_storage_class(b, u->storage_class);
    xml_time(b, "Initiated", u->initiated_ms);
    result_checksum_kind(b, u->checksum_algorithm, u->checksum_type);
    xml_close(b, "Upload");
}

void s3_result_uploads_prefix(struct buf *b, const struct s3_result_uploads *l, struct slice prefix)
{
    common_prefix(b, prefix, l->params->encode_url);
}

void s3_result_uploads_end(struct buf *b, const struct s3_result_uploads *l)
{
    xml_bool(b, "IsTruncated", l->truncated);
    if (l->truncated) {
        xml_key(b, "NextKeyMarker", l->next_key_marker, l->params->encode_url);
        if (l->next_upload_id_marker)
            result_upload_id(b, "NextUploadIdMarker", l->next_upload_id_marker);
    }
    xml_close(b, "ListMultipartUploadsResult");
}
