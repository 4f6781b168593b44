/* A partition over a store in memory, with an environment whose timers fire when told. */
#include "world.h"

#include "tests/unit/common/alloc_fail.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- environment: one clock that stands still, timers that fire in world_flush ---- */

static struct list timers;

static uint64_t fake_now(struct env *e)
{
    (void)e;
    return 0;
}
static void fake_random(struct env *e, void *ret, size_t len)
{
    (void)e;
    memset(ret, 7, len);
}
static void fake_timer_start(struct env *e, struct env_timer *t, uint64_t delay_ns)
{
    (void)e;
    (void)delay_ns;
    if (!t->active)
        list_push_back(&timers, &t->node);
    t->active = true;
}
static void fake_timer_stop(struct env *e, struct env_timer *t)
{
    (void)e;
    list_remove(&t->node);
    t->active = false;
}
static const struct env_ops fake_ops = {.now_ns = fake_now,
                                        .wall_ms = fake_now,
                                        .random = fake_random,
                                        .timer_start = fake_timer_start,
                                        .timer_stop = fake_timer_stop};
static struct env fake_env = {&fake_ops};

static void fire_timers(void)
{
    while (!list_empty(&timers)) {
        struct env_timer *t = container_of(list_pop_front(&timers), struct env_timer, node);
        t->active = false;
        t->cb(t);
    }
}

/* ---- randomness ---- */

uint64_t rng_next(struct rng *r)
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * UINT64_C(0x2545F4914F6CDD1D);
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    return n ? (rng_next(r) >> 11) % n : 0;
}

/* ---- the flaky store ---- */

static struct flaky_kv *flaky_of(struct kv *kv)
{
    return container_of(kv, struct flaky_kv, kv);
}
static bool flaky_fails(struct flaky_kv *f)
{
    return ++f->calls == f->fail_at;
}
static int flaky_get(struct kv *kv, const struct kv_snapshot *s, enum kv_family family,
                     struct slice key, struct buf *ret)
{
    struct flaky_kv *f = flaky_of(kv);
    alloc_fail_hold(); /* the store in memory is equipment, not what is tested */
    int err = flaky_fails(f) ? f->err : f->inner->ops->get(f->inner, s, family, key, ret);
    alloc_fail_go_on();
    return err;
}
static int flaky_write(struct kv *kv, struct kv_batch **batch)
{
    struct flaky_kv *f = flaky_of(kv);
    if (flaky_fails(f)) {
        kv_batch_free(*batch);
        *batch = NULL;
        return f->err;
    }
    alloc_fail_hold();
    int err = f->inner->ops->write(f->inner, batch);
    alloc_fail_go_on();
    return err;
}
static struct kv_iter *flaky_iter(struct kv *kv, const struct kv_snapshot *s, enum kv_family family,
                                  struct slice lower, struct slice upper)
{
    struct flaky_kv *f = flaky_of(kv);
    alloc_fail_hold();
    struct kv_iter *it =
        flaky_fails(f) ? NULL : f->inner->ops->iter_new(f->inner, s, family, lower, upper);
    alloc_fail_go_on();
    return it;
}
static const struct kv_ops flaky_ops = {
    .get = flaky_get, .write = flaky_write, .iter_new = flaky_iter};

/* ---- world ---- */

struct kv_mem_files *world_files;

static void open_index(struct world *w)
{
    assert_int_equal(index_open(w->kv, w->partition, &w->index), OK);
}

void world_init_range(struct world *w, uint32_t partition, struct slice start, struct slice end,
                      const struct index_settings *settings)
{
    *w = (struct world){.partition = partition, .now_ms = START_MS, .next_id = 1};
    list_init(&timers);
    struct kv_mem_config config = {
        .mode = KV_STATE, .files = world_files, .write_delay_ns = 1, .flush_delay_ns = 1};
    w->store = kv_mem_new(&fake_env, &config);
    assert_non_null(w->store);
    w->flaky = (struct flaky_kv){.kv = {&flaky_ops}, .inner = w->store};
    w->kv = &w->flaky.kv;
    assert_int_equal(index_create(w->kv, partition, EPOCH, start, end, settings, 0, 0), OK);
    open_index(w);
}

void world_init(struct world *w, uint32_t partition)
{
    world_init_range(w, partition, SLICE_EMPTY, SLICE_EMPTY, NULL);
}

