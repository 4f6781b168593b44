/* Data into segments and blobs. */
#include "gateway/op/ingest.h"

#include "common/base/check.h"

#define SEGMENTS_MAX 1000            /* of a record: an entry of the log is bounded */
#define INLINE_STORED_MAX (1u << 20) /* likewise; inline_bytes_max is of plaintext */

static void waiter_wake(struct budget_waiter *w)
{
    struct ingest *in = container_of(w, struct ingest, waiter);
    in->wake(in);
}

static int segments_init(struct ingest *in)
{
    struct gateway *gw = in->req->gw;
    in->kind = CAIRN__DATA_KIND__DATA_SEGMENTS;
    in->scheme = gateway_scheme(gw->config, in->storage_class);
    in->segment_bytes = gw->config->segment_bytes;
    if (in->sealed) /* a chunk lies in one segment */
        in->segment_bytes -= in->segment_bytes % SEALED_BLOCK_BYTES;
    if (in->segments_before >= SEGMENTS_MAX)
        return ERR_TOO_LARGE;
    size_t count_max = SEGMENTS_MAX - in->segments_before;
    while ((in->stored_total - 1) / in->segment_bytes >= count_max &&
           in->segment_bytes < BLOB_BYTES_MAX)
        in->segment_bytes *= 2;
    in->segment_bytes = MIN(in->segment_bytes, BLOB_BYTES_MAX);
    size_t count = (size_t)((in->stored_total - 1) / in->segment_bytes) + 1;
    env_random(gw->env, in->write_id.bytes, ID_BYTES);
    if (count > count_max)
        return ERR_TOO_LARGE;
    /* Beside each segment's bytes; where they do not fit together there will be copies only. */
    size_t parity = blob_parity_bytes(gw->bc, in->scheme, (size_t)in->segment_bytes);
    if (in->segment_bytes + parity > gw->config->body_bytes_max)
        parity = 0;
    in->parity_bytes_max = parity;
    uint64_t first = MIN(in->segment_bytes, in->stored_total);
    if (budget_exhausted(gw->budget,
                         first + MIN(blob_parity_bytes(gw->bc, in->scheme, first), parity)))
        return ERR_OVERLOAD;
    in->out = request_alloc(in->req, sizeof(*in->out));
    in->segments = request_alloc(in->req, count * sizeof(*in->segments));
    Cairn__Segment *all = request_alloc(in->req, count * sizeof(*all));
    struct id128 *ids = request_alloc(in->req, count * sizeof(*ids));
    in->budget = budget_new(gw->budget, (in->segment_bytes + parity) * INGEST_SEGMENTS_MAX);
    if (!in->out || !in->segments || !all || !ids || !in->budget)
        return ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        cairn__segment__init(&all[i]);
        all[i].blob_id = (ProtobufCBinaryData){ID_BYTES, ids[i].bytes};
        in->segments[i] = &all[i];
    }
    return OK;
}

void ingest_seal(struct ingest *in, const uint8_t data_key[CRYPT_KEY_BYTES],
                 const Cairn__Encryption *e)
{
    CHECK(e->salt.len == CRYPT_SALT_BYTES && !in->total_is_bound);
    seal_body_key(data_key, e->salt.data, in->body_key);
    in->sealed = true;
}

int ingest_init(struct ingest *in)
{
    budget_waiter_init(&in->waiter, waiter_wake);
    in->stored_total = in->sealed ? sealed_bytes(in->total) : in->total;
    int err = in->sealed ? sealer_init(&in->sealer, in->body_key, in->total) : OK;
    crypto_wipe(in->body_key, sizeof(in->body_key));
    if (err != OK)
        return err;
    if (in->total > in->req->gw->config->inline_bytes_max || in->stored_total > INLINE_STORED_MAX ||
        (in->segments_before && in->total))
        return segments_init(in);
    in->kind = CAIRN__DATA_KIND__DATA_INLINE;
    in->gathered = rcbuf_new(in->stored_total);
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
        s->interim = write->interim;
        in->oldest_ms = in->oldest_ms ? MIN(in->oldest_ms, write->time_ms) : write->time_ms;
    } else if (in->err == OK) {
        in->err = write->err;
    }
    in->wake(in);
}

