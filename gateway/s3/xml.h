#pragma once
/* XML: a writer that appends to a buf, and readers of the documents that clients send.  Readers use
 * expat, take no DTD or entity, and bound size, depth and counts.  Pure. */
#include "common/base/arena.h"
#include "gateway/s3/checksum.h"

#define S3_XMLNS "http://s3.amazonaws.com/doc/2006-03-01/"
#define S3_XML_DEPTH_MAX 16
#define S3_DELETE_OBJECTS_MAX 1000
#define S3_DELETE_BODY_BYTES_MAX (2u << 20)
#define S3_COMPLETE_BODY_BYTES_MAX (4u << 20) /* 10,000 parts with checksums */
#define S3_CONFIG_BODY_BYTES_MAX (256u << 10)

/* ---- writing ---- */
void xml_declaration(struct buf *b);
void xml_escape(struct buf *b, struct slice text); /* text or attribute; what XML 1.0 has no way to
                                                      write becomes U+FFFD */
void xml_open(struct buf *b, const char *name);
void xml_open_ns(struct buf *b, const char *name); /* with xmlns=S3_XMLNS */
void xml_close(struct buf *b, const char *name);
void xml_slice(struct buf *b, const char *name, struct slice value);
void xml_cstr(struct buf *b, const char *name, const char *value);
void xml_u64(struct buf *b, const char *name, uint64_t value);
void xml_bool(struct buf *b, const char *name, bool value);
void xml_time(struct buf *b, const char *name, uint64_t ms); /* ISO 8601 with milliseconds */
/* Percent-encoded first when url is set (encoding-type=url: everything but A-Za-z0-9-._* and '/',
 * a space as '+'). */
void xml_key(struct buf *b, const char *name, struct slice key, bool url);

/* ---- reading ---- */

struct s3_complete_part {
    uint32_t number;
    struct slice etag;           /* without quotes */
    struct s3_checksum checksum; /* algorithm NONE: not given */
};
struct s3_complete {
    struct s3_complete_part *parts; /* in the arena */
    size_t count;
};
/* Returns: S3_OK; MALFORMED_XML; INVALID_PART_ORDER; INVALID_ARGUMENT; INTERNAL_ERROR (memory). */
enum s3_code s3_xml_complete(struct arena *arena, struct slice body, struct s3_complete *ret,
                             struct s3_fault *fault);

struct s3_delete_object {
    struct slice key, version_id, etag; /* a key may be too long: an error of its own */
    bool has_etag, has_mtime, has_size, has_version_id;
    uint64_t mtime_ms, size;
};
struct s3_delete {
    struct s3_delete_object *objects;
    size_t count;
    bool quiet;
};
/* now_ms: for HTTP dates in LastModifiedTime. */
enum s3_code s3_xml_delete(struct arena *arena, struct slice body, uint64_t now_ms,
                           struct s3_delete *ret, struct s3_fault *fault);

/* VersioningConfiguration. */
struct s3_versioning {
    bool has_status, enabled; /* else suspended */
    bool mfa_delete;
};
enum s3_code s3_xml_versioning(struct arena *arena, struct slice body, struct s3_versioning *ret,
                               struct s3_fault *fault);

struct s3_create_bucket {
    struct slice location_constraint; /* empty: none */
    struct s3_tag *tags;              /* tags.h */
    size_t tag_count;
};
/* CreateBucketConfiguration; an empty body is fine.  Returns: as the readers above; BAD_REQUEST or
 * INVALID_TAG (as s3_tags_of_node); NOT_IMPLEMENTED (directory buckets). */
enum s3_code s3_xml_create_bucket(struct arena *arena, struct slice body,
                                  struct s3_create_bucket *ret, struct s3_fault *fault);
