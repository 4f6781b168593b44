/* Proposals and lists: one write id, whatever fails; what may have happened is said so; no short
 * list. */
#include "common/base/check.h"
#include "tests/unit/gateway/meta/cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct proposing {
    struct meta_propose p;
    Cairn__PutObject put;
    Cairn__ObjectRecord record;
    bool done;
};

static void propose_cb(struct meta_propose *p)
{
    container_of(p, struct proposing, p)->done = true;
}

static void propose_run(struct cluster *c, struct proposing *x, const char *key, const char *text,
                        uint64_t timeout_ns)
{
    memset(x, 0, sizeof(*x));
    cairn__object_record__init(&x->record);
    cairn__put_object__init(&x->put);
    cairn__command__init(&x->p.command);
    x->record.etag = (char *)(uintptr_t)text;
    x->put.bucket_id = 7;
    x->put.key = (ProtobufCBinaryData){strlen(key), (uint8_t *)(uintptr_t)key};
    x->put.record = &x->record;
    x->p.command.op_case = CAIRN__COMMAND__OP_PUT_OBJECT;
    x->p.command.put_object = &x->put;
    x->p.bucket_id = 7;
    x->p.key = slice_cstr(key);
    x->p.deadline_ns = c->f.now_ns + timeout_ns;
    x->p.cb = propose_cb;
    meta_propose_start(c->mc, &x->p);
    assert_false(x->done);
    fake_run_until(&c->f, &x->done, 60 * NS_PER_SEC);
    assert_true(x->done);
}

static void succeeds_at_the_leader(void **state)
{
    (void)state;
    struct cluster c;
    struct proposing x;
    cluster_init(&c, NULL, 1 << 20);
    propose_run(&c, &x, "a", "one", 5 * NS_PER_SEC);
    assert_int_equal(x.p.err, OK);
    assert_int_equal(x.p.outcome->index, 101);
    assert_int_equal(x.p.partition, 1);
    meta_propose_fini(&x.p);
    propose_run(&c, &x, "z", "one", 5 * NS_PER_SEC);
    assert_int_equal(x.p.partition, 2);
    meta_propose_fini(&x.p);
    cluster_fini(&c);
}

/* The connection breaks after the proposal was applied: the retry finds the outcome. */
static int lose_first(struct cluster *c, int node, struct fake_call *call)
{
    (void)call;
    c->metanode[node]->loses = c->proposals == 1;
    return 0;
}

static void lost_answer_is_found_again(void **state)
{
    (void)state;
    struct cluster c;
    struct proposing x;
    cluster_init(&c, NULL, 1 << 20);
    c.on_propose = lose_first;
    propose_run(&c, &x, "a", "one", 5 * NS_PER_SEC);
    assert_int_equal(x.p.err, OK);
    assert_int_equal(c.proposals, 2);
    assert_int_equal(c.executed, 1);
    assert_int_equal(x.p.outcome->index, 101); /* of the first apply */
    meta_propose_fini(&x.p);
    cluster_fini(&c);
}

static int hang(struct cluster *c, int node, struct fake_call *call)
{
    (void)c;
    (void)node;
    (void)call;
    return 1; /* never answered */
}

/* Nobody answers: it may have happened.  Then nobody leads either: it still may have. */
static void silence_is_an_unknown_outcome(void **state)
{
    (void)state;
    struct cluster c;
    struct proposing x;
    cluster_init(&c, NULL, 1 << 20);
    c.on_propose = hang;
    propose_run(&c, &x, "a", "one", 5 * NS_PER_SEC);
    assert_int_equal(err_class(x.p.err), ERR_CLASS_UNKNOWN_OUTCOME);
    assert_null(x.p.outcome);
    meta_propose_fini(&x.p);
    cluster_fini(&c);
}

static int hang_then_depose(struct cluster *c, int node, struct fake_call *call)
{
    (void)node;
    (void)call;
    c->partition[1].leader = -1;
    return 1;
}

