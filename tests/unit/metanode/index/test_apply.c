/* What apply decides: conditions, idempotency, the outcome window, epochs, fences, touches; that a
 * refusal leaves nothing behind, and that a failing store leaves the partition as it was. */
#include "metanode/index/keys.h"
#include "world.h"

#include <stdlib.h>

#define WINDOW_MS (UINT64_C(15) * 60 * 1000)
#define SKEW_MS (UINT64_C(60) * 1000)

static void test_put_get_delete(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 3);
    assert_int_equal(put(&w, "a", "hello"), OK);
    assert_false(w.out->existed);
    struct buf body = {0};
    Cairn__ObjectRecord *r = get(&w, SLICE_LIT("a"), &body);
    assert_true(slice_eq(buf_view(&body), SLICE_LIT("hello")));
    assert_true(r->version == 1 && r->mtime_ms == START_MS && r->size == 5);
    cairn__object_record__free_unpacked(r, NULL);
    buf_fini(&body);
    assert_int_equal(put(&w, "a", "bye"), OK);
    assert_true(w.out->existed);
    size_t rows;
    count_rows(&w, TABLE_OBJECT_BODY, KV_BODY, &rows);
    assert_int_equal(rows, 1);
    assert_int_equal(put(&w, "empty", ""), OK);
    count_rows(&w, TABLE_OBJECT_BODY, KV_BODY, &rows);
    assert_int_equal(rows, 1);
    assert_int_equal(del(&w, "a"), OK);
    assert_true(w.out->existed);
    assert_int_equal(del(&w, "a"), OK);
    assert_false(w.out->existed);
    assert_false(present(&w, "a"));
    count_rows(&w, TABLE_OBJECT_BODY, KV_BODY, &rows);
    assert_int_equal(rows, 0);
    world_fini(&w);
}

/* A retry answers as the first did, also when the world has moved on. */
static void test_idempotency(void **state)
{
    (void)state;
    struct world w;
    struct cmd first, second;
    world_init(&w, 3);
    cmd_put_inline(&w, &first, SLICE_LIT("k"), SLICE_LIT("one"));
    assert_int_equal(world_run(&w, &first), OK);
    uint64_t index = w.out->index;
    assert_int_equal(put(&w, "k", "two"), OK);
    w.now_ms += 1000;
    first.msg.time_ms = w.now_ms; /* sent again: another entry time, the same id and issue time */
    assert_int_equal(world_run(&w, &first), OK);
    assert_true(w.out->index == index && w.out->time_ms == START_MS);
    assert_string_equal(w.out->etag, first.etag);
    struct buf body = {0};
    cairn__object_record__free_unpacked(get(&w, SLICE_LIT("k"), &body), NULL);
    assert_true(slice_eq(buf_view(&body), SLICE_LIT("two")));
    buf_fini(&body);
    /* A delete that is repeated after a later put must not remove it. */
    cmd_delete(&w, &second, SLICE_LIT("k"));
    assert_int_equal(world_run(&w, &second), OK);
    assert_true(w.out->existed);
    assert_int_equal(put(&w, "k", "three"), OK);
    assert_int_equal(world_run(&w, &second), OK);
    assert_true(w.out->existed && present(&w, "k"));
    /* A definite failure stays one, also when its condition would hold by now. */
    struct cmd third;
    Cairn__Condition absent = CAIRN__CONDITION__INIT;
    absent.if_absent = true;
    cmd_put_inline(&w, &third, SLICE_LIT("k"), SLICE_LIT("four"));
    third.put.condition = &absent;
    assert_int_equal(world_run(&w, &third), ERR_PRECONDITION);
    assert_int_equal(del(&w, "k"), OK);
    assert_int_equal(world_run(&w, &third), ERR_PRECONDITION);
    assert_false(present(&w, "k"));
    /* A recorded outcome is found without an entry, and after opening again. */
    world_reopen(&w);
    Cairn__Outcome *found = NULL;
    assert_int_equal(index_outcome_find(w.index, id128_slice(&third.write_id), &found), OK);
    assert_int_equal(found->err, ERR_PRECONDITION);
    cairn__outcome__free_unpacked(found, NULL);
    world_fini(&w);
}

