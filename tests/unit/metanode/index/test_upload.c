/* Multipart uploads: their life, what a manifest consists of, and the queue through which dead
 * parts leave step by step. */
#include "metanode/index/keys.h"
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

enum { PARTS = 12 };

struct named {
    Cairn__CompletePart part;
    char etag[33];
};

/* Puts part `number` and notes how to name it. */
static int put_part(struct world *w, struct id128 *id, uint32_t number, uint64_t size,
                    size_t segments, struct named *ret, struct buf *blobs)
{
    struct cmd c;
    cmd_put_part(w, &c, SLICE_LIT("key"), id, number, size, segments);
    int err = world_run(w, &c);
    if (ret) {
        cairn__complete_part__init(&ret->part);
        memcpy(ret->etag, c.etag, sizeof(c.etag));
        ret->part.number = number;
        ret->part.etag = ret->etag;
    }
    for (size_t i = 0; i < segments && blobs; i++)
        buf_append(blobs, c.blob_ids[i].bytes, ID_BYTES);
    return err;
}

static void start_upload(struct world *w, struct id128 *id)
{
    struct cmd c;
    *id = fresh_id(w);
    cmd_create_upload(w, &c, SLICE_LIT("key"), id);
    assert_int_equal(world_run(w, &c), OK);
}

static int complete(struct world *w, struct id128 *id, struct named *parts, size_t n, uint64_t size)
{
    struct cmd c;
    Cairn__CompletePart **ptrs = calloc(n, sizeof(*ptrs));
    for (size_t i = 0; i < n; i++)
        ptrs[i] = &parts[i].part;
    cmd_complete(w, &c, SLICE_LIT("key"), id, ptrs, n, size);
    c.complete.part_bytes_min = 10;
    int err = world_run(w, &c);
    free(ptrs);
    return err;
}

/* Numbers of the parts that the index lists, segments wanted or not. */
static size_t list_parts(struct world *w, struct id128 *id, bool segments, uint32_t page,
                         uint32_t *ret_numbers)
{
    struct index_view view;
    index_view_init(&view, w->index, NULL);
    Cairn__ListPartsRequest req = CAIRN__LIST_PARTS_REQUEST__INIT;
    req.epoch = EPOCH;
    req.bucket_id = BUCKET;
    req.key = (ProtobufCBinaryData){3, (uint8_t *)(uintptr_t) "key"};
    req.upload_id = (ProtobufCBinaryData){ID_BYTES, id->bytes};
    req.parts_max = page;
    req.want_segments = segments;
    size_t n = 0;
    for (bool more = true; more;) {
        struct index_reply reply = {0};
        int err = index_list_parts(&view, &req, &reply);
        if (err == ERR_NO_UPLOAD) {
            index_reply_fini(&reply);
            return SIZE_MAX;
        }
        assert_int_equal(err, OK);
        Cairn__ListPartsResponse *msg =
            (Cairn__ListPartsResponse *)(void *)over_the_wire(&reply.msg.base);
        assert_true(msg->upload && msg->n_parts <= page);
        for (size_t i = 0; i < msg->n_parts; i++) {
            assert_true(segments || msg->parts[i]->n_segments == 0);
            assert_true(msg->parts[i]->size > 0 && msg->parts[i]->version > 0);
            ret_numbers[n++] = req.number_marker = msg->parts[i]->number;
        }
        more = msg->more;
        cairn__list_parts_response__free_unpacked(msg, NULL);
        index_reply_fini(&reply);
    }
    return n;
}

static void expect_rows(struct world *w, uint8_t table, enum kv_family family, size_t want)
{
    size_t rows;
    count_rows(w, table, family, &rows);
    assert_int_equal(rows, want);
}

static void expect_nothing_left(struct world *w)
{
    expect_rows(w, TABLE_UPLOAD, KV_INDEX, 0);
    expect_rows(w, TABLE_MANIFEST, KV_INDEX, 0);
    expect_rows(w, TABLE_PART, KV_INDEX, 0);
    expect_rows(w, TABLE_DEAD, KV_INDEX, 0);
    expect_rows(w, TABLE_DELETION, KV_INDEX, 0);
    expect_rows(w, TABLE_PART_BODY, KV_BODY, 0);
    expect_rows(w, TABLE_OBJECT_BODY, KV_BODY, 0);
}

