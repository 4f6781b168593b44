/* Objects of the blob workload: PUT, GET, DELETE, lists. */
#include "common/base/check.h"
#include "gateway/op/record.h"
#include "tests/sim/blobs_impl.h"

/* The bucket is not there, or it is not known whether it is.  Returns: the task has gone on. */
bool task_without_bucket(struct task *t)
{
    if (t->bucket)
        return false;
    if (t->err == OK && !t->last_round)
        act_create_bucket(t);
    else
        task_end(t, t->err == OK);
    return true;
}

/* ---- a body in ---- */

static void ingest_pump(struct ingest *in)
{
    struct task *t = container_of(in, struct task, ingest);
    ingest_poll(in);
    while (t->pushed < t->data.len && in->err == OK) {
        size_t n = ingest_push(in, SLICE(t->data.ptr + t->pushed, t->data.len - t->pushed));
        t->pushed += n;
        if (n == 0)
            break;
    }
    if (!ingest_idle(in) || (in->err == OK && !ingest_complete(in)))
        return; /* woken again */
    t->err = in->err;
    t->then(t);
}

static void ingest_refused(struct task *t)
{
    t->ingest.err = ERR_OVERLOAD;
    t->err = ERR_OVERLOAD;
    t->put_then(t);
}

static void ingest_first(struct task *t)
{
    t->then = t->put_then;
    ingest_pump(&t->ingest);
}

void task_ingest(struct task *t, uint64_t value, struct slice upload_id, uint32_t part_number,
                 void (*then)(struct task *t))
{
    const struct value *v = value_of(t->user->load, value);
    CHECK(v->count == 1 && !t->ingesting);
    buf_clear(&t->data);
    value_bytes(v->pieces[0].seed, v->size, &t->data);
    value_text(value, t->etag);
    t->pushed = 0;
    t->ingesting = true;
    t->put_then = then;
    t->ingest = (struct ingest){.req = &t->req,
                                .total = v->size,
                                .upload_id = upload_id,
                                .part_number = part_number,
                                .wake = ingest_pump};
    int err = ingest_init(&t->ingest);
    task_wait(t, 0, err == OK ? ingest_first : ingest_refused);
}

void task_ingest_fini(struct task *t, int err)
{
    struct ingest *in = &t->ingest;
    struct sim_shards *shards = t->user->load->shards;
    bool refused = err != OK && !outcome_unknown(err);
    for (size_t i = 0; in->segments && i < in->segment_started; i++) {
        struct id128 id;
        if (!in->segments[i]->bytes || !id128_from_slice(bytes_of(in->segments[i]->blob_id), &id))
            continue;
        if (err == OK)
            sim_shards_acknowledged(shards, id);
        else if (refused)
            sim_shards_discarded(shards, id);
    }
    ingest_fini(in, refused);
    t->ingesting = false;
}

/* ---- PUT ---- */

static void put_proposed(struct task *t)
{
    int err = t->err;
    task_ingest_fini(t, err);
    t->user->load->stats.puts += err == OK;
    task_end(t, history_settle(t, err));
}

static void put_ingested(struct task *t)
{
    if (t->err != OK) { /* nothing was proposed */
        task_ingest_fini(t, ERR_REFUSED);
        history_settle(t, ERR_REFUSED);
        task_end(t, false);
        return;
    }
    cairn__object_record__init(&t->record);
    t->record.etag = t->etag;
    t->record.size = t->data.len;
    t->record.content_type = "x";
    t->record.owner_id = "o";
    record_set_data(&t->record, &t->ingest);
    cairn__put_object__init(&t->put);
    t->put.bucket_id = t->bucket->id;
    t->put.key = binary_of(t->req.s3.key);
    t->put.record = &t->record;
    cairn__condition__init(&t->condition);
    t->condition.if_absent = true;
    if (history_kind_of(t) == HISTORY_PUT_IF_ABSENT)
        t->put.condition = &t->condition;
    Cairn__Command *command = task_command(t);
    command->op_case = CAIRN__COMMAND__OP_PUT_OBJECT;
    command->put_object = &t->put;
    task_propose_object(t, t->req.s3.key, true, ingest_body(&t->ingest), put_proposed);
}

static void put_looked(struct task *t)
{
    if (task_without_bucket(t))
        return;
    t->value = value_new(t->user->load, size_draw(t));
    history_begin(t, blobs_below(t, 6) == 0 ? HISTORY_PUT_IF_ABSENT : HISTORY_PUT);
    task_ingest(t, t->value, SLICE_EMPTY, 0, put_ingested);
}

void act_put(struct task *t)
{
    task_look(t, false, put_looked);
}

/* ---- GET ---- */

static void get_looked(struct task *t);

static void get_over(struct task *t)
{
    extract_fini(&t->extract);
    t->extracting = false;
    bool replaced = t->err == ERR_NO_UPLOAD || t->err == ERR_NOT_FOUND;
    if (replaced && t->restarts++ < REQUEST_RESTARTS_MAX) {
        task_look(t, true, get_looked);
        return;
    }
    t->user->load->stats.reads += t->err == OK;
    task_end(t, t->err == OK);
}

