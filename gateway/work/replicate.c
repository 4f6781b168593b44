/* See replicate.h. */
#include "gateway/work/replicate.h"

#include "common/base/check.h"
#include "common/crypto/codec.h"
#include "gateway/op/bucket_view.h"
#include "gateway/op/events.h"
#include "gateway/s3/headers.h"
#include "gateway/s3/time.h"

#include <stdio.h>
#include <stdlib.h>

#define CALL_TIMEOUT_MS 60000
/* To complete an upload may take long, if it shows that it is at work; or else we look for so long
 * whether it has been. */
#define COMPLETE_MS (15 * 60 * 1000)
#define LOOK_NS (5 * 60 * NS_PER_SEC)
#define LOOK_PAUSE_NS (10 * NS_PER_SEC)
#define ARENA_BYTES_MAX (8u << 20)

enum {
    RP_READING,
    RP_KEYING,
    RP_LOOKING,
    RP_SENDING,
    RP_CREATING,
    RP_LISTING,
    RP_PART,
    RP_CHECKING,
    RP_COMPLETING,
    RP_ABORTING,
    RP_STOPPING,
    RP_DONE,
    RP_STATES
};
static const char *const state_names[RP_STATES] = {"READING",    "KEYING",   "LOOKING",  "SENDING",
                                                   "CREATING",   "LISTING",  "PART",     "CHECKING",
                                                   "COMPLETING", "ABORTING", "STOPPING", "DONE"};
#define BIT(s) (1u << (s))
static const uint32_t transitions[RP_STATES] = {
    [RP_READING] =
        BIT(RP_KEYING) | BIT(RP_LOOKING) | BIT(RP_SENDING) | BIT(RP_CREATING) | BIT(RP_STOPPING),
    [RP_KEYING] = BIT(RP_LOOKING) | BIT(RP_SENDING) | BIT(RP_CREATING) | BIT(RP_STOPPING),
    [RP_LOOKING] = BIT(RP_CREATING) | BIT(RP_ABORTING) | BIT(RP_STOPPING),
    [RP_SENDING] = BIT(RP_STOPPING),
    [RP_CREATING] = BIT(RP_LISTING) | BIT(RP_STOPPING),
    [RP_LISTING] = BIT(RP_PART) | BIT(RP_CHECKING) | BIT(RP_ABORTING) | BIT(RP_STOPPING),
    [RP_PART] = BIT(RP_LISTING) | BIT(RP_ABORTING) | BIT(RP_STOPPING),
    [RP_CHECKING] = BIT(RP_COMPLETING) | BIT(RP_ABORTING) | BIT(RP_STOPPING),
    [RP_COMPLETING] = BIT(RP_LOOKING) | BIT(RP_ABORTING) | BIT(RP_STOPPING),
    [RP_ABORTING] = BIT(RP_STOPPING),
    [RP_STOPPING] = BIT(RP_DONE),
};

/* ---- ends ---- */

static void decide(struct replicate *r, enum replicate_result result, const char *why)
{
    if (r->decided)
        return;
    r->decided = true;
    r->result = result;
    snprintf(r->why, sizeof(r->why), "%s", why);
}

/* It has been decided. */
static enum op_next stop(struct replicate *r)
{
    if (r->started)
        extract_stop(&r->extract);
    return op_move(&r->op, RP_STOPPING);
}

static enum op_next end(struct replicate *r, enum replicate_result result, const char *why)
{
    decide(r, result, why);
    return stop(r);
}

/* What the remote endpoint's answer means.  Answers that may change by themselves are failures. */
static bool answered_well(struct replicate *r)
{
    const struct http_call *call = &r->remote.call;
    r->status = call->status;
    if (r->canceled)
        decide(r, REPLICATE_FAILED, "canceled");
    else if (r->data_err != OK)
        decide(r, REPLICATE_FAILED, "the data could not be read");
    else if (call->err != OK)
        decide(r, REPLICATE_FAILED, call->why[0] ? call->why : err_name(call->err));
    else if (call->status / 100 != 2) {
        struct slice code = s3_remote_element(buf_view(&call->answer), "Code");
        char text[64];
        bool soon = call->status == 408 || call->status == 409 || call->status == 429 ||
                    (call->status >= 500 && call->status != 501);
        snprintf(text, sizeof(text), "%.*s", (int)MIN(code.len, sizeof(text) - 1),
                 code.len ? (const char *)code.ptr : "");
        decide(r, soon ? REPLICATE_FAILED : REPLICATE_REFUSED, text);
    }
    return !r->decided;
}

