/* Writing and reading blobs: quorums over zones, other groups, stragglers, damage, slow members. */
#include "common/base/check.h"
#include "common/base/hash.h"
#include "gateway/blob/blob.h"
#include "gateway/meta/meta_client.h"
#include "proto/methods.h"
#include "tests/unit/gateway/meta/fake_rpc.h"

#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define NODES 6
#define SHARDS_MAX 32

/* Two groups: nodes 0, 1, 2 and nodes 3, 4, 5, each with one in z0, z1, z2. */
struct shard {
    uint8_t blob_id[ID_BYTES];
    struct rcbuf *data;
    uint32_t crc[BLOB_BLOCKS_MAX];
    bool deleted;
};

struct node {
    struct world *w;
    struct rpc_peer *peer;
    char id[16];
    int put_err;
    bool put_hangs, damaged, short_answer;
    uint64_t get_delay_ns;
    unsigned puts, gets, deletes;
    struct shard shards[SHARDS_MAX];
    unsigned shard_count;
    uint64_t put_time_ms; /* of the last */
};

struct world {
    struct rpc f;
    struct node node[NODES];
    Cairn__ClusterMap map;
    Cairn__NodeRecord record[NODES], *records[NODES];
    Cairn__PlacementGroup pg[2], *pgs[2];
    char *members[2][3];
    unsigned refreshes;
    struct budget *budget;
    struct blob_client *bc;
};
static struct world *world;

/* What the blob client takes of the metadata client. */
const Cairn__ClusterMap *meta_client_map(const struct meta_client *mc)
{
    (void)mc;
    return &world->map;
}

void meta_client_refresh(struct meta_client *mc)
{
    (void)mc;
    world->refreshes++;
}

/* ---- storage nodes ---- */

static void serve_put(struct node *n, struct fake_call *call)
{
    const Cairn__PutShardRequest *q = (const Cairn__PutShardRequest *)(void *)call->request;
    Cairn__PutShardResponse response = CAIRN__PUT_SHARD_RESPONSE__INIT;
    n->puts++;
    if (n->put_hangs)
        return;
    if (n->put_err) {
        fake_reply(call, n->put_err, NULL, (struct payload){0});
        return;
    }
    /* The checksums must be of the bytes. */
    size_t len = call->payload.bytes.len;
    assert_int_equal(q->bytes, len);
    n->put_time_ms = q->time_ms;
    assert_int_equal(q->n_block_crcs, (len + BLOB_BLOCK_BYTES - 1) / BLOB_BLOCK_BYTES);
    for (size_t i = 0; i < q->n_block_crcs; i++)
        assert_int_equal(q->block_crcs[i],
                         crc32c(0, SLICE(call->payload.bytes.ptr + i * BLOB_BLOCK_BYTES,
                                         MIN(BLOB_BLOCK_BYTES, len - i * BLOB_BLOCK_BYTES))));
    CHECK(n->shard_count < SHARDS_MAX);
    struct shard *s = &n->shards[n->shard_count++];
    memcpy(s->blob_id, q->blob_id.data, ID_BYTES);
    s->data = rcbuf_copy(call->payload.bytes);
    memcpy(s->crc, q->block_crcs, q->n_block_crcs * sizeof(uint32_t));
    fake_reply(call, OK, &response.base, (struct payload){0});
}

static struct shard *shard_find(struct node *n, ProtobufCBinaryData id)
{
    for (unsigned i = 0; i < n->shard_count; i++)
        if (memcmp(n->shards[i].blob_id, id.data, ID_BYTES) == 0 && !n->shards[i].deleted)
            return &n->shards[i];
    return NULL;
}

