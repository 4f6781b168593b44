#pragma once
/* The index: the deterministic state machine of one partition, root or object (DESIGN section 3).
 *
 * Pure: entries go in, rows of a kv store come out.  Time, ids and configuration travel in the
 * entry, so that every replica that applies the same entries holds the same bytes.  All partitions
 * of a node share one store; each owns the rows whose key begins with its id
 * (docs/formats/index.md).
 *
 * Duties of the driver, in order:
 *  1. index_create() once for a new partition, then index_open(); after a snapshot was installed
 *     index_close() and index_open() again.
 *  2. On the leader, before a proposal enters the log: set Command.time_ms (never below
 *     index_time_ms() nor below that of an entry proposed earlier; never further ahead than the own
 *     clock), then index_command_check(), which refuses early what apply would refuse.
 *  3. On every replica, before an entry is accepted from a leader: index_entry_time_ms(), and
 * refuse the append while it is further ahead of the own clock than the bound (one wrong clock must
 *     not expire everything).  Apply cannot look at a clock.
 *  4. For every entry in log order: NORMAL by index_apply(), every other kind by index_advance().
 *  5. Any error that index_apply() *returns* (other than ERR_NOMEM, which may be tried again) means
 *     that this replica's store is not to be trusted: stop the replica.  What the state machine
 *     decided is in the outcome, refusals included.
 *
 * Runs on: the owner's loop; only functions that take a `struct index_view` may run elsewhere. */
#include "common/base/id.h"
#include "common/env/kv.h"
#include "proto/command.pb-c.h"
#include "proto/common.pb-c.h"
#include "proto/keyhash.h"
#include "proto/meta.pb-c.h"
#include "proto/versions.h"

struct index;

/* ---- limits: what an entry may hold; everything beyond is refused ---- */
enum {
    INDEX_COMMAND_BYTES_MAX = 2 << 20, /* the packed Command, without the body */
    INDEX_BODY_BYTES_MAX = 1 << 20, /* inline data; the gateways' inline_bytes_max is far below */
    INDEX_APPENDS_MAX = 10000,      /* to an object */
    INDEX_SEGMENTS_MAX = 1024,      /* of an object that is not a manifest, or of a part */
    INDEX_PARTS_MAX = 10000,
    INDEX_DELETE_KEYS_MAX = 1000,
    INDEX_LIST_KEYS_MAX = 1000,      /* of one page; more asked for gives this many */
    INDEX_METADATA_BYTES_MAX = 4096, /* names and values of user metadata */
    INDEX_ACL_GRANTS_MAX = 100,
    INDEX_TAGS_MAX = 10,                /* of an object */
    INDEX_TAG_NAME_BYTES_MAX = 128 * 4, /* 128 characters of UTF-8 */
    INDEX_TAG_VALUE_BYTES_MAX = 256 * 4,
    INDEX_SETTINGS_BYTES_MAX = 256 << 10, /* all documents of a bucket, and their ids */
    INDEX_SETTINGS_MAX = 3000,            /* of a bucket */
    INDEX_SETTINGS_MADE_MAX = 16,         /* with which it is made */
    INDEX_SETTING_ID_BYTES_MAX = 64,
    INDEX_ETAGS_MAX = 64,         /* of one If-Match or If-None-Match */
    INDEX_NEWER_MAX = 128,        /* of Condition.if_newer_min: rows that apply may have to count */
    INDEX_DONE_ITEMS_MAX = 1024,  /* of one DeletionDone */
    INDEX_EXPAND_ITEMS_MAX = 16,  /* of one ExpandDeletion */
    INDEX_EXPAND_PARTS_MAX = 256, /* part rows that one ExpandDeletion looks at */
    INDEX_CONDEMN_BLOBS_MAX = 1024, /* of one Condemn, or one question about blobs */
    INDEX_ADD_PGS_MAX = 1024,       /* groups of one AddPgs */
    INDEX_DISKS_MAX = 256,          /* of one node */
    INDEX_COPIES_MAX = 3,           /* members of a replicated group */
    INDEX_ROLE_STORAGENODE = 4,     /* NodeRecord.role */
    INDEX_CHANGES_MAX = 32,         /* rows of the registry that one ChangeRows names */
    INDEX_JOB_ROWS_MAX = 4096, /* that go with a bucket; no bucket has as many settings */
    INDEX_ROW_SCOPE_BYTES_MAX = 64,
    INDEX_ROW_NAME_BYTES_MAX = 256,
    INDEX_ROW_VALUE_BYTES_MAX = 128 << 10,
    INDEX_CHANGES_BYTES_MAX = 256 << 10, /* all values of one ChangeRows */
    INDEX_EVENT_SINKS_MAX = 256,         /* that one command names */
    INDEX_EVENT_ORDER_SINKS_MAX = 16,    /* of one event */
    INDEX_EVENT_TARGETS_MAX = 64,        /* destinations for which events of a bucket wait */
    INDEX_EVENT_TARGET_BYTES_MAX = 160,
    INDEX_EVENT_ID_BYTES_MAX = 255,
    INDEX_EVENT_NAME_MAX = 11,  /* the last of EventName */
    INDEX_ACK_EVENTS_MAX = 256, /* of one AckEvents */
};

