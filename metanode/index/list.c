/* Listing objects, and their versions.
 *
 * The rows that a listing walks hold records only, bodies lie elsewhere; each is scanned, not
 * decoded, and written into the response in one pass.  A common prefix costs one seek past all that
 * it covers, however much that is.
 *
 * Who lists objects passes over delete markers and older versions.  A few older versions are
 * stepped over, more are passed by a seek; a page ends after so many rows, wherever that is, so its
 * cost is bounded whatever lies there.  A key that only has a delete marker makes no common prefix.
 */
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
    OBJECT_VERSIONED = 22,
    OBJECT_DELETE_MARKER = 23,
    OBJECT_LOCK_MODE = 25,
    OBJECT_RETAIN_UNTIL = 26,
    OBJECT_LEGAL_HOLD = 27,
    OBJECT_ENCRYPTION = 28,
    OBJECT_REPLICATION = 29,
    OBJECT_TAGS = 36,
    ENCRYPTION_MODE = 1,
    ENCRYPTION_BUCKET_KEY = 7,
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
    ENTRY_IS_LATEST = 11,
    ENTRY_DELETE_MARKER = 12,
    ENTRY_VERSIONED = 13,
    ENTRY_TAGS = 14,
    ENTRY_ENCRYPTION = 15,
    ENTRY_BUCKET_KEY = 16,
    ENTRY_LOCK_MODE = 17,
    ENTRY_RETAIN_UNTIL = 18,
    ENTRY_LEGAL_HOLD = 19,
    ENTRY_REPLICATION = 20,
    RESPONSE_ENTRIES = 2,
    ROWS_LOOKED_AT_MAX = 1 << 14, /* of a page */
    OLDER_STEPS_MAX = 8,          /* past older versions of a key, before a seek */
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
    uint64_t is_latest, delete_marker, versioned;
    uint64_t encryption, bucket_key, lock_mode, retain_until_ms, legal_hold, replication;
    struct slice etag, owner, storage_class;
    struct slice *tags; /* each a packed Pair; room for INDEX_TAGS_MAX */
    size_t tag_count;
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

static bool encryption_scan(struct slice value, struct row_fields *ret)
{
    struct cursor c = cursor_of(value);
    struct wire_field f;
    while (wire_next(&c, &f)) {
        if (f.number == ENCRYPTION_MODE)
            ret->encryption = f.value;
        else if (f.number == ENCRYPTION_BUCKET_KEY)
            ret->bucket_key = f.value;
    }
    return !c.failed;
}

/* An object has an ETag and a delete marker has none; nothing long lies before it in a row. */
static bool row_is_marker(struct slice value)
{
    struct cursor c = cursor_of(value);
    struct wire_field f;
    while (wire_next(&c, &f) && f.number <= OBJECT_ETAG)
        if (f.number == OBJECT_ETAG)
            return f.bytes.len == 0;
    return !c.failed;
}

/* Rows were packed in order of field numbers: the scan may stop after the last one wanted. */
static int row_scan(struct slice value, uint32_t last, struct slice *tags, struct row_fields *ret)
{
    struct cursor c = cursor_of(value);
    struct wire_field f;
    *ret = (struct row_fields){.tags = tags};
    while (wire_next(&c, &f) && f.number <= last) {
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
        case OBJECT_VERSIONED: ret->versioned = f.value; break;
        case OBJECT_DELETE_MARKER: ret->delete_marker = f.value; break;
        case OBJECT_LOCK_MODE: ret->lock_mode = f.value; break;
        case OBJECT_RETAIN_UNTIL: ret->retain_until_ms = f.value; break;
        case OBJECT_LEGAL_HOLD: ret->legal_hold = f.value; break;
        case OBJECT_ENCRYPTION:
            if (!encryption_scan(f.bytes, ret))
                return ERR_CORRUPT;
            break;
        case OBJECT_REPLICATION: ret->replication = f.value; break;
        case OBJECT_TAGS:
            if (ret->tag_count == INDEX_TAGS_MAX)
                return ERR_CORRUPT;
            ret->tags[ret->tag_count++] = f.bytes;
            break;
        default: break;
        }
    }
    return c.failed ? ERR_CORRUPT : OK;
}

