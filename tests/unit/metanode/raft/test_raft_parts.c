/* The parts below the core: the log's tail against a plain array, quorums against counting by hand,
 * and what the core does with snapshots, compaction and bytes that no honest peer sends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/err.h"
#include "metanode/raft/raft_tail.h"
#include "solo.h"

static uint64_t rng_state;

static uint64_t rng(uint64_t n)
{
    rng_state = rng_state * 6364136223846793005ull + 1442695040888963407ull;
    return (rng_state >> 33) % n;
}

/* ---- the tail against an array ---- */

#define MODEL_MAX 4000

struct model {
    uint64_t term[MODEL_MAX], bytes[MODEL_MAX];
    uint64_t base, last;
};

static uint64_t model_agree(const struct model *m, uint64_t index, uint64_t term)
{
    if (index > m->last)
        index = m->last;
    while (index > m->base && m->term[index] > term)
        index--;
    return index < m->base ? m->base : index;
}

static void tail_agrees(const struct raft_tail *t, const struct model *m)
{
    assert_int_equal(t->last_index, m->last);
    assert_int_equal(t->base_index, m->base);
    assert_int_equal(raft_tail_last_term(t), m->term[m->last]);
    uint64_t from = m->base + rng(m->last - m->base + 1), to = from + rng(m->last - from + 1);
    uint64_t sum = 0, term = 0;
    for (uint64_t i = from + 1; i <= to; i++)
        sum += m->bytes[i] + RAFT_ENTRY_OVERHEAD;
    assert_int_equal(raft_tail_bytes(t, from, to), sum);
    assert_true(raft_tail_term(t, to, &term));
    assert_int_equal(term, m->term[to]);
    assert_false(raft_tail_term(t, m->last + 1, &term));
    assert_true(m->base == 0 || !raft_tail_term(t, m->base - 1, &term));
    uint64_t index = rng(m->last + 10), at = rng(m->term[m->last] + 3);
    assert_int_equal(raft_tail_agree(t, index, at), model_agree(m, index, at));
}

static void test_tail_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        static struct model m;
        memset(&m, 0, sizeof(m));
        rng_state = seed;
        struct raft_tail t;
        assert_int_equal(raft_tail_init(&t, 0, 0), OK);
        for (int step = 0; step < 400 && m.last < MODEL_MAX - 100; step++) {
            uint64_t what = rng(10);
            if (what < 6) {
                uint32_t count = 1 + (uint32_t)rng(20);
                assert_int_equal(raft_tail_reserve(&t, count, count), OK);
                for (uint32_t i = 0; i < count; i++) {
                    uint64_t term = m.term[m.last] + (m.last == m.base || rng(3) == 0);
                    m.last++;
                    m.term[m.last] = term;
                    m.bytes[m.last] = rng(1000);
                    raft_tail_push(&t, term, (uint32_t)m.bytes[m.last]);
                }
            } else if (what < 8 && m.last > m.base) {
                uint64_t from = m.base + 1 + rng(m.last - m.base);
                raft_tail_truncate(&t, from);
                m.last = from - 1;
            } else if (what < 9) {
                m.base += rng(m.last - m.base + 1);
                raft_tail_compact(&t, m.base);
            } else if (rng(10) == 0) {
                m.base = m.last = m.last + rng(50);
                m.term[m.base] = m.term[m.base] ? m.term[m.base] + 1 : 100 + (uint64_t)step;
                raft_tail_reset(&t, m.base, m.term[m.base]);
            }
            tail_agrees(&t, &m);
        }
        raft_tail_fini(&t);
    }
}

/* ---- quorums ---- */

static uint64_t values[RAFT_MEMBERS_MAX + 1];

static uint64_t value_of(void *ctx, uint64_t id)
{
    (void)ctx;
    return values[id];
}

/* More than half of ids have at least v. */
static bool half_has(const uint64_t *ids, uint32_t count, uint64_t v)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++)
        n += values[ids[i]] >= v;
    return n * 2 > count;
}

