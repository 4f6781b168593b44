/* The n-th allocation failing while an entry is applied: ERR_NOMEM and the partition as it was, and
 * then the same entry applied again as if nothing had been. */
#include "tests/unit/common/alloc_fail.h"
#include "world.h"

#include <stdlib.h>

#define WINDOW_MS (UINT64_C(15) * 60 * 1000)

struct scene {
    struct world w;
    struct cmd c;
    struct id128 upload;
    Cairn__CompletePart part[2], *parts[2];
};

static void run_ok(struct scene *s)
{
    assert_int_equal(world_run(&s->w, &s->c), OK);
}

static void replace_inline(struct scene *s)
{
    cmd_put_segments(&s->w, &s->c, SLICE_LIT("k"), 3, 100);
    run_ok(s);
    s->w.now_ms += 10 * WINDOW_MS; /* there is an outcome to prune, too */
    cmd_put_inline(&s->w, &s->c, SLICE_LIT("k"), SLICE_LIT("body"));
}

static void replace_segments(struct scene *s)
{
    cmd_put_inline(&s->w, &s->c, SLICE_LIT("k"), SLICE_LIT("body"));
    run_ok(s);
    cmd_put_segments(&s->w, &s->c, SLICE_LIT("k"), 4, 100);
}

static void delete_it(struct scene *s)
{
    cmd_put_segments(&s->w, &s->c, SLICE_LIT("k"), 2, 100);
    run_ok(s);
    cmd_delete(&s->w, &s->c, SLICE_LIT("k"));
}

static void create_upload(struct scene *s)
{
    cmd_create_upload(&s->w, &s->c, SLICE_LIT("k"), &s->upload);
}

static void put_part(struct scene *s)
{
    create_upload(s);
    run_ok(s);
    cmd_put_part(&s->w, &s->c, SLICE_LIT("k"), &s->upload, 1, 100, 2);
    run_ok(s);
    cmd_put_part(&s->w, &s->c, SLICE_LIT("k"), &s->upload, 1, 50, 0); /* replaces it */
}

static void complete(struct scene *s)
{
    put_part(s);
    run_ok(s);
    for (uint32_t i = 0; i < 2; i++) {
        cmd_put_part(&s->w, &s->c, SLICE_LIT("k"), &s->upload, i + 1, 100, 2);
        run_ok(s);
        cairn__complete_part__init(s->parts[i] = &s->part[i]);
        s->part[i].number = i + 1;
        s->part[i].etag = strdup(s->c.etag);
    }
    cmd_complete(&s->w, &s->c, SLICE_LIT("k"), &s->upload, s->parts, 2, 200);
}

static void abort_upload(struct scene *s)
{
    put_part(s);
    run_ok(s);
    cmd_abort(&s->w, &s->c, SLICE_LIT("k"), &s->upload);
}

static void fence(struct scene *s)
{
    cmd_fence(&s->w, &s->c, BUCKET, 2, true);
}

/* One that is referred to, one that is new, and rows of earlier ones to prune. */
static void condemn_some(struct scene *s)
{
    static struct id128 blobs[3];
    blobs[0] = fresh_id(&s->w);
    cmd_condemn(&s->w, &s->c, SLICE_LIT("k"), blobs, 1);
    run_ok(s);
    put_part(s);
    run_ok(s);
    cmd_put_segments(&s->w, &s->c, SLICE_LIT("k"), 1, 100);
    run_ok(s);
    blobs[1] = s->c.blob_ids[0];
    blobs[2] = fresh_id(&s->w);
    s->w.now_ms += 10 * WINDOW_MS;
    cmd_condemn(&s->w, &s->c, SLICE_LIT("k"), blobs + 1, 2);
}

static void move_segment(struct scene *s)
{
    static struct id128 from;
    create_upload(s);
    run_ok(s);
    cmd_put_part(&s->w, &s->c, SLICE_LIT("k"), &s->upload, 1, 100, 2);
    run_ok(s);
    from = s->c.blob_ids[1];
    cmd_move_part(&s->w, &s->c, SLICE_LIT("k"), &s->upload, 1, &from, 50);
}