static int put_if(struct world *w, const char *key, const Cairn__Condition *condition)
{
    struct cmd c;
    cmd_put_inline(w, &c, slice_cstr(key), SLICE_LIT("x"));
    c.put.condition = (Cairn__Condition *)(uintptr_t)condition;
    return world_run(w, &c);
}

static void test_conditions(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 3);
    Cairn__Condition c = CAIRN__CONDITION__INIT;
    char *etags[2] = {(char *)(uintptr_t) "nope", NULL};
    c.if_present = true;
    assert_int_equal(put_if(&w, "k", &c), ERR_PRECONDITION);
    assert_false(w.out->existed);
    c.if_present = false;
    c.if_absent = true;
    assert_int_equal(put_if(&w, "k", &c), OK);
    assert_int_equal(put_if(&w, "k", &c), ERR_PRECONDITION);
    assert_true(w.out->existed);
    c.if_absent = false;
    Cairn__ObjectRecord *r = get(&w, SLICE_LIT("k"), NULL);
    c.if_version = r->version + 1;
    assert_int_equal(put_if(&w, "k", &c), ERR_PRECONDITION);
    c.if_version = r->version;
    c.n_if_match = 1;
    c.if_match = etags;
    assert_int_equal(put_if(&w, "k", &c), ERR_PRECONDITION);
    etags[1] = r->etag;
    c.n_if_match = 2;
    c.has_if_size = true;
    c.if_size = 2;
    assert_int_equal(put_if(&w, "k", &c), ERR_PRECONDITION);
    c.if_size = 1;
    c.has_if_mtime = true;
    c.if_mtime_ms = r->mtime_ms + 1000;
    assert_int_equal(put_if(&w, "k", &c), ERR_PRECONDITION);
    c.if_mtime_ms = r->mtime_ms / 1000 * 1000 + 999; /* whole seconds */
    assert_int_equal(put_if(&w, "k", &c), OK);
    cairn__object_record__free_unpacked(r, NULL);
    c = (Cairn__Condition)CAIRN__CONDITION__INIT;
    r = get(&w, SLICE_LIT("k"), NULL);
    etags[0] = r->etag;
    c.if_none_match = etags;
    c.n_if_none_match = 1;
    assert_int_equal(put_if(&w, "k", &c), ERR_PRECONDITION);
    assert_int_equal(put_if(&w, "other", &c), OK);
    cairn__object_record__free_unpacked(r, NULL);
    world_fini(&w);
}

static void test_delete_objects(void **state)
{
    (void)state;
    struct world w;
    struct cmd c, s;
    world_init(&w, 3);
    cmd_put_segments(&w, &s, SLICE_LIT("b"), 2, 100);
    assert_int_equal(world_run(&w, &s), OK);
    assert_int_equal(put(&w, "a", "1"), OK);
    const char *keys[] = {"b", "a", "b", "none", "a"};
    ProtobufCBinaryData bins[5];
    Cairn__Condition present_condition = CAIRN__CONDITION__INIT, none = CAIRN__CONDITION__INIT;
    Cairn__Condition *conditions[5] = {&none, &none, &present_condition, &none, &none};
    present_condition.if_present = true;
    Cairn__DeleteObjects op = CAIRN__DELETE_OBJECTS__INIT;
    cmd_init(&w, &c);
    uint64_t touches[5];
    for (int i = 0; i < 5; i++) {
        bins[i] = (ProtobufCBinaryData){strlen(keys[i]), (uint8_t *)(uintptr_t)keys[i]};
        touches[i] = keyhash_object(BUCKET, slice_cstr(keys[i]));
    }
    op.bucket_id = BUCKET;
    op.keys = bins;
    op.n_keys = 5;
    op.conditions = conditions;
    op.n_conditions = 5;
    c.msg.op_case = CAIRN__COMMAND__OP_DELETE_OBJECTS;
    c.msg.delete_objects = &op;
    c.msg.touches = touches;
    c.msg.n_touches = 3; /* a, b; "none" is missing */
    assert_int_equal(world_run(&w, &c), ERR_REFUSED);
    assert_true(present(&w, "a"));
    c.msg.n_touches = 5;
    assert_int_equal(world_run(&w, &c), OK);
    assert_int_equal(w.out->n_key_errs, 5);
    assert_int_equal(w.out->key_errs[2], ERR_PRECONDITION); /* the second "b" finds none */
    assert_int_equal(w.out->key_errs[0], OK);
    assert_int_equal(w.out->key_errs[4], OK);
    assert_false(present(&w, "a"));
    assert_true(index_deletion_count(w.index) == 1); /* "b" was let go once */
    struct buf blobs = {0};
    drain_deletions(&w, &blobs);
    assert_true(blobs.len == 2 * ID_BYTES && memcmp(blobs.ptr, s.blob_ids, blobs.len) == 0);
    buf_fini(&blobs);
    world_fini(&w);
}

