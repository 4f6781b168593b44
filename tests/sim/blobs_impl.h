#pragma once
/* What the files of the blob workload share.
 *
 *   blobs.c          clients, what they choose, histories and values
 *   blobs_object.c   PUT, GET, DELETE, lists
 *   blobs_upload.c   multipart uploads
 *   blobs_bucket.c   buckets: creation, sweeping, deletion
 *
 * A task is one operation of a client.  It goes from step to step: a step starts something of the
 * gateway's that calls task->then when it has ended, with task->err.  It lives in its gateway's
 * process: when that crashes the task is abandoned, and its writes have no known outcome. */
#include "common/base/arena.h"
#include "gateway/op/commit.h"
#include "gateway/op/extract.h"
#include "gateway/op/ingest.h"
#include "tests/sim/blobs.h"
#include "tests/sim/history.h"

#define BLOB_KEYS 4
#define BLOB_BUCKETS 2 /* names; the first is never deleted */
#define BLOB_PARTS_MAX 4
#define BLOB_CLIENTS_MAX 12
#define BUCKET_LIVES_MAX 512

/* What an object with this value consists of, in order. */
struct value {
    uint64_t size;
    unsigned count;
    struct piece {
        uint64_t seed, size;
    } pieces[BLOB_PARTS_MAX];
};

struct bucket { /* one life of one */
    uint64_t id;
    unsigned name;
    uint64_t gone_ns; /* somebody has seen that it is gone; 0: nobody has */
    struct history keys[BLOB_KEYS];
};

struct task;

struct blob_user {
    struct sim_blobs *load;
    struct sim_node *gateway;
    uint32_t id;
    struct task *current;
    struct env_timer think;
    uint64_t progress;
    /* The life of each bucket that it saw last, and when it began to look. */
    uint64_t seen_id[BLOB_BUCKETS], seen_ns[BLOB_BUCKETS];
    unsigned left; /* of the final reads */
};

struct sim_blobs {
    struct sim_cluster *cluster;
    struct sim_shards *shards;
    struct blob_user users[BLOB_CLIENTS_MAX];
    unsigned user_count;
    uint64_t think_max_ns;
    bool stopped;
    bool beyond;          /* errors are right answers now */
    struct value *values; /* by value */
    size_t value_count, value_cap;
    struct bucket *buckets[BUCKET_LIVES_MAX];
    size_t bucket_count;
    struct sim_blobs_stats stats;
};

struct task {
    struct blob_user *user;
    uint64_t start_ns, step_ns;
    unsigned name, key; /* which bucket, which key */
    bool last_round;
    void (*then)(struct task *t);
    int err;
    /* what the gateway's code works on */
    struct arena arena;
    struct request req;
    struct meta_read look;
    bool looked;
    struct bucket *bucket;
    struct commit commit;
    struct { /* of the object after a commit */
        bool known, present;
        struct slice key;
        struct payload body;
    } after;
    struct env_timer timer;
    /* a write */
    uint64_t value;
    size_t op; /* in the key's history */
    struct buf data;
    size_t pushed;
    struct ingest ingest;
    bool ingesting;
    void (*put_then)(struct task *t);
    Cairn__ObjectRecord record;
    Cairn__PutObject put;
    Cairn__Condition condition;
    Cairn__DeleteObject del;
    char etag[20];
    /* a read */
    struct extract extract;
    uint64_t at;
    unsigned restarts;
    bool extracting, read_over;
    struct meta_list list;
    uint32_t there; /* mask of the keys that were listed */
    /* an upload */
    struct id128 upload_id;
    Cairn__CreateUpload create;
    Cairn__UploadRecord upload;
    Cairn__PutPart put_part;
    Cairn__PartRecord part;
    Cairn__CompleteUpload complete;
    Cairn__CompletePart named[BLOB_PARTS_MAX], *named_ptr[BLOB_PARTS_MAX];
    char named_etag[BLOB_PARTS_MAX][20];
    Cairn__AbortUpload abort;
    unsigned part_at, part_count;
    uint64_t parts[BLOB_PARTS_MAX]; /* values; 0: not there for certain */
    bool again;
    /* buckets */
    struct meta_propose root;
    Cairn__CreateBucket create_bucket;
    Cairn__BucketRecord bucket_record;
    Cairn__BeginDeleteBucket begin;
    struct meta_list_uploads uploads;
    bool for_deletion, one_by_one;
    Cairn__DeleteObjects del_several;
    ProtobufCBinaryData several_keys[BLOB_KEYS];
    struct {
        unsigned key;
        size_t op;
    } several[BLOB_KEYS];
    uint64_t doomed_id;
    size_t sweep_at;
    unsigned waits;
};

