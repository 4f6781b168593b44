/* The rules by which an idle group falls asleep and wakes (metanode/raft/raft_sleep.c), one core at
 * a time; whole groups: tests/golden/raft/sleep.txt and test_raft_random.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/base/err.h"
#include "common/base/mutant.h"
#include "solo.h"

#define ELECTION (100 * MS)
#define INTERVAL (20 * MS)
#define SLEEP_AFTER (50 * MS)

static struct solo s;

static int teardown(void **state)
{
    (void)state;
    mutant_active = MUTANT_NONE;
    solo_close(&s);
    return 0;
}

/* ---- a leader ---- */

/* Leads with followers 2 and 3, which have its no-op; all is committed, visible, applied. */
static void open_leader(uint64_t sleep_after_ns)
{
    struct raft_options o = solo_options(3);
    o.sleep_after_ns = sleep_after_ns;
    solo_open(&s, &o, 0, 0, NULL, 0);
    solo_lead(&s);
    for (uint64_t id = 2; id <= 3; id++)
        solo_receive(&s, (struct raft_message){
                             .type = RAFT_APPEND_REPLY, .term = 1, .from = id, .index = 1});
    assert_int_equal(raft_set_visible(s.r, 1), OK);
    raft_set_applied(s.r, 1);
    raft_set_quiet(s.r, true);
}

static void answer(uint64_t from, const struct raft_message *m, bool sleep)
{
    solo_receive(&s, (struct raft_message){.type = RAFT_HEARTBEAT_REPLY,
                                           .term = m->term,
                                           .from = from,
                                           .round = m->round,
                                           .sleep = sleep});
}

/* One heartbeat, and what it said.  Followers 2 and 3 answer it, as they are told to, or awake. */
static struct raft_message heartbeat(bool two, bool three, bool obey)
{
    solo_tick(&s, INTERVAL);
    const struct raft_message *m = solo_sent(&s, RAFT_HEARTBEAT, 2);
    assert_non_null(m);
    struct raft_message said = *m;
    if (two)
        answer(2, &said, obey && said.sleep);
    if (three)
        answer(3, &said, obey && said.sleep);
    return said;
}

static bool asks_to_sleep(void)
{
    bool asked = false;
    for (int i = 0; i < 8; i++)
        asked |= heartbeat(true, true, false).sleep;
    return asked;
}

static void sleep_leader(void)
{
    open_leader(SLEEP_AFTER);
    for (int i = 0; i < 8 && !raft_is_asleep(s.r); i++)
        heartbeat(true, true, true);
    assert_true(raft_is_asleep(s.r));
}

static void test_leader_sleeps_when_all_do(void **state)
{
    (void)state;
    open_leader(SLEEP_AFTER);
    uint64_t began = s.now_ns;
    while (!heartbeat(false, true, true).sleep)
        assert_true(s.now_ns - began < 4 * SLEEP_AFTER);
    assert_true(s.now_ns - began >= SLEEP_AFTER);
    assert_false(raft_is_asleep(s.r)); /* 2 has not answered */
    struct raft_message m = heartbeat(false, false, false);
    assert_true(m.sleep);
    answer(2, &m, false); /* it has something to do yet, or is of an older version */
    assert_false(raft_is_asleep(s.r));
    m = heartbeat(true, false, true);
    assert_true(raft_is_asleep(s.r));
    assert_int_equal(raft_next_deadline(s.r), UINT64_MAX);
    solo_tick(&s, 50 * ELECTION); /* neither heartbeats nor a quorum check */
    assert_int_equal(s.fx.message_count, 0);
    assert_int_equal(raft_role(s.r), RAFT_LEADER);
    answer(3, &m, true); /* late, and no news */
    assert_true(raft_is_asleep(s.r));
}

static void test_who_is_busy_stays_awake(void **state)
{
    (void)state;
    open_leader(0);
    assert_false(asks_to_sleep()); /* switched off */
    solo_close(&s);
    open_leader(SLEEP_AFTER);
    assert_true(asks_to_sleep());
    raft_set_quiet(s.r, false);
    assert_false(asks_to_sleep());
    raft_set_quiet(s.r, true);
    assert_true(asks_to_sleep());
    /* An entry, until it is everywhere, visible and applied. */
    assert_int_equal(solo_propose(&s, 1), OK);
    solo_sync(&s);
    assert_false(asks_to_sleep());
    solo_receive(
        &s, (struct raft_message){.type = RAFT_APPEND_REPLY, .term = 1, .from = 2, .index = 2});
    assert_int_equal(raft_commit(s.r), 2);
    assert_false(asks_to_sleep()); /* 3 lacks it */
    solo_receive(
        &s, (struct raft_message){.type = RAFT_APPEND_REPLY, .term = 1, .from = 3, .index = 2});
    assert_false(asks_to_sleep());
    assert_int_equal(raft_set_visible(s.r, 2), OK);
    assert_false(asks_to_sleep());
    raft_set_applied(s.r, 2);
    assert_true(asks_to_sleep());
}

