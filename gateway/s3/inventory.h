#pragma once
/* S3 Inventory: the configuration of one report, and what the report consists of: rows of CSV, and
 * the manifest that names its files.  Pure.
 *
 * Reports are CSV.  ORC and Parquet are refused, and so are the columns for which there is nothing
 * to say here. */
#include "gateway/s3/document.h"
#include "gateway/s3/request.h"

/* X(NAME, "name as S3 calls it"), in the order of the columns. */
#define S3_INVENTORY_FIELDS(X)                                                                     \
    X(SIZE, "Size")                                                                                \
    X(LAST_MODIFIED, "LastModifiedDate")                                                           \
    X(ETAG, "ETag")                                                                                \
    X(STORAGE_CLASS, "StorageClass")                                                               \
    X(MULTIPART, "IsMultipartUploaded")                                                            \
    X(REPLICATION, "ReplicationStatus")                                                            \
    X(ENCRYPTION, "EncryptionStatus")                                                              \
    X(RETAIN_UNTIL, "ObjectLockRetainUntilDate")                                                   \
    X(LOCK_MODE, "ObjectLockMode")                                                                 \
    X(LEGAL_HOLD, "ObjectLockLegalHoldStatus")                                                     \
    X(BUCKET_KEY, "BucketKeyStatus")                                                               \
    X(CHECKSUM, "ChecksumAlgorithm")                                                               \
    X(OWNER, "ObjectOwner")

enum s3_inventory_field {
#define X(NAME, name) S3_INVENTORY_##NAME,
    S3_INVENTORY_FIELDS(X)
#undef X
        S3_INVENTORY_FIELD_COUNT
};

struct s3_inventory {
    struct slice id, prefix;
    bool enabled, weekly, all_versions;
    uint32_t fields; /* a mask */
    struct slice bucket, account, dest_prefix;
    const char *encryption; /* "AES256", "aws:kms", or NULL: as the destination says */
    struct slice kms_key;
};
extern const struct s3_schema s3_inventory_schema;

/* Slices point into the tree.  Returns: S3_OK; MALFORMED_XML (a column twice); NOT_IMPLEMENTED (a
 * column or format that there is not); INVALID_S3_DESTINATION_BUCKET (no ARN of a bucket). */
enum s3_code s3_inventory_of_node(const struct s3_node *root, struct s3_inventory *ret,
                                  struct s3_fault *fault);

/* What there is to say of a version.  Texts may be NULL: nothing. */
struct s3_inventory_entry {
    struct slice key;
    const char *version_id; /* of all versions */
    bool is_latest, delete_marker;
    uint64_t size, mtime_ms, retain_until_ms;
    const char *etag, *storage_class, *replication, *lock_mode, *legal_hold, *checksum, *owner;
    const char *encryption; /* SSE-S3, ...; NULL: none */
    bool is_kms, bucket_key;
};
/* One row, appended. */
void s3_inventory_row(struct buf *b, const struct s3_inventory *i, struct slice bucket,
                      const struct s3_inventory_entry *e);

/* DEST-PREFIX/BUCKET/ID/ , appended. */
void s3_inventory_place(struct buf *b, const struct s3_inventory *i, struct slice bucket);
/* Where the manifest of the report begun at that time lies: the place, then 2026-11-30T15-00Z/ . */
void s3_inventory_manifest_place(struct buf *b, const struct s3_inventory *i, struct slice bucket,
                                 uint64_t began_ms);

struct s3_inventory_file {
    struct slice key;
    uint64_t bytes;
    char md5[33];
};
/* The manifest: all but the files, then each of them, then its end. */
void s3_inventory_manifest_begin(struct buf *b, const struct s3_inventory *i, struct slice bucket,
                                 uint64_t began_ms);
void s3_inventory_manifest_file(struct buf *b, bool is_first, const struct s3_inventory_file *f);
void s3_inventory_manifest_end(struct buf *b);
