/* Data out of blobs.
 *
 * Two cursors: `at` plans reads ahead of the client; the ring holds what was planned, in order. For
 * a manifest the parts come in pages; a page is dropped only when every read planned from it is in
 * the ring (reads keep copies of what they need), so one page at a time is in memory. */
#include "gateway/op/extract.h"

#include "common/base/check.h"
#include "common/obs/log.h"
#include "proto/methods.h"

static void extract_plan(struct extract *x);

/* ---- parts ---- */

static void parts_cb(struct meta_call *call)
{
    struct parts_walk *w = container_of(call, struct parts_walk, call);
    w->busy = false;
    w->err = call->err;
    if (w->err == OK) {
        w->page = (Cairn__ListPartsResponse *)(void *)call->response;
        call->response = NULL;
        w->part = 0;
        if (!w->page->upload)
            w->err = ERR_PROTO;
    }
    meta_call_fini(call);
    w->wake(w);
}

void parts_walk_start(struct parts_walk *w, uint32_t marker)
{
    CHECK(!w->busy);
    w->busy = true;
    w->marker = marker;
    cairn__list_parts_request__init(&w->request);
    w->request.bucket_id = w->bucket_id;
    w->request.key = binary_of(w->key);
    w->request.upload_id = binary_of(w->upload_id);
    w->request.number_marker = marker;
    /* Parts may have a thousand segments; the index bounds a page in bytes as well. */
    w->request.parts_max = w->page_max ? w->page_max : w->want_segments ? 256 : 1000;
    w->request.want_segments = w->want_segments;
    w->call = (struct meta_call){
        .method = &method_meta_list_parts,
        .bucket_id = w->bucket_id,
        .key = w->key,
        .request = &w->request.base,
        .deadline_ns = request_deadline(w->req),
        .cb = parts_cb,
    };
    meta_call_start(w->req->gw->mc, &w->call);
}

bool parts_walk_next(struct parts_walk *w)
{
    Cairn__ListPartsResponse *page = w->page;
    if (!page || !page->more || page->n_parts == 0)
        return false;
    uint32_t last = page->parts[page->n_parts - 1]->number;
    parts_walk_fini(w);
    parts_walk_start(w, last);
    return true;
}

void parts_walk_fini(struct parts_walk *w)
{
    CHECK(!w->busy);
    if (w->page)
        cairn__list_parts_response__free_unpacked(w->page, NULL);
    w->page = NULL;
}

/* ---- encrypted bodies ---- */

/* A body begins whose data are next: of the object, or of a part. */
static int body_begin(struct extract *x, const Cairn__Encryption *e, uint64_t at, uint64_t bytes)
{
    x->body_at = at;
    x->body_bytes = bytes;
    x->sealed = x->record->encryption != NULL;
    x->segment_at = x->sealed ? 0 : at;
    if (!x->sealed)
        return e ? ERR_CORRUPT : OK;
    if (!e || e->salt.len != CRYPT_SALT_BYTES)
        return ERR_CORRUPT;
    seal_body_key(x->data_key, e->salt.data, x->body_key);
    return OK;
}

/* The chunks that the piece of `bytes` bytes from `skip` in its body touches. */
static void piece_seal(struct extract_piece *p, uint64_t skip, uint64_t bytes)
{
    const struct extract *x = p->extract;
    p->sealed = true;
    memcpy(p->body_key, x->body_key, sizeof(p->body_key));
    p->body_bytes = x->body_bytes;
    p->chunk = skip / SEALED_CHUNK_BYTES;
    p->chunk_skip = skip % SEALED_CHUNK_BYTES;
    p->bytes = bytes;
}

/* What they take in the store. */
static uint64_t piece_stored(const struct extract_piece *p)
{
    uint64_t to =
        (p->chunk * SEALED_CHUNK_BYTES + p->chunk_skip + p->bytes - 1) / SEALED_CHUNK_BYTES;
    return MIN((to + 1) * SEALED_BLOCK_BYTES, sealed_bytes(p->body_bytes)) -
           p->chunk * SEALED_BLOCK_BYTES;
}

