/* What background work relies on when it deletes what it looked at some time ago: conditions on the
 * version that is named, decided at apply; tags in lists; buckets by the settings they have. */
#include "world.h"

#include <stdio.h>

#define ENABLED CAIRN__VERSIONING__VERSIONING_ENABLED
#define SUSPENDED CAIRN__VERSIONING__VERSIONING_SUSPENDED

static uint64_t make(struct world *w, const char *key, Cairn__Versioning versioning, bool marker)
{
    struct cmd c;
    if (marker)
        cmd_delete(w, &c, slice_cstr(key));
    else
        cmd_put_inline(w, &c, slice_cstr(key), SLICE_LIT("body"));
    c.msg.versioning = versioning;
    c.msg.settings_version = 2;
    assert_int_equal(world_run(w, &c), OK);
    return w->out->index;
}

/* ---- one command of several deletions ---- */

struct deletes {
    Cairn__DeleteObjects op;
    ProtobufCBinaryData keys[8];
    uint64_t versions[8];
    Cairn__Condition conditions[8], *condition_ptrs[8];
};

static void deletes_init(struct deletes *d)
{
    *d = (struct deletes){0};
    cairn__delete_objects__init(&d->op);
    d->op.bucket_id = BUCKET;
    d->op.keys = d->keys;
    d->op.versions = d->versions;
    d->op.conditions = d->condition_ptrs;
    d->op.owner_id = (char *)(uintptr_t) "owner";
}

static Cairn__Condition *deletes_add(struct deletes *d, const char *key, uint64_t version)
{
    size_t at = d->op.n_keys++;
    d->keys[at] = bin(slice_cstr(key));
    d->versions[at] = version;
    cairn__condition__init(&d->conditions[at]);
    d->condition_ptrs[at] = &d->conditions[at];
    d->op.n_versions = d->op.n_conditions = d->op.n_keys;
    return &d->conditions[at];
}

/* "0" for a deletion that was done, "x" for one refused, in order. */
static void deletes_run(struct world *w, struct deletes *d, const char *want)
{
    struct cmd c;
    char got[9] = "";
    cmd_init(w, &c);
    c.msg.versioning = ENABLED;
    c.msg.settings_version = 2;
    c.msg.op_case = CAIRN__COMMAND__OP_DELETE_OBJECTS;
    c.msg.delete_objects = &d->op;
    c.touches[c.msg.n_touches++] = keyhash_object(BUCKET, SLICE_LIT("k"));
    assert_int_equal(world_run(w, &c), OK);
    for (size_t i = 0; i < d->op.n_keys; i++) {
        int err = w->out->n_key_errs ? w->out->key_errs[i] : OK;
        assert_true(err == OK || err == ERR_PRECONDITION);
        got[i] = err == OK ? '0' : 'x';
    }
    assert_string_equal(got, want);
}

static void older_versions_stay_when_they_are_current_again(void **state)
{
    (void)state;
    struct world w;
    struct deletes d;
    world_init(&w, 3);
    uint64_t first = make(&w, "k", ENABLED, false);
    uint64_t marker = make(&w, "k", ENABLED, true);
    /* Looked at as an older version; then its marker goes, and it is the object again. */
    deletes_init(&d);
    deletes_add(&d, "k", marker);
    deletes_add(&d, "k", first)->if_newer_min = 1;
    deletes_run(&w, &d, "0x");
    assert_true(present(&w, "k"));
    deletes_init(&d);
    deletes_add(&d, "k", first)->if_newer_min = 1;
    deletes_run(&w, &d, "x");
    make(&w, "k", ENABLED, true);
    deletes_run(&w, &d, "0");
    deletes_run(&w, &d, "x"); /* what is gone meets no condition */
    world_fini(&w);
}