static void refusal_does_not_settle_an_earlier_attempt(void **state)
{
    (void)state;
    struct cluster c;
    struct proposing x;
    cluster_init(&c, NULL, 1 << 20);
    c.on_propose = hang_then_depose;
    propose_run(&c, &x, "a", "one", 5 * NS_PER_SEC);
    assert_int_equal(err_class(x.p.err), ERR_CLASS_UNKNOWN_OUTCOME);
    meta_propose_fini(&x.p);
    cluster_fini(&c);
}

static void refusal_alone_means_nothing_happened(void **state)
{
    (void)state;
    struct cluster c;
    struct proposing x;
    cluster_init(&c, NULL, 1 << 20);
    c.partition[1].leader = -1;
    propose_run(&c, &x, "a", "one", 2 * NS_PER_SEC);
    assert_int_equal(err_class(x.p.err), ERR_CLASS_RETRY);
    meta_propose_fini(&x.p);
    cluster_fini(&c);
}

static int refusal;

static int refuses_second(struct cluster *c, int node, struct fake_call *call)
{
    Cairn__ProposeResponse r = CAIRN__PROPOSE_RESPONSE__INIT;
    Cairn__Outcome o = CAIRN__OUTCOME__INIT;
    if (c->proposals == 1)
        return hang(c, node, call);
    o.err = refusal;
    if (refusal)
        r.outcome = &o;
    fake_reply(call, OK, &r.base, (struct payload){0});
    return 1;
}

/* What the state machine does not remember (0: an answer without an outcome) says nothing about an
 * earlier attempt that nobody answered: it may be in the log behind this one. */
static void fleeting_refusals_after_silence_are_unknown(void **state)
{
    static const int refusals[] = {OK, ERR_TOO_OLD, ERR_TIME, ERR_OVERLOAD, ERR_REFUSED};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(refusals); i++) {
        struct cluster c;
        struct proposing x;
        cluster_init(&c, NULL, 1 << 20);
        refusal = refusals[i];
        c.on_propose = refuses_second;
        propose_run(&c, &x, "a", "one", 8 * NS_PER_SEC);
        assert_int_equal(err_class(x.p.err), ERR_CLASS_UNKNOWN_OUTCOME);
        meta_propose_fini(&x.p);
        cluster_fini(&c);
    }
}

static uint8_t seen_ids[4][ID_BYTES];

static int epoch_then_ok(struct cluster *c, int node, struct fake_call *call)
{
    const Cairn__ProposeRequest *q = (const Cairn__ProposeRequest *)(void *)call->request;
    Cairn__ProposeResponse r = CAIRN__PROPOSE_RESPONSE__INIT;
    Cairn__Outcome o = CAIRN__OUTCOME__INIT;
    (void)node;
    memcpy(seen_ids[c->proposals - 1], q->command->write_id.data, ID_BYTES);
    if (c->proposals > 1)
        return 0;
    o.err = ERR_EPOCH;
    r.outcome = &o;
    fake_reply(call, OK, &r.base, (struct payload){0});
    return 1;
}

/* Refused at apply, for certain: that write id stands for the refusal, so another is taken. */
static void refused_epoch_takes_a_new_write_id(void **state)
{
    (void)state;
    struct cluster c;
    struct proposing x;
    cluster_init(&c, NULL, 1 << 20);
    c.on_propose = epoch_then_ok;
    propose_run(&c, &x, "a", "one", 5 * NS_PER_SEC);
    assert_int_equal(x.p.err, OK);
    assert_memory_not_equal(seen_ids[0], seen_ids[1], ID_BYTES);
    meta_propose_fini(&x.p);
    cluster_fini(&c);
}

