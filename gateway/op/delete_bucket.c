/* DeleteBucket, and taking over a deletion that stands still.
 *
 *   BEGINNING ──► FENCING ──► FINISHING ──► DONE      the bucket is empty everywhere: it goes
 *       │            ├──────► ABORTING ────► DONE      it is not: it is as before
 *       └────────────┴─────────────────────► DONE      a failure: it stays DELETING, and sealed
 *
 * The root's record turns DELETING under a new settings version; then every partition that overlaps
 * the bucket is sealed under that version and says whether the bucket is empty there.  What was
 * found empty stays so: nothing gets past the seal.  Why this loses no object, whoever crashes or
 * overtakes: metanode/index/apply_root.c.  A deletion that died half way is resumed by any gateway
 * that meets the bucket; it needs no request. */
#include "common/base/check.h"
#include "common/obs/log.h"
#include "gateway/op/commit.h"
#include "gateway/op/fences.h"
#include "gateway/op/operations.h"

#include <stdlib.h>

enum { BD_BEGINNING, BD_FENCING, BD_FINISHING, BD_ABORTING, BD_DONE, BD_STATES };
static const char *const bd_state_names[BD_STATES] = {"BEGINNING", "FENCING", "FINISHING",
                                                      "ABORTING", "DONE"};
static const uint32_t bd_transitions[BD_STATES] = {
    [BD_BEGINNING] = 1u << BD_FENCING | 1u << BD_DONE,
    [BD_FENCING] = 1u << BD_FINISHING | 1u << BD_ABORTING | 1u << BD_DONE,
    [BD_FINISHING] = 1u << BD_DONE,
    [BD_ABORTING] = 1u << BD_DONE,
};

struct bucket_delete {
    struct op op;
    struct gateway *gw;
    struct request *req; /* NULL: resumed on nobody's behalf */
    char name[S3_BUCKET_NAME_MAX + 1];
    uint64_t id, settings_version;
    union {
        Cairn__BeginDeleteBucket begin;
        Cairn__FinishDeleteBucket finish;
        Cairn__AbortDeleteBucket abort;
    } command;
    struct meta_propose propose; /* to the root */
    bool proposing;
    struct fences fences;
    bool fencing;
    enum s3_code code; /* the answer */
};

static uint64_t bd_deadline(const struct bucket_delete *bd)
{
    return env_now_ns(bd->gw->env) + bd->gw->config->timeout_ms * NS_PER_MS;
}

static void bd_propose_cb(struct meta_propose *p)
{
    struct bucket_delete *bd = container_of(p, struct bucket_delete, propose);
    bd->proposing = false;
    op_wake(&bd->op);
}

static void bd_propose(struct bucket_delete *bd)
{
    bd->proposing = true;
    bd->propose.root = true;
    bd->propose.deadline_ns = bd_deadline(bd);
    bd->propose.cb = bd_propose_cb;
    meta_propose_start(bd->gw->mc, &bd->propose);
}

static void bd_begin(struct bucket_delete *bd)
{
    cairn__begin_delete_bucket__init(&bd->command.begin);
    bd->command.begin.name = bd->name;
    bd->command.begin.id = bd->id;
    cairn__command__init(&bd->propose.command);
    bd->propose.command.op_case = CAIRN__COMMAND__OP_BEGIN_DELETE_BUCKET;
    bd->propose.command.begin_delete_bucket = &bd->command.begin;
    bd_propose(bd);
}

static enum op_next bd_end(struct bucket_delete *bd, enum s3_code code)
{
    bd->code = code;
    return op_move(&bd->op, BD_DONE);
}

static enum s3_code bd_code(int err)
{
    switch (err) {
    case ERR_NO_BUCKET: return S3_NO_SUCH_BUCKET;
    case ERR_CONFLICT: return S3_OPERATION_ABORTED; /* another deletion was called off */
    default: return s3_code_of_err(err);
    }
}

/* ---- fences ---- */

static void bd_fences_cb(struct fences *f)
{
    struct bucket_delete *bd = container_of(f, struct bucket_delete, fences);
    bd->fencing = false;
    op_wake(&bd->op);
}

static enum op_next bd_fence(struct bucket_delete *bd)
{
    bd->fencing = true;
    bd->fences = (struct fences){
        .gw = bd->gw,
        .bucket_id = bd->id,
        .settings_version = bd->settings_version,
        .sealed = true,
        .cb = bd_fences_cb,
    };
    op_move(&bd->op, BD_FENCING);
    fences_start(&bd->fences);
    return bd->fencing ? OP_WAIT : OP_AGAIN;
}