static void test_quorum(void **state)
{
    (void)state;
    rng_state = 7;
    for (int round = 0; round < 3000; round++) {
        struct raft_config c = {0};
        c.voter_count = 1 + (uint32_t)rng(6);
        c.old_voter_count = (uint32_t)rng(6);
        for (uint32_t i = 0; i < c.voter_count; i++)
            c.voters[i] = 1 + i;
        for (uint32_t i = 0; i < c.old_voter_count; i++)
            c.old_voters[i] = 4 + i;
        assert_int_equal(raft_config_check(&c), OK);
        for (uint32_t i = 0; i <= RAFT_MEMBERS_MAX; i++)
            values[i] = rng(8);
        uint64_t want = 0;
        for (uint64_t v = 0; v < 8; v++) {
            if (half_has(c.voters, c.voter_count, v) &&
                (c.old_voter_count == 0 || half_has(c.old_voters, c.old_voter_count, v)))
                want = v;
        }
        assert_int_equal(raft_config_quorum(&c, value_of, NULL), want);
    }
}

static void test_config_check(void **state)
{
    (void)state;
    struct raft_config c = {.voters = {1, 2, 3}, .voter_count = 3};
    assert_int_equal(raft_config_check(&c), OK);
    c.voters[2] = 1;
    assert_int_equal(raft_config_check(&c), ERR_CONFIG);
    c.voters[2] = 0;
    assert_int_equal(raft_config_check(&c), ERR_CONFIG);
    c.voters[2] = 3;
    c.learners[0] = 3;
    c.learner_count = 1;
    assert_int_equal(raft_config_check(&c), ERR_CONFIG);
    c.learner_count = 0;
    c.voter_count = 0;
    assert_int_equal(raft_config_check(&c), ERR_CONFIG);
    c.voter_count = RAFT_MEMBERS_MAX + 1;
    assert_int_equal(raft_config_check(&c), ERR_CONFIG);
}

/* A joint configuration elects only with a quorum of both sides. */
static void test_joint_election(void **state)
{
    (void)state;
    struct solo s;
    struct raft_options o = solo_options(3);
    o.config.old_voters[0] = 1;
    o.config.old_voters[1] = 4;
    o.config.old_voters[2] = 5;
    o.config.old_voter_count = 3;
    solo_open(&s, &o, 0, 0, NULL, 0);
    solo_tick(&s, 200 * MS);
    for (uint64_t from = 2; from <= 3; from++)
        solo_receive(&s,
                     (struct raft_message){.type = RAFT_PRE_VOTE_REPLY, .term = 1, .from = from});
    assert_int_equal(raft_role(s.r), RAFT_PRE_CANDIDATE);
    solo_receive(&s, (struct raft_message){.type = RAFT_PRE_VOTE_REPLY, .term = 1, .from = 4});
    assert_int_equal(raft_role(s.r), RAFT_CANDIDATE);
    solo_close(&s);
}

/* ---- snapshots and compaction ---- */

static struct raft_event snapshot_event(enum raft_event_type type, uint64_t term, uint64_t index,
                                        uint64_t log_term)
{
    return (struct raft_event){
        .type = type, .snapshot = {.peer = 2, .term = term, .index = index, .log_term = log_term}};
}

static void test_snapshot_replaces_log(void **state)
{
    (void)state;
    struct solo s;
    struct raft_options o = solo_options(3);
    const uint64_t terms[] = {1, 2, 2};
    solo_open(&s, &o, 2, 0, terms, 3);
    /* From a leader of the past: not wanted. */
    assert_int_equal(solo_step(&s, snapshot_event(RAFT_EV_SNAPSHOT_OFFERED, 1, 50, 1)),
                     ERR_CONFLICT);
    assert_int_equal(solo_step(&s, snapshot_event(RAFT_EV_SNAPSHOT_OFFERED, 6, 50, 5)), OK);
    assert_int_equal(raft_leader(s.r), 2);
    solo_sync(&s);
    assert_int_equal(solo_step(&s, snapshot_event(RAFT_EV_SNAPSHOT_INSTALLED, 0, 50, 5)), OK);
    assert_int_equal(s.fx.write.reset_index, 50);
    assert_int_equal(s.fx.write.last_index, 50);
    assert_int_equal(raft_commit(s.r), 50);
    assert_int_equal(raft_visible(s.r), 50);
    const struct raft_message *early = solo_sent(&s, RAFT_APPEND_REPLY, 2);
    assert_true(!early || early->index == 0); /* it is not durable yet */
    solo_sync(&s);
    assert_int_equal(solo_sent(&s, RAFT_APPEND_REPLY, 2)->index, 50);
    /* The log goes on behind it. */
    const struct raft_entry_meta e = {.term = 6, .bytes = 5};
    solo_receive(&s, (struct raft_message){.type = RAFT_APPEND,
                                           .term = 6,
                                           .index = 50,
                                           .log_term = 5,
                                           .entries = &e,
                                           .entry_count = 1});
    assert_int_equal(s.fx.write.first_index, 51);
    solo_close(&s);
}