static void leader_death_is_survived_in_time(void **state)
{
    (void)state;
    struct cluster c;
    struct proposing x;
    cluster_init(&c, NULL, 1 << 20);
    propose_run(&c, &x, "a", "one", 5 * NS_PER_SEC);
    meta_propose_fini(&x.p);
    c.metanode[1]->down = true;
    c.partition[1].leader = 2;
    uint64_t before = c.f.now_ns;
    propose_run(&c, &x, "a", "two", 5 * NS_PER_SEC);
    assert_int_equal(x.p.err, OK);
    assert_true(c.f.now_ns - before < 200 * NS_PER_MS);
    meta_propose_fini(&x.p);
    cluster_fini(&c);
}

/* ---- lists ---- */

struct listing {
    struct meta_list l;
    bool done;
};

static void list_cb(struct meta_list *l)
{
    container_of(l, struct listing, l)->done = true;
}

/* Keys joined with ' ', a '+' behind if there is more. */
static void assert_list(struct cluster *c, const char *prefix, const char *delimiter,
                        const char *after, const char *skip, uint32_t max, const char *expected)
{
    struct listing x = {.l = {.bucket_id = 7,
                              .prefix = slice_cstr(prefix),
                              .delimiter = slice_cstr(delimiter),
                              .start_after = slice_cstr(after),
                              .skip_prefix = slice_cstr(skip),
                              .keys_max = max,
                              .deadline_ns = c->f.now_ns + 5 * NS_PER_SEC,
                              .cb = list_cb}};
    struct buf text = {0};
    meta_list_start(c->mc, &x.l);
    fake_run_until(&c->f, &x.done, 20 * NS_PER_SEC);
    assert_true(x.done);
    assert_int_equal(x.l.err, OK);
    for (size_t i = 0; i < x.l.entry_count; i++)
        buf_printf(&text, "%s%.*s", i ? " " : "", (int)x.l.entries[i]->key.len,
                   (const char *)x.l.entries[i]->key.data);
    buf_cstr(&text, x.l.more ? "+" : "");
    buf_u8(&text, 0);
    assert_string_equal((const char *)text.ptr, expected);
    buf_fini(&text);
    meta_list_fini(&x.l);
}

static void lists_cross_partitions(void **state)
{
    (void)state;
    for (unsigned page = 0; page < 4; page++) {
        struct cluster c;
        cluster_init(&c, NULL, 1 << 20);
        c.list_page = page;
        static const char *const keys[] = {"a", "b/1", "b/2", "c", "l", "m", "n/1", "n/2", "z"};
        for (size_t i = 0; i < ARRAY_COUNT(keys); i++)
            put_object(&c, 7, keys[i], "x");
        put_object(&c, 8, "other", "x");
        assert_list(&c, "", "", "", "", 1000, "a b/1 b/2 c l m n/1 n/2 z");
        assert_list(&c, "", "/", "", "", 1000, "a b/ c l m n/ z");
        assert_list(&c, "", "", "", "", 5, "a b/1 b/2 c l+"); /* full at the end of a partition */
        assert_list(&c, "", "", "", "", 9, "a b/1 b/2 c l m n/1 n/2 z");
        assert_list(&c, "", "", "l", "", 1000, "m n/1 n/2 z");
        assert_list(&c, "", "", "m", "", 1, "n/1+");
        assert_list(&c, "b/", "", "", "", 2, "b/1 b/2"); /* the prefix ends before the partition */
        assert_list(&c, "", "/", "b/", "b/", 2, "c l+");
        assert_list(&c, "zz", "", "", "", 10, "");
        assert_list(&c, "", "", "", "", 1, "a+");
        delete_object(&c, 7, "m");
        delete_object(&c, 7, "n/1");
        delete_object(&c, 7, "n/2");
        delete_object(&c, 7, "z");
        assert_list(&c, "", "", "", "", 5, "a b/1 b/2 c l"); /* the probe finds nothing behind */
        cluster_fini(&c);
    }
}

