/* What a bucket without versions costs: as many reads, seeks and writes of the store, and the very
 * rows, as before there were versions.  The figures were taken from the code as it was then. */
#include "common/base/hash.h"
#include "world.h"

#include <stdlib.h>

#define WANT_CALLS                                                                                 \
    4, 4, 5, 4, 5, 5, 4, 5, 4, 2, 1, 1, 3, 3, 5, 4, 4, 3, 5, 4, 5, 5, 4, 5, 3, 2, 1, 1, 3, 3, 4
#define WANT_ROWS UINT64_C(0x3861ce974d2669d8)

struct cost {
    struct world w;
    uint64_t calls;  /* of the store, seen before the command */
    struct buf each; /* u8 calls of every command */
};

static void count(struct cost *t)
{
    buf_u8(&t->each, (uint8_t)(t->w.flaky.calls - t->calls));
    t->calls = t->w.flaky.calls;
}

static void run(struct cost *t, struct cmd *c)
{
    t->calls = t->w.flaky.calls;
    world_run(&t->w, c);
    count(t);
}

static void delete_many(struct cost *t)
{
    static const char *const names[] = {"a", "b", "a", "none"};
    ProtobufCBinaryData keys[ARRAY_COUNT(names)];
    struct cmd c;
    Cairn__DeleteObjects op = CAIRN__DELETE_OBJECTS__INIT;
    cmd_init(&t->w, &c);
    op.bucket_id = BUCKET;
    op.keys = keys;
    op.n_keys = ARRAY_COUNT(names);
    for (size_t i = 0; i < op.n_keys; i++) {
        keys[i] = (ProtobufCBinaryData){strlen(names[i]), (uint8_t *)(uintptr_t)names[i]};
        c.touches[c.msg.n_touches++] = keyhash_object(BUCKET, slice_cstr(names[i]));
    }
    c.msg.op_case = CAIRN__COMMAND__OP_DELETE_OBJECTS;
    c.msg.delete_objects = &op;
    run(t, &c);
}

static void complete(struct cost *t, const char *key)
{
    struct cmd c;
    struct id128 id = fresh_id(&t->w);
    Cairn__CompletePart part = CAIRN__COMPLETE_PART__INIT, *parts[1] = {&part};
    char etag[33];
    cmd_create_upload(&t->w, &c, slice_cstr(key), &id);
    run(t, &c);
    cmd_put_part(&t->w, &c, slice_cstr(key), &id, 1, 100, 2);
    memcpy(etag, c.etag, sizeof(etag));
    run(t, &c);
    part.number = 1;
    part.etag = etag;
    cmd_complete(&t->w, &c, slice_cstr(key), &id, parts, 1, 100);
    run(t, &c);
}

static void list_all(struct cost *t)
{
    struct index_view view;
    struct index_reply reply = {0};
    Cairn__ListRequest req = CAIRN__LIST_REQUEST__INIT;
    index_view_init(&view, t->w.index, NULL);
    req.epoch = EPOCH;
    req.bucket_id = BUCKET;
    req.keys_max = 1000;
    t->calls = t->w.flaky.calls;
    assert_int_equal(index_list(&view, &req, &reply), OK);
    count(t);
    index_reply_fini(&reply);
}

static void read_one(struct cost *t, const char *key)
{
    struct buf body = {0};
    t->calls = t->w.flaky.calls;
    Cairn__ObjectRecord *r = get(&t->w, slice_cstr(key), &body);
    count(t);
    if (r)
        cairn__object_record__free_unpacked(r, NULL);
    buf_fini(&body);
}

static void test_cost(void **state)
{
    (void)state;
    static const uint8_t want[] = {WANT_CALLS};
    struct cost t = {0};
    struct cmd c;
    world_init(&t.w, 3);
    for (int round = 0; round < 2; round++) {
        cmd_put_inline(&t.w, &c, SLICE_LIT("a"), SLICE_LIT("body"));
        run(&t, &c);
        cmd_put_segments(&t.w, &c, SLICE_LIT("b"), 3, 100);
        c.segments[0].interim = round == 0;
        run(&t, &c);
        complete(&t, "c");
        complete(&t, "a");
        cmd_put_inline(&t.w, &c, SLICE_LIT("b"), SLICE_LIT("body"));
        run(&t, &c);
        read_one(&t, "b");
        read_one(&t, "none");
        list_all(&t);
        cmd_delete(&t.w, &c, SLICE_LIT("c"));
        run(&t, &c);
        cmd_delete(&t.w, &c, SLICE_LIT("none"));
        run(&t, &c);
        if (round == 0)
            delete_many(&t);
        cmd_fence(&t.w, &c, BUCKET, 1, false);
        run(&t, &c);
    }
    struct buf rows = {0};
    dump(t.w.store, 3, &rows);
    uint64_t hash = hash64(1, buf_view(&rows));
    if (!slice_eq(buf_view(&t.each), SLICE(want, sizeof(want))) || hash != WANT_ROWS) {
        for (size_t i = 0; i < t.each.len; i++)
            print_error("%u, ", t.each.ptr[i]);
        fail_msg("rows 0x%llx", (unsigned long long)hash);
    }
    buf_fini(&rows);
    buf_fini(&t.each);
    world_fini(&t.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cost)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
