/* A gateway, a metanode and a storage node that speak RPC in memory: what the service makes of
 * messages, good and bad. */
#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/env/disk_mem.h"
#include "common/env/kv_mem.h"
#include "common/obs/metrics.h"
#include "proto/methods.h"
#include "proto/storage.pb-c.h"
#include "storagenode/io/service.h"
#include "tests/unit/common/rpc/fake_world.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define ADDR "store:1"
#define BYTES (SHARD_BLOCK_BYTES + 1234)

static struct fake_world world;
static struct fake_node gateway_node, peer_node, store_node;
static struct rpc *gateway, *peer_rpc, *server;
static struct rpc_peer *from_gateway, *from_peer;
static struct disk *disk;
static struct kv *kv;
static struct disks *disks;
static struct service *service;
static bool flag;
static uint8_t data[BYTES], blob[ID_BYTES] = {7, 7};
static uint32_t crcs[2];

static void on_open(void *arg, int err)
{
    (void)arg;
    assert_int_equal(err, OK);
    flag = true;
}

static void on_close(void *arg, int err)
{
    (void)arg;
    (void)err;
    flag = true;
}

static void on_rpc_closed(void *arg)
{
    (void)arg;
    flag = true;
}

static void wait(void)
{
    fake_run_until(&world, &flag);
}

static int setup(void **state)
{
    (void)state;
    struct rpc_config names[] = {{.node_id = "gateway"}, {.node_id = "peer"}, {.node_id = "store"}};
    /* The wall clock of this world counts nanoseconds. */
    struct store_config config = {.extent_bytes = 1 << 20,
                                  .capacity_bytes = 16 << 20,
                                  .put_age_ms_max = 600 * NS_PER_SEC,
                                  .clock_skew_ms_max = 60 * NS_PER_SEC,
                                  .tombstone_retention_ms = 1800 * NS_PER_SEC};
    fake_world_init(&world);
    world.now_ns = 1000000 * NS_PER_SEC;
    fake_node_init(&gateway_node, &world, "gateway", NET_ROLE_GATEWAY);
    fake_node_init(&peer_node, &world, "peer", NET_ROLE_STORAGENODE);
    fake_node_init(&store_node, &world, "store", NET_ROLE_STORAGENODE);
    assert_int_equal(rpc_new(&gateway_node.env, &gateway_node.net, &names[0], &gateway), OK);
    assert_int_equal(rpc_new(&peer_node.env, &peer_node.net, &names[1], &peer_rpc), OK);
    assert_int_equal(rpc_new(&store_node.env, &store_node.net, &names[2], &server), OK);
    disk = disk_mem_new(&store_node.env, &(struct disk_mem_config){.bytes_total = 32 << 20});
    kv = kv_mem_new(&store_node.env, &(struct kv_mem_config){.mode = KV_STATE});
    struct disks_member member = {.disk = disk, .kv = kv, .path = ""};
    struct disks_config all_disks = {.store = config, .members = &member, .count = 1};
    assert_int_equal(disks_new(&store_node.env, &all_disks, &disks), OK);
    flag = false;
    disks_open_start(disks, on_open, NULL);
    wait();
    assert_int_equal(service_new(server, disks, &service), OK);
    assert_int_equal(rpc_listen(server, ADDR), OK);
    from_gateway = rpc_peer_get(gateway, ADDR, "store");
    from_peer = rpc_peer_get(peer_rpc, ADDR, "store");
    for (size_t i = 0; i < BYTES; i++)
        data[i] = (uint8_t)(i * 7);
    crcs[0] = crc32c(0, SLICE(data, SHARD_BLOCK_BYTES));
    crcs[1] = crc32c(0, SLICE(data + SHARD_BLOCK_BYTES, BYTES - SHARD_BLOCK_BYTES));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(service_calls_under_way(service), 0);
    flag = false;
    disks_close_start(disks, on_close, NULL);
    wait();
    struct rpc *all[] = {gateway, peer_rpc, server};
    for (unsigned i = 0; i < 3; i++) {
        flag = false;
        rpc_close(all[i], on_rpc_closed, NULL);
        wait();
    }
    service_free(service);
    disks_free(disks);
    disk_mem_free(disk);
    kv_mem_free(kv);
    metrics_reset();
    return 0;
}

