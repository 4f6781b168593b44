/* The fixture of the metanode's operation tests.  See fixture.h. */
#include "tests/unit/metanode/op/fixture.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "proto/keyhash.h"

#include <stdio.h>
#include <stdlib.h>

#define BUCKET_ID 1u /* in partition 1: no bucket record is looked at by apply */
#define WALL_START_MS 1700000000000ull

/* ---- files ---- */

static struct kv_mem_files *table_of(struct meta_files *f)
{
    return container_of(f, struct fx_files, files)->table;
}

static int files_read(struct meta_files *f, const char *path, uint64_t offset, size_t len,
                      struct buf *ret)
{
    struct slice all;
    int err = kv_mem_file_view(table_of(f), path, &all);
    if (err == OK && offset < all.len)
        buf_append(ret, all.ptr + offset, MIN(len, all.len - offset));
    return err;
}

static int files_write(struct meta_files *f, const char *path, uint64_t offset, struct slice bytes)
{
    struct slice all = SLICE_EMPTY;
    if (offset == 0)
        kv_mem_file_remove(table_of(f), path);
    else if (kv_mem_file_view(table_of(f), path, &all) != OK || all.len != offset)
        return ERR_INVAL;
    return kv_mem_file_append(table_of(f), path, bytes);
}

static int files_remove(struct meta_files *f, const char *path)
{
    kv_mem_file_remove(table_of(f), path);
    return OK;
}

static const struct meta_files_ops files_ops = {files_read, files_write, files_remove};

/* ---- nodes ---- */

void fx_add_node(struct fixture *fx, const char *id, const char *zone, enum net_role role,
                 const char *addr)
{
    fx->nodes[fx->cluster.node_count++] = (struct cluster_node){
        .id = strdup(id), .zone = strdup(zone), .addr = strdup(addr), .admin = strdup(""),
        .role = role};
}

static void on_failed(void *arg, int err, const char *what)
{
    struct fx_meta *m = arg;
    (void)what;
    m->failed = err;
}

void fx_init(struct fixture *fx, uint64_t seed)
{
    memset(fx, 0, sizeof(*fx));
    fx->world = world_new(seed);
    fx->table = kv_mem_files_new();
    fx->files = (struct fx_files){{&files_ops}, fx->table};
    fx->cluster.cluster_id.bytes[0] = 7;
    fx->cluster.region = strdup("us-east-1");
    fx->cluster.nodes = fx->nodes;
    fx->cluster.partitions = FX_PARTITIONS;
    fx->cluster.pgs = 4;
    fx->cluster.split_points = &fx->split;
    fx->cluster.split_point_count = 1;
    buf_be64(&fx->split, 1ull << 63);
    for (unsigned i = 0; i < FX_METAS; i++) {
        struct fx_meta *m = &fx->metas[i];
        char zone[16], storage[16], storage_addr[16];
        m->fx = fx;
        snprintf(m->id, sizeof(m->id), "m%u", i);
        snprintf(m->addr, sizeof(m->addr), "m%u:1", i);
        snprintf(m->dir, sizeof(m->dir), "dir%u", i);
        snprintf(zone, sizeof(zone), "z%u", i);
        snprintf(storage, sizeof(storage), "s%u", i);
        fx_add_node(fx, m->id, zone, NET_ROLE_METANODE, m->addr);
        snprintf(storage_addr, sizeof(storage_addr), "s%u:1", i);
        fx_add_node(fx, storage, zone, NET_ROLE_STORAGENODE, storage_addr);
        m->host = host_new(fx->world, m->id, zone, NET_ROLE_METANODE, m->addr, 0, WALL_START_MS);
        struct kv_mem_config log = {.mode = KV_LOG, .files = fx->table, .write_delay_ns = NS_PER_MS,
                                    .keep_on_close = true};
        struct kv_mem_config state = {.mode = KV_STATE, .files = fx->table,
                                      .flush_delay_ns = 5 * NS_PER_MS, .keep_on_close = true};
        m->log_kv = kv_mem_new(host_env(m->host), &log);
        m->state_kv = kv_mem_new(host_env(m->host), &state);
    }
    for (unsigned i = 0; i < FX_WITNESSES; i++) {
        struct fx_witness *w = &fx->witnesses[i];
        snprintf(w->id, sizeof(w->id), "w%u", i);
        snprintf(w->addr, sizeof(w->addr), "w%u:1", i);
        fx_add_node(fx, w->id, "z0", NET_ROLE_WITNESS, w->addr);
        w->host = host_new(fx->world, w->id, "z0", NET_ROLE_WITNESS, w->addr, 0, WALL_START_MS);
    }
    fx->client_host = host_new(fx->world, "gw", "z0", NET_ROLE_GATEWAY, "gw:1", 0, WALL_START_MS);
    struct rpc_config rc = {.node_id = "gw"};
    CHECK(rpc_new(host_env(fx->client_host), host_net(fx->client_host), &rc, &fx->client) == OK);
    fx->storage_host = host_new(fx->world, "sn", "z0", NET_ROLE_STORAGENODE, "sn:1", 0, WALL_START_MS);
    rc.node_id = "sn";
    CHECK(rpc_new(host_env(fx->storage_host), host_net(fx->storage_host), &rc, &fx->storage) == OK);
    meta_config_defaults(&fx->config);
}

