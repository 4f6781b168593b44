/* One test per pitfall that DESIGN section 3 lists for the Raft core, on a single core fed by hand.
 * Where a planted bug removes the rule, the test is run with it too and must see the difference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/base/err.h"
#include "common/base/mutant.h"
#include "solo.h"

static struct solo s;

static void open_voters(uint32_t voters, uint64_t term, const uint64_t *terms, uint32_t count)
{
    struct raft_options o = solo_options(voters);
    solo_open(&s, &o, term, 0, terms, count);
}

static int teardown(void **state)
{
    (void)state;
    mutant_active = MUTANT_NONE;
    solo_close(&s);
    return 0;
}

static struct raft_message append(uint64_t term, uint64_t prev, uint64_t prev_term,
                                  const struct raft_entry_meta *e, uint32_t count, uint64_t commit)
{
    return (struct raft_message){.type = RAFT_APPEND,
                                 .term = term,
                                 .index = prev,
                                 .log_term = prev_term,
                                 .entries = e,
                                 .entry_count = count,
                                 .commit = commit};
}

static const struct raft_entry_meta of_term[10] = {{0, 0, 1}, {1, 0, 1}, {2, 0, 1}, {3, 0, 1},
                                                   {4, 0, 1}, {5, 0, 1}, {6, 0, 1}, {7, 0, 1},
                                                   {8, 0, 1}, {9, 0, 1}};

/* ---- durability ---- */

/* Rule: vote and term are durable before any reply.  UNPERSISTED_VOTE replies at once. */
static void test_vote_durable_before_reply(void **state)
{
    (void)state;
    open_voters(3, 0, NULL, 0);
    struct raft_message vote = {.type = RAFT_VOTE, .term = 1};
    solo_receive(&s, vote);
    assert_true(s.fx.write.has_hard_state);
    assert_int_equal(s.fx.write.vote, 2);
    assert_int_equal(s.fx.message_count, 0);
    solo_sync(&s);
    const struct raft_message *reply = solo_sent(&s, RAFT_VOTE_REPLY, 2);
    assert_non_null(reply);
    assert_false(reply->reject);

    solo_close(&s);
    open_voters(3, 0, NULL, 0);
    mutant_active = MUTANT_UNPERSISTED_VOTE;
    solo_receive(&s, vote);
    assert_non_null(solo_sent(&s, RAFT_VOTE_REPLY, 2));
}

/* Rule: the same for the term alone: an answer to a heartbeat of a new term waits. */
static void test_term_durable_before_reply(void **state)
{
    (void)state;
    open_voters(3, 1, NULL, 0);
    solo_receive(&s, (struct raft_message){.type = RAFT_HEARTBEAT, .term = 4, .round = 9});
    assert_int_equal(s.fx.message_count, 0);
    solo_sync(&s);
    assert_int_equal(solo_sent(&s, RAFT_HEARTBEAT_REPLY, 2)->round, 9);
}

/* Rule: one vote a term, also for a second candidate that asks before the first vote is synced. */
static void test_one_vote_a_term(void **state)
{
    (void)state;
    open_voters(3, 0, NULL, 0);
    solo_receive(&s, (struct raft_message){.type = RAFT_VOTE, .term = 1, .from = 2});
    struct raft_write w = s.fx.write;
    solo_receive(&s, (struct raft_message){.type = RAFT_VOTE, .term = 1, .from = 3});
    solo_synced(&s, w.seq, w.last_index, w.last_term);
    assert_false(solo_sent(&s, RAFT_VOTE_REPLY, 2)->reject);
    assert_true(solo_sent(&s, RAFT_VOTE_REPLY, 3)->reject);
    /* A repeated request gets the same answer. */
    solo_receive(&s, (struct raft_message){.type = RAFT_VOTE, .term = 1, .from = 2});
    assert_false(solo_sent(&s, RAFT_VOTE_REPLY, 2)->reject);
}

