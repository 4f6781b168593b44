/* GetObject and HeadObject.
 *
 *   (inline, HEAD: answered at once)
 *   KEYING ──► LOCATING ──► FIRST ──► SENDING ──► STOPPING ──► DONE
 *      └───────────┴──────────┴──────────┴───────────▲
 *
 * KEYING waits for the key of encrypted data.  LOCATING finds the part that partNumber names. FIRST
 * waits for the first piece, so that data that cannot be had are an error and not a broken body.
 * SENDING goes at the client's pace.
 *
 * A whole object is compared with the checksum that it was stored with: the last piece is held back
 * until that is known, so that a body which does not match never ends like one that does. */
#include "common/base/check.h"
#include "common/crypto/crc.h"
#include "common/obs/log.h"
#include "gateway/op/expiration.h"
#include "gateway/op/extract.h"
#include "gateway/op/operations.h"
#include "gateway/op/record.h"
#include "gateway/op/sse.h"

#include <stdio.h>

enum { GET_KEYING, GET_LOCATING, GET_FIRST, GET_SENDING, GET_STOPPING, GET_DONE, GET_STATES };
static const char *const get_state_names[GET_STATES] = {"KEYING",  "LOCATING", "FIRST",
                                                        "SENDING", "STOPPING", "DONE"};
static const uint32_t get_transitions[GET_STATES] = {
    [GET_KEYING] = 1u << GET_LOCATING | 1u << GET_STOPPING,
    [GET_LOCATING] = 1u << GET_FIRST | 1u << GET_STOPPING,
    [GET_FIRST] = 1u << GET_SENDING | 1u << GET_STOPPING,
    [GET_SENDING] = 1u << GET_STOPPING,
    [GET_STOPPING] = 1u << GET_DONE,
};

struct get_op {
    struct op op;
    struct request *req;
    const Cairn__ObjectRecord *object;
    struct s3_overrides overrides;
    uint64_t offset, length; /* of what is asked for */
    bool partial, has_part;
    uint32_t part;
    uint64_t part_at;
    struct s3_checksum part_checksum;
    /* Large, and only there for a body that comes from storage nodes. */
    struct parts_walk *parts; /* NULL: no part is asked for */
    struct extract *extract;
    struct sse_key *key; /* NULL: they are not encrypted */
    uint64_t taken;      /* of `length`: handed over by extract */
    uint64_t crc64nvme;
    bool full;   /* the client's queue: wait for on_drain */
    bool broken; /* the body cannot be completed */
    bool again;  /* the object was replaced: start anew */
};

/* ---- what is answered ---- */

static void reply_range(struct get_op *g)
{
    char text[80];
    int n = snprintf(text, sizeof(text), "bytes %llu-%llu/%llu", (unsigned long long)g->offset,
                     (unsigned long long)(g->offset + g->length - 1),
                     (unsigned long long)g->object->size);
    reply_field(g->req, "Content-Range", SLICE(text, (size_t)n));
}

/* Everything up to the body. */
static void get_reply_head(struct get_op *g)
{
    struct request *req = g->req;
    const Cairn__ObjectRecord *o = g->object;
    reply_begin(req, g->partial ? 206 : req->status_instead ? req->status_instead : 200);
    reply_time(req, "Last-Modified", o->mtime_ms);
    reply_etag(req, o->etag);
    reply_field(req, "Accept-Ranges", SLICE_LIT("bytes"));
    reply_version(req, "x-amz-version-id", req->bucket, o);
    if (req->s3.version == VERSION_NONE) /* whether another one is the current one, nobody asked */
        reply_expiration(req, o, o->mtime_ms);
    if (g->partial && g->length)
        reply_range(g);
    reply_object_fields(req, o, &g->overrides);
    reply_encryption(req, o->encryption, false);
    if (g->has_part && o->part_count)
        http_response_field_u64(req->http, "x-amz-mp-parts-count", o->part_count);
    if (s3_checksum_mode_enabled(&req->s3)) {
        if (g->has_part && g->part_checksum.algorithm != S3_CHECKSUM_NONE) {
            char text[S3_CHECKSUM_TEXT_MAX];
            size_t n = s3_checksum_text(&g->part_checksum, 0, text);
            reply_field(req, s3_checksum_field(g->part_checksum.algorithm), SLICE(text, n));
        } else if (!g->partial) {
            reply_checksum(req, o->checksum, o->part_count);
        }
    }
    http_response_body(req->http, (int64_t)g->length);
}