static void newer_versions_are_counted_as_the_entry_leaves_them(void **state)
{
    (void)state;
    struct world w;
    struct deletes d;
    uint64_t v[6];
    world_init(&w, 3);
    for (int i = 0; i < 6; i++)
        v[i] = make(&w, "k", ENABLED, false);
    deletes_init(&d);
    deletes_add(&d, "k", v[2])->if_newer_min = 4; /* there are three */
    deletes_add(&d, "k", v[1])->if_newer_min = 4;
    deletes_add(&d, "k", v[0])->if_newer_min = 5; /* four, now that v[1] has gone */
    deletes_add(&d, "k", v[0])->if_newer_min = 4;
    deletes_run(&w, &d, "x0x0");
    deletes_init(&d);
    deletes_add(&d, "k", v[5]); /* the current one: v[4] is it then */
    deletes_add(&d, "k", v[4])->if_newer_min = 1;
    deletes_add(&d, "k", v[2])->if_newer_min = 3;
    deletes_add(&d, "k", VERSION_NONE); /* pushes v[4] aside, which counts from then on */
    deletes_add(&d, "k", v[2])->if_newer_min = 4;
    deletes_add(&d, "k", v[2])->if_newer_min = 3;
    deletes_run(&w, &d, "0xx0x0");
    world_fini(&w);
}

static void a_marker_goes_only_alone(void **state)
{
    (void)state;
    struct world w;
    struct deletes d;
    world_init(&w, 3);
    uint64_t first = make(&w, "k", ENABLED, false);
    uint64_t marker = make(&w, "k", ENABLED, true);
    deletes_init(&d);
    deletes_add(&d, "k", marker)->if_alone = true;
    deletes_run(&w, &d, "x");
    deletes_init(&d);
    deletes_add(&d, "k", first)->if_newer_min = 1;
    deletes_add(&d, "k", marker)->if_alone = true;
    deletes_run(&w, &d, "00");
    marker = make(&w, "k", ENABLED, true);
    make(&w, "k", ENABLED, false);
    deletes_init(&d);
    deletes_add(&d, "k", marker)->if_alone = true; /* not the current one */
    deletes_run(&w, &d, "x");
    world_fini(&w);
}

static void the_null_version_may_be_another_by_now(void **state)
{
    (void)state;
    struct world w;
    struct deletes d;
    world_init(&w, 3);
    uint64_t was = make(&w, "k", SUSPENDED, false), now = make(&w, "k", SUSPENDED, false);
    make(&w, "k", ENABLED, false);
    deletes_init(&d);
    Cairn__Condition *c = deletes_add(&d, "k", VERSION_NULL);
    c->if_newer_min = 1;
    c->if_named_version = was;
    deletes_run(&w, &d, "x");
    c->if_named_version = now;
    deletes_run(&w, &d, "0");
    world_fini(&w);
}

static void tag(struct world *w, uint64_t version, Cairn__Pair **tags, size_t count)
{
    struct cmd c;
    Cairn__PutObjectTags op = CAIRN__PUT_OBJECT_TAGS__INIT;
    cmd_init(w, &c);
    op.bucket_id = BUCKET;
    op.key = bin(SLICE_LIT("k"));
    op.version = version;
    op.tags = tags;
    op.n_tags = count;
    c.msg.versioning = ENABLED;
    c.msg.settings_version = 2;
    c.msg.op_case = CAIRN__COMMAND__OP_PUT_OBJECT_TAGS;
    c.msg.put_object_tags = &op;
    c.touches[c.msg.n_touches++] = keyhash_object(BUCKET, SLICE_LIT("k"));
    assert_int_equal(world_run(w, &c), OK);
}

static void tags_are_those_that_were_seen(void **state)
{
    (void)state;
    struct world w;
    struct deletes d;
    Cairn__Pair a = CAIRN__PAIR__INIT, b = CAIRN__PAIR__INIT, *seen[2] = {&a, &b};
    a.name = b.name = (char *)(uintptr_t) "name";
    a.value = (char *)(uintptr_t) "1";
    b.value = (char *)(uintptr_t) "2";
    world_init(&w, 3);
    uint64_t first = make(&w, "k", ENABLED, false), second = make(&w, "k", ENABLED, false);
    tag(&w, first, seen, 2);
    deletes_init(&d);
    Cairn__Condition *c = deletes_add(&d, "k", first);
    c->has_if_tags = true;
    deletes_run(&w, &d, "x"); /* there are two */
    c->if_tags = seen;
    c->n_if_tags = 1;
    deletes_run(&w, &d, "x");
    seen[0] = &b; /* the same tags in another order were not seen */
    seen[1] = &a;
    c->n_if_tags = 2;
    deletes_run(&w, &d, "x");
    seen[0] = &a;
    seen[1] = &b;
    /* Of the current version too, without naming it. */
    Cairn__Condition *current = deletes_add(&d, "k", VERSION_NONE);
    current->has_if_tags = true;
    current->if_version = second;
    current->if_tags = seen;
    current->n_if_tags = 2;
    deletes_run(&w, &d, "0x");
    deletes_init(&d);
    current = deletes_add(&d, "k", VERSION_NONE);
    current->has_if_tags = true;
    deletes_run(&w, &d, "0");
    deletes_run(&w, &d, "x"); /* a delete marker has none, nor has nothing */
    world_fini(&w);
}

