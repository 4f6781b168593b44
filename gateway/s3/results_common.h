#pragma once
/* Elements that several result documents share.  Internal to gateway/s3. */
#include "gateway/s3/results.h"

void result_owner(struct buf *b, const char *name,
                  const struct s3_owner *owner);    /* NULL: nothing */
void result_etag(struct buf *b, struct slice etag); /* with quotes */
void result_storage_class(struct buf *b, struct slice storage_class);
void result_upload_id(struct buf *b, const char *name, const uint8_t id[16]);
/* ChecksumAlgorithm and ChecksumType; nothing for NONE. */
void result_checksum_kind(struct buf *b, enum s3_checksum_algorithm a, enum s3_checksum_type t);
/* ChecksumCRC32 and the like; NULL or NONE: nothing. */
void result_checksum(struct buf *b, const struct s3_checksum *c, unsigned part_count);