/* A log that reaches beyond the snapshot with the right term stays. */
static void test_snapshot_known_already(void **state)
{
    (void)state;
    struct solo s;
    struct raft_options o = solo_options(3);
    const uint64_t terms[] = {1, 2, 2, 2};
    solo_open(&s, &o, 2, 0, terms, 4);
    assert_int_equal(solo_step(&s, snapshot_event(RAFT_EV_SNAPSHOT_OFFERED, 2, 3, 2)), ERR_EXISTS);
    assert_int_equal(raft_commit(s.r), 3);
    assert_int_equal(raft_last_index(s.r), 4);
    assert_int_equal(solo_sent(&s, RAFT_APPEND_REPLY, 2)->index, 3);
    assert_int_equal(solo_step(&s, snapshot_event(RAFT_EV_SNAPSHOT_INSTALLED, 0, 4, 2)),
                     ERR_EXISTS);
    assert_false(s.fx.write.present);
    assert_int_equal(raft_commit(s.r), 4);
    solo_close(&s);
}

/* Compaction stays below what is applied and synced. */
static void test_compact_bounds(void **state)
{
    (void)state;
    struct solo s;
    struct raft_options o = solo_options(3);
    const uint64_t terms[] = {1, 1, 1, 1};
    solo_open(&s, &o, 1, 0, terms, 4);
    solo_receive(
        &s,
        (struct raft_message){
            .type = RAFT_APPEND, .term = 1, .index = 4, .log_term = 1, .commit = 4, .visible = 3});
    assert_int_equal(raft_compact(s.r, 1), ERR_INVAL);
    raft_set_applied(s.r, 3);
    assert_int_equal(raft_compact(s.r, 4), ERR_INVAL);
    assert_int_equal(raft_compact(s.r, 3), OK);
    assert_int_equal(raft_compact(s.r, 2), ERR_INVAL);
    assert_int_equal(raft_log_bytes(s.r), 10);
    /* An append that begins below it is taken for what lies above it. */
    const struct raft_entry_meta e[] = {{1, 0, 1}, {1, 0, 1}, {1, 0, 1}, {1, 0, 1}};
    solo_receive(&s, (struct raft_message){.type = RAFT_APPEND,
                                           .term = 1,
                                           .index = 1,
                                           .log_term = 1,
                                           .entries = e,
                                           .entry_count = 4});
    assert_int_equal(s.fx.write.first_index, 5);
    assert_int_equal(s.fx.write.entry_offset, 3);
    raft_check(s.r);
    solo_close(&s);
}

/* An unwritten write's requests are refused, and what cannot be is not believed. */
static void test_restore_checks(void **state)
{
    (void)state;
    struct raft_options o = solo_options(3);
    struct raft_durable d = {.term = 3};
    struct raft *r;
    assert_int_equal(raft_new(&o, &d, &r), OK);
    assert_int_equal(raft_restore(r, 2, 1), OK);
    assert_int_equal(raft_restore(r, 1, 1), ERR_CORRUPT);
    assert_int_equal(raft_restore(r, 4, 1), ERR_CORRUPT);
    raft_free(r);
    d.applied = 7;
    assert_int_equal(raft_new(&o, &d, &r), OK);
    assert_int_equal(raft_start(r, 1, 1), ERR_CORRUPT);
    raft_free(r);
}

