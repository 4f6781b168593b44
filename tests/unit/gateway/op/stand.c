/* The cluster around the gateway under test. */
#include "tests/unit/gateway/op/stand.h"

#include "common/base/check.h"
#include "common/env/kv_mem.h"
#include "proto/methods.h"
#include "proto/registry.h"
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

int stand_command(struct stand *s, unsigned partition, Cairn__Command *command)
{
    static uint8_t write_id[ID_BYTES] = {0xC0};
    struct index *index = s->index[partition];
    struct buf data = {0};
    Cairn__Outcome *outcome = NULL;
    if (++write_id[1] == 0)
        write_id[2]++;
    command->write_id = (ProtobufCBinaryData){ID_BYTES, write_id};
    command->epoch = 1;
    command->issued_ms = command->time_ms = env_wall_ms(&s->f.env);
    for (size_t i = 0; i < command->n_touches; i++)
        s->slots[partition][command->touches[i] % 4096] = index_applied(index) + 1;
    index_entry_pack(command, SLICE_EMPTY, &data);
    assert_int_equal(index_apply(index, index_applied(index) + 1, 1, buf_view(&data), &outcome), OK);
    int err = outcome->err;
    cairn__outcome__free_unpacked(outcome, NULL);
    buf_fini(&data);
    return err;
}

/* The row as it is; version 0: there is none.  Freed by the caller. */
static Cairn__ListRowsResponse *row_look(struct stand *s, const Cairn__RowChange *c)
{
    struct index_view view;
    struct index_reply reply = {0};
    Cairn__ListRowsRequest q = CAIRN__LIST_ROWS_REQUEST__INIT;
    struct buf packed = {0};
    q.epoch = 1;
    q.kind = c->kind;
    q.scope = c->scope;
    q.name = c->name;
    index_view_init(&view, s->index[0], NULL);
    assert_int_equal(index_list_rows(&view, &q, &reply), OK);
    size_t bytes = protobuf_c_message_get_packed_size(&reply.msg.base);
    assert_int_equal(buf_reserve(&packed, bytes + 1), OK);
    protobuf_c_message_pack(&reply.msg.base, packed.ptr);
    Cairn__ListRowsResponse *r = cairn__list_rows_response__unpack(NULL, bytes, packed.ptr);
    assert_non_null(r);
    buf_fini(&packed);
    index_reply_fini(&reply);
    return r;
}

static uint64_t account_of(struct slice packed)
{
    Cairn__AccessKeyRow *key = cairn__access_key_row__unpack(NULL, packed.len, packed.ptr);
    assert_non_null(key);
    uint64_t hash = keyhash_account(slice_cstr(key->account_id));
    cairn__access_key_row__free_unpacked(key, NULL);
    return hash;
}

int stand_put_row(struct stand *s, unsigned kind, const char *scope, const char *name,
                  const ProtobufCMessage *value)
{
    Cairn__Command command = CAIRN__COMMAND__INIT;
    Cairn__ChangeRows op = CAIRN__CHANGE_ROWS__INIT;
    Cairn__RowChange c = CAIRN__ROW_CHANGE__INIT, *changes = &c;
    struct buf packed = {0};
    uint64_t touches[3];
    c.kind = kind;
    c.scope = (char *)(uintptr_t)scope;
    c.name = (char *)(uintptr_t)name;
    c.remove = value == NULL;
    Cairn__ListRowsResponse *old = row_look(s, &c);
    c.expected_version = old->n_rows ? old->rows[0]->version : 0;
    if (value) {
        assert_int_equal(buf_reserve(&packed, protobuf_c_message_get_packed_size(value) + 1), OK);
        packed.len = protobuf_c_message_pack(value, packed.ptr);
        c.value = (ProtobufCBinaryData){packed.len, packed.ptr};
    }
    bool by_name = !scope[0] || kind == CAIRN__ROW_KIND__ROW_QUOTA;
    touches[command.n_touches++] = keyhash_account(slice_cstr(by_name ? name : scope));
    if (kind == CAIRN__ROW_KIND__ROW_ACCESS_KEY) {
        touches[0] = keyhash_access_key(slice_cstr(name));
        if (old->n_rows)
            touches[command.n_touches++] =
                account_of(SLICE(old->rows[0]->value.data, old->rows[0]->value.len));
        if (value)
            touches[command.n_touches++] = account_of(buf_view(&packed));
    }
    op.changes = &changes;
    op.n_changes = 1;
    command.touches = touches;
    command.op_case = CAIRN__COMMAND__OP_CHANGE_ROWS;
    command.change_rows = &op;
    int err = stand_command(s, 0, &command);
    cairn__list_rows_response__free_unpacked(old, NULL);
    buf_fini(&packed);
    return err;
}

