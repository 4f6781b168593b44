#pragma once
/* The documents that answer S3 calls.  Each function appends one whole document.  Lists are written
 * piece by piece, so that a page of entries need not be copied: _begin, entries, _end.  Pure. */
#include "gateway/s3/list.h"
#include "gateway/s3/xml.h"

struct s3_owner {
    struct slice id, display_name;
};

struct s3_result_bucket {
    struct slice name, region;
    uint64_t created_ms;
};
void s3_result_buckets_begin(struct buf *b, const struct s3_owner *owner);
void s3_result_buckets_entry(struct buf *b, const struct s3_result_bucket *e);
void s3_result_buckets_end(struct buf *b, struct slice prefix, struct slice next_token);

/* VersioningConfiguration; status NULL: it was never set. */
void s3_result_versioning(struct buf *b, const char *status);
void s3_result_location(struct buf *b, struct slice region); /* us-east-1: empty */

/* ListObjects v1 and v2.  Entries and common prefixes may come in any order: prefixes that come
 * between objects are valid S3. */
struct s3_result_object {
    struct slice key, etag, storage_class; /* etag without quotes; class empty: STANDARD */
    uint64_t size, mtime_ms;
    const struct s3_owner *owner; /* NULL: leave out */
    enum s3_checksum_algorithm checksum_algorithm;
    enum s3_checksum_type checksum_type;
};
struct s3_result_list {
    struct slice bucket;
    const struct s3_list_params *params;
    bool truncated;
    uint32_t key_count;       /* objects and prefixes (v2) */
    struct slice next_marker; /* v1; written when truncated and a delimiter was given, or */
    bool marker_needed;       /* it is no entry of this list */
    struct slice next_token;  /* v2 */
};
/* The head needs no counts: what is known only at the end is written at the end. */
void s3_result_list_begin(struct buf *b, const struct s3_result_list *l);
void s3_result_list_object(struct buf *b, const struct s3_result_list *l,
                           const struct s3_result_object *o);
void s3_result_list_prefix(struct buf *b, const struct s3_result_list *l, struct slice prefix);
void s3_result_list_end(struct buf *b, const struct s3_result_list *l);

/* ListObjectVersions: entries and common prefixes in any order. */
struct s3_result_version {
    struct slice key, etag, storage_class;
    struct slice version_id;
    bool is_latest, delete_marker; /* of a marker: key, times and owner only */
    uint64_t size, mtime_ms;
    const struct s3_owner *owner;
    enum s3_checksum_algorithm checksum_algorithm;
    enum s3_checksum_type checksum_type;
};
struct s3_result_versions {
    struct slice bucket;
    const struct s3_list_versions_params *params;
    bool truncated;
    struct slice next_key_marker, next_version_id_marker; /* the latter may be empty: none */
};
void s3_result_versions_begin(struct buf *b, const struct s3_result_versions *l);
void s3_result_versions_entry(struct buf *b, const struct s3_result_versions *l,
                              const struct s3_result_version *v);
void s3_result_versions_prefix(struct buf *b, const struct s3_result_versions *l,
                               struct slice prefix);
void s3_result_versions_end(struct buf *b, const struct s3_result_versions *l);

struct s3_result_upload {
    struct slice key;
    const uint8_t *upload_id; /* 16 bytes */
    uint64_t initiated_ms;
    struct slice storage_class;
    const struct s3_owner *owner, *initiator;
    enum s3_checksum_algorithm checksum_algorithm;
    enum s3_checksum_type checksum_type;
};
struct s3_result_uploads {
    struct slice bucket;
    const struct s3_list_uploads_params *params;
    bool truncated;
    struct slice next_key_marker;
    const uint8_t *next_upload_id_marker; /* NULL: none */
};
void s3_result_uploads_begin(struct buf *b, const struct s3_result_uploads *l);
void s3_result_uploads_entry(struct buf *b, const struct s3_result_uploads *l,
                             const struct s3_result_upload *u);
void s3_result_uploads_prefix(struct buf *b, const struct s3_result_uploads *l,
                              struct slice prefix);
void s3_result_uploads_end(struct buf *b, const struct s3_result_uploads *l);

struct s3_result_part {
    uint32_t number;
    struct slice etag;
    uint64_t size, mtime_ms;
    const struct s3_checksum *checksum; /* NULL: none */
};
struct s3_result_parts {
    struct slice bucket, key;
    const uint8_t *upload_id;
    const struct s3_list_parts_params *params;
    bool truncated;
    uint32_t next_marker; /* number of the last part given */
    struct slice storage_class;
    const struct s3_owner *owner, *initiator;
    enum s3_checksum_algorithm checksum_algorithm;
    enum s3_checksum_type checksum_type;
};
void s3_result_parts_begin(struct buf *b, const struct s3_result_parts *l);
void s3_result_parts_entry(struct buf *b, const struct s3_result_part *p);
void s3_result_parts_end(struct buf *b, const struct s3_result_parts *l);

void s3_result_initiate(struct buf *b, struct slice bucket, struct slice key,
                        const uint8_t upload_id[16]);
/* part_count: for composite checksums' "-N". */
void s3_result_complete(struct buf *b, struct slice location, struct slice bucket, struct slice key,
                        struct slice etag, const struct s3_checksum *checksum, unsigned part_count);
void s3_result_copy(struct buf *b, struct slice etag, uint64_t mtime_ms,
                    const struct s3_checksum *checksum, unsigned part_count);
void s3_result_copy_part(struct buf *b, struct slice etag, uint64_t mtime_ms,
                         const struct s3_checksum *checksum);

/* DeleteObjects. */
void s3_result_delete_begin(struct buf *b);
/* marker_id: of the delete marker that was made, or deleted; empty: none. */
void s3_result_delete_entry(struct buf *b, struct slice key, struct slice version_id,
                            struct slice marker_id);
void s3_result_delete_error(struct buf *b, struct slice key, struct slice version_id,
                            enum s3_code code, struct slice message);
void s3_result_delete_end(struct buf *b);

/* GetObjectAttributes: only what mask asks for.  Parts: _begin, s3_result_attributes_part..., _end.
 */
struct s3_result_attributes {
    unsigned mask; /* S3_ATTRIBUTE_* */
    struct slice etag, storage_class;
    uint64_t size;
    const struct s3_checksum *checksum;
    unsigned part_count; /* 0: not multipart, no ObjectParts */
    uint32_t part_marker, next_part_marker, parts_max;
    bool truncated;
};
void s3_result_attributes_begin(struct buf *b, const struct s3_result_attributes *a);
void s3_result_attributes_part(struct buf *b, uint32_t number, uint64_t size,
                               const struct s3_checksum *checksum);
void s3_result_attributes_end(struct buf *b, const struct s3_result_attributes *a);

/* Upload ids as clients see them: 32 hex digits. */
#define S3_UPLOAD_ID_CHARS 32