static void test_life(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    struct id128 id;
    struct named p[PARTS];
    struct buf gone = {0}, blobs = {0};
    uint32_t numbers[PARTS];
    world_init(&w, 3);
    start_upload(&w, &id);
    cmd_create_upload(&w, &c, SLICE_LIT("key"), &id);
    assert_int_equal(world_run(&w, &c), ERR_EXISTS);
    assert_int_equal(put_part(&w, &id, 1, 20, 2, &p[0], NULL), OK);
    assert_int_equal(put_part(&w, &id, 3, 30, 1, &p[2], NULL), OK);
    assert_int_equal(put_part(&w, &id, 2, 11, 1, &p[1], &gone), OK); /* left out below */
    assert_int_equal(put_part(&w, &id, 7, 5, 0, &p[3], NULL), OK);
    assert_int_equal(put_part(&w, &id, 9, 6, 0, &p[4], NULL), OK); /* left out */
    assert_false(present(&w, "key"));
    assert_int_equal(list_parts(&w, &id, false, 2, numbers), 5);
    /* What S3 refuses. */
    struct named bad[3] = {p[2], p[0], p[3]};
    assert_int_equal(complete(&w, &id, bad, 3, 55), ERR_PART_ORDER);
    struct named twice[2] = {p[0], p[0]};
    assert_int_equal(complete(&w, &id, twice, 2, 40), ERR_PART_ORDER);
    struct named small[2] = {p[3], p[4]};
    small[0].part.etag = p[3].etag;
    small[1].part.etag = p[4].etag;
    assert_int_equal(complete(&w, &id, small, 2, 11), ERR_PART_SMALL);
    assert_int_equal(w.out->detail, 7);
    struct named missing[2] = {p[0], p[2]};
    missing[0].part.etag = p[0].etag;
    missing[1].part.number = 5;
    missing[1].part.etag = p[2].etag;
    assert_int_equal(complete(&w, &id, missing, 2, 50), ERR_INVALID_PART);
    assert_int_equal(w.out->detail, 5);
    missing[1].part.number = 3;
    missing[1].part.etag = p[0].etag;
    assert_int_equal(complete(&w, &id, missing, 2, 50), ERR_INVALID_PART);
    assert_int_equal(w.out->detail, 3);
    /* A gateway that adds up wrongly. */
    struct named good[3] = {p[0], p[2], p[3]};
    for (int i = 0; i < 3; i++)
        good[i].part.etag = good[i].etag;
    assert_int_equal(complete(&w, &id, good, 3, 56), ERR_REFUSED);
    assert_false(present(&w, "key"));
    assert_int_equal(complete(&w, &id, good, 3, 55), OK);
    Cairn__ObjectRecord *r = get(&w, SLICE_LIT("key"), NULL);
    assert_true(r->size == 55 && r->part_count == 3 && r->manifest_id.len == ID_BYTES);
    cairn__object_record__free_unpacked(r, NULL);
    assert_int_equal(list_parts(&w, &id, true, 2, numbers), 3);
    assert_true(numbers[0] == 1 && numbers[1] == 3 && numbers[2] == 7);
    /* Again, under another write id: the same answer; with other parts: no such upload. */
    assert_int_equal(complete(&w, &id, good, 3, 55), OK);
    assert_int_equal(w.out->size, 55);
    assert_int_equal(complete(&w, &id, good, 2, 50), ERR_NO_UPLOAD);
    assert_int_equal(put_part(&w, &id, 1, 20, 2, NULL, NULL), ERR_NO_UPLOAD);
    cmd_abort(&w, &c, SLICE_LIT("key"), &id);
    assert_int_equal(world_run(&w, &c), ERR_NO_UPLOAD);
    cmd_create_upload(&w, &c, SLICE_LIT("key"), &id);
    assert_int_equal(world_run(&w, &c), ERR_EXISTS);
    /* The parts left out go, the others stay. */
    drain_deletions(&w, &blobs);
    assert_true(slice_eq(buf_view(&blobs), buf_view(&gone)));
    assert_int_equal(list_parts(&w, &id, true, 10, numbers), 3);
    expect_rows(&w, TABLE_PART, KV_INDEX, 3);
    /* With the object, all of it. */
    buf_clear(&blobs);
    assert_int_equal(put(&w, "key", "small"), OK);
    assert_int_equal(list_parts(&w, &id, true, 10, numbers), 3); /* whoever reads it may go on */
    assert_int_equal(put_part(&w, &id, 1, 20, 2, NULL, NULL), ERR_NO_UPLOAD);
    assert_int_equal(complete(&w, &id, good, 3, 55), ERR_NO_UPLOAD);
    cmd_create_upload(&w, &c, SLICE_LIT("key"), &id); /* not while old parts are there */
    assert_int_equal(world_run(&w, &c), ERR_EXISTS);
    drain_deletions(&w, &blobs);
    assert_int_equal(list_parts(&w, &id, true, 10, numbers), SIZE_MAX);
    assert_int_equal(blobs.len, 3 * ID_BYTES);
    assert_int_equal(del(&w, "key"), OK);
    expect_nothing_left(&w);
    buf_fini(&gone);
    buf_fini(&blobs);
    world_fini(&w);
}

