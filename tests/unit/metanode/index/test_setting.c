/* Settings of buckets and tags of objects: what apply keeps of them, refuses, and leaves alone. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- settings ---- */

struct setting_cmd {
    struct cmd c;
    Cairn__BucketSetting setting;
    Cairn__PutBucketSetting op;
};

static void make_setting(struct world *w, struct setting_cmd *s, uint64_t bucket_id, unsigned kind,
                         const char *id, struct slice document)
{
    cmd_init(w, &s->c);
    cairn__bucket_setting__init(&s->setting);
    cairn__put_bucket_setting__init(&s->op);
    s->setting.kind = kind;
    s->setting.id = str(id);
    s->setting.document = bin(document);
    s->op.name = str("name");
    s->op.id = bucket_id;
    s->op.setting = &s->setting;
    s->c.msg.op_case = CAIRN__COMMAND__OP_PUT_BUCKET_SETTING;
    s->c.msg.put_bucket_setting = &s->op;
    s->c.touches[s->c.msg.n_touches++] = keyhash_bucket(SLICE_LIT("name"));
}

static int set(struct world *w, uint64_t bucket_id, unsigned kind, const char *id,
               struct slice document)
{
    struct setting_cmd s;
    make_setting(w, &s, bucket_id, kind, id, document);
    return world_run(w, &s.c);
}

static int create(struct world *w, size_t n_settings)
{
    struct cmd c;
    Cairn__BucketSetting setting = CAIRN__BUCKET_SETTING__INIT, *settings[1] = {&setting};
    cmd_create_bucket(w, &c, "name");
    setting.kind = 1;
    c.bucket.settings = settings;
    c.bucket.n_settings = n_settings;
    return world_run(w, &c);
}

/* The settings as "kind:id:bytes " each. */
static void describe(struct world *w, struct buf *ret)
{
    Cairn__BucketRecord *b = read_bucket(w, "name");
    buf_clear(ret);
    for (size_t i = 0; i < b->n_settings; i++) {
        buf_printf(ret, "%u:%s:%zu ", b->settings[i]->kind, b->settings[i]->id,
                   b->settings[i]->document.len);
        assert_true(b->settings[i]->changed_ms >= START_MS);
    }
    assert_int_equal(b->settings_version, 1);
    buf_u8(ret, 0);
    cairn__bucket_record__free_unpacked(b, NULL);
}

static void assert_settings(struct world *w, const char *want)
{
    struct buf got = {0};
    describe(w, &got);
    assert_string_equal((const char *)got.ptr, want);
    buf_fini(&got);
}

static void settings_are_kept_in_order(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, ROOT_PARTITION);
    assert_int_equal(create(&w, 1), ERR_REFUSED);
    assert_int_equal(set(&w, 1, 1, "", SLICE_LIT("x")), ERR_NO_BUCKET);
    assert_int_equal(create(&w, 0), OK);
    uint64_t id = w.out->bucket_id;
    assert_int_equal(set(&w, id, 6, "b", SLICE_LIT("12")), OK);
    assert_false(w.out->existed);
    assert_int_equal(set(&w, id, 6, "a", SLICE_LIT("1")), OK);
    assert_int_equal(set(&w, id, 2, "", SLICE_LIT("123")), OK);
    assert_int_equal(set(&w, id, 7, "", SLICE_LIT("1")), OK);
    assert_settings(&w, "2::3 6:a:1 6:b:2 7::1 ");
    assert_int_equal(set(&w, id, 6, "a", SLICE_LIT("12345")), OK);
    assert_true(w.out->existed);
    assert_settings(&w, "2::3 6:a:5 6:b:2 7::1 ");
    assert_int_equal(set(&w, id, 6, "a", SLICE_EMPTY), OK);
    assert_true(w.out->existed);
    assert_int_equal(set(&w, id, 6, "a", SLICE_EMPTY), OK);
    assert_false(w.out->existed);
    assert_settings(&w, "2::3 6:b:2 7::1 ");
    /* Another bucket's id, a name that is too long, a kind that is none; not touching the bucket.
     */
    assert_int_equal(set(&w, id + 1, 2, "", SLICE_LIT("x")), ERR_NO_BUCKET);
    char longest[INDEX_SETTING_ID_BYTES_MAX + 2] = "";
    memset(longest, 'i', sizeof(longest) - 1);
    assert_int_equal(set(&w, id, 2, longest, SLICE_LIT("x")), ERR_REFUSED);
    assert_int_equal(set(&w, id, 0, "", SLICE_LIT("x")), ERR_REFUSED);
    struct setting_cmd s;
    make_setting(&w, &s, id, 2, "", SLICE_LIT("x"));
    s.c.msg.n_touches = 0;
    assert_int_equal(world_run(&w, &s.c), ERR_REFUSED);
    assert_settings(&w, "2::3 6:b:2 7::1 ");
    world_reopen(&w);
    assert_settings(&w, "2::3 6:b:2 7::1 ");
    world_fini(&w);
}

