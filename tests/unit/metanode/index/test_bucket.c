/* The root: bootstrap, users and keys, buckets; and the deletion of a bucket in every order in
 * which its steps and those of writers and creators can interleave. */
#include "common/base/hash.h"
#include "metanode/index/keys.h"
#include "proto/registry.h"
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

static int create_bucket(struct world *root, const char *name)
{
    struct cmd c;
    cmd_create_bucket(root, &c, name);
    return world_run(root, &c);
}

static int begin_delete(struct world *root, const char *name, uint64_t id)
{
    struct cmd c;
    cmd_init(root, &c);
    cairn__begin_delete_bucket__init(&c.begin);
    c.begin.name = str(name);
    c.begin.id = id;
    c.msg.op_case = CAIRN__COMMAND__OP_BEGIN_DELETE_BUCKET;
    c.msg.begin_delete_bucket = &c.begin;
    c.touches[c.msg.n_touches++] = keyhash_bucket(slice_cstr(name));
    return world_run(root, &c);
}

static int finish_delete(struct world *root, const char *name, uint64_t id, uint64_t version)
{
    struct cmd c;
    cmd_init(root, &c);
    cairn__finish_delete_bucket__init(&c.finish);
    c.finish.name = str(name);
    c.finish.id = id;
    c.finish.settings_version = version;
    c.msg.op_case = CAIRN__COMMAND__OP_FINISH_DELETE_BUCKET;
    c.msg.finish_delete_bucket = &c.finish;
    c.touches[c.msg.n_touches++] = keyhash_bucket(slice_cstr(name));
    return world_run(root, &c);
}

static int abort_delete(struct world *root, const char *name, uint64_t id, uint64_t version)
{
    struct cmd c;
    cmd_init(root, &c);
    cairn__abort_delete_bucket__init(&c.abort_delete);
    c.abort_delete.name = str(name);
    c.abort_delete.id = id;
    c.abort_delete.settings_version = version;
    c.msg.op_case = CAIRN__COMMAND__OP_ABORT_DELETE_BUCKET;
    c.msg.abort_delete_bucket = &c.abort_delete;
    c.touches[c.msg.n_touches++] = keyhash_bucket(slice_cstr(name));
    return world_run(root, &c);
}

/* ---- the root's records ---- */

static void test_bootstrap(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    world_init(&w, ROOT_PARTITION);
    struct index_view view;
    Cairn__ClusterMap *map = NULL;
    index_view_init(&view, w.index, NULL);
    assert_int_equal(index_cluster_map(&view, &map), ERR_NOT_READY);
    Cairn__AccountRow account = CAIRN__ACCOUNT_ROW__INIT;
    Cairn__AccessKeyRow key = CAIRN__ACCESS_KEY_ROW__INIT;
    Cairn__NodeRecord nodes[2] = {CAIRN__NODE_RECORD__INIT, CAIRN__NODE_RECORD__INIT};
    Cairn__NodeRecord *node_ptrs[2] = {&nodes[0], &nodes[1]};
    Cairn__PartitionDescriptor part = CAIRN__PARTITION_DESCRIPTOR__INIT, *parts[1] = {&part};
    Cairn__PlacementGroup pg = CAIRN__PLACEMENT_GROUP__INIT, *pgs[1] = {&pg};
    Cairn__Bootstrap op = CAIRN__BOOTSTRAP__INIT;
    account.canonical_id = account.name = str("0123");
    account.account_id = key.account_id = str(OPERATOR_ACCOUNT);
    key.access_key_id = str("AK");
    key.secret = str("secret");
    nodes[0].node_id = str("mn-1");
    nodes[1].node_id = str("mn-2");
    part.id = 1;
    pg.id = 300;
    cmd_init(&w, &c);
    op.cluster_id = c.msg.write_id;
    op.nodes = node_ptrs;
    op.n_nodes = 2;
    op.partitions = parts;
    op.n_partitions = 1;
    op.pgs = pgs;
    op.n_pgs = 1;
    op.account = &account;
    op.account_key = &key;
    c.msg.op_case = CAIRN__COMMAND__OP_BOOTSTRAP;
    c.msg.bootstrap = &op;
    c.touches[0] = keyhash_account(SLICE_LIT(OPERATOR_ACCOUNT));
    c.touches[1] = keyhash_access_key(SLICE_LIT("AK"));
    c.msg.n_touches = 1;
    assert_int_equal(world_run(&w, &c), ERR_REFUSED); /* the key is not named */
    c.msg.n_touches = 2;
    assert_int_equal(world_run(&w, &c), OK);
    c.write_id = fresh_id(&w);
    assert_int_equal(world_run(&w, &c), ERR_EXISTS);
    index_view_init(&view, w.index, NULL);
    assert_int_equal(index_cluster_map(&view, &map), OK);
    assert_true(map->n_nodes == 2 && map->n_partitions == 1 && map->n_pgs == 1);
    assert_true(map->version == index_applied(w.index) && map->pgs[0]->id == 300);
    assert_true(map->cluster_id.len == ID_BYTES);
    cairn__cluster_map__free_unpacked(map, NULL);
    world_fini(&w);
}

