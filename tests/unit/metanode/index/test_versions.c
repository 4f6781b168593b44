/* Versions: what the model (test_model.c) does not reach.  The change of the setting at the root,
 * in the orders in which its steps can interleave; lists past many delete markers and older
 * versions. */
#include "common/base/hash.h"
#include "metanode/index/keys.h"
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

#define ENABLED CAIRN__VERSIONING__VERSIONING_ENABLED
#define SUSPENDED CAIRN__VERSIONING__VERSIONING_SUSPENDED
#define OFF CAIRN__VERSIONING__VERSIONING_OFF

static char *const name = (char *)(uintptr_t) "bucket";

static int root_run(struct world *root, struct cmd *c)
{
    c->touches[c->msg.n_touches++] = keyhash_bucket(slice_cstr(name));
    return world_run(root, c);
}

static uint64_t create(struct world *root)
{
    struct cmd c;
    cmd_create_bucket(root, &c, name);
    c.bucket.versioning = ENABLED; /* nobody may begin with that */
    c.bucket.fencing = 7;
    assert_int_equal(world_run(root, &c), OK);
    return root->out->bucket_id;
}

static int begin(struct world *root, uint64_t id, Cairn__Versioning versioning)
{
    struct cmd c;
    Cairn__BeginSetting op = CAIRN__BEGIN_SETTING__INIT;
    cmd_init(root, &c);
    op.name = name;
    op.id = id;
    op.versioning = versioning;
    c.msg.op_case = CAIRN__COMMAND__OP_BEGIN_SETTING;
    c.msg.begin_setting = &op;
    return root_run(root, &c);
}

static int finish(struct world *root, uint64_t id, uint64_t settings_version)
{
    struct cmd c;
    Cairn__FinishSetting op = CAIRN__FINISH_SETTING__INIT;
    cmd_init(root, &c);
    op.name = name;
    op.id = id;
    op.settings_version = settings_version;
    c.msg.op_case = CAIRN__COMMAND__OP_FINISH_SETTING;
    c.msg.finish_setting = &op;
    return root_run(root, &c);
}

static int delete_step(struct world *root, uint64_t id, uint64_t abort_version)
{
    struct cmd c;
    cmd_init(root, &c);
    cairn__begin_delete_bucket__init(&c.begin);
    cairn__abort_delete_bucket__init(&c.abort_delete);
    c.begin.name = c.abort_delete.name = name;
    c.begin.id = c.abort_delete.id = id;
    c.abort_delete.settings_version = abort_version;
    c.msg.op_case = abort_version ? CAIRN__COMMAND__OP_ABORT_DELETE_BUCKET
                                  : CAIRN__COMMAND__OP_BEGIN_DELETE_BUCKET;
    if (abort_version)
        c.msg.abort_delete_bucket = &c.abort_delete;
    else
        c.msg.begin_delete_bucket = &c.begin;
    return root_run(root, &c);
}

static void check_bucket(struct world *root, Cairn__Versioning versioning, uint64_t version,
                         uint64_t fencing)
{
    Cairn__BucketRecord *b = read_bucket(root, name);
    assert_true(b->versioning == versioning && b->settings_version == version &&
                b->fencing == fencing && (b->fencing_since_ms != 0) == (fencing != 0));
    cairn__bucket_record__free_unpacked(b, NULL);
}