/* ---- calls ---- */

static void on_call(struct rpc_call *call)
{
    (void)call;
    flag = true;
}

static int call_run(struct rpc_peer *peer, struct rpc_call *call)
{
    call->cb = on_call;
    call->timeout_ns = 5 * NS_PER_SEC;
    flag = false;
    int err = rpc_call_start(peer, call);
    if (err)
        return err;
    wait();
    return call->err;
}

static Cairn__PutShardRequest put_message(Cairn__ShardOwner *owner)
{
    Cairn__PutShardRequest m = CAIRN__PUT_SHARD_REQUEST__INIT;
    cairn__shard_owner__init(owner);
    owner->bucket_id = 5;
    owner->key = (ProtobufCBinaryData){5, (uint8_t *)(uintptr_t) "k/e/y"};
    owner->write_id = (ProtobufCBinaryData){ID_BYTES, blob};
    owner->body_bytes = 123456789;
    m.pg = 3;
    m.pg_epoch = 1;
    m.blob_id = (ProtobufCBinaryData){ID_BYTES, blob};
    m.owner = owner;
    m.time_ms = env_wall_ms(&gateway_node.env);
    m.bytes = BYTES;
    m.n_block_crcs = 2;
    m.block_crcs = crcs;
    return m;
}

static int put_send(struct rpc_peer *peer, const Cairn__PutShardRequest *m, size_t bytes)
{
    struct rcbuf *buffer = rcbuf_copy(SLICE(data, bytes));
    struct rpc_call call = {.method = &method_store_put,
                            .request = &m->base,
                            .payload = {{buffer, SLICE(buffer->data, bytes)}},
                            .payload_count = 1};
    int err = call_run(peer, &call);
    const Cairn__PutShardResponse *r = (const void *)call.response;
    if (err == OK) /* it says how much room there is */
        assert_true(r->bytes_free > 0 && r->bytes_free < r->bytes_total);
    rpc_call_fini(&call);
    rcbuf_unref(buffer);
    return err;
}

static int delete_send(void)
{
    Cairn__DeleteShardsRequest m = CAIRN__DELETE_SHARDS_REQUEST__INIT;
    ProtobufCBinaryData ids[1] = {{ID_BYTES, blob}};
    m.n_blob_ids = 1;
    m.blob_ids = ids;
    struct rpc_call call = {.method = &method_store_delete, .request = &m.base};
    int err = call_run(from_gateway, &call);
    rpc_call_fini(&call);
    return err;
}

static int get_send(uint64_t offset, uint64_t bytes, struct rpc_call *call)
{
    Cairn__GetShardRequest m = CAIRN__GET_SHARD_REQUEST__INIT;
    m.blob_id = (ProtobufCBinaryData){ID_BYTES, blob};
    m.offset = offset;
    m.bytes = bytes;
    *call = (struct rpc_call){.method = &method_store_get, .request = &m.base};
    return call_run(from_gateway, call);
}

/* ---- tests ---- */

static void what_is_put_is_got_and_deleted(void **state)
{
    (void)state;
    struct rpc_call call;
    Cairn__ShardOwner owner;
    Cairn__PutShardRequest m = put_message(&owner);
    assert_int_equal(put_send(from_gateway, &m, BYTES), OK);
    assert_int_equal(get_send(SHARD_BLOCK_BYTES + 10, 5, &call), OK);
    const Cairn__GetShardResponse *r = (const void *)call.response;
    assert_int_equal(r->first_byte, SHARD_BLOCK_BYTES);
    assert_int_equal(r->shard_bytes, BYTES);
    assert_int_equal(r->n_block_crcs, 1);
    assert_int_equal(r->block_crcs[0], crcs[1]);
    assert_int_equal(call.response_payload.bytes.len, BYTES - SHARD_BLOCK_BYTES);
    assert_memory_equal(call.response_payload.bytes.ptr, data + SHARD_BLOCK_BYTES,
                        BYTES - SHARD_BLOCK_BYTES);
    rpc_call_fini(&call);
    Cairn__StoreStatusRequest ask = CAIRN__STORE_STATUS_REQUEST__INIT;
    struct rpc_call status = {.method = &method_store_status, .request = &ask.base};
    assert_int_equal(call_run(from_gateway, &status), OK);
    const Cairn__StoreStatusResponse *st = (const void *)status.response;
    assert_int_equal(st->shards, 1);
    assert_true(st->writable && st->bytes_free > 0 && st->live_bytes >= BYTES);
    rpc_call_fini(&status);
    assert_int_equal(delete_send(), OK);
    assert_int_equal(delete_send(), OK);
    assert_int_equal(get_send(0, 0, &call), ERR_NOT_FOUND);
    rpc_call_fini(&call);
    assert_int_equal(put_send(from_gateway, &m, BYTES), ERR_CONDEMNED);
}