static size_t list_buckets(struct world *w, const char *owner, const char *prefix, uint32_t page,
                           char ret[][64])
{
    struct index_view view;
    index_view_init(&view, w->index, NULL);
    Cairn__ListBucketsRequest req = CAIRN__LIST_BUCKETS_REQUEST__INIT;
    char after[64] = "";
    req.epoch = EPOCH;
    req.owner_id = str(owner);
    req.prefix = str(prefix);
    req.start_after = after;
    req.buckets_max = page;
    size_t n = 0;
    for (bool more = true; more;) {
        struct index_reply reply = {0};
        assert_int_equal(index_list_buckets(&view, &req, &reply), OK);
        Cairn__ListBucketsResponse *msg =
            (Cairn__ListBucketsResponse *)(void *)over_the_wire(&reply.msg.base);
        for (size_t i = 0; i < msg->n_buckets; i++) {
            snprintf(ret[n++], 64, "%s", msg->buckets[i]->name);
            snprintf(after, sizeof(after), "%s", msg->buckets[i]->name);
        }
        more = msg->more;
        cairn__list_buckets_response__free_unpacked(msg, NULL);
        index_reply_fini(&reply);
    }
    return n;
}

static void test_buckets(void **state)
{
    (void)state;
    struct world w;
    char names[16][64];
    uint64_t ids[4];
    world_init(&w, ROOT_PARTITION);
    const char *made[] = {"photos", "photo", "music", "photos-old"};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(create_bucket(&w, made[i]), OK);
        ids[i] = w.out->bucket_id;
        assert_true(w.out->settings_version == 1);
    }
    /* The first four ids fall into four different quarters. */
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < i; j++)
            assert_true(ids[i] != ids[j] && (ids[i] >> 62 != ids[j] >> 62 || i == 3));
    assert_int_equal(create_bucket(&w, "photos"), ERR_EXISTS);
    assert_true(w.out->bucket_id == ids[0]);
    assert_int_equal(list_buckets(&w, "", "", 1, names), 4);
    assert_string_equal(names[0], "music");
    assert_string_equal(names[3], "photos-old");
    assert_int_equal(list_buckets(&w, "owner", "photos", 10, names), 2);
    assert_int_equal(list_buckets(&w, "other", "", 10, names), 0);
    assert_int_equal(begin_delete(&w, "photos", ids[1]), ERR_NO_BUCKET);
    assert_int_equal(begin_delete(&w, "photos", ids[0]), OK);
    assert_true(w.out->settings_version == 2 && !w.out->existed);
    assert_int_equal(begin_delete(&w, "photos", ids[0]), OK);
    assert_true(w.out->settings_version == 2 && w.out->existed);
    assert_int_equal(create_bucket(&w, "photos"), ERR_CONFLICT);
    assert_int_equal(finish_delete(&w, "photos", ids[0], 1), ERR_CONFLICT);
    assert_int_equal(abort_delete(&w, "photos", ids[0], 2), OK);
    assert_true(w.out->settings_version == 3);
    assert_int_equal(finish_delete(&w, "photos", ids[0], 2), ERR_CONFLICT);
    assert_int_equal(begin_delete(&w, "photos", ids[0]), OK);
    assert_int_equal(finish_delete(&w, "photos", ids[0], 4), OK);
    assert_int_equal(create_bucket(&w, "photos"), OK);
    assert_true(w.out->bucket_id != ids[0]);
    assert_int_equal(finish_delete(&w, "photos", ids[0], 4), ERR_NO_BUCKET);
    world_fini(&w);
}

