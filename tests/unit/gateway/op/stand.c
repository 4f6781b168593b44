/* The cluster around the gateway under test. */
#include "tests/unit/gateway/op/stand.h"

#include "common/base/check.h"
#include "common/env/kv_mem.h"
#include "proto/methods.h"
#include "proto/witness.pb-c.h"

#include <stdio.h>
#include <stdlib.h>

struct stand *stand;

/* Bucket ids count up from the top bit: the first is 2^63, the second 2^62.  The object partitions
 * divide the first bucket at the key "m". */
#define SPLIT "\x80\0\0\0\0\0\0\0m"

/* ---- the metanode ---- */

void stand_apply(struct stand *s, struct fake_call *call, bool lose)
{
    Cairn__ProposeRequest *q = (Cairn__ProposeRequest *)(void *)call->request;
    Cairn__ProposeResponse response = CAIRN__PROPOSE_RESPONSE__INIT;
    struct index *index = s->index[q->partition];
    struct buf data = {0};
    Cairn__Outcome *outcome = NULL;
    q->command->time_ms = env_wall_ms(&s->f.env);
    int err = index_command_check(index, q->command, call->payload.bytes.len);
    if (err != OK) {
        Cairn__Outcome refused = CAIRN__OUTCOME__INIT;
        refused.err = err;
        response.outcome = &refused;
        fake_reply(call, OK, &response.base, (struct payload){0});
        return;
    }
    uint64_t at = index_applied(index) + 1;
    index_entry_pack(q->command, call->payload.bytes, &data);
    for (size_t i = 0; i < q->command->n_touches; i++)
        s->slots[q->partition][q->command->touches[i] % 4096] = at;
    assert_int_equal(index_apply(index, at, 1, buf_view(&data), &outcome), OK);
    buf_fini(&data);
    response.outcome = outcome;
    if (!lose)
        fake_reply(call, OK, &response.base, (struct payload){0});
    cairn__outcome__free_unpacked(outcome, NULL);
}

static void serve_map(struct stand *s, struct fake_call *call)
{
    Cairn__ClusterMapResponse response = CAIRN__CLUSTER_MAP_RESPONSE__INIT;
    struct index_view view;
    index_view_init(&view, s->index[0], NULL);
    assert_int_equal(index_cluster_map(&view, &response.map), OK);
    fake_reply(call, OK, &response.base, (struct payload){0});
    cairn__cluster_map__free_unpacked(response.map, NULL);
}

static void serve_view(struct stand *s, struct fake_call *call)
{
    struct index_view view;
    struct index_reply reply = {0};
    void *q = call->request;
    int err;
#define VIEW(type) index_view_init(&view, s->index[((type *)q)->partition], NULL)
    if (call->method == &method_meta_read) {
        VIEW(Cairn__ReadRequest);
        err = index_read(&view, q, &reply);
    } else if (call->method == &method_meta_list) {
        VIEW(Cairn__ListRequest);
        err = index_list(&view, q, &reply);
    } else if (call->method == &method_meta_list_uploads) {
        VIEW(Cairn__ListUploadsRequest);
        err = index_list_uploads(&view, q, &reply);
    } else if (call->method == &method_meta_list_parts) {
        VIEW(Cairn__ListPartsRequest);
        err = index_list_parts(&view, q, &reply);
    } else if (call->method == &method_meta_read_part_body) {
        VIEW(Cairn__ReadPartBodyRequest);
        err = index_read_part_body(&view, q, &reply);
    } else if (call->method == &method_meta_list_segments) {
        VIEW(Cairn__ListSegmentsRequest);
        err = index_list_segments(&view, q, &reply);
    } else {
        CHECK(call->method == &method_meta_list_buckets);
        index_view_init(&view, s->index[0], NULL);
        err = index_list_buckets(&view, q, &reply);
    }
#undef VIEW
    fake_reply(call, err, err ? NULL : &reply.msg.base, reply.body);
    index_reply_fini(&reply);
}

