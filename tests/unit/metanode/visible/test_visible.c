/* Each rule of metanode/visible, random walks against a shadow of the rules, and the planted bugs. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/base/mutant.h"
#include "metanode/visible/visible.h"

#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static const struct id128 A = {{0xa}}, B = {{0xb}}, NONE = {{0}};

/* Makes the replica leader of `term`, its no-op appended. */
static void leader_at(struct visible *v, uint64_t term, uint64_t noop)
{
    visible_became_leader(v, term, noop);
    assert_int_equal(visible_append(v, noop, VISIBLE_ENTRY_OTHER, NONE), OK);
    visible_check(v);
}

static void append(struct visible *v, enum visible_kind kind, struct id128 inc)
{
    assert_int_equal(visible_append(v, v->last + 1, kind, inc), OK);
    visible_check(v);
}

static void put(struct visible *v)
{
    append(v, VISIBLE_ENTRY_OTHER, NONE);
}

static bool next(struct visible *v, struct id128 inc, struct visible_message *m)
{
    int i = visible_find(v, inc);
    return i >= 0 && visible_next_message(v, (unsigned)i, 100, true, m);
}

/* Opens the stream to `inc` and lets it resume behind `resume`. */
static void open_stream(struct visible *v, struct id128 inc, uint64_t resume)
{
    struct visible_message m;
    assert_true(next(v, inc, &m));
    assert_int_equal(m.kind, VISIBLE_OPEN_STREAM);
    assert_int_equal(visible_open_reply(v, m.term, inc, m.stream, resume), OK);
    visible_check(v);
}

static void ack_all(struct visible *v, struct id128 inc)
{
    struct visible_message m;
    while (next(v, inc, &m)) {
        assert_int_equal(m.kind, VISIBLE_APPEND);
        assert_int_equal(visible_append_reply(v, m.term, inc, m.stream, m.last, m.last), OK);
    }
    visible_check(v);
}

/* A leader of term 1 with the witness A attached at 2, its stream open, all acknowledged. */
static void warm(struct visible *v)
{
    visible_init(v);
    leader_at(v, 1, 1);
    visible_commit(v, 1);
    append(v, VISIBLE_ENTRY_ATTACH, A);
    visible_commit(v, 2);
    open_stream(v, A, 0);
    ack_all(v, A);
    assert_int_equal(visible_serving(v), 2);
}

static void no_witness_visible_is_commit(void **state)
{
    (void)state;
    struct visible v;
    visible_init(&v);
    leader_at(&v, 1, 1);
    assert_int_equal(visible_serving(&v), 0);
    visible_commit(&v, 1);
    assert_int_equal(visible_serving(&v), 1);
    put(&v);
    put(&v);
    assert_int_equal(visible_serving(&v), 1);
    visible_commit(&v, 3);
    assert_int_equal(visible_serving(&v), 3);
    assert_int_equal(visible_apply_limit(&v), 3);
}

static void waits_for_acknowledgement(void **state)
{
    (void)state;
    struct visible v;
    struct visible_message m;
    warm(&v);
    put(&v);
    visible_commit(&v, 3);
    assert_int_equal(visible_serving(&v), 2);
    assert_true(visible_is_blocked_by(&v, 0));
    assert_true(next(&v, A, &m));
    assert_int_equal(m.prev, 2);
    assert_int_equal(m.last, 3);
    assert_int_equal(m.commit, 3);
    assert_int_equal(visible_append_reply(&v, 1, A, m.stream, 3, 3), OK);
    assert_int_equal(visible_serving(&v), 3);
    assert_false(visible_is_blocked_by(&v, 0));
}

static void acknowledged_is_not_committed(void **state)
{
    (void)state;
    struct visible v;
    warm(&v);
    put(&v);
    ack_all(&v, A); /* in parallel with replication */
    assert_int_equal(visible_serving(&v), 2);
    visible_commit(&v, 3);
    assert_int_equal(visible_serving(&v), 3);
}

