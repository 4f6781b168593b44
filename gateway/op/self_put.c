/* See self_put.h.
 *
 *   the bucket is read ─► the key, if it is encrypted ─► the data are written ─► proposed ─► end
 *
 * What the operations want of a request is made up here: it has no client. */
#include "gateway/op/self_put.h"

#include "common/base/check.h"
#include "common/crypto/codec.h"
#include "gateway/op/bucket_view.h"
#include "gateway/op/object_lock.h"
#include "gateway/op/record.h"

static void end_cb(struct env_timer *timer)
{
    struct self_put *p = container_of(timer, struct self_put, end);
    p->cb(p);
}

/* Always in a turn of its own. */
static void put_end(struct self_put *p, int err)
{
    p->err = err;
    env_timer_init(p->gw->env, &p->end, end_cb);
    env_timer_start(&p->end, 0);
}

/* An S3 code stands for why it cannot be. */
static void put_refused(struct self_put *p, enum s3_code code)
{
    switch (s3_code_status(code)) {
    case 500: put_end(p, ERR_NOMEM); break;
    case 503: put_end(p, ERR_OVERLOAD); break;
    default: put_end(p, ERR_REFUSED); break;
    }
}

bool self_put_may_retry(int err)
{
    return err != OK && err != ERR_NO_BUCKET && err != ERR_REFUSED && err != ERR_TOO_LARGE &&
           err != ERR_SHUTDOWN;
}

/* ---- 4. into the index ---- */

static void commit_cb(struct commit *c)
{
    struct self_put *p = container_of(c, struct self_put, commit);
    p->committed = true;
    if (c->err == OK)
        commit_cache_object(c, p->key, &p->record, ingest_body(&p->ingest));
    put_end(p, c->err);
}

static void put_propose(struct self_put *p)
{
    record_set_data(&p->record, &p->ingest);
    cairn__put_object__init(&p->put);
    enum s3_code code = lock_default(p->req, &p->record, &p->put.retain_ms);
    if (code != S3_OK) {
        put_refused(p, code);
        return;
    }
    p->put.bucket_id = p->req->bucket->id;
    p->put.key = binary_of(p->key);
    p->put.record = &p->record;
    cairn__command__init(&p->commit.propose.command);
    p->commit.propose.command.op_case = CAIRN__COMMAND__OP_PUT_OBJECT;
    p->commit.propose.command.put_object = &p->put;
    p->commit.event = S3_EVENT_CREATED_PUT;
    p->commit.propose.body = ingest_body(&p->ingest);
    p->commit.propose.issue_until_ms = ingest_issue_until_ms(&p->ingest);
    p->has_commit = true;
    commit_start(&p->commit, p->req, p->key, commit_cb);
}

/* ---- 3. the data ---- */

/* Level-triggered: whatever woke it. */
static void put_write(struct self_put *p)
{
    if (p->has_commit || p->err)
        return;
    ingest_poll(&p->ingest);
    while (p->pushed < p->data.len && p->ingest.err == OK) {
        size_t n = ingest_push(&p->ingest, SLICE(p->data.ptr + p->pushed, p->data.len - p->pushed));
        p->pushed += n;
        if (n == 0)
            break;
        ingest_poll(&p->ingest);
    }
    if (p->ingest.err != OK) {
        if (ingest_idle(&p->ingest))
            put_end(p, p->ingest.err);
    } else if (ingest_complete(&p->ingest)) {
        put_propose(p);
    }
}

static void ingest_wake(struct ingest *in)
{
    put_write(container_of(in, struct self_put, ingest));
}

static int hash(struct self_put *p)
{
    struct s3_hasher h = {0};
    struct s3_hashes hashes;
    int err = s3_hasher_init(&h, S3_CHECKSUM_NONE, true, false);
    if (err != OK)
        return err;
    s3_hasher_update(&h, p->data);
    s3_hasher_final(&h, &hashes);
    memcpy(p->md5, hashes.md5, MD5_BYTES);
    return record_set_hashes(p->req, &p->record, &hashes) == S3_OK ? OK : ERR_NOMEM;
}

