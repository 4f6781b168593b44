/* Storage nodes and a metanode in memory. */
#include "tests/unit/storagenode/repair/nodes.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "proto/methods.h"

#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const char *const ids[NODES] = {"s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"};
static const struct payload nothing;

static struct blob *blob_of(struct nodes *n, ProtobufCBinaryData id)
{
    for (unsigned i = 0; i < n->blob_count; i++)
        if (slice_eq(SLICE(id.data, id.len), id128_slice(&n->blob[i].id)))
            return &n->blob[i];
    return NULL;
}

struct kept_shard *nodes_kept(struct nodes *n, unsigned node, const struct blob *b, unsigned shard)
{
    return &n->node[node].shard[b - n->blob][shard];
}

static unsigned index_of(struct nodes *n, const struct blob *b)
{
    return (unsigned)(b - n->blob);
}

/* ---- a storage node ---- */

static void serve_check(struct node *s, struct fake_call *call)
{
    const Cairn__CheckShardsRequest *m = (const void *)call->request;
    Cairn__CheckShardsResponse response = CAIRN__CHECK_SHARDS_RESPONSE__INIT;
    assert_int_equal(m->n_blob_ids, 1);
    struct blob *b = blob_of(s->n, m->blob_ids[0]);
    const struct kept_shard *k = b ? nodes_kept(s->n, s->number, b, m->shard_indexes[0]) : NULL;
    Cairn__ShardState state = !b                            ? CAIRN__SHARD_STATE__SHARD_MISSING
                              : s->deleted[index_of(s->n, b)] ? CAIRN__SHARD_STATE__SHARD_DELETED
                              : k->state == KEPT_WHOLE      ? CAIRN__SHARD_STATE__SHARD_PRESENT
                              : k->state == KEPT_NOT        ? CAIRN__SHARD_STATE__SHARD_MISSING
                                                            : CAIRN__SHARD_STATE__SHARD_DAMAGED;
    response.states = &state;
    response.n_states = 1;
    fake_reply(call, OK, &response.base, nothing);
}

static void get_info(struct nodes *n, const struct blob *b, Cairn__ShardInfo *info,
                     Cairn__ShardOwner *owner)
{
    cairn__shard_info__init(info);
    cairn__shard_owner__init(owner);
    owner->bucket_id = 3;
    owner->key = (ProtobufCBinaryData){3, (uint8_t *)(uintptr_t) "key"};
    owner->write_id = (ProtobufCBinaryData){ID_BYTES, (uint8_t *)(uintptr_t) "0123456789abcdef"};
    owner->body_bytes = 12345678;
    owner->segment_number = 4;
    info->owner = owner;
    info->pg = PG;
    info->scheme = n->data == 1 ? CAIRN__SCHEME__SCHEME_REP3 : CAIRN__SCHEME__SCHEME_RS;
    info->time_ms = b->time_ms;
    info->data_shards = n->data;
    info->parity_shards = n->shards - n->data;
    info->blob_bytes = b->bytes;
    info->blob_crc32c = crc32c(0, SLICE(b->data, b->bytes));
}

static void serve_get(struct node *s, struct fake_call *call)
{
    const Cairn__GetShardRequest *m = (const void *)call->request;
    Cairn__GetShardResponse response = CAIRN__GET_SHARD_RESPONSE__INIT;
    Cairn__ShardInfo info;
    Cairn__ShardOwner owner;
    uint32_t crcs[8];
    struct blob *b = blob_of(s->n, m->blob_id);
    assert_non_null(b);
    const struct kept_shard *k = nodes_kept(s->n, s->number, b, m->shard_index);
    bool readable = k->state == KEPT_WHOLE || (m->head_only && k->state == KEPT_DAMAGED);
    if (!readable || s->get_fails) {
        fake_reply(call, k->state == KEPT_NOT ? ERR_NOT_FOUND : ERR_CHECKSUM, NULL, nothing);
        return;
    }
    size_t from = m->offset / EC_BLOCK_BYTES * EC_BLOCK_BYTES;
    size_t to = (m->offset + m->bytes + EC_BLOCK_BYTES - 1) / EC_BLOCK_BYTES * EC_BLOCK_BYTES;
    to = MIN(to, k->len);
    assert_true(to - from <= 8 * EC_BLOCK_BYTES);
    response.first_byte = from;
    response.shard_bytes = k->len;
    response.block_crcs = crcs;
    for (size_t at = from; at < to; at += EC_BLOCK_BYTES)
        crcs[response.n_block_crcs++] =
            crc32c(0, SLICE(k->bytes + at, MIN(to - at, EC_BLOCK_BYTES)));
    if (m->want_info) {
        get_info(s->n, b, &info, &owner);
        response.info = &info;
    }
    struct rcbuf *buf = rcbuf_copy(SLICE(k->bytes + from, to - from));
    buf->data[0] ^= s->flips;
    fake_reply(call, OK, &response.base, (struct payload){buf, SLICE(buf->data, buf->len)});
    rcbuf_unref(buf);
}