/* SLEEP_BEHIND does not look. */
static void test_one_that_is_behind_keeps_all_awake(void **state)
{
    (void)state;
    open_leader(SLEEP_AFTER);
    assert_int_equal(solo_propose(&s, 1), OK);
    solo_sync(&s);
    solo_receive(
        &s, (struct raft_message){.type = RAFT_APPEND_REPLY, .term = 1, .from = 2, .index = 2});
    assert_int_equal(raft_set_visible(s.r, 2), OK);
    raft_set_applied(s.r, 2);
    assert_false(asks_to_sleep());
    mutant_active = MUTANT_SLEEP_BEHIND;
    for (int i = 0; i < 8 && !raft_is_asleep(s.r); i++)
        solo_tick(&s, INTERVAL);
    assert_true(raft_is_asleep(s.r));
}

/* One that is silent may sleep already, and the leader be about to step down: it is woken. */
static void test_silent_follower_is_told_plainly(void **state)
{
    (void)state;
    open_leader(SLEEP_AFTER);
    while (!heartbeat(true, true, false).sleep) {
    }
    int asked = 0;
    while (heartbeat(false, true, true).sleep)
        assert_true(++asked <= 5);
    assert_false(raft_is_asleep(s.r));
}

static void test_what_wakes_a_leader(void **state)
{
    (void)state;
    static const struct raft_event events[] = {
        {.type = RAFT_EV_READ},
        {.type = RAFT_EV_TRANSFER, .peer = 2},
        {.type = RAFT_EV_WAKE},
        {.type = RAFT_EV_NODE_LOST, .peer = 3},
        {.type = RAFT_EV_UNREACHABLE, .peer = 3},
        {.type = RAFT_EV_MESSAGE,
         .message = {.type = RAFT_PRE_VOTE, .from = 3, .to = 1, .term = 2}},
        {.type = RAFT_EV_MESSAGE, .message = {.type = RAFT_VOTE, .from = 3, .to = 1, .term = 2}},
        {.type = RAFT_EV_MESSAGE, /* a follower that woke */
         .message = {.type = RAFT_HEARTBEAT_REPLY, .from = 3, .to = 1, .term = 1}},
    };
    for (size_t i = 0; i < ARRAY_COUNT(events); i++) {
        sleep_leader();
        s.now_ns += 10 * ELECTION;
        solo_step(&s, events[i]);
        assert_false(raft_is_asleep(s.r));
        assert_true(raft_next_deadline(s.r) <= s.now_ns + INTERVAL);
        if (events[i].type == RAFT_EV_READ) { /* the lease is long over: a round */
            assert_int_equal(s.fx.read_count, 0);
            assert_non_null(solo_sent(&s, RAFT_HEARTBEAT, 2));
            assert_false(solo_sent(&s, RAFT_HEARTBEAT, 2)->sleep);
        }
        solo_close(&s);
    }
    sleep_leader();
    solo_step(&s, (struct raft_event){.type = RAFT_EV_NODE_LOST, .peer = 9}); /* not of the group */
    assert_true(raft_is_asleep(s.r));
    assert_int_equal(solo_propose(&s, 1), OK);
    assert_false(raft_is_asleep(s.r));
    assert_non_null(solo_sent(&s, RAFT_APPEND, 2));
    assert_non_null(solo_sent(&s, RAFT_APPEND, 3));
}

/* A leader that is cut off and wakes steps down as ever. */
static void test_woken_leader_checks_its_quorum(void **state)
{
    (void)state;
    sleep_leader();
    s.now_ns += 10 * ELECTION;
    solo_step(&s, (struct raft_event){.type = RAFT_EV_NODE_LOST, .peer = 2});
    solo_step(&s, (struct raft_event){.type = RAFT_EV_NODE_LOST, .peer = 3});
    solo_tick(&s, ELECTION);
    solo_tick(&s, ELECTION);
    assert_int_equal(raft_role(s.r), RAFT_FOLLOWER);
}