static bool write_start(struct ingest *in)
{
    struct ingest_write *w = NULL;
    for (int i = 0; i < INGEST_WRITES_MAX && !w; i++)
        if (!in->out->write[i].busy)
            w = &in->out->write[i];
    if (!w)
        return false;
    *w = (struct ingest_write){.ingest = in, .busy = true, .index = in->segment_started++};
    cairn__shard_owner__init(&w->owner);
    w->owner.bucket_id = in->req->bucket->id;
    w->owner.key = binary_of(in->req->s3.key);
    w->owner.upload_id = binary_of(in->upload_id);
    w->owner.part_number = in->part_number;
    w->owner.segment_number = in->segments_before + (uint32_t)w->index;
    w->owner.write_id = (ProtobufCBinaryData){ID_BYTES, in->write_id.bytes};
    w->owner.body_bytes = in->total_is_bound ? 0
                          : in->sealed       ? in->stored_total | SEALED_BODY_FLAG
                                             : in->bytes_before + in->total;
    w->write.segment = &in->out->current;
    w->write.owner = &w->owner;
    w->write.scheme = in->scheme;
    w->write.deadline_ns = request_deadline(in->req);
    w->write.cb = write_cb;
    blob_write_start(in->req->gw->bc, &w->write);
    return true;
}

/* Slower than the data may wait for their record: it is given up here, not when all has come in. */
static bool too_late(const struct ingest *in)
{
    uint64_t until = ingest_issue_until_ms(in);
    return until && env_wall_ms(in->req->gw->env) > until;
}

static size_t gather(struct ingest *in, struct slice data)
{
    struct rcbuf *to = in->gathered;
    size_t wrote = data.len, taken = data.len;
    if (in->sealed) {
        taken = sealer_push(&in->sealer, data, to->data + to->len, to->cap - to->len, &wrote);
    } else {
        CHECK(to->cap - to->len >= data.len);
        memcpy(to->data + to->len, data.ptr, data.len);
    }
    to->len += wrote;
    in->received += wrote;
    return taken;
}

/* Into the segment that is being filled.  Returns: bytes of data taken. */
static size_t fill(struct ingest *in, struct slice data)
{
    size_t room, wrote, taken;
    if (!in->sealed) {
        taken = blob_segment_append(&in->out->current, data);
        in->received += taken;
        return taken;
    }
    uint8_t *to = blob_segment_end(&in->out->current, &room);
    taken = sealer_push(&in->sealer, data, to, room, &wrote);
    blob_segment_wrote(&in->out->current, wrote);
    in->received += wrote;
    return taken;
}

size_t ingest_push(struct ingest *in, struct slice data)
{
    size_t taken = 0;
    if (in->gathered)
        return gather(in, data);
    while (taken < data.len && in->err == OK) {
        if (!in->out->current.buf && too_late(in)) {
            in->err = ERR_TOO_OLD;
            break;
        }
        if (!in->out->current.buf) {
            uint64_t cap = MIN(in->segment_bytes, in->stored_total - in->received);
            size_t parity =
                MIN(blob_parity_bytes(in->req->gw->bc, in->scheme, cap), in->parity_bytes_max);
            int err = blob_segment_init(&in->out->current, in->budget, cap, parity);
            if (err == ERR_LIMIT)
                budget_wait(in->budget, &in->waiter);
            else if (err != OK)
                in->err = err;
            if (err != OK)
                break;
        }
        taken += fill(in, SLICE(data.ptr + taken, data.len - taken));
        if (blob_segment_full(&in->out->current) && !write_start(in))
            break;
    }
    return taken;
}

void ingest_end(struct ingest *in)
{
    in->total = in->stored_total = in->received;
    if (in->total == 0 && !in->gathered)
        in->kind = CAIRN__DATA_KIND__DATA_INLINE; /* of which there is nothing */
}

void ingest_poll(struct ingest *in)
{
    budget_wait_end(&in->waiter);
    bool last = in->received == in->stored_total;
    if (in->out && in->out->current.buf && (blob_segment_full(&in->out->current) || last) &&
        in->err == OK)
        write_start(in);
}

bool ingest_idle(const struct ingest *in)
{
    for (int i = 0; in->out && i < INGEST_WRITES_MAX; i++)
        if (in->out->write[i].busy)
            return false;
    return true;
}

bool ingest_complete(const struct ingest *in)
{
    bool filling = in->out && in->out->current.buf;
    return in->err == OK && in->received == in->stored_total && !filling && ingest_idle(in);
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
    sealer_fini(&in->sealer);
    crypto_wipe(in->body_key, sizeof(in->body_key));
    if (in->out)
        blob_segment_fini(&in->out->current);
    rcbuf_unref(in->gathered);
    in->gathered = NULL;
    budget_unref(in->budget);
    in->budget = NULL;
}