static void new_leader_waits_for_every_attached(void **state)
{
    (void)state;
    struct visible v;
    warm(&v);
    put(&v);
    visible_step_down(&v);
    assert_int_equal(visible_serving(&v), 0);
    leader_at(&v, 2, 4);
    visible_commit(&v, 4);
    assert_int_equal(visible_serving(&v), 0);
    assert_int_equal(visible_apply_limit(&v), 2);
    assert_int_equal(visible_needed_count(&v), 1);
    open_stream(&v, A, 2);
    assert_int_equal(visible_serving(&v), 0);
    ack_all(&v, A);
    assert_int_equal(visible_serving(&v), 4);
}

/* The Attach that an earlier leader committed may sit in the part of the log that this replica has
 * neither applied nor knows to be committed. */
static void attach_counts_from_the_tail(void **state)
{
    (void)state;
    struct visible v;
    visible_init(&v);
    append(&v, VISIBLE_ENTRY_OTHER, NONE);
    append(&v, VISIBLE_ENTRY_ATTACH, A);
    leader_at(&v, 2, 3);
    visible_commit(&v, 3);
    assert_int_equal(visible_serving(&v), 0);
    visible_dead(&v, A);
    assert_int_equal(visible_serving(&v), 3);
}

static void stream_opens_after_attach_is_committed(void **state)
{
    (void)state;
    struct visible v;
    struct visible_message m;
    visible_init(&v);
    leader_at(&v, 1, 1);
    visible_commit(&v, 1);
    assert_true(visible_may_attach(&v, A));
    append(&v, VISIBLE_ENTRY_ATTACH, A);
    assert_false(visible_may_attach(&v, A));
    assert_false(next(&v, A, &m));
    put(&v);
    visible_commit(&v, 2);
    /* Attached behind the own no-op: needed once opened. */
    assert_int_equal(visible_serving(&v), 2);
    assert_true(next(&v, A, &m));
    assert_int_equal(m.kind, VISIBLE_OPEN_STREAM);
    assert_int_equal(m.target, 3);
    assert_int_equal(m.commit, 2);
    visible_commit(&v, 3);
    assert_int_equal(visible_serving(&v), 2);
}

static void stream_opens_after_own_noop_is_committed(void **state)
{
    (void)state;
    struct visible v;
    struct visible_message m;
    visible_init(&v);
    append(&v, VISIBLE_ENTRY_OTHER, NONE);
    append(&v, VISIBLE_ENTRY_ATTACH, A);
    visible_commit(&v, 2);
    leader_at(&v, 2, 3);
    assert_false(visible_may_attach(&v, B));
    assert_false(next(&v, A, &m));
    visible_commit(&v, 3);
    assert_true(visible_may_attach(&v, B));
    assert_true(next(&v, A, &m));
}

static void truncation_rolls_back(void **state)
{
    (void)state;
    struct visible v;
    visible_init(&v);
    append(&v, VISIBLE_ENTRY_ATTACH, A);
    append(&v, VISIBLE_ENTRY_OTHER, NONE);
    visible_commit(&v, 1);
    append(&v, VISIBLE_ENTRY_ATTACH, B);
    append(&v, VISIBLE_ENTRY_DETACH, A);
    assert_true(visible_is_attached(&v, B));
    assert_false(visible_is_attached(&v, A));
    visible_truncate(&v, 3);
    visible_check(&v);
    assert_false(visible_is_attached(&v, B));
    assert_true(visible_is_attached(&v, A));
    /* The Detach is gone, but not the truth that it told. */
    assert_true(v.slots[0].dead);
    append(&v, VISIBLE_ENTRY_DETACH, A);
    visible_commit(&v, 3);
    assert_int_equal(v.slot_count, 0);
}

static void header_and_restore(void **state)
{
    (void)state;
    struct visible v;
    visible_init(&v);
    visible_restore(&v, 10, 12);
    assert_int_equal(visible_restore_attached(&v, A), OK);
    append(&v, VISIBLE_ENTRY_OTHER, NONE);
    append(&v, VISIBLE_ENTRY_ATTACH, B);
    assert_int_equal(visible_apply_limit(&v), 10); /* nothing behind the header is known committed */
    visible_commit(&v, 12);
    assert_int_equal(visible_apply_limit(&v), 12);
    leader_at(&v, 3, 13);
    visible_commit(&v, 13);
    assert_int_equal(visible_needed_count(&v), 2);
    assert_int_equal(visible_serving(&v), 0);
    visible_dead(&v, A);
    visible_dead(&v, B);
    assert_int_equal(visible_serving(&v), 13);
}