/* The entry's time decides, not that of whoever proposes it. */
static void not_before_its_time(void **state)
{
    (void)state;
    struct world w;
    struct deletes d;
    struct id128 id;
    struct cmd c;
    world_init(&w, 3);
    make(&w, "k", ENABLED, false);
    deletes_init(&d);
    Cairn__Condition *condition = deletes_add(&d, "k", VERSION_NONE);
    condition->not_before_ms = w.now_ms + 1000000;
    deletes_run(&w, &d, "x");
    assert_true(present(&w, "k"));
    w.now_ms += 1000000;
    deletes_run(&w, &d, "0");
    cmd_create_upload(&w, &c, SLICE_LIT("u"), &id);
    c.msg.versioning = ENABLED;
    c.msg.settings_version = 2;
    assert_int_equal(world_run(&w, &c), OK);
    for (int late = 0; late < 2; late++) {
        cmd_abort(&w, &c, SLICE_LIT("u"), &id);
        c.msg.versioning = ENABLED;
        c.msg.settings_version = 2;
        c.abort.not_before_ms = w.now_ms + (late ? 0 : 1000000);
        assert_int_equal(world_run(&w, &c), late ? OK : ERR_PRECONDITION);
    }
    /* Of what makes something there is no such condition. */
    cmd_put_inline(&w, &c, SLICE_LIT("p"), SLICE_LIT("body"));
    c.msg.versioning = ENABLED;
    c.msg.settings_version = 2;
    Cairn__Condition of_put = CAIRN__CONDITION__INIT;
    of_put.not_before_ms = 1;
    c.put.condition = &of_put;
    assert_int_equal(world_run(&w, &c), ERR_REFUSED);
    world_fini(&w);
}

/* ---- lists ---- */

static Cairn__ListResponse *list(struct world *w, bool versions, bool want_tags)
{
    struct index_view view;
    struct index_reply reply = {0};
    Cairn__ListRequest req = CAIRN__LIST_REQUEST__INIT;
    index_view_init(&view, w->index, NULL);
    req.epoch = EPOCH;
    req.bucket_id = BUCKET;
    req.versions = versions;
    req.want_tags = want_tags;
    req.keys_max = 10;
    assert_int_equal(index_list(&view, &req, &reply), OK);
    Cairn__ListResponse *msg = (Cairn__ListResponse *)(void *)over_the_wire(&reply.msg.base);
    index_reply_fini(&reply);
    return msg;
}

static void lists_tell_tags_when_asked(void **state)
{
    (void)state;
    struct world w;
    Cairn__Pair pairs[INDEX_TAGS_MAX], *tags[INDEX_TAGS_MAX];
    for (size_t i = 0; i < INDEX_TAGS_MAX; i++) {
        cairn__pair__init(&pairs[i]);
        pairs[i].name = (char *)(uintptr_t) "name";
        pairs[i].value = (char *)(uintptr_t)(i ? "value" : "");
        tags[i] = &pairs[i];
    }
    world_init(&w, 3);
    make(&w, "j", ENABLED, false);
    uint64_t first = make(&w, "k", ENABLED, false);
    make(&w, "k", ENABLED, true);
    tag(&w, first, tags, INDEX_TAGS_MAX);
    Cairn__ListResponse *msg = list(&w, true, true);
    assert_int_equal(msg->n_entries, 3);
    assert_int_equal(msg->entries[0]->n_tags, 0);
    assert_true(msg->entries[1]->delete_marker && msg->entries[1]->n_tags == 0);
    assert_int_equal(msg->entries[2]->n_tags, INDEX_TAGS_MAX);
    assert_string_equal(msg->entries[2]->tags[0]->value, "");
    assert_string_equal(msg->entries[2]->tags[9]->value, "value");
    cairn__list_response__free_unpacked(msg, NULL);
    msg = list(&w, true, false);
    assert_int_equal(msg->entries[2]->n_tags, 0);
    assert_true(msg->entries[2]->versioned);
    cairn__list_response__free_unpacked(msg, NULL);
    world_fini(&w);
}