static void serve_put(struct node *s, struct fake_call *call)
{
    const Cairn__PutShardRequest *m = (const void *)call->request;
    struct nodes *n = s->n;
    struct slice bytes = call->payload.bytes;
    struct blob *b = blob_of(n, m->blob_id);
    assert_non_null(b);
    struct kept_shard *k = nodes_kept(n, s->number, b, m->shard_index);
    assert_int_equal(m->pg, PG);
    assert_int_equal(m->pg_epoch, n->epoch);
    assert_int_equal(m->time_ms, b->time_ms);
    assert_int_equal(m->owner->bucket_id, 3);
    assert_int_equal(m->owner->write_id.len, ID_BYTES);
    assert_memory_equal(m->owner->write_id.data, "0123456789abcdef", ID_BYTES);
    assert_int_equal(m->owner->body_bytes, 12345678);
    assert_int_equal(m->owner->segment_number, 4);
    assert_int_equal(m->blob_bytes, b->bytes);
    assert_int_equal(bytes.len, m->bytes);
    for (size_t i = 0; i < m->n_block_crcs; i++) {
        size_t at = i * EC_BLOCK_BYTES;
        assert_int_equal(m->block_crcs[i],
                         crc32c(0, SLICE(bytes.ptr + at, MIN(bytes.len - at, EC_BLOCK_BYTES))));
    }
    if (s->deleted[index_of(n, b)]) {
        fake_reply(call, ERR_CONDEMNED, NULL, nothing);
        return;
    }
    n->puts++;
    if (b->mended_at == 0)
        b->mended_at = ++n->mended;
    if (!s->forgets) {
        free(k->bytes);
        *k = (struct kept_shard){KEPT_WHOLE, malloc(bytes.len), bytes.len};
        memcpy(k->bytes, bytes.ptr, bytes.len);
    }
    Cairn__PutShardResponse response = CAIRN__PUT_SHARD_RESPONSE__INIT;
    fake_reply(call, OK, &response.base, nothing);
}

static int blob_compare(const void *a, const void *b)
{
    const struct blob *const *x = a, *const *y = b;
    return memcmp((*x)->id.bytes, (*y)->id.bytes, ID_BYTES);
}

static void digests_add(struct node *s, const Cairn__InventoryRequest *m, uint64_t digests[256],
                        uint8_t present[32])
{
    struct nodes *n = s->n;
    for (unsigned b = 0; b < n->blob_count; b++)
        for (unsigned i = 0; i < n->shards; i++) {
            uint8_t first = n->blob[b].id.bytes[0];
            if (s->shard[b][i].state != KEPT_NOT)
                present[first / 8] |= (uint8_t)(1u << (first & 7));
            if (s->shard[b][i].state == KEPT_WHOLE &&
                (!m->older_than_ms || n->blob[b].time_ms < m->older_than_ms))
                digests[first] ^= hash64(i, id128_slice(&n->blob[b].id));
        }
}