struct header {
    unsigned count;
    struct id128 last;
};

static void header_add(void *arg, struct id128 inc)
{
    struct header *h = arg;
    h->count++;
    h->last = inc;
}

static void header_is_of_its_index(void **state)
{
    (void)state;
    struct visible v;
    struct header h = {0};
    warm(&v); /* A at 2 */
    append(&v, VISIBLE_ENTRY_ATTACH, B);
    visible_commit(&v, 3);
    visible_header(&v, 2, header_add, &h);
    assert_int_equal(h.count, 1);
    assert_true(id128_eq(h.last, A));
    h.count = 0;
    visible_header(&v, 3, header_add, &h);
    assert_int_equal(h.count, 2);
    visible_dead(&v, A);
    append(&v, VISIBLE_ENTRY_DETACH, A);
    h.count = 0;
    visible_header(&v, 3, header_add, &h);
    assert_int_equal(h.count, 2);
    open_stream(&v, B, 3);
    ack_all(&v, B);
    visible_commit(&v, 4);
    h.count = 0;
    visible_header(&v, 4, header_add, &h);
    assert_int_equal(h.count, 1);
}

static void dead_is_not_waited_for(void **state)
{
    (void)state;
    struct visible v;
    struct visible_message m;
    warm(&v);
    put(&v);
    visible_commit(&v, 3);
    assert_true(next(&v, A, &m));
    assert_false(visible_may_detach(&v, 0));
    visible_dead(&v, A);
    assert_int_equal(visible_serving(&v), 3);
    assert_true(visible_may_detach(&v, 0));
    put(&v);
    assert_false(next(&v, A, &m));
    /* A straggler changes nothing. */
    assert_int_equal(visible_append_reply(&v, 1, A, m.stream, 3, 3), OK);
    append(&v, VISIBLE_ENTRY_DETACH, A);
    visible_commit(&v, 5);
    assert_int_equal(v.slot_count, 0);
    assert_int_equal(visible_serving(&v), 5);
}

static void replies_of_other_terms_are_ignored(void **state)
{
    (void)state;
    struct visible v;
    struct visible_message m;
    warm(&v);
    put(&v);
    assert_true(next(&v, A, &m));
    visible_step_down(&v);
    visible_truncate(&v, 3);
    append(&v, VISIBLE_ENTRY_OTHER, NONE); /* another leader's entry 3 */
    leader_at(&v, 3, 4);
    visible_commit(&v, 4);
    assert_int_equal(visible_append_reply(&v, m.term, A, m.stream, 3, 3), OK);
    assert_int_equal(v.slots[0].acked, 0);
    assert_int_equal(visible_open_reply(&v, 1, A, 1, 3), OK);
    assert_int_equal(v.slots[0].acked, 0);
    assert_int_equal(visible_serving(&v), 0);
}

static void replies_of_older_streams(void **state)
{
    (void)state;
    struct visible v;
    struct visible_message m, again;
    warm(&v);
    put(&v);
    assert_true(next(&v, A, &m));
    visible_stream_failed(&v, 1, A, m.stream);
    assert_true(next(&v, A, &again));
    assert_int_equal(again.kind, VISIBLE_OPEN_STREAM);
    assert_true(again.stream > m.stream);
    visible_commit(&v, 3);
    /* The same incarnation in the same term did receive it. */
    assert_int_equal(visible_append_reply(&v, 1, A, m.stream, 3, 3), OK);
    assert_int_equal(visible_serving(&v), 3);
    assert_int_equal(visible_open_reply(&v, 1, A, m.stream, 2), OK);
    assert_int_equal(v.slots[0].state, VISIBLE_OPENING);
    assert_int_equal(visible_open_reply(&v, 1, A, again.stream, 2), OK);
    ack_all(&v, A);
    assert_int_equal(visible_serving(&v), 3);
}

