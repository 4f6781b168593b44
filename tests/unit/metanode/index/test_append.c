/* Appending: the data become longer, of the very version that was read, and nothing is lost or let
 * go. */
#include "metanode/index/keys.h"
#include "world.h"

#include <stdlib.h>

#define A SLICE_LIT("a")

/* Makes of a put an append to what lies at the key; the record's size is the whole's. */
static void appends(struct world *w, struct cmd *c, Cairn__AppendObject *op, bool whole)
{
    Cairn__ObjectRecord *there = get(w, A, NULL);
    cairn__append_object__init(op);
    op->bucket_id = BUCKET;
    op->key = c->put.key;
    op->version = there ? there->version : 1;
    op->record = c->put.record;
    op->whole = whole;
    if (!whole)
        c->record.size += there ? there->size : 0;
    c->msg.op_case = CAIRN__COMMAND__OP_APPEND_OBJECT;
    c->msg.append_object = op;
    if (there)
        cairn__object_record__free_unpacked(there, NULL);
}

static void append_segments(struct world *w, struct cmd *c, Cairn__AppendObject *op, size_t n,
                            uint64_t bytes)
{
    cmd_put_segments(w, c, A, n, bytes);
    appends(w, c, op, false);
}

static void append_inline(struct world *w, struct cmd *c, Cairn__AppendObject *op, const char *body)
{
    cmd_put_inline(w, c, A, slice_cstr(body));
    appends(w, c, op, true);
}

static void put_segments(struct world *w, struct cmd *c, size_t n, uint64_t bytes)
{
    cmd_put_segments(w, c, A, n, bytes);
    assert_int_equal(world_run(w, c), OK);
}

static void expect_body(struct world *w, const char *body)
{
    struct buf got = {0};
    size_t rows;
    Cairn__ObjectRecord *r = get(w, A, &got);
    assert_non_null(r);
    assert_true(slice_eq(buf_view(&got), slice_cstr(body)));
    assert_int_equal(r->size, strlen(body));
    count_rows(w, TABLE_OBJECT_BODY, KV_BODY, &rows);
    assert_int_equal(rows, body[0] ? 1 : 0);
    cairn__object_record__free_unpacked(r, NULL);
    buf_fini(&got);
}

/* The object's segments are these, in this order. */
static void expect_segments(struct world *w, const struct id128 *ids, size_t n, uint64_t size)
{
    Cairn__ObjectRecord *r = get(w, A, NULL);
    assert_non_null(r);
    assert_int_equal(r->kind, CAIRN__DATA_KIND__DATA_SEGMENTS);
    assert_int_equal(r->n_segments, n);
    assert_int_equal(r->size, size);
    for (size_t i = 0; i < n; i++)
        assert_memory_equal(r->segments[i]->blob_id.data, ids[i].bytes, ID_BYTES);
    cairn__object_record__free_unpacked(r, NULL);
}

/* What goes into the deletion queue now: each of these blobs once, and no other. */
static void expect_deleted(struct world *w, const struct id128 *ids, size_t n)
{
    struct buf gone = {0};
    drain_deletions(w, &gone);
    assert_int_equal(gone.len, n * ID_BYTES);
    for (size_t i = 0; i < n; i++) {
        unsigned seen = 0;
        for (size_t k = 0; k < n; k++)
            seen += memcmp(gone.ptr + k * ID_BYTES, ids[i].bytes, ID_BYTES) == 0;
        assert_int_equal(seen, 1);
    }
    buf_fini(&gone);
}