/* How long a lock may last: a hundred years from an entry's time; a date before the year 10000. */
#define INDEX_RETAIN_MS_MAX (UINT64_C(36525) * 24 * 3600 * 1000)
#define INDEX_RETAIN_UNTIL_MS_MAX UINT64_C(253402300799999)

/* What the outcome of a Condemn says of a blob, a byte each. */
enum {
    INDEX_CONDEMN_REFERRED = 0, /* a record does: passed over */
    INDEX_CONDEMNED = 1,
    INDEX_CONDEMN_YOUNG = 2, /* passed over: entry time is not age_ms behind the blob's own */
};

struct index_settings {
    uint64_t window_ms;    /* a proposal older than this is refused; 0: 15 min */
    uint64_t skew_ms;      /* ... and one issued further ahead of entry time; 0: 1 min */
    uint64_t outcomes_max; /* rows of the outcome table; 0: 4 Mi.  Full of rows that have not
                            * expired: ERR_OVERLOAD */
};

/* ---- life ---- */

/* Write the first rows of a new partition: applied index `applied` (0, or that of a split).  The
 * same arguments must be given on every replica.  start and end as in PartitionDescriptor.
 * Returns: OK; ERR_EXISTS; ERR_INVAL (a bound too long, the root with a range); kv's errors. */
int index_create(struct kv *kv, uint32_t partition, uint64_t epoch, struct slice start,
                 struct slice end, const struct index_settings *settings, uint64_t applied,
                 uint64_t applied_term);

/* Returns: OK; ERR_NOT_FOUND (never created here); ERR_CORRUPT; ERR_VERSION; ERR_NOMEM; kv's
 * errors. Owns: the caller owns *ret until index_close(); kv must outlive it. */
int index_open(struct kv *kv, uint32_t partition, struct index **ret);
void index_close(struct index *index); /* NULL is fine */

uint32_t index_partition(const struct index *index);
uint64_t index_applied(const struct index *index);
uint64_t index_applied_term(const struct index *index);
uint64_t index_epoch(const struct index *index);
uint64_t index_time_ms(const struct index *index);   /* the highest entry time applied */
struct slice index_start(const struct index *index); /* borrowed, until close */
struct slice index_end(const struct index *index);
uint64_t index_outcome_count(const struct index *index);
uint64_t index_deletion_count(const struct index *index);  /* items queued */
uint64_t index_condemned_count(const struct index *index); /* blob ids that no record may name */

uint64_t
index_interim_count(const struct index *index); /* segments to be written again as shards */

/* ---- apply ---- */

/* Checks everything about a command that needs no state but the partition's header: limits, write
 * id, touches, epoch, range, and that time_ms has not run backwards.  The leader calls it before it
 * proposes; apply calls it again.  issued_ms is checked against time_ms too (ERR_TOO_OLD,
 * ERR_TIME): but at propose a caller who finds ERR_TOO_OLD must still ask index_outcome_find().
 * Returns: OK; ERR_REFUSED; ERR_EPOCH; ERR_TOO_OLD; ERR_TIME; ERR_OVERLOAD; ERR_NOMEM. */
int index_command_check(const struct index *index, const Cairn__Command *command,
                        size_t body_bytes);

/* The recorded outcome of a write id, if it is within the window (also a way to answer a retry
 * without a log entry, at a leader that holds its lease).
 * Returns: OK; ERR_NOT_FOUND; ERR_NOMEM; kv's errors.
 * Owns: *ret is freed with cairn__outcome__free_unpacked(*ret, NULL). */
int index_outcome_find(const struct index *index, struct slice write_id, Cairn__Outcome **ret);

/* Apply one NORMAL entry: data = be32(length) ‖ Command ‖ body.  Its effects, its outcome and the
 * applied index are written in one batch, before return; entry_index > index_applied().  Whatever
 * the bytes are, the entry is applied or refused by the rules; the outcome says which.
 * Returns: OK, *ret is the outcome (Outcome.err, and Outcome.index = the entry that first applied
 * the write id: below entry_index for a retry); on ERR_NOMEM, ERR_IO, ERR_NOSPACE, ERR_CORRUPT
 * nothing was applied.  ret may be NULL (a follower).
 * Owns: *ret is freed with cairn__outcome__free_unpacked(*ret, NULL). */