static void malformed_puts_are_refused(void **state)
{
    (void)state;
    struct rpc_call call;
    Cairn__ShardOwner owner;
    Cairn__PutShardRequest m = put_message(&owner);
    m.blob_id.len = 15;
    assert_int_equal(put_send(from_gateway, &m, BYTES), ERR_INVAL);
    m = put_message(&owner);
    m.n_block_crcs = 1; /* the CRC of the second block would be read from nowhere */
    assert_int_equal(put_send(from_gateway, &m, BYTES), ERR_INVAL);
    m = put_message(&owner);
    assert_int_equal(put_send(from_gateway, &m, BYTES - 1), ERR_INVAL);
    m.shard_index = 70000;
    assert_int_equal(put_send(from_gateway, &m, BYTES), ERR_INVAL);
    m = put_message(&owner);
    m.scheme = (Cairn__Scheme)7;
    assert_int_equal(put_send(from_gateway, &m, BYTES), ERR_INVAL);
    m = put_message(&owner);
    owner.upload_id = (ProtobufCBinaryData){3, blob};
    assert_int_equal(put_send(from_gateway, &m, BYTES), ERR_INVAL);
    m = put_message(&owner);
    static uint8_t long_key[SHARD_KEY_BYTES_MAX + 1];
    owner.key = (ProtobufCBinaryData){sizeof(long_key), long_key};
    assert_int_equal(put_send(from_gateway, &m, BYTES), ERR_INVAL);
    m = put_message(&owner);
    m.owner = NULL; /* unknown owners are no reason to lose a shard */
    assert_int_equal(put_send(from_gateway, &m, BYTES), OK);
    data[5] ^= 1; /* damaged on the way */
    blob[0]++;
    m = put_message(&owner);
    assert_int_equal(put_send(from_gateway, &m, BYTES), ERR_CHECKSUM);
    assert_int_equal(get_send(0, 0, &call), ERR_NOT_FOUND);
    rpc_call_fini(&call);
}

static void only_a_peer_may_bring_old_shards(void **state)
{
    (void)state;
    Cairn__ShardOwner owner;
    Cairn__PutShardRequest m = put_message(&owner);
    m.time_ms -= 3600 * NS_PER_SEC;
    assert_int_equal(put_send(from_gateway, &m, BYTES), ERR_TOO_OLD);
    assert_int_equal(put_send(from_peer, &m, BYTES), OK);
}

