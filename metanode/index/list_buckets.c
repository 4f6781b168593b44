/* Listing buckets: those of an owner, or those that have settings of some kinds, which is how
 * gateways find background work (gateway/work/jobs.c). */
#include "metanode/index/reply.h"

#include "metanode/index/wire.h"

enum { /* fields of a stored BucketRecord and BucketSetting, and of the response */
       BUCKET_NAME = 1,
       BUCKET_OWNER = 4,
       BUCKET_SETTINGS = 20,
       SETTING_KIND_FIELD = 1,
       SETTING_DOCUMENT = 3,
       LIST_BUCKETS_RESPONSE_BUCKETS = 2,
};
enum {
    BUCKETS_LOOKED_AT_MAX = 1 << 14, /* of a page, when few of them may be wanted */
    SETTING_KINDS_MAX = 32,          /* that may be asked for */
};

/* *ret: it is the owner's (an empty owner owns all). */
static int bucket_is_owned(struct slice value, struct slice owner, bool *ret)
{
    struct cursor c = cursor_of(value);
    struct wire_field f;
    *ret = owner.len == 0;
    while (wire_next(&c, &f))
        if (f.number == BUCKET_OWNER && f.type == WIRE_BYTES && slice_eq(f.bytes, owner))
            *ret = true;
    return c.failed ? ERR_CORRUPT : OK;
}

struct bucket_lister {
    struct kv_iter *it;
    const Cairn__ListBucketsRequest *req;
    struct slice owner;
    size_t max, count, looked;
    struct buf name; /* of the bucket looked at last */
    struct index_reply *ret;
};

static bool is_wanted(const struct bucket_lister *l, uint64_t kind)
{
    for (size_t i = 0; i < l->req->n_with_settings; i++)
        if (l->req->with_settings[i] == kind)
            return true;
    return false;
}

/* A setting of a wanted kind without its document, as a field of its bucket. */
static bool append_setting(const struct bucket_lister *l, struct buf *packed, struct slice setting)
{
    struct cursor c = cursor_of(setting);
    struct wire_field f;
    struct buf inside = {0};
    bool wanted = false;
    while (wire_next(&c, &f)) {
        wanted |= f.number == SETTING_KIND_FIELD && is_wanted(l, f.value);
        if (f.number != SETTING_DOCUMENT)
            buf_slice(&inside, f.whole);
    }
    if (wanted) {
        wire_append_varint(packed, BUCKET_SETTINGS << 3 | WIRE_BYTES);
        wire_append_varint(packed, inside.len);
        buf_slice(packed, buf_view(&inside));
    }
    packed->failed |= inside.failed;
    buf_fini(&inside);
    return wanted;
}

/* The record without its settings, a page of buckets has no use for their documents; but those that
 * were asked for.  false: it has none of these. */
static bool append_bucket(struct bucket_lister *l, struct slice value)
{
    struct buf *scratch = &l->ret->mark, *packed = &l->ret->packed;
    struct cursor c = cursor_of(value);
    struct wire_field f;
    bool any = l->req->n_with_settings == 0;
    buf_clear(scratch);
    while (wire_next(&c, &f)) {
        if (f.number != BUCKET_SETTINGS)
            buf_slice(scratch, f.whole);
        else if (l->req->n_with_settings)
            any |= append_setting(l, scratch, f.bytes);
    }
    if (any)
        wire_append_bytes(packed, LIST_BUCKETS_RESPONSE_BUCKETS, buf_view(scratch));
    packed->failed |= scratch->failed;
    return any;
}

static int bucket_name(struct slice value, struct slice *ret)
{
    struct cursor c = cursor_of(value);
    struct wire_field f;
    *ret = SLICE_EMPTY;
    while (wire_next(&c, &f) && f.number <= BUCKET_NAME)
        if (f.number == BUCKET_NAME && f.type == WIRE_BYTES)
            *ret = f.bytes;
    return ret->len ? OK : ERR_CORRUPT;
}

static int list_buckets_rows(struct bucket_lister *l)
{
    struct index_reply *ret = l->ret;
    for (; l->it->ops->valid(l->it); l->it->ops->next(l->it)) {
        bool owned;
        struct slice name, value = l->it->ops->value(l->it);
        int err = bucket_is_owned(value, l->owner, &owned);
        if (!err && l->looked++ == BUCKETS_LOOKED_AT_MAX && l->req->n_with_settings) {
            ret->msg.buckets.more = true;
            return OK;
        }
        if (!err)
            err = bucket_name(value, &name);
        if (err)
            return err;
        if (owned && (l->count == l->max || ret->packed.len >= REPLY_BYTES_MAX)) {
            ret->msg.buckets.more = true;
            return OK;
        }
        if (owned)
            l->count += append_bucket(l, value);
        buf_clear(&l->name);
        buf_slice(&l->name, name);
    }
    return l->it->ops->error(l->it);
}

/* Where the next page begins; kept in the reply until it is freed. */
static int list_buckets_end(struct bucket_lister *l)
{
    struct index_reply *ret = l->ret;
    buf_clear(&ret->mark);
    if (ret->msg.buckets.more) {
        buf_slice(&ret->mark, buf_view(&l->name));
        buf_u8(&ret->mark, 0);
        ret->msg.buckets.resume_after = (char *)ret->mark.ptr;
    }
    return ret->packed.failed || ret->mark.failed || l->name.failed ? ERR_NOMEM : OK;
}

int index_list_buckets(const struct index_view *view, const Cairn__ListBucketsRequest *req,
                       struct index_reply *ret)
{
    ret->msg.buckets = (Cairn__ListBucketsResponse)CAIRN__LIST_BUCKETS_RESPONSE__INIT;
    ret->msg.buckets.as_of = view->applied;
    struct slice prefix = string_of(req->prefix), after = string_of(req->start_after);
    if (view->partition != ROOT_PARTITION || prefix.len > OBJECT_KEY_BYTES_MAX ||
        after.len > OBJECT_KEY_BYTES_MAX || req->n_with_settings > SETTING_KINDS_MAX)
        return ERR_INVAL;
    if (req->epoch != view->epoch)
        return ERR_EPOCH;
    struct key lower, upper;
    key_table(&upper, view->partition, TABLE_BUCKET, prefix);
    key_successor(&upper);
    key_table(&lower, view->partition, TABLE_BUCKET,
              slice_cmp(after, prefix) >= 0 ? after : prefix);
    if (after.len && slice_cmp(after, prefix) >= 0)
        key_bytes(&lower, SLICE("", 1)); /* the next name after it */
    if (slice_cmp(key_view(&lower), key_view(&upper)) >= 0)
        return OK;
    struct kv_iter *it = view_iter(view, &lower, &upper);
    if (!it)
        return ERR_NOMEM;
    size_t max = req->buckets_max && req->buckets_max < INDEX_LIST_KEYS_MAX ? req->buckets_max
                                                                            : INDEX_LIST_KEYS_MAX;
    struct bucket_lister l = {
        .it = it, .req = req, .owner = string_of(req->owner_id), .max = max, .ret = ret};
    int err = list_buckets_rows(&l);
    it->ops->free(it);
    if (!err)
        err = list_buckets_end(&l);
    buf_fini(&l.name);
    if (!err)
        reply_rows(ret, 0, LIST_BUCKETS_RESPONSE_BUCKETS, &ret->packed);
    return err;
}
