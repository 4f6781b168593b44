/* Gets: whole blocks and the frame's head are read together or side by side, and checked before
 * anything leaves.  What fails the check is marked damaged in the index and answered with an error:
 * another replica has the bytes, and repair knows what to rebuild. */
#include "storagenode/op/store_impl.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/mutant.h"
#include "common/base/probe.h"

/* A range that starts this close behind the head is read together with it. */
#define READ_THROUGH_BYTES (2u * SHARD_BLOCK_BYTES)

static int get_verify(struct store_get *g, const struct extent_header *x, struct frame_head *h)
{
    const uint8_t *data = g->payload.bytes.ptr;
    int err = frame_head_decode(SLICE(g->buffer->data, FRAME_HEAD_BYTES), h);
    if (err)
        return ERR_CORRUPT;
    if (!frame_head_fits(h, x, g->frame_offset) || h->kind != FRAME_SHARD ||
        !id128_eq(h->info.blob_id, g->blob_id) || h->info.shard_index != g->shard_index ||
        h->data_bytes != g->shard_bytes)
        return ERR_CORRUPT;
    if (g->want_info) {
        g->info = h->info;
        g->info.block_crcs = NULL;
        g->info.owner.key =
            SLICE(g->buffer->data + FRAME_KEY_OFFSET, h->info.owner.key.len); /* not into *h */
    }
    uint32_t first = (uint32_t)(g->first_byte / SHARD_BLOCK_BYTES);
    for (uint32_t i = 0; i < g->block_count; i++) {
        size_t at = (size_t)i * SHARD_BLOCK_BYTES;
        size_t len = MIN(g->data_bytes - at, (size_t)SHARD_BLOCK_BYTES);
        g->block_crcs[i] = h->block_crcs[first + i];
        if (MUTANT(STORE_READ_UNCHECKED))
            continue;
        if (crc32c(0, SLICE(data + at, len)) != g->block_crcs[i])
            return ERR_CHECKSUM;
    }
    return OK;
}

static void get_finish(struct store_get *g)
{
    struct store *s = g->store;
    struct extent *x = alloc_find(&s->alloc, g->extent_id);
    struct frame_head h;
    int err = g->head_req.err ? g->head_req.err : g->data_req.err;
    if (!err)
        err = get_verify(g, &x->header, &h);
    else if (err == ERR_END)
        err = ERR_CORRUPT; /* the file is shorter than it was */
    if (err && err != ERR_NOMEM) {
        PROBE(READ_DAMAGED);
        struct store_damage damage = {.blob_id = g->blob_id,
                                      .shard_index = g->shard_index,
                                      .extent_id = g->extent_id,
                                      .offset = g->frame_offset,
                                      .err = err};
        index_damaged(s, &damage, false);
    }
    x->readers--;
    s->reads_under_way--;
    s->read_bytes -= g->bytes_reserved;
    list_remove(&g->node);
    if (err) {
        rcbuf_unref(g->buffer);
        g->payload = (struct payload){0};
        s->stats.get_errors++;
    } else {
        s->stats.gets++;
        s->stats.get_bytes += g->payload.bytes.len;
    }
    g->buffer = NULL;
    g->err = err;
    store_wake(s);
    g->cb(g);
}

static void on_head(struct disk_req *req)
{
    struct store_get *g = container_of(req, struct store_get, head_req);
    if (--g->reads_left == 0)
        get_finish(g);
}

static void on_data(struct disk_req *req)
{
    struct store_get *g = container_of(req, struct store_get, data_req);
    if (--g->reads_left == 0)
        get_finish(g);
}