/* As wire_put_uint(), of any field number. */
static uint8_t *put_uint(uint8_t *p, unsigned number, uint64_t v)
{
    if (v == 0)
        return p;
    return wire_put_varint(wire_put_varint(p, number << 3 | WIRE_VARINT), v);
}

/* Appends one element; the length before it is known only once it is written, so it is written
 * where the longest length would end, and moved up to its own. */
static void entry_append(struct buf *packed, struct slice key, bool is_prefix,
                         const struct row_fields *r)
{
    enum { ROOM = 18 * (2 + WIRE_VARINT_BYTES_MAX) + 16 };
    size_t need = ROOM + key.len + r->etag.len + r->owner.len + r->storage_class.len;
    for (size_t i = 0; i < r->tag_count; i++)
        need += 1 + WIRE_VARINT_BYTES_MAX + r->tags[i].len;
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
    p = wire_put_uint(p, ENTRY_IS_LATEST, r->is_latest);
    p = wire_put_uint(p, ENTRY_DELETE_MARKER, r->delete_marker);
    p = wire_put_uint(p, ENTRY_VERSIONED, r->versioned);
    for (size_t i = 0; i < r->tag_count; i++)
        p = wire_put_bytes(p, ENTRY_TAGS, r->tags[i]);
    p = put_uint(p, ENTRY_ENCRYPTION, r->encryption);
    p = put_uint(p, ENTRY_BUCKET_KEY, r->bucket_key);
    p = put_uint(p, ENTRY_LOCK_MODE, r->lock_mode);
    p = put_uint(p, ENTRY_RETAIN_UNTIL, r->retain_until_ms);
    p = put_uint(p, ENTRY_LEGAL_HOLD, r->legal_hold);
    p = put_uint(p, ENTRY_REPLICATION, r->replication);
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
    size_t count, max, looked;
    unsigned older_steps;
    size_t key_bytes, last_bytes;
    uint64_t last_version; /* when versions are listed: of `last`, if that is a version */
    uint8_t key[OBJECT_KEY_BYTES_MAX];
    uint8_t last[OBJECT_KEY_BYTES_MAX]; /* given or passed over last: a key or a common prefix */
};

static void lister_at(struct lister *l, struct slice key, uint64_t version)
{
    memcpy(l->last, key.ptr, key.len);
    l->last_bytes = key.len;
    l->last_version = version;
}

static bool lister_full(struct lister *l)
{
    bool full = l->count == l->max || l->ret->packed.len >= REPLY_BYTES_MAX;
    if (full)
        l->ret->msg.list.more = true;
    return full;
}

/* Moves past an older version, and past all of them when they are many. */
static void lister_skip_older(struct lister *l)
{
    struct key past;
    if (++l->older_steps <= OLDER_STEPS_MAX) {
        l->it->ops->next(l->it);
        return;
    }
    key_after_object(&past, l->view->partition, TABLE_OBJECT, l->req->bucket_id,
                     SLICE(l->key, l->key_bytes));
    l->it->ops->seek(l->it, key_view(&past));
}

/* Gives the row under the iterator, or the common prefix it falls under, and moves past it; stays
 * where it is if the page is full. */