void world_fini(struct world *w)
{
    if (w->out)
        cairn__outcome__free_unpacked(w->out, NULL);
    index_close(w->index);
    kv_mem_free(w->store);
    for (size_t i = 0; i < w->log_count; i++)
        buf_fini(&w->log[i].data);
    free(w->log);
}

void world_reopen(struct world *w)
{
    index_close(w->index);
    open_index(w);
}

static void flush_done(struct kv_flush_req *req)
{
    assert_int_equal(req->err, OK);
    req->sequence = UINT64_MAX;
}

void world_flush(struct world *w)
{
    struct kv_flush_req req = {.cb = flush_done};
    list_init(&req.node);
    assert_int_equal(w->store->ops->flush_start(w->store, &req), OK);
    fire_timers();
    assert_true(req.sequence == UINT64_MAX);
}

void world_crash(struct world *w)
{
    index_close(w->index);
    kv_mem_crash(w->store, NULL, NULL);
    open_index(w);
}

struct id128 fresh_id(struct world *w)
{
    struct id128 id = {{0}};
    uint64_t n = w->next_id++;
    memcpy(id.bytes, &n, sizeof(n));
    id.bytes[15] = 0xA5;
    return id;
}

/* ---- commands ---- */

void cmd_init(struct world *w, struct cmd *c)
{
    memset(c, 0, sizeof(*c));
    cairn__command__init(&c->msg);
    c->write_id = fresh_id(w);
    c->msg.write_id = bin(id128_slice(&c->write_id));
    c->msg.issued_ms = w->now_ms;
    c->msg.time_ms = w->now_ms;
    c->msg.epoch = EPOCH;
    c->msg.settings_version = 1;
    c->msg.touches = c->touches;
    cairn__object_record__init(&c->record);
    cairn__part_record__init(&c->part_record);
    cairn__upload_record__init(&c->upload);
    cairn__bucket_record__init(&c->bucket);
    snprintf(c->etag, sizeof(c->etag), "%032llx", (unsigned long long)w->next_id);
    c->record.etag = c->etag;
    c->record.owner_id = (char *)(uintptr_t) "owner";
    c->part_record.etag = c->etag;
}

static void touch(struct cmd *c, uint64_t hash)
{
    c->touches[c->msg.n_touches++] = hash;
}

static void fill_segments(struct world *w, struct cmd *c, size_t n, uint64_t bytes)
{
    assert_true(n <= 4);
    for (size_t i = 0; i < n; i++) {
        cairn__segment__init(&c->segments[i]);
        c->blob_ids[i] = fresh_id(w);
        c->segments[i].pg = (uint32_t)i;
        c->segments[i].blob_id = bin(id128_slice(&c->blob_ids[i]));
        c->segments[i].bytes = i + 1 < n ? bytes / n : bytes - bytes / n * (n - 1);
        c->segment_ptrs[i] = &c->segments[i];
    }
}

static void start_put(struct world *w, struct cmd *c, struct slice key)
{
    cmd_init(w, c);
    cairn__put_object__init(&c->put);
    c->put.bucket_id = BUCKET;
    c->put.key = bin(key);
    c->put.record = &c->record;
    c->msg.op_case = CAIRN__COMMAND__OP_PUT_OBJECT;
    c->msg.put_object = &c->put;
    touch(c, keyhash_object(BUCKET, key));
}

void cmd_put_inline(struct world *w, struct cmd *c, struct slice key, struct slice body)
{
    start_put(w, c, key);
    c->record.size = body.len;
    c->body = body;
}

void cmd_put_segments(struct world *w, struct cmd *c, struct slice key, size_t n, uint64_t bytes)
{
    start_put(w, c, key);
    fill_segments(w, c, n, bytes);
    c->record.size = bytes;
    c->record.kind = CAIRN__DATA_KIND__DATA_SEGMENTS;
    c->record.segments = c->segment_ptrs;
    c->record.n_segments = n;
}

void cmd_delete(struct world *w, struct cmd *c, struct slice key)
{
    cmd_init(w, c);
    cairn__delete_object__init(&c->del);
    c->del.bucket_id = BUCKET;
    c->del.key = bin(key);
    c->msg.op_case = CAIRN__COMMAND__OP_DELETE_OBJECT;
    c->msg.delete_object = &c->del;
    touch(c, keyhash_object(BUCKET, key));
}