/* A common prefix that spans the partitions' bound is given once. */
static void common_prefix_over_a_bound(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, NULL, 1 << 20);
    put_object(&c, 7, "lo", "x");
    put_object(&c, 7, "ma/1", "x");
    put_object(&c, 7, "l/1", "x");
    put_object(&c, 7, "ma/2", "x");
    assert_list(&c, "", "/", "", "", 10, "l/ lo ma/");
    assert_list(&c, "", "/", "", "", 2, "l/ lo+");
    cluster_fini(&c);
}

/* A client that goes on by a key alone is not sent into a common prefix that it has not been given:
 * it would never be. */
static void a_long_way_past_nothing(void **state)
{
    (void)state;
    for (int by_key_alone = 0; by_key_alone < 2; by_key_alone++) {
        struct cluster c;
        cluster_init(&c, NULL, 1 << 20);
        put_object(&c, 7, "b/9", "x");
        put_object(&c, 7, "c", "x");
        for (int delimited = 0; delimited < 2; delimited++) {
            bool all = by_key_alone && delimited;
            struct listing x = {.l = {.bucket_id = 7,
                                      .delimiter = slice_cstr(delimited ? "/" : ""),
                                      .by_key_alone = by_key_alone,
                                      .keys_max = 10,
                                      .deadline_ns = c.f.now_ns + 5 * NS_PER_SEC,
                                      .cb = list_cb}};
            c.pages_of_nothing = 100;
            meta_list_start(c.mc, &x.l);
            fake_run_until(&c.f, &x.done, 20 * NS_PER_SEC);
            assert_true(x.done && x.l.err == OK);
            assert_int_equal(x.l.entry_count, all ? 2 : 0);
            assert_int_equal(x.l.passed.len, all ? 0 : 6);
            assert_int_equal(x.l.more, !all);
            c.pages_of_nothing = 0;
            meta_list_fini(&x.l);
        }
        cluster_fini(&c);
    }
}

static void list_fails_rather_than_being_short(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, NULL, 1 << 20);
    put_object(&c, 7, "a", "x");
    put_object(&c, 7, "z", "x");
    c.partition[2].leader = -1;
    struct listing x = {
        .l = {
            .bucket_id = 7, .keys_max = 10, .deadline_ns = c.f.now_ns + NS_PER_SEC, .cb = list_cb}};
    meta_list_start(c.mc, &x.l);
    fake_run_until(&c.f, &x.done, 20 * NS_PER_SEC);
    assert_true(x.done);
    assert_int_not_equal(x.l.err, OK);
    meta_list_fini(&x.l);
    cluster_fini(&c);
}

static void ranges_of_a_bucket(void **state)
{
    (void)state;
    struct cluster c;
    struct buf ranges = {0};
    uint32_t count;
    cluster_init(&c, NULL, 1 << 20);
    assert_int_equal(meta_bucket_ranges(c.mc, 7, &ranges, &count), OK);
    assert_int_equal(count, 2);
    assert_memory_equal(ranges.ptr, "\0\0\0\1m", 5);
    buf_clear(&ranges);
    assert_int_equal(meta_bucket_ranges(c.mc, 9, &ranges, &count), OK);
    assert_int_equal(count, 1);
    buf_fini(&ranges);
    cluster_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(succeeds_at_the_leader),
        cmocka_unit_test(lost_answer_is_found_again),
        cmocka_unit_test(silence_is_an_unknown_outcome),
        cmocka_unit_test(refusal_does_not_settle_an_earlier_attempt),
        cmocka_unit_test(refusal_alone_means_nothing_happened),
        cmocka_unit_test(fleeting_refusals_after_silence_are_unknown),
        cmocka_unit_test(refused_epoch_takes_a_new_write_id),
        cmocka_unit_test(leader_death_is_survived_in_time),
        cmocka_unit_test(lists_cross_partitions),
        cmocka_unit_test(common_prefix_over_a_bound),
        cmocka_unit_test(a_long_way_past_nothing),
        cmocka_unit_test(list_fails_rather_than_being_short),
        cmocka_unit_test(ranges_of_a_bucket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