void stand_put_key(struct stand *s, const char *id, const char *account, const char *user,
                   bool enabled)
{
    Cairn__AccessKeyRow key = CAIRN__ACCESS_KEY_ROW__INIT;
    key.access_key_id = (char *)(uintptr_t)id;
    key.secret = (char *)(uintptr_t)"secret";
    key.account_id = (char *)(uintptr_t)account;
    key.user = (char *)(uintptr_t)user;
    key.enabled = enabled;
    assert_int_equal(stand_put_row(s, CAIRN__ROW_KIND__ROW_ACCESS_KEY, "", id, &key.base), OK);
}

void stand_put_account(struct stand *s, const char *id, const char *canonical_id)
{
    Cairn__AccountRow account = CAIRN__ACCOUNT_ROW__INIT;
    account.account_id = (char *)(uintptr_t)id;
    account.canonical_id = account.name = (char *)(uintptr_t)canonical_id;
    assert_int_equal(stand_put_row(s, CAIRN__ROW_KIND__ROW_ACCOUNT, "", id, &account.base), OK);
}

static void serve_map(struct stand *s, struct fake_call *call)
{
    Cairn__ClusterMapResponse response = CAIRN__CLUSTER_MAP_RESPONSE__INIT;
    struct index_view view;
    const Cairn__ClusterMapRequest *q = (const Cairn__ClusterMapRequest *)(void *)call->request;
    if (q->current && s->on_map && s->on_map(s, call))
        return;
    index_view_init(&view, s->index[0], NULL);
    assert_int_equal(index_cluster_map(&view, &response.map), OK);
    response.as_of = q->current ? response.map->version : 0;
    fake_reply(call, OK, &response.base, (struct payload){0});
    cairn__cluster_map__free_unpacked(response.map, NULL);
}

static bool take(void *arg, struct id128 blob_id)
{
    struct stand *s = arg;
    for (unsigned i = 0; s->hands_out_once && i < s->handed_count; i++)
        if (id128_eq(s->handed[i], blob_id))
            return false;
    if (s->hands_out_once && s->handed_count < STAND_BLOBS_MAX)
        s->handed[s->handed_count++] = blob_id;
    return true;
}

static void serve_interim(struct stand *s, struct fake_call *call)
{
    const Cairn__InterimRequest *q = (const Cairn__InterimRequest *)(void *)call->request;
    struct index_reply reply = {0};
    Cairn__InterimResponse *answer = &reply.msg.interim;
    cairn__interim_response__init(answer);
    struct index_interim_walk w = {.rows_left = 100,
                                   .segments_left = 1000,
                                   .take_left = q->segments_max,
                                   .take = take,
                                   .arg = s,
                                   .reply = &reply};
    for (int i = 1; i < STAND_PARTITIONS; i++) {
        struct index_view view;
        bool end;
        index_view_init(&view, s->index[i], NULL);
        answer->waiting += index_interim_count(s->index[i]);
        assert_int_equal(index_interim_walk(&view, &w, &end), OK);
        answer->more |= !end;
        buf_fini(&w.after);
    }
    answer->claim_ms = 60000;
    index_interim_finish(&reply);
    fake_reply(call, OK, &answer->base, (struct payload){0});
    index_reply_fini(&reply);
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
    } else if (call->method == &method_meta_list_events) {
        VIEW(Cairn__ListEventsRequest);
        err = index_list_events(&view, q, &reply);
    } else if (call->method == &method_meta_rows) {
        index_view_init(&view, s->index[0], NULL);
        err = index_list_rows(&view, q, &reply);
    } else if (call->method == &method_meta_interim) {
        serve_interim(s, call);
        return;
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
    b->coded = q->scheme == CAIRN__SCHEME__SCHEME_RS;
    memcpy(b->crc, q->block_crcs, q->n_block_crcs * sizeof(uint32_t));
    fake_reply(call, OK, &response.base, (struct payload){0});
}