void cmd_create_upload(struct world *w, struct cmd *c, struct slice key, struct id128 *upload_id)
{
    cmd_init(w, c);
    cairn__create_upload__init(&c->create);
    c->create.bucket_id = BUCKET;
    c->create.key = bin(key);
    c->upload.upload_id = bin(id128_slice(upload_id));
    c->upload.object = &c->record;
    c->create.upload = &c->upload;
    c->msg.op_case = CAIRN__COMMAND__OP_CREATE_UPLOAD;
    c->msg.create_upload = &c->create;
}

void cmd_put_part(struct world *w, struct cmd *c, struct slice key, struct id128 *upload_id,
                  uint32_t number, uint64_t size, size_t segments)
{
    static const uint8_t zeros[4096];
    cmd_init(w, c);
    cairn__put_part__init(&c->part);
    c->part.bucket_id = BUCKET;
    c->part.key = bin(key);
    c->part.upload_id = bin(id128_slice(upload_id));
    c->part.part = &c->part_record;
    c->part_record.number = number;
    c->part_record.size = size;
    if (segments) {
        fill_segments(w, c, segments, size);
        c->part_record.kind = CAIRN__DATA_KIND__DATA_SEGMENTS;
        c->part_record.segments = c->segment_ptrs;
        c->part_record.n_segments = segments;
    } else {
        assert_true(size <= sizeof(zeros));
        c->body = SLICE(zeros, size);
    }
    c->msg.op_case = CAIRN__COMMAND__OP_PUT_PART;
    c->msg.put_part = &c->part;
}

void cmd_complete(struct world *w, struct cmd *c, struct slice key, struct id128 *upload_id,
                  Cairn__CompletePart **parts, size_t n, uint64_t size)
{
    cmd_init(w, c);
    cairn__complete_upload__init(&c->complete);
    c->complete.bucket_id = BUCKET;
    c->complete.key = bin(key);
    c->complete.upload_id = bin(id128_slice(upload_id));
    c->complete.parts = parts;
    c->complete.n_parts = n;
    c->complete.record = &c->record;
    c->record.kind = CAIRN__DATA_KIND__DATA_MANIFEST;
    c->record.manifest_id = c->complete.upload_id;
    c->record.part_count = (uint32_t)n;
    c->record.size = size;
    c->msg.op_case = CAIRN__COMMAND__OP_COMPLETE_UPLOAD;
    c->msg.complete_upload = &c->complete;
    touch(c, keyhash_object(BUCKET, key));
}

void cmd_abort(struct world *w, struct cmd *c, struct slice key, struct id128 *upload_id)
{
    cmd_init(w, c);
    cairn__abort_upload__init(&c->abort);
    c->abort.bucket_id = BUCKET;
    c->abort.key = bin(key);
    c->abort.upload_id = bin(id128_slice(upload_id));
    c->msg.op_case = CAIRN__COMMAND__OP_ABORT_UPLOAD;
    c->msg.abort_upload = &c->abort;
}

void cmd_create_bucket(struct world *w, struct cmd *c, const char *name)
{
    cmd_init(w, c);
    cairn__create_bucket__init(&c->create_bucket);
    c->create_bucket.bucket = &c->bucket;
    c->bucket.name = str(name);
    c->bucket.owner_id = str("owner");
    c->msg.op_case = CAIRN__COMMAND__OP_CREATE_BUCKET;
    c->msg.create_bucket = &c->create_bucket;
    c->touches[c->msg.n_touches++] = keyhash_bucket(slice_cstr(name));
}

void cmd_fence(struct world *w, struct cmd *c, uint64_t bucket, uint64_t version, bool sealed)
{
    cmd_init(w, c);
    cairn__fence_bucket__init(&c->fence);
    c->fence.bucket_id = bucket;
    c->fence.settings_version = version;
    c->fence.sealed = sealed;
    c->msg.op_case = CAIRN__COMMAND__OP_FENCE_BUCKET;
    c->msg.fence_bucket = &c->fence;
}

