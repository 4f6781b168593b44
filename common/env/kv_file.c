/* Exported ranges as files; the format is in kv_file.h. */
#include "common/env/kv_file.h"

#include "common/base/cursor.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/env/kv.h"

#define MAGIC "CAKV\0\1"
#define MAGIC_BYTES 6
#define TRAILER_BYTES 12 /* count and its checksum, after the length 0 */

void kv_file_begin(struct kv_file_writer *w, struct buf *out)
{
    *w = (struct kv_file_writer){.out = out};
    buf_append(out, MAGIC, MAGIC_BYTES);
}

static void end_block(struct kv_file_writer *w)
{
    if (w->block.len == 0)
        return;
    buf_be32(w->out, (uint32_t)w->block.len);
    buf_be32(w->out, crc32c(0, buf_view(&w->block)));
    buf_slice(w->out, buf_view(&w->block));
    buf_clear(&w->block);
}

int kv_file_add(struct kv_file_writer *w, struct slice key, struct slice value)
{
    if (key.len > KV_KEY_BYTES_MAX ||
        value.len > KV_FILE_BLOCK_BYTES_MAX - KV_FILE_BLOCK_BYTES - KV_KEY_BYTES_MAX - 8)
        return ERR_TOO_LARGE;
    buf_be32(&w->block, (uint32_t)key.len);
    buf_be32(&w->block, (uint32_t)value.len);
    buf_slice(&w->block, key);
    buf_slice(&w->block, value);
    w->count++;
    if (w->block.failed)
        return ERR_NOMEM;
    if (w->block.len >= KV_FILE_BLOCK_BYTES)
        end_block(w);
    return w->out->failed ? ERR_NOMEM : OK;
}

int kv_file_end(struct kv_file_writer *w)
{
    bool failed = w->block.failed;
    end_block(w);
    struct buf trailer = {0};
    buf_be32(&trailer, 0);
    buf_be64(&trailer, w->count);
    buf_be32(&trailer, crc32c(0, buf_view(&trailer)));
    buf_slice(w->out, buf_view(&trailer));
    failed = failed || trailer.failed || w->out->failed;
    buf_fini(&trailer);
    buf_fini(&w->block);
    return failed ? ERR_NOMEM : OK;
}

/* Exactly len bytes: a file that ends earlier was cut. */
static int read_exact(struct kv_file_reader *r, uint8_t *to, size_t len)
{
    while (len > 0) {
        size_t got = 0;
        int err = r->read(r->arg, to, len, &got);
        if (err != OK)
            return err;
        if (got == 0 || got > len)
            return ERR_CORRUPT;
        to += got;
        len -= got;
    }
    return OK;
}

static int read_trailer(struct kv_file_reader *r)
{
    uint8_t bytes[4 + TRAILER_BYTES] = {0}; /* the length 0 has been read: it is part of the sum */
    uint8_t more;
    size_t got = 0;
    int err = read_exact(r, bytes + 4, TRAILER_BYTES);
    if (err != OK)
        return err;
    struct cursor c = cursor_of(SLICE(bytes + 4, TRAILER_BYTES));
    uint64_t count = cursor_be64(&c);
    if (cursor_be32(&c) != crc32c(0, SLICE(bytes, 12)) || count != r->count)
        return ERR_CORRUPT;
    err = r->read(r->arg, &more, 1, &got);
    if (err != OK)
        return err;
    r->ended = true;
    return got ? ERR_CORRUPT : ERR_END;
}

/* Loads the next block; ERR_END at a proper end. */
static int read_block(struct kv_file_reader *r)
{
    uint8_t head[8];
    if (!r->begun) {
        int err = read_exact(r, head, MAGIC_BYTES);
        if (err != OK)
            return err;
        if (memcmp(head, MAGIC, MAGIC_BYTES) != 0)
            return ERR_CORRUPT;
        r->begun = true;
    }
    int err = read_exact(r, head, 4);
    if (err != OK)
        return err;
    struct cursor c = cursor_of(SLICE(head, 4));
    uint32_t len = cursor_be32(&c);
    if (len == 0)
        return read_trailer(r);
    if (len > KV_FILE_BLOCK_BYTES_MAX)
        return ERR_CORRUPT;
    err = read_exact(r, head + 4, 4);
    if (err != OK)
        return err;
    buf_clear(&r->block);
    r->pos = 0;
    if (buf_reserve(&r->block, len) != OK)
        return ERR_NOMEM;
    err = read_exact(r, r->block.ptr, len);
    if (err != OK)
        return err;
    r->block.len = len;
    c = cursor_of(SLICE(head + 4, 4));
    return cursor_be32(&c) == crc32c(0, buf_view(&r->block)) ? OK : ERR_CORRUPT;
}

int kv_file_next(struct kv_file_reader *r, struct slice *ret_key, struct slice *ret_value)
{
    if (r->ended)
        return ERR_END;
    if (r->pos == r->block.len) {
        int err = read_block(r);
        if (err != OK)
            return err;
    }
    struct cursor c = cursor_of(SLICE(r->block.ptr + r->pos, r->block.len - r->pos));
    uint32_t key_len = cursor_be32(&c), value_len = cursor_be32(&c);
    struct slice key = cursor_bytes(&c, key_len), value = cursor_bytes(&c, value_len);
    if (c.failed || key.len > KV_KEY_BYTES_MAX || slice_cmp(key, r->lower) < 0 ||
        (r->upper.len && slice_cmp(key, r->upper) >= 0) ||
        (r->count > 0 && slice_cmp(key, buf_view(&r->last_key)) <= 0))
        return ERR_CORRUPT;
    r->pos = r->block.len - cursor_left(&c);
    r->count++;
    buf_clear(&r->last_key);
    buf_slice(&r->last_key, key);
    if (r->last_key.failed)
        return ERR_NOMEM;
    *ret_key = key;
    *ret_value = value;
    return OK;
}

void kv_file_reader_fini(struct kv_file_reader *r)
{
    buf_fini(&r->block);
    buf_fini(&r->last_key);
}