/* The plaintext in place of what was read. */
static int piece_open(struct extract_piece *p)
{
    struct extract *x = p->extract;
    size_t bytes = 0;
    struct rcbuf *plain = rcbuf_new(p->data.bytes.len);
    int err = plain ? opener_init(&x->opener, p->body_key, p->body_bytes) : ERR_NOMEM;
    crypto_wipe(p->body_key, sizeof(p->body_key));
    if (err == OK)
        err = opener_open(&x->opener, p->chunk, p->data.bytes, plain->data, &bytes);
    if (err == OK && bytes < p->chunk_skip + p->bytes)
        err = ERR_CORRUPT;
    if (err == ERR_CORRUPT)
        log_error("gateway.chunk_damaged", 0, L_STR("request_id", x->req->id),
                  L_UINT("chunk", p->chunk), L_BYTES("key", x->key));
    payload_unref(&p->data);
    if (err != OK) {
        rcbuf_unref(plain);
        return err;
    }
    plain->len = bytes;
    p->data = (struct payload){plain, SLICE(plain->data + p->chunk_skip, p->bytes)};
    return OK;
}

/* ---- pieces ---- */

void extract_piece_end(struct extract_piece *p, int err)
{
    struct extract *x = p->extract;
    p->busy = false;
    p->ready = true;
    p->err = err;
    x->wake(x);
}

void extract_blob_cb(struct blob_read *r)
{
    struct extract_piece *p = container_of(r, struct extract_piece, blob);
    p->data = r->data;
    if (r->err == OK || p->extract->err == ERR_CANCELED || !extract_look(p))
        extract_piece_end(p, r->err);
}

static void part_body_cb(struct meta_call *call)
{
    struct extract_piece *p = container_of(call, struct extract_piece, part_body);
    int err = call->err;
    struct payload got = call->response_payload;
    uint64_t skip = p->sealed ? p->chunk * SEALED_BLOCK_BYTES : p->skip;
    uint64_t bytes = p->sealed ? piece_stored(p) : p->bytes;
    if (err == OK && (got.bytes.len < skip || got.bytes.len - skip < bytes))
        err = ERR_CORRUPT;
    if (err == OK)
        p->data = payload_ref((struct payload){got.owner, SLICE(got.bytes.ptr + skip, bytes)});
    meta_call_fini(call);
    extract_piece_end(p, err);
}

static struct extract_piece *piece_new(struct extract *x)
{
    struct extract_piece *p = &x->piece[(x->head + x->count++) % EXTRACT_PIECES];
    *p = (struct extract_piece){.extract = x, .busy = true};
    return p;
}

static void piece_read(struct extract_piece *p, const Cairn__Segment *s)
{
    struct extract *x = p->extract;
    p->part = x->part;
    p->part_version = x->part_version;
    p->segment = x->segment;
    if (!id128_from_slice(bytes_of(s->blob_id), &p->blob.blob_id)) {
        x->err = ERR_CORRUPT;
        p->busy = false;
        p->ready = true;
        p->err = ERR_CORRUPT;
        return;
    }
    blob_read_start(x->req->gw->bc, &p->blob);
}

static void piece_of_segment(struct extract *x, const Cairn__Segment *s, uint64_t segment_at)
{
    struct extract_piece *p = piece_new(x);
    uint64_t offset = x->at - segment_at;
    /* Pieces end at multiples of their size, so that no block is read twice. */
    uint64_t to = MIN((offset / x->piece_bytes + 1) * x->piece_bytes, s->bytes);
    p->blob = (struct blob_read){
        .pg = s->pg,
        .blob_bytes = s->bytes,
        .has_crc32c = true,
        .crc32c = s->crc32c,
        .offset = offset,
        .bytes = MIN(to - offset, x->end - x->at),
        .deadline_ns = request_deadline(x->req),
        .cb = extract_blob_cb,
    };
    x->at += p->blob.bytes;
    piece_read(p, s);
}

/* Whole chunks of the segment, as many as are wanted and a piece may have. */
static void piece_of_sealed(struct extract *x, const Cairn__Segment *s)
{
    struct extract_piece *p = piece_new(x);
    uint64_t skip = x->at - x->body_at, until = MIN(x->end - x->body_at, x->body_bytes);
    uint64_t offset = skip / SEALED_CHUNK_BYTES * SEALED_BLOCK_BYTES - x->segment_at;
    uint64_t to = MIN((offset / x->piece_bytes + 1) * x->piece_bytes, s->bytes);
    uint64_t chunks = (x->segment_at + to + SEALED_BLOCK_BYTES - 1) / SEALED_BLOCK_BYTES;
    piece_seal(p, skip, MIN(until, chunks * SEALED_CHUNK_BYTES) - skip);
    p->blob = (struct blob_read){
        .pg = s->pg,
        .blob_bytes = s->bytes,
        .has_crc32c = true,
        .crc32c = s->crc32c,
        .offset = offset,
        .bytes = piece_stored(p),
        .deadline_ns = request_deadline(x->req),
        .cb = extract_blob_cb,
    };
    x->at += p->bytes;
    piece_read(p, s);
}