void cmd_condemn(struct world *w, struct cmd *c, struct slice key, struct id128 *blobs, size_t n)
{
    cmd_init(w, c);
    c->msg.write_id.len = 0;
    cairn__condemn__init(&c->condemn);
    c->condemn.bucket_id = BUCKET;
    c->condemn.key = bin(key);
    assert_true(n <= 16);
    for (size_t i = 0; i < n; i++) {
        cairn__condemn_blob__init(&c->condemn_blobs[i]);
        c->condemn_blobs[i].pg = (uint32_t)i;
        c->condemn_blobs[i].blob_id = bin(id128_slice(&blobs[i]));
        c->condemn_ptrs[i] = &c->condemn_blobs[i];
    }
    c->condemn.blobs = c->condemn_ptrs;
    c->condemn.n_blobs = n;
    c->msg.op_case = CAIRN__COMMAND__OP_CONDEMN;
    c->msg.condemn = &c->condemn;
}

void cmd_move(struct world *w, struct cmd *c, struct slice key, struct id128 *from, uint64_t bytes)
{
    cmd_init(w, c);
    cairn__move_segment__init(&c->move);
    fill_segments(w, c, 1, bytes);
    c->segments[0].pg = 77;
    c->move.bucket_id = BUCKET;
    c->move.key = bin(key);
    c->move.from_blob_id = bin(id128_slice(from));
    c->move.to = &c->segments[0];
    c->msg.op_case = CAIRN__COMMAND__OP_MOVE_SEGMENT;
    c->msg.move_segment = &c->move;
    touch(c, keyhash_object(BUCKET, key));
}

void cmd_move_part(struct world *w, struct cmd *c, struct slice key, struct id128 *upload_id,
                   uint32_t number, struct id128 *from, uint64_t bytes)
{
    cmd_move(w, c, key, from, bytes);
    c->move.upload_id = bin(id128_slice(upload_id));
    c->move.part_number = number;
}

/* ---- applying ---- */

int world_apply_data(struct world *w, struct slice data)
{
    uint64_t entry_index = index_applied(w->index) + 1;
    if (w->keep_log) {
        w->log = realloc(w->log, (w->log_count + 1) * sizeof(*w->log));
        struct entry *e = &w->log[w->log_count++];
        *e = (struct entry){.index = entry_index};
        buf_slice(&e->data, data);
    }
    if (w->out)
        cairn__outcome__free_unpacked(w->out, NULL);
    w->out = NULL;
    int err = index_apply(w->index, entry_index, 1, data, &w->out);
    assert_int_equal(err, OK);
    assert_non_null(w->out);
    assert_true(index_applied(w->index) == entry_index);
    return w->out->err;
}

int world_apply(struct world *w, const Cairn__Command *msg, struct slice body)
{
    struct buf data = {0};
    index_entry_pack(msg, body, &data);
    assert_false(data.failed);
    int err = world_apply_data(w, buf_view(&data));
    buf_fini(&data);
    return err;
}

int world_run(struct world *w, struct cmd *c)
{
    return world_apply(w, &c->msg, c->body);
}

int put(struct world *w, const char *key, const char *body)
{
    struct cmd c;
    cmd_put_inline(w, &c, slice_cstr(key), slice_cstr(body));
    return world_run(w, &c);
}

int del(struct world *w, const char *key)
{
    struct cmd c;
    cmd_delete(w, &c, slice_cstr(key));
    return world_run(w, &c);
}

/* ---- looking ---- */

ProtobufCMessage *over_the_wire(const ProtobufCMessage *msg)
{
    size_t n = protobuf_c_message_get_packed_size(msg);
    uint8_t *bytes = malloc(n + 1);
    assert_true(protobuf_c_message_pack(msg, bytes) == n);
    ProtobufCMessage *copy = protobuf_c_message_unpack(msg->descriptor, NULL, n, bytes);
    assert_non_null(copy);
    assert_true(copy->n_unknown_fields == 0);
    free(bytes);
    return copy;
}

Cairn__ObjectRecord *get(struct world *w, struct slice key, struct buf *ret_body)
{
    return get_version(w, key, VERSION_NONE, ret_body);
}