static int get_write(struct get_op *g, struct payload p)
{
    struct request *req = g->req;
    req->bytes_sent += p.bytes.len;
    metric_add(req->gw->metrics->bytes_out, p.bytes.len);
    return http_response_write(req->http, p);
}

/* 304 and 412 speak of the object too. */
static void get_reply_unmet(struct get_op *g, enum s3_code code)
{
    struct request *req = g->req;
    if (code != S3_NOT_MODIFIED) {
        reply_error(req, code);
        return;
    }
    reply_begin(req, 304);
    reply_time(req, "Last-Modified", g->object->mtime_ms);
    reply_etag(req, g->object->etag);
    reply_version(req, "x-amz-version-id", req->bucket, g->object);
    if (g->object->cache_control[0])
        reply_field(req, "Cache-Control", slice_cstr(g->object->cache_control));
    reply_no_body(req);
}

/* ---- the part that is asked for ---- */

static void parts_wake(struct parts_walk *w)
{
    struct get_op *g = w->user;
    op_wake(&g->op);
}

static void locate_start(struct get_op *g)
{
    *g->parts = (struct parts_walk){
        .req = g->req,
        .bucket_id = g->req->bucket->id,
        .key = g->req->s3.key,
        .upload_id = bytes_of(g->object->manifest_id),
        .wake = parts_wake,
        .user = g,
    };
    parts_walk_start(g->parts, 0);
}

/* S3 counts parts by position: 1 to the number of parts, whatever numbers they were uploaded as.
 * Returns: ERR_LIMIT (wait); OK (found); ERR_END (there is none); or why it cannot be told. */
static int locate_part(struct get_op *g)
{
    struct parts_walk *w = g->parts;
    if (w->busy)
        return ERR_LIMIT;
    if (w->err != OK)
        return w->err;
    for (; w->part < w->page->n_parts; w->part++) {
        const Cairn__PartRecord *p = w->page->parts[w->part];
        if (--g->part == 0) {
            g->offset = g->part_at;
            g->length = p->size;
            checksum_of_proto(p->checksum, &g->part_checksum);
            return OK;
        }
        g->part_at += p->size;
    }
    return parts_walk_next(w) ? ERR_LIMIT : ERR_END;
}

/* ---- sending ---- */

static void extract_wake(struct extract *x)
{
    struct get_op *g = x->user;
    op_wake(&g->op);
}

static void drain_cb(struct http_request *http, void *arg)
{
    struct get_op *g = arg;
    (void)http;
    g->full = false;
    op_wake(&g->op);
}

static void key_wake(struct sse_key *key)
{
    struct get_op *g = key->req->operation;
    op_wake(&g->op);
}

static void gone_cb(struct request *req)
{
    struct get_op *g = req->operation;
    g->full = false;
    op_wake(&g->op);
}

/* Takes a piece into account; at the end of a whole object: is it what was stored? */
static bool piece_verify(struct get_op *g, struct slice piece)
{
    g->taken += piece.len;
    if (g->partial)
        return true;
    g->crc64nvme = crc64nvme(g->crc64nvme, piece);
    const struct s3_request *s3 = &g->req->s3;
    return g->taken < g->length ||
           record_verify_whole(g->req, s3->bucket, s3->key, g->object, g->crc64nvme);
}

static void send_piece(struct get_op *g, struct payload *piece)
{
    int err = get_write(g, *piece);
    payload_unref(piece);
    if (err == ERR_LIMIT)
        g->full = true;
    else if (err != OK)
        g->broken = true;
}

static enum op_next get_fail(struct get_op *g, enum s3_code code)
{
    reply_error(g->req, code);
    extract_stop(g->extract);
    return op_move(&g->op, GET_STOPPING);
}

static enum op_next get_no_data(struct get_op *g, int err)
{
    if (request_may_restart(g->req, err)) {
        g->again = true;
        extract_stop(g->extract);
        return op_move(&g->op, GET_STOPPING);
    }
    log_warn("get.no_data", 0, L_STR("request_id", g->req->id), L_ERR(err));
    return get_fail(g, extract_code(err));
}