/* Rule: a candidate counts its own vote only when it is durable; repeated votes count once. */
static void test_own_vote(void **state)
{
    (void)state;
    open_voters(5, 0, NULL, 0);
    solo_tick(&s, 200 * MS);
    for (uint64_t from = 2; from <= 3; from++)
        solo_receive(&s,
                     (struct raft_message){.type = RAFT_PRE_VOTE_REPLY, .term = 1, .from = from});
    struct raft_write w = s.fx.write;
    assert_int_equal(raft_role(s.r), RAFT_CANDIDATE);
    struct raft_message yes = {.type = RAFT_VOTE_REPLY, .term = 1, .from = 2};
    solo_receive(&s, yes);
    solo_receive(&s, yes);
    solo_receive(&s, yes);
    yes.from = 3;
    solo_receive(&s, yes);
    assert_int_equal(raft_role(s.r), RAFT_CANDIDATE); /* two of five, and itself not yet */
    solo_synced(&s, w.seq, 0, 0);
    assert_int_equal(raft_role(s.r), RAFT_LEADER);
}

/* Rule: the same while an earlier write is under way: its completion says nothing about the vote.
 */
static void test_own_vote_behind_other_write(void **state)
{
    (void)state;
    const uint64_t terms[] = {1};
    open_voters(3, 1, terms, 1);
    solo_receive(&s, append(1, 1, 1, &of_term[1], 1, 0));
    struct raft_write entries = s.fx.write;
    assert_false(entries.has_hard_state);
    solo_tick(&s, 300 * MS);
    solo_receive(&s, (struct raft_message){.type = RAFT_PRE_VOTE_REPLY, .term = 2});
    struct raft_write vote = s.fx.write;
    assert_int_equal(vote.vote, 1);
    solo_receive(&s, (struct raft_message){.type = RAFT_VOTE_REPLY, .term = 2});
    solo_synced(&s, entries.seq, entries.last_index, entries.last_term);
    assert_int_equal(raft_role(s.r), RAFT_CANDIDATE);
    assert_null(solo_sent(&s, RAFT_VOTE, 2));
    solo_synced(&s, vote.seq, vote.last_index, vote.last_term);
    assert_int_equal(raft_role(s.r), RAFT_LEADER);
}

/* Rule: an append is acknowledged once it is synced, and no further than it is.
 * REPLY_BEFORE_SYNC acknowledges at once. */
static void test_append_acknowledged_when_synced(void **state)
{
    (void)state;
    const uint64_t terms[] = {1};
    open_voters(3, 1, terms, 1);
    const struct raft_entry_meta e[] = {of_term[1], of_term[1]};
    solo_receive(&s, append(1, 1, 1, e, 1, 0));
    struct raft_write first = s.fx.write;
    solo_receive(&s, append(1, 2, 1, e, 2, 0));
    const struct raft_message *m = solo_sent(&s, RAFT_APPEND_REPLY, 2);
    assert_true(!m || m->index == 1);
    struct raft_write second = s.fx.write;
    solo_synced(&s, first.seq, first.last_index, first.last_term);
    assert_int_equal(solo_sent(&s, RAFT_APPEND_REPLY, 2)->index, 2);
    solo_synced(&s, second.seq, second.last_index, second.last_term);
    assert_int_equal(solo_sent(&s, RAFT_APPEND_REPLY, 2)->index, 4);

    mutant_active = MUTANT_REPLY_BEFORE_SYNC;
    solo_receive(&s, append(1, 4, 1, e, 1, 0));
    assert_int_equal(solo_sent(&s, RAFT_APPEND_REPLY, 2)->index, 5);
}

/* Rule: the leader counts itself only after its own sync. */
static void test_leader_counts_itself_when_synced(void **state)
{
    (void)state;
    open_voters(3, 0, NULL, 0);
    solo_lead(&s);
    solo_receive(&s, (struct raft_message){.type = RAFT_APPEND_REPLY, .term = 1, .index = 1});
    assert_int_equal(raft_commit(s.r), 1);
    solo_propose(&s, 1);
    struct raft_write w = s.fx.write;
    solo_receive(&s, (struct raft_message){.type = RAFT_APPEND_REPLY, .term = 1, .index = 2});
    assert_int_equal(raft_commit(s.r), 1);
    solo_synced(&s, w.seq, w.last_index, w.last_term);
    assert_int_equal(raft_commit(s.r), 2);
}

