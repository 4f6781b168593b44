/* Interim segments: which records have some, through everything that happens to records. */
#include "metanode/index/keys.h"
#include "tests/unit/common/alloc_fail.h"
#include "world.h"

#include <stdlib.h>

#define KEY SLICE_LIT("k")

static void assert_interim(struct world *w, uint64_t segments, size_t records)
{
    size_t rows;
    count_rows(w, TABLE_INTERIM, KV_INDEX, &rows);
    assert_int_equal(rows, records);
    assert_int_equal(index_interim_count(w->index), segments);
    world_reopen(w); /* it is known from the store as well */
    assert_int_equal(index_interim_count(w->index), segments);
}

static void put_interim(struct world *w, struct cmd *c, struct slice key, size_t n, unsigned flags)
{
    cmd_put_segments(w, c, key, n, 300);
    for (size_t i = 0; i < n; i++)
        c->segments[i].interim = flags >> i & 1;
    assert_int_equal(world_run(w, c), OK);
}

static bool take_all(void *arg, struct id128 blob_id)
{
    buf_append(arg, blob_id.bytes, ID_BYTES);
    return true;
}

/* The blobs that one walk of any size finds. */
static size_t found(struct world *w, struct buf *ret)
{
    struct index_view view;
    struct index_reply reply = {0};
    bool end;
    struct index_interim_walk walk = {.rows_left = 1000,
                                      .segments_left = 1000,
                                      .take_left = 1000,
                                      .take = take_all,
                                      .arg = ret,
                                      .reply = &reply};
    buf_clear(ret);
    index_view_init(&view, w->index, NULL);
    assert_int_equal(index_interim_walk(&view, &walk, &end), OK);
    assert_true(end && walk.after.len == 0);
    buf_fini(&walk.after);
    index_reply_fini(&reply);
    return ret->len / ID_BYTES;
}

static void objects(void **state)
{
    (void)state;
    struct world w;
    struct cmd a, b, c;
    struct buf ids = {0};
    world_init(&w, 3);
    assert_interim(&w, 0, 0);
    cmd_put_segments(&w, &c, KEY, 2, 100);
    assert_int_equal(world_run(&w, &c), OK);
    size_t rows;
    count_rows(&w, TABLE_INTERIM_COUNT, KV_INDEX, &rows);
    assert_int_equal(rows, 0); /* nothing is written for those that have none */
    put_interim(&w, &a, KEY, 3, 5);
    assert_interim(&w, 2, 1);
    put_interim(&w, &b, SLICE_LIT("l"), 2, 3);
    assert_interim(&w, 4, 2);
    assert_int_equal(index_advance(w.index, index_applied(w.index) + 1, 2), OK);
    assert_interim(&w, 4, 2); /* entries without a command leave it alone */
    assert_int_equal(found(&w, &ids), 4);
    assert_memory_equal(ids.ptr, a.blob_ids[0].bytes, ID_BYTES);
    assert_memory_equal(ids.ptr + ID_BYTES, a.blob_ids[2].bytes, ID_BYTES);
    /* Moved, one after the other, and one to a blob that is interim again. */
    cmd_move(&w, &c, KEY, &a.blob_ids[0], 100);
    c.segments[0].interim = true;
    assert_int_equal(world_run(&w, &c), OK);
    assert_interim(&w, 4, 2);
    cmd_move(&w, &c, KEY, &a.blob_ids[1], 100);
    assert_int_equal(world_run(&w, &c), OK);
    assert_interim(&w, 4, 2);
    cmd_move(&w, &c, KEY, &a.blob_ids[2], 100);
    assert_int_equal(world_run(&w, &c), OK);
    assert_interim(&w, 3, 2);
    cmd_move(&w, &c, KEY, &a.blob_ids[2], 100);
    assert_int_equal(world_run(&w, &c), ERR_NOT_FOUND);
    assert_interim(&w, 3, 2);
    /* A refusal leaves all as it is. */
    Cairn__Condition condition = CAIRN__CONDITION__INIT;
    condition.if_absent = true;
    cmd_put_segments(&w, &c, KEY, 1, 100);
    c.put.condition = &condition;
    assert_int_equal(world_run(&w, &c), ERR_PRECONDITION);
    assert_interim(&w, 3, 2);
    put_interim(&w, &c, KEY, 4, 15); /* replaced by more, by none */
    assert_interim(&w, 6, 2);
    assert_int_equal(put(&w, "k", "body"), OK);
    assert_interim(&w, 2, 1);
    assert_int_equal(del(&w, "l"), OK);
    assert_interim(&w, 0, 0);
    assert_int_equal(found(&w, &ids), 0);
    buf_fini(&ids);
    world_fini(&w);
}