/* ---- requests ---- */

static void call_cb(struct http_call *call)
{
    struct replicate *r = call->user;
    r->calling = false;
    op_wake(&r->op);
}

static bool param(struct replicate *r, const char *name, struct slice value)
{
    if (!r->params)
        r->params = arena_zalloc(&r->part_arena, 4 * sizeof(*r->params));
    if (!r->params)
        return false;
    r->params[r->remote.param_count++] =
        (struct s3_param){.name = slice_cstr(name), .value = value, .has_value = true};
    r->remote.params = r->params;
    return true;
}

static void remote_init(struct replicate *r, const char *method)
{
    http_call_fini(&r->remote.call);
    r->params = NULL;
    r->remote = (struct s3_remote){
        .method = method,
        .bucket = r->bucket,
        .key = SLICE(r->row->key.data, r->row->key.len),
        .timeout_ms = CALL_TIMEOUT_MS,
        .now_ms = env_wall_ms(r->gw->env),
    };
    r->remote.call.cb = call_cb;
    r->remote.call.user = r;
}

static int remote_start(struct replicate *r)
{
    int err = s3_remote_start(r->gw->out, r->target, &r->part_arena, &r->remote);
    r->calling = err == OK;
    return err;
}

struct fields {
    struct replicate *r;
    struct http_field *ptr;
    size_t count, max;
    bool failed;
};

static void field_even_empty(struct fields *f, const char *name, struct slice value)
{
    if (!f->failed && f->count < f->max)
        f->ptr[f->count++] = (struct http_field){slice_cstr(name), value};
}

static void field(struct fields *f, const char *name, struct slice value)
{
    if (value.len)
        field_even_empty(f, name, value);
}

static struct slice kept(struct fields *f, struct buf *b)
{
    struct slice s = b->failed ? SLICE_EMPTY : arena_copy(&f->r->part_arena, buf_view(b));
    f->failed |= !s.ptr;
    buf_fini(b);
    return s;
}

static void field_tags(struct fields *f, const Cairn__ObjectRecord *o)
{
    struct buf b = {0};
    for (size_t i = 0; i < o->n_tags; i++) {
        if (i)
            buf_u8(&b, '&');
        s3_percent_encode(&b, slice_cstr(o->tags[i]->name), false);
        buf_u8(&b, '=');
        s3_percent_encode(&b, slice_cstr(o->tags[i]->value), false);
    }
    field(f, "x-amz-tagging", kept(f, &b));
}

/* A name twice would be signed as one and sent as two: the values are joined, as HTTP has it. */
static void field_metadata(struct fields *f, const Cairn__ObjectRecord *o)
{
    for (size_t i = 0; i < o->n_user_metadata; i++) {
        const Cairn__Pair *p = o->user_metadata[i];
        struct buf name = {0};
        buf_cstr(&name, "x-amz-meta-");
        for (const char *c = p->name; *c; c++)
            buf_u8(&name, ascii_lower((uint8_t)*c));
        struct slice text = kept(f, &name);
        if (text.ptr) /* S3 keeps a value that is empty */
            field_even_empty(f, (const char *)text.ptr, slice_cstr(p->value));
    }
}