static int lister_step(struct lister *l, bool is_latest)
{
    static const struct row_fields none;
    struct slice key = SLICE(l->key, l->key_bytes), value = l->it->ops->value(l->it);
    struct slice common = common_prefix(key, bytes_of(l->req->prefix), bytes_of(l->req->delimiter));
    struct row_fields row = {0};
    uint32_t last = l->req->want_tags    ? OBJECT_TAGS
                    : l->req->want_state ? OBJECT_REPLICATION
                    : l->req->versions   ? OBJECT_DELETE_MARKER
                                         : OBJECT_STORAGE_CLASS;
    struct slice tags[INDEX_TAGS_MAX]; /* not looked at further than tag_count */
    int err = common.len ? OK : row_scan(value, last, tags, &row);
    if (err)
        return err;
    if (!l->req->versions && (common.len ? row_is_marker(value) : row.etag.len == 0)) {
        lister_at(l, key, 0);
        l->it->ops->next(l->it);
        return OK;
    }
    if (lister_full(l))
        return OK;
    l->count++;
    if (common.len) {
        struct key past;
        key_after_prefix(&past, l->view->partition, TABLE_OBJECT, l->req->bucket_id, common);
        entry_append(&l->ret->packed, common, true, &none);
        lister_at(l, common, 0);
        l->it->ops->seek(l->it, key_view(&past));
        return OK;
    }
    row.is_latest = l->req->versions && is_latest;
    entry_append(&l->ret->packed, key, false, &row);
    lister_at(l, key, l->req->versions ? row.version : 0);
    l->it->ops->next(l->it);
    return OK;
}

static int lister_run(struct lister *l)
{
    enum { SUFFIX_BYTES = 8 };
    while (l->it->ops->valid(l->it) && !l->ret->msg.list.more) {
        struct slice suffix;
        if (l->looked++ == ROWS_LOOKED_AT_MAX && l->last_bytes) {
            l->ret->msg.list.more = true;
            return OK;
        }
        int err = key_decode(l->it->ops->key(l->it), l->key, &l->key_bytes, &suffix);
        if (err || suffix.len != SUFFIX_BYTES)
            return ERR_CORRUPT;
        bool is_latest = load_be64(suffix.ptr) == OBJECT_SUFFIX_CURRENT;
        if (!is_latest && !l->req->versions) {
            lister_skip_older(l);
            continue;
        }
        l->older_steps = 0;
        err = lister_step(l, is_latest);
        if (err)
            return err;
    }
    return l->ret->msg.list.more ? OK : l->it->ops->error(l->it);
}

/* No key is longer than the limit, so the keys after a longer string are those after its beginning.
 */
static struct slice clipped(struct slice s)
{
    return SLICE(s.ptr, MIN(s.len, (size_t)OBJECT_KEY_BYTES_MAX));
}

/* Where the versions of start_after go on behind after_version.  By then that one may have been
 * deleted, and an older one be the current one in its place: then it is given, whose row lies
 * before all others. */
static int lister_version_start(struct lister *l, struct slice key, struct key *ret)
{
    const struct index_view *view = l->view;
    struct version_fields f = {0};
    struct buf value = {0};
    struct key row;
    key_object(&row, view->partition, l->req->bucket_id, key);
    int err = view_get(view, &row, &value);
    if (!err)
        err = version_scan(buf_view(&value), &f);
    buf_fini(&value);
    if (err && err != ERR_NOT_FOUND)
        return err;
    uint64_t after = l->req->after_version;
    if (after ==
        VERSION_NULL) /* gone: nobody knows any more where it was, so all are given again */
        after = !f.versioned ? f.version : f.null_at ? f.null_at : VERSION_NULL;
    if (f.version < after) {
        key_object_base(ret, view->partition, TABLE_OBJECT, l->req->bucket_id, key);
        return OK;
    }
    key_object_older(ret, view->partition, l->req->bucket_id, key, after);
    key_bytes(ret, SLICE("", 1)); /* the first row behind it */
    return OK;
}

static int lister_start(struct lister *l)
{
    const Cairn__ListRequest *req = l->req;
    struct list_range range;
    struct key after;
    uint32_t partition = l->view->partition;
    list_range_init(&range, partition, TABLE_OBJECT, req->bucket_id, bytes_of(req->prefix));
    if (req->start_after.len) {
        struct slice key = clipped(bytes_of(req->start_after));
        bool within = req->versions && req->after_version && key.len == req->start_after.len;
        int err = within ? lister_version_start(l, key, &after) : OK;
        if (err)
            return err;
        if (!within)
            key_after_object(&after, partition, TABLE_OBJECT, req->bucket_id, key);
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
    ret->msg.list.resume_version = ret->msg.list.more ? l.last_version : 0;
    reply_rows(ret, 0, RESPONSE_ENTRIES, &ret->packed);
    return OK;
}