static void store_get(struct stand_node *n, struct fake_call *call)
{
    const Cairn__GetShardRequest *q = (const Cairn__GetShardRequest *)(void *)call->request;
    Cairn__GetShardResponse r = CAIRN__GET_SHARD_RESPONSE__INIT;
    Cairn__ShardInfo info = CAIRN__SHARD_INFO__INIT;
    Cairn__ShardOwner owner = CAIRN__SHARD_OWNER__INIT;
    if (n->s->on_get)
        n->s->on_get(n->s, call);
    struct stand_blob *b = blob_find(n, q->blob_id);
    if (!b || n->get_err) {
        fake_reply(call, n->get_err ? n->get_err : ERR_NOT_FOUND, NULL, (struct payload){0});
        return;
    }
    if (q->want_info && !n->no_info) {
        owner.write_id = (ProtobufCBinaryData){ID_BYTES, b->write_id.bytes};
        owner.body_bytes = b->body_bytes;
        owner.segment_number = b->segment_number;
        info.owner = &owner;
        r.info = &info;
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
    if (n->s->on_check)
        n->s->on_check(n);
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
    } else if (call->method == &method_store_start_scrub) {
        Cairn__StartScrubResponse started = CAIRN__START_SCRUB_RESPONSE__INIT;
        bool deep = ((const Cairn__StartScrubRequest *)(void *)call->request)->deep;
        n->scrubs += !deep;
        n->deep_scrubs += deep;
        fake_reply(call, n->scrub_err, n->scrub_err ? NULL : &started.base, (struct payload){0});
    } else if (call->method == &method_store_status) {
        status.report = (Cairn__NodeReport *)(uintptr_t)n->report;
        fake_reply(call, OK, &status.base, (struct payload){0});
    } else if (call->method == &method_store_mend) {
        fake_reply(call, ERR_UNIMPLEMENTED, NULL, (struct payload){0}); /* a hint is no more than that */
    } else {
        CHECK(call->method == &method_store_delete);
        const Cairn__DeleteShardsRequest *q = (const Cairn__DeleteShardsRequest *)(void *)call->request;
        struct stand_blob *b = blob_find(n, q->blob_ids[0]);
        if (b)
            b->deleted = true;
        fake_reply(call, OK, &response.base, (struct payload){0});
    }
}

static void blobs_free(struct stand_node *n)
{
    for (unsigned k = 0; k < n->blob_count; k++)
        rcbuf_unref(n->blobs[k].data);
    n->blob_count = 0;
}

static uint64_t group_epoch(struct stand *s)
{
    struct index_view view;
    Cairn__ClusterMap *map;
    index_view_init(&view, s->index[0], NULL);
    assert_int_equal(index_cluster_map(&view, &map), OK);
    assert_int_equal(map->pgs[0]->id, 1);
    uint64_t epoch = map->pgs[0]->epoch;
    cairn__cluster_map__free_unpacked(map, NULL);
    return epoch;
}

