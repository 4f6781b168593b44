/* Reading rows of the registry, and what an earlier release left in its place (registry.h). */
#include "metanode/index/registry.h"

#include "metanode/index/wire.h"
#include "proto/registry.h"

enum { ROW_VALUE = 4 }; /* field number */

/* ---- what an earlier release left ---- */

static char *text(const char *s)
{
    return (char *)(uintptr_t)s;
}

/* Takes the value: packs it into a row. */
static int founded_add(struct founded *f, uint32_t partition, uint16_t kind, const char *scope,
                       const char *name, struct slice value)
{
    Cairn__Row row = CAIRN__ROW__INIT;
    if (f->count == FOUNDED_MAX || !check_text(name, 1, INDEX_ROW_NAME_BYTES_MAX))
        return OK; /* no release has made such a thing; it grants nothing */
    struct founded_row *r = &f->rows[f->count];
    key_registry(&r->key, partition, kind, slice_cstr(scope), slice_cstr(name));
    row.kind = kind;
    row.scope = text(scope);
    row.name = text(name);
    row.value = (ProtobufCBinaryData){value.len, (uint8_t *)(uintptr_t)value.ptr};
    row.version = FOUNDED_VERSION;
    if (buf_reserve(&r->row, cairn__row__get_packed_size(&row)) != OK)
        return ERR_NOMEM;
    r->row.len = cairn__row__pack(&row, r->row.ptr);
    f->count++;
    return OK;
}

static int founded_add_message(struct founded *f, uint32_t partition, uint16_t kind,
                               const char *name, const ProtobufCMessage *value)
{
    struct buf packed = {0};
    int err = buf_reserve(&packed, protobuf_c_message_get_packed_size(value) + 1);
    if (!err) {
        packed.len = protobuf_c_message_pack(value, packed.ptr);
        err = founded_add(f, partition, kind, "", name, buf_view(&packed));
    }
    buf_fini(&packed);
    return err;
}

static int founded_user(struct founded *f, uint32_t partition, uint16_t kind,
                        const Cairn__UserRecord *user)
{
    if (!user->is_root)
        return OK;
    if (kind == CAIRN__ROW_KIND__ROW_ACCOUNT) {
        Cairn__AccountRow account = CAIRN__ACCOUNT_ROW__INIT;
        account.account_id = text(OPERATOR_ACCOUNT);
        account.canonical_id = user->user_id;
        account.name = account.display_name = user->name;
        account.created_ms = user->created_ms;
        return founded_add_message(f, partition, kind, OPERATOR_ACCOUNT, &account.base);
    }
    int err = founded_add(f, partition, kind, ACCOUNT_CANONICAL_IDS, user->user_id,
                          SLICE_LIT(OPERATOR_ACCOUNT));
    return err ? err
               : founded_add(f, partition, kind, ACCOUNT_NAMES, user->name,
                             SLICE_LIT(OPERATOR_ACCOUNT));
}

static int founded_key(struct founded *f, uint32_t partition, uint16_t kind,
                       const Cairn__AccessKeyRecord *old)
{
    Cairn__AccessKeyRow key = CAIRN__ACCESS_KEY_ROW__INIT;
    if (!old->is_root)
        return OK;
    key.access_key_id = old->access_key_id;
    key.secret = old->secret;
    key.account_id = text(OPERATOR_ACCOUNT);
    key.enabled = old->enabled;
    key.created_ms = old->created_ms;
    return founded_add_message(f, partition, kind, old->access_key_id, &key.base);
}

/* One old row: decoded, and added as what it stands for. */
static int founded_take(struct founded *f, uint32_t partition, uint16_t kind, struct slice value)
{
    struct heap_alloc heap;
    heap_alloc_init(&heap);
    bool is_key = kind == CAIRN__ROW_KIND__ROW_ACCESS_KEY;
    ProtobufCMessage *m = protobuf_c_message_unpack(is_key ? &cairn__access_key_record__descriptor
                                                           : &cairn__user_record__descriptor,
                                                    &heap.allocator, value.len, value.ptr);
    if (!m)
        return heap.failed ? ERR_NOMEM : ERR_CORRUPT;
    int err = is_key ? founded_key(f, partition, kind, (const Cairn__AccessKeyRecord *)(void *)m)
                     : founded_user(f, partition, kind, (const Cairn__UserRecord *)(void *)m);
    protobuf_c_message_free_unpacked(m, NULL);
    return err;
}

int founded_list(struct kv *kv, const struct kv_snapshot *snap, uint32_t partition, uint16_t kind,
                 struct founded *ret)
{
    struct key lower, upper;
    if (kind != CAIRN__ROW_KIND__ROW_ACCOUNT && kind != CAIRN__ROW_KIND__ROW_ACCOUNT_NAME &&
        kind != CAIRN__ROW_KIND__ROW_ACCESS_KEY)
        return OK;
    key_start(&lower, partition,
              kind == CAIRN__ROW_KIND__ROW_ACCESS_KEY ? TABLE_ACCESS_KEY : TABLE_USER);
    upper = lower;
    key_successor(&upper);
    struct kv_iter *it = kv->ops->iter_new(kv, snap, KV_INDEX, key_view(&lower), key_view(&upper));
    if (!it)
        return ERR_NOMEM;
    int err = OK;
    for (it->ops->seek(it, SLICE_EMPTY); !err && it->ops->valid(it); it->ops->next(it))
        err = founded_take(ret, partition, kind, it->ops->value(it));
    if (!err)
        err = it->ops->error(it);
    it->ops->free(it);
    return err;
}

void founded_fini(struct founded *f)
{
    for (size_t i = 0; i < f->count; i++)
        buf_fini(&f->rows[i].row);
    f->count = 0;
}

static int founded_get(struct kv *kv, const struct kv_snapshot *snap, uint32_t partition,
                       uint16_t kind, const struct key *key, struct buf *ret)
{
    struct founded f = {0};
    int err = founded_list(kv, snap, partition, kind, &f);
    if (!err)
        err = ERR_NOT_FOUND;
    for (size_t i = 0; err == ERR_NOT_FOUND && i < f.count; i++) {
        if (!slice_eq(key_view(&f.rows[i].key), key_view(key)))
            continue;
        buf_clear(ret);
        buf_slice(ret, buf_view(&f.rows[i].row));
        err = ret->failed ? ERR_NOMEM : OK;
    }
    founded_fini(&f);
    return err;
}

/* ---- rows ---- */

int registry_get(struct kv *kv, const struct kv_snapshot *snap, uint32_t partition, uint16_t kind,
                 struct slice scope, struct slice name, struct buf *ret)
{
    struct key key;
    struct slice ignored;
    key_registry(&key, partition, kind, scope, name);
    int err = kv_get_scratch(kv, snap, &key, ret, &ignored);
    return err == ERR_NOT_FOUND ? founded_get(kv, snap, partition, kind, &key, ret) : err;
}

int registry_value(struct kv *kv, const struct kv_snapshot *snap, uint32_t partition, uint16_t kind,
                   struct slice scope, struct slice name, struct buf *scratch, struct slice *ret)
{
    struct wire_field f;
    int err = registry_get(kv, snap, partition, kind, scope, name, scratch);
    if (err)
        return err;
    struct cursor c = cursor_of(buf_view(scratch));
    *ret = SLICE_EMPTY;
    while (wire_next(&c, &f))
        if (f.number == ROW_VALUE && f.type == WIRE_BYTES)
            *ret = f.bytes;
    return c.failed ? ERR_CORRUPT : OK;
}