/* Rule: a completion of a write from before a truncation proves nothing, even where (term, index)
 * is in the log again.  Index 2 goes from term 2 to 3 and back to 2; the disk is at the first step.
 */
static void test_stale_completion(void **state)
{
    (void)state;
    const uint64_t terms[] = {1};
    open_voters(3, 1, terms, 1);
    solo_receive(&s, append(3, 1, 1, &of_term[2], 1, 0));
    struct raft_write first = s.fx.write;
    struct raft_message other = append(4, 1, 1, &of_term[3], 1, 0);
    other.from = 3;
    solo_receive(&s, other);
    assert_int_equal(s.fx.write.truncate_from, 2);
    solo_receive(&s, append(5, 1, 1, &of_term[2], 1, 0));
    assert_int_equal(s.fx.write.truncate_from, 2);
    struct raft_write last = s.fx.write;
    solo_synced(&s, first.seq, first.last_index, first.last_term);
    assert_int_equal(raft_synced_index(s.r), 1);
    assert_null(solo_sent(&s, RAFT_APPEND_REPLY, 2));
    solo_synced(&s, last.seq, last.last_index, last.last_term);
    assert_int_equal(raft_synced_index(s.r), 2);
    assert_int_equal(solo_sent(&s, RAFT_APPEND_REPLY, 2)->index, 2);
}

/* ---- commit ---- */

/* Rule: min(leader's commit, last index this message proved).  COMMIT_OWN_LAST takes what is left
 * over from an older term. */
static void test_commit_what_was_proved(void **state)
{
    (void)state;
    const uint64_t terms[] = {1, 2, 2, 2};
    open_voters(3, 2, terms, 4);
    solo_receive(&s, append(3, 1, 1, NULL, 0, 4));
    assert_int_equal(raft_commit(s.r), 1);
    solo_receive(&s, (struct raft_message){.type = RAFT_HEARTBEAT, .term = 3, .commit = 4});
    assert_int_equal(raft_commit(s.r), 1);
    /* A heartbeat proves what it names, if the log has it with that term. */
    solo_receive(&s,
                 (struct raft_message){
                     .type = RAFT_HEARTBEAT, .term = 3, .commit = 4, .index = 3, .log_term = 3});
    assert_int_equal(raft_commit(s.r), 1);
    solo_receive(&s,
                 (struct raft_message){
                     .type = RAFT_HEARTBEAT, .term = 3, .commit = 4, .index = 3, .log_term = 2});
    assert_int_equal(raft_commit(s.r), 3);

    mutant_active = MUTANT_COMMIT_OWN_LAST;
    solo_receive(&s, append(3, 1, 1, NULL, 0, 4));
    assert_int_equal(raft_commit(s.r), 4);
}

/* Rule: commit counts replicas only for entries of the own term (figure 8).  COUNT_OLD_TERM counts.
 */
static void test_count_own_term_only(void **state)
{
    (void)state;
    const uint64_t terms[] = {1, 2};
    open_voters(3, 2, terms, 2);
    solo_tick(&s, 200 * MS);
    solo_lead(&s);
    struct raft_message matched = {.type = RAFT_APPEND_REPLY, .term = 3, .index = 2};
    solo_receive(&s, matched);
    assert_int_equal(raft_commit(s.r), 0);
    mutant_active = MUTANT_COUNT_OLD_TERM;
    matched.from = 3;
    solo_receive(&s, matched);
    assert_int_equal(raft_commit(s.r), 2);
    mutant_active = MUTANT_NONE;
    matched.index = 3;
    solo_receive(&s, matched);
    assert_int_equal(raft_commit(s.r), 3);
}

/* Rule: what is committed stays: a message that contradicts it is damage, not a reason to truncate.
 */
static void test_committed_stays(void **state)
{
    (void)state;
    const uint64_t terms[] = {1, 1};
    open_voters(3, 1, terms, 2);
    solo_receive(&s, append(1, 2, 1, NULL, 0, 2));
    assert_int_equal(raft_commit(s.r), 2);
    assert_int_equal(solo_receive(&s, append(2, 1, 1, &of_term[2], 1, 2)), ERR_CORRUPT);
    assert_int_equal(solo_receive(&s, append(2, 2, 2, NULL, 0, 2)), ERR_CORRUPT);
    assert_int_equal(raft_last_index(s.r), 2);
    assert_int_equal(s.fx.write.truncate_from, 0);
}

