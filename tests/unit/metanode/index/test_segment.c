/* Moving segments, and listing them. */
#include "world.h"

#include <stdlib.h>

#define KEY SLICE_LIT("k")

static ProtobufCBinaryData bytes(struct slice s)
{
    return (ProtobufCBinaryData){s.len, (uint8_t *)(uintptr_t)s.ptr};
}

static size_t drained(struct world *w, struct id128 id)
{
    struct buf gone = {0};
    size_t count = 0;
    drain_deletions(w, &gone);
    for (size_t i = 0; i < gone.len; i += ID_BYTES)
        count += memcmp(gone.ptr + i, id.bytes, ID_BYTES) == 0;
    buf_fini(&gone);
    return count;
}

static void an_objects_segment_moves(void **state)
{
    (void)state;
    struct world w;
    struct cmd put, c;
    world_init(&w, 3);
    cmd_put_segments(&w, &put, KEY, 3, 300);
    put.segments[1].crc32c = 0xABCD;
    assert_int_equal(world_run(&w, &put), OK);
    Cairn__ObjectRecord *before = get(&w, KEY, NULL);
    w.now_ms += 5000;

    cmd_move(&w, &c, KEY, &put.blob_ids[1], 99);
    c.segments[0].crc32c = 0xABCD;
    assert_int_equal(world_run(&w, &c), ERR_REFUSED); /* other bytes */
    cmd_move(&w, &c, KEY, &put.blob_ids[1], 100);
    c.segments[0].crc32c = 0xABCE;
    assert_int_equal(world_run(&w, &c), ERR_REFUSED);
    c.segments[0].crc32c = 0xABCD;
    c.msg.n_touches = 0;
    assert_int_equal(world_run(&w, &c), ERR_REFUSED); /* a record that gateways cache */
    cmd_move(&w, &c, KEY, &put.blob_ids[1], 100);
    c.segments[0].crc32c = 0xABCD;
    c.segments[0].blob_id = bytes(id128_slice(&put.blob_ids[2]));
    assert_int_equal(world_run(&w, &c), ERR_REFUSED); /* there already */
    cmd_move(&w, &c, KEY, &c.blob_ids[0], 100);
    assert_int_equal(world_run(&w, &c), ERR_NOT_FOUND);
    cmd_move(&w, &c, SLICE_LIT("none"), &put.blob_ids[1], 100);
    assert_int_equal(world_run(&w, &c), ERR_NOT_FOUND);
    assert_int_equal(index_deletion_count(w.index), 0);

    cmd_move(&w, &c, KEY, &put.blob_ids[1], 100);
    c.segments[0].crc32c = 0xABCD;
    assert_int_equal(world_run(&w, &c), OK);
    Cairn__ObjectRecord *after = get(&w, KEY, NULL);
    assert_true(after->version == before->version && after->mtime_ms == before->mtime_ms &&
                after->size == before->size && after->n_segments == 3);
    assert_string_equal(after->etag, before->etag);
    assert_true(after->segments[1]->pg == 77 && after->segments[1]->bytes == 100);
    assert_memory_equal(after->segments[1]->blob_id.data, c.blob_ids[0].bytes, ID_BYTES);
    assert_memory_equal(after->segments[0]->blob_id.data, put.blob_ids[0].bytes, ID_BYTES);
    assert_int_equal(drained(&w, put.blob_ids[1]), 1);
    c.write_id = fresh_id(&w);
    assert_int_equal(world_run(&w, &c), ERR_NOT_FOUND); /* it names the new one now */

    /* The version that a client saw is still the current one. */
    Cairn__Condition condition = CAIRN__CONDITION__INIT;
    condition.if_version = before->version;
    cmd_delete(&w, &put, KEY);
    put.del.condition = &condition;
    assert_int_equal(world_run(&w, &put), OK);
    assert_int_equal(drained(&w, c.blob_ids[0]), 1);
    cairn__object_record__free_unpacked(before, NULL);
    cairn__object_record__free_unpacked(after, NULL);
    world_fini(&w);
}