/* ---- interleavings ----
 *
 * Two object partitions hold the halves of a bucket's keys.  Actors, each a little program of
 * entries and reads, as gateways run them:
 *   deleter    read the record; Begin; fence at 1; fence at 2; Finish or Abort
 *   writer     read the record (once: it is cached); put a key
 *   creator    create the bucket again, read the record, put a key into what is there
 * Every order of all their steps is run: depth first, a state that was met before (whatever the way
 * to it) is not gone into again, and a state is built again by replaying the choices that led to
 * it. What must hold: a put that was acknowledged is in the bucket whose record is there, with that
 * id; nothing else is in it. */

enum { ACTORS_MAX = 5 };
enum actor_kind { DELETER, WRITER, CREATOR };

struct actor {
    enum actor_kind kind;
    int partition; /* where a writer writes */
    int step;      /* -1: finished */
    uint64_t id, version;
    bool all_empty;
    char key[8];
};

struct scene {
    struct world root, part[2];
    struct actor actors[ACTORS_MAX];
    int count;
    struct {
        uint64_t id;
        int partition;
        char key[8];
    } acked[ACTORS_MAX];
    int acked_count;
    int deletions;
};

#define NAME "bucket"
static const char *const SPLIT_KEY = "m";

static void scene_init(struct scene *s, const enum actor_kind *kinds, const int *where, int count)
{
    uint8_t bound[9] = {0};
    memset(s, 0, sizeof(*s));
    world_init(&s->root, ROOT_PARTITION);
    /* The first bucket has the id 2^63, and its keys are split at "m"; the creator's next one
     * (2^62) lies in the first of the two partitions alone. */
    bound[0] = 0x80;
    bound[8] = (uint8_t)SPLIT_KEY[0];
    world_init_range(&s->part[0], 1, SLICE_EMPTY, SLICE(bound, 9), NULL);
    world_init_range(&s->part[1], 2, SLICE(bound, 9), SLICE_EMPTY, NULL);
    assert_int_equal(create_bucket(&s->root, NAME), OK);
    s->count = count;
    for (int i = 0; i < count; i++) {
        s->actors[i].kind = kinds[i];
        s->actors[i].partition = where[i];
        s->actors[i].key[0] = where[i] ? 'z' : 'a';
        s->actors[i].key[1] = (char)('0' + i);
    }
}

static void scene_fini(struct scene *s)
{
    world_fini(&s->root);
    world_fini(&s->part[0]);
    world_fini(&s->part[1]);
}

/* false: there is no bucket to be had. */
static bool actor_look(struct scene *s, struct actor *a)
{
    Cairn__BucketRecord *b = read_bucket(&s->root, NAME);
    if (!b)
        return false;
    a->id = b->id;
    a->version = b->settings_version;
    cairn__bucket_record__free_unpacked(b, NULL);
    return true;
}