/* The object is replaced before the parts it left out were expanded: each blob goes exactly once.
 */
static void test_replaced_before_expansion(void **state)
{
    (void)state;
    struct world w;
    struct id128 id;
    struct named p[2];
    struct buf all = {0}, blobs = {0};
    world_init(&w, 3);
    start_upload(&w, &id);
    assert_int_equal(put_part(&w, &id, 1, 20, 2, &p[0], &all), OK);
    assert_int_equal(put_part(&w, &id, 2, 20, 2, &p[1], &all), OK);
    assert_int_equal(complete(&w, &id, p, 1, 20), OK);
    assert_int_equal(del(&w, "key"), OK);
    drain_deletions(&w, &blobs);
    assert_true(slice_eq(buf_view(&blobs), buf_view(&all)));
    expect_nothing_left(&w);
    buf_fini(&all);
    buf_fini(&blobs);
    world_fini(&w);
}

static void test_abort_and_replace(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    struct id128 id;
    struct buf all = {0}, blobs = {0};
    uint32_t numbers[PARTS];
    world_init(&w, 3);
    start_upload(&w, &id);
    assert_int_equal(put_part(&w, &id, 1, 20, 3, NULL, &all), OK);
    assert_int_equal(put_part(&w, &id, 1, 8, 0, NULL, NULL), OK);  /* lets the segments go */
    assert_int_equal(put_part(&w, &id, 1, 20, 1, NULL, &all), OK); /* and the body */
    assert_true(w.out->existed);
    expect_rows(&w, TABLE_PART_BODY, KV_BODY, 0);
    assert_int_equal(put_part(&w, &id, 4, 8, 0, NULL, NULL), OK);
    struct index_view view;
    struct index_reply reply = {0};
    Cairn__ReadPartBodyRequest req = CAIRN__READ_PART_BODY_REQUEST__INIT;
    index_view_init(&view, w.index, NULL);
    req.epoch = EPOCH;
    req.bucket_id = BUCKET;
    req.key = (ProtobufCBinaryData){3, (uint8_t *)(uintptr_t) "key"};
    req.upload_id = (ProtobufCBinaryData){ID_BYTES, id.bytes};
    req.number = 4;
    assert_int_equal(index_read_part_body(&view, &req, &reply), OK);
    assert_int_equal(reply.body.bytes.len, 8);
    index_reply_fini(&reply);
    req.number = 1;
    assert_int_equal(index_read_part_body(&view, &req, &reply), ERR_NOT_FOUND);
    index_reply_fini(&reply);
    cmd_abort(&w, &c, SLICE_LIT("key"), &id);
    assert_int_equal(world_run(&w, &c), OK);
    assert_int_equal(list_parts(&w, &id, false, 10, numbers), SIZE_MAX);
    assert_int_equal(put_part(&w, &id, 2, 20, 3, NULL, NULL), ERR_NO_UPLOAD);
    drain_deletions(&w, &blobs);
    assert_true(slice_eq(buf_view(&blobs), buf_view(&all)));
    expect_nothing_left(&w);
    cmd_create_upload(&w, &c, SLICE_LIT("key"), &id); /* gone, so the id is free again */
    assert_int_equal(world_run(&w, &c), OK);
    buf_fini(&all);
    buf_fini(&blobs);
    world_fini(&w);
}