/* What describes the object.  Returns: OK; ERR_NOMEM. */
static int fields_of_object(struct replicate *r, const Cairn__ObjectRecord *o)
{
    struct fields f = {.r = r, .max = 12 + o->n_user_metadata};
    struct slice storage_class =
        r->storage_class.len ? r->storage_class : slice_cstr(o->storage_class);
    f.ptr = arena_alloc(&r->part_arena, f.max * sizeof(*f.ptr));
    if (!f.ptr)
        return ERR_NOMEM;
    field(&f, REPLICA_FIELD, SLICE_LIT("true"));
    field(&f, "content-type", slice_cstr(o->content_type));
    field(&f, "content-encoding", slice_cstr(o->content_encoding));
    field(&f, "content-disposition", slice_cstr(o->content_disposition));
    field(&f, "content-language", slice_cstr(o->content_language));
    field(&f, "cache-control", slice_cstr(o->cache_control));
    field(&f, "expires", slice_cstr(o->expires));
    field(&f, "x-amz-website-redirect-location", slice_cstr(o->website_redirect));
    if (s3_storage_class_known(storage_class)) /* others are the operator's own names */
        field(&f, "x-amz-storage-class", storage_class);
    if (o->n_tags)
        field_tags(&f, o);
    field_metadata(&f, o);
    r->remote.fields = f.ptr;
    r->remote.field_count = f.count;
    return f.failed ? ERR_NOMEM : OK;
}

/* Content-MD5 of an ETag that is one: what arrives is what is here. */
static int field_md5(struct replicate *r, const char *etag)
{
    uint8_t md5[MD5_BYTES];
    const Cairn__Encryption *e = r->record->encryption;
    if (e && e->mode != CAIRN__ENCRYPTION_MODE__ENCRYPTION_S3)
        return OK; /* it looks like one */
    char *text = arena_alloc(&r->part_arena, BASE64_CHARS(MD5_BYTES));
    struct http_field *more =
        arena_alloc(&r->part_arena, (r->remote.field_count + 1) * sizeof(*more));
    if (!hex_decode(slice_cstr(etag), md5, sizeof(md5)))
        return OK;
    if (!text || !more)
        return ERR_NOMEM;
    size_t n = base64_encode(SLICE(md5, sizeof(md5)), text);
    if (r->remote.field_count)
        memcpy(more, r->remote.fields, r->remote.field_count * sizeof(*more));
    more[r->remote.field_count] = (struct http_field){SLICE_LIT("content-md5"), SLICE(text, n)};
    r->remote.fields = more;
    r->remote.field_count++;
    return OK;
}

/* ---- data ---- */

static ssize_t data_read(struct http_call *call, uint8_t *ret, size_t max)
{
    struct replicate *r = call->user;
    if (r->canceled)
        return -1;
    if (r->rest.len == 0) {
        payload_unref(&r->held);
        int err = extract_next(&r->extract, &r->held);
        if (err == ERR_LIMIT)
            return 0;
        if (err != OK) {
            r->data_err = err;
            return -1;
        }
        r->rest = r->held.bytes;
    }
    size_t n = MIN(max, r->rest.len);
    memcpy(ret, r->rest.ptr, n);
    r->rest.ptr += n;
    r->rest.len -= n;
    return (ssize_t)n;
}

static void extract_wake(struct extract *x)
{
    struct replicate *r = x->user;
    if (r->calling)
        http_call_resume(&r->remote.call);
    op_wake(&r->op);
}

static void data_fini(struct replicate *r)
{
    payload_unref(&r->held);
    r->rest = SLICE_EMPTY;
    if (r->started)
        extract_fini(&r->extract);
    r->started = false;
}

/* The body of the request: these bytes of the object. */
static int data_start(struct replicate *r, uint64_t offset, uint64_t length)
{
    struct http_call *call = &r->remote.call;
    if (length == 0)
        return OK;
    r->extract = (struct extract){
        .req = &r->req,
        .bucket_id = r->bucket_id,
        .key = SLICE(r->row->key.data, r->row->key.len),
        .record = r->record,
        .inline_body = r->read.body,
        .offset = offset,
        .length = length,
        .wake = extract_wake,
        .user = r,
    };
    memcpy(r->extract.data_key, r->key.data_key, sizeof(r->key.data_key));
    r->extract.has_data_key = r->key.has_key;
    r->started = true;
    call->streamed = true;
    call->body_bytes = length;
    call->read = data_read;
    return extract_start(&r->extract);
}

/* ---- 1. what is there? ---- */

static void read_cb(struct meta_read *read)
{
    struct replicate *r = container_of(read, struct replicate, read);
    r->reading = false;
    op_wake(&r->op);
}