/* ---- elections ---- */

/* Rule: pre-votes change nothing: no term, no vote, no deadline. */
static void test_pre_vote_changes_nothing(void **state)
{
    (void)state;
    open_voters(3, 0, NULL, 0);
    uint64_t deadline = raft_next_deadline(s.r);
    solo_receive(&s, (struct raft_message){.type = RAFT_PRE_VOTE, .term = 7});
    assert_false(solo_sent(&s, RAFT_PRE_VOTE_REPLY, 2)->reject);
    assert_false(s.fx.write.present);
    assert_int_equal(raft_term(s.r), 0);
    assert_int_equal(raft_next_deadline(s.r), deadline);
}

/* Rule: a voter's promise to a leader outlives a change of term: until it has run out no vote is
 * given, whatever term it is by then; afterwards it is. */
static void test_promise_outlives_term(void **state)
{
    (void)state;
    open_voters(5, 0, NULL, 0);
    solo_receive(&s, (struct raft_message){.type = RAFT_HEARTBEAT, .term = 5, .round = 1});
    solo_sync(&s);
    /* Something else raises the term; no leader is known in it. */
    s.now_ns += 10 * MS;
    solo_receive(
        &s, (struct raft_message){.type = RAFT_VOTE_REPLY, .term = 6, .from = 3, .reject = true});
    solo_sync(&s);
    assert_int_equal(raft_leader(s.r), 0);
    struct raft_message vote = {.type = RAFT_VOTE, .term = 6, .from = 4};
    s.now_ns += 89 * MS;
    solo_receive(&s, vote);
    assert_int_equal(s.fx.message_count, 0);
    vote.term = 7;
    solo_receive(&s, vote);
    assert_int_equal(raft_term(s.r), 6);
    s.now_ns += 1 * MS;
    solo_receive(&s, vote);
    assert_int_equal(s.fx.write.vote, 4);
}

/* Rule: a restarted voter waits one election timeout, for pre-votes too; a new one need not. */
static void test_restarted_voter_waits(void **state)
{
    (void)state;
    const uint64_t terms[] = {1};
    open_voters(3, 1, terms, 1);
    struct raft_message vote = {.type = RAFT_VOTE, .term = 2, .index = 1, .log_term = 1};
    struct raft_message pre = vote;
    pre.type = RAFT_PRE_VOTE;
    s.now_ns += 99 * MS;
    solo_receive(&s, pre);
    assert_true(solo_sent(&s, RAFT_PRE_VOTE_REPLY, 2)->reject);
    solo_receive(&s, vote);
    assert_false(s.fx.write.present);
    s.now_ns += 1 * MS;
    solo_receive(&s, pre);
    assert_false(solo_sent(&s, RAFT_PRE_VOTE_REPLY, 2)->reject);
    solo_receive(&s, vote);
    assert_int_equal(s.fx.write.vote, 2);
}

/* Rule: one that is not a member cannot disturb: no answer, no term, no sign of life. */
static void test_unknown_member(void **state)
{
    (void)state;
    open_voters(3, 0, NULL, 0);
    solo_lead(&s);
    for (int type = RAFT_VOTE; type <= RAFT_TIMEOUT_NOW; type++) {
        struct raft_message m = {
            .type = (enum raft_message_type)type, .from = 9, .term = 50, .campaign_transfer = true};
        assert_int_equal(solo_receive(&s, m), OK);
        assert_int_equal(raft_term(s.r), 1);
        assert_int_equal(raft_role(s.r), RAFT_LEADER);
        assert_int_equal(s.fx.message_count, 0);
    }
}

/* Rule: a replica behind a partition asks in vain and does not disturb when it comes back; a leader
 * does not answer campaigns of higher terms while it leads. */