static void segments_stay_and_go_once(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    Cairn__AppendObject op;
    struct id128 ids[5];
    world_init(&w, 3);
    put_segments(&w, &c, 2, 100);
    memcpy(ids, c.blob_ids, 2 * sizeof(*ids));
    uint64_t was = w.out->index;
    w.now_ms += 5000;
    append_segments(&w, &c, &op, 1, 7);
    ids[2] = c.blob_ids[0];
    c.record.has_crc64nvme = true;
    c.record.crc64nvme = 99;
    assert_int_equal(world_run(&w, &c), OK);
    assert_int_equal(w.out->size, 107);
    assert_string_equal(w.out->etag, c.etag);
    expect_segments(&w, ids, 3, 107);
    Cairn__ObjectRecord *r = get(&w, A, NULL);
    assert_int_equal(r->appends, 1);
    assert_int_equal(r->mtime_ms, w.now_ms);
    assert_true(r->version == w.out->index && r->version > was);
    assert_true(r->has_crc64nvme && r->crc64nvme == 99);
    assert_string_equal(r->etag, c.etag);
    cairn__object_record__free_unpacked(r, NULL);
    append_segments(&w, &c, &op, 2, 60);
    memcpy(ids + 3, c.blob_ids, 2 * sizeof(*ids));
    assert_int_equal(world_run(&w, &c), OK);
    assert_int_equal(world_run(&w, &c), OK); /* sent again */
    expect_segments(&w, ids, 5, 167);
    append_segments(&w, &c, &op, 1, 1); /* nothing is appended */
    c.record.size = 167;
    c.record.n_segments = 0;
    assert_int_equal(world_run(&w, &c), OK);
    expect_segments(&w, ids, 5, 167);
    assert_int_equal(index_deletion_count(w.index), 0);
    world_reopen(&w);
    expect_segments(&w, ids, 5, 167);
    assert_int_equal(del(&w, "a"), OK);
    expect_deleted(&w, ids, 5);
    world_fini(&w);
}

static void inline_data_are_replaced(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    Cairn__AppendObject op;
    world_init(&w, 3);
    assert_int_equal(put(&w, "a", ""), OK);
    append_inline(&w, &c, &op, "abc");
    assert_int_equal(world_run(&w, &c), OK);
    append_inline(&w, &c, &op, "abcdef");
    assert_int_equal(world_run(&w, &c), OK);
    expect_body(&w, "abcdef");
    cmd_put_segments(&w, &c, A, 2, 50); /* too long by now */
    appends(&w, &c, &op, true);
    assert_int_equal(world_run(&w, &c), OK);
    expect_segments(&w, c.blob_ids, 2, 50);
    size_t rows;
    count_rows(&w, TABLE_OBJECT_BODY, KV_BODY, &rows);
    assert_int_equal(rows, 0);
    Cairn__ObjectRecord *r = get(&w, A, NULL);
    assert_int_equal(r->appends, 3);
    cairn__object_record__free_unpacked(r, NULL);
    assert_int_equal(del(&w, "a"), OK);
    expect_deleted(&w, c.blob_ids, 2);
    world_fini(&w);
}

/* Whoever is first; the others leave everything as it is. */
static void of_two_one_wins(void **state)
{
    (void)state;
    struct world w;
    struct cmd c, d, first;
    Cairn__AppendObject op, other;
    struct id128 ids[2];
    world_init(&w, 3);
    put_segments(&w, &first, 1, 10);
    append_segments(&w, &c, &op, 1, 5);
    append_segments(&w, &d, &other, 1, 5);
    assert_int_equal(world_run(&w, &d), OK);
    assert_int_equal(world_run(&w, &c), ERR_PRECONDITION);
    ids[0] = first.blob_ids[0];
    ids[1] = d.blob_ids[0];
    expect_segments(&w, ids, 2, 15);
    assert_int_equal(world_run(&w, &d), OK); /* sent again: the first outcome */
    expect_segments(&w, ids, 2, 15);

    append_segments(&w, &c, &op, 1, 5); /* an overwrite of the same size */
    put_segments(&w, &first, 1, 15);
    expect_deleted(&w, ids, 2);
    assert_int_equal(world_run(&w, &c), ERR_PRECONDITION);
    expect_segments(&w, first.blob_ids, 1, 15);

    append_segments(&w, &c, &op, 1, 5); /* a deletion */
    assert_int_equal(del(&w, "a"), OK);
    assert_int_equal(world_run(&w, &c), ERR_PRECONDITION);
    assert_false(present(&w, "a"));
    expect_deleted(&w, first.blob_ids, 1);
    world_fini(&w);
}