static void the_setting_changes(void **state)
{
    (void)state;
    struct world root;
    world_init(&root, ROOT_PARTITION);
    uint64_t id = create(&root);
    check_bucket(&root, OFF, 1, 0);
    assert_int_equal(begin(&root, id, OFF), ERR_REFUSED); /* never again, nor at first */
    assert_int_equal(begin(&root, id, (Cairn__Versioning)3), ERR_REFUSED);
    assert_int_equal(begin(&root, id + 1, ENABLED), ERR_NO_BUCKET);
    assert_int_equal(begin(&root, id, ENABLED), OK);
    assert_true(root.out->settings_version == 2 && !root.out->existed);
    check_bucket(&root, ENABLED, 2, 2);
    /* Begun twice: the same version, to be fenced by both. */
    assert_int_equal(begin(&root, id, ENABLED), OK);
    assert_true(root.out->settings_version == 2 && root.out->existed);
    /* Another change in between: what began later stays to be finished. */
    assert_int_equal(begin(&root, id, SUSPENDED), OK);
    assert_int_equal(finish(&root, id, 2), OK);
    check_bucket(&root, SUSPENDED, 3, 3);
    assert_int_equal(finish(&root, id, 3), OK);
    check_bucket(&root, SUSPENDED, 3, 0);
    assert_int_equal(finish(&root, id, 3), OK);
    /* A bucket that is being deleted takes none; one that began before is finished with the version
     * after. */
    assert_int_equal(begin(&root, id, ENABLED), OK);
    assert_int_equal(delete_step(&root, id, 0), OK);
    assert_int_equal(begin(&root, id, ENABLED), ERR_CONFLICT);
    assert_int_equal(begin(&root, id, SUSPENDED), ERR_CONFLICT);
    assert_int_equal(delete_step(&root, id, 5), OK);
    check_bucket(&root, ENABLED, 6, 4);
    assert_int_equal(begin(&root, id, ENABLED), OK);
    assert_true(root.out->settings_version == 6);
    assert_int_equal(finish(&root, id, 6), OK);
    check_bucket(&root, ENABLED, 6, 0);
    world_fini(&root);
}

static int put_as(struct world *w, const char *key, Cairn__Versioning versioning, uint64_t version)
{
    struct cmd c;
    cmd_put_inline(w, &c, slice_cstr(key), SLICE_LIT("body"));
    c.msg.versioning = versioning;
    c.msg.settings_version = version;
    return world_run(w, &c);
}

static int delete_as(struct world *w, const char *key, Cairn__Versioning versioning,
                     uint64_t version)
{
    struct cmd c;
    cmd_delete(w, &c, slice_cstr(key));
    c.msg.versioning = versioning;
    c.msg.settings_version = version;
    return world_run(w, &c);
}

static int fence_as(struct world *w, uint64_t version, bool sealed, Cairn__Versioning versioning)
{
    struct cmd c;
    cmd_fence(w, &c, BUCKET, version, sealed);
    c.fence.versioning = versioning;
    return world_run(w, &c);
}

static void a_partition_never_goes_back_to_off(void **state)
{
    (void)state;
    for (int order = 0; order < 3; order++) {
        struct world w;
        world_init(&w, 3);
        assert_int_equal(put_as(&w, "k", OFF, 1), OK);
        if (order == 0) /* the fence comes first */
            assert_int_equal(fence_as(&w, 2, false, ENABLED), OK);
        if (order == 1) { /* a writer does: one that is refused leaves no trace */
            struct cmd c;
            cmd_put_inline(&w, &c, SLICE_LIT("k"), SLICE_LIT("x"));
            Cairn__Condition absent = CAIRN__CONDITION__INIT;
            absent.if_absent = true;
            c.put.condition = &absent;
            c.msg.versioning = ENABLED;
            c.msg.settings_version = 2;
            assert_int_equal(world_run(&w, &c), ERR_PRECONDITION);
            assert_int_equal(put_as(&w, "k", OFF, 1), OK);
        }
        assert_int_equal(put_as(&w, "k", ENABLED, 2), OK);
        world_reopen(&w);
        assert_int_equal(put_as(&w, "k", OFF, 1), ERR_SETTINGS);
        assert_true(w.out->settings_version == 2);
        assert_int_equal(put_as(&w, "k", OFF, 2),
                         ERR_SETTINGS); /* a gateway that knows no versions */
        assert_int_equal(put_as(&w, "k", OFF, 9), ERR_SETTINGS);
        assert_int_equal(fence_as(&w, 2, false, ENABLED), OK); /* late, and once more */
        /* A deletion's fences are newer, and forget nothing; nor does what lifts the seal. */
        assert_int_equal(fence_as(&w, 3, true, OFF), OK);
        assert_false(w.out->empty);
        assert_int_equal(fence_as(&w, 2, false, ENABLED), ERR_SETTINGS);
        assert_int_equal(put_as(&w, "k", ENABLED, 3), ERR_SEALED);
        assert_int_equal(put_as(&w, "k", SUSPENDED, 4), OK);
        assert_int_equal(put_as(&w, "k", OFF, 4), ERR_SETTINGS);
        world_fini(&w);
    }
    /* A seal of the version that a first writer brings with it stays. */
    struct world w;
    world_init(&w, 3);
    assert_int_equal(fence_as(&w, 2, true, OFF), OK);
    assert_int_equal(put_as(&w, "k", ENABLED, 2), ERR_SEALED);
    assert_int_equal(put_as(&w, "k", ENABLED, 3), OK);
    assert_int_equal(fence_as(&w, 2, true, OFF), ERR_SETTINGS);
    assert_int_equal(put_as(&w, "k", ENABLED, 3), OK);
    world_fini(&w);
}