/* Ten thousand parts: one entry completes them, and deletion takes bounded steps. */
static void test_ten_thousand_parts(void **state)
{
    (void)state;
    struct world w;
    struct id128 id;
    struct named *p = calloc(INDEX_PARTS_MAX, sizeof(*p));
    uint32_t *numbers = calloc(INDEX_PARTS_MAX, sizeof(*numbers));
    struct buf blobs = {0};
    world_init(&w, 3);
    start_upload(&w, &id);
    for (uint32_t i = 0; i < INDEX_PARTS_MAX; i++)
        assert_int_equal(put_part(&w, &id, i + 1, 20, 1, &p[i], NULL), OK);
    struct named *odd = calloc(INDEX_PARTS_MAX / 2, sizeof(*odd));
    for (uint32_t i = 0; i < INDEX_PARTS_MAX / 2; i++) {
        odd[i] = p[2 * i];
        odd[i].part.etag = odd[i].etag;
    }
    assert_int_equal(complete(&w, &id, odd, INDEX_PARTS_MAX / 2, 20 * INDEX_PARTS_MAX / 2), OK);
    assert_true(index_deletion_count(w.index) == 1); /* however many parts were left out */
    assert_int_equal(list_parts(&w, &id, false, 1000, numbers), INDEX_PARTS_MAX / 2);
    uint64_t entries = index_applied(w.index);
    w.now_ms += 1;
    drain_deletions(&w, &blobs);
    assert_int_equal(blobs.len, INDEX_PARTS_MAX / 2 * ID_BYTES);
    entries = index_applied(w.index) - entries;
    assert_true(entries >= INDEX_PARTS_MAX / INDEX_EXPAND_PARTS_MAX);
    assert_int_equal(list_parts(&w, &id, false, 1000, numbers), INDEX_PARTS_MAX / 2);
    assert_int_equal(del(&w, "key"), OK);
    drain_deletions(&w, &blobs);
    assert_int_equal(blobs.len, INDEX_PARTS_MAX * ID_BYTES);
    expect_nothing_left(&w);
    buf_fini(&blobs);
    free(odd);
    free(p);
    free(numbers);
    world_fini(&w);
}

/* DeletionDone for an item that still stands for parts, and for items unknown, changes nothing. */
static void test_done_is_careful(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    struct id128 id;
    world_init(&w, 3);
    start_upload(&w, &id);
    assert_int_equal(put_part(&w, &id, 1, 20, 3, NULL, NULL), OK);
    cmd_abort(&w, &c, SLICE_LIT("key"), &id);
    assert_int_equal(world_run(&w, &c), OK);
    uint64_t items[3] = {1, 2, 99};
    cmd_init(&w, &c);
    c.msg.write_id.len = 0;
    cairn__deletion_done__init(&c.done);
    c.done.items = items;
    c.done.n_items = 3;
    c.msg.op_case = CAIRN__COMMAND__OP_DELETION_DONE;
    c.msg.deletion_done = &c.done;
    assert_int_equal(world_run(&w, &c), OK);
    assert_true(index_deletion_count(w.index) == 1);
    items[1] = 1;
    assert_int_equal(world_run(&w, &c), ERR_REFUSED); /* named twice */
    /* The grace period: an item is not given before its time. */
    struct index_view view;
    struct index_deletions d;
    index_view_init(&view, w.index, NULL);
    assert_int_equal(index_deletions_next(&view, 0, w.now_ms - 1, 8, 8, &d), OK);
    assert_true(d.expand_count == 0 && !d.more && d.last_item == 0);
    index_deletions_fini(&d);
    assert_int_equal(index_deletions_next(&view, 0, w.now_ms, 8, 8, &d), OK);
    assert_true(d.expand_count == 1 && d.last_item == 1);
    index_deletions_fini(&d);
    world_fini(&w);
}

/* A storage node takes so many blobs in one request: an item that would go beyond waits for the next
 * round, for together they would be refused for ever. */
static void test_round_is_bounded(void **state)
{
    static const char *const keys[] = {"a", "b"};
    (void)state;
    struct world w;
    struct cmd c;
    world_init(&w, 3);
    for (size_t i = 0; i < ARRAY_COUNT(keys); i++) {
        cmd_put_segments(&w, &c, slice_cstr(keys[i]), 3, 30);
        assert_int_equal(world_run(&w, &c), OK);
        cmd_delete(&w, &c, slice_cstr(keys[i]));
        assert_int_equal(world_run(&w, &c), OK);
    }
    struct index_view view;
    struct index_deletions d;
    index_view_init(&view, w.index, NULL);
    assert_int_equal(index_deletions_next(&view, 0, w.now_ms, 8, 4, &d), OK);
    assert_true(d.blob_count == 3 && d.item_count == 1 && d.more);
    uint64_t last = d.last_item;
    index_deletions_fini(&d);
    assert_int_equal(index_deletions_next(&view, last, w.now_ms, 8, 2, &d), OK);
    assert_true(d.blob_count == 3 && d.item_count == 1 && !d.more); /* never cut */
    index_deletions_fini(&d);
    assert_int_equal(index_deletions_next(&view, 0, w.now_ms, 8, 6, &d), OK);
    assert_true(d.blob_count == 6 && d.item_count == 2 && !d.more);
    index_deletions_fini(&d);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_is_bounded),
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_replaced_before_expansion),
        cmocka_unit_test(test_abort_and_replace),
        cmocka_unit_test(test_ten_thousand_parts),
        cmocka_unit_test(test_done_is_careful),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