bool stand_root(struct stand *s, struct fake_call *call)
{
    Cairn__ClusterStatusResponse r = CAIRN__CLUSTER_STATUS_RESPONSE__INIT;
    Cairn__DrainNodeResponse d = CAIRN__DRAIN_NODE_RESPONSE__INIT;
    Cairn__NodeRecord record[STAND_NODES];
    Cairn__NodeStatus status[STAND_NODES], *nodes[STAND_NODES];
    Cairn__PlacementGroup pg = CAIRN__PLACEMENT_GROUP__INIT, *pgs = &pg;
    char *members[STAND_NODES];
    if (call->method == &method_root_drain_node) {
        fake_reply(call, OK, &d.base, (struct payload){0});
        return true;
    }
    if (call->method != &method_root_cluster_status)
        return false;
    for (int i = 0; i < STAND_NODES; i++) {
        cairn__node_record__init(&record[i]);
        cairn__node_status__init(nodes[i] = &status[i]);
        record[i].node_id = record[i].addr = record[i].zone = members[i] = s->node[i].id;
        record[i].role = NET_ROLE_STORAGENODE;
        status[i].record = &record[i];
    }
    Cairn__DiskRecord disk = CAIRN__DISK_RECORD__INIT, *disks = &disk;
    record[2].state = CAIRN__NODE_STATE__NODE_DOWN;
    record[2].disks = &disks;
    record[2].n_disks = 1;
    pg.n_members = STAND_NODES;
    pg.members = members;
    r.nodes = nodes;
    r.n_nodes = STAND_NODES;
    r.pgs = &pgs;
    r.n_pgs = 1;
    fake_reply(call, OK, &r.base, (struct payload){0});
    return true;
}

static void serve_metanode(void *arg, struct fake_call *call)
{
    struct stand *s = arg;
    if (call->method == &method_meta_cluster_map) {
        serve_map(s, call);
    } else if (call->method == &method_meta_propose) {
        s->proposals++;
        if (!s->on_propose || !s->on_propose(s, call))
            stand_apply(s, call, false);
    } else if (!s->on_view || !s->on_view(s, call)) {
        serve_view(s, call);
    }
}

static void serve_witness(void *arg, struct fake_call *call)
{
    struct stand *s = arg;
    const Cairn__CheckRequest *q = (const Cairn__CheckRequest *)(void *)call->request;
    Cairn__CheckResponse response = CAIRN__CHECK_RESPONSE__INIT;
    uint8_t fresh[64];
    uint64_t through[64];
    CHECK(q->n_hashes <= 64);
    for (size_t i = 0; i < q->n_hashes; i++) {
        through[i] = index_applied(s->index[q->partitions[i]]);
        fresh[i] = s->slots[q->partitions[i]][q->hashes[i] % 4096] <= q->as_of[i];
    }
    response.fresh = (ProtobufCBinaryData){q->n_hashes, fresh};
    response.n_through = q->n_hashes;
    response.through = through;
    fake_reply(call, OK, &response.base, (struct payload){0});
}

/* ---- storage nodes ---- */

static struct stand_blob *blob_find(struct stand_node *n, ProtobufCBinaryData id)
{
    for (unsigned i = 0; i < n->blob_count; i++)
        if (!n->blobs[i].deleted && memcmp(n->blobs[i].id, id.data, ID_BYTES) == 0)
            return &n->blobs[i];
    return NULL;
}

static void store_put(struct stand_node *n, struct fake_call *call)
{
    const Cairn__PutShardRequest *q = (const Cairn__PutShardRequest *)(void *)call->request;
    Cairn__PutShardResponse response = CAIRN__PUT_SHARD_RESPONSE__INIT;
    if (n->put_hangs)
        return;
    if (n->put_err) {
        fake_reply(call, n->put_err, NULL, (struct payload){0});
        return;
    }
    CHECK(n->blob_count < STAND_BLOBS_MAX);
    struct stand_blob *b = &n->blobs[n->blob_count++];
    memcpy(b->id, q->blob_id.data, ID_BYTES);
    b->data = rcbuf_copy(call->payload.bytes);
    CHECK(id128_from_slice(SLICE(q->owner->write_id.data, q->owner->write_id.len), &b->write_id));
    b->body_bytes = q->owner->body_bytes;
    b->segment_number = q->owner->segment_number;
    memcpy(b->crc, q->block_crcs, q->n_block_crcs * sizeof(uint32_t));
    fake_reply(call, OK, &response.base, (struct payload){0});
}