/* A retry answers what the first one did, whatever has been set since. */
static void settings_are_set_once(void **state)
{
    (void)state;
    struct world w;
    struct setting_cmd first;
    world_init(&w, ROOT_PARTITION);
    assert_int_equal(create(&w, 0), OK);
    uint64_t id = w.out->bucket_id;
    make_setting(&w, &first, id, 2, "", SLICE_LIT("old"));
    assert_int_equal(world_run(&w, &first.c), OK);
    uint64_t index = w.out->index;
    assert_int_equal(set(&w, id, 2, "", SLICE_LIT("newer")), OK);
    assert_int_equal(world_run(&w, &first.c), OK);
    assert_int_equal(w.out->index, index);
    assert_settings(&w, "2::5 ");
    world_fini(&w);
}

static void settings_are_bounded(void **state)
{
    (void)state;
    struct world w;
    char id[16];
    uint8_t *bytes = calloc(1, INDEX_SETTINGS_BYTES_MAX + 1);
    struct slice whole = SLICE(bytes, INDEX_SETTINGS_BYTES_MAX);
    world_init(&w, ROOT_PARTITION);
    assert_int_equal(create(&w, 0), OK);
    uint64_t bucket = w.out->bucket_id;
    assert_int_equal(set(&w, bucket, 2, "", SLICE(bytes, whole.len + 1)), ERR_REFUSED);
    assert_int_equal(set(&w, bucket, 2, "", whole), OK);
    assert_int_equal(set(&w, bucket, 2, "", whole), OK); /* in place of itself */
    assert_int_equal(set(&w, bucket, 3, "", SLICE_LIT("x")), ERR_LIMIT);
    assert_settings(&w, "2::262144 ");
    assert_int_equal(set(&w, bucket, 2, "", SLICE(bytes, whole.len - 3)), OK);
    assert_int_equal(set(&w, bucket, 3, "i", SLICE_LIT("xyz")), ERR_LIMIT); /* ids count */
    assert_int_equal(set(&w, bucket, 3, "i", SLICE_LIT("xy")), OK);
    assert_int_equal(set(&w, bucket, 2, "", SLICE_EMPTY), OK);
    for (unsigned i = 1; i < INDEX_SETTINGS_MAX; i++) {
        snprintf(id, sizeof(id), "%u", i);
        assert_int_equal(set(&w, bucket, 6, id, SLICE_LIT("x")), OK);
    }
    assert_int_equal(set(&w, bucket, 6, "more", SLICE_LIT("x")), ERR_LIMIT);
    assert_int_equal(set(&w, bucket, 6, "1", SLICE_LIT("y")), OK);
    /* A page of buckets does without them. */
    struct index_view view;
    struct index_reply reply = {0};
    Cairn__ListBucketsRequest req = CAIRN__LIST_BUCKETS_REQUEST__INIT;
    req.epoch = EPOCH;
    index_view_init(&view, w.index, NULL);
    assert_int_equal(index_list_buckets(&view, &req, &reply), OK);
    Cairn__ListBucketsResponse *list =
        (Cairn__ListBucketsResponse *)(void *)over_the_wire(&reply.msg.base);
    assert_int_equal(list->n_buckets, 1);
    assert_int_equal(list->buckets[0]->n_settings, 0);
    assert_string_equal(list->buckets[0]->name, "name");
    assert_int_equal(list->buckets[0]->id, bucket);
    cairn__list_buckets_response__free_unpacked(list, NULL);
    index_reply_fini(&reply);
    free(bytes);
    world_fini(&w);
}

