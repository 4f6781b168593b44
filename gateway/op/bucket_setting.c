/* The settings of a bucket that are documents: GET from the record that was read for the request,
 * PUT and DELETE by one proposal to the root, lists of those that come in numbers.
 *
 * What is stored is the normal form of gateway/s3/settings.h, never the client's bytes. */
#include "common/base/check.h"
#include "gateway/op/acl.h"
#include "gateway/op/body.h"
#include "gateway/op/event_probe.h"
#include "gateway/op/object_lock.h"
#include "gateway/op/operations.h"
#include "gateway/op/report_target.h"
#include "gateway/op/setting_store.h"
#include "gateway/s3/settings.h"

static const Cairn__BucketSetting *find(const Cairn__BucketRecord *bucket, unsigned kind,
                                        struct slice id)
{
    for (size_t i = 0; i < bucket->n_settings; i++)
        if (bucket->settings[i]->kind == kind && slice_eq(slice_cstr(bucket->settings[i]->id), id))
            return bucket->settings[i];
    return NULL;
}

static bool is_lock(const struct s3_setting *kind)
{
    return kind->kind == CAIRN__SETTING_KIND__SETTING_OBJECT_LOCK;
}

static enum s3_code setting_id(struct request *req, const struct s3_setting *kind,
                               struct slice *ret)
{
    *ret = SLICE_EMPTY;
    return kind->list_root ? s3_setting_id(&req->s3, ret, &req->fault) : S3_OK;
}

static enum s3_code none(struct request *req, enum s3_code code, const char *message)
{
    s3_fault_set(&req->fault, code, message);
    s3_fault_extra(&req->fault, "BucketName", req->s3.bucket);
    return code;
}

/* ---- GET ---- */

static void reply_note(struct request *req, const struct s3_setting *kind, const char *note)
{
    if (kind->note_field)
        reply_field(req, kind->note_field, slice_cstr(note[0] ? note : kind->note_values[0]));
}

static void reply_stored(struct request *req, struct slice document)
{
    struct buf b = {0};
    xml_declaration(&b);
    buf_slice(&b, document);
    reply_xml(req, 200, &b);
    request_end(req);
}