static void store_get(struct stand_node *n, struct fake_call *call)
{
    const Cairn__GetShardRequest *q = (const Cairn__GetShardRequest *)(void *)call->request;
    Cairn__GetShardResponse r = CAIRN__GET_SHARD_RESPONSE__INIT;
    struct stand_blob *b = blob_find(n, q->blob_id);
    if (!b) {
        fake_reply(call, ERR_NOT_FOUND, NULL, (struct payload){0});
        return;
    }
    size_t first = q->offset / BLOB_BLOCK_BYTES * BLOB_BLOCK_BYTES;
    size_t last = (q->offset + q->bytes + BLOB_BLOCK_BYTES - 1) / BLOB_BLOCK_BYTES * BLOB_BLOCK_BYTES;
    last = MIN(last, b->data->len);
    r.first_byte = first;
    r.shard_bytes = b->data->len;
    r.n_block_crcs = (last - first + BLOB_BLOCK_BYTES - 1) / BLOB_BLOCK_BYTES;
    r.block_crcs = b->crc + first / BLOB_BLOCK_BYTES;
    fake_reply(call, OK, &r.base, (struct payload){b->data, SLICE(b->data->data + first, last - first)});
}

static void store_check(struct stand_node *n, struct fake_call *call)
{
    const Cairn__CheckShardsRequest *q = (const Cairn__CheckShardsRequest *)(void *)call->request;
    Cairn__CheckShardsResponse r = CAIRN__CHECK_SHARDS_RESPONSE__INIT;
    Cairn__ShardState states[1024];
    CHECK(q->n_blob_ids <= 1024 && q->n_blob_ids == q->n_shard_indexes);
    n->checks++;
    for (size_t i = 0; i < q->n_blob_ids; i++)
        states[i] = blob_find(n, q->blob_ids[i]) ? CAIRN__SHARD_STATE__SHARD_PRESENT
                                                 : CAIRN__SHARD_STATE__SHARD_MISSING;
    r.states = states;
    r.n_states = n->check_max ? MIN(q->n_blob_ids, n->check_max) : q->n_blob_ids;
    fake_reply(call, n->check_err, n->check_err ? NULL : &r.base, (struct payload){0});
}

static void serve_store(void *arg, struct fake_call *call)
{
    Cairn__StoreStatusResponse status = CAIRN__STORE_STATUS_RESPONSE__INIT;
    struct stand_node *n = arg;
    Cairn__DeleteShardsResponse response = CAIRN__DELETE_SHARDS_RESPONSE__INIT;
    if (call->method == &method_store_put) {
        store_put(n, call);
    } else if (call->method == &method_store_get) {
        store_get(n, call);
    } else if (call->method == &method_store_check) {
        store_check(n, call);
    } else if (call->method == &method_store_status) {
        fake_reply(call, OK, &status.base, (struct payload){0});
    } else {
        const Cairn__DeleteShardsRequest *q = (const Cairn__DeleteShardsRequest *)(void *)call->request;
        struct stand_blob *b = blob_find(n, q->blob_ids[0]);
        if (b)
            b->deleted = true;
        fake_reply(call, OK, &response.base, (struct payload){0});
    }
}

unsigned stand_live_blobs(const struct stand *s)
{
    unsigned count = 0;
    for (unsigned i = 0; i < s->node[0].blob_count; i++)
        count += !s->node[0].blobs[i].deleted;
    return count;
}

/* ---- life ---- */