static void lost_append_goes_back(void **state)
{
    (void)state;
    struct visible v;
    struct visible_message m, n, o;
    warm(&v);
    put(&v);
    assert_true(next(&v, A, &m));
    put(&v);
    assert_true(next(&v, A, &n));
    assert_int_equal(n.prev, 3);
    visible_append_lost(&v, 1, A, m.stream);
    put(&v);
    assert_false(next(&v, A, &o)); /* not before the other is in */
    /* The witness had a gap and says so. */
    assert_int_equal(visible_append_reply(&v, 1, A, n.stream, n.last, 2), OK);
    visible_check(&v);
    assert_true(next(&v, A, &o));
    assert_int_equal(o.prev, 2);
    assert_int_equal(o.last, 5);
    assert_int_equal(visible_append_reply(&v, 1, A, o.stream, 5, 5), OK);
    visible_commit(&v, 5);
    assert_int_equal(visible_serving(&v), 5);
}

static void window_is_bounded(void **state)
{
    (void)state;
    struct visible v;
    struct visible_message m;
    warm(&v);
    for (int i = 0; i < VISIBLE_WINDOW_MAX; i++) {
        put(&v);
        assert_true(next(&v, A, &m));
    }
    put(&v);
    assert_false(next(&v, A, &m));
    assert_int_equal(visible_append_reply(&v, 1, A, v.slots[0].stream, 3, 3), OK);
    assert_true(next(&v, A, &m));
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    struct visible v;
    struct visible_message m;
    warm(&v);
    put(&v);
    visible_commit(&v, 3);
    assert_true(next(&v, A, &m));
    assert_int_equal(visible_append_reply(&v, 1, A, m.stream, m.last, 99), ERR_PROTO);
    assert_int_equal(visible_serving(&v), 2);
    visible_stream_failed(&v, 1, A, m.stream);
    assert_true(next(&v, A, &m));
    assert_int_equal(visible_open_reply(&v, 1, A, m.stream, 4), ERR_PROTO);
    assert_int_equal(v.slots[0].state, VISIBLE_CLOSED);
    assert_int_equal(visible_serving(&v), 2);
}

static void compaction_reopens(void **state)
{
    (void)state;
    struct visible v;
    struct visible_message m;
    warm(&v);
    put(&v);
    put(&v);
    visible_commit(&v, 4);
    visible_compacted(&v, 3);
    assert_true(next(&v, A, &m));
    assert_int_equal(m.kind, VISIBLE_OPEN_STREAM);
    assert_int_equal(m.log_first, 3);
    visible_compacted(&v, 4);
    assert_int_equal(visible_open_reply(&v, 1, A, m.stream, 3), OK);
    assert_true(next(&v, A, &m));
    assert_int_equal(m.kind, VISIBLE_OPEN_STREAM);
    assert_int_equal(m.log_first, 4);
    assert_int_equal(visible_open_reply(&v, 1, A, m.stream, 4), OK);
    assert_int_equal(visible_serving(&v), 4);
}

static void commit_alone_is_told(void **state)
{
    (void)state;
    struct visible v;
    struct visible_message m;
    warm(&v);
    put(&v);
    assert_true(next(&v, A, &m));
    assert_int_equal(visible_append_reply(&v, 1, A, m.stream, 3, 3), OK);
    visible_commit(&v, 3);
    assert_false(visible_next_message(&v, 0, 100, false, &m));
    assert_true(visible_next_message(&v, 0, 100, true, &m));
    assert_int_equal(m.prev, 3);
    assert_int_equal(m.last, 3);
    assert_int_equal(m.commit, 3);
    assert_false(visible_next_message(&v, 0, 100, true, &m));
}

