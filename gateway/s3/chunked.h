#pragma once
/* The aws-chunked body format: size;chunk-signature=... CRLF data CRLF, a last chunk of size 0, and
 * trailing fields.  A push parser over any split of the input: the data it yields are slices of the
 * input.
 *
 * A chunk's signature is known to be right only at its end: what was yielded counts once
 * aws_chunked_finish() said S3_OK, and the caller must not acknowledge anything before that. */
#include "gateway/s3/fields.h"
#include "gateway/s3/sigv4.h"

#define AWS_CHUNK_HEADER_BYTES_MAX 256
#define AWS_CHUNK_BYTES_MAX (5ull << 30)
#define AWS_CHUNK_BYTES_MIN 8192 /* of every chunk but the last that has data: S3's own rule */
#define AWS_TRAILER_BYTES_MAX 4096
#define AWS_TRAILER_FIELDS_MAX 16

struct aws_chunked_config {
    enum s3_payload_mode mode; /* one of the STREAMING ones */
    uint64_t decoded_length;   /* x-amz-decoded-content-length */
    const struct sigv4_auth
        *auth; /* signed modes: seed signature, timestamp, scope; borrowed for ever */
    uint8_t signing_key[SHA256_BYTES];
    struct slice trailer_names; /* x-amz-trailer: what the client announced; borrowed for ever */
};

/* Not to be moved once initialised: its fields point into it. */
struct aws_chunked {
    struct aws_chunked_config config;
    int state;
    enum s3_code error; /* of the FAILED state */
    uint64_t chunk_left, chunk_size, decoded;
    bool short_chunk_seen;
    uint8_t previous[SHA256_BYTES]; /* signature that the next one chains to */
    uint8_t claimed[SHA256_BYTES];  /* the current chunk's, as sent */
    struct digest hash;
    size_t line_len;
    char line[AWS_CHUNK_HEADER_BYTES_MAX];
    size_t trailer_len;
    char trailer[AWS_TRAILER_BYTES_MAX];
    struct http_field fields[AWS_TRAILER_FIELDS_MAX];
    size_t field_count;
    bool trailer_signed; /* x-amz-trailer-signature has come: nothing may follow it */
};

/* Returns: 0; ERR_NOMEM. */
int aws_chunked_init(struct aws_chunked *c, const struct aws_chunked_config *config);
void aws_chunked_fini(struct aws_chunked *c);

/* Take some of `in`: *ret_used bytes (more than none, if in has any), of which *ret_data (perhaps
 * empty) are object data.  Call again with the rest until all is used.
 * Returns: S3_OK; INCOMPLETE_BODY, INVALID_CHUNK_SIZE, SIGNATURE_DOES_NOT_MATCH, MALFORMED_TRAILER,
 * INVALID_REQUEST.  After an error the decoder only repeats it. */
enum s3_code aws_chunked_push(struct aws_chunked *c, struct slice in, size_t *ret_used,
                              struct slice *ret_data, struct s3_fault *fault);

/* At the end of the HTTP body: was it whole?  Returns: S3_OK; INCOMPLETE_BODY; what push() said. */
enum s3_code aws_chunked_finish(struct aws_chunked *c, struct s3_fault *fault);

/* The trailing fields, valid after finish, without x-amz-trailer-signature. */
struct http_fields aws_chunked_trailers(const struct aws_chunked *c);

/* Number of HTTP body bytes is stated by Content-Length, of object bytes by
 * x-amz-decoded-content-length.  Returns: S3_OK; MISSING_CONTENT_LENGTH; INVALID_ARGUMENT. */
enum s3_code aws_chunked_decoded_length(const struct s3_request *r, uint64_t *ret,
                                        struct s3_fault *fault);