static void nothing_is_set_of_what_is_being_deleted(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    world_init(&w, ROOT_PARTITION);
    assert_int_equal(create(&w, 0), OK);
    uint64_t id = w.out->bucket_id;
    cmd_init(&w, &c);
    cairn__begin_delete_bucket__init(&c.begin);
    c.begin.name = str("name");
    c.begin.id = id;
    c.msg.op_case = CAIRN__COMMAND__OP_BEGIN_DELETE_BUCKET;
    c.msg.begin_delete_bucket = &c.begin;
    c.touches[c.msg.n_touches++] = keyhash_bucket(SLICE_LIT("name"));
    assert_int_equal(world_run(&w, &c), OK);
    assert_int_equal(set(&w, id, 2, "", SLICE_LIT("x")), ERR_SEALED);
    world_fini(&w);
}

/* ---- tags ---- */

struct tags_cmd {
    struct cmd c;
    Cairn__Pair pairs[INDEX_TAGS_MAX + 1], *ptrs[INDEX_TAGS_MAX + 1];
    Cairn__Condition condition;
    Cairn__PutObjectTags op;
};

static void make_tags(struct world *w, struct tags_cmd *t, const char *key, size_t n,
                      uint64_t version)
{
    cmd_init(w, &t->c);
    cairn__put_object_tags__init(&t->op);
    cairn__condition__init(&t->condition);
    for (size_t i = 0; i < n; i++) {
        cairn__pair__init(&t->pairs[i]);
        t->pairs[i].name = str("name");
        t->pairs[i].value = str("value");
        t->ptrs[i] = &t->pairs[i];
    }
    t->condition.if_version = version;
    t->op.bucket_id = BUCKET;
    t->op.key = bin(slice_cstr(key));
    t->op.tags = t->ptrs;
    t->op.n_tags = n;
    t->op.condition = &t->condition;
    t->c.msg.op_case = CAIRN__COMMAND__OP_PUT_OBJECT_TAGS;
    t->c.msg.put_object_tags = &t->op;
    t->c.touches[t->c.msg.n_touches++] = keyhash_object(BUCKET, slice_cstr(key));
}

static int tag(struct world *w, const char *key, size_t n, uint64_t version)
{
    struct tags_cmd t;
    make_tags(w, &t, key, n, version);
    return world_run(w, &t.c);
}

static void tags_change_nothing_else(void **state)
{
    (void)state;
    struct world w;
    struct buf body = {0}, blobs = {0};
    world_init(&w, 1);
    assert_int_equal(tag(&w, "k", 1, 0), ERR_NOT_FOUND);
    assert_int_equal(put(&w, "k", "body"), OK);
    Cairn__ObjectRecord *before = get(&w, SLICE_LIT("k"), NULL);
    assert_int_equal(tag(&w, "k", 10, before->version), OK);
    Cairn__ObjectRecord *after = get(&w, SLICE_LIT("k"), &body);
    assert_int_equal(after->version, before->version);
    assert_int_equal(after->mtime_ms, before->mtime_ms);
    assert_string_equal(after->etag, before->etag);
    assert_true(slice_eq(buf_view(&body), SLICE_LIT("body")));
    assert_int_equal(after->n_tags, 10);
    assert_string_equal(after->tags[9]->value, "value");
    cairn__object_record__free_unpacked(after, NULL);
    /* Another version's tags are not this one's; a new object has none. */
    assert_int_equal(tag(&w, "k", 1, before->version + 1), ERR_PRECONDITION);
    assert_int_equal(put(&w, "k", "body"), OK);
    assert_int_equal(tag(&w, "k", 1, before->version), ERR_PRECONDITION);
    after = get(&w, SLICE_LIT("k"), NULL);
    assert_int_equal(after->n_tags, 0);
    assert_int_equal(tag(&w, "k", 2, after->version), OK);
    assert_int_equal(tag(&w, "k", 0, after->version), OK);
    cairn__object_record__free_unpacked(after, NULL);
    cairn__object_record__free_unpacked(before, NULL);
    after = get(&w, SLICE_LIT("k"), NULL);
    assert_int_equal(after->n_tags, 0);
    cairn__object_record__free_unpacked(after, NULL);
    drain_deletions(&w, &blobs);
    assert_int_equal(blobs.len, 0);
    buf_fini(&blobs);
    buf_fini(&body);
    world_fini(&w);
}

