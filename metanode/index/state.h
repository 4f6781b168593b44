#pragma once
/* Inside the index: the state of a partition, and one entry on its way through apply.
 *
 * Every function that returns int and takes a `struct apply` returns OK or a failure of this
 * replica (memory, store): then the entry was not applied.  What the rules decide goes into
 * apply.out.err; when that is not OK, whatever the function put into the batch is thrown away. */
#include "common/base/err.h"
#include "metanode/index/arena.h"
#include "metanode/index/index.h"
#include "metanode/index/keys.h"
#include "proto/index.pb-c.h"

/* What changes with every entry: one row of a fixed size, in the batch of the entry's effects. */
struct header {
    uint64_t applied, term, epoch;
    uint64_t time_ms;       /* the highest entry time */
    uint64_t deletion_next; /* id of the next item queued; ids are never used again */
    uint64_t deletion_count;
    uint64_t outcome_count;
    uint64_t
        outcome_oldest_ms;   /* no row of the outcome table is older: where pruning looks first */
    uint64_t bucket_counter; /* root: the last bucket created was this one */
};
enum { HEADER_BYTES = 4 + 2 + 2 + 9 * 8 + 4 };
_Static_assert(HEADER_BYTES == 84, "docs/formats/index.md");
_Static_assert(sizeof(struct header) == 9 * 8, "every field is packed");

/* What is in TABLE_CONDEMNED: exactly, so that entries decide by it. */
struct condemned {
    uint64_t count;
    uint64_t oldest_ms; /* when there are any */
};

/* What is in TABLE_INTERIM.  No entry decides by it. */
struct interim {
    uint64_t records, segments;
};

struct index {
    struct kv *kv;
    uint32_t partition;
    struct header h;
    struct index_settings settings;
    struct buf start, end;
    struct index_arena arena; /* of the entry that is being applied */
    struct buf scratch;       /* values read and packed */
    /* The fence read last: nearly every command asks for that of the same few buckets. */
    struct fence_memo {
        bool known, sealed, versioned;
        uint64_t bucket_id, version;
    } fence;
    struct condemned condemned;
    struct interim interim;
};

struct apply {
    struct index *index;
    struct index_arena *arena;
    uint64_t entry_index;
    struct header h;            /* becomes the index's when the batch is written */
    struct condemned condemned; /* so does this */
    struct interim interim;     /* and this */
    const Cairn__Command *cmd;  /* NULL: malformed */
    struct slice body;
    struct kv_batch *batch;
    Cairn__Outcome out;
    struct slice replay; /* a recorded outcome, as packed; empty: none */
    bool record;         /* the outcome goes into the table */
    struct {             /* the head of the bucket's queue of events, once an event needs it */
        bool known, changed;
        uint64_t bucket_id;
        Cairn__EventQueue *head;
    } events;
};

/* ---- state.c ---- */
void header_pack(const struct header *h, uint8_t ret[HEADER_BYTES]);
int header_unpack(struct slice value, struct header *ret); /* OK; ERR_CORRUPT; ERR_VERSION */

/* ---- check.c ---- */
/* What can be said of a command by itself: OK or ERR_REFUSED, or ERR_NOMEM. */
int command_validate(const Cairn__Command *cmd, size_t body_bytes, bool root,
                     struct index_arena *arena);
/* issued_ms against time_ms: OK; ERR_TOO_OLD; ERR_TIME. */
int command_window_check(const Cairn__Command *cmd, const struct index_settings *settings);
/* Epoch and range: OK; ERR_EPOCH. */
int command_route_check(const struct index *index, const Cairn__Command *cmd);
/* The bucket whose fence the command must pass.  false: none. */
bool command_bucket(const Cairn__Command *cmd, uint64_t *ret_bucket_id);
bool command_needs_write_id(const Cairn__Command *cmd);

/* ---- check_cluster.c: what the root's commands say of nodes, partitions and groups ---- */
enum { CHECK_NAME_BYTES_MAX = 255 }; /* nodes, addresses, buckets, users */
bool check_text(const char *s, size_t min, size_t max);
bool check_unknown(const ProtobufCMessage *m); /* fields of newer versions: kept, within reason */
bool check_nodes(Cairn__NodeRecord *const *nodes, size_t count);
bool check_pgs(Cairn__PlacementGroup *const *pgs, size_t count);
bool check_partitions(Cairn__PartitionDescriptor *const *partitions, size_t count);
bool check_put_node(const Cairn__PutNode *op);
bool check_add_pgs(const Cairn__AddPgs *op);
bool check_begin_change(const Cairn__BeginPgChange *op);

/* ---- apply.c ---- */
/* Reads a row into the index's scratch buffer; the slice is good until the next read or put.
 * OK; ERR_NOT_FOUND; failures. */
int apply_get(struct apply *a, const struct key *key, struct slice *ret);
/* Reads and decodes a row into the arena.  OK; ERR_NOT_FOUND; ERR_CORRUPT; failures. */
int apply_get_message(struct apply *a, const struct key *key,
                      const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret);
int apply_unpack(struct apply *a, const ProtobufCMessageDescriptor *type, struct slice value,
                 ProtobufCMessage **ret);