static void follower_applies_what_it_learns(void **state)
{
    (void)state;
    struct visible v;
    visible_init(&v);
    put(&v);
    put(&v);
    visible_commit(&v, 2);
    assert_int_equal(visible_apply_limit(&v), 0);
    visible_learn(&v, 1);
    assert_int_equal(visible_apply_limit(&v), 1);
    visible_learn(&v, 9);
    assert_int_equal(visible_apply_limit(&v), 2);
    visible_learn(&v, 1);
    put(&v);
    visible_commit(&v, 3);
    assert_int_equal(visible_apply_limit(&v), 3);
    /* A leader serves only behind its own no-op, whatever it learnt before. */
    leader_at(&v, 4, 4);
    assert_int_equal(visible_serving(&v), 0);
    assert_int_equal(visible_apply_limit(&v), 3);
    visible_commit(&v, 4);
    assert_int_equal(visible_serving(&v), 4);
}

static void table_is_bounded(void **state)
{
    (void)state;
    struct visible v;
    struct id128 inc = {{0}};
    visible_init(&v);
    leader_at(&v, 1, 1);
    visible_commit(&v, 1);
    for (unsigned i = 0; i < VISIBLE_ATTACH_MAX; i++) {
        inc.bytes[0] = (uint8_t)(i + 1);
        assert_true(visible_may_attach(&v, inc));
        append(&v, VISIBLE_ENTRY_ATTACH, inc);
    }
    inc.bytes[0] = 99;
    assert_false(visible_may_attach(&v, inc));
    for (unsigned i = VISIBLE_ATTACH_MAX; i < VISIBLE_SLOTS_MAX; i++) {
        inc.bytes[0] = (uint8_t)(100 + i);
        append(&v, VISIBLE_ENTRY_ATTACH, inc);
    }
    inc.bytes[0] = 99;
    uint64_t last = v.last;
    assert_int_equal(visible_append(&v, last + 1, VISIBLE_ENTRY_ATTACH, inc), ERR_LIMIT);
    assert_int_equal(v.last, last);
}

/* Random walks of one replica through all events; a shadow of the rules is recomputed each time. */
static uint64_t shadow_upto(const struct visible *v)
{
    uint64_t upto = v->commit;
    for (unsigned i = 0; i < v->slot_count; i++) {
        const struct visible_slot *s = &v->slots[i];
        bool needed = !s->dead && (s->opened || s->attached_index <= v->noop);
        if (needed && s->acked < upto)
            upto = s->acked;
    }
    return upto;
}

static void random_event(struct visible *v, struct visible_message *m, bool *have)
{
    struct id128 inc = {{(uint8_t)(1 + rand() % 5)}};
    switch (rand() % 10) {
    case 0: append(v, visible_may_attach(v, inc) ? VISIBLE_ENTRY_ATTACH : VISIBLE_ENTRY_OTHER, inc); break;
    case 1: put(v); break;
    case 2: visible_commit(v, v->commit + (uint64_t)rand() % (v->last - v->commit + 1)); break;
    case 3:
    case 4: *have = next(v, inc, m) || *have; break;
    case 5:
        if (*have && m->kind == VISIBLE_APPEND)
            visible_append_reply(v, m->term, m->incarnation, m->stream, m->last,
                                 m->last - (uint64_t)(rand() % 2 && m->last > 0));
        else if (*have)
            visible_open_reply(v, m->term, m->incarnation, m->stream, v->commit);
        *have = *have && rand() % 2;
        break;
    case 6:
        if (rand() % 20 == 0)
            visible_dead(v, inc);
        break;
    case 7:
        if (*have && rand() % 4 == 0)
            visible_stream_failed(v, m->term, m->incarnation, m->stream);
        break;
    case 8:
        if (rand() % 10 == 0) {
            visible_step_down(v);
            visible_truncate(v, v->commit + 1 + (uint64_t)rand() % (v->last - v->commit + 1));
            visible_check(v);
            leader_at(v, v->term + 1, v->last + 1);
        }
        break;
    case 9: visible_compacted(v, v->compacted + (uint64_t)rand() % (v->commit - v->compacted + 1)); break;
    }
}

