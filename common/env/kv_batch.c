/* Batches of changes for a key-value store: one buffer of operations, each
 *     kind u8, family u8, be32 key length, be32 value length, key, value
 * The buffer never leaves the process, but it is read through the cursor all the same. */
#include "common/base/check.h"
#include "common/base/cursor.h"
#include "common/base/err.h"
#include "common/env/kv.h"

#include <stdlib.h>

#define OP_HEADER_BYTES 10

struct kv_batch {
    struct buf ops;
    size_t count;
    bool deletes_ranges;
    int err; /* the first thing that went wrong while it was built */
};

struct kv_batch *kv_batch_new(void)
{
    return calloc(1, sizeof(struct kv_batch));
}

void kv_batch_free(struct kv_batch *b)
{
    if (!b)
        return;
    buf_fini(&b->ops);
    free(b);
}

static void append_op(struct kv_batch *b, enum kv_op_kind kind, enum kv_family family,
                      struct slice key, struct slice v1, struct slice v2)
{
    CHECK(family == KV_INDEX || family == KV_BODY);
    if (b->err != OK)
        return;
    if (key.len > KV_KEY_BYTES_MAX || v1.len > UINT32_MAX - v2.len) {
        b->err = ERR_INVAL;
        return;
    }
    if (buf_reserve(&b->ops, OP_HEADER_BYTES + key.len + v1.len + v2.len) != OK) {
        b->err = ERR_NOMEM;
        return;
    }
    buf_u8(&b->ops, (uint8_t)kind);
    buf_u8(&b->ops, (uint8_t)family);
    buf_be32(&b->ops, (uint32_t)key.len);
    buf_be32(&b->ops, (uint32_t)(v1.len + v2.len));
    buf_slice(&b->ops, key);
    buf_slice(&b->ops, v1);
    buf_slice(&b->ops, v2);
    b->count++;
}

void kv_batch_put(struct kv_batch *b, enum kv_family family, struct slice key, struct slice value)
{
    append_op(b, KV_OP_PUT, family, key, value, SLICE_EMPTY);
}

void kv_batch_put2(struct kv_batch *b, enum kv_family family, struct slice key, struct slice v1,
                   struct slice v2)
{
    append_op(b, KV_OP_PUT, family, key, v1, v2);
}

void kv_batch_delete(struct kv_batch *b, enum kv_family family, struct slice key)
{
    append_op(b, KV_OP_DELETE, family, key, SLICE_EMPTY, SLICE_EMPTY);
}

void kv_batch_delete_range(struct kv_batch *b, enum kv_family family, struct slice lower,
                           struct slice upper)
{
    if (upper.len > KV_KEY_BYTES_MAX && b->err == OK)
        b->err = ERR_INVAL;
    /* Stores may refuse a range turned around; an empty one changes nothing. */
    if (upper.len && slice_cmp(lower, upper) >= 0)
        return;
    b->deletes_ranges = true;
    append_op(b, KV_OP_DELETE_RANGE, family, lower, upper, SLICE_EMPTY);
}

int kv_batch_error(const struct kv_batch *b)
{
    return b->err;
}

size_t kv_batch_bytes(const struct kv_batch *b)
{
    return b->ops.len;
}

size_t kv_batch_count(const struct kv_batch *b)
{
    return b->count;
}

bool kv_batch_deletes_ranges(const struct kv_batch *b)
{
    return b->deletes_ranges;
}

bool kv_batch_next(const struct kv_batch *b, size_t *pos, struct kv_op *ret)
{
    CHECK(*pos <= b->ops.len);
    if (*pos == b->ops.len)
        return false;
    struct cursor c = cursor_of(SLICE(b->ops.ptr + *pos, b->ops.len - *pos));
    ret->kind = (enum kv_op_kind)cursor_u8(&c);
    ret->family = (enum kv_family)cursor_u8(&c);
    uint32_t key_len = cursor_be32(&c);
    uint32_t value_len = cursor_be32(&c);
    ret->key = cursor_bytes(&c, key_len);
    ret->value = cursor_bytes(&c, value_len);
    CHECK(!c.failed);
    *pos = b->ops.len - cursor_left(&c);
    return true;
}