static void get_read(struct store_get *g, struct extent *x, uint64_t skipped)
{
    struct store *s = g->store;
    bool together = skipped == 0;
    uint64_t data_at = g->frame_offset + FRAME_HEAD_BYTES + g->first_byte;
    g->head_req = (struct disk_req){.kind = DISK_READ,
                                    .cb = on_head,
                                    .file = x->file,
                                    .offset = g->frame_offset,
                                    .buffer = g->buffer->data,
                                    .bytes = together ? g->buffer->cap : FRAME_HEAD_BYTES};
    g->data_req = (struct disk_req){.kind = DISK_READ,
                                    .cb = on_data,
                                    .file = x->file,
                                    .offset = data_at,
                                    .buffer = g->buffer->data + FRAME_HEAD_BYTES,
                                    .bytes = g->data_bytes};
    g->reads_left = together ? 1 : 2;
    disk_start(s->disk, &g->head_req);
    if (!together)
        disk_start(s->disk, &g->data_req);
}

/* Where the shard is.  OK; ERR_NOT_FOUND; ERR_CORRUPT. */
static int get_locate(struct store *s, struct store_get *g, struct extent **ret)
{
    struct blob_record r;
    int err = index_load(s, g->blob_id, &r);
    if (err)
        return err;
    struct shard_record *shard = blob_record_find(&r, g->shard_index);
    if (!shard)
        return ERR_NOT_FOUND;
    if (shard->damaged && !g->head_only) /* its head has a CRC of its own, and may be whole */
        return ERR_CORRUPT;
    struct extent *x = alloc_find(&s->alloc, shard->extent_id);
    if (!x || !x->file || x->header.generation != shard->generation)
        return ERR_CORRUPT;
    g->extent_id = shard->extent_id;
    g->generation = shard->generation;
    g->frame_offset = shard->offset;
    g->shard_bytes = shard->bytes;
    *ret = x;
    return OK;
}

int store_get_start(struct store *s, struct store_get *g)
{
    struct extent *x = NULL;
    if (s->state != STORE_UP && s->state != STORE_FAILED)
        return s->state == STORE_CLOSING || s->state == STORE_CLOSED ? ERR_SHUTDOWN : ERR_NOT_READY;
    int err = get_locate(s, g, &x);
    if (err)
        return err;
    if (g->offset >= g->shard_bytes)
        return ERR_INVAL;
    uint64_t left = g->shard_bytes - g->offset;
    uint64_t asked = g->head_only                           ? 0
                     : g->bytes == 0 || g->bytes > left ? left
                                                        : g->bytes;
    uint64_t first = g->offset / SHARD_BLOCK_BYTES * SHARD_BLOCK_BYTES;
    uint64_t end = (g->offset + asked + SHARD_BLOCK_BYTES - 1) / SHARD_BLOCK_BYTES * SHARD_BLOCK_BYTES;
    end = MIN(end, g->shard_bytes);
    uint64_t skipped = first > READ_THROUGH_BYTES ? first : 0;
    uint64_t through = skipped ? 0 : first; /* read with the rest, and not given away */
    uint64_t cap = FRAME_HEAD_BYTES + through + (end - first);
    if (s->read_bytes + cap > s->config.read_bytes_max)
        return ERR_OVERLOAD;
    g->buffer = rcbuf_new(cap);
    if (!g->buffer)
        return ERR_NOMEM;
    g->buffer->len = cap;
    g->store = s;
    g->first_byte = first;
    g->data_bytes = end - first;
    g->block_count = shard_blocks(g->data_bytes);
    g->bytes_reserved = cap;
    g->payload = (struct payload){
        g->buffer, SLICE(g->buffer->data + FRAME_HEAD_BYTES + through, g->data_bytes)};
    x->readers++;
    s->reads_under_way++;
    s->read_bytes += cap;
    list_push_back(&s->reads, &g->node);
    get_read(g, x, skipped);
    return OK;
}

void reads_abandon(struct store *s)
{
    while (!list_empty(&s->reads)) {
        struct store_get *g = container_of(list_pop_front(&s->reads), struct store_get, node);
        rcbuf_unref(g->buffer);
        g->buffer = NULL;
        g->payload = (struct payload){0};
    }
}