static void serve_get(struct node *n, struct fake_call *call)
{
    const Cairn__GetShardRequest *q = (const Cairn__GetShardRequest *)(void *)call->request;
    Cairn__GetShardResponse r = CAIRN__GET_SHARD_RESPONSE__INIT;
    struct shard *s = shard_find(n, q->blob_id);
    n->gets++;
    if (!s) {
        fake_reply(call, ERR_NOT_FOUND, NULL, (struct payload){0});
        return;
    }
    size_t first = q->offset / BLOB_BLOCK_BYTES * BLOB_BLOCK_BYTES;
    size_t last = MIN(s->data->len, (q->offset + q->bytes + BLOB_BLOCK_BYTES - 1) / BLOB_BLOCK_BYTES *
                                        BLOB_BLOCK_BYTES);
    if (n->short_answer)
        last = first;
    struct rcbuf *copy = rcbuf_copy(SLICE(s->data->data + first, last - first));
    if (n->damaged && copy->len)
        copy->data[copy->len / 2] ^= 1;
    r.first_byte = first;
    r.shard_bytes = s->data->len;
    r.n_block_crcs = (last - first + BLOB_BLOCK_BYTES - 1) / BLOB_BLOCK_BYTES;
    r.block_crcs = s->crc + first / BLOB_BLOCK_BYTES;
    n->peer->latency_ns = n->get_delay_ns ? n->get_delay_ns : NS_PER_MS;
    fake_reply(call, OK, &r.base, (struct payload){copy, SLICE(copy->data, copy->len)});
    n->peer->latency_ns = NS_PER_MS;
    rcbuf_unref(copy);
}

static void serve_delete(struct node *n, struct fake_call *call)
{
    const Cairn__DeleteShardsRequest *q = (const Cairn__DeleteShardsRequest *)(void *)call->request;
    Cairn__DeleteShardsResponse r = CAIRN__DELETE_SHARDS_RESPONSE__INIT;
    n->deletes++;
    struct shard *s = shard_find(n, q->blob_ids[0]);
    if (s)
        s->deleted = true;
    fake_reply(call, OK, &r.base, (struct payload){0});
}

static void serve(void *arg, struct fake_call *call)
{
    if (call->method == &method_store_put)
        serve_put(arg, call);
    else if (call->method == &method_store_get)
        serve_get(arg, call);
    else if (call->method == &method_store_mend) /* coded/test_hint.c looks at these */
        fake_reply(call, ERR_UNIMPLEMENTED, NULL, (struct payload){0});
    else
        serve_delete(arg, call);
}

/* ---- the world ---- */

static void world_init(struct world *w)
{
    memset(w, 0, sizeof(*w));
    world = w;
    fake_init(&w->f, 11);
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
        w->members[i / 3][i % 3] = n->id;
    }
    for (int i = 0; i < 2; i++) {
        cairn__placement_group__init(w->pgs[i] = &w->pg[i]);
        w->pg[i].id = (uint32_t)i + 1;
        w->pg[i].n_members = 3;
        w->pg[i].members = w->members[i];
    }
    w->map.n_nodes = NODES;
    w->map.nodes = w->records;
    w->map.n_pgs = 2;
    w->map.pgs = w->pgs;
    w->budget = budget_new(NULL, 64 << 20);
    struct blob_config config = {.zone = "z1"};
    assert_int_equal(blob_client_new(&w->f.env, &w->f, NULL, &config, &w->bc), OK);
}

static void world_fini(struct world *w)
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

struct writing {
    struct blob_write w;
    struct blob_segment segment;
    Cairn__ShardOwner owner;
    bool done;
};

static void write_cb(struct blob_write *w)
{
    container_of(w, struct writing, w)->done = true;
}

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 31 + i / 65536);
}

static void write_start(struct world *w, struct writing *x, size_t bytes)
{
    memset(x, 0, sizeof(*x));
    cairn__shard_owner__init(&x->owner);
    assert_int_equal(blob_segment_init(&x->segment, w->budget, bytes, 0), OK);
    uint8_t *data = malloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        data[i] = pattern(i);
    /* In odd pieces, over block borders. */
    for (size_t at = 0; at < bytes;)
        at += blob_segment_append(&x->segment, SLICE(data + at, MIN(bytes - at, 10007)));
    assert_true(blob_segment_full(&x->segment));
    assert_int_equal(blob_segment_crc(&x->segment), crc32c(0, SLICE(data, bytes)));
    free(data);
    x->w.segment = &x->segment;
    x->w.owner = &x->owner;
    x->w.deadline_ns = w->f.now_ns + 30 * NS_PER_SEC;
    x->w.cb = write_cb;
    blob_write_start(w->bc, &x->w);
    assert_false(x->done);
}