/* Tags that are set, and segments that are moved, between the reading and the entry. */
static void what_is_no_data_stays(void **state)
{
    (void)state;
    struct world w;
    struct cmd c, t;
    Cairn__AppendObject op;
    Cairn__Pair pair = CAIRN__PAIR__INIT, *pairs[] = {&pair};
    Cairn__PutObjectTags tags = CAIRN__PUT_OBJECT_TAGS__INIT;
    struct id128 ids[3], moved;
    world_init(&w, 3);
    cmd_put_segments(&w, &c, A, 2, 100);
    c.record.content_type = (char *)(uintptr_t) "text/x";
    c.record.owner_id = (char *)(uintptr_t) "who";
    assert_int_equal(world_run(&w, &c), OK);
    memcpy(ids, c.blob_ids, 2 * sizeof(*ids));
    uint64_t bytes = c.segments[1].bytes;
    uint32_t crc = c.segments[1].crc32c;
    append_segments(&w, &c, &op, 1, 9); /* read now, proposed later */
    ids[2] = c.blob_ids[0];
    pair.name = (char *)(uintptr_t) "n";
    pair.value = (char *)(uintptr_t) "v";
    tags.bucket_id = BUCKET;
    tags.key = bin(A);
    tags.tags = pairs;
    tags.n_tags = 1;
    cmd_init(&w, &t);
    t.msg.op_case = CAIRN__COMMAND__OP_PUT_OBJECT_TAGS;
    t.msg.put_object_tags = &tags;
    t.touches[t.msg.n_touches++] = keyhash_object(BUCKET, A);
    assert_int_equal(world_run(&w, &t), OK);
    moved = ids[1];
    cmd_move(&w, &t, A, &moved, bytes);
    t.segments[0].crc32c = crc;
    assert_int_equal(world_run(&w, &t), OK);
    ids[1] = t.blob_ids[0];
    expect_deleted(&w, &moved, 1);
    assert_int_equal(world_run(&w, &c), OK);
    expect_segments(&w, ids, 3, 109);
    Cairn__ObjectRecord *r = get(&w, A, NULL);
    assert_string_equal(r->content_type, "text/x");
    assert_string_equal(r->owner_id, "who");
    assert_int_equal(r->n_tags, 1);
    cairn__object_record__free_unpacked(r, NULL);
    assert_int_equal(del(&w, "a"), OK);
    expect_deleted(&w, ids, 3);
    world_fini(&w);
}

static void condemned_blobs_are_not_named(void **state)
{
    (void)state;
    struct world w;
    struct cmd c, condemn, first;
    Cairn__AppendObject op;
    const bool yes[2] = {true, true};
    world_init(&w, 3);
    put_segments(&w, &first, 2, 10);
    append_segments(&w, &c, &op, 1, 5);
    cmd_condemn(&w, &condemn, A, c.blob_ids, 1);
    assert_int_equal(world_run(&w, &condemn), OK);
    assert_int_equal(world_run(&w, &c), ERR_CONDEMNED);
    expect_segments(&w, first.blob_ids, 2, 10);
    append_segments(&w, &c, &op, 2, 5);
    assert_int_equal(world_run(&w, &c), OK);
    cmd_condemn(&w, &condemn, A, c.blob_ids, 2); /* those that came behind are referred to */
    expect_refs(&w, A, &condemn, yes);
    cmd_condemn(&w, &condemn, A, first.blob_ids, 2);
    expect_refs(&w, A, &condemn, yes);
    world_fini(&w);
}

