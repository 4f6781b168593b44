/* Point reads, the cluster's map, and what all readers share.
 *
 * A reader looks at one state, a view, and says which (as_of).  Rows are stored as packed messages
 * and travel as they are: a response's repeated field is copied together from them and handed to
 * protobuf-c as one unknown field, which it writes out verbatim. */
#include "metanode/index/reply.h"

#include "common/base/check.h"
#include "metanode/index/principal.h"
#include "metanode/index/wire.h"
#include "proto/sealed.h"

/* Field numbers that readers look for inside stored rows (proto/common.proto, proto/meta.proto). */
enum {
    OBJECT_VERSION = 1,
    OBJECT_SIZE = 2,
    OBJECT_KIND = 5,
    OBJECT_VERSIONED = 22,
    OBJECT_NULL_AT = 24,
    OBJECT_ENCRYPTION = 28,
};
enum { READ_RESPONSE_RECORDS = 2 };
enum {
    MAP_VERSION = 1,
    MAP_CLUSTER_ID = 2,
    MAP_NODES = 3,
    MAP_PARTITIONS = 4,
    MAP_PGS = 5,
    MAP_CREATED_MS = 6
};

void index_reply_fini(struct index_reply *reply)
{
    payload_unref(&reply->body);
    buf_fini(&reply->packed);
    buf_fini(&reply->mark);
    buf_fini(&reply->mark2);
    *reply = (struct index_reply){0};
}

void reply_rows(struct index_reply *reply, unsigned slot, uint32_t number, const struct buf *packed)
{
    CHECK(slot < ARRAY_COUNT(reply->rows) && slot == reply->msg.base.n_unknown_fields);
    if (packed->len == 0)
        return;
    /* protobuf-c writes the first tag itself. */
    CHECK(packed->ptr[0] == (number << 3 | WIRE_BYTES));
    reply->rows[slot] = (ProtobufCMessageUnknownField){
        .tag = number,
        .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
        .len = packed->len - 1,
        .data = packed->ptr + 1,
    };
    reply->msg.base.unknown_fields = reply->rows;
    reply->msg.base.n_unknown_fields = slot + 1;
}

int view_get(const struct index_view *view, const struct key *key, struct buf *ret)
{
    struct slice ignored;
    return kv_get_scratch(view->kv, view->snap, key, ret, &ignored);
}

struct kv_iter *view_iter(const struct index_view *view, const struct key *lower,
                          const struct key *upper)
{
    struct kv_iter *it =
        view->kv->ops->iter_new(view->kv, view->snap, KV_INDEX, key_view(lower), key_view(upper));
    if (it)
        it->ops->seek(it, SLICE_EMPTY);
    return it;
}

int reply_body(const struct index_view *view, const struct key *key, uint64_t size,
               struct index_reply *reply)
{
    if (size == 0)
        return OK;
    struct buf body = {0};
    int err = view->kv->ops->get(view->kv, view->snap, KV_BODY, key_view(key), &body);
    if (!err && body.failed)
        err = ERR_NOMEM;
    if (err == ERR_NOT_FOUND || (!err && body.len != size))
        err = ERR_CORRUPT;
    if (!err) {
        reply->body.owner = rcbuf_copy(buf_view(&body));
        if (reply->body.owner)
            reply->body.bytes = SLICE(reply->body.owner->data, reply->body.owner->len);
        else
            err = ERR_NOMEM;
    }
    buf_fini(&body);
    return err;
}

int view_object_check(const struct index_view *view, uint64_t epoch, uint64_t bucket_id,
                      struct slice key)
{
    if (view->partition == ROOT_PARTITION || key.len == 0 || key.len > OBJECT_KEY_BYTES_MAX)
        return ERR_INVAL;
    return epoch == view->epoch && range_contains(SLICE(view->start, view->start_bytes),
                                                  SLICE(view->end, view->end_bytes), bucket_id, key)
               ? OK
               : ERR_EPOCH;
}

int view_bucket_check(const struct index_view *view, uint64_t epoch, uint64_t bucket_id)
{
    if (view->partition == ROOT_PARTITION)
        return ERR_INVAL;
    return epoch == view->epoch &&
                   range_overlaps_bucket(SLICE(view->start, view->start_bytes),
                                         SLICE(view->end, view->end_bytes), bucket_id)
               ? OK
               : ERR_EPOCH;
}

/* ---- records ---- */