void fx_boot_meta(struct fixture *fx, unsigned i)
{
    struct fx_meta *m = &fx->metas[i];
    struct meta_config config = fx->config;
    struct rpc_config rc = {.node_id = m->id};
    CHECK(!m->node);
    if (!host_alive(m->host))
        host_restart(m->host);
    kv_mem_set_env(m->log_kv, host_env(m->host));
    kv_mem_set_env(m->state_kv, host_env(m->host));
    m->failed = 0;
    config.node_id = m->id;
    config.cluster = &fx->cluster;
    config.root_access_key = "ROOT";
    config.root_secret_key = "secret";
    config.snapshot_dir = m->dir;
    config.on_failed = on_failed;
    config.arg = m;
    CHECK(rpc_new(host_env(m->host), host_net(m->host), &rc, &m->rpc) == OK);
    int err = meta_node_new(m->rpc, m->log_kv, m->state_kv, &fx->files.files, &config, &m->node);
    if (err != OK)
        fprintf(stderr, "meta_node_new: %s\n", err_name(err));
    CHECK(err == OK);
    CHECK(rpc_listen(m->rpc, m->addr) == OK);
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

void fx_close_rpc(struct fixture *fx, struct rpc *rpc)
{
    bool closed = false;
    rpc_close(rpc, set_flag, &closed);
    for (int i = 0; i < 100000 && !closed; i++)
        CHECK(world_step(fx->world));
    CHECK(closed);
}

void fx_crash_meta(struct fixture *fx, unsigned i)
{
    struct fx_meta *m = &fx->metas[i];
    if (!m->node)
        return;
    kv_mem_crash(m->log_kv, NULL, NULL);
    kv_mem_crash(m->state_kv, NULL, NULL);
    meta_node_stop(m->node);
    fx_close_rpc(fx, m->rpc);
    fx_run_ms(fx, 5); /* workers end */
    meta_node_free(m->node);
    m->node = NULL;
    m->rpc = NULL;
    kv_mem_crash(m->log_kv, NULL, NULL);
    kv_mem_crash(m->state_kv, NULL, NULL);
    host_crash(m->host, false);
}

void fx_boot_witness(struct fixture *fx, unsigned i)
{
    struct fx_witness *w = &fx->witnesses[i];
    struct rpc_config rc = {.node_id = w->id};
    const char *ids[FX_METAS], *addrs[FX_METAS];
    struct witness_config config = {
        .name = w->id, .addr = w->addr, .zone = "z0", .metanode_ids = ids,
        .metanode_addrs = addrs, .metanode_count = FX_METAS, .slot_bits = 8, .partitions_max = 8,
        .renew_ns = 400 * NS_PER_MS, .call_timeout_ns = 500 * NS_PER_MS};
    for (unsigned k = 0; k < FX_METAS; k++) {
        ids[k] = fx->metas[k].id;
        addrs[k] = fx->metas[k].addr;
    }
    if (!host_alive(w->host))
        host_restart(w->host);
    CHECK(rpc_new(host_env(w->host), host_net(w->host), &rc, &w->rpc) == OK);
    CHECK(witness_node_new(w->rpc, &config, &w->node) == OK);
    CHECK(rpc_listen(w->rpc, w->addr) == OK);
}

void fx_kill_witness(struct fixture *fx, unsigned i)
{
    struct fx_witness *w = &fx->witnesses[i];
    if (!w->node)
        return;
    fx_close_rpc(fx, w->rpc);
    witness_node_free(w->node);
    w->node = NULL;
    host_crash(w->host, false);
}

void fx_boot_all(struct fixture *fx, unsigned witnesses)
{
    for (unsigned i = 0; i < FX_METAS; i++)
        fx_boot_meta(fx, i);
    for (unsigned i = 0; i < witnesses; i++)
        fx_boot_witness(fx, i);
}

void fx_fini(struct fixture *fx)
{
    for (unsigned i = 0; i < FX_WITNESSES; i++)
        fx_kill_witness(fx, i);
    for (unsigned i = 0; i < FX_METAS; i++) {
        fx_crash_meta(fx, i);
        kv_mem_free(fx->metas[i].log_kv);
        kv_mem_free(fx->metas[i].state_kv);
    }
    fx_close_rpc(fx, fx->client);
    fx_close_rpc(fx, fx->storage);
    for (size_t i = 0; i < fx->cluster.node_count; i++) {
        free(fx->nodes[i].id);
        free(fx->nodes[i].zone);
        free(fx->nodes[i].addr);
        free(fx->nodes[i].admin);
    }
    free(fx->cluster.region);
    buf_fini(&fx->split);
    kv_mem_files_free(fx->table);
    world_free(fx->world);
}

/* ---- running ---- */

void fx_run_ms(struct fixture *fx, uint64_t ms)
{
    world_run_until(fx->world, world_now(fx->world) + ms * NS_PER_MS);
}

bool fx_run_until(struct fixture *fx, uint64_t ms, bool (*cond)(struct fixture *fx, void *arg), void *arg)
{
    uint64_t until = world_now(fx->world) + ms * NS_PER_MS;
    while (!cond(fx, arg)) {
        if (world_now(fx->world) >= until)
            return false;
        fx_run_ms(fx, 5);
    }
    return true;
}

void fx_info(struct fixture *fx, unsigned meta, uint32_t partition, struct meta_partition_info *ret)
{
    CHECK(fx->metas[meta].node);
    meta_node_partition_info(fx->metas[meta].node, partition, ret);
    CHECK(ret->partition == partition);
}

int fx_leader(struct fixture *fx, uint32_t partition)
{
    int leader = -1;
    uint64_t term = 0;
    for (unsigned i = 0; i < FX_METAS; i++) {
        struct meta_partition_info info;
        if (!fx->metas[i].node)
            continue;
        fx_info(fx, i, partition, &info);
        if (info.leader && info.visible >= info.noop && info.noop != 0 && info.term > term) {
            leader = (int)i;
            term = info.term;
        }
    }
    return leader;
}

static bool has_leader(struct fixture *fx, void *arg)
{
    return fx_leader(fx, *(uint32_t *)arg) >= 0;
}

bool fx_wait_leader(struct fixture *fx, uint32_t partition, uint64_t ms)
{
    return fx_run_until(fx, ms, has_leader, &partition);
}

static bool all_ready(struct fixture *fx, void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < FX_METAS; i++)
        if (fx->metas[i].node && !meta_node_ready(fx->metas[i].node, NULL))
            return false;
    return true;
}

