/* Buckets of the blob workload: created, swept, emptied, deleted.  The deletion itself is the
 * gateway's (gateway/op/delete_bucket.c), begun here and carried on as one that stands still. */
#include "common/base/check.h"
#include "tests/sim/blobs_impl.h"

#define LOOKS_MAX 12
#define LOOK_GAP_NS (150 * NS_PER_MS)

/* ---- creation ---- */

static void bucket_created(struct meta_propose *p)
{
    struct task *t = container_of(p, struct task, root);
    bool ok = p->err == OK || p->err == ERR_EXISTS;
    t->err = p->err;
    meta_propose_fini(p);
    task_end(t, ok);
}

static void root_propose(struct task *t, void (*cb)(struct meta_propose *))
{
    t->root.root = true;
    t->root.deadline_ns = request_deadline(&t->req);
    t->root.cb = cb;
    meta_propose_start(t->req.gw->mc, &t->root);
}

static char *name_of(struct task *t)
{
    return request_cstr(&t->req, t->req.s3.bucket);
}

void act_create_bucket(struct task *t)
{
    cairn__bucket_record__init(&t->bucket_record);
    t->bucket_record.name = name_of(t);
    t->bucket_record.owner_id = "o";
    t->bucket_record.region = "us-east-1";
    cairn__create_bucket__init(&t->create_bucket);
    t->create_bucket.bucket = &t->bucket_record;
    memset(&t->root, 0, sizeof(t->root));
    cairn__command__init(&t->root.command);
    t->root.command.op_case = CAIRN__COMMAND__OP_CREATE_BUCKET;
    t->root.command.create_bucket = &t->create_bucket;
    root_propose(t, bucket_created);
}

/* ---- sweeping: aborts uploads, whoever is at work on them ---- */

static void delete_begin(struct task *t);

static void sweep_over(struct task *t)
{
    meta_list_uploads_fini(&t->uploads);
    if (t->for_deletion)
        delete_begin(t);
    else
        task_end(t, t->err == OK);
}

static void sweep_next(struct task *t)
{
    if (t->err == ERR_NO_UPLOAD) /* completed or swept away meanwhile */
        t->err = OK;
    if (t->err != OK || t->sweep_at == t->uploads.entry_count) {
        sweep_over(t);
        return;
    }
    const Cairn__UploadEntry *e = t->uploads.entries[t->sweep_at++];
    task_abort(t, bytes_of(e->key), bytes_of(e->upload->upload_id), sweep_next);
}

static void uploads_listed(struct meta_list_uploads *l)
{
    struct task *t = container_of(l, struct task, uploads);
    t->err = l->err;
    sweep_next(t);
}

static void sweep(struct task *t)
{
    t->sweep_at = 0;
    t->uploads = (struct meta_list_uploads){.bucket_id = t->bucket->id,
                                            .uploads_max = 1000,
                                            .deadline_ns = request_deadline(&t->req),
                                            .cb = uploads_listed};
    meta_list_uploads_start(t->req.gw->mc, &t->uploads);
}

static void sweep_looked(struct task *t)
{
    if (!task_without_bucket(t))
        sweep(t);
}

void act_sweep(struct task *t)
{
    task_look(t, false, sweep_looked);
}

/* ---- deletion ---- */

static void delete_look(struct task *t);

/* Is it gone?  task_look() has told the histories if it is. */
static void delete_looked_again(struct task *t)
{
    const Cairn__BucketRecord *b = t->req.bucket;
    bool decided = t->err == OK && (!b || b->id != t->doomed_id ||
                                    b->state != CAIRN__BUCKET_STATE__BUCKET_DELETING);
    if (decided || ++t->waits == LOOKS_MAX) {
        task_end(t, decided);
        return;
    }
    if (t->err == OK && t->waits % 4 == 0)
        bucket_delete_resume(t->req.gw, b);
    task_wait(t, LOOK_GAP_NS, delete_look);
}

