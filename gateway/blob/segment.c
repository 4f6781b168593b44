/* Segments being filled; see blob.h. */
#include "common/base/check.h"
#include "common/base/hash.h"
#include "gateway/blob/blob.h"

int blob_segment_init(struct blob_segment *s, struct budget *budget, size_t cap, size_t parity)
{
    CHECK(cap > 0 && cap <= BLOB_BYTES_MAX && !s->buf);
    if (!budget_take(budget, cap + parity))
        return ERR_LIMIT;
    s->buf = budget_buffer(budget, cap);
    if (!s->buf) {
        budget_give(budget, cap + parity);
        return ERR_NOMEM;
    }
    s->parity_bytes = parity;
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

void blob_segment_wrote(struct blob_segment *s, size_t bytes)
{
    CHECK(bytes <= s->buf->cap - s->buf->len);
    while (bytes) {
        size_t at = s->buf->len, block = at / BLOB_BLOCK_BYTES, in_block = at % BLOB_BLOCK_BYTES;
        size_t n = MIN(bytes, BLOB_BLOCK_BYTES - in_block);
        s->crc[block] = crc32c(in_block ? s->crc[block] : 0, SLICE(s->buf->data + at, n));
        s->buf->len += n;
        bytes -= n;
    }
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
    size_t unused = s->parity_bytes - (parity ? parity->cap : 0);
    s->buf = s->parity = NULL;
    s->parity_bytes = 0;
    s->budget = NULL;
    budget_give_buffer(budget, &buf);
    if (parity)
        budget_give_buffer(budget, &parity);
    if (unused)
        budget_give(budget, unused);
    budget_unref(budget);
}