int index_apply(struct index *index, uint64_t entry_index, uint64_t entry_term, struct slice data,
                Cairn__Outcome **ret);

/* An entry without a command (no-op, control, configuration): only the applied index moves. Several
 * may be passed over at once.  Returns: OK; kv's errors. */
int index_advance(struct index *index, uint64_t entry_index, uint64_t entry_term);

/* Entry time of a NORMAL entry's data without decoding it all; 0: none or malformed. */
uint64_t index_entry_time_ms(struct slice data);
/* What the witness stream carries for a NORMAL entry: Command.touches, appended to *ret as host
 * order uint64_t; nothing for a malformed entry (which changes nothing).  Sets ret->failed. */
void index_entry_touches(struct slice data, struct buf *ret);
/* be32(length) ‖ Command ‖ body, appended to *ret (ret->failed on ERR_NOMEM). */
void index_entry_pack(const Cairn__Command *command, struct slice body, struct buf *ret);

/* ---- reads ---- */

/* The state that a read looks at.  Taken on the owner's loop; with a snapshot that was made at the
 * same time (no apply in between) it may then be used on any thread until the snapshot is freed.
 * snap NULL: the state as it is now, on the owner's loop only, until the next apply. */
struct index_view {
    struct kv *kv;
    const struct kv_snapshot *snap;
    uint32_t partition;
    uint64_t applied; /* as_of of everything read through this view */
    uint64_t epoch;
    uint64_t time_ms;
    uint16_t start_bytes, end_bytes;
    uint8_t start[RANGE_BOUND_BYTES_MAX], end[RANGE_BOUND_BYTES_MAX];
};
void index_view_init(struct index_view *view, const struct index *index,
                     const struct kv_snapshot *snap);

/* A response ready for rpc_reply(req, err, &reply.msg.base, &reply.body, body.bytes.len ? 1 : 0).
 * Its rows lie packed in `packed` and travel as one "unknown" field, so that no object is built per
 * row; pack and unpack the message to look at them.  It points into itself: leave it where it is.
 */
struct index_reply {
    union {
        ProtobufCMessage base;
        Cairn__ReadResponse read;
        Cairn__ListResponse list;
        Cairn__ListUploadsResponse uploads;
        Cairn__ListPartsResponse parts;
        Cairn__ListBucketsResponse buckets;
        Cairn__ReadPartBodyResponse part_body;
        Cairn__BlobRefsResponse blob_refs;
        Cairn__ListSegmentsResponse segments;
        Cairn__InterimResponse interim;
        Cairn__ListEventsResponse events;
        Cairn__ListRowsResponse registry;
    } msg;
    struct payload body;    /* owned; inline data, if any */
    struct buf packed;      /* the repeated field, with all tags but the first */
    struct buf mark, mark2; /* what bytes fields of msg point to */
    ProtobufCMessageUnknownField rows[2];
};
/* Zeroed is valid for fini.  Frees all. */
void index_reply_fini(struct index_reply *reply);

/* Each fills a zeroed *ret.  All return: OK; ERR_EPOCH (the request's epoch is not the view's, or
 * what it asks for lies outside the range); ERR_INVAL (a limit, a field of the wrong size);
 * ERR_NOMEM; kv's errors; and what is named below.  A row that is absent is not an error of
 * index_read(). */
int index_read(const struct index_view *view, const Cairn__ReadRequest *req,
               struct index_reply *ret);
/* Objects in key order, or all their versions (newest first).  Ends a page at keys_max entries, at
 * the byte budget, after so many rows looked at, or at the end of the range; `more`, resume_after
 * and resume_version (to be sent as start_after and after_version, with skip_prefix the last
 * entry's key if that was a common prefix) say that this partition has more.  Such a page may be
 * empty: delete markers are passed over where objects are listed. */
int index_list(const struct index_view *view, const Cairn__ListRequest *req,
               struct index_reply *ret);
int index_list_uploads(const struct index_view *view, const Cairn__ListUploadsRequest *req,
                       struct index_reply *ret);
/* ERR_NO_UPLOAD: no upload under way and no manifest of that id. */
int index_list_parts(const struct index_view *view, const Cairn__ListPartsRequest *req,
                     struct index_reply *ret);
/* ERR_NO_UPLOAD; ERR_NOT_FOUND: no such part, or its data is not inline. */
int index_read_part_body(const struct index_view *view, const Cairn__ReadPartBodyRequest *req,
                         struct index_reply *ret);
int index_list_buckets(const struct index_view *view, const Cairn__ListBucketsRequest *req,
                       struct index_reply *ret);
/* Which of the blobs do records under the key refer to?  Looks at every record of the key, however
 * many parts it has.  `condemn` is the caller's business. */
int index_blob_refs(const struct index_view *view, const Cairn__BlobRefsRequest *req,
                    struct index_reply *ret);
