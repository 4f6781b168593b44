/* The cluster in a table. */
#include "tests/unit/gateway/meta/cluster.h"

#include "common/base/check.h"
#include "common/base/cursor.h"
#include "proto/keyhash.h"
#include "proto/methods.h"
#include "proto/witness.pb-c.h"

#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SPLIT "\0\0\0\0\0\0\0\7m"

static const char *const node_ids[METANODES] = {"m0", "m1", "m2"};
static const char *const witness_ids[WITNESSES] = {"w0", "w1", "w2"};
static const char *const zones[] = {"z0", "z1", "z2"};

static struct slice bytes_of(ProtobufCBinaryData b)
{
    return SLICE(b.data, b.len);
}

static unsigned partition_of(Cairn__RecordKind kind, uint64_t bucket_id, struct slice key)
{
    if (kind != CAIRN__RECORD_KIND__RECORD_OBJECT)
        return 0;
    return range_contains(SLICE_EMPTY, SLICE(SPLIT, 9), bucket_id, key) ? 1 : 2;
}

static uint64_t hash_of(const struct row *r)
{
    struct slice key = slice_cstr(r->key);
    return r->kind == CAIRN__RECORD_KIND__RECORD_OBJECT   ? keyhash_object(r->bucket_id, key)
           : r->kind == CAIRN__RECORD_KIND__RECORD_BUCKET ? keyhash_bucket(key)
                                                          : keyhash_access_key(key);
}

/* ---- rows ---- */

static struct row *row_find(struct cluster *c, Cairn__RecordKind kind, uint64_t bucket_id,
                            struct slice key)
{
    for (unsigned i = 0; i < c->row_count; i++) {
        struct row *r = &c->rows[i];
        if (r->kind == kind && r->bucket_id == bucket_id && slice_eq(slice_cstr(r->key), key))
            return r;
    }
    return NULL;
}

static struct row *row_change(struct cluster *c, Cairn__RecordKind kind, uint64_t bucket_id,
                              const char *key)
{
    struct row *r = row_find(c, kind, bucket_id, slice_cstr(key));
    if (!r) {
        CHECK(c->row_count < ROWS_MAX);
        r = &c->rows[c->row_count++];
        r->kind = kind;
        r->bucket_id = bucket_id;
        snprintf(r->key, sizeof(r->key), "%s", key);
    }
    struct partition_state *p = &c->partition[partition_of(kind, bucket_id, slice_cstr(key))];
    r->index = ++p->index;
    p->slot[hash_of(r) % 4096] = r->index;
    return r;
}

void put_object(struct cluster *c, uint64_t bucket_id, const char *key, const char *text)
{
    struct row *r = row_change(c, CAIRN__RECORD_KIND__RECORD_OBJECT, bucket_id, key);
    r->present = true;
    snprintf(r->text, sizeof(r->text), "%s", text);
}

void delete_object(struct cluster *c, uint64_t bucket_id, const char *key)
{
    row_change(c, CAIRN__RECORD_KIND__RECORD_OBJECT, bucket_id, key)->present = false;
}

void put_bucket_of(struct cluster *c, const char *name, uint64_t id, const char *owner)
{
    struct row *r = row_change(c, CAIRN__RECORD_KIND__RECORD_BUCKET, 0, name);
    r->present = id != 0;
    r->bucket = id;
    snprintf(r->owner, sizeof(r->owner), "%s", owner);
}

void put_bucket(struct cluster *c, const char *name, uint64_t id)
{
    put_bucket_of(c, name, id, "");
}

static void touch_account(struct cluster *c, const char *account)
{
    if (account[0])
        c->partition[0].slot[keyhash_account(slice_cstr(account)) % 4096] = c->partition[0].index;
}

void put_principal(struct cluster *c, const char *id, const char *account, bool present,
                   bool enabled)
{
    struct row *r = row_change(c, CAIRN__RECORD_KIND__RECORD_PRINCIPAL, 0, id);
    touch_account(c, r->account);
    snprintf(r->account, sizeof(r->account), "%s", account);
    touch_account(c, r->account);
    r->present = present;
    r->enabled = enabled;
}