static void random_walks_keep_the_rules(void **state)
{
    (void)state;
    uint64_t served = 0;
    for (unsigned seed = 1; seed <= 200; seed++) {
        struct visible v;
        struct visible_message m = {0};
        bool have = false;
        srand(seed);
        visible_init(&v);
        leader_at(&v, 1, 1);
        for (int step = 0; step < 400; step++) {
            uint64_t before = visible_serving(&v);
            random_event(&v, &m, &have);
            visible_check(&v);
            /* What became visible stays so, also when an Attach behind it opens a stream. */
            uint64_t upto = shadow_upto(&v), serving = visible_serving(&v);
            if (serving != before)
                assert_int_equal(serving, v.leading && upto >= v.noop ? upto : 0);
            else if (upto >= v.noop)
                assert_true(serving >= upto);
        }
        served += visible_serving(&v);
    }
    assert_true(served > 0);
}

/* ---- the planted bugs: each must change the answer that the test of its rule relies on ---- */

static uint64_t serves_unacknowledged(void)
{
    struct visible v;
    warm(&v);
    put(&v);
    visible_commit(&v, 3);
    return visible_serving(&v);
}

static uint64_t serves_without_stream(void)
{
    struct visible v;
    warm(&v);
    visible_step_down(&v);
    leader_at(&v, 2, 3);
    visible_commit(&v, 3);
    return visible_serving(&v);
}

static uint64_t opens_early(void)
{
    struct visible v;
    struct visible_message m;
    visible_init(&v);
    leader_at(&v, 1, 1);
    visible_commit(&v, 1);
    append(&v, VISIBLE_ENTRY_ATTACH, A);
    return next(&v, A, &m);
}

/* Attach in the tail, above what was applied. */
static uint64_t serves_past_tail_attach(void)
{
    struct visible v;
    visible_init(&v);
    append(&v, VISIBLE_ENTRY_OTHER, NONE);
    append(&v, VISIBLE_ENTRY_ATTACH, A);
    leader_at(&v, 2, 3);
    visible_commit(&v, 3);
    return visible_serving(&v);
}

static void planted_bugs_show(void **state)
{
    (void)state;
    static const struct {
        enum mutant mutant;
        uint64_t (*scenario)(void);
        uint64_t right;
    } cases[] = {
        {MUTANT_VISIBLE_WITHOUT_ACK, serves_unacknowledged, 2},
        {MUTANT_SERVE_BEFORE_ACK, serves_without_stream, 0},
        {MUTANT_ATTACH_UNCOMMITTED, opens_early, 0},
        {MUTANT_ATTACH_FROM_APPLIED, serves_past_tail_attach, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        assert_int_equal(cases[i].scenario(), cases[i].right);
#ifdef CAIRN_MUTANTS
        mutant_active = cases[i].mutant;
        uint64_t wrong = cases[i].scenario();
        mutant_active = MUTANT_NONE;
        assert_int_not_equal(wrong, cases[i].right);
#endif
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_witness_visible_is_commit),
        cmocka_unit_test(waits_for_acknowledgement),
        cmocka_unit_test(acknowledged_is_not_committed),
        cmocka_unit_test(new_leader_waits_for_every_attached),
        cmocka_unit_test(attach_counts_from_the_tail),
        cmocka_unit_test(stream_opens_after_attach_is_committed),
        cmocka_unit_test(stream_opens_after_own_noop_is_committed),
        cmocka_unit_test(truncation_rolls_back),
        cmocka_unit_test(header_and_restore),
        cmocka_unit_test(header_is_of_its_index),
        cmocka_unit_test(dead_is_not_waited_for),
        cmocka_unit_test(replies_of_other_terms_are_ignored),
        cmocka_unit_test(replies_of_older_streams),
        cmocka_unit_test(lost_append_goes_back),
        cmocka_unit_test(window_is_bounded),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(compaction_reopens),
        cmocka_unit_test(commit_alone_is_told),
        cmocka_unit_test(follower_applies_what_it_learns),
        cmocka_unit_test(table_is_bounded),
        cmocka_unit_test(random_walks_keep_the_rules),
        cmocka_unit_test(planted_bugs_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