static void delete_look(struct task *t)
{
    task_look(t, false, delete_looked_again);
}

static void delete_begun(struct meta_propose *p)
{
    struct task *t = container_of(p, struct task, root);
    t->err = p->err;
    meta_propose_fini(p);
    if (t->err != OK) {
        task_end(t, t->err == ERR_NO_BUCKET);
        return;
    }
    bucket_delete_resume(t->req.gw, t->req.bucket);
    task_wait(t, LOOK_GAP_NS, delete_look);
}

static void delete_begin(struct task *t)
{
    cairn__begin_delete_bucket__init(&t->begin);
    t->begin.name = name_of(t);
    t->begin.id = t->doomed_id;
    memset(&t->root, 0, sizeof(t->root));
    cairn__command__init(&t->root.command);
    t->root.command.op_case = CAIRN__COMMAND__OP_BEGIN_DELETE_BUCKET;
    t->root.command.begin_delete_bucket = &t->begin;
    root_propose(t, delete_begun);
}

static void empty_next(struct task *t);

static void emptied_one(struct task *t)
{
    history_settle(t, t->err);
    empty_next(t);
}

static void emptied_several(struct task *t)
{
    for (size_t i = 0; i < t->del_several.n_keys; i++) {
        t->key = t->several[i].key;
        t->op = t->several[i].op;
        history_settle(t, t->err);
    }
    empty_next(t);
}

/* With one entry, as DeleteObjects does it: those of t->there that lie in the partition of the
 * first. */
static void delete_several(struct task *t)
{
    uint32_t first, partition;
    size_t count = 0;
    t->value = 0;
    for (unsigned key = 0; key < BLOB_KEYS; key++) {
        int err = t->there & 1u << key
                      ? meta_partition_of(t->req.gw->mc, t->bucket->id, blobs_key(key), &partition)
                      : ERR_NOT_FOUND;
        if (err != OK || (count && partition != first))
            continue;
        first = partition;
        t->there &= ~(1u << key);
        t->key = key;
        history_begin(t, HISTORY_DELETE);
        t->several[count].key = key;
        t->several[count].op = t->op;
        t->several_keys[count++] = binary_of(blobs_key(key));
    }
    if (count == 0) { /* the map is not known yet */
        task_end(t, false);
        return;
    }
    cairn__delete_objects__init(&t->del_several);
    t->del_several.bucket_id = t->bucket->id;
    t->del_several.keys = t->several_keys;
    t->del_several.n_keys = count;
    Cairn__Command *command = task_command(t);
    command->op_case = CAIRN__COMMAND__OP_DELETE_OBJECTS;
    command->delete_objects = &t->del_several;
    task_propose(t, blobs_key(t->several[0].key), emptied_several);
}

static void empty_next(struct task *t)
{
    if (t->there == 0) {
        sweep(t);
    } else if (t->one_by_one) {
        t->key = (unsigned)__builtin_ctz(t->there);
        t->there &= t->there - 1;
        task_delete(t, emptied_one);
    } else {
        delete_several(t);
    }
}

static void delete_listed(struct task *t)
{
    t->one_by_one = blobs_below(t, 3) == 0;
    if (t->err == OK)
        empty_next(t);
    else
        task_end(t, false);
}

static void delete_looked(struct task *t)
{
    if (task_without_bucket(t))
        return;
    t->for_deletion = true;
    t->doomed_id = t->bucket->id;
    if (t->req.bucket->state == CAIRN__BUCKET_STATE__BUCKET_DELETING) {
        bucket_delete_resume(t->req.gw, t->req.bucket);
        task_wait(t, LOOK_GAP_NS, delete_look);
    } else if (blobs_below(t, 4) == 0) {
        delete_begin(t); /* there may be something in it: then it stays */
    } else {
        task_list(t, delete_listed);
    }
}

void act_delete_bucket(struct task *t)
{
    task_look(t, false, delete_looked);
}