static void reply_setting(struct request *req, const struct s3_setting *kind,
                          const Cairn__BucketSetting *s)
{
    struct buf b = {0};
    xml_declaration(&b);
    buf_slice(&b, bytes_of(s->document));
    if (b.failed) {
        buf_fini(&b);
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    reply_begin(req, 200);
    reply_field(req, "Content-Type", SLICE_LIT("application/xml"));
    reply_note(req, kind, s->note);
    reply_document(req, &b);
    request_end(req);
}

void get_setting_start(struct request *req)
{
    const struct s3_setting *kind = s3_setting_of_op(req->s3.op);
    struct slice id;
    enum s3_code code = setting_id(req, kind, &id);
    const Cairn__BucketSetting *s = code == S3_OK ? find(req->bucket, kind->kind, id) : NULL;
    bool erased = s && kind->erased && slice_eq(bytes_of(s->document), slice_cstr(kind->erased));
    bool unset = kind->unset && (!is_lock(kind) || req->bucket->object_lock);
    if (code == S3_OK && (erased || (!s && !unset)))
        code = none(req, kind->none, NULL);
    if (code != S3_OK)
        request_fail(req, code);
    else if (s && kind->note_field)
        reply_setting(req, kind, s);
    else
        reply_stored(req, s ? bytes_of(s->document) : slice_cstr(kind->unset));
}

/* ---- lists ---- */

/* The token is the last id of the page before: ids are of characters that need no disguise. */
void list_settings_start(struct request *req)
{
    const struct s3_setting *kind = s3_setting_of_op(req->s3.op);
    struct slice after = s3_request_value(&req->s3, "continuation-token"), last = SLICE_EMPTY;
    struct buf b = {0};
    unsigned count = 0;
    bool truncated = false;
    xml_declaration(&b);
    xml_open_ns(&b, kind->list_root);
    if (after.len)
        xml_slice(&b, "ContinuationToken", after);
    for (size_t i = 0; i < req->bucket->n_settings && !truncated; i++) {
        const Cairn__BucketSetting *s = req->bucket->settings[i];
        struct slice id = slice_cstr(s->id);
        if (s->kind != kind->kind || (after.len && slice_cmp(id, after) <= 0))
            continue;
        truncated = count == S3_SETTINGS_PAGE;
        if (truncated)
            break;
        buf_slice(&b, bytes_of(s->document));
        last = id;
        count++;
    }
    xml_bool(&b, "IsTruncated", truncated);
    if (truncated)
        xml_slice(&b, "NextContinuationToken", last);
    xml_close(&b, kind->list_root);
    reply_xml(req, 200, &b);
    request_end(req);
}

/* ---- PUT, DELETE ---- */

struct setting_op {
    struct request *req;
    const struct s3_setting *kind;
    bool deletes;
    struct slice id;
    const char *note;
    struct body_text text;
    struct buf document;
    struct event_probe probe;
    struct report_target target;
    struct setting_store store;
};

static void setting_end(struct setting_op *p, enum s3_code code)
{
    struct request *req = p->req;
    if (code == S3_OK) {
        reply_begin(req, p->deletes ? 204 : p->kind->put_status);
        if (!p->deletes)
            reply_note(req, p->kind, p->note);
        reply_no_body(req);
    } else {
        reply_error(req, code);
    }
    buf_fini(&p->document);
    body_text_fini(&p->text);
    request_end(req);
}

static void setting_stored(struct setting_store *store, enum s3_code code)
{
    struct setting_op *p = container_of(store, struct setting_op, store);
    /* Versioning was suspended meanwhile. */
    if (store->err == ERR_REFUSED && store->decided && is_lock(p->kind))
        code = lock_bucket_state(p->req, NULL);
    setting_end(p, code);
}

static void setting_propose(struct setting_op *p)
{
    p->store.cb = setting_stored;
    p->store.note = p->note;
    enum s3_code code = setting_store_start(&p->store, p->req, (Cairn__SettingKind)p->kind->kind,
                                            p->id, buf_view(&p->document));
    if (code != S3_OK)
        setting_end(p, code);
}

/* Looked at in the record as read; that two requests at once may pass it by one does no harm. */
static enum s3_code check_number(struct setting_op *p)
{
    size_t count = 0;
    const Cairn__BucketRecord *bucket = p->req->bucket;
    for (size_t i = 0; i < bucket->n_settings; i++)
        count += bucket->settings[i]->kind == p->kind->kind;
    if (count < S3_SETTINGS_OF_A_KIND_MAX || find(bucket, p->kind->kind, p->id))
        return S3_OK;
    return s3_fault_set(&p->req->fault, S3_TOO_MANY_CONFIGURATIONS, NULL);
}

static void setting_probed(struct event_probe *probe, enum s3_code code)
{
    struct setting_op *p = container_of(probe, struct setting_op, probe);
    if (code == S3_OK)
        setting_propose(p);
    else
        setting_end(p, code);
}

static void setting_target_known(struct report_target *target, enum s3_code code)
{
    struct setting_op *p = container_of(target, struct setting_op, target);
    if (code == S3_OK)
        setting_propose(p);
    else
        setting_end(p, code);
}

static void setting_text_done(struct body_text *t)
{
    struct setting_op *p = container_of(t, struct setting_op, text);
    struct request *req = p->req;
    enum s3_code code = t->body.code;
    if (code == S3_OK)
        code = s3_setting_read(p->kind, &req->s3, buf_view(&t->text), &p->document, &req->fault);
    if (code == S3_OK && is_lock(p->kind))
        code = lock_check_configuration(req, &t->body.claim);
    if (code == S3_OK)
        code = check_number(p);
    if (code == S3_OK && p->kind->kind == CAIRN__SETTING_KIND__SETTING_OWNERSHIP)
        code = acl_allows_ownership(req, buf_view(&p->document));
    if (code == S3_OK)
        code = events_setting_check(req->gw, req->arena, req->bucket, p->kind->kind,
                                    buf_view(&p->document), &req->fault);
    if (code != S3_OK) {
        setting_end(p, code);
    } else if (p->kind->kind == CAIRN__SETTING_KIND__SETTING_NOTIFICATION) {
        p->probe.req = req;
        p->probe.cb = setting_probed;
        event_probe_start(&p->probe, buf_view(&p->document));
    } else if (report_target_is_asked(p->kind->kind) && p->document.len) {
        p->target.req = req;
        p->target.cb = setting_target_known;
        report_target_start(&p->target, p->kind->kind, buf_view(&p->document));
    } else {
        setting_propose(p);
    }
}

void put_setting_start(struct request *req)
{
    struct setting_op *p = request_alloc(req, sizeof(*p));
    if (!p) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    p->req = req;
    p->kind = s3_setting_of_op(req->s3.op);
    p->deletes = req->s3.op == p->kind->del;
    enum s3_code code = setting_id(req, p->kind, &p->id);
    if (code == S3_OK)
        code = s3_setting_note(p->kind, &req->s3, &p->note, &req->fault);
    if (code == S3_OK && p->deletes) {
        if (p->kind->list_root && !find(req->bucket, p->kind->kind, p->id)) {
            setting_end(p, none(req, p->kind->none, NULL));
            return;
        }
        if (p->kind->erased)
            buf_cstr(&p->document, p->kind->erased);
        setting_propose(p);
        return;
    }
    p->text.done = setting_text_done;
    if (code == S3_OK)
        code = body_text_start(&p->text, req, S3_CONFIG_BODY_BYTES_MAX);
    if (code != S3_OK)
        setting_end(p, code);
}
