#pragma once
/* Server-side encryption of one request: which data key it needs, made or unwrapped, and what is
 * answered about it. */
#include "gateway/op/request.h"
#include "gateway/s3/encryption.h"

struct sse_key {
    /* Set by the start.  While busy, `wake` comes later; else the result is here already. */
    struct request *req;
    void (*wake)(struct sse_key *);
    bool busy;
    /* Results. */
    enum s3_code code;       /* S3_OK; else req->fault is set */
    Cairn__Encryption *made; /* by sse_make_start(): for the record; NULL: nothing is encrypted */
    bool has_key;
    uint8_t data_key[CRYPT_KEY_BYTES];
    /* private */
    const Cairn__Encryption *of;
    uint64_t bucket_id;
    struct s3_sse_customer customer;
    struct keyring_ask ask;
};

/* What this request's new object (or, with_salt false, upload) is encrypted with, and its data key:
 * as its fields say, else as the bucket's default. */
void sse_make_start(struct sse_key *k, struct request *req, bool with_salt,
                    void (*wake)(struct sse_key *));
/* Would that be encrypted at all?  At once. */
enum s3_code sse_is_wanted(struct request *req, bool *ret);
/* The data key of what lies in that bucket, to read it.  e: NULL: it is not encrypted.  of_source:
 * the client's key is in the fields for a copy's source. */
void sse_open_start(struct sse_key *k, struct request *req, const Cairn__Encryption *e,
                    uint64_t bucket_id, bool of_source, void (*wake)(struct sse_key *));
/* ... of an upload, to write a part of it. */
void sse_open_upload_start(struct sse_key *k, struct request *req, const Cairn__Encryption *e,
                           void (*wake)(struct sse_key *));
/* Does the request bring the right key, if one is needed to be told of the object at all (HEAD)?
 * At once. */
enum s3_code sse_check_customer(struct request *req, const Cairn__Encryption *e,
                                uint64_t bucket_id);
/* Of a part: in the arena, with a salt of its own.  NULL: the upload's data are not encrypted;
 * *ret_failed: no memory. */
Cairn__Encryption *sse_part(struct request *req, const Cairn__Encryption *of_upload,
                            bool *ret_failed);
/* Of the same data under another name in the same bucket, to which their data key is bound: all as
 * it is, but for a salt of its own.  NULL: as sse_part(). */
Cairn__Encryption *sse_renamed(struct request *req, const Cairn__Encryption *of_source,
                               bool *ret_failed);
void sse_key_fini(struct sse_key *k); /* forgets it; not busy */

/* The fields of an answer that tell how the data are encrypted; e may be NULL. */
void reply_encryption(struct request *req, const Cairn__Encryption *e, bool with_context);