static void bootstrap(struct stand *s, bool coded)
{
    static const char *const zones[] = {"z0", "z1", "z2"};
    Cairn__NodeRecord node[STAND_NODES + 2], *nodes[STAND_NODES + 2];
    Cairn__PartitionDescriptor part[STAND_PARTITIONS], *parts[STAND_PARTITIONS];
    Cairn__ReplicaRef replica = CAIRN__REPLICA_REF__INIT, *replicas = &replica;
    Cairn__PlacementGroup pg = CAIRN__PLACEMENT_GROUP__INIT;
    Cairn__PlacementGroup coded_pg = CAIRN__PLACEMENT_GROUP__INIT, *pgs[] = {&pg, &coded_pg};
    Cairn__UserRecord user = CAIRN__USER_RECORD__INIT;
    Cairn__AccessKeyRecord key = CAIRN__ACCESS_KEY_RECORD__INIT;
    Cairn__Bootstrap b = CAIRN__BOOTSTRAP__INIT;
    Cairn__Command command = CAIRN__COMMAND__INIT;
    char *members[STAND_NODES];
    uint8_t id[ID_BYTES] = {1};
    uint64_t touches[] = {keyhash_user(SLICE_LIT("root")), keyhash_access_key(SLICE_LIT("ROOTKEY"))};
    for (int i = 0; i < STAND_NODES + 2; i++) {
        static char meta[] = "meta", wit[] = "wit";
        cairn__node_record__init(nodes[i] = &node[i]);
        node[i].node_id = i < STAND_NODES ? s->node[i].id : i == STAND_NODES ? meta : wit;
        node[i].addr = node[i].node_id;
        node[i].zone = (char *)(uintptr_t)zones[i % 3];
        node[i].role = i < STAND_NODES ? NET_ROLE_STORAGENODE
                       : i == STAND_NODES ? NET_ROLE_METANODE : NET_ROLE_WITNESS;
        if (i < STAND_NODES)
            members[i] = s->node[i].id;
    }
    replica.node_id = replica.addr = node[STAND_NODES].node_id;
    for (int i = 0; i < STAND_PARTITIONS; i++) {
        cairn__partition_descriptor__init(parts[i] = &part[i]);
        part[i].id = (uint32_t)i;
        part[i].epoch = 1;
        part[i].n_replicas = 1;
        part[i].replicas = &replicas;
    }
    part[1].end = part[2].start = (ProtobufCBinaryData){9, (uint8_t *)(uintptr_t)SPLIT};
    pg.id = 1;
    pg.n_members = coded_pg.n_members = STAND_NODES;
    pg.members = coded_pg.members = members;
    coded_pg.id = 2;
    coded_pg.scheme = CAIRN__SCHEME__SCHEME_RS;
    coded_pg.data_shards = 2;
    coded_pg.parity_shards = 1;
    user.user_id = user.name = key.user_id = key.user_name = (char *)(uintptr_t)"root";
    user.is_root = key.is_root = key.enabled = true;
    key.access_key_id = (char *)(uintptr_t)"ROOTKEY";
    key.secret = (char *)(uintptr_t)"secret";
    b.cluster_id = command.write_id = (ProtobufCBinaryData){ID_BYTES, id};
    b.n_nodes = STAND_NODES + 2;
    b.nodes = nodes;
    b.n_partitions = STAND_PARTITIONS;
    b.partitions = parts;
    b.n_pgs = coded ? 2 : 1;
    b.pgs = pgs;
    b.root_user = &user;
    b.root_key = &key;
    command.epoch = 1;
    command.issued_ms = command.time_ms = env_wall_ms(&s->f.env);
    command.n_touches = 2;
    command.touches = touches;
    command.op_case = CAIRN__COMMAND__OP_BOOTSTRAP;
    command.bootstrap = &b;
    struct buf data = {0};
    Cairn__Outcome *outcome;
    assert_int_equal(index_command_check(s->index[0], &command, 0), OK);
    index_entry_pack(&command, SLICE_EMPTY, &data);
    assert_int_equal(index_apply(s->index[0], 1, 1, buf_view(&data), &outcome), OK);
    assert_int_equal(outcome->err, OK);
    cairn__outcome__free_unpacked(outcome, NULL);
    buf_fini(&data);
}

