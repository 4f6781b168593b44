/* Storage nodes, and a partition that answers them. */
#include "tests/unit/storagenode/orphans/world.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "proto/keyhash.h"
#include "proto/methods.h"
#include "tests/unit/common/alloc_fail.h"

#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define ASK_MAX 64

static ProtobufCBinaryData bin(struct slice s)
{
    return (ProtobufCBinaryData){s.len, (uint8_t *)(uintptr_t)s.ptr};
}

/* ---- clocks ---- */

static struct clock_env *clock_of(struct env *e)
{
    return container_of(e, struct clock_env, env);
}

static struct env *base_of(struct env *e)
{
    return &clock_of(e)->w->f.env;
}

static uint64_t clock_now(struct env *e)
{
    return env_now_ns(base_of(e));
}

static uint64_t clock_wall(struct env *e)
{
    return (uint64_t)((int64_t)env_wall_ms(base_of(e)) + clock_of(e)->skew_ms);
}

static void clock_random(struct env *e, void *ret, size_t len)
{
    env_random(base_of(e), ret, len);
}

static void clock_start(struct env *e, struct env_timer *t, uint64_t delay_ns)
{
    base_of(e)->ops->timer_start(base_of(e), t, delay_ns);
}

static void clock_stop(struct env *e, struct env_timer *t)
{
    base_of(e)->ops->timer_stop(base_of(e), t);
}

static void clock_work(struct env *e, struct env_work *work)
{
    base_of(e)->ops->work_start(base_of(e), work);
}

static const struct env_ops clock_ops = {clock_now,   clock_wall, clock_random,
                                         clock_start, clock_stop, clock_work};

uint64_t world_ms(struct world *w)
{
    return env_wall_ms(&w->f.env);
}

void run_hours(struct world *w, double hours)
{
    fake_run(&w->f, (uint64_t)(hours * (double)HOUR_NS));
}

/* ---- the partition ---- */

/* OK, or the refusal; *ret_condemned may be NULL. */
static int apply(struct world *w, Cairn__Command *c, uint8_t *ret_condemned)
{
    struct buf data = {0};
    struct id128 write_id;
    Cairn__Outcome *outcome = NULL;
    alloc_fail_hold();
    env_random(&w->f.env, write_id.bytes, ID_BYTES);
    if (c->op_case != CAIRN__COMMAND__OP_CONDEMN &&
        c->op_case != CAIRN__COMMAND__OP_DELETION_DONE &&
        c->op_case != CAIRN__COMMAND__OP_EXPAND_DELETION)
        c->write_id = bin(id128_slice(&write_id));
    c->issued_ms = c->time_ms = world_ms(w);
    c->epoch = 1;
    if (!c->settings_version)
        c->settings_version = 1;
    assert_int_equal(index_command_check(w->index, c, 0), OK);
    index_entry_pack(c, SLICE_EMPTY, &data);
    assert_int_equal(
        index_apply(w->index, index_applied(w->index) + 1, 1, buf_view(&data), &outcome), OK);
    int err = outcome->err;
    if (ret_condemned && outcome->condemned.len)
        memcpy(ret_condemned, outcome->condemned.data, outcome->condemned.len);
    cairn__outcome__free_unpacked(outcome, NULL);
    buf_fini(&data);
    alloc_fail_go_on();
    return err;
}

static size_t segments_fill(Cairn__Segment *segments, Cairn__Segment **pointers,
                            const struct id128 *ids, size_t count)
{
    assert_true(count <= 64);
    for (size_t i = 0; i < count; i++) {
        cairn__segment__init(&segments[i]);
        segments[i].pg = PG;
        segments[i].blob_id = bin(id128_slice(&ids[i]));
        segments[i].bytes = 100;
        pointers[i] = &segments[i];
    }
    return count;
}

int put_object(struct world *w, const char *key, const struct id128 *ids, size_t count)
{
    Cairn__Command c = CAIRN__COMMAND__INIT;
    Cairn__PutObject put = CAIRN__PUT_OBJECT__INIT;
    Cairn__ObjectRecord record = CAIRN__OBJECT_RECORD__INIT;
    Cairn__Segment segments[64], *pointers[64];
    uint64_t touch = keyhash_object(BUCKET, slice_cstr(key));
    record.etag = (char *)(uintptr_t) "e";
    record.kind = CAIRN__DATA_KIND__DATA_SEGMENTS;
    record.size = 100 * count;
    record.segments = pointers;
    record.n_segments = segments_fill(segments, pointers, ids, count);
    put.bucket_id = BUCKET;
    put.key = bin(slice_cstr(key));
    put.record = &record;
    c.op_case = CAIRN__COMMAND__OP_PUT_OBJECT;
    c.put_object = &put;
    c.n_touches = 1;
    c.touches = &touch;
    return apply(w, &c, NULL);
}

