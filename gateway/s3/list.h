#pragma once
/* Parameters of the list calls, and the opaque continuation tokens.  Pure. */
#include "gateway/s3/request.h"

#define S3_LIST_MAX 1000
#define S3_TOKEN_CHARS_MAX 2048

struct s3_list_params {
    struct slice prefix, delimiter;
    struct slice marker;      /* v1 marker; v2: what the token or start-after means (exclusive) */
    struct slice start_after; /* v2, as given */
    struct slice continuation_token; /* v2 and ListBuckets, as given */
    bool has_token, has_delimiter, has_start_after, has_marker;
    uint32_t max_keys; /* 0..1000 */
    bool encode_url;   /* encoding-type=url */
    bool fetch_owner;
    bool v2;
    /* The common prefix that the marker is or lies in: not greater than the marker, so not given, nor
     * anything below it.  Else empty. */
    struct slice skip_prefix;
};
/* ListObjects v1 and v2.  Returns: S3_OK; INVALID_ARGUMENT. */
enum s3_code s3_list_params_parse(const struct s3_request *r, struct s3_list_params *ret,
                                  struct s3_fault *fault);

struct s3_list_versions_params {
    struct slice prefix, delimiter, key_marker, version_id_marker;
    uint64_t version;  /* of the marker (version.h); S3_VERSION_NONE: behind all of the key */
    struct slice skip_prefix; /* as of s3_list_params */
    uint32_t max_keys; /* 0..1000 */
    bool encode_url;
};
/* Returns: S3_OK; INVALID_ARGUMENT. */
enum s3_code s3_list_versions_params_parse(const struct s3_request *r,
                                           struct s3_list_versions_params *ret,
                                           struct s3_fault *fault);

struct s3_list_uploads_params {
    struct slice prefix, delimiter, key_marker, upload_id_marker;
    bool has_upload_id_marker;
    uint8_t upload_id[16]; /* of the marker */
    uint32_t max_uploads;
    bool encode_url;
};
enum s3_code s3_list_uploads_params_parse(const struct s3_request *r,
                                          struct s3_list_uploads_params *ret,
                                          struct s3_fault *fault);

struct s3_list_parts_params {
    uint32_t marker, max_parts;
    bool encode_url;
};
enum s3_code s3_list_parts_params_parse(const struct s3_request *r,
                                        struct s3_list_parts_params *ret, struct s3_fault *fault);

struct s3_list_buckets_params {
    struct slice prefix, region, continuation_token, start_after;
    uint32_t max_buckets; /* 10000 when not given */
    bool has_max, has_token;
};
enum s3_code s3_list_buckets_params_parse(const struct s3_request *r,
                                          struct s3_list_buckets_params *ret,
                                          struct s3_fault *fault);

/* A token says where to go on: a position, and whether it is a common prefix.  It carries a
 * checksum that binds it to what was listed (scope), so that a damaged or foreign one is an error
 * and not a list from a wrong place; it grants nothing, so it needs no secret. */
void s3_token_encode(struct buf *b, struct slice scope, struct slice position, bool is_prefix);
bool s3_token_decode(struct arena *arena, struct slice scope, struct slice token,
                     struct slice *ret_position, bool *ret_is_prefix);

/* The token that continues this listing behind `position`; *_parse() takes it apart again. */
void s3_list_token(struct buf *b, const struct s3_request *r, const struct s3_list_params *p,
                   struct slice position, bool is_prefix);
void s3_list_buckets_token(struct buf *b, const struct s3_list_buckets_params *p,
                           struct slice position);