/* Refusals that depend on the command alone, or on the route: nothing but the applied index moves.
 */
static void expect_refused(struct world *w, struct cmd *c, int want)
{
    struct buf before = {0}, after = {0};
    uint64_t outcomes = index_outcome_count(w->index);
    assert_int_equal(world_run(w, c), want);
    assert_true(index_outcome_count(w->index) == outcomes);
    dump(w->store, w->partition, &before);
    assert_int_equal(world_run(w, c), want);
    dump(w->store, w->partition, &after);
    /* The header's applied index and checksum are all that may differ. */
    size_t different = 0;
    assert_true(before.len == after.len);
    for (size_t i = 0; i < before.len; i++)
        different += before.ptr[i] != after.ptr[i];
    assert_true(different > 0 && different <= 12);
    buf_fini(&before);
    buf_fini(&after);
}

static void test_refusals(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    uint8_t bound[9] = {0x80, 0, 0, 0, 0, 0, 0, 0, 'm'};
    world_init_range(&w, 3, SLICE_EMPTY, SLICE(bound, 9), NULL);
    assert_int_equal(put(&w, "a", "1"), OK);
    cmd_put_inline(&w, &c, SLICE_LIT("m"), SLICE_LIT("1"));
    expect_refused(&w, &c, ERR_EPOCH);
    cmd_put_inline(&w, &c, SLICE_LIT("b"), SLICE_LIT("1"));
    c.msg.epoch = EPOCH + 1;
    expect_refused(&w, &c, ERR_EPOCH);
    assert_int_equal(index_command_check(w.index, &c.msg, 1), ERR_EPOCH);
    cmd_put_inline(&w, &c, SLICE_LIT("b"), SLICE_LIT("1"));
    assert_int_equal(index_command_check(w.index, &c.msg, 1), OK);
    c.msg.n_touches = 0;
    expect_refused(&w, &c, ERR_REFUSED);
    cmd_put_inline(&w, &c, SLICE_LIT("b"), SLICE_LIT("1"));
    c.touches[0]++;
    expect_refused(&w, &c, ERR_REFUSED);
    cmd_put_inline(&w, &c, SLICE_LIT("b"), SLICE_LIT("1"));
    c.record.size = 2; /* but one byte of body */
    expect_refused(&w, &c, ERR_REFUSED);
    cmd_put_inline(&w, &c, SLICE_LIT("b"), SLICE_LIT("1"));
    c.msg.write_id.len = 15;
    expect_refused(&w, &c, ERR_REFUSED);
    cmd_put_inline(&w, &c, SLICE_LIT("b"), SLICE_LIT("1"));
    c.msg.write_id.len = 0;
    expect_refused(&w, &c, ERR_REFUSED);
    cmd_put_segments(&w, &c, SLICE_LIT("b"), 2, 10);
    c.segments[1].blob_id.len = 8;
    expect_refused(&w, &c, ERR_REFUSED);
    cmd_put_segments(&w, &c, SLICE_LIT("b"), 2, 10);
    c.segments[1].bytes = 4;
    expect_refused(&w, &c, ERR_REFUSED);
    cmd_put_inline(&w, &c, SLICE_LIT("b"), SLICE_LIT("1"));
    c.msg.time_ms--; /* time runs backwards */
    expect_refused(&w, &c, ERR_REFUSED);
    cmd_put_inline(&w, &c, SLICE_LIT("b"), SLICE_LIT("1"));
    c.msg.op_case = CAIRN__COMMAND__OP_CREATE_BUCKET; /* a root command, in an object partition */
    cairn__create_bucket__init(&c.create_bucket);
    c.create_bucket.bucket = &c.bucket;
    c.msg.create_bucket = &c.create_bucket;
    c.body = SLICE_EMPTY;
    expect_refused(&w, &c, ERR_REFUSED);
    cmd_put_inline(&w, &c, SLICE_LIT("b"), SLICE_LIT("1"));
    c.msg.issued_ms = c.msg.time_ms + SKEW_MS + 1;
    expect_refused(&w, &c, ERR_TIME);
    cmd_put_inline(&w, &c, SLICE_LIT("b"), SLICE_LIT("1"));
    c.msg.issued_ms = c.msg.time_ms - WINDOW_MS - 1;
    expect_refused(&w, &c, ERR_TOO_OLD);
    assert_false(present(&w, "b"));
    world_fini(&w);
}

