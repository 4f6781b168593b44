/* Data into segments and blobs. */
#include "gateway/op/ingest.h"

#include "common/base/check.h"

#define SEGMENTS_MAX 1000 /* of a record: an entry of the log is bounded */

static void waiter_wake(struct budget_waiter *w)
{
    struct ingest *in = container_of(w, struct ingest, waiter);
    in->wake(in);
}

static int segments_init(struct ingest *in)
{
    struct gateway *gw = in->req->gw;
    in->kind = CAIRN__DATA_KIND__DATA_SEGMENTS;
    in->segment_bytes = gw->config->segment_bytes;
    while ((in->total - 1) / in->segment_bytes >= SEGMENTS_MAX &&
           in->segment_bytes < BLOB_BYTES_MAX)
        in->segment_bytes *= 2;
    in->segment_bytes = MIN(in->segment_bytes, BLOB_BYTES_MAX);
    size_t count = (size_t)((in->total - 1) / in->segment_bytes) + 1;
    env_random(gw->env, in->write_id.bytes, ID_BYTES);
    if (count > SEGMENTS_MAX)
        return ERR_TOO_LARGE;
    /* Beside each segment's bytes; where they do not fit together there will be copies only. */
    size_t parity = blob_parity_bytes(gw->bc, (size_t)in->segment_bytes);
    if (in->segment_bytes + parity > gw->config->body_bytes_max)
        parity = 0;
    in->parity_bytes_max = parity;
    uint64_t first = MIN(in->segment_bytes, in->total);
    if (budget_exhausted(gw->budget, first + MIN(blob_parity_bytes(gw->bc, first), parity)))
        return ERR_OVERLOAD;
    in->segments = request_alloc(in->req, count * sizeof(*in->segments));
    Cairn__Segment *all = request_alloc(in->req, count * sizeof(*all));
    struct id128 *ids = request_alloc(in->req, count * sizeof(*ids));
    in->budget = budget_new(gw->budget, (in->segment_bytes + parity) * INGEST_SEGMENTS_MAX);
    if (!in->segments || !all || !ids || !in->budget)
        return ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        cairn__segment__init(&all[i]);
        all[i].blob_id = (ProtobufCBinaryData){ID_BYTES, ids[i].bytes};
        in->segments[i] = &all[i];
    }
    return OK;
}

int ingest_init(struct ingest *in)
{
    budget_waiter_init(&in->waiter, waiter_wake);
    if (in->total > in->req->gw->config->inline_bytes_max)
        return segments_init(in);
    in->kind = CAIRN__DATA_KIND__DATA_INLINE;
    in->gathered = rcbuf_new(in->total);
    return in->gathered ? OK : ERR_NOMEM;
}

static void write_cb(struct blob_write *write)
{
    struct ingest_write *w = container_of(write, struct ingest_write, write);
    struct ingest *in = w->ingest;
    w->busy = false;
    if (write->err == OK) {
        Cairn__Segment *s = in->segments[w->index];
        s->pg = write->pg;
        memcpy(s->blob_id.data, write->blob_id.bytes, ID_BYTES);
        s->bytes = write->bytes;
        s->crc32c = write->crc32c;
    } else if (in->err == OK) {
        in->err = write->err;
    }
    in->wake(in);
}

static bool write_start(struct ingest *in)
{
    struct ingest_write *w = NULL;
    for (int i = 0; i < INGEST_WRITES_MAX && !w; i++)
        if (!in->write[i].busy)
            w = &in->write[i];
    if (!w)
        return false;
    *w = (struct ingest_write){.ingest = in, .busy = true, .index = in->segment_started++};
    cairn__shard_owner__init(&w->owner);
    w->owner.bucket_id = in->req->bucket->id;
    w->owner.key = binary_of(in->req->s3.key);
    w->owner.upload_id = binary_of(in->upload_id);
    w->owner.part_number = in->part_number;
    w->owner.segment_number = (uint32_t)w->index;
    w->owner.write_id = (ProtobufCBinaryData){ID_BYTES, in->write_id.bytes};
    w->owner.body_bytes = in->total;
    w->write.segment = &in->current;
    w->write.owner = &w->owner;
    w->write.deadline_ns = request_deadline(in->req);
    w->write.cb = write_cb;
    blob_write_start(in->req->gw->bc, &w->write);
    return true;
}

static size_t gather(struct ingest *in, struct slice data)
{
    CHECK(in->gathered->cap - in->gathered->len >= data.len);
    memcpy(in->gathered->data + in->gathered->len, data.ptr, data.len);
    in->gathered->len += data.len;
    in->received += data.len;
    return data.len;
}

size_t ingest_push(struct ingest *in, struct slice data)
{
    size_t taken = 0;
    if (in->gathered)
        return gather(in, data);
    while (taken < data.len && in->err == OK) {
        if (!in->current.buf) {
            uint64_t cap = MIN(in->segment_bytes, in->total - in->received);
            size_t parity = MIN(blob_parity_bytes(in->req->gw->bc, cap), in->parity_bytes_max);
            int err = blob_segment_init(&in->current, in->budget, cap, parity);
            if (err == ERR_LIMIT)
                budget_wait(in->budget, &in->waiter);
            else if (err != OK)
                in->err = err;
            if (err != OK)
                break;
        }
        size_t n = blob_segment_append(&in->current, SLICE(data.ptr + taken, data.len - taken));
        taken += n;
        in->received += n;
        if (blob_segment_full(&in->current) && !write_start(in))
            break;
    }
    return taken;
}

void ingest_poll(struct ingest *in)
{
    budget_wait_end(&in->waiter);
    if (in->current.buf && blob_segment_full(&in->current) && in->err == OK)
        write_start(in);
}

bool ingest_idle(const struct ingest *in)
{
    for (int i = 0; i < INGEST_WRITES_MAX; i++)
        if (in->write[i].busy)
            return false;
    return true;
}

bool ingest_complete(const struct ingest *in)
{
    return in->err == OK && in->received == in->total && !in->current.buf && ingest_idle(in);
}

static void discard_segments(struct ingest *in)
{
    for (size_t i = 0; i < in->segment_started; i++) {
        const Cairn__Segment *s = in->segments[i];
        struct id128 id;
        if (s->bytes && id128_from_slice(bytes_of(s->blob_id), &id))
            blob_discard(in->req->gw->bc, s->pg, id);
    }
}

void ingest_fini(struct ingest *in, bool discard)
{
    CHECK(ingest_idle(in));
    if (in->waiter.node.next)
        budget_wait_end(&in->waiter);
    if (discard && in->segments)
        discard_segments(in);
    blob_segment_fini(&in->current);
    rcbuf_unref(in->gathered);
    in->gathered = NULL;
    budget_unref(in->budget);
    in->budget = NULL;
}