static void test_leader_not_disturbed(void **state)
{
    (void)state;
    open_voters(3, 0, NULL, 0);
    solo_lead(&s);
    solo_receive(&s,
                 (struct raft_message){.type = RAFT_VOTE, .term = 9, .index = 99, .log_term = 8});
    assert_int_equal(raft_role(s.r), RAFT_LEADER);
    assert_int_equal(raft_term(s.r), 1);
    solo_receive(
        &s, (struct raft_message){.type = RAFT_PRE_VOTE, .term = 9, .index = 99, .log_term = 8});
    assert_true(solo_sent(&s, RAFT_PRE_VOTE_REPLY, 2)->reject);
}

/* Rule: a stale leader is told of the present term, so that one ahead in term can be brought back.
 */
static void test_stale_leader_is_told(void **state)
{
    (void)state;
    open_voters(3, 5, NULL, 0);
    solo_receive(&s, (struct raft_message){.type = RAFT_HEARTBEAT, .term = 3});
    assert_int_equal(solo_sent(&s, RAFT_HEARTBEAT_REPLY, 2)->term, 5);
    solo_receive(&s, append(3, 0, 0, NULL, 0, 0));
    assert_int_equal(solo_sent(&s, RAFT_APPEND_REPLY, 2)->term, 5);
    assert_int_equal(raft_leader(s.r), 0);
}

/* ---- leases and reads ---- */

static void lead_and_serve(uint32_t voters)
{
    open_voters(voters, 0, NULL, 0);
    solo_lead(&s);
    for (uint64_t from = 2; from <= voters / 2 + 1; from++)
        solo_receive(&s, (struct raft_message){
                             .type = RAFT_APPEND_REPLY, .term = 1, .index = 1, .from = from});
    assert_int_equal(raft_set_visible(s.r, 1), OK);
    solo_tick(&s, 500 * MS); /* whatever lease there was is over */
    assert_int_equal(raft_role(s.r), RAFT_LEADER);
}

static void answer_round(uint64_t from, uint64_t round)
{
    solo_receive(&s, (struct raft_message){
                         .type = RAFT_HEARTBEAT_REPLY, .term = 1, .from = from, .round = round});
}

/* Rule: a lease starts at the send time of a round that a quorum answered.  LEASE_FROM_RECEIVE
 * starts it when the answer comes. */
static void test_lease_from_send_time(void **state)
{
    (void)state;
    lead_and_serve(3);
    uint64_t round = solo_sent(&s, RAFT_HEARTBEAT, 2)->round;
    uint64_t sent = s.now_ns;
    s.now_ns = sent + 79 * MS;
    answer_round(2, round);
    assert_true(raft_lease_valid(s.r, sent + 80 * MS - 1));
    assert_false(raft_lease_valid(s.r, sent + 80 * MS));
    mutant_active = MUTANT_LEASE_FROM_RECEIVE;
    solo_tick(&s, 0);
    solo_tick(&s, 20 * MS);
    sent = s.now_ns;
    s.now_ns += 79 * MS;
    answer_round(2, solo_sent(&s, RAFT_HEARTBEAT, 2)->round);
    assert_true(raft_lease_valid(s.r, sent + 80 * MS));
}

/* Rule: an answer to an old round gives an old lease; one of five answers is no quorum. */
static void test_lease_needs_quorum(void **state)
{
    (void)state;
    lead_and_serve(5);
    uint64_t round = solo_sent(&s, RAFT_HEARTBEAT, 2)->round;
    answer_round(2, round);
    answer_round(2, round);
    assert_false(raft_lease_valid(s.r, s.now_ns));
    answer_round(3, round - 1);
    assert_false(raft_lease_valid(s.r, s.now_ns));
    answer_round(3, round);
    assert_true(raft_lease_valid(s.r, s.now_ns));
    raft_set_lease_enabled(s.r, false);
    assert_false(raft_lease_valid(s.r, s.now_ns));
}