/* The corner cases of the proof in check.c: a proposal issued as late as it may be, executed as
 * early, and repeated as late: while a copy could still be executed, its outcome is there. */
static void test_window_proof(void **state)
{
    (void)state;
    struct rng r = {77};
    for (int round = 0; round < 300; round++) {
        struct world w;
        struct cmd c, other;
        struct index_settings s = {.window_ms = 1 + rng_below(&r, 2000),
                                   .skew_ms = 1 + rng_below(&r, 2000)};
        world_init_range(&w, 3, SLICE_EMPTY, SLICE_EMPTY, &s);
        assert_int_equal(put(&w, "older", ""), OK); /* a reason to prune just before its row */
        w.now_ms += 1;
        uint64_t executed_ms = w.now_ms;
        cmd_delete(&w, &c, SLICE_LIT("k"));
        switch (rng_below(&r, 3)) {
        case 0: c.msg.issued_ms = w.now_ms + s.skew_ms; break;
        case 1: c.msg.issued_ms = w.now_ms - s.window_ms; break;
        default: c.msg.issued_ms = w.now_ms - s.window_ms + rng_below(&r, s.window_ms + s.skew_ms);
        }
        assert_int_equal(world_run(&w, &c), OK);
        uint64_t first = w.out->index, latest = c.msg.issued_ms + s.window_ms;
        bool executed_again = false;
        while (!executed_again && w.now_ms < START_MS + 3 * (s.window_ms + s.skew_ms) + 5000) {
            /* Other entries come between and prune; time stops exactly at the edge once. */
            uint64_t step = rng_below(&r, s.window_ms + s.skew_ms);
            if (w.now_ms < latest && w.now_ms + step > latest)
                step = latest - w.now_ms;
            w.now_ms += step + (w.now_ms >= latest);
            cmd_init(&w, &other);
            other.msg.write_id.len = 0;
            Cairn__PruneOutcomes prune = CAIRN__PRUNE_OUTCOMES__INIT;
            other.msg.op_case = CAIRN__COMMAND__OP_PRUNE_OUTCOMES;
            other.msg.prune_outcomes = &prune;
            assert_int_equal(world_run(&w, &other), OK);
            assert_int_equal(put(&w, "k", "x"), OK);
            c.msg.time_ms = w.now_ms;
            int err = world_run(&w, &c);
            executed_again = err == OK && w.out->index != first;
            assert_true(err == OK || err == ERR_TOO_OLD);
            assert_true(err == ERR_TOO_OLD || w.now_ms <= executed_ms + s.window_ms + s.skew_ms);
        }
        assert_false(executed_again);
        assert_true(present(&w, "k"));
        world_fini(&w);
    }
}

