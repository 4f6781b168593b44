#pragma once
/* Shared by the readers: building responses out of packed rows. */
#include "metanode/index/state.h"

enum {
    REPLY_BYTES_MAX = 1 << 20, /* of a page's rows; one more row may begin below it */
    READ_KEYS_MAX = 64,        /* records of one ReadRequest */
};

/* `packed` holds whole elements of the repeated field `number` (below 16): hang it into the message
 * as its row field `slot`.  The memory stays reply's. */
void reply_rows(struct index_reply *reply, unsigned slot, uint32_t number,
                const struct buf *packed);
/* Reads a body into reply->body.  OK; ERR_CORRUPT: not there, or not of that size; failures. */
int reply_body(const struct index_view *view, const struct key *key, uint64_t size,
               struct index_reply *reply);
int view_get(const struct index_view *view, const struct key *key, struct buf *ret);
/* What a stored record says of versions. */
struct version_fields {
    uint64_t version, versioned, null_at;
};
int version_scan(struct slice value, struct version_fields *ret); /* OK; ERR_CORRUPT */
/* The record of a version that is named as proto/versions.h says (not VERSION_NONE). */
int view_get_version(const struct index_view *view, uint64_t bucket_id, struct slice key,
                     uint64_t named, struct buf *ret);
struct kv_iter *view_iter(const struct index_view *view, const struct key *lower,
                          const struct key *upper);
/* OK; ERR_EPOCH; ERR_INVAL (the root has no objects; a key of no possible length). */
int view_object_check(const struct index_view *view, uint64_t epoch, uint64_t bucket_id,
                      struct slice key);
int view_bucket_check(const struct index_view *view, uint64_t epoch, uint64_t bucket_id);

/* ---- blob_refs.c ---- */

enum blob_held { BLOB_FREE, BLOB_QUEUED, BLOB_REFERRED };
struct blob_ref {
    struct id128 id;
    size_t position; /* in the question */
    enum blob_held held;
};
struct blob_refs {
    struct blob_ref *blobs; /* sorted */
    size_t count;
    uint64_t budget_bytes; /* of the rows that may be looked at */
};
void blob_refs_sort(struct blob_refs *refs);
void blob_refs_mark(struct blob_refs *refs, struct slice blob_id, enum blob_held held);
/* Marks those that records under the key refer to, or that only parts do whose deletion is queued.
 * OK; ERR_TOO_LARGE (the budget is spent); ERR_CORRUPT; failures. */
int blob_refs_find(const struct index_view *view, uint64_t bucket_id, struct slice key,
                   struct blob_refs *refs);

/* What the part rows of an upload id belong to.  Zeroed is valid for fini. */
struct part_owner {
    struct buf upload; /* its row, which `chosen` points into */
    bool dead;
    ProtobufCBinaryData chosen;
};
/* OK; ERR_CORRUPT (of nothing); failures. */
int part_owner_find(const struct index_view *view, uint64_t bucket_id, struct slice key,
                    struct slice upload_id, struct part_owner *o);
/* Such a part belongs to an upload under way, or to an object. */
bool part_owner_refers(const struct part_owner *o, uint32_t number);
void part_owner_fini(struct part_owner *o);
/* UploadRecord.chosen of a packed record, borrowed from it. */
int upload_chosen(struct slice upload, ProtobufCBinaryData *ret);

/* The rows of a bucket in `table` that a listing may touch: those of keys with the prefix. */
struct list_range {
    struct key lower, upper;
};
void list_range_init(struct list_range *r, uint32_t partition, enum index_table table,
                     uint64_t bucket_id, struct slice prefix);
void list_range_raise(struct list_range *r, const struct key *lower);
/* First row after every row of the key; of the keys with that prefix. */
void key_after_object(struct key *k, uint32_t partition, enum index_table table, uint64_t bucket_id,
                      struct slice key);
void key_after_prefix(struct key *k, uint32_t partition, enum index_table table, uint64_t bucket_id,
                      struct slice prefix);
/* The common prefix of a key: up to and with the first delimiter after `prefix`; empty: none. */
struct slice common_prefix(struct slice key, struct slice prefix, struct slice delimiter);