static void serve_inventory(struct node *s, struct fake_call *call)
{
    if (((const Cairn__InventoryRequest *)(const void *)call->request)->pg == PG + 1) {
        Cairn__InventoryResponse empty = CAIRN__INVENTORY_RESPONSE__INIT;
        uint64_t none[256] = {0};
        empty.digests = none;
        empty.n_digests = 256;
        s->n->other_asked++;
        fake_reply(call, OK, &empty.base, nothing);
        return;
    }
    const Cairn__InventoryRequest *m = (const void *)call->request;
    struct nodes *n = s->n;
    if (s->list_fails && !m->digests) {
        fake_reply(call, ERR_IO, NULL, nothing);
        return;
    }
    Cairn__InventoryResponse response = CAIRN__INVENTORY_RESPONSE__INIT;
    Cairn__InventoryEntry entries[BLOBS_MAX * SHARDS_MAX], *pointers[BLOBS_MAX * SHARDS_MAX];
    struct blob *sorted[BLOBS_MAX];
    uint64_t digests[256] = {0};
    uint8_t present[32] = {0};
    assert_int_equal(m->pg, PG);
    response.closed_epoch = s->closed_epoch;
    response.entries = pointers;
    if (m->digests) {
        digests_add(s, m, digests, present);
        if (!n->present_untold)
            response.present = (ProtobufCBinaryData){sizeof(present), present};
        response.digests = digests;
        response.n_digests = 256;
    } else {
        s->lists++;
    }
    for (unsigned i = 0; i < n->blob_count; i++)
        sorted[i] = &n->blob[i];
    qsort(sorted, n->blob_count, sizeof(sorted[0]), blob_compare);
    for (unsigned k = 0; !m->digests && k < n->blob_count; k++) {
        struct blob *b = sorted[k];
        bool tomb = n->tombstones_listed && s->deleted[index_of(n, b)];
        if (b->id.bytes[0] != m->first_byte ||
            (m->after.len && memcmp(b->id.bytes, m->after.data, ID_BYTES) <= 0))
            continue;
        if (response.n_entries >= n->page_max) {
            response.more = true;
            break;
        }
        for (unsigned i = 0; i < n->shards; i++) {
            if (nodes_kept(n, s->number, b, i)->state == KEPT_NOT && !(tomb && i == 0))
                continue;
            Cairn__InventoryEntry *e = &entries[response.n_entries];
            cairn__inventory_entry__init(e);
            e->blob_id = (ProtobufCBinaryData){ID_BYTES, b->id.bytes};
            e->shard_index = i;
            e->time_ms = b->time_ms;
            e->damaged = nodes_kept(n, s->number, b, i)->state >= KEPT_DAMAGED;
            e->deleted = tomb;
            pointers[response.n_entries++] = e;
        }
    }
    fake_reply(call, OK, &response.base, nothing);
}

/* Marks it, if it is still the one that was judged. */
static void serve_distrust(struct node *s, struct fake_call *call)
{
    const Cairn__DistrustShardRequest *m = (const void *)call->request;
    Cairn__DistrustShardResponse response = CAIRN__DISTRUST_SHARD_RESPONSE__INIT;
    struct blob *b = blob_of(s->n, m->blob_id);
    assert_non_null(b);
    struct kept_shard *k = nodes_kept(s->n, s->number, b, m->shard_index);
    int err = k->state == KEPT_NOT || s->distrust_fails ? ERR_EPOCH : OK;
    for (size_t i = 0; !err && i < m->n_block_crcs; i++) {
        size_t at = i * EC_BLOCK_BYTES;
        if (crc32c(0, SLICE(k->bytes + at, MIN(k->len - at, EC_BLOCK_BYTES))) != m->block_crcs[i])
            err = ERR_EPOCH;
    }
    if (!err)
        k->state = KEPT_DAMAGED;
    s->n->distrusted++;
    fake_reply(call, err, err ? NULL : &response.base, nothing);
}

static void serve_node(void *arg, struct fake_call *call)
{
    if (call->method == &method_store_inventory)
        serve_inventory(arg, call);
    else if (call->method == &method_store_check)
        serve_check(arg, call);
    else if (call->method == &method_store_get)
        serve_get(arg, call);
    else if (call->method == &method_store_put)
        serve_put(arg, call);
    else if (call->method == &method_store_distrust)
        serve_distrust(arg, call);
    else
        fail();
}

/* ---- the metanode ---- */