void put_key(struct cluster *c, const char *id, bool enabled)
{
    put_principal(c, id, "1", true, enabled);
}

void change_account(struct cluster *c, const char *account, bool present, bool enabled)
{
    c->partition[0].index++;
    touch_account(c, account);
    for (unsigned i = 0; i < c->row_count; i++) {
        struct row *r = &c->rows[i];
        if (r->kind != CAIRN__RECORD_KIND__RECORD_PRINCIPAL || strcmp(r->account, account) != 0)
            continue;
        r->present = present;
        r->enabled = enabled;
    }
}

/* ---- the metanodes ---- */

static void refuse(struct fake_call *call, int err, int leader)
{
    Cairn__RouteError route = CAIRN__ROUTE_ERROR__INIT;
    Cairn__ReadResponse r = CAIRN__READ_RESPONSE__INIT;
    Cairn__ProposeResponse p = CAIRN__PROPOSE_RESPONSE__INIT;
    Cairn__ListResponse l = CAIRN__LIST_RESPONSE__INIT;
    route.leader_hint = leader >= 0 ? (char *)(uintptr_t)node_ids[leader] : route.leader_hint;
    r.route = p.route = l.route = &route;
    const ProtobufCMessage *m = call->method == &method_meta_read   ? &r.base
                                : call->method == &method_meta_list ? &l.base
                                                                    : &p.base;
    fake_reply(call, err, m, (struct payload){0});
}

/* Not the leader, or another epoch: refuses the call. */
static bool is_refused(struct cluster *c, int node, struct fake_call *call, uint32_t partition,
                       uint64_t epoch)
{
    struct partition_state *p = &c->partition[partition];
    if (p->leader == node && epoch == c->epoch)
        return false;
    refuse(call, p->leader != node ? ERR_NOT_LEADER : ERR_EPOCH, p->leader);
    return true;
}

static void serve_map(struct cluster *c, int asked, struct fake_call *call)
{
    const Cairn__ClusterMapRequest *request =
        (const Cairn__ClusterMapRequest *)(void *)call->request;
    Cairn__ClusterMapResponse response = CAIRN__CLUSTER_MAP_RESPONSE__INIT;
    Cairn__ClusterMap map = CAIRN__CLUSTER_MAP__INIT;
    Cairn__NodeRecord node[METANODES + WITNESSES], *nodes[METANODES + WITNESSES];
    Cairn__ReplicaRef replica[METANODES], *replicas[METANODES];
    Cairn__PartitionDescriptor part[PARTITIONS], *parts[PARTITIONS];
    int leader = c->partition[0].leader;
    if (request->current && !c->no_current) {
        c->current_maps++;
        if (leader != asked) {
            if (leader >= 0)
                response.leader_hint = (char *)(uintptr_t)node_ids[leader];
            fake_reply(call, ERR_NOT_LEADER, &response.base, (struct payload){0});
            return;
        }
        response.as_of = c->as_of ? c->as_of : c->epoch;
    }
    map.version = c->epoch;
    response.map = &map;
    response.unchanged = request->known_version == map.version;
    for (int i = 0; i < METANODES + WITNESSES; i++) {
        bool meta = i < METANODES;
        int n = meta ? i : i - METANODES;
        cairn__node_record__init(nodes[i] = &node[i]);
        node[i].node_id = node[i].addr = (char *)(uintptr_t)(meta ? node_ids[n] : witness_ids[n]);
        node[i].zone = (char *)(uintptr_t)zones[n];
        node[i].role = meta ? NET_ROLE_METANODE : NET_ROLE_WITNESS;
    }
    for (int i = 0; i < METANODES; i++) {
        cairn__replica_ref__init(replicas[i] = &replica[i]);
        replica[i].node_id = replica[i].addr = (char *)(uintptr_t)node_ids[i];
    }
    for (int i = 0; i < PARTITIONS; i++) {
        cairn__partition_descriptor__init(parts[i] = &part[i]);
        part[i].id = (uint32_t)i;
        part[i].epoch = c->epoch;
        part[i].n_replicas = METANODES;
        part[i].replicas = replicas;
    }
    part[1].end = part[2].start = (ProtobufCBinaryData){9, (uint8_t *)(uintptr_t)SPLIT};
    map.n_nodes = METANODES + WITNESSES;
    map.nodes = nodes;
    map.n_partitions = PARTITIONS;
    map.partitions = parts;
    fake_reply(call, OK, &response.base, (struct payload){0});
}