static void what_the_header_says_is_told(void **state)
{
    (void)state;
    Cairn__ShardOwner owner;
    Cairn__PutShardRequest m = put_message(&owner);
    Cairn__GetShardRequest ask = CAIRN__GET_SHARD_REQUEST__INIT;
    m.data_shards = 5;
    m.parity_shards = 4;
    m.blob_bytes = 99;
    m.blob_crc32c = 77;
    owner.part_number = 3;
    assert_int_equal(put_send(from_gateway, &m, BYTES), OK);
    ask.blob_id = (ProtobufCBinaryData){ID_BYTES, blob};
    ask.want_info = true;
    struct rpc_call call = {.method = &method_store_get, .request = &ask.base};
    assert_int_equal(call_run(from_peer, &call), OK);
    const Cairn__GetShardResponse *r = (const void *)call.response;
    assert_non_null(r->info);
    assert_int_equal(r->info->pg, 3);
    assert_int_equal(r->info->pg_epoch, 1);
    assert_int_equal(r->info->time_ms, m.time_ms);
    assert_int_equal(r->info->data_shards, 5);
    assert_int_equal(r->info->parity_shards, 4);
    assert_int_equal(r->info->blob_bytes, 99);
    assert_int_equal(r->info->blob_crc32c, 77);
    assert_int_equal(r->info->owner->bucket_id, 5);
    assert_int_equal(r->info->owner->part_number, 3);
    assert_int_equal(r->info->owner->key.len, 5);
    assert_memory_equal(r->info->owner->key.data, "k/e/y", 5);
    assert_int_equal(r->info->owner->upload_id.len, 0);
    assert_memory_equal(r->info->owner->write_id.data, blob, ID_BYTES);
    assert_int_equal(r->info->owner->body_bytes, 123456789);
    rpc_call_fini(&call);
    assert_int_equal(get_send(0, 0, &call), OK);
    assert_null(((const Cairn__GetShardResponse *)(const void *)call.response)->info);
    rpc_call_fini(&call);
    /* Of a damaged shard the head alone can be had. */
    struct id128 id;
    memcpy(id.bytes, blob, ID_BYTES);
    assert_int_equal(disks_distrust(disks, id, 0, crcs, 2), OK);
    call = (struct rpc_call){.method = &method_store_get, .request = &ask.base};
    assert_int_equal(call_run(from_peer, &call), ERR_CORRUPT);
    rpc_call_fini(&call);
    ask.head_only = true;
    call = (struct rpc_call){.method = &method_store_get, .request = &ask.base};
    assert_int_equal(call_run(from_peer, &call), OK);
    r = (const void *)call.response;
    assert_int_equal(r->shard_bytes, BYTES);
    assert_int_equal(call.response_payload.bytes.len, 0);
    assert_int_equal(r->info->owner->bucket_id, 5);
    rpc_call_fini(&call);
}

static int check_send(size_t ids, size_t indexes, bool deep, struct rpc_call *call)
{
    static uint8_t other[ID_BYTES] = {1};
    static ProtobufCBinaryData names[DISKS_CHECK_MAX + 1];
    static uint32_t numbers[DISKS_CHECK_MAX + 1];
    Cairn__CheckShardsRequest m = CAIRN__CHECK_SHARDS_REQUEST__INIT;
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        names[i] = (ProtobufCBinaryData){ID_BYTES, i == 0 ? blob : other};
    m.blob_ids = names;
    m.n_blob_ids = ids;
    m.shard_indexes = numbers;
    m.n_shard_indexes = indexes;
    m.deep = deep;
    *call = (struct rpc_call){.method = &method_store_check, .request = &m.base};
    return call_run(from_peer, call);
}

static void checks_are_answered(void **state)
{
    (void)state;
    struct rpc_call call;
    Cairn__ShardOwner owner;
    Cairn__PutShardRequest m = put_message(&owner);
    assert_int_equal(put_send(from_gateway, &m, BYTES), OK);
    for (int deep = 0; deep < 2; deep++) {
        assert_int_equal(check_send(2, 2, deep, &call), OK);
        const Cairn__CheckShardsResponse *r = (const void *)call.response;
        assert_int_equal(r->n_states, 2);
        assert_int_equal(r->states[0], CAIRN__SHARD_STATE__SHARD_PRESENT);
        assert_int_equal(r->states[1], CAIRN__SHARD_STATE__SHARD_MISSING);
        rpc_call_fini(&call);
    }
    assert_int_equal(delete_send(), OK);
    assert_int_equal(check_send(1, 1, true, &call), OK);
    assert_int_equal(((const Cairn__CheckShardsResponse *)(const void *)call.response)->states[0],
                     CAIRN__SHARD_STATE__SHARD_DELETED);
    rpc_call_fini(&call);
    assert_int_equal(check_send(2, 1, false, &call), ERR_INVAL);
    rpc_call_fini(&call);
    assert_int_equal(check_send(DISKS_CHECK_MAX + 1, DISKS_CHECK_MAX + 1, false, &call),
                     ERR_TOO_LARGE);
    rpc_call_fini(&call);
}