/* Rule: bounds that do not hold together are refused at start. */
static void test_lease_options(void **state)
{
    (void)state;
    open_voters(3, 0, NULL, 0);
    struct raft *r;
    struct raft_durable d = {0};
    struct raft_options o = solo_options(3);
    o.lease_ns = 91 * MS; /* 91 * 1.05 >= 100 * 0.95 */
    assert_int_equal(raft_new(&o, &d, &r), ERR_CONFIG);
    o = solo_options(3);
    o.heartbeat_interval_ns = 34 * MS;
    assert_int_equal(raft_new(&o, &d, &r), ERR_CONFIG);
    o = solo_options(3);
    o.lease_ns = 0;
    assert_int_equal(raft_new(&o, &d, &r), ERR_CONFIG);
    o = solo_options(3);
    o.id = 7;
    assert_int_equal(raft_new(&o, &d, &r), ERR_CONFIG);
    o = solo_options(3);
    d = (struct raft_durable){.compact_index = 5, .compact_term = 2, .term = 1};
    assert_int_equal(raft_new(&o, &d, &r), ERR_INVAL);
}

/* Rule: no read before an entry of the own term is committed, and visible. */
static void test_read_needs_own_term(void **state)
{
    (void)state;
    open_voters(3, 0, NULL, 0);
    assert_int_equal(solo_read(&s, 1), ERR_NOT_LEADER);
    solo_lead(&s);
    assert_int_equal(solo_read(&s, 1), ERR_NOT_READY);
    solo_receive(&s, (struct raft_message){.type = RAFT_APPEND_REPLY, .term = 1, .index = 1});
    assert_int_equal(solo_read(&s, 1), ERR_NOT_READY);
    assert_int_equal(raft_set_visible(s.r, 2), ERR_INVAL);
    assert_int_equal(raft_set_visible(s.r, 1), OK);
    assert_int_equal(solo_read(&s, 1), OK);
}

/* Rule: a read is confirmed by a round sent after it was asked for, never by an earlier one. */
static void test_read_index_rounds(void **state)
{
    (void)state;
    lead_and_serve(3);
    uint64_t before = solo_sent(&s, RAFT_HEARTBEAT, 2)->round;
    raft_set_lease_enabled(s.r, false);
    assert_int_equal(solo_read(&s, 42), OK);
    uint64_t round = solo_sent(&s, RAFT_HEARTBEAT, 2)->round;
    assert_true(round > before);
    answer_round(2, before);
    assert_int_equal(s.fx.read_count, 0);
    answer_round(2, round);
    assert_int_equal(s.fx.read_count, 1);
    assert_int_equal(s.fx.reads[0].ctx, 42);
    assert_int_equal(s.fx.reads[0].status, RAFT_READ_READY);
    assert_int_equal(s.fx.reads[0].visible, 1);
    /* Many reads share rounds; beyond the bound they are refused. */
    uint32_t accepted = 0;
    while (solo_read(&s, accepted) == OK)
        accepted++;
    assert_int_equal(accepted, RAFT_READS_MAX);
    solo_receive(&s,
                 (struct raft_message){.type = RAFT_HEARTBEAT_REPLY, .term = 2, .reject = true});
    assert_int_equal(s.fx.read_count, RAFT_READS_MAX);
    assert_int_equal(s.fx.reads[0].status, RAFT_READ_DROPPED);
}

/* Rule: the lease ends before the transfer's message leaves, and stays over in this term, since
 * that message may arrive at any time; a second transfer is possible. */
static void test_transfer_ends_lease(void **state)
{
    (void)state;
    lead_and_serve(3);
    answer_round(2, solo_sent(&s, RAFT_HEARTBEAT, 2)->round);
    assert_true(raft_lease_valid(s.r, s.now_ns));
    struct raft_event ev = {.type = RAFT_EV_TRANSFER, .peer = 2};
    assert_int_equal(solo_step(&s, ev), OK);
    assert_non_null(solo_sent(&s, RAFT_TIMEOUT_NOW, 2));
    assert_false(raft_lease_valid(s.r, s.now_ns));
    assert_int_equal(solo_propose(&s, 1), ERR_NOT_READY);
    assert_int_equal(solo_step(&s, ev), ERR_CONFLICT);
    solo_tick(&s, 100 * MS); /* nothing came of it */
    answer_round(2, solo_sent(&s, RAFT_HEARTBEAT, 2)->round);
    assert_int_equal(raft_transferee(s.r), 0);
    assert_false(raft_lease_valid(s.r, s.now_ns));
    assert_int_equal(solo_step(&s, ev), OK);
    assert_non_null(solo_sent(&s, RAFT_TIMEOUT_NOW, 2));
    ev.peer = 1;
    assert_int_equal(solo_step(&s, ev), ERR_INVAL);
}

