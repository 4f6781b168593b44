#pragma once
/* RenameObject: what it does not share with a copy (copy_object.c), which brings the data to the
 * new key; then one command puts the object there and takes the old one away
 * (metanode/index/apply_rename.c).  For buckets without versions.
 *
 * A client that sends the request again, with its token, after it was done finds the object that it
 * made, with the hash of the token: that is an answer, too. */
#include "gateway/op/commit.h"

struct rename {
    bool has_token;
    bool is_done;  /* by this request, before: nothing is left to do */
    bool is_other; /* done before, with this token, was another one */
    uint8_t by[RENAMED_BY_BYTES];
    Cairn__RenameObject command;
};

/* Sets r->is_done and is_other, of which nothing may be said before the source is known to be the
 * caller's to rename.  Returns: S3_OK; NOT_IMPLEMENTED (a bucket with versions, fields that ask for
 * more, keys in different partitions); what s3_rename_source_parse() and s3_client_token_parse()
 * say; INTERNAL_ERROR. */
enum s3_code rename_prepare(struct rename *r, struct request *req, struct s3_copy_source *source);
/* Returns: S3_OK; IDEMPOTENCY_PARAMETER_MISMATCH. */
enum s3_code rename_token_check(const struct rename *r, struct request *req);
/* May this object be renamed?  Returns: S3_OK; NOT_IMPLEMENTED. */
enum s3_code rename_source_check(struct request *req, const Cairn__ObjectRecord *from);
/* The source is not there: perhaps because another attempt of this request has just been done. */
bool rename_may_be_done(const struct rename *r, const struct request *req);

/* What the data are written for: the rest of the record is made at apply. */
void rename_record(const Cairn__ObjectRecord *from, Cairn__ObjectRecord *record);
/* The record has the hashes of the data that were copied. */
void rename_command(struct rename *r, struct request *req, const struct s3_copy_source *source,
                    const Cairn__ObjectRecord *from, Cairn__ObjectRecord *record,
                    Cairn__Condition *condition, Cairn__Command *ret);
/* Why it was refused. */
enum s3_code rename_commit_code(struct request *req, const struct commit *commit);
void rename_reply(struct request *req);