static int write_run(struct world *w, struct writing *x, size_t bytes)
{
    write_start(w, x, bytes);
    fake_run_until(&w->f, &x->done, 60 * NS_PER_SEC);
    assert_true(x->done);
    return x->w.err;
}

struct reading {
    struct blob_read r;
    bool done;
};

static void read_cb(struct blob_read *r)
{
    container_of(r, struct reading, r)->done = true;
}

static int read_run(struct world *w, struct reading *x, const struct blob_write *of, uint64_t offset,
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
    fake_run_until(&w->f, &x->done, 60 * NS_PER_SEC);
    assert_true(x->done);
    if (x->r.err == OK) {
        assert_int_equal(x->r.data.bytes.len, bytes);
        for (size_t i = 0; i < bytes; i++)
            assert_int_equal(x->r.data.bytes.ptr[i], pattern(offset + i));
    }
    payload_unref(&x->r.data);
    return x->r.err;
}

/* ---- tests ---- */

static void written_and_read(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 65535, 65536, 65537, 1000000, 4 << 20};
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct world w;
        struct writing x;
        struct reading r;
        size_t n = sizes[i];
        world_init(&w);
        assert_int_equal(write_run(&w, &x, n), OK);
        assert_int_equal(read_run(&w, &r, &x.w, 0, n), OK);
        assert_int_equal(read_run(&w, &r, &x.w, n - 1, 1), OK);
        assert_int_equal(read_run(&w, &r, &x.w, n / 2, (n + 1) / 2), OK);
        /* From the own zone, every time. */
        assert_int_equal(w.node[1].gets + w.node[4].gets, 3);
        world_fini(&w);
    }
}

/* By a clock that is behind the root's. */
static void no_blob_is_older_than_its_cluster(void **state)
{
    (void)state;
    for (unsigned behind = 0; behind < 2; behind++) {
        struct world w;
        struct writing x;
        world_init(&w);
        uint64_t now_ms = env_wall_ms(&w.f.env);
        w.map.created_ms = behind ? now_ms + 700 : now_ms - 700;
        assert_int_equal(write_run(&w, &x, 1000), OK);
        assert_int_equal(x.w.time_ms, behind ? now_ms + 700 : now_ms);
        assert_int_equal(w.node[1].put_time_ms ? w.node[1].put_time_ms : w.node[4].put_time_ms,
                         x.w.time_ms);
        world_fini(&w);
    }
}

static void two_zones_are_enough(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct world w;
        struct writing x;
        world_init(&w);
        for (int k = 0; k < NODES; k += 3) {
            w.node[k].put_err = how == 0 ? ERR_NOSPACE : 0;
            w.node[k].put_hangs = how == 1;
            w.node[k].peer->down = how == 2;
        }
        uint64_t before = w.f.now_ns;
        assert_int_equal(write_run(&w, &x, 100000), OK);
        assert_true(w.f.now_ns - before < 100 * NS_PER_MS); /* the third is not waited for */
        if (how == 1) {
            assert_true(w.budget->used > 0); /* but its bytes are accounted for */
            fake_run(&w.f, 4 * NS_PER_SEC);
            assert_int_equal(blob_client_stats(w.bc)->stragglers_dropped, 1);
        }
        fake_run(&w.f, NS_PER_SEC);
        assert_int_equal(w.budget->used, 0);
        assert_int_equal(blob_client_stats(w.bc)->discards, 0);
        world_fini(&w);
    }
}

/* Two copies in one zone do not survive its loss. */
static void two_copies_of_one_zone_are_not(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    world_init(&w);
    w.map.n_pgs = 1;
    w.record[1].zone = w.record[0].zone;
    w.node[2].put_err = ERR_NOSPACE;
    assert_int_equal(err_class(write_run(&w, &x, 1000)), ERR_CLASS_RETRY);
    world_fini(&w);
}