static enum op_next get_extract(struct get_op *g)
{
    struct request *req = g->req;
    if (g->length == 0 || req->http->method == HTTP_METHOD_HEAD) {
        get_reply_head(g);
        return op_move(&g->op, GET_STOPPING);
    }
    g->extract->req = req;
    g->extract->bucket_id = req->bucket->id;
    g->extract->key = req->s3.key;
    g->extract->record = g->object;
    g->extract->inline_body = req->read.body;
    g->extract->offset = g->offset;
    g->extract->length = g->length;
    g->extract->wake = extract_wake;
    g->extract->user = g;
    if (g->key) {
        memcpy(g->extract->data_key, g->key->data_key, sizeof(g->key->data_key));
        g->extract->has_data_key = g->key->has_key;
    }
    int err = extract_start(g->extract);
    if (err != OK)
        return get_fail(g, extract_code(err));
    return op_move(&g->op, GET_FIRST);
}

static enum op_next get_keyed(struct get_op *g)
{
    if (g->key && g->key->code != S3_OK)
        return get_fail(g, g->key->code);
    op_move(&g->op, GET_LOCATING);
    if (g->parts)
        locate_start(g);
    return OP_AGAIN;
}

static enum op_next get_first(struct get_op *g)
{
    struct payload piece;
    int err = extract_next(g->extract, &piece);
    if (err == ERR_LIMIT)
        return OP_WAIT;
    if (err != OK)
        return get_no_data(g, err);
    if (!piece_verify(g, piece.bytes)) {
        payload_unref(&piece);
        return get_fail(g, S3_INTERNAL_ERROR);
    }
    get_reply_head(g);
    send_piece(g, &piece);
    return op_move(&g->op, GET_SENDING);
}

static enum op_next get_send(struct get_op *g)
{
    struct payload piece;
    while (!g->broken && !g->req->gone) {
        if (g->full)
            return OP_WAIT;
        int err = extract_next(g->extract, &piece);
        if (err == ERR_LIMIT)
            return OP_WAIT;
        if (err == ERR_END)
            return op_move(&g->op, GET_STOPPING);
        if (err != OK) {
            log_warn("get.broken_off", 0, L_STR("request_id", g->req->id), L_ERR(err));
            g->broken = true;
            break;
        }
        if (!piece_verify(g, piece.bytes)) {
            payload_unref(&piece);
            break;
        }
        send_piece(g, &piece);
    }
    g->broken = true;
    extract_stop(g->extract);
    return op_move(&g->op, GET_STOPPING);
}

static enum op_next get_step(struct op *op)
{
    struct get_op *g = container_of(op, struct get_op, op);
    int err;
    switch (op->state) {
    case GET_KEYING:
        if (g->key && g->key->busy)
            return OP_WAIT;
        return get_keyed(g);
    case GET_LOCATING: /* 1. Where is the part, if one is asked for? */
        err = g->parts ? locate_part(g) : OK;
        if (err == ERR_LIMIT)
            return OP_WAIT;
        if (err == ERR_END)
            return get_fail(g, S3_INVALID_PART_NUMBER);
        return err == OK ? get_extract(g) : get_no_data(g, err);
    case GET_FIRST: /* 2. Can the data be had? */ return get_first(g);
    case GET_SENDING: /* 3. All of it, in order. */ return get_send(g);
    case GET_STOPPING: /* 4. What still runs must come back. */
        return extract_idle(g->extract) ? op_move(op, GET_DONE) : OP_WAIT;
    default: CHECK(op->state == GET_DONE); return OP_DONE;
    }
}

static void get_done(struct op *op)
{
    struct get_op *g = container_of(op, struct get_op, op);
    struct request *req = g->req;
    bool broken = g->broken, again = g->again;
    extract_fini(g->extract);
    if (g->key)
        sse_key_fini(g->key);
    if (g->parts)
        parts_walk_fini(g->parts);
    req->on_gone = NULL;
    if (again) {
        http_response_on_drain(req->http, NULL, NULL);
        request_restart(req);
        return;
    }
    if (broken)
        request_abort(req);
    else
        request_end(req);
}

static const struct op_type get_type = {
    .name = "get_object",
    .state_names = get_state_names,
    .transitions = get_transitions,
    .state_count = GET_STATES,
    .step = get_step,
    .done = get_done,
};

/* ---- the start ---- */

/* If-Range (RFC 9110, 13.1.5): who wants the rest of what it has must not get that of another
 * object. */