Cairn__ObjectRecord *get_version(struct world *w, struct slice key, uint64_t version,
                                 struct buf *ret_body)
{
    struct index_view view;
    struct index_reply reply = {0};
    Cairn__RecordKey rk = CAIRN__RECORD_KEY__INIT, *keys[1] = {&rk};
    Cairn__ReadRequest req = CAIRN__READ_REQUEST__INIT;
    rk.bucket_id = BUCKET;
    rk.key = bin(key);
    rk.want_body = ret_body != NULL;
    rk.version = version;
    req.epoch = EPOCH;
    req.n_keys = 1;
    req.keys = keys;
    index_view_init(&view, w->index, NULL);
    assert_int_equal(index_read(&view, &req, &reply), OK);
    Cairn__ReadResponse *msg = (Cairn__ReadResponse *)(void *)over_the_wire(&reply.msg.base);
    assert_true(msg->n_records == 1 && msg->as_of == index_applied(w->index));
    Cairn__ObjectRecord *record = msg->records[0]->object;
    assert_true(msg->records[0]->present == (record != NULL));
    msg->records[0]->object = NULL;
    if (ret_body)
        buf_slice(ret_body, reply.body.bytes);
    cairn__read_response__free_unpacked(msg, NULL);
    index_reply_fini(&reply);
    return record;
}

Cairn__BucketRecord *read_bucket(struct world *w, const char *name)
{
    struct index_view view;
    struct index_reply reply = {0};
    Cairn__RecordKey rk = CAIRN__RECORD_KEY__INIT, *keys[1] = {&rk};
    Cairn__ReadRequest req = CAIRN__READ_REQUEST__INIT;
    rk.kind = CAIRN__RECORD_KIND__RECORD_BUCKET;
    rk.key = bin(slice_cstr(name));
    req.epoch = EPOCH;
    req.n_keys = 1;
    req.keys = keys;
    index_view_init(&view, w->index, NULL);
    assert_int_equal(index_read(&view, &req, &reply), OK);
    Cairn__ReadResponse *msg = (Cairn__ReadResponse *)(void *)over_the_wire(&reply.msg.base);
    Cairn__BucketRecord *bucket = msg->records[0]->bucket;
    msg->records[0]->bucket = NULL;
    cairn__read_response__free_unpacked(msg, NULL);
    index_reply_fini(&reply);
    return bucket;
}

bool present(struct world *w, const char *key)
{
    Cairn__ObjectRecord *r = get(w, slice_cstr(key), NULL);
    if (r)
        cairn__object_record__free_unpacked(r, NULL);
    return r != NULL;
}

void dump(struct kv *kv, uint32_t partition, struct buf *ret)
{
    uint8_t lower[INDEX_RANGE_BYTES], upper[INDEX_RANGE_BYTES];
    index_range(partition, lower, upper);
    for (int family = 0; family < KV_FAMILY_COUNT; family++) {
        struct kv_iter *it =
            kv->ops->iter_new(kv, NULL, (enum kv_family)family, SLICE(lower, sizeof(lower)),
                              SLICE(upper, sizeof(upper)));
        for (it->ops->seek(it, SLICE_EMPTY); it->ops->valid(it); it->ops->next(it)) {
            struct slice k = it->ops->key(it), v = it->ops->value(it);
            buf_be32(ret, (uint32_t)k.len);
            buf_slice(ret, k);
            buf_be32(ret, (uint32_t)v.len);
            buf_slice(ret, v);
        }
        assert_int_equal(it->ops->error(it), OK);
        it->ops->free(it);
    }
}

void count_rows(struct world *w, uint8_t table, enum kv_family family, size_t *ret)
{
    uint8_t lower[5] = {(uint8_t)(w->partition >> 24), (uint8_t)(w->partition >> 16),
                        (uint8_t)(w->partition >> 8), (uint8_t)w->partition, table};
    uint8_t upper[5];
    memcpy(upper, lower, 5);
    upper[4]++;
    struct kv_iter *it =
        w->kv->ops->iter_new(w->kv, NULL, family, SLICE(lower, 5), SLICE(upper, 5));
    *ret = 0;
    for (it->ops->seek(it, SLICE_EMPTY); it->ops->valid(it); it->ops->next(it))
        ++*ret;
    it->ops->free(it);
}