int create_upload(struct world *w, const char *key, struct id128 upload)
{
    Cairn__Command c = CAIRN__COMMAND__INIT;
    Cairn__CreateUpload create = CAIRN__CREATE_UPLOAD__INIT;
    Cairn__UploadRecord record = CAIRN__UPLOAD_RECORD__INIT;
    Cairn__ObjectRecord object = CAIRN__OBJECT_RECORD__INIT;
    record.upload_id = bin(id128_slice(&upload));
    record.object = &object;
    create.bucket_id = BUCKET;
    create.key = bin(slice_cstr(key));
    create.upload = &record;
    c.op_case = CAIRN__COMMAND__OP_CREATE_UPLOAD;
    c.create_upload = &create;
    return apply(w, &c, NULL);
}

int put_part(struct world *w, const char *key, struct id128 upload, uint32_t number,
             const struct id128 *ids, size_t count)
{
    Cairn__Command c = CAIRN__COMMAND__INIT;
    Cairn__PutPart put = CAIRN__PUT_PART__INIT;
    Cairn__PartRecord part = CAIRN__PART_RECORD__INIT;
    Cairn__Segment segments[64], *pointers[64];
    part.number = number;
    part.etag = (char *)(uintptr_t) "0123456789abcdef0123456789abcdef";
    part.kind = CAIRN__DATA_KIND__DATA_SEGMENTS;
    part.size = 100 * count;
    part.segments = pointers;
    part.n_segments = segments_fill(segments, pointers, ids, count);
    put.bucket_id = BUCKET;
    put.key = bin(slice_cstr(key));
    put.upload_id = bin(id128_slice(&upload));
    put.part = &part;
    c.op_case = CAIRN__COMMAND__OP_PUT_PART;
    c.put_part = &put;
    return apply(w, &c, NULL);
}

int abort_upload(struct world *w, const char *key, struct id128 upload)
{
    Cairn__Command c = CAIRN__COMMAND__INIT;
    Cairn__AbortUpload op = CAIRN__ABORT_UPLOAD__INIT;
    op.bucket_id = BUCKET;
    op.key = bin(slice_cstr(key));
    op.upload_id = bin(id128_slice(&upload));
    c.op_case = CAIRN__COMMAND__OP_ABORT_UPLOAD;
    c.abort_upload = &op;
    return apply(w, &c, NULL);
}

int delete_object(struct world *w, const char *key)
{
    Cairn__Command c = CAIRN__COMMAND__INIT;
    Cairn__DeleteObject op = CAIRN__DELETE_OBJECT__INIT;
    uint64_t touch = keyhash_object(BUCKET, slice_cstr(key));
    op.bucket_id = BUCKET;
    op.key = bin(slice_cstr(key));
    c.op_case = CAIRN__COMMAND__OP_DELETE_OBJECT;
    c.delete_object = &op;
    c.n_touches = 1;
    c.touches = &touch;
    return apply(w, &c, NULL);
}

int seal_bucket(struct world *w)
{
    Cairn__Command c = CAIRN__COMMAND__INIT;
    Cairn__FenceBucket op = CAIRN__FENCE_BUCKET__INIT;
    op.bucket_id = BUCKET;
    op.settings_version = 2;
    op.sealed = true;
    c.op_case = CAIRN__COMMAND__OP_FENCE_BUCKET;
    c.fence_bucket = &op;
    return apply(w, &c, NULL);
}