static void read_start(struct replicate *r)
{
    r->read = (struct meta_read){
        .bucket = slice_cstr(r->row->bucket),
        .key = SLICE(r->row->key.data, r->row->key.len),
        .want_object = true,
        .want_body = true,
        .version = r->row->version,
        .deadline_ns = request_deadline(&r->req),
        .cb = read_cb,
    };
    r->reading = true;
    meta_read_start(r->gw->mc, &r->read);
}

static enum op_next send_marker(struct replicate *r)
{
    struct http_field *f = arena_alloc(&r->part_arena, sizeof(*f));
    remote_init(r, "DELETE");
    if (f)
        *f = (struct http_field){SLICE_LIT(REPLICA_FIELD), SLICE_LIT("true")};
    r->remote.fields = f;
    r->remote.field_count = f ? 1 : 0;
    if (!f || remote_start(r) != OK)
        return end(r, REPLICATE_FAILED, "no memory");
    return op_move(&r->op, RP_SENDING);
}

static enum op_next send_whole(struct replicate *r)
{
    remote_init(r, "PUT");
    int err = fields_of_object(r, r->record);
    if (err == OK)
        err = field_md5(r, r->record->etag);
    if (err == OK)
        err = data_start(r, 0, r->record->size);
    if (err == OK)
        err = remote_start(r);
    return err == OK ? op_move(&r->op, RP_SENDING) : end(r, REPLICATE_FAILED, err_name(err));
}

static enum op_next send_create(struct replicate *r)
{
    remote_init(r, "POST");
    int err = fields_of_object(r, r->record);
    if (err == OK && !param(r, "uploads", SLICE_EMPTY))
        err = ERR_NOMEM;
    if (err == OK)
        err = remote_start(r);
    return err == OK ? op_move(&r->op, RP_CREATING) : end(r, REPLICATE_FAILED, err_name(err));
}

static enum op_next look(struct replicate *r);

static enum op_next send_object(struct replicate *r)
{
    if (r->record->kind != CAIRN__DATA_KIND__DATA_MANIFEST)
        return send_whole(r);
    return r->sent.etag[0] ? look(r) : send_create(r);
}

static void key_wake(struct sse_key *key)
{
    struct replicate *r = container_of(key, struct replicate, key);
    op_wake(&r->op);
}

static enum op_next read_done(struct replicate *r)
{
    if (r->reading)
        return OP_WAIT;
    if (r->read.err != OK || r->canceled)
        return end(r, REPLICATE_FAILED, err_name(r->read.err));
    const struct cache_entry *b = r->read.bucket_entry, *o = r->read.object_entry;
    bool there =
        b->record->present && b->record->bucket->id == r->bucket_id && o && o->record->present;
    r->record = there ? o->record->object : NULL;
    if (!r->record || r->record->version != r->row->version)
        return end(r, REPLICATE_DONE, "");
    if (r->record->delete_marker)
        return send_marker(r);
    if (r->record->encryption) {
        r->req.acts_for = bucket_owner_account(b->record->bucket);
        sse_open_start(&r->key, &r->req, r->record->encryption, r->bucket_id, true, key_wake);
        op_move(&r->op, RP_KEYING);
        return OP_AGAIN;
    }
    return send_object(r);
}

/* Encrypted data go as what they are, over TLS if the endpoint is so; how they are kept there is
 * its business.  What a client's key has sealed nobody here can open. */
static enum op_next keyed(struct replicate *r)
{
    bool customer = r->record->encryption->mode == CAIRN__ENCRYPTION_MODE__ENCRYPTION_CUSTOMER;
    if (r->key.busy)
        return OP_WAIT;
    if (r->key.code == S3_OK && !r->canceled)
        return send_object(r);
    return end(r, customer ? REPLICATE_NEVER : REPLICATE_FAILED,
               customer ? "it is encrypted with a client's key" : s3_code_name(r->key.code));
}

/* ---- 2. parts ---- */

static void parts_wake(struct parts_walk *w)
{
    struct replicate *r = w->user;
    op_wake(&r->op);
}