void drain_deletions(struct world *w, struct buf *ret_blobs)
{
    while (index_deletion_count(w->index)) {
        struct index_view view;
        struct index_deletions d;
        struct cmd c;
        index_view_init(&view, w->index, NULL);
        assert_int_equal(index_deletions_next(&view, 0, w->now_ms, 8, 16, &d), OK);
        assert_true(d.item_count + d.expand_count > 0);
        for (size_t i = 0; i < d.blob_count && ret_blobs; i++)
            buf_append(ret_blobs, d.blobs[i].blob_id.bytes, ID_BYTES);
        if (d.item_count) {
            cmd_init(w, &c);
            c.msg.write_id.len = 0;
            cairn__deletion_done__init(&c.done);
            c.done.items = d.items;
            c.done.n_items = d.item_count;
            c.msg.op_case = CAIRN__COMMAND__OP_DELETION_DONE;
            c.msg.deletion_done = &c.done;
            assert_int_equal(world_run(w, &c), OK);
        }
        if (d.expand_count) {
            cmd_init(w, &c);
            c.msg.write_id.len = 0;
            cairn__expand_deletion__init(&c.expand);
            c.expand.items = d.expand;
            c.expand.n_items = d.expand_count;
            c.msg.op_case = CAIRN__COMMAND__OP_EXPAND_DELETION;
            c.msg.expand_deletion = &c.expand;
            assert_int_equal(world_run(w, &c), OK);
        }
        index_deletions_fini(&d);
    }
}

/* ---- what refers to blobs, and which of them are interim ---- */

void expect_refs(struct world *w, struct slice key, const struct cmd *asked, const bool *want)
{
    struct index_view view;
    struct index_reply reply = {0};
    Cairn__BlobRefsRequest req = CAIRN__BLOB_REFS_REQUEST__INIT;
    ProtobufCBinaryData ids[16];
    uint32_t pgs[16] = {0};
    req.epoch = EPOCH;
    req.bucket_id = BUCKET;
    req.key = bin(key);
    req.n_blob_ids = req.n_pgs = asked->condemn.n_blobs;
    req.pgs = pgs;
    req.blob_ids = ids;
    for (size_t i = 0; i < req.n_blob_ids; i++)
        ids[i] = asked->condemn_blobs[i].blob_id;
    index_view_init(&view, w->index, NULL);
    assert_int_equal(index_blob_refs(&view, &req, &reply), OK);
    for (size_t i = 0; i < req.n_blob_ids; i++)
        assert_int_equal(reply.msg.blob_refs.referred.data[i], want[i]);
    index_reply_fini(&reply);
}

struct interim_seen {
    struct rng *r;
    struct buf *ids;
};

static bool interim_take(void *arg, struct id128 blob_id)
{
    struct interim_seen *seen = arg;
    struct buf *ids = seen->ids;
    /* A record within which an answer ended comes again: it has few. */
    bool known = false;
    for (size_t k = ids->len > 4 * ID_BYTES ? ids->len - 4 * ID_BYTES : 0; k < ids->len;
         k += ID_BYTES)
        known |= memcmp(ids->ptr + k, blob_id.bytes, ID_BYTES) == 0;
    if (!known)
        buf_append(ids, blob_id.bytes, ID_BYTES);
    return rng_below(seen->r, 4) > 0;
}

void interim_ids(struct world *w, struct rng *r, struct buf *ret)
{
    struct index_view view;
    struct interim_seen seen = {r, ret};
    struct index_interim_walk walk = {.take = interim_take, .arg = &seen};
    index_view_init(&view, w->index, NULL);
    for (bool end = false; !end;) {
        struct index_reply reply = {0};
        walk.rows_left = 1 + (unsigned)rng_below(r, 9);
        walk.segments_left = 1 + (unsigned)rng_below(r, 9);
        walk.take_left = 3;
        walk.reply = &reply;
        cairn__interim_response__init(&reply.msg.interim);
        assert_int_equal(index_interim_walk(&view, &walk, &end), OK);
        index_interim_finish(&reply);
        Cairn__InterimResponse *msg =
            (Cairn__InterimResponse *)(void *)over_the_wire(&reply.msg.base);
        assert_int_equal(msg->n_segments, 3 - walk.take_left);
        for (size_t i = 0; i < msg->n_segments; i++)
            assert_true(msg->segments[i]->segment->interim &&
                        msg->segments[i]->bucket_id == BUCKET);
        cairn__interim_response__free_unpacked(msg, NULL);
        index_reply_fini(&reply);
    }
    buf_fini(&walk.after);
}