static bool range_holds(const struct get_op *g)
{
    struct slice v = http_fields_get(g->req->s3.fields, "if-range");
    uint64_t ms;
    if (!v.ptr)
        return true;
    if (v.len >= 2 && v.ptr[0] == '"' && v.ptr[v.len - 1] == '"')
        return slice_eq(SLICE(v.ptr + 1, v.len - 2), slice_cstr(g->object->etag));
    return http_date_parse(v, request_now_ms(g->req), &ms) &&
           ms / 1000 == g->object->mtime_ms / 1000;
}

/* What of the object is asked for: offset, length, or a part to be located. */
static enum s3_code get_range(struct get_op *g)
{
    struct request *req = g->req;
    struct slice range = http_fields_get(req->s3.fields, "range");
    enum s3_code code = s3_part_number_parse(&req->s3, &g->has_part, &g->part, &req->fault);
    if (code != S3_OK)
        return code;
    if (g->has_part && range.ptr)
        return s3_fault_set(&req->fault, S3_INVALID_REQUEST,
                            "Cannot specify both Range header and partNumber query parameter");
    if (g->has_part) {
        uint32_t count = g->object->part_count ? g->object->part_count : 1;
        g->partial = true;
        g->length = g->object->size;
        return g->part <= count ? S3_OK : s3_fault_set(&req->fault, S3_INVALID_PART_NUMBER, NULL);
    }
    struct s3_range parsed;
    s3_range_parse(range_holds(g) ? range : SLICE_EMPTY, &parsed);
    return s3_range_resolve(&parsed, g->object->size, range, req->arena, &g->offset, &g->length,
                            &g->partial, &req->fault);
}

static enum s3_code get_prepare(struct get_op *g, bool *ret_unmet)
{
    struct request *req = g->req;
    struct s3_conditions conditions;
    if (!req->object)
        return request_no_object(req);
    g->object = req->object;
    enum s3_code code = sse_check_customer(req, g->object->encryption, req->bucket->id);
    if (code == S3_OK)
        code = s3_conditions_parse(&req->s3, request_now_ms(req), &conditions, &req->fault);
    if (code != S3_OK)
        return code;
    code = s3_conditions_read(&conditions, slice_cstr(g->object->etag), g->object->mtime_ms,
                              &req->fault);
    if (code != S3_OK) {
        *ret_unmet = true;
        return code;
    }
    code = s3_overrides_parse(&req->s3, req->auth.anonymous, &g->overrides, &req->fault);
    return code == S3_OK ? get_range(g) : code;
}

void get_object_start(struct request *req)
{
    struct get_op *g = request_alloc(req, sizeof(*g));
    bool unmet = false;
    if (!g) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    g->req = req;
    enum s3_code code = get_prepare(g, &unmet);
    if (code != S3_OK) {
        if (unmet)
            get_reply_unmet(g, code);
        else
            reply_error(req, code);
        request_end(req);
        return;
    }
    bool locate = g->has_part && g->object->kind == CAIRN__DATA_KIND__DATA_MANIFEST;
    /* What is at hand is answered here and now: the way of most requests. */
    bool head = req->http->method == HTTP_METHOD_HEAD;
    bool keyed = g->object->encryption && !head;
    bool at_hand = head || g->length == 0 || g->object->kind == CAIRN__DATA_KIND__DATA_INLINE;
    if (at_hand && !locate && !keyed) {
        struct slice body = req->read.body.bytes;
        bool sends = !head && g->length > 0;
        if (sends && (body.len != g->object->size || !piece_verify(g, body))) {
            request_fail(req, S3_INTERNAL_ERROR);
            return;
        }
        get_reply_head(g);
        if (sends)
            get_write(
                g, (struct payload){req->read.body.owner, SLICE(body.ptr + g->offset, g->length)});
        request_end(req);
        return;
    }
    g->extract = request_alloc(req, sizeof(*g->extract));
    g->parts = locate ? request_alloc(req, sizeof(*g->parts)) : NULL;
    g->key = keyed ? request_alloc(req, sizeof(*g->key)) : NULL;
    if (!g->extract || (locate && !g->parts) || (keyed && !g->key)) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    op_init(&g->op, &get_type, GET_KEYING, 0, 0);
    req->operation = g;
    req->on_gone = gone_cb;
    http_response_on_drain(req->http, drain_cb, g);
    if (keyed)
        sse_open_start(g->key, req, g->object->encryption, req->bucket->id, false, key_wake);
    op_wake(&g->op);
}