static void serve_map(struct nodes *n, struct fake_call *call)
{
    Cairn__ClusterMapResponse response = CAIRN__CLUSTER_MAP_RESPONSE__INIT;
    Cairn__ClusterMap map = CAIRN__CLUSTER_MAP__INIT;
    Cairn__NodeRecord records[NODES], *record_pointers[NODES];
    Cairn__DiskRecord disks[NODES], *disk_pointers[NODES];
    Cairn__PlacementGroup pg = CAIRN__PLACEMENT_GROUP__INIT, *pgs[2] = {&pg, NULL};
    Cairn__PlacementGroup other;
    Cairn__PartitionDescriptor partition = CAIRN__PARTITION_DESCRIPTOR__INIT;
    Cairn__PartitionDescriptor *partitions[] = {&partition};
    Cairn__ReplicaRef replica = CAIRN__REPLICA_REF__INIT, *replicas[] = {&replica};
    char *members[SHARDS_MAX], *next[SHARDS_MAX], *others[SHARDS_MAX];
    for (unsigned i = 0; i < NODES; i++) {
        cairn__node_record__init(&records[i]);
        records[i].node_id = records[i].addr = (char *)(uintptr_t)ids[i];
        records[i].state = n->node[i].state;
        records[i].draining = n->node[i].draining;
        record_pointers[i] = &records[i];
        cairn__disk_record__init(&disks[i]);
        disks[i].state = n->node[i].disk;
        disk_pointers[i] = &disks[i];
        records[i].disks = &disk_pointers[i];
        records[i].n_disks = 1;
    }
    for (unsigned i = 0; i < n->shards; i++) {
        members[i] = (char *)(uintptr_t)ids[n->member[i]];
        next[i] = (char *)(uintptr_t)ids[n->next[i]];
        others[i] = (char *)(uintptr_t)ids[i ? NODES - i : 0];
    }
    pg.id = PG;
    pg.epoch = n->epoch;
    pg.scheme = n->data == 1 ? CAIRN__SCHEME__SCHEME_REP3 : CAIRN__SCHEME__SCHEME_RS;
    pg.data_shards = n->data;
    pg.parity_shards = n->shards - n->data;
    pg.members = members;
    pg.n_members = n->members_now ? n->members_now : n->shards;
    pg.next_members = next;
    pg.n_next_members = n->changing ? n->shards : 0;
    other = pg;
    other.id = PG + 1;
    other.epoch = n->other_epoch;
    other.members = others;
    other.n_next_members = 0;
    pgs[1] = &other;
    replica.node_id = replica.addr = (char *)(uintptr_t) "m0";
    partition.id = 1;
    partition.replicas = replicas;
    partition.n_replicas = 1;
    map.version = n->map_version;
    map.nodes = record_pointers;
    map.n_nodes = NODES;
    map.pgs = pgs;
    map.n_pgs = n->other_epoch ? 2 : 1;
    map.partitions = partitions;
    map.n_partitions = 1;
    response.map = &map;
    fake_reply(call, OK, &response.base, nothing);
}

static void serve_refs(struct nodes *n, struct fake_call *call)
{
    const Cairn__BlobRefsRequest *m = (const void *)call->request;
    Cairn__BlobRefsResponse response = CAIRN__BLOB_REFS_RESPONSE__INIT;
    assert_int_equal(m->bucket_id, 3);
    assert_int_equal(m->n_blob_ids, 1);
    assert_int_equal(m->n_pgs, 1);
    assert_true(m->condemn && m->n_times_ms == 1);
    struct blob *b = blob_of(n, m->blob_ids[0]);
    assert_int_equal(m->times_ms[0], b->time_ms);
    bool young = env_wall_ms(&n->f.env) - b->time_ms < 24 * UINT64_C(3600000);
    uint8_t referred = b->referred ? 1 : young ? 2 : 0;
    b->condemned |= referred == 0;
    n->asked++;
    response.referred = (ProtobufCBinaryData){1, &referred};
    fake_reply(call, OK, &response.base, nothing);
}

static void serve_meta(void *arg, struct fake_call *call)
{
    if (call->method == &method_meta_cluster_map)
        serve_map(arg, call);
    else if (call->method == &method_meta_blob_refs)
        serve_refs(arg, call);
    else
        fail();
}

/* ---- the world ---- */