static void serve_read(struct cluster *c, int node, struct fake_call *call)
{
    const Cairn__ReadRequest *request = (const Cairn__ReadRequest *)(void *)call->request;
    if (is_refused(c, node, call, request->partition, request->epoch))
        return;
    if (c->before_read)
        c->before_read(c, request);
    c->reads++;
    Cairn__ReadResponse response = CAIRN__READ_RESPONSE__INIT;
    Cairn__Record record[4], *records[4];
    Cairn__ObjectRecord object = CAIRN__OBJECT_RECORD__INIT;
    Cairn__BucketRecord bucket = CAIRN__BUCKET_RECORD__INIT;
    Cairn__PrincipalRecord key[4];
    struct payload body = {0};
    response.as_of = c->partition[request->partition].index;
    response.n_records = request->n_keys;
    response.records = records;
    for (size_t i = 0; i < request->n_keys; i++) {
        const Cairn__RecordKey *k = request->keys[i];
        struct row *r = row_find(c, k->kind, k->bucket_id, bytes_of(k->key));
        CHECK(partition_of(k->kind, k->bucket_id, bytes_of(k->key)) == request->partition);
        cairn__record__init(records[i] = &record[i]);
        cairn__principal_record__init(&key[i]);
        if (r && r->account[0]) { /* also of an absent one */
            key[i].account_id = r->account;
            record[i].principal = &key[i];
        }
        if (!r || !r->present)
            continue;
        record[i].present = true;
        if (k->kind == CAIRN__RECORD_KIND__RECORD_OBJECT) {
            object.version = r->index;
            object.etag = r->text;
            object.size = strlen(r->text);
            record[i].object = &object;
            if (k->want_body) {
                body.owner = rcbuf_copy(slice_cstr(r->text));
                body.bytes = SLICE(body.owner->data, body.owner->len);
            }
        } else if (k->kind == CAIRN__RECORD_KIND__RECORD_BUCKET) {
            bucket.name = r->key;
            bucket.id = r->bucket;
            bucket.owner_account = r->owner;
            record[i].bucket = &bucket;
        } else {
            key[i].access_key_id = r->key;
            key[i].enabled = r->enabled;
        }
    }
    fake_reply(call, OK, &response.base, body);
    payload_unref(&body);
}

/* Rows of the partition in key order, in pages; no delimiter but '/'. */
static void serve_list(struct cluster *c, int node, struct fake_call *call)
{
    const Cairn__ListRequest *q = (const Cairn__ListRequest *)(void *)call->request;
    if (is_refused(c, node, call, q->partition, q->epoch))
        return;
    c->lists++;
    Cairn__ListResponse response = CAIRN__LIST_RESPONSE__INIT;
    Cairn__ListEntry entry[ROWS_MAX], *entries[ROWS_MAX];
    size_t max = c->list_page && c->list_page < q->keys_max ? c->list_page : q->keys_max, count = 0;
    struct slice after = bytes_of(q->start_after), skip = bytes_of(q->skip_prefix);
    char passed[16];
    if (c->pages_of_nothing) {
        int len = snprintf(passed, sizeof(passed), "b/%04u", c->lists);
        c->pages_of_nothing--;
        response.more = true;
        response.resume_after = (ProtobufCBinaryData){(size_t)len, (uint8_t *)passed};
        fake_reply(call, OK, &response.base, (struct payload){0});
        return;
    }
    for (;;) {
        struct row *next = NULL;
        for (unsigned i = 0; i < c->row_count; i++) {
            struct row *r = &c->rows[i];
            struct slice key = slice_cstr(r->key);
            if (r->kind != CAIRN__RECORD_KIND__RECORD_OBJECT || !r->present ||
                r->bucket_id != q->bucket_id || slice_cmp(key, after) <= 0 ||
                partition_of(r->kind, r->bucket_id, key) != q->partition ||
                !slice_has_prefix(key, bytes_of(q->prefix)) ||
                (skip.len && slice_has_prefix(key, skip)))
                continue;
            if (!next || strcmp(r->key, next->key) < 0)
                next = r;
        }
        if (!next)
            break;
        if (count == max) {
            response.more = true;
            response.resume_after = entries[count - 1]->key;
            break;
        }
        cairn__list_entry__init(entries[count] = &entry[count]);
        size_t len = strlen(next->key);
        char *slash = q->delimiter.len ? strchr(next->key + q->prefix.len, '/') : NULL;
        if (slash)
            len = (size_t)(slash - next->key) + 1;
        entry[count].key = (ProtobufCBinaryData){len, (uint8_t *)next->key};
        entry[count].is_prefix = slash != NULL;
        after = SLICE(next->key, len);
        if (slash)
            skip = after;
        count++;
    }
    response.n_entries = count;
    response.entries = entries;
    fake_reply(call, OK, &response.base, (struct payload){0});
}