static int distrust_send(struct rpc_peer *peer, uint32_t shard, uint32_t *sums, size_t count)
{
    Cairn__DistrustShardRequest m = CAIRN__DISTRUST_SHARD_REQUEST__INIT;
    struct rpc_call call = {.method = &method_store_distrust, .request = &m.base};
    m.blob_id = (ProtobufCBinaryData){ID_BYTES, blob};
    m.shard_index = shard;
    m.block_crcs = sums;
    m.n_block_crcs = count;
    int err = call_run(peer, &call);
    rpc_call_fini(&call);
    return err;
}

static Cairn__ShardState state_of(void)
{
    struct rpc_call call;
    assert_int_equal(check_send(1, 1, true, &call), OK);
    Cairn__ShardState s =
        ((const Cairn__CheckShardsResponse *)(const void *)call.response)->states[0];
    rpc_call_fini(&call);
    return s;
}

/* Only a peer may, and only of the very shard that it has read. */
static void a_distrusted_shard_is_damaged(void **state)
{
    (void)state;
    Cairn__ShardOwner owner;
    Cairn__PutShardRequest m = put_message(&owner);
    uint32_t other[] = {crcs[0], crcs[1] ^ 1};
    assert_int_equal(put_send(from_gateway, &m, BYTES), OK);
    uint32_t shard = m.shard_index;
    assert_int_not_equal(distrust_send(from_gateway, shard, crcs, 2), OK);
    assert_int_equal(distrust_send(from_peer, shard, other, 2), ERR_EPOCH);
    assert_int_equal(distrust_send(from_peer, shard, crcs, 1), ERR_EPOCH);
    assert_int_equal(distrust_send(from_peer, shard + 1, crcs, 2), ERR_NOT_FOUND);
    assert_int_equal(distrust_send(from_peer, SHARD_INDEX_MAX + 1, crcs, 2), ERR_INVAL);
    assert_int_equal(state_of(), CAIRN__SHARD_STATE__SHARD_PRESENT);
    assert_int_equal(distrust_send(from_peer, shard, crcs, 2), OK);
    assert_int_equal(state_of(), CAIRN__SHARD_STATE__SHARD_DAMAGED);
    assert_int_equal(distrust_send(from_peer, shard, crcs, 2), OK);
    assert_int_equal(put_send(from_peer, &m, BYTES), OK); /* repair brings the right one */
    assert_int_equal(state_of(), CAIRN__SHARD_STATE__SHARD_PRESENT);
    assert_int_equal(delete_send(), OK);
    assert_int_equal(distrust_send(from_peer, shard, crcs, 2), ERR_NOT_FOUND);
}

static int mend_send(struct rpc_peer *peer, size_t count, size_t id_bytes)
{
    static ProtobufCBinaryData names[200];
    Cairn__MendRequest m = CAIRN__MEND_REQUEST__INIT;
    struct rpc_call call = {.method = &method_store_mend, .request = &m.base};
    m.pg = 3;
    m.blob_ids = names;
    m.n_blob_ids = count;
    for (size_t i = 0; i < count; i++)
        names[i] = (ProtobufCBinaryData){i + 1 < count ? ID_BYTES : id_bytes, blob};
    int err = call_run(peer, &call);
    rpc_call_fini(&call);
    return err;
}

/* What the agent makes of them, storagenode/repair/test_hints.c asks. */
static void hints_are_checked(void **state)
{
    (void)state;
    assert_int_equal(mend_send(from_gateway, 129, ID_BYTES), ERR_TOO_LARGE);
    assert_int_equal(mend_send(from_gateway, 128, ID_BYTES - 1), ERR_INVAL);
    assert_int_equal(mend_send(from_gateway, 128, ID_BYTES), ERR_NOT_READY); /* nothing repairs */
    assert_int_not_equal(mend_send(from_peer, 1, ID_BYTES), ERR_NOT_READY);  /* nor may it ask */
}