static int tag_version(struct world *w, const char *key, size_t n, uint64_t version)
{
    struct tags_cmd t;
    make_tags(w, &t, key, n, 0);
    t.op.version = version;
    t.c.msg.versioning = CAIRN__VERSIONING__VERSIONING_ENABLED;
    t.c.msg.settings_version = 2;
    return world_run(w, &t.c);
}

static uint64_t put_versioned(struct world *w, const char *key)
{
    struct cmd c;
    cmd_put_inline(w, &c, slice_cstr(key), SLICE_LIT("body"));
    c.msg.versioning = CAIRN__VERSIONING__VERSIONING_ENABLED;
    c.msg.settings_version = 2;
    assert_int_equal(world_run(w, &c), OK);
    Cairn__ObjectRecord *r = get(w, slice_cstr(key), NULL);
    uint64_t version = r->version;
    cairn__object_record__free_unpacked(r, NULL);
    return version;
}

static int delete_version(struct world *w, const char *key, uint64_t version)
{
    struct cmd c;
    cmd_delete(w, &c, slice_cstr(key));
    c.msg.delete_object->version = version;
    c.msg.versioning = CAIRN__VERSIONING__VERSIONING_ENABLED;
    c.msg.settings_version = 2;
    return world_run(w, &c);
}

static void each_version_has_its_own(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    assert_int_equal(put(&w, "k", "body"), OK); /* the null version */
    uint64_t first = put_versioned(&w, "k"), second = put_versioned(&w, "k");
    assert_int_equal(tag_version(&w, "k", 3, first), OK);
    assert_int_equal(tag_version(&w, "k", 2, VERSION_NULL), OK);
    assert_int_equal(tag_version(&w, "k", 1, second), OK);
    assert_int_equal(tag_version(&w, "k", 1, second + 1), ERR_NOT_FOUND);
    const uint64_t versions[] = {second, first, 0};
    for (size_t i = 0; i < 3; i++) {
        Cairn__ObjectRecord *r = get(&w, SLICE_LIT("k"), NULL);
        assert_int_equal(r->n_tags, i == 0 ? 1 : i == 1 ? 3 : 2);
        assert_true(!versions[i] || r->version == versions[i]);
        cairn__object_record__free_unpacked(r, NULL);
        assert_int_equal(delete_version(&w, "k", versions[i] ? versions[i] : VERSION_NULL), OK);
    }
    put_versioned(&w, "m");
    assert_int_equal(delete_version(&w, "m", 0), OK); /* a marker */
    assert_int_equal(tag_version(&w, "m", 1, 0), ERR_NOT_FOUND);
    assert_int_equal(tag_version(&w, "m", 1, VERSION_NULL), ERR_NOT_FOUND);
    world_fini(&w);
}

static void tags_are_refused(void **state)
{
    (void)state;
    struct world w;
    struct tags_cmd t;
    struct cmd fence;
    char longest[INDEX_TAG_VALUE_BYTES_MAX + 2] = "";
    world_init(&w, 1);
    assert_int_equal(put(&w, "k", "body"), OK);
    assert_int_equal(tag(&w, "k", INDEX_TAGS_MAX + 1, 0), ERR_REFUSED);
    make_tags(&w, &t, "k", 1, 0);
    memset(longest, 'v', sizeof(longest) - 1);
    t.pairs[0].value = longest;
    assert_int_equal(world_run(&w, &t.c), ERR_REFUSED);
    longest[INDEX_TAG_VALUE_BYTES_MAX] = 0;
    make_tags(&w, &t, "k", 1, 0);
    t.pairs[0].value = longest;
    assert_int_equal(world_run(&w, &t.c), OK);
    make_tags(&w, &t, "k", 1, 0);
    t.pairs[0].name = str("");
    assert_int_equal(world_run(&w, &t.c), ERR_REFUSED);
    make_tags(&w, &t, "k", 1, 0);
    t.c.msg.n_touches = 0;
    assert_int_equal(world_run(&w, &t.c), ERR_REFUSED);
    make_tags(&w, &t, "", 1, 0);
    assert_int_equal(world_run(&w, &t.c), ERR_REFUSED);
    cmd_fence(&w, &fence, BUCKET, 9, true);
    assert_int_equal(world_run(&w, &fence), OK);
    assert_int_equal(tag(&w, "k", 1, 0), ERR_SETTINGS);
    make_tags(&w, &t, "k", 1, 0);
    t.c.msg.settings_version = 9;
    assert_int_equal(world_run(&w, &t.c), ERR_SEALED);
    world_fini(&w);
}

