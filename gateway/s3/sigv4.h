#pragma once
/* AWS Signature Version 4: Authorization header, presigned query, forms; and the door to version 2,
 * which is taken in presigned queries and forms only (sigv2.h).
 *
 * Two steps, since the secret comes from the index: sigv4_parse() finds out who claims to have
 * signed and whether the claim is well formed; sigv4_verify() checks it under the signing key. Time
 * is a parameter.  Pure: digests come from common/crypto/digest.h.  Secrets never leave this
 * module. Ref: AWS, "Authenticating Requests (AWS Signature Version 4)". */
#include "common/crypto/digest.h"
#include "gateway/s3/request.h"

#define SIGV4_SKEW_MS (15 * 60 * 1000ull)
#define SIGV4_EXPIRES_MAX_S 604800
#define SIGV4_SIGNED_HEADERS_MAX 100

enum s3_payload_mode {
    S3_PAYLOAD_SHA256,                     /* payload_sha256 is what the body must hash to */
    S3_PAYLOAD_UNSIGNED,                   /* UNSIGNED-PAYLOAD, or presigned without the header */
    S3_PAYLOAD_STREAMING_SIGNED,           /* STREAMING-AWS4-HMAC-SHA256-PAYLOAD */
    S3_PAYLOAD_STREAMING_SIGNED_TRAILER,   /* ...-TRAILER */
    S3_PAYLOAD_STREAMING_UNSIGNED_TRAILER, /* STREAMING-UNSIGNED-PAYLOAD-TRAILER */
};

static inline bool s3_payload_is_chunked(enum s3_payload_mode m)
{
    return m >= S3_PAYLOAD_STREAMING_SIGNED;
}

struct sigv4_auth {
    bool anonymous; /* no credentials at all: nothing else is set but the payload mode */
    bool presigned;
    /* With version 2.  Set besides are access_key, token, service ("s3"), signature_text and what
     * the body is; of a form the policy, else presigned, timestamp (Expires as sent) and expires_s
     * (since 1970). */
    bool version_2;
    struct slice policy; /* of a form: what is signed, in place of the request; ptr NULL: no form */
    struct slice access_key;
    struct slice token; /* of a temporary session; ptr NULL: none */
    struct slice scope; /* "20130524/us-east-1/s3/aws4_request" */
    struct slice scope_date, region, service;
    struct slice signed_headers; /* "host;x-amz-date", as sent (decoded when presigned) */
    struct slice signature_text; /* as sent: 64 hex digits; of version 2 base64 */
    uint8_t signature[SHA256_BYTES];
    struct slice timestamp; /* "20130524T000000Z" */
    uint64_t time_ms;       /* the same */
    uint64_t expires_s;     /* presigned only */
    enum s3_payload_mode payload;
    /* Last line of the canonical request.  Empty: of another service than S3, which does not say
     * it: the body's hash. */
    struct slice payload_text;
    uint8_t payload_sha256[SHA256_BYTES];
};

#define SIGV4_ONLY                                                                                 \
    "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."

/* Returns: S3_OK (anonymous requests too); AUTHORIZATION_HEADER_MALFORMED,
 * AUTHORIZATION_QUERY_PARAMETERS_ERROR, INVALID_REQUEST (SigV2 in the header, SigV4a,
 * x-amz-content-sha256 missing or of no known form), ACCESS_DENIED (headers that must be signed are
 * not), INVALID_ARGUMENT (two signatures among them), MISSING_SECURITY_HEADER; what sigv2_parse()
 * says. */
enum s3_code sigv4_parse(const struct s3_request *r, struct sigv4_auth *ret,
                         struct s3_fault *fault);

/* The same of a form (POST Object), whose policy is signed; a form without one is anonymous.
 * Returns: S3_OK; INVALID_ARGUMENT (one of the fields without the others; those of both versions),
 * INVALID_REQUEST (SigV4a), AUTHORIZATION_HEADER_MALFORMED, ACCESS_DENIED (date); what
 * sigv2_parse_form() says. */