static int read_object_body(const struct index_view *view, const Cairn__RecordKey *k,
                            struct slice value, struct index_reply *ret)
{
    struct cursor c = cursor_of(value);
    struct wire_field f;
    uint64_t version = 0, size = 0, kind = CAIRN__DATA_KIND__DATA_INLINE;
    bool sealed = false;
    while (wire_next(&c, &f) && f.number <= OBJECT_ENCRYPTION) {
        version = f.number == OBJECT_VERSION ? f.value : version;
        size = f.number == OBJECT_SIZE ? f.value : size;
        kind = f.number == OBJECT_KIND ? f.value : kind;
        sealed |= f.number == OBJECT_ENCRYPTION;
    }
    if (c.failed)
        return ERR_CORRUPT;
    if (kind != CAIRN__DATA_KIND__DATA_INLINE)
        return OK;
    size = sealed ? sealed_bytes(size) : size;
    struct key key;
    key_object_body(&key, view->partition, k->bucket_id, bytes_of(k->key), version);
    return reply_body(view, &key, size, ret);
}

static int root_check(const struct index_view *view, const Cairn__ReadRequest *req,
                      const Cairn__RecordKey *k)
{
    if (view->partition != ROOT_PARTITION || k->key.len == 0 || k->key.len > OBJECT_KEY_BYTES_MAX)
        return ERR_INVAL;
    return req->epoch == view->epoch ? OK : ERR_EPOCH;
}

static int record_key(const struct index_view *view, const Cairn__ReadRequest *req,
                      const Cairn__RecordKey *k, struct key *ret)
{
    static const enum index_table tables[] = {
        [CAIRN__RECORD_KIND__RECORD_BUCKET] = TABLE_BUCKET,
        [CAIRN__RECORD_KIND__RECORD_ACCESS_KEY] = TABLE_ACCESS_KEY,
        [CAIRN__RECORD_KIND__RECORD_USER] = TABLE_USER,
    };
    if (k->kind == CAIRN__RECORD_KIND__RECORD_OBJECT) {
        int err = view_object_check(view, req->epoch, k->bucket_id, bytes_of(k->key));
        if (!err)
            key_object(ret, view->partition, k->bucket_id, bytes_of(k->key));
        return err;
    }
    if ((unsigned)k->kind >= ARRAY_COUNT(tables))
        return ERR_INVAL;
    int err = root_check(view, req, k);
    if (!err)
        key_table(ret, view->partition, tables[k->kind], bytes_of(k->key));
    return err;
}

int version_scan(struct slice value, struct version_fields *ret)
{
    struct cursor c = cursor_of(value);
    struct wire_field f;
    *ret = (struct version_fields){0};
    while (wire_next(&c, &f)) {
        if (f.number == OBJECT_VERSION)
            ret->version = f.value;
        else if (f.number == OBJECT_VERSIONED)
            ret->versioned = f.value;
        else if (f.number == OBJECT_NULL_AT)
            ret->null_at = f.value;
    }
    return c.failed ? ERR_CORRUPT : OK;
}

int view_get_version(const struct index_view *view, uint64_t bucket_id, struct slice key,
                     uint64_t named, struct buf *ret)
{
    struct key row;
    struct version_fields f;
    bool is_null = named == VERSION_NULL;
    key_object(&row, view->partition, bucket_id, key);
    int err = view_get(view, &row, ret);
    if (!err)
        err = version_scan(buf_view(ret), &f);
    if (err)
        return err;
    if (is_null ? !f.versioned : f.version == named)
        return is_null || f.versioned ? OK : ERR_NOT_FOUND;
    uint64_t older = is_null ? f.null_at : named;
    if (older == VERSION_NONE)
        return ERR_NOT_FOUND;
    key_object_older(&row, view->partition, bucket_id, key, older);
    err = view_get(view, &row, ret);
    if (!err)
        err = version_scan(buf_view(ret), &f);
    return err ? err : (f.versioned != 0) == is_null ? ERR_NOT_FOUND : OK;
}

/* Appends one Record{present, <kind>: value} to ret->packed. */
static void append_record(struct index_reply *ret, Cairn__RecordKind kind, bool present,
                          struct slice value)
{
    enum { RECORD_PRESENT = 1, RECORD_FIRST_KIND = 2 };
    uint8_t head[2 * WIRE_VARINT_BYTES_MAX];
    uint8_t *p = present ? wire_put_uint(head, RECORD_PRESENT, 1) : head;
    *p++ = (uint8_t)((RECORD_FIRST_KIND + (unsigned)kind) << 3 | WIRE_BYTES);
    p = wire_put_varint(p, value.len);
    buf_u8(&ret->packed, READ_RESPONSE_RECORDS << 3 | WIRE_BYTES);
    wire_append_varint(&ret->packed, (size_t)(p - head) + value.len);
    buf_append(&ret->packed, head, (size_t)(p - head));
    buf_slice(&ret->packed, value);
}

/* An absent one says whose it would be. */
static int read_principal(const struct index_view *view, const Cairn__ReadRequest *req,
                          const Cairn__RecordKey *k, struct buf *value, struct index_reply *ret)
{
    bool present;
    int err = root_check(view, req, k);
    if (!err)
        err = principal_find(view, bytes_of(k->key), &present, value);
    if (!err)
        append_record(ret, k->kind, present, buf_view(value));
    return err;
}