static void serve_propose(struct cluster *c, int node, struct fake_call *call)
{
    const Cairn__ProposeRequest *q = (const Cairn__ProposeRequest *)(void *)call->request;
    Cairn__ProposeResponse response = CAIRN__PROPOSE_RESPONSE__INIT;
    Cairn__Outcome outcome = CAIRN__OUTCOME__INIT;
    if (is_refused(c, node, call, q->partition, q->command->epoch))
        return;
    c->proposals++;
    if (c->on_propose && c->on_propose(c, node, call))
        return;
    CHECK(q->command->write_id.len == ID_BYTES);
    struct outcome_row *o = NULL;
    for (unsigned i = 0; i < c->outcome_count; i++)
        if (memcmp(c->outcomes[i].write_id, q->command->write_id.data, ID_BYTES) == 0)
            o = &c->outcomes[i];
    if (!o) {
        char key[64];
        const Cairn__PutObject *put = q->command->put_object;
        CHECK(q->command->op_case == CAIRN__COMMAND__OP_PUT_OBJECT);
        CHECK(q->command->n_touches == 1 &&
              q->command->touches[0] == keyhash_object(put->bucket_id, bytes_of(put->key)));
        snprintf(key, sizeof(key), "%.*s", (int)put->key.len, (const char *)put->key.data);
        o = &c->outcomes[c->outcome_count++];
        memcpy(o->write_id, q->command->write_id.data, ID_BYTES);
        put_object(c, put->bucket_id, key, put->record->etag);
        o->index = c->partition[q->partition].index;
        c->executed++;
    }
    outcome.err = o->err;
    outcome.index = o->index;
    response.outcome = &outcome;
    fake_reply(call, OK, &response.base, (struct payload){0});
}

static void serve_metanode(void *arg, struct fake_call *call)
{
    struct cluster_node_arg *n = arg;
    if (call->method == &method_meta_cluster_map)
        serve_map(n->c, n->number, call);
    else if (call->method == &method_meta_read)
        serve_read(n->c, n->number, call);
    else if (call->method == &method_meta_list)
        serve_list(n->c, n->number, call);
    else if (call->method == &method_meta_propose)
        serve_propose(n->c, n->number, call);
    else
        fake_reply(call, ERR_UNIMPLEMENTED, NULL, (struct payload){0});
}

/* ---- the witnesses ---- */

static void check_order(struct cluster *c, const Cairn__CheckRequest *q)
{
    bool other = false;
    for (size_t i = 0; i < q->n_partitions; i++) {
        other |= q->partitions[i] == 0;
        if (other && q->partitions[i] != 0)
            c->out_of_order = true;
    }
}

