/* See world.h. */
#include "tests/unit/gateway/blob/coded/world.h"
#include "common/base/hash.h"
#include "common/base/mutant.h"
#include "gateway/meta/meta_client.h"
#include "proto/methods.h"

#include <stdio.h>
#include <stdlib.h>

static struct world *world;

const Cairn__ClusterMap *meta_client_map(const struct meta_client *mc)
{
    (void)mc;
    return &world->map;
}

void meta_client_refresh(struct meta_client *mc)
{
    (void)mc;
    world->refreshes++;
    if (world->refresh_ends_change) {
        world->map.version++;
        world->pg[0].epoch = 7;
    }
}

/* ---- storage nodes ---- */

static void serve_put(struct node *n, struct fake_call *call)
{
    const Cairn__PutShardRequest *q = (const Cairn__PutShardRequest *)(void *)call->request;
    Cairn__PutShardResponse response = CAIRN__PUT_SHARD_RESPONSE__INIT;
    n->puts++;
    if (n->put_hangs)
        return;
    int err = n->put_err ? n->put_err : q->pg_epoch < n->epoch_min ? ERR_EPOCH : OK;
    if (err != OK) {
        fake_reply(call, err, NULL, (struct payload){0});
        return;
    }
    struct slice got = call->payload.bytes;
    assert_int_equal(q->bytes, got.len);
    assert_int_equal(q->n_block_crcs, (got.len + BLOB_BLOCK_BYTES - 1) / BLOB_BLOCK_BYTES);
    for (size_t i = 0; i < q->n_block_crcs; i++)
        assert_int_equal(q->block_crcs[i],
                         crc32c(0, SLICE(got.ptr + i * BLOB_BLOCK_BYTES,
                                         MIN(BLOB_BLOCK_BYTES, got.len - i * BLOB_BLOCK_BYTES))));
    CHECK(n->shard_count < SHARDS_MAX);
    struct shard *s = &n->shards[n->shard_count++];
    memcpy(s->blob_id, q->blob_id.data, ID_BYTES);
    s->index = q->shard_index;
    s->data_shards = q->data_shards;
    s->parity_shards = q->parity_shards;
    s->blob_bytes = q->blob_bytes;
    s->data = rcbuf_copy(got);
    memcpy(s->crc, q->block_crcs, q->n_block_crcs * sizeof(uint32_t));
    response.bytes_free = n->bytes_free;
    response.bytes_total = n->bytes_total;
    fake_reply(call, OK, &response.base, (struct payload){0});
}

static struct shard *shard_find(struct node *n, ProtobufCBinaryData id, unsigned index)
{
    for (unsigned i = 0; i < n->shard_count; i++)
        if (memcmp(n->shards[i].blob_id, id.data, ID_BYTES) == 0 && n->shards[i].index == index &&
            !n->shards[i].deleted)
            return &n->shards[i];
    return NULL;
}

static void serve_get(struct node *n, struct fake_call *call)
{
    const Cairn__GetShardRequest *q = (const Cairn__GetShardRequest *)(void *)call->request;
    Cairn__GetShardResponse r = CAIRN__GET_SHARD_RESPONSE__INIT;
    struct shard *s = n->lost ? NULL : shard_find(n, q->blob_id, q->shard_index);
    n->gets++;
    if (!s || q->offset + q->bytes > s->data->len) {
        fake_reply(call, ERR_NOT_FOUND, NULL, (struct payload){0});
        return;
    }
    size_t first = q->offset / BLOB_BLOCK_BYTES * BLOB_BLOCK_BYTES;
    size_t last =
        (q->offset + q->bytes + BLOB_BLOCK_BYTES - 1) / BLOB_BLOCK_BYTES * BLOB_BLOCK_BYTES;
    last = MIN(last, s->data->len);
    struct rcbuf *copy = rcbuf_copy(SLICE(s->data->data + first, last - first));
    if (n->damaged)
        copy->data[(q->offset - first) + q->bytes / 2] ^= 0x40;
    r.first_byte = first;
    r.shard_bytes = s->data->len;
    r.n_block_crcs = (last - first + BLOB_BLOCK_BYTES - 1) / BLOB_BLOCK_BYTES;
    r.block_crcs = s->crc + first / BLOB_BLOCK_BYTES;
    n->peer->latency_ns = n->get_delay_ns ? n->get_delay_ns : NS_PER_MS;
    fake_reply(call, OK, &r.base, (struct payload){copy, SLICE(copy->data, last - first)});
    n->peer->latency_ns = NS_PER_MS;
    rcbuf_unref(copy);
}

