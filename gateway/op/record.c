/* Object records and header fields. */
#include "gateway/op/record.h"

#include "common/base/check.h"
#include "common/crypto/codec.h"
#include "common/obs/log.h"
#include "gateway/op/authorize.h"
#include "gateway/op/events.h"
#include "gateway/op/object_lock.h"

static bool set_text(struct request *req, char **field, struct slice value)
{
    if (value.len == 0)
        return true;
    char *copy = request_cstr(req, value);
    if (copy)
        *field = copy;
    return copy != NULL;
}

static bool set_user_metadata(struct request *req, Cairn__ObjectRecord *r,
                              const struct s3_metadata *m)
{
    if (m->user_count == 0)
        return true;
    r->user_metadata = request_alloc(req, m->user_count * sizeof(*r->user_metadata));
    Cairn__Pair *pairs = request_alloc(req, m->user_count * sizeof(*pairs));
    if (!r->user_metadata || !pairs)
        return false;
    for (size_t i = 0; i < m->user_count; i++) {
        cairn__pair__init(&pairs[i]);
        if (!set_text(req, &pairs[i].name, m->user[i].name) ||
            !set_text(req, &pairs[i].value, m->user[i].value))
            return false;
        r->user_metadata[i] = &pairs[i];
    }
    r->n_user_metadata = m->user_count;
    return true;
}

enum s3_code record_set_tags(struct request *req, const struct s3_tags *tags, Cairn__Pair ***ret,
                             size_t *ret_count)
{
    *ret = NULL;
    *ret_count = 0;
    if (tags->count == 0)
        return S3_OK;
    *ret = request_alloc(req, tags->count * sizeof(**ret));
    Cairn__Pair *pairs = request_alloc(req, tags->count * sizeof(*pairs));
    if (!*ret || !pairs)
        return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    for (size_t i = 0; i < tags->count; i++) {
        cairn__pair__init(&pairs[i]);
        if (!set_text(req, &pairs[i].name, tags->tags[i].key) ||
            !set_text(req, &pairs[i].value, tags->tags[i].value))
            return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
        (*ret)[(*ret_count)++] = &pairs[i];
    }
    return S3_OK;
}

enum s3_code record_from_request(struct request *req, Cairn__ObjectRecord *r)
{
    struct s3_metadata m;
    struct s3_tags tags;
    enum s3_code code = s3_metadata_parse(&req->s3, &m, &req->fault);
    if (code == S3_OK)
        code = s3_tags_of_request(&req->s3, &tags, &req->fault);
    if (code != S3_OK)
        return code;
    if (!gateway_class_known(req->gw->config, m.storage_class))
        return s3_storage_class_refuse(m.storage_class, &req->fault);
    cairn__object_record__init(r);
    if (http_fields_find(req->s3.fields, REPLICA_FIELD))
        r->replication = CAIRN__REPLICATION_STATUS__REPLICATION_REPLICA;
    bool standard = slice_eq(m.storage_class, SLICE_LIT("STANDARD"));
    bool ok = set_text(req, &r->content_type, m.content_type) &&
              set_text(req, &r->content_encoding, m.content_encoding) &&
              set_text(req, &r->content_disposition, m.content_disposition) &&
              set_text(req, &r->content_language, m.content_language) &&
              set_text(req, &r->cache_control, m.cache_control) &&
              set_text(req, &r->expires, m.expires) &&
              set_text(req, &r->website_redirect, m.website_redirect) &&
              set_text(req, &r->storage_class, standard ? SLICE_EMPTY : m.storage_class) &&
              set_text(req, &r->owner_id, authorize_new_owner(req, req->acl_canned)) &&
              set_user_metadata(req, r, &m);
    r->acl = req->acl;
    if (!ok)
        return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    code = lock_from_request(req, r);
    return code == S3_OK ? record_set_tags(req, &tags, &r->tags, &r->n_tags) : code;
}

/* Of data under a key of KMS or of the client's nothing is kept that tells of them, but for the
 * checksum that the client wants to be kept: a CRC is as good as the data if these are short. */
static bool keeps_hashes(const Cairn__ObjectRecord *r)
{
    return !r->encryption || r->encryption->mode == CAIRN__ENCRYPTION_MODE__ENCRYPTION_S3;
}

/* The MD5; or random, as S3's is no MD5 there. */
static const uint8_t *etag_bytes(struct request *req, const Cairn__ObjectRecord *r,
                                 const struct s3_hashes *h, uint8_t random[MD5_BYTES])
{
    if (keeps_hashes(r))
        return h->md5;
    env_random(req->gw->env, random, MD5_BYTES);
    return random;
}

enum s3_code record_set_hashes(struct request *req, Cairn__ObjectRecord *r,
                               const struct s3_hashes *h)
{
    uint8_t random[MD5_BYTES];
    CHECK(h->has_md5);
    char *etag = request_alloc(req, HEX_CHARS(MD5_BYTES) + 1);
    r->checksum = checksum_to_proto(req, &h->checksum);
    if (!etag || !r->checksum)
        return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    hex_encode(SLICE(etag_bytes(req, r, h, random), MD5_BYTES), etag);
    r->etag = etag;
    r->size = h->bytes;
    r->has_crc64nvme = keeps_hashes(r); /* elsewhere each chunk's tag says as much */
    r->crc64nvme = r->has_crc64nvme ? h->crc64nvme : 0;
    return S3_OK;
}