/* LEASE_ASLEEP takes sleep for a lease. */
static void test_lease_runs_out_asleep(void **state)
{
    (void)state;
    sleep_leader();
    assert_true(raft_lease_valid(s.r, s.now_ns + 79 * MS));
    assert_false(raft_lease_valid(s.r, s.now_ns + 80 * MS));
    mutant_active = MUTANT_LEASE_ASLEEP;
    assert_true(raft_lease_valid(s.r, s.now_ns + 80 * MS));
}

/* ---- a follower ---- */

static const struct raft_message good_night = {.type = RAFT_HEARTBEAT,
                                               .term = 1,
                                               .index = 2,
                                               .log_term = 1,
                                               .commit = 2,
                                               .visible = 2,
                                               .round = 7,
                                               .sleep = true};

/* Follows 2, with two entries, applied as told. */
static void open_follower(uint64_t applied)
{
    struct raft_options o = solo_options(3);
    o.sleep_after_ns = SLEEP_AFTER;
    solo_open(&s, &o, 1, 0, (uint64_t[]){1, 1}, 2);
    struct raft_message m = good_night;
    m.sleep = false;
    solo_receive(&s, m);
    raft_set_applied(s.r, applied);
}

static void sleep_follower(void)
{
    open_follower(2);
    solo_receive(&s, good_night);
    assert_true(raft_is_asleep(s.r));
    assert_true(solo_sent(&s, RAFT_HEARTBEAT_REPLY, 2)->sleep);
    assert_int_equal(raft_next_deadline(s.r), UINT64_MAX);
}

static void test_follower_sleeps_when_it_agrees(void **state)
{
    (void)state;
    sleep_follower();
    solo_tick(&s, 100 * ELECTION);
    assert_true(raft_is_asleep(s.r) && s.fx.message_count == 0);
    solo_receive(&s, good_night); /* again: answered again */
    assert_true(raft_is_asleep(s.r));
    assert_true(solo_sent(&s, RAFT_HEARTBEAT_REPLY, 2)->sleep);
    struct raft_message m[4] = {good_night, good_night, good_night, good_night};
    m[0].index = 1;    /* it does not say that our last entry is the leader's */
    m[1].log_term = 2; /* another entry */
    m[2].commit = 1;
    m[3].sleep = false;
    for (size_t i = 0; i < ARRAY_COUNT(m); i++) {
        solo_close(&s);
        open_follower(2);
        solo_receive(&s, m[i]);
        assert_false(raft_is_asleep(s.r));
        assert_false(solo_sent(&s, RAFT_HEARTBEAT_REPLY, 2)->sleep);
    }
    solo_close(&s);
    open_follower(1); /* not all applied */
    solo_receive(&s, good_night);
    assert_false(raft_is_asleep(s.r));
}

static void test_any_word_wakes_a_follower(void **state)
{
    (void)state;
    static const struct raft_entry_meta entry = {.term = 1, .bytes = 10};
    const struct raft_message words[] = {
        {.type = RAFT_HEARTBEAT, .term = 1, .index = 2, .log_term = 1, .commit = 2, .round = 8},
        {.type = RAFT_APPEND,
         .term = 1,
         .index = 2,
         .log_term = 1,
         .entries = &entry,
         .entry_count = 1},
        {.type = RAFT_HEARTBEAT, .term = 2, .from = 3, .sleep = true},
        {.type = RAFT_VOTE, .term = 2, .from = 3, .index = 2, .log_term = 1},
        {.type = RAFT_TIMEOUT_NOW, .term = 1},
    };
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        sleep_follower();
        s.now_ns += 10 * ELECTION;
        solo_receive(&s, words[i]);
        assert_false(raft_is_asleep(s.r));
        assert_true(raft_next_deadline(s.r) < UINT64_MAX);
        solo_close(&s);
    }
    sleep_follower();
}

static struct raft_event pre_vote(uint64_t from, uint64_t heard_ns)
{
    return (struct raft_event){
        .type = RAFT_EV_MESSAGE,
        .heard_ns = heard_ns,
        .message = {
            .type = RAFT_PRE_VOTE, .from = from, .to = 1, .term = 2, .index = 2, .log_term = 1}};
}

