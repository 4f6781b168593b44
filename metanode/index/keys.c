/* Row keys that compare as what they stand for. */
#include "metanode/index/keys.h"

#include "common/base/check.h"
#include "common/base/err.h"

enum { ESCAPE = 0x00, ESCAPED_ZERO = 0xFF, ESCAPED_END = 0x01 };

void key_bytes(struct key *k, struct slice raw)
{
    CHECK(raw.len <= sizeof(k->bytes) - k->len);
    if (raw.len)
        memcpy(k->bytes + k->len, raw.ptr, raw.len);
    k->len += raw.len;
}

static void key_be(struct key *k, uint64_t v, unsigned bytes)
{
    CHECK(bytes <= sizeof(k->bytes) - k->len);
    for (unsigned i = 0; i < bytes; i++)
        k->bytes[k->len + i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
    k->len += bytes;
}

void key_be16(struct key *k, uint16_t v)
{
    key_be(k, v, 2);
}

void key_be32(struct key *k, uint32_t v)
{
    key_be(k, v, 4);
}

void key_be64(struct key *k, uint64_t v)
{
    key_be(k, v, 8);
}

void key_start(struct key *k, uint32_t partition, enum index_table table)
{
    k->len = 0;
    key_be(k, partition, 4);
    key_be(k, table, 1);
}

void key_escaped(struct key *k, struct slice raw)
{
    while (raw.len) {
        const uint8_t *zero = memchr(raw.ptr, ESCAPE, raw.len);
        size_t plain = zero ? (size_t)(zero - raw.ptr) : raw.len;
        key_bytes(k, SLICE(raw.ptr, plain));
        if (!zero)
            return;
        key_be(k, ESCAPE << 8 | ESCAPED_ZERO, 2);
        raw = SLICE(zero + 1, raw.len - plain - 1);
    }
}

void key_end(struct key *k)
{
    key_be(k, ESCAPE << 8 | ESCAPED_END, 2);
}

void key_successor(struct key *k)
{
    while (k->len && k->bytes[k->len - 1] == 0xFF)
        k->len--;
    /* The table byte is below 0xFF, so that this never reaches beyond the partition. */
    CHECK(k->len >= KEY_PREFIX_BYTES);
    k->bytes[k->len - 1]++;
}

void key_table(struct key *k, uint32_t partition, enum index_table table, struct slice raw)
{
    key_start(k, partition, table);
    key_bytes(k, raw);
}

void key_table_be64(struct key *k, uint32_t partition, enum index_table table, uint64_t v)
{
    key_start(k, partition, table);
    key_be64(k, v);
}

void key_object_base(struct key *k, uint32_t partition, enum index_table table, uint64_t bucket_id,
                     struct slice object_key)
{
    CHECK(object_key.len <= OBJECT_KEY_BYTES_MAX);
    key_start(k, partition, table);
    key_be64(k, bucket_id);
    key_escaped(k, object_key);
    key_end(k);
}

void key_object(struct key *k, uint32_t partition, uint64_t bucket_id, struct slice object_key)
{
    key_object_base(k, partition, TABLE_OBJECT, bucket_id, object_key);
    key_be64(k, OBJECT_SUFFIX_CURRENT);
}

void key_object_older(struct key *k, uint32_t partition, uint64_t bucket_id,
                      struct slice object_key, uint64_t version)
{
    CHECK(~version != OBJECT_SUFFIX_CURRENT);
    key_object_base(k, partition, TABLE_OBJECT, bucket_id, object_key);
    key_be64(k, ~version);
}

void key_event(struct key *k, uint32_t partition, uint64_t bucket_id, uint64_t index, uint32_t n)
{
    CHECK(n <= UINT16_MAX);
    key_table_be64(k, partition, TABLE_EVENT, bucket_id);
    key_be64(k, index);
    key_be16(k, (uint16_t)n);
}

void key_interim_id(uint64_t older_version, uint8_t ret[ID_BYTES])
{
    memset(ret, 0, ID_BYTES);
    for (unsigned i = 0; i < 8; i++)
        ret[ID_BYTES - 1 - i] = (uint8_t)(older_version >> (8 * i));
}

void key_object_body(struct key *k, uint32_t partition, uint64_t bucket_id, struct slice object_key,
                     uint64_t version)
{
    key_object_base(k, partition, TABLE_OBJECT_BODY, bucket_id, object_key);
    key_be64(k, ~version);
}

void key_upload(struct key *k, uint32_t partition, enum index_table table, uint64_t bucket_id,
                struct slice object_key, struct slice upload_id)
{
    CHECK(upload_id.len == ID_BYTES);
    key_object_base(k, partition, table, bucket_id, object_key);
    key_bytes(k, upload_id);
}

void key_part(struct key *k, uint32_t partition, enum index_table table, uint64_t bucket_id,
              struct slice object_key, struct slice upload_id, uint32_t number)
{
    CHECK(number <= UINT16_MAX);
    key_upload(k, partition, table, bucket_id, object_key, upload_id);
    key_be16(k, (uint16_t)number);
}

void key_registry_kind(struct key *k, uint32_t partition, uint16_t kind)
{
    key_start(k, partition, TABLE_REGISTRY);
    key_be16(k, kind);
}

void key_registry_scope(struct key *k, uint32_t partition, uint16_t kind, struct slice scope)
{
    key_registry_kind(k, partition, kind);
    key_escaped(k, scope);
    key_end(k);
}

void key_registry(struct key *k, uint32_t partition, uint16_t kind, struct slice scope,
                  struct slice name)
{
    key_registry_scope(k, partition, kind, scope);
    key_escaped(k, name);
    key_end(k);
}

int key_decode(struct slice row_key, uint8_t *object_key, size_t *ret_object_key_bytes,
               struct slice *ret_rest)
{
    if (row_key.len < KEY_BUCKET_BYTES)
        return ERR_CORRUPT;
    const uint8_t *ptr = row_key.ptr + KEY_BUCKET_BYTES;
    const uint8_t *end = row_key.ptr + row_key.len;
    size_t bytes = 0;
    for (;;) {
        const uint8_t *zero = ptr < end ? memchr(ptr, ESCAPE, (size_t)(end - ptr)) : NULL;
        if (!zero || end - zero < 2)
            return ERR_CORRUPT;
        size_t plain = (size_t)(zero - ptr);
        bool is_end = zero[1] == ESCAPED_END;
        if ((!is_end && zero[1] != ESCAPED_ZERO) || plain + !is_end > OBJECT_KEY_BYTES_MAX - bytes)
            return ERR_CORRUPT;
        memcpy(object_key + bytes, ptr, plain);
        bytes += plain;
        ptr = zero + 2;
        if (is_end)
            break;
        object_key[bytes++] = 0;
    }
    *ret_object_key_bytes = bytes;
    *ret_rest = SLICE(ptr, (size_t)(end - ptr));
    return OK;
}