int apply_put_message(struct apply *a, const struct key *key, const ProtobufCMessage *message);
static inline void apply_put(struct apply *a, const struct key *key, struct slice value)
{
    kv_batch_put(a->batch, KV_INDEX, key_view(key), value);
}
static inline void apply_delete(struct apply *a, const struct key *key)
{
    kv_batch_delete(a->batch, KV_INDEX, key_view(key));
}
static inline int apply_decide(struct apply *a, int err)
{
    a->out.err = err;
    return OK;
}

/* ---- outcome.c ---- */
int outcome_lookup(struct apply *a); /* sets a->replay if there is one */
int outcome_record(struct apply *a, struct slice packed);
int outcome_prune(struct apply *a, bool asked); /* removes a bounded number of expired rows */
/* No room, and none to be made at this entry time. */
bool outcome_full(const struct header *h, const struct index_settings *settings, uint64_t time_ms);
static inline uint64_t outcome_keep_ms(const struct index_settings *s)
{
    return s->window_ms + s->skew_ms;
}

/* ---- apply_object.c ---- */
int apply_put_object(struct apply *a, const Cairn__PutObject *op);
int apply_put_object_acl(struct apply *a, const Cairn__PutObjectAcl *op);
int apply_put_object_tags(struct apply *a, const Cairn__PutObjectTags *op);
int apply_fence_check(struct apply *a, uint64_t bucket_id); /* may set out.err */
int apply_fence_bucket(struct apply *a, const Cairn__FenceBucket *op);
int condition_check(const Cairn__Condition *c, const Cairn__ObjectRecord *current);
/* has_if_tags alone. */
bool condition_tags_hold(const Cairn__Condition *c, const Cairn__ObjectRecord *record);
/* The current record of a key, in the arena, which may be a delete marker; *ret NULL: none. */
int object_get(struct apply *a, uint64_t bucket_id, struct slice key, Cairn__ObjectRecord **ret);
/* Lets go what a record refers to: inline data is removed, blobs and manifests are queued.  May set
 * out.err: ERR_LOCKED, to which nothing should come that did not ask before. */
int object_release(struct apply *a, uint64_t bucket_id, struct slice key,
                   const Cairn__ObjectRecord *record);

/* What conditions, and those who ask for "the object", see of it: NULL of a delete marker. */
static inline Cairn__ObjectRecord *object_visible(Cairn__ObjectRecord *record)
{
    return record && !record->delete_marker ? record : NULL;
}

/* ---- apply_version.c ---- */
/* `record` becomes the current version, of this entry; what becomes of `old`, which was (NULL:
 * nothing), Command.versioning says.  record's version, mtime, versioned and null_at are set here,
 * and the date of a lock that is to last retain_ms (0: it has a date, or is none).  May set
 * out.err: ERR_LOCKED (what would be replaced is locked). */
int object_replace(struct apply *a, uint64_t bucket_id, struct slice key, Cairn__ObjectRecord *old,
                   Cairn__ObjectRecord *record, uint64_t retain_ms);
/* A version that is not the current one, in the arena; *ret NULL: there is none. */
int older_get(struct apply *a, uint64_t bucket_id, struct slice key, uint64_t version,
              Cairn__ObjectRecord **ret);
/* The record, which has been the current one till now, is an older version from this entry on. */
int older_put(struct apply *a, uint64_t bucket_id, struct slice key, Cairn__ObjectRecord *record);
/* Takes away the row of an older version; its data stay. */
int older_row_remove(struct apply *a, uint64_t bucket_id, struct slice key,
                     const Cairn__ObjectRecord *record);
/* Takes it away, and lets go of what it refers to. */
int older_remove(struct apply *a, uint64_t bucket_id, struct slice key,
                 const Cairn__ObjectRecord *record);

/* The version that is named, which may be a delete marker, and its row; *ret NULL: there is none.
 */
int version_find(struct apply *a, uint64_t bucket_id, struct slice key, uint64_t version,
                 Cairn__ObjectRecord **ret, struct key *ret_row);

/* ---- apply_lock.c ---- */
/* The version must stay as it is at this time.  bypass: of governance. */
bool lock_forbids(const Cairn__ObjectRecord *r, uint64_t time_ms, bool bypass);
/* ... at the entry's time, with the bypass that its command has. */
bool apply_locked(const struct apply *a, const Cairn__ObjectRecord *r);
int apply_put_object_lock(struct apply *a, const Cairn__PutObjectLock *op);

/* ---- apply_rename.c ---- */
int apply_rename_object(struct apply *a, const Cairn__RenameObject *op);

/* ---- apply_append.c ---- */
int apply_append_object(struct apply *a, const Cairn__AppendObject *op);

/* ---- apply_delete.c ---- */
int apply_delete_object(struct apply *a, const Cairn__DeleteObject *op);
int apply_delete_objects(struct apply *a, const Cairn__DeleteObjects *op);

/* ---- apply_upload.c ---- */
int apply_create_upload(struct apply *a, const Cairn__CreateUpload *op);
int apply_put_part(struct apply *a, const Cairn__PutPart *op);
int apply_complete_upload(struct apply *a, const Cairn__CompleteUpload *op);
int apply_abort_upload(struct apply *a, const Cairn__AbortUpload *op);

