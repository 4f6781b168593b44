#pragma once
/* A partition over a store in memory, short ways to build commands for it, and the log of what was
 * applied, so that a test can replay it elsewhere. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/env/kv_mem.h"
#include "metanode/index/index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* xorshift64*: the tests' only source of randomness. */
struct rng {
    uint64_t state;
};
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n);

/* A kv in front of another whose n-th call fails, before or after. */
struct flaky_kv {
    struct kv kv;
    struct kv *inner;
    uint64_t calls;   /* seen */
    uint64_t fail_at; /* the call with this number fails; 0: none */
    int err;
};

struct entry {
    uint64_t index;
    struct buf data;
};

struct world {
    struct kv *store; /* kv_mem */
    struct flaky_kv flaky;
    struct kv *kv; /* what the index uses: flaky */
    struct index *index;
    uint32_t partition;
    uint64_t now_ms;
    uint64_t next_id;    /* of write ids, uploads, blobs */
    Cairn__Outcome *out; /* of the last apply */
    struct entry *log;
    size_t log_count;
    bool keep_log;
};

#define BUCKET UINT64_C(0x8000000000000000)
#define EPOCH UINT64_C(7)
#define START_MS UINT64_C(1000000000)

/* Files that stores made from now on export to and replace from; NULL: none. */
extern struct kv_mem_files *world_files;

void world_init(struct world *w, uint32_t partition);
void world_init_range(struct world *w, uint32_t partition, struct slice start, struct slice end,
                      const struct index_settings *settings);
void world_fini(struct world *w);
void world_reopen(struct world *w); /* closes and opens the index */
void world_flush(struct world *w);  /* what was written survives a crash */
void world_crash(struct world *w);  /* back to the last flush, then opened again */

struct id128 fresh_id(struct world *w);

/* For messages, which do not change what they borrow. */
static inline ProtobufCBinaryData bin(struct slice s)
{
    return (ProtobufCBinaryData){s.len, (uint8_t *)(uintptr_t)s.ptr};
}
static inline char *str(const char *s)
{
    return (char *)(uintptr_t)s;
}

/* A command with a fresh write id, issued and applied now. */
struct cmd {
    Cairn__Command msg;
    struct id128 write_id;
    uint64_t touches[4];
    Cairn__PutObject put;
    Cairn__DeleteObject del;
    Cairn__CreateUpload create;
    Cairn__PutPart part;
    Cairn__CompleteUpload complete;
    Cairn__AbortUpload abort;
    Cairn__FenceBucket fence;
    Cairn__DeletionDone done;
    Cairn__ExpandDeletion expand;
    Cairn__Condemn condemn;
    Cairn__CondemnBlob condemn_blobs[16], *condemn_ptrs[16];
    Cairn__MoveSegment move;
    Cairn__CreateBucket create_bucket;
    Cairn__BeginDeleteBucket begin;
    Cairn__FinishDeleteBucket finish;
    Cairn__AbortDeleteBucket abort_delete;
    Cairn__ObjectRecord record;
    Cairn__UploadRecord upload;
    Cairn__PartRecord part_record;
    Cairn__BucketRecord bucket;
    Cairn__Segment segments[4];
    Cairn__Segment *segment_ptrs[4];
    struct id128 blob_ids[4];
    char etag[33];
    struct slice body;
};
void cmd_init(struct world *w, struct cmd *c);
void cmd_put_inline(struct world *w, struct cmd *c, struct slice key, struct slice body);
void cmd_put_segments(struct world *w, struct cmd *c, struct slice key, size_t n, uint64_t bytes);
void cmd_delete(struct world *w, struct cmd *c, struct slice key);
void cmd_create_upload(struct world *w, struct cmd *c, struct slice key, struct id128 *upload_id);
/* inline when segments is 0 (size bytes of zero), else so many segments of size in all */
void cmd_put_part(struct world *w, struct cmd *c, struct slice key, struct id128 *upload_id,
                  uint32_t number, uint64_t size, size_t segments);
void cmd_complete(struct world *w, struct cmd *c, struct slice key, struct id128 *upload_id,
                  Cairn__CompletePart **parts, size_t n, uint64_t size);
void cmd_abort(struct world *w, struct cmd *c, struct slice key, struct id128 *upload_id);
void cmd_create_bucket(struct world *w, struct cmd *c, const char *name);
void cmd_fence(struct world *w, struct cmd *c, uint64_t bucket, uint64_t version, bool sealed);

/* Of up to 16 blobs, without a write id: as a leader proposes it. */
void cmd_condemn(struct world *w, struct cmd *c, struct slice key, struct id128 *blobs, size_t n);
/* The object's segment that names *from becomes the cmd's first blob, of `bytes` bytes. */
void cmd_move(struct world *w, struct cmd *c, struct slice key, struct id128 *from, uint64_t bytes);
/* ... or a part's. */
void cmd_move_part(struct world *w, struct cmd *c, struct slice key, struct id128 *upload_id,
                   uint32_t number, struct id128 *from, uint64_t bytes);

/* Packs and applies at the next index; returns Outcome.err, w->out is the outcome. */
int world_apply(struct world *w, const Cairn__Command *msg, struct slice body);
int world_run(struct world *w, struct cmd *c);
int world_apply_data(struct world *w, struct slice data);

/* Shortcuts. */
int put(struct world *w, const char *key, const char *body);
int del(struct world *w, const char *key);

/* The object's record as the index reads it (free with free_unpacked); NULL: absent.  *ret_body, if
 * wanted, is the inline data. */
Cairn__ObjectRecord *get(struct world *w, struct slice key, struct buf *ret_body);
/* ... of one version (proto/versions.h). */
Cairn__ObjectRecord *get_version(struct world *w, struct slice key, uint64_t version,
                                 struct buf *ret_body);
bool present(struct world *w, const char *key);
/* The bucket's record; free with free_unpacked; NULL: absent. */
Cairn__BucketRecord *read_bucket(struct world *w, const char *name);

/* What the message would be on the other side of the wire; free with
 * protobuf_c_message_free_unpacked. */
ProtobufCMessage *over_the_wire(const ProtobufCMessage *msg);

/* All rows of all families of a partition, as bytes. */
void dump(struct kv *kv, uint32_t partition, struct buf *ret);
void count_rows(struct world *w, uint8_t table, enum kv_family family, size_t *ret);

/* Runs the deletion queue dry; every blob deleted is appended to *ret_blobs (may be NULL). */
void drain_deletions(struct world *w, struct buf *ret_blobs);

/* Asks about the blobs of a Condemn: `want` says which of them records refer to. */
void expect_refs(struct world *w, struct slice key, const struct cmd *asked, const bool *want);
/* The blobs of all interim segments, by a walk in random steps, of which some are not taken. */
void interim_ids(struct world *w, struct rng *r, struct buf *ret);
