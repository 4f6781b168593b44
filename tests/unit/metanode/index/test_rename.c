/* Renaming: one entry, both keys, or nothing. */
#include "metanode/index/keys.h"
#include "world.h"

#include <stdlib.h>

#define A SLICE_LIT("a")
#define B SLICE_LIT("b")

static uint64_t version_of(struct world *w, struct slice key)
{
    Cairn__ObjectRecord *r = get(w, key, NULL);
    uint64_t version = r ? r->version : 0;
    if (r)
        cairn__object_record__free_unpacked(r, NULL);
    return version;
}

/* Makes of a put at the new key a rename of what lies at the old one. */
static void renames(struct world *w, struct cmd *c, Cairn__RenameObject *op, struct slice source)
{
    cairn__rename_object__init(op);
    op->bucket_id = BUCKET;
    op->key = c->put.key;
    op->source = bin(source);
    op->source_version = version_of(w, source);
    op->record = c->put.record;
    c->msg.op_case = CAIRN__COMMAND__OP_RENAME_OBJECT;
    c->msg.rename_object = op;
    c->touches[c->msg.n_touches++] = keyhash_object(BUCKET, source);
}

static void rename_inline(struct world *w, struct cmd *c, Cairn__RenameObject *op, const char *body)
{
    cmd_put_inline(w, c, B, slice_cstr(body));
    renames(w, c, op, A);
}

static void expect_body(struct world *w, struct slice key, const char *body)
{
    struct buf got = {0};
    Cairn__ObjectRecord *r = get(w, key, &got);
    assert_non_null(r);
    assert_true(slice_eq(buf_view(&got), slice_cstr(body)));
    cairn__object_record__free_unpacked(r, NULL);
    buf_fini(&got);
}

static void expect_bodies(struct world *w, size_t want)
{
    size_t rows;
    count_rows(w, TABLE_OBJECT_BODY, KV_BODY, &rows);
    assert_int_equal(rows, want);
}

static void what_describes_it_is_the_sources(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    Cairn__RenameObject op;
    Cairn__Pair pair = CAIRN__PAIR__INIT, *pairs[] = {&pair};
    Cairn__PutObjectTags tags = CAIRN__PUT_OBJECT_TAGS__INIT;
    world_init(&w, 3);
    cmd_put_inline(&w, &c, A, SLICE_LIT("body"));
    c.record.content_type = (char *)(uintptr_t) "text/x";
    c.record.owner_id = (char *)(uintptr_t) "who";
    assert_int_equal(world_run(&w, &c), OK);
    uint64_t then = w.now_ms;
    rename_inline(&w, &c, &op, "body"); /* read now, proposed later */
    struct cmd t;
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
    w.now_ms += 5000;
    assert_int_equal(world_run(&w, &c), OK);
    assert_false(present(&w, "a"));
    expect_body(&w, B, "body");
    expect_bodies(&w, 1);
    Cairn__ObjectRecord *r = get(&w, B, NULL);
    assert_string_equal(r->content_type, "text/x");
    assert_string_equal(r->owner_id, "who");
    assert_int_equal(r->n_tags, 1); /* set after it was read */
    assert_string_equal(r->tags[0]->value, "v");
    assert_int_equal(r->mtime_ms, then);
    assert_int_equal(r->version, w.out->index);
    cairn__object_record__free_unpacked(r, NULL);
    world_fini(&w);
}

static void of_two_one_wins(void **state)
{
    (void)state;
    struct world w;
    struct cmd c, d;
    Cairn__RenameObject op, other;
    world_init(&w, 3);
    assert_int_equal(put(&w, "a", "body"), OK);
    rename_inline(&w, &c, &op, "body");
    cmd_put_inline(&w, &d, SLICE_LIT("c"), SLICE_LIT("body"));
    renames(&w, &d, &other, A);
    assert_int_equal(world_run(&w, &c), OK);
    assert_int_equal(world_run(&w, &d), ERR_NOT_FOUND);
    assert_false(present(&w, "a"));
    assert_false(present(&w, "c"));
    expect_body(&w, B, "body");
    assert_int_equal(world_run(&w, &c), OK); /* sent again: the first outcome */
    world_fini(&w);
}

