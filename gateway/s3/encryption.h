#pragma once
/* What requests and settings of buckets say of server-side encryption.  Pure.
 *
 * Keys that clients send are secret: crypto_wipe() the struct that holds one. */
#include "gateway/s3/document.h"
#include "gateway/s3/request.h"

#define S3_SSE_KEY_BYTES 32
#define S3_SSE_CONTEXT_BYTES_MAX 4096

/* As in EncryptionMode (proto/common.proto). */
enum s3_sse_mode { S3_SSE_NONE, S3_SSE_S3, S3_SSE_KMS, S3_SSE_CUSTOMER };

/* A key that the client brings. */
struct s3_sse_customer {
    bool given;
    uint8_t key[S3_SSE_KEY_BYTES];
    struct slice md5; /* of it, in base64, as sent */
};

struct s3_sse {
    enum s3_sse_mode mode; /* NONE: the request says nothing */
    struct slice kms_key;  /* id, ARN or alias as sent; empty: the default one */
    struct slice context;  /* base64, as sent; empty: none */
    bool has_bucket_key, bucket_key;
    struct s3_sse_customer customer;
};

/* The fields x-amz-server-side-encryption-* of a write.
 * Returns: S3_OK; INVALID_ARGUMENT; INVALID_ENCRYPTION_ALGORITHM; NOT_IMPLEMENTED (aws:kms:dsse and
 * others that S3 has, and fields that nobody knows). */
enum s3_code s3_sse_parse(const struct s3_request *r, struct s3_sse *ret, struct s3_fault *fault);
/* Those with the customer's key; of_source: of the source of a copy.  Returns: as above. */
enum s3_code s3_sse_customer_parse(const struct s3_request *r, bool of_source,
                                   struct s3_sse_customer *ret, struct s3_fault *fault);
/* Requests that say nothing of the encryption of what is there already, but for a customer's key:
 * GET, HEAD.  Returns: S3_OK; INVALID_ARGUMENT. */
enum s3_code s3_sse_refuse(const struct s3_request *r, struct s3_fault *fault);

/* The default of a bucket. */
extern const struct s3_schema s3_sse_schema;
enum s3_code s3_sse_check(const struct s3_request *r, const struct s3_node *root,
                          struct s3_fault *fault);
struct s3_sse_default {
    enum s3_sse_mode mode; /* NONE: there is none */
    struct slice kms_key;
    bool bucket_key;
    bool customer_blocked; /* no object may be written with a customer's key */
};
/* Of a document as it is stored.  Returns: S3_OK; MALFORMED_XML; INTERNAL_ERROR. */
enum s3_code s3_sse_default_read(struct arena *arena, struct slice document,
                                 struct s3_sse_default *ret, struct s3_fault *fault);

/* Which key a request names: the id itself, arn:aws:kms:REGION:ACCOUNT:key/ID, alias/NAME, or
 * arn:aws:kms:REGION:ACCOUNT:alias/NAME.  An alias has the id's name, but for the default's,
 * alias/aws/s3.  Empty: the default.  SSE-S3's own key cannot be named.
 * Returns: S3_OK (*ret borrows from text); KMS_NOT_FOUND (of another region, or no name that a key
 * can have). */
#define S3_KMS_KEY_DEFAULT "aws-s3"
#define S3_KMS_KEY_INTERNAL "sse-s3"
#define S3_KMS_KEY_CHARS_MAX 64
enum s3_code s3_kms_key_name(struct slice text, struct slice region, struct slice *ret,
                             struct s3_fault *fault);
/* 1 to 64 of A-Z a-z 0-9 - _ */
bool s3_kms_key_name_valid(struct slice name);
