/* Boots, crashes and looks into the nodes of a simulated cluster. */
#include "tests/sim/cluster.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/obs/log.h"
#include "metanode/op/node.h"
#include "tests/sim/stores.h"
#include "witness/op/witness_node.h"

#include <stdio.h>
#include <stdlib.h>

/* A dead leader's node is missed after an election timeout (1.2 s), a batch of it may be late by 2
 * s; a leader that stepped down campaigns within two timeouts, and the campaign may be late as
 * well. */
#define SIM_ORPHAN_NS_MAX (6 * NS_PER_SEC)
#define WALL_START_MS 1700000000000ull
#define DELETION_PAUSE_MS 300 /* between rounds, when blobs are let go as often as here */
#define PLACEMENT_MS 500
#define PG_CHANGES_MAX 2

/* ---- snapshot files: the kv's in-memory table ---- */

struct sim_files {
    struct meta_files files;
    struct kv_mem_files *table;
};

static struct kv_mem_files *table_of(struct meta_files *f)
{
    return container_of(f, struct sim_files, files)->table;
}

static int files_read(struct meta_files *f, const char *path, uint64_t offset, size_t len,
                      struct buf *ret)
{
    struct slice all;
    int err = kv_mem_file_view(table_of(f), path, &all);
    if (err != OK)
        return err;
    if (offset < all.len)
        buf_append(ret, all.ptr + offset, MIN(len, all.len - offset));
    return ret->failed ? ERR_NOMEM : OK;
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

static void enter(void *arg)
{
    struct sim_node *n = arg;
    log_node_set(n->id);
}

static void meta_failed(void *arg, int err, const char *what)
{
    struct sim_node *n = arg;
    char text[200];
    snprintf(text, sizeof(text), "%s stopped itself: %s: %s", n->id, err_name(err), what);
    n->failed = true;
    n->cluster->problem(n->cluster->problem_arg, text);
}

/* The longest lease that meta_config_check() accepts. */
static uint32_t lease_max_ms(uint32_t election_ms, uint32_t drift_ppm)
{
    uint64_t promise = (uint64_t)election_ms * (1000000 - drift_ppm);
    return (uint32_t)((promise - 1) / (1000000 + drift_ppm));
}

static void boot_meta(struct sim_node *n)
{
    struct sim_cluster *c = n->cluster;
    static char dirs[SIM_NODES_MAX][64];
    struct meta_config config = {0};
    struct buf why = {0};
    meta_config_defaults(&config);
    size_t at = (size_t)(n - c->metas);
    snprintf(dirs[at], sizeof(dirs[at]), "snap-%s", n->id);
    config.node_id = n->id;
    config.cluster = &c->config;
    config.root_access_key = "ROOT";
    config.root_secret_key = "simulated-secret";
    config.snapshot_dir = dirs[at];
    config.lease_reads = c->lease_reads;
    config.timeouts.drift_ppm = c->drift_ppm;
    if (c->lease_at_bound)
        config.timeouts.raft_lease = lease_max_ms(config.timeouts.election, c->drift_ppm);
    config.timeouts.sleep_after = c->sleep_after_ms;
    config.timeouts.balance = c->balance_ms;
    config.limits.append_entries_max = c->append_entries_max;
    config.limits.log_bytes_keep = c->log_bytes_max / 4;
    config.limits.log_bytes_max = c->log_bytes_max;
    if (c->deletion_grace_ms) {
        config.timeouts.deletion_grace = c->deletion_grace_ms;
        config.timeouts.deletion_pause = DELETION_PAUSE_MS;
    }
    if (c->mends) {
        config.timeouts.node_down = c->node_down_ms;
        config.timeouts.node_lost = c->node_lost_ms;
        config.timeouts.placement = PLACEMENT_MS;
        config.limits.pg_changes_max = PG_CHANGES_MAX;
    }
    config.on_failed = meta_failed;
    config.arg = n;
    if (meta_config_check(&config, &why) != OK) {
        buf_u8(&why, 0);
        c->problem(c->problem_arg, (const char *)why.ptr);
    }
    kv_mem_set_env(n->log_kv, host_env(n->host));
    kv_mem_set_env(n->state_kv, host_env(n->host));
    int err =
        meta_node_new(n->rpc, n->log_kv, n->state_kv, &c->snapshot_files->files, &config, &n->meta);
    if (err != OK)
        meta_failed(n, err, "meta_node_new");
}

static void boot_witness(struct sim_node *n)
{
    struct sim_cluster *c = n->cluster;
    const char *ids[SIM_NODES_MAX], *addrs[SIM_NODES_MAX];
    struct witness_config config = {
        .name = n->id,
        .addr = host_addr(n->host),
        .zone = host_zone(n->host),
        .metanode_ids = ids,
        .metanode_addrs = addrs,
        .metanode_count = c->zones,
        .slot_bits = 4, /* few slots, so that collisions happen */
        .partitions_max = 16,
        .renew_ns = 400 * NS_PER_MS,
        .call_timeout_ns = 500 * NS_PER_MS,
    };
    for (size_t i = 0; i < c->zones; i++) {
        ids[i] = c->metas[i].id;
        addrs[i] = host_addr(c->metas[i].host);
    }
    CHECK(witness_node_new(n->rpc, &config, &n->witness) == OK);
}

void sim_boot(struct sim_node *n)
{
    struct rpc_config config = {.node_id = n->id};
    if (!host_alive(n->host))
        host_restart(n->host);
    n->boot++;
    n->running = true;
    n->failed = false;
    log_node_set(n->id);
    CHECK(rpc_new(host_env(n->host), host_net(n->host), &config, &n->rpc) == OK);
    switch (host_role(n->host)) {
    case NET_ROLE_METANODE: boot_meta(n); break;
    case NET_ROLE_WITNESS: boot_witness(n); break;
    case NET_ROLE_STORAGENODE: sim_store_boot(n); break; /* listens when it has recovered */
    default: sim_boot_gateway(n); break;
    }
    if (n->meta || n->witness)
        CHECK(rpc_listen(n->rpc, host_addr(n->host)) == OK);
}

void sim_on_boot(struct sim_node *gateway, void (*fn)(void *arg, struct sim_node *gateway),
                 void *arg)
{
    size_t i = 0;
    while (gateway->on_boot[i].fn)
        CHECK(++i < SIM_BOOT_HOOKS);
    gateway->on_boot[i].fn = fn;
    gateway->on_boot[i].arg = arg;
}

static uint64_t random64(void *arg)
{
    return world_random(arg);
}

void sim_crash(struct sim_node *n, bool silent)
{
    CHECK(n->running);
    host_crash(n->host, silent);
    n->running = false;
    n->rpc = NULL;
    n->meta = NULL;
    n->witness = NULL;
    n->cache = NULL;
    n->client = NULL;
    n->blobs = NULL;
    n->gateway = NULL;
    if (n->drive_count)
        sim_store_crash(n);
    if (n->log_kv) {
        kv_mem_crash(n->log_kv, random64, n->cluster->world);
        kv_mem_crash(n->state_kv, random64, n->cluster->world);
    }
}

int32_t sim_clock_rate(struct sim_cluster *c)
{
    int32_t bound = (int32_t)c->drift_ppm;
    switch (world_below(c->world, 4)) {
    case 0: return bound;
    case 1: return -bound;
    default: return (int32_t)world_below(c->world, 2 * c->drift_ppm + 1) - bound;
    }
}

/* number: of those of its kind in the zone, from 1. */
static void node_names(size_t zone, const char *kind, size_t number, char id[32], char addr[32])
{
    snprintf(id, 32, "z%zu-%s-%zu", zone + 1, kind, number);
    if (number == 1)
        snprintf(addr, 32, "%s%zu:1", kind, zone + 1);
    else
        snprintf(addr, 32, "%s%zu-%zu:1", kind, zone + 1, number);
}

static void node_init(struct sim_cluster *c, struct sim_node *n, size_t zone, const char *kind,
                      enum net_role role, size_t number)
{
    char zone_name[8], addr[32];
    *n = (struct sim_node){.cluster = c};
    snprintf(zone_name, sizeof(zone_name), "z%zu", zone + 1);
    node_names(zone, kind, number, n->id, addr);
    int32_t rate = sim_clock_rate(c);
    int64_t wall = (int64_t)world_below(c->world, 400) - 200;
    n->host =
        host_new(c->world, n->id, zone_name, role, addr, rate, WALL_START_MS + (uint64_t)wall);
    host_on_enter(n->host, enter, n);
    if (role == NET_ROLE_STORAGENODE)
        sim_store_init(n);
    if (role == NET_ROLE_METANODE) {
        struct kv_mem_config log = {.mode = KV_LOG,
                                    .files = c->files,
                                    .write_delay_ns =
                                        200 * NS_PER_US + world_below(c->world, 3 * NS_PER_MS),
                                    .keep_on_close = true};
        struct kv_mem_config state = {.mode = KV_STATE,
                                      .files = c->files,
                                      .flush_delay_ns = 5 * NS_PER_MS,
                                      .keep_on_close = true};
        n->log_kv = kv_mem_new(host_env(n->host), &log);
        n->state_kv = kv_mem_new(host_env(n->host), &state);
        CHECK(n->log_kv && n->state_kv);
    }
}

void sim_cluster_init(struct sim_cluster *c, struct world *w, const char *split_points)
{
    struct buf text = {0}, why = {0};
    c->world = w;
    c->zones = 3;
    c->files = kv_mem_files_new();
    c->snapshot_files = calloc(1, sizeof(*c->snapshot_files));
    CHECK(c->files && c->snapshot_files);
    *c->snapshot_files = (struct sim_files){.files = {.ops = &files_ops}, .table = c->files};
    buf_printf(&text, "cluster_id: 000102030405060708090a0b0c0d0e0f\nregion: us-east-1\npgs: %u\n",
               c->pgs ? c->pgs : 4);
    if (c->mends)
        buf_printf(&text, "orphan_age: %us\nclock_difference_max: 3s\n", SIM_ORPHAN_AGE_MS / 1000);
    if (c->schemes)
        buf_printf(&text, "schemes: [%s]\n", c->schemes);
    if (split_points)
        buf_printf(&text, "split_points: [%s]\n", split_points);
    else
        buf_cstr(&text, "partitions: 2\n");
    buf_cstr(&text, "nodes:\n");
    static const struct {
        const char *kind;
        enum net_role role;
    } roles[] = {
        {"metanode", NET_ROLE_METANODE},
        {"witness", NET_ROLE_WITNESS},
        {"gateway", NET_ROLE_GATEWAY},
        {"storagenode", NET_ROLE_STORAGENODE},
    };
    for (size_t r = 0; r < ARRAY_COUNT(roles); r++) {
        bool several = roles[r].role == NET_ROLE_STORAGENODE;
        size_t per_zone = several ? MAX(c->stores_per_zone, (size_t)1) : 1;
        for (size_t i = 0; i < c->zones * per_zone; i++) {
            char id[32], addr[32];
            node_names(i / per_zone, roles[r].kind, i % per_zone + 1, id, addr);
            buf_printf(&text, "  - {id: %s, zone: z%zu, role: %s, addr: \"%s\"}\n", id,
                       i / per_zone + 1, roles[r].kind, addr);
        }
    }
    if (cluster_config_parse("simulated", buf_view(&text), &c->config, &why) != OK) {
        fprintf(stderr, "%.*s\n", (int)why.len, (const char *)why.ptr);
        abort();
    }
    buf_fini(&text);
    buf_fini(&why);
    for (size_t z = 0; z < c->zones; z++) {
        node_init(c, &c->metas[z], z, "metanode", NET_ROLE_METANODE, 1);
        node_init(c, &c->witnesses[z], z, "witness", NET_ROLE_WITNESS, 1);
        node_init(c, &c->gateways[z], z, "gateway", NET_ROLE_GATEWAY, 1);
    }
    CHECK(sim_store_count(c) <= SIM_NODES_MAX);
    for (size_t i = 0; i < sim_store_count(c); i++)
        node_init(c, &c->stores[i], i / c->stores_per_zone, "storagenode", NET_ROLE_STORAGENODE,
                  i % c->stores_per_zone + 1);
}

/* ---- invariants ---- */

static void check_bounds(struct sim_cluster *c, const char *id, const struct meta_partition_info *p)
{
    char text[256];
    if (p->quarantined) {
        snprintf(text, sizeof(text), "%s partition %u is quarantined", id, p->partition);
        c->problem(c->problem_arg, text);
    }
    if (p->applied > p->visible || p->visible > p->commit || p->commit > p->last) {
        snprintf(text, sizeof(text),
                 "%s partition %u: applied %llu, visible %llu, commit %llu, last %llu", id,
                 p->partition, (unsigned long long)p->applied, (unsigned long long)p->visible,
                 (unsigned long long)p->commit, (unsigned long long)p->last);
        c->problem(c->problem_arg, text);
    }
}

/* One leader a term, at any time. */
static void check_leader(struct sim_cluster *c, size_t zone, size_t at,
                         const struct meta_partition_info *p)
{
    char text[256];
    if (!p->leader || p->term >= SIM_TERMS_MAX)
        return;
    uint8_t *leader = &c->terms[at].leader[p->term];
    if (*leader != 0 && *leader != zone + 1) {
        snprintf(text, sizeof(text), "partition %u has had two leaders in term %llu", p->partition,
                 (unsigned long long)p->term);
        c->problem(c->problem_arg, text);
    }
    *leader = (uint8_t)(zone + 1);
}

static bool info_of(struct sim_cluster *c, size_t zone, size_t at, struct meta_partition_info *ret)
{
    struct sim_node *n = &c->metas[zone];
    if (!n->meta || n->failed || !host_alive(n->host))
        return false;
    meta_node_partition_info(n->meta, at, ret);
    return ret->running;
}

/* Nobody has anything that a sleeping leader has not, nor lacks anything of it. */
static void check_sleeping_leader(struct sim_cluster *c, size_t zone, size_t at,
                                  const struct meta_partition_info *p)
{
    struct meta_partition_info o;
    char text[256];
    for (size_t z = 0; z < c->zones; z++) {
        if (z == zone || !info_of(c, z, at, &o) || o.term > p->term || o.last == p->last)
            continue;
        snprintf(text, sizeof(text), "%s leads partition %u asleep at %llu, %s has %llu",
                 c->metas[zone].id, p->partition, (unsigned long long)p->last, c->metas[z].id,
                 (unsigned long long)o.last);
        c->problem(c->problem_arg, text);
    }
}

/* One that sleeps has a leader; when that dies, or does not lead any more, it does not sleep on. */
static void check_sleeper(struct sim_cluster *c, size_t zone, size_t at,
                          const struct meta_partition_info *p)
{
    struct meta_partition_info o;
    uint64_t now = world_now(c->world), *since = &c->orphaned_ns[zone][at];
    char text[256];
    bool led = p->leader;
    for (size_t z = 0; z < c->zones && !led; z++)
        led = info_of(c, z, at, &o) && o.leader && o.term >= p->term;
    if (led || *since == 0 || host_paused(c->metas[zone].host))
        *since = now;
    if (now - *since < SIM_ORPHAN_NS_MAX)
        return;
    snprintf(text, sizeof(text),
             "%s sleeps in partition %u, which has had no leader since its term %llu",
             c->metas[zone].id, p->partition, (unsigned long long)p->term);
    c->problem(c->problem_arg, text);
}

static void check_sleep(struct sim_cluster *c, size_t zone, size_t at,
                        const struct meta_partition_info *p)
{
    char text[256];
    if (!p->asleep) {
        c->orphaned_ns[zone][at] = 0;
        return;
    }
    c->asleep++;
    if (p->applied != p->last || p->synced != p->last || p->partition == 0 || p->proposals > 0) {
        snprintf(text, sizeof(text),
                 "%s sleeps in partition %u: applied %llu of %llu, %llu proposals",
                 c->metas[zone].id, p->partition, (unsigned long long)p->applied,
                 (unsigned long long)p->last, (unsigned long long)p->proposals);
        c->problem(c->problem_arg, text);
    }
    if (p->leader)
        check_sleeping_leader(c, zone, at, p);
    check_sleeper(c, zone, at, p);
}

void sim_check(struct sim_cluster *c)
{
    struct meta_partition_info info;
    for (size_t z = 0; z < c->zones; z++) {
        struct meta_node *m = c->metas[z].meta;
        if (!m || c->metas[z].failed)
            continue;
        size_t count = MIN(meta_node_partition_count(m), (size_t)SIM_PARTITIONS_MAX);
        for (size_t i = 0; i < count; i++) {
            meta_node_partition_info(m, i, &info);
            check_bounds(c, c->metas[z].id, &info);
            check_leader(c, z, i, &info);
            check_sleep(c, z, i, &info);
        }
    }
}

static uint64_t state_hash(struct kv *kv, uint32_t partition)
{
    uint64_t hash = 0;
    uint8_t lower[4], upper[4];
    for (int i = 0; i < 4; i++) {
        lower[i] = (uint8_t)(partition >> (24 - 8 * i));
        upper[i] = (uint8_t)((partition + 1) >> (24 - 8 * i));
    }
    const struct kv_snapshot *snap = kv->ops->snapshot_new(kv);
    for (int family = 0; family < KV_FAMILY_COUNT; family++) {
        struct kv_iter *it =
            kv->ops->iter_new(kv, snap, (enum kv_family)family, SLICE(lower, 4), SLICE(upper, 4));
        for (it->ops->seek(it, SLICE_EMPTY); it->ops->valid(it); it->ops->next(it)) {
            hash = hash64(hash, it->ops->key(it));
            hash = hash64(hash, it->ops->value(it));
        }
        it->ops->free(it);
    }
    kv->ops->snapshot_free(kv, snap);
    return hash;
}

bool sim_converged(struct sim_cluster *c, struct buf *ret_why)
{
    size_t count = meta_node_partition_count(c->metas[0].meta);
    for (size_t i = 0; i < count; i++) {
        struct meta_partition_info a, b;
        unsigned leaders = 0;
        meta_node_partition_info(c->metas[0].meta, i, &a);
        for (size_t z = 0; z < c->zones; z++) {
            meta_node_partition_info(c->metas[z].meta, i, &b);
            leaders += b.leader;
            if (b.applied != a.applied) {
                buf_printf(ret_why, "partition %u: %s applied %llu, %s %llu", a.partition,
                           c->metas[0].id, (unsigned long long)a.applied, c->metas[z].id,
                           (unsigned long long)b.applied);
                return false;
            }
        }
        if (leaders != 1) {
            buf_printf(ret_why, "partition %u has %u leaders", a.partition, leaders);
            return false;
        }
        uint64_t hash = state_hash(c->metas[0].state_kv, a.partition);
        for (size_t z = 1; z < c->zones; z++) {
            if (state_hash(c->metas[z].state_kv, a.partition) != hash) {
                buf_printf(ret_why, "partition %u: states differ at index %llu", a.partition,
                           (unsigned long long)a.applied);
                return false;
            }
        }
    }
    return true;
}
