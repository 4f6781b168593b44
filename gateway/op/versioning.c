/* GetBucketVersioning, PutBucketVersioning, and taking over a change that stands still.
 *
 *   BEGINNING ──► FENCING ──► FINISHING ──► DONE
 *       └────────────┴──────────────────────►
 *
 * The root's record has the new value, under a new settings version, from BEGINNING on; the client
 * is answered when every partition refuses proposals that assume the old one.  Why this is right,
 * whoever crashes or overtakes: metanode/index/apply_fencing.c.  A change that died half way is
 * finished by any gateway that meets the bucket. */
#include "common/base/check.h"
#include "common/obs/log.h"
#include "gateway/op/body.h"
#include "gateway/op/commit.h"
#include "gateway/op/fences.h"
#include "gateway/op/object_lock.h"
#include "gateway/op/operations.h"

#include <stdlib.h>

enum { BV_BEGINNING, BV_FENCING, BV_FINISHING, BV_DONE, BV_STATES };
static const char *const bv_state_names[BV_STATES] = {"BEGINNING", "FENCING", "FINISHING", "DONE"};
static const uint32_t bv_transitions[BV_STATES] = {
    [BV_BEGINNING] = 1u << BV_FENCING | 1u << BV_DONE,
    [BV_FENCING] = 1u << BV_FINISHING | 1u << BV_DONE,
    [BV_FINISHING] = 1u << BV_DONE,
};

struct bucket_versioning {
    struct op op;
    struct gateway *gw;
    struct request *req; /* NULL: resumed on nobody's behalf */
    char name[S3_BUCKET_NAME_MAX + 1];
    uint64_t id, settings_version;
    Cairn__Versioning versioning;
    union {
        Cairn__BeginSetting begin;
        Cairn__FinishSetting finish;
    } command;
    struct meta_propose propose; /* to the root */
    bool proposing, fencing;
    struct fences fences;
    enum s3_code code; /* the answer */
};

static void bv_propose_cb(struct meta_propose *p)
{
    struct bucket_versioning *bv = container_of(p, struct bucket_versioning, propose);
    bv->proposing = false;
    op_wake(&bv->op);
}

static void bv_propose(struct bucket_versioning *bv)
{
    bv->proposing = true;
    bv->propose.root = true;
    bv->propose.deadline_ns = env_now_ns(bv->gw->env) + bv->gw->config->timeout_ms * NS_PER_MS;
    bv->propose.cb = bv_propose_cb;
    meta_propose_start(bv->gw->mc, &bv->propose);
}

static void bv_begin(struct bucket_versioning *bv)
{
    cairn__begin_setting__init(&bv->command.begin);
    bv->command.begin.name = bv->name;
    bv->command.begin.id = bv->id;
    bv->command.begin.versioning = bv->versioning;
    cairn__command__init(&bv->propose.command);
    bv->propose.command.op_case = CAIRN__COMMAND__OP_BEGIN_SETTING;
    bv->propose.command.begin_setting = &bv->command.begin;
    bv_propose(bv);
}

static enum op_next bv_end(struct bucket_versioning *bv, enum s3_code code)
{
    bv->code = code;
    return op_move(&bv->op, BV_DONE);
}

static enum s3_code bv_code(int err)
{
    switch (err) {
    case ERR_NO_BUCKET: return S3_NO_SUCH_BUCKET;
    case ERR_CONFLICT: return S3_OPERATION_ABORTED; /* it is being deleted */
    case ERR_REFUSED: return S3_INVALID_BUCKET_STATE; /* it has got object lock meanwhile */
    default: return s3_code_of_err(err);
    }
}

static void bv_fences_cb(struct fences *f)
{
    struct bucket_versioning *bv = container_of(f, struct bucket_versioning, fences);
    bv->fencing = false;
    op_wake(&bv->op);
}

static enum op_next bv_fence(struct bucket_versioning *bv)
{
    bv->fencing = true;
    bv->fences = (struct fences){
        .gw = bv->gw,
        .bucket_id = bv->id,
        .settings_version = bv->settings_version,
        .versioning = bv->versioning,
        .cb = bv_fences_cb,
    };
    op_move(&bv->op, BV_FENCING);
    fences_start(&bv->fences);
    return bv->fencing ? OP_WAIT : OP_AGAIN;
}

static enum op_next bv_fenced(struct bucket_versioning *bv)
{
    /* Where a newer fence is, older proposals are refused already. */
    if (bv->fences.err != OK && bv->fences.err != ERR_SETTINGS)
        return bv_end(bv, bv_code(bv->fences.err));
    cairn__finish_setting__init(&bv->command.finish);
    bv->command.finish.name = bv->name;
    bv->command.finish.id = bv->id;
    bv->command.finish.settings_version = bv->settings_version;
    cairn__command__init(&bv->propose.command);
    bv->propose.command.op_case = CAIRN__COMMAND__OP_FINISH_SETTING;
    bv->propose.command.finish_setting = &bv->command.finish;
    op_move(&bv->op, BV_FINISHING);
    bv_propose(bv);
    return OP_WAIT;
}

static enum op_next bv_step(struct op *op)
{
    struct bucket_versioning *bv = container_of(op, struct bucket_versioning, op);
    int err = bv->propose.err;
    if (op->state != BV_DONE && bv->proposing)
        return OP_WAIT;
    switch (op->state) {
    case BV_BEGINNING: /* 1. From now on whoever reads the bucket assumes the new value. */
        if (err == OK)
            bv->settings_version = bv->propose.outcome->settings_version;
        meta_propose_fini(&bv->propose);
        return err == OK ? bv_fence(bv) : bv_end(bv, bv_code(err));
    case BV_FENCING: /* 2. And nobody else any more. */
        return bv->fencing ? OP_WAIT : bv_fenced(bv);
    case BV_FINISHING: /* 3. Which is noted. */
        meta_propose_fini(&bv->propose);
        return bv_end(bv, err == OK ? S3_OK : bv_code(err));
    default: CHECK(op->state == BV_DONE); return OP_DONE;
    }
}