/* A cluster of one zone has no zone to lose, but still a node. */
static void one_zone_needs_two_copies(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    world_init(&w);
    w.map.n_pgs = 1;
    w.record[1].zone = w.record[2].zone = w.record[0].zone;
    w.node[2].put_err = ERR_NOSPACE;
    assert_int_equal(write_run(&w, &x, 1000), OK);
    fake_run(&w.f, 5 * NS_PER_SEC);
    w.node[1].put_err = ERR_NOSPACE;
    assert_int_equal(err_class(write_run(&w, &x, 1000)), ERR_CLASS_RETRY);
    world_fini(&w);
}

static void another_group_takes_over(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    world_init(&w);
    w.node[0].put_err = w.node[1].put_err = ERR_NOSPACE; /* group 1 cannot reach its quorum */
    for (int i = 0; i < 6; i++) {
        assert_int_equal(write_run(&w, &x, 1000), OK);
        assert_int_equal(x.w.pg, 2);
        fake_run(&w.f, 5 * NS_PER_SEC); /* suspicion ends */
    }
    assert_true(blob_client_stats(w.bc)->write_retries > 0);
    /* What the failed attempts left at node 2 has been deleted. */
    for (unsigned i = 0; i < w.node[2].shard_count; i++)
        assert_true(w.node[2].shards[i].deleted);
    for (unsigned i = 0; i < w.node[3].shard_count; i++)
        assert_false(w.node[3].shards[i].deleted);
    world_fini(&w);
}

static void no_quorum_anywhere_is_an_error(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    world_init(&w);
    for (int i = 0; i < NODES; i++)
        if (i % 3 != 2)
            w.node[i].peer->down = true;
    assert_int_equal(write_run(&w, &x, 1000), ERR_NO_QUORUM);
    world_fini(&w);
}

static void silence_ends_at_the_deadline(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    world_init(&w);
    for (int i = 0; i < NODES; i++)
        w.node[i].put_hangs = true;
    assert_int_not_equal(write_run(&w, &x, 1000), OK);
    world_fini(&w);
}

static void find_damage(bool summed)
{
    struct world w;
    struct writing x;
    struct reading r;
    world_init(&w);
    for (int i = 0; i < NODES; i++)
        w.node[i].peer->sums = summed;
    assert_int_equal(write_run(&w, &x, 300000), OK);
    fake_run(&w.f, NS_PER_SEC);
    w.node[1].damaged = w.node[4].damaged = true;
    assert_int_equal(read_run(&w, &r, &x.w, 1000, 200000), OK);
    assert_int_equal(blob_client_stats(w.bc)->read_corrupt, 1);
    w.node[1].damaged = w.node[4].damaged = false;
    w.node[1].short_answer = w.node[4].short_answer = true;
    assert_int_equal(read_run(&w, &r, &x.w, 1000, 200000), OK);
    for (int i = 0; i < NODES; i++)
        w.node[i].damaged = true;
    assert_int_not_equal(read_run(&w, &r, &x.w, 0, 1000), OK);
    world_fini(&w);
}

static void damage_is_found_and_avoided(void **state)
{
    (void)state;
    find_damage(false);
    find_damage(true);
}

static void absent_copy_is_read_elsewhere(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    struct reading r;
    world_init(&w);
    w.node[1].put_err = w.node[4].put_err = ERR_NOSPACE;
    assert_int_equal(write_run(&w, &x, 1000), OK);
    assert_int_equal(read_run(&w, &r, &x.w, 0, 1000), OK);
    w.node[0].peer->down = w.node[3].peer->down = true;
    assert_int_equal(read_run(&w, &r, &x.w, 0, 1000), OK);
    w.node[2].peer->down = w.node[5].peer->down = true;
    assert_int_not_equal(read_run(&w, &r, &x.w, 0, 1000), OK);
    assert_true(w.refreshes > 0);
    world_fini(&w);
}