void nodes_init(struct nodes *n, unsigned data, unsigned parity)
{
    *n = (struct nodes){
        .data = data, .shards = data + parity, .epoch = 4, .map_version = 1, .page_max = 1024};
    fake_init(&n->f, 1);
    assert_int_equal(ec_init(&n->ec, data, parity), OK);
    for (unsigned i = 0; i < NODES; i++) {
        n->node[i] = (struct node){.n = n, .number = i};
        n->node[i].peer = fake_peer(&n->f, ids[i], serve_node, &n->node[i]);
    }
    n->metanode = fake_peer(&n->f, "m0", serve_meta, n);
    for (unsigned i = 0; i < n->shards; i++)
        n->member[i] = n->next[i] = i;
    const char *id = "m0";
    struct map_client_config config = {
        .metanode_ids = &id, .metanode_addrs = &id, .metanode_count = 1};
    assert_int_equal(map_client_new(&n->f, &config, &n->map), OK);
}

void nodes_fini(struct nodes *n)
{
    if (n->agent)
        repair_agent_stop(n->agent);
    map_client_stop(n->map);
    fake_run(&n->f, 60 * NS_PER_SEC);
    if (n->agent)
        assert_true(repair_agent_idle(n->agent));
    repair_agent_free(n->agent);
    assert_true(map_client_idle(n->map));
    map_client_free(n->map);
    fake_fini(&n->f);
    for (unsigned b = 0; b < n->blob_count; b++) {
        free(n->blob[b].data);
        for (unsigned i = 0; i < n->shards; i++) {
            free(n->blob[b].shard[i].bytes);
            for (unsigned k = 0; k < NODES; k++)
                free(n->node[k].shard[b][i].bytes);
        }
    }
}

struct blob *nodes_blob(struct nodes *n, size_t bytes)
{
    struct blob *b = &n->blob[n->blob_count++];
    CHECK(n->blob_count <= BLOBS_MAX);
    size_t each = n->data == 1 ? bytes : ec_shard_bytes(n->data, bytes);
    const uint8_t *data[SHARDS_MAX];
    uint8_t *parity[SHARDS_MAX];
    *b = (struct blob){.bytes = bytes, .data = malloc(bytes), .referred = true};
    b->time_ms = 1700000000000 - 3600000 + n->blob_count;
    env_random(&n->f.env, b->data, bytes);
    env_random(&n->f.env, b->id.bytes, ID_BYTES);
    b->id.bytes[0] = (uint8_t)(n->blob_count % 3); /* few buckets, so that they have pages */
    for (unsigned i = 0; i < n->shards; i++) {
        b->shard[i] = (struct kept_shard){KEPT_WHOLE, calloc(1, each), each};
        if (i < n->data && each * i < bytes)
            memcpy(b->shard[i].bytes, b->data + each * i, MIN(each, bytes - each * i));
        data[i] = b->shard[i].bytes;
        if (i >= n->data)
            parity[i - n->data] = b->shard[i].bytes;
    }
    ec_encode(&n->ec, each, data, parity);
    for (unsigned i = 0; i < n->shards; i++) {
        struct kept_shard *k = nodes_kept(n, n->member[i], b, i);
        *k = (struct kept_shard){KEPT_WHOLE, malloc(each), each};
        memcpy(k->bytes, b->shard[i].bytes, each);
    }
    return b;
}

void nodes_lose(struct nodes *n, unsigned node, const struct blob *b, unsigned shard)
{
    struct kept_shard *k = nodes_kept(n, node, b, shard);
    free(k->bytes);
    *k = (struct kept_shard){0};
}

bool nodes_whole(struct nodes *n, const struct blob *b)
{
    for (unsigned i = 0; i < n->shards; i++) {
        const struct kept_shard *k = nodes_kept(n, n->member[i], b, i);
        if (k->state != KEPT_WHOLE || k->len != b->shard[i].len ||
            memcmp(k->bytes, b->shard[i].bytes, k->len) != 0)
            return false;
    }
    return true;
}

void nodes_map_changed(struct nodes *n)
{
    n->map_version++;
}

void nodes_repair(struct nodes *n, const char *node_id, const struct repair_config *config)
{
    struct repair_config c = config ? *config : (struct repair_config){0};
    c.node_id = node_id;
    c.retry_ns = c.retry_ns ? c.retry_ns : 60 * NS_PER_SEC; /* tries are counted */
    assert_int_equal(repair_agent_new(&n->f, n->map, &c, &n->agent), OK);
}