static void serve_delete(struct node *n, struct fake_call *call)
{
    const Cairn__DeleteShardsRequest *q = (const Cairn__DeleteShardsRequest *)(void *)call->request;
    Cairn__DeleteShardsResponse r = CAIRN__DELETE_SHARDS_RESPONSE__INIT;
    n->deletes++;
    for (unsigned i = 0; i < n->shard_count; i++)
        n->shards[i].deleted |= memcmp(n->shards[i].blob_id, q->blob_ids[0].data, ID_BYTES) == 0;
    fake_reply(call, OK, &r.base, (struct payload){0});
}

static void serve_mend(struct node *n, struct fake_call *call)
{
    const Cairn__MendRequest *q = (const Cairn__MendRequest *)(void *)call->request;
    Cairn__MendResponse r = CAIRN__MEND_RESPONSE__INIT;
    n->hints++;
    n->hinted = (unsigned)q->n_blob_ids;
    n->hinted_pg = q->pg;
    memcpy(n->hinted_id, q->blob_ids[0].data, ID_BYTES);
    if (!n->mend_hangs)
        fake_reply(call, n->mend_err, n->mend_err ? NULL : &r.base, (struct payload){0});
}

static void serve(void *arg, struct fake_call *call)
{
    if (call->method == &method_store_put)
        serve_put(arg, call);
    else if (call->method == &method_store_get)
        serve_get(arg, call);
    else if (call->method == &method_store_mend)
        serve_mend(arg, call);
    else
        serve_delete(arg, call);
}

/* ---- the world ---- */

void group_add(struct world *w, unsigned data, unsigned parity, unsigned first)
{
    size_t i = w->map.n_pgs++;
    CHECK(i < GROUPS_MAX);
    Cairn__PlacementGroup *g = w->pgs[i] = &w->pg[i];
    cairn__placement_group__init(g);
    g->id = (uint32_t)i + 1;
    g->epoch = 5;
    g->scheme = data ? CAIRN__SCHEME__SCHEME_RS : CAIRN__SCHEME__SCHEME_REP3;
    g->data_shards = data ? data : 1;
    g->parity_shards = data ? parity : 2;
    g->n_members = g->data_shards + g->parity_shards;
    g->members = w->members[i][0];
    for (unsigned k = 0; k < g->n_members; k++)
        g->members[k] = w->node[(first + k) % NODES].id;
}

void change_begin(struct world *w, unsigned group, unsigned first)
{
    Cairn__PlacementGroup *g = &w->pg[group];
    g->next_members = w->members[group][1];
    g->n_next_members = g->n_members;
    for (unsigned k = 0; k < g->n_members; k++)
        g->next_members[k] = w->node[(first + k) % NODES].id;
    g->epoch++;
    w->map.version++;
}

void world_init(struct world *w)
{
    world_init_with(w, &(struct blob_config){.zone = "z1"});
}

void world_init_with(struct world *w, const struct blob_config *config)
{
    memset(w, 0, sizeof(*w));
    world = w;
    fake_init(&w->f, 23);
    cairn__cluster_map__init(&w->map);
    w->map.version = 1;
    for (int i = 0; i < NODES; i++) {
        struct node *n = &w->node[i];
        n->w = w;
        snprintf(n->id, sizeof(n->id), "s%d", i);
        n->peer = fake_peer(&w->f, n->id, serve, n);
        cairn__node_record__init(w->records[i] = &w->record[i]);
        w->record[i].node_id = w->record[i].addr = n->id;
        w->record[i].role = NET_ROLE_STORAGENODE;
        w->record[i].zone = (char *)(uintptr_t)(i % 3 == 0 ? "z0" : i % 3 == 1 ? "z1" : "z2");
    }
    w->map.n_nodes = NODES;
    w->map.nodes = w->records;
    w->map.pgs = w->pgs;
    w->budget = budget_new(NULL, 64 << 20);
    assert_int_equal(blob_client_new(&w->f.env, &w->f, NULL, config, &w->bc), OK);
}