/* Whole shards may be out of reach while others are damaged: that is said, and no bytes are. */
static bool may_be_lost(const struct task *t)
{
    const struct sim_blobs *w = t->user->load;
    return w->beyond || (w->cluster->mends && !t->last_round);
}

static void get_pump(struct extract *x)
{
    struct task *t = container_of(x, struct task, extract);
    const struct value *v = value_of(t->user->load, t->value);
    while (!t->read_over) {
        struct payload piece;
        int err = extract_next(x, &piece);
        if (err == ERR_LIMIT)
            return; /* woken again */
        if (err != OK) {
            t->err = err == ERR_END ? OK : err;
            if ((err == ERR_CORRUPT || err == ERR_CHECKSUM || err == ERR_PROTO) && !may_be_lost(t))
                blobs_problem(t, "an object's data are damaged");
            if (err == ERR_END && t->at != x->offset + x->length)
                blobs_problem(t, "an object's body is shorter than its record says");
            t->read_over = true;
            extract_stop(x);
            break;
        }
        if (!value_matches(v, t->at, piece.bytes))
            blobs_problem(t, "an object's body is not what was written");
        t->at += piece.bytes.len;
        payload_unref(&piece);
    }
    if (extract_idle(x))
        get_over(t);
}

static void get_first(struct task *t)
{
    get_pump(&t->extract);
}

static void get_body(struct task *t, const struct value *v)
{
    const Cairn__ObjectRecord *r = t->req.object;
    uint64_t offset = 0, length = r->size;
    if (!t->last_round && blobs_below(t, 4) == 0) {
        offset = blobs_below(t, v->size);
        length = 1 + blobs_below(t, v->size - offset);
    }
    t->at = offset;
    t->read_over = false;
    t->extracting = true;
    t->extract = (struct extract){.req = &t->req,
                                  .bucket_id = t->bucket->id,
                                  .key = t->req.s3.key,
                                  .record = r,
                                  .inline_body = t->look.body,
                                  .offset = offset,
                                  .length = length,
                                  .wake = get_pump};
    int err = extract_start(&t->extract);
    if (err != OK)
        t->extract.err = err; /* what extract_next() says */
    task_wait(t, 0, get_first);
}

static void get_looked(struct task *t)
{
    if (task_without_bucket(t))
        return;
    const Cairn__ObjectRecord *r = t->req.object;
    t->value = r ? value_parse(r->etag) : 0;
    history_read(t, t->key, t->value);
    const struct value *v = value_of(t->user->load, t->value);
    if (!r) {
        t->user->load->stats.reads++;
        task_end(t, true);
    } else if (!v || v->size != r->size) {
        blobs_problem(t, "an object's record is not what was written");
        task_end(t, false);
    } else {
        get_body(t, v);
    }
}

void act_get(struct task *t)
{
    task_look(t, true, get_looked);
}

/* ---- DELETE ---- */

static void deleted(struct task *t)
{
    t->user->load->stats.deletes += t->err == OK;
    task_end(t, history_settle(t, t->err));
}

void task_delete(struct task *t, void (*then)(struct task *t))
{
    t->value = 0;
    history_begin(t, HISTORY_DELETE);
    cairn__delete_object__init(&t->del);
    t->del.bucket_id = t->bucket->id;
    t->del.key = binary_of(blobs_key(t->key));
    Cairn__Command *command = task_command(t);
    command->op_case = CAIRN__COMMAND__OP_DELETE_OBJECT;
    command->delete_object = &t->del;
    task_propose_object(t, blobs_key(t->key), false, (struct payload){0}, then);
}

static void delete_looked(struct task *t)
{
    if (!task_without_bucket(t))
        task_delete(t, deleted);
}

void act_delete(struct task *t)
{
    task_look(t, false, delete_looked);
}

/* ---- lists ---- */

static void listed(struct meta_list *l)
{
    struct task *t = container_of(l, struct task, list);
    size_t at = 0;
    t->err = l->err;
    t->there = 0;
    for (unsigned key = 0; l->err == OK && key < BLOB_KEYS; key++) {
        uint64_t value = 0;
        if (at < l->entry_count && slice_eq(bytes_of(l->entries[at]->key), blobs_key(key))) {
            t->there |= 1u << key;
            value = value_parse(l->entries[at++]->etag);
        }
        history_read(t, key, value);
    }
    if (l->err == OK && (at != l->entry_count || l->more))
        blobs_problem(t, "a list has an entry that does not belong or stands in the wrong place");
    t->user->load->stats.lists += l->err == OK;
    meta_list_fini(l);
    t->then(t);
}

void task_list(struct task *t, void (*then)(struct task *t))
{
    t->then = then;
    t->step_ns = blobs_now(t);
    t->list = (struct meta_list){.bucket_id = t->bucket->id,
                                 .keys_max = LIST_KEYS_MAX,
                                 .deadline_ns = request_deadline(&t->req),
                                 .cb = listed};
    meta_list_start(t->req.gw->mc, &t->list);
}

static void list_over(struct task *t)
{
    task_end(t, t->err == OK);
}

static void list_looked(struct task *t)
{
    if (!task_without_bucket(t))
        task_list(t, list_over);
}

void act_list(struct task *t)
{
    task_look(t, false, list_looked);
}
