#pragma once
/* What S3 requests say in header fields (and response-* parameters): conditions, ranges, metadata,
 * content fields, copy sources.  Parsed into plain structs, evaluated by pure functions. */
#include "gateway/s3/request.h"
#include "gateway/s3/time.h"

/* ---- conditions ---- */

#define S3_CONDITION_ETAGS_MAX 32

struct s3_etag_list {
    bool given, any; /* any: "*" */
    unsigned count;
    struct slice etag[S3_CONDITION_ETAGS_MAX]; /* without quotes and W/ */
    bool weak[S3_CONDITION_ETAGS_MAX];
};

struct s3_conditions {
    struct s3_etag_list if_match, if_none_match;
    bool has_modified_since, has_unmodified_since;
    uint64_t modified_since_ms, unmodified_since_ms;
    /* DeleteObject's x-amz-if-match-last-modified-time and x-amz-if-match-size */
    bool has_mtime, has_size;
    uint64_t mtime_ms, size;
};

/* If-Match, If-None-Match, If-(Un)Modified-Since and x-amz-if-match-*.  A date that cannot be
 * parsed is ignored, as RFC 9110 says.  Returns: S3_OK; INVALID_ARGUMENT (list too long or
 * malformed). */
enum s3_code s3_conditions_parse(const struct s3_request *r, uint64_t now_ms,
                                 struct s3_conditions *ret, struct s3_fault *fault);
/* x-amz-copy-source-if-*. */
enum s3_code s3_copy_conditions_parse(const struct s3_request *r, uint64_t now_ms,
                                      struct s3_conditions *ret, struct s3_fault *fault);
/* x-amz-rename-source-if-*. */
enum s3_code s3_rename_conditions_parse(const struct s3_request *r, uint64_t now_ms,
                                        struct s3_conditions *ret, struct s3_fault *fault);
bool s3_conditions_given(const struct s3_conditions *c);

/* GET and HEAD of an object that exists, in RFC 9110's order (13.2.2), times in whole seconds.
 * Returns: S3_OK; NOT_MODIFIED; PRECONDITION_FAILED (with its Condition). */
enum s3_code s3_conditions_read(const struct s3_conditions *c, struct slice etag, uint64_t mtime_ms,
                                struct s3_fault *fault);
/* A copy's source: the same order, but never 304.  Returns: S3_OK; PRECONDITION_FAILED. */
enum s3_code s3_conditions_copy(const struct s3_conditions *c, struct slice etag, uint64_t mtime_ms,
                                struct s3_fault *fault);
/* Writes and deletions (If-Match with ETags or "*", If-None-Match with "*" only) as S3 limits them;
 * evaluation is the index's.  Returns: S3_OK; NOT_IMPLEMENTED. */
enum s3_code s3_conditions_for_write(const struct s3_conditions *c, struct s3_fault *fault);
bool s3_etag_list_has(const struct s3_etag_list *l, struct slice etag, bool strong);

/* ---- ranges ---- */

enum s3_range_kind { S3_RANGE_NONE, S3_RANGE_BYTES, S3_RANGE_SUFFIX };
struct s3_range {
    enum s3_range_kind kind;
    bool open_end;
    uint64_t first, last; /* BYTES; SUFFIX: the number of bytes in `last` */
};
/* One range; several, another unit or a malformed one → NONE (the whole object), as S3 does. */
void s3_range_parse(struct slice value, struct s3_range *ret);
/* Against an object's size.  Returns: S3_OK; INVALID_RANGE (with ActualObjectSize and
 * RangeRequested: `requested` is the field's value).  NONE gives the whole; *ret_partial says
 * whether to answer 206. */
enum s3_code s3_range_resolve(const struct s3_range *r, uint64_t size, struct slice requested,
                              struct arena *arena, uint64_t *ret_offset, uint64_t *ret_length,
                              bool *ret_partial, struct s3_fault *fault);
/* x-amz-copy-source-range: strict "bytes=a-b" within the source.  Returns: S3_OK (*ret_given says
 * whether there was one); INVALID_ARGUMENT. */
enum s3_code s3_copy_range_parse(const struct s3_request *r, bool *ret_given, uint64_t *ret_first,
                                 uint64_t *ret_last, struct s3_fault *fault);

/* ---- metadata and content fields ---- */

#define S3_USER_METADATA_BYTES_MAX 2048
#define S3_USER_METADATA_MAX 200