static void serve_witness(void *arg, struct fake_call *call)
{
    struct cluster_node_arg *n = arg;
    struct cluster *c = n->c;
    const Cairn__CheckRequest *q = (const Cairn__CheckRequest *)(void *)call->request;
    Cairn__CheckResponse response = CAIRN__CHECK_RESPONSE__INIT;
    uint8_t fresh[64];
    uint64_t through[64];
    if (c->before_check)
        c->before_check(c);
    c->checks++;
    CHECK(q->n_hashes <= 64 && q->n_hashes == q->n_partitions && q->n_hashes == q->n_as_of);
    check_order(c, q);
    for (size_t i = 0; i < q->n_hashes; i++) {
        struct partition_state *p = &c->partition[q->partitions[i]];
        c->questions++;
        through[i] = p->index;
        fresh[i] = p->slot[q->hashes[i] % 4096] <= q->as_of[i];
    }
    response.fresh = (ProtobufCBinaryData){q->n_hashes, fresh};
    response.n_through = q->n_hashes;
    response.through = through;
    fake_reply(call, OK, &response.base, (struct payload){0});
}

/* ---- life ---- */

void cluster_init(struct cluster *c, const struct meta_config *config, uint64_t cache_bytes)
{
    struct meta_config m = config ? *config : (struct meta_config){0};
    struct cache_config cc = {.bytes_max = cache_bytes, .seed = 5};
    struct meta_seed seeds[] = {{"m0", "m0"}, {"m1", "m1"}};
    memset(c, 0, sizeof(*c));
    fake_init(&c->f, 1);
    c->epoch = 1;
    for (int i = 0; i < METANODES; i++) {
        c->node[i] = (struct cluster_node_arg){c, i};
        c->metanode[i] = fake_peer(&c->f, node_ids[i], serve_metanode, &c->node[i]);
    }
    for (int i = 0; i < WITNESSES; i++) {
        c->wnode[i] = (struct cluster_node_arg){c, i};
        c->witness[i] = fake_peer(&c->f, witness_ids[i], serve_witness, &c->wnode[i]);
    }
    for (int i = 0; i < PARTITIONS; i++) {
        c->partition[i].leader = i;
        c->partition[i].index = 100;
    }
    put_key(c, "AK", true);
    put_bucket(c, "b", 7);
    m.zone = m.zone ? m.zone : "z1";
    m.seeds = seeds;
    m.seed_count = 2;
    assert_int_equal(cache_new(&cc, &c->cache), OK);
    assert_int_equal(meta_client_new(&c->f.env, &c->f, c->cache, &m, &c->mc), OK);
    fake_run(&c->f, 100 * NS_PER_MS);
    assert_non_null(meta_client_map(c->mc));
}

void cluster_fini(struct cluster *c)
{
    meta_client_stop(c->mc);
    fake_run(&c->f, 10 * NS_PER_SEC);
    assert_true(meta_client_idle(c->mc));
    assert_false(c->out_of_order);
    meta_client_free(c->mc);
    cache_check(c->cache);
    cache_free(c->cache);
    fake_fini(&c->f);
}

static void reading_cb(struct meta_read *read)
{
    container_of(read, struct reading, read)->done = true;
}

void reading_start(struct cluster *c, struct reading *r, const char *access_key, const char *bucket,
                   const char *key)
{
    *r = (struct reading){.read = {
                              .principal = slice_cstr(access_key),
                              .bucket = slice_cstr(bucket),
                              .key = key ? slice_cstr(key) : SLICE_EMPTY,
                              .want_object = key != NULL,
                              .want_body = key != NULL,
                              .deadline_ns = c->f.now_ns + 5 * NS_PER_SEC,
                              .cb = reading_cb,
                          }};
    meta_read_start(c->mc, &r->read);
    assert_false(r->done);
}

void reading_run(struct cluster *c, struct reading *r, const char *access_key, const char *bucket,
                 const char *key)
{
    reading_start(c, r, access_key, bucket, key);
    fake_run_until(&c->f, &r->done, 20 * NS_PER_SEC);
    assert_true(r->done);
}

const char *reading_text(const struct reading *r)
{
    const struct cache_entry *e = r->read.object_entry;
    if (!e || !e->record->present)
        return NULL;
    assert_int_equal(r->read.body.bytes.len, e->record->object->size);
    assert_memory_equal(r->read.body.bytes.ptr, e->record->object->etag, e->record->object->size);
    return e->record->object->etag;
}