static void actor_put(struct scene *s, struct actor *a)
{
    struct cmd c;
    int where = a->id == BUCKET ? a->partition : 0;
    struct world *w = &s->part[where];
    cmd_put_inline(w, &c, slice_cstr(a->key), SLICE_LIT("x"));
    c.put.bucket_id = a->id;
    c.touches[0] = keyhash_object(a->id, slice_cstr(a->key));
    c.msg.settings_version = a->version;
    int err = world_run(w, &c);
    assert_true(err == OK || err == ERR_SETTINGS || err == ERR_SEALED);
    if (err == OK) {
        s->acked[s->acked_count].id = a->id;
        s->acked[s->acked_count].partition = where;
        memcpy(s->acked[s->acked_count++].key, a->key, sizeof(a->key));
    }
}

static void deleter_step(struct scene *s, struct actor *a)
{
    struct cmd c;
    int err;
    switch (a->step++) {
    case 0:
        if (!actor_look(s, a))
            a->step = -1;
        return;
    case 1:
        if (begin_delete(&s->root, NAME, a->id) != OK)
            a->step = -1;
        a->version = s->root.out->settings_version;
        a->all_empty = true;
        return;
    case 2:
    case 3: {
        int where = a->step - 3;
        if (a->id != BUCKET && where == 1)
            return; /* does not overlap that partition */
        cmd_fence(&s->part[where], &c, a->id, a->version, true);
        err = world_run(&s->part[where], &c);
        assert_true(err == OK || err == ERR_SETTINGS);
        a->all_empty = a->all_empty && err == OK && s->part[where].out->empty;
        return;
    }
    default:
        err = a->all_empty ? finish_delete(&s->root, NAME, a->id, a->version)
                           : abort_delete(&s->root, NAME, a->id, a->version);
        s->deletions += a->all_empty && err == OK;
        a->step = -1;
    }
}

static void actor_step(struct scene *s, struct actor *a)
{
    if (a->kind == DELETER) {
        deleter_step(s, a);
        return;
    }
    if (a->kind == CREATOR && a->step == 0) {
        (void)create_bucket(&s->root, NAME);
        a->step = 1;
        return;
    }
    int look = a->kind == CREATOR ? 1 : 0;
    if (a->step == look) {
        a->step = actor_look(s, a) ? a->step + 1 : -1;
        return;
    }
    actor_put(s, a);
    a->step = -1;
}

static void scene_check(struct scene *s)
{
    Cairn__BucketRecord *b = read_bucket(&s->root, NAME);
    size_t rows[2], live = 0;
    for (int i = 0; i < 2; i++)
        count_rows(&s->part[i], TABLE_OBJECT, KV_INDEX, &rows[i]);
    for (int i = 0; i < s->acked_count; i++) {
        assert_non_null(b); /* no acknowledged object vanished with its bucket */
        assert_true(s->acked[i].id == b->id);
        live++;
    }
    assert_true(rows[0] + rows[1] == live);
    if (b)
        cairn__bucket_record__free_unpacked(b, NULL);
}

struct explorer {
    const enum actor_kind *kinds;
    const int *where;
    int count;
    int choices[32];
    uint64_t *seen; /* open addressing, 0: free */
    size_t states, ends, deleted, kept;
};
enum { SEEN_SLOTS = 1 << 20 };