/* As one that has just had a heartbeat; and the leader, which may sleep, is told. */
static void test_sleeper_keeps_its_leader(void **state)
{
    (void)state;
    sleep_follower();
    s.now_ns += 10 * ELECTION;
    uint64_t heard = s.now_ns - 5 * MS;
    solo_step(&s, pre_vote(3, heard));
    assert_true(solo_sent(&s, RAFT_PRE_VOTE_REPLY, 3)->reject);
    const struct raft_message *told = solo_sent(&s, RAFT_HEARTBEAT_REPLY, 2);
    assert_non_null(told);
    assert_int_equal(told->round, 0);
    assert_int_equal(raft_leader(s.r), 2);
    assert_int_equal(raft_next_deadline(s.r), heard + ELECTION);
    s.now_ns = heard + ELECTION - 1;
    solo_step(&s, pre_vote(3, 0));
    assert_true(solo_sent(&s, RAFT_PRE_VOTE_REPLY, 3)->reject);
    s.now_ns = heard + ELECTION;
    solo_step(&s, pre_vote(3, 0));
    assert_false(solo_sent(&s, RAFT_PRE_VOTE_REPLY, 3)->reject);
}

/* The leader's node has been silent for as long as a promise lasts: there is none. */
static void test_sleeper_of_a_silent_node_elects(void **state)
{
    (void)state;
    sleep_follower();
    s.now_ns += 10 * ELECTION;
    solo_step(&s, pre_vote(3, s.now_ns - ELECTION));
    assert_false(solo_sent(&s, RAFT_PRE_VOTE_REPLY, 3)->reject);
}

/* One that asks for a vote does not lead any more. */
static void test_leader_that_campaigns_is_elected(void **state)
{
    (void)state;
    sleep_follower();
    s.now_ns += 10 * ELECTION;
    solo_step(&s, pre_vote(2, s.now_ns));
    assert_false(solo_sent(&s, RAFT_PRE_VOTE_REPLY, 2)->reject);
    assert_true(raft_next_deadline(s.r) < s.now_ns + ELECTION);
}

/* SLEEP_ON_LOSS: a follower that nobody wakes. */
static void test_lost_node_wakes(void **state)
{
    (void)state;
    for (int planted = 0; planted < 2; planted++) {
        sleep_follower();
        mutant_active = planted ? MUTANT_SLEEP_ON_LOSS : MUTANT_NONE;
        s.now_ns += 10 * ELECTION;
        s.random = ELECTION / 2;
        solo_step(&s, (struct raft_event){.type = RAFT_EV_NODE_LOST, .peer = 3});
        assert_true(raft_is_asleep(s.r)); /* not our leader's */
        solo_step(&s, (struct raft_event){
                          .type = RAFT_EV_NODE_LOST, .peer = 2, .heard_ns = s.now_ns - ELECTION});
        assert_int_equal(raft_is_asleep(s.r), planted);
        if (!planted) {
            /* What of the timeout is left: the node's silence counts. */
            assert_int_equal(raft_next_deadline(s.r), s.now_ns + ELECTION / 2);
            solo_tick(&s, ELECTION / 2);
            assert_int_equal(raft_role(s.r), RAFT_PRE_CANDIDATE);
            solo_close(&s);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_leader_sleeps_when_all_do, teardown),
        cmocka_unit_test_teardown(test_who_is_busy_stays_awake, teardown),
        cmocka_unit_test_teardown(test_one_that_is_behind_keeps_all_awake, teardown),
        cmocka_unit_test_teardown(test_silent_follower_is_told_plainly, teardown),
        cmocka_unit_test_teardown(test_what_wakes_a_leader, teardown),
        cmocka_unit_test_teardown(test_woken_leader_checks_its_quorum, teardown),
        cmocka_unit_test_teardown(test_lease_runs_out_asleep, teardown),
        cmocka_unit_test_teardown(test_follower_sleeps_when_it_agrees, teardown),
        cmocka_unit_test_teardown(test_any_word_wakes_a_follower, teardown),
        cmocka_unit_test_teardown(test_sleeper_keeps_its_leader, teardown),
        cmocka_unit_test_teardown(test_sleeper_of_a_silent_node_elects, teardown),
        cmocka_unit_test_teardown(test_leader_that_campaigns_is_elected, teardown),
        cmocka_unit_test_teardown(test_lost_node_wakes, teardown),
    };
    return cmocka_run_group_tests_name("raft_sleep", tests, NULL, NULL);
}
