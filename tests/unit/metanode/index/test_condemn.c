/* Condemned blobs, one rule at a time: what refers to a blob, what is queued, what may not be
 * named, for how long; and the questions that readers ask about blobs. */
#include "common/base/mutant.h"
#include "metanode/index/keys.h"
#include "world.h"

#include <stdlib.h>

#define KEY SLICE_LIT("k")
#define WINDOW_MS (UINT64_C(15) * 60 * 1000)
#define SKEW_MS (UINT64_C(60) * 1000)

/* Condemns them under KEY; what the outcome says of each must be `want`, a digit a blob. */
static void condemn(struct world *w, struct id128 *blobs, const char *want)
{
    struct cmd c;
    size_t n = strlen(want);
    cmd_condemn(w, &c, KEY, blobs, n);
    assert_int_equal(world_run(w, &c), OK);
    assert_int_equal(w->out->condemned.len, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(w->out->condemned.data[i], want[i] - '0');
}

/* What a reader is told of them. */
static void ask(struct world *w, struct id128 *blobs, const char *want)
{
    struct index_view view;
    struct index_reply reply = {0};
    Cairn__BlobRefsRequest req = CAIRN__BLOB_REFS_REQUEST__INIT;
    ProtobufCBinaryData ids[16];
    uint32_t pgs[16] = {0};
    size_t n = strlen(want);
    for (size_t i = 0; i < n; i++)
        ids[i] = bin(id128_slice(&blobs[i]));
    req.epoch = EPOCH;
    req.bucket_id = BUCKET;
    req.key = bin(KEY);
    req.blob_ids = ids;
    req.n_blob_ids = n;
    req.pgs = pgs;
    req.n_pgs = n;
    index_view_init(&view, w->index, NULL);
    assert_int_equal(index_blob_refs(&view, &req, &reply), OK);
    Cairn__BlobRefsResponse *msg =
        (Cairn__BlobRefsResponse *)(void *)over_the_wire(&reply.msg.base);
    assert_true(msg->as_of == index_applied(w->index));
    assert_int_equal(msg->referred.len, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(msg->referred.data[i], want[i] - '0');
    cairn__blob_refs_response__free_unpacked(msg, NULL);
    index_reply_fini(&reply);
}

/* Blobs in items of blobs, with those of one id counted. */
static size_t queued(struct world *w, struct id128 id)
{
    struct index_view view;
    struct index_deletions d;
    size_t count = 0;
    index_view_init(&view, w->index, NULL);
    assert_int_equal(index_deletions_next(&view, 0, w->now_ms, 1000, 100000, &d), OK);
    for (size_t i = 0; i < d.blob_count; i++)
        count += id128_eq(d.blobs[i].blob_id, id);
    index_deletions_fini(&d);
    return count;
}

static void put_part(struct world *w, struct id128 *upload, uint32_t number,
                     struct id128 *ret_blobs, char *ret_etag)
{
    struct cmd c;
    cmd_put_part(w, &c, KEY, upload, number, 100, 2);
    assert_int_equal(world_run(w, &c), OK);
    memcpy(ret_blobs, c.blob_ids, 2 * sizeof(*ret_blobs));
    if (ret_etag)
        memcpy(ret_etag, c.etag, sizeof(c.etag));
}

/* Completes the upload of its part 1 alone. */
static void complete(struct world *w, struct id128 *upload, char *etag)
{
    struct cmd c;
    Cairn__CompletePart part = CAIRN__COMPLETE_PART__INIT, *parts[1] = {&part};
    part.number = 1;
    part.etag = etag;
    cmd_complete(w, &c, KEY, upload, parts, 1, 100);
    assert_int_equal(world_run(w, &c), OK);
}

static void everything_that_refers_is_seen(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    char etag[33];
    struct id128 upload, b[16];
    world_init(&w, 3);
    upload = fresh_id(&w);
    cmd_put_segments(&w, &c, KEY, 2, 100);
    assert_int_equal(world_run(&w, &c), OK);
    memcpy(b, c.blob_ids, 2 * sizeof(b[0]));
    cmd_create_upload(&w, &c, KEY, &upload);
    assert_int_equal(world_run(&w, &c), OK);
    put_part(&w, &upload, 1, &b[2], etag);
    put_part(&w, &upload, 2, &b[4], NULL);
    b[6] = fresh_id(&w);
    ask(&w, b, "1111110");
    condemn(&w, b, "0000001");
    assert_int_equal(queued(&w, b[6]), 1);
    assert_int_equal(index_condemned_count(w.index), 1);

    /* The object is replaced: its blobs are in the queue, the chosen part's referred to, the other
     * part's are as good as in the queue. */
    complete(&w, &upload, etag);
    b[7] = fresh_id(&w);
    ask(&w, b, "00110000");
    condemn(&w, b, "11001111");
    assert_int_equal(queued(&w, b[0]), 1);
    assert_int_equal(queued(&w, b[4]), 0);
    assert_int_equal(queued(&w, b[6]), 1);
    assert_int_equal(queued(&w, b[7]), 1);
    assert_int_equal(index_condemned_count(w.index), 6);

    /* Deleted: everything is in the queue, and still each once. */
    assert_int_equal(del(&w, "k"), OK);
    ask(&w, b, "00000000");
    condemn(&w, b, "11111111");
    struct buf gone = {0};
    drain_deletions(&w, &gone);
    assert_int_equal(gone.len, 8 * ID_BYTES);
    buf_fini(&gone);

    /* Nothing of another key's. */
    cmd_put_segments(&w, &c, SLICE_LIT("other"), 1, 100);
    assert_int_equal(world_run(&w, &c), OK);
    ask(&w, c.blob_ids, "0");
    world_fini(&w);
}

static void name(struct cmd *c, struct id128 *blob)
{
    c->segments[0].blob_id = bin(id128_slice(blob));
}

/* Entry time against the time that the shards carry: nobody's clock is asked. */
static void what_is_young_is_passed_over(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    struct id128 b[4];
    const uint64_t age = 86400000;
    world_init(&w, 3);
    b[0] = b[1] = fresh_id(&w); /* the same, said to be of two times */
    b[2] = fresh_id(&w);
    b[3] = fresh_id(&w);
    cmd_condemn(&w, &c, KEY, b, 4);
    c.condemn.age_ms = age;
    uint64_t now = w.now_ms;
    c.condemn_blobs[0].time_ms = now - age + 1;
    c.condemn_blobs[1].time_ms = now - age;
    c.condemn_blobs[2].time_ms = now + 1; /* of a clock that is ahead */
    c.condemn_blobs[3].time_ms = UINT64_MAX;
    assert_int_equal(world_run(&w, &c), OK);
    assert_int_equal(w.out->condemned.len, 4);
    assert_memory_equal(w.out->condemned.data, ((uint8_t[]){2, 1, 2, 2}), 4);
    assert_int_equal(index_condemned_count(w.index), 1);
    assert_int_equal(queued(&w, b[0]), 1);
    assert_int_equal(queued(&w, b[2]), 0);
    cmd_put_segments(&w, &c, SLICE_LIT("late"), 1, 100);
    name(&c, &b[2]);
    assert_int_equal(world_run(&w, &c), OK); /* the writer was not too late */
    world_fini(&w);
}

/* A storage node whose clock is a day ahead asks at once, and again just before the writer, who takes
 * `late` of the time that he has, proposes; that arrives after `delay`.  Were accepted although they
 * had been condemned: */
static unsigned lost_writes(uint64_t age, uint64_t delay)
{
    unsigned lost = 0;
    for (uint64_t late = 0; late <= age; late += age / 8) {
        struct world w;
        struct cmd c;
        struct id128 b[1];
        bool condemned = false;
        world_init(&w, 3);
        b[0] = fresh_id(&w);
        uint64_t made = w.now_ms;
        for (unsigned i = 0; i < 2; i++) {
            w.now_ms = made + i * late;
            cmd_condemn(&w, &c, KEY, b, 1);
            c.condemn.age_ms = age;
            c.condemn_blobs[0].time_ms = made;
            assert_int_equal(world_run(&w, &c), OK);
            condemned |= w.out->condemned.data[0] == INDEX_CONDEMNED;
        }
        uint64_t issued = w.now_ms;
        w.now_ms += delay;
        assert_int_equal(put(&w, "x", "1"), OK); /* what has expired goes */
        cmd_put_segments(&w, &c, KEY, 1, 100);
        name(&c, &b[0]);
        c.msg.issued_ms = issued;
        lost += world_run(&w, &c) == OK && condemned;
        world_fini(&w);
    }
    return lost;
}

static void a_late_writer_loses_nothing(void **state)
{
    (void)state;
    const uint64_t age = 8 * (WINDOW_MS + SKEW_MS);
    for (uint64_t delay = 0; delay <= WINDOW_MS; delay += WINDOW_MS / 3)
        assert_int_equal(lost_writes(age, delay), 0);
    mutant_active = MUTANT_CONDEMN_ANY_AGE; /* is seen by the same test */
    assert_int_not_equal(lost_writes(age, 0), 0);
    mutant_active = MUTANT_NONE;
}

static void it_is_idempotent(void **state)
{
    (void)state;
    struct world w;
    struct id128 b[4];
    world_init(&w, 3);
    b[0] = b[2] = b[3] = fresh_id(&w);
    b[1] = fresh_id(&w);
    condemn(&w, b, "1111"); /* one three times */
    assert_int_equal(index_condemned_count(w.index), 2);
    assert_int_equal(index_deletion_count(w.index), 1);
    struct buf gone = {0};
    drain_deletions(&w, &gone);
    assert_int_equal(gone.len, 2 * ID_BYTES);
    condemn(&w, b, "1111"); /* again, with nothing queued any more */
    assert_int_equal(index_condemned_count(w.index), 2);
    assert_int_equal(index_deletion_count(w.index), 0);
    buf_fini(&gone);
    world_fini(&w);
}

static void no_record_may_name_it(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    struct id128 upload, from, b[1];
    world_init(&w, 3);
    b[0] = fresh_id(&w);
    upload = fresh_id(&w);
    cmd_create_upload(&w, &c, KEY, &upload);
    assert_int_equal(world_run(&w, &c), OK);
    cmd_put_segments(&w, &c, SLICE_LIT("moved"), 1, 100);
    assert_int_equal(world_run(&w, &c), OK);
    from = c.blob_ids[0];
    condemn(&w, b, "1");
    for (int reopened = 0; reopened < 2; reopened++) {
        cmd_put_segments(&w, &c, SLICE_LIT("new"), 2, 100);
        name(&c, &b[0]);
        assert_int_equal(world_run(&w, &c), ERR_CONDEMNED);
        assert_int_equal(world_run(&w, &c), ERR_CONDEMNED); /* as recorded */
        assert_false(present(&w, "new"));
        cmd_put_part(&w, &c, KEY, &upload, 1, 100, 1);
        name(&c, &b[0]);
        assert_int_equal(world_run(&w, &c), ERR_CONDEMNED);
        cmd_move(&w, &c, SLICE_LIT("moved"), &from, 100);
        name(&c, &b[0]);
        assert_int_equal(world_run(&w, &c), ERR_CONDEMNED);
        world_reopen(&w);
    }
    cmd_put_segments(&w, &c, SLICE_LIT("new"), 2, 100);
    assert_int_equal(world_run(&w, &c), OK);
    world_fini(&w);
}

/* A put of an old proposal that names the blob, met now. */
static int late_put(struct world *w, struct id128 *blob, uint64_t issued_ms)
{
    struct cmd c;
    cmd_put_segments(w, &c, SLICE_LIT("late"), 1, 100);
    name(&c, blob);
    c.msg.issued_ms = issued_ms;
    return world_run(w, &c);
}

static uint64_t calls_of_put(struct world *w)
{
    uint64_t before = w->flaky.calls;
    assert_int_equal(put(w, "x", "1"), OK);
    return w->flaky.calls - before;
}

static void it_is_forgotten_when_nothing_old_can_name_it(void **state)
{
    (void)state;
    struct world w;
    struct id128 b[2];
    size_t rows;
    world_init(&w, 3);
    b[0] = fresh_id(&w);
    b[1] = fresh_id(&w);
    uint64_t condemned_ms = w.now_ms;
    condemn(&w, &b[0], "1");
    w.now_ms += 1000;
    condemn(&w, &b[1], "1");
    /* Until the very millisecond. */
    w.now_ms = condemned_ms + WINDOW_MS + SKEW_MS;
    assert_int_equal(put(&w, "x", "1"), OK);
    assert_int_equal(index_condemned_count(w.index), 2);
    assert_int_equal(late_put(&w, &b[0], condemned_ms + SKEW_MS), ERR_CONDEMNED);
    w.now_ms++;
    assert_int_equal(put(&w, "x", "1"), OK);
    assert_int_equal(index_condemned_count(w.index), 1);
    assert_int_equal(late_put(&w, &b[0], condemned_ms + SKEW_MS), ERR_TOO_OLD);
    assert_int_equal(late_put(&w, &b[1], w.now_ms), ERR_CONDEMNED);
    world_reopen(&w);
    assert_int_equal(index_condemned_count(w.index), 1);
    assert_int_equal(late_put(&w, &b[1], w.now_ms), ERR_CONDEMNED);
    w.now_ms += 1000;
    assert_int_equal(put(&w, "x", "1"), OK);
    assert_int_equal(index_condemned_count(w.index), 0);
    /* One that has expired does not take the one behind it along, and is not looked for again. */
    condemned_ms = w.now_ms;
    condemn(&w, &b[0], "1");
    w.now_ms += 1000;
    condemn(&w, &b[1], "1");
    uint64_t calls = calls_of_put(&w);
    w.now_ms = condemned_ms + 1000 + WINDOW_MS + SKEW_MS;
    assert_true(calls_of_put(&w) > calls);
    assert_int_equal(index_condemned_count(w.index), 1);
    assert_int_equal(late_put(&w, &b[1], w.now_ms), ERR_CONDEMNED);
    assert_int_equal(calls_of_put(&w), calls);
    w.now_ms++;
    assert_int_equal(put(&w, "x", "1"), OK);
    assert_int_equal(index_condemned_count(w.index), 0);
    count_rows(&w, TABLE_CONDEMNED, KV_INDEX, &rows);
    assert_int_equal(rows, 0);
    count_rows(&w, TABLE_CONDEMNED_TIME, KV_INDEX, &rows);
    assert_int_equal(rows, 0);
    world_fini(&w);
}

static void nothing_is_paid_where_nothing_is_condemned(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    struct id128 b = {{9}};
    uint64_t calls[3];
    world_init(&w, 3);
    assert_int_equal(put(&w, "k", ""), OK); /* the fence is known from here on */
    for (int i = 0; i < 3; i++) {
        cmd_put_segments(&w, &c, KEY, 4, 100);
        uint64_t before = w.flaky.calls;
        assert_int_equal(world_run(&w, &c), OK);
        calls[i] = w.flaky.calls - before;
        if (i == 1)
            condemn(&w, &b, "1");
    }
    assert_true(calls[1] == calls[0] && calls[2] == calls[0] + 4);
    world_fini(&w);
}

static void routes_and_limits(void **state)
{
    (void)state;
    struct world w, root;
    struct cmd c;
    struct id128 b[16];
    uint8_t bound[9] = {0x80, 0, 0, 0, 0, 0, 0, 0, 'm'};
    world_init_range(&w, 3, SLICE_EMPTY, SLICE(bound, sizeof(bound)), NULL);
    for (int i = 0; i < 16; i++)
        b[i] = fresh_id(&w);
    /* A bucket that is sealed, or gone, is no obstacle. */
    cmd_fence(&w, &c, BUCKET, 2, true);
    assert_int_equal(world_run(&w, &c), OK);
    condemn(&w, b, "1");
    cmd_condemn(&w, &c, SLICE_LIT("z"), b, 1);
    assert_int_equal(world_run(&w, &c), ERR_EPOCH);
    cmd_condemn(&w, &c, KEY, b, 1);
    c.msg.epoch = EPOCH + 1;
    assert_int_equal(world_run(&w, &c), ERR_EPOCH);
    cmd_condemn(&w, &c, KEY, b, 0);
    assert_int_equal(world_run(&w, &c), ERR_REFUSED);
    cmd_condemn(&w, &c, KEY, b, 2);
    c.condemn_blobs[1].blob_id.len = 15;
    assert_int_equal(world_run(&w, &c), ERR_REFUSED);
    cmd_condemn(&w, &c, SLICE_EMPTY, b, 1);
    assert_int_equal(world_run(&w, &c), ERR_REFUSED);
    /* With a write id its outcome is kept. */
    cmd_condemn(&w, &c, KEY, b, 2);
    c.msg.write_id.len = ID_BYTES;
    assert_int_equal(world_run(&w, &c), OK);
    uint64_t index = w.out->index;
    assert_int_equal(world_run(&w, &c), OK);
    assert_true(w.out->index == index && w.out->condemned.len == 2);
    /* As many as one command may name, and one more. */
    Cairn__CondemnBlob blob = CAIRN__CONDEMN_BLOB__INIT, *many[INDEX_CONDEMN_BLOBS_MAX + 1];
    blob.blob_id = bin(id128_slice(&b[5]));
    for (size_t i = 0; i < ARRAY_COUNT(many); i++)
        many[i] = &blob;
    cmd_condemn(&w, &c, KEY, b, 1);
    c.condemn.blobs = many;
    c.condemn.n_blobs = INDEX_CONDEMN_BLOBS_MAX + 1;
    assert_int_equal(world_run(&w, &c), ERR_REFUSED);
    c.condemn.n_blobs--;
    assert_int_equal(world_run(&w, &c), OK);
    world_init(&root, ROOT_PARTITION);
    cmd_condemn(&root, &c, KEY, b, 1);
    assert_int_equal(world_run(&root, &c), ERR_REFUSED);
    world_fini(&root);
    world_fini(&w);
}

/* More rows than one entry may look over: nothing is condemned. */
static void too_many_records_to_look_over(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    struct key key;
    struct id128 b = {{9}};
    struct buf value = {0};
    world_init(&w, 3);
    assert_int_equal(buf_reserve(&value, (size_t)65 << 20), OK);
    memset(value.ptr, 0, (size_t)65 << 20);
    value.len = (size_t)65 << 20;
    key_object_base(&key, 3, TABLE_OBJECT, BUCKET, KEY);
    key_be64(&key, 1);
    struct kv_batch *batch = kv_batch_new();
    kv_batch_put(batch, KV_INDEX, key_view(&key), buf_view(&value));
    assert_int_equal(w.store->ops->write(w.store, &batch), OK);
    cmd_condemn(&w, &c, KEY, &b, 1);
    assert_int_equal(world_run(&w, &c), ERR_TOO_LARGE);
    assert_int_equal(index_condemned_count(w.index), 0);
    assert_int_equal(index_deletion_count(w.index), 0);
    buf_fini(&value);
    world_fini(&w);
}

/* ---- planted bugs ---- */

static bool a_referred_blob_is_condemned(void)
{
    struct world w;
    struct cmd c;
    struct id128 b;
    world_init(&w, 3);
    cmd_put_segments(&w, &c, KEY, 1, 100);
    assert_int_equal(world_run(&w, &c), OK);
    b = c.blob_ids[0];
    cmd_condemn(&w, &c, KEY, &b, 1);
    assert_int_equal(world_run(&w, &c), OK);
    bool wrong = w.out->condemned.data[0];
    world_fini(&w);
    return wrong;
}

static bool a_condemned_blob_is_named(void)
{
    struct world w;
    struct id128 b = {{9}};
    world_init(&w, 3);
    condemn(&w, &b, "1");
    bool wrong = late_put(&w, &b, w.now_ms) == OK;
    world_fini(&w);
    return wrong;
}

static void planted_bugs_show(void **state)
{
    (void)state;
    assert_false(a_referred_blob_is_condemned());
    assert_false(a_condemned_blob_is_named());
    mutant_active = MUTANT_CONDEMN_WITHOUT_LOOKING;
    assert_true(a_referred_blob_is_condemned());
    mutant_active = MUTANT_CONDEMNED_ACCEPTED;
    assert_true(a_condemned_blob_is_named());
    mutant_active = MUTANT_NONE;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_that_refers_is_seen),
        cmocka_unit_test(what_is_young_is_passed_over),
        cmocka_unit_test(a_late_writer_loses_nothing),
        cmocka_unit_test(it_is_idempotent),
        cmocka_unit_test(no_record_may_name_it),
        cmocka_unit_test(it_is_forgotten_when_nothing_old_can_name_it),
        cmocka_unit_test(nothing_is_paid_where_nothing_is_condemned),
        cmocka_unit_test(routes_and_limits),
        cmocka_unit_test(too_many_records_to_look_over),
        cmocka_unit_test(planted_bugs_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