static int read_record(const struct index_view *view, const Cairn__ReadRequest *req,
                       const Cairn__RecordKey *k, struct buf *value, struct index_reply *ret)
{
    struct key key;
    if (k->kind == CAIRN__RECORD_KIND__RECORD_PRINCIPAL)
        return read_principal(view, req, k, value, ret);
    int err = record_key(view, req, k, &key);
    if (err)
        return err;
    err = k->kind == CAIRN__RECORD_KIND__RECORD_OBJECT && k->version
              ? view_get_version(view, k->bucket_id, bytes_of(k->key), k->version, value)
              : view_get(view, &key, value);
    if (err == ERR_NOT_FOUND) {
        wire_append_bytes(&ret->packed, READ_RESPONSE_RECORDS, SLICE_EMPTY);
        return OK;
    }
    if (err)
        return err;
    append_record(ret, k->kind, true, buf_view(value));
    if (k->want_body && k->kind == CAIRN__RECORD_KIND__RECORD_OBJECT)
        return read_object_body(view, k, buf_view(value), ret);
    return OK;
}

int index_read(const struct index_view *view, const Cairn__ReadRequest *req,
               struct index_reply *ret)
{
    ret->msg.read = (Cairn__ReadResponse)CAIRN__READ_RESPONSE__INIT;
    ret->msg.read.as_of = view->applied;
    if (req->n_keys > READ_KEYS_MAX)
        return ERR_INVAL;
    size_t bodies = 0;
    for (size_t i = 0; i < req->n_keys; i++)
        bodies += req->keys[i]->want_body != 0;
    if (bodies > 1)
        return ERR_INVAL;
    struct buf value = {0};
    int err = OK;
    for (size_t i = 0; i < req->n_keys && !err; i++)
        err = read_record(view, req, req->keys[i], &value, ret);
    buf_fini(&value);
    if (!err && ret->packed.failed)
        err = ERR_NOMEM;
    if (!err)
        reply_rows(ret, 0, READ_RESPONSE_RECORDS, &ret->packed);
    return err;
}

/* ---- the cluster's map ---- */

static int map_table(const struct index_view *view, enum index_table table, unsigned number,
                     struct buf *packed)
{
    struct key lower, upper;
    key_table(&lower, view->partition, table, SLICE_EMPTY);
    upper = lower;
    key_successor(&upper);
    struct kv_iter *it = view_iter(view, &lower, &upper);
    if (!it)
        return ERR_NOMEM;
    for (; it->ops->valid(it); it->ops->next(it))
        wire_append_bytes(packed, number, it->ops->value(it));
    int err = it->ops->error(it);
    it->ops->free(it);
    return err;
}

static int map_cluster(const struct index_view *view, struct buf *packed)
{
    struct key key;
    struct buf value = {0};
    key_table(&key, view->partition, TABLE_CLUSTER, SLICE_EMPTY);
    int err = view_get(view, &key, &value);
    struct cursor c = cursor_of(buf_view(&value));
    struct wire_field f;
    while (!err && wire_next(&c, &f)) {
        if (f.number == 1 && f.type == WIRE_BYTES) /* ClusterRecord.cluster_id */
            wire_append_bytes(packed, MAP_CLUSTER_ID, f.bytes);
        if (f.number == 2 && f.type == WIRE_VARINT) { /* ClusterRecord.created_ms */
            buf_u8(packed, MAP_CREATED_MS << 3 | WIRE_VARINT);
            wire_append_varint(packed, f.value);
        }
    }
    buf_fini(&value);
    return err == ERR_NOT_FOUND ? ERR_NOT_READY : err;
}

int index_cluster_map(const struct index_view *view, Cairn__ClusterMap **ret)
{
    if (view->partition != ROOT_PARTITION)
        return ERR_INVAL;
    struct buf packed = {0};
    struct heap_alloc heap;
    heap_alloc_init(&heap);
    buf_u8(&packed, MAP_VERSION << 3 | WIRE_VARINT);
    wire_append_varint(&packed, view->applied);
    int err = map_cluster(view, &packed);
    if (!err)
        err = map_table(view, TABLE_NODE, MAP_NODES, &packed);
    if (!err)
        err = map_table(view, TABLE_PARTITION, MAP_PARTITIONS, &packed);
    if (!err)
        err = map_table(view, TABLE_PG, MAP_PGS, &packed);
    if (!err && packed.failed)
        err = ERR_NOMEM;
    if (!err) {
        Cairn__ClusterMap *map =
            cairn__cluster_map__unpack(&heap.allocator, packed.len, packed.ptr);
        if (map)
            *ret = map;
        else
            err = heap.failed ? ERR_NOMEM : ERR_CORRUPT;
    }
    buf_fini(&packed);
    return err;
}