/* ---- blobs.c ---- */
uint64_t blobs_now(const struct task *t);
uint64_t blobs_below(const struct task *t, uint64_t n);
void blobs_problem(const struct task *t, const char *text);
struct slice blobs_key(unsigned key);
/* A new value of one piece, of a size that is drawn here. */
uint64_t value_new(struct sim_blobs *w, uint64_t size);
uint64_t size_draw(struct task *t);
struct value *value_of(const struct sim_blobs *w, uint64_t value); /* NULL: never written */
void value_text(uint64_t value, char ret[20]);
uint64_t value_parse(const char *text);
/* The bytes [at, at + len) of a value are these. */
bool value_matches(const struct value *v, uint64_t at, struct slice bytes);
void value_bytes(uint64_t seed, uint64_t size, struct buf *ret);

void task_end(struct task *t, bool progressed);
/* Reads the bucket, and the object of the task's key with its body if that is wanted; then
 * t->bucket is its present life, or NULL when there is none or it is not known (t->err). */
void task_look(struct task *t, bool want_object, void (*then)(struct task *t));
void task_look_fini(struct task *t);
void task_wait(struct task *t, uint64_t ns, void (*then)(struct task *t));
/* Proposes t->commit's command, which is initialised here; the op is set by the caller after
 * task_command(). */
Cairn__Command *task_command(struct task *t);
/* On success the cache learns what is there now: t->record and its body, or nothing. */
void task_propose_object(struct task *t, struct slice key, bool present, struct payload body,
                         void (*then)(struct task *t));
void task_propose(struct task *t, struct slice key, void (*then)(struct task *t));

void history_begin(struct task *t, enum history_kind kind);
enum history_kind history_kind_of(const struct task *t); /* of the write begun last */
/* The outcome of the write begun last.  Returns: it succeeded. */
bool history_settle(struct task *t, int err);
void history_read(struct task *t, unsigned key, uint64_t value);

/* ---- blobs_object.c ---- */
/* The bucket is not there, or it is not known whether it is.  true: the task has gone on. */
bool task_without_bucket(struct task *t);
void task_list(struct task *t, void (*then)(struct task *t));
void task_delete(struct task *t, void (*then)(struct task *t)); /* of t->key */
void act_put(struct task *t);
void act_get(struct task *t);
void act_delete(struct task *t);
void act_list(struct task *t);
/* Writes the body of a value; then t->err, and task_ingest_fini() with the outcome of the write. */
void task_ingest(struct task *t, uint64_t value, struct slice upload_id, uint32_t part_number,
                 void (*then)(struct task *t));
void task_ingest_fini(struct task *t, int err);
static inline bool outcome_unknown(int err)
{
    return err != OK && err_class(err) == ERR_CLASS_UNKNOWN_OUTCOME;
}

/* ---- blobs_upload.c ---- */
void act_upload(struct task *t);
void task_abort(struct task *t, struct slice key, struct slice upload_id,
                void (*then)(struct task *t));

/* ---- blobs_bucket.c ---- */
void act_create_bucket(struct task *t);
void act_sweep(struct task *t);         /* aborts the uploads that are listed */
void act_delete_bucket(struct task *t); /* mostly after emptying it */