void record_set_data(Cairn__ObjectRecord *r, const struct ingest *in)
{
    r->kind = in->kind;
    r->segments = in->segments;
    r->n_segments = in->segment_started;
}

bool record_verify_whole(struct request *req, struct slice bucket, struct slice key,
                         const Cairn__ObjectRecord *r, uint64_t crc64nvme)
{
    if (!r->has_crc64nvme || r->crc64nvme == crc64nvme)
        return true;
    metric_inc(req->gw->metrics->mismatches);
    log_error("gateway.object_damaged", 0, L_STR("request_id", req->id), L_STR("etag", r->etag),
              L_UINT("bytes", r->size), L_BYTES("bucket", bucket), L_BYTES("key", key));
    return false;
}

/* ---- conditions of writes ---- */

static bool copy_etags(struct request *req, const struct s3_etag_list *l, char ***ret,
                       size_t *ret_count)
{
    *ret = request_alloc(req, (l->count + 1) * sizeof(char *));
    if (!*ret)
        return false;
    for (unsigned i = 0; i < l->count; i++) {
        if (l->weak[i])
            continue; /* a weak tag never matches strongly */
        (*ret)[*ret_count] = request_cstr(req, l->etag[i]);
        if (!(*ret)[(*ret_count)++])
            return false;
    }
    return true;
}

enum s3_code condition_from_request(struct request *req, const struct s3_conditions *c,
                                    Cairn__Condition **ret)
{
    *ret = NULL;
    if (!c->if_match.given && !c->if_none_match.given && !c->has_mtime && !c->has_size)
        return S3_OK;
    Cairn__Condition *p = request_alloc(req, sizeof(*p));
    if (!p)
        return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    cairn__condition__init(p);
    p->if_absent = c->if_none_match.any;
    p->if_present = c->if_match.any;
    p->has_if_size = c->has_size;
    p->if_size = c->size;
    p->has_if_mtime = c->has_mtime;
    p->if_mtime_ms = c->mtime_ms;
    if (!copy_etags(req, &c->if_match, &p->if_match, &p->n_if_match) ||
        !copy_etags(req, &c->if_none_match, &p->if_none_match, &p->n_if_none_match))
        return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    /* Only weak tags: nothing can match. */
    if (c->if_match.given && !c->if_match.any && p->n_if_match == 0)
        return s3_fault_set(&req->fault, S3_PRECONDITION_FAILED, NULL);
    *ret = p;
    return S3_OK;
}

static enum s3_code precondition_failed(struct request *req, const char *condition)
{
    s3_fault_set(&req->fault, S3_PRECONDITION_FAILED, NULL);
    s3_fault_extra(&req->fault, "Condition", slice_cstr(condition));
    return S3_PRECONDITION_FAILED;
}

enum s3_code condition_check_early(struct request *req, const struct s3_conditions *c)
{
    const Cairn__ObjectRecord *o = req->object;
    if (c->if_match.given && !o)
        return s3_fault_set(&req->fault, S3_NO_SUCH_KEY, NULL);
    if (c->if_match.given && !c->if_match.any &&
        !s3_etag_list_has(&c->if_match, slice_cstr(o->etag), true))
        return precondition_failed(req, "If-Match");
    if (c->if_none_match.given && o &&
        (c->if_none_match.any || s3_etag_list_has(&c->if_none_match, slice_cstr(o->etag), false)))
        return precondition_failed(req, "If-None-Match");
    return S3_OK;
}

/* ---- what GET and HEAD say of an object ---- */

static void reply_text(struct request *req, const char *name, const char *stored,
                       struct slice override)
{
    if (override.len)
        reply_field(req, name, override);
    else if (stored[0])
        reply_field(req, name, slice_cstr(stored));
}

void reply_object_fields(struct request *req, const Cairn__ObjectRecord *r,
                         const struct s3_overrides *o)
{
    struct buf name = {0};
    reply_text(req, "Content-Type", r->content_type[0] ? r->content_type : "binary/octet-stream",
               o->content_type);
    reply_text(req, "Content-Encoding", r->content_encoding, o->content_encoding);
    reply_text(req, "Content-Disposition", r->content_disposition, o->content_disposition);
    reply_text(req, "Content-Language", r->content_language, o->content_language);
    reply_text(req, "Cache-Control", r->cache_control, o->cache_control);
    reply_text(req, "Expires", r->expires, o->expires);
    reply_text(req, "x-amz-website-redirect-location", r->website_redirect, SLICE_EMPTY);
    reply_text(req, "x-amz-storage-class", r->storage_class, SLICE_EMPTY);
    const char *replication = replication_status_text(r->replication);
    if (replication)
        reply_field(req, "x-amz-replication-status", slice_cstr(replication));
    if (r->n_tags) {
        buf_printf(&name, "%zu", r->n_tags);
        reply_field(req, "x-amz-tagging-count", buf_view(&name));
    }
    reply_lock_fields(req, r);
    for (size_t i = 0; i < r->n_user_metadata; i++) {
        const Cairn__Pair *p = r->user_metadata[i];
        buf_clear(&name);
        buf_printf(&name, "x-amz-meta-%s", p->name);
        if (!name.failed)
            http_response_field(req->http, buf_view(&name), slice_cstr(p->value));
    }
    buf_fini(&name);
}