/* ---- lists ---- */

struct walk {
    size_t pages, objects, prefixes, empty_pages;
};

static struct walk list_all(struct world *w, const char *delimiter, uint32_t page)
{
    struct index_view view;
    struct walk walk = {0};
    uint8_t resume[OBJECT_KEY_BYTES_MAX];
    Cairn__ListRequest req = CAIRN__LIST_REQUEST__INIT;
    index_view_init(&view, w->index, NULL);
    req.epoch = EPOCH;
    req.bucket_id = BUCKET;
    req.delimiter = (ProtobufCBinaryData){strlen(delimiter), (uint8_t *)(uintptr_t)delimiter};
    req.keys_max = page;
    for (bool more = true; more; walk.pages++) {
        struct index_reply reply = {0};
        assert_int_equal(index_list(&view, &req, &reply), OK);
        Cairn__ListResponse *msg = (Cairn__ListResponse *)(void *)over_the_wire(&reply.msg.base);
        for (size_t i = 0; i < msg->n_entries; i++)
            *(msg->entries[i]->is_prefix ? &walk.prefixes : &walk.objects) += 1;
        walk.empty_pages += msg->n_entries == 0;
        more = msg->more;
        if (more) {
            struct slice at = SLICE(msg->resume_after.data, msg->resume_after.len);
            struct slice before = SLICE(req.start_after.data, req.start_after.len);
            assert_true(slice_cmp(at, before) > 0);
            memcpy(resume, at.ptr, at.len);
            req.start_after = (ProtobufCBinaryData){at.len, resume};
        }
        cairn__list_response__free_unpacked(msg, NULL);
        index_reply_fini(&reply);
    }
    return walk;
}

static void lists_pass_over_markers(void **state)
{
    (void)state;
    enum { MARKERS = 17000 };
    struct world w;
    char key[32];
    world_init(&w, 3);
    for (int i = 0; i < MARKERS; i++) {
        snprintf(key, sizeof(key), "deleted/%06d", i);
        assert_int_equal(delete_as(&w, key, ENABLED, 2), OK);
    }
    assert_int_equal(put_as(&w, "z/1", ENABLED, 2), OK);
    struct walk got = list_all(&w, "", 1000);
    assert_true(got.objects == 1 && got.pages == 2 && got.empty_pages == 1);
    got = list_all(&w, "/", 1);
    assert_true(got.objects == 0 && got.prefixes == 1);
    /* One page is full, and nothing but markers lies behind it: no more is claimed. */
    assert_int_equal(delete_as(&w, "z/2", ENABLED, 2), OK);
    assert_int_equal(put_as(&w, "a", ENABLED, 2), OK);
    got = list_all(&w, "", 2);
    assert_true(got.objects == 2 && got.empty_pages <= 2);
    world_fini(&w);
}