/* ---- apply_deletion.c ---- */
int deletion_queue_segments(struct apply *a, Cairn__Segment *const *segments, size_t count);
int deletion_queue_blobs(struct apply *a, Cairn__BlobRef *blobs, size_t count);
int deletion_queue_upload(struct apply *a, uint64_t bucket_id, struct slice key,
                          struct slice upload_id);
int deletion_queue_unchosen(struct apply *a, uint64_t bucket_id, struct slice key,
                            struct slice upload_id);
int apply_deletion_done(struct apply *a, const Cairn__DeletionDone *op);
int apply_expand_deletion(struct apply *a, const Cairn__ExpandDeletion *op);
/* Bit number-1 of UploadRecord.chosen; an empty bitmap chooses every part. */
bool part_is_chosen(ProtobufCBinaryData chosen, uint32_t number);

/* ---- apply_condemn.c ---- */
int condemned_load(struct kv *kv, uint32_t partition, struct condemned *ret);
int condemned_check(struct apply *a); /* may set out.err */
int condemned_prune(struct apply *a); /* removes a bounded number of expired rows */
int apply_condemn(struct apply *a, const Cairn__Condemn *op);

/* ---- apply_interim.c ---- */
int interim_load(struct kv *kv, uint32_t partition, struct interim *ret);
void interim_put(struct apply *a); /* the counts, if the entry has changed them */
/* Interim ones among these segments. */
uint32_t interim_count(Cairn__Segment *const *segments, size_t count);
/* A record (of a part, if upload_id is not empty) has `now` interim segments from this entry on.
 * `had`: there may be a row; without it, and with none now, nothing is looked up. Once a record and
 * entry: the entry's own rows are not read. */
int interim_note(struct apply *a, uint64_t bucket_id, struct slice key, struct slice upload_id,
                 uint32_t number, bool had, uint32_t now);

/* ---- apply_event.c ---- */
/* What happened, for whom the command ordered to be told of it. */
struct event_fact {
    uint64_t bucket_id;
    struct slice key;
    uint32_t position; /* of the key in DeleteObjects */
    uint64_t version;
    bool versioned;
    uint64_t size;
    char *etag; /* may be NULL */
};
/* Queues it if the command says so; without an order nothing is read or written.
 * *ret_status (may be NULL): the object's replication from now on; untouched if none was ordered.
 */
int event_note(struct apply *a, const struct event_fact *fact,
               Cairn__ReplicationStatus *ret_status);
int event_finish(struct apply *a); /* the head, if this entry has changed it */
int apply_ack_events(struct apply *a, const Cairn__AckEvents *op);

/* ---- apply_segment.c ---- */
int apply_move_segment(struct apply *a, const Cairn__MoveSegment *op);

/* ---- apply_root.c ---- */
int apply_root(struct apply *a);
/* A row of the root in the arena; *ret NULL: there is none. */
int root_get(struct apply *a, enum index_table table, struct slice id,
             const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret);
int root_put(struct apply *a, enum index_table table, struct slice id,
             const ProtobufCMessage *message);
int root_put_be32(struct apply *a, enum index_table table, uint32_t id,
                  const ProtobufCMessage *message);

/* The bucket's record of that name and id; out.err = ERR_NO_BUCKET and *ret NULL when there is
 * none. */
int bucket_get(struct apply *a, const char *name, uint64_t id, Cairn__BucketRecord **ret);

/* ---- apply_fencing.c ---- */
int apply_begin_setting(struct apply *a, const Cairn__BeginSetting *op);
int apply_finish_setting(struct apply *a, const Cairn__FinishSetting *op);

/* ---- apply_setting.c ---- */
int apply_put_bucket_setting(struct apply *a, const Cairn__PutBucketSetting *op);

/* ---- apply_registry.c ---- */
int apply_change_rows(struct apply *a, const Cairn__ChangeRows *op);
/* The first account, its names, and a key of its root user. */
int found_account(struct apply *a, Cairn__AccountRow *account, Cairn__AccessKeyRow *key);

/* ---- apply_placement.c ---- */
int apply_put_node(struct apply *a, const Cairn__PutNode *op);
int apply_add_pgs(struct apply *a, const Cairn__AddPgs *op);
int apply_begin_change(struct apply *a, const Cairn__BeginPgChange *op);
int apply_finish_change(struct apply *a, const Cairn__FinishPgChange *op);

/* ---- shared by readers ---- */
static inline struct slice bytes_of(ProtobufCBinaryData b)
{
    return SLICE(b.data, b.len);
}
/* proto3 strings are never NULL after decoding, but a message built by hand may leave one out. */
static inline struct slice string_of(const char *s)
{
    return s ? slice_cstr(s) : SLICE_EMPTY;
}
int kv_get_scratch(struct kv *kv, const struct kv_snapshot *snap, const struct key *key,
                   struct buf *scratch, struct slice *ret);
static inline uint64_t load_be64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}
static inline uint16_t load_be16(const uint8_t *p)
{
    return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}