/* As metanode/op/read.c: what the records do not refer to is condemned, as the entry decides. */
static int condemn(struct world *w, const Cairn__BlobRefsRequest *m, uint8_t *referred)
{
    static const uint8_t answers[] = {1, 0, 2}; /* of INDEX_CONDEMN_REFERRED, ... */
    Cairn__Command c = CAIRN__COMMAND__INIT;
    Cairn__Condemn op = CAIRN__CONDEMN__INIT;
    Cairn__CondemnBlob blobs[ASK_MAX], *pointers[ASK_MAX];
    uint8_t outcome[ASK_MAX] = {0};
    for (size_t i = 0; i < m->n_blob_ids; i++) {
        if (referred[i])
            continue;
        cairn__condemn_blob__init(&blobs[op.n_blobs]);
        blobs[op.n_blobs].pg = m->pgs[i];
        blobs[op.n_blobs].blob_id = m->blob_ids[i];
        blobs[op.n_blobs].time_ms = m->times_ms[i];
        pointers[op.n_blobs] = &blobs[op.n_blobs];
        op.n_blobs++;
    }
    op.bucket_id = m->bucket_id;
    op.key = m->key;
    op.blobs = pointers;
    op.age_ms = AGE_MS;
    c.op_case = CAIRN__COMMAND__OP_CONDEMN;
    c.condemn = &op;
    int err = op.n_blobs ? apply(w, &c, outcome) : OK;
    for (size_t i = 0, at = 0; i < m->n_blob_ids; i++)
        if (!referred[i])
            referred[i] = answers[outcome[at++]];
    return err;
}

static void serve_refs(struct world *w, struct fake_call *call)
{
    Cairn__BlobRefsRequest *m = (Cairn__BlobRefsRequest *)(void *)call->request;
    struct index_view view;
    struct index_reply reply = {0};
    w->questions++;
    if (w->refs_err) {
        fake_reply(call, w->refs_err, NULL, (struct payload){0});
        return;
    }
    w->asked += (unsigned)m->n_blob_ids;
    assert_true(m->condemn && m->n_times_ms == m->n_blob_ids && m->n_pgs == m->n_blob_ids);
    for (size_t i = 0; i < m->n_pgs; i++)
        assert_int_equal(m->pgs[i], PG);
    index_view_init(&view, w->index, NULL);
    alloc_fail_hold();
    int err = index_blob_refs(&view, m, &reply);
    alloc_fail_go_on();
    ProtobufCBinaryData *referred = &reply.msg.blob_refs.referred;
    if (!err)
        err = condemn(w, m, referred->data);
    if (w->refs_odd == 1)
        referred->len--;
    if (w->refs_odd == 2)
        memset(referred->data, 3, referred->len);
    fake_reply(call, err, err || w->refs_odd == 3 ? NULL : &reply.msg.base, (struct payload){0});
    index_reply_fini(&reply);
}

/* ---- the deletion queue ---- */

struct deleting {
    struct disks_delete del;
    bool done;
};

static void on_deleted(struct disks_delete *del)
{
    container_of(del, struct deleting, del)->done = true;
}

static bool delete_at(struct node *n, struct id128 id)
{
    struct deleting d = {.del = {.blob_ids = &id, .count = 1, .cb = on_deleted}};
    if (!n->disks || disks_delete_start(n->disks, &d.del) != OK)
        return false;
    fake_run_until(&n->w->f, &d.done, 10 * NS_PER_SEC);
    assert_true(d.done && d.del.err == OK);
    return true;
}

static void queue_expand(struct world *w, const struct index_deletions *d)
{
    Cairn__Command c = CAIRN__COMMAND__INIT;
    Cairn__ExpandDeletion op = CAIRN__EXPAND_DELETION__INIT;
    op.items = (uint64_t *)(uintptr_t)d->expand;
    op.n_items = d->expand_count;
    c.op_case = CAIRN__COMMAND__OP_EXPAND_DELETION;
    c.expand_deletion = &op;
    assert_int_equal(apply(w, &c, NULL), OK);
}

static size_t queue_round(struct world *w, const struct node *lost, const struct index_deletions *d)
{
    uint64_t done[1000];
    Cairn__Command c = CAIRN__COMMAND__INIT;
    Cairn__DeletionDone op = CAIRN__DELETION_DONE__INIT;
    for (size_t i = 0, b = 0; i < d->item_count; i++) {
        bool all = true;
        for (; b < d->blob_count && d->blobs[b].item == d->items[i]; b++)
            for (unsigned k = 0; k < NODES; k++)
                all &= &w->node[k] == lost || delete_at(&w->node[k], d->blobs[b].blob_id);
        if (all)
            done[op.n_items++] = d->items[i];
    }
    op.items = done;
    c.op_case = CAIRN__COMMAND__OP_DELETION_DONE;
    c.deletion_done = &op;
    if (op.n_items)
        assert_int_equal(apply(w, &c, NULL), OK);
    return d->item_count - op.n_items;
}