static void lists_pass_over_older_versions(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 3);
    for (int i = 0; i < 300; i++)
        assert_int_equal(put_as(&w, i % 30 == 0 ? "b" : "a", ENABLED, 2), OK);
    struct walk got = list_all(&w, "", 1000);
    assert_true(got.objects == 2 && got.pages == 1);
    got = list_all(&w, "", 1);
    assert_true(got.objects == 2 && got.pages == 2);
    world_fini(&w);
}

/* A page ended at a null version, which is gone by the next: nothing is left out. */
static void a_null_marker_that_went(void **state)
{
    (void)state;
    struct world w;
    struct index_view view;
    struct index_reply reply = {0};
    Cairn__ListRequest req = CAIRN__LIST_REQUEST__INIT;
    world_init(&w, 3);
    assert_int_equal(put_as(&w, "k", ENABLED, 2), OK);
    assert_int_equal(put_as(&w, "k", ENABLED, 2), OK);
    index_view_init(&view, w.index, NULL);
    req.epoch = EPOCH;
    req.bucket_id = BUCKET;
    req.versions = true;
    req.keys_max = 10;
    req.start_after = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "k"};
    req.after_version = VERSION_NULL;
    assert_int_equal(index_list(&view, &req, &reply), OK);
    Cairn__ListResponse *msg = (Cairn__ListResponse *)(void *)over_the_wire(&reply.msg.base);
    assert_int_equal(msg->n_entries, 2);
    cairn__list_response__free_unpacked(msg, NULL);
    index_reply_fini(&reply);
    world_fini(&w);
}

/* What reports say of versions besides, if it is asked for. */
static void states_of_versions(void **state)
{
    (void)state;
    struct world w;
    struct index_view view;
    struct cmd c;
    Cairn__Encryption e = CAIRN__ENCRYPTION__INIT;
    uint8_t salt[16] = {1}, wrapped[48] = {2};
    world_init(&w, 3);
    cmd_put_inline(&w, &c, SLICE_LIT("k"), SLICE_LIT("body and its tag: 20"));
    c.put.record->size = 4;
    e.mode = CAIRN__ENCRYPTION_MODE__ENCRYPTION_KMS;
    e.salt = (ProtobufCBinaryData){sizeof(salt), salt};
    e.wrapped_key = (ProtobufCBinaryData){sizeof(wrapped), wrapped};
    e.kms_key = (char *)(uintptr_t) "key";
    e.kms_version = 1;
    e.bucket_key = true;
    c.put.record->encryption = &e;
    c.put.record->replication = CAIRN__REPLICATION_STATUS__REPLICATION_REPLICA;
    assert_int_equal(world_run(&w, &c), OK);
    index_view_init(&view, w.index, NULL);
    for (int wanted = 0; wanted < 2; wanted++) {
        struct index_reply reply = {0};
        Cairn__ListRequest req = CAIRN__LIST_REQUEST__INIT;
        req.epoch = EPOCH;
        req.bucket_id = BUCKET;
        req.keys_max = 10;
        req.want_state = wanted;
        assert_int_equal(index_list(&view, &req, &reply), OK);
        Cairn__ListResponse *msg = (Cairn__ListResponse *)(void *)over_the_wire(&reply.msg.base);
        assert_int_equal(msg->n_entries, 1);
        const Cairn__ListEntry *got = msg->entries[0];
        assert_int_equal(got->encryption, wanted ? CAIRN__ENCRYPTION_MODE__ENCRYPTION_KMS : 0);
        assert_int_equal(got->bucket_key, wanted);
        assert_int_equal(got->replication,
                         wanted ? CAIRN__REPLICATION_STATUS__REPLICATION_REPLICA : 0);
        cairn__list_response__free_unpacked(msg, NULL);
        index_reply_fini(&reply);
    }
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_setting_changes),
        cmocka_unit_test(a_partition_never_goes_back_to_off),
        cmocka_unit_test(lists_pass_over_markers),
        cmocka_unit_test(lists_pass_over_older_versions),
        cmocka_unit_test(a_null_marker_that_went),
        cmocka_unit_test(states_of_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
