/* Listing objects.
 *
 * The rows that a listing walks hold records only, bodies lie elsewhere; each is scanned, not
 * decoded, and written into the response in one pass.  A common prefix costs one seek past all that
 * it covers, however much that is. */
#include "metanode/index/reply.h"

#include "common/base/check.h"
#include "metanode/index/wire.h"

/* Field numbers inside a stored ObjectRecord, and of a ListEntry. */
enum {
    OBJECT_VERSION = 1,
    OBJECT_SIZE = 2,
    OBJECT_MTIME = 3,
    OBJECT_ETAG = 4,
    OBJECT_CHECKSUM = 9,
    OBJECT_OWNER = 19,
    OBJECT_STORAGE_CLASS = 20,
    CHECKSUM_ALGORITHM = 1,
    CHECKSUM_TYPE = 2,
    ENTRY_KEY = 1,
    ENTRY_IS_PREFIX = 2,
    ENTRY_SIZE = 3,
    ENTRY_MTIME = 4,
    ENTRY_ETAG = 5,
    ENTRY_OWNER = 6,
    ENTRY_STORAGE_CLASS = 7,
    ENTRY_CHECKSUM_ALGORITHM = 8,
    ENTRY_CHECKSUM_TYPE = 9,
    ENTRY_VERSION = 10,
    RESPONSE_ENTRIES = 2,
};

/* ---- ranges ---- */

static void key_prefix(struct key *k, uint32_t partition, enum index_table table,
                       uint64_t bucket_id, struct slice prefix)
{
    key_table_be64(k, partition, table, bucket_id);
    key_escaped(k, prefix);
}

void key_after_object(struct key *k, uint32_t partition, enum index_table table, uint64_t bucket_id,
                      struct slice key)
{
    key_object_base(k, partition, table, bucket_id, key);
    key_successor(k);
}

void key_after_prefix(struct key *k, uint32_t partition, enum index_table table, uint64_t bucket_id,
                      struct slice prefix)
{
    key_prefix(k, partition, table, bucket_id, prefix);
    key_successor(k);
}

void list_range_init(struct list_range *r, uint32_t partition, enum index_table table,
                     uint64_t bucket_id, struct slice prefix)
{
    key_prefix(&r->lower, partition, table, bucket_id, prefix);
    r->upper = r->lower;
    key_successor(&r->upper);
}

void list_range_raise(struct list_range *r, const struct key *lower)
{
    if (slice_cmp(key_view(lower), key_view(&r->lower)) > 0)
        r->lower = *lower;
}

struct slice common_prefix(struct slice key, struct slice prefix, struct slice delimiter)
{
    if (delimiter.len == 0 || key.len < prefix.len)
        return SLICE_EMPTY;
    const uint8_t *at =
        memmem(key.ptr + prefix.len, key.len - prefix.len, delimiter.ptr, delimiter.len);
    return at ? SLICE(key.ptr, (size_t)(at - key.ptr) + delimiter.len) : SLICE_EMPTY;
}

/* ---- entries ---- */

struct row_fields {
    uint64_t version, size, mtime_ms, algorithm, type;
    struct slice etag, owner, storage_class;
};

static bool checksum_scan(struct slice value, struct row_fields *ret)
{
    struct cursor c = cursor_of(value);
    struct wire_field f;
    while (wire_next(&c, &f)) {
        if (f.number == CHECKSUM_ALGORITHM)
            ret->algorithm = f.value;
        else if (f.number == CHECKSUM_TYPE)
            ret->type = f.value;
    }
    return !c.failed;
}

/* Rows were packed in order of field numbers: the scan may stop after the last one wanted. */
static int row_scan(struct slice value, struct row_fields *ret)
{
    struct cursor c = cursor_of(value);
    struct wire_field f;
    *ret = (struct row_fields){0};
    while (wire_next(&c, &f) && f.number <= OBJECT_STORAGE_CLASS) {
        switch (f.number) {
        case OBJECT_VERSION: ret->version = f.value; break;
        case OBJECT_SIZE: ret->size = f.value; break;
        case OBJECT_MTIME: ret->mtime_ms = f.value; break;
        case OBJECT_ETAG: ret->etag = f.bytes; break;
        case OBJECT_CHECKSUM:
            if (!checksum_scan(f.bytes, ret))
                return ERR_CORRUPT;
            break;
        case OBJECT_OWNER: ret->owner = f.bytes; break;
        case OBJECT_STORAGE_CLASS: ret->storage_class = f.bytes; break;
        default: break;
        }
    }
    return c.failed ? ERR_CORRUPT : OK;
}

/* Appends one element; the length before it is known only once it is written, so it is written
 * where the longest length would end, and moved up to its own. */
static void entry_append(struct buf *packed, struct slice key, bool is_prefix,
                         const struct row_fields *r)
{
    enum { ROOM = 9 * (1 + WIRE_VARINT_BYTES_MAX) + 16 };
    size_t need = ROOM + key.len + r->etag.len + r->owner.len + r->storage_class.len;
    if (buf_reserve(packed, need) != OK)
        return;
    uint8_t *begin = packed->ptr + packed->len;
    uint8_t *content = begin + 1 + WIRE_VARINT_BYTES_MAX;
    uint8_t *p = wire_put_bytes(content, ENTRY_KEY, key);
    p = wire_put_uint(p, ENTRY_IS_PREFIX, is_prefix);
    p = wire_put_uint(p, ENTRY_SIZE, r->size);
    p = wire_put_uint(p, ENTRY_MTIME, r->mtime_ms);
    p = wire_put_bytes(p, ENTRY_ETAG, r->etag);
    p = wire_put_bytes(p, ENTRY_OWNER, r->owner);
    p = wire_put_bytes(p, ENTRY_STORAGE_CLASS, r->storage_class);
    p = wire_put_uint(p, ENTRY_CHECKSUM_ALGORITHM, r->algorithm);
    p = wire_put_uint(p, ENTRY_CHECKSUM_TYPE, r->type);
    p = wire_put_uint(p, ENTRY_VERSION, r->version);
    CHECK((size_t)(p - begin) <= need);
    size_t bytes = (size_t)(p - content);
    *begin = RESPONSE_ENTRIES << 3 | WIRE_BYTES;
    uint8_t *at = wire_put_varint(begin + 1, bytes);
    memmove(at, content, bytes);
    packed->len = (size_t)(at + bytes - packed->ptr);
}

