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

#include <cmocka.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

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
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_put_is_got_and_deleted, setup, teardown),
        cmocka_unit_test_setup_teardown(malformed_puts_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(only_a_peer_may_bring_old_shards, setup, teardown),
        cmocka_unit_test_setup_teardown(metrics_tell, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