static void parts(void **state)
{
    (void)state;
    struct world w;
    struct cmd part[3], c;
    struct buf ids = {0};
    struct id128 upload;
    Cairn__CompletePart named[2], *ptrs[2];
    world_init(&w, 3);
    upload = fresh_id(&w);
    put_interim(&w, &c, KEY, 1, 1);
    cmd_create_upload(&w, &c, KEY, &upload);
    assert_int_equal(world_run(&w, &c), OK);
    for (uint32_t i = 0; i < 3; i++) {
        cmd_put_part(&w, &part[i], KEY, &upload, i + 1, 100, 2);
        part[i].segments[1].interim = true;
        assert_int_equal(world_run(&w, &part[i]), OK);
    }
    assert_interim(&w, 4, 4);
    cmd_put_part(&w, &c, KEY, &upload, 2, 100, 0);
    assert_int_equal(world_run(&w, &c), OK);
    assert_interim(&w, 3, 3);
    cmd_put_part(&w, &part[1], KEY, &upload, 2, 100, 1);
    part[1].segments[0].interim = true;
    assert_int_equal(world_run(&w, &part[1]), OK);
    assert_interim(&w, 4, 4);
    /* Completed: the object before it goes, the part that is left out with the queue. */
    for (uint32_t i = 0; i < 2; i++) {
        cairn__complete_part__init(ptrs[i] = &named[i]);
        named[i].number = i + 1;
        named[i].etag = part[i].etag;
    }
    cmd_complete(&w, &c, KEY, &upload, ptrs, 2, 200);
    assert_int_equal(world_run(&w, &c), OK);
    assert_interim(&w, 3, 3);
    assert_int_equal(found(&w, &ids), 2); /* not what will be deleted */
    drain_deletions(&w, NULL);
    assert_interim(&w, 2, 2);
    cmd_move_part(&w, &c, KEY, &upload, 1, &part[0].blob_ids[1], 50);
    assert_int_equal(world_run(&w, &c), OK);
    assert_interim(&w, 1, 1);
    assert_int_equal(found(&w, &ids), 1);
    assert_memory_equal(ids.ptr, part[1].blob_ids[0].bytes, ID_BYTES);
    /* Dead: it stays until it is expanded, and is handed out no more. */
    assert_int_equal(del(&w, "k"), OK);
    assert_int_equal(found(&w, &ids), 0);
    assert_interim(&w, 1, 1);
    drain_deletions(&w, NULL);
    assert_interim(&w, 0, 0);
    buf_fini(&ids);
    world_fini(&w);
}

/* A replica that applied the put before its version knew the table has no row; one whose row is
 * damaged says so. */
static void rows_that_lack_or_lie(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    struct key row;
    static const uint8_t none[ID_BYTES];
    Cairn__Outcome *out = NULL;
    struct buf data = {0};
    world_init(&w, 3);
    put_interim(&w, &c, KEY, 2, 3);
    key_part(&row, 3, TABLE_INTERIM, BUCKET, KEY, SLICE(none, ID_BYTES), 0);
    for (int lies = 0; lies < 2; lies++) {
        struct kv_batch *batch = kv_batch_new();
        struct key count;
        key_table(&count, 3, TABLE_INTERIM_COUNT, SLICE_EMPTY);
        if (lies) {
            kv_batch_put(batch, KV_INDEX, key_view(&row), SLICE_LIT("odd"));
        } else {
            kv_batch_delete(batch, KV_INDEX, key_view(&row));
            kv_batch_delete(batch, KV_INDEX, key_view(&count));
        }
        assert_int_equal(w.store->ops->write(w.store, &batch), OK);
        world_reopen(&w);
        if (!lies) {
            put_interim(&w, &c, KEY, 2, 1); /* it has one from now on */
            assert_interim(&w, 1, 1);
        }
    }
    cmd_delete(&w, &c, KEY);
    index_entry_pack(&c.msg, c.body, &data);
    assert_int_equal(index_apply(w.index, index_applied(w.index) + 1, 1, buf_view(&data), &out),
                     ERR_CORRUPT);
    buf_fini(&data);
    world_fini(&w);
}

/* An answer of any size, and every allocation failing once on its way. */
static void a_walk_in_pieces(void **state)
{
    (void)state;
    enum { OBJECTS = 7 };
    struct world w;
    struct cmd c;
    struct index_view view;
    struct buf ids = {0};
    world_init(&w, 3);
    for (int i = 0; i < OBJECTS; i++) {
        uint8_t name[2] = {(uint8_t)i, 0};
        put_interim(&w, &c, SLICE(name, 2), 3, 7);
    }
    index_view_init(&view, w.index, NULL);
    for (unsigned rows = 1; rows < 4; rows++) {
        struct index_interim_walk walk = {.take = take_all, .arg = &ids};
        unsigned steps = 0;
        buf_clear(&ids);
        for (bool end = false; !end; steps++) {
            struct index_reply reply = {0};
            walk.rows_left = rows;
            walk.segments_left = walk.take_left = 1000;
            walk.reply = &reply;
            assert_int_equal(index_interim_walk(&view, &walk, &end), OK);
            index_reply_fini(&reply);
        }
        assert_int_equal(ids.len, 3 * OBJECTS * ID_BYTES);
        assert_int_equal(steps, (OBJECTS + rows - 1) / rows);
        buf_fini(&walk.after);
    }
    for (uint64_t n = 0;; n++) {
        struct index_reply reply = {0};
        bool end;
        struct index_interim_walk walk = {.rows_left = 10,
                                          .segments_left = 100,
                                          .take_left = 100,
                                          .take = take_all,
                                          .arg = &ids,
                                          .reply = &reply};
        buf_clear(&ids);
        alloc_fail_at(n);
        int err = index_interim_walk(&view, &walk, &end);
        bool failed = alloc_fail_end();
        assert_int_equal(err, failed ? ERR_NOMEM : OK);
        assert_int_equal(end, !failed);
        buf_fini(&walk.after);
        index_reply_fini(&reply);
        if (!failed)
            break;
        assert_true(n < 100);
    }
    buf_fini(&ids);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects),
        cmocka_unit_test(parts),
        cmocka_unit_test(rows_that_lack_or_lie),
        cmocka_unit_test(a_walk_in_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