static void piece_of_part(struct extract *x, const Cairn__PartRecord *part, uint64_t part_at)
{
    struct extract_piece *p = piece_new(x);
    p->is_part_body = true;
    p->skip = x->at - part_at;
    p->bytes = MIN(part->size - p->skip, x->end - x->at);
    if (x->sealed)
        piece_seal(p, p->skip, p->bytes);
    x->at += p->bytes;
    cairn__read_part_body_request__init(&p->part_request);
    p->part_request.bucket_id = x->bucket_id;
    p->part_request.key = binary_of(x->key);
    p->part_request.upload_id = binary_of(x->parts->upload_id);
    p->part_request.number = part->number;
    p->part_body = (struct meta_call){
        .method = &method_meta_read_part_body,
        .bucket_id = x->bucket_id,
        .key = x->key,
        .request = &p->part_request.base,
        .deadline_ns = request_deadline(x->req),
        .cb = part_body_cb,
    };
    meta_call_start(x->req->gw->mc, &p->part_body);
}

/* ---- planning ---- */

static bool plan_sealed(struct extract *x)
{
    uint64_t stored = (x->at - x->body_at) / SEALED_CHUNK_BYTES * SEALED_BLOCK_BYTES;
    if (x->at >= x->body_at + x->body_bytes)
        return false;
    for (; x->segment < x->segment_count; x->segment++) {
        const Cairn__Segment *s = x->segments[x->segment];
        if (stored < x->segment_at + s->bytes) {
            piece_of_sealed(x, s);
            return true;
        }
        x->segment_at += s->bytes;
        if (x->segment_at % SEALED_BLOCK_BYTES) /* a chunk lies in one segment */
            break;
    }
    x->err = ERR_CORRUPT;
    return true;
}

/* From the current segments.  false: they end before `at`. */
static bool plan_segment(struct extract *x)
{
    if (x->sealed && x->segment_count)
        return plan_sealed(x);
    while (x->segment < x->segment_count) {
        const Cairn__Segment *s = x->segments[x->segment];
        if (x->at < x->segment_at + s->bytes) {
            piece_of_segment(x, s, x->segment_at);
            return true;
        }
        x->segment_at += s->bytes;
        x->segment++;
    }
    return false;
}

static void parts_wake(struct parts_walk *w)
{
    struct extract *x = w->user;
    extract_plan(x);
    x->wake(x);
}

/* Moves to the next part.  false: its page is not here yet, or there is none. */
static bool plan_part(struct extract *x)
{
    struct parts_walk *w = x->parts;
    if (w->busy)
        return false;
    if (w->err != OK) {
        x->err = w->err;
        return false;
    }
    if (w->part == w->page->n_parts) {
        if (!parts_walk_next(w))
            x->err = ERR_CORRUPT; /* the parts are fewer than the object's size */
        return false;
    }
    const Cairn__PartRecord *part = w->page->parts[w->part++];
    uint64_t part_at = x->body_at + x->body_bytes; /* behind the part before */
    x->err = body_begin(x, part->encryption, part_at, part->size);
    if (x->err != OK)
        return false;
    if (part->kind == CAIRN__DATA_KIND__DATA_INLINE) {
        x->segments = NULL;
        x->segment_count = x->segment = 0;
        if (x->at < part_at + part->size && x->at >= part_at)
            piece_of_part(x, part, part_at);
        return true;
    }
    x->segments = part->segments;
    x->segment_count = part->n_segments;
    x->segment = 0;
    x->part = part->number;
    x->part_version = part->version;
    return true;
}

static void extract_plan(struct extract *x)
{
    while (x->count < x->window && x->at < x->end && x->err == OK) {
        if (plan_segment(x))
            continue;
        if (!x->parts) {
            x->err = ERR_CORRUPT; /* the segments are shorter than the object's size */
            return;
        }
        if (!plan_part(x))
            return;
    }
}

/* As much read-ahead as the loop's memory allows: a slow client keeps it for long. */
static int take_budget(struct extract *x)
{
    static const struct {
        unsigned window;
        uint64_t piece_bytes;
    } sizes[] = {{EXTRACT_PIECES, EXTRACT_PIECE_BYTES},
                 {1, EXTRACT_PIECE_BYTES},
                 {1, EXTRACT_PIECE_BYTES_MIN}};
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        uint64_t bytes = MIN(sizes[i].window * sizes[i].piece_bytes, x->length);
        if (x->record->encryption) /* and the plaintext of a piece beside it */
            bytes += MIN(sizes[i].piece_bytes, x->length) + SEALED_BLOCK_BYTES;
        if (!budget_take(x->req->gw->budget, bytes))
            continue;
        x->window = sizes[i].window;
        x->piece_bytes = sizes[i].piece_bytes;
        x->budgeted = bytes;
        return OK;
    }
    return ERR_OVERLOAD;
}