static void slow_member_is_hedged(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    struct reading r;
    world_init(&w);
    assert_int_equal(write_run(&w, &x, 1000), OK);
    for (int i = 0; i < 40; i++)
        assert_int_equal(read_run(&w, &r, &x.w, 0, 1000), OK);
    w.node[1].get_delay_ns = w.node[4].get_delay_ns = 2 * NS_PER_SEC;
    uint64_t before = w.f.now_ns;
    assert_int_equal(read_run(&w, &r, &x.w, 0, 1000), OK);
    assert_true(w.f.now_ns - before < 200 * NS_PER_MS);
    assert_int_equal(blob_client_stats(w.bc)->read_hedges, 1);
    /* Not every read may be hedged: a cluster that is slow as a whole is not given twice the work. */
    w.node[0].get_delay_ns = w.node[2].get_delay_ns = NS_PER_SEC;
    w.node[3].get_delay_ns = w.node[5].get_delay_ns = NS_PER_SEC;
    uint64_t hedges = blob_client_stats(w.bc)->read_hedges;
    for (int i = 0; i < 40; i++)
        assert_int_equal(read_run(&w, &r, &x.w, 0, 1000), OK);
    assert_true(blob_client_stats(w.bc)->read_hedges - hedges <= 8);
    world_fini(&w);
}

static void cancelled_read_ends_soon(void **state)
{
    (void)state;
    struct world w;
    struct writing x;
    world_init(&w);
    assert_int_equal(write_run(&w, &x, 1000), OK);
    struct reading r = {.r = {.pg = x.w.pg,
                              .blob_id = x.w.blob_id,
                              .blob_bytes = 1000,
                              .bytes = 1000,
                              .deadline_ns = w.f.now_ns + 20 * NS_PER_SEC,
                              .cb = read_cb}};
    blob_read_start(w.bc, &r.r);
    blob_read_cancel(&r.r);
    fake_run_until(&w.f, &r.done, 10 * NS_PER_MS);
    assert_true(r.done);
    payload_unref(&r.r.data);
    /* A record that contradicts its blob. */
    assert_int_not_equal(read_run(&w, &r, &x.w, 900, 200), OK);
    world_fini(&w);
}

static unsigned woken;
static void wake(struct budget_waiter *w)
{
    (void)w;
    woken++;
}

static void budget_bounds_and_wakes(void **state)
{
    (void)state;
    struct budget *loop = budget_new(NULL, 100), *one = budget_new(loop, 60), *two = budget_new(loop, 60);
    struct budget_waiter w1, w2;
    budget_waiter_init(&w1, wake);
    budget_waiter_init(&w2, wake);
    woken = 0;
    assert_true(budget_take(one, 60));
    assert_false(budget_take(one, 1));
    assert_false(budget_take(two, 50)); /* nothing of it is taken anywhere */
    loop->eager_max = 70;
    assert_true(budget_take(two, 20)); /* who holds nothing goes on; who holds something waits */
    assert_false(budget_take(two, 10));
    budget_give(two, 20);
    loop->eager_max = 0;
    assert_true(budget_take(two, 40));
    assert_true(budget_exhausted(two, 1));
    budget_wait(one, &w1);
    budget_wait(two, &w2);
    budget_give(one, 60);
    assert_int_equal(woken, 1); /* two's own bytes are still out: it waits for those */
    budget_wait(one, &w1);
    budget_wait_end(&w1);
    budget_give(two, 40);
    assert_int_equal(woken, 2);
    budget_unref(one);
    budget_unref(two);
    budget_unref(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_and_read),
        cmocka_unit_test(no_blob_is_older_than_its_cluster),
        cmocka_unit_test(two_zones_are_enough),
        cmocka_unit_test(two_copies_of_one_zone_are_not),
        cmocka_unit_test(one_zone_needs_two_copies),
        cmocka_unit_test(another_group_takes_over),
        cmocka_unit_test(no_quorum_anywhere_is_an_error),
        cmocka_unit_test(silence_ends_at_the_deadline),
        cmocka_unit_test(damage_is_found_and_avoided),
        cmocka_unit_test(absent_copy_is_read_elsewhere),
        cmocka_unit_test(slow_member_is_hedged),
        cmocka_unit_test(cancelled_read_ends_soon),
        cmocka_unit_test(budget_bounds_and_wakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