/* Copies that wait to be shards, replaced by such, and moved. */
static void replace_interim(struct scene *s)
{
    for (int i = 0; i < 2; i++) {
        cmd_put_segments(&s->w, &s->c, SLICE_LIT("k"), 2, 100);
        s->c.segments[i].interim = true;
        if (i == 0)
            run_ok(s);
    }
    s->c.segments[0].interim = true;
}

static void move_interim(struct scene *s)
{
    static struct id128 from;
    cmd_put_segments(&s->w, &s->c, SLICE_LIT("k"), 2, 100);
    s->c.segments[1].interim = true;
    run_ok(s);
    from = s->c.blob_ids[1];
    cmd_move(&s->w, &s->c, SLICE_LIT("k"), &from, 50);
}

/* ---- versions ---- */

static void versioned(struct scene *s, Cairn__Versioning versioning)
{
    s->c.msg.versioning = versioning;
    s->c.msg.settings_version = 2;
}

/* An object from before, two versions of interim segments, the newer one by a suspended bucket. */
static void put_versions(struct scene *s)
{
    cmd_put_inline(&s->w, &s->c, SLICE_LIT("k"), SLICE_LIT("body"));
    run_ok(s);
    cmd_put_segments(&s->w, &s->c, SLICE_LIT("k"), 2, 100);
    s->c.segments[1].interim = true;
    versioned(s, CAIRN__VERSIONING__VERSIONING_ENABLED);
    run_ok(s);
    cmd_put_segments(&s->w, &s->c, SLICE_LIT("k"), 2, 100);
    s->c.segments[0].interim = true;
    versioned(s, CAIRN__VERSIONING__VERSIONING_SUSPENDED);
}

static void delete_suspended(struct scene *s)
{
    put_versions(s);
    run_ok(s);
    cmd_delete(&s->w, &s->c, SLICE_LIT("k"));
    versioned(s, CAIRN__VERSIONING__VERSIONING_SUSPENDED);
}

/* The current version goes, and an older one takes its place. */
static void delete_null(struct scene *s)
{
    put_versions(s);
    run_ok(s);
    cmd_delete(&s->w, &s->c, SLICE_LIT("k"));
    s->c.del.version = VERSION_NULL;
    versioned(s, CAIRN__VERSIONING__VERSIONING_SUSPENDED);
}

static void delete_many_versions(struct scene *s)
{
    static Cairn__DeleteObjects op;
    static ProtobufCBinaryData keys[4];
    static uint64_t versions[4];
    put_versions(s);
    run_ok(s);
    cmd_delete(&s->w, &s->c, SLICE_LIT("k"));
    cairn__delete_objects__init(&op);
    op.bucket_id = BUCKET;
    op.keys = keys;
    op.versions = versions;
    op.n_keys = op.n_versions = 4;
    for (int i = 0; i < 4; i++)
        keys[i] = s->c.del.key;
    versions[0] = VERSION_NULL;
    versions[1] = VERSION_NONE; /* a marker, on what has taken the null version's place */
    versions[2] = index_applied(s->w.index) - 1;
    versions[3] = VERSION_NONE;
    s->c.msg.op_case = CAIRN__COMMAND__OP_DELETE_OBJECTS;
    s->c.msg.delete_objects = &op;
    versioned(s, CAIRN__VERSIONING__VERSIONING_ENABLED);
}

static void move_older(struct scene *s)
{
    static struct id128 from;
    put_versions(s);
    run_ok(s);
    from = s->c.blob_ids[0];
    uint64_t version = index_applied(s->w.index);
    cmd_put_inline(&s->w, &s->c, SLICE_LIT("k"), SLICE_LIT("body"));
    versioned(s, CAIRN__VERSIONING__VERSIONING_ENABLED);
    run_ok(s);
    cmd_move(&s->w, &s->c, SLICE_LIT("k"), &from, 50);
    s->c.move.version = version;
}

static void scene_init(struct scene *s, void (*prepare)(struct scene *))
{
    memset(s, 0, sizeof(*s));
    world_init(&s->w, 3);
    prepare(s);
}