static enum op_next abort_upload(struct replicate *r)
{
    if (r->started)
        extract_stop(&r->extract);
    if (r->canceled || r->upload_id.len == 0)
        return op_move(&r->op, RP_STOPPING);
    remote_init(r, "DELETE");
    if (!param(r, "uploadId", r->upload_id) || remote_start(r) != OK)
        return op_move(&r->op, RP_STOPPING);
    return op_move(&r->op, RP_ABORTING);
}

static enum op_next created(struct replicate *r)
{
    if (r->calling)
        return OP_WAIT;
    if (!answered_well(r))
        return op_move(&r->op, RP_STOPPING);
    struct slice id = s3_remote_element(buf_view(&r->remote.call.answer), "UploadId");
    r->upload_id = id.len ? arena_copy(&r->arena, id) : SLICE_EMPTY;
    if (r->upload_id.len == 0)
        return end(r, REPLICATE_FAILED, "the answer has no UploadId");
    buf_cstr(&r->complete, "<CompleteMultipartUpload>");
    r->etags_known = digest_init(&r->etags, DIGEST_MD5) == OK &&
                     http_date_parse(slice_cstr(r->remote.call.date), env_wall_ms(r->gw->env),
                                     &r->upload.since_ms);
    r->parts = (struct parts_walk){
        .req = &r->req,
        .bucket_id = r->bucket_id,
        .key = SLICE(r->row->key.data, r->row->key.len),
        .upload_id = SLICE(r->record->manifest_id.data, r->record->manifest_id.len),
        .wake = parts_wake,
        .user = r,
    };
    r->listing = true;
    parts_walk_start(&r->parts, 0);
    return op_move(&r->op, RP_LISTING);
}

static enum op_next part_send(struct replicate *r, const Cairn__PartRecord *part)
{
    char *number = arena_alloc(&r->part_arena, 12);
    remote_init(r, "PUT");
    int err = number ? OK : ERR_NOMEM;
    if (err == OK) {
        int n = snprintf(number, 12, "%u", part->number);
        if (!param(r, "partNumber", SLICE(number, (size_t)n)) ||
            !param(r, "uploadId", r->upload_id))
            err = ERR_NOMEM;
    }
    if (err == OK)
        err = field_md5(r, part->etag);
    if (err == OK)
        err = data_start(r, r->offset, part->size);
    if (err == OK)
        err = remote_start(r);
    if (err == OK)
        return op_move(&r->op, RP_PART);
    decide(r, REPLICATE_FAILED, err_name(err));
    return abort_upload(r);
}

/* As S3 makes the ETag of an upload of those of its parts. */
static void etag_expect(struct replicate *r)
{
    uint8_t md5[MD5_BYTES];
    char hex[HEX_CHARS(MD5_BYTES) + 1] = {0};
    if (!r->etags_known)
        return;
    digest_final(&r->etags, md5);
    hex_encode(SLICE(md5, sizeof(md5)), hex);
    snprintf(r->upload.etag, sizeof(r->upload.etag), "%s-%u", hex, r->part_count);
}

static enum op_next complete_send(struct replicate *r)
{
    buf_cstr(&r->complete, "</CompleteMultipartUpload>");
    remote_init(r, "POST");
    r->remote.total_ms = COMPLETE_MS;
    r->remote.call.body = buf_view(&r->complete);
    if (r->complete.failed || !param(r, "uploadId", r->upload_id) || remote_start(r) != OK) {
        decide(r, REPLICATE_FAILED, "no memory");
        return abort_upload(r);
    }
    return op_move(&r->op, RP_COMPLETING);
}

/* What a HEAD has found is what this upload makes: of the same parts, and not older. */
static bool is_of(const struct replicate *r, const struct replicate_sent *sent)
{
    const struct http_call *call = &r->remote.call;
    uint64_t made_ms;
    return sent->etag[0] && call->err == OK && call->status / 100 == 2 &&
           strcmp(call->etag, sent->etag) == 0 &&
           http_date_parse(slice_cstr(call->last_modified), env_wall_ms(r->gw->env), &made_ms) &&
           made_ms >= sent->since_ms;
}