static int scrub_send(bool deep)
{
    Cairn__StartScrubRequest m = CAIRN__START_SCRUB_REQUEST__INIT;
    struct rpc_call call = {.method = &method_store_start_scrub, .request = &m.base};
    m.deep = deep;
    int err = call_run(from_gateway, &call);
    rpc_call_fini(&call);
    return err;
}

static void a_scrub_begins_when_it_is_asked_for(void **state)
{
    (void)state;
    Cairn__ShardOwner owner;
    Cairn__PutShardRequest m = put_message(&owner);
    struct store_stats st = {0};
    assert_int_equal(put_send(from_gateway, &m, BYTES), OK);
    assert_int_equal(scrub_send(false), OK);
    store_stats_get(disks_store(disks, 0), &st);
    assert_true(st.scrub_asked || st.scrub_passes == 1);
    while (st.scrub_passes == 0) {
        assert_true(st.scrub_left_bytes <= st.live_bytes);
        assert_true(fake_step(&world));
        store_stats_get(disks_store(disks, 0), &st);
    }
    assert_true(!st.scrub_asked && st.scrub_bytes >= BYTES);
    assert_int_equal(scrub_send(true), ERR_NOT_READY); /* nothing repairs here */
}

static int inventory_send(Cairn__InventoryRequest *m, struct rpc_call *call)
{
    *call = (struct rpc_call){.method = &method_store_inventory, .request = &m->base};
    return call_run(from_peer, call);
}

static void inventories_are_answered(void **state)
{
    (void)state;
    struct rpc_call call;
    Cairn__ShardOwner owner;
    Cairn__PutShardRequest put = put_message(&owner);
    Cairn__InventoryRequest m = CAIRN__INVENTORY_REQUEST__INIT;
    assert_int_equal(put_send(from_gateway, &put, BYTES), OK);
    m.pg = 3;
    m.first_byte = blob[0];
    assert_int_equal(inventory_send(&m, &call), OK);
    const Cairn__InventoryResponse *r = (const void *)call.response;
    assert_int_equal(r->n_entries, 1);
    assert_int_equal(r->n_digests, 0);
    assert_memory_equal(r->entries[0]->blob_id.data, blob, ID_BYTES);
    assert_int_equal(r->entries[0]->time_ms, put.time_ms);
    assert_false(r->entries[0]->damaged || r->more);
    rpc_call_fini(&call);
    m.digests = true;
    assert_int_equal(inventory_send(&m, &call), OK);
    r = (const void *)call.response;
    assert_int_equal(r->n_digests, 256);
    assert_true(r->digests[blob[0]] != 0 && r->digests[blob[0] ^ 1] == 0);
    assert_int_equal(r->present.len, 32);
    for (unsigned i = 0; i < 32; i++)
        assert_int_equal(r->present.data[i], i == blob[0] / 8 ? 1 << (blob[0] & 7) : 0);
    rpc_call_fini(&call);
    m.digests = false;
    m.after = (ProtobufCBinaryData){ID_BYTES - 1, blob};
    assert_int_equal(inventory_send(&m, &call), ERR_INVAL);
    rpc_call_fini(&call);
    m.after = (ProtobufCBinaryData){ID_BYTES, blob};
    assert_int_equal(inventory_send(&m, &call), OK);
    assert_int_equal(((const Cairn__InventoryResponse *)(const void *)call.response)->n_entries, 0);
    rpc_call_fini(&call);
    m.first_byte = 256;
    assert_int_equal(inventory_send(&m, &call), ERR_INVAL);
    rpc_call_fini(&call);
    m.first_byte = 0;
    m.entries_max = DISKS_INVENTORY_MAX + 1;
    assert_int_equal(inventory_send(&m, &call), ERR_INVAL);
    rpc_call_fini(&call);
}