static void set(struct world *w, const char *name, uint64_t id, unsigned kind, const char *setting)
{
    struct cmd c;
    Cairn__BucketSetting s = CAIRN__BUCKET_SETTING__INIT;
    Cairn__PutBucketSetting op = CAIRN__PUT_BUCKET_SETTING__INIT;
    cmd_init(w, &c);
    s.kind = kind;
    s.id = (char *)(uintptr_t)setting;
    s.document = bin(SLICE_LIT("a document"));
    op.name = (char *)(uintptr_t)name;
    op.id = id;
    op.setting = &s;
    c.msg.op_case = CAIRN__COMMAND__OP_PUT_BUCKET_SETTING;
    c.msg.put_bucket_setting = &op;
    c.touches[c.msg.n_touches++] = keyhash_bucket(slice_cstr(name));
    assert_int_equal(world_run(w, &c), OK);
}

static void create(struct world *w, const char *name)
{
    struct cmd c;
    cmd_create_bucket(w, &c, name);
    assert_int_equal(world_run(w, &c), OK);
    if (name[0] == 'b') {
        set(w, name, w->out->bucket_id, 14, "");
        return;
    }
    if (name[0] != 'd')
        return;
    uint64_t id = w->out->bucket_id;
    set(w, name, id, 2, "");
    set(w, name, id, 18, "one");
    set(w, name, id, 18, "two");
}

/* "name:kind/id,... ", page by page. */
static void buckets_with(struct world *w, uint32_t *kinds, size_t count, uint32_t page,
                         const char *want)
{
    struct index_view view;
    struct buf got = {0};
    char after[64] = "";
    bool more = true;
    index_view_init(&view, w->index, NULL);
    while (more) {
        struct index_reply reply = {0};
        Cairn__ListBucketsRequest req = CAIRN__LIST_BUCKETS_REQUEST__INIT;
        req.epoch = EPOCH;
        req.with_settings = kinds;
        req.n_with_settings = count;
        req.buckets_max = page;
        req.start_after = after;
        assert_int_equal(index_list_buckets(&view, &req, &reply), OK);
        Cairn__ListBucketsResponse *msg =
            (Cairn__ListBucketsResponse *)(void *)over_the_wire(&reply.msg.base);
        for (size_t i = 0; i < msg->n_buckets; i++) {
            buf_printf(&got, "%s:", msg->buckets[i]->name);
            for (size_t k = 0; k < msg->buckets[i]->n_settings; k++) {
                Cairn__BucketSetting *s = msg->buckets[i]->settings[k];
                assert_int_equal(s->document.len, 0);
                buf_printf(&got, "%u/%s,", s->kind, s->id);
            }
            buf_u8(&got, ' ');
        }
        more = msg->more;
        assert_true(!more || strcmp(msg->resume_after, after) > 0);
        snprintf(after, sizeof(after), "%s", msg->resume_after);
        cairn__list_buckets_response__free_unpacked(msg, NULL);
        index_reply_fini(&reply);
    }
    buf_u8(&got, 0);
    assert_string_equal((const char *)got.ptr, want);
    buf_fini(&got);
}

static void buckets_are_found_by_their_settings(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, ROOT_PARTITION);
    for (int i = 'a'; i <= 'e'; i++) {
        char name[4] = {(char)i, (char)i, (char)i, 0};
        create(&w, name);
    }
    buckets_with(&w, NULL, 0, 2, "aaa: bbb: ccc: ddd: eee: ");
    buckets_with(&w, (uint32_t[]){14}, 1, 10, "bbb:14/, ");
    buckets_with(&w, (uint32_t[]){14, 18}, 2, 1, "bbb:14/, ddd:18/one,18/two, ");
    buckets_with(&w, (uint32_t[]){2, 5}, 2, 10, "ddd:2/, ");
    buckets_with(&w, (uint32_t[]){5}, 1, 10, "");
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(older_versions_stay_when_they_are_current_again),
        cmocka_unit_test(newer_versions_are_counted_as_the_entry_leaves_them),
        cmocka_unit_test(a_marker_goes_only_alone),
        cmocka_unit_test(the_null_version_may_be_another_by_now),
        cmocka_unit_test(tags_are_those_that_were_seen),
        cmocka_unit_test(not_before_its_time),
        cmocka_unit_test(lists_tell_tags_when_asked),
        cmocka_unit_test(buckets_are_found_by_their_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