static int look_start(struct replicate *r)
{
    remote_init(r, "HEAD");
    return remote_start(r);
}

static enum op_next check_send(struct replicate *r)
{
    etag_expect(r);
    if (look_start(r) == OK)
        return op_move(&r->op, RP_CHECKING);
    decide(r, REPLICATE_FAILED, "no memory");
    return abort_upload(r);
}

/* Dates have no more than seconds, and come from more than one clock: an earlier version of the
 * same data may look as what is about to be completed will.  Then nothing that is found later says
 * that it was completed. */
static enum op_next checked(struct replicate *r)
{
    const struct http_call *call = &r->remote.call;
    if (r->calling)
        return OP_WAIT;
    bool found = is_of(r, &r->sent); /* the try before came to its end after all */
    if (found || r->canceled) {
        decide(r, found ? REPLICATE_DONE : REPLICATE_FAILED, found ? "" : "canceled");
        return abort_upload(r);
    }
    bool known = call->err == OK && (call->status / 100 == 2 || call->status == 404);
    if (!known || is_of(r, &r->upload))
        r->upload.etag[0] = 0;
    return complete_send(r);
}

static enum op_next listed(struct replicate *r)
{
    struct parts_walk *w = &r->parts;
    if (w->busy)
        return OP_WAIT;
    if (w->err != OK || r->canceled) {
        decide(r, REPLICATE_FAILED, err_name(w->err));
        return abort_upload(r);
    }
    if (w->part < w->page->n_parts)
        return part_send(r, w->page->parts[w->part]);
    return parts_walk_next(w) ? OP_WAIT : check_send(r);
}

static enum op_next part_sent(struct replicate *r)
{
    if (r->calling)
        return OP_WAIT;
    if (!answered_well(r))
        return abort_upload(r);
    const Cairn__PartRecord *part = r->parts.page->parts[r->parts.part];
    if (r->started) {
        extract_stop(&r->extract);
        if (!extract_idle(&r->extract))
            return OP_WAIT;
    }
    const char *etag = r->remote.call.etag[0] ? r->remote.call.etag : part->etag;
    uint8_t md5[MD5_BYTES];
    buf_printf(&r->complete, "<Part><PartNumber>%u</PartNumber><ETag>&quot;%s&quot;</ETag></Part>",
               part->number, etag);
    r->etags_known &= hex_decode(slice_cstr(etag), md5, sizeof(md5));
    if (r->etags_known)
        digest_update(&r->etags, SLICE(md5, sizeof(md5)));
    r->part_count++;
    r->offset += part->size;
    r->parts.part++;
    data_fini(r);
    arena_reset(&r->part_arena);
    return op_move(&r->op, RP_LISTING);
}

/* ---- 3. is it complete? ---- */

/* S3 may say 200 and then tell of an error.  An upload that is not known (any more) may have been
 * completed: libcurl sends a request once more if a connection that was kept is lost before any
 * answer, and so do proxies. */
static bool may_be_complete(const struct http_call *call)
{
    bool tells = call->status / 100 == 2 && s3_remote_element(buf_view(&call->answer), "Code").len;
    return call->err != OK || call->status >= 500 || call->status == 404 || tells;
}

static enum op_next completed(struct replicate *r)
{
    const struct http_call *call = &r->remote.call;
    if (r->calling)
        return OP_WAIT;
    if (!r->canceled && may_be_complete(call)) {
        r->status = call->status;
        r->late = true;
        r->patient = call->err == ERR_TIMEOUT || call->status == 504;
        r->look_until_ns = env_now_ns(r->gw->env) + LOOK_NS;
        /* The same parts as of the try before: that one may be what is found. */
        if (r->upload.etag[0] && strcmp(r->sent.etag, r->upload.etag) != 0)
            r->sent = r->upload;
        if (r->sent.etag[0])
            return look(r);
        decide(r, REPLICATE_LATE, "the upload was not completed");
        return abort_upload(r);
    }
    return answered_well(r) ? end(r, REPLICATE_DONE, "") : abort_upload(r);
}