/* ---- the walk ---- */

struct lister {
    const struct index_view *view;
    const Cairn__ListRequest *req;
    struct index_reply *ret;
    struct kv_iter *it;
    size_t count, max;
    size_t key_bytes, last_bytes;
    uint8_t key[OBJECT_KEY_BYTES_MAX];
    uint8_t last[OBJECT_KEY_BYTES_MAX]; /* what was given last: an object or a common prefix */
};

static void lister_give(struct lister *l, struct slice key, bool is_prefix,
                        const struct row_fields *row)
{
    entry_append(&l->ret->packed, key, is_prefix, row);
    memcpy(l->last, key.ptr, key.len);
    l->last_bytes = key.len;
    l->count++;
}

/* Gives the row under the iterator, or the common prefix it falls under, and moves past it. */
static int lister_step(struct lister *l)
{
    static const struct row_fields none;
    struct slice key = SLICE(l->key, l->key_bytes);
    struct slice common = common_prefix(key, bytes_of(l->req->prefix), bytes_of(l->req->delimiter));
    if (common.len) {
        struct key past;
        key_after_prefix(&past, l->view->partition, TABLE_OBJECT, l->req->bucket_id, common);
        lister_give(l, common, true, &none);
        l->it->ops->seek(l->it, key_view(&past));
        return OK;
    }
    struct row_fields row;
    int err = row_scan(l->it->ops->value(l->it), &row);
    if (err)
        return err;
    lister_give(l, key, false, &row);
    l->it->ops->next(l->it);
    return OK;
}

static int lister_run(struct lister *l)
{
    enum { SUFFIX_BYTES = 8 };
    while (l->it->ops->valid(l->it)) {
        struct slice suffix;
        int err = key_decode(l->it->ops->key(l->it), l->key, &l->key_bytes, &suffix);
        if (err || suffix.len != SUFFIX_BYTES)
            return ERR_CORRUPT;
        if (load_be64(suffix.ptr) != OBJECT_SUFFIX_CURRENT) {
            l->it->ops->next(l->it);
            continue;
        }
        if (l->count == l->max || l->ret->packed.len >= REPLY_BYTES_MAX) {
            l->ret->msg.list.more = true;
            return OK;
        }
        err = lister_step(l);
        if (err)
            return err;
    }
    return l->it->ops->error(l->it);
}

/* No key is longer than the limit, so the keys after a longer string are those after its beginning.
 */
static struct slice clipped(struct slice s)
{
    return SLICE(s.ptr, MIN(s.len, (size_t)OBJECT_KEY_BYTES_MAX));
}

static int lister_start(struct lister *l)
{
    const Cairn__ListRequest *req = l->req;
    struct list_range range;
    struct key after;
    uint32_t partition = l->view->partition;
    list_range_init(&range, partition, TABLE_OBJECT, req->bucket_id, bytes_of(req->prefix));
    if (req->start_after.len) {
        key_after_object(&after, partition, TABLE_OBJECT, req->bucket_id,
                         clipped(bytes_of(req->start_after)));
        list_range_raise(&range, &after);
    }
    if (req->skip_prefix.len) {
        key_after_prefix(&after, partition, TABLE_OBJECT, req->bucket_id,
                         bytes_of(req->skip_prefix));
        list_range_raise(&range, &after);
    }
    if (slice_cmp(key_view(&range.lower), key_view(&range.upper)) >= 0)
        return OK;
    l->it = view_iter(l->view, &range.lower, &range.upper);
    return l->it ? OK : ERR_NOMEM;
}

int index_list(const struct index_view *view, const Cairn__ListRequest *req,
               struct index_reply *ret)
{
    ret->msg.list = (Cairn__ListResponse)CAIRN__LIST_RESPONSE__INIT;
    ret->msg.list.as_of = view->applied;
    int err = view_bucket_check(view, req->epoch, req->bucket_id);
    if (err)
        return err;
    if (req->skip_prefix.len > OBJECT_KEY_BYTES_MAX)
        return ERR_INVAL;
    if (req->keys_max == 0 || req->prefix.len > OBJECT_KEY_BYTES_MAX)
        return OK; /* nothing asked for; nothing can match */
    struct lister l = {.view = view, .req = req, .ret = ret};
    l.max = MIN(req->keys_max, (uint32_t)INDEX_LIST_KEYS_MAX);
    err = lister_start(&l);
    if (!err && l.it)
        err = lister_run(&l);
    if (l.it)
        l.it->ops->free(l.it);
    if (!err && ret->msg.list.more)
        buf_append(&ret->mark, l.last, l.last_bytes);
    if (err || ret->packed.failed || ret->mark.failed)
        return err ? err : ERR_NOMEM;
    ret->msg.list.resume_after = (ProtobufCBinaryData){ret->mark.len, ret->mark.ptr};
    reply_rows(ret, 0, RESPONSE_ENTRIES, &ret->packed);
    return OK;
}
