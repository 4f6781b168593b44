/* PutBucketSetting: is it still allowed? → one proposal. */
#include "gateway/op/setting_store.h"

#include "common/base/check.h"
#include "gateway/op/commit.h"

static void store_cb(struct meta_propose *propose)
{
    struct setting_store *s = container_of(propose, struct setting_store, propose);
    struct request *req = s->req;
    int err = s->err = propose->err;
    bool decided = s->decided = propose->outcome != NULL;
    enum s3_code code = S3_OK;
    meta_propose_fini(propose);
    if (err == ERR_LIMIT && decided)
        code = s3_fault_set(&req->fault, S3_TOO_MANY_CONFIGURATIONS,
                            "The settings of a bucket may take 256 KiB together.");
    else if (err != OK)
        code = commit_code(req, err);
    s->cb(s, code);
}

/* Documents may have been long on their way. */
static void store_rechecked(struct request *req, enum s3_code code)
{
    struct setting_store *s = req->operation;
    if (code != S3_OK) {
        s->cb(s, code);
        return;
    }
    s->propose.deadline_ns = request_deadline(req);
    meta_propose_start(req->gw->mc, &s->propose);
}

enum s3_code setting_store_start(struct setting_store *s, struct request *req,
                                 Cairn__SettingKind kind, struct slice id, struct slice document)
{
    s->req = req;
    cairn__bucket_setting__init(&s->setting);
    cairn__put_bucket_setting__init(&s->command);
    cairn__command__init(&s->propose.command);
    s->setting.kind = kind;
    s->setting.id = request_cstr(req, id);
    if (s->note)
        s->setting.note = (char *)(uintptr_t)s->note;
    s->setting.document = binary_of(document);
    s->command.name = request_cstr(req, req->s3.bucket);
    s->command.id = req->bucket->id;
    s->command.setting = &s->setting;
    if (!s->setting.id || !s->command.name)
        return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    s->propose.command.op_case = CAIRN__COMMAND__OP_PUT_BUCKET_SETTING;
    s->propose.command.put_bucket_setting = &s->command;
    s->propose.root = true;
    s->propose.cb = store_cb;
    req->operation = s;
    request_recheck(req, store_rechecked);
    return S3_OK;
}