static void interim_segments_are_counted(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    Cairn__AppendObject op;
    world_init(&w, 3);
    put_segments(&w, &c, 1, 10);
    append_segments(&w, &c, &op, 2, 10);
    c.segments[1].interim = 1;
    assert_int_equal(world_run(&w, &c), OK);
    assert_int_equal(index_interim_count(w.index), 1);
    append_segments(&w, &c, &op, 2, 10);
    c.segments[0].interim = c.segments[1].interim = 1;
    assert_int_equal(world_run(&w, &c), OK);
    assert_int_equal(index_interim_count(w.index), 3);
    append_segments(&w, &c, &op, 1, 10);
    assert_int_equal(world_run(&w, &c), OK);
    world_reopen(&w);
    assert_int_equal(index_interim_count(w.index), 3);
    assert_int_equal(del(&w, "a"), OK);
    assert_int_equal(index_interim_count(w.index), 0);
    world_fini(&w);
}

static void what_is_refused(void **state)
{
    (void)state;
    struct world w;
    struct cmd c, first;
    Cairn__AppendObject op;
    world_init(&w, 3);
    put_segments(&w, &first, 2, 100);
    for (int i = 0; i < 9; i++) {
        if (i == 6)
            append_inline(&w, &c, &op, "whole, of an object of segments");
        else
            append_segments(&w, &c, &op, 1, 10);
        if (i == 0)
            c.msg.versioning = CAIRN__VERSIONING__VERSIONING_ENABLED;
        if (i == 1)
            op.version = 0;
        if (i == 2)
            c.msg.n_touches = 0;
        if (i == 3)
            c.record.size++;
        if (i == 4)
            c.segments[0].bytes = 0;
        if (i == 5)
            c.record.kind = CAIRN__DATA_KIND__DATA_INLINE;
        if (i == 7)
            c.record.etag = (char *)(uintptr_t) "";
        if (i == 8)
            op.key = bin(SLICE_EMPTY);
        assert_int_equal(world_run(&w, &c), ERR_REFUSED);
    }
    expect_segments(&w, first.blob_ids, 2, 100);
    assert_int_equal(index_deletion_count(w.index), 0);
    world_fini(&w);
}

/* So many appends, and so many segments; and what kinds of objects are left out. */
static void limits(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    Cairn__AppendObject op;
    Cairn__Segment many[INDEX_SEGMENTS_MAX], *ptrs[INDEX_SEGMENTS_MAX];
    world_init(&w, 3);
    cmd_put_segments(&w, &c, A, 1, 10);
    c.record.appends = INDEX_APPENDS_MAX - 1;
    assert_int_equal(world_run(&w, &c), OK);
    append_segments(&w, &c, &op, 1, 1);
    assert_int_equal(world_run(&w, &c), OK);
    append_segments(&w, &c, &op, 1, 1);
    assert_int_equal(world_run(&w, &c), ERR_REFUSED);
    put_segments(&w, &c, 1, 10);
    cmd_put_segments(&w, &c, A, 1, 10);
    for (size_t i = 0; i < INDEX_SEGMENTS_MAX; i++) {
        many[i] = c.segments[0];
        ptrs[i] = &many[i];
    }
    c.record.segments = ptrs;
    for (size_t i = 0; i < 2; i++) {
        c.record.n_segments = INDEX_SEGMENTS_MAX - i;
        c.record.size = 10 * c.record.n_segments;
        appends(&w, &c, &op, false);
        assert_int_equal(world_run(&w, &c), i == 0 ? ERR_REFUSED : OK);
        struct id128 id = fresh_id(&w);
        memcpy(c.write_id.bytes, id.bytes, ID_BYTES);
    }
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_stay_and_go_once),
        cmocka_unit_test(inline_data_are_replaced),
        cmocka_unit_test(of_two_one_wins),
        cmocka_unit_test(what_is_no_data_stays),
        cmocka_unit_test(condemned_blobs_are_not_named),
        cmocka_unit_test(interim_segments_are_counted),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