static enum op_next bd_fenced(struct bucket_delete *bd)
{
    bool empty = bd->fences.empty;
    if (bd->fences.err == ERR_SETTINGS) /* a later deletion has passed this one */
        return bd_end(bd, S3_OPERATION_ABORTED);
    if (bd->fences.err != OK)
        return bd_end(bd, bd_code(bd->fences.err));
    cairn__command__init(&bd->propose.command);
    if (empty) {
        cairn__finish_delete_bucket__init(&bd->command.finish);
        bd->command.finish.name = bd->name;
        bd->command.finish.id = bd->id;
        bd->command.finish.settings_version = bd->settings_version;
        bd->command.finish.with_jobs = true;
        bd->propose.command.op_case = CAIRN__COMMAND__OP_FINISH_DELETE_BUCKET;
        bd->propose.command.finish_delete_bucket = &bd->command.finish;
    } else {
        cairn__abort_delete_bucket__init(&bd->command.abort);
        bd->command.abort.name = bd->name;
        bd->command.abort.id = bd->id;
        bd->command.abort.settings_version = bd->settings_version;
        bd->propose.command.op_case = CAIRN__COMMAND__OP_ABORT_DELETE_BUCKET;
        bd->propose.command.abort_delete_bucket = &bd->command.abort;
    }
    op_move(&bd->op, empty ? BD_FINISHING : BD_ABORTING);
    bd_propose(bd);
    return OP_WAIT;
}

/* ---- the machine ---- */

static enum op_next bd_step(struct op *op)
{
    struct bucket_delete *bd = container_of(op, struct bucket_delete, op);
    int err = bd->propose.err;
    if (op->state != BD_DONE && bd->proposing)
        return OP_WAIT;
    switch (op->state) {
    case BD_BEGINNING: /* 1. From now on it is being deleted. */
        if (err == OK)
            bd->settings_version = bd->propose.outcome->settings_version;
        meta_propose_fini(&bd->propose);
        return err == OK ? bd_fence(bd) : bd_end(bd, bd_code(err));
    case BD_FENCING: /* 2. Nothing enters it any more.  Is it empty? */
        return bd->fencing ? OP_WAIT : bd_fenced(bd);
    case BD_FINISHING: /* 3a. It is gone. */
        meta_propose_fini(&bd->propose);
        return bd_end(bd, err == OK ? S3_OK : bd_code(err));
    case BD_ABORTING: /* 3b. It stays. */
        meta_propose_fini(&bd->propose);
        return bd_end(bd, err == OK || err == ERR_CONFLICT ? S3_BUCKET_NOT_EMPTY : bd_code(err));
    default: CHECK(op->state == BD_DONE); return OP_DONE;
    }
}

static void bd_done(struct op *op)
{
    struct bucket_delete *bd = container_of(op, struct bucket_delete, op);
    struct request *req = bd->req;
    if (req && bd->code == S3_OK) {
        reply_begin(req, 204);
        reply_no_body(req);
    } else if (req) {
        s3_fault_set(&req->fault, bd->code, NULL);
        s3_fault_extra(&req->fault, "BucketName", req->s3.bucket);
        reply_error(req, bd->code);
    } else {
        log_info("bucket.delete_resumed", 0, L_STR("bucket", bd->name),
                 L_STR("result", s3_code_name(bd->code)));
        bd->gw->under_way--;
    }
    fences_fini(&bd->fences);
    free(bd);
    if (req)
        request_end(req);
}

static const struct op_type bd_type = {
    .name = "delete_bucket",
    .state_names = bd_state_names,
    .transitions = bd_transitions,
    .state_count = BD_STATES,
    .step = bd_step,
    .done = bd_done,
};

static bool bd_start(struct gateway *gw, struct request *req, const Cairn__BucketRecord *bucket)
{
    struct bucket_delete *bd = calloc(1, sizeof(*bd));
    if (!bd || strlen(bucket->name) >= sizeof(bd->name)) {
        free(bd);
        return false;
    }
    bd->gw = gw;
    bd->req = req;
    strcpy(bd->name, bucket->name);
    bd->id = bucket->id;
    op_init(&bd->op, &bd_type, BD_BEGINNING, 0, 0);
    bd_begin(bd);
    return true;
}

void delete_bucket_start(struct request *req)
{
    if (!bd_start(req->gw, req, req->bucket))
        request_fail(req, S3_INTERNAL_ERROR);
}

void bucket_delete_resume(struct gateway *gw, const Cairn__BucketRecord *bucket)
{
    uint64_t now = env_wall_ms(gw->env), wait = gw->config->bucket_resume_ms;
    if (now < bucket->state_since_ms + wait)
        return;
    if (gw->resumed_id == bucket->id && now < gw->resumed_ms + wait)
        return;
    gw->resumed_id = bucket->id;
    gw->resumed_ms = now;
    if (bd_start(gw, NULL, bucket))
        gw->under_way++;
}