bool fx_wait_ready(struct fixture *fx, uint64_t ms)
{
    return fx_run_until(fx, ms, all_ready, NULL);
}

/* ---- calls ---- */

struct pending_call {
    struct rpc_call call;
    bool done;
};

static void call_done(struct rpc_call *call)
{
    container_of(call, struct pending_call, call)->done = true;
}

static bool is_done(struct fixture *fx, void *arg)
{
    (void)fx;
    return ((struct pending_call *)arg)->done;
}

int fx_call(struct fixture *fx, unsigned meta, const struct rpc_method *m, const ProtobufCMessage *req,
            uint64_t timeout_ms, struct rpc_call *ret)
{
    struct rpc *from = m->roles & NET_ROLE_GATEWAY ? fx->client : fx->storage;
    return fx_call_from(fx, from, meta, m, req, timeout_ms, ret);
}

int fx_call_from(struct fixture *fx, struct rpc *from, unsigned meta, const struct rpc_method *m,
                 const ProtobufCMessage *req, uint64_t timeout_ms, struct rpc_call *ret)
{
    struct pending_call p = {.call = *ret};
    struct rpc_peer *peer = rpc_peer_get(from, fx->metas[meta].addr, fx->metas[meta].id);
    p.call.method = m;
    p.call.request = req;
    p.call.timeout_ns = timeout_ms * NS_PER_MS;
    p.call.cb = call_done;
    int err = rpc_call_start(peer, &p.call);
    if (err != OK) {
        fx_run_ms(fx, 20);
        return err;
    }
    fx_run_until(fx, timeout_ms + 1000, is_done, &p);
    CHECK(p.done);
    *ret = p.call; /* not linked any more */
    return p.call.err;
}