static void a_source_that_changed_stays(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    Cairn__RenameObject op;
    world_init(&w, 3);
    assert_int_equal(put(&w, "a", "old1"), OK);
    assert_int_equal(put(&w, "b", "there"), OK);
    rename_inline(&w, &c, &op, "old1");
    assert_int_equal(put(&w, "a", "new1"), OK);
    assert_int_equal(world_run(&w, &c), ERR_NOT_FOUND);
    expect_body(&w, A, "new1");
    expect_body(&w, B, "there");
    expect_bodies(&w, 2);
    world_fini(&w);
}

static void conditions_are_on_what_it_replaces(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    Cairn__RenameObject op;
    Cairn__Condition condition = CAIRN__CONDITION__INIT;
    world_init(&w, 3);
    assert_int_equal(put(&w, "a", "body"), OK);
    assert_int_equal(put(&w, "b", "there"), OK);
    rename_inline(&w, &c, &op, "body");
    condition.if_absent = true;
    op.condition = &condition;
    assert_int_equal(world_run(&w, &c), ERR_PRECONDITION);
    expect_body(&w, A, "body");
    expect_body(&w, B, "there");
    rename_inline(&w, &c, &op, "body");
    assert_int_equal(world_run(&w, &c), OK);
    expect_body(&w, B, "body");
    assert_false(present(&w, "a"));
    expect_bodies(&w, 1);
    world_fini(&w);
}

/* The blobs of the source and of what was replaced go; those of the copy are found under its key.
 */
static void blobs_move_with_it(void **state)
{
    (void)state;
    struct world w;
    struct cmd source, replaced, c, asked;
    Cairn__RenameObject op;
    struct buf gone = {0};
    size_t rows;
    world_init(&w, 3);
    cmd_put_segments(&w, &source, A, 2, 100);
    source.segments[0].interim = true;
    assert_int_equal(world_run(&w, &source), OK);
    cmd_put_segments(&w, &replaced, B, 1, 70);
    assert_int_equal(world_run(&w, &replaced), OK);
    cmd_put_segments(&w, &c, B, 2, 100);
    c.segments[1].interim = true;
    renames(&w, &c, &op, A);
    assert_int_equal(world_run(&w, &c), OK);
    cmd_condemn(&w, &asked, B, c.blob_ids, 2);
    expect_refs(&w, B, &asked, (bool[]){true, true});
    count_rows(&w, TABLE_INTERIM, KV_INDEX, &rows);
    assert_int_equal(rows, 1);
    assert_int_equal(index_interim_count(w.index), 1);
    drain_deletions(&w, &gone);
    assert_int_equal(gone.len, 3 * ID_BYTES);
    for (size_t i = 0; i < 3; i++)
        assert_true(memmem(gone.ptr, gone.len,
                           i < 2 ? source.blob_ids[i].bytes : replaced.blob_ids[0].bytes,
                           ID_BYTES) != NULL);
    buf_fini(&gone);
    world_fini(&w);
}

static void condemned_blobs_are_not_named(void **state)
{
    (void)state;
    struct world w;
    struct cmd c, condemn;
    Cairn__RenameObject op;
    world_init(&w, 3);
    cmd_put_segments(&w, &c, A, 1, 100);
    assert_int_equal(world_run(&w, &c), OK);
    cmd_put_segments(&w, &c, B, 1, 100);
    renames(&w, &c, &op, A);
    cmd_condemn(&w, &condemn, B, c.blob_ids, 1);
    assert_int_equal(world_run(&w, &condemn), OK);
    assert_int_equal(world_run(&w, &c), ERR_CONDEMNED);
    assert_true(present(&w, "a"));
    world_fini(&w);
}

static void an_uploads_object(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    Cairn__RenameObject op;
    Cairn__CompletePart part = CAIRN__COMPLETE_PART__INIT, *parts[1] = {&part};
    struct buf gone = {0};
    char etag[33];
    world_init(&w, 3);
    struct id128 id = fresh_id(&w);
    cmd_create_upload(&w, &c, A, &id);
    assert_int_equal(world_run(&w, &c), OK);
    cmd_put_part(&w, &c, A, &id, 1, 100, 2);
    memcpy(etag, c.etag, sizeof(etag));
    assert_int_equal(world_run(&w, &c), OK);
    part.number = 1;
    part.etag = etag;
    cmd_complete(&w, &c, A, &id, parts, 1, 100);
    assert_int_equal(world_run(&w, &c), OK);
    cmd_put_segments(&w, &c, B, 1, 100);
    renames(&w, &c, &op, A);
    assert_int_equal(world_run(&w, &c), OK);
    Cairn__ObjectRecord *r = get(&w, B, NULL);
    assert_int_equal(r->kind, CAIRN__DATA_KIND__DATA_SEGMENTS);
    assert_int_equal(r->manifest_id.len, 0);
    cairn__object_record__free_unpacked(r, NULL);
    drain_deletions(&w, &gone);
    assert_int_equal(gone.len, 2 * ID_BYTES);
    buf_fini(&gone);
    world_fini(&w);
}

