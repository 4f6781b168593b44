#pragma once
/* What UploadPart and UploadPartCopy have in common: the upload looked up, the part proposed. */
#include "gateway/op/commit.h"
#include "gateway/op/extract.h"
#include "gateway/op/ingest.h"

/* Reads the upload's record at the leader, with no parts to speak of. */
void upload_look_start(struct parts_walk *w, struct request *req, struct slice upload_id,
                       void (*wake)(struct parts_walk *));
/* S3_OK and the algorithm that its parts must have (NONE: any); NO_SUCH_UPLOAD; ... */
enum s3_code upload_look_result(struct parts_walk *w, enum s3_checksum_algorithm *ret);

/* The class of the object to be, borrowed from the page.  After S3_OK of upload_look_result(). */
static inline struct slice upload_look_class(const struct parts_walk *w)
{
    const Cairn__ObjectRecord *o = w->page->upload->object;
    return o ? slice_cstr(o->storage_class) : SLICE_EMPTY;
}

/* How its data are encrypted; NULL: they are not.  The same. */
static inline const Cairn__Encryption *upload_look_encryption(const struct parts_walk *w)
{
    const Cairn__ObjectRecord *o = w->page->upload->object;
    return o ? o->encryption : NULL;
}

struct upload_part {
    Cairn__PartRecord record;
    Cairn__PutPart command;
    struct commit commit;
};
/* encryption: of the part, or NULL.  Prepares the proposal; commit_start() is the caller's. */
enum s3_code upload_part_init(struct upload_part *p, struct request *req,
                              const uint8_t upload_id[ID_BYTES], uint32_t number,
                              const struct s3_hashes *hashes, Cairn__Encryption *encryption,
                              const struct ingest *in);
