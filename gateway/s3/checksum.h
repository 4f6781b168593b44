#pragma once
/* S3's object checksums: what a client asks for and claims, computing several at once, and deriving
 * a multipart object's checksum from its parts.  Numbers equal those of proto/common.proto. */
#include "common/crypto/digest.h"
#include "gateway/s3/request.h"

enum s3_checksum_algorithm {
    S3_CHECKSUM_NONE = 0,
    S3_CHECKSUM_CRC32 = 1,
    S3_CHECKSUM_CRC32C = 2,
    S3_CHECKSUM_CRC64NVME = 3,
    S3_CHECKSUM_SHA1 = 4,
    S3_CHECKSUM_SHA256 = 5,
    S3_CHECKSUM_COUNT
};
enum s3_checksum_type { S3_CHECKSUM_FULL_OBJECT = 0, S3_CHECKSUM_COMPOSITE = 1 };

#define S3_CHECKSUM_BYTES_MAX 32
#define S3_CHECKSUM_TEXT_MAX 64 /* base64, "-10000", NUL */

struct s3_checksum {
    enum s3_checksum_algorithm algorithm;
    enum s3_checksum_type type;
    uint8_t len;
    uint8_t bytes[S3_CHECKSUM_BYTES_MAX]; /* big-endian */
};

const char *s3_checksum_name(enum s3_checksum_algorithm a);    /* "CRC32" */
const char *s3_checksum_field(enum s3_checksum_algorithm a);   /* "x-amz-checksum-crc32" */
const char *s3_checksum_element(enum s3_checksum_algorithm a); /* "ChecksumCRC32" */
const char *s3_checksum_type_name(enum s3_checksum_type t);    /* "FULL_OBJECT" */
size_t s3_checksum_bytes(enum s3_checksum_algorithm a);
/* NONE: no such name.  Any case. */
enum s3_checksum_algorithm s3_checksum_by_name(struct slice name);
enum s3_checksum_algorithm s3_checksum_by_field(struct slice field);

/* Base64 of it (composite: with "-N" when part_count > 0); NUL-terminated; returns the length. */
size_t s3_checksum_text(const struct s3_checksum *c, unsigned part_count,
                        char ret[S3_CHECKSUM_TEXT_MAX]);
/* Base64 of exactly the algorithm's length; "-N" behind it is accepted when ret_parts is not NULL.
 */
bool s3_checksum_from_text(enum s3_checksum_algorithm a, struct slice text, struct s3_checksum *ret,
                           unsigned *ret_parts);

/* What a request says about the checksum of its body. */
struct s3_checksum_claim {
    enum s3_checksum_algorithm algorithm; /* NONE: the client did not choose */
    bool in_trailer;                      /* the value comes in the trailer */
    bool has_value;
    struct s3_checksum value;
    bool has_md5;
    uint8_t md5[MD5_BYTES]; /* Content-MD5 */
};

/* For requests with a body.  Returns: S3_OK; INVALID_REQUEST (more than one, unknown, or the value
 * is no base64 of the right length), INVALID_DIGEST (Content-MD5). */
enum s3_code s3_checksum_claim_parse(const struct s3_request *r, struct s3_checksum_claim *ret,
                                     struct s3_fault *fault);
/* Take the value out of the trailing fields.  Returns: S3_OK; MALFORMED_TRAILER (the announced one
 * is missing, or another came), INVALID_REQUEST. */
enum s3_code s3_checksum_claim_trailer(struct s3_checksum_claim *claim, struct http_fields trailers,
                                       struct s3_fault *fault);

/* CreateMultipartUpload: x-amz-checksum-algorithm and -type with S3's defaults (algorithm absent:
 * none chosen; CRC64NVME: full object only; SHA-1, SHA-256: composite only; CRC32, CRC32C:
 * composite unless said).  Returns: S3_OK; INVALID_REQUEST. */
enum s3_code s3_checksum_upload_parse(const struct s3_request *r,
                                      enum s3_checksum_algorithm *ret_algorithm,
                                      enum s3_checksum_type *ret_type, struct s3_fault *fault);

/* Compute in one pass what is asked for.  CRC64NVME is always computed. */
struct s3_hasher {
    bool with_md5, with_sha256;
    enum s3_checksum_algorithm algorithm; /* besides CRC64NVME; NONE is fine */
    uint32_t crc32, crc32c;
    uint64_t crc64nvme;
    uint64_t bytes;
    struct digest md5, sha256, sha1;
};
/* with_sha256: for x-amz-content-sha256 (shared with the algorithm SHA256).  Returns: 0; ERR_NOMEM.
 */
int s3_hasher_init(struct s3_hasher *h, enum s3_checksum_algorithm algorithm, bool with_md5,
                   bool with_sha256);
void s3_hasher_update(struct s3_hasher *h, struct slice s);
struct s3_hashes {
    uint64_t bytes;
    uint64_t crc64nvme;
    bool has_md5, has_sha256;
    uint8_t md5[MD5_BYTES];
    uint8_t sha256[SHA256_BYTES];
    struct s3_checksum checksum; /* of `algorithm`; NONE: CRC64NVME */
};
void s3_hasher_final(struct s3_hasher *h, struct s3_hashes *ret); /* ends h */
void s3_hasher_fini(struct s3_hasher *h);                         /* zeroed is fine */

/* Does the body match what was claimed?  payload_sha256 may be NULL.  Returns: S3_OK; BAD_DIGEST,
 * X_AMZ_CONTENT_SHA256_MISMATCH. */
enum s3_code s3_hashes_verify(const struct s3_hashes *h, const struct s3_checksum_claim *claim,
                              const uint8_t *payload_sha256, struct s3_fault *fault);

/* Of a multipart object: feed the parts in order.  etag is always computed. */
struct s3_combiner {
    enum s3_checksum_algorithm algorithm;
    enum s3_checksum_type type;
    unsigned parts;
    bool failed; /* a part lacked a checksum of the algorithm */
    uint32_t crc32;
    uint64_t crc64nvme;
    bool crc64_known;
    uint64_t bytes;
    struct digest md5, hash;
};
int s3_combiner_init(struct s3_combiner *c, enum s3_checksum_algorithm algorithm,
                     enum s3_checksum_type type);
/* md5: the part's; checksum: NULL or the part's own; crc64: NULL or the part's CRC64NVME. */
void s3_combiner_add(struct s3_combiner *c, uint64_t part_bytes, const uint8_t md5[MD5_BYTES],
                     const struct s3_checksum *checksum, const uint64_t *crc64);
/* etag: hex MD5 of the parts' MD5s, "-N"; checksum.algorithm NONE when it cannot be known. */
#define S3_ETAG_TEXT_MAX 48
void s3_combiner_final(struct s3_combiner *c, char etag[S3_ETAG_TEXT_MAX], struct s3_checksum *ret,
                       uint64_t *ret_crc64, bool *ret_crc64_known);
void s3_combiner_fini(struct s3_combiner *c);

void s3_checksum_of_crc64(uint64_t crc, struct s3_checksum *ret);