static void both_are_told_of(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    Cairn__RenameObject op;
    Cairn__EventContext e = CAIRN__EVENT_CONTEXT__INIT;
    Cairn__EventSink sink = CAIRN__EVENT_SINK__INIT, *sinks[] = {&sink};
    Cairn__EventOrder made = CAIRN__EVENT_ORDER__INIT, removed = CAIRN__EVENT_ORDER__INIT;
    Cairn__EventOrder *orders[] = {&made, &removed};
    uint32_t first = 0;
    size_t rows;
    world_init(&w, 3);
    assert_int_equal(put(&w, "a", "body"), OK);
    rename_inline(&w, &c, &op, "body");
    sink.kind = CAIRN__SINK_KIND__SINK_WEBHOOK;
    sink.target = (char *)(uintptr_t) "hook";
    made.name = CAIRN__EVENT_NAME__EVENT_CREATED_PUT;
    removed.name = CAIRN__EVENT_NAME__EVENT_REMOVED_DELETE;
    removed.position = 1;
    made.sinks = removed.sinks = &first;
    made.n_sinks = removed.n_sinks = 1;
    e.rows_max = 10;
    e.sinks = sinks;
    e.n_sinks = 1;
    e.orders = orders;
    e.n_orders = 2;
    c.msg.events = &e;
    assert_int_equal(world_run(&w, &c), OK);
    count_rows(&w, TABLE_EVENT, KV_INDEX, &rows);
    assert_int_equal(rows, 3); /* with the head */
    world_fini(&w);
}

static void what_is_refused(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    Cairn__RenameObject op;
    world_init(&w, 3);
    assert_int_equal(put(&w, "a", "body"), OK);
    for (int i = 0; i < 7; i++) {
        rename_inline(&w, &c, &op, i == 4 ? "longer" : "body");
        if (i == 0)
            c.msg.versioning = CAIRN__VERSIONING__VERSIONING_SUSPENDED;
        if (i == 1)
            op.source = bin(B); /* itself */
        if (i == 2)
            op.source_version = 0;
        if (i == 3)
            c.msg.n_touches = 1;
        if (i == 5)
            c.record.renamed_by = bin(SLICE_LIT("short"));
        if (i == 6)
            op.source = bin(SLICE_EMPTY);
        assert_int_equal(world_run(&w, &c), ERR_REFUSED);
    }
    expect_body(&w, A, "body");
    assert_false(present(&w, "b"));
    world_fini(&w);
}

/* One entry is of one partition. */
static void the_other_key_lies_elsewhere(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    Cairn__RenameObject op;
    struct buf end = {0};
    buf_be64(&end, BUCKET);
    buf_slice(&end, SLICE_LIT("b"));
    world_init_range(&w, 3, SLICE_EMPTY, buf_view(&end), NULL);
    assert_int_equal(put(&w, "a", "body"), OK);
    rename_inline(&w, &c, &op, "body");
    assert_int_equal(world_run(&w, &c), ERR_EPOCH);
    cmd_put_inline(&w, &c, A, SLICE_LIT("body"));
    renames(&w, &c, &op, A);
    op.source = bin(B);
    c.touches[1] = keyhash_object(BUCKET, B);
    assert_int_equal(world_run(&w, &c), ERR_EPOCH);
    assert_true(present(&w, "a"));
    buf_fini(&end);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_describes_it_is_the_sources),
        cmocka_unit_test(of_two_one_wins),
        cmocka_unit_test(a_source_that_changed_stays),
        cmocka_unit_test(conditions_are_on_what_it_replaces),
        cmocka_unit_test(blobs_move_with_it),
        cmocka_unit_test(condemned_blobs_are_not_named),
        cmocka_unit_test(an_uploads_object),
        cmocka_unit_test(both_are_told_of),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(the_other_key_lies_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
