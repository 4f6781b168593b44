#pragma once
/* What the extents of some disks hold, put together without an index: frames in; blobs, and the
 * versions of objects that they are segments of, out.
 *
 * A version is what one PUT wrote (bucket, key, write id), with what it was appended to, or what
 * one multipart upload gathered (bucket, key, upload id): its parts, of each the newest that is
 * whole.  Which parts a completion chose, whether an upload was completed at all, and what lay in
 * the index itself (small objects, small parts, metadata, bucket names) no extent knows.
 *
 * Deletion marks: on its own disk a mark removes what has a lower seq; a blob that any disk holds a
 * valid mark of was given up by the index, so none of its shards elsewhere counts.
 *
 * Pure.  Memory: about 350 bytes and the key for each shard; nothing is bounded but by what the
 * disks hold. */
#include "common/ec/ec.h"
#include "storagenode/extent/format.h"

/* One shard on one disk. */
struct salvage_shard {
    struct shard_info info; /* key: the catalog's memory; block_crcs: NULL */
    uint32_t disk, extent;
    uint64_t offset, seq;
    bool damaged; /* its head is whole, its data is not */
    bool dead;    /* a later mark on the same disk */
};

enum salvage_complete { SALVAGE_NO, SALVAGE_UNKNOWN, SALVAGE_YES };

struct salvage_blob {
    const struct shard_info *info;     /* of the shard that speaks for all */
    const struct salvage_shard *shard; /* all that were found: intact ones first, by index */
    size_t shard_count;
    unsigned data, parity; /* of the code; data 0: not known */
    uint64_t bytes;        /* of user data */
    bool crc_known;
    unsigned found; /* different intact shards (copies of a replicated blob) */
    unsigned damaged;
    unsigned marks; /* disks with a deletion mark */
    bool deleted, decodable;
    uint64_t time_ms;
};

/* The segments of one body (object, or part of an upload), in order, one blob for each. */
struct salvage_body {
    uint32_t part_number;
    struct id128 write_id;
    const struct salvage_blob **segment;
    size_t segment_count;
    uint64_t bytes, time_ms;
    enum salvage_complete complete; /* UNKNOWN: all that is there decodes; more may have been */
    bool ambiguous; /* no write id, and different blobs for one segment: nobody knows which belong
                       together */
    bool chosen;    /* of several bodies of one part, that which counts */
    bool sealed;    /* encrypted: the key was in the index */
    bool joined;    /* with what it was appended to (appends.c); the write id is the append's */
};

struct salvage_version {
    uint64_t bucket_id;
    struct slice key;
    struct id128 upload_id; /* zero: a plain object */
    struct id128 write_id;  /* zero: an upload, or not said */
    struct salvage_body
        *body; /* plain: one; upload: by part number, the chosen one of a part first */
    size_t body_count;
    uint64_t bytes, time_ms; /* of what is chosen; of the newest segment */
    enum salvage_complete
        complete; /* an upload's is never YES: how many parts there were is not said */
    bool newest;  /* of its key */
    bool sealed;  /* encrypted: what there is is no plaintext, and cannot become it */
};

struct salvage_catalog {
    /* What was added. */
    struct salvage_shard *shard;
    size_t shard_count, shard_cap;
    struct salvage_mark *mark;
    size_t mark_count, mark_cap;
    struct salvage_text *texts;
    struct slice last_key;
    /* After salvage_finish(). */
    struct salvage_blob *blob;
    const struct salvage_blob **order;
    size_t blob_count, deleted_count;
    const struct salvage_blob **segment, **joined;
    struct salvage_body *body;
    size_t body_count;
    struct salvage_version *version; /* by bucket and key, newest first */
    size_t version_count;
};

/* Zero-initialised is empty.  head: a shard's.  Returns: OK; ERR_NOMEM. */
int salvage_add_shard(struct salvage_catalog *c, uint32_t disk, const struct frame_head *head,
                      bool damaged);
/* ids: of a frame of marks.  Returns: OK; ERR_NOMEM. */
int salvage_add_marks(struct salvage_catalog *c, uint32_t disk, uint64_t seq, struct slice ids);
/* Once, after all was added.  with_deleted: blobs with deletion marks count as if there were none.
 * Returns: OK; ERR_NOMEM. */
int salvage_finish(struct salvage_catalog *c, bool with_deleted);
void salvage_fini(struct salvage_catalog *c);