enum s3_code sigv4_parse_form(struct http_fields form, struct sigv4_auth *ret,
                              struct s3_fault *fault);

/* The part that needs no secret: region ("" accepts any), service, clock skew, expiry.
 * Returns: S3_OK; AUTHORIZATION_HEADER_MALFORMED / AUTHORIZATION_QUERY_PARAMETERS_ERROR (with
 * Region), REQUEST_TIME_TOO_SKEWED, REQUEST_EXPIRED, ACCESS_DENIED (presigned, not yet valid).
 * Of a form its policy says until when.  A URL of version 2 has an expiry only. */
enum s3_code sigv4_check_scope(const struct s3_request *r, const struct sigv4_auth *a,
                               struct slice region, uint64_t now_ms, struct s3_fault *fault);

/* The same for another service than "s3". */
enum s3_code sigv4_check_scope_of(const struct s3_request *r, const struct sigv4_auth *a,
                                  struct slice service, struct slice region, uint64_t now_ms,
                                  struct s3_fault *fault);

/* Check the signature, which is of version 4.  Call sigv4_check_scope() first.
 * Returns: S3_OK; SIGNATURE_DOES_NOT_MATCH (with S3's fields); INTERNAL_ERROR (no memory). */
enum s3_code sigv4_verify(const struct s3_request *r, const struct sigv4_auth *a,
                          const uint8_t signing_key[SHA256_BYTES], struct s3_fault *fault);

/* A field of a form without which there is no signature; an empty one is none.
 * Returns: false: it is not there, and the fault says so. */
#define SIGV4_FORM_FIELD(form, name, ret, fault)                                                   \
    sigv4_form_field(form, name,                                                                   \
                     "Bucket POST must contain a field named '" name                               \
                     "'.  If it is specified, please check the order of the fields.",              \
                     ret, fault)
bool sigv4_form_field(struct http_fields form, const char *name, const char *message,
                      struct slice *ret, struct s3_fault *fault);
/* InvalidAccessKeyId with its AWSAccessKeyId. */
enum s3_code sigv4_unknown_key(const struct sigv4_auth *a, struct s3_fault *fault);
/* SignatureDoesNotMatch with the texts that were signed here (canonical: of version 4). */
enum s3_code sigv4_mismatch(const struct s3_request *r, const struct sigv4_auth *a,
                            struct slice canonical, struct slice to_sign, struct s3_fault *fault);
/* The field at `at`, x-amz-*, must not come again behind it.  Returns: S3_OK; INVALID_REQUEST. */
enum s3_code sigv4_check_once(const struct s3_request *r, size_t at, struct s3_fault *fault);

/* HMAC(HMAC(HMAC(HMAC("AWS4" + secret, date), region), service), "aws4_request"). */
void sigv4_signing_key(struct slice secret, struct slice date, struct slice region,
                       struct slice service, uint8_t ret[SHA256_BYTES]);

/* Signing keys of a few recent (secret, date, region, service), so that a request costs one HMAC
 * rather than five.  One loop; the owner wipes it with sigv4_cache_fini(). */
#define SIGV4_CACHE_SLOTS 64
struct sigv4_cache {
    struct sigv4_cache_slot {
        bool used;
        uint8_t tag[SHA256_BYTES]; /* of secret and scope */
        uint8_t key[SHA256_BYTES];
    } slot[SIGV4_CACHE_SLOTS];
    uint8_t salt[SHA256_BYTES]; /* any random bytes, set by the owner at the start */
};
void sigv4_cached_key(struct sigv4_cache *c, struct slice secret, const struct sigv4_auth *a,
                      uint8_t ret[SHA256_BYTES]);
void sigv4_cache_fini(struct sigv4_cache *c);

/* For tests, the load generator and error documents: the texts that are signed. */
void sigv4_canonical_request(struct buf *b, const struct s3_request *r, const struct sigv4_auth *a);
void sigv4_string_to_sign(struct buf *b, const struct sigv4_auth *a, struct slice canonical);