static void closed_epochs_bind_gateways(void **state)
{
    (void)state;
    Cairn__ShardOwner owner;
    Cairn__PutShardRequest m = put_message(&owner);
    assert_int_equal(disks_epoch_close(disks, 3, 2), OK);
    assert_int_equal(put_send(from_gateway, &m, BYTES), ERR_EPOCH);
    assert_int_equal(put_send(from_peer, &m, BYTES), OK);
    Cairn__StoreStatusRequest ask = CAIRN__STORE_STATUS_REQUEST__INIT;
    struct rpc_call status = {.method = &method_store_status, .request = &ask.base};
    assert_int_equal(call_run(from_gateway, &status), OK);
    const Cairn__NodeReport *r =
        ((const Cairn__StoreStatusResponse *)(const void *)status.response)->report;
    assert_non_null(r);
    assert_int_equal(r->n_disks, 1);
    assert_int_equal(r->disks[0]->disk_id.len, ID_BYTES);
    assert_int_equal(r->disks[0]->state, CAIRN__DISK_STATE__DISK_UP);
    assert_true(r->disks[0]->writable && r->disks[0]->shards == 1);
    assert_int_equal(r->n_groups, 1);
    assert_int_equal(r->groups[0]->pg, 3);
    assert_int_equal(r->groups[0]->closed_epoch, 2);
    rpc_call_fini(&status);
}

static void a_scrub_is_reported(void **state)
{
    (void)state;
    Cairn__ShardOwner owner;
    Cairn__PutShardRequest m = put_message(&owner);
    Cairn__StoreStatusRequest ask = CAIRN__STORE_STATUS_REQUEST__INIT;
    struct rpc_call status = {.method = &method_store_status, .request = &ask.base};
    struct id128 id;
    struct store_stats st = {0};
    uint32_t extent;
    uint64_t offset, bytes;
    char name[EXTENT_NAME_BYTES + 1];
    assert_int_equal(put_send(from_gateway, &m, BYTES), OK);
    memcpy(id.bytes, blob, ID_BYTES);
    assert_int_equal(store_locate(disks_store(disks, 0), id, (uint16_t)m.shard_index, &extent,
                                  &offset, &bytes),
                     OK);
    extent_name(extent, name);
    assert_true(disk_mem_flip(disk, name, offset + FRAME_HEAD_BYTES, 1));
    store_scrub_start_now(disks_store(disks, 0));
    while (st.scrub_found == 0) {
        assert_true(fake_step(&world));
        store_stats_get(disks_store(disks, 0), &st);
    }
    assert_int_equal(call_run(from_gateway, &status), OK);
    const Cairn__DiskReport *d =
        ((const Cairn__StoreStatusResponse *)(const void *)status.response)->report->disks[0];
    store_stats_get(disks_store(disks, 0), &st);
    assert_int_equal(d->scrub_found, 1);
    assert_true(d->scrub_bytes >= BYTES && d->scrub_bytes == st.scrub_bytes);
    assert_true(d->scrub_oldest_ms > 0 && d->scrub_oldest_ms <= st.scrub_oldest_ms);
    rpc_call_fini(&status);
}

static void metrics_tell(void **state)
{
    (void)state;
    struct buf text = {0};
    Cairn__ShardOwner owner;
    Cairn__PutShardRequest m = put_message(&owner);
    assert_int_equal(put_send(from_gateway, &m, BYTES), OK);
    metrics_text(&text);
    buf_u8(&text, 0);
    assert_non_null(strstr((char *)text.ptr, "\ncairn_store_puts_total 1\n"));
    assert_non_null(
        strstr((char *)text.ptr, "cairn_store_batch_size_total{operations=\"1-1\"} 1\n"));
    assert_non_null(strstr((char *)text.ptr, "\ncairn_store_writable 1\n"));
    assert_non_null(strstr((char *)text.ptr, "\ncairn_store_scrub_found_total 0\n"));
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_put_is_got_and_deleted, setup, teardown),
        cmocka_unit_test_setup_teardown(malformed_puts_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(only_a_peer_may_bring_old_shards, setup, teardown),
        cmocka_unit_test_setup_teardown(what_the_header_says_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(checks_are_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(inventories_are_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(closed_epochs_bind_gateways, setup, teardown),
        cmocka_unit_test_setup_teardown(a_scrub_is_reported, setup, teardown),
        cmocka_unit_test_setup_teardown(a_distrusted_shard_is_damaged, setup, teardown),
        cmocka_unit_test_setup_teardown(hints_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(a_scrub_begins_when_it_is_asked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(metrics_tell, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
