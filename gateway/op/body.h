#pragma once
/* The body of a request on its way in: HTTP → aws-chunked (if it is) → hashes → the operation's
 * sink, at the sink's pace.  At the end length, signatures, checksums and digests have been
 * verified; nothing may be acknowledged before. */
#include "gateway/op/request.h"
#include "gateway/s3/chunked.h"

struct body {
    /* Set by the operation before init. */
    bool ignore_claim; /* checksum fields speak of something else than this body */
    /* Set by the operation between init and start. */
    /* Takes a prefix of data.  Less than all of it: waits for body_resume(). */
    size_t (*sink)(struct body *body, struct slice data);
    /* The end, once; `code` says how.  Comes by a timer, so it may end the request.  Not called
     * after body_stop(). */
    void (*done)(struct body *body);
    /* From init on. */
    uint64_t length; /* of the object data, as announced */
    struct s3_checksum_claim claim;
    bool is_form; /* a file of a form: `length` is the most that it can be */
    /* Results, from done on. */
    enum s3_code code;
    struct s3_hashes hashes;
    /* private */
    struct request *req;
    bool is_chunked, started, ended, finished, pausing, feeding;
    uint64_t received; /* of the object data */
    struct aws_chunked *decoder; /* large; NULL: the body is not chunked */
    struct s3_hasher hasher;
    struct payload held;         /* what came in last, while not all of it was taken */
    struct slice encoded, plain; /* the rest of it: not yet decoded; decoded, not yet taken */
    struct env_timer later;
};

/* Zeroed before.  Looks at the request's fields: length, checksums, form.
 * Returns: S3_OK; MISSING_CONTENT_LENGTH, ENTITY_TOO_LARGE, INVALID_REQUEST, ... (req->fault is
 * set). */
enum s3_code body_init(struct body *body, struct request *req, uint64_t bytes_max);
/* algorithm: what to compute when the client chose none. */
int body_start(struct body *body, enum s3_checksum_algorithm algorithm, bool with_md5);
void body_resume(struct body *body);
/* From within the sink: the data cannot be taken.  Ends the body with this code. */
void body_fail(struct body *body, enum s3_code code);
void body_stop(struct body *body); /* nothing more is delivered */
void body_fini(struct body *body);
/* The claim, or what is computed for lack of one. */
static inline const uint8_t *body_sha256(const struct body *b)
{
    return b->req->auth.payload == S3_PAYLOAD_SHA256 ? b->req->auth.payload_sha256 : NULL;
}

/* A small body, collected whole (XML documents).  Those of one loop are bounded together; and in
 * time, or whoever sends a byte now and then could keep that room to itself.  Behind a body that
 * was long on its way the request is authorized anew: what it was once allowed may be so no longer.
 */
#define BODY_TEXT_BYTES_MAX (32u << 20)
#define BODY_TEXT_UNVERIFIED_BYTES_MAX (BODY_TEXT_BYTES_MAX / 4)
#define BODY_TEXT_NS_MAX (120 * NS_PER_SEC)
struct body_text {
    struct body body;
    struct buf text;
    struct env_timer late;
    uint64_t counted; /* in gw->text_bytes */
    /* Set by the operation before the start: whoever sends it has not shown yet who it is.  A part
     * of the room only is for such. */
    bool unverified;
    void (*done)(struct body_text *t);
};
/* Returns: S3_OK: done comes later; SLOW_DOWN (too many at once); else as body_init. */
enum s3_code body_text_start(struct body_text *t, struct request *req, uint64_t bytes_max);
void body_text_fini(struct body_text *t);