/* Everything that decides what can happen from here on: the record, fences, objects, actors. */
static uint64_t scene_hash(struct scene *s)
{
    static const uint8_t tables[] = {TABLE_OBJECT, TABLE_FENCE};
    struct buf b = {0};
    Cairn__BucketRecord *record = read_bucket(&s->root, NAME);
    if (record) {
        buf_be64(&b, record->id);
        buf_be64(&b, record->settings_version);
        buf_u8(&b, (uint8_t)record->state);
        cairn__bucket_record__free_unpacked(record, NULL);
    }
    for (int i = 0; i < 4; i++) {
        struct key lower, upper;
        struct world *w = &s->part[i / 2];
        key_table(&lower, w->partition, (enum index_table)tables[i % 2], SLICE_EMPTY);
        upper = lower;
        key_successor(&upper);
        struct kv_iter *it =
            w->store->ops->iter_new(w->store, NULL, KV_INDEX, key_view(&lower), key_view(&upper));
        for (it->ops->seek(it, SLICE_EMPTY); it->ops->valid(it); it->ops->next(it)) {
            buf_slice(&b, it->ops->key(it));
            if (i % 2)
                buf_slice(&b, it->ops->value(it));
        }
        it->ops->free(it);
        buf_u8(&b, 0xEE);
    }
    for (int i = 0; i < s->count; i++) {
        buf_be64(&b, (uint64_t)s->actors[i].step);
        buf_be64(&b, s->actors[i].step < 0 ? 0 : s->actors[i].id);
        buf_be64(&b, s->actors[i].step < 0 ? 0 : s->actors[i].version);
        buf_u8(&b, s->actors[i].step >= 0 && s->actors[i].all_empty);
        bool acked = false;
        for (int j = 0; j < s->acked_count; j++)
            acked |= memcmp(s->acked[j].key, s->actors[i].key, sizeof(s->acked[j].key)) == 0;
        buf_u8(&b, acked);
    }
    uint64_t h = hash64(0, buf_view(&b));
    buf_fini(&b);
    return h ? h : 1;
}

static bool is_new(struct explorer *e, uint64_t hash)
{
    size_t at = hash % SEEN_SLOTS;
    while (e->seen[at] && e->seen[at] != hash)
        at = (at + 1) % SEEN_SLOTS;
    bool fresh = e->seen[at] == 0;
    e->seen[at] = hash;
    return fresh;
}

static void scene_replay(struct scene *s, struct explorer *e, int depth)
{
    scene_init(s, e->kinds, e->where, e->count);
    for (int i = 0; i < depth; i++)
        actor_step(s, &s->actors[e->choices[i]]);
}

/* Takes over the scene, which stands where e->choices[0..depth) lead. */
static void explore(struct explorer *e, struct scene *s, int depth)
{
    bool used = false, any = false;
    int steps[ACTORS_MAX];
    for (int i = 0; i < e->count; i++) {
        steps[i] = s->actors[i].step;
        any |= steps[i] >= 0;
    }
    e->states++;
    scene_check(s); /* everywhere, because any actor may crash at any step */
    if (!any) {
        e->ends++;
        e->deleted += s->deletions > 0;
        e->kept += s->acked_count > 0;
    }
    for (int i = 0; i < e->count; i++) {
        if (steps[i] < 0)
            continue;
        if (used)
            scene_replay(s, e, depth);
        actor_step(s, &s->actors[i]);
        e->choices[depth] = i;
        used = true;
        if (is_new(e, scene_hash(s)))
            explore(e, s, depth + 1);
        else
            scene_fini(s);
    }
    if (!used)
        scene_fini(s);
}

static void explore_all(const enum actor_kind *kinds, const int *where, int count)
{
    struct explorer e = {.kinds = kinds, .where = where, .count = count};
    struct scene s;
    e.seen = calloc(SEEN_SLOTS, sizeof(*e.seen));
    scene_replay(&s, &e, 0);
    explore(&e, &s, 0);
    free(e.seen);
    print_message("%zu states, %zu ends: %zu with a deletion, %zu with an object\n", e.states,
                  e.ends, e.deleted, e.kept);
    assert_true(e.states > 100 && e.states < SEEN_SLOTS / 4 && e.deleted > 0 && e.kept > 0);
}

static void test_one_deleter_two_writers(void **state)
{
    (void)state;
    const enum actor_kind kinds[] = {DELETER, WRITER, WRITER};
    const int where[] = {0, 0, 1};
    explore_all(kinds, where, 3);
}

static void test_whole_cast(void **state)
{
    (void)state;
    const enum actor_kind kinds[] = {DELETER, DELETER, CREATOR, WRITER, WRITER};
    const int where[] = {0, 0, 1, 0, 1};
    explore_all(kinds, where, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bootstrap),
        cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_one_deleter_two_writers),
        cmocka_unit_test(test_whole_cast),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