/* What the records of a bucket refer to: in key order the object's versions, newest first, then the
 * parts of its uploads and of its manifest by upload id and number.  Pages end in the middle of a
 * key if need be: start_after is the resume_after of the page before, and means nothing else
 * (ERR_INVAL).  rows_max 0: a full page. */
int index_list_segments(const struct index_view *view, const Cairn__ListSegmentsRequest *req,
                        struct index_reply *ret);
/* Rows of the registry: one (req->name), or those of a scope, or with all_scopes of a kind, behind
 * `after` (of after_scope), in order of (scope, name).  A page ends at rows_max rows (0: as many as
 * there may be, INDEX_LIST_KEYS_MAX) or at the byte budget; `more`: the last row's name and scope
 * are where to go on. */
int index_list_rows(const struct index_view *view, const Cairn__ListRowsRequest *req,
                    struct index_reply *ret);
/* The whole map of the root partition (version = view->applied).
 * Owns: *ret is freed with cairn__cluster_map__free_unpacked(*ret, NULL).
 * Returns: OK; ERR_NOT_READY (not bootstrapped); ERR_NOMEM; kv's errors. */
int index_cluster_map(const struct index_view *view, Cairn__ClusterMap **ret);

/* ---- interim segments: copies that wait to be written again as shards ---- */

/* A walk over them in key order, through one partition or several, for one answer. */
struct index_interim_walk {
    /* Set by the caller. */
    unsigned rows_left, segments_left, take_left; /* looked at at most; taken at most */
    bool (*take)(void *arg, struct id128 blob_id);
    void *arg;
    struct index_reply *reply; /* what is taken is appended to it */
    /* Where the walk stands in the partition; empty: at its beginning.  The end of the partition
     * empties it; whatever else ended the walk, it goes on from here. */
    struct buf after;
};
/* Returns: OK, *ret_end: there is nothing behind; kv's errors; ERR_CORRUPT; ERR_NOMEM. */
int index_interim_walk(const struct index_view *view, struct index_interim_walk *walk,
                       bool *ret_end);
/* Ends the answer: InterimResponse.segments are what was taken. */
void index_interim_finish(struct index_reply *reply);

/* ---- events: what changes of objects are to be told of (apply_event.c) ---- */

/* Events that wait for (kind, target), oldest first; ERR_INVAL: no such kind, a target too long. */
int index_list_events(const struct index_view *view, const Cairn__ListEventsRequest *req,
                      struct index_reply *ret);
/* The first bucket behind `after` (0: from the start) with events in its queue, and the queue's
 * head.  Returns: OK; ERR_END: there is none; kv's errors; ERR_CORRUPT; ERR_NOMEM.
 * Owns: *ret_queue is freed with cairn__event_queue__free_unpacked(, NULL). */
int index_event_queue_next(const struct index_view *view, uint64_t after, uint64_t *ret_bucket_id,
                           Cairn__EventQueue **ret_queue, uint64_t *ret_oldest_ms);

/* ---- the deletion queue ----
 * The leader's consumer asks for items that are past the grace period.  For blobs: deletes them at
 * every member of their PG, then proposes DeletionDone{items}, ascending.  Items marked `expand`
 * stand for parts that are still rows: propose ExpandDeletion{items} and ask again; each step turns
 * a bounded number of parts into blob items.  Both commands may carry an empty write id, are
 * idempotent, and carry epoch and time_ms like any other. */
struct index_blob {
    uint64_t item;
    uint32_t pg;
    struct id128 blob_id;
};
struct index_deletions {
    struct index_blob *blobs; /* by item, ascending */
    size_t blob_count;
    uint64_t *items; /* blob items, ascending (one with no blobs at all is possible) */
    size_t item_count;
    uint64_t expand[INDEX_EXPAND_ITEMS_MAX];
    size_t expand_count;
    uint64_t last_item; /* ask on after this one; 0: nothing was found */
    bool more;
};
/* Items with id > after_item, queued at or before queued_before_ms; ends after items_max items and
 * before the item that would go beyond blobs_max (an item is never cut: the first one alone may be
 * larger, up to INDEX_SEGMENTS_MAX).
 * Owns: *ret until index_deletions_fini(). */
int index_deletions_next(const struct index_view *view, uint64_t after_item,
                         uint64_t queued_before_ms, size_t items_max, size_t blobs_max,
                         struct index_deletions *ret);
void index_deletions_fini(struct index_deletions *deletions);

/* ---- snapshots ---- */

/* All rows of a partition in every family lie in [lower, upper): be32(id), be32(id + 1). */
enum { INDEX_RANGE_BYTES = 4 };
void index_range(uint32_t partition, uint8_t ret_lower[INDEX_RANGE_BYTES],
                 uint8_t ret_upper[INDEX_RANGE_BYTES]);
