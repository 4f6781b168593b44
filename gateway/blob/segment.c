/* Segments being filled; see blob.h. */
#include "common/base/check.h"
#include "common/base/hash.h"
#include "gateway/blob/blob.h"

int blob_segment_init(struct blob_segment *s, struct budget *budget, size_t cap, size_t parity)
{
    const size_t caps[2] = {cap, parity};
    struct rcbuf *buffers[2] = {NULL, NULL};
    CHECK(cap > 0 && cap <= BLOB_BYTES_MAX && !s->buf);
    int err = budget_take_buffers(budget, parity ? 2 : 1, caps, buffers);
    if (err != OK)
        return err;
    s->buf = buffers[0];
    s->parity = buffers[1];
    s->budget = budget_ref(budget);
    return OK;
}

size_t blob_segment_append(struct blob_segment *s, struct slice bytes)
{
    size_t taken = MIN(bytes.len, s->buf->cap - s->buf->len), done = 0;
    while (done < taken) {
        size_t at = s->buf->len, block = at / BLOB_BLOCK_BYTES, in_block = at % BLOB_BLOCK_BYTES;
        size_t n = MIN(taken - done, BLOB_BLOCK_BYTES - in_block);
        struct slice piece = SLICE(bytes.ptr + done, n);
        s->crc[block] = crc32c(in_block ? s->crc[block] : 0, piece);
        memcpy(s->buf->data + at, piece.ptr, n);
        s->buf->len += n;
        done += n;
    }
    return taken;
}

uint32_t blob_segment_crc(const struct blob_segment *s)
{
    struct crc32c_shift shift;
    uint32_t crc = s->crc[0];
    size_t whole = s->buf->len / BLOB_BLOCK_BYTES, rest = s->buf->len % BLOB_BLOCK_BYTES;
    if (s->buf->len == 0)
        return 0;
    if (whole > 1)
        crc32c_shift_init(&shift, BLOB_BLOCK_BYTES);
    for (size_t i = 1; i < whole; i++)
        crc = crc32c_shift_combine(&shift, crc, s->crc[i]);
    return whole > 0 && rest > 0 ? crc32c_combine(crc, s->crc[whole], rest) : crc;
}

void blob_segment_fini(struct blob_segment *s)
{
    if (!s->buf)
        return;
    struct budget *budget = s->budget;
    struct rcbuf *buf = s->buf, *parity = s->parity;
    s->buf = s->parity = NULL;
    s->budget = NULL;
    budget_give_buffer(budget, &buf);
    if (parity)
        budget_give_buffer(budget, &parity);
    budget_unref(budget);
}