static void pause_cb(struct env_timer *timer)
{
    struct replicate *r = container_of(timer, struct replicate, pause);
    r->pausing = false;
    op_wake(&r->op);
}

static enum op_next looked_in_vain(struct replicate *r)
{
    if (!r->late && !r->canceled)
        return send_create(r);
    decide(r, r->canceled ? REPLICATE_FAILED : REPLICATE_LATE, "the upload was not completed");
    return r->late ? abort_upload(r) : stop(r);
}

static enum op_next look(struct replicate *r)
{
    op_move(&r->op, RP_LOOKING);
    return look_start(r) == OK ? OP_WAIT : looked_in_vain(r);
}

static enum op_next looked(struct replicate *r)
{
    const struct http_call *call = &r->remote.call;
    if (r->calling || r->pausing)
        return OP_WAIT;
    bool answered = call->err == OK && call->status / 100 == 2;
    if (is_of(r, &r->sent))
        return end(r, REPLICATE_DONE, "");
    bool may_come = answered || call->err != OK || call->status == 404 || call->status >= 500;
    if (!r->late || !r->patient || !may_come || r->canceled ||
        env_now_ns(r->gw->env) >= r->look_until_ns)
        return looked_in_vain(r);
    if (!r->looked) {
        r->looked = r->pausing = true;
        env_timer_start(&r->pause, LOOK_PAUSE_NS);
        return OP_WAIT;
    }
    r->looked = false;
    arena_reset(&r->part_arena);
    return look_start(r) == OK ? OP_WAIT : looked_in_vain(r);
}

/* ---- the steps ---- */

static enum op_next step(struct op *op)
{
    struct replicate *r = container_of(op, struct replicate, op);
    switch (op->state) {
    case RP_READING: return read_done(r);
    case RP_KEYING: return keyed(r);
    case RP_LOOKING: return looked(r);
    case RP_SENDING:
        if (r->calling)
            return OP_WAIT;
        return answered_well(r) ? end(r, REPLICATE_DONE, "") : stop(r);
    case RP_CREATING: return created(r);
    case RP_LISTING: return listed(r);
    case RP_PART: return part_sent(r);
    case RP_CHECKING: return checked(r);
    case RP_COMPLETING: return completed(r);
    case RP_ABORTING:
        if (r->calling) /* whatever it answers: uploads that stay behind are the bucket's business
                         */
            return OP_WAIT;
        return op_move(op, RP_STOPPING);
    case RP_STOPPING:
        if (r->started && !extract_idle(&r->extract))
            return OP_WAIT;
        return op_move(op, RP_DONE);
    default: CHECK(op->state == RP_DONE); return OP_DONE;
    }
}

static void done(struct op *op)
{
    struct replicate *r = container_of(op, struct replicate, op);
    CHECK(r->decided);
    data_fini(r);
    sse_key_fini(&r->key);
    if (r->listing)
        parts_walk_fini(&r->parts);
    http_call_fini(&r->remote.call);
    meta_read_fini(&r->read);
    buf_fini(&r->complete);
    digest_fini(&r->etags);
    env_timer_stop(&r->pause);
    arena_fini(&r->part_arena);
    arena_fini(&r->arena);
    r->cb(r);
}

static const struct op_type type = {
    .name = "replicate",
    .state_names = state_names,
    .transitions = transitions,
    .state_count = RP_STATES,
    .step = step,
    .done = done,
};

void replicate_start(struct replicate *r)
{
    arena_init(&r->arena, ARENA_BYTES_MAX);
    arena_init(&r->part_arena, ARENA_BYTES_MAX);
    r->req.gw = r->gw;
    r->req.arena = &r->part_arena;
    env_timer_init(r->gw->env, &r->pause, pause_cb);
    op_init(&r->op, &type, RP_READING, 0, 0);
    read_start(r);
}

void replicate_cancel(struct replicate *r, bool at_once)
{
    r->canceled = true;
    if (r->pausing)
        env_timer_start(&r->pause, 0);
    else if (r->calling && at_once)
        http_call_cancel(&r->remote.call);
    else if (r->calling)
        http_call_resume(&r->remote.call); /* its body ends at once */
}