static void test_outcomes_are_pruned(void **state)
{
    (void)state;
    struct world w;
    struct index_settings s = {.window_ms = 1000, .skew_ms = 10, .outcomes_max = 30};
    size_t rows;
    world_init_range(&w, 3, SLICE_EMPTY, SLICE_EMPTY, &s);
    int overloads = 0;
    for (int i = 0; i < 2000; i++) {
        w.now_ms += 30;
        int err = put(&w, "k", "v");
        overloads += err == ERR_OVERLOAD;
        assert_true(err == OK || err == ERR_OVERLOAD);
        count_rows(&w, TABLE_OUTCOME, KV_INDEX, &rows);
        assert_true(rows == index_outcome_count(w.index) && rows <= 30);
        size_t times;
        count_rows(&w, TABLE_OUTCOME_TIME, KV_INDEX, &times);
        assert_true(times == rows);
    }
    assert_true(overloads > 0 && overloads < 1000); /* 34 would fit the window */
    /* Full, then idle until all has expired: the next proposal finds room without any help. */
    while (put(&w, "k", "v") == OK)
        ;
    assert_int_equal(w.out->err, ERR_OVERLOAD);
    struct cmd late;
    w.now_ms += 1012;
    cmd_delete(&w, &late, SLICE_LIT("k"));
    assert_int_equal(index_command_check(w.index, &late.msg, 0), OK);
    assert_int_equal(world_run(&w, &late), OK);
    /* Long after, one PruneOutcomes clears what is left. */
    struct cmd c;
    w.now_ms += 100000;
    cmd_init(&w, &c);
    c.msg.write_id.len = 0;
    Cairn__PruneOutcomes prune = CAIRN__PRUNE_OUTCOMES__INIT;
    c.msg.op_case = CAIRN__COMMAND__OP_PRUNE_OUTCOMES;
    c.msg.prune_outcomes = &prune;
    assert_int_equal(world_run(&w, &c), OK);
    count_rows(&w, TABLE_OUTCOME_TIME, KV_INDEX, &rows);
    assert_int_equal(rows, 0);
    assert_true(index_outcome_count(w.index) == 0);
    world_fini(&w);
}

static void test_fence(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    world_init(&w, 3);
    assert_int_equal(put(&w, "a", "1"), OK);
    cmd_fence(&w, &c, BUCKET, 2, true);
    assert_int_equal(world_run(&w, &c), OK);
    assert_false(w.out->empty);
    assert_int_equal(put(&w, "b", "1"), ERR_SETTINGS); /* assumes version 1 */
    assert_true(w.out->settings_version == 2);
    cmd_put_inline(&w, &c, SLICE_LIT("b"), SLICE_LIT("1"));
    c.msg.settings_version = 2;
    assert_int_equal(world_run(&w, &c), ERR_SEALED);
    c.msg.settings_version = 3; /* the same write id, with what was learnt */
    assert_int_equal(world_run(&w, &c), OK);
    cmd_fence(&w, &c, BUCKET, 1, false);
    assert_int_equal(world_run(&w, &c), ERR_SETTINGS);
    cmd_fence(&w, &c, BUCKET, 2, false); /* the same version cannot unseal */
    assert_int_equal(world_run(&w, &c), OK);
    cmd_delete(&w, &c, SLICE_LIT("a"));
    c.msg.settings_version = 2;
    assert_int_equal(world_run(&w, &c), ERR_SEALED);
    cmd_fence(&w, &c, BUCKET, 5, false);
    assert_int_equal(world_run(&w, &c), OK);
    c.msg.settings_version = 5;
    cmd_delete(&w, &c, SLICE_LIT("a"));
    c.msg.settings_version = 5;
    assert_int_equal(world_run(&w, &c), OK);
    cmd_fence(&w, &c, BUCKET + 1, 2, true);
    assert_int_equal(world_run(&w, &c), OK);
    assert_true(w.out->empty);
    /* An upload under way is something, too. */
    struct id128 id = fresh_id(&w);
    cmd_create_upload(&w, &c, SLICE_LIT("a"), &id);
    c.create.bucket_id = BUCKET + 2;
    assert_int_equal(world_run(&w, &c), OK);
    cmd_fence(&w, &c, BUCKET + 2, 2, true);
    assert_int_equal(world_run(&w, &c), OK);
    assert_false(w.out->empty);
    world_fini(&w);
}

