#pragma once
/* A request's body into the store: what PutObject and UploadPart have in common. */
#include "gateway/op/body.h"
#include "gateway/op/ingest.h"

struct intake {
    struct body body;
    struct ingest ingest;
    void (*wake)(struct intake *);
    /* Set by the operation before the start: data that go before the body; ingest.total counts
     * them. */
    struct slice before;
    enum s3_code code; /* why it failed; S3_OK: not (yet) */
    bool body_done;
};

/* Zeroed.  Reads what the header fields say; sets `wake` and, in `ingest`, upload id and part
 * number before intake_start(). */
enum s3_code intake_init(struct intake *in, struct request *req, uint64_t bytes_max);
/* The data are to be encrypted: before the start. */
void intake_seal(struct intake *in, const uint8_t data_key[CRYPT_KEY_BYTES],
                 const Cairn__Encryption *e);
/* Of a form, before the start: its file's length must be known now.  Returns: as
 * post_form_expect(). */
enum s3_code intake_expect(struct intake *in);
enum s3_code intake_start(struct intake *in, enum s3_checksum_algorithm algorithm);
/* Goes on as far as it can.  true: finished; with code S3_OK all is durable and verified, else
 * nothing more is under way. */
bool intake_poll(struct intake *in);
void intake_fini(struct intake *in, bool discard);
