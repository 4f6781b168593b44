/* The configuration of a group, and the one function that everything counted by quorum goes
 * through: votes, commit, rounds, check-quorum; joint configurations included (thesis 4.3). */
#include "common/base/check.h"
#include "common/base/err.h"
#include "metanode/raft/raft.h"

static bool among(const uint64_t *ids, uint32_t count, uint64_t id)
{
    for (uint32_t i = 0; i < count; i++) {
        if (ids[i] == id)
            return true;
    }
    return false;
}

static bool distinct(const uint64_t *ids, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (ids[i] == 0 || among(ids, i, ids[i]))
            return false;
    }
    return true;
}

int raft_config_check(const struct raft_config *c)
{
    if (c->voter_count == 0 || c->voter_count > RAFT_MEMBERS_MAX ||
        c->old_voter_count > RAFT_MEMBERS_MAX || c->learner_count > RAFT_MEMBERS_MAX)
        return ERR_CONFIG;
    if (!distinct(c->voters, c->voter_count) || !distinct(c->old_voters, c->old_voter_count) ||
        !distinct(c->learners, c->learner_count))
        return ERR_CONFIG;
    uint32_t members = c->voter_count + c->learner_count;
    for (uint32_t i = 0; i < c->old_voter_count; i++)
        members += !among(c->voters, c->voter_count, c->old_voters[i]);
    if (members > RAFT_MEMBERS_MAX)
        return ERR_CONFIG;
    for (uint32_t i = 0; i < c->learner_count; i++) {
        if (raft_config_is_voter(c, c->learners[i]))
            return ERR_CONFIG;
    }
    return OK;
}

bool raft_config_is_voter(const struct raft_config *c, uint64_t id)
{
    return among(c->voters, c->voter_count, id) || among(c->old_voters, c->old_voter_count, id);
}

bool raft_config_is_member(const struct raft_config *c, uint64_t id)
{
    return raft_config_is_voter(c, id) || among(c->learners, c->learner_count, id);
}

static uint64_t quorum_of(const uint64_t *ids, uint32_t count,
                          uint64_t (*value)(void *ctx, uint64_t id), void *ctx)
{
    uint64_t sorted[RAFT_MEMBERS_MAX]; /* falling, by insertion: there are few */
    for (uint32_t i = 0; i < count; i++) {
        uint64_t v = value(ctx, ids[i]);
        uint32_t at = i;
        for (; at > 0 && sorted[at - 1] < v; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = v;
    }
    return sorted[count / 2];
}

uint64_t raft_config_quorum(const struct raft_config *c, uint64_t (*value)(void *ctx, uint64_t id),
                            void *ctx)
{
    CHECK(c->voter_count > 0);
    uint64_t reached = quorum_of(c->voters, c->voter_count, value, ctx);
    if (c->old_voter_count == 0)
        return reached;
    uint64_t old = quorum_of(c->old_voters, c->old_voter_count, value, ctx);
    return MIN(reached, old);
}
