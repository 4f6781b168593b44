#pragma once
/* From method, target and header fields to an S3 request: addressing, decoded bucket and key, query
 * parameters, and which operation it is.  Pure; everything lives in the arena given or is borrowed
 * from the HTTP request. */
#include "common/base/arena.h"
#include "gateway/http/field.h"
#include "gateway/s3/error.h"

#define S3_KEY_BYTES_MAX 1024
#define S3_BUCKET_NAME_MIN 3
#define S3_BUCKET_NAME_MAX 63
#define S3_PARAMS_MAX 64
/* What lies below is no object: the operator's questions (S3_OP_ADMIN).  No bucket has that name. */
#define S3_ADMIN_PREFIX "/_cairn/admin/v1/"
#define S3_PART_NUMBER_MAX 10000
#define S3_OBJECT_BYTES_MAX (5ull << 40)
#define S3_PUT_BYTES_MAX (5ull << 30)
#define S3_PART_BYTES_MIN (5ull << 20)

/* X(NAME, "name as S3 calls it") */
#define S3_OP_TABLE(X)                                                                             \
    X(LIST_BUCKETS, "ListBuckets")                                                                 \
    X(CREATE_BUCKET, "CreateBucket")                                                               \
    X(HEAD_BUCKET, "HeadBucket")                                                                   \
    X(DELETE_BUCKET, "DeleteBucket")                                                               \
    X(GET_BUCKET_LOCATION, "GetBucketLocation")                                                    \
    X(LIST_OBJECTS, "ListObjects")                                                                 \
    X(LIST_OBJECTS_V2, "ListObjectsV2")                                                            \
    X(LIST_MULTIPART_UPLOADS, "ListMultipartUploads")                                              \
    X(DELETE_OBJECTS, "DeleteObjects")                                                             \
    X(GET_OBJECT, "GetObject")                                                                     \
    X(HEAD_OBJECT, "HeadObject")                                                                   \
    X(PUT_OBJECT, "PutObject")                                                                     \
    X(COPY_OBJECT, "CopyObject")                                                                   \
    X(DELETE_OBJECT, "DeleteObject")                                                               \
    X(GET_OBJECT_ATTRIBUTES, "GetObjectAttributes")                                                \
    X(CREATE_MULTIPART_UPLOAD, "CreateMultipartUpload")                                            \
    X(UPLOAD_PART, "UploadPart")                                                                   \
    X(UPLOAD_PART_COPY, "UploadPartCopy")                                                          \
    X(LIST_PARTS, "ListParts")                                                                     \
    X(COMPLETE_MULTIPART_UPLOAD, "CompleteMultipartUpload")                                        \
    X(ABORT_MULTIPART_UPLOAD, "AbortMultipartUpload")                                              \
    X(ADMIN, "Admin")

enum s3_op {
    S3_OP_NONE,
#define X(NAME, name) S3_OP_##NAME,
    S3_OP_TABLE(X)
#undef X
        S3_OP_COUNT
};
const char *s3_op_name(enum s3_op op);

struct s3_param {
    struct slice name, value; /* decoded: %XX, and '+' as a space */
    struct slice raw_name, raw_value;
    bool has_value; /* "a=" has one (empty), "a" has none */
};

struct s3_request {
    enum s3_op op;
    const char *subresource;   /* of an operation that is recognised but not offered; else NULL */
    bool subresource_harmless; /* GET of a configuration that nobody can have set, see request.c */
    struct slice method;
    struct slice raw_path;  /* of the target, as sent; what is signed */
    struct slice raw_query; /* without '?', as sent */
    struct slice path;      /* decoded raw_path (Resource of error documents) */
    struct slice host;      /* Host, without the port */
    struct slice bucket;    /* empty: the service itself */
    struct slice key;       /* empty: the bucket itself; of S3_OP_ADMIN what follows the prefix */
    bool virtual_host;
    struct s3_param *params;
    size_t param_count;
    struct http_fields fields;
    struct arena *arena;
};

struct s3_addressing {
    const struct slice
        *base_domains; /* "s3.example.com": bucket.s3.example.com is virtual-host style */
    size_t base_domain_count;
};

/* Parse.  Returns: S3_OK; INVALID_URI, INVALID_BUCKET_NAME, KEY_TOO_LONG, METHOD_NOT_ALLOWED,
 * NOT_IMPLEMENTED (a known subresource that is not offered, or an unknown one), INVALID_ARGUMENT,
 * INVALID_REQUEST.
 * On error *ret holds what was understood (bucket, path, params), enough for the error document and
 * for authenticating first: an anonymous client should hear AccessDenied before NotImplemented. */
enum s3_code s3_request_parse(struct arena *arena, const struct s3_addressing *addressing,
                              struct slice method, struct slice target, struct http_fields fields,
                              struct s3_request *ret, struct s3_fault *fault);

/* The first parameter of this (decoded, case-sensitive) name, or NULL. */
const struct s3_param *s3_request_param(const struct s3_request *r, const char *name);
/* Its value; {NULL, 0} when absent. */
struct slice s3_request_value(const struct s3_request *r, const char *name);

/* The number in a parameter.  Returns: S3_OK (absent: `missing`); INVALID_ARGUMENT. */
enum s3_code s3_request_number(const struct s3_request *r, const char *name, uint64_t min,
                               uint64_t max, uint64_t missing, uint64_t *ret,
                               struct s3_fault *fault);

bool s3_bucket_name_valid(struct slice name);
bool utf8_valid(struct slice s);
/* Length of the sequence at p (left >= 1 bytes); 0 when it is not UTF-8. */
size_t utf8_sequence(const uint8_t *p, size_t left);

/* %XX decoding into the arena.  plus_is_space: query semantics.  false: a bad escape, or no memory.
 * Returns a borrowed slice when there is nothing to decode. */
bool s3_percent_decode(struct arena *arena, struct slice s, bool plus_is_space, struct slice *ret);
/* RFC 3986 as SigV4 wants it (A-Z a-z 0-9 - . _ ~ stay); keep_slash keeps '/'. */
void s3_percent_encode(struct buf *b, struct slice s, bool keep_slash);

/* Decimal, all of s, no sign.  false: empty, not digits, or overflow. */
bool parse_u64(struct slice s, uint64_t *ret);