/* The n-th access to the store fails: the entry is not applied, and once the store works again it
 * is, with the same result as if nothing had happened. */
static void test_store_failures(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct world good;
        struct buf want = {0};
        world_init(&good, 3);
        struct cmd c;
        for (uint64_t fail_at = 0;; fail_at++) {
            struct world w;
            struct world *at = fail_at ? &w : &good;
            if (fail_at)
                world_init(&w, 3);
            cmd_put_segments(at, &c, SLICE_LIT("k"), 2, 10);
            assert_int_equal(world_run(at, &c), OK);
            at->now_ms += 10 * WINDOW_MS; /* there is an outcome to prune, too */
            cmd_put_inline(at, &c, SLICE_LIT("k"), SLICE_LIT("body"));
            struct buf data = {0}, before = {0}, after = {0};
            index_entry_pack(&c.msg, c.body, &data);
            dump(at->store, 3, &before);
            at->flaky.calls = 0;
            at->flaky.fail_at = fail_at;
            at->flaky.err = kind ? ERR_NOMEM : ERR_IO;
            Cairn__Outcome *out = NULL;
            int err = index_apply(at->index, 2, 1, buf_view(&data), &out);
            bool reached = at->flaky.calls >= fail_at;
            at->flaky.fail_at = 0;
            dump(at->store, 3, &after);
            if (fail_at && reached) {
                assert_true(err == at->flaky.err || err == ERR_NOMEM);
                assert_true(slice_eq(buf_view(&before), buf_view(&after)));
                assert_true(index_applied(at->index) == 1 && !out);
                assert_int_equal(index_apply(at->index, 2, 1, buf_view(&data), &out), OK);
            } else {
                assert_int_equal(err, OK);
            }
            buf_clear(&after);
            dump(at->store, 3, &after);
            if (fail_at)
                assert_true(slice_eq(buf_view(&want), buf_view(&after)));
            else
                buf_slice(&want, buf_view(&after));
            cairn__outcome__free_unpacked(out, NULL);
            buf_fini(&data);
            buf_fini(&before);
            buf_fini(&after);
            if (fail_at)
                world_fini(&w);
            if (fail_at && !reached) {
                assert_true(fail_at >= 5);
                break;
            }
        }
        buf_fini(&want);
        world_fini(&good);
    }
}

static void test_open(void **state)
{
    (void)state;
    struct world w;
    uint8_t bound[9] = {0x80, 0, 0, 0, 0, 0, 0, 0, 'm'};
    world_init_range(&w, 3, SLICE_EMPTY, SLICE(bound, 9), NULL);
    assert_int_equal(index_create(w.kv, 3, 1, SLICE_EMPTY, SLICE_EMPTY, NULL, 0, 0), ERR_EXISTS);
    struct index *none;
    assert_int_equal(index_open(w.kv, 4, &none), ERR_NOT_FOUND);
    assert_int_equal(put(&w, "a", "1"), OK);
    assert_int_equal(index_advance(w.index, 9, 4), OK);
    world_reopen(&w);
    assert_true(index_applied(w.index) == 9 && index_applied_term(w.index) == 4);
    assert_true(index_time_ms(w.index) == START_MS && index_epoch(w.index) == EPOCH);
    assert_true(slice_eq(index_end(w.index), SLICE(bound, 9)));
    /* Damage to either row is found. */
    for (uint8_t table = 1; table <= 2; table++) {
        struct key key;
        struct buf row = {0};
        key_table(&key, 3, (enum index_table)table, SLICE_EMPTY);
        assert_int_equal(w.kv->ops->get(w.kv, NULL, KV_INDEX, key_view(&key), &row), OK);
        for (size_t i = 0; i < row.len; i += 3) {
            struct kv_batch *b = kv_batch_new();
            row.ptr[i] ^= 0x10;
            kv_batch_put(b, KV_INDEX, key_view(&key), buf_view(&row));
            assert_int_equal(w.kv->ops->write(w.kv, &b), OK);
            assert_int_equal(index_open(w.kv, 3, &none), ERR_CORRUPT);
            row.ptr[i] ^= 0x10;
        }
        struct kv_batch *b = kv_batch_new();
        kv_batch_put(b, KV_INDEX, key_view(&key), buf_view(&row));
        assert_int_equal(w.kv->ops->write(w.kv, &b), OK);
        buf_fini(&row);
    }
    world_reopen(&w);
    world_fini(&w);
}