static int inline_start(struct extract *x)
{
    const Cairn__ObjectRecord *r = x->record;
    uint64_t skip = x->offset, bytes = x->length;
    int err = body_begin(x, r->encryption, 0, r->size);
    if (err == OK && x->inline_body.bytes.len != (x->sealed ? sealed_bytes(r->size) : r->size))
        err = ERR_CORRUPT;
    if (err != OK)
        return err;
    struct extract_piece *p = piece_new(x);
    p->busy = false;
    p->ready = true;
    if (x->sealed) {
        piece_seal(p, x->offset, x->length);
        skip = p->chunk * SEALED_BLOCK_BYTES;
        bytes = piece_stored(p);
    }
    p->data = payload_ref(
        (struct payload){x->inline_body.owner, SLICE(x->inline_body.bytes.ptr + skip, bytes)});
    x->at = x->end;
    return OK;
}

int extract_start(struct extract *x)
{
    const Cairn__ObjectRecord *r = x->record;
    x->at = x->offset;
    x->end = x->offset + x->length;
    CHECK(x->end <= r->size);
    if (x->length == 0)
        return OK;
    if (r->encryption && !x->has_data_key)
        return ERR_AUTH;
    if (r->kind == CAIRN__DATA_KIND__DATA_INLINE)
        return inline_start(x);
    int err = take_budget(x);
    if (err != OK)
        return err;
    if (r->kind == CAIRN__DATA_KIND__DATA_MANIFEST) {
        x->parts = request_alloc(x->req, sizeof(*x->parts));
        if (!x->parts)
            return ERR_NOMEM;
        *x->parts = (struct parts_walk){
            .req = x->req,
            .bucket_id = x->bucket_id,
            .key = x->key,
            .upload_id = bytes_of(r->manifest_id),
            .want_segments = true,
            .wake = parts_wake,
            .user = x,
        };
        parts_walk_start(x->parts, 0);
        return OK;
    }
    err = body_begin(x, r->encryption, 0, r->size);
    if (err != OK)
        return err;
    x->segments = r->segments;
    x->segment_count = r->n_segments;
    extract_plan(x);
    return OK;
}

int extract_next(struct extract *x, struct payload *ret)
{
    if (x->count) {
        struct extract_piece *p = &x->piece[x->head];
        if (!p->ready)
            return ERR_LIMIT;
        if (p->err == OK && p->sealed)
            p->err = piece_open(p);
        if (p->err != OK)
            return p->err;
        *ret = p->data;
        p->data = (struct payload){0};
        x->head = (x->head + 1) % EXTRACT_PIECES;
        x->count--;
        extract_plan(x);
        return OK;
    }
    if (x->err != OK)
        return x->err;
    extract_plan(x);
    return x->at < x->end || x->count ? x->err != OK ? x->err : ERR_LIMIT : ERR_END;
}

enum s3_code extract_code(int err)
{
    return err_class(err) == ERR_CLASS_RETRY ? s3_code_of_err(err) : S3_INTERNAL_ERROR;
}

void extract_stop(struct extract *x)
{
    if (x->err == OK)
        x->err = ERR_CANCELED;
    for (unsigned i = 0; i < EXTRACT_PIECES; i++)
        if (x->piece[i].busy && !x->piece[i].is_part_body && !x->piece[i].looking)
            blob_read_cancel(&x->piece[i].blob);
}

bool extract_idle(const struct extract *x)
{
    for (unsigned i = 0; i < EXTRACT_PIECES; i++)
        if (x->piece[i].busy)
            return false;
    return !x->parts || !x->parts->busy;
}

void extract_fini(struct extract *x)
{
    CHECK(extract_idle(x));
    for (unsigned i = 0; i < EXTRACT_PIECES; i++) {
        payload_unref(&x->piece[i].data);
        crypto_wipe(x->piece[i].body_key, sizeof(x->piece[i].body_key));
    }
    opener_fini(&x->opener);
    crypto_wipe(x->body_key, sizeof(x->body_key));
    crypto_wipe(x->data_key, sizeof(x->data_key));
    if (x->parts)
        parts_walk_fini(x->parts);
    if (x->fresh)
        cairn__read_response__free_unpacked(x->fresh, NULL);
    x->fresh = NULL;
    if (x->budgeted)
        budget_give(x->req->gw->budget, x->budgeted);
    x->budgeted = 0;
}