static void a_parts_segment_moves(void **state)
{
    (void)state;
    struct world w;
    struct cmd parts[2], c;
    struct id128 upload, blob;
    Cairn__CompletePart named = CAIRN__COMPLETE_PART__INIT, *ptrs[1] = {&named};
    world_init(&w, 3);
    upload = fresh_id(&w);
    cmd_create_upload(&w, &c, KEY, &upload);
    assert_int_equal(world_run(&w, &c), OK);
    for (uint32_t i = 0; i < 2; i++) {
        cmd_put_part(&w, &parts[i], KEY, &upload, i + 1, 100, 2);
        assert_int_equal(world_run(&w, &parts[i]), OK);
    }
    cmd_move_part(&w, &c, KEY, &upload, 1, &parts[0].blob_ids[0], 50);
    assert_int_equal(world_run(&w, &c), OK);
    blob = c.blob_ids[0];
    assert_int_equal(drained(&w, parts[0].blob_ids[0]), 1);
    cmd_move_part(&w, &c, KEY, &upload, 3, &parts[0].blob_ids[1], 50);
    assert_int_equal(world_run(&w, &c), ERR_NOT_FOUND);
    cmd_move_part(&w, &c, KEY, &upload, 2, &parts[0].blob_ids[1], 50);
    assert_int_equal(world_run(&w, &c), ERR_NOT_FOUND);
    cmd_move_part(&w, &c, KEY, &upload, 0, &parts[0].blob_ids[1], 50);
    assert_int_equal(world_run(&w, &c), ERR_REFUSED);
    cmd_move_part(&w, &c, KEY, &upload, 1, &parts[0].blob_ids[1], 50);
    c.move.upload_id.len = 0;
    assert_int_equal(world_run(&w, &c), ERR_REFUSED);

    /* A manifest's part moves, one that it leaves out does not. */
    named.number = 1;
    named.etag = parts[0].etag;
    cmd_complete(&w, &c, KEY, &upload, ptrs, 1, 100);
    assert_int_equal(world_run(&w, &c), OK);
    cmd_move_part(&w, &c, KEY, &upload, 2, &parts[1].blob_ids[0], 50);
    assert_int_equal(world_run(&w, &c), ERR_NOT_FOUND);
    cmd_move_part(&w, &c, KEY, &upload, 1, &blob, 50);
    assert_int_equal(world_run(&w, &c), OK);
    blob = c.blob_ids[0];
    cmd_move(&w, &c, KEY, &blob, 50);
    assert_int_equal(world_run(&w, &c), ERR_NOT_FOUND); /* not the object's own */

    /* Nor does one of a dead manifest. */
    assert_int_equal(del(&w, "k"), OK);
    cmd_move_part(&w, &c, KEY, &upload, 1, &blob, 50);
    assert_int_equal(world_run(&w, &c), ERR_NOT_FOUND);
    assert_int_equal(drained(&w, blob), 1);
    world_fini(&w);
}

/* A record that names a blob twice: letting go of one would take the other with it. */
static void a_blob_named_twice_stays(void **state)
{
    (void)state;
    struct world w;
    struct cmd put, c;
    world_init(&w, 3);
    cmd_put_segments(&w, &put, KEY, 2, 100);
    put.segments[1].blob_id = put.segments[0].blob_id;
    assert_int_equal(world_run(&w, &put), OK);
    cmd_move(&w, &c, KEY, &put.blob_ids[0], 50);
    assert_int_equal(world_run(&w, &c), ERR_REFUSED);
    world_fini(&w);
}

static void pages_are_checked(void **state)
{
    (void)state;
    struct world w;
    struct index_view view;
    static uint8_t position[18 + OBJECT_KEY_BYTES_MAX + 1];
    Cairn__ListSegmentsRequest req = CAIRN__LIST_SEGMENTS_REQUEST__INIT;
    world_init(&w, 3);
    assert_int_equal(put(&w, "a", "body"), OK);
    index_view_init(&view, w.index, NULL);
    req.epoch = EPOCH;
    req.bucket_id = BUCKET;
    const size_t lengths[] = {1, 18, sizeof(position)};
    for (size_t i = 0; i < ARRAY_COUNT(lengths); i++) {
        struct index_reply reply = {0};
        req.start_after = (ProtobufCBinaryData){lengths[i], position};
        assert_int_equal(index_list_segments(&view, &req, &reply), ERR_INVAL);
        index_reply_fini(&reply);
    }
    struct index_reply reply = {0};
    req.start_after.len = 0;
    assert_int_equal(index_list_segments(&view, &req, &reply), OK);
    Cairn__ListSegmentsResponse *msg =
        (Cairn__ListSegmentsResponse *)(void *)over_the_wire(&reply.msg.base);
    assert_true(msg->n_entries == 1 && msg->entries[0]->inline_bytes == 4 && !msg->more);
    cairn__list_segments_response__free_unpacked(msg, NULL);
    index_reply_fini(&reply);
    req.epoch++;
    assert_int_equal(index_list_segments(&view, &req, &reply), ERR_EPOCH);
    index_reply_fini(&reply);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_objects_segment_moves),
        cmocka_unit_test(a_parts_segment_moves),
        cmocka_unit_test(a_blob_named_twice_stays),
        cmocka_unit_test(pages_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