struct s3_metadata {
    struct slice content_type, content_encoding, content_disposition, content_language;
    struct slice cache_control, expires, website_redirect, storage_class;
    struct http_field *user; /* names in lower case, without "x-amz-meta-" */
    size_t user_count;
};
/* Is it a class of S3's whose objects can be read at once, or empty (STANDARD)? */
bool s3_storage_class_known(struct slice storage_class);
/* INVALID_STORAGE_CLASS, with the class that was asked for. */
enum s3_code s3_storage_class_refuse(struct slice storage_class, struct s3_fault *fault);
/* The storage class is not looked at: which ones there are is the caller's to say.
 * aws-chunked is taken out of Content-Encoding; duplicates of a user field are joined with ','.
 * Returns: S3_OK; METADATA_TOO_LARGE; INVALID_ARGUMENT; NOT_IMPLEMENTED
 * (fields that ask for what is not offered, see headers.c). */
enum s3_code s3_metadata_parse(const struct s3_request *r, struct s3_metadata *ret,
                               struct s3_fault *fault);

/* response-content-type and the like; they need a signed request.  Empty slices: not given.
 * Returns: S3_OK; INVALID_REQUEST (anonymous); INVALID_ARGUMENT (a byte that no field may have). */
struct s3_overrides {
    struct slice content_type, content_language, expires, cache_control, content_disposition,
        content_encoding;
};
enum s3_code s3_overrides_parse(const struct s3_request *r, bool anonymous,
                                struct s3_overrides *ret, struct s3_fault *fault);

/* ---- copies ---- */

struct s3_copy_source {
    struct slice bucket, key, version_id;
    uint64_t version;      /* version.h; S3_VERSION_NONE: none */
    bool replace_metadata; /* x-amz-metadata-directive: REPLACE */
    bool replace_tags;     /* x-amz-tagging-directive: REPLACE */
};
/* Returns: S3_OK; INVALID_ARGUMENT (a version id that nobody was given, too); NOT_IMPLEMENTED;
 * INVALID_BUCKET_NAME; KEY_TOO_LONG. */
enum s3_code s3_copy_source_parse(const struct s3_request *r, struct s3_copy_source *ret,
                                  struct s3_fault *fault);

/* x-amz-rename-source: /bucket/key, bucket/key with the request's own bucket, or a key in it.  What
 * it does not say stays zero.  Returns: S3_OK; INVALID_ARGUMENT (none, or its encoding);
 * INVALID_REQUEST (another bucket, or the object itself); KEY_TOO_LONG. */
enum s3_code s3_rename_source_parse(const struct s3_request *r, struct s3_copy_source *ret,
                                    struct s3_fault *fault);
/* x-amz-client-token; empty: none.  Returns: S3_OK; INVALID_ARGUMENT. */
enum s3_code s3_client_token_parse(const struct s3_request *r, struct slice *ret,
                                   struct s3_fault *fault);

/* x-amz-checksum-mode: ENABLED */
bool s3_checksum_mode_enabled(const struct s3_request *r);

/* GetObjectAttributes: x-amz-object-attributes. */
enum {
    S3_ATTRIBUTE_ETAG = 1,
    S3_ATTRIBUTE_CHECKSUM = 2,
    S3_ATTRIBUTE_PARTS = 4,
    S3_ATTRIBUTE_STORAGE_CLASS = 8,
    S3_ATTRIBUTE_SIZE = 16
};
struct s3_attributes {
    unsigned mask;
    uint32_t parts_max, part_marker;
};
/* Returns: S3_OK; INVALID_ARGUMENT. */
enum s3_code s3_attributes_parse(const struct s3_request *r, struct s3_attributes *ret,
                                 struct s3_fault *fault);

/* partNumber and uploadId of multipart calls.  Returns: S3_OK; INVALID_ARGUMENT; NO_SUCH_UPLOAD (an
 * id that we cannot have given). */
enum s3_code s3_part_number_parse(const struct s3_request *r, bool *ret_given, uint32_t *ret,
                                  struct s3_fault *fault);
enum s3_code s3_upload_id_parse(const struct s3_request *r, uint8_t ret[16],
                                struct s3_fault *fault);

/* Content-Length of a request that needs one.  Returns: S3_OK; MISSING_CONTENT_LENGTH;
 * ENTITY_TOO_LARGE. */
enum s3_code s3_body_length(const struct s3_request *r, uint64_t max, uint64_t *ret,
                            struct s3_fault *fault);