size_t drain(struct world *w, const struct node *lost)
{
    for (;;) {
        struct index_view view;
        struct index_deletions d;
        index_view_init(&view, w->index, NULL);
        assert_int_equal(index_deletions_next(&view, 0, world_ms(w), 1000, 1000, &d), OK);
        if (d.expand_count == 0) {
            size_t left = queue_round(w, lost, &d);
            index_deletions_fini(&d);
            return left;
        }
        queue_expand(w, &d);
        index_deletions_fini(&d);
    }
}

/* ---- the map ---- */

static void serve_map(struct world *w, struct fake_call *call)
{
    Cairn__ClusterMapResponse response = CAIRN__CLUSTER_MAP_RESPONSE__INIT;
    Cairn__ClusterMap map = CAIRN__CLUSTER_MAP__INIT;
    Cairn__PlacementGroup pg = CAIRN__PLACEMENT_GROUP__INIT, other = CAIRN__PLACEMENT_GROUP__INIT;
    Cairn__PlacementGroup *pgs[] = {&pg, &other};
    Cairn__PartitionDescriptor partition = CAIRN__PARTITION_DESCRIPTOR__INIT;
    Cairn__PartitionDescriptor *partitions[] = {&partition};
    Cairn__ReplicaRef replica = CAIRN__REPLICA_REF__INIT, *replicas[] = {&replica};
    char *members[NODES];
    for (unsigned i = 0; i < NODES; i++)
        members[i] = w->node[i].member ? w->node[i].id : (char *)(uintptr_t) "z";
    pg.id = PG;
    pg.members = members;
    pg.n_members = NODES;
    other.id = PG - 1; /* nobody's */
    replica.node_id = replica.addr = (char *)(uintptr_t) "m0";
    partition.id = 1;
    partition.epoch = 1;
    partition.replicas = replicas;
    partition.n_replicas = 1;
    map.version = w->map_version;
    map.created_ms = w->created_ms;
    map.pgs = pgs;
    map.n_pgs = 2;
    map.partitions = partitions;
    map.n_partitions = 1;
    response.map = &map;
    fake_reply(call, OK, &response.base, (struct payload){0});
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

/* ---- storage nodes ---- */

/* The store in memory does not bear a failing allocation. */
static struct kv_ops held_ops;
static const struct kv_ops *mem_ops;

static int held_write(struct kv *kv, struct kv_batch **batch)
{
    alloc_fail_hold();
    int err = mem_ops->write(kv, batch);
    alloc_fail_go_on();
    return err;
}

static struct kv *kv_new(struct node *n)
{
    struct kv *kv = kv_mem_new(&n->clock.env, &(struct kv_mem_config){.mode = KV_STATE});
    mem_ops = kv->ops;
    held_ops = *kv->ops;
    held_ops.write = held_write;
    kv->ops = &held_ops;
    return kv;
}

static void on_disks(void *arg, int err)
{
    assert_int_equal(err, OK);
    *(bool *)arg = true;
}

void node_up(struct node *n, bool agent)
{
    bool open = false;
    struct disks_member member = {.disk = n->disk, .kv = n->kv, .path = "/a"};
    struct disks_config config = {
        .store = {.extent_bytes = 1 << 20, .capacity_bytes = 24 << 20, .flush_interval_ms = 60000},
        .members = &member,
        .count = 1};
    assert_int_equal(disks_new(&n->clock.env, &config, &n->disks), OK);
    disks_open_start(n->disks, on_disks, &open);
    fake_run_until(&n->w->f, &open, 10 * NS_PER_SEC);
    assert_true(open);
    if (agent)
        agents_start_one(n->w, (unsigned)(n - n->w->node));
}

void agents_start_one(struct world *w, unsigned node)
{
    struct node *n = &w->node[node];
    struct orphans_config o = {
        .node_id = n->id, .orphan_age_ms = AGE_MS, .blobs_per_sec = w->blobs_per_sec};
    assert_int_equal(orphans_new(&n->clock.env, n->disks, w->map, &o, &n->agent), OK);
}

void agents_start(struct world *w)
{
    for (unsigned i = 0; i < NODES; i++)
        agents_start_one(w, i);
}

static void agent_end(struct node *n)
{
    if (!n->agent)
        return;
    orphans_stop(n->agent);
    for (unsigned i = 0; i < 1000 && !orphans_idle(n->agent); i++)
        fake_run(&n->w->f, 10 * NS_PER_MS);
    assert_true(orphans_idle(n->agent));
    orphans_free(n->agent);
    n->agent = NULL;
}

void node_down(struct node *n)
{
    agent_end(n);
    disk_mem_crash(n->disk, true);
    disk_mem_fail_clear(n->disk);
    kv_mem_crash(n->kv, NULL, NULL);
    disks_free(n->disks);
    n->disks = NULL;
}

struct orphans_stats node_stats(const struct node *n)
{
    struct orphans_stats st;
    orphans_stats(n->agent, &st);
    return st;
}

struct putting {
    struct disks_put put;
    bool done;
};

static void on_put(struct disks_put *put)
{
    container_of(put, struct putting, put)->done = true;
}

struct id128 blob_new(struct world *w, const char *key)
{
    static uint8_t bytes[100];
    uint32_t crc = crc32c(0, SLICE(bytes, sizeof(bytes)));
    struct id128 id;
    env_random(&w->f.env, id.bytes, ID_BYTES);
    for (unsigned i = 0; i < NODES; i++) {
        struct putting p = {
            .put = {.put = {.info = {.blob_id = id,
                                     .shard_index = (uint16_t)i,
                                     .pg = PG,
                                     .pg_epoch = 1,
                                     .time_ms = world_ms(w),
                                     .bytes = sizeof(bytes),
                                     .block_crcs = &crc,
                                     .owner = {.bucket_id = BUCKET, .key = slice_cstr(key)}},
                            .payload.bytes = SLICE(bytes, sizeof(bytes)),
                            .any_age = true},
                    .cb = on_put}};
        if (!w->node[i].disks)
            continue;
        assert_int_equal(disks_put_start(w->node[i].disks, &p.put), OK);
        fake_run_until(&w->f, &p.done, 10 * NS_PER_SEC);
        assert_true(p.done && p.put.err == OK);
    }
    return id;
}

bool node_has(struct node *n, struct id128 id)
{
    enum disks_shard state;
    assert_int_equal(disks_look(n->disks, id, (uint16_t)(n - n->w->node), &state), OK);
    return state == DISKS_SHARD_PRESENT || state == DISKS_SHARD_DAMAGED;
}

unsigned holders(struct world *w, struct id128 id)
{
    unsigned count = 0;
    for (unsigned i = 0; i < NODES; i++)
        count += w->node[i].disks && node_has(&w->node[i], id);
    return count;
}

/* ---- the world ---- */

void world_init(struct world *w)
{
    const char *id = "m0";
    struct map_client_config config = {.metanode_ids = &id,
                                       .metanode_addrs = &id,
                                       .metanode_count = 1,
                                       .poll_ns = 60 * NS_PER_SEC};
    struct index_settings settings = {0};
    *w = (struct world){.map_version = 1};
    fake_init(&w->f, 5);
    w->metanode = fake_peer(&w->f, "m0", serve_meta, w);
    w->kv = kv_mem_new(&w->f.env, &(struct kv_mem_config){.mode = KV_STATE});
    assert_int_equal(index_create(w->kv, 1, 1, SLICE_EMPTY, SLICE_EMPTY, &settings, 0, 0), OK);
    assert_int_equal(index_open(w->kv, 1, &w->index), OK);
    assert_int_equal(map_client_new(&w->f, &config, &w->map), OK);
    for (unsigned i = 0; i < NODES; i++) {
        struct node *n = &w->node[i];
        *n = (struct node){.w = w, .member = true, .clock = {.env = {&clock_ops}, .w = w}};
        snprintf(n->id, sizeof(n->id), "s%u", i);
        n->disk = disk_mem_new(&n->clock.env, &(struct disk_mem_config){.bytes_total = 32 << 20});
        n->kv = kv_new(n);
        node_up(n, false);
    }
}

void world_fini(struct world *w)
{
    for (unsigned i = 0; i < NODES; i++) {
        struct node *n = &w->node[i];
        if (n->disks)
            node_down(n);
        disk_mem_free(n->disk);
        kv_mem_free(n->kv);
    }
    map_client_stop(w->map);
    fake_run(&w->f, 20 * NS_PER_SEC);
    assert_true(map_client_idle(w->map));
    map_client_free(w->map);
    index_close(w->index);
    kv_mem_free(w->kv);
    fake_fini(&w->f);
}
