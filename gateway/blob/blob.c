/* The blob client's life, and segments being filled. */
#include "gateway/blob/blob.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "gateway/blob/internal.h"

#include <stdlib.h>

int blob_client_new(struct env *env, struct rpc *rpc, struct meta_client *mc,
                    const struct blob_config *config, struct blob_client **ret)
{
    struct blob_client *bc = calloc(1, sizeof(*bc));
    if (!bc)
        return ERR_NOMEM;
    bc->env = env;
    bc->rpc = rpc;
    bc->mc = mc;
    bc->config = *config;
    struct blob_config *c = &bc->config;
    c->write_attempt_ms = c->write_attempt_ms ? c->write_attempt_ms : 5000;
    c->straggler_ms = c->straggler_ms ? c->straggler_ms : 3000;
    c->read_attempt_ms = c->read_attempt_ms ? c->read_attempt_ms : 3000;
    c->hedge_min_ms = c->hedge_min_ms ? c->hedge_min_ms : 5;
    c->hedge_max_ms = c->hedge_max_ms ? c->hedge_max_ms : 1000;
    if (!c->replicate_bytes_max)
        c->replicate_bytes_max = REPLICATE_BYTES_MAX;
    c->zone = config->zone ? strdup(config->zone) : NULL;
    if (config->zone && !c->zone) {
        free(bc);
        return ERR_NOMEM;
    }
    bc->hedge_ns = 50 * NS_PER_MS;
    list_init(&bc->puts);
    list_init(&bc->gets);
    list_init(&bc->coded_gets);
    *ret = bc;
    return OK;
}

void blob_client_stop(struct blob_client *bc)
{
    if (bc->stopped)
        return;
    bc->stopped = true;
    puts_stop(bc);
    gets_stop(bc);
    coded_gets_stop(bc);
}

bool blob_client_idle(const struct blob_client *bc)
{
    return bc->outstanding == 0;
}

void blob_client_free(struct blob_client *bc)
{
    if (!bc)
        return;
    CHECK(bc->outstanding == 0 && list_empty(&bc->puts) && list_empty(&bc->gets) &&
          list_empty(&bc->coded_gets));
    for (size_t i = 0; i < bc->code_count; i++)
        free(bc->codes[i]);
    free(bc->codes);
    for (size_t i = 0; i < bc->node_count; i++)
        free(bc->nodes[i]);
    free(bc->nodes);
    free(bc->zones);
    free(bc->pgs);
    free((char *)(uintptr_t)bc->config.zone);
    free(bc);
}

const struct blob_stats *blob_client_stats(const struct blob_client *bc)
{
    return &bc->stats;
}

/* ---- segments ---- */

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