void world_fini(struct world *w)
{
    fake_run(&w->f, 20 * NS_PER_SEC);
    blob_client_stop(w->bc);
    fake_run(&w->f, NS_PER_SEC);
    assert_true(blob_client_idle(w->bc));
    assert_int_equal(w->budget->used, 0);
    blob_client_free(w->bc);
    budget_unref(w->budget);
    fake_fini(&w->f);
    for (int i = 0; i < NODES; i++)
        for (unsigned k = 0; k < w->node[i].shard_count; k++)
            rcbuf_unref(w->node[i].shards[k].data);
}

const struct blob_stats *stats(const struct world *w)
{
    return blob_client_stats(w->bc);
}

void write_cb(struct blob_write *w)
{
    container_of(w, struct writing, w)->done = true;
}

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 31 + i / 65521);
}

const uint8_t *content(void)
{
    static uint8_t data[4 << 20];
    if (!data[1])
        for (size_t i = 0; i < sizeof(data); i++)
            data[i] = pattern(i);
    return data;
}

void write_start(struct world *w, struct writing *x, size_t bytes)
{
    memset(x, 0, sizeof(*x));
    cairn__shard_owner__init(&x->owner);
    assert_int_equal(
        blob_segment_init(&x->segment, w->budget, bytes, blob_parity_bytes(w->bc, w->scheme, bytes)), OK);
    assert_int_equal(blob_segment_append(&x->segment, SLICE(content(), bytes)), bytes);
    x->w.segment = &x->segment;
    x->w.owner = &x->owner;
    x->w.scheme = w->scheme;
    x->w.deadline_ns = w->f.now_ns + 30 * NS_PER_SEC;
    x->w.cb = write_cb;
    blob_write_start(w->bc, &x->w);
    assert_false(x->done);
}

int write_run(struct world *w, struct writing *x, size_t bytes)
{
    write_start(w, x, bytes);
    fake_run_until(&w->f, &x->done, 60 * NS_PER_SEC);
    assert_true(x->done);
    return x->w.err;
}

void read_cb(struct blob_read *r)
{
    container_of(r, struct reading, r)->done = true;
}

void read_begin(struct world *w, struct reading *x, const struct blob_write *of, uint64_t offset,
                uint64_t bytes)
{
    *x = (struct reading){.r = {.pg = of->pg,
                                .blob_id = of->blob_id,
                                .blob_bytes = of->bytes,
                                .offset = offset,
                                .bytes = bytes,
                                .deadline_ns = w->f.now_ns + 20 * NS_PER_SEC,
                                .cb = read_cb}};
    blob_read_start(w->bc, &x->r);
    assert_false(x->done);
}

int read_run(struct world *w, struct reading *x, const struct blob_write *of, uint64_t offset,
             uint64_t bytes)
{
    read_begin(w, x, of, offset, bytes);
    fake_run_until(&w->f, &x->done, 60 * NS_PER_SEC);
    assert_true(x->done);
    if (x->r.err == OK) {
        assert_int_equal(x->r.data.bytes.len, bytes);
        x->wrong = memcmp(x->r.data.bytes.ptr, content() + offset, bytes) != 0;
        assert_true(!x->wrong || mutant_active);
    }
    payload_unref(&x->r.data);
    return x->r.err;
}

unsigned puts_of(const struct world *w)
{
    unsigned n = 0;
    for (int i = 0; i < NODES; i++)
        n += w->node[i].puts;
    return n;
}
