/* See expiration.h. */
#include "gateway/op/expiration.h"

#include "common/base/check.h"

#include <stdlib.h>

enum { NODES_BYTES_MAX = 16 << 20 };

struct parsed_lifecycle {
    struct arena arena;
    struct s3_lifecycle rules;
    bool unreadable;
};

static void parsed_free(void *arg)
{
    struct parsed_lifecycle *p = arg;
    arena_fini(&p->arena);
    free(p);
}

static struct parsed_lifecycle *parse(struct slice document)
{
    struct parsed_lifecycle *p = calloc(1, sizeof(*p));
    struct arena nodes;
    struct s3_node *root;
    struct s3_fault fault;
    if (!p)
        return NULL;
    arena_init(&p->arena, 0);
    arena_init(&nodes, NODES_BYTES_MAX);
    enum s3_code code = s3_document_read(&nodes, &s3_lifecycle_schema, document, &root, &fault);
    if (code == S3_OK)
        code = s3_lifecycle_of_node(&p->arena, root, &p->rules, &fault);
    arena_fini(&nodes);
    p->unreadable = code != S3_OK;
    if (code != S3_INTERNAL_ERROR)
        return p;
    parsed_free(p);
    return NULL;
}

struct slice bucket_lifecycle_document(const Cairn__BucketRecord *bucket)
{
    for (size_t i = 0; i < bucket->n_settings; i++)
        if (bucket->settings[i]->kind == CAIRN__SETTING_KIND__SETTING_LIFECYCLE)
            return bytes_of(bucket->settings[i]->document);
    return SLICE_EMPTY;
}

const struct s3_lifecycle *bucket_lifecycle(struct gateway *gw, struct cache_entry *e,
                                            bool *ret_unreadable)
{
    *ret_unreadable = false;
    struct slice document = bucket_lifecycle_document(e->record->bucket);
    if (document.len == 0)
        return NULL;
    struct parsed_lifecycle *p = cache_parsed(e, CACHE_PARSED_LIFECYCLE),
                            *made = p ? NULL : parse(document);
    if (made)
        p = cache_set_parsed(meta_client_cache(gw->mc), e, CACHE_PARSED_LIFECYCLE, made,
                             sizeof(*made) + MAX(made->arena.bytes, (size_t)ARENA_BLOCK_BYTES),
                             parsed_free);
    *ret_unreadable = !p || p->unreadable;
    return *ret_unreadable ? NULL : &p->rules;
}

bool lifecycle_tags(struct arena *arena, Cairn__Pair *const *pairs, size_t count,
                    struct s3_tags *ret)
{
    *ret = (struct s3_tags){0};
    if (count == 0)
        return true;
    ret->tags = arena_alloc(arena, count * sizeof(*ret->tags));
    if (!ret->tags)
        return false;
    for (size_t i = 0; i < count; i++)
        ret->tags[i] = (struct s3_tag){slice_cstr(pairs[i]->name), slice_cstr(pairs[i]->value)};
    ret->count = count;
    return true;
}

/* ---- fields of answers ---- */

static const struct s3_lifecycle *request_lifecycle(struct request *req)
{
    struct cache_entry *e = req->read.err == OK ? req->read.bucket_entry : NULL;
    bool unreadable;
    if (!e || !e->record->present || !e->record->bucket || e->record->bucket->n_settings == 0)
        return NULL;
    return bucket_lifecycle(req->gw, e, &unreadable);
}

void reply_expiration(struct request *req, const Cairn__ObjectRecord *record, uint64_t mtime_ms)
{
    const struct s3_lifecycle *l = request_lifecycle(req);
    struct s3_lifecycle_object o = {
        .key = req->s3.key, .size = record->size, .mtime_ms = mtime_ms, .is_latest = true};
    uint64_t at;
    if (!l || !lifecycle_tags(req->arena, record->tags, record->n_tags, &o.tags))
        return;
    const struct s3_lifecycle_rule *r = s3_lifecycle_expiry(l, &o, lifecycle_day_ms(req->gw), &at);
    struct buf text = {0};
    if (r)
        s3_lifecycle_expiration_text(&text, r, at);
    if (r && !text.failed)
        reply_field(req, "x-amz-expiration", buf_view(&text));
    buf_fini(&text);
}

void reply_abort_date(struct request *req, uint64_t initiated_ms)
{
    const struct s3_lifecycle *l = request_lifecycle(req);
    uint64_t at;
    const struct s3_lifecycle_rule *r =
        l ? s3_lifecycle_abort(l, req->s3.key, initiated_ms, lifecycle_day_ms(req->gw), &at) : NULL;
    struct buf id = {0};
    if (!r)
        return;
    reply_time(req, "x-amz-abort-date", at);
    s3_percent_encode(&id, r->id, false);
    if (!id.failed)
        reply_field(req, "x-amz-abort-rule-id", buf_view(&id));
    buf_fini(&id);
}