/* Rule: TIMEOUT_NOW counts only from the leader of this very term, and skips the pre-vote. */
static void test_timeout_now(void **state)
{
    (void)state;
    open_voters(3, 0, NULL, 0);
    solo_receive(&s, (struct raft_message){.type = RAFT_HEARTBEAT, .term = 4});
    solo_sync(&s);
    solo_receive(&s, (struct raft_message){.type = RAFT_TIMEOUT_NOW, .term = 4, .from = 3});
    solo_receive(&s, (struct raft_message){.type = RAFT_TIMEOUT_NOW, .term = 3});
    assert_int_equal(raft_role(s.r), RAFT_FOLLOWER);
    solo_receive(&s, (struct raft_message){.type = RAFT_TIMEOUT_NOW, .term = 4});
    assert_int_equal(raft_role(s.r), RAFT_CANDIDATE);
    solo_sync(&s);
    assert_true(solo_sent(&s, RAFT_VOTE, 2)->campaign_transfer);
}

/* Rule: followers expose what the current leader called visible, never above their own commit; what
 * an earlier leader said beyond that is forgotten. */
static void test_visible(void **state)
{
    (void)state;
    const uint64_t terms[] = {1, 1, 1};
    open_voters(3, 1, terms, 3);
    struct raft_message m = append(1, 3, 1, NULL, 0, 2);
    m.visible = 3;
    solo_receive(&s, m);
    assert_int_equal(raft_commit(s.r), 2);
    assert_int_equal(raft_visible(s.r), 2);
    struct raft_message other = append(2, 3, 1, NULL, 0, 3);
    other.from = 3;
    other.visible = 1;
    solo_receive(&s, other);
    assert_int_equal(raft_commit(s.r), 3);
    assert_int_equal(raft_visible(s.r), 2);
    assert_int_equal(raft_set_visible(s.r, 3), ERR_NOT_LEADER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_vote_durable_before_reply, teardown),
        cmocka_unit_test_teardown(test_term_durable_before_reply, teardown),
        cmocka_unit_test_teardown(test_one_vote_a_term, teardown),
        cmocka_unit_test_teardown(test_own_vote, teardown),
        cmocka_unit_test_teardown(test_own_vote_behind_other_write, teardown),
        cmocka_unit_test_teardown(test_append_acknowledged_when_synced, teardown),
        cmocka_unit_test_teardown(test_leader_counts_itself_when_synced, teardown),
        cmocka_unit_test_teardown(test_stale_completion, teardown),
        cmocka_unit_test_teardown(test_commit_what_was_proved, teardown),
        cmocka_unit_test_teardown(test_count_own_term_only, teardown),
        cmocka_unit_test_teardown(test_committed_stays, teardown),
        cmocka_unit_test_teardown(test_pre_vote_changes_nothing, teardown),
        cmocka_unit_test_teardown(test_promise_outlives_term, teardown),
        cmocka_unit_test_teardown(test_restarted_voter_waits, teardown),
        cmocka_unit_test_teardown(test_unknown_member, teardown),
        cmocka_unit_test_teardown(test_leader_not_disturbed, teardown),
        cmocka_unit_test_teardown(test_stale_leader_is_told, teardown),
        cmocka_unit_test_teardown(test_lease_from_send_time, teardown),
        cmocka_unit_test_teardown(test_lease_needs_quorum, teardown),
        cmocka_unit_test_teardown(test_lease_options, teardown),
        cmocka_unit_test_teardown(test_read_needs_own_term, teardown),
        cmocka_unit_test_teardown(test_read_index_rounds, teardown),
        cmocka_unit_test_teardown(test_transfer_ends_lease, teardown),
        cmocka_unit_test_teardown(test_timeout_now, teardown),
        cmocka_unit_test_teardown(test_visible, teardown),
    };
    return cmocka_run_group_tests_name("raft_rules", tests, NULL, NULL);
}