static void bv_done(struct op *op)
{
    struct bucket_versioning *bv = container_of(op, struct bucket_versioning, op);
    struct request *req = bv->req;
    if (req && bv->code == S3_OK) {
        reply_begin(req, 200);
        reply_no_body(req);
    } else if (req) {
        s3_fault_set(&req->fault, bv->code, NULL);
        s3_fault_extra(&req->fault, "BucketName", req->s3.bucket);
        reply_error(req, bv->code);
    } else {
        log_info("bucket.versioning_resumed", 0, L_STR("bucket", bv->name),
                 L_STR("result", bv->code == S3_OK ? "OK" : s3_code_name(bv->code)));
        bv->gw->under_way--;
    }
    fences_fini(&bv->fences);
    free(bv);
    if (req)
        request_end(req);
}

static const struct op_type bv_type = {
    .name = "bucket_versioning",
    .state_names = bv_state_names,
    .transitions = bv_transitions,
    .state_count = BV_STATES,
    .step = bv_step,
    .done = bv_done,
};

static bool bv_start(struct gateway *gw, struct request *req, const Cairn__BucketRecord *bucket,
                     Cairn__Versioning versioning)
{
    struct bucket_versioning *bv = calloc(1, sizeof(*bv));
    if (!bv || strlen(bucket->name) >= sizeof(bv->name)) {
        free(bv);
        return false;
    }
    bv->gw = gw;
    bv->req = req;
    strcpy(bv->name, bucket->name);
    bv->id = bucket->id;
    bv->versioning = versioning;
    op_init(&bv->op, &bv_type, BV_BEGINNING, 0, 0);
    bv_begin(bv);
    return true;
}

void bucket_versioning_resume(struct gateway *gw, const Cairn__BucketRecord *bucket)
{
    uint64_t now = env_wall_ms(gw->env), wait = gw->config->bucket_resume_ms;
    if (now < bucket->fencing_since_ms + wait)
        return;
    if (gw->resumed_id == bucket->id && now < gw->resumed_ms + wait)
        return;
    gw->resumed_id = bucket->id;
    gw->resumed_ms = now;
    if (bv_start(gw, NULL, bucket, bucket->versioning))
        gw->under_way++;
}

/* ---- PutBucketVersioning ---- */

static enum s3_code put_parse(struct request *req, struct body_text *t, struct s3_versioning *ret)
{
    enum s3_code code = t->body.code;
    if (code == S3_OK)
        code = s3_xml_versioning(req->arena, buf_view(&t->text), ret, &req->fault);
    if (code != S3_OK)
        return code;
    if (ret->mfa_delete)
        return s3_fault_set(&req->fault, S3_NOT_IMPLEMENTED, "MFA delete is not implemented.");
    if (!ret->has_status)
        return s3_fault_set(&req->fault, S3_ILLEGAL_VERSIONING, NULL);
    if (!ret->enabled && req->bucket->object_lock)
        return lock_bucket_state(req, "An Object Lock configuration is present on this bucket, so "
                                      "the versioning state cannot be changed.");
    return S3_OK;
}

/* Versions that nobody could tell apart cannot be replicated. */
static enum s3_code suspend_check(struct request *req, const struct s3_versioning *wanted)
{
    if (wanted->enabled)
        return S3_OK;
    for (size_t i = 0; i < req->bucket->n_settings; i++)
        if (req->bucket->settings[i]->kind == CAIRN__SETTING_KIND__SETTING_REPLICATION)
            return s3_fault_set(&req->fault, S3_INVALID_BUCKET_STATE,
                                "A replication configuration is present on this bucket, so you "
                                "cannot change the versioning state. To change the versioning "
                                "state, first delete the replication configuration.");
    return S3_OK;
}

static void put_text_done(struct body_text *t)
{
    struct request *req = t->body.req;
    struct s3_versioning wanted;
    enum s3_code code = put_parse(req, t, &wanted);
    body_text_fini(t);
    if (code == S3_OK)
        code = suspend_check(req, &wanted);
    if (code == S3_OK && !bv_start(req->gw, req, req->bucket,
                                   wanted.enabled ? CAIRN__VERSIONING__VERSIONING_ENABLED
                                                  : CAIRN__VERSIONING__VERSIONING_SUSPENDED))
        code = s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    if (code != S3_OK)
        request_fail(req, code);
}

void put_bucket_versioning_start(struct request *req)
{
    struct body_text *t = request_alloc(req, sizeof(*t));
    if (!t) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    t->done = put_text_done;
    enum s3_code code = body_text_start(t, req, S3_CONFIG_BODY_BYTES_MAX);
    if (code != S3_OK) {
        body_text_fini(t);
        request_fail(req, code);
    }
}

/* ---- GetBucketVersioning ---- */

void get_bucket_versioning_start(struct request *req)
{
    struct buf b = {0};
    bool off = req->bucket->versioning == CAIRN__VERSIONING__VERSIONING_OFF;
    bool enabled = req->bucket->versioning == CAIRN__VERSIONING__VERSIONING_ENABLED;
    s3_result_versioning(&b, off ? NULL : enabled ? "Enabled" : "Suspended");
    reply_xml(req, 200, &b);
    request_end(req);
}