int fx_put_once(struct fixture *fx, unsigned meta, uint64_t write, const char *key, const char *body,
                uint64_t timeout_ms, uint64_t *ret_index)
{
    Cairn__ProposeRequest req = CAIRN__PROPOSE_REQUEST__INIT;
    Cairn__Command command = CAIRN__COMMAND__INIT;
    Cairn__PutObject put = CAIRN__PUT_OBJECT__INIT;
    Cairn__ObjectRecord record = CAIRN__OBJECT_RECORD__INIT;
    Cairn__Condition condition = CAIRN__CONDITION__INIT;
    struct id128 id = {{1}};
    memcpy(id.bytes + 8, &write, sizeof(write));
    uint64_t touch = keyhash_object(BUCKET_ID, slice_cstr(key));
    struct rcbuf *payload = rcbuf_copy(slice_cstr(body));
    record.etag = (char *)(uintptr_t)"d41d8cd98f00b204e9800998ecf8427e";
    record.owner_id = (char *)(uintptr_t)"owner";
    record.kind = CAIRN__DATA_KIND__DATA_INLINE;
    record.size = strlen(body);
    put.bucket_id = BUCKET_ID;
    put.key = (ProtobufCBinaryData){strlen(key), (uint8_t *)(uintptr_t)key};
    put.record = &record;
    put.condition = &condition;
    command.write_id = (ProtobufCBinaryData){ID_BYTES, id.bytes};
    command.issued_ms = env_wall_ms(host_env(fx->client_host));
    command.epoch = 1;
    command.n_touches = 1;
    command.touches = &touch;
    command.op_case = CAIRN__COMMAND__OP_PUT_OBJECT;
    command.put_object = &put;
    req.partition = 1;
    req.command = &command;
    struct rpc_call call = {.payload = {{payload, SLICE(payload->data, payload->len)}},
                            .payload_count = payload->len ? 1 : 0};
    int err = fx_call(fx, meta, &method_meta_propose, &req.base, timeout_ms, &call);
    const Cairn__ProposeResponse *a = (const Cairn__ProposeResponse *)call.response;
    if (err == OK) {
        err = a->outcome->err;
        if (ret_index)
            *ret_index = a->outcome->index;
    }
    rpc_call_fini(&call);
    rcbuf_unref(payload);
    return err;
}

int fx_put(struct fixture *fx, const char *key, const char *body, uint64_t ms, uint64_t *ret_index)
{
    uint64_t write = ++fx->writes, until = world_now(fx->world) + ms * NS_PER_MS;
    int err = ERR_TIMEOUT;
    while (world_now(fx->world) < until) {
        int leader = fx_leader(fx, 1);
        if (leader < 0) {
            fx_run_ms(fx, 20);
            continue;
        }
        err = fx_put_once(fx, (unsigned)leader, write, key, body,
                          (until - world_now(fx->world)) / NS_PER_MS + 1, ret_index);
        if (err_class(err) == ERR_CLASS_OK || err_class(err) == ERR_CLASS_PERMANENT)
            break;
        fx_run_ms(fx, 20);
    }
    return err;
}

int fx_get_once(struct fixture *fx, unsigned meta, const char *key, uint64_t timeout_ms,
                uint64_t *ret_version, uint64_t *ret_as_of)
{
    Cairn__ReadRequest req = CAIRN__READ_REQUEST__INIT;
    Cairn__RecordKey k = CAIRN__RECORD_KEY__INIT, *keys[] = {&k};
    struct rpc_call call = {0};
    k.kind = CAIRN__RECORD_KIND__RECORD_OBJECT;
    k.bucket_id = BUCKET_ID;
    k.key = (ProtobufCBinaryData){strlen(key), (uint8_t *)(uintptr_t)key};
    req.partition = 1;
    req.epoch = 1;
    req.n_keys = 1;
    req.keys = keys;
    int err = fx_call(fx, meta, &method_meta_read, &req.base, timeout_ms, &call);
    const Cairn__ReadResponse *a = (const Cairn__ReadResponse *)call.response;
    if (err == OK) {
        *ret_version = a->records[0]->present ? a->records[0]->object->version : 0;
        *ret_as_of = a->as_of;
    }
    rpc_call_fini(&call);
    return err;
}

int fx_get(struct fixture *fx, const char *key, uint64_t ms, uint64_t *ret_version, uint64_t *ret_as_of)
{
    uint64_t until = world_now(fx->world) + ms * NS_PER_MS;
    int err = ERR_TIMEOUT;
    while (world_now(fx->world) < until) {
        int leader = fx_leader(fx, 1);
        if (leader >= 0)
            err = fx_get_once(fx, (unsigned)leader, key, 1000, ret_version, ret_as_of);
        if (err == OK)
            break;
        fx_run_ms(fx, 20);
    }
    return err;
}

/* The world's hosts keep the memory of their earlier lives: a crash frees nothing in order. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:begin_life\nleak:sim_net_new\nleak:conn_new\nleak:sim_listen\nleak:world_post\n"
           "leak:flight_new\n";
}