/* ---- ACLs ---- */

static int set_acl(struct world *w, const char *key, size_t grants, uint64_t version,
                   uint64_t if_version)
{
    struct cmd c;
    Cairn__PutObjectAcl op = CAIRN__PUT_OBJECT_ACL__INIT;
    Cairn__Condition condition = CAIRN__CONDITION__INIT;
    Cairn__Acl acl = CAIRN__ACL__INIT;
    Cairn__AclGrant grant = CAIRN__ACL_GRANT__INIT, *ptrs[INDEX_ACL_GRANTS_MAX + 1];
    cmd_init(w, &c);
    grant.canonical_id = str("somebody");
    grant.permission = 1;
    for (size_t i = 0; i < grants; i++)
        ptrs[i] = &grant;
    acl.grants = ptrs;
    acl.n_grants = grants;
    condition.if_version = if_version;
    op.bucket_id = BUCKET;
    op.key = bin(slice_cstr(key));
    op.acl = grants ? &acl : NULL;
    op.condition = &condition;
    op.version = version;
    c.msg.op_case = CAIRN__COMMAND__OP_PUT_OBJECT_ACL;
    c.msg.put_object_acl = &op;
    if (version) {
        c.msg.versioning = CAIRN__VERSIONING__VERSIONING_ENABLED;
        c.msg.settings_version = 2;
    }
    c.touches[c.msg.n_touches++] = keyhash_object(BUCKET, slice_cstr(key));
    return world_run(w, &c);
}

static void acls_change_nothing_else(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    assert_int_equal(set_acl(&w, "k", 1, 0, 0), ERR_NOT_FOUND);
    assert_int_equal(put(&w, "k", "body"), OK);
    assert_int_equal(tag(&w, "k", 3, 0), OK);
    Cairn__ObjectRecord *before = get(&w, SLICE_LIT("k"), NULL);
    assert_null(before->acl);
    assert_int_equal(set_acl(&w, "k", INDEX_ACL_GRANTS_MAX + 1, 0, before->version), ERR_REFUSED);
    assert_int_equal(set_acl(&w, "k", INDEX_ACL_GRANTS_MAX, 0, before->version), OK);
    Cairn__ObjectRecord *after = get(&w, SLICE_LIT("k"), NULL);
    assert_int_equal(after->acl->n_grants, INDEX_ACL_GRANTS_MAX);
    cairn__acl__free_unpacked(after->acl, NULL);
    after->acl = NULL;
    assert_int_equal(cairn__object_record__get_packed_size(after),
                     cairn__object_record__get_packed_size(before));
    assert_int_equal(after->version, before->version);
    assert_int_equal(after->mtime_ms, before->mtime_ms);
    assert_int_equal(after->n_tags, 3);
    cairn__object_record__free_unpacked(after, NULL);
    assert_int_equal(set_acl(&w, "k", 1, 0, before->version + 1), ERR_PRECONDITION);
    assert_int_equal(set_acl(&w, "k", 0, 0, before->version), OK);
    after = get(&w, SLICE_LIT("k"), NULL);
    assert_null(after->acl);
    cairn__object_record__free_unpacked(after, NULL);
    cairn__object_record__free_unpacked(before, NULL);
    uint64_t second = put_versioned(&w, "k");
    assert_int_equal(set_acl(&w, "k", 2, VERSION_NULL, 0), OK);
    assert_int_equal(set_acl(&w, "k", 2, second + 1, 0), ERR_NOT_FOUND);
    after = get(&w, SLICE_LIT("k"), NULL);
    assert_null(after->acl); /* the older one's was set */
    cairn__object_record__free_unpacked(after, NULL);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_are_kept_in_order),
        cmocka_unit_test(settings_are_set_once),
        cmocka_unit_test(settings_are_bounded),
        cmocka_unit_test(nothing_is_set_of_what_is_being_deleted),
        cmocka_unit_test(tags_change_nothing_else),
        cmocka_unit_test(each_version_has_its_own),
        cmocka_unit_test(tags_are_refused),
        cmocka_unit_test(acls_change_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