static void scene_fini(struct scene *s)
{
    for (int i = 0; i < 2; i++)
        if (s->parts[i])
            free(s->part[i].etag);
    world_fini(&s->w);
}

/* Applies the scene's command with the n-th allocation failing; then, if one did, again.  *ret is
 * what the partition holds in the end.  Returns: did one fail? */
static bool play(void (*prepare)(struct scene *), uint64_t n, struct buf *ret)
{
    struct scene s;
    struct buf data = {0}, before = {0}, after = {0};
    Cairn__Outcome *out = NULL;
    scene_init(&s, prepare);
    index_entry_pack(&s.c.msg, s.c.body, &data);
    uint64_t at = index_applied(s.w.index) + 1;
    dump(s.w.store, 3, &before);
    alloc_fail_at(n);
    int err = index_apply(s.w.index, at, 1, buf_view(&data), &out);
    bool failed = alloc_fail_end();
    if (failed) {
        assert_int_equal(err, ERR_NOMEM);
        assert_null(out);
        assert_int_equal(index_applied(s.w.index), at - 1);
        dump(s.w.store, 3, &after);
        assert_true(slice_eq(buf_view(&before), buf_view(&after)));
        err = index_apply(s.w.index, at, 1, buf_view(&data), &out);
    }
    assert_int_equal(err, OK);
    assert_int_equal(out->err, OK);
    cairn__outcome__free_unpacked(out, NULL);
    dump(s.w.store, 3, ret);
    buf_fini(&data);
    buf_fini(&before);
    buf_fini(&after);
    scene_fini(&s);
    return failed;
}

static void every_command(void **state)
{
    (void)state;
    void (*const scenes[])(struct scene *) = {
        replace_inline, replace_segments, delete_it, create_upload, put_part,
        complete,       abort_upload,     fence,     condemn_some,  move_segment,
        replace_interim, move_interim, put_versions,  delete_suspended,
        delete_null,    delete_many_versions, move_older};
    for (size_t i = 0; i < ARRAY_COUNT(scenes); i++) {
        struct buf want = {0};
        assert_false(play(scenes[i], UINT64_MAX, &want));
        uint64_t n = 0;
        for (bool failed = true; failed; n++) {
            struct buf got = {0};
            failed = play(scenes[i], n, &got);
            assert_true(slice_eq(buf_view(&want), buf_view(&got)));
            buf_fini(&got);
        }
        assert_true(n > 5);
        buf_fini(&want);
    }
}

static void open_and_read(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 3);
    assert_int_equal(put(&w, "key", "body"), OK);
    index_close(w.index);
    for (uint64_t n = 0;; n++) {
        alloc_fail_at(n);
        int err = index_open(w.kv, 3, &w.index);
        bool failed = alloc_fail_end();
        assert_int_equal(err, failed ? ERR_NOMEM : OK);
        if (!failed)
            break;
    }
    Cairn__ReadRequest q = CAIRN__READ_REQUEST__INIT;
    Cairn__RecordKey k = CAIRN__RECORD_KEY__INIT, *keys[1] = {&k};
    k.kind = CAIRN__RECORD_KIND__RECORD_OBJECT;
    k.bucket_id = BUCKET;
    k.key = (ProtobufCBinaryData){3, (uint8_t *)(uintptr_t) "key"};
    k.want_body = true;
    q.partition = 3;
    q.epoch = EPOCH;
    q.keys = keys;
    q.n_keys = 1;
    for (uint64_t n = 0;; n++) {
        struct index_view view;
        struct index_reply reply = {0};
        index_view_init(&view, w.index, NULL);
        alloc_fail_at(n);
        int err = index_read(&view, &q, &reply);
        bool failed = alloc_fail_end();
        assert_int_equal(err, failed ? ERR_NOMEM : OK);
        if (err == OK)
            assert_true(slice_eq(reply.body.bytes, SLICE_LIT("body")));
        index_reply_fini(&reply);
        if (!failed)
            break;
    }
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command),
        cmocka_unit_test(open_and_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