void stand_move(struct stand *s, bool to_spare)
{
    struct stand_node *from = to_spare ? &s->node[2] : &s->spare;
    struct stand_node *to = to_spare ? &s->spare : &s->node[2];
    char *members[STAND_NODES] = {s->node[0].id, s->node[1].id, to->id};
    Cairn__Command command = CAIRN__COMMAND__INIT;
    Cairn__NodeRecord record = CAIRN__NODE_RECORD__INIT;
    Cairn__PutNode put = CAIRN__PUT_NODE__INIT;
    Cairn__BeginPgChange begin = CAIRN__BEGIN_PG_CHANGE__INIT;
    Cairn__FinishPgChange finish = CAIRN__FINISH_PG_CHANGE__INIT;
    record.node_id = record.addr = to->id;
    record.zone = (char *)(uintptr_t) "z2";
    record.role = NET_ROLE_STORAGENODE;
    put.node = &record;
    command.op_case = CAIRN__COMMAND__OP_PUT_NODE;
    command.put_node = &put;
    assert_int_equal(stand_command(s, 0, &command), OK);
    begin.pg = finish.pg = 1;
    begin.epoch = group_epoch(s);
    begin.next_members = members;
    begin.n_next_members = STAND_NODES;
    command.op_case = CAIRN__COMMAND__OP_BEGIN_PG_CHANGE;
    command.begin_pg_change = &begin;
    assert_int_equal(stand_command(s, 0, &command), OK);
    finish.epoch = group_epoch(s);
    command.op_case = CAIRN__COMMAND__OP_FINISH_PG_CHANGE;
    command.finish_pg_change = &finish;
    assert_int_equal(stand_command(s, 0, &command), OK);
    blobs_free(to);
    memcpy(to->blobs, from->blobs, from->blob_count * sizeof(from->blobs[0]));
    to->blob_count = from->blob_count;
    from->blob_count = 0;
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
    Cairn__AccountRow account = CAIRN__ACCOUNT_ROW__INIT;
    Cairn__AccessKeyRow key = CAIRN__ACCESS_KEY_ROW__INIT;
    Cairn__Bootstrap b = CAIRN__BOOTSTRAP__INIT;
    Cairn__Command command = CAIRN__COMMAND__INIT;
    char *members[STAND_NODES];
    uint8_t id[ID_BYTES] = {1};
    uint64_t touches[] = {keyhash_account(SLICE_LIT(OPERATOR_ACCOUNT)),
                          keyhash_access_key(SLICE_LIT("ROOTKEY"))};
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
    pg.epoch = coded_pg.epoch = 1;
    pg.n_members = coded_pg.n_members = STAND_NODES;
    pg.members = coded_pg.members = members;
    coded_pg.id = 2;
    coded_pg.scheme = CAIRN__SCHEME__SCHEME_RS;
    coded_pg.data_shards = 2;
    coded_pg.parity_shards = 1;
    account.canonical_id = account.name = (char *)(uintptr_t)"root";
    account.account_id = key.account_id = (char *)(uintptr_t)OPERATOR_ACCOUNT;
    key.enabled = true;
    key.access_key_id = (char *)(uintptr_t)"ROOTKEY";
    key.secret = (char *)(uintptr_t)"secret";
    b.cluster_id = command.write_id = (ProtobufCBinaryData){ID_BYTES, id};
    b.n_nodes = STAND_NODES + 2;
    b.nodes = nodes;
    b.n_partitions = STAND_PARTITIONS;
    b.partitions = parts;
    b.n_pgs = coded ? 2 : 1;
    b.pgs = pgs;
    b.account = &account;
    b.account_key = &key;
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

const struct master_keys *stand_masters;

static void open_stand(struct stand *s, bool coded)
{
    struct cache_config cache = {.bytes_max = 1 << 20};
    struct meta_seed seed = {"meta", "meta"};
    struct meta_config meta = {.zone = "z1", .seeds = &seed, .seed_count = 1};
    struct blob_config blob = {.zone = "z1", .replicate_bytes_max = 64 << 10};
    memset(s, 0, sizeof(*s));
    stand = s;
    s->signs_as = "ROOTKEY";
    s->signs_with = "secret";
    s->signs_for = "s3";
    fake_init(&s->f, 7);
    s->metanode = fake_peer(&s->f, "meta", serve_metanode, s);
    s->witness = fake_peer(&s->f, "wit", serve_witness, s);
    for (int i = 0; i < STAND_NODES; i++) {
        s->node[i].s = s;
        snprintf(s->node[i].id, sizeof(s->node[i].id), "s%c", (char)('0' + i));
        s->node[i].peer = fake_peer(&s->f, s->node[i].id, serve_store, &s->node[i]);
    }
    s->spare.s = s;
    snprintf(s->spare.id, sizeof(s->spare.id), "spare");
    s->spare.peer = fake_peer(&s->f, s->spare.id, serve_store, &s->spare);
    open_indexes(s);
    bootstrap(s, coded);
    s->config = (struct gateway_config){
        .region = SLICE_LIT("us-east-1"),
        .inline_bytes_max = 4096,
        .segment_bytes = 256 << 10,
        .part_bytes_min = 1000,
        .body_bytes_max = 8 << 20,
        .timeout_ms = 8000,
        .lifecycle_day_ms = 86400000,
        .bucket_resume_ms = 10000,
        .masters = stand_masters,
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
        blobs_free(&s->node[i]);
    blobs_free(&s->spare);
    metrics_reset();
}