/* A snapshot is the rows of the range: a replica that had something else has the sender's state
 * after it, applied index included, and goes on from there; its neighbours are untouched. */
static void test_snapshot(void **state)
{
    (void)state;
    static const char *const paths[KV_FAMILY_COUNT] = {"index", "body"};
    struct world a, b;
    uint8_t lower[INDEX_RANGE_BYTES], upper[INDEX_RANGE_BYTES];
    struct slice from = SLICE(lower, sizeof(lower)), to = SLICE(upper, sizeof(upper));
    world_files = kv_mem_files_new();
    world_init(&a, 3);
    world_init(&b, 3);
    assert_int_equal(index_create(b.kv, 4, 1, SLICE_EMPTY, SLICE_EMPTY, NULL, 0, 0), OK);
    struct buf neighbour = {0}, da = {0}, db = {0};
    dump(b.store, 4, &neighbour);
    assert_int_equal(put(&b, "old", "old"), OK);
    struct cmd c;
    cmd_put_segments(&a, &c, SLICE_LIT("s"), 2, 10);
    assert_int_equal(world_run(&a, &c), OK);
    assert_int_equal(put(&a, "a", "body"), OK);
    assert_int_equal(del(&a, "s"), OK);
    index_range(3, lower, upper);
    const struct kv_snapshot *snap = a.store->ops->snapshot_new(a.store);
    for (int f = 0; f < KV_FAMILY_COUNT; f++) {
        uint64_t bytes;
        assert_int_equal(a.store->ops->export_range(a.store, snap, (enum kv_family)f, from, to,
                                                    paths[f], &bytes),
                         OK);
    }
    a.store->ops->snapshot_free(a.store, snap);
    struct kv_batch *extra = kv_batch_new();
    assert_int_equal(b.store->ops->replace_range(b.store, from, to, paths, &extra), OK);
    world_reopen(&b);
    dump(a.store, 3, &da);
    dump(b.store, 3, &db);
    assert_true(slice_eq(buf_view(&da), buf_view(&db)));
    buf_clear(&db);
    dump(b.store, 4, &db);
    assert_true(slice_eq(buf_view(&neighbour), buf_view(&db)));
    assert_true(index_applied(b.index) == index_applied(a.index));
    assert_false(present(&b, "old"));
    assert_int_equal(world_run(&b, &c), OK); /* the outcomes came along */
    assert_true(b.out->index == 1 && !present(&b, "s"));
    kv_batch_free(extra);
    buf_fini(&neighbour);
    buf_fini(&da);
    buf_fini(&db);
    world_fini(&a);
    world_fini(&b);
    kv_mem_files_free(world_files);
    world_files = NULL;
}

static void test_entry_peek(void **state)
{
    (void)state;
    struct world w;
    struct cmd c;
    struct buf data = {0}, touches = {0};
    world_init(&w, 3);
    cmd_put_inline(&w, &c, SLICE_LIT("k"), SLICE_LIT("body"));
    index_entry_pack(&c.msg, c.body, &data);
    assert_true(index_entry_time_ms(buf_view(&data)) == w.now_ms);
    index_entry_touches(buf_view(&data), &touches);
    uint64_t want = keyhash_object(BUCKET, SLICE_LIT("k"));
    assert_true(touches.len == 8 && memcmp(touches.ptr, &want, 8) == 0);
    assert_true(index_entry_time_ms(SLICE(data.ptr, 9)) == 0);
    buf_fini(&data);
    buf_fini(&touches);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_get_delete),
        cmocka_unit_test(test_idempotency),
        cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_delete_objects),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_window_proof),
        cmocka_unit_test(test_outcomes_are_pruned),
        cmocka_unit_test(test_fence),
        cmocka_unit_test(test_store_failures),
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_entry_peek),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
