/* Multipart uploads of the blob workload: created, filled with parts of which some are replaced and
 * some left out, then completed, aborted, or left lying. */
#include "gateway/op/record.h"
#include "tests/sim/blobs_impl.h"

static void next_part(struct task *t);

/* ---- the end of an upload ---- */

static void aborted(struct task *t)
{
    t->user->load->stats.uploads_aborted += t->err == OK;
    task_end(t, t->err == OK || t->err == ERR_NO_UPLOAD); /* somebody may have swept it away */
}

void task_abort(struct task *t, struct slice key, struct slice upload_id,
                void (*then)(struct task *t))
{
    cairn__abort_upload__init(&t->abort);
    t->abort.bucket_id = t->bucket->id;
    t->abort.key = binary_of(key);
    t->abort.upload_id = binary_of(upload_id);
    Cairn__Command *command = task_command(t);
    command->op_case = CAIRN__COMMAND__OP_ABORT_UPLOAD;
    command->abort_upload = &t->abort;
    task_propose(t, key, then);
}

static void complete_propose(struct task *t);

static void completed(struct task *t)
{
    /* Asked again, the answer is that of the upload as it is now: it settles only a success. */
    if (outcome_unknown(t->err) && !t->again) {
        t->again = true;
        complete_propose(t);
        return;
    }
    int err = t->again && t->err != OK ? ERR_CANCELED : t->err;
    t->user->load->stats.uploads_completed += t->err == OK;
    bool settled = history_settle(t, err);
    task_end(t, settled || t->err == ERR_NO_UPLOAD);
}

static void complete_propose(struct task *t)
{
    Cairn__Command *command = task_command(t);
    command->op_case = CAIRN__COMMAND__OP_COMPLETE_UPLOAD;
    command->complete_upload = &t->complete;
    task_propose(t, t->req.s3.key, completed);
}

/* The parts that are there for certain; of several sometimes all but one. */
static void upload_complete(struct task *t)
{
    struct sim_blobs *w = t->user->load;
    unsigned count = 0, left_out = blobs_below(t, 4) == 0 ? (unsigned)blobs_below(t, t->part_count)
                                                          : BLOB_PARTS_MAX;
    struct value sum = {0};
    for (unsigned i = 0; i < t->part_count; i++) {
        if (!t->parts[i] || i == left_out)
            continue;
        const struct value *part = value_of(w, t->parts[i]);
        cairn__complete_part__init(&t->named[count]);
        value_text(t->parts[i], t->named_etag[count]);
        t->named[count].number = i + 1;
        t->named[count].etag = t->named_etag[count];
        t->named_ptr[count] = &t->named[count];
        sum.pieces[count++] = part->pieces[0];
        sum.size += part->size;
    }
    if (count == 0) {
        task_abort(t, t->req.s3.key, id128_slice(&t->upload_id), aborted);
        return;
    }
    sum.count = count;
    t->value = value_new(w, sum.size);
    *value_of(w, t->value) = sum;
    value_text(t->value, t->etag);
    history_begin(t, HISTORY_PUT);
    cairn__object_record__init(&t->record);
    t->record.etag = t->etag;
    t->record.size = sum.size;
    t->record.kind = CAIRN__DATA_KIND__DATA_MANIFEST;
    t->record.manifest_id = binary_of(id128_slice(&t->upload_id));
    t->record.part_count = count;
    t->record.content_type = "x";
    t->record.owner_id = "o";
    cairn__complete_upload__init(&t->complete);
    t->complete.bucket_id = t->bucket->id;
    t->complete.key = binary_of(t->req.s3.key);
    t->complete.upload_id = t->record.manifest_id;
    t->complete.record = &t->record;
    t->complete.parts = t->named_ptr;
    t->complete.n_parts = count;
    t->complete.part_bytes_min = t->req.gw->config->part_bytes_min;
    complete_propose(t);
}

static void upload_finish(struct task *t)
{
    uint64_t dice = blobs_below(t, 20);
    if (dice < 5)
        task_abort(t, t->req.s3.key, id128_slice(&t->upload_id), aborted);
    else if (dice < 7)
        task_end(t, true); /* it lies there until somebody sweeps it away */
    else
        upload_complete(t);
}

/* ---- parts ---- */

static void part_proposed(struct task *t)
{
    int err = t->err;
    bool happened = err == OK;
    task_ingest_fini(t, err);
    t->user->load->stats.parts += happened;
    /* After an unknown outcome this part is not named: it may be this one or the one before. */
    if (happened || outcome_unknown(err))
        t->parts[t->part_at] = happened ? t->value : 0;
    if (err == ERR_NO_UPLOAD) {
        task_end(t, true); /* swept away */
        return;
    }
    if (blobs_below(t, 5) != 0) /* else the same number once more */
        t->part_at++;
    next_part(t);
}

static void part_ingested(struct task *t)
{
    if (t->err != OK) {
        task_ingest_fini(t, ERR_REFUSED);
        t->part_at++;
        next_part(t);
        return;
    }
    Cairn__ObjectRecord data = CAIRN__OBJECT_RECORD__INIT;
    record_set_data(&data, &t->ingest);
    cairn__part_record__init(&t->part);
    t->part.number = t->part_at + 1;
    t->part.size = t->data.len;
    t->part.etag = t->etag;
    t->part.kind = data.kind;
    t->part.segments = data.segments;
    t->part.n_segments = data.n_segments;
    cairn__put_part__init(&t->put_part);
    t->put_part.bucket_id = t->bucket->id;
    t->put_part.key = binary_of(t->req.s3.key);
    t->put_part.upload_id = binary_of(id128_slice(&t->upload_id));
    t->put_part.part = &t->part;
    Cairn__Command *command = task_command(t);
    command->op_case = CAIRN__COMMAND__OP_PUT_PART;
    command->put_part = &t->put_part;
    t->commit.propose.body = ingest_body(&t->ingest);
    task_propose(t, t->req.s3.key, part_proposed);
}

static void next_part(struct task *t)
{
    if (t->part_at == t->part_count) {
        upload_finish(t);
        return;
    }
    t->value = value_new(t->user->load, size_draw(t));
    task_ingest(t, t->value, id128_slice(&t->upload_id), t->part_at + 1, part_ingested);
}

/* ---- its beginning ---- */

static void created(struct task *t)
{
    if (t->err == OK)
        next_part(t);
    else
        task_end(t, false); /* after an unknown outcome it may lie there, empty */
}

static void create_looked(struct task *t)
{
    if (task_without_bucket(t))
        return;
    env_random(t->req.gw->env, t->upload_id.bytes, ID_BYTES);
    t->part_count = 1 + (unsigned)blobs_below(t, BLOB_PARTS_MAX);
    cairn__object_record__init(&t->record);
    t->record.content_type = "x";
    t->record.owner_id = "o";
    cairn__upload_record__init(&t->upload);
    t->upload.upload_id = binary_of(id128_slice(&t->upload_id));
    t->upload.object = &t->record;
    t->upload.initiator_id = "o";
    cairn__create_upload__init(&t->create);
    t->create.bucket_id = t->bucket->id;
    t->create.key = binary_of(t->req.s3.key);
    t->create.upload = &t->upload;
    Cairn__Command *command = task_command(t);
    command->op_case = CAIRN__COMMAND__OP_CREATE_UPLOAD;
    command->create_upload = &t->create;
    task_propose(t, t->req.s3.key, created);
}

void act_upload(struct task *t)
{
    task_look(t, false, create_looked);
}