static void put_ingest(struct self_put *p)
{
    if (p->sse.code != S3_OK) {
        put_refused(p, p->sse.code);
        return;
    }
    p->record.encryption = p->sse.made;
    p->ingest = (struct ingest){.req = p->req, .total = p->data.len, .wake = ingest_wake};
    if (p->sse.made)
        ingest_seal(&p->ingest, p->sse.data_key, p->sse.made);
    p->has_ingest = true;
    int err = hash(p);
    if (err == OK)
        err = ingest_init(&p->ingest);
    if (err != OK) {
        put_end(p, err);
        return;
    }
    put_write(p);
}

/* ---- 2. the key ---- */

static void sse_wake(struct sse_key *key)
{
    put_ingest(container_of(key, struct self_put, sse));
}

/* ---- 1. the bucket ---- */

static bool is_ours(const struct self_put *p, const Cairn__BucketRecord *b)
{
    return b && b->state == CAIRN__BUCKET_STATE__BUCKET_ACTIVE &&
           slice_eq(slice_cstr(b->owner_id), p->owner_id) &&
           (p->account.len == 0 || slice_eq(bucket_owner_account(b), p->account));
}

static void read_cb(struct meta_read *read)
{
    struct self_put *p = container_of(read, struct self_put, read);
    p->is_read = true;
    if (read->err != OK) {
        put_end(p, read->err);
        return;
    }
    const Cairn__Record *record = read->bucket_entry->record;
    if (!is_ours(p, record->present ? record->bucket : NULL)) {
        put_end(p, ERR_NO_BUCKET);
        return;
    }
    p->req->bucket = record->bucket;
    p->req->acts_for = bucket_owner_account(record->bucket);
    p->record.owner_id = record->bucket->owner_id;
    sse_make_start(&p->sse, p->req, true, sse_wake);
    if (!p->sse.busy)
        put_ingest(p);
}

/* As a request would say it. */
static struct http_fields fields_of(struct self_put *p)
{
    size_t n = 0;
    if (p->encryption)
        p->fields[n++] = (struct http_field){SLICE_LIT("x-amz-server-side-encryption"),
                                             slice_cstr(p->encryption)};
    if (p->kms_key.len)
        p->fields[n++] = (struct http_field){
            SLICE_LIT("x-amz-server-side-encryption-aws-kms-key-id"), p->kms_key};
    return (struct http_fields){p->fields, n};
}

void self_put_start(struct self_put *p)
{
    arena_init(&p->arena, 0);
    p->req = arena_zalloc(&p->arena, sizeof(*p->req));
    if (!p->req || p->key.len > S3_KEY_BYTES_MAX) {
        put_end(p, p->req ? ERR_REFUSED : ERR_NOMEM);
        return;
    }
    p->req->gw = p->gw;
    p->req->arena = &p->arena;
    p->req->authorized = true; /* by the owner's setting */
    p->req->s3 = (struct s3_request){.op = S3_OP_PUT_OBJECT,
                                     .bucket = p->bucket,
                                     .key = p->key,
                                     .fields = fields_of(p),
                                     .arena = &p->arena};
    cairn__object_record__init(&p->record);
    p->record.content_type = (char *)(uintptr_t)p->content_type;
    p->read = (struct meta_read){
        .bucket = p->bucket,
        .deadline_ns = request_deadline(p->req),
        .cb = read_cb,
    };
    meta_read_start(p->gw->mc, &p->read);
}

void self_put_fini(struct self_put *p)
{
    if (!p->req)
        return;
    /* After an unknown outcome the segments may be referred to: they stay. */
    bool refused = !p->committed ||
                   (p->commit.err != OK && err_class(p->commit.err) != ERR_CLASS_UNKNOWN_OUTCOME);
    if (p->has_commit)
        commit_fini(&p->commit);
    sse_key_fini(&p->sse);
    if (p->has_ingest)
        ingest_fini(&p->ingest, refused);
    if (p->is_read)
        meta_read_fini(&p->read);
    p->req = NULL;
    arena_fini(&p->arena);
}