/* ---- hostile peers ---- */

static void random_message(struct solo *s, struct raft_message *m, struct raft_entry_meta *e)
{
    uint64_t odd[] = {0, 1, UINT64_MAX, UINT64_MAX - 1, 1ull << 63};
    uint64_t near[] = {raft_term(s->r), raft_last_index(s->r), raft_commit(s->r), rng(20)};
#define ANY() (rng(12) == 0 ? odd[rng(5)] : near[rng(4)] + rng(3) - rng(2))
    memset(m, 0, sizeof(*m));
    m->type = (enum raft_message_type)rng(10);
    m->from = rng(20) ? 2 + rng(2) : ANY();
    m->to = 1;
    m->term = rng(30) ? raft_term(s->r) + (rng(20) == 0) : ANY();
    m->index = ANY();
    m->log_term = rng(2) ? raft_last_term(s->r) : ANY();
    m->commit = ANY();
    m->visible = ANY();
    m->round = ANY();
    m->hint = ANY();
    m->reject = rng(3) == 0;
    m->campaign_transfer = rng(30) == 0;
    m->entry_count = (uint32_t)rng(5);
    for (uint32_t i = 0; i < m->entry_count; i++)
        e[i] = (struct raft_entry_meta){.term = rng(3) ? m->log_term + rng(2) : ANY(),
                                        .kind = (enum raft_entry_kind)rng(5),
                                        .bytes = (uint32_t)rng(1000)};
    m->entries = rng(50) ? e : NULL;
#undef ANY
}

static jmp_buf check_escape;

static void on_check_failed(const char *cond, const char *file, int line)
{
    print_error("CHECK(%s) at %s:%d\n", cond, file, line);
    longjmp(check_escape, 1);
}

static void hostile_life(uint64_t seed)
{
    static struct solo s;
    static struct raft_entry_meta e[8];
    rng_state = seed;
    struct raft_options o = solo_options(3);
    const uint64_t terms[] = {1, 1, 2};
    solo_open(&s, &o, 2, 0, terms, 3);
    for (int step = 0; step < 400; step++) {
        struct raft_message m;
        random_message(&s, &m, e);
        s.now_ns += rng(5) ? rng(3 * MS) : rng(60 * MS);
        s.random = rng(1u << 30);
        switch (rng(12)) {
        case 0: solo_tick(&s, 0); break;
        case 1: solo_propose(&s, 1 + (uint32_t)rng(3)); break;
        case 2: solo_read(&s, (uint64_t)step); break;
        case 3: {
            struct raft_event ev =
                snapshot_event(RAFT_EV_SNAPSHOT_OFFERED, m.term, m.index % 1000, m.log_term);
            solo_step(&s, ev);
            break;
        }
        default: solo_step(&s, (struct raft_event){.type = RAFT_EV_MESSAGE, .message = m});
        }
        if (s.fx.write.present && rng(2))
            solo_sync(&s);
    }
    solo_close(&s);
}

/* Nothing in a message makes a CHECK fail, raft_check after every step included. */
static void test_hostile_messages(void **state)
{
    (void)state;
    check_hook = on_check_failed;
    static uint64_t seed;
    if (setjmp(check_escape) != 0) {
        print_error("seed %d\n", (int)seed);
        check_hook = NULL;
        fail();
    }
    for (seed = 1; seed <= 600; seed++)
        hostile_life(seed);
    check_hook = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tail_model),
        cmocka_unit_test(test_quorum),
        cmocka_unit_test(test_config_check),
        cmocka_unit_test(test_joint_election),
        cmocka_unit_test(test_snapshot_replaces_log),
        cmocka_unit_test(test_snapshot_known_already),
        cmocka_unit_test(test_compact_bounds),
        cmocka_unit_test(test_restore_checks),
        cmocka_unit_test(test_hostile_messages),
    };
    return cmocka_run_group_tests_name("raft_parts", tests, NULL, NULL);
}