static void open_indexes(struct stand *s)
{
    struct kv_mem_config config = {.mode = KV_STATE};
    struct index_settings settings = {0};
    for (uint32_t i = 0; i < STAND_PARTITIONS; i++) {
        s->kv[i] = kv_mem_new(&s->f.env, &config);
        struct slice start = i == 2 ? SLICE(SPLIT, 9) : SLICE_EMPTY;
        struct slice end = i == 1 ? SLICE(SPLIT, 9) : SLICE_EMPTY;
        assert_int_equal(index_create(s->kv[i], i, 1, start, end, &settings, 0, 0), OK);
        assert_int_equal(index_open(s->kv[i], i, &s->index[i]), OK);
    }
}

static void open_stand(struct stand *s, bool coded)
{
    struct cache_config cache = {.bytes_max = 1 << 20};
    struct meta_seed seed = {"meta", "meta"};
    struct meta_config meta = {.zone = "z1", .seeds = &seed, .seed_count = 1};
    struct blob_config blob = {.zone = "z1", .replicate_bytes_max = 64 << 10};
    memset(s, 0, sizeof(*s));
    stand = s;
    fake_init(&s->f, 7);
    s->metanode = fake_peer(&s->f, "meta", serve_metanode, s);
    s->witness = fake_peer(&s->f, "wit", serve_witness, s);
    for (int i = 0; i < STAND_NODES; i++) {
        s->node[i].s = s;
        snprintf(s->node[i].id, sizeof(s->node[i].id), "s%c", (char)('0' + i));
        s->node[i].peer = fake_peer(&s->f, s->node[i].id, serve_store, &s->node[i]);
    }
    open_indexes(s);
    bootstrap(s, coded);
    s->config = (struct gateway_config){
        .region = SLICE_LIT("us-east-1"),
        .inline_bytes_max = 4096,
        .segment_bytes = 256 << 10,
        .part_bytes_min = 1000,
        .body_bytes_max = 8 << 20,
        .timeout_ms = 8000,
        .bucket_resume_ms = 10000,
    };
    metrics_reset();
    gateway_metrics_init(&s->metrics);
    assert_int_equal(cache_new(&cache, &s->cache), OK);
    assert_int_equal(meta_client_new(&s->f.env, &s->f, s->cache, &meta, &s->mc), OK);
    assert_int_equal(blob_client_new(&s->f.env, &s->f, s->mc, &blob, &s->bc), OK);
    assert_int_equal(gateway_init(&s->gw, &s->config, &s->metrics, &s->f.env, s->mc, s->bc), OK);
    fake_run(&s->f, 100 * NS_PER_MS);
}

void stand_init(struct stand *s)
{
    open_stand(s, false);
}

void stand_init_coded(struct stand *s)
{
    open_stand(s, true);
}

void stand_fini(struct stand *s)
{
    fake_run(&s->f, 20 * NS_PER_SEC);
    assert_int_equal(s->gw.under_way, 0);
    assert_int_equal(s->gw.budget->used, 0);
    assert_int_equal(s->gw.text_bytes, 0);
    meta_client_stop(s->mc);
    blob_client_stop(s->bc);
    fake_run(&s->f, NS_PER_SEC);
    assert_true(meta_client_idle(s->mc) && blob_client_idle(s->bc));
    gateway_fini(&s->gw);
    blob_client_free(s->bc);
    meta_client_free(s->mc);
    cache_free(s->cache);
    fake_fini(&s->f);
    for (int i = 0; i < STAND_PARTITIONS; i++) {
        index_close(s->index[i]);
        kv_mem_free(s->kv[i]);
    }
    for (int i = 0; i < STAND_NODES; i++)
        for (unsigned k = 0; k < s->node[i].blob_count; k++)
            rcbuf_unref(s->node[i].blobs[k].data);
    metrics_reset();
}
